//! The value of a tree as an interval, or a pair of them.

use num_rational::BigRational;
use num_traits::ToPrimitive;

use super::interval::{Interval, by_squaring, pi};
use super::poly::Budget;
use super::tree::{Constant, Node};

/// Largest index of a root that is taken directly.
const ROOT_MAX: u32 = 64;

/// A value, with its imaginary part if it has one.
#[derive(Debug, Clone)]
pub(super) struct Complex {
    pub(super) real: Interval,
    pub(super) imaginary: Option<Interval>,
}

impl Complex {
    fn real(real: Interval) -> Self {
        Self { real, imaginary: None }
    }

    fn only_real(&self) -> Option<&Interval> {
        if self.imaginary.is_none() { Some(&self.real) } else { None }
    }

    pub(super) fn minus(&self, other: &Self, bits: u64) -> Option<Self> {
        self.plus(&other.negated(), bits)
    }

    fn negated(&self) -> Self {
        Self {
            real: self.real.negated(),
            imaginary: self.imaginary.as_ref().map(Interval::negated),
        }
    }

    fn plus(&self, other: &Self, bits: u64) -> Option<Self> {
        let imaginary = match (&self.imaginary, &other.imaginary) {
            (Some(a), Some(b)) => Some(a.plus(b, bits)?),
            (one, another) => one.clone().or_else(|| another.clone()),
        };
        Some(Self { real: self.real.plus(&other.real, bits)?, imaginary })
    }

    fn times(&self, other: &Self, bits: u64) -> Option<Self> {
        let product = |a: &Interval, b: &Interval| a.times(b, bits);
        let main = product(&self.real, &other.real)?;
        Some(match (&self.imaginary, &other.imaginary) {
            (None, None) => Self::real(main),
            (Some(a), None) => Self { real: main, imaginary: Some(product(a, &other.real)?) },
            (None, Some(b)) => Self { real: main, imaginary: Some(product(&self.real, b)?) },
            (Some(a), Some(b)) => {
                let cross = product(&self.real, b)?.plus(&product(a, &other.real)?, bits)?;
                Self { real: main.minus(&product(a, b)?, bits)?, imaginary: Some(cross) }
            }
        })
    }

    fn over(&self, other: &Self, bits: u64) -> Option<Self> {
        let Some(imaginary) = &other.imaginary else {
            let real = self.real.over(&other.real, bits)?;
            let imaginary = match &self.imaginary {
                Some(imaginary) => Some(imaginary.over(&other.real, bits)?),
                None => None,
            };
            return Some(Self { real, imaginary });
        };
        let conjugate = Self { real: other.real.clone(), imaginary: Some(imaginary.negated()) };
        let square = other.real.times(&other.real, bits)?;
        let norm = square.plus(&imaginary.times(imaginary, bits)?, bits)?;
        self.times(&conjugate, bits)?.over(&Self::real(norm), bits)
    }

    fn power(&self, times: i64, bits: u64) -> Option<Self> {
        if self.imaginary.is_none() {
            return Some(Self::real(self.real.power(times, bits)?));
        }
        let one = Self::real(Interval::whole(1));
        let product = |a: &Self, b: &Self| a.times(b, bits);
        let result = by_squaring(one.clone(), self, times.unsigned_abs(), &product)?;
        if times < 0 { one.over(&result, bits) } else { Some(result) }
    }

    /// Whether it is certainly not zero.
    pub(super) fn is_nonzero(&self) -> bool {
        let nonzero = |part: &Interval| matches!(part.sign(), Some(1 | -1));
        nonzero(&self.real) || self.imaginary.as_ref().is_some_and(nonzero)
    }

    /// Its absolute value is below 2^this.
    pub(super) fn magnitude(&self) -> i64 {
        let imaginary = self.imaginary.as_ref().map_or(i64::MIN / 4, Interval::magnitude);
        self.real.magnitude().max(imaginary) + 1
    }
}

/// Where variables get their values.
pub(super) struct At<'a> {
    /// Names with values.
    pub(super) point: &'a [(String, BigRational)],
    /// Precision in bits.
    pub(super) bits: u64,
    /// Whether `log` without a base is the decimal one.
    pub(super) decimal: bool,
    pub(super) budget: &'a Budget,
}

