//! Answers of every shape: values, lists, tuples, sets, relations, units, words.
//!
//! Symmetric: the reference and the answer are treated alike.

use num_traits::{ToPrimitive, Zero};

use super::poly::Budget;
use super::shape::{self, Items, Kind};
use super::tree::{Constant, Node};
use super::{Decision, Outcome, Policy, canon, rounded, sets, statement, units, zero};

/// Deepest nesting of lists that is compared.
const DEPTH_MAX: usize = 12;

/// Most items of a list that is compared in any order.
const ITEMS_MAX: usize = 300;

/// Names that stand for any whole number where they are the only variable.
pub(super) const PARAMETERS: &[&str] = &["k", "n", "m", "l", "j", "t"];

/// What one comparison works with.
pub(super) struct Comparison<'a> {
    pub(super) policy: &'a Policy,
    pub(super) budget: &'a Budget,
}

impl Comparison<'_> {
    /// Whether `a` and `b` say the same.
    pub(super) fn decide(&self, a: &Node, b: &Node, depth: usize) -> Decision {
        if depth > DEPTH_MAX {
            return Decision::unknown("nested too deeply");
        }
        if a == b {
            return Decision::equal("written the same");
        }
        if let Some(decision) = self.relations(a, b, depth) {
            return decision;
        }
        if let Some(decision) = self.sets(a, b) {
            return decision;
        }
        if let Some(decision) = self.several(a, b, depth) {
            return decision;
        }
        if let Some(decision) = self.dressed(a, b, depth) {
            return decision;
        }
        if let Some(decision) = self.words(a, b) {
            return decision;
        }
        if a.is_scalar() && b.is_scalar() {
            return match (infinite(a), infinite(b)) {
                (None, None) => self.values(a, b),
                (Some(x), Some(y)) if x == y => Decision::equal("the same infinity"),
                _ => Decision::different("one is not finite"),
            };
        }
        match (a, b) {
            (Node::Ellipsis, _) | (_, Node::Ellipsis) => Decision::unknown("left open by `…`"),
            _ if std::mem::discriminant(a) == std::mem::discriminant(b) => {
                Decision::unknown("no rule compares these")
            }
            _ => Decision::different("different kinds of answers"),
        }
    }

    /// Sets of real numbers, however they are written.
    pub(super) fn sets(&self, a: &Node, b: &Node) -> Option<Decision> {
        if !sets::is_set(a) && !sets::is_set(b) {
            return None;
        }
        let (x, y) = (sets::read(a, self.budget), sets::read(b, self.budget));
        match (x, y) {
            (Some(x), Some(y)) => Some(sets::same(&x, &y, self.budget)),
            _ => match (a, b) {
                (Node::SetOp(sign, a1, a2), Node::SetOp(other, b1, b2)) if sign == other => {
                    let straight =
                        together([self.decide(a1, b1, 2), self.decide(a2, b2, 2)].into_iter());
                    Some(if straight.is_equal() {
                        straight
                    } else {
                        Decision::unknown("sets that could not be worked out")
                    })
                }
                _ if matches!((a, b), (Node::Chain(..), Node::Chain(..))) => None,
                _ if a.is_scalar() || b.is_scalar() => {
                    Some(Decision::different("a set and a number"))
                }
                (Node::Builder(..) | Node::SetOp(..), _)
                | (_, Node::Builder(..) | Node::SetOp(..)) => {
                    Some(Decision::unknown("sets that could not be worked out"))
                }
                _ => None,
            },
        }
    }

    /// Lists, tuples, sets of single values, matrices.
    fn several(&self, a: &Node, b: &Node, depth: usize) -> Option<Decision> {
        if let (Some(x), Some(y)) = (shape::matrix(a), shape::matrix(b)) {
            let wide = |rows: &[Vec<Node>]| rows.iter().map(Vec::len).collect::<Vec<_>>();
            if wide(&x) != wide(&y) {
                return Some(Decision::different("matrices of different size"));
            }
            let cells = x.iter().flatten().zip(y.iter().flatten());
            return Some(together(cells.map(|(x, y)| self.decide(x, y, depth + 1))));
        }
        match (shape::items(a), shape::items(b)) {
            (Some(x), Some(y)) => {
                // {(1, 2)} is the pair (1, 2).
                let only = |items: &Items| items.kind == Kind::Set && items.items.len() == 1;
                match (only(&x), only(&y)) {
                    (true, false) => self.single(&x, b, depth),
                    (false, true) => self.single(&y, a, depth),
                    _ => Some(self.lists(&x, &y, depth)),
                }
            }
            (Some(x), None) => self.single(&x, b, depth),
            (None, Some(y)) => self.single(&y, a, depth),
            (None, None) => None,
        }
    }

    /// A set of one thing is that thing.
    fn single(&self, several: &Items, other: &Node, depth: usize) -> Option<Decision> {
        match (several.items.as_slice(), several.kind) {
            ([only], Kind::Set | Kind::List(_)) => Some(self.decide(only, other, depth + 1)),
            // (A, B) = (1, 2) says (1, 2).
            _ if shape::assignment(other).is_some() => None,
            _ if matches!(other, Node::Text(_) | Node::Word(_)) => {
                Some(Decision::different("words and a list"))
            }
            _ => Some(Decision::different("several answers and one")),
        }
    }

    fn lists(&self, a: &Items, b: &Items, depth: usize) -> Decision {
        let open = |items: &[Node]| items.contains(&Node::Ellipsis);
        if open(&a.items) != open(&b.items) {
            return Decision::different("one goes on with `…`, the other ends");
        }
        if a.items.len().max(b.items.len()) > ITEMS_MAX {
            return Decision::unknown("too many items");
        }
        if a.items.len() != b.items.len() {
            return self.repeated(a, b, depth);
        }
        let ordered = |kind: Kind| matches!(kind, Kind::Tuple(..));
        let in_order = || {
            let pairs = a.items.iter().zip(&b.items);
            together(pairs.map(|(x, y)| self.decide(x, y, depth + 1)))
        };
        match (a.kind, b.kind) {
            (Kind::Tuple(open, close), Kind::Tuple(open_b, close_b)) => {
                if (open, close) == (open_b, close_b) {
                    in_order()
                } else {
                    Decision::different("different brackets")
                }
            }
            (Kind::Set, other) | (other, Kind::Set) if ordered(other) => {
                Decision::different("order counts on one side only")
            }
            (x, y) if ordered(x) || ordered(y) => in_order(),
            _ => self
                .named(a, b, depth)
                .unwrap_or_else(|| self.in_any_order(&a.items, &b.items, depth)),
        }
    }

    /// Lists of different length: something said twice is said once.
    fn repeated(&self, a: &Items, b: &Items, depth: usize) -> Decision {
        let different = Decision::different("a different number of items");
        let ordered = |kind: Kind| matches!(kind, Kind::Tuple(..));
        if ordered(a.kind) || ordered(b.kind) {
            return different;
        }
        let (long, short) = if a.items.len() > b.items.len() { (a, b) } else { (b, a) };
        let mut once: Vec<Node> = Vec::new();
        for item in &long.items {
            if !once.iter().any(|known| self.decide(known, item, depth + 1).is_equal()) {
                once.push(item.clone());
            }
        }
        if once.len() != short.items.len() {
            return different;
        }
        self.in_any_order(&once, &short.items, depth)
    }

    /// `x = 1, y = 2`: matched by name.
    fn named(&self, a: &Items, b: &Items, depth: usize) -> Option<Decision> {
        let names = |items: &Items| -> Option<Vec<(String, Node)>> {
            let pairs = items.items.iter().map(|item| {
                let (name, value) = shape::assignment(item)?;
                Some((name.to_string(), value.clone()))
            });
            let mut pairs: Vec<_> = pairs.collect::<Option<_>>()?;
            pairs.sort_by(|x, y| x.0.cmp(&y.0));
            pairs.windows(2).all(|pair| pair[0].0 != pair[1].0).then_some(pairs)
        };
        let (x, y) = (names(a)?, names(b)?);
        let same = x.iter().zip(&y).all(|(x, y)| x.0 == y.0);
        same.then(|| together(x.iter().zip(&y).map(|(x, y)| self.decide(&x.1, &y.1, depth + 1))))
    }

    /// Items matched with items: a perfect matching of equals, found by augmenting paths.
    fn in_any_order(&self, a: &[Node], b: &[Node], depth: usize) -> Decision {
        // Most items are written alike: those need no comparison.
        let mut left: Vec<&Node> = b.iter().collect();
        let mut rest = Vec::new();
        let mut written: std::collections::HashMap<String, Vec<usize>> =
            std::collections::HashMap::new();
        for (index, item) in b.iter().enumerate() {
            written.entry(item.to_string()).or_default().push(index);
        }
        let mut used = vec![false; b.len()];
        for item in a {
            match written.get_mut(&item.to_string()).and_then(Vec::pop) {
                Some(index) => used[index] = true,
                None => rest.push(item.clone()),
            }
        }
        let mut at = 0;
        left.retain(|_| {
            at += 1;
            !used[at - 1]
        });
        let others: Vec<Node> = left.into_iter().cloned().collect();
        let (a, b) = (rest.as_slice(), others.as_slice());
        let mut outcomes = vec![vec![Outcome::Different; b.len()]; a.len()];
        for (row, x) in outcomes.iter_mut().zip(a) {
            for (place, y) in row.iter_mut().zip(b) {
                if self.budget.spend(4).is_none() {
                    return Decision::unknown("too much to compare");
                }
                *place = self.decide(x, y, depth + 1).outcome;
            }
        }
        matched(&outcomes, b.len())
    }

    /// Units, percent and degrees.
    fn dressed(&self, a: &Node, b: &Node, depth: usize) -> Option<Decision> {
        match (a, b) {
            (Node::Quantity(x, unit_x), Node::Quantity(y, unit_y)) => {
                Some(match units::fit(unit_x, unit_y) {
                    units::Fit::Times(factor) => {
                        let scaled = Node::Product(vec![(**x).clone(), Node::exact(factor)]);
                        self.decide(&computed(scaled), y, depth + 1)
                    }
                    units::Fit::Other => Decision::different("different units"),
                    units::Fit::Unknown => match self.decide(x, y, depth + 1).outcome {
                        Outcome::Equal => Decision::unknown("units that are not known"),
                        _ => Decision::different("different quantities"),
                    },
                })
            }
            (Node::Quantity(x, unit), y) | (y, Node::Quantity(x, unit))
                if self.policy.bare_unit =>
            {
                if let Some(count) = units::multiple(unit) {
                    let scaled = Node::Product(vec![(**x).clone(), Node::whole(count)]);
                    let decided = self.decide(&computed(scaled), y, depth + 1);
                    if decided.is_equal() {
                        return Some(decided);
                    }
                }
                Some(self.decide(x, y, depth + 1))
            }
            (Node::Call("degrees", x), Node::Call("degrees", y)) => {
                Some(self.decide(x.first()?, y.first()?, depth + 1))
            }
            (Node::Call("degrees", x), y) | (y, Node::Call("degrees", x)) if y.is_scalar() => {
                let bare = self.decide(x.first()?, y, depth + 1);
                if bare.is_equal() && self.policy.bare_unit {
                    return Some(bare);
                }
                let radians = Node::Call("degrees", x.clone());
                Some(self.values(&radians, y))
            }
            (Node::Percent(x), Node::Percent(y)) => Some(self.decide(x, y, depth + 1)),
            (Node::Percent(x), y) | (y, Node::Percent(x)) if y.is_scalar() => {
                if self.policy.bare_percent && self.decide(x, y, depth + 1).is_equal() {
                    return Some(Decision::equal("the percent sign left out"));
                }
                let hundredth = Node::Quotient(x.clone(), Box::new(Node::whole(100)));
                Some(self.values(&computed(hundredth), y))
            }
            (Node::Ratio(x), Node::Ratio(y)) => Some(self.ratios(x, y)),
            (Node::Ratio(x), y) | (y, Node::Ratio(x)) if x.len() == 2 && y.is_scalar() => {
                let quotient = Node::Quotient(Box::new(x[0].clone()), Box::new(x[1].clone()));
                Some(self.values(&quotient, y))
            }
            _ => None,
        }
    }

    /// a : b : c, equal if proportional. `12:00` is a time: equal only to itself.
    fn ratios(&self, a: &[Node], b: &[Node]) -> Decision {
        if a.len() != b.len() {
            return Decision::different("ratios of different length");
        }
        let is_zero = |node: &Node| zero::number(node).is_some_and(|value| value.is_zero());
        if a.iter().chain(b).any(is_zero) {
            let pairs = a.iter().zip(b);
            return together(pairs.map(|(x, y)| self.values(x, y)));
        }
        let cross = |x: &Node, y: &Node| Node::Product(vec![x.clone(), y.clone()]);
        together((1..a.len()).map(|at| self.values(&cross(&a[0], &b[at]), &cross(&a[at], &b[0]))))
    }

    /// Words, names and choices.
    fn words(&self, a: &Node, b: &Node) -> Option<Decision> {
        let is_text = |node: &Node| matches!(node, Node::Text(_) | Node::Empty | Node::Named(_));
        let is_label = |node: &Node| match node {
            Node::Word(word) => word.len() > 1 && word.chars().all(char::is_uppercase),
            _ => false,
        };
        if is_label(a) && is_label(b) {
            // AB and BA may be one segment, and are two codes.
            let mut letters = [a.to_string().into_bytes(), b.to_string().into_bytes()];
            letters.iter_mut().for_each(|word| word.sort_unstable());
            return Some(if letters[0] == letters[1] {
                Decision::unknown("the same letters in another order")
            } else {
                Decision::different("different names")
            });
        }
        if !is_text(a) && !is_text(b) {
            // No and no, but not AB and ab.
            let (Node::Word(x), Node::Word(y)) = (a, b) else { return None };
            let tails = (x.get(1..)?, y.get(1..)?);
            let same = tails.0 == tails.1
                && tails.0.chars().all(char::is_lowercase)
                && x.eq_ignore_ascii_case(y);
            return (same && self.policy.fold_case).then(|| Decision::equal("the same words"));
        }
        let (x, y) = (self.spelled(a), self.spelled(b));
        if x == y && !x.is_empty() {
            return Some(Decision::equal("the same words"));
        }
        let prose = |text: &str| text.split_whitespace().count() > 4;
        // Mathematics that was not understood is not refuted.
        let foreign = |node: &Node| match node {
            Node::Text(text) => text.contains(['=', '^', '_']),
            _ => false,
        };
        let begins = !x.is_empty() && !y.is_empty() && (x.starts_with(&y) || y.starts_with(&x));
        Some(if prose(&a.to_string()) && prose(&b.to_string()) {
            Decision::unknown("different sentences")
        } else if foreign(a) || foreign(b) {
            Decision::unknown("not understood as mathematics")
        } else if begins && is_text(a) && is_text(b) {
            Decision::unknown("one says more than the other")
        } else {
            Decision::different("different words")
        })
    }

    /// Letters and digits only.
    fn spelled(&self, node: &Node) -> String {
        let text = statement::plain(&node.to_string());
        let letters: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
        let letters = letters.trim_matches(['(', ')', '.', '"', '\'']).to_owned();
        // A single letter may be a variable, where case matters; a word is a word.
        if self.policy.fold_case && letters.chars().count() > 1 {
            letters.to_lowercase()
        } else {
            letters
        }
    }

    /// Two values that can be computed with.
    pub(super) fn values(&self, a: &Node, b: &Node) -> Decision {
        let decided = zero::same(a, b, self.budget);
        if decided.is_equal() {
            return decided;
        }
        if let Some(least) = self.policy.rounded_places {
            let stands = rounded::stands_for(a, b, least, self.budget)
                || rounded::stands_for(b, a, least, self.budget);
            if stands {
                return Decision::equal("correctly rounded");
            }
        }
        if let Some(renamed) = self.renamed(a, b) {
            return renamed;
        }
        decided
    }

    /// One variable each, under different names: 2n + 1 and 2k + 1.
    fn renamed(&self, a: &Node, b: &Node) -> Option<Decision> {
        let only = |node: &Node| {
            let mut names = Vec::new();
            zero::variables(node, &mut names);
            names.retain(|name| PARAMETERS.contains(&name.as_str()));
            if names.len() == 1 { names.pop() } else { None }
        };
        // A name alone is a name: n is not k.
        if matches!(a, Node::Symbol(_)) || matches!(b, Node::Symbol(_)) {
            return None;
        }
        let (x, y) = (only(a)?, only(b)?);
        if x == y {
            return None;
        }
        let turned = canon::substituted(b, &Node::Symbol(y), &Node::Symbol(x));
        let decided = zero::same(a, &turned, self.budget);
        decided.is_equal().then_some(decided)
    }
}

