//! Sets of real numbers: intervals, unions and what inequalities in one variable say.

use std::cmp::Ordering;

use num_rational::BigRational;
use num_traits::Zero;

use super::Decision;
use super::canon;
use super::poly::{Budget, Kernel, Sum, exponent};
use super::tree::{Constant, Joiner, Node, Relation};
use super::zero;

/// Most pieces of a set.
const PIECES_MAX: usize = 64;

/// An end of an interval.
#[derive(Debug, Clone)]
enum End {
    Low,
    At(Node),
    High,
}

/// The numbers between two ends.
#[derive(Debug, Clone)]
struct Piece {
    low: End,
    low_in: bool,
    high: End,
    high_in: bool,
}

/// Pieces in order, apart from each other.
#[derive(Debug, Clone)]
pub(super) struct RealSet(Vec<Piece>);

/// Whether an answer can only be a set: so that a pair beside it is an interval.
pub(super) fn is_set(node: &Node) -> bool {
    match node {
        Node::SetOp(..) | Node::Named(_) | Node::Builder(..) | Node::Empty => true,
        Node::Chain(sides, relations) => {
            let named = sides.iter().any(|side| {
                let mut names = Vec::new();
                zero::variables(side, &mut names);
                !names.is_empty() || side.any(&|part| matches!(part, Node::Apply(..)))
            });
            named && relations.iter().any(|r| r.is_order() || *r == Relation::Unequal)
        }
        Node::List(_, items) => items.iter().all(is_set),
        _ => false,
    }
}

/// The set that an answer is. None if it is none, or cannot be worked out.
pub(super) fn read(node: &Node, budget: &Budget) -> Option<RealSet> {
    match node {
        Node::Empty => Some(RealSet(Vec::new())),
        Node::Named('ℝ') => Some(everything()),
        Node::Tuple { open, items, close } => {
            let [low, high] = items.as_slice() else { return None };
            let (low, high) = (end(low)?, end(high)?);
            let piece = Piece { low, low_in: *open == '[', high, high_in: *close == ']' };
            normal(vec![piece], budget)
        }
        Node::Set(items) => {
            let pieces: Option<Vec<Piece>> = items.iter().map(point).collect();
            normal(pieces?, budget)
        }
        Node::SetOp(sign, a, b) => {
            let (a, b) = (read(a, budget)?, read(b, budget)?);
            match sign {
                '∪' => union(a, b, budget),
                '∩' => intersection(&a, &b, budget),
                _ => intersection(&a, &complement(b), budget),
            }
        }
        Node::Builder(element, condition) => match &**element {
            Node::Chain(sides, relations) if relations.as_slice() == [Relation::In] => {
                if matches!(sides.last(), Some(Node::Named('ℝ'))) {
                    read(condition, budget)
                } else {
                    None
                }
            }
            Node::Symbol(_) => read(condition, budget),
            _ => None,
        },
        Node::Chain(sides, relations) => {
            let mut all = everything();
            for (pair, relation) in sides.windows(2).zip(relations) {
                let part = solved(&pair[0], *relation, &pair[1], budget)?;
                all = intersection(&all, &part, budget)?;
            }
            Some(all)
        }
        Node::List(joiner, items) => {
            let mut parts = items.iter().map(|item| read(item, budget));
            let mut all = parts.next()??;
            for part in parts {
                all = match joiner {
                    Joiner::Or => union(all, part?, budget)?,
                    Joiner::And => both(all, part?, budget)?,
                };
            }
            Some(all)
        }
        _ => None,
    }
}

/// Conditions side by side: those that exclude each other are alternatives.
fn both(a: RealSet, b: RealSet, budget: &Budget) -> Option<RealSet> {
    let meet = intersection(&a, &b, budget)?;
    if meet.0.is_empty() { union(a, b, budget) } else { Some(meet) }
}

fn everything() -> RealSet {
    RealSet(vec![Piece { low: End::Low, low_in: false, high: End::High, high_in: false }])
}

fn end(node: &Node) -> Option<End> {
    match node {
        Node::Constant(Constant::Infinity) => Some(End::High),
        Node::Negative(inner) if **inner == Node::Constant(Constant::Infinity) => Some(End::Low),
        other => {
            let mut names = Vec::new();
            zero::variables(other, &mut names);
            (names.is_empty() && other.is_scalar()).then(|| End::At(other.clone()))
        }
    }
}

