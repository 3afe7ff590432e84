//! A tree into canonical form, exactly. None where a function has no such form or the effort is
//! used up: then nothing is said.

use std::rc::Rc;

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::poly::{
    BITS_MAX, Budget, Exponent, Fraction, Kernel, Product, Sum, exponent, gcd, normal,
};
use super::tree::{Constant, Node};
use super::trig;

/// Largest argument of a factorial that is multiplied out.
const FACTORIAL_MAX: u64 = 2_100;

/// Most terms of a sum or product over a range.
const RANGE_MAX: i64 = 500;

/// The canonical form of `node`.
pub(super) fn fraction(node: &Node, budget: &Budget) -> Option<Fraction> {
    budget.spend(1)?;
    match node {
        Node::Number { value, .. } => Some(Fraction::rational(value.clone())),
        Node::Symbol(name) => Some(symbol(name)),
        Node::Word(word) => letters(word, budget),
        Node::Constant(Constant::Pi) => Some(Fraction::kernel(Kernel::Pi)),
        Node::Constant(Constant::E) => Some(Fraction::kernel(Kernel::E)),
        Node::Constant(Constant::I) => Some(Fraction::kernel(Kernel::I)),
        Node::Sum(items) => {
            let mut sum = Fraction::whole(0);
            for item in items {
                sum = sum.plus(&fraction(item, budget)?, budget)?;
            }
            Some(sum)
        }
        Node::Product(items) => {
            let mut product = Fraction::whole(1);
            for item in items {
                product = product.times(&fraction(item, budget)?, budget)?;
            }
            Some(product)
        }
        Node::Negative(inner) => Some(fraction(inner, budget)?.negated()),
        Node::Quotient(a, b) => fraction(a, budget)?.over(&fraction(b, budget)?, budget),
        Node::Power(base, power) => {
            raised(&fraction(base, budget)?, &fraction(power, budget)?, budget)
        }
        Node::Percent(inner) => fraction(inner, budget)?.over(&Fraction::whole(100), budget),
        Node::Call(name, arguments) => called(name, arguments, budget),
        Node::Apply(name, arguments) => {
            let arguments: Option<Vec<Fraction>> =
                arguments.iter().map(|argument| fraction(argument, budget)).collect();
            Some(opaque(name, arguments?))
        }
        Node::Ratio(items) if items.len() == 2 => {
            fraction(&items[0], budget)?.over(&fraction(&items[1], budget)?, budget)
        }
        Node::Over(name, children) => over(name, children, budget),
        Node::Constant(Constant::Infinity)
        | Node::Text(_)
        | Node::PlusMinus(..)
        | Node::Quantity(..)
        | Node::Matrix(_)
        | Node::Tuple { .. }
        | Node::Set(_)
        | Node::Builder(..)
        | Node::Named(_)
        | Node::Empty
        | Node::SetOp(..)
        | Node::Chain(..)
        | Node::List(..)
        | Node::Ellipsis
        | Node::Ratio(_)
        | Node::Modulo(..) => None,
    }
}

pub(super) fn symbol(name: &str) -> Fraction {
    Fraction::kernel(Kernel::Symbol(name.into()))
}

fn opaque(name: &str, arguments: Vec<Fraction>) -> Fraction {
    Fraction::kernel(Kernel::Call(name.into(), Rc::new(arguments)))
}

/// A word as the product of its letters.
fn letters(word: &str, budget: &Budget) -> Option<Fraction> {
    if !word.is_ascii() || word.len() > 12 {
        return Some(symbol(word));
    }
    let mut product = Fraction::whole(1);
    for letter in word.chars() {
        let factor = match letter {
            'e' => Fraction::kernel(Kernel::E),
            'i' => Fraction::kernel(Kernel::I),
            other => symbol(&other.to_string()),
        };
        product = product.times(&factor, budget)?;
    }
    Some(product)
}

