//! Sums of products in a canonical form, and quotients of them.
//!
//! A product is a sorted list of kernels (variables, π, e, i, primes, roots of sums, function
//! values) with rational exponents. Two equal forms are equal values; the converse holds for
//! rational functions and for roots of primes, and is left to `zero` elsewhere.

use std::collections::BTreeMap;
use std::rc::Rc;

use num_bigint::{BigInt, BigUint};
use num_rational::{BigRational, Ratio};
use num_traits::{One, Signed, Zero};

/// Largest size of a coefficient in bits.
pub(super) const BITS_MAX: u64 = 25_000;

/// Most terms of a sum.
const TERMS_MAX: usize = 500;

/// The power of a kernel.
pub(super) type Exponent = Ratio<i64>;

/// What cannot be taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kernel {
    /// The imaginary unit.
    I,
    /// A prime, or a whole number without small factors.
    Prime(BigUint),
    /// π
    Pi,
    /// Euler's number.
    E,
    /// A variable.
    Symbol(Rc<str>),
    /// A sum below a root; its exponent lies between 0 and 1.
    Root(Rc<Sum>),
    /// A base (-1 is `None`) to the power of a product that is no number.
    Raised(Option<Rc<Self>>, Rc<Product>),
    /// A function's value.
    Call(Rc<str>, Rc<Vec<Fraction>>),
}

/// Kernels with their exponents, sorted, none zero.
pub(super) type Product = Vec<(Kernel, Exponent)>;

/// Products with their coefficients, none zero.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sum(pub(super) BTreeMap<Product, BigRational>);

/// A quotient of sums; the lower one is not zero.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fraction {
    pub(super) above: Sum,
    pub(super) below: Sum,
}

/// What is left of the effort that one comparison may take.
#[derive(Debug)]
pub(super) struct Budget(std::cell::Cell<u64>);

impl Budget {
    pub(super) fn new(steps: u64) -> Self {
        Self(std::cell::Cell::new(steps))
    }

    /// Runs `work` with at most `steps` of what is left: so that one way that leads nowhere leaves
    /// something for the next.
    pub(super) fn share<T>(&self, steps: u64, work: impl FnOnce(&Self) -> T) -> T {
        let given = steps.min(self.0.get());
        let share = Self::new(given);
        let result = work(&share);
        self.0.set(self.0.get() - (given - share.0.get()));
        result
    }

    /// Takes `steps` from what is left; None if there is not that much.
    pub(super) fn spend(&self, steps: u64) -> Option<()> {
        let left = self.0.get().checked_sub(steps);
        self.0.set(left.unwrap_or(0));
        left.map(|_| ())
    }
}

pub(super) fn exponent(value: i64) -> Exponent {
    Exponent::from_integer(value)
}

/// What it takes to add or multiply numbers of this size: their greatest common divisor.
pub(super) fn effort(value: &BigRational) -> u64 {
    let size = bits(value);
    if value.denom().is_one() {
        1 + size / 64
    } else if size <= 64 {
        4
    } else {
        size + size * size / 512
    }
}

/// a · b, without looking for common divisors where there are none.
fn multiplied(a: &BigRational, b: &BigRational) -> BigRational {
    if a.is_one() {
        b.clone()
    } else if b.is_one() {
        a.clone()
    } else if a.denom().is_one() && b.denom().is_one() {
        BigRational::from_integer(a.numer() * b.numer())
    } else {
        a * b
    }
}

/// The size of a number in bits.
pub(super) fn bits(value: &BigRational) -> u64 {
    value.numer().bits().max(value.denom().bits())
}

impl Sum {
    pub(super) fn constant(value: BigRational) -> Self {
        Self::term(value, Vec::new())
    }

    pub(super) fn term(coefficient: BigRational, product: Product) -> Self {
        let mut terms = BTreeMap::new();
        if !coefficient.is_zero() {
            terms.insert(product, coefficient);
        }
        Self(terms)
    }

