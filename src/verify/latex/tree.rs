//! What an answer says: a typed tree, exact, with a cap on its size.
//!
//! Trees are built by `parse` and `answer`, and by nobody else; nothing here computes.

use std::fmt;

use num_rational::BigRational;

/// A way two sides relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// `=`
    Equal,
    /// `≈`
    Near,
    /// `≠`
    Unequal,
    /// `<`
    Less,
    /// `≤`
    LessEqual,
    /// `>`
    Greater,
    /// `≥`
    GreaterEqual,
    /// `∈`
    In,
    /// `∉`
    NotIn,
    /// `≡`
    Congruent,
    /// Anything else: `∥`, `⊥`, `∣`, `⊂`, `→`.
    Other(char),
}

impl Relation {
    /// The relation with its sides exchanged.
    pub(crate) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessEqual => Self::GreaterEqual,
            Self::Greater => Self::Less,
            Self::GreaterEqual => Self::LessEqual,
            Self::Equal
            | Self::Near
            | Self::Unequal
            | Self::In
            | Self::NotIn
            | Self::Congruent
            | Self::Other(_) => self,
        }
    }

    /// Whether it orders its sides.
    pub(crate) fn is_order(self) -> bool {
        matches!(self, Self::Less | Self::LessEqual | Self::Greater | Self::GreaterEqual)
    }

    fn sign(self) -> char {
        match self {
            Self::Equal => '=',
            Self::Near => '≈',
            Self::Unequal => '≠',
            Self::Less => '<',
            Self::LessEqual => '≤',
            Self::Greater => '>',
            Self::GreaterEqual => '≥',
            Self::In => '∈',
            Self::NotIn => '∉',
            Self::Congruent => '≡',
            Self::Other(sign) => sign,
        }
    }
}

/// A number with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Constant {
    /// π
    Pi,
    /// Euler's number.
    E,
    /// The imaginary unit.
    I,
    /// ∞
    Infinity,
}

/// How the items of a list are joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joiner {
    /// A comma, a semicolon or `and`.
    And,
    /// `or`
    Or,
}