/// base ^ power.
fn raised(base: &Fraction, power: &Fraction, budget: &Budget) -> Option<Fraction> {
    if let Some(power) = power.as_rational() {
        let index = power.denom().to_i64()?;
        let Some(times) = power.numer().to_i64() else {
            // Only units have large powers.
            let base = base.as_rational().filter(|base| base.abs().is_one())?;
            let odd = index == 1 && (power.numer() % BigInt::from(2)).is_one();
            return Some(Fraction::rational(if odd { base } else { BigRational::one() }));
        };
        return if index == 1 {
            base.power(times, budget)
        } else {
            base.root(times, index, budget)
        };
    }
    let mut result = Fraction::whole(1);
    for (product, coefficient) in &power.as_sum()?.0 {
        let part = if product.is_empty() {
            raised(base, &Fraction::rational(coefficient.clone()), budget)?
        } else {
            raised_to_product(base, coefficient, product, budget)?
        };
        result = result.times(&part, budget)?;
    }
    Some(result)
}

/// base ^ (coefficient · product), where the product is no number.
fn raised_to_product(
    base: &Fraction,
    coefficient: &BigRational,
    product: &Product,
    budget: &Budget,
) -> Option<Fraction> {
    let power = Exponent::new(coefficient.numer().to_i64()?, coefficient.denom().to_i64()?);
    let shared = Rc::new(product.clone());
    let term = |base: Option<Kernel>, power: Exponent| {
        (Kernel::Raised(base.map(Rc::new), Rc::clone(&shared)), power)
    };
    let mut raised = Product::new();
    if let Some(value) = base.as_rational() {
        if value.is_zero() {
            return None;
        }
        if value.is_negative() {
            raised.push(term(None, power));
        }
        for (part, sense) in [(value.numer(), 1), (value.denom(), -1)] {
            for (prime, count) in super::fraction::factors(part.magnitude(), budget)? {
                raised.push(term(Some(Kernel::Prime(prime)), power * exponent(sense * count)));
            }
        }
    } else {
        let (inner, scale) = base.as_sum()?.single()?;
        let [(kernel, inner_power)] = inner.as_slice() else { return None };
        if !scale.is_one() {
            return None;
        }
        let is_turn = *kernel == Kernel::E
            && product.as_slice() == [(Kernel::I, exponent(1)), (Kernel::Pi, exponent(1))];
        if is_turn {
            // e^{iπq} = cos πq + i sin πq
            let angle = power * inner_power;
            let cosine = trig::of_turn("cos", angle, budget)?;
            let sine = trig::of_turn("sin", angle, budget)?;
            let imaginary = sine.times(&Fraction::kernel(Kernel::I), budget)?;
            return cosine.plus(&imaginary, budget);
        }
        let fixed = matches!(kernel, Kernel::E | Kernel::Pi);
        if !fixed && *inner_power != exponent(1) {
            return None;
        }
        raised.push(term(Some(kernel.clone()), power * inner_power));
    }
    raised.sort();
    Some(Fraction::of(normal(BigRational::one(), raised, budget)?))
}

fn called(name: &'static str, arguments: &[Node], budget: &Budget) -> Option<Fraction> {
    let given: Option<Vec<Fraction>> =
        arguments.iter().map(|argument| fraction(argument, budget)).collect();
    let given = given?;
    match (name, given.as_slice()) {
        ("degrees", [angle]) => {
            let turn = Fraction::kernel(Kernel::Pi).over(&Fraction::whole(180), budget)?;
            angle.times(&turn, budget)
        }
        ("sqrt", [value, index]) => {
            let index =
                index.as_rational().filter(BigRational::is_integer)?.to_integer().to_i64()?;
            value.root(1, index, budget)
        }
        ("exp", [power]) => raised(&Fraction::kernel(Kernel::E), power, budget),
        ("sin" | "cos" | "tan" | "cot" | "sec" | "csc", [angle]) => trig::of(name, angle, budget),
        ("ln", [value]) => logarithm("ln", value, budget),
        ("log", [value]) => logarithm("log", value, budget),
        ("log", [base, value]) => {
            logarithm("ln", value, budget)?.over(&logarithm("ln", base, budget)?, budget)
        }
        ("arcsin" | "arccos" | "arctan", [value]) => {
            Some(trig::inverse(name, value, budget)?.unwrap_or_else(|| opaque(name, given.clone())))
        }
        ("abs", [value]) => absolute(value, budget),
        ("floor" | "ceil", [value]) => match value.as_rational() {
            Some(value) if name == "floor" => Some(Fraction::rational(value.floor())),
            Some(value) => Some(Fraction::rational(value.ceil())),
            None => Some(opaque(name, given)),
        },
        ("!", [value]) => factorial(value, budget),
        ("binom", [above, below]) => binomial(above, below, budget),
        ("mod", [value, modulus]) => {
            let (value, modulus) = (integer(value)?, integer(modulus)?);
            if !modulus.is_positive() {
                return None;
            }
            let rest = ((value % &modulus) + &modulus) % modulus;
            Some(Fraction::rational(BigRational::from_integer(rest)))
        }
        ("gcd" | "lcm", [first, rest @ ..]) if !rest.is_empty() => {
            let mut total = integer(first)?;
            for other in rest {
                let other = integer(other)?;
                let common = gcd(&total, &other);
                total = if name == "gcd" { common } else { (total * other).abs() / common };
            }
            Some(Fraction::rational(BigRational::from_integer(total)))
        }
        ("max" | "min", [first, rest @ ..]) => {
            let mut best = first.as_rational()?;
            for other in rest {
                let other = other.as_rational()?;
                best = if name == "max" { best.max(other) } else { best.min(other) };
            }
            Some(Fraction::rational(best))
        }
        _ => Some(opaque(name, given)),
    }
}

