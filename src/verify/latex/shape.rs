//! What an answer is about, without how it was said: `x = 5` says 5, `1 ± √2` says two numbers.

use super::tree::{Joiner, Node, Relation};

/// The value of `x = 5`, and the `x`. None if this is no assignment.
pub(super) fn assignment(node: &Node) -> Option<(&Node, &Node)> {
    let Node::Chain(sides, relations) = node else { return None };
    let valued = relations.iter().all(|r| matches!(r, Relation::Equal | Relation::Near));
    // "1 + 1 = x = 2" names what it found just before it says it.
    let named = sides.iter().take(sides.len() - 1).rfind(|side| is_name(side));
    let name = if is_name(&sides[0]) { &sides[0] } else { named? };
    if !valued {
        return None;
    }
    // `x = 1/3 ≈ 0.333`: what stands before the approximation is meant.
    let near = relations.iter().position(|relation| *relation == Relation::Near);
    let at = match near {
        Some(0) => 1,
        Some(near) => near,
        None => sides.len() - 1,
    };
    let value = &sides[at];
    // x = 2x + 1 is an equation.
    let free = !value.any(&|part| part == name);
    free.then_some((name, value))
}

/// The value of `9 = 189` or `1 + 1 = 2`: the last side of a calculation without names.
pub(super) fn calculation(node: &Node) -> Option<&Node> {
    let Node::Chain(sides, relations) = node else { return None };
    let valued = relations.iter().all(|r| matches!(r, Relation::Equal | Relation::Near));
    let mut names = Vec::new();
    sides.iter().for_each(|side| super::zero::variables(side, &mut names));
    let near = relations.iter().position(|relation| *relation == Relation::Near);
    (valued && names.is_empty()).then(|| &sides[near.unwrap_or(sides.len() - 1)])
}

/// Whether something only names what is asked for: `x`, `f(x)`, `|AB|`, `(p, q)`, `S : T`.
fn is_name(node: &Node) -> bool {
    match node {
        Node::Symbol(name) => !name.is_empty(),
        Node::Word(_) | Node::Text(_) | Node::Apply(..) => true,
        Node::Constant(constant) => {
            matches!(constant, super::tree::Constant::I | super::tree::Constant::E)
        }
        Node::Call(name, items) => {
            matches!(*name, "abs" | "det" | "norm" | "max" | "min" | "sin" | "cos" | "tan")
                && items.iter().all(is_name)
        }
        Node::Product(items) | Node::Tuple { items, .. } | Node::Ratio(items) => {
            items.iter().all(is_name)
        }
        Node::Quotient(a, b) => is_name(a) && is_name(b),
        // f⁻¹, and the X = 2 of P(X = 2).
        Node::Power(base, power) => is_name(base) && **power == Node::whole(-1),
        Node::Chain(..) => true,
        _ => false,
    }
}

/// The items of an answer that has several, and whether their order counts.
#[derive(Debug)]
pub(super) struct Items {
    pub(super) items: Vec<Node>,
    pub(super) kind: Kind,
}

/// What holds items together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Brackets: order counts.
    Tuple(char, char),
    /// Braces: it does not.
    Set,
    /// Nothing: it does not, but the same order as a tuple's is a tuple.
    List(Joiner),
}

/// Takes an answer with several items apart.
pub(super) fn items(node: &Node) -> Option<Items> {
    Some(match node {
        Node::List(joiner, items) => Items { items: spread(items), kind: Kind::List(*joiner) },
        Node::Set(items) => Items { items: spread(items), kind: Kind::Set },
        Node::Tuple { open, items, close } => {
            let brackets = if items.len() == 2 { (*open, *close) } else { ('(', ')') };
            Items { items: items.clone(), kind: Kind::Tuple(brackets.0, brackets.1) }
        }
        Node::Matrix(rows) if rows.len() == 1 || rows.iter().all(|row| row.len() == 1) => {
            Items { items: rows.iter().flatten().cloned().collect(), kind: Kind::Tuple('(', ')') }
        }
        other => {
            let both = both_signs(other)?;
            Items { items: both, kind: Kind::List(Joiner::Or) }
        }
    })
}

/// Items with each ± taken apart, and an arithmetic progression written out.
fn spread(items: &[Node]) -> Vec<Node> {
    let mut out = Vec::with_capacity(items.len());
    for item in written_out(items).as_deref().unwrap_or(items) {
        match both_signs(item) {
            Some(both) => out.extend(both),
            None => out.push(item.clone()),
        }
    }
    out
}