fn point(node: &Node) -> Option<Piece> {
    match end(node)? {
        End::At(node) => Some(Piece {
            low: End::At(node.clone()),
            low_in: true,
            high: End::At(node),
            high_in: true,
        }),
        End::Low | End::High => None,
    }
}

/// The order of two ends, where it is certain.
fn order(a: &End, b: &End, budget: &Budget) -> Option<Ordering> {
    match (a, b) {
        (End::Low, End::Low) | (End::High, End::High) => Some(Ordering::Equal),
        (End::Low, _) | (_, End::High) => Some(Ordering::Less),
        (_, End::Low) | (End::High, _) => Some(Ordering::Greater),
        (End::At(a), End::At(b)) => {
            if zero::same(a, b, budget).is_equal() {
                return Some(Ordering::Equal);
            }
            let gap = Node::Sum(vec![a.clone(), Node::Negative(Box::new(b.clone()))]);
            match zero::sign(&gap, budget)? {
                -1 => Some(Ordering::Less),
                1 => Some(Ordering::Greater),
                _ => Some(Ordering::Equal),
            }
        }
    }
}

/// Pieces sorted and joined; empty ones are dropped.
fn normal(pieces: Vec<Piece>, budget: &Budget) -> Option<RealSet> {
    if pieces.len() > PIECES_MAX {
        return None;
    }
    let mut sorted: Vec<Piece> = Vec::new();
    for piece in pieces {
        match order(&piece.low, &piece.high, budget)? {
            Ordering::Greater => continue,
            Ordering::Equal if !(piece.low_in && piece.high_in) => continue,
            Ordering::Less | Ordering::Equal => {}
        }
        let mut at = sorted.len();
        for (index, other) in sorted.iter().enumerate() {
            let before = match order(&piece.low, &other.low, budget)? {
                Ordering::Less => true,
                Ordering::Equal => piece.low_in && !other.low_in,
                Ordering::Greater => false,
            };
            if before {
                at = index;
                break;
            }
        }
        sorted.insert(at, piece);
    }
    let mut joined: Vec<Piece> = Vec::new();
    for piece in sorted {
        let Some(last) = joined.last_mut() else {
            joined.push(piece);
            continue;
        };
        let touch = match order(&piece.low, &last.high, budget)? {
            Ordering::Less => true,
            Ordering::Equal => piece.low_in || last.high_in,
            Ordering::Greater => false,
        };
        if !touch {
            joined.push(piece);
            continue;
        }
        match order(&last.high, &piece.high, budget)? {
            Ordering::Less => {
                last.high = piece.high;
                last.high_in = piece.high_in;
            }
            Ordering::Equal => last.high_in |= piece.high_in,
            Ordering::Greater => {}
        }
    }
    Some(RealSet(joined))
}

fn union(mut a: RealSet, b: RealSet, budget: &Budget) -> Option<RealSet> {
    a.0.extend(b.0);
    normal(a.0, budget)
}

fn complement(set: RealSet) -> RealSet {
    let mut pieces = Vec::new();
    let (mut low, mut low_in) = (End::Low, false);
    for piece in set.0 {
        if !matches!(piece.low, End::Low) {
            pieces.push(Piece { low, low_in, high: piece.low, high_in: !piece.low_in });
        }
        low = piece.high;
        low_in = !piece.high_in;
    }
    if !matches!(low, End::High) {
        pieces.push(Piece { low, low_in, high: End::High, high_in: false });
    }
    RealSet(pieces)
}

fn intersection(a: &RealSet, b: &RealSet, budget: &Budget) -> Option<RealSet> {
    let mut pieces = Vec::new();
    for x in &a.0 {
        for y in &b.0 {
            let (low, low_in) = match order(&x.low, &y.low, budget)? {
                Ordering::Less => (&y.low, y.low_in),
                Ordering::Greater => (&x.low, x.low_in),
                Ordering::Equal => (&x.low, x.low_in && y.low_in),
            };
            let (high, high_in) = match order(&x.high, &y.high, budget)? {
                Ordering::Less => (&x.high, x.high_in),
                Ordering::Greater => (&y.high, y.high_in),
                Ordering::Equal => (&x.high, x.high_in && y.high_in),
            };
            pieces.push(Piece { low: low.clone(), low_in, high: high.clone(), high_in });
        }
    }
    normal(pieces, budget)
}

