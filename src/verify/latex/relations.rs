//! Assignments, equations, chains and congruences.

use num_rational::BigRational;
use num_traits::{Signed, Zero};

use super::compare::{Comparison, PARAMETERS, together};
use super::tree::{Node, Relation};
use super::{Decision, Outcome, canon, shape, zero};

impl Comparison<'_> {
    /// Assignments, equations and congruences.
    pub(super) fn relations(&self, a: &Node, b: &Node, depth: usize) -> Option<Decision> {
        let (in_a, in_b) = (member(a), member(b));
        if in_a.is_some() || in_b.is_some() {
            return Some(self.decide(in_a.unwrap_or(a), in_b.unwrap_or(b), depth + 1));
        }
        if let (Some((_, x)), Some((_, y))) = (shape::assignment(a), shape::assignment(b)) {
            let values = self.decide(x, y, depth + 1);
            if values.is_equal() {
                return Some(values);
            }
            return Some(self.equations(a, b).unwrap_or(values));
        }
        let (chain_a, chain_b) = (matches!(a, Node::Chain(..)), matches!(b, Node::Chain(..)));
        if chain_a && chain_b {
            if let (Some(x), Some(y)) = (settled(a), settled(b)) {
                let values = self.decide(x, y, depth + 1);
                if values.is_equal() {
                    return Some(values);
                }
            }
            return self
                .sets(a, b)
                .or_else(|| self.equations(a, b))
                .or_else(|| self.chains(a, b, depth));
        }
        if let Some(decision) = self.congruences(a, b) {
            return Some(decision);
        }
        if chain_a || chain_b {
            let (x, y) = (settled(a).unwrap_or(a), settled(b).unwrap_or(b));
            if x == a && y == b {
                return None;
            }
            return Some(self.decide(x, y, depth + 1));
        }
        None
    }

    /// Equations in any variables: the same up to a factor.
    fn equations(&self, a: &Node, b: &Node) -> Option<Decision> {
        let (p, relation_p) = self.one_sided(a)?;
        let (q, relation_q) = self.one_sided(b)?;
        let mut names = Vec::new();
        zero::variables(a, &mut names);
        if names.is_empty() {
            return None;
        }
        let (_, c) = p.0.iter().next_back()?;
        let (product, _) = p.0.iter().next_back()?;
        let Some(d) = q.0.get(product) else {
            return Some(Decision::different("equations with different terms"));
        };
        let left = p.scaled(d);
        let right = q.scaled(c);
        let factor = c / d;
        let fits = match (relation_p, relation_q) {
            (Relation::Equal, Relation::Equal) | (Relation::Unequal, Relation::Unequal) => true,
            (p, q) if p.is_order() && q.is_order() => {
                if factor.is_negative() {
                    p == q.flipped()
                } else {
                    p == q
                }
            }
            _ => false,
        };
        Some(if !fits {
            Decision::different("different relations")
        } else if left == right {
            Decision::equal("the same up to a factor")
        } else if left
            .0
            .keys()
            .chain(right.0.keys())
            .flatten()
            .all(|(kernel, _)| matches!(kernel, super::poly::Kernel::Symbol(_)))
        {
            Decision::different("equations with different coefficients")
        } else {
            Decision::unknown("equations that could not be matched")
        })
    }

    /// `a = b` as a sum that is zero, without lower parts.
    fn one_sided(&self, node: &Node) -> Option<(super::poly::Sum, Relation)> {
        let Node::Chain(sides, relations) = node else { return None };
        let ([left, right], [relation]) = (sides.as_slice(), relations.as_slice()) else {
            return None;
        };
        let left = canon::fraction(left, self.budget)?;
        let right = canon::fraction(right, self.budget)?;
        // An order survives multiplying by what is above zero only.
        if relation.is_order() && (left.as_sum().is_none() || right.as_sum().is_none()) {
            return None;
        }
        let relation = if *relation == Relation::Near { Relation::Equal } else { *relation };
        Some((zero::difference(&left, &right, self.budget)?, relation))
    }

    /// Chains side by side, or one of them turned round.
    fn chains(&self, a: &Node, b: &Node, depth: usize) -> Option<Decision> {
        let (Node::Chain(sides_a, relations_a), Node::Chain(sides_b, relations_b)) = (a, b) else {
            return None;
        };
        if sides_a.len() != sides_b.len() {
            return Some(Decision::unknown("relations of different length"));
        }
        let turned: Vec<Relation> = relations_b.iter().rev().map(|r| r.flipped()).collect();
        let mut best = Decision::different("different relations");
        for (relations, turn) in [(relations_b, false), (&turned, true)] {
            if relations != relations_a {
                continue;
            }
            let others: Vec<&Node> =
                if turn { sides_b.iter().rev().collect() } else { sides_b.iter().collect() };
            let pairs = sides_a.iter().zip(others);
            let decided = together(pairs.map(|(x, y)| self.decide(x, y, depth + 1)));
            if decided.is_equal() {
                return Some(decided);
            }
            best = decided;
        }
        // A relation that differs somewhere may still mean the same.
        Some(match best.outcome {
            Outcome::Different if relations_a.iter().any(|r| matches!(r, Relation::Other(_))) => {
                Decision::unknown("relations that could not be matched")
            }
            _ => best,
        })
    }

    /// x ≡ 3 (mod 7), 3 (mod 7), 7k + 3.
    fn congruences(&self, a: &Node, b: &Node) -> Option<Decision> {
        let is_class = |node: &Node| matches!(node, Node::Modulo(..));
        if !is_class(a) && !is_class(b) {
            return None;
        }
        let (Some(x), Some(y)) = (self.class(a), self.class(b)) else {
            // `9 (mod 11)` is 9 where no modulus is asked for.
            let bare = |node: &Node| match node {
                Node::Modulo(inner, _) => settled(inner).unwrap_or(inner).clone(),
                other => settled(other).unwrap_or(other).clone(),
            };
            return Some(self.values(&bare(a), &bare(b)));
        };
        let same = x.1 == y.1 && ((&x.0 - &y.0) / &x.1).is_integer();
        Some(if same {
            Decision::equal("the same residue class")
        } else {
            Decision::different("different residue classes")
        })
    }

    /// Residue and modulus.
    fn class(&self, node: &Node) -> Option<(BigRational, BigRational)> {
        match node {
            Node::Modulo(inner, modulus) => {
                let residue = match &**inner {
                    Node::Chain(sides, _) => sides.last()?,
                    other => other,
                };
                let modulus = canon::fraction(modulus, self.budget)?.as_rational()?;
                let residue = canon::fraction(residue, self.budget)?.as_rational()?;
                modulus.is_positive().then_some((residue, modulus))
            }
            other => {
                let value = shape::assignment(other).map_or(other, |(_, value)| value);
                let mut names = Vec::new();
                zero::variables(value, &mut names);
                let [name] = names.as_slice() else { return None };
                if !PARAMETERS.contains(&name.as_str()) {
                    return None;
                }
                let at = |n: i64| {
                    let node =
                        canon::substituted(value, &Node::Symbol(name.clone()), &Node::whole(n));
                    canon::fraction(&node, self.budget)?.as_rational()
                };
                let (zero, one, two) = (at(0)?, at(1)?, at(2)?);
                let step = &one - &zero;
                (&two - &one == step && !step.is_zero()).then(|| (zero, step.abs()))
            }
        }
    }
}

/// What `x ∈ S` says.
fn member(node: &Node) -> Option<&Node> {
    match node {
        Node::Chain(sides, relations) if relations.as_slice() == [Relation::In] => sides.last(),
        _ => None,
    }
}

/// What an assignment or a calculation comes to.
fn settled(node: &Node) -> Option<&Node> {
    shape::assignment(node).map(|(_, value)| value).or_else(|| shape::calculation(node))
}
