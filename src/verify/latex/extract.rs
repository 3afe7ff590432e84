//! Finds the answer in a text, in one pass over each of its marks.
//!
//! In order: the last `\boxed{}` (with the boxes that are joined to it) or a later "final answer
//! is", mathematics between dollars, bold, a choice, the last number of the prose. Nothing is taken
//! from inside a thought. How the answer was marked is told with it: what is not marked is a guess.

use serde::Serialize;

use crate::chat::answer::{box_opening, matching_brace};

/// Most characters between two boxes that belong together.
const GAP_MAX: usize = 70;

/// Most boxes that are joined.
const BOXES_MAX: usize = 32;

/// How much of the end of a text is looked at: thoughts of 32,768 tokens are shorter.
const TEXT_BYTES: usize = 256 << 10;

/// How much of the end of a long text is searched for marks other than boxes.
const TAIL_BYTES: usize = 64 << 10;

/// Words between two boxes that say that the first was not the answer.
const BREAKS: &str = "no not wait but instead wrong actually hmm check so therefore thus hence is was \
    correct rather however let because since then answer final which we";

/// What announces an answer.
const CUES: &[&str] = &[
    "final answer is",
    "final answer:",
    "answer is",
    "answer:",
    "answer is:",
    "**answer**",
    "final answer",
];

/// How an answer was marked, clearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// By a box that is closed.
    Box,
    /// By "the final answer is", before something with a digit or between dollars.
    Announced,
    /// By a box that is never closed.
    OpenBox,
    /// It is the last formula.
    Formula,
    /// It is the last bold text.
    Bold,
    /// It is the letter of a choice.
    Choice,
    /// It is all there is.
    Alone,
    /// Not at all: it is the last number, or all of the prose.
    Nothing,
}

/// The answer that `text` gives, as LaTeX or plain notation. None if there is none.
pub(crate) fn extract(text: &str) -> Option<String> {
    find(text).map(|(_, answer)| answer)
}

/// The answer that `text` gives, and how it is marked.
pub(crate) fn find(text: &str) -> Option<(Mark, String)> {
    let text = solution(last_bytes(text, TEXT_BYTES))?;
    if let Some(found) = marked(text) {
        return Some(found);
    }
    let tail = last_bytes(text, TAIL_BYTES);
    let bold = || bold(tail).map(|answer| (Mark::Bold, answer));
    let found = mathematics(tail).or_else(bold).or_else(|| bare(tail));
    found.filter(|(_, answer)| answer.contains(|c: char| !c.is_whitespace() && c != '$'))
}

/// The answer of a solution that was told to box it: the last closed box, whatever follows; else what
/// [`find`] finds.
pub(crate) fn find_boxed(text: &str) -> Option<(Mark, String)> {
    let text = solution(last_bytes(text, TEXT_BYTES))?;
    let closed = boxed(text, false).map(|(_, answer)| (Mark::Box, answer));
    closed.or_else(|| find(text))
}

/// The answer in the last box or behind the last "final answer is", for solutions that must mark it.
fn marked(text: &str) -> Option<(Mark, String)> {
    let boxes = boxed(text, true);
    let cue = cue(text);
    match (boxes, cue) {
        (Some((at, _)), Some((later, found))) if later > at => Some(found),
        (Some((_, found)), _) => {
            let closed = boxed(text, false).is_some_and(|(_, closed)| closed == found);
            Some((if closed { Mark::Box } else { Mark::OpenBox }, found))
        }
        (None, Some((_, found))) => Some(found),
        (None, None) => None,
    }
}

/// The last closed box of a solution, with the boxes that are joined to it.
pub(crate) fn last_boxes(text: &str) -> Option<String> {
    boxed(last_bytes(text, TEXT_BYTES), false).map(|(_, answer)| answer)
}

/// What stands behind the thought. None if the thought never ends.
fn solution(text: &str) -> Option<&str> {
    for (open, close) in [("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>")] {
        if let Some(at) = text.rfind(close) {
            return Some(&text[at + close.len()..]);
        }
        if text.contains(open) {
            return None;
        }
    }
    Some(text)
}

fn last_bytes(text: &str, bytes: usize) -> &str {
    let mut from = text.len().saturating_sub(bytes);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    &text[from..]
}

