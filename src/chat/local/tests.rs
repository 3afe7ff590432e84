//! Tests of the local model, over the fake generator.

use std::ops::ControlFlow;

use super::{LocalModel, Piece, Place, Refused};
use crate::chat::template::{Template, TemplateName};
use crate::chat::tokenizer::{SPECIALS, Tokenizer, Vocabulary};
use crate::chat::{Answer, Message, Model, Request};
use crate::engine::fake::Fake;
use crate::engine::worker::Worker;
use crate::engine::{Device, FinishReason};

/// A model whose vocabulary is bytes and special tokens; its answers are nonsense, but always the
/// same.
pub(crate) fn model(context: usize, slots: usize) -> LocalModel {
    // With these 264 tokens the fake never stops by itself after `assistant\n`.
    let words = ["~a~", "~b~", "~c~", "~d~", "~e~"];
    let vocabulary = Vocabulary { size: 264, specials: &SPECIALS, words: &words };
    let tokenizer = Tokenizer::train(["a"].iter(), &vocabulary).unwrap();
    let fake = Fake::new(264, context, slots);
    let worker = Worker::start(Box::new(fake)).unwrap();
    LocalModel::over("fake", tokenizer, Template::built_in(TemplateName::Chatml), worker)
}

fn request(content: &str, max_tokens: u32) -> Request {
    Request {
        messages: vec![Message::user(content)],
        temperature: 0.0,
        top_p: 1.0,
        max_tokens,
        seed: 1,
    }
}

fn ask(model: &LocalModel, requests: &[Request], in_flight: usize) -> Vec<Answer> {
    let mut answers = vec![None; requests.len()];
    model
        .answer_many(requests, in_flight, &mut |index, answer| {
            answers[index] = Some(answer.unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
    answers.into_iter().map(Option::unwrap).collect()
}

#[test]
fn many_questions_get_the_answers_they_get_alone() {
    let model = model(256, 4);
    let requests: Vec<Request> = (0..40)
        .map(|index| request(&"why? ".repeat(index % 7 + 1), 5 + index as u32 % 9))
        .collect();
    let together = ask(&model, &requests, 16);
    for (request, answer) in requests.iter().zip(&together) {
        assert_eq!(&ask(&model, std::slice::from_ref(request), 1)[0], answer);
        assert!(answer.completion_tokens <= u64::from(request.max_tokens));
        assert!(answer.prompt_tokens > 5);
    }
}

#[test]
fn a_stream_gives_what_the_whole_answer_has() {
    let model = model(256, 1);
    let request = request("why?", 40);
    let whole = &ask(&model, std::slice::from_ref(&request), 1)[0];
    let mut stream = model.stream(&request, &[]).unwrap();
    let mut parts = Vec::new();
    let reason = loop {
        match stream.next_piece().unwrap() {
            Piece::Parts(more) => parts.extend(more),
            Piece::End(more, reason) => {
                parts.extend(more);
                break reason;
            }
        }
    };
    let (reasoning, solution) = crate::chat::thought::joined(parts);
    assert_eq!((reasoning, solution), (whole.reasoning.clone(), whole.solution.clone()));
    assert_eq!(reason, whole.finish_reason);
    assert_eq!(stream.completion_tokens() as u64, whole.completion_tokens);
}

#[test]
fn a_conversation_that_leaves_no_room_is_refused_with_its_length() {
    let model = model(64, 1);
    let refused = model.stream(&request(&"x".repeat(100), 5), &[]).err().unwrap();
    assert!(matches!(refused, Refused::TooLong { limit: 64, tokens } if tokens > 100), "{refused}");
}

#[test]
fn an_answer_ends_with_the_context() {
    let model = model(64, 1);
    let answer = &ask(&model, &[request("why?", 1000)], 1)[0];
    assert_eq!(answer.prompt_tokens + answer.completion_tokens, 64);
    assert_eq!(answer.finish_reason, FinishReason::Length);
}

#[test]
fn a_sink_that_breaks_ends_it_all() {
    let model = model(256, 2);
    let requests = vec![request("why?", 20); 30];
    let mut seen = 0;
    model
        .answer_many(&requests, 8, &mut |_, _| {
            seen += 1;
            if seen == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(seen, 3);
    assert_eq!(ask(&model, &requests[..1], 1).len(), 1, "the engine goes on");
}

#[test]
fn a_folder_that_is_not_there_says_what_it_should_hold() {
    let dir = tempfile::tempdir().unwrap();
    let error =
        LocalModel::open("m", &dir.path().join("none"), Place::on(Device::Cpu)).err().unwrap();
    assert!(crate::hint::of(&error).unwrap().contains("config.json"), "{error}");
}
