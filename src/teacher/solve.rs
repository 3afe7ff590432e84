//! Solves the rehearsal's questions step by step, the way the rehearsal teacher answers them.
//!
//! Reads the question's text and works it out; never looks an answer up. A [`Slip`] makes one step
//! go wrong, and everything after it is carried through with the wrong number, so that a wrong
//! trace reads like somebody's honest mistake.

use crate::questions::rehearsal::code::Task;
use crate::questions::rehearsal::math::Problem;
use crate::questions::rehearsal::puzzle::{COMPARISONS, KINDS, Puzzle};
use crate::questions::rehearsal::science::{BODIES, ELEMENTS, FORMULAS, Fact, Kind};

/// What math questions are prefixed with; OpenThoughts' wording.
const MATH_PREFIX: &str = r"Return your final response within \boxed{}. ";

/// How code questions' prefixes end; OpenThoughts' two wordings.
const CODE_PREFIX_ENDS: [&str; 2] =
    ["Simply call the function after the definition.", "invoking it at the final solution."];

/// A thought and the solution it leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solved {
    /// The steps.
    pub reasoning: String,
    /// The final answer: in a box, or as a fenced program.
    pub solution: String,
}

/// Where and how a solution goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slip {
    /// The result of the step with this number is off by this much.
    Step(usize, i64),
    /// The steps are right but what is put in the box, or one line of the program, is not.
    Final(i64),
}

/// Solves the question in `text`, with or without the prompt's prefix; none if it is not ours.
pub fn solve(text: &str) -> Option<Solved> {
    solve_with(text, None)
}

/// How many numbers the solution of `text` computes: the steps that can slip.
pub fn steps(text: &str) -> usize {
    let mut work = Work::new(None);
    match Known::find(text) {
        Some(Known::Math(problem)) => drop(math(&problem, &mut work)),
        Some(Known::Science(fact)) => drop(science(fact, &mut work)),
        Some(Known::Code(_) | Known::Puzzle { .. }) | None => {}
    }
    work.computed
}

/// Solves the question in `text`, going wrong as `slip` says.
pub(super) fn solve_with(text: &str, slip: Option<Slip>) -> Option<Solved> {
    let mut work = Work::new(slip);
    Some(match Known::find(text)? {
        Known::Math(problem) => {
            let answer = math(&problem, &mut work);
            work.boxed(&answer)
        }
        Known::Science(fact) => {
            let answer = science(fact, &mut work);
            work.boxed(&answer)
        }
        Known::Puzzle { text, options } => puzzle(&text, &options, slip)?,
        Known::Code(task) => program(&task, slip),
    })
}

/// A question that was recognised.
enum Known {
    Math(Problem),
    Code(Task),
    Puzzle { text: String, options: Vec<String> },
    Science(Fact),
}

impl Known {
    fn find(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(problem) = Problem::parse(text.strip_prefix(MATH_PREFIX).unwrap_or(text)) {
            return Some(Self::Math(problem));
        }
        let bare = CODE_PREFIX_ENDS
            .iter()
            .find_map(|end| text.split_once(end).map(|(_, question)| question))
            .unwrap_or(text);
        // The starter code follows the question on a line of its own.
        if let Some(task) = Task::parse(bare.split("\ndef ").next().unwrap_or(bare)) {
            return Some(Self::Code(task));
        }
        if let Some((text, options)) = Puzzle::split(text) {
            return Some(Self::Puzzle { text, options });
        }
        Fact::parse(text).map(Self::Science)
    }
}

/// The steps so far, and what is to go wrong.
struct Work {
    steps: Vec<String>,
    slip: Option<Slip>,
    computed: usize,
}

impl Work {
    fn new(slip: Option<Slip>) -> Self {
        Self { steps: Vec::new(), slip, computed: 0 }
    }

    /// The result of a computation whose true result is `right`; one of them may slip.
    fn result(&mut self, right: i64) -> i64 {
        let step = self.computed;
        self.computed += 1;
        match self.slip {
            Some(Slip::Step(at, by)) if at == step => right + by,
            Some(Slip::Step(..) | Slip::Final(_)) | None => right,
        }
    }

    /// Writes a step down.
    fn say(&mut self, step: String) {
        self.steps.push(step);
    }