/// `1, 2, …, 10` as ten numbers.
fn written_out(items: &[Node]) -> Option<Vec<Node>> {
    const MOST: i64 = 200;
    let at = items.iter().position(|item| *item == Node::Ellipsis)?;
    let (before, after) = (&items[..at], &items[at + 1..]);
    let whole = |node: &Node| {
        let value = super::zero::number(node)?;
        value.is_integer().then(|| i64::try_from(value.to_integer()).ok())?
    };
    let [first, .., last] = before else { return None };
    let step = whole(&before[1])? - whole(first)?;
    let (last, end) = (whole(last)?, whole(after.first()?)?);
    let even = before.windows(2).all(|pair| {
        whole(&pair[0]).zip(whole(&pair[1])).is_some_and(|(a, b)| b.checked_sub(a) == Some(step))
    });
    if !even
        || step == 0
        || (end - last) % step != 0
        || !(1..=MOST).contains(&((end - last) / step))
    {
        return None;
    }
    let mut all = before.to_vec();
    let mut next = last + step;
    while next != end {
        all.push(Node::whole(next));
        next += step;
    }
    all.extend(after.iter().cloned());
    Some(all)
}

/// The two values of something with one ±.
fn both_signs(node: &Node) -> Option<Vec<Node>> {
    if !node.any(&|part| matches!(part, Node::PlusMinus(..))) {
        return None;
    }
    Some(vec![signed(node, false), signed(node, true)])
}

/// `node` with every ± read as + or as -.
fn signed(node: &Node, minus: bool) -> Node {
    let again = |part: &Node| signed(part, minus);
    match node {
        Node::PlusMinus(a, b) => {
            let b = again(b);
            let b = if minus { Node::Negative(Box::new(b)) } else { b };
            match a {
                Some(a) => Node::Sum(vec![again(a), b]),
                None => b,
            }
        }
        other => other.map(&again),
    }
}

/// A matrix that is computed: sums, products and multiples of matrices.
pub(super) fn matrix(node: &Node) -> Option<Vec<Vec<Node>>> {
    const SIZE_MAX: usize = 12;
    match node {
        Node::Matrix(rows) => Some(rows.clone()),
        Node::Tuple { items, .. } => {
            // A column written as a row of rows.
            items.iter().all(|item| matches!(item, Node::Tuple { .. })).then_some(())?;
            items
                .iter()
                .map(|item| match item {
                    Node::Tuple { items, .. } => Some(items.clone()),
                    _ => None,
                })
                .collect()
        }
        Node::Negative(inner) => {
            let rows = matrix(inner)?;
            let minus = |cell: Node| Node::Negative(Box::new(cell));
            Some(rows.into_iter().map(|row| row.into_iter().map(minus).collect()).collect())
        }
        Node::Sum(items) => {
            let mut terms = items.iter().map(matrix);
            let mut total = terms.next()??;
            for term in terms {
                let term = term?;
                if term.len() != total.len() || term[0].len() != total[0].len() {
                    return None;
                }
                for (row, other) in total.iter_mut().zip(term) {
                    for (cell, more) in row.iter_mut().zip(other) {
                        let old = std::mem::replace(cell, Node::Empty);
                        *cell = Node::Sum(vec![old, more]);
                    }
                }
            }
            Some(total)
        }
        Node::Product(items) => {
            let mut total: Option<Vec<Vec<Node>>> = None;
            let mut scale = Vec::new();
            for item in items {
                match (matrix(item), &total) {
                    (Some(next), None) => total = Some(next),
                    (Some(next), Some(rows)) => {
                        if rows.len().max(next.len()) > SIZE_MAX {
                            return None;
                        }
                        total = Some(product(rows, &next)?);
                    }
                    (None, _) => scale.push(item.clone()),
                }
            }
            let mut rows = total?;
            for cell in rows.iter_mut().flatten().filter(|_| !scale.is_empty()) {
                let mut factors = scale.clone();
                factors.push(std::mem::replace(cell, Node::Empty));
                *cell = Node::Product(factors);
            }
            Some(rows)
        }
        _ => None,
    }
}

fn product(a: &[Vec<Node>], b: &[Vec<Node>]) -> Option<Vec<Vec<Node>>> {
    let width = b[0].len();
    let fits = a.iter().all(|row| row.len() == b.len()) && b.iter().all(|row| row.len() == width);
    if !fits {
        return None;
    }
    let cell = |row: &[Node], column: usize| {
        let terms = row.iter().zip(b);
        let terms = terms.map(|(x, other)| Node::Product(vec![x.clone(), other[column].clone()]));
        Node::Sum(terms.collect())
    };
    Some(a.iter().map(|row| (0..width).map(|column| cell(row, column)).collect()).collect())
}
