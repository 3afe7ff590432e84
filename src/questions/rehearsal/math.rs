//! Math families of the rehearsal: parameters, wording, and the exact answer of each problem.
//!
//! Solving step by step is the teacher's job; the answers here are computed another way, so that
//! the two check each other. Numbers are small because a model of a million parameters has to learn
//! them within minutes: the ranges are the constants of [`range`].

use std::fmt;

use crate::records::{Domain, NewQuestion, Split};

/// Ranges of the parameters; each bound is inclusive. Widening one makes its family harder.
///
/// Each family has several times as many problems as there are number facts in them, and the facts
/// are small and shared: a model of a million parameters that has seen a few hundred problems then
/// knows every step of the rest. With as many facts as problems it learns them by heart (LOG.md).
mod range {
    use std::ops::RangeInclusive;

    /// The three summands of `arithmetic`; the last is taken away.
    pub(super) const ARITHMETIC_SUMMAND: RangeInclusive<i64> = 1..=8;
    /// Factor of `arithmetic`.
    pub(super) const ARITHMETIC_FACTOR: RangeInclusive<i64> = 2..=4;
    /// What the unknown of `equation` is divided by.
    pub(super) const EQUATION_DIVISOR: RangeInclusive<i64> = 2..=9;
    /// The unknown of `equation`, divided.
    pub(super) const EQUATION_QUOTIENT: RangeInclusive<i64> = 1..=9;
    /// What `equation` adds or takes away.
    pub(super) const EQUATION_CONSTANT: RangeInclusive<i64> = 1..=9;
    /// Denominators of `fraction`.
    pub(super) const FRACTION_DENOMINATOR: [i64; 6] = [8, 9, 10, 12, 15, 16];
    /// The three numerators of `fraction`; the last is taken away.
    pub(super) const FRACTION_NUMERATOR: RangeInclusive<i64> = 1..=6;
    /// The three amounts that `units` converts together.
    pub(super) const UNITS_AMOUNT: RangeInclusive<i64> = 1..=5;
    /// The three summands of `modular`.
    pub(super) const MODULAR_SUMMAND: RangeInclusive<i64> = 1..=7;
    /// Divisors of `modular`.
    pub(super) const MODULAR_DIVISOR: RangeInclusive<i64> = 3..=5;
    /// First term of `sequence`, and what it grows by.
    pub(super) const SEQUENCE_NUMBER: RangeInclusive<i64> = 1..=8;
    /// Which term of `sequence` is asked for.
    pub(super) const SEQUENCE_TERM: RangeInclusive<i64> = 3..=4;
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
    /// Several of the larger.
    pub large: &'static str,
    /// Several of the smaller.
    pub small: &'static str,
    /// How many of the smaller make one of the larger.
    pub ratio: i64,
}

const fn unit(large: &'static str, small: &'static str, ratio: i64) -> Unit {
    Unit { large, small, ratio }
}

/// The pairs of units that `units` converts.
pub static UNITS: &[Unit] = &[
    unit("weeks", "days", 7),
    unit("feet", "inches", 12),
    unit("yards", "feet", 3),
    unit("gallons", "quarts", 4),
    unit("hours", "minutes", 60),
    unit("minutes", "seconds", 60),
    unit("meters", "centimeters", 100),
    unit("years", "months", 12),
    unit("decades", "years", 10),
];

/// One problem with its parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// `(a + b - c) * d`.
    Arithmetic {
        /// First summand.
        a: i64,
        /// Second summand.
        b: i64,
        /// Taken away.
        c: i64,
        /// Factor.
        d: i64,
    },
    /// `x/a + b = c`, or with a minus.
    Equation {
        /// What the unknown is divided by.
        a: i64,
        /// Added or taken away.
        b: i64,
        /// The right side.
        c: i64,
        /// Whether `b` is taken away.
        minus: bool,
    },
    /// `a/d + b/d - c/d` in lowest terms.
    Fraction {
        /// First numerator.
        a: i64,
        /// Second numerator.
        b: i64,
        /// The numerator that is taken away.
        c: i64,
        /// The denominator of all.
        d: i64,
    },
    /// Three amounts of large units together, in small ones.
    Units {
        /// Which units.
        unit: &'static Unit,
        /// Large units.
        a: i64,
        /// More of them.
        b: i64,
        /// And more.
        c: i64,
    },
    /// `(a + b + c)` modulo `m`.
    Modular {
        /// First summand.
        a: i64,
        /// Second summand.
        b: i64,
        /// Third summand.
        c: i64,
        /// Divisor.
        m: i64,
    },
    /// A term of a sequence that grows by two numbers in turn.
    Sequence {
        /// First term.
        start: i64,
        /// What the second term is larger by.
        a: i64,
        /// What the third term is larger by.
        b: i64,
        /// Which term is asked for, from 1.
        term: i64,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Arithmetic { a, b, c, d } => write!(f, "Compute ({a} + {b} - {c}) * {d}."),
            Self::Equation { a, b, c, minus } => {
                let sign = if minus { '-' } else { '+' };
                write!(f, "Solve x/{a} {sign} {b} = {c} for x.")
            }
            Self::Fraction { a, b, c, d } => {
                write!(f, "Compute {a}/{d} + {b}/{d} - {c}/{d} in lowest terms.")
            }
            Self::Units { unit: Unit { large, small, .. }, a, b, c } => {
                write!(f, "How many {small} are {a} {large}, {b} {large} and {c} {large}?")
            }
            Self::Modular { a, b, c, m } => {
                write!(f, "Find the remainder when {a} + {b} + {c} is divided by {m}.")
            }
            Self::Sequence { start, a, b, term } => {
                write!(f, "A sequence starts at {start} and grows by {a} and by {b} in turn. ")?;
                write!(f, "Find term {term}.")
            }
        }
    }
}

