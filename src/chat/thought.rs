//! Takes an answer apart into thought and solution, whole or while it is being written.
//!
//! Two notations: OpenThoughts' tags, which are plain text to the tokenizer, and DeepSeek's
//! `<think>`. Blanks next to a tag belong to the notation and are dropped; nothing else is changed.
//! A thought that is never closed is all thought.

/// Opens the thought in OpenThoughts' notation.
pub const BEGIN_OF_THOUGHT: &str = "<|begin_of_thought|>";

/// Closes it.
pub const END_OF_THOUGHT: &str = "<|end_of_thought|>";

/// Opens the solution in OpenThoughts' notation.
pub const BEGIN_OF_SOLUTION: &str = "<|begin_of_solution|>";

/// Closes it.
pub const END_OF_SOLUTION: &str = "<|end_of_solution|>";

const THINK: &str = "<think>";

const END_THINK: &str = "</think>";

/// A piece of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    /// Belongs to the thought.
    Thought(String),
    /// Belongs to the solution.
    Solution(String),
}

/// Thought and solution of a whole answer, without tags.
pub fn split(text: &str) -> (String, String) {
    // Servers that put `<think>` into the prompt send only its end.
    if !text.trim_start().starts_with(THINK)
        && !text.contains(BEGIN_OF_THOUGHT)
        && let Some((thought, solution)) = text.split_once(END_THINK)
    {
        return (thought.trim().to_owned(), solution.trim().to_owned());
    }
    let mut splitter = Splitter::default();
    let mut parts = splitter.push(text);
    parts.extend(splitter.finish());
    joined(parts)
}

/// What stands behind the thought that `text` begins with, or all of it if there is none. None if the
/// thought never ends. Tags inside of lines count only where a thought has begun: a program may print
/// them.
pub fn behind(text: &str) -> Option<&str> {
    for (open, close) in [(THINK, END_THINK), (BEGIN_OF_THOUGHT, END_OF_THOUGHT)] {
        if let Some(inside) = text.trim_start().strip_prefix(open) {
            return inside.split_once(close).map(|(_, rest)| rest);
        }
    }
    // Servers that put the beginning into the prompt send only the end.
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        at += line.len();
        if [END_THINK, END_OF_THOUGHT].contains(&line.trim()) {
            return Some(&text[at..]);
        }
    }
    Some(text)
}

/// All thought and all solution of `parts`.
pub fn joined(parts: impl IntoIterator<Item = Part>) -> (String, String) {
    let (mut thought, mut solution) = (String::new(), String::new());
    for part in parts {
        match part {
            Part::Thought(text) => thought += &text,
            Part::Solution(text) => solution += &text,
        }
    }
    (thought, solution)
}

/// Takes an answer apart while it is being written.
#[derive(Debug, Default, Clone)]
pub struct Splitter {
    state: State,
    /// Text that may still become a tag or the blank before one.
    held: String,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing but blanks so far.
    #[default]
    Start,
    /// In the thought; the text that begins it is still to come.
    ThoughtBegins,
    Thought,
    /// After a tag and before the first word of the solution.
    SolutionBegins,
    Solution,
    /// In a text without tags.
    Plain,
}

impl State {
    /// The tags that mean something here, each with what follows it.
    fn tags(self) -> &'static [(&'static str, Self)] {
        match self {
            Self::Start => &[
                (BEGIN_OF_THOUGHT, Self::ThoughtBegins),
                (THINK, Self::ThoughtBegins),
                (BEGIN_OF_SOLUTION, Self::SolutionBegins),
            ],
            Self::ThoughtBegins | Self::Thought => &[
                (END_OF_THOUGHT, Self::SolutionBegins),
                (END_THINK, Self::SolutionBegins),
                (BEGIN_OF_SOLUTION, Self::SolutionBegins),
            ],
            Self::SolutionBegins | Self::Solution => {
                &[(BEGIN_OF_SOLUTION, Self::SolutionBegins), (END_OF_SOLUTION, Self::Solution)]
            }
            Self::Plain => &[],
        }
    }

    /// Where text leads; blanks at a beginning lead nowhere.
    fn with_text(self) -> Self {
        match self {
            Self::Start => Self::Plain,
            Self::ThoughtBegins => Self::Thought,
            Self::SolutionBegins => Self::Solution,
            Self::Thought | Self::Solution | Self::Plain => self,
        }
    }

    fn begins(self) -> bool {
        self.with_text() != self
    }
}

impl Splitter {
    /// One for an answer whose prompt ends with `<think>`, if it does.
    pub fn opened(in_thought: bool) -> Self {
        let state = if in_thought { State::ThoughtBegins } else { State::Start };
        Self { state, held: String::new() }
    }

    /// One for an answer that goes on after `text`, which is its own beginning.
    pub fn after(text: &str) -> Self {
        let mut splitter = Self::default();
        splitter.push(text);
        // Blanks at its end were sent by whoever wrote it.
        splitter.held.clear();
        splitter
    }

