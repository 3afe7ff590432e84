//! How far from zero an algebraic number must be if it is not zero.

use num_rational::BigRational;
use num_traits::ToPrimitive;

use super::poly::Budget;
use super::tree::{Constant, Node};

/// What bounds an algebraic number away from zero (Burnikel, Fleischer, Mehlhorn and Schirra, "A
/// strong and easily computable separation bound for arithmetic expressions involving radicals"):
/// logarithms of the bounds of its numerator and denominator, and the degree it may have.
struct Algebraic {
    above: f64,
    below: f64,
}

/// If `node` is not zero, its absolute value is at least 2^-this. None if it is not algebraic, or
/// the bound is of no use.
pub(super) fn separation(node: &Node) -> Option<u64> {
    let (mut degree, mut roots, mut circle) = (1.0_f64, Vec::new(), 1_u64);
    let bound = algebraic(node, &mut roots, &mut circle)?;
    for (_, index) in &roots {
        degree *= f64::from(*index);
    }
    // Cosines of multiples of π/n lie in the real part of the field of the 2n-th roots of one.
    degree *= (totient(2 * circle) as f64 / 2.0).max(1.0);
    let needed = bound.below + (degree * degree - 1.0) * bound.above.max(0.0) + 8.0;
    (needed < 6_000.0).then(|| needed.max(8.0).ceil() as u64)
}

fn totient(value: u64) -> u64 {
    let (mut rest, mut result, mut prime) = (value, value, 2);
    while prime * prime <= rest {
        if rest % prime == 0 {
            while rest % prime == 0 {
                rest /= prime;
            }
            result -= result / prime;
        }
        prime += 1;
    }
    if rest > 1 { result - result / rest } else { result }
}

fn algebraic(node: &Node, roots: &mut Vec<(Node, u32)>, circle: &mut u64) -> Option<Algebraic> {
    let log = |bits: u64| bits as f64;
    match node {
        Node::Number { value, .. } => {
            Some(Algebraic { above: log(value.numer().bits()), below: log(value.denom().bits()) })
        }
        Node::Constant(Constant::I) => {
            note(roots, node, 2);
            Some(Algebraic { above: 0.0, below: 0.0 })
        }
        Node::Sum(items) => {
            let mut total = Algebraic { above: 0.0, below: 0.0 };
            for (index, item) in items.iter().enumerate() {
                let next = algebraic(item, roots, circle)?;
                total = if index == 0 {
                    next
                } else {
                    let larger = (total.above + next.below).max(total.below + next.above);
                    Algebraic { above: larger + 1.0, below: total.below + next.below }
                };
            }
            Some(total)
        }
        Node::Product(items) => {
            let mut total = Algebraic { above: 0.0, below: 0.0 };
            for item in items {
                let next = algebraic(item, roots, circle)?;
                total.above += next.above;
                total.below += next.below;
            }
            Some(total)
        }
        Node::Negative(inner) => algebraic(inner, roots, circle),
        Node::Quotient(a, b) => {
            let (a, b) = (algebraic(a, roots, circle)?, algebraic(b, roots, circle)?);
            Some(Algebraic { above: a.above + b.below, below: a.below + b.above })
        }
        Node::Power(base, power) => raised(base, power, roots, circle),
        Node::Call("sqrt", arguments) => {
            let [value, Node::Number { value: index, .. }] = arguments.as_slice() else {
                return None;
            };
            let index = index.to_integer().to_u32().filter(|index| (2..=12).contains(index))?;
            let inner = algebraic(value, roots, circle)?;
            Some(rooted(&inner, value, index, roots))
        }
        Node::Call(name @ ("sin" | "cos"), arguments) => {
            let turn = turn(arguments.first()?)?;
            let count = turn.denom().to_u64().filter(|count| *count <= 100)?;
            // sin πq is cos π(1/2 - q).
            let count = if *name == "sin" { 2 * count } else { count };
            *circle = lcm(*circle, count).filter(|all| *all <= 1_000)?;
            // Twice it is an algebraic integer, and so small are all its conjugates.
            Some(Algebraic { above: 1.0, below: 1.0 })
        }
        Node::Call("tan", arguments) => {
            let sine = algebraic(&Node::Call("sin", arguments.clone()), roots, circle)?;
            Some(Algebraic { above: sine.above + 1.0, below: sine.below + 1.0 })
        }
        _ => None,
    }
}

fn raised(
    base: &Node,
    power: &Node,
    roots: &mut Vec<(Node, u32)>,
    circle: &mut u64,
) -> Option<Algebraic> {
    let budget = Budget::new(200);
    let power = super::canon::fraction(power, &budget)?.as_rational()?;
    let times = power.numer().to_i64().filter(|times| times.abs() <= 64)?;
    let index = power.denom().to_u32().filter(|index| *index <= 12)?;
    let inner = algebraic(base, roots, circle)?;
    let inner = if index == 1 { inner } else { rooted(&inner, base, index, roots) };
    let (above, below) = (inner.above * times.abs() as f64, inner.below * times.abs() as f64);
    Some(if times < 0 {
        Algebraic { above: below, below: above }
    } else {
        Algebraic { above, below }
    })
}

/// The multiple of π that an angle is.
fn turn(angle: &Node) -> Option<BigRational> {
    let budget = Budget::new(500);
    let quotient = Node::Quotient(Box::new(angle.clone()), Box::new(Node::Constant(Constant::Pi)));
    super::canon::fraction(&quotient, &budget)?.as_rational()
}

fn lcm(a: u64, b: u64) -> Option<u64> {
    let (mut x, mut y) = (a, b);
    while y > 0 {
        (x, y) = (y, x % y);
    }
    a.checked_mul(b / x.max(1))
}

fn note(roots: &mut Vec<(Node, u32)>, node: &Node, index: u32) {
    if !roots.iter().any(|(known, degree)| known == node && *degree == index) {
        roots.push((node.clone(), index));
    }
}

fn rooted(inner: &Algebraic, node: &Node, index: u32, roots: &mut Vec<(Node, u32)>) -> Algebraic {
    note(roots, node, index);
    let degree = f64::from(index);
    if inner.above >= inner.below {
        let above = (inner.above + (degree - 1.0) * inner.below) / degree;
        Algebraic { above, below: inner.below }
    } else {
        let below = ((degree - 1.0) * inner.above + inner.below) / degree;
        Algebraic { above: inner.above, below }
    }
}
