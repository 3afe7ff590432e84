//! Decimals that stand for exact values: correctly rounded, with enough places.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Signed;

use super::evaluate::{At, value};
use super::poly::Budget;
use super::tree::Node;
use super::{canon, interval};

/// Decimals of a float that are looked at: the last ones of a double are noise.
const PLACES_MAX: u32 = 12;

/// Fewest significant digits: `0.000001` is not a rounded anything.
const DIGITS_MIN: usize = 4;

/// The number and its decimals, if `node` is written as a decimal.
pub(super) fn decimal(node: &Node) -> Option<(BigRational, u32)> {
    match node {
        Node::Number { value, places: Some(places) } => Some((value.clone(), *places)),
        Node::Negative(inner) => decimal(inner).map(|(value, places)| (-value, places)),
        _ => None,
    }
}

/// Whether `written` is `exact` rounded to its own places, of which there are at least `least`.
pub(super) fn stands_for(written: &Node, exact: &Node, least: u32, budget: &Budget) -> bool {
    let Some((value_written, places)) = decimal(written) else { return false };
    if decimal(exact).is_some() || places < least {
        return false;
    }
    let places = places.min(PLACES_MAX);
    let digits = value_written.abs() * BigRational::from_integer(BigInt::from(10).pow(places));
    let wanted = DIGITS_MIN.min(least as usize);
    if digits.to_integer().to_string().trim_start_matches('0').len() < wanted {
        return false;
    }
    let half = BigRational::new(1.into(), BigInt::from(2) * BigInt::from(10).pow(places));
    let (low, high) = (&value_written - &half, &value_written + &half);
    if let Some(exact) = canon::fraction(exact, budget).and_then(|exact| exact.as_rational()) {
        return low <= exact && exact <= high;
    }
    const BITS: u64 = 128;
    let at = At { point: &[], bits: BITS, decimal: false, budget };
    let Some(found) = value(exact, &at) else { return false };
    found.imaginary.is_none()
        && interval::side(&low, &found.real, BITS) == Some(-1)
        && interval::side(&high, &found.real, BITS) == Some(1)
}
