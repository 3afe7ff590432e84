//! Tests of the rehearsal's questions: exact, apart, and the same every time.

use std::collections::HashSet;

use super::math::{FAMILIES, Problem};
use super::{Config, code, puzzle, questions, science};
use crate::records::{Domain, Split};

#[test]
fn there_are_as_many_as_asked_for() {
    let all = questions(&Config::default()).unwrap();
    let count = |domain: Domain, split: Split| {
        all.iter().filter(|q| q.domain == domain && q.split == split).count()
    };
    assert_eq!(count(Domain::Math, Split::Train), 5_400);
    assert_eq!(count(Domain::Math, Split::HeldOut), 25 * FAMILIES.len());
    assert_eq!(count(Domain::Code, Split::Train), 120);
    assert_eq!(count(Domain::Puzzle, Split::Train), 60);
    let science = science::DOMAINS.map(|domain| count(domain, Split::Train));
    assert_eq!(science, [20, 20, 20]);
}

#[test]
fn keys_and_texts_are_unique_so_held_out_problems_never_occur_in_training() {
    let all = questions(&Config::default()).unwrap();
    let keys: HashSet<&str> = all.iter().map(|q| q.key.as_str()).collect();
    let texts: HashSet<&str> = all.iter().map(|q| q.problem.as_str()).collect();
    assert_eq!(keys.len(), all.len());
    assert_eq!(texts.len(), all.len());
    for family in FAMILIES {
        let space = (family.space)();
        let texts: HashSet<String> = space.iter().map(Problem::to_string).collect();
        let keys: HashSet<String> = space.iter().map(|problem| problem.question().key).collect();
        assert_eq!((texts.len(), keys.len()), (space.len(), space.len()), "{}", family.name);
    }
}

#[test]
fn the_seed_decides_everything_and_keys_do_not_depend_on_it() {
    let config = Config::default();
    assert_eq!(questions(&config).unwrap(), questions(&config).unwrap());
    let other = questions(&Config { seed: 43, ..Config::default() }).unwrap();
    let ours = questions(&config).unwrap();
    assert_ne!(ours, other);
    for question in &other {
        let same = ours.iter().find(|ours| ours.key == question.key);
        assert!(same.is_none_or(|same| same.problem == question.problem), "{}", question.key);
    }
}

#[test]
fn every_problem_is_recognised_by_its_text() {
    for family in FAMILIES {
        for problem in (family.space)() {
            assert_eq!(Problem::parse(&problem.to_string()), Some(problem));
            assert_eq!(problem.family(), family.name);
        }
    }
    for text in ["", "Compute", "Compute (1 + 2 - 1) * 4", "Solve x/0 + 1 = 1 for x.", "How 1 2"] {
        assert_eq!(Problem::parse(text), None, "{text}");
    }
}

#[test]
fn answers_agree_with_brute_force() {
    for problem in FAMILIES.iter().flat_map(|family| (family.space)()) {
        let answer = problem.answer();
        let (top, bottom) = answer.split_once('/').unwrap_or((&answer, "1"));
        let (top, bottom): (i64, i64) = (top.parse().unwrap(), bottom.parse().unwrap());
        match problem {
            Problem::Arithmetic { a, b, c, d } => assert_eq!(top, (a + b - c) * d),
            Problem::Equation { a, b, c, minus } => {
                assert_eq!((top % a, top / a), (0, if minus { c + b } else { c - b }));
            }
            Problem::Fraction { a, b, c, d } => {
                assert_eq!(top * d, bottom * (a + b - c));
                assert!(!(2..=bottom).any(|by| top % by == 0 && bottom % by == 0), "{problem}");
            }
            Problem::Units { unit, a, b, c } => {
                assert_eq!((top / unit.ratio, top % unit.ratio), (a + b + c, 0));
            }
            Problem::Modular { a, b, c, m } => assert_eq!((a + b + c - top) % m + top / m, 0),
            Problem::Sequence { start, a, b, term } => {
                let grow = |value, number| value + if number % 2 == 0 { a } else { b };
                assert_eq!(top, (2..=term).fold(start, grow));
            }
        }
    }
}

#[test]
fn code_tasks_have_tests_of_both_kinds() {
    let space = code::space();
    assert!(space.len() >= 100);
    for task in space {
        let question = task.question();
        let tests = question.tests.unwrap();
        assert!(tests.inputs.len() >= 5 && tests.inputs.len() == tests.outputs.len());
        assert_eq!(tests.fn_name.is_some(), task.called);
        assert!(tests.inputs.iter().all(|input| input.starts_with('"') != task.called));
        let outputs: HashSet<&str> = tests.outputs.iter().collect();
        assert!(outputs.len() > 1, "{} would be passed by a constant", question.key);
        assert_eq!(code::Task::parse(&question.problem).unwrap().question().key, question.key);
    }
}

#[test]
fn puzzles_have_one_right_option() {
    for puzzle in puzzle::space() {
        let options: HashSet<&String> = puzzle.options.iter().collect();
        assert_eq!(options.len(), puzzle.options.len(), "{}", puzzle.key);
        assert!(puzzle.right < puzzle.options.len());
        let (text, options) = puzzle::Puzzle::split(&puzzle.problem()).unwrap();
        assert_eq!((&text, &options), (&puzzle.text, &puzzle.options));
    }
}

#[test]
fn too_many_are_refused_with_the_numbers() {
    let error = questions(&Config { math: 60_000, ..Config::default() }).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("`arithmetic` has") && text.contains("10025"), "{text}");
}
