//! Whether two values are equal: canonical form, identity modulo primes, intervals with a bound
//! for algebraic numbers, and random points for functions.

use num_rational::BigRational;
use num_traits::Zero;

use super::Decision;
use super::canon;
use super::evaluate::{At, Complex, value};
use super::modular;
use super::poly::{Budget, Fraction, Kernel, Sum};
use super::separation::separation;
use super::tree::{Constant, Node};

/// Precision of the first and of the second look, in bits.
const BITS: [u64; 2] = [96, 320];

/// Precision at which values that still cannot be told apart are given up.
const BITS_MAX: u64 = 1_024;

/// Steps that canonical forms of one pair of values may take.
const CANONICAL_STEPS: u64 = 40_000;

/// Steps for the identity test modulo primes.
const MODULAR_STEPS: u64 = 20_000;

/// Steps for intervals.
const NUMERIC_STEPS: u64 = 40_000;

/// Points at which functions are compared.
const POINTS: [(i64, i64); 12] = [
    (1327, 1000),
    (2719, 997),
    (-1483, 1009),
    (613, 991),
    (7411, 983),
    (-577, 977),
    (3181, 971),
    (-2203, 967),
    (149, 953),
    (5021, 947),
    (271, 941),
    (-911, 937),
];

/// Points that must agree, and be defined on both sides.
const POINTS_MIN: usize = 6;

/// Whether the values of `a` and `b` are equal.
pub(super) fn same(a: &Node, b: &Node, budget: &Budget) -> Decision {
    if a == b {
        return Decision::equal("written the same");
    }
    if let (Some(x), Some(y)) = (number(a), number(b)) {
        return if x == y {
            Decision::equal("the same number")
        } else {
            Decision::different("different numbers")
        };
    }
    if let Some(decision) = budget.share(CANONICAL_STEPS, |share| canonical(a, b, share)) {
        return decision;
    }
    match budget.share(MODULAR_STEPS, |share| modular::same(a, b, share)) {
        Some(true) => return Decision::equal("identical modulo three 61-bit primes"),
        Some(false) => return Decision::different("different modulo a 61-bit prime"),
        None => {}
    }
    budget.share(NUMERIC_STEPS, |share| numeric(a, b, share))
}

/// What canonical forms say. None if nothing.
fn canonical(a: &Node, b: &Node, budget: &Budget) -> Option<Decision> {
    let (x, y) = (canon::fraction(a, budget)?, canon::fraction(b, budget)?);
    if x == y {
        return Some(Decision::equal("the same in canonical form"));
    }
    if let (Some(_), Some(_)) = (x.as_rational(), y.as_rational()) {
        return Some(Decision::different("different numbers"));
    }
    let difference = difference(&x, &y, budget)?;
    if difference.is_zero() {
        return Some(Decision::equal("the difference is zero in canonical form"));
    }
    is_rational(&difference).then(|| Decision::different("different rational functions"))
}

/// A number that is written as one.
pub(super) fn number(node: &Node) -> Option<BigRational> {
    match node {
        Node::Number { value, .. } => Some(value.clone()),
        Node::Negative(inner) => number(inner).map(|value| -value),
        Node::Quotient(a, b) => {
            let below = number(b).filter(|below| !below.is_zero())?;
            Some(number(a)? / below)
        }
        _ => None,
    }
}

/// The numerator of x - y.
pub(super) fn difference(x: &Fraction, y: &Fraction, budget: &Budget) -> Option<Sum> {
    if x.below == y.below {
        return x.above.plus(&y.above.negated(), budget);
    }
    let left = x.above.times(&y.below, budget)?;
    left.plus(&y.above.times(&x.below, budget)?.negated(), budget)
}

/// Whether a sum has variables only: then it is zero only if it has no term.
fn is_rational(sum: &Sum) -> bool {
    sum.0.keys().flatten().all(|(kernel, power)| {
        matches!(kernel, Kernel::Symbol(_) | Kernel::I) && power.is_integer()
    })
}

fn numeric(a: &Node, b: &Node, budget: &Budget) -> Decision {
    let mut names = Vec::new();
    variables(a, &mut names);
    variables(b, &mut names);
    if names.is_empty() {
        return constants(a, b, budget);
    }
    if names.len() > 8 {
        return Decision::unknown("too many variables");
    }
    functions(a, b, &names, budget)
}

