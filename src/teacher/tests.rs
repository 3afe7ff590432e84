//! Tests of the rehearsal teacher: right when it means to be, wrong when it means to be.

use super::solve::{Slip, solve_with, steps};
use super::{Faults, conduct, solve};
use crate::questions::rehearsal::{Config, code, math, puzzle, questions, science};
use crate::records::Domain;

fn boxed(solution: &str) -> &str {
    solution.split_once("\\boxed{").unwrap().1.split_once('}').unwrap().0
}

#[test]
fn every_question_with_a_box_is_solved_right() {
    let math = math::FAMILIES.iter().flat_map(|f| (f.space)()).map(|p| p.question());
    let puzzles = puzzle::space().into_iter().map(|p| p.question());
    let facts = science::space().into_iter().map(|f| f.question());
    for question in math.chain(puzzles).chain(facts) {
        let solved = solve(&question.problem).unwrap_or_else(|| panic!("{}", question.problem));
        let reference = question.reference.unwrap();
        assert_eq!(boxed(&solved.solution), reference, "{}\n{solved:?}", question.problem);
        assert!(!solved.reasoning.is_empty());
    }
}

#[test]
fn questions_are_recognised_inside_their_prompts() {
    let bare = "Compute (1 + 2 - 1) * 4.";
    let asked = format!("Return your final response within \\boxed{{}}. {bare}");
    assert_eq!(solve(&asked), solve(bare));
    for task in code::space() {
        let text = task.text();
        let asked = format!(
            "… Return the function body without invoking it at the final solution.{text}\ndef solve(numbers):"
        );
        assert_eq!(solve(&asked), solve(&text));
        assert!(!solve(&text).unwrap().solution.contains("unknown"), "{text}");
    }
    assert_eq!(solve("What is the meaning of life?"), None);
}

#[test]
fn a_slip_is_carried_through_to_a_wrong_answer() {
    for question in questions(&Config::default()).unwrap() {
        if question.domain != Domain::Math {
            continue;
        }
        let right = solve(&question.problem).unwrap();
        assert!(steps(&question.problem) >= 2);
        let wrong = solve_with(&question.problem, Some(Slip::Final(1))).unwrap();
        assert_eq!(wrong.reasoning, right.reasoning);
        assert_ne!(wrong.solution, right.solution);
    }
    let slipped = solve_with("Compute (1 + 2 - 1) * 4.", Some(Slip::Step(0, 1))).unwrap();
    assert_eq!(slipped.reasoning, "1+2=4\n\n4-1=3\n\n3*4=12");
    assert_eq!(boxed(&slipped.solution), "12");
}

/// Every training question of the rehearsal with what the teacher gives for it.
fn conducted() -> Vec<(crate::records::NewQuestion, super::Given)> {
    let all = questions(&Config::default()).unwrap().into_iter();
    all.map(|question| {
        let given = conduct(7, &question.problem, 0).unwrap();
        (question, given)
    })
    .collect()
}

#[test]
fn it_errs_breaks_off_and_refuses_as_often_as_it_should() {
    let all = conducted();
    assert!(all.len() >= 3_000);
    let share = |which: &dyn Fn(&super::Given) -> bool| {
        all.iter().filter(|(_, given)| which(given)).count() as f64 / all.len() as f64
    };
    let near = |share: f64, rate: f64| {
        // Four standard errors of a share of so many.
        let tolerance = 4.0 * (rate * (1.0 - rate) / all.len() as f64).sqrt();
        assert!((share - rate).abs() < tolerance, "{share} is not near {rate}");
    };
    near(share(&|given| given.wrong), super::WRONG);
    near(share(&|given| given.truncated), super::TRUNCATED);
    near(share(&|given| given.refused.is_some()), super::REFUSED);
    let statuses: std::collections::HashSet<u16> =
        all.iter().filter_map(|(_, given)| given.refused).collect();
    assert_eq!(statuses, [429, 500].into());
}

#[test]
fn wrong_traces_are_wrong_and_the_others_right() {
    for (question, given) in conducted() {
        if given.truncated {
            assert!(given.solved.solution.is_empty());
            continue;
        }
        match &question.reference {
            Some(reference) => {
                let right = boxed(&given.solved.solution) == reference;
                assert_eq!(right, !given.wrong, "{}: {:?}", question.problem, given.solved);
            }
            None => {
                let right = solve(&question.problem).unwrap();
                assert_eq!(given.solved == right, !given.wrong, "{}", question.problem);
            }
        }
    }
}

#[test]
fn seed_question_and_sample_decide_and_nothing_else() {
    let problem = "Compute (1 + 2 - 1) * 4.";
    let answers = |seed: u64| (0..20).map(move |sample| conduct(seed, problem, sample));
    assert!(answers(1).eq(answers(1)));
    assert!(!answers(1).eq(answers(2)));
    let distinct: std::collections::HashSet<String> =
        answers(1).flatten().map(|given| given.solved.reasoning).collect();
    assert!(distinct.len() > 1, "samples differ");
}

#[test]
fn scripts_of_faults_say_which_requests_they_mean() {
    let script = r#"[{"request": 3, "status": 429}, {"every": 2, "garbage": true},
                     {"from": 7, "until": 9, "delay_ms": 1}, {}]"#;
    let faults = Faults::parse(script).unwrap();
    let hit: Vec<u64> = (1..=12).filter(|&number| faults.rule(number).is_some()).collect();
    assert_eq!(hit, [2, 3, 4, 6, 7, 8, 9, 10, 12]);
    assert_eq!(faults.rule(3).unwrap().status, Some(429));
    assert!(faults.rule(6).unwrap().garbage);
    assert!(Faults::parse(r#"[{"requests": 3}]"#).is_err(), "a typo is named");
}
