//! A Pratt parser: tokens into a tree. Lists, relations and units are `statement`'s part.
//!
//! Bounded: [`DEPTH_MAX`] levels and [`NODES_MAX`] nodes; deeper or larger answers are not read.

use super::lexer::{Spaced, Token};
use super::number::in_base;
use super::tree::{Constant, Node, Relation};
use super::units;

/// Deepest nesting of rules that is read; a pair of brackets or a command takes up to four. A build
/// that is not optimised still fits the stack of a thread.
pub(crate) const DEPTH_MAX: usize = 160;

/// Tallest tree that is built.
const HEIGHT_MAX: usize = 90;

/// Most nodes of a tree.
pub(crate) const NODES_MAX: usize = 10_000;

/// Why an answer could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Something stands where it makes no sense.
    Unexpected,
    /// Nested deeper than [`DEPTH_MAX`].
    Deep,
    /// More than [`NODES_MAX`] nodes.
    Large,
}

pub(crate) type Parsed<T> = Result<T, Unread>;

/// How tightly signs bind.
pub(super) mod binding {
    pub(crate) const SET: u8 = 4;
    pub(crate) const MODULO: u8 = 6;
    pub(crate) const RATIO: u8 = 8;
    pub(crate) const SUM: u8 = 10;
    pub(crate) const PRODUCT: u8 = 20;
    pub(crate) const SIGN: u8 = 22;
}

/// Tokens that are being read.
pub(super) struct Parser {
    pub(super) tokens: Vec<Spaced>,
    pub(super) at: usize,
    pub(super) depth: usize,
    nodes: usize,
    /// Height of the tallest tree read so far at this level.
    height: usize,
    /// Bars that are open: the next one closes.
    pub(super) bars: usize,
}

impl Parser {
    pub(super) fn new(tokens: Vec<Spaced>) -> Self {
        Self { tokens, at: 0, depth: 0, nodes: 0, height: 0, bars: 0 }
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|spaced| &spaced.token)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&Token> {
        self.tokens.get(self.at + ahead).map(|spaced| &spaced.token)
    }

    pub(super) fn spaced(&self) -> bool {
        self.tokens.get(self.at).is_some_and(|spaced| spaced.space)
    }

    pub(super) fn is_sign(&self, sign: char) -> bool {
        self.peek() == Some(&Token::Sign(sign))
    }

    pub(super) fn is_command(&self, name: &str) -> bool {
        matches!(self.peek(), Some(Token::Command(found)) if found == name)
    }

    /// Takes the next token if it is `token`.
    pub(super) fn takes(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        self.at += usize::from(found);
        found
    }

    pub(super) fn expects(&mut self, token: &Token) -> Parsed<()> {
        if self.takes(token) { Ok(()) } else { Err(Unread::Unexpected) }
    }