fn integer(value: &Fraction) -> Option<BigInt> {
    value.as_rational().filter(BigRational::is_integer).map(|value| value.to_integer())
}

fn absolute(value: &Fraction, budget: &Budget) -> Option<Fraction> {
    if let Some(number) = value.as_rational() {
        return Some(Fraction::rational(number.abs()));
    }
    if let Some((real, imaginary)) = value.as_sum().and_then(Sum::parts) {
        let square =
            real.times(&real, budget)?.plus(&imaginary.times(&imaginary, budget)?, budget)?;
        return Fraction::of(square).root(1, 2, budget);
    }
    // |-x| is |x|: the sign of the first term is dropped.
    let first = value.above.0.values().next()?;
    let value = if first.is_negative() { value.negated() } else { value.clone() };
    Some(opaque("abs", vec![value]))
}

/// ln of a product of positive numbers is a sum; of anything else it stands for itself.
fn logarithm(name: &str, value: &Fraction, budget: &Budget) -> Option<Fraction> {
    if value.is_zero() {
        return None;
    }
    if let Some((product, coefficient)) = value.as_sum().and_then(|sum| sum.single())
        && coefficient.is_positive()
    {
        let mut sum = Fraction::whole(0);
        for (part, sense) in [(coefficient.numer(), 1), (coefficient.denom(), -1)] {
            for (prime, count) in super::fraction::factors(part.magnitude(), budget)? {
                let base = Fraction::rational(BigRational::from_integer(prime.into()));
                let term =
                    opaque(name, vec![base]).times(&Fraction::whole(sense * count), budget)?;
                sum = sum.plus(&term, budget)?;
            }
        }
        for (kernel, power) in product {
            let positive = matches!(kernel, Kernel::E | Kernel::Pi | Kernel::Prime(_))
                || product.len() == 1 && *power == exponent(1);
            let log = match kernel {
                Kernel::E if name == "ln" => Fraction::whole(1),
                Kernel::Raised(Some(base), inner) if **base == Kernel::E && name == "ln" => {
                    Fraction::of(normal(BigRational::one(), (**inner).clone(), budget)?)
                }
                Kernel::Prime(prime) => {
                    let prime = BigRational::from_integer(prime.clone().into());
                    opaque(name, vec![Fraction::rational(prime)])
                }
                other if positive => opaque(name, vec![Fraction::kernel(other.clone())]),
                _ => return Some(opaque(name, vec![value.clone()])),
            };
            let times = BigRational::new((*power.numer()).into(), (*power.denom()).into());
            sum = sum.plus(&log.times(&Fraction::rational(times), budget)?, budget)?;
        }
        return Some(sum);
    }
    Some(opaque(name, vec![value.clone()]))
}

