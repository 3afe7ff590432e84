//! Intervals with dyadic ends, rounded outwards: what they exclude is excluded for certain.
//!
//! Operations take the precision in bits and give None where a result is not defined or not
//! bounded (division by an interval around zero, exponents beyond 2^40).

use num_bigint::{BigInt, Sign};
use num_rational::BigRational;
use num_traits::{One, ToPrimitive, Zero};

/// Largest exponent of two.
const EXPONENT_MAX: i64 = 1 << 40;

/// mantissa · 2^exponent
#[derive(Debug, Clone)]
struct Dyadic {
    mantissa: BigInt,
    exponent: i64,
}

impl Dyadic {
    fn new(mantissa: BigInt, exponent: i64) -> Self {
        Self { mantissa, exponent }
    }

    /// The position of the highest bit.
    fn top(&self) -> i64 {
        i64::try_from(self.mantissa.bits()).unwrap_or(i64::MAX / 4).saturating_add(self.exponent)
    }

    fn is_negative(&self) -> bool {
        self.mantissa.sign() == Sign::Minus
    }

    fn rounded(self, bits: u64, up: bool) -> Option<Self> {
        let size = self.mantissa.bits();
        let rounded = if size > bits {
            let shift = size - bits;
            let mantissa = shifted(&self.mantissa, shift, up);
            Self::new(mantissa, self.exponent.checked_add(i64::try_from(shift).ok()?)?)
        } else {
            self
        };
        (rounded.exponent.abs() < EXPONENT_MAX).then_some(rounded)
    }

    fn plus(&self, other: &Self, bits: u64, up: bool) -> Option<Self> {
        if self.mantissa.is_zero() {
            return other.clone().rounded(bits, up);
        }
        if other.mantissa.is_zero() {
            return self.clone().rounded(bits, up);
        }
        // Nothing below this position can matter for more than the last bit.
        let floor = self.top().max(other.top()) - i64::try_from(bits).ok()? - 4;
        let lowest = self.exponent.min(other.exponent).max(floor);
        let aligned = |value: &Self| {
            let shift = value.exponent - lowest;
            if shift >= 0 {
                &value.mantissa << shift
            } else {
                shifted(&value.mantissa, shift.unsigned_abs(), up)
            }
        };
        Self::new(aligned(self) + aligned(other), lowest).rounded(bits, up)
    }

    fn times(&self, other: &Self) -> Self {
        Self::new(&self.mantissa * &other.mantissa, self.exponent + other.exponent)
    }

    fn over(&self, other: &Self, bits: u64, up: bool) -> Option<Self> {
        let shift = i64::try_from(bits).ok()? + 2 + i64::try_from(other.mantissa.bits()).ok()?
            - i64::try_from(self.mantissa.bits()).ok()?;
        let shift = shift.max(0);
        let above = &self.mantissa << shift;
        let (mut quotient, rest) = (&above / &other.mantissa, &above % &other.mantissa);
        if !rest.is_zero() {
            let negative = (above.sign() == Sign::Minus) != other.is_negative();
            // Division truncates towards zero.
            if up && !negative {
                quotient += 1;
            } else if !up && negative {
                quotient -= 1;
            }
        }
        let exponent = self.exponent.checked_sub(other.exponent)?.checked_sub(shift)?;
        Self::new(quotient, exponent).rounded(bits, up)
    }

    fn less(&self, other: &Self) -> bool {
        match (self.mantissa.sign(), other.mantissa.sign()) {
            (Sign::Plus, Sign::Plus) if self.top() != other.top() => self.top() < other.top(),
            (Sign::Minus, Sign::Minus) if self.top() != other.top() => self.top() > other.top(),
            (a, b) if a != b => a < b,
            (Sign::NoSign, _) => false,
            _ => {
                let lowest = self.exponent.min(other.exponent);
                let a = &self.mantissa << (self.exponent - lowest);
                a < (&other.mantissa << (other.exponent - lowest))
            }
        }
    }
}

/// `mantissa` / 2^shift, rounded down or up.
fn shifted(mantissa: &BigInt, shift: u64, up: bool) -> BigInt {
    if shift > mantissa.bits() + 1 {
        return match (mantissa.sign(), up) {
            (Sign::Plus, true) => BigInt::one(),
            (Sign::Minus, false) => -BigInt::one(),
            _ => BigInt::zero(),
        };
    }
    if up { -((-mantissa) >> shift) } else { mantissa >> shift }
}

