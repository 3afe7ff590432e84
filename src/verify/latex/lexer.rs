//! LaTeX, plain notation and Unicode into tokens, in one pass.
//!
//! What changes only the look is dropped here; spelling variants of one thing become one token.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Zero};

use super::spelling::{DROPPED, PLAIN, SPACES, TEXTS, WRAPPERS, alias, spelled};
use super::tree::Relation;

/// Longest answer that is read. Reference answers of OpenThoughts stay far below.
pub(crate) const ANSWER_BYTES_MAX: usize = 16_384;

/// Most digits of a whole number that is read.
const DIGITS_MAX: usize = 10_000;

/// Most decimals: the common divisor with a power of ten takes their square.
const PLACES_MAX: usize = 1_000;

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token {
    /// A number and how many decimals it was written with.
    Number(BigRational, Option<u32>),
    /// A letter that stands alone.
    Letter(char),
    /// Letters without spaces between them that are no command.
    Word(String),
    /// The content of `\text{…}` and its kin.
    Text(String),
    /// A command without its backslash, under its usual name.
    Command(String),
    /// `(`, `[`, `{` (a set's brace is `S`), `|`.
    Open(char),
    /// `)`, `]`, `}` (a set's brace is `s`).
    Close(char),
    /// One of `+ - * / ^ _ ! , ; : | ' & % ~` (`~` is a plus-minus, `#` a row break).
    Sign(char),
    /// A relation.
    Relation(Relation),
}

/// A token and whether a space stands before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spaced {
    pub(crate) token: Token,
    pub(crate) space: bool,
}

/// Takes `text` apart. None if it is longer than [`ANSWER_BYTES_MAX`].
pub(crate) fn tokens(text: &str) -> Option<Vec<Spaced>> {
    if text.len() > ANSWER_BYTES_MAX {
        return None;
    }
    let ascii;
    let text = if text.is_ascii() {
        text
    } else {
        ascii = spelled(text);
        &ascii
    };
    let mut lexer = Lexer { rest: text, out: Vec::new(), space: false, depth: 0, matrices: 0 };
    while !lexer.rest.is_empty() {
        lexer.step()?;
    }
    Some(lexer.out)
}

struct Lexer<'a> {
    rest: &'a str,
    out: Vec<Spaced>,
    space: bool,
    /// Round, square and set brackets that are open: a comma in them separates items.
    depth: usize,
    /// Matrices that are open: two backslashes in them end a row.
    matrices: usize,
}

impl<'a> Lexer<'a> {
    fn push(&mut self, token: Token) {
        self.out.push(Spaced { token, space: self.space });
        self.space = false;
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(bytes);
        self.rest = rest;
        taken
    }

