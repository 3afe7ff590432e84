//! Tests of the local model, over the fake generator.

use std::ops::ControlFlow;

use super::{LocalModel, Place, Refused, Settings, Teller};
use crate::chat::template::{Arguments, Opening, Template, TemplateName};
use crate::chat::tokenizer::{SPECIALS, Tokenizer, Vocabulary};
use crate::chat::{Answer, Message, Model, Request};
use crate::engine::fake::Fake;
use crate::engine::worker::{Event, Worker};
use crate::engine::{Device, FinishReason};

/// A model whose vocabulary is bytes and special tokens; its answers are nonsense, but always the
/// same.
fn model(context: usize, slots: usize) -> LocalModel {
    // With these 264 tokens the fake never stops by itself after `assistant\n`.
    let words = ["~a~", "~b~", "~c~", "~d~", "~e~"];
    let vocabulary = Vocabulary { size: 264, specials: &SPECIALS, words: &words };
    let tokenizer = Tokenizer::train(["a"].iter(), &vocabulary).unwrap();
    let fake = Fake::new(264, context, slots);
    let worker = Worker::start(Box::new(fake)).unwrap();
    LocalModel::over("fake", tokenizer, Template::built_in(TemplateName::Chatml), vec![worker])
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
fn an_answer_told_token_by_token_is_the_whole_answer() {
    let model = model(256, 1);
    let request = request("why?", 40);
    let whole = &ask(&model, std::slice::from_ref(&request), 1)[0];
    let mut settings = Settings::default();
    settings.sampling.temperature = 0.0;
    settings.sampling.max_tokens = 40;
    let prompt =
        model.conversation(&request.messages, Opening::Answer, &Arguments::default()).unwrap().ids;
    let events = model.begin(prompt, &settings, Box::new(|| {})).unwrap();
    let mut teller = Teller::new(&settings);
    let mut text = String::new();
    let reason = loop {
        match events.recv().unwrap() {
            Event::Token(token) => text += &teller.push(model.tokenizer(), token.id).unwrap().text,
            Event::Finished { reason, .. } => break reason,
            other @ (Event::Prompt(_) | Event::Failed(_)) => panic!("{other:?}"),
        }
    };
    text += &teller.finish(model.tokenizer()).unwrap().text;
    assert_eq!((text, reason), (whole.text.clone(), whole.finish_reason));
    assert_eq!(teller.tokens() as u64, whole.completion_tokens);
}

#[test]
fn what_cannot_be_asked_is_refused_with_its_numbers() {
    let model = model(64, 1);
    let begin = |prompt: Vec<u32>, settings: &Settings| {
        model.begin(prompt, settings, Box::new(|| {})).err().unwrap()
    };
    let settings = Settings::default();
    let refused = begin(vec![1; 64], &settings);
    assert!(matches!(refused, Refused::TooLong { limit: 64, tokens: 64 }), "{refused}");
    let mut biased = Settings::default();
    biased.sampling.logit_bias = vec![(264, 1.0)];
    let refused = begin(vec![1], &biased);
    assert!(matches!(refused, Refused::BadId { id: 264, .. }), "{refused}");
    let refused = model.check_ids("prompt", &[3, 999]).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "`999` in `prompt` is no token: the model's vocabulary has 264"
    );
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