/// The numbers from `low` to `high`.
#[derive(Debug, Clone)]
pub(super) struct Interval {
    low: Dyadic,
    high: Dyadic,
}

impl Interval {
    pub(super) fn whole(value: i64) -> Self {
        let end = Dyadic::new(value.into(), 0);
        Self { low: end.clone(), high: end }
    }

    pub(super) fn rational(value: &BigRational, bits: u64) -> Option<Self> {
        let above = Dyadic::new(value.numer().clone(), 0);
        let below = Dyadic::new(value.denom().clone(), 0);
        Some(Self { low: above.over(&below, bits, false)?, high: above.over(&below, bits, true)? })
    }

    /// Whether every number in it is above zero (1), below zero (-1), or neither is certain (None).
    /// An interval that is exactly zero gives 0.
    pub(super) fn sign(&self) -> Option<i8> {
        match (self.low.mantissa.sign(), self.high.mantissa.sign()) {
            (Sign::Plus, _) => Some(1),
            (_, Sign::Minus) => Some(-1),
            (Sign::NoSign, Sign::NoSign) => Some(0),
            _ => None,
        }
    }

    /// The largest absolute value is below 2^this.
    pub(super) fn magnitude(&self) -> i64 {
        let top = |end: &Dyadic| if end.mantissa.is_zero() { i64::MIN / 4 } else { end.top() };
        top(&self.low).max(top(&self.high))
    }

    /// The middle, for reducing arguments; exactness does not matter.
    fn middle(&self) -> Option<BigRational> {
        let exponent = self.low.exponent;
        if exponent.abs() > 4096 {
            return None;
        }
        let scale = BigInt::one() << exponent.unsigned_abs();
        let value = BigRational::from_integer(self.low.mantissa.clone());
        let scale = BigRational::from_integer(scale);
        Some(if exponent < 0 { value / scale } else { value * scale })
    }

    pub(super) fn negated(&self) -> Self {
        let minus = |end: &Dyadic| Dyadic::new(-&end.mantissa, end.exponent);
        Self { low: minus(&self.high), high: minus(&self.low) }
    }

    pub(super) fn plus(&self, other: &Self, bits: u64) -> Option<Self> {
        Some(Self {
            low: self.low.plus(&other.low, bits, false)?,
            high: self.high.plus(&other.high, bits, true)?,
        })
    }

    pub(super) fn minus(&self, other: &Self, bits: u64) -> Option<Self> {
        self.plus(&other.negated(), bits)
    }

    pub(super) fn times(&self, other: &Self, bits: u64) -> Option<Self> {
        let products = [
            self.low.times(&other.low),
            self.low.times(&other.high),
            self.high.times(&other.low),
            self.high.times(&other.high),
        ];
        let (mut low, mut high) = (&products[0], &products[0]);
        for product in &products[1..] {
            if product.less(low) {
                low = product;
            }
            if high.less(product) {
                high = product;
            }
        }
        Some(Self {
            low: low.clone().rounded(bits, false)?,
            high: high.clone().rounded(bits, true)?,
        })
    }

    pub(super) fn over(&self, other: &Self, bits: u64) -> Option<Self> {
        if !matches!(other.sign(), Some(1 | -1)) {
            return None;
        }
        let mut ends = Vec::with_capacity(8);
        for above in [&self.low, &self.high] {
            for below in [&other.low, &other.high] {
                ends.push((above.over(below, bits, false)?, above.over(below, bits, true)?));
            }
        }
        let (mut low, mut high) = ends.pop()?;
        for (down, up) in ends {
            if down.less(&low) {
                low = down;
            }
            if high.less(&up) {
                high = up;
            }
        }
        Some(Self { low, high })
    }

    pub(super) fn power(&self, times: i64, bits: u64) -> Option<Self> {
        if times < 0 {
            return Self::whole(1).over(&self.power(times.checked_neg()?, bits)?, bits);
        }
        by_squaring(Self::whole(1), self, times.unsigned_abs(), &|a, b| a.times(b, bits))
    }

