//! Finds the answer in a model's text: the last `\boxed{}`, the last fenced code block.
//!
//! Decides nothing about it; comparing is `verify`'s job. One pass, no backtracking: a megabyte of
//! garbage costs a millisecond.

/// How many boxes are looked at from the end: a text of nothing but unclosed boxes stays linear.
const BOXES_MAX: usize = 32;

/// Longest answer that is looked for in a box, as long as the math engine reads: no reference answer
/// of OpenThoughts comes near.
const BOX_BYTES_MAX: usize = 16_384;

/// The content of the last `\boxed{…}` (or `\fbox{…}`) whose braces balance, trimmed. An empty or
/// unclosed box is no answer.
pub fn last_boxed(text: &str) -> Option<&str> {
    let opens = text.rmatch_indices("box").filter_map(|(at, _)| box_opening(text, at));
    opens.take(BOXES_MAX).find_map(|(_, open)| {
        let content = text[open + 1..matching_brace(text, open)?].trim();
        (!content.is_empty()).then_some(content)
    })
}

/// Where the box begins and where its brace opens, if `\boxed` or `\fbox` stands around the `box`
/// at `at`.
pub fn box_opening(text: &str, at: usize) -> Option<(usize, usize)> {
    let (before, after) = text.split_at(at);
    let (begin, rest) = if before.ends_with(r"\f") {
        (at - 2, after.strip_prefix("box")?)
    } else if before.ends_with('\\') {
        (at - 1, after.strip_prefix("boxed")?)
    } else {
        return None;
    };
    let rest = rest.trim_start();
    rest.starts_with('{').then(|| (begin, text.len() - rest.len()))
}

/// The brace that closes the one at `open`, if it does within the length of an answer; escaped
/// braces do not count.
pub fn matching_brace(text: &str, open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut escaped = false;
    for (offset, byte) in text.as_bytes()[open..].iter().take(BOX_BYTES_MAX).enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(open + offset);
                }
            }
            _ => {}
        }
    }
    None
}

/// The content of the last fenced code block. A block opens with a line of at least three backticks
/// (or tildes) and an optional language, and closes with a line of at least as many. A block that
/// is never closed is taken to the end of the text, unless an earlier one was closed.
pub fn last_code_block(text: &str) -> Option<&str> {
    let mut closed = None;
    let mut open: Option<(&str, usize)> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let fence = fence(line);
        match (open, fence) {
            (Some((mark, start)), Some(found))
                if found.starts_with(mark) && line.trim() == found =>
            {
                closed = Some(&text[start..at]);
                open = None;
            }
            (None, Some(mark)) => open = Some((mark, at + line.len())),
            (Some(_) | None, _) => {}
        }
        at += line.len();
    }
    let unclosed = open.map(|(_, start)| &text[start..]);
    closed.or(unclosed).filter(|code| !code.trim().is_empty())
}

/// The backticks or tildes that `line` begins with, if they make a fence.
fn fence(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let length = line.len() - line.trim_start_matches(mark).len();
    let rest = line[length..].trim();
    // Inline code on a line of its own (```x```) opens nothing.
    (length >= 3 && !rest.contains('`')).then(|| &line[..length])
}

#[cfg(test)]
mod tests;
