//! What is trained on, and what is cut.

use super::*;

#[track_caller]
fn check_fit(lengths: (usize, usize), room: usize, expected: (usize, usize)) {
    assert_eq!(fit(lengths.0, lengths.1, room), expected, "{lengths:?} in {room}");
}

/// Computed with LLaMA-Factory's own code.
#[test]
fn long_examples_are_cut_as_llama_factory_cuts_them() {
    for (lengths, expected) in [
        ((300, 20_000), (300, 16_084)),
        ((9_000, 20_000), (5_085, 11_299)),
        ((20_000, 100), (16_284, 100)),
        ((20_000, 8_191), (8_193, 8_191)),
        ((20_000, 8_192), (11_624, 4_760)),
        ((8_192, 9_000), (7_807, 8_577)),
        ((16_384, 16_384), (8_192, 8_192)),
        ((0, 20_000), (0, 16_384)),
        ((300, 700), (300, 700)),
    ] {
        check_fit(lengths, 16_384, expected);
    }
    check_fit((300, 20_000), 10, (1, 9));
    check_fit((20_000, 100), 10, (10, 0));
}

fn encoding() -> Encoding {
    Encoding {
        template: TemplateName::Qwen25Openthinker,
        cutoff_len: 100,
        truncation: Truncation::LlamaFactory,
        train_on_system: false,
        mask_history: false,
        train_on_prompt: false,
    }
}

fn turns() -> Vec<Turn> {
    vec![
        Turn { prompt: vec![1, 2, 3], answer: vec![4, 5] },
        Turn { prompt: vec![6], answer: vec![7, 8] },
    ]
}

#[track_caller]
fn check_labels(encoding: &Encoding, ids: &[u32], labels: &[i64]) {
    let sequence = assemble(&turns(), encoding);
    assert_eq!((sequence.input_ids.as_slice(), sequence.labels.as_slice()), (ids, labels));
}

#[test]
fn prompts_are_masked_and_every_answer_is_trained() {
    let x = IGNORE;
    check_labels(&encoding(), &[1, 2, 3, 4, 5, 6, 7, 8], &[x, x, x, 4, 5, x, 7, 8]);
}

#[test]
fn a_masked_history_leaves_the_last_answer() {
    let x = IGNORE;
    let encoding = Encoding { mask_history: true, ..encoding() };
    check_labels(&encoding, &[1, 2, 3, 4, 5, 6, 7, 8], &[x, x, x, x, x, x, 7, 8]);
    let short = Encoding { cutoff_len: 4, ..encoding };
    check_labels(&short, &[1, 6, 7, 8], &[x, x, 7, 8]);
}

#[test]
fn prompts_are_trained_when_asked_for() {
    let encoding = Encoding { train_on_prompt: true, ..encoding() };
    check_labels(&encoding, &[1, 2, 3, 4, 5, 6, 7, 8], &[1, 2, 3, 4, 5, 6, 7, 8]);
}

#[test]
fn turns_beyond_the_limit_are_left_out() {
    let x = IGNORE;
    let encoding = Encoding { cutoff_len: 5, ..encoding() };
    check_labels(&encoding, &[1, 2, 3, 4, 5], &[x, x, x, 4, 5]);
}

#[test]
fn conversations_without_questions_and_answers_in_turn_are_odd() {
    let (system, user, assistant) = (Role::System, Role::User, Role::Assistant);
    for (roles, expected) in [
        (&[user, assistant][..], None),
        (&[system, user, assistant], None),
        (&[], Some("has no turn of the assistant")),
        (&[user], Some("has no turn of the assistant")),
        (&[system, user], Some("has no turn of the assistant")),
        (&[assistant, user], Some("turn 1 is not by the user")),
        (&[user, user, assistant], Some("turn 2 is not by the assistant")),
        (&[user, assistant, user], Some("ends without an answer")),
        (&[user, system, assistant], Some("turn 2 is not by the assistant")),
    ] {
        let say = |role: &Role| Message { role: *role, content: "x".into() };
        let messages: Vec<Message> = roles.iter().map(say).collect();
        assert_eq!(odd(&messages).as_deref(), expected, "{roles:?}");
    }
}