/// Whether two sets are the same.
pub(super) fn same(a: &RealSet, b: &RealSet, budget: &Budget) -> Decision {
    if a.0.len() != b.0.len() {
        return Decision::different("sets of different shape");
    }
    for (x, y) in a.0.iter().zip(&b.0) {
        let (low, high) = (order(&x.low, &y.low, budget), order(&x.high, &y.high, budget));
        match (low, high) {
            (Some(Ordering::Equal), Some(Ordering::Equal)) => {
                if (x.low_in, x.high_in) != (y.low_in, y.high_in) {
                    return Decision::different("an end belongs to one set only");
                }
            }
            (None, _) | (_, None) => return Decision::unknown("ends that could not be compared"),
            _ => return Decision::different("sets with different ends"),
        }
    }
    Decision::equal("the same set")
}

/// The numbers for which `left relation right` holds, in its only variable.
fn solved(left: &Node, relation: Relation, right: &Node, budget: &Budget) -> Option<RealSet> {
    if relation == Relation::In {
        return read(right, budget);
    }
    if !(relation.is_order() || matches!(relation, Relation::Equal | Relation::Unequal)) {
        return None;
    }
    for (side, other, relation) in [(left, right, relation), (right, left, relation.flipped())] {
        if let Node::Call("abs", inner) = side
            && inner.len() == 1
            && let Some(End::At(bound)) = end(other)
        {
            return distance(&inner[0], relation, &bound, budget);
        }
        // "x < ∞" says nothing.
        if let (Some(End::High), Node::Symbol(_)) = (end(other), side) {
            return matches!(relation, Relation::Less).then(everything);
        }
        if let (Some(End::Low), Node::Symbol(_)) = (end(other), side) {
            return matches!(relation, Relation::Greater).then(everything);
        }
    }
    let name = Node::Symbol("x".into());
    let (left, right) = (unapplied(left, &name), unapplied(right, &name));
    let left = canon::fraction(&left, budget)?;
    let right = canon::fraction(&right, budget)?;
    left.as_sum()?;
    right.as_sum()?;
    let coefficients = polynomial(&zero::difference(&left, &right, budget)?)?;
    match coefficients.as_slice() {
        [constant, slope] => linear(constant, slope, relation, budget),
        [constant, slope, square] => quadratic([constant, slope, square], relation, budget),
        _ => None,
    }
}

/// A function's value as a variable: `0 < f(x) < 1`.
fn unapplied(node: &Node, name: &Node) -> Node {
    if matches!(node, Node::Apply(..)) { name.clone() } else { node.clone() }
}

/// |inner| relation bound
fn distance(inner: &Node, relation: Relation, bound: &Node, budget: &Budget) -> Option<RealSet> {
    let minus = Node::Negative(Box::new(bound.clone()));
    match relation {
        Relation::Less | Relation::LessEqual => {
            let above = solved(&minus, relation, inner, budget)?;
            intersection(&above, &solved(inner, relation, bound, budget)?, budget)
        }
        Relation::Greater | Relation::GreaterEqual => {
            let below = solved(inner, relation.flipped(), &minus, budget)?;
            union(below, solved(inner, relation, bound, budget)?, budget)
        }
        Relation::Equal => {
            let below = solved(inner, relation, &minus, budget)?;
            union(below, solved(inner, relation, bound, budget)?, budget)
        }
        _ => None,
    }
}

/// The coefficients of the only variable, lowest first; at most of degree two.
fn polynomial(sum: &Sum) -> Option<Vec<Node>> {
    let mut name = None;
    let mut parts: Vec<Sum> = vec![Sum::default(); 3];
    for (product, coefficient) in &sum.0 {
        let mut degree = 0;
        let mut rest = Vec::new();
        for (kernel, power) in product {
            if let Kernel::Symbol(found) = kernel {
                if name.get_or_insert_with(|| found.clone()) != found || !power.is_integer() {
                    return None;
                }
                degree = usize::try_from(power.to_integer()).ok()?;
            } else {
                rest.push((kernel.clone(), *power));
            }
        }
        parts.get_mut(degree)?.0.insert(rest, coefficient.clone());
    }
    name?;
    while parts.last().is_some_and(Sum::is_zero) {
        parts.pop();
    }
    parts.iter().map(written).collect()
}

