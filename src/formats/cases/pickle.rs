//! Reads a pickle that holds one text, and nothing else.
//!
//! A pickle is a program: most of its instructions build objects or call what they name. Only those that
//! Python writes for a text are known here; anything else is refused, and nothing is ever called.

/// The text in `bytes`.
///
/// # Errors
/// If there is anything else in it.
pub(super) fn text(bytes: &[u8]) -> Result<&str, String> {
    let mut reader = Reader { bytes, at: 0 };
    let mut found = None;
    loop {
        match reader.byte()? {
            // Protocol; frame; memo entries of one and four bytes, and without an index.
            0x80 | b'q' => reader.skip(1)?,
            0x95 => reader.skip(8)?,
            b'r' => reader.skip(4)?,
            0x94 => {}
            code @ (0x8c | b'X' | 0x8d) => {
                let length = reader.length(match code {
                    0x8c => 1,
                    b'X' => 4,
                    _ => 8,
                })?;
                let text = std::str::from_utf8(reader.take(length)?)
                    .map_err(|_| "the pickle's text is not UTF-8".to_owned())?;
                if found.replace(text).is_some() {
                    return Err("the pickle holds more than one text; refused".into());
                }
            }
            b'.' => return found.ok_or_else(|| "the pickle holds nothing".into()),
            code => {
                return Err(format!(
                    "the pickle holds more than text (instruction {code:#04x}); refused"
                ));
            }
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or("the pickle ends early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn skip(&mut self, length: usize) -> Result<(), String> {
        self.take(length).map(|_| ())
    }

    /// A length in so many bytes, the lowest first.
    fn length(&mut self, bytes: usize) -> Result<usize, String> {
        let length = self.take(bytes)?.iter().rev();
        let length = length.fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
        usize::try_from(length).map_err(|_| "the pickle ends early".into())
    }
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn the_text_of_every_protocol_is_read() {
        // `pickle.dumps("hé", protocol)` of Python, protocols 2 to 5.
        for bytes in [
            &b"\x80\x02X\x03\x00\x00\x00h\xc3\xa9q\x00."[..],
            b"\x80\x03X\x03\x00\x00\x00h\xc3\xa9q\x00.",
            b"\x80\x04\x95\x07\x00\x00\x00\x00\x00\x00\x00\x8c\x03h\xc3\xa9\x94.",
            b"\x80\x05\x95\x07\x00\x00\x00\x00\x00\x00\x00\x8c\x03h\xc3\xa9\x94.",
            b"\x80\x04\x8d\x03\x00\x00\x00\x00\x00\x00\x00h\xc3\xa9\x94.",
        ] {
            assert_eq!(text(bytes).unwrap(), "h\u{e9}");
        }
    }

    #[test]
    fn whatever_calls_or_builds_is_refused() {
        // `os.system("id")` in protocols 0, 2 and 4, a list, a number, two texts, nothing.
        for (bytes, why) in [
            (&b"cos\nsystem\n(S'id'\ntR."[..], "refused"),
            (b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.", "refused"),
            (
                b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x02id\x94\x85\x94R\x94.",
                "more than one",
            ),
            (b"\x80\x04]\x94.", "0x5d"),
            (b"\x80\x04K\x01.", "0x4b"),
            (b"\x80\x04.", "nothing"),
            (b"\x80\x04\x8c\xffab", "ends early"),
            (b"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\xffab", "ends early"),
            (b"\x80\x04\x8c\x01\xff\x94.", "UTF-8"),
            (b"", "ends early"),
        ] {
            let error = text(bytes).unwrap_err();
            assert!(error.contains(why), "{bytes:?}: {error}");
        }
    }
}
