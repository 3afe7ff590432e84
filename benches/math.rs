//! How fast the math engine decides, and a fuzzer with a time limit.
//!
//! `cargo bench --no-default-features --bench math [-- SECONDS SEED]` prints one JSON object: pairs
//! per CPU-second by kind, milliseconds for a long text, the dearest hostile pair, and what SECONDS
//! (5 by default) of random answers found: the dearest one, and any that is not symmetric.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use thinkery::verify::{Grader, Policy, compare};

/// Pairs of each kind.
const PAIRS: i64 = 4_000;

/// Makes the n-th pair of a kind: two spellings of one value.
type Pair = fn(i64) -> (String, String);

/// Pieces that random answers are made of.
const PIECES: &[&str] = &[
    "0",
    "1",
    "2",
    "7",
    "12",
    ".5",
    "x",
    "y",
    "n",
    "k",
    "e",
    "i",
    "A",
    "+",
    "-",
    "*",
    "/",
    "^",
    "_",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    r"\{",
    r"\}",
    "|",
    ",",
    ";",
    ":",
    "=",
    "<",
    ">",
    r"\le ",
    "!",
    "%",
    "$",
    "&",
    r"\\",
    "\\",
    "'",
    "~",
    " ",
    r"\frac",
    r"\sqrt",
    r"\pi ",
    r"\sin ",
    r"\cos",
    r"\ln ",
    r"\left(",
    r"\right)",
    r"\text{",
    r"\boxed{",
    r"\cup ",
    r"\infty ",
    r"\pm ",
    r"\in ",
    "é",
    "∞",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"^\circ",
    r"\sum_{k=1}^{9}",
    r"\log_",
    r"\pmod{7}",
    "cm",
    " and ",
    " or ",
    r"\overline{3}",
    r"\ldots ",
    r"\binom{9}{4}",
    "100!",
    "9^{9^9}",
    "e^{x}",
    "±",
    r"\sqrt[3]{2}",
    r"\mathbb{R}",
    r"\text{ cm}",
    "the answer is ",
    r"\tan",
    r"\arcsin",
];

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse::<u64>().ok());
    let (seconds, seed) = (numbers.next().unwrap_or(5), numbers.next().unwrap_or(1));
    let kinds: [(&str, Pair); 4] = [
        ("integers", |n| (n.to_string(), format!("${n}$"))),
        ("fractions", |n| (format!(r"\frac{{{n}}}{{97}}"), format!("{}/194", 2 * n))),
        ("surds", |n| (format!(r"\sqrt{{{}}}", 4 * n), format!(r"2\sqrt{{{n}}}"))),
        ("polynomials", |n| (format!("(x+{n})^2"), format!("x^2+{}x+{}", 2 * n, n * n))),
    ];
    let rates: serde_json::Map<String, Value> =
        kinds.iter().map(|(name, pair)| ((*name).to_owned(), json!(rate(*pair)))).collect();
    println!(
        "{}",
        json!({
            "pairs_per_cpu_second": rates,
            "long_text_ms": long_text(),
            "hostile": hostile(),
            "fuzz": fuzz(seconds as f64, seed),
        })
    );
}

/// CPU seconds of this thread.
fn clock() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn verdict(reference: &str, answer: &str) -> &'static str {
    compare(reference, answer, Grader::Engine, &Policy::default()).verdict.name()
}

fn rate(pair: Pair) -> u64 {
    let pairs: Vec<(String, String)> = (2..2 + PAIRS).map(pair).collect();
    let begin = clock();
    let right = pairs.iter().filter(|(a, b)| verdict(a, b) == "correct").count();
    let taken = clock() - begin;
    assert_eq!(right, pairs.len(), "every pair is equal");
    (PAIRS as f64 / taken) as u64
}

/// Finding the answer in 200 KB of prose.
fn long_text() -> f64 {
    const ROUNDS: u32 = 50;
    let text = "We try $x = 3$ and get $y = \\frac{1}{2}$, which is not it. ".repeat(3_400);
    let text = format!("{text} So it is \\boxed{{42}}.");
    let begin = clock();
    (0..ROUNDS).for_each(|_| assert_eq!(verdict("42", &text), "correct"));
    (clock() - begin) * 1e3 / f64::from(ROUNDS)
}

/// The dearest of a few pairs that mean harm.
fn hostile() -> Value {
    let pairs = [
        ("9^{9^{9^{9^9}}}".to_owned(), "5".to_owned()),
        (r"\frac{1}{2004!}".to_owned(), r"\frac{1}{2006!}".to_owned()),
        (r"\sum_{k=1}^{500} \frac{1}{k}".to_owned(), "6.79".to_owned()),
        (r"\binom{100000}{50000}".to_owned(), "5".to_owned()),
        (format!("{}1{}", "(".repeat(3_000), ")".repeat(3_000)), "2".to_owned()),
        (r"\pi+e^{-10000}".to_owned(), r"\pi".to_owned()),
        (r"\sin(x+y+z+w)\cos(x+y+z+w)".to_owned(), r"\sin(x)\cos(5y+6z)".to_owned()),
        ("(a+b+c+d+e+f+g+h)^{60}".to_owned(), "(a+b+c+d+e+f+g+h)^{61}".to_owned()),
        ("x".repeat(1 << 20), "5".to_owned()),
        ("$".repeat(1 << 20), "5".to_owned()),
    ];
    let mut worst = (0.0, "");
    for (a, b) in &pairs {
        let begin = clock();
        assert_ne!(verdict(a, b), "correct", "{b}");
        let taken = (clock() - begin) * 1e3;
        if taken > worst.0 {
            worst = (taken, &a[..a.len().min(40)]);
        }
    }
    json!({"worst_ms": worst.0, "pair": worst.1})
}

/// Random answers for `seconds`.
fn fuzz(seconds: f64, seed: u64) -> Value {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let answer = |random: &mut ChaCha8Rng| {
        let count = random.random_range(1..30);
        (0..count).filter_map(|_| PIECES.choose(random).copied()).collect::<String>()
    };
    let begin = clock();
    let (mut pairs, mut worst, mut asymmetric) = (0_u64, (0.0, String::new()), Vec::new());
    while clock() - begin < seconds {
        let (a, b) = (answer(&mut random), answer(&mut random));
        let from = clock();
        let straight = verdict(&a, &b);
        let taken = (clock() - from) * 1e3;
        if taken > worst.0 {
            worst = (taken, format!("{a} against {b}"));
        }
        // An empty reference is nobody's answer: only readable pairs have to be symmetric.
        let turned = verdict(&b, &a);
        let equal = |verdict: &str| verdict == "correct";
        if equal(straight) != equal(turned) {
            asymmetric.push(format!("{a} against {b}"));
        }
        pairs += 1;
    }
    json!({"seed": seed, "pairs": pairs, "worst_ms": worst.0, "worst": worst.1, "asymmetric": asymmetric})
}