    pub(super) fn one() -> Self {
        Self::constant(BigRational::one())
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The rational number that this is, if it is one.
    pub(super) fn rational(&self) -> Option<BigRational> {
        match self.0.len() {
            0 => Some(BigRational::zero()),
            1 => self.0.get(&Vec::new()).cloned(),
            _ => None,
        }
    }

    /// The only term, if there is one.
    pub(super) fn single(&self) -> Option<(&Product, &BigRational)> {
        if self.0.len() == 1 { self.0.iter().next() } else { None }
    }

    fn include(&mut self, product: Product, coefficient: BigRational) {
        use std::collections::btree_map::Entry;
        match self.0.entry(product) {
            Entry::Vacant(place) => {
                if !coefficient.is_zero() {
                    place.insert(coefficient);
                }
            }
            Entry::Occupied(mut place) => {
                *place.get_mut() += coefficient;
                if place.get().is_zero() {
                    place.remove();
                }
            }
        }
    }

    pub(super) fn plus(&self, other: &Self, budget: &Budget) -> Option<Self> {
        budget.spend(other.0.len() as u64)?;
        let mut sum = self.clone();
        for (product, coefficient) in &other.0 {
            let beside = sum.0.get(product).map_or(0, effort);
            budget.spend(effort(coefficient).max(beside))?;
            sum.include(product.clone(), coefficient.clone());
        }
        (sum.0.len() <= TERMS_MAX).then_some(sum)
    }

    pub(super) fn scaled(&self, factor: &BigRational) -> Self {
        if factor.is_zero() {
            return Self::default();
        }
        Self(self.0.iter().map(|(product, c)| (product.clone(), multiplied(c, factor))).collect())
    }

    pub(super) fn negated(&self) -> Self {
        self.scaled(&-BigRational::one())
    }

    pub(super) fn times(&self, other: &Self, budget: &Budget) -> Option<Self> {
        let mut sum = Self::default();
        for (left, a) in &self.0 {
            for (right, b) in &other.0 {
                budget.spend(2 + (left.len() + right.len()) as u64)?;
                if !a.is_one() && !b.is_one() {
                    budget.spend(effort(a).max(effort(b)))?;
                }
                let coefficient = multiplied(a, b);
                if bits(&coefficient) > BITS_MAX {
                    return None;
                }
                let whole = normal(coefficient, merged(left, right)?, budget)?;
                for (product, coefficient) in whole.0 {
                    sum.include(product, coefficient);
                }
                if sum.0.len() > TERMS_MAX {
                    return None;
                }
            }
        }
        Some(sum)
    }

    pub(super) fn power(&self, times: u32, budget: &Budget) -> Option<Self> {
        let (mut result, mut square, mut left) = (Self::one(), self.clone(), times);
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(&square, budget)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.times(&square, budget)?;
            }
        }
        Some(result)
    }

    /// Real and imaginary part of a constant that has both kinds of terms.
    pub(super) fn parts(&self) -> Option<(Self, Self)> {
        let (mut real, mut imaginary) = (Self::default(), Self::default());
        for (product, coefficient) in &self.0 {
            let known =
                |kernel: &Kernel| matches!(kernel, Kernel::Prime(_) | Kernel::Pi | Kernel::E);
            match product.split_first() {
                Some(((Kernel::I, _), rest)) if rest.iter().all(|(kernel, _)| known(kernel)) => {
                    imaginary.include(rest.to_vec(), coefficient.clone());
                }
                _ if product.iter().all(|(kernel, _)| known(kernel)) => {
                    real.include(product.clone(), coefficient.clone());
                }
                _ => return None,
            }
        }
        (!imaginary.is_zero()).then_some((real, imaginary))
    }

    /// The positive rational that divides every coefficient, and what is left.
    pub(super) fn content(&self) -> (BigRational, Self) {
        let mut above = BigInt::zero();
        let mut below = BigInt::one();
        for coefficient in self.0.values() {
            above = gcd(&above, coefficient.numer());
            below = &below / gcd(&below, coefficient.denom()) * coefficient.denom();
        }
        if above.is_zero() {
            return (BigRational::one(), self.clone());
        }
        let content = BigRational::new(above, below);
        let rest = self.scaled(&content.recip());
        (content, rest)
    }
}

