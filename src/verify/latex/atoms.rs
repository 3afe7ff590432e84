//! What an expression is made of: numbers, symbols, commands, brackets, matrices.

use num_rational::BigRational;
use num_traits::Signed;

use super::lexer::Token;
use super::number::{mixed, quotient};
use super::parse::{Parsed, Parser, Unread, binding};
use super::tree::{Constant, Joiner, Node};

/// Functions that are written before their argument.
const FUNCTIONS: &[(&str, &str)] = &[
    ("sin", "sin"),
    ("cos", "cos"),
    ("tan", "tan"),
    ("cot", "cot"),
    ("sec", "sec"),
    ("csc", "csc"),
    ("arcsin", "arcsin"),
    ("arccos", "arccos"),
    ("arctan", "arctan"),
    ("sinh", "sinh"),
    ("cosh", "cosh"),
    ("tanh", "tanh"),
    ("ln", "ln"),
    ("exp", "exp"),
    ("gcd", "gcd"),
    ("lcm", "lcm"),
    ("max", "max"),
    ("min", "min"),
    ("det", "det"),
    ("abs", "abs"),
    ("floor", "floor"),
    ("ceil", "ceil"),
    ("arg", "arg"),
    ("Re", "Re"),
    ("Im", "Im"),
];

/// Greek letters.
const GREEK: &[&str] = &[
    "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega",
    "Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega",
    "ell", "hbar", "nabla", "partial", "prime",
];

impl Parser {
    pub(super) fn atom(&mut self) -> Parsed<Node> {
        self.deeper(|parser| {
            let token = parser.peek().cloned().ok_or(Unread::Unexpected)?;
            parser.at += 1;
            match token {
                Token::Number(value, places) => parser.number(value, places),
                Token::Letter('e') => Ok(Node::Constant(Constant::E)),
                Token::Letter('i') => Ok(Node::Constant(Constant::I)),
                Token::Letter(letter) => parser.applied(letter.to_string()),
                Token::Word(word) => parser.word(&word),
                Token::Text(text) => Ok(Node::Text(text)),
                Token::Command(name) => parser.command(&name),
                Token::Open(open) => parser.bracketed(open),
                Token::Sign('|') => parser.absolute(&Token::Sign('|')),
                Token::Sign(_) | Token::Close(_) | Token::Relation(_) => Err(Unread::Unexpected),
            }
        })
    }

    /// A number; with a proper fraction beside it, their sum.
    fn number(&mut self, value: BigRational, places: Option<u32>) -> Parsed<Node> {
        let start = self.at;
        let fraction = match (self.peek(), self.peek_at(1), self.peek_at(2)) {
            (Some(Token::Command(name)), ..) if name == "frac" => {
                self.at += 1;
                let above = self.argument()?;
                let below = self.argument()?;
                Some((above, below))
            }
            (
                Some(Token::Number(above, None)),
                Some(Token::Sign('/')),
                Some(Token::Number(below, None)),
            ) if self.spaced() => {
                let pair = (Node::exact(above.clone()), Node::exact(below.clone()));
                self.at += 3;
                Some(pair)
            }
            _ => None,
        };
        if let (Some((above, below)), None) = (fraction, places)
            && let Some(sum) = mixed(&value, &above, &below)
        {
            return Ok(sum);
        }
        self.at = start;
        Ok(Node::Number { value, places })
    }

    /// Letters without spaces: a word, unless a sign follows that belongs to its last letter.
    fn word(&mut self, word: &str) -> Parsed<Node> {
        let signed = matches!(self.peek(), Some(Token::Sign('^' | '_' | '!' | '\'')));
        if !signed || !word.is_ascii() {
            return Ok(Node::Word(word.to_owned()));
        }
        let letter = |letter: char| match letter {
            'e' => Node::Constant(Constant::E),
            'i' => Node::Constant(Constant::I),
            other => Node::Symbol(other.to_string()),
        };
        let mut letters: Vec<Node> = word.chars().map(letter).collect();
        let Some(mut last) = letters.pop() else { return Err(Unread::Unexpected) };
        while matches!(self.peek(), Some(Token::Sign('^' | '_' | '!' | '\''))) {
            last = self.postfix(last)?;
            self.grown()?;
        }
        letters.push(last);
        Ok(Node::Product(letters))
    }

