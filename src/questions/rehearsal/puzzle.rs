//! Multiple-choice puzzles of the rehearsal: which word does not belong, and who comes last.

use crate::records::{Domain, NewQuestion, Split};

/// Kinds of things, for "which word does not belong": each word belongs to one kind only.
pub static KINDS: &[(&str, [&str; 6])] = &[
    ("fruit", ["apple", "banana", "cherry", "grape", "pear", "plum"]),
    ("animal", ["horse", "rabbit", "tiger", "sheep", "monkey", "goat"]),
    ("color", ["red", "blue", "green", "yellow", "purple", "brown"]),
    ("tool", ["hammer", "saw", "drill", "wrench", "pliers", "chisel"]),
    ("vehicle", ["car", "bus", "train", "truck", "bicycle", "tram"]),
    ("instrument", ["piano", "violin", "flute", "drum", "guitar", "trumpet"]),
];

/// Names of the people who are compared.
const PEOPLE: [&str; 4] = ["Ann", "Bob", "Eve", "Tom"];

/// What people are compared by: the comparative, and the superlative that is asked for.
pub static COMPARISONS: &[(&str, &str)] =
    &[("taller", "tallest"), ("older", "oldest"), ("faster", "fastest")];

/// A puzzle with four options or three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Puzzle {
    /// Part of the question's key.
    pub key: String,
    /// The text without its options.
    pub text: String,
    /// The options, in the order of their letters.
    pub options: Vec<String>,
    /// Index of the right option.
    pub right: usize,
}

/// Every puzzle, in a fixed order.
pub fn space() -> Vec<Puzzle> {
    let mut space = Vec::new();
    for (index, (kind, words)) in KINDS.iter().enumerate() {
        for (other_index, (_, others)) in KINDS.iter().enumerate() {
            if index != other_index {
                space.push(odd_one_out(kind, words, others, index + 2 * other_index));
            }
        }
    }
    for (comparison, superlative) in COMPARISONS {
        for first in 0..PEOPLE.len() {
            for second in (0..PEOPLE.len()).filter(|&second| second != first) {
                let third = (0..PEOPLE.len()).find(|&who| who != first && who != second);
                let order = [first, second, third.unwrap_or(0)].map(|who| PEOPLE[who]);
                space.push(comparing(comparison, superlative, order));
            }
        }
    }
    space
}

fn odd_one_out(kind: &str, words: &[&str; 6], others: &[&str; 6], salt: usize) -> Puzzle {
    let right = salt % 4;
    let odd = others[salt % 6];
    let mut options: Vec<String> = (0..3).map(|i| words[(salt + i) % 6].into()).collect();
    options.insert(right, odd.into());
    let text = "Which word does not belong to the others?".into();
    Puzzle { key: format!("puzzle/odd-{kind}-{odd}"), text, options, right }
}

fn comparing(comparison: &str, superlative: &str, order: [&str; 3]) -> Puzzle {
    let [first, second, third] = order;
    let text = format!(
        "{first} is {comparison} than {second}. {second} is {comparison} than {third}. Who is the \
         {superlative}?"
    );
    let mut options: Vec<String> = order.iter().map(|&name| name.to_owned()).collect();
    options.sort();
    let right = options.iter().position(|name| name == first).unwrap_or(0);
    Puzzle { key: format!("puzzle/{superlative}-{first}-{second}"), text, options, right }
}

impl Puzzle {
    /// The letter of option `index`.
    pub fn letter(index: usize) -> char {
        char::from(b'A' + index as u8)
    }

    /// The text with its options.
    pub fn problem(&self) -> String {
        let mut problem = self.text.clone();
        for (index, option) in self.options.iter().enumerate() {
            problem.push_str(&format!("\n{}. {option}", Self::letter(index)));
        }
        problem
    }

    /// Splits `problem` into its text and its options, as [`Self::problem`] joins them.
    pub fn split(problem: &str) -> Option<(String, Vec<String>)> {
        let mut lines = problem.trim().lines();
        let text = lines.next()?.to_owned();
        let options: Option<Vec<String>> = lines
            .enumerate()
            .map(|(index, line)| {
                let option = line.strip_prefix(&format!("{}. ", Self::letter(index)))?;
                Some(option.to_owned())
            })
            .collect();
        options.filter(|options| (2..=26).contains(&options.len())).map(|options| (text, options))
    }

    /// The puzzle as a question.
    pub fn question(&self) -> NewQuestion {
        NewQuestion {
            key: self.key.clone(),
            domain: Domain::Puzzle,
            source: super::SOURCE.into(),
            family: "puzzle".into(),
            split: Split::Train,
            problem: self.problem(),
            reference: Some(Self::letter(self.right).into()),
            tests: None,
            starter_code: None,
        }
    }
}
