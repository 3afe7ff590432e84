//! How problems are asked, and the hash under which samples are stored.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Problem;

/// How problems are asked.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Protocol {
    /// Answers per problem.
    pub samples: u32,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f64,
    /// Probability mass to sample from; 1 is all.
    pub top_p: f64,
    /// Tokens of an answer at most.
    pub max_tokens: u32,
    /// What every sample's seed follows from.
    pub seed: u64,
}

impl Protocol {
    /// Covers everything that decides a sample: the model's files, the problems and the sampling,
    /// but not how many samples are taken, so that more can be added.
    pub(super) fn hash(&self, model: &str, problems: &[Problem]) -> String {
        let mut hasher = Sha256::new();
        let sampling = json!([self.temperature, self.top_p, self.max_tokens, self.seed, model]);
        hasher.update(sampling.to_string());
        for problem in problems {
            let question = &problem.question;
            let (tests, reference) = (&question.tests, &question.reference);
            hasher.update(json!([problem.id, problem.asked(), tests, reference]).to_string());
        }
        hex(&hasher.finalize()[..16])
    }

    /// The seed of one sample: the same whatever else is asked, and in whatever order.
    pub(super) fn sample_seed(&self, problem: &str, sample: u32) -> u64 {
        let text = json!([self.seed, problem, sample]).to_string();
        let digest = Sha256::digest(text);
        digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte))
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
