//! Math families of the rehearsal: parameters, wording, and the exact answer of each problem.
//!
//! Solving step by step is the teacher's job; the answers here are computed another way, so that
//! the two check each other. Numbers are small because a model of a million parameters has to learn
//! them within minutes: the ranges are the constants of [`range`].

use std::fmt;

use crate::records::{Domain, NewQuestion, Split};

/// Ranges of the parameters; each bound is inclusive. Widening one makes its family harder.
mod range {
    use std::ops::RangeInclusive;

    /// Summands of `arithmetic`.
    pub(super) const ARITHMETIC_SUMMAND: RangeInclusive<i64> = 1..=6;
    /// Factor of `arithmetic`.
    pub(super) const ARITHMETIC_FACTOR: RangeInclusive<i64> = 2..=5;
    /// What `arithmetic` takes away at the end.
    pub(super) const ARITHMETIC_LESS: RangeInclusive<i64> = 1..=9;
    /// Factor in front of the unknown of `equation`.
    pub(super) const EQUATION_FACTOR: RangeInclusive<i64> = 2..=9;
    /// The unknown of `equation`.
    pub(super) const EQUATION_UNKNOWN: RangeInclusive<i64> = 1..=9;
    /// What `equation` adds or takes away.
    pub(super) const EQUATION_CONSTANT: RangeInclusive<i64> = 1..=9;
    /// Denominators of `fraction`.
    pub(super) const FRACTION_DENOMINATOR: RangeInclusive<i64> = 3..=13;
    /// How many of the larger unit `units` converts.
    pub(super) const UNITS_AMOUNT: RangeInclusive<i64> = 2..=12;
    /// Summands of `modular`.
    pub(super) const MODULAR_SUMMAND: RangeInclusive<i64> = 5..=20;
    /// Divisors of `modular`.
    pub(super) const MODULAR_DIVISOR: RangeInclusive<i64> = 3..=7;
    /// First term of `sequence`.
    pub(super) const SEQUENCE_START: RangeInclusive<i64> = 1..=18;
    /// Difference of `sequence`.
    pub(super) const SEQUENCE_STEP: RangeInclusive<i64> = 2..=9;
    /// Which term of `sequence` is asked for.
    pub(super) const SEQUENCE_TERM: RangeInclusive<i64> = 4..=10;
}

/// A kind of problem.
#[derive(Debug)]
pub struct Family {
    /// Stored with every question of the family.
    pub name: &'static str,
    /// Every problem of the family, in a fixed order.
    pub space: fn() -> Vec<Problem>,
}

/// The families, in the order in which they are generated.
pub static FAMILIES: &[Family] = &[
    Family { name: "arithmetic", space: arithmetic },
    Family { name: "equation", space: equation },
    Family { name: "fraction", space: fraction },
    Family { name: "units", space: units },
    Family { name: "modular", space: modular },
    Family { name: "sequence", space: sequence },
];

/// Two units of which the larger holds a whole number of the smaller.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// One of the larger.
    pub one: &'static str,
    /// Several of the larger.
    pub large: &'static str,
    /// Several of the smaller.
    pub small: &'static str,
    /// How many of the smaller make one of the larger.
    pub ratio: i64,
    /// Remainders are multiples of this.
    pub every: i64,
}