/// Whether rows and columns can be paired so that all pairs are equal. Equality is an equivalence:
/// as many equal rows as equal columns are paired.
fn matched(outcomes: &[Vec<Outcome>], columns: usize) -> Decision {
    let column = |at: usize| outcomes.iter().map(move |row| row[at]);
    let hopeless = |mut line: Box<dyn Iterator<Item = Outcome> + '_>| {
        line.all(|outcome| outcome == Outcome::Different)
    };
    let mut unknown = outcomes.len() != columns;
    for row in outcomes {
        if hopeless(Box::new(row.iter().copied())) {
            return Decision::different("an item without a partner");
        }
        let equal = |outcome: &Outcome| *outcome == Outcome::Equal;
        match row.iter().position(equal) {
            Some(at) => {
                let beside = row.iter().filter(|outcome| equal(outcome)).count();
                if column(at).filter(|outcome| equal(outcome)).count() != beside {
                    return Decision::different("an item occurs more often");
                }
            }
            None => unknown = true,
        }
    }
    if (0..columns).any(|at| hopeless(Box::new(column(at)))) {
        return Decision::different("an item without a partner");
    }
    if unknown {
        Decision::unknown("items that could not be matched")
    } else {
        Decision::equal("the same items")
    }
}

/// The sign of an infinity.
fn infinite(node: &Node) -> Option<bool> {
    match node {
        Node::Constant(Constant::Infinity) => Some(true),
        Node::Negative(inner) => infinite(inner).map(|sign| !sign),
        _ => None,
    }
}

/// A product or quotient of numbers as a number, so that units scale exactly.
fn computed(node: Node) -> Node {
    let budget = Budget::new(1_000);
    match canon::fraction(&node, &budget).and_then(|value| value.as_rational()) {
        Some(value) if value.numer().to_i64().is_some() => Node::exact(value),
        Some(_) | None => node,
    }
}

/// All equal: equal. One different: different.
pub(super) fn together(decisions: impl Iterator<Item = Decision>) -> Decision {
    let mut all = Decision::equal("every part is equal");
    for decision in decisions {
        match decision.outcome {
            Outcome::Different => return decision,
            Outcome::Unknown => all = decision,
            Outcome::Equal => {}
        }
    }
    all
}
