//! Whole answers: lists, relations, units, words and choices.

use super::lexer::{Spaced, Token, tokens};
use super::parse::{Parsed, Parser, Unread, relation};
use super::tree::{Joiner, Node};
use super::units;

/// Words that say that nothing solves the problem.
const NOTHING: &[&str] = &[
    "no solution",
    "no solutions",
    "no real solution",
    "no real solutions",
    "none",
    "empty set",
    "the empty set",
    "no such",
    "does not exist",
    "no integer solutions",
    "no root",
    "no roots",
    "no real roots",
    "no such number exists",
    "no such numbers",
];

/// Words that mean a set.
const SETS: &[(&str, char)] = &[
    ("all real numbers", 'ℝ'),
    ("all reals", 'ℝ'),
    ("real numbers", 'ℝ'),
    ("any real number", 'ℝ'),
    ("all integers", 'ℤ'),
    ("all natural numbers", 'ℕ'),
];

/// Reads a whole answer. What makes no sense as mathematics is text.
///
/// # Errors
/// If it is too deep or too large to be read.
pub(crate) fn read(text: &str) -> Parsed<Node> {
    let Some(tokens) = tokens(text) else { return Err(Unread::Large) };
    if let Some(special) = special(text) {
        return Ok(special);
    }
    let mut parser = Parser::new(single_brackets(tokens));
    parser.dressing();
    match parser.list() {
        Ok(node) if parser.at >= parser.tokens.len() => Ok(node),
        Err(why @ (Unread::Deep | Unread::Large)) => Err(why),
        Ok(_) | Err(Unread::Unexpected) => Ok(Node::Text(plain(text))),
    }
}

/// Drops brackets directly inside brackets, `((x))`: they take no levels of the parser's depth.
fn single_brackets(tokens: Vec<Spaced>) -> Vec<Spaced> {
    /// More than this is no way to write an answer.
    const LEVELS_MAX: usize = 256;
    let mut open = Vec::new();
    let mut partner = vec![None; tokens.len()];
    for (at, spaced) in tokens.iter().enumerate() {
        match &spaced.token {
            Token::Open('(') => open.push(at),
            Token::Close(')') => {
                if let Some(begin) = open.pop() {
                    partner[begin] = Some(at);
                }
            }
            _ => {}
        }
        if open.len() > LEVELS_MAX {
            return tokens;
        }
    }
    let mut dropped = vec![false; tokens.len()];
    for (at, pair) in partner.windows(2).enumerate() {
        if let [Some(outer), Some(inner)] = pair
            && inner + 1 == *outer
        {
            dropped[at] = true;
            dropped[*outer] = true;
        }
    }
    let kept = tokens.into_iter().zip(dropped).filter(|(_, dropped)| !dropped);
    kept.map(|(token, _)| token).collect()
}

/// Words with a meaning of their own.
fn special(text: &str) -> Option<Node> {
    if text.len() > 60 {
        return None;
    }
    if let Some(letter) = option(text) {
        return Some(Node::Symbol(letter.to_string()));
    }
    let words = plain(text).to_lowercase();
    if NOTHING.contains(&words.as_str()) {
        return Some(Node::Empty);
    }
    SETS.iter().find(|(name, _)| *name == words).map(|(_, set)| Node::Named(*set))
}

/// `Option A`, `A. because`, `B) 5`: the letter of a choice.
fn option(text: &str) -> Option<char> {
    let plain = plain(text);
    let named = ["option ", "choice ", "Option ", "Choice "];
    let rest = named.iter().find_map(|name| plain.strip_prefix(name));
    let core = rest.unwrap_or(&plain).trim_start_matches('(');
    let mut letters = core.chars();
    let letter = letters.next().filter(|letter| ('A'..='H').contains(letter))?;
    let behind = letters.as_str();
    let marked = behind.starts_with(". ") || behind.starts_with(") ") || behind.starts_with(": ");
    let alone = rest.is_some() && behind.trim_matches([')', '.']).is_empty();
    // "A: B" may be a ratio of names.
    (alone || marked && (rest.is_some() || !behind.starts_with(':'))).then_some(letter)
}

