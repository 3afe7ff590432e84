//! Science questions of the rehearsal: small tables of biology and chemistry, formulas of physics.
//!
//! They have reference answers, but no verifier looks at science, as in OpenThoughts: their traces
//! stay unchecked.

use crate::records::{Domain, NewQuestion, Split};

/// The domains, in the order in which they are generated.
pub const DOMAINS: [Domain; 3] = [Domain::Biology, Domain::Chemistry, Domain::Physics];

/// Light elements: name, protons, and nucleons of their most common isotope.
pub static ELEMENTS: &[(&str, i64, i64)] = &[
    ("hydrogen", 1, 1),
    ("helium", 2, 4),
    ("lithium", 3, 7),
    ("beryllium", 4, 9),
    ("boron", 5, 11),
    ("carbon", 6, 12),
    ("nitrogen", 7, 14),
    ("oxygen", 8, 16),
    ("fluorine", 9, 19),
    ("neon", 10, 20),
    ("sodium", 11, 23),
    ("magnesium", 12, 24),
    ("aluminum", 13, 27),
    ("silicon", 14, 28),
    ("phosphorus", 15, 31),
    ("sulfur", 16, 32),
];

/// Parts of an animal's body that are counted: animal, part, how many.
pub static BODIES: &[(&str, &str, i64)] = &[
    ("spider", "legs", 8),
    ("beetle", "legs", 6),
    ("crab", "legs", 10),
    ("dog", "legs", 4),
    ("bird", "legs", 2),
    ("butterfly", "wings", 4),
    ("housefly", "wings", 2),
    ("octopus", "arms", 8),
    ("starfish", "arms", 5),
];

/// Formulas that multiply two numbers: name of the formula, wording with `{a}` and `{b}`.
pub static FORMULAS: &[(&str, &str)] = &[
    (
        "force = mass * acceleration",
        "What force in newtons gives a mass of {a} kg an acceleration of {b} meters per second \
         squared?",
    ),
    (
        "distance = speed * time",
        "How many meters does a body move in {b} seconds at {a} meters per second?",
    ),
    (
        "voltage = current * resistance",
        "What voltage in volts drives a current of {a} amperes through {b} ohms?",
    ),
];

/// What a question is about, with its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Parts of several animals: which body, how many animals.
    Body {
        /// Index into [`BODIES`].
        body: usize,
        /// How many animals.
        animals: i64,
    },
    /// Protons of an element.
    Protons {
        /// Index into [`ELEMENTS`].
        element: usize,
    },
    /// Neutrons of an element's most common isotope.
    Neutrons {
        /// Index into [`ELEMENTS`].
        element: usize,
    },
    /// A formula with two numbers.
    Formula {
        /// Index into [`FORMULAS`].
        formula: usize,
        /// First factor.
        a: i64,
        /// Second factor.
        b: i64,
    },
}

/// One question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fact {
    /// Biology, chemistry or physics.
    pub domain: Domain,
    /// What is asked.
    pub kind: Kind,
}

/// Every question, in a fixed order.
pub fn space() -> Vec<Fact> {
    let mut space = Vec::new();
    for body in 0..BODIES.len() {
        let kind = |animals| Kind::Body { body, animals };
        space.extend((2..=6).map(|animals| Fact { domain: Domain::Biology, kind: kind(animals) }));
    }
    for element in 0..ELEMENTS.len() {
        let kinds = [Kind::Protons { element }, Kind::Neutrons { element }];
        space.extend(kinds.map(|kind| Fact { domain: Domain::Chemistry, kind }));
    }
    for formula in 0..FORMULAS.len() {
        for a in 2..=9 {
            for b in 2..=9 {
                let kind = Kind::Formula { formula, a, b };
                space.push(Fact { domain: Domain::Physics, kind });
            }
        }
    }
    space
}

impl Fact {
    /// The text that is asked.
    pub fn text(&self) -> String {
        match self.kind {
            Kind::Body { body, animals } => {
                let (animal, part, _) = BODIES[body];
                let plural = if animal == "housefly" {
                    "houseflies".into()
                } else {
                    format!("{animal}{}", if animal == "octopus" { "es" } else { "s" })
                };
                format!("How many {part} do {animals} {plural} have together?")
            }
            Kind::Protons { element } => {
                format!("How many protons does an atom of {} have?", ELEMENTS[element].0)
            }
            Kind::Neutrons { element } => {
                let (name, _, nucleons) = ELEMENTS[element];
                format!("How many neutrons does an atom of {name}-{nucleons} have?")
            }
            Kind::Formula { formula, a, b } => {
                let wording = FORMULAS[formula].1;
                wording.replace("{a}", &a.to_string()).replace("{b}", &b.to_string())
            }
        }
    }

    /// The exact answer.
    pub fn answer(&self) -> i64 {
        match self.kind {
            Kind::Body { body, animals } => BODIES[body].2 * animals,
            Kind::Protons { element } => ELEMENTS[element].1,
            Kind::Neutrons { element } => ELEMENTS[element].2 - ELEMENTS[element].1,
            Kind::Formula { a, b, .. } => a * b,
        }
    }

    /// The question that reads `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        space().into_iter().find(|fact| fact.text() == text)
    }

    /// The fact as a question.
    pub fn question(&self) -> NewQuestion {
        let key = match self.kind {
            Kind::Body { body, animals } => format!("{}-{animals}", BODIES[body].0),
            Kind::Protons { element } => format!("protons-{}", ELEMENTS[element].0),
            Kind::Neutrons { element } => format!("neutrons-{}", ELEMENTS[element].0),
            Kind::Formula { formula, a, b } => {
                let quantity = FORMULAS[formula].0.split(' ').next().unwrap_or_default();
                format!("{quantity}-{a}-{b}")
            }
        };
        NewQuestion {
            key: format!("{}/{key}", self.domain),
            domain: self.domain,
            source: super::SOURCE.into(),
            family: self.domain.name().into(),
            split: Split::Train,
            problem: self.text(),
            reference: Some(self.answer().to_string()),
            tests: None,
            starter_code: None,
        }
    }
}