/// The last box and those joined to it: where it begins, and the contents between commas.
fn boxed(text: &str, open_ended: bool) -> Option<(usize, String)> {
    let mut found: Vec<(usize, usize, &str)> = Vec::new();
    for (at, _) in text.rmatch_indices("box").take(BOXES_MAX) {
        let Some((begin, open)) = box_opening(text, at) else { continue };
        let Some((content, end)) = closed(text, open, open_ended && found.is_empty()) else {
            continue;
        };
        if content.trim().is_empty() {
            continue;
        }
        if let Some((next, ..)) = found.last() {
            if end > *next {
                // A box around boxes: what is inside was seen.
                continue;
            }
            if !joins(&text[end..*next]) {
                break;
            }
        }
        found.push((begin, end, content));
    }
    let (begin, mut end, _) = *found.first()?;
    let mut contents: Vec<String> = Vec::new();
    for (_, _, content) in found.iter().rev() {
        let content = unboxed(content.trim());
        if !contents.contains(&content) {
            contents.push(content);
        }
    }
    let mut answer = contents.join(", ");
    // `\boxed{28}$ pct`
    while text[end..].starts_with(['$', ' ', ')', '\\', ']']) {
        end += 1;
    }
    if percent_follows(&text[end..]) && !answer.contains('%') {
        answer.push_str(r"\%");
    }
    Some((begin, answer))
}

/// `content` without a box around all of it.
fn unboxed(content: &str) -> String {
    let inner = content.strip_prefix(r"\boxed{").and_then(|rest| rest.strip_suffix('}'));
    inner.unwrap_or(content).trim().to_owned()
}

/// The content of the braces that open at `open`, and where they end. A box that is never closed is
/// taken to the end of the text if `last` says that none follows.
fn closed(text: &str, open: usize, last: bool) -> Option<(&str, usize)> {
    if let Some(end) = matching_brace(text, open) {
        return Some((&text[open + 1..end], end + 1));
    }
    let rest = &text[open + 1..];
    let line = rest.lines().next().unwrap_or_default();
    let short = last && rest.len() <= 400 && rest.trim_end() == line.trim_end();
    short.then(|| (line.trim_end().trim_end_matches(['$', '.']), text.len()))
}

/// Whether two boxes with `gap` between them are one answer.
fn joins(gap: &str) -> bool {
    if gap.len() > GAP_MAX || gap.contains("\n\n") {
        return false;
    }
    let lower = gap.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphabetic())
        .filter(|word| !word.is_empty())
        .collect();
    if words.iter().any(|word| BREAKS.split(' ').any(|said| said == *word)) || lower.contains(". ")
    {
        return false;
    }
    let said: Vec<&str> = words
        .iter()
        .copied()
        .filter(|word| !matches!(*word, "quad" | "qquad" | "text" | "y" | "x"))
        .collect();
    said.is_empty()
        || said.iter().any(|word| matches!(*word, "and" | "or"))
        || (gap.contains(',') && said.len() <= 1)
}

fn percent_follows(text: &str) -> bool {
    let text = text.trim_start_matches(['$', ' ', '\\']);
    text.starts_with('%') || ["percent", "pct"].iter().any(|word| text.starts_with(word))
}

/// What the last cue announces, and where the cue stands.
fn cue(text: &str) -> Option<(usize, (Mark, String))> {
    let tail = last_bytes(text, TAIL_BYTES);
    let lower = tail.to_ascii_lowercase();
    let mut best: Option<(usize, usize)> = None;
    for cue in CUES {
        if let Some(at) = lower.rfind(cue)
            && best.is_none_or(|(end, _)| at + cue.len() > end)
        {
            best = Some((at + cue.len(), at));
        }
    }
    let (end, at) = best?;
    let rest = tail[end..].trim_start_matches(['*', ':', ' ', '\n', '"', '=']);
    let rest = sentence(rest);
    let rest = rest.trim_start_matches("\\(").trim();
    let rest = if tail[end..].contains("\\(") && !rest.starts_with('$') {
        restored(&tail[end..])
    } else {
        rest
    };
    let found = leading(rest)
        .map(|answer| (Mark::Announced, answer))
        .or_else(|| mathematics(rest).filter(|(_, found)| found.len() > 1))
        .or_else(|| bare(rest))?;
    let number = found.1.contains(|letter: char| letter.is_ascii_digit());
    let mark = match found.0 {
        Mark::Alone if number => Mark::Announced,
        Mark::Formula | Mark::Choice => Mark::Announced,
        other => other,
    };
    Some((text.len() - tail.len() + at, (mark, found.1)))
}

