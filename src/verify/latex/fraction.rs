//! Quotients of sums: arithmetic, powers and roots in canonical form.

use std::rc::Rc;

use num_bigint::BigUint;
use num_rational::BigRational;
use num_traits::{One, Signed, ToPrimitive, Zero};

use super::poly::{
    BITS_MAX, Budget, Exponent, Fraction, Kernel, Product, Sum, bits, exponent, normal,
};

impl Fraction {
    pub(super) fn rational(value: BigRational) -> Self {
        Self { above: Sum::constant(value), below: Sum::one() }
    }

    pub(super) fn whole(value: i64) -> Self {
        Self::rational(BigRational::from_integer(value.into()))
    }

    pub(super) fn kernel(kernel: Kernel) -> Self {
        let above = Sum::term(BigRational::one(), vec![(kernel, exponent(1))]);
        Self { above, below: Sum::one() }
    }

    pub(super) fn of(above: Sum) -> Self {
        Self { above, below: Sum::one() }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.above.is_zero()
    }

    /// The rational number that this is, if it is one.
    pub(super) fn as_rational(&self) -> Option<BigRational> {
        let below = self.below.rational()?;
        Some(self.above.rational()? / below)
    }

    /// The sum that this is, if nothing is below.
    pub(super) fn as_sum(&self) -> Option<&Sum> {
        (self.below == Sum::one()).then_some(&self.above)
    }

    pub(super) fn plus(&self, other: &Self, budget: &Budget) -> Option<Self> {
        if self.below == other.below {
            let above = self.above.plus(&other.above, budget)?;
            return Some(Self { above, below: self.below.clone() });
        }
        let left = self.above.times(&other.below, budget)?;
        let right = other.above.times(&self.below, budget)?;
        let below = self.below.times(&other.below, budget)?;
        Some(Self { above: left.plus(&right, budget)?, below })
    }

    pub(super) fn negated(&self) -> Self {
        Self { above: self.above.negated(), below: self.below.clone() }
    }

    pub(super) fn minus(&self, other: &Self, budget: &Budget) -> Option<Self> {
        self.plus(&other.negated(), budget)
    }

    pub(super) fn times(&self, other: &Self, budget: &Budget) -> Option<Self> {
        let above = self.above.times(&other.above, budget)?;
        let below = self.below.times(&other.below, budget)?;
        Self { above, below }.tidy(budget)
    }

    /// 1 / self.
    pub(super) fn inverse(&self, budget: &Budget) -> Option<Self> {
        if self.above.is_zero() {
            return None;
        }
        Self { above: self.below.clone(), below: self.above.clone() }.tidy(budget)
    }

    pub(super) fn over(&self, other: &Self, budget: &Budget) -> Option<Self> {
        self.times(&other.inverse(budget)?, budget)
    }

    /// Moves a lower part of one term up, where its kernels allow that.
    fn tidy(self, budget: &Budget) -> Option<Self> {
        if self.below == Sum::one() {
            return Some(self);
        }
        let Some((product, coefficient)) = self.below.single() else { return Some(self) };
        let (mut up, mut down) = (Product::new(), Product::new());
        for (kernel, power) in product {
            let stays = match kernel {
                Kernel::Root(_) => true,
                Kernel::Call(name, _) => &**name == "sin" || &**name == "cos",
                _ => false,
            };
            if stays {
                down.push((kernel.clone(), *power));
            } else {
                up.push((kernel.clone(), -power));
            }
        }
        let factor = normal(coefficient.recip(), up, budget)?;
        let above = self.above.times(&factor, budget)?;
        // 1 / √s is √s / s: what is below has no root.
        let mut below = Sum::one();
        let mut lifted = above;
        for (kernel, power) in down {
            if let Kernel::Root(inner) = &kernel {
                let rest = normal(
                    BigRational::one(),
                    vec![(kernel.clone(), exponent(1) - power)],
                    budget,
                )?;
                lifted = lifted.times(&rest, budget)?;
                below = below.times(inner, budget)?;
            } else {
                let factor = normal(BigRational::one(), vec![(kernel, power)], budget)?;
                below = below.times(&factor, budget)?;
            }
        }
        Some(Self { above: lifted, below })
    }

    pub(super) fn power(&self, times: i64, budget: &Budget) -> Option<Self> {
        if times < 0 {
            return self.inverse(budget)?.power(times.checked_neg()?, budget);
        }
        if let Some(value) = self.as_rational() {
            budget.spend(1)?;
            let size = bits(&value).checked_mul(times.unsigned_abs())?;
            let unit = value.abs().is_one() || value.is_zero();
            if size > BITS_MAX && !unit {
                return None;
            }
            let times = if unit { times % 2 + 2 * i64::from(times > 0) } else { times };
            budget.spend(if unit { 1 } else { size * size / 4096 + 1 })?;
            return Some(Self::rational(value.pow(i32::try_from(times).ok()?)));
        }
        if let Some(single) = self.single_power(times, budget) {
            return Some(single);
        }
        let times = u32::try_from(times).ok().filter(|times| *times <= 64)?;
        let above = self.above.power(times, budget)?;
        Self { above, below: self.below.power(times, budget)? }.tidy(budget)
    }