    /// The content of the group that `rest` begins with, which is taken.
    fn group(&mut self) -> Option<&'a str> {
        let trimmed = self.rest.trim_start();
        let content = trimmed.strip_prefix('{')?;
        let mut depth = 1_usize;
        let mut escaped = false;
        for (at, byte) in content.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'{' => depth += 1,
                b'}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                self.rest = &content[at + 1..];
                return Some(&content[..at]);
            }
        }
        None
    }

    fn step(&mut self) -> Option<()> {
        let first = self.rest.chars().next()?;
        match first {
            '\\' => self.command()?,
            '0'..='9' => self.number()?,
            '.' if self.rest[1..].starts_with(|digit: char| digit.is_ascii_digit()) => {
                self.number()?;
            }
            'a'..='z' | 'A'..='Z' => self.word(),
            _ if first.is_whitespace() || first == '~' => {
                self.take(first.len_utf8());
                self.space = true;
            }
            _ if first.is_alphabetic() => self.foreign_word(),
            _ => self.sign(first),
        }
        Some(())
    }

    fn sign(&mut self, first: char) {
        for (written, token) in [
            ("<=", Token::Relation(Relation::LessEqual)),
            (">=", Token::Relation(Relation::GreaterEqual)),
            ("!=", Token::Relation(Relation::Unequal)),
            ("==", Token::Relation(Relation::Equal)),
            ("...", Token::Command("ldots".into())),
            ("**", Token::Sign('^')),
            ("{,}", Token::Sign(',')),
            ("+-", Token::Sign('~')),
            ("+/-", Token::Sign('~')),
        ] {
            if self.rest.starts_with(written) {
                self.take(written.len());
                self.push(token);
                return;
            }
        }
        self.take(first.len_utf8());
        match first {
            '(' | '[' => {
                self.depth += 1;
                self.push(Token::Open(first));
            }
            ')' | ']' => {
                self.depth = self.depth.saturating_sub(1);
                self.push(Token::Close(first));
            }
            '{' => self.push(Token::Open('{')),
            '}' => self.push(Token::Close('}')),
            '=' => self.push(Token::Relation(Relation::Equal)),
            '<' => self.push(Token::Relation(Relation::Less)),
            '>' => self.push(Token::Relation(Relation::Greater)),
            '+' | '-' | '*' | '/' | '^' | '_' | '!' | ',' | ';' | ':' | '|' | '\'' | '&' | '%' => {
                self.push(Token::Sign(first));
            }
            // Currency says what is counted, not how much; quotes and stray dots say nothing.
            '$' | '€' | '£' | '"' | '`' | '.' | '?' | '“' | '”' => self.space = true,
            other => self.push(Token::Word(other.to_string())),
        }
    }

    fn foreign_word(&mut self) {
        let end = self.rest.find(|letter: char| !letter.is_alphabetic()).unwrap_or(self.rest.len());
        let word = self.take(end).to_owned();
        self.push(Token::Word(word));
    }

    fn word(&mut self) {
        let end =
            self.rest.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(self.rest.len());
        let whole = self.rest;
        let word = self.take(end);
        match word {
            _ if word.len() == 1 => self.push(Token::Letter(char::from(word.as_bytes()[0]))),
            "and" | "or" | "degrees" | "degree" => self.push(Token::Text(word.to_owned())),
            // `1orW(x)`: somebody lost the spaces.
            _ if self.joins(word) => {
                self.rest = &whole[2..];
                self.push(Token::Text("or".into()));
            }
            _ if PLAIN.contains(&word) => {
                let name = alias(word);
                self.push(Token::Command(name.to_owned()));
            }
            _ => self.push(Token::Word(word.to_owned())),
        }
    }

    /// Whether `word` begins with an "or" behind a value.
    fn joins(&self, word: &str) -> bool {
        let behind = matches!(
            self.out.last().map(|last| &last.token),
            Some(Token::Number(..) | Token::Close(_))
        );
        behind && word.strip_prefix("or").is_some_and(|rest| rest.len() == 1)
    }

    fn command(&mut self) -> Option<()> {
        let body = &self.rest[1..];
        let length = body.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(body.len());
        if length == 0 {
            self.escape(body);
            return Some(());
        }
        let name = &body[..length];
        self.take(1 + length);
        if self.rest.starts_with('*') && (TEXTS.contains(&name) || name == "hspace") {
            self.take(1);
        }
        match name {
            "text" | "mbox" | "hbox" | "mathrm" | "operatorname" | "textbf" | "textit" => {
                self.words();
            }
            _ if TEXTS.contains(&name) => self.words(),
            _ if DROPPED.contains(&name) => {
                // `\left.` opens nothing.
                if matches!(name, "left" | "right") && self.rest.starts_with('.') {
                    self.take(1);
                }
            }
            _ if SPACES.contains(&name) => self.space = true,
            "hspace" | "vspace" | "label" | "tag" | "color" | "hphantom" => {
                self.group();
                self.space = true;
            }
            "textcolor" => {
                self.group();
            }
            "lbrace" => self.set_open(),
            "rbrace" => self.set_close(),
            "lparen" => self.sign('('),
            "rparen" => self.sign(')'),
            "lbrack" => self.push(Token::Open('[')),
            "rbrack" => self.push(Token::Close(']')),
            "begin" | "end" => self.environment(name == "begin"),
            "mathbb" => {
                let letter = self.group().map(str::trim).unwrap_or_default().to_owned();
                self.push(Token::Command(format!("mathbb{letter}")));
            }
            "overline" | "bar" | "dot" if self.repeats() => {}
            _ if WRAPPERS.contains(&name) => {}
            _ => self.named(name),
        }
        Some(())
    }

    /// A command that means something, or one that is written together with what follows it.
    fn named(&mut self, name: &str) {
        let relation = match name {
            "leq" | "le" | "leqslant" | "leqq" => Some(Relation::LessEqual),
            "geq" | "ge" | "geqslant" | "geqq" => Some(Relation::GreaterEqual),
            "lt" => Some(Relation::Less),
            "gt" => Some(Relation::Greater),
            "neq" | "ne" => Some(Relation::Unequal),
            "approx" | "simeq" | "doteq" | "thickapprox" => Some(Relation::Near),
            "in" => Some(Relation::In),
            "notin" => Some(Relation::NotIn),
            "equiv" => Some(Relation::Congruent),
            "parallel" => Some(Relation::Other('∥')),
            "perp" => Some(Relation::Other('⊥')),
            "subset" | "subseteq" => Some(Relation::Other('⊂')),
            "sim" => Some(Relation::Other('~')),
            "propto" => Some(Relation::Other('∝')),
            "rightarrow" | "to" | "Rightarrow" | "implies" | "mapsto" | "longrightarrow" => {
                Some(Relation::Other('→'))
            }
            "Leftrightarrow" | "iff" | "leftrightarrow" => Some(Relation::Other('↔')),
            _ => None,
        };
        match relation {
            Some(relation) => self.push(Token::Relation(relation)),
            None => self.push(Token::Command(alias(name).to_owned())),
        }
    }

    /// A backslash and something that is no letter.
    fn escape(&mut self, body: &str) {
        let Some(first) = body.chars().next() else {
            self.take(1);
            return;
        };
        match first {
            // Escaped twice, as in JSON or a Python string: `\\frac`. In a matrix it ends the row.
            '\\' => {
                let name = &body[1..];
                let letters = name.bytes().take_while(u8::is_ascii_alphabetic).count();
                let bracket = name.starts_with(['(', ')', '[', ']', '{', '}', ',', ';', '!', '%']);
                if self.matrices == 0 && (letters >= 2 || bracket) {
                    self.take(1);
                } else {
                    self.take(2);
                    self.push(Token::Sign('#'));
                }
            }
            '{' => {
                self.take(2);
                self.set_open();
            }
            '}' => {
                self.take(2);
                self.set_close();
            }
            '%' => {
                self.take(2);
                self.push(Token::Sign('%'));
            }
            '|' => {
                self.take(2);
                self.push(Token::Command("Vert".into()));
            }
            '!' => {
                self.take(2);
            }
            _ => {
                self.take(1 + first.len_utf8());
                self.space = true;
            }
        }
    }

    fn set_open(&mut self) {
        self.depth += 1;
        self.push(Token::Open('S'));
    }

    fn set_close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.push(Token::Close('s'));
    }

    fn environment(&mut self, begins: bool) {
        let name = self.group().unwrap_or_default();
        let known = match name.trim_end_matches('*') {
            "pmatrix" | "bmatrix" | "matrix" | "Bmatrix" | "smallmatrix" | "array" | "cases" => {
                "matrix"
            }
            "vmatrix" | "Vmatrix" => "determinant",
            _ => return,
        };
        if begins {
            if name == "array" {
                self.group();
            }
            self.matrices += 1;
        } else {
            self.matrices = self.matrices.saturating_sub(1);
        }
        let word = if begins { "begin" } else { "end" };
        self.push(Token::Command(format!("{word} {known}")));
    }

    /// `\text{…}`: a letter, a command or words.
    fn words(&mut self) {
        let Some(content) = self.group() else { return };
        let content = content.trim();
        let mut letters = content.chars();
        match (letters.next(), letters.next()) {
            (None, _) => self.space = true,
            (Some(letter), None) if letter.is_ascii_alphabetic() => {
                // `5\text{ m}` is five metres, `\text{C}` alone the choice.
                let behind = matches!(
                    self.out.last().map(|last| &last.token),
                    Some(Token::Number(..) | Token::Close(_) | Token::Sign('/'))
                );
                self.push(if behind && super::units::is_unit_letter(letter) {
                    Token::Text(letter.to_string())
                } else {
                    Token::Letter(letter)
                });
            }
            _ if content.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
                match decimal(content) {
                    Some((value, places)) => self.push(Token::Number(value, places)),
                    None => self.push(Token::Text(content.to_owned())),
                }
            }
            _ if PLAIN.contains(&content) => {
                let name = alias(content).to_owned();
                self.push(Token::Command(name));
            }
            _ => {
                let text = content.replace(r"\ ", " ").replace(['$', '~'], " ");
                self.push(Token::Text(text.trim().to_owned()));
            }
        }
    }

    /// `0.1\overline{6}`: digits that repeat for ever, behind a number that ends in a decimal.
    fn repeats(&mut self) -> bool {
        let before = self.rest;
        let Some(digits) = self.group() else { return false };
        let last = self.out.last().map(|last| last.token.clone());
        let repeated = match last {
            Some(Token::Number(value, Some(places))) => repeating(&value, places, digits),
            Some(_) | None => None,
        };
        match repeated {
            Some(value) => {
                self.out.pop();
                self.out.push(Spaced { token: Token::Number(value, None), space: self.space });
                true
            }
            None => {
                self.rest = before;
                false
            }
        }
    }

    fn number(&mut self) -> Option<()> {
        let (length, digits) = super::number::literal(self.rest, self.depth == 0);
        self.take(length);
        if digits.len() > DIGITS_MAX {
            return None;
        }
        let (mut value, places) = decimal(&digits)?;
        // `0.(3)`: a period in brackets.
        if let (Some(written), Some(inner)) = (places, self.rest.strip_prefix('(')) {
            let count = inner.bytes().take_while(u8::is_ascii_digit).count();
            if count > 0 && inner[count..].starts_with(')') {
                value = repeating(&value, written, &inner[..count])?;
                self.take(count + 2);
                self.push(Token::Number(value, None));
                return Some(());
            }
        }
        self.push(Token::Number(value, places));
        Some(())
    }
}

