//! Groups the examples of one step into micro-batches, so that little is padded.
//!
//! Decides nothing about the loss: the step divides by all of its trained tokens, so which examples
//! run together changes only how long it takes. Nothing is cut and nothing is left out.

/// What a micro-batch may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Examples at most.
    pub examples: usize,
    /// Tokens at most, padding included; one longer example still runs alone.
    pub tokens: usize,
}

/// Groups examples of the given lengths: similar ones together, the longest first, so that whatever
/// does not fit into memory shows in the first micro-batch. Gives positions in `lengths`.
pub fn group(lengths: &[usize], limits: Limits) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    // Ties keep their order: the same step is always grouped the same way.
    order.sort_by_key(|position| std::cmp::Reverse(lengths[*position]));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut longest = 0;
    for position in order {
        let fits = groups.last().is_some_and(|group| {
            group.len() < limits.examples && longest * (group.len() + 1) <= limits.tokens
        });
        match groups.last_mut() {
            Some(group) if fits => group.push(position),
            Some(_) | None => {
                longest = lengths[position];
                groups.push(vec![position]);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Limits, group};

    #[test]
    fn similar_lengths_run_together() {
        let limits = Limits { examples: 2, tokens: 1_000 };
        assert_eq!(group(&[5, 90, 6, 88, 7], limits), [vec![1, 3], vec![4, 2], vec![0]]);
    }

    #[test]
    fn a_token_budget_counts_the_padding() {
        let limits = Limits { examples: 8, tokens: 20 };
        assert_eq!(group(&[10, 9, 9, 30], limits), [vec![3], vec![0, 1], vec![2]]);
    }

    #[test]
    fn equal_lengths_keep_their_order() {
        let limits = Limits { examples: 4, tokens: 1_000 };
        assert_eq!(group(&[3, 3, 3], limits), [vec![0, 1, 2]]);
    }

    proptest! {
        #[test]
        fn packing_loses_no_token(
            lengths in proptest::collection::vec(1usize..200, 0..60),
            examples in 1usize..10,
            tokens in 1usize..500,
        ) {
            let groups = group(&lengths, Limits { examples, tokens });
            let mut seen: Vec<usize> = groups.iter().flatten().copied().collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
            for group in groups {
                prop_assert!(group.len() <= examples);
                let longest = group.iter().map(|position| lengths[*position]).max().unwrap_or(0);
                prop_assert!(group.len() == 1 || longest * group.len() <= tokens);
            }
        }
    }
}
