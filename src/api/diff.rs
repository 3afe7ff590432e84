//! Where an expected text and the one that came out part, piece by piece.
//!
//! Pieces are words and the blanks between them, so that a number stays whole. What both have is the
//! longest sequence of pieces that they have in common; texts too different for that are told apart as
//! a whole.

use serde::Serialize;
use utoipa::ToSchema;

/// Pairs of pieces that are compared at most: a millisecond's work.
const PAIRS_MAX: usize = 1_000_000;

/// Who has a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DiffKind {
    /// Both texts.
    Same,
    /// Only the expected one: it is missing.
    Expected,
    /// Only the one that came out.
    Got,
}

/// A piece of two texts.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(super) struct DiffPart {
    /// same, expected or got.
    pub kind: DiffKind,
    /// The piece. Those that are the same and those that are expected make the expected text, in order;
    /// those that are the same and those that were got the other one.
    pub text: String,
}

/// The pieces of two texts.
pub(super) fn diff(expected: &str, got: &str) -> Vec<DiffPart> {
    let (ours, theirs) = (pieces(expected), pieces(got));
    let front = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    let (mine, others) = (&ours[front..], &theirs[front..]);
    let back = mine.iter().rev().zip(others.iter().rev()).take_while(|(a, b)| a == b).count();
    let mut parts = Parts(Vec::new());
    parts.add(DiffKind::Same, &ours[..front]);
    middle(&mine[..mine.len() - back], &others[..others.len() - back], &mut parts);
    parts.add(DiffKind::Same, &mine[mine.len() - back..]);
    parts.0
}

/// Pieces between what both begin and end with.
fn middle(mine: &[&str], others: &[&str], parts: &mut Parts) {
    let width = others.len() + 1;
    if mine.len().saturating_mul(width) > PAIRS_MAX {
        parts.add(DiffKind::Expected, mine);
        parts.add(DiffKind::Got, others);
        return;
    }
    // How many pieces the rests from here on have in common at most, row by row from the end.
    let mut common = vec![0_u32; (mine.len() + 1) * width];
    for row in (0..mine.len()).rev() {
        for column in (0..others.len()).rev() {
            let at = row * width + column;
            common[at] = if mine[row] == others[column] {
                common[at + width + 1] + 1
            } else {
                common[at + width].max(common[at + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < mine.len() || column < others.len() {
        let at = row * width + column;
        if row < mine.len() && column < others.len() && mine[row] == others[column] {
            parts.add(DiffKind::Same, &mine[row..=row]);
            (row, column) = (row + 1, column + 1);
        } else if column == others.len() || row < mine.len() && common[at + width] >= common[at + 1]
        {
            parts.add(DiffKind::Expected, &mine[row..=row]);
            row += 1;
        } else {
            parts.add(DiffKind::Got, &others[column..=column]);
            column += 1;
        }
    }
}

/// `text` in words, line breaks and runs of other blanks.
fn pieces(text: &str) -> Vec<&str> {
    let kind = |letter: char| match letter {
        '\n' => 0,
        letter if letter.is_whitespace() => 1,
        // Values of functions are lists without blanks.
        '[' | ']' | '{' | '}' | ',' | ':' => 2,
        _ => 3,
    };
    let mut found = Vec::new();
    let mut begin = 0;
    let mut before = None;
    for (at, letter) in text.char_indices() {
        let now = kind(letter);
        if before.is_some_and(|before| before != now || matches!(now, 0 | 2)) {
            found.push(&text[begin..at]);
            begin = at;
        }
        before = Some(now);
    }
    if begin < text.len() {
        found.push(&text[begin..]);
    }
    found
}

/// Parts; neighbours of a kind are one.
struct Parts(Vec<DiffPart>);

impl Parts {
    fn add(&mut self, kind: DiffKind, pieces: &[&str]) {
        for piece in pieces {
            match self.0.last_mut() {
                Some(last) if last.kind == kind => last.text.push_str(piece),
                Some(_) | None => self.0.push(DiffPart { kind, text: (*piece).to_owned() }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DiffKind, diff};

    /// Parts in one line: `=` both, `-` expected, `+` got.
    fn told(expected: &str, got: &str) -> String {
        let parts = diff(expected, got);
        let text = |without: DiffKind| {
            let kept = parts.iter().filter(|part| part.kind != without);
            kept.map(|part| part.text.as_str()).collect::<String>()
        };
        assert_eq!(text(DiffKind::Got), expected);
        assert_eq!(text(DiffKind::Expected), got);
        let mark = |kind| match kind {
            DiffKind::Same => '=',
            DiffKind::Expected => '-',
            DiffKind::Got => '+',
        };
        let parts = parts.iter().map(|part| format!("{}{:?}", mark(part.kind), part.text));
        parts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn words_are_what_differs() {
        for (expected, got, said) in [
            ("1 2 3\n", "1 2 3\n", r#"="1 2 3\n""#),
            ("1 2 3\n", "1 5 3\n", r#"="1 " -"2" +"5" =" 3\n""#),
            ("10", "1", r#"-"10" +"1""#),
            ("a\nb\nc", "a\nc", r#"="a\n" -"b\n" ="c""#),
            ("", "x", r#"+"x""#),
            ("", "", ""),
            ("[1,2]", "[1,3,2]", r#"="[1," +"3," ="2]""#),
        ] {
            assert_eq!(told(expected, got), said, "{expected:?} {got:?}");
        }
    }

    #[test]
    fn texts_that_have_little_in_common_are_told_as_a_whole_and_soon() {
        let long = |word: &str| format!("{word} ").repeat(2_000);
        assert!(told(&long("a"), &long("b")).starts_with("-\"a a "));
        assert!(told("ä ö ü", "ä ü").contains("-\"ö \""));
    }
}
