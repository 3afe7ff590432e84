//! What a teacher is asked: OpenThoughts' words, by the question's domain.

use super::Config;
use crate::chat::prompt::{Asked, TEACHER_SYSTEM, user_prompt};
use crate::chat::{Message, Request, Role};
use crate::records::{Domain, NewQuestion};

/// The request for `sample` of `question`.
pub fn request(config: &Config, question: &NewQuestion, sample: u32) -> Request {
    let asked = match question.domain {
        Domain::Math => Asked::Math,
        Domain::Code => Asked::Code {
            fn_name: question.tests.as_ref().and_then(|tests| tests.fn_name.as_deref()),
            starter_code: question.starter_code.as_deref(),
        },
        Domain::Biology | Domain::Chemistry | Domain::Physics | Domain::Puzzle => Asked::Plain,
    };
    let user = Message::user(user_prompt(asked, &question.problem));
    let system = Message { role: Role::System, content: TEACHER_SYSTEM.into() };
    Request {
        messages: if config.system_prompt { vec![system, user] } else { vec![user] },
        temperature: config.temperature,
        top_p: config.top_p,
        max_tokens: config.max_tokens,
        seed: config.seed.wrapping_add(u64::from(sample)),
    }
}