/// A decimal as an exact number, with the count of its decimals.
pub(crate) fn decimal(digits: &str) -> Option<(BigRational, Option<u32>)> {
    let (digits, exponent) = match digits.split_once(['e', 'E']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (digits, 0),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (digits, None),
    };
    let written = fraction.unwrap_or_default();
    let all: BigInt = format!("0{whole}{written}").parse().ok()?;
    let places = u32::try_from(written.len()).ok()?;
    let shift = i64::from(exponent) - i64::from(places);
    if shift < -(PLACES_MAX as i64) || shift > DIGITS_MAX as i64 {
        return None;
    }
    let scale = BigInt::from(10).pow(u32::try_from(shift.unsigned_abs()).ok()?);
    let value = if shift < 0 {
        BigRational::new(all, scale)
    } else {
        BigRational::from_integer(all * scale)
    };
    Some((value, fraction.map(|_| places)))
}

/// `value` followed by `digits` for ever.
fn repeating(value: &BigRational, places: u32, digits: &str) -> Option<BigRational> {
    let count = u32::try_from(digits.len()).ok().filter(|count| (1..=100).contains(count))?;
    let period: BigInt = digits.parse().ok()?;
    if period < BigInt::zero() {
        return None;
    }
    let nines = BigInt::from(10).pow(count) - BigInt::one();
    let scale = BigInt::from(10).pow(places);
    Some(value + BigRational::new(period, nines * scale))
}