fn restored(text: &str) -> &str {
    sentence(text.trim_start_matches(['*', ':', ' ', '\n', '"', '=']))
}

/// Up to where a sentence ends: a full stop before a space, a blank line, "I hope".
fn sentence(text: &str) -> &str {
    let mut end = text.len();
    for stop in [". ", ".\n", "\n\n", "I hope", "<|", "Note:"] {
        if let Some(at) = text.find(stop) {
            end = end.min(at);
        }
    }
    text[..end].trim().trim_end_matches(['*', '"', '.'])
}

/// Mathematics that `text` begins with.
fn leading(text: &str) -> Option<String> {
    let inner = segments(text);
    let first = inner.first()?;
    (first.begin == 0).then(|| joined(text, &inner, 0))
}

/// Something between mathematical delimiters.
#[derive(Debug)]
struct Segment<'a> {
    begin: usize,
    end: usize,
    content: &'a str,
}

/// Everything between `$`, `$$`, `\( \)` and `\[ \]`, and environments that display.
fn segments(text: &str) -> Vec<Segment<'_>> {
    const SEGMENTS_MAX: usize = 4096;
    let mut found = Vec::new();
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() && found.len() < SEGMENTS_MAX {
        let rest = &text[at..];
        let (open, close, display) = match bytes[at] {
            b'\\' if rest.starts_with(r"\\(") => (3, r"\\)", false),
            b'\\' if rest.starts_with(r"\\[") => (3, r"\\]", true),
            b'\\' if rest.starts_with(r"\(") => (2, r"\)", false),
            b'\\' if rest.starts_with(r"\[") => (2, r"\]", true),
            b'\\' => {
                at += 2;
                while !text.is_char_boundary(at.min(text.len())) {
                    at += 1;
                }
                continue;
            }
            b'$' if rest.starts_with("$$") => (2, "$$", true),
            b'$' => (1, "$", false),
            _ => {
                at += 1;
                while !text.is_char_boundary(at) {
                    at += 1;
                }
                continue;
            }
        };
        let begin = at + open;
        let Some(length) = unescaped(&text[begin.min(text.len())..], close) else {
            at = begin;
            continue;
        };
        let content = &text[begin..begin + length];
        let end = begin + length + close.len();
        // TeX in a line does not begin with a line break, and a price is no mathematics.
        let broken = !display && content.trim_start_matches(' ').starts_with('\n');
        let price = open == 1
            && close == "$"
            && length > 40
            && content
                .split_whitespace()
                .filter(|word| word.bytes().all(|b| b.is_ascii_alphabetic()) && word.len() > 2)
                .count()
                > 2;
        if price {
            at = begin;
            continue;
        }
        if !broken && !content.trim().is_empty() {
            found.push(Segment { begin: at, end, content: content.trim() });
        }
        at = end;
    }
    found
}

/// Where `close` stands without a backslash before it.
fn unescaped(text: &str, close: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find(close) {
        let at = from + at;
        let escaped = close.starts_with('$') && text[..at].ends_with('\\');
        if !escaped {
            return Some(at);
        }
        from = at + close.len();
    }
    None
}

/// The last mathematics of the text that is an answer, with what is joined to it.
fn mathematics(text: &str) -> Option<(Mark, String)> {
    let all = segments(text);
    let last = all.last()?;
    let outside = text.len() - all.iter().map(|segment| segment.end - segment.begin).sum::<usize>();
    let behind = text[last.end..].trim();
    // In prose, a number behind the last formula is the answer; a single letter never is.
    let prose = outside > 20 && behind.len() > 3;
    let letter = last.content.bytes().all(|b| b.is_ascii_alphabetic());
    if (prose || letter)
        && let Some(number) = last_number(behind)
    {
        return Some((Mark::Nothing, number));
    }
    let mut first = all.len() - 1;
    while first > 0 && joins(&text[all[first - 1].end..all[first].begin]) {
        let gap = &text[all[first - 1].end..all[first].begin];
        if gap.len() > 20 {
            break;
        }
        first -= 1;
    }
    let mut answer = joined(text, &all, first);
    let unit = behind.split_whitespace().next().unwrap_or_default();
    let unit = unit.trim_matches(['.', ',']);
    if percent_follows(behind) && !answer.contains('%') {
        answer.push_str(r"\%");
    } else if outside < 20 && !unit.is_empty() && unit.bytes().all(|b| b.is_ascii_alphabetic()) {
        answer.push_str(&format!(r"\text{{ {unit}}}"));
    }
    Some((Mark::Formula, answer))
}