    /// One argument of a command: a group, or a single digit or letter.
    pub(super) fn argument(&mut self) -> Parsed<Node> {
        if let Some(Token::Number(value, None)) = self.peek() {
            // `\frac12` is a half: a command takes one digit.
            let digits = value.to_string();
            if digits.len() > 1 && value.is_integer() && !value.is_negative() {
                let digit = |text: &str| text.parse().map(BigRational::from_integer);
                let (first, rest) = digits.split_at(1);
                let (Ok(first), Ok(rest)) = (digit(first), digit(rest)) else {
                    return Err(Unread::Unexpected);
                };
                self.tokens[self.at].token = Token::Number(rest, None);
                return Ok(Node::exact(first));
            }
        }
        match self.peek() {
            Some(Token::Sign('-')) => {
                self.at += 1;
                Ok(super::parse::negative(self.argument()?))
            }
            Some(Token::Word(word)) if word.len() > 1 && word.is_ascii() => {
                let (first, rest) = (word[..1].to_owned(), word[1..].to_owned());
                self.tokens[self.at].token = match rest.chars().next() {
                    Some(letter) if rest.len() == 1 => Token::Letter(letter),
                    _ => Token::Word(rest),
                };
                Ok(Node::Symbol(first))
            }
            _ => self.atom(),
        }
    }

    fn command(&mut self, name: &str) -> Parsed<Node> {
        if let Some((_, function)) = FUNCTIONS.iter().find(|(written, _)| *written == name) {
            return self.deeper(|parser| parser.called(function));
        }
        if GREEK.contains(&name) {
            return self.applied(name.to_owned());
        }
        match name {
            "pi" => Ok(Node::Constant(Constant::Pi)),
            "infty" => Ok(Node::Constant(Constant::Infinity)),
            "frac" => self.deeper(|parser| {
                let above = parser.argument()?;
                let below = parser.argument()?;
                Ok(quotient(above, below))
            }),
            "sqrt" => self.deeper(Self::root),
            "cbrt" => Ok(Node::Call("sqrt", vec![self.argument()?, Node::whole(3)])),
            "binom" => Ok(Node::Call("binom", vec![self.argument()?, self.argument()?])),
            "log" | "lg" => self.deeper(|parser| parser.logarithm(name)),
            "ldots" => Ok(Node::Ellipsis),
            "varnothing" => Ok(Node::Empty),
            "vert" => self.absolute(&Token::Command("vert".into())),
            "Vert" => self.absolute(&Token::Command("Vert".into())),
            "lfloor" => self.enclosed("floor", "rfloor"),
            "lceil" => self.enclosed("ceil", "rceil"),
            "langle" => self.angled(),
            "begin matrix" => self.matrix("end matrix").map(system),
            "begin determinant" => {
                let rows = self.matrix("end determinant")?;
                Ok(Node::Call("det", vec![Node::Matrix(rows)]))
            }
            "sum" | "prod" | "int" | "lim" => self.over(name),
            "angle" | "triangle" | "measuredangle" | "square" | "odot" | "because"
            | "therefore" | "forall" => self.expression(binding::PRODUCT),
            "circ" => Ok(Node::Symbol("°".into())),
            _ if name.starts_with("mathbb") => Ok(named_set(name)),
            _ if name.starts_with("quad") && name.len() > 4 => {
                // `\quadx`: somebody lost a space.
                self.applied(name[4..].to_owned())
            }
            // Unknown commands are names: equal to themselves, and to nothing else.
            _ => self.applied(format!("\\{name}")),
        }
    }

    fn root(&mut self) -> Parsed<Node> {
        let index = if self.takes(&Token::Open('[')) {
            let index = self.expression(0)?;
            self.expects(&Token::Close(']'))?;
            index
        } else {
            Node::whole(2)
        };
        let value = self.argument()?;
        Ok(Node::Call("sqrt", vec![value, index]))
    }

    /// A function before its argument, with a power or base between them.
    fn called(&mut self, name: &'static str) -> Parsed<Node> {
        if self.takes(&Token::Sign('_')) {
            let _index = self.atom()?;
        }
        let power = if self.takes(&Token::Sign('^')) { Some(self.power()?) } else { None };
        let arguments = self.arguments()?;
        let inverse = match (&power, name) {
            (Some(Node::Number { value, .. }), "sin" | "cos" | "tan")
                if *value == BigRational::from_integer((-1).into()) =>
            {
                match name {
                    "sin" => Some("arcsin"),
                    "cos" => Some("arccos"),
                    _ => Some("arctan"),
                }
            }
            _ => None,
        };
        self.grown()?;
        Ok(match (inverse, power) {
            (Some(inverse), _) => Node::Call(inverse, arguments),
            (None, None) => Node::Call(name, arguments),
            (None, Some(power)) => {
                Node::Power(Box::new(Node::Call(name, arguments)), Box::new(power))
            }
        })
    }