    /// The `index`-th root of a number that is not negative, or the real one of an odd index.
    pub(super) fn root(&self, index: u32, bits: u64) -> Option<Self> {
        if index == 0 || index > 64 {
            return None;
        }
        if self.high.is_negative() && index % 2 == 1 {
            return Some(self.negated().root(index, bits)?.negated());
        }
        if self.low.is_negative() {
            return None;
        }
        let end = |value: &Dyadic, up: bool| -> Option<Dyadic> {
            if value.mantissa.is_zero() {
                return Some(value.clone());
            }
            // Enough bits, and an exponent that the index divides.
            let wanted = i64::try_from(bits * u64::from(index)).ok()?;
            let mut shift = (wanted - i64::try_from(value.mantissa.bits()).ok()?).max(0);
            let index = i64::from(index);
            shift += (value.exponent - shift).rem_euclid(index);
            let scaled = &value.mantissa << shift;
            let mut root = scaled.nth_root(u32::try_from(index).ok()?);
            if up {
                root += 1;
            }
            Dyadic::new(root, (value.exponent - shift) / index).rounded(bits, up)
        };
        Some(Self { low: end(&self.low, false)?, high: end(&self.high, true)? })
    }

    /// Halved `times` times.
    fn halved(&self, times: i64) -> Self {
        let half = |end: &Dyadic| Dyadic::new(end.mantissa.clone(), end.exponent - times);
        Self { low: half(&self.low), high: half(&self.high) }
    }

    /// Everything up to 2^exponent away from it as well.
    fn widened(&self, exponent: i64, bits: u64) -> Option<Self> {
        let step = Dyadic::new(BigInt::one(), exponent);
        let down = Dyadic::new(-BigInt::one(), exponent);
        Some(Self {
            low: self.low.plus(&down, bits, false)?,
            high: self.high.plus(&step, bits, true)?,
        })
    }

    /// The nearest whole number, roughly.
    fn nearest(&self) -> Option<i64> {
        self.middle()?.round().to_integer().to_i64().filter(|n| n.abs() < EXPONENT_MAX)
    }

    pub(super) fn exp(&self, bits: u64) -> Option<Self> {
        let work = bits + 48;
        if self.magnitude() > 36 {
            return None;
        }
        let two = logarithm_of_two(work)?;
        let count = self.over(&two, work)?.nearest()?;
        let rest = self.minus(&two.times(&Self::whole(count), work)?, work)?;
        let small = rest.halved(8);
        let (mut sum, mut term) = (Self::whole(1), Self::whole(1));
        let mut step = 0;
        loop {
            step += 1;
            term = term.times(&small, work)?.over(&Self::whole(step), work)?;
            sum = sum.plus(&term, work)?;
            if term.magnitude() < -i64::try_from(work).ok()? {
                break;
            }
        }
        // What is left out is smaller than the last term.
        sum = sum.widened(term.magnitude().max(-EXPONENT_MAX / 2), work)?;
        for _ in 0..8 {
            sum = sum.times(&sum, work)?;
        }
        let scaled = sum.halved(-count);
        Some(Self { low: scaled.low.rounded(bits, false)?, high: scaled.high.rounded(bits, true)? })
    }

    pub(super) fn ln(&self, bits: u64) -> Option<Self> {
        if self.sign() != Some(1) {
            return None;
        }
        let work = bits + 48;
        let count = self.low.top();
        let near = self.halved(count).root(8, work)?;
        let one = Self::whole(1);
        let ratio = near.minus(&one, work)?.over(&near.plus(&one, work)?, work)?;
        let sum = odd_powers(&ratio, work, 1)?;
        let main = sum.times(&Self::whole(16), work)?;
        main.plus(&logarithm_of_two(work)?.times(&Self::whole(count), work)?, bits)
    }

    /// Sine and cosine.
    pub(super) fn sin_cos(&self, bits: u64) -> Option<(Self, Self)> {
        if self.magnitude() > 64 {
            return None;
        }
        let work = bits + 112;
        let quarter = pi(work)?.halved(1);
        let count = self.over(&quarter, work)?.middle()?.round().to_integer();
        let turns = Self::rational(&BigRational::from_integer(count.clone()), work)?;
        let rest = self.minus(&quarter.times(&turns, work)?, work)?;
        let square = rest.times(&rest, work)?.negated();
        let (mut sine, mut cosine) = (rest.clone(), Self::whole(1));
        let (mut odd, mut even) = (rest, Self::whole(1));
        let mut step = 0;
        loop {
            step += 2;
            even = even.times(&square, work)?.over(&Self::whole(step * (step - 1)), work)?;
            odd = odd.times(&square, work)?.over(&Self::whole(step * (step + 1)), work)?;
            cosine = cosine.plus(&even, work)?;
            sine = sine.plus(&odd, work)?;
            let left = even.magnitude().max(odd.magnitude());
            if left < -i64::try_from(work).ok()? {
                let edge = left.max(-EXPONENT_MAX / 2);
                cosine = cosine.widened(edge, work)?;
                sine = sine.widened(edge, work)?;
                break;
            }
        }
        let four = BigInt::from(4);
        let quadrant = ((count % &four + &four) % &four).to_i64()?;
        Some(match quadrant {
            0 => (sine, cosine),
            1 => (cosine, sine.negated()),
            2 => (sine.negated(), cosine.negated()),
            _ => (cosine.negated(), sine),
        })
    }

