//! The bytes of single tokens: a character may be spread over several, so a token alone need not be
//! text.

use tokenizers::DecoderWrapper;

use super::Tokenizer;

impl Tokenizer {
    /// The bytes that token `id` stands for; special tokens stand for their names. Empty for ids
    /// that are no tokens.
    pub fn bytes(&self, id: u32) -> Vec<u8> {
        let Some(token) = self.inner.id_to_token(id) else { return Vec::new() };
        if self.inner.get_added_vocabulary().is_special_token(&token)
            || self.inner.get_added_tokens_decoder().contains_key(&id)
        {
            return token.into_bytes();
        }
        if self.is_byte_level()
            && let Some(bytes) = token.chars().map(byte).collect()
        {
            return bytes;
        }
        if let Some(byte) = fallback(&token) {
            return vec![byte];
        }
        self.decode(&[id], true).unwrap_or_default().into_bytes()
    }

    /// Whether the bytes of `ids` end in the middle of a character.
    pub(super) fn is_cut(&self, ids: &[u32]) -> bool {
        let mut bytes: Vec<u8> = ids.iter().flat_map(|id| self.bytes(*id)).collect();
        while let Err(error) = std::str::from_utf8(&bytes) {
            let Some(length) = error.error_len() else { return true };
            bytes.drain(..error.valid_up_to() + length);
        }
        false
    }

    fn is_byte_level(&self) -> bool {
        matches!(self.inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_)))
    }
}

/// The byte that a character of a byte-level vocabulary stands for: GPT-2's table writes printable
/// bytes as themselves and the others as 256 and following, in their order.
fn byte(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7E | 0xA1..=0xAC | 0xAE..=0xFF => u8::try_from(code).ok(),
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7F).ok(),
        0x143 => Some(0xAD),
        _ => None,
    }
}

/// The byte of a token like `<0xE2>`, as SentencePiece writes bytes that it has no token for.
fn fallback(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    u8::from_str_radix(digits, 16).ok().filter(|_| digits.len() == 2)
}

#[cfg(test)]
mod tests {
    use tokenizers::pre_tokenizers::byte_level::ByteLevel;

    use super::{byte, fallback};
    use crate::chat::tokenizer::{SPECIALS, Tokenizer, Vocabulary};

    #[test]
    fn every_byte_has_one_character() {
        let mut bytes: Vec<u8> =
            ByteLevel::alphabet().into_iter().map(|character| byte(character).unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>());
        assert_eq!((byte(' '), byte('Ġ'), byte('Ċ')), (None, Some(b' '), Some(b'\n')));
    }

    #[test]
    fn the_bytes_of_the_tokens_are_the_bytes_of_the_text() {
        let vocabulary = Vocabulary { size: 320, specials: &SPECIALS, words: &["~é~"] };
        let tokenizer =
            Tokenizer::train(["naïve text"].iter().cycle().take(9), &vocabulary).unwrap();
        let text = "naïve 😀 text ~é~\n\u{7f}";
        let ids = tokenizer.encode(text).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes(*id)).collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), text);
        let end = tokenizer.id("<|im_end|>").unwrap();
        assert_eq!(tokenizer.bytes(end), b"<|im_end|>");
        assert!(tokenizer.bytes(9_999).is_empty());
    }

    #[test]
    fn bytes_without_a_token_are_read() {
        assert_eq!(fallback("<0xE2>"), Some(0xE2));
        assert_eq!(fallback("<0xE>"), None);
        assert_eq!(fallback("<unk>"), None);
    }
}