    fn power(&mut self) -> Parsed<Node> {
        match self.peek() {
            Some(Token::Sign('-')) => {
                self.at += 1;
                Ok(super::parse::negative(self.power()?))
            }
            // `\sin^2 2x`, but also `\sin^22x`.
            _ => self.argument(),
        }
    }

    /// The arguments of a function: what is in brackets, or the factors that follow.
    fn arguments(&mut self) -> Parsed<Vec<Node>> {
        if self.peek() == Some(&Token::Open('(')) {
            return Ok(match self.atom()? {
                Node::Tuple { items, .. } => items,
                Node::List(_, items) => items,
                single => vec![single],
            });
        }
        if self.peek() == Some(&Token::Open('{')) {
            // A power behind the braces is the value's.
            let inner = self.atom()?;
            return Ok(match inner {
                Node::List(_, items) => items,
                single => vec![single],
            });
        }
        let mut argument = if self.takes(&Token::Sign('-')) {
            super::parse::negative(self.tailed()?)
        } else {
            self.tailed()?
        };
        // `\sin 2x` takes both factors, `\sin b \cos a` only its own.
        while matches!(self.peek(), Some(Token::Letter(_)))
            || matches!(self.peek(), Some(Token::Word(word)) if word.len() < 3)
            || matches!(self.peek(), Some(Token::Command(name))
                if name == "pi" || name == "sqrt" || GREEK.contains(&name.as_str()))
        {
            let next = self.tailed()?;
            argument = super::parse::times(argument, next);
        }
        Ok(vec![argument])
    }

    /// An atom with its powers.
    fn tailed(&mut self) -> Parsed<Node> {
        let mut node = self.atom()?;
        while matches!(self.peek(), Some(Token::Sign('^' | '_' | '!' | '\''))) {
            node = self.postfix(node)?;
            self.grown()?;
        }
        Ok(node)
    }

    fn logarithm(&mut self, name: &str) -> Parsed<Node> {
        let base = if self.takes(&Token::Sign('_')) {
            Some(self.argument_whole()?)
        } else if name == "lg" {
            Some(Node::whole(10))
        } else {
            None
        };
        let power = if self.takes(&Token::Sign('^')) { Some(self.power()?) } else { None };
        let mut arguments = self.arguments()?;
        let node = match base {
            Some(base) => {
                arguments.insert(0, base);
                Node::Call("log", arguments)
            }
            None => Node::Call("log", arguments),
        };
        Ok(match power {
            Some(power) => Node::Power(Box::new(node), Box::new(power)),
            None => node,
        })
    }

    /// A subscript: a group, or one token whole.
    fn argument_whole(&mut self) -> Parsed<Node> {
        self.atom()
    }

    fn absolute(&mut self, close: &Token) -> Parsed<Node> {
        self.bars += 1;
        let inner = self.expression(0);
        self.bars -= 1;
        let inner = inner?;
        self.expects(close)?;
        let name = if *close == Token::Command("Vert".into()) { "norm" } else { "abs" };
        Ok(Node::Call(name, vec![inner]))
    }

    fn enclosed(&mut self, name: &'static str, close: &str) -> Parsed<Node> {
        let inner = self.expression(0)?;
        self.expects(&Token::Command(close.to_owned()))?;
        Ok(Node::Call(name, vec![inner]))
    }

    /// ⟨a, b⟩
    fn angled(&mut self) -> Parsed<Node> {
        let items = self.items()?;
        self.expects(&Token::Command("rangle".into()))?;
        Ok(Node::Tuple { open: '(', items, close: ')' })
    }

    /// `(…)`, `[…]`, `{…}` or a set, whose opening bracket is taken.
    fn bracketed(&mut self, open: char) -> Parsed<Node> {
        let bars = std::mem::take(&mut self.bars);
        let node = self.bracketed_inside(open);
        self.bars = bars;
        node
    }