/// One node. `Call` names a function by its LaTeX name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// An exact number; `places` is the count of decimals if it was written as a decimal.
    Number { value: BigRational, places: Option<u32> },
    /// A variable, with its subscript: `x`, `\alpha`, `x_1`.
    Symbol(String),
    /// A named number.
    Constant(Constant),
    /// Letters without spaces between them: a word, or a product of variables.
    Word(String),
    /// Words.
    Text(String),
    /// a + b + …
    Sum(Vec<Self>),
    /// a · b · …
    Product(Vec<Self>),
    /// -a
    Negative(Box<Self>),
    /// a / b
    Quotient(Box<Self>, Box<Self>),
    /// a ^ b
    Power(Box<Self>, Box<Self>),
    /// A known function of its arguments: `sin`, `log` (base, value), `!`, `binom`, `abs`, `sqrt`
    /// (value, index).
    Call(&'static str, Vec<Self>),
    /// An unknown function of its arguments: `f`, or a symbol with an expression for subscript.
    Apply(String, Vec<Self>),
    /// Both a + b and a - b; `a` may be missing.
    PlusMinus(Option<Box<Self>>, Box<Self>),
    /// A hundredth.
    Percent(Box<Self>),
    /// A number with a unit.
    Quantity(Box<Self>, String),
    /// Rows of cells.
    Matrix(Vec<Vec<Self>>),
    /// Items between brackets: a pair, an interval, a vector.
    Tuple { open: char, items: Vec<Self>, close: char },
    /// {a, b, …}
    Set(Vec<Self>),
    /// {element | condition}
    Builder(Box<Self>, Box<Self>),
    /// ℝ, ℤ, ℕ, ℚ, ℂ
    Named(char),
    /// ∅, "no solution".
    Empty,
    /// `∪`, `∩` or `\` between sets.
    SetOp(char, Box<Self>, Box<Self>),
    /// a < b < c
    Chain(Vec<Self>, Vec<Relation>),
    /// Several answers.
    List(Joiner, Vec<Self>),
    /// "…"
    Ellipsis,
    /// a : b : c
    Ratio(Vec<Self>),
    /// a (mod m)
    Modulo(Box<Self>, Box<Self>),
    /// An operator over a range: its name, then variable, from, to, body (∑, ∏, ∫, lim).
    Over(&'static str, Vec<Self>),
}

impl Node {
    /// A whole number.
    pub(crate) fn whole(value: i64) -> Self {
        Self::Number { value: BigRational::from_integer(value.into()), places: None }
    }

    /// An exact number.
    pub(crate) fn exact(value: BigRational) -> Self {
        Self::Number { value, places: None }
    }

    /// The node's children, in order.
    pub(crate) fn children(&self) -> Vec<&Self> {
        match self {
            Self::Number { .. }
            | Self::Symbol(_)
            | Self::Constant(_)
            | Self::Word(_)
            | Self::Text(_)
            | Self::Named(_)
            | Self::Empty
            | Self::Ellipsis => Vec::new(),
            Self::Sum(items)
            | Self::Product(items)
            | Self::Call(_, items)
            | Self::Apply(_, items)
            | Self::Tuple { items, .. }
            | Self::Set(items)
            | Self::Chain(items, _)
            | Self::List(_, items)
            | Self::Ratio(items)
            | Self::Over(_, items) => items.iter().collect(),
            Self::Negative(a) | Self::Percent(a) | Self::Quantity(a, _) => vec![a],
            Self::Quotient(a, b)
            | Self::Power(a, b)
            | Self::Builder(a, b)
            | Self::SetOp(_, a, b)
            | Self::Modulo(a, b) => vec![a, b],
            Self::PlusMinus(a, b) => a.iter().chain([b]).map(|node| &**node).collect(),
            Self::Matrix(rows) => rows.iter().flatten().collect(),
        }
    }

    /// The same node with each child replaced by what `change` makes of it.
    pub(crate) fn map(&self, change: &dyn Fn(&Self) -> Self) -> Self {
        let all = |items: &[Self]| items.iter().map(change).collect::<Vec<_>>();
        let boxed = |item: &Self| Box::new(change(item));
        match self {
            Self::Number { .. }
            | Self::Symbol(_)
            | Self::Constant(_)
            | Self::Word(_)
            | Self::Text(_)
            | Self::Named(_)
            | Self::Empty
            | Self::Ellipsis => self.clone(),
            Self::Sum(items) => Self::Sum(all(items)),
            Self::Product(items) => Self::Product(all(items)),
            Self::Call(name, items) => Self::Call(name, all(items)),
            Self::Apply(name, items) => Self::Apply(name.clone(), all(items)),
            Self::Tuple { open, items, close } => {
                Self::Tuple { open: *open, items: all(items), close: *close }
            }
            Self::Set(items) => Self::Set(all(items)),
            Self::Chain(items, relations) => Self::Chain(all(items), relations.clone()),
            Self::List(joiner, items) => Self::List(*joiner, all(items)),
            Self::Ratio(items) => Self::Ratio(all(items)),
            Self::Over(name, items) => Self::Over(name, all(items)),
            Self::Negative(a) => Self::Negative(boxed(a)),
            Self::Percent(a) => Self::Percent(boxed(a)),
            Self::Quantity(a, unit) => Self::Quantity(boxed(a), unit.clone()),
            Self::Quotient(a, b) => Self::Quotient(boxed(a), boxed(b)),
            Self::Power(a, b) => Self::Power(boxed(a), boxed(b)),
            Self::Builder(a, b) => Self::Builder(boxed(a), boxed(b)),
            Self::SetOp(sign, a, b) => Self::SetOp(*sign, boxed(a), boxed(b)),
            Self::Modulo(a, b) => Self::Modulo(boxed(a), boxed(b)),
            Self::PlusMinus(a, b) => Self::PlusMinus(a.as_deref().map(boxed), boxed(b)),
            Self::Matrix(rows) => Self::Matrix(rows.iter().map(|row| all(row)).collect()),
        }
    }

    /// Whether `found` holds for this node or one below it.
    pub(crate) fn any(&self, found: &dyn Fn(&Self) -> bool) -> bool {
        found(self) || self.children().into_iter().any(|child| child.any(found))
    }

    /// Whether this is a value that can be computed with: no list, set, relation, text or tuple.
    pub(crate) fn is_scalar(&self) -> bool {
        !self.any(&|node| {
            matches!(
                node,
                Self::Text(_)
                    | Self::PlusMinus(..)
                    | Self::Quantity(..)
                    | Self::Matrix(_)
                    | Self::Tuple { .. }
                    | Self::Set(_)
                    | Self::Builder(..)
                    | Self::Named(_)
                    | Self::Empty
                    | Self::SetOp(..)
                    | Self::Chain(..)
                    | Self::List(..)
                    | Self::Ellipsis
                    | Self::Ratio(_)
                    | Self::Modulo(..)
            )
        })
    }
}

fn join(f: &mut fmt::Formatter<'_>, items: &[Node], between: &str) -> fmt::Result {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

fn bracketed(f: &mut fmt::Formatter<'_>, open: &str, items: &[Node], close: &str) -> fmt::Result {
    f.write_str(open)?;
    join(f, items, ", ")?;
    f.write_str(close)
}

/// A factor or a base: sums and the like get brackets.
struct Tight<'a>(&'a Node);

impl fmt::Display for Tight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loose = match self.0 {
            Node::Sum(_)
            | Node::Product(_)
            | Node::Negative(_)
            | Node::Quotient(..)
            | Node::PlusMinus(..)
            | Node::Power(..)
            | Node::Word(_) => true,
            Node::Number { value, .. } => !value.is_integer() || value < &BigRational::default(),
            _ => false,
        };
        if loose { write!(f, "({})", self.0) } else { write!(f, "{}", self.0) }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number { value, .. } => write!(f, "{value}"),
            Self::Symbol(name) | Self::Word(name) | Self::Text(name) => f.write_str(name),
            Self::Constant(Constant::Pi) => f.write_str("π"),
            Self::Constant(Constant::E) => f.write_str("e"),
            Self::Constant(Constant::I) => f.write_str("i"),
            Self::Constant(Constant::Infinity) => f.write_str("∞"),
            Self::Sum(items) => join(f, items, " + "),
            Self::Product(items) => {
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if index > 0 { "*" } else { "" }, Tight(item))?;
                }
                Ok(())
            }
            Self::Negative(a) => write!(f, "-{}", Tight(a)),
            Self::Quotient(a, b) => write!(f, "{}/{}", Tight(a), Tight(b)),
            Self::Power(a, b) => write!(f, "{}^{}", Tight(a), Tight(b)),
            Self::Call("sqrt", items) if items.len() == 2 => match &items[1] {
                Self::Number { value, .. } if *value == BigRational::from_integer(2.into()) => {
                    write!(f, "sqrt({})", items[0])
                }
                index => write!(f, "sqrt[{index}]({})", items[0]),
            },
            Self::Call(name, items) => bracketed(f, &format!("{name}("), items, ")"),
            Self::Apply(name, items) => bracketed(f, &format!("{name}("), items, ")"),
            Self::Over(name, items) => bracketed(f, &format!("{name}["), items, "]"),
            Self::PlusMinus(None, b) => write!(f, "±{}", Tight(b)),
            Self::PlusMinus(Some(a), b) => write!(f, "{a} ± {}", Tight(b)),
            Self::Percent(a) => write!(f, "{}%", Tight(a)),
            Self::Quantity(a, unit) => write!(f, "{a} {unit}"),
            Self::Matrix(rows) => {
                for row in rows {
                    f.write_str("[")?;
                    join(f, row, ", ")?;
                    f.write_str("]")?;
                }
                Ok(())
            }
            Self::Tuple { open, items, close } => {
                bracketed(f, &open.to_string(), items, &close.to_string())
            }
            Self::Set(items) => bracketed(f, "{", items, "}"),
            Self::Builder(element, condition) => write!(f, "{{{element} | {condition}}}"),
            Self::Named(letter) => write!(f, "{letter}"),
            Self::Empty => f.write_str("∅"),
            Self::SetOp(sign, a, b) => write!(f, "{a} {sign} {b}"),
            Self::Chain(items, relations) => {
                write!(f, "{}", items[0])?;
                for (item, relation) in items[1..].iter().zip(relations) {
                    write!(f, " {} {item}", relation.sign())?;
                }
                Ok(())
            }
            Self::List(Joiner::And, items) => join(f, items, ", "),
            Self::List(Joiner::Or, items) => join(f, items, " or "),
            Self::Ellipsis => f.write_str("…"),
            Self::Ratio(items) => join(f, items, ":"),
            Self::Modulo(a, m) => write!(f, "{a} (mod {m})"),
        }
    }
}
