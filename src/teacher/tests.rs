//! Tests of the rehearsal teacher: right when it means to be, wrong when it means to be.

use super::solve;
use super::solve::{Slip, solve_with, steps};
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
    let bare = "Compute (1 + 2) * 3 - 4.";
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
    let slipped = solve_with("Compute (1 + 2) * 3 - 4.", Some(Slip::Step(0, 1))).unwrap();
    assert_eq!(slipped.reasoning, "First, 1 + 2 = 4.\n\nThen, 4 * 3 = 12.\n\nLast, 12 - 4 = 8.");
    assert_eq!(boxed(&slipped.solution), "8");
}
