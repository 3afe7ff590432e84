//! What is asked, and what counts as an answer.

use super::prompts::{Case, Prompt, messages};
use super::reply::{Decision, Tally, Vote, read, tally};
use super::{Config, Decision::*};
use crate::records::Domain;

fn case<'a>(candidate: &'a str) -> Case<'a> {
    Case { domain: Domain::Math, problem: "2 + 3 = ?", candidate, reference: "5" }
}

fn asked(prompt: Prompt, case: &Case<'_>, salt: &str) -> (String, String) {
    let messages = messages(prompt, case, salt, (true, false));
    let text = |index: usize| messages.get(index).map(|m| m.content.clone()).unwrap_or_default();
    if messages.len() == 1 { (String::new(), text(0)) } else { (text(0), text(1)) }
}

#[test]
fn the_candidate_comes_before_the_reference_and_the_reasoning_before_the_verdict() {
    let (rules, user) = asked(Prompt::Default, &case("the candidate's text"), "salt");
    let at = |text: &str| user.find(text).unwrap();
    assert!(at("2 + 3") < at("the candidate's text") && at("the candidate's text") < at("| 5"));
    assert!(rules.find("\"reasoning\"").unwrap() < rules.find("\"verdict\"").unwrap());
    let form = Prompt::Default.response_format().to_string();
    assert!(form.find("\"reasoning\":").unwrap() < form.find("\"verdict\":").unwrap());
}

#[test]
fn compat_shows_what_openthoughts_showed_in_its_order() {
    let (rules, user) = asked(Prompt::Compat, &case("so \\boxed{5}"), "salt");
    assert!(rules.is_empty() && !user.contains("2 + 3"), "no system prompt, no question");
    let solution = user.find("SOLUTION: so \\boxed{5}").unwrap();
    assert!(solution < user.find("GROUND TRUTH SOLUTION: 5").unwrap());
    assert!(user.starts_with("\n        You") && user.ends_with("\n        "));
    let puzzle = Case { domain: Domain::Puzzle, ..case("B") };
    assert!(asked(Prompt::Compat, &puzzle, "").1.contains("PROPOSED SOLUTION: B"));
    let form = Prompt::Compat.response_format().to_string();
    assert!(form.find("\"correct\":").unwrap() < form.find("\"reasoning\":").unwrap());
    let bare = messages(Prompt::Compat, &case("5"), "", (false, false));
    assert!(bare[0].content.contains("JSON object"), "without a schema the form is asked for");
}

#[test]
fn the_code_differs_with_salt_and_content_and_is_the_same_for_the_same() {
    let of = |candidate: &str, salt: &str| asked(Prompt::Default, &case(candidate), salt).1;
    assert_eq!(of("5", "a"), of("5", "a"));
    let code = |text: String| text.lines().next().unwrap_or_default().to_owned();
    assert_ne!(code(of("5", "a")), code(of("5", "b")));
    assert_ne!(code(of("5", "a")), code(of("6", "a")));
}

#[test]
fn nobody_judges_programs_and_openthoughts_judged_no_science() {
    let covered = |prompt: Prompt| Domain::ALL.map(|domain| prompt.covers(domain));
    assert_eq!(covered(Prompt::Default), [true, false, true, true, true, true]);
    assert_eq!(covered(Prompt::Compat), [true, false, false, false, false, true]);
}

#[track_caller]
fn check(prompt: Prompt, answer: &str, expected: Option<Decision>) {
    let found = read(prompt, answer);
    assert_eq!(found.as_ref().ok().map(|vote| vote.decision), expected, "{answer}: {found:?}");
}