    /// Writes down `a symbol b = result` after `why`, and hands on the result. Without spaces: a
    /// digit is a token of its own, and so is each space before one.
    fn compute(&mut self, why: &str, a: i64, symbol: char, b: i64) -> i64 {
        let right = match symbol {
            '+' => a + b,
            '-' => a - b,
            '*' => a * b,
            // Whoever slipped before divides on without noticing what is left over.
            _ => a.div_euclid(b.max(1)),
        };
        let result = self.result(right);
        self.say(format!("{why}{a}{symbol}{b}={result}"));
        result
    }

    fn boxed(self, answer: &Answer) -> Solved {
        let off = match self.slip {
            Some(Slip::Final(by)) => by,
            Some(Slip::Step(..)) | None => 0,
        };
        let answer = match *answer {
            Answer::Whole(whole) => (whole + off).to_string(),
            Answer::Fraction(top, 1) => (top + off).to_string(),
            Answer::Fraction(top, bottom) => format!("{}/{bottom}", top + off),
        };
        Solved {
            reasoning: self.steps.join("\n\n"),
            solution: format!("The answer is \\boxed{{{answer}}}."),
        }
    }
}

/// A number to put in the box.
enum Answer {
    Whole(i64),
    Fraction(i64, i64),
}

fn math(problem: &Problem, work: &mut Work) -> Answer {
    match *problem {
        Problem::Arithmetic { a, b, c, d } => {
            let sum = work.compute("", a, '+', b);
            let rest = work.compute("", sum, '-', c);
            Answer::Whole(work.compute("", rest, '*', d))
        }
        Problem::Equation { a, b, c, minus } => {
            let symbol = if minus { '+' } else { '-' };
            let quotient = work.compute(&format!("x/{a}="), c, symbol, b);
            Answer::Whole(work.compute("x=", quotient, '*', a))
        }
        Problem::Fraction { a, b, c, d } => fraction([a, b, c, d], work),
        Problem::Units { unit, a, b, c } => {
            let sum = work.compute("", a, '+', b);
            let amount = work.compute("", sum, '+', c);
            Answer::Whole(work.compute("", amount, '*', unit.ratio))
        }
        Problem::Modular { a, b, c, m } => {
            let sum = work.compute("", a, '+', b);
            let sum = work.compute("", sum, '+', c);
            let times = sum.div_euclid(m);
            let multiple = work.compute("", m, '*', times);
            Answer::Whole(work.compute("", sum, '-', multiple))
        }
        Problem::Sequence { start, a, b, term } => {
            let mut value = start;
            for number in 2..=term {
                let more = if number % 2 == 0 { a } else { b };
                value = work.compute(&format!("Term {number}: "), value, '+', more);
            }
            Answer::Whole(value)
        }
    }
}

fn fraction([a, b, c, d]: [i64; 4], work: &mut Work) -> Answer {
    let sum = work.compute("", a, '+', b);
    let top = work.compute("", sum, '-', c);
    let by = common_divisor(top.abs(), d);
    work.say(format!("Divide {top}/{d} by {by}"));
    let top = work.compute("", top, '/', by);
    let bottom = work.compute("", d, '/', by);
    Answer::Fraction(top, bottom)
}

/// The greatest common divisor, Euclid's way.
fn common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a.max(1) } else { common_divisor(b, a % b) }
}

fn science(fact: Fact, work: &mut Work) -> Answer {
    Answer::Whole(match fact.kind {
        Kind::Body { body, animals } => {
            let (animal, part, each) = BODIES[body];
            work.say(format!("One {animal} has {each} {part}."));
            work.compute("Together, ", animals, '*', each)
        }
        Kind::Protons { element } => {
            let (name, protons, _) = ELEMENTS[element];
            work.say("The atomic number is the number of protons.".into());
            let protons = work.result(protons);
            work.say(format!("The atomic number of {name} is {protons}."));
            protons
        }
        Kind::Neutrons { element } => {
            let (name, protons, nucleons) = ELEMENTS[element];
            work.say(format!("An atom of {name} has {protons} protons."));
            work.compute("The rest of its nucleons are neutrons: ", nucleons, '-', protons)
        }
        Kind::Formula { formula, a, b } => {
            work.say(format!("Use {}.", FORMULAS[formula].0));
            work.compute("Then ", a, '*', b)
        }
    })
}