impl Problem {
    /// The problem that reads `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let numbers = numbers(text);
        let guess = match (text.split(' ').next()?, numbers.as_slice()) {
            ("Compute", &[a, b, c, d]) => Self::Arithmetic { a, b, c, d },
            ("Compute", &[a, _, b, _, c, d]) => Self::Fraction { a, b, c, d },
            ("Solve", &[a, b, c]) => Self::Equation { a, b, c, minus: text.contains(" - ") },
            ("How", &[a, b, c]) => {
                let printed = |unit: &'static Unit| Self::Units { unit, a, b, c };
                printed(UNITS.iter().find(|unit| printed(unit).to_string() == text)?)
            }
            ("Find", &[a, b, c, m]) => Self::Modular { a, b, c, m },
            ("A", &[start, a, b, term]) => Self::Sequence { start, a, b, term },
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
            Self::Arithmetic { a, b, c, d } => (a * d + b * d - c * d).to_string(),
            Self::Equation { a, b, c, minus } => {
                // The unknown is small: trying is independent of how the teacher solves.
                let side = |x: &i64| if minus { x - b * a } else { x + b * a };
                (-200..=200)
                    .find(|x| side(x) == c * a)
                    .map_or_else(|| "none".into(), |x| x.to_string())
            }
            Self::Fraction { a, b, c, d } => lowest_terms(a + b - c, d),
            Self::Units { unit, a, b, c } => {
                (unit.ratio * a + unit.ratio * b + unit.ratio * c).to_string()
            }
            Self::Modular { a, b, c, m } => ((a % m + b % m + c % m) % m).to_string(),
            Self::Sequence { start, a, b, term } => {
                (start + term / 2 * a + (term - 1) / 2 * b).to_string()
            }
        }
    }

    /// The problem as a question of the training split.
    pub fn question(&self) -> NewQuestion {
        let problem = self.to_string();
        let numbers: Vec<String> = numbers(&problem).iter().map(i64::to_string).collect();
        let mark = match *self {
            Self::Equation { minus: true, .. } => "-minus",
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
            for c in range::ARITHMETIC_SUMMAND.filter(|c| a + b > *c) {
                space.extend(range::ARITHMETIC_FACTOR.map(|d| Problem::Arithmetic { a, b, c, d }));
            }
        }
    }
    space
}

fn equation() -> Vec<Problem> {
    let mut space = Vec::new();
    for a in range::EQUATION_DIVISOR {
        for quotient in range::EQUATION_QUOTIENT {
            for b in range::EQUATION_CONSTANT {
                space.push(Problem::Equation { a, b, c: quotient + b, minus: false });
                if quotient >= b {
                    space.push(Problem::Equation { a, b, c: quotient - b, minus: true });
                }
            }
        }
    }
    space
}

fn fraction() -> Vec<Problem> {
    let mut space = Vec::new();
    for d in range::FRACTION_DENOMINATOR {
        for a in range::FRACTION_NUMERATOR {
            for b in range::FRACTION_NUMERATOR {
                let rest = range::FRACTION_NUMERATOR.filter(|c| a + b > *c);
                space.extend(rest.map(|c| Problem::Fraction { a, b, c, d }));
            }
        }
    }
    space
}

fn units() -> Vec<Problem> {
    let mut space = Vec::new();
    for unit in UNITS {
        for a in range::UNITS_AMOUNT {
            for b in range::UNITS_AMOUNT {
                space.extend(range::UNITS_AMOUNT.map(|c| Problem::Units { unit, a, b, c }));
            }
        }
    }
    space
}

fn modular() -> Vec<Problem> {
    let mut space = Vec::new();
    for a in range::MODULAR_SUMMAND {
        for b in range::MODULAR_SUMMAND {
            for c in range::MODULAR_SUMMAND {
                space.extend(range::MODULAR_DIVISOR.map(|m| Problem::Modular { a, b, c, m }));
            }
        }
    }
    space
}

fn sequence() -> Vec<Problem> {
    let mut space = Vec::new();
    for start in range::SEQUENCE_NUMBER {
        for a in range::SEQUENCE_NUMBER {
            for b in range::SEQUENCE_NUMBER {
                let terms = range::SEQUENCE_TERM;
                space.extend(terms.map(|term| Problem::Sequence { start, a, b, term }));
            }
        }
    }
    space
}