    pub(super) fn arctan(&self, bits: u64) -> Option<Self> {
        let work = bits + 32;
        let one = Self::whole(1);
        let mut near = self.clone();
        for _ in 0..3 {
            // atan x = 2 atan(x / (1 + √(1 + x²)))
            let root = near.times(&near, work)?.plus(&one, work)?.root(2, work)?;
            near = near.over(&root.plus(&one, work)?, work)?;
        }
        odd_powers(&near, work, -1)?.times(&Self::whole(8), bits)
    }
}

/// `base` times itself, `times` times, in as many products as `times` has binary digits, twice.
pub(super) fn by_squaring<T: Clone>(
    one: T,
    base: &T,
    times: u64,
    product: &dyn Fn(&T, &T) -> Option<T>,
) -> Option<T> {
    let (mut result, mut square, mut left) = (one, base.clone(), times);
    while left > 0 {
        if left & 1 == 1 {
            result = product(&result, &square)?;
        }
        left >>= 1;
        if left > 0 {
            square = product(&square, &square)?;
        }
    }
    Some(result)
}

/// x + s·x³/3 + x⁵/5 + s·x⁷/7 + … for |x| below a half and a sign s.
fn odd_powers(x: &Interval, bits: u64, sign: i64) -> Option<Interval> {
    let square = x.times(x, bits)?.times(&Interval::whole(sign), bits)?;
    let (mut sum, mut power, mut step) = (x.clone(), x.clone(), 1);
    loop {
        step += 2;
        power = power.times(&square, bits)?;
        let term = power.over(&Interval::whole(step), bits)?;
        sum = sum.plus(&term, bits)?;
        if term.magnitude() < -i64::try_from(bits).ok()? {
            return sum.widened(term.magnitude().max(-EXPONENT_MAX / 2) + 1, bits);
        }
        if step > 20_000 {
            return None;
        }
    }
}

fn logarithm_of_two(bits: u64) -> Option<Interval> {
    cached(&LOGARITHMS, bits, |bits| {
        let third = Interval::whole(1).over(&Interval::whole(3), bits + 16)?;
        odd_powers(&third, bits + 16, 1)?.times(&Interval::whole(2), bits + 8)
    })
}

/// π, by Machin's formula.
pub(super) fn pi(bits: u64) -> Option<Interval> {
    cached(&PIS, bits, |bits| {
        let work = bits + 16;
        let part =
            |n: i64| odd_powers(&Interval::whole(1).over(&Interval::whole(n), work)?, work, -1);
        let left = part(5)?.times(&Interval::whole(16), work)?;
        left.minus(&part(239)?.times(&Interval::whole(4), work)?, bits + 8)
    })
}

type Cache = std::sync::Mutex<Vec<(u64, Interval)>>;

static PIS: Cache = Cache::new(Vec::new());
static LOGARITHMS: Cache = Cache::new(Vec::new());

/// Constants are computed once per precision; only a few precisions are ever asked for.
fn cached(
    cache: &Cache,
    bits: u64,
    compute: impl FnOnce(u64) -> Option<Interval>,
) -> Option<Interval> {
    const KEPT: usize = 32;
    let lock = || cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some((_, found)) = lock().iter().find(|(kept, _)| *kept == bits) {
        return Some(found.clone());
    }
    let value = compute(bits)?;
    let mut kept = lock();
    if kept.len() < KEPT {
        kept.push((bits, value.clone()));
    }
    Some(value)
}

/// Whether a rational lies in `interval` for certain not (-1 below, 1 above), or may (0).
pub(super) fn side(value: &BigRational, interval: &Interval, bits: u64) -> Option<i8> {
    let exact = Interval::rational(value, bits)?;
    Some(exact.minus(interval, bits)?.sign().unwrap_or(0))
}
