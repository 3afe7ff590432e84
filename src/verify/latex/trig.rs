//! Sine, cosine and their kin in canonical form: exact at multiples of π/12 and π/5, sums of angles
//! taken apart, everything else in sine and cosine of a positive angle.

use std::rc::Rc;

use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::poly::{Budget, Exponent, Fraction, Kernel, exponent};

/// Largest multiple of an angle that is taken apart.
const MULTIPLE_MAX: i64 = 6;

/// `name` of `angle`.
pub(super) fn of(name: &str, angle: &Fraction, budget: &Budget) -> Option<Fraction> {
    match name {
        "tan" => sine(angle, budget)?.over(&cosine(angle, budget)?, budget),
        "cot" => cosine(angle, budget)?.over(&sine(angle, budget)?, budget),
        "sec" => cosine(angle, budget)?.inverse(budget),
        "csc" => sine(angle, budget)?.inverse(budget),
        "cos" => cosine(angle, budget),
        _ => sine(angle, budget),
    }
}

/// `sin` or `cos` of `turn`·π.
pub(super) fn of_turn(name: &str, turn: Exponent, budget: &Budget) -> Option<Fraction> {
    // cos πq = sin π(q + 1/2)
    let half = Exponent::new(1, 2);
    let turn = if name == "cos" { turn + half } else { turn };
    let mut turn = turn - exponent(2) * (turn / exponent(2)).floor();
    let mut sign = 1;
    if turn >= exponent(1) {
        turn -= exponent(1);
        sign = -1;
    }
    if turn > half {
        turn = exponent(1) - turn;
    }
    let value = table(turn, budget)?;
    Some(if sign < 0 { value.negated() } else { value })
}

/// sin πq for q from 0 to 1/2.
fn table(turn: Exponent, budget: &Budget) -> Option<Fraction> {
    let (above, below) = (*turn.numer(), *turn.denom());
    let root = |n: i64| Fraction::whole(n).root(1, 2, budget);
    let quarter = |a: Fraction, b: Fraction| a.plus(&b, budget)?.over(&Fraction::whole(4), budget);
    match (above, below) {
        (0, _) => Some(Fraction::whole(0)),
        (1, 2) => Some(Fraction::whole(1)),
        (1, 6) => Fraction::whole(1).over(&Fraction::whole(2), budget),
        (1, 4) => root(2)?.over(&Fraction::whole(2), budget),
        (1, 3) => root(3)?.over(&Fraction::whole(2), budget),
        (1, 12) => quarter(root(6)?, root(2)?.negated()),
        (5, 12) => quarter(root(6)?, root(2)?),
        (1, 10) => quarter(root(5)?, Fraction::whole(-1)),
        (3, 10) => quarter(root(5)?, Fraction::whole(1)),
        _ => {
            let pi = Fraction::kernel(Kernel::Pi);
            let turn = BigRational::new(above.into(), below.into());
            Some(kernel("sin", pi.times(&Fraction::rational(turn), budget)?))
        }
    }
}

fn kernel(name: &str, angle: Fraction) -> Fraction {
    Fraction::kernel(Kernel::Call(name.into(), Rc::new(vec![angle])))
}

/// The multiple of π that `angle` is.
fn turn(angle: &Fraction) -> Option<Exponent> {
    if angle.is_zero() {
        return Some(Exponent::zero());
    }
    let (product, coefficient) = angle.as_sum()?.single()?;
    if product.as_slice() != [(Kernel::Pi, exponent(1))] {
        return None;
    }
    ratio(coefficient)
}

fn ratio(value: &BigRational) -> Option<Exponent> {
    let small = |n: i64| (n.abs() < 1 << 30).then_some(n);
    Some(Exponent::new(small(value.numer().to_i64()?)?, small(value.denom().to_i64()?)?))
}

fn sine(angle: &Fraction, budget: &Budget) -> Option<Fraction> {
    split("sin", angle, budget)
}

fn cosine(angle: &Fraction, budget: &Budget) -> Option<Fraction> {
    split("cos", angle, budget)
}

fn split(name: &str, angle: &Fraction, budget: &Budget) -> Option<Fraction> {
    budget.spend(8)?;
    if let Some(turn) = turn(angle) {
        return of_turn(name, turn, budget);
    }
    let Some(sum) = angle.as_sum() else {
        return signed(name, angle);
    };
    let mut terms = sum.0.iter();
    let (product, coefficient) = terms.next()?;
    if terms.len() > 0 {
        if sum.0.len() > 4 {
            return signed(name, angle);
        }
        // sin(a + b) = sin a cos b + cos a sin b
        let first =
            Fraction::of(super::poly::normal(coefficient.clone(), product.clone(), budget)?);
        let rest = angle.minus(&first, budget)?;
        return added(name, &first, &rest, budget);
    }
    let multiple = coefficient.is_integer().then(|| coefficient.to_integer().to_i64()).flatten();
    match multiple {
        Some(times) if times.abs() > 1 && times.abs() <= MULTIPLE_MAX => {
            let one =
                Fraction::of(super::poly::normal(BigRational::one(), product.clone(), budget)?);
            let rest = one.times(&Fraction::whole(times.abs() - 1), budget)?;
            let value = added(name, &one, &rest, budget)?;
            Some(if times < 0 && name == "sin" { value.negated() } else { value })
        }
        _ => signed(name, angle),
    }
}

fn added(name: &str, a: &Fraction, b: &Fraction, budget: &Budget) -> Option<Fraction> {
    let (sine_a, cosine_a) = (sine(a, budget)?, cosine(a, budget)?);
    let (sine_b, cosine_b) = (sine(b, budget)?, cosine(b, budget)?);
    if name == "sin" {
        let left = sine_a.times(&cosine_b, budget)?;
        left.plus(&cosine_a.times(&sine_b, budget)?, budget)
    } else {
        let left = cosine_a.times(&cosine_b, budget)?;
        left.minus(&sine_a.times(&sine_b, budget)?, budget)
    }
}

/// The function of an angle whose first coefficient is positive.
fn signed(name: &str, angle: &Fraction) -> Option<Fraction> {
    let first = angle.above.0.values().next()?;
    if !first.is_negative() {
        return Some(kernel(name, angle.clone()));
    }
    let value = kernel(name, angle.negated());
    Some(if name == "sin" { value.negated() } else { value })
}

/// The angle whose sine, cosine or tangent is `value`, where it is in the table; `Some(None)` where
/// it is not.
pub(super) fn inverse(name: &str, value: &Fraction, budget: &Budget) -> Option<Option<Fraction>> {
    const TURNS: [(i64, i64); 9] =
        [(0, 1), (1, 12), (1, 10), (1, 6), (1, 4), (3, 10), (1, 3), (5, 12), (1, 2)];
    for (above, below) in TURNS {
        for sign in [1, -1] {
            let turn = Exponent::new(sign * above, below);
            let sine = of_turn("sin", turn, budget)?;
            let known = if name == "arctan" {
                let cosine = of_turn("cos", turn, budget)?;
                if cosine.is_zero() {
                    continue;
                }
                sine.over(&cosine, budget)?
            } else {
                sine
            };
            if super::zero::difference(&known, value, budget)?.is_zero() {
                let turn = if name == "arccos" { Exponent::new(1, 2) - turn } else { turn };
                let turn = BigRational::new((*turn.numer()).into(), (*turn.denom()).into());
                let angle =
                    Fraction::kernel(Kernel::Pi).times(&Fraction::rational(turn), budget)?;
                return Some(Some(angle));
            }
        }
    }
    Some(None)
}
