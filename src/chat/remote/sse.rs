//! Server-sent events, from bytes that arrive in any pieces.

/// Cuts bytes into events and gives their data.
#[derive(Debug, Default)]
pub struct Decoder {
    /// Bytes of the line that is not complete yet.
    line: Vec<u8>,
    /// Data lines of the event that is not complete yet.
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return: a line feed right after it belongs to it.
    after_return: bool,
    /// Whether a first line was seen; a byte order mark before it is skipped.
    begun: bool,
}

impl Decoder {
    /// Takes more bytes; gives the data of every event they complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for &byte in bytes {
            let after_return = std::mem::replace(&mut self.after_return, byte == b'\r');
            match byte {
                b'\n' if after_return => {}
                b'\n' | b'\r' => events.extend(self.line_ends()),
                _ => self.line.push(byte),
            }
        }
        events
    }

    /// What an event without its blank line at the end holds, when no more bytes come.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        if !self.line.is_empty() {
            self.line_ends();
        }
        self.data
    }

    /// Takes the complete line in; the data, if the line completes an event.
    fn line_ends(&mut self) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::replace(&mut self.begun, true) && line.starts_with(b"\xef\xbb\xbf") {
            line.drain(..3);
        }
        if line.is_empty() {
            return self.data.take();
        }
        // Other fields and comments (`: keep-alive`) carry nothing that we need.
        let value = line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
        None
    }
}