/// Solves a puzzle; a slip takes the option after the right one.
fn puzzle(text: &str, options: &[String], slip: Option<Slip>) -> Option<Solved> {
    let (mut reasoning, right) = match COMPARISONS.iter().find(|(_, most)| text.contains(most)) {
        Some((comparison, _)) => most(text, comparison, options)?,
        None => odd_one_out(text, options)?,
    };
    let chosen = if slip.is_some() { (right + 1) % options.len() } else { right };
    let letter = Puzzle::letter(chosen);
    reasoning.push_str(&format!("\n\nThat is option {letter}, {}.", options[chosen]));
    Some(Solved { reasoning, solution: format!("The answer is \\boxed{{{letter}}}.") })
}

/// Who is more than everybody else: the first of a comparison who is never second.
fn most(text: &str, comparison: &str, options: &[String]) -> Option<(String, usize)> {
    let middle = format!(" is {comparison} than ");
    let pairs: Vec<(&str, &str)> =
        text.split(". ").filter_map(|sentence| sentence.split_once(&middle)).collect();
    let winner = pairs
        .iter()
        .map(|&(more, _)| more)
        .find(|more| !pairs.iter().any(|(_, less)| less == more))?;
    let right = options.iter().position(|option| option == winner)?;
    let order: Vec<String> =
        pairs.iter().map(|(more, less)| format!("{more} comes before {less}.")).collect();
    Some((format!("{}\n\nNobody comes before {winner}.", order.join(" ")), right))
}

fn odd_one_out(text: &str, options: &[String]) -> Option<(String, usize)> {
    if !text.contains("does not belong") {
        return None;
    }
    let kind = |word: &str| KINDS.iter().find(|(_, words)| words.contains(&word));
    let kinds: Option<Vec<&str>> =
        options.iter().map(|option| kind(option).map(|(name, _)| *name)).collect();
    let kinds = kinds?;
    let odd = (0..kinds.len()).find(|&i| kinds.iter().filter(|&k| *k == kinds[i]).count() == 1)?;
    let steps: Vec<String> =
        options.iter().zip(&kinds).map(|(word, kind)| format!("{word}: {kind}.")).collect();
    Some((format!("{}\n\nOnly {} is not like the others.", steps.join(" "), options[odd]), odd))
}

/// The program of a task; a slip puts a typical mistake into it.
fn program(task: &Task, slip: Option<Slip>) -> Solved {
    let right = expression(task);
    let expression = match slip {
        Some(Slip::Step(..)) => format!("{right} + 1"),
        Some(Slip::Final(_)) | None => right,
    };
    let call = if task.called {
        format!("def solve(numbers):\n    return {expression}")
    } else {
        format!(
            "def main():\n    n = int(input())\n    numbers = list(map(int, input().split()))\n    \
             print({expression})\n\nmain()"
        )
    };
    // A forgotten bracket: nothing runs at all.
    let call = if matches!(slip, Some(Slip::Final(_))) { call.replacen(')', "", 1) } else { call };
    let reading = if task.called {
        "The numbers come as an argument."
    } else {
        "Skip the first line and read the numbers from the second."
    };
    Solved {
        reasoning: format!(
            "We need {}.\n\n{reading}\n\nIn Python this is {expression}.",
            task.wording()
        ),
        solution: format!("```python\n{call}\n```"),
    }
}

/// What the task computes, in Python.
fn expression(task: &Task) -> String {
    let k = task.k;
    match task.operation.name {
        "sum" => "sum(numbers)".into(),
        "largest" => "max(numbers)".into(),
        "smallest" => "min(numbers)".into(),
        "evens" => counted("x % 2 == 0"),
        "odds" => counted("x % 2 != 0"),
        "positive" => counted("x > 0"),
        "negative" => counted("x < 0"),
        "squares" => "sum(x * x for x in numbers)".into(),
        "spread" => "max(numbers) - min(numbers)".into(),
        "distinct" => "len(set(numbers))".into(),
        "above" => counted(&format!("x > {k}")),
        "below" => counted(&format!("x < {k}")),
        "multiples" => counted(&format!("x % {k} == 0")),
        "sum_above" => format!("sum(x for x in numbers if x > {k})"),
        "sum_multiples" => format!("sum(x for x in numbers if x % {k} == 0)"),
        "times" => format!("{k} * sum(numbers)"),
        "plus" => format!("{k} + max(numbers)"),
        "occurrences" => format!("numbers.count({k})"),
        // The table of operations and this one are compared by a test.
        other => format!("unknown({other:?})"),
    }
}

fn counted(condition: &str) -> String {
    format!("sum(1 for x in numbers if {condition})")
}
