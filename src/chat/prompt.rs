//! What a teacher is asked, and what a model is told while it is trained.
//!
//! Pure text. The user prompts are those of OpenThoughts to the letter, so that a model trained on
//! our rows meets the words it was trained on; the system prompts ask for the same things in words
//! of our own.

/// System prompt for the teacher: how to work, nothing about format.
pub const TEACHER_SYSTEM: &str = "You explore questions thoroughly before you answer them. Think \
in a long, systematic cycle: analyse the question, summarise what you know, explore ideas, \
reassess and reflect on them, go back where a step was wrong, and iterate until the reasoning is \
well considered. Only then give your final answer, precise and accurate.";

/// System prompt of every training row: the same way of working, and the two sections of the
/// answer.
pub const TRAINING_SYSTEM: &str = "You explore questions thoroughly before you answer them. Think \
in a long, systematic cycle: analyse the question, summarise what you know, explore ideas, \
reassess and reflect on them, go back where a step was wrong, and iterate until the reasoning is \
well considered. Write your answer in two sections, Thought and Solution. The Thought section \
holds your reasoning in this format: <|begin_of_thought|> {thought with steps separated with \
'\\n\\n'} <|end_of_thought|> In each step analyse the question, summarise what you found, think of \
new ideas, check what you have, correct mistakes and return to earlier steps where needed. The \
Solution section presents, from all of that, the final answer that you hold to be correct: \
logical, accurate and concise, with the detail that is needed to follow it, in this format: \
<|begin_of_solution|> {final formatted, precise, and clear solution} <|end_of_solution|> Answer \
the following question along these lines:";

/// What a math question begins with.
const MATH: &str = "Return your final response within \\boxed{}. ";

/// What a code question begins with when the program reads standard input.
const CODE_STDIN: &str = "Generate an executable Python function generated from the given prompt. \
The function should take stdin as input and print the output. Simply call the function after the \
definition.";

/// What a code question begins with when a function is called.
const CODE_CALL: &str = "Generate an executable Python function generated from the given prompt. \
Return the function body without invoking it at the final solution.";

/// The parts of a question that its prompt is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked<'a> {
    /// The answer goes into `\boxed{}`.
    Math,
    /// The answer is a program.
    Code {
        /// The function that is called; none if the program reads standard input.
        fn_name: Option<&'a str>,
        /// Code the answer starts from.
        starter_code: Option<&'a str>,
    },
    /// The bare question.
    Plain,
}

/// The user's message that asks `problem`.
pub fn user_prompt(asked: Asked<'_>, problem: &str) -> String {
    match asked {
        Asked::Math => format!("{MATH}{problem}"),
        Asked::Code { fn_name, starter_code } => {
            let head = if fn_name.is_some() { CODE_CALL } else { CODE_STDIN };
            // No space after the instruction and a line break before an empty starter: as
            // published, because evaluation prompts are built the same way.
            match starter_code {
                Some(code) => format!("{head}{problem}\n{code}"),
                None => format!("{head}{problem}"),
            }
        }
        Asked::Plain => problem.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, user_prompt};

    #[track_caller]
    fn check(asked: Asked<'_>, expected: &str) {
        assert_eq!(user_prompt(asked, "P"), expected);
    }

    #[test]
    fn math_asks_for_a_box() {
        check(Asked::Math, r"Return your final response within \boxed{}. P");
    }

    #[test]
    fn code_says_how_it_is_run() {
        let stdin = "Generate an executable Python function generated from the given prompt. The \
                     function should take stdin as input and print the output. Simply call the \
                     function after the definition.P";
        check(Asked::Code { fn_name: None, starter_code: None }, stdin);
        check(Asked::Code { fn_name: None, starter_code: Some("") }, &format!("{stdin}\n"));
        check(
            Asked::Code { fn_name: Some("f"), starter_code: Some("class Solution:") },
            "Generate an executable Python function generated from the given prompt. Return the \
             function body without invoking it at the final solution.P\nclass Solution:",
        );
    }

    #[test]
    fn anything_else_is_asked_bare() {
        check(Asked::Plain, "P");
    }
}