    /// Runs `read` one level deeper.
    pub(super) fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        self.nodes += 1;
        if self.depth >= DEPTH_MAX {
            return Err(Unread::Deep);
        }
        if self.nodes > NODES_MAX {
            return Err(Unread::Large);
        }
        self.depth += 1;
        let beside = std::mem::take(&mut self.height);
        let result = read(self);
        self.depth -= 1;
        self.height = beside.max(self.height);
        result
    }

    /// Counts a node that was put on top of what was read.
    pub(super) fn grown(&mut self) -> Parsed<()> {
        self.height += 1;
        self.nodes += 1;
        if self.height > HEIGHT_MAX {
            return Err(Unread::Deep);
        }
        if self.nodes > NODES_MAX { Err(Unread::Large) } else { Ok(()) }
    }

    /// An expression whose signs bind at least as tightly as `least`.
    pub(super) fn expression(&mut self, least: u8) -> Parsed<Node> {
        self.deeper(|parser| {
            let mut left = parser.prefix()?;
            while let Some(next) = parser.infix(&mut left, least)? {
                left = next;
                // Sums and products grow in width.
                if !matches!(left, Node::Sum(_) | Node::Product(_) | Node::Ratio(_)) {
                    parser.grown()?;
                }
            }
            parser.grown()?;
            Ok(left)
        })
    }

    fn prefix(&mut self) -> Parsed<Node> {
        match self.peek() {
            Some(Token::Sign('-')) => {
                self.at += 1;
                // Two signs in a row are nobody's way to write a number.
                if matches!(self.peek(), Some(Token::Sign('-' | '+'))) {
                    return Err(Unread::Unexpected);
                }
                Ok(negative(self.expression(binding::SIGN)?))
            }
            Some(Token::Sign('+')) => {
                self.at += 1;
                if matches!(self.peek(), Some(Token::Sign('-' | '+'))) {
                    return Err(Unread::Unexpected);
                }
                self.expression(binding::SIGN)
            }
            Some(Token::Sign('~')) => self.plus_minus(None),
            Some(Token::Command(name)) if name == "pm" || name == "mp" => self.plus_minus(None),
            _ => self.atom(),
        }
    }

    fn plus_minus(&mut self, left: Option<Node>) -> Parsed<Node> {
        self.at += 1;
        let right = self.expression(binding::SUM + 1)?;
        Ok(Node::PlusMinus(left.map(Box::new), Box::new(right)))
    }

    /// Reads one sign and what stands on its right. None where the expression ends; `left` is then
    /// untouched.
    fn infix(&mut self, left: &mut Node, least: u8) -> Parsed<Option<Node>> {
        let Some(token) = self.peek() else { return Ok(None) };
        let take = |left: &mut Node| std::mem::replace(left, Node::Empty);
        match token {
            Token::Sign('^' | '_' | '!' | '%' | '\'') => {
                let base = take(left);
                return self.postfix(base).map(Some);
            }
            Token::Sign('+' | '-') if least <= binding::SUM => {
                let minus = self.is_sign('-');
                self.at += 1;
                let right = self.expression(binding::SUM + 1)?;
                return Ok(Some(added(take(left), if minus { negative(right) } else { right })));
            }
            Token::Sign('~') if least <= binding::SUM => {
                let left = take(left);
                return self.plus_minus(Some(left)).map(Some);
            }
            Token::Sign('*') if least <= binding::PRODUCT => {
                self.at += 1;
                let right = self.expression(binding::PRODUCT + 1)?;
                return Ok(Some(times(take(left), right)));
            }
            Token::Sign('/') if least <= binding::PRODUCT => {
                if matches!(self.peek_at(1), Some(Token::Text(_))) {
                    return Ok(None);
                }
                self.at += 1;
                let right = self.expression(binding::PRODUCT + 1)?;
                return Ok(Some(Node::Quotient(Box::new(take(left)), Box::new(right))));
            }
            Token::Sign(':') if least <= binding::RATIO => {
                self.at += 1;
                let right = self.expression(binding::RATIO + 1)?;
                let mut items = match take(left) {
                    Node::Ratio(items) => items,
                    single => vec![single],
                };
                items.push(right);
                return Ok(Some(Node::Ratio(items)));
            }
            Token::Command(name) => {
                let name = name.clone();
                if let Some(found) = self.infix_command(&name, left, least)? {
                    return Ok(Some(found));
                }
            }
            _ => {}
        }
        if least <= binding::PRODUCT && self.begins_factor(left) {
            let right = self.factor()?;
            return Ok(Some(times(take(left), right)));
        }
        Ok(None)
    }

    fn infix_command(&mut self, name: &str, left: &mut Node, least: u8) -> Parsed<Option<Node>> {
        let mut take = || std::mem::replace(left, Node::Empty);
        let binds = match name {
            "times" | "cdot" | "div" => binding::PRODUCT,
            "pm" | "mp" => binding::SUM,
            "cup" | "cap" | "setminus" => binding::SET,
            "mod" | "choose" => binding::MODULO,
            "colon" => binding::RATIO,
            _ => return Ok(None),
        };
        if least > binds {
            return Ok(None);
        }
        if binds == binding::SUM {
            let left = take();
            return self.plus_minus(Some(left)).map(Some);
        }
        let left = take();
        self.at += 1;
        let right = self.expression(binds + 1)?;
        let (a, b) = (Box::new(left), Box::new(right));
        Ok(Some(match name {
            "times" | "cdot" => times(*a, *b),
            "div" => Node::Quotient(a, b),
            "cup" => Node::SetOp('∪', a, b),
            "cap" => Node::SetOp('∩', a, b),
            "setminus" => Node::SetOp('∖', a, b),
            "choose" => Node::Call("binom", vec![*a, *b]),
            "colon" => Node::Ratio(vec![*a, *b]),
            _ => Node::Call("mod", vec![*a, *b]),
        }))
    }

    /// A factor without a sign before it, with its powers.
    fn factor(&mut self) -> Parsed<Node> {
        self.deeper(|parser| {
            let mut left = parser.atom()?;
            while matches!(parser.peek(), Some(Token::Sign('^' | '_' | '!' | '%' | '\''))) {
                left = parser.postfix(left)?;
                parser.grown()?;
            }
            Ok(left)
        })
    }

    /// Whether the next token multiplies `left` without a sign.
    fn begins_factor(&self, left: &Node) -> bool {
        let after_number = matches!(left, Node::Number { .. });
        match self.peek() {
            // "2 3" is no product; "x 2" is none that somebody writes.
            Some(Token::Number(..)) => {
                matches!(left, Node::Power(..) | Node::Call(..) | Node::Quotient(..))
                    && !self.spaced()
            }
            Some(Token::Letter(_) | Token::Open('(' | '{')) => true,
            Some(Token::Word(word)) => {
                !units::is_unit(word) && (after_number || !self.spaced() || word.len() < 3)
            }
            Some(Token::Sign('|')) => self.bars == 0,
            Some(Token::Command(name)) => {
                !matches!(
                    name.as_str(),
                    "times"
                        | "cdot"
                        | "div"
                        | "pm"
                        | "mp"
                        | "cup"
                        | "cap"
                        | "setminus"
                        | "mod"
                        | "choose"
                        | "colon"
                        | "pmod"
                        | "rfloor"
                        | "rceil"
                        | "rangle"
                        | "ldots"
                        | "vert"
                        | "Vert"
                        | "begin matrix"
                        | "end matrix"
                        | "end determinant"
                        | "wedge"
                        | "vee"
                        | "varnothing"
                        | "forall"
                        | "exists"
                        | "quad"
                        | "circ"
                        | "because"
                        | "therefore"
                ) || (name == "begin matrix" && matches!(left, Node::Matrix(_)))
                    || (name == "vert" && self.bars == 0)
            }
            _ => false,
        }
    }

    /// `^`, `_`, `!`, `%` or `'` behind `base`.
    pub(super) fn postfix(&mut self, base: Node) -> Parsed<Node> {
        let sign = self.peek().cloned();
        self.at += 1;
        match sign {
            Some(Token::Sign('!')) => Ok(Node::Call("!", vec![base])),
            Some(Token::Sign('%')) => Ok(Node::Percent(Box::new(base))),
            Some(Token::Sign('\'')) => Ok(match base {
                Node::Symbol(name) => self.applied(format!("{name}'"))?,
                other => Node::Apply("'".into(), vec![other]),
            }),
            Some(Token::Sign('_')) => {
                let below = match self.takes_extreme() {
                    Some(name) => Node::Symbol(name),
                    None => self.script()?,
                };
                self.subscript(base, below)
            }
            _ => {
                if self.takes_circ() {
                    return Ok(self.degrees(base));
                }
                let exponent = self.script()?;
                Ok(Node::Power(Box::new(base), Box::new(exponent)))
            }
        }
    }

    /// `{\min}` or `\max` behind a `_`.
    fn takes_extreme(&mut self) -> Option<String> {
        let name = |token: Option<&Token>| match token {
            Some(Token::Command(name)) if name == "min" || name == "max" => Some(name.clone()),
            _ => None,
        };
        if let Some(name) = name(self.peek()) {
            self.at += 1;
            return Some(name);
        }
        let braced =
            self.peek() == Some(&Token::Open('{')) && self.peek_at(2) == Some(&Token::Close('}'));
        let name = name(self.peek_at(1)).filter(|_| braced)?;
        self.at += 3;
        Some(name)
    }

    /// `\circ`, alone or in braces, behind a `^`.
    fn takes_circ(&mut self) -> bool {
        let is_circ =
            |token: Option<&Token>| matches!(token, Some(Token::Command(name)) if name == "circ");
        if is_circ(self.peek()) {
            self.at += 1;
            return true;
        }
        if self.peek() == Some(&Token::Open('{'))
            && is_circ(self.peek_at(1))
            && self.peek_at(2) == Some(&Token::Close('}'))
        {
            self.at += 3;
            return true;
        }
        false
    }

    /// Degrees of angle, or of temperature where a letter follows.
    fn degrees(&mut self, base: Node) -> Node {
        match self.peek() {
            Some(Token::Letter(letter @ ('C' | 'F'))) => {
                let unit = format!("°{letter}");
                self.at += 1;
                Node::Quantity(Box::new(base), unit)
            }
            _ => Node::Call("degrees", vec![base]),
        }
    }

    /// What follows `^` or `_`: a group, or one token.
    fn script(&mut self) -> Parsed<Node> {
        match self.peek() {
            Some(Token::Open('{')) => self.atom(),
            Some(Token::Sign('-')) => {
                self.at += 1;
                Ok(negative(self.script()?))
            }
            Some(Token::Sign('*' | '+')) => {
                self.at += 1;
                Ok(Node::Symbol("*".into()))
            }
            // `x^12` is x^1 2 in TeX; everybody who writes it means twelve.
            Some(Token::Open('(') | Token::Number(..)) => self.atom(),
            Some(_) => self.deeper(Self::atom),
            None => Err(Unread::Unexpected),
        }
    }

    fn subscript(&mut self, base: Node, below: Node) -> Parsed<Node> {
        match (base, below) {
            (Node::Number { value, .. }, Node::Number { value: radix, .. }) => {
                // Digits with a base that lacks them are no number.
                let read = in_base(&value, &radix).ok_or(Unread::Unexpected)?;
                Ok(Node::exact(read))
            }
            (Node::Symbol(name), below) => {
                let plain = match &below {
                    Node::Number { value, .. } if value.is_integer() => Some(value.to_string()),
                    Node::Symbol(index) | Node::Word(index) | Node::Text(index) => {
                        Some(index.clone())
                    }
                    Node::Constant(Constant::I) => Some("i".into()),
                    Node::Constant(Constant::E) => Some("e".into()),
                    _ => None,
                };
                match plain {
                    Some(index) => self.applied(format!("{name}_{index}")),
                    None => Ok(Node::Apply(format!("{name}_"), vec![below])),
                }
            }
            (Node::Constant(Constant::E), below) => Ok(Node::Apply("e_".into(), vec![below])),
            (base, below) => Ok(Node::Apply("_".into(), vec![base, below])),
        }
    }

    /// The symbol `name`, or its value at the arguments that follow in brackets.
    pub(super) fn applied(&mut self, name: String) -> Parsed<Node> {
        let function = matches!(
            name.trim_end_matches('\'').split('_').next(),
            Some("f" | "g" | "h" | "F" | "G" | "H" | "phi" | "psi" | "Gamma" | "W")
        ) || name.ends_with('\'');
        if !function || self.peek() != Some(&Token::Open('(')) {
            return Ok(Node::Symbol(name));
        }
        let argument = self.atom()?;
        let arguments = match argument {
            Node::Tuple { items, .. } => items,
            single => vec![single],
        };
        Ok(Node::Apply(name, arguments))
    }
}

/// -a, folded into a number.
pub(super) fn negative(node: Node) -> Node {
    match node {
        Node::Number { value, places } => Node::Number { value: -value, places },
        Node::Negative(inner) => *inner,
        other => Node::Negative(Box::new(other)),
    }
}

fn added(left: Node, right: Node) -> Node {
    match left {
        Node::Sum(mut items) => {
            items.push(right);
            Node::Sum(items)
        }
        left => Node::Sum(vec![left, right]),
    }
}

pub(super) fn times(left: Node, right: Node) -> Node {
    match left {
        Node::Product(mut items) => {
            items.push(right);
            Node::Product(items)
        }
        left => Node::Product(vec![left, right]),
    }
}

/// The relation that a token is.
pub(super) fn relation(token: Option<&Token>) -> Option<Relation> {
    match token {
        Some(Token::Relation(relation)) => Some(*relation),
        _ => None,
    }
}
