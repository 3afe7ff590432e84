//! Dead letters: what an endpoint refused for good is not sent again by itself.
//!
//! A question whose request is malformed costs one request, not one per run. A
//! request that differs in anything, or goes elsewhere, is another one.

use sha2::{Digest, Sha256};

use super::{Config, label, request};
use crate::records::Question;
use crate::stage::Context;
use crate::store::WorkItem;

/// `missing` without what was refused before, and how much that was.
pub(super) fn without(
    cx: &Context,
    config: &Config,
    missing: Vec<WorkItem>,
) -> anyhow::Result<(Vec<WorkItem>, u64)> {
    if config.retry_dead_letters {
        cx.store.forget_dead_letters(&config.model)?;
        return Ok((missing, 0));
    }
    let dead = cx.store.dead_letters(&config.model)?;
    let before = missing.len();
    let is_alive = |item: &WorkItem| {
        dead.get(&(item.question.id, item.sample))
            .is_none_or(|refused| *refused != fingerprint(config, &item.question, item.sample))
    };
    let work: Vec<WorkItem> = missing.into_iter().filter(is_alive).collect();
    let refused = (before - work.len()) as u64;
    Ok((work, refused))
}

/// Hash of what is sent, and where.
pub(super) fn fingerprint(config: &Config, question: &Question, sample: u32) -> String {
    let request = request(config, question, sample);
    let parts = serde_json::json!([
        label(config),
        config.model,
        config.stream,
        request.messages,
        request.temperature,
        request.top_p,
        request.max_tokens,
        request.seed,
    ]);
    format!("{:x}", Sha256::digest(parts.to_string()))
}