/// The names of the variables in a tree.
pub(super) fn variables(node: &Node, names: &mut Vec<String>) {
    let mut add = |name: &str| {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    };
    match node {
        Node::Symbol(name) => add(name),
        Node::Word(word) => {
            for letter in word.chars().filter(|letter| !matches!(letter, 'e' | 'i')) {
                add(&letter.to_string());
            }
        }
        _ => {
            for child in node.children() {
                variables(child, names);
            }
        }
    }
}

/// Two values without variables.
fn constants(a: &Node, b: &Node, budget: &Budget) -> Decision {
    let has_log = |node: &Node| matches!(node, Node::Call("log", items) if items.len() == 1);
    let open = a.any(&has_log) || b.any(&has_log);
    let apart = |bits: u64, decimal: bool| -> Option<Complex> {
        let at = At { point: &[], bits, decimal, budget };
        value(a, &at)?.minus(&value(b, &at)?, bits)
    };
    let mut seen = false;
    for bits in BITS {
        let Some(difference) = apart(bits, false) else { break };
        seen = true;
        if difference.is_nonzero() {
            // `log` without a base may mean either one.
            let both = !open || apart(bits, true).is_some_and(|other| other.is_nonzero());
            return if both {
                Decision::different("intervals that do not meet")
            } else {
                Decision::unknown("depends on the base of `log`")
            };
        }
    }
    if !seen {
        return Decision::unknown("no value that can be bounded");
    }
    let gap = Node::Sum(vec![a.clone(), Node::Negative(Box::new(b.clone()))]);
    if let Some(needed) = separation(&gap) {
        let bits = needed + 64;
        return match apart(bits, false) {
            Some(difference) if difference.is_nonzero() => {
                Decision::different("intervals that do not meet")
            }
            Some(difference)
                if difference.magnitude() < -i64::try_from(needed).unwrap_or(i64::MAX) =>
            {
                Decision::equal("closer than two different algebraic numbers can be")
            }
            Some(_) | None => Decision::unknown("not told apart"),
        };
    }
    match apart(BITS_MAX, false) {
        Some(difference) if difference.is_nonzero() => {
            Decision::different("intervals that do not meet")
        }
        Some(_) => Decision::unknown("equal to 300 digits, but not proved equal"),
        None => Decision::unknown("no value that can be bounded"),
    }
}

/// Two functions of `names`, at points.
fn functions(a: &Node, b: &Node, names: &[String], budget: &Budget) -> Decision {
    const PRECISION: u64 = 128;
    // 30 digits: chance does not make two different functions agree that well.
    const NEAR: i64 = -96;
    let (mut agreed, mut lonely) = (0, 0);
    for round in 0..POINTS.len() {
        let point: Vec<(String, BigRational)> = names
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let (above, below) = POINTS[(round + 5 * index) % POINTS.len()];
                (name.clone(), BigRational::new(above.into(), below.into()))
            })
            .collect();
        let at = At { point: &point, bits: PRECISION, decimal: false, budget };
        match (value(a, &at), value(b, &at)) {
            (Some(x), Some(y)) => {
                let Some(difference) = x.minus(&y, PRECISION) else { continue };
                if difference.is_nonzero() {
                    return Decision::different("different values at a point");
                }
                if difference.magnitude() < NEAR + x.magnitude().max(0) {
                    agreed += 1;
                }
            }
            (Some(_), None) | (None, Some(_)) => lonely += 1,
            (None, None) => {}
        }
    }
    if agreed >= POINTS_MIN && lonely == 0 {
        return Decision::equal("equal to 29 digits at random points");
    }
    Decision::unknown("not proved equal, and not told apart")
}

/// The sign of a constant, where it is certain.
pub(super) fn sign(node: &Node, budget: &Budget) -> Option<i8> {
    if let Some(value) = canon::fraction(node, budget).and_then(|value| value.as_rational()) {
        return Some(match value.cmp(&BigRational::zero()) {
            std::cmp::Ordering::Less => -1,
            std::cmp::Ordering::Equal => 0,
            std::cmp::Ordering::Greater => 1,
        });
    }
    if node.any(&|node| matches!(node, Node::Constant(Constant::Infinity))) {
        return None;
    }
    for bits in BITS {
        let at = At { point: &[], bits, decimal: false, budget };
        let found = value(node, &at)?;
        if found.imaginary.is_some() {
            return None;
        }
        if let Some(sign) = found.real.sign() {
            return Some(sign);
        }
    }
    None
}