/// Text for reading: no commands around words, single spaces.
pub(crate) fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let letters = after.bytes().take_while(u8::is_ascii_alphabetic).count();
        let name = &after[..letters];
        if !matches!(
            name,
            "text" | "textbf" | "mathrm" | "mbox" | "textit" | "mathbf" | "left" | "right"
        ) {
            out.push_str(name);
        }
        rest = &after[letters..];
        if letters == 0 {
            // An escaped sign is the sign.
            let sign = rest.chars().next().map_or(0, char::len_utf8);
            out.push_str(&rest[..sign]);
            rest = &rest[sign..];
        }
    }
    out.push_str(rest);
    let kept: String = out.replace(['{', '}', '$', '*', '~'], " ");
    let words: Vec<&str> = kept.split_whitespace().collect();
    words.join(" ").trim_end_matches(['.', ',', ';', ':']).trim().to_owned()
}

impl Parser {
    /// Drops full stops and stray signs around the answer.
    fn dressing(&mut self) {
        while matches!(
            self.tokens.last().map(|last| &last.token),
            Some(Token::Sign(',' | ';' | ':' | '#'))
        ) {
            self.tokens.pop();
        }
        if let Some(Token::Command(name)) = self.tokens.last().map(|last| &last.token)
            && matches!(name.as_str(), "blacksquare" | "qed" | "Box")
        {
            self.tokens.pop();
        }
    }

    /// Items between separators: one item alone is itself.
    pub(super) fn list(&mut self) -> Parsed<Node> {
        self.deeper(|parser| {
            let mut items = vec![parser.item()?];
            let mut joiner = None;
            // Where groups begin, and whether commas separate within them.
            let (mut groups, mut commas, mut semicolons) = (vec![0], false, false);
            loop {
                let before = parser.at;
                let semicolon = parser.is_sign(';');
                let Some(found) = parser.separator() else { break };
                if semicolon || found == Joiner::Or {
                    groups.push(items.len());
                    semicolons |= semicolon;
                } else {
                    commas = true;
                }
                if parser.ends() {
                    // A trailing comma separates nothing.
                    break;
                }
                if found == Joiner::Or || joiner.is_none() {
                    joiner = Some(found);
                }
                match parser.item() {
                    Ok(item) => items.push(item),
                    Err(why) => {
                        parser.at = before;
                        return Err(why);
                    }
                }
            }
            let joiner = joiner.unwrap_or(Joiner::And);
            let even = || {
                let ends = groups.iter().skip(1).copied().chain([items.len()]);
                let mut sizes = ends.zip(&groups).map(|(end, begin)| end - begin);
                let equations = items.iter().all(|item| matches!(item, Node::Chain(..)));
                let orders = items.iter().any(super::sets::is_set);
                sizes.all(|size| size == groups[1]) && equations && !orders
            };
            if commas && groups.len() > 1 && (semicolons || even()) {
                items = grouped(items, &groups);
            }
            Ok(parser.listed(joiner, items))
        })
    }

    pub(super) fn items(&mut self) -> Parsed<Vec<Node>> {
        Ok(match self.list()? {
            Node::List(_, items) => items,
            single => vec![single],
        })
    }

    fn listed(&self, joiner: Joiner, mut items: Vec<Node>) -> Node {
        // "where k is an integer" says nothing about the value.
        let is_note = |item: &Node| match item {
            Node::Chain(_, relations) => {
                relations.iter().all(|relation| matches!(relation, super::tree::Relation::In))
            }
            Node::Text(text) => text.starts_with("where") || text.starts_with("for"),
            _ => false,
        };
        let notes = items.len() > 1 && items.iter().skip(1).all(is_note);
        if notes && !is_note(&items[0]) {
            items.truncate(1);
        }
        match items.len() {
            1 => items.swap_remove(0),
            _ => Node::List(joiner, items),
        }
    }

    fn ends(&self) -> bool {
        matches!(self.peek(), None | Some(Token::Close(_)))
            || matches!(self.peek(), Some(Token::Command(name)) if name == "rangle")
    }