fn factorial(value: &Fraction, budget: &Budget) -> Option<Fraction> {
    if let Some(number) = value.as_rational() {
        let count = number.is_integer().then(|| number.to_integer().to_u64())??;
        if count > FACTORIAL_MAX {
            return None;
        }
        budget.spend(count + count * count / 1_000)?;
        let product: BigInt = (2..=count).map(BigInt::from).product();
        return Some(Fraction::rational(BigRational::from_integer(product)));
    }
    // (n + 2)! is (n + 2)(n + 1) n!
    let sum = value.as_sum()?;
    let shift = sum.0.get(&Vec::new()).cloned().unwrap_or_else(BigRational::zero);
    let steps = shift.is_integer().then(|| shift.to_integer().to_i64())??;
    if steps.abs() > 10 {
        return Some(opaque("!", vec![value.clone()]));
    }
    let base = value.minus(&Fraction::rational(shift), budget)?;
    let mut result = opaque("!", vec![base.clone()]);
    for step in 1..=steps.abs() {
        let at = if steps > 0 { step } else { 1 - step };
        let factor = base.plus(&Fraction::whole(at), budget)?;
        result = if steps > 0 {
            result.times(&factor, budget)?
        } else {
            result.over(&factor, budget)?
        };
    }
    Some(result)
}

fn binomial(above: &Fraction, below: &Fraction, budget: &Budget) -> Option<Fraction> {
    let Some(count) = integer(below) else {
        let rest = above.minus(below, budget)?;
        let under = factorial(below, budget)?.times(&factorial(&rest, budget)?, budget)?;
        return factorial(above, budget)?.over(&under, budget);
    };
    let mut count = count.to_i64().filter(|count| *count >= 0)?;
    if let Some(total) = integer(above).and_then(|total| total.to_i64())
        && total >= count
    {
        count = count.min(total - count);
    }
    if count > RANGE_MAX {
        return None;
    }
    let mut result = Fraction::whole(1);
    for step in 0..count {
        let factor = above.minus(&Fraction::whole(step), budget)?;
        let factor = factor.over(&Fraction::whole(step + 1), budget)?;
        result = result.times(&factor, budget)?;
        budget.spend(result.as_rational().map_or(4, |value| value.numer().bits() / 64 + 1))?;
    }
    Some(result)
}

/// ∑ and ∏ over a finite range of whole numbers; others stand for themselves.
fn over(name: &str, children: &[Node], budget: &Budget) -> Option<Fraction> {
    if let ("∑" | "∏", [Node::Symbol(_) | Node::Constant(Constant::I), from, to, body]) =
        (name, children)
    {
        let bounds = (
            fraction(from, budget)?.as_rational(),
            fraction(to, budget).and_then(|to| to.as_rational()),
        );
        if let (Some(from), Some(to)) = bounds {
            let from = from.is_integer().then(|| from.to_integer().to_i64())??;
            let to = to.is_integer().then(|| to.to_integer().to_i64())??;
            if to.checked_sub(from)? > RANGE_MAX {
                return None;
            }
            let mut total = Fraction::whole(i64::from(name == "∏"));
            for index in from..=to {
                let term = fraction(&substituted(body, &children[0], &Node::whole(index)), budget)?;
                total = if name == "∏" {
                    total.times(&term, budget)?
                } else {
                    total.plus(&term, budget)?
                };
                if total.as_rational().is_some_and(|total| super::poly::bits(&total) > BITS_MAX) {
                    return None;
                }
            }
            return Some(total);
        }
    }
    // The name of what runs does not matter.
    let renamed: Vec<Node> = match children {
        [variable @ Node::Symbol(_), rest @ ..] if rest.len() >= 2 => rest
            .iter()
            .map(|child| substituted(child, variable, &Node::Symbol("⁎".into())))
            .collect(),
        _ => children.to_vec(),
    };
    let arguments: Option<Vec<Fraction>> = renamed
        .iter()
        .map(|child| match child {
            Node::Constant(Constant::Infinity) => Some(symbol("∞")),
            other => fraction(other, budget),
        })
        .collect();
    Some(opaque(name, arguments?))
}

/// `node` with every `variable` replaced.
pub(super) fn substituted(node: &Node, variable: &Node, value: &Node) -> Node {
    if node == variable {
        return value.clone();
    }
    let again = |node: &Node| substituted(node, variable, value);
    match node {
        Node::Word(word) => {
            let name = variable.to_string();
            if word.is_ascii() && name.len() == 1 && word.contains(&name) {
                let letter = |letter: char| match letter {
                    'e' => Node::Constant(Constant::E),
                    'i' => Node::Constant(Constant::I),
                    other => Node::Symbol(other.to_string()),
                };
                Node::Product(word.chars().map(|c| again(&letter(c))).collect())
            } else {
                node.clone()
            }
        }
        other => other.map(&again),
    }
}
