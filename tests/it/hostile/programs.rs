//! The programs: read from the files beside, or made here where they are too large to be written.

use serde_json::{Value, json};

const FILES: &[(&str, &str)] = &[
    ("resources", include_str!("resources.py")),
    ("processes", include_str!("processes.py")),
    ("files", include_str!("files.py")),
    ("kernel", include_str!("kernel.py")),
    ("harness", include_str!("harness.py")),
];

/// A program that means harm, and what must become of it.
#[derive(Debug, Clone)]
pub(super) struct Program {
    /// The file it stands in.
    pub(super) file: &'static str,
    /// Its number and name.
    pub(super) title: String,
    /// The teacher's answer, with marks for what a host fills in.
    pub(super) solution: String,
    /// Outcomes that will do; a program may always be `forbidden` where a `runtime_error` will do.
    pub(super) expect: Vec<String>,
    /// Limits other than the usual ones.
    pub(super) limits: Value,
    /// Inputs and expected outputs.
    pub(super) tests: Value,
    /// Its processor time must end it, and not much later than it should.
    pub(super) by_cpu: bool,
}

/// All that this processor can run.
pub(super) fn all() -> Vec<Program> {
    let written = FILES.iter().flat_map(|(file, text)| {
        text.split("\n#: ").filter(|part| !part.trim().is_empty()).fold(
            Vec::new(),
            |mut programs: Vec<(&str, Vec<&str>, String)>, part| {
                let part = part.strip_prefix("#: ").unwrap_or(part);
                let (head, body) = part.split_once('\n').unwrap_or((part, ""));
                let is_title = head.starts_with(|c: char| c.is_ascii_digit());
                match programs.last_mut().filter(|_| !is_title) {
                    Some((_, options, source)) => {
                        options.push(head);
                        source.push_str(body);
                    }
                    None => programs.push((file, vec![head], body.to_owned())),
                }
                programs
            },
        )
    });
    let written = written.filter_map(|(file, head, source)| read(file, &head, &source));
    written.chain(made()).collect()
}

/// A program from its title, its options and its text; none if it is for another processor.
fn read(file: &'static str, head: &[&str], source: &str) -> Option<Program> {
    let mut program = Program {
        file,
        title: head[0].to_owned(),
        solution: format!("```python\n{source}\n```\n"),
        expect: vec!["passed".to_owned()],
        limits: json!({}),
        tests: json!({"inputs": [""], "outputs": ["held"]}),
        by_cpu: false,
    };
    for option in &head[1..] {
        let (word, rest) = option.split_once(' ').unwrap_or((option, ""));
        match word {
            "expect" => program.expect = rest.split(' ').map(str::to_owned).collect(),
            "limits" => program.limits = serde_json::from_str(rest).unwrap(),
            "tests" => program.tests = serde_json::from_str(rest).unwrap(),
            "cpu" => program.by_cpu = true,
            "only" if rest != std::env::consts::ARCH => return None,
            "only" => {}
            other => panic!("{}: an option `{other}`", program.title),
        }
    }
    Some(program)
}

/// Programs too large to be written, and answers that are more or less than one program.
fn made() -> Vec<Program> {
    let nested = "(".repeat(100_000) + "1" + &")".repeat(100_000);
    let minus = "x = ".to_owned() + &"-".repeat(100_000) + "1";
    let lists = "x = ".to_owned() + &"[".repeat(150) + &"]".repeat(150) + "\nprint('held')";
    let text = (0..200).fold("1".to_owned(), |inner, _| format!("f'{{{inner}}}'"));
    let finally = (1..22).fold("if True:\n pass".to_owned(), |inner, _| {
        let inner: String = inner.lines().map(|line| format!(" {line}\n")).collect();
        format!("try: pass\nfinally:\n{inner}")
    });
    let bomb = ["compile_error", "memory_limit", "time_limit", "runtime_error"];
    let fence = |code: &str| format!("```python\n{code}\n```\n");
    let (right, wrong) = (fence("print('held')"), fence("print('wrong')"));
    let passed: &[&str] = &["passed"];
    let answers = [
        ("20 fifty megabytes of source", fence(&"x = 1\n".repeat(8_000_000)), &bomb[..]),
        ("20b a hundred thousand parentheses", fence(&nested), &bomb[..]),
        ("20c a hundred thousand minuses", fence(&minus), &bomb[..]),
        ("20d deeply nested strings", fence(&text), &bomb[..]),
        ("20e as deep as the language allows", fence(&lists), &["passed", "compile_error"][..]),
        ("69 two fences: the last one counts", format!("{wrong}Rather:\n{right}"), passed),
        ("69b a right one, and then a wrong one", right.clone() + &wrong, &["wrong_answer"][..]),
        (
            "69c code in the thought only",
            format!("<think>\n{right}</think>\nNo."),
            &["no_code"][..],
        ),
        ("69d prose", "The answer is held.".to_owned(), &["no_code"][..]),
        ("69e a fence in a fence", fence("print('''held''')\n# ``` no fence"), passed),
        ("69f a fence of windows", right.replace('\n', "\r\n"), passed),
        ("72 a bomb for the compiler", fence(&finally), &bomb[..]),
        (
            "72b a constant for the compiler",
            fence("x = ((2 ** 127) ** 127) ** 127 * 'x' * 9"),
            &bomb[..],
        ),
    ];
    let made = |(title, solution, expect): (&str, String, &[&str])| Program {
        file: "made",
        title: title.to_owned(),
        solution,
        expect: expect.iter().map(|outcome| (*outcome).to_owned()).collect(),
        limits: json!({}),
        tests: json!({"inputs": [""], "outputs": ["held"]}),
        by_cpu: false,
    };
    answers.into_iter().map(made).collect()
}

#[test]
fn every_number_of_the_corpus_has_a_program() {
    let numbers: std::collections::BTreeSet<u32> = all()
        .iter()
        .map(|program| {
            let word = program.title.split(' ').next().unwrap();
            word.trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap()
        })
        .collect();
    let expected = 1..=72;
    // Calls of 32 bits exist on one processor only.
    let missing: Vec<u32> = expected
        .filter(|n| !numbers.contains(n) && (*n != 50 || cfg!(target_arch = "x86_64")))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