const fn unit(names: [&'static str; 3], ratio: i64, every: i64) -> Unit {
    Unit { one: names[0], large: names[1], small: names[2], ratio, every }
}

/// The pairs of units that `units` converts.
pub static UNITS: &[Unit] = &[
    unit(["week", "weeks", "days"], 7, 1),
    unit(["foot", "feet", "inches"], 12, 1),
    unit(["yard", "yards", "feet"], 3, 1),
    unit(["gallon", "gallons", "quarts"], 4, 1),
    unit(["hour", "hours", "minutes"], 60, 5),
    unit(["minute", "minutes", "seconds"], 60, 5),
    unit(["meter", "meters", "centimeters"], 100, 5),
    unit(["pound", "pounds", "ounces"], 16, 1),
    unit(["year", "years", "months"], 12, 1),
    unit(["decade", "decades", "years"], 10, 1),
];

/// One problem with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// `(a + b) * c - d`.
    Arithmetic {
        /// First summand.
        a: i64,
        /// Second summand.
        b: i64,
        /// Factor.
        c: i64,
        /// Taken away.
        d: i64,
    },
    /// `a * x + b = c`, or with a minus.
    Equation {
        /// Factor of the unknown.
        a: i64,
        /// Added or taken away.
        b: i64,
        /// The right side.
        c: i64,
        /// Whether `b` is taken away.
        minus: bool,
    },
    /// `a/d + b/d`, or with a minus, in lowest terms.
    Fraction {
        /// First numerator.
        a: i64,
        /// Second numerator.
        b: i64,
        /// The denominator of both.
        d: i64,
        /// Whether the second is taken away.
        minus: bool,
    },
    /// `amount` large units and `rest` small ones, in small ones.
    Units {
        /// Which units.
        unit: &'static Unit,
        /// Large units.
        amount: i64,
        /// Small units.
        rest: i64,
    },
    /// `(a + b)` modulo `m`.
    Modular {
        /// First summand.
        a: i64,
        /// Second summand.
        b: i64,
        /// Divisor.
        m: i64,
    },
    /// A term of an arithmetic sequence.
    Sequence {
        /// First term.
        start: i64,
        /// Difference of neighbours.
        step: i64,
        /// Which term is asked for, from 1.
        term: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = |minus: bool| if minus { '-' } else { '+' };
        match *self {
            Self::Arithmetic { a, b, c, d } => write!(f, "Compute ({a} + {b}) * {c} - {d}."),
            Self::Equation { a, b, c, minus } => {
                write!(f, "Solve {a} * x {} {b} = {c} for x.", sign(minus))
            }
            Self::Fraction { a, b, d, minus } => {
                write!(f, "Compute {a}/{d} {} {b}/{d} in lowest terms.", sign(minus))
            }
            Self::Units { unit, amount, rest } => {
                let Unit { large, small, .. } = unit;
                write!(f, "How many {small} are {amount} {large} and {rest} {small}?")
            }
            Self::Modular { a, b, m } => {
                write!(f, "Find the remainder when {a} + {b} is divided by {m}.")
            }
            Self::Sequence { start, step, term } => {
                let (second, third) = (start + step, start + 2 * step);
                write!(f, "Find term {term} of the sequence {start}, {second}, {third}, ...")
            }
        }
    }
}

impl Problem {
    /// The problem that reads `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let numbers = numbers(text);
        let minus = text.contains(" - ");
        let guess = match (text.split(' ').next()?, numbers.as_slice()) {
            ("Compute", &[a, d, b, _]) if text.contains('/') => Self::Fraction { a, b, d, minus },
            ("Compute", &[a, b, c, d]) => Self::Arithmetic { a, b, c, d },
            ("Solve", &[a, b, c]) => Self::Equation { a, b, c, minus },
            ("How", &[amount, rest]) => {
                let named = |unit: &&Unit| {
                    text.contains(&format!("{amount} {} and", unit.large))
                        && text.contains(&format!("many {} are", unit.small))
                };
                Self::Units { unit: UNITS.iter().find(named)?, amount, rest }
            }
            ("Find", &[a, b, m]) => Self::Modular { a, b, m },
            ("Find", &[term, start, second, _]) => {
                Self::Sequence { start, step: second - start, term }
            }
            _ => return None,
        };
        // The wording is the grammar: whatever does not print back the same is somebody else's.
        (guess.to_string() == text && guess.is_sound()).then_some(guess)
    }

    /// Whether the numbers make sense: nothing is divided by zero.
    fn is_sound(&self) -> bool {
        match *self {
            Self::Arithmetic { .. } | Self::Units { .. } | Self::Sequence { .. } => true,
            Self::Equation { a, .. } => a > 0,
            Self::Fraction { d, .. } => d > 0,
            Self::Modular { m, .. } => m > 0,
        }
    }

    /// Name of its family.
    pub fn family(&self) -> &'static str {
        match self {
            Self::Arithmetic { .. } => "arithmetic",
            Self::Equation { .. } => "equation",
            Self::Fraction { .. } => "fraction",
            Self::Units { .. } => "units",
            Self::Modular { .. } => "modular",
            Self::Sequence { .. } => "sequence",
        }
    }

    /// The exact answer: an integer, or a fraction in lowest terms.
    pub fn answer(&self) -> String {
        match *self {
            Self::Arithmetic { a, b, c, d } => (a * c + b * c - d).to_string(),
            Self::Equation { a, b, c, minus } => {
                // The unknown is small: trying is independent of how the teacher divides.
                let side = |x: &i64| if minus { a * x - b } else { a * x + b };
                (-200..=200).find(|x| side(x) == c).map_or_else(|| "none".into(), |x| x.to_string())
            }
            Self::Fraction { a, b, d, minus } => lowest_terms(if minus { a - b } else { a + b }, d),
            Self::Units { unit, amount, rest } => (unit.ratio * amount + rest).to_string(),
            Self::Modular { a, b, m } => ((a % m + b % m) % m).to_string(),
            Self::Sequence { start, step, term } => {
                (1..term).fold(start, |value, _| value + step).to_string()
            }
        }
    }

    /// The problem as a question of the training split.
    pub fn question(&self) -> NewQuestion {
        let problem = self.to_string();
        let numbers: Vec<String> = numbers(&problem).iter().map(i64::to_string).collect();
        let mark = match *self {
            Self::Equation { minus: true, .. } | Self::Fraction { minus: true, .. } => "-minus",
            Self::Units { unit, .. } => unit.large,
            Self::Equation { .. }
            | Self::Fraction { .. }
            | Self::Arithmetic { .. }
            | Self::Modular { .. }
            | Self::Sequence { .. } => "",
        };
        NewQuestion {
            key: format!("{}/{}{mark}", self.family(), numbers.join("-")),
            domain: Domain::Math,
            source: super::SOURCE.into(),
            family: self.family().into(),
            split: Split::Train,
            reference: Some(self.answer()),
            tests: None,
            starter_code: None,
            problem,
        }
    }
}

