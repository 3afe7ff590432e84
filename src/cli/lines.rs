//! Lines of standard input: short ones as a whole, long ones as a stream, so that a line of a million
//! tests need not be in memory.

use std::io::{BufRead, Error, ErrorKind, Read};

/// Longest line that is read: OpenThoughts' largest tests are about 5 MB.
pub(super) const LINE_BYTES_MAX: u64 = 256 << 20;

/// Longest line that is read as a whole.
const WHOLE_BYTES_MAX: usize = 1 << 20;

/// Lines of an input.
pub(super) struct Lines<'a> {
    input: &'a mut dyn BufRead,
    /// Whether the end of the last line has not been reached.
    within: bool,
}

/// One line.
pub(super) enum Line<'a, 'b> {
    /// All of it.
    Whole(Vec<u8>),
    /// What is left of it comes when it is read.
    Long(Long<'a, 'b>),
}

/// A line that is read as it comes.
pub(super) struct Long<'a, 'b> {
    lines: &'a mut Lines<'b>,
    /// Its beginning.
    head: Vec<u8>,
    /// What was handed out of it.
    given: usize,
    bytes: u64,
}

impl<'b> Lines<'b> {
    pub(super) fn new(input: &'b mut dyn BufRead) -> Self {
        Self { input, within: false }
    }

    /// The next line; none at the end.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Line<'_, 'b>>> {
        self.skip()?;
        let mut line = Vec::new();
        self.within = true;
        while self.within && line.len() <= WHOLE_BYTES_MAX {
            let (buffer, ends) = self.more()?;
            line.extend_from_slice(buffer);
            let taken = buffer.len() + usize::from(ends);
            self.within = !ends && taken > 0;
            self.input.consume(taken);
            if ends {
                return Ok(Some(Line::Whole(line)));
            }
        }
        Ok(match (self.within, line.is_empty()) {
            (false, true) => None,
            (false, false) => Some(Line::Whole(line)),
            (true, _) => {
                let bytes = line.len() as u64;
                Some(Line::Long(Long { lines: self, head: line, given: 0, bytes }))
            }
        })
    }

    /// What is there up to the end of the line, and whether that is it.
    fn more(&mut self) -> std::io::Result<(&[u8], bool)> {
        let buffer = self.input.fill_buf()?;
        let newline = buffer.iter().position(|byte| *byte == b'\n');
        Ok((&buffer[..newline.unwrap_or(buffer.len())], newline.is_some()))
    }

    /// Passes over what is left of a line; gives how much that was.
    fn skip(&mut self) -> std::io::Result<u64> {
        let mut skipped = 0;
        while self.within {
            let (buffer, ends) = self.more()?;
            let length = buffer.len();
            skipped += length as u64;
            self.within = !ends && length > 0;
            self.input.consume(length + usize::from(ends));
        }
        Ok(skipped)
    }
}

impl Long<'_, '_> {
    /// Its beginning, to look for an id in.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// How many bytes it has, if they are more than are read; what was not read is passed over.
    pub(super) fn too_long(&mut self) -> std::io::Result<Option<u64>> {
        self.bytes += self.lines.skip()?;
        Ok((self.bytes > LINE_BYTES_MAX).then_some(self.bytes))
    }
}

impl Read for Long<'_, '_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.given < self.head.len() {
            let taken = into.len().min(self.head.len() - self.given);
            into[..taken].copy_from_slice(&self.head[self.given..self.given + taken]);
            self.given += taken;
            return Ok(taken);
        }
        if !self.lines.within {
            return Ok(0);
        }
        let (buffer, ends) = self.lines.more()?;
        let taken = buffer.len().min(into.len());
        into[..taken].copy_from_slice(&buffer[..taken]);
        let last = taken == buffer.len();
        let empty = buffer.is_empty();
        self.lines.within = if ends { !last } else { !empty };
        self.lines.input.consume(taken + usize::from(ends && last));
        self.bytes += taken as u64;
        if self.bytes > LINE_BYTES_MAX {
            return Err(Error::new(ErrorKind::FileTooLarge, "the line is too long"));
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufReader, Read};

    use super::{Line, Lines, WHOLE_BYTES_MAX};

    #[test]
    fn lines_come_whole_or_as_a_stream_and_none_is_lost() {
        let long = "x".repeat(WHOLE_BYTES_MAX + 10_000);
        let text = format!("a\n\n{long}\nb\n{long}\n{long}");
        let mut input = BufReader::with_capacity(4_096, text.as_bytes());
        let mut lines = Lines::new(&mut input);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            match line {
                Line::Whole(line) => seen.push(line.len()),
                Line::Long(mut line) => {
                    // The middle one is left half-read.
                    let some = seen.len() != 4;
                    let mut all = vec![0; if some { 0 } else { 10 }];
                    if some {
                        line.read_to_end(&mut all).unwrap();
                        assert!(all.iter().all(|byte| *byte == b'x'));
                    } else {
                        line.read_exact(&mut all).unwrap();
                    }
                    assert_eq!(line.too_long().unwrap(), None);
                    seen.push(all.len());
                }
            }
        }
        assert_eq!(seen, [1, 0, long.len(), 1, 10, long.len()]);
    }
}