    /// Takes more text and gives what is certain now.
    pub fn push(&mut self, text: &str) -> Vec<Part> {
        self.held += text;
        let mut parts = Vec::new();
        while let Some((at, length, next)) = self.first_tag() {
            let before = self.held[..at].trim_end().to_owned();
            self.give(&before, &mut parts);
            // Words before the first tag: this text has no thought, and the tag is text.
            if self.state == State::Plain {
                self.held.drain(..before.len());
                break;
            }
            self.held.drain(..at + length);
            self.state = next;
        }
        let certain = self.certain();
        let ready: String = self.held.drain(..certain).collect();
        self.give(&ready, &mut parts);
        parts
    }

    /// What is left when no more text comes.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let held = std::mem::take(&mut self.held);
        let rest = if self.state == State::Plain { held.as_str() } else { held.trim_end() };
        self.give(rest, &mut parts);
        parts
    }

    /// The leftmost tag: where it is, how long, and what follows.
    fn first_tag(&self) -> Option<(usize, usize, State)> {
        let tags = self.state.tags().iter();
        tags.filter_map(|(tag, next)| self.held.find(tag).map(|at| (at, tag.len(), *next)))
            .min_by_key(|(at, _, _)| *at)
    }

    /// How much of the held text can be neither a part of a tag nor the blank before one.
    fn certain(&self) -> usize {
        let tags = self.state.tags();
        if tags.is_empty() {
            return self.held.len();
        }
        let longest = tags.iter().map(|(tag, _)| tag.len()).max().unwrap_or(0);
        let from = self.held.len().saturating_sub(longest - 1);
        let open = (from..self.held.len())
            .filter(|at| self.held.is_char_boundary(*at))
            .find(|at| tags.iter().any(|(tag, _)| tag.starts_with(&self.held[*at..])))
            .unwrap_or(self.held.len());
        self.held[..open].trim_end().len()
    }

    /// Adds `text` to the parts, as what it belongs to.
    fn give(&mut self, text: &str, parts: &mut Vec<Part>) {
        let text = if self.state.begins() && self.state != State::Start {
            text.trim_start()
        } else {
            text
        };
        if text.trim().is_empty() && self.state.begins() || text.is_empty() {
            return;
        }
        self.state = self.state.with_text();
        parts.push(match self.state {
            State::ThoughtBegins | State::Thought => Part::Thought(text.into()),
            State::Start | State::SolutionBegins | State::Solution | State::Plain => {
                Part::Solution(text.into())
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Splitter, behind, joined, split};

    #[track_caller]
    fn check(text: &str, thought: &str, solution: &str) {
        assert_eq!(split(text), (thought.into(), solution.into()), "{text:?}");
    }

    #[test]
    fn openthoughts_tags_are_understood() {
        check(
            "<|begin_of_thought|>\n\na  b\n\nc\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n\
             <|end_of_solution|>",
            "a  b\n\nc",
            "4",
        );
    }

    #[test]
    fn deepseeks_tags_are_understood() {
        check("<think>\nhm\n</think>\n\nIt is 4.", "hm", "It is 4.");
        check("hm\n</think>\n\nIt is 4.", "hm", "It is 4.");
        check("<think>\n\n</think>\n\n4", "", "4");
    }

    #[test]
    fn what_stands_behind_the_thought_is_found_without_copying() {
        for (text, expected) in [
            ("plain", Some("plain")),
            (" <think>\nhm\n</think>\nNo.", Some("\nNo.")),
            ("<think>hm", None),
            ("hm\n</think>\n4", Some("4")),
            ("<|begin_of_thought|>a<|end_of_thought|>b", Some("b")),
            ("<|begin_of_thought|>a\n</think>\nb<|end_of_thought|>c", Some("c")),
            ("print('</think>')\nprint('<think>')", Some("print('</think>')\nprint('<think>')")),
        ] {
            assert_eq!(behind(text), expected, "{text}");
        }
    }

    #[test]
    fn a_thought_that_is_never_closed_is_all_thought() {
        check("<|begin_of_thought|>\n\nlet me see <|end", "let me see <|end", "");
        check("<think>hm", "hm", "");
    }

    #[test]
    fn a_solution_may_lack_its_end_and_a_thought_its_close() {
        check("<|begin_of_thought|> a <|begin_of_solution|> b", "a", "b");
        check("<|begin_of_solution|>b", "", "b");
    }

    #[test]
    fn text_without_tags_stays_as_it_is() {
        check("  plain <think> text \n", "", "  plain <think> text \n");
        check("", "", "");
        check("a < b", "", "a < b");
    }

    proptest! {
        #[test]
        fn any_cut_gives_the_same(
            pieces in proptest::collection::vec(
                prop_oneof![
                    Just("<|begin_of_thought|>"), Just("<|end_of_thought|>"), Just("\n\n"),
                    Just("<|begin_of_solution|>"), Just("<|end_of_solution|>"), Just("<think>"),
                    Just("</thi"), Just("naïve"), Just(" "), Just("x < y"), Just("<|"),
                ],
                0..12,
            ),
            cut in 1_usize..9,
        ) {
            let text = pieces.concat();
            let mut whole = Splitter::default();
            let mut expected = whole.push(&text);
            expected.extend(whole.finish());
            let mut splitter = Splitter::default();
            let mut parts = Vec::new();
            let characters: Vec<char> = text.chars().collect();
            for chunk in characters.chunks(cut) {
                parts.extend(splitter.push(&chunk.iter().collect::<String>()));
            }
            parts.extend(splitter.finish());
            prop_assert_eq!(joined(parts), joined(expected));
        }
    }
}