#[test]
fn an_answer_counts_only_in_exactly_the_form_asked_for() {
    let ours = Prompt::Default;
    check(ours, r#"{"reasoning": "same", "verdict": "correct"}"#, Some(Correct));
    check(ours, " {\"reasoning\":\"\",\"verdict\":\"wrong\"}\n", Some(Wrong));
    check(ours, r#"{"reasoning": "", "verdict": "unsure"}"#, Some(Unsure));
    check(ours, "```json\n{\"reasoning\": \"\", \"verdict\": \"wrong\"}\n```", Some(Wrong));
    check(ours, "```\n{\"reasoning\": \"\", \"verdict\": \"wrong\"}\n```", Some(Wrong));
    for bad in [
        "",
        "correct",
        "null",
        "[]",
        r#"{"verdict": "correct"}"#,
        r#"{"reasoning": "x"}"#,
        r#"{"verdict": "correct", "reasoning": "first the verdict"}"#,
        r#"{"reasoning": "x", "verdict": "Correct"}"#,
        r#"{"reasoning": "x", "verdict": true}"#,
        r#"{"reasoning": 1, "verdict": "correct"}"#,
        r#"{"reasoning": "x", "verdict": "correct", "score": 1}"#,
        r#"{"reasoning": "x", "verdict": "wrong", "verdict": "correct"}"#,
        r#"{"reasoning": "x", "verdict": "correct"} {"reasoning": "x", "verdict": "wrong"}"#,
        r#"the candidate wrote {"reasoning": "x", "verdict": "correct"}"#,
        r#"{"reasoning": "x", "verdict": "correct"} so I agree"#,
        "```json\n{\"reasoning\": \"\", \"verdict\": \"wrong\"}\n``` and more",
        "```python\n{\"reasoning\": \"\", \"verdict\": \"wrong\"}\n```",
        r#"{"reasoning": "cut off, "verdict": "#,
        r#"{"correct": true, "reasoning": "the other form"}"#,
    ] {
        check(ours, bad, None);
    }
    check(Prompt::Compat, r#"{"correct": true, "reasoning": "x"}"#, Some(Correct));
    check(Prompt::Compat, r#"{"reasoning": "x", "correct": false}"#, Some(Wrong));
    check(Prompt::Compat, r#"{"correct": "true", "reasoning": "x"}"#, None);
    check(Prompt::Compat, r#"{"reasoning": "x", "verdict": "correct"}"#, None);
}

#[test]
fn more_than_half_of_all_votes_decide_as_soon_as_they_are_in() {
    let check = |votes: &str, of: u32, expected: Tally| {
        let vote = |letter: char| Vote {
            decision: match letter {
                'c' => Correct,
                'w' => Wrong,
                _ => Unsure,
            },
            reasoning: String::new(),
        };
        let votes: Vec<Vote> = votes.chars().map(vote).collect();
        assert_eq!(tally(&votes, of), expected, "{votes:?} of {of}");
    };
    check("c", 1, Tally::Decided(Correct));
    check("u", 1, Tally::Split);
    check("cc", 3, Tally::Decided(Correct));
    check("cw", 3, Tally::Open(1));
    check("cu", 3, Tally::Open(1));
    check("uu", 3, Tally::Split);
    check("cwu", 3, Tally::Split);
    check("cww", 3, Tally::Decided(Wrong));
    check("", 5, Tally::Open(3));
    check("ccw", 5, Tally::Open(1));
    check("cuuu", 5, Tally::Split);
}

#[test]
fn settings_that_make_no_sense_are_all_named() {
    let named =
        Config { endpoint: Some("http://x".into()), model: "m".into(), ..Config::default() };
    assert_eq!(named.problems(), Vec::<String>::new());
    assert_eq!(Config { votes: 2, ..Config::default() }.problems().len(), 0, "nobody is asked");
    let bad = Config {
        model: " ".into(),
        votes: 2,
        audit: 1.5,
        in_flight: 0,
        price_prompt: -1.0,
        budget_usd: Some(f64::NAN),
        ..named.clone()
    };
    assert_eq!(bad.problems().len(), 6, "{:?}", bad.problems());
    let secret = Config { endpoint: Some("https://u:p@h:1/v1?key=k#x".into()), ..named };
    assert_eq!(secret.label(), "https://h:1/v1");
}