/// The greatest common divisor, not negative.
pub(super) fn gcd(a: &BigInt, b: &BigInt) -> BigInt {
    match (a.is_zero(), b.is_zero()) {
        (true, _) => b.abs(),
        (_, true) => a.abs(),
        _ => (a / BigRational::new(a.clone(), b.clone()).numer()).abs(),
    }
}

/// Two products as one; exponents are added.
fn merged(left: &Product, right: &Product) -> Option<Product> {
    if right.is_empty() {
        return Some(left.clone());
    }
    let mut product: Product = Vec::with_capacity(left.len() + right.len());
    let (mut a, mut b) = (left.iter().peekable(), right.iter().peekable());
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some((x, _)), Some((y, _))) => x.cmp(y),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return Some(product),
        };
        match order {
            std::cmp::Ordering::Less => product.extend(a.next().cloned()),
            std::cmp::Ordering::Greater => product.extend(b.next().cloned()),
            std::cmp::Ordering::Equal => {
                if let (Some((kernel, x)), Some((_, y))) = (a.next(), b.next()) {
                    let sum = checked(*x, *y)?;
                    if !sum.is_zero() {
                        product.push((kernel.clone(), sum));
                    }
                }
            }
        }
    }
}

/// a + b for exponents that stay small.
fn checked(a: Exponent, b: Exponent) -> Option<Exponent> {
    const LIMIT: i64 = 1 << 30;
    let small = |x: &Exponent| x.numer().abs() < LIMIT && *x.denom() < LIMIT;
    (small(&a) && small(&b)).then(|| a + b).filter(small)
}

/// A coefficient and a merged product, with everything pulled out that is no kernel.
pub(super) fn normal(
    mut coefficient: BigRational,
    product: Product,
    budget: &Budget,
) -> Option<Sum> {
    let mut kept = Product::with_capacity(product.len());
    let mut factors: Vec<Sum> = Vec::new();
    for (kernel, power) in product {
        match &kernel {
            Kernel::Prime(prime) => {
                let whole = power.floor().to_integer();
                let prime = BigInt::from(prime.clone());
                let size = prime.bits() * whole.unsigned_abs();
                if size > BITS_MAX {
                    return None;
                }
                let scale = prime.pow(u32::try_from(whole.unsigned_abs()).ok()?);
                if whole < 0 {
                    coefficient /= BigRational::from_integer(scale);
                } else if whole > 0 {
                    coefficient *= BigRational::from_integer(scale);
                }
                keep(&mut kept, kernel, power - exponent(whole));
            }
            Kernel::I => {
                let quarter = power.to_integer().rem_euclid(4);
                if !power.is_integer() {
                    return None;
                }
                if quarter >= 2 {
                    coefficient = -coefficient;
                }
                keep(&mut kept, kernel, exponent(quarter % 2));
            }
            Kernel::Raised(None, _) => {
                let whole = power.is_integer().then(|| power.to_integer())?;
                keep(&mut kept, kernel, exponent(whole.rem_euclid(2)));
            }
            Kernel::Root(inner) => {
                let whole = u32::try_from(power.floor().to_integer()).ok()?;
                if whole > 0 {
                    factors.push(inner.power(whole, budget)?);
                }
                let rest = power - exponent(i64::from(whole));
                keep(&mut kept, kernel, rest);
            }
            Kernel::Call(name, arguments)
                if &**name == "sin" && power.is_integer() && power >= exponent(2) =>
            {
                let cosine = Kernel::Call("cos".into(), Rc::clone(arguments));
                let mut one = Sum::one();
                one.include(vec![(cosine, exponent(2))], -BigRational::one());
                let half = power.to_integer() / 2;
                factors.push(one.power(u32::try_from(half).ok()?, budget)?);
                keep(&mut kept, kernel, exponent(power.to_integer() % 2));
            }
            Kernel::Pi | Kernel::E | Kernel::Symbol(_) | Kernel::Raised(..) | Kernel::Call(..) => {
                keep(&mut kept, kernel, power);
            }
        }
    }
    let mut sum = Sum::term(coefficient, kept);
    for factor in factors {
        sum = sum.times(&factor, budget)?;
    }
    Some(sum)
}

fn keep(kept: &mut Product, kernel: Kernel, power: Exponent) {
    if !power.is_zero() {
        kept.push((kernel, power));
    }
}