/// The value of `node`. None if it has none that can be bounded.
pub(super) fn value(node: &Node, at: &At<'_>) -> Option<Complex> {
    let bits = at.bits;
    at.budget.spend(8 + bits / 16)?;
    match node {
        Node::Number { value, .. } => Some(Complex::real(Interval::rational(value, bits)?)),
        Node::Symbol(name) => variable(name, at),
        Node::Word(word) => {
            let mut product = Complex::real(Interval::whole(1));
            for letter in word.chars() {
                let factor = match letter {
                    'e' => value(&Node::Constant(Constant::E), at)?,
                    'i' => value(&Node::Constant(Constant::I), at)?,
                    other => variable(&other.to_string(), at)?,
                };
                product = product.times(&factor, bits)?;
            }
            Some(product)
        }
        Node::Constant(Constant::Pi) => Some(Complex::real(pi(bits)?)),
        Node::Constant(Constant::E) => {
            at.budget.spend(700 + bits * bits / 150)?;
            Some(Complex::real(Interval::whole(1).exp(bits)?))
        }
        Node::Constant(Constant::I) => {
            Some(Complex { real: Interval::whole(0), imaginary: Some(Interval::whole(1)) })
        }
        Node::Sum(items) => {
            let mut sum = Complex::real(Interval::whole(0));
            for item in items {
                sum = sum.plus(&value(item, at)?, bits)?;
            }
            Some(sum)
        }
        Node::Product(items) => {
            let mut product = Complex::real(Interval::whole(1));
            for item in items {
                product = product.times(&value(item, at)?, bits)?;
            }
            Some(product)
        }
        Node::Negative(inner) => Some(value(inner, at)?.negated()),
        Node::Quotient(a, b) => value(a, at)?.over(&value(b, at)?, bits),
        Node::Percent(inner) => value(inner, at)?.over(&Complex::real(Interval::whole(100)), bits),
        Node::Ratio(items) if items.len() == 2 => {
            value(&items[0], at)?.over(&value(&items[1], at)?, bits)
        }
        Node::Power(base, power) => raised(base, power, at),
        Node::Call(name, arguments) => called(name, arguments, at),
        _ => None,
    }
}

fn variable(name: &str, at: &At<'_>) -> Option<Complex> {
    let (_, value) = at.point.iter().find(|(known, _)| known == name)?;
    Some(Complex::real(Interval::rational(value, at.bits)?))
}

/// A tree's exact rational value, where that is cheap.
fn rational(node: &Node, at: &At<'_>) -> Option<BigRational> {
    if let Node::Symbol(name) = node {
        return at.point.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone());
    }
    let budget = Budget::new(2_000);
    super::canon::fraction(node, &budget)?.as_rational()
}

fn raised(base: &Node, power: &Node, at: &At<'_>) -> Option<Complex> {
    let bits = at.bits;
    let inner = value(base, at)?;
    if let Some(power) = rational(power, at) {
        let (times, index) = (power.numer().to_i64()?, power.denom().to_u32()?);
        if index == 1 {
            return inner.power(times, bits);
        }
        // The exponents of a point have large denominators: those go the general way.
        if index <= ROOT_MAX {
            at.budget.spend(60 + bits * u64::from(index) / 8)?;
            return Some(Complex::real(inner.only_real()?.root(index, bits)?.power(times, bits)?));
        }
    }
    at.budget.spend(1_800 + bits * bits / 50)?;
    let power = value(power, at)?;
    let logarithm = inner.only_real()?.ln(bits)?;
    let whole = power.times(&Complex::real(logarithm), bits)?;
    let size = whole.real.exp(bits)?;
    match &whole.imaginary {
        None => Some(Complex::real(size)),
        Some(angle) => {
            let (sine, cosine) = angle.sin_cos(bits)?;
            Some(Complex {
                real: cosine.times(&size, bits)?,
                imaginary: Some(sine.times(&size, bits)?),
            })
        }
    }
}

