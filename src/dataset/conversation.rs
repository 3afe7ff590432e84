//! What an example looks like as a conversation: the row format of OpenThoughts.
//!
//! One place for training, exports and previews, so that they never differ.

use crate::chat::prompt::{Asked, TRAINING_SYSTEM, user_prompt};
use crate::chat::{Message, Role};
use crate::records::{Domain, Example, Question};

/// The tags around thought and solution; plain text to Qwen's tokenizer.
pub const TAGS: [&str; 4] =
    ["<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"];

/// What the user says to ask `question`.
pub fn asked(question: &Question) -> String {
    let asked = match question.domain {
        Domain::Math => Asked::Math,
        Domain::Code => Asked::Code {
            fn_name: question.tests.as_ref().and_then(|tests| tests.fn_name.as_deref()),
            starter_code: question.starter_code.as_deref(),
        },
        Domain::Biology | Domain::Chemistry | Domain::Physics | Domain::Puzzle => Asked::Plain,
    };
    user_prompt(asked, &question.problem)
}

/// What the model is to answer.
pub fn answered(reasoning: &str, solution: &str) -> String {
    let [thought, end_thought, begin, end] = TAGS;
    format!("{thought}\n\n{reasoning}\n\n{end_thought}\n\n{begin}\n\n{solution}\n\n{end}")
}

/// The whole conversation: system prompt, question, answer.
pub fn conversation(example: &Example) -> Vec<Message> {
    let say = |role, content| Message { role, content };
    vec![
        say(Role::System, TRAINING_SYSTEM.to_owned()),
        say(Role::User, asked(&example.question)),
        say(Role::Assistant, answered(&example.trace.reasoning, &example.trace.solution)),
    ]
}

#[cfg(test)]
mod tests {
    use super::answered;

    #[test]
    fn an_answer_has_the_two_parts_of_openthoughts() {
        assert_eq!(
            answered("1 + 1 = 2", "2"),
            "<|begin_of_thought|>\n\n1 + 1 = 2\n\n<|end_of_thought|>\n\n\
             <|begin_of_solution|>\n\n2\n\n<|end_of_solution|>"
        );
    }
}
