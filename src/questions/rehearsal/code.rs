//! Programming tasks of the rehearsal: small programs over a list of whole numbers, with tests.
//!
//! Expected outputs are computed here in Rust, never by a Python program.

use serde_json::{Value, json};

use crate::records::{Domain, NewQuestion, Split, Tests};

/// Tests of every task. Five would do; the sixth is the list of one number.
const TESTS: usize = 6;

/// Parameters of the operations that have one.
const PARAMETERS: std::ops::RangeInclusive<i64> = 2..=9;

/// What a program computes.
#[derive(Debug)]
pub struct Operation {
    /// Part of the question's key.
    pub name: &'static str,
    /// The wording; `{k}` stands for the parameter.
    pub wording: &'static str,
    /// The result for a list that is not empty.
    pub result: fn(&[i64], i64) -> i64,
}

const fn operation(
    name: &'static str,
    wording: &'static str,
    result: fn(&[i64], i64) -> i64,
) -> Operation {
    Operation { name, wording, result }
}

/// The operations; those whose wording names `{k}` come once per parameter.
pub static OPERATIONS: &[Operation] = &[
    operation("sum", "the sum of the numbers", |x, _| x.iter().sum()),
    operation("largest", "the largest number", |x, _| x.iter().copied().fold(x[0], i64::max)),
    operation("smallest", "the smallest number", |x, _| x.iter().copied().fold(x[0], i64::min)),
    operation("evens", "how many numbers are even", |x, _| count(x, |n| n % 2 == 0)),
    operation("odds", "how many numbers are odd", |x, _| count(x, |n| n % 2 != 0)),
    operation("positive", "how many numbers are positive", |x, _| count(x, |n| n > 0)),
    operation("negative", "how many numbers are negative", |x, _| count(x, |n| n < 0)),
    operation("squares", "the sum of the squares of the numbers", |x, _| {
        x.iter().map(|n| n * n).sum()
    }),
    operation("spread", "the largest number minus the smallest number", |x, _| {
        x.iter().copied().fold(x[0], i64::max) - x.iter().copied().fold(x[0], i64::min)
    }),
    operation("distinct", "how many different numbers there are", |x, _| {
        (0..x.len()).filter(|&i| !x[..i].contains(&x[i])).count() as i64
    }),
    operation("above", "how many numbers are greater than {k}", |x, k| count(x, |n| n > k)),
    operation("below", "how many numbers are less than {k}", |x, k| count(x, |n| n < k)),
    operation("multiples", "how many numbers are divisible by {k}", |x, k| {
        count(x, |n| n % k == 0)
    }),
    operation("sum_above", "the sum of the numbers that are greater than {k}", |x, k| {
        x.iter().filter(|&&n| n > k).sum()
    }),
    operation("sum_multiples", "the sum of the numbers that are divisible by {k}", |x, k| {
        x.iter().filter(|&&n| n % k == 0).sum()
    }),
    operation("times", "{k} times the sum of the numbers", |x, k| x.iter().map(|n| k * n).sum()),
    operation("plus", "{k} plus the largest number", |x, k| {
        x.iter().copied().fold(x[0], i64::max) + k
    }),
    operation("occurrences", "how often {k} occurs among the numbers", |x, k| count(x, |n| n == k)),
];

fn count(numbers: &[i64], wanted: impl Fn(i64) -> bool) -> i64 {
    numbers.iter().filter(|&&number| wanted(number)).count() as i64
}

/// One task.
#[derive(Debug, Clone, Copy)]
pub struct Task {
    /// What is computed.
    pub operation: &'static Operation,
    /// The operation's parameter; 0 if it has none.
    pub k: i64,
    /// Whether a function is called; otherwise the program reads standard input.
    pub called: bool,
}

/// Every task, in a fixed order.
pub fn space() -> Vec<Task> {
    let mut space = Vec::new();
    for called in [false, true] {
        for operation in OPERATIONS {
            let parameters = if operation.wording.contains("{k}") { PARAMETERS } else { 0..=0 };
            space.extend(parameters.map(|k| Task { operation, k, called }));
        }
    }
    space
}

impl Task {
    /// What the result is, in words.
    pub fn wording(&self) -> String {
        self.operation.wording.replace("{k}", &self.k.to_string())
    }

    /// The text that is asked.
    pub fn text(&self) -> String {
        let wording = self.wording();
        if self.called {
            format!(
                "Write a function solve that takes a list of whole numbers and returns {wording}."
            )
        } else {
            format!(
                "The first line has n, the second line has n whole numbers. Read them and print \
                 {wording}."
            )
        }
    }

    /// The task that reads `text`, if it is one of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        space().into_iter().find(|task| task.text() == text)
    }

    /// The task as a question.
    pub fn question(&self) -> NewQuestion {
        let kind = if self.called { "called" } else { "stdin" };
        NewQuestion {
            key: format!("code/{kind}-{}-{}", self.operation.name, self.k),
            domain: Domain::Code,
            source: super::SOURCE.into(),
            family: format!("code_{kind}"),
            split: Split::Train,
            problem: self.text(),
            reference: None,
            tests: Some(self.tests()),
            starter_code: self.called.then(|| "def solve(numbers):".into()),
        }
    }

    fn tests(&self) -> Tests {
        let (inputs, outputs): (Vec<Value>, Vec<Value>) =
            (0..TESTS).map(|test| self.test(test)).unzip();
        Tests {
            inputs: inputs.into(),
            outputs: outputs.into(),
            fn_name: self.called.then(|| "solve".into()),
            ..Tests::default()
        }
    }

    /// Input and output of one test. The lists hold what separates right from nearly right: the
    /// parameter itself, its neighbours and multiples, zero, negative and repeated numbers.
    fn test(&self, test: usize) -> (Value, Value) {
        let k = self.k.max(3);
        let numbers = match test {
            0 => vec![k, k + 1, k - 1, 2 * k, 0],
            1 => vec![-k, 5, 5, -1, 3 * k, 8],
            2 => vec![10, 4, 7, k, k, 6, 1],
            3 => vec![-4, -2, -9],
            4 => vec![2 * k + 1, 12, 9, 20, 15, 18, 30, 2, k],
            _ => vec![7 * k],
        };
        let result = (self.operation.result)(&numbers, self.k);
        if self.called {
            return (json!([numbers]), json!(result));
        }
        let words: Vec<String> = numbers.iter().map(i64::to_string).collect();
        (json!(format!("{}\n{}\n", numbers.len(), words.join(" "))), json!(format!("{result}\n")))
    }
}