    /// Takes what separates two items.
    fn separator(&mut self) -> Option<Joiner> {
        let mut joiner = None;
        loop {
            let found = match self.peek() {
                Some(Token::Sign(',' | ';' | '#')) => Joiner::And,
                Some(Token::Text(text)) => joining(text)?,
                Some(Token::Command(name)) if name == "wedge" || name == "quad" => Joiner::And,
                Some(Token::Command(name)) if name == "vee" => Joiner::Or,
                // `AorB` in LaTeX, where nobody wrote `\text`.
                Some(Token::Word(word)) if word == "and" => Joiner::And,
                Some(Token::Word(word)) if word == "or" => Joiner::Or,
                _ => return joiner,
            };
            self.at += 1;
            if found == Joiner::Or || joiner.is_none() {
                joiner = Some(found);
            }
        }
    }

    /// One item: sides of relations, a unit, a modulus.
    pub(super) fn item(&mut self) -> Parsed<Node> {
        self.deeper(|parser| {
            let mut sides = vec![parser.side()?];
            let mut relations = Vec::new();
            while let Some(found) = relation(parser.peek()) {
                parser.at += 1;
                relations.push(found);
                sides.push(parser.side()?);
            }
            // `x \equiv 3 \mod 7`: the modulus belongs to the relation.
            if let (Some(super::tree::Relation::Congruent), Some(Node::Call("mod", parts))) =
                (relations.last(), sides.last())
                && let [residue, modulus] = parts.as_slice()
            {
                let (residue, modulus) = (residue.clone(), modulus.clone());
                sides.pop();
                sides.push(residue);
                let class = Node::Chain(sides, relations);
                return Ok(Node::Modulo(Box::new(class), Box::new(modulus)));
            }
            let node = if relations.is_empty() {
                sides.swap_remove(0)
            } else {
                Node::Chain(sides, relations)
            };
            parser.modulus(node)
        })
    }

    /// `\pmod{m}` or `(mod m)` behind an item.
    fn modulus(&mut self, node: Node) -> Parsed<Node> {
        if self.is_command("pmod") {
            self.at += 1;
            let modulus = self.argument()?;
            return Ok(Node::Modulo(Box::new(node), Box::new(modulus)));
        }
        let bracket = self.peek() == Some(&Token::Open('('))
            && matches!(self.peek_at(1), Some(Token::Command(name)) if name == "mod");
        if bracket {
            self.at += 2;
            let modulus = self.expression(0)?;
            self.expects(&Token::Close(')'))?;
            return Ok(Node::Modulo(Box::new(node), Box::new(modulus)));
        }
        Ok(node)
    }

    /// One side of a relation, with its unit.
    fn side(&mut self) -> Parsed<Node> {
        if let Some(choice) = self.choice() {
            return Ok(choice);
        }
        let value = self.expression(0)?;
        let Some(unit) = self.unit(&value)? else { return Ok(value) };
        if units::is_percent(&unit) {
            return Ok(Node::Percent(Box::new(value)));
        }
        Ok(match (&value, unit.trim()) {
            (_, "degrees" | "degree") => Node::Call("degrees", vec![value]),
            (Node::Text(text), more) => Node::Text(format!("{text} {more}")),
            _ => Node::Quantity(Box::new(value), unit),
        })
    }

