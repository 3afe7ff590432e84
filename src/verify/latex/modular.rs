//! Identity of rational expressions, tested at random points modulo three 61-bit primes: handles
//! powers that nobody can multiply out. Expressions that differ agree with probability below 2^-100.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, ToPrimitive};

use super::poly::Budget;
use super::tree::Node;

/// Primes just below 2^61, found with a deterministic Miller-Rabin test.
const PRIMES: [u64; 3] =
    [2_305_843_009_213_693_951, 2_305_843_009_213_693_921, 2_305_843_009_213_693_907];

/// Whether two trees are the same rational function of their variables. None if one is no rational
/// expression, or is not defined at the points tried.
pub(super) fn same(a: &Node, b: &Node, budget: &Budget) -> Option<bool> {
    for (round, prime) in PRIMES.iter().enumerate() {
        let field = Field { prime: *prime, seed: round as u64, budget };
        if field.value(a)? != field.value(b)? {
            return Some(false);
        }
    }
    Some(true)
}

struct Field<'a> {
    prime: u64,
    seed: u64,
    budget: &'a Budget,
}

impl Field<'_> {
    fn times(&self, a: u64, b: u64) -> u64 {
        multiplied(a, b, self.prime)
    }

    fn plus(&self, a: u64, b: u64) -> u64 {
        (a + b) % self.prime
    }

    fn inverse(&self, value: u64) -> Option<u64> {
        (value != 0).then(|| powered(value, self.prime - 2, self.prime))
    }

    fn reduced(&self, value: &BigInt) -> u64 {
        residue(value, self.prime)
    }

    fn value(&self, node: &Node) -> Option<u64> {
        self.budget.spend(2)?;
        match node {
            Node::Number { value, .. } => {
                let below = self.inverse(self.reduced(value.denom()))?;
                Some(self.times(self.reduced(value.numer()), below))
            }
            Node::Symbol(name) => Some(self.point(name)),
            Node::Word(word) if word.is_ascii() && !word.contains(['e', 'i']) => {
                let mut product = 1;
                for at in 0..word.len() {
                    product = self.times(product, self.point(&word[at..=at]));
                }
                Some(product)
            }
            Node::Sum(items) => {
                let mut sum = 0;
                for item in items {
                    sum = self.plus(sum, self.value(item)?);
                }
                Some(sum)
            }
            Node::Product(items) => {
                let mut product = 1;
                for item in items {
                    product = self.times(product, self.value(item)?);
                }
                Some(product)
            }
            Node::Negative(inner) => Some((self.prime - self.value(inner)?) % self.prime),
            Node::Quotient(a, b) => {
                let below = self.inverse(self.value(b)?)?;
                Some(self.times(self.value(a)?, below))
            }
            Node::Power(base, power) => {
                let base = self.value(base)?;
                if base == 0 {
                    return None;
                }
                // Fermat: exponents count modulo the prime less one.
                let power = whole(power, self.prime - 1, self.budget, 0)?;
                Some(powered(base, power, self.prime))
            }
            Node::Call("mod", arguments) => self.remainder(arguments),
            _ => None,
        }
    }

    /// a mod m, where a may be too large to be written.
    fn remainder(&self, arguments: &[Node]) -> Option<u64> {
        let [value, Node::Number { value: modulus, .. }] = arguments else { return None };
        let modulus = modulus.is_integer().then(|| modulus.to_integer().to_u64())??;
        if modulus == 0 || modulus > 1 << 61 {
            return None;
        }
        Some(whole(value, modulus, self.budget, 0)? % self.prime)
    }

    /// A value for a variable: a hash of its name.
    fn point(&self, name: &str) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325_u64 ^ self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in name.bytes() {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            hash ^= hash >> 29;
        }
        hash = hash.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (hash ^ (hash >> 31)) % (self.prime - 3) + 2
    }
}

fn multiplied(a: u64, b: u64, modulus: u64) -> u64 {
    let product = u128::from(a) * u128::from(b) % u128::from(modulus);
    // A remainder modulo a u64 is one.
    u64::try_from(product).unwrap_or_default()
}

fn powered(base: u64, power: u64, modulus: u64) -> u64 {
    let (mut result, mut square, mut left) = (1 % modulus, base % modulus, power);
    while left > 0 {
        if left & 1 == 1 {
            result = multiplied(result, square, modulus);
        }
        square = multiplied(square, square, modulus);
        left >>= 1;
    }
    result
}

fn residue(value: &BigInt, modulus: u64) -> u64 {
    let modulus = BigInt::from(modulus);
    (((value % &modulus) + &modulus) % &modulus).to_u64().unwrap_or_default()
}

/// A tree of whole numbers modulo `modulus`; a power in it must have an exponent that can be
/// written, and is not negative.
pub(super) fn whole(node: &Node, modulus: u64, budget: &Budget, depth: u32) -> Option<u64> {
    budget.spend(4)?;
    if depth > 32 {
        return None;
    }
    let again = |node: &Node| whole(node, modulus, budget, depth + 1);
    match node {
        Node::Number { value, .. } if value.is_integer() => Some(residue(value.numer(), modulus)),
        Node::Sum(items) => {
            let mut sum = 0_u128;
            for item in items {
                sum += u128::from(again(item)?);
            }
            u64::try_from(sum % u128::from(modulus)).ok()
        }
        Node::Product(items) => {
            let mut product = 1 % modulus;
            for item in items {
                product = multiplied(product, again(item)?, modulus);
            }
            Some(product)
        }
        Node::Negative(inner) => Some((modulus - again(inner)?) % modulus),
        Node::Power(base, power) => {
            let small = Budget::new(500);
            let power: BigRational = super::canon::fraction(power, &small)?.as_rational()?;
            let power = power.is_integer().then(|| power.to_integer())?;
            if power.is_negative() || power.bits() > 2_000 {
                return None;
            }
            let base = BigInt::from(again(base)?);
            base.modpow(&power, &BigInt::from(modulus)).to_u64()
        }
        _ => None,
    }
}
