//! What a GPU could do at best: what measured speeds are held against.
//!
//! Bandwidths and dense bf16 rates are those of NVIDIA's data sheets (2022 to 2025).

use serde::Serialize;

/// A GPU's limits.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Bytes per second from its memory.
    pub bytes_per_second: f64,
    /// Dense bf16 operations per second.
    pub operations_per_second: f64,
}

/// A part of a driver's name for a GPU, terabytes and tera-operations per second. The first that fits
/// counts.
const KNOWN: &[(&str, f64, f64)] = &[
    ("B200", 8.0, 2250.0),
    ("GH200", 4.0, 989.0),
    ("H200", 4.8, 989.0),
    ("H100 NVL", 3.9, 835.0),
    ("H100 PCIe", 2.0, 756.0),
    ("H100", 3.35, 989.0),
    ("A100-SXM4-40GB", 1.555, 312.0),
    ("A100", 2.039, 312.0),
    ("L40S", 0.864, 362.0),
    ("L4", 0.3, 121.0),
    ("A10", 0.6, 125.0),
];

impl Limits {
    /// Those of a GPU by its driver's name for it, if they are known.
    pub fn of(name: &str) -> Option<Self> {
        let known = KNOWN.iter().find(|(part, ..)| name.contains(part));
        known.map(|(_, bandwidth, rate)| Self {
            bytes_per_second: bandwidth * 1e12,
            operations_per_second: rate * 1e12,
        })
    }

    /// Seconds that a decode step takes at least: weights once, and every sequence's keys and values.
    pub fn decode_seconds(&self, weight_bytes: u64, token_bytes: u64, tokens: u64) -> f64 {
        (weight_bytes + token_bytes * tokens) as f64 / self.bytes_per_second
    }
}

/// Operations of causal attention forward over `tokens`, of all query heads: two products of which only
/// half of the pairs count.
pub fn attention_operations(tokens: u64, heads: u64, head_size: u64) -> f64 {
    2.0 * (tokens * tokens) as f64 * (heads * head_size) as f64
}

/// Operations of a layer forward over a sequence: two for each number of its matrices and token, and
/// attention.
pub fn layer_operations(numbers: u64, tokens: u64, heads: u64, head_size: u64) -> f64 {
    2.0 * numbers as f64 * tokens as f64 + attention_operations(tokens, heads, head_size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_known_by_the_driver_s_names() {
        for (name, terabytes) in [
            ("NVIDIA H100 80GB HBM3", Some(3.35)),
            ("NVIDIA H100 PCIe", Some(2.0)),
            ("NVIDIA H200", Some(4.8)),
            ("NVIDIA A100-SXM4-80GB", Some(2.039)),
            ("NVIDIA L40S", Some(0.864)),
            ("NVIDIA GeForce GTX 1080", None),
        ] {
            let limits = Limits::of(name).map(|limits| limits.bytes_per_second / 1e12);
            assert_eq!(limits, terabytes, "{name}");
        }
    }

    #[test]
    fn an_h100_decodes_7b_two_hundred_and_twenty_times_a_second_at_most() {
        let limits = Limits::of("NVIDIA H100 80GB HBM3").unwrap();
        let seconds = limits.decode_seconds(15_231_233_024, 57_344, 0);
        assert!((219.0..221.0).contains(&(1.0 / seconds)), "{seconds}");
        assert!(limits.decode_seconds(15_231_233_024, 57_344, 64 * 10_000) > 3.0 * seconds);
    }

    #[test]
    fn a_32b_layer_at_16k_takes_142_ms_at_two_fifths_of_an_h100() {
        // Forward, and twice that backward; what is computed again is not what was asked for.
        let numbers = 5120 * (2 * 5120 + 2 * 1024) + 3 * 5120 * 27_648;
        let operations = 3.0 * layer_operations(numbers, 16_384, 40, 128);
        let seconds = operations / (0.4 * 989e12);
        assert!((0.141..0.143).contains(&seconds), "{seconds}");
    }
}