/// `numerator / denominator` in lowest terms; an integer without a denominator.
fn lowest_terms(numerator: i64, denominator: i64) -> String {
    let divides = |by: &i64| numerator % by == 0 && denominator % by == 0;
    let by = (1..=denominator).rev().find(divides).unwrap_or(1);
    match (numerator / by, denominator / by) {
        (whole, 1) => whole.to_string(),
        (top, bottom) => format!("{top}/{bottom}"),
    }
}

/// The whole numbers in `text`, left to right, without their signs.
fn numbers(text: &str) -> Vec<i64> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

fn arithmetic() -> Vec<Problem> {
    let mut space = Vec::new();
    for a in range::ARITHMETIC_SUMMAND {
        for b in range::ARITHMETIC_SUMMAND {
            for c in range::ARITHMETIC_FACTOR {
                for d in range::ARITHMETIC_LESS {
                    if (a + b) * c >= d {
                        space.push(Problem::Arithmetic { a, b, c, d });
                    }
                }
            }
        }
    }
    space
}

fn equation() -> Vec<Problem> {
    let mut space = Vec::new();
    for a in range::EQUATION_FACTOR {
        for x in range::EQUATION_UNKNOWN {
            for b in range::EQUATION_CONSTANT {
                space.push(Problem::Equation { a, b, c: a * x + b, minus: false });
                if a * x >= b {
                    space.push(Problem::Equation { a, b, c: a * x - b, minus: true });
                }
            }
        }
    }
    space
}

fn fraction() -> Vec<Problem> {
    let mut space = Vec::new();
    for d in range::FRACTION_DENOMINATOR {
        for a in 1..d {
            for b in 1..d {
                space.push(Problem::Fraction { a, b, d, minus: false });
                if a > b {
                    space.push(Problem::Fraction { a, b, d, minus: true });
                }
            }
        }
    }
    space
}

fn units() -> Vec<Problem> {
    let mut space = Vec::new();
    for unit in UNITS {
        for amount in range::UNITS_AMOUNT {
            for rest in (unit.every..unit.ratio).step_by(unit.every as usize) {
                space.push(Problem::Units { unit, amount, rest });
            }
        }
    }
    space
}

fn modular() -> Vec<Problem> {
    let mut space = Vec::new();
    for a in range::MODULAR_SUMMAND {
        for b in range::MODULAR_SUMMAND {
            for m in range::MODULAR_DIVISOR {
                space.push(Problem::Modular { a, b, m });
            }
        }
    }
    space
}

fn sequence() -> Vec<Problem> {
    let mut space = Vec::new();
    for start in range::SEQUENCE_START {
        for step in range::SEQUENCE_STEP {
            for term in range::SEQUENCE_TERM {
                space.push(Problem::Sequence { start, step, term });
            }
        }
    }
    space
}