    fn bracketed_inside(&mut self, open: char) -> Parsed<Node> {
        if open == '{' && self.takes(&Token::Close('}')) {
            return Ok(Node::Symbol(String::new()));
        }
        if open == 'S' && self.takes(&Token::Close('s')) {
            return Ok(Node::Empty);
        }
        // `\left\{\begin{array}…\end{array}\right.` never closes its brace.
        if open == 'S' && self.is_command("begin matrix") {
            self.at += 1;
            let system = system(self.matrix("end matrix")?);
            self.takes(&Token::Close('s'));
            return Ok(system);
        }
        // In a set, a bar begins the condition.
        self.bars = usize::from(open == 'S');
        let inside = self.list()?;
        let close = self.peek().cloned();
        self.at += 1;
        match (open, close) {
            ('S', Some(Token::Close('s'))) => Ok(match inside {
                Node::List(_, items) => Node::Set(items),
                Node::Builder(..) | Node::Ratio(_) => inside,
                single => Node::Set(vec![single]),
            }),
            ('S', Some(Token::Sign('|' | ':') | Token::Command(_))) => {
                self.at -= 1;
                self.builder(inside)
            }
            ('{', Some(Token::Close('}'))) => Ok(inside),
            ('(' | '[', Some(Token::Close(close @ (')' | ']')))) => Ok(match inside {
                Node::List(Joiner::And, items) => Node::Tuple { open, items, close },
                single if (open == '(') == (close == ')') => single,
                single => Node::Tuple { open, items: vec![single], close },
            }),
            _ => Err(Unread::Unexpected),
        }
    }

    /// The condition of a set: `{x | x > 1}`, whose element is read.
    fn builder(&mut self, element: Node) -> Parsed<Node> {
        let bar = self.takes(&Token::Sign('|'))
            || self.takes(&Token::Sign(':'))
            || self.takes(&Token::Command("vert".into()));
        if !bar {
            return Err(Unread::Unexpected);
        }
        self.bars = 0;
        let condition = self.list()?;
        self.expects(&Token::Close('s'))?;
        Ok(Node::Builder(Box::new(element), Box::new(condition)))
    }

    fn matrix(&mut self, end: &str) -> Parsed<Vec<Vec<Node>>> {
        let mut rows = vec![Vec::new()];
        loop {
            if self.is_command(end) {
                self.at += 1;
                break;
            }
            match self.peek() {
                Some(Token::Sign('#')) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                Some(Token::Sign('&')) => self.at += 1,
                Some(_) => {
                    let cell = self.item()?;
                    if let Some(row) = rows.last_mut() {
                        row.push(cell);
                    }
                    let ends =
                        matches!(self.peek(), Some(Token::Sign('#' | '&'))) || self.is_command(end);
                    if !ends {
                        return Err(Unread::Unexpected);
                    }
                }
                None => return Err(Unread::Unexpected),
            }
        }
        rows.retain(|row| !row.is_empty());
        if rows.is_empty() { Err(Unread::Unexpected) } else { Ok(rows) }
    }

    /// ∑, ∏, ∫ or lim with its range.
    fn over(&mut self, name: &str) -> Parsed<Node> {
        let name = match name {
            "sum" => "∑",
            "prod" => "∏",
            "int" => "∫",
            _ => "lim",
        };
        let (mut from, mut to) = (None, None);
        for _ in 0..2 {
            if self.takes(&Token::Sign('_')) {
                from = Some(self.range()?);
            } else if self.takes(&Token::Sign('^')) {
                to = Some(self.tailed_argument()?);
            }
        }
        let body = self.expression(binding::PRODUCT)?;
        let mut children = Vec::new();
        match from {
            Some(Node::Chain(sides, _)) => children.extend(sides),
            Some(other) => children.push(other),
            None => {}
        }
        children.extend(to);
        children.push(body);
        Ok(Node::Over(name, children))
    }

    /// `{k=1}`: the group below an operator.
    fn range(&mut self) -> Parsed<Node> {
        self.atom()
    }

    fn tailed_argument(&mut self) -> Parsed<Node> {
        self.atom()
    }
}

/// Rows of equations are a list of them.
fn system(rows: Vec<Vec<Node>>) -> Node {
    let equations = rows.iter().all(|row| matches!(row.as_slice(), [Node::Chain(..)]));
    if equations && rows.len() > 1 {
        Node::List(Joiner::And, rows.into_iter().flatten().collect())
    } else {
        Node::Matrix(rows)
    }
}

fn named_set(name: &str) -> Node {
    match name.trim_start_matches("mathbb") {
        "R" => Node::Named('ℝ'),
        "Z" => Node::Named('ℤ'),
        "N" => Node::Named('ℕ'),
        "Q" => Node::Named('ℚ'),
        "C" => Node::Named('ℂ'),
        other => Node::Symbol(format!("𝔹{other}")),
    }
}