fn called(name: &str, arguments: &[Node], at: &At<'_>) -> Option<Complex> {
    let bits = at.bits;
    let real = |index: usize| -> Option<Interval> {
        value(arguments.get(index)?, at)?.only_real().cloned()
    };
    let one = Interval::whole(1);
    at.budget.spend(match name {
        "degrees" | "abs" => 10,
        "sqrt" => 60 + bits / 4,
        _ => 900 + bits * bits / 100,
    })?;
    let result = match (name, arguments.len()) {
        ("degrees", 1) => real(0)?.times(&pi(bits)?, bits)?.over(&Interval::whole(180), bits)?,
        ("sqrt", 2) => {
            let index = rational(&arguments[1], at)?.to_integer().to_u32()?;
            let inner = real(0)?;
            if index == 2 && inner.sign() == Some(-1) {
                let imaginary = Some(inner.negated().root(2, bits)?);
                return Some(Complex { real: Interval::whole(0), imaginary });
            }
            inner.root(index, bits)?
        }
        ("exp", 1) => real(0)?.exp(bits)?,
        ("ln", 1) => real(0)?.ln(bits)?,
        ("log", 1) if at.decimal => {
            real(0)?.ln(bits)?.over(&Interval::whole(10).ln(bits)?, bits)?
        }
        ("log", 1) => real(0)?.ln(bits)?,
        ("log", 2) => real(1)?.ln(bits)?.over(&real(0)?.ln(bits)?, bits)?,
        ("sin", 1) => real(0)?.sin_cos(bits)?.0,
        ("cos", 1) => real(0)?.sin_cos(bits)?.1,
        ("tan" | "cot", 1) => {
            let (sine, cosine) = real(0)?.sin_cos(bits)?;
            if name == "tan" { sine.over(&cosine, bits)? } else { cosine.over(&sine, bits)? }
        }
        ("sec", 1) => one.over(&real(0)?.sin_cos(bits)?.1, bits)?,
        ("csc", 1) => one.over(&real(0)?.sin_cos(bits)?.0, bits)?,
        ("arctan", 1) => real(0)?.arctan(bits)?,
        ("arcsin" | "arccos", 1) => {
            let x = real(0)?;
            let rest = one.minus(&x.times(&x, bits)?, bits)?.root(2, bits)?;
            let sine = x.over(&rest, bits)?.arctan(bits)?;
            if name == "arcsin" {
                sine
            } else {
                pi(bits)?.over(&Interval::whole(2), bits)?.minus(&sine, bits)?
            }
        }
        ("sinh" | "cosh" | "tanh", 1) => {
            let (up, down) = (real(0)?.exp(bits)?, real(0)?.negated().exp(bits)?);
            match name {
                "sinh" => up.minus(&down, bits)?.over(&Interval::whole(2), bits)?,
                "cosh" => up.plus(&down, bits)?.over(&Interval::whole(2), bits)?,
                _ => up.minus(&down, bits)?.over(&up.plus(&down, bits)?, bits)?,
            }
        }
        ("abs", 1) => absolute(&value(&arguments[0], at)?, bits)?,
        _ => {
            let exact = rational(&Node::Call("", Vec::new()), at).or_else(|| {
                let budget = Budget::new(20_000);
                let node = call_of(name, arguments)?;
                super::canon::fraction(&node, &budget)?.as_rational()
            })?;
            Interval::rational(&exact, bits)?
        }
    };
    Some(Complex::real(result))
}

/// The call again, for those whose value is exact.
fn call_of(name: &str, arguments: &[Node]) -> Option<Node> {
    const EXACT: &[&str] = &["!", "binom", "gcd", "lcm", "max", "min", "mod", "floor", "ceil"];
    let name = EXACT.iter().find(|known| **known == name)?;
    Some(Node::Call(name, arguments.to_vec()))
}

fn absolute(value: &Complex, bits: u64) -> Option<Interval> {
    match (&value.imaginary, value.real.sign()) {
        (None, Some(-1)) => Some(value.real.negated()),
        (None, Some(_)) => Some(value.real.clone()),
        (None, None) => None,
        (Some(imaginary), _) => {
            let square = value.real.times(&value.real, bits)?;
            square.plus(&imaginary.times(imaginary, bits)?, bits)?.root(2, bits)
        }
    }
}