    /// `(B)`, `B.`, `(B) 5`: a letter that names a choice. Its text is not looked at.
    fn choice(&mut self) -> Option<Node> {
        if self.at > 0 || self.depth > 4 {
            return None;
        }
        if let Some(Token::Text(text)) = self.peek() {
            let inner = text.strip_prefix('(')?;
            let letter = inner.chars().next().filter(|letter| ('A'..='H').contains(letter))?;
            inner[1..].strip_prefix(')')?;
            self.at = self.tokens.len();
            return Some(Node::Symbol(letter.to_string()));
        }
        let letter = |token: Option<&Token>| match token {
            Some(Token::Letter(letter @ 'A'..='H')) => Some(*letter),
            _ => None,
        };
        let bracketed =
            self.peek() == Some(&Token::Open('(')) && self.peek_at(2) == Some(&Token::Close(')'));
        let found = letter(self.peek_at(1)).filter(|_| bracketed)?;
        let first = self.peek_at(3);
        // "(A) \cup B" and "(A)^2" go on as mathematics.
        let goes_on = matches!(first, Some(Token::Sign(_) | Token::Relation(_)))
            || matches!(first, Some(Token::Command(name))
                if matches!(name.as_str(), "cup" | "cap" | "setminus" | "cdot" | "times"));
        if goes_on {
            return None;
        }
        self.at = self.tokens.len();
        Some(Node::Symbol(found.to_string()))
    }

    /// The unit behind `value`, if one stands there.
    fn unit(&mut self, value: &Node) -> Parsed<Option<String>> {
        let mut unit = String::new();
        loop {
            match self.peek() {
                Some(Token::Text(text)) if joining(text).is_none() => {
                    unit.push(' ');
                    unit.push_str(text);
                }
                Some(Token::Word(word)) if units::is_unit(word) || !unit.is_empty() => {
                    unit.push(' ');
                    unit.push_str(word);
                }
                Some(Token::Word(word)) if self.spaced() && word.len() > 2 => {
                    // "5 bananas": words behind a number count things.
                    let named = |part: &Node| {
                        matches!(part, Node::Symbol(_) | Node::Word(_) | Node::Text(_))
                    };
                    if value.any(&named) {
                        return Err(Unread::Unexpected);
                    }
                    unit.push(' ');
                    unit.push_str(word);
                }
                Some(Token::Letter(letter)) if !unit.is_empty() => {
                    unit.push(' ');
                    unit.push(*letter);
                }
                Some(Token::Sign('/')) => unit.push_str(" /"),
                Some(Token::Sign('%')) if unit.is_empty() => unit.push('%'),
                Some(Token::Command(name))
                    if !unit.is_empty() && matches!(name.as_str(), "cdot" | "times") => {}
                Some(Token::Sign('^')) if !unit.is_empty() => {
                    self.at += 1;
                    let power = self.atom()?;
                    unit.push_str(&format!("^{power}"));
                    continue;
                }
                _ => break,
            }
            self.at += 1;
        }
        let unit = unit.trim().to_owned();
        Ok((!unit.is_empty()).then_some(unit))
    }
}

/// `1, 2; 3, 4`: pairs between semicolons.
fn grouped(items: Vec<Node>, groups: &[usize]) -> Vec<Node> {
    let mut out: Vec<Node> = Vec::with_capacity(groups.len());
    let mut group = Vec::new();
    let count = items.len();
    for (index, item) in items.into_iter().enumerate() {
        group.push(item);
        if index + 1 == count || groups.contains(&(index + 1)) {
            let mut items = std::mem::take(&mut group);
            out.push(match items.len() {
                1 => items.swap_remove(0),
                _ => Node::Tuple { open: '(', items, close: ')' },
            });
        }
    }
    out
}

/// Whether words only join two items, and how.
fn joining(text: &str) -> Option<Joiner> {
    let lower = text.to_lowercase();
    let mut found = None;
    let words = lower.split(|letter: char| !letter.is_alphabetic()).filter(|word| !word.is_empty());
    let mut count = 0;
    for word in words {
        count += 1;
        match word {
            "or" => found = Some(Joiner::Or),
            "and" => found = found.or(Some(Joiner::And)),
            _ => {}
        }
    }
    if count == 0 && lower.contains([',', ';']) {
        return Some(Joiner::And);
    }
    // "for part (a) and" joins; a sentence that happens to contain "and" does not.
    let ends = lower.trim_end_matches([' ', ',']).ends_with("and")
        || lower.trim_end_matches([' ', ',']).ends_with("or");
    let starts = lower.trim_start_matches([' ', ',']).starts_with("and ")
        || lower.trim_start_matches([' ', ',']).starts_with("or ");
    found.filter(|_| (ends || starts) && count <= 6)
}