/// A constant as a tree again.
fn written(sum: &Sum) -> Option<Node> {
    let mut terms = Vec::new();
    for (product, coefficient) in &sum.0 {
        let mut factors = vec![Node::exact(coefficient.clone())];
        for (kernel, power) in product {
            let base = match kernel {
                Kernel::Pi => Node::Constant(Constant::Pi),
                Kernel::E => Node::Constant(Constant::E),
                Kernel::Prime(prime) => {
                    Node::exact(BigRational::from_integer(prime.clone().into()))
                }
                _ => return None,
            };
            factors.push(if *power == exponent(1) {
                base
            } else {
                let power = BigRational::new((*power.numer()).into(), (*power.denom()).into());
                Node::Power(Box::new(base), Box::new(Node::exact(power)))
            });
        }
        terms.push(if factors.len() == 1 {
            factors.swap_remove(0)
        } else {
            Node::Product(factors)
        });
    }
    Some(match terms.len() {
        0 => Node::exact(BigRational::zero()),
        1 => terms.swap_remove(0),
        _ => Node::Sum(terms),
    })
}

fn quotient(a: Node, b: Node) -> Node {
    match (&a, &b) {
        (Node::Number { value: x, .. }, Node::Number { value: y, .. }) if !y.is_zero() => {
            Node::exact(x / y)
        }
        _ => Node::Quotient(Box::new(a), Box::new(b)),
    }
}

/// slope · x + constant relation 0
fn linear(constant: &Node, slope: &Node, relation: Relation, budget: &Budget) -> Option<RealSet> {
    let sign = zero::sign(slope, budget)?;
    let relation = if sign < 0 { relation.flipped() } else { relation };
    let root = End::At(quotient(Node::Negative(Box::new(constant.clone())).plain(), slope.clone()));
    Some(beside(root, relation))
}

/// x relation root
fn beside(root: End, relation: Relation) -> RealSet {
    let closed = matches!(relation, Relation::LessEqual | Relation::GreaterEqual);
    match relation {
        Relation::Less | Relation::LessEqual => {
            RealSet(vec![Piece { low: End::Low, low_in: false, high: root, high_in: closed }])
        }
        Relation::Greater | Relation::GreaterEqual => {
            RealSet(vec![Piece { low: root, low_in: closed, high: End::High, high_in: false }])
        }
        Relation::Unequal => complement(beside(root, Relation::Equal)),
        _ => RealSet(vec![Piece { low: root.clone(), low_in: true, high: root, high_in: true }]),
    }
}

/// square · x² + slope · x + constant relation 0
fn quadratic(parts: [&Node; 3], relation: Relation, budget: &Budget) -> Option<RealSet> {
    let [constant, slope, square] = parts;
    let sign = zero::sign(square, budget)?;
    let relation = if sign < 0 { relation.flipped() } else { relation };
    let product = |items: Vec<Node>| Node::Product(items);
    let discriminant = Node::Sum(vec![
        product(vec![slope.clone(), slope.clone()]),
        product(vec![Node::whole(-4), square.clone(), constant.clone()]),
    ]);
    let outside = matches!(relation, Relation::Greater | Relation::GreaterEqual);
    if zero::sign(&discriminant, budget)? < 0 {
        let all = outside || relation == Relation::Unequal;
        return Some(if all { everything() } else { RealSet(Vec::new()) });
    }
    let root = Node::Call("sqrt", vec![discriminant, Node::whole(2)]);
    let at = |root: Node| {
        let above = Node::Sum(vec![Node::Negative(Box::new(slope.clone())), root]);
        quotient(above, product(vec![Node::whole(2), square.clone()]))
    };
    let (mut low, mut high) = (at(Node::Negative(Box::new(root.clone()))), at(root));
    if sign < 0 {
        std::mem::swap(&mut low, &mut high);
    }
    let (low, high) = (End::At(low), End::At(high));
    let closed = matches!(relation, Relation::LessEqual | Relation::GreaterEqual);
    let between = Piece { low, low_in: closed != outside, high, high_in: closed != outside };
    match relation {
        Relation::Less | Relation::LessEqual => normal(vec![between], budget),
        Relation::Greater | Relation::GreaterEqual => {
            let inner = normal(vec![between], budget)?;
            Some(complement(inner))
        }
        _ => {
            let Piece { low, high, .. } = between;
            let points =
                union(beside(low, Relation::Equal), beside(high, Relation::Equal), budget)?;
            Some(if relation == Relation::Unequal { complement(points) } else { points })
        }
    }
}

impl Node {
    /// A negated number as a number.
    fn plain(self) -> Self {
        match self {
            Self::Negative(inner) => match *inner {
                Self::Number { value, places } => Self::Number { value: -value, places },
                other => Self::Negative(Box::new(other)),
            },
            other => other,
        }
    }
}