    /// One term to a power, without multiplying it out.
    fn single_power(&self, times: i64, budget: &Budget) -> Option<Self> {
        let (product, coefficient) = self.as_sum()?.single()?;
        if bits(coefficient).checked_mul(times.unsigned_abs())? > BITS_MAX
            || times >= 1 << 20
            || product.iter().any(|(kernel, _)| matches!(kernel, Kernel::Root(_)))
        {
            return None;
        }
        let raised = |power: &Exponent| {
            let above = power.numer().checked_mul(times)?;
            Some(Exponent::new(above, *power.denom()))
        };
        let product: Option<Product> =
            product.iter().map(|(kernel, power)| Some((kernel.clone(), raised(power)?))).collect();
        let coefficient = coefficient.pow(i32::try_from(times).ok()?);
        Some(Self::of(normal(coefficient, product?, budget)?))
    }

    /// The `index`-th root to the power of `times`; the real one where there is one.
    pub(super) fn root(&self, times: i64, index: i64, budget: &Budget) -> Option<Self> {
        if index <= 0 || index > 1000 {
            return None;
        }
        if self.is_zero() {
            return (times > 0).then(|| Self::whole(0));
        }
        if let Some(value) = self.as_rational() {
            return root_of_number(&value, times, index, budget);
        }
        let sum = self.as_sum()?;
        let power = Exponent::new(times, index);
        if let Some((product, coefficient)) = sum.single()
            && coefficient.is_positive()
            && is_positive(product)
        {
            let scale = root_of_number(coefficient, times, index, budget)?;
            let raised =
                product.iter().map(|(kernel, old)| (kernel.clone(), *old * power)).collect();
            let rest = Self::of(normal(BigRational::one(), raised, budget)?);
            return scale.times(&rest, budget);
        }
        let (content, rest) = sum.content();
        let scale = root_of_number(&content, times, index, budget)?;
        let whole = power.floor().to_integer();
        let part = power - exponent(whole);
        let rest = Rc::new(rest);
        let base = Self::of((*rest).clone()).power(whole, budget)?;
        let kernel = normal(BigRational::one(), vec![(Kernel::Root(rest), part)], budget)?;
        scale.times(&base, budget)?.times(&Self::of(kernel), budget)
    }
}

/// Whether roots distribute over the factors: all positive, or one variable alone.
fn is_positive(product: &Product) -> bool {
    let fixed = |kernel: &Kernel| matches!(kernel, Kernel::Pi | Kernel::E | Kernel::Prime(_));
    let free: Vec<_> = product.iter().filter(|(kernel, _)| !fixed(kernel)).collect();
    match free.as_slice() {
        [] => true,
        [(Kernel::Symbol(_), power)] => power.abs() <= exponent(1) && power.is_positive(),
        [(Kernel::Raised(Some(base), _), _)] => fixed(base),
        _ => false,
    }
}

fn root_of_number(
    value: &BigRational,
    times: i64,
    index: i64,
    budget: &Budget,
) -> Option<Fraction> {
    let power = Exponent::new(times, index);
    let (times, index) = (*power.numer(), *power.denom());
    let sign = if value.is_negative() {
        match (index, index % 2) {
            (1, _) | (_, 1) => Fraction::whole(if times % 2 == 0 { 1 } else { -1 }),
            (2, _) => Fraction::kernel(Kernel::I).power(times, budget)?,
            _ => return None,
        }
    } else {
        Fraction::whole(1)
    };
    let mut product = Product::new();
    for (part, sense) in [(value.numer(), 1), (value.denom(), -1)] {
        for (prime, count) in factors(part.magnitude(), budget)? {
            product.push((Kernel::Prime(prime), power * exponent(sense * count)));
        }
    }
    product.sort();
    let rest = normal(BigRational::one(), product, budget)?;
    sign.times(&Fraction::of(rest), budget)
}

/// Small prime factors with their counts; what has none is taken whole.
pub(super) fn factors(value: &BigUint, budget: &Budget) -> Option<Vec<(BigUint, i64)>> {
    const TRIAL: u64 = 5_000;
    let mut found = Vec::new();
    let mut rest = value.clone();
    if let Some(mut small) = rest.to_u64() {
        let mut prime = 2;
        while prime * prime <= small && prime < 1 << 16 {
            let mut count = 0;
            while small % prime == 0 {
                small /= prime;
                count += 1;
            }
            if count > 0 {
                found.push((BigUint::from(prime), count));
            }
            prime += if prime == 2 { 1 } else { 2 };
        }
        budget.spend(prime / 8)?;
        rest = BigUint::from(small);
    } else {
        budget.spend(TRIAL / 2 * (rest.bits() / 64 + 1))?;
        for prime in std::iter::once(2).chain((3..TRIAL).step_by(2)) {
            let mut count = 0;
            while (&rest % prime).is_zero() {
                rest /= prime;
                count += 1;
            }
            if count > 0 {
                found.push((BigUint::from(prime), count));
            }
        }
    }
    if rest.is_one() || rest.is_zero() {
        return Some(found);
    }
    // A perfect power of something large is that power.
    for degree in [2_u32, 3, 5] {
        let root = rest.nth_root(degree);
        if root.pow(degree) == rest {
            found.push((root, i64::from(degree)));
            return Some(found);
        }
    }
    found.push((rest, 1));
    Some(found)
}