/// Segments from `first` to the last, with what stands between them.
fn joined(text: &str, all: &[Segment<'_>], first: usize) -> String {
    let mut answer = String::new();
    for (index, segment) in all.iter().enumerate().skip(first) {
        if index > first {
            let gap = &text[all[index - 1].end..segment.begin];
            if !joins(gap) || gap.len() > 20 {
                break;
            }
            answer.push_str(if gap.contains("or") { r" \text{ or } " } else { ", " });
        }
        answer.push_str(segment.content);
    }
    answer
}

/// `**73**`
fn bold(text: &str) -> Option<String> {
    let close = text.rfind("**")?;
    let open = text[..close].rfind("**")?;
    let content = text[open + 2..close].trim().trim_end_matches(['.', ':']);
    (!content.is_empty() && content.len() < 200 && !content.contains('\n'))
        .then(|| content.to_owned())
}

/// An answer without any mark: the whole text if it is short, else the last number of the prose.
fn bare(text: &str) -> Option<(Mark, String)> {
    let text = text.trim();
    let words = text.split_whitespace().filter(|word| {
        word.chars().filter(|letter| letter.is_alphabetic()).count() > 1
            && word.chars().all(|letter| letter.is_alphabetic() || letter.is_ascii_punctuation())
            && !word.contains(['\\', '^', '_', '{'])
    });
    if words.count() < 3 || text.contains('\\') && text.len() < 200 {
        return Some((Mark::Alone, behind_label(text).to_owned()));
    }
    let choice = last_choice(text).map(|letter| (Mark::Choice, letter));
    let rest = || (Mark::Nothing, last_number(text).unwrap_or_else(|| text.to_owned()));
    Some(choice.unwrap_or_else(rest))
}

/// "… is D." ends with a choice.
fn last_choice(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().rev();
    let last = words.next()?.trim_matches(['(', ')', '.', '*', ':', '"']);
    let said = words.next()?.trim_matches(['(', ')', '.', '*', ':', '"']);
    let letter = last.len() == 1 && last.starts_with(|c: char| ('A'..='H').contains(&c));
    let announced = matches!(said, "is" | "option" | "choice" | "answer" | "Option" | "Answer");
    (letter && announced).then(|| last.to_owned())
}

/// "Answer: 5" says 5.
fn behind_label(text: &str) -> &str {
    match text.split_once(':') {
        Some((label, rest))
            if label.trim().chars().count() > 2
                && label.trim().chars().all(|c| c.is_alphabetic() || c == ' ')
                && !rest.trim().is_empty() =>
        {
            rest.trim()
        }
        Some(_) | None => text,
    }
}

/// The last number that stands on its own in prose, with a fraction bar or a percent sign.
fn last_number(text: &str) -> Option<String> {
    const NUMBER_BYTES_MAX: usize = 200;
    let bytes = text.as_bytes();
    let mut end = bytes.len();
    while end > 0 {
        if !bytes[end - 1].is_ascii_digit() {
            end -= 1;
            continue;
        }
        let mut begin = end;
        while begin > 0
            && end - begin < NUMBER_BYTES_MAX
            && matches!(bytes[begin - 1], b'0'..=b'9' | b'.' | b',' | b'/')
        {
            begin -= 1;
        }
        let word = text[begin..end].trim_start_matches(['.', ',', '/']);
        let begin = end - word.len();
        let before = text[..begin].chars().next_back();
        let negative = before == Some('-')
            && text[..begin - 1].chars().next_back().is_none_or(|c| c.is_whitespace() || c == '=');
        let attached = before.is_some_and(|c| c.is_alphabetic() || matches!(c, '_' | '^' | '\\'));
        if attached || word.is_empty() {
            end = begin;
            continue;
        }
        let after = text[end..].trim_start_matches([' ', '\\']);
        let percent = if after.starts_with('%') || percent_follows(after) { r"\%" } else { "" };
        let sign = if negative { "-" } else { "" };
        return Some(format!("{sign}{word}{percent}"));
    }
    None
}
