//! Tests of the tokenizer.

use proptest::prelude::*;

use super::{
    ChatFiles, Detokenizer, END_OF_TEXT, IM_END, IM_START, SPECIALS, Tokenizer, Vocabulary,
};

const WORDS: [&str; 2] = ["<|begin_of_thought|>", "<|end_of_thought|>"];

fn texts() -> Vec<String> {
    (0..400).map(|i| format!("What is {i} + {}? The sum of both is {}.", i * 7, i * 8)).collect()
}

fn small() -> Tokenizer {
    let vocabulary = Vocabulary { size: 400, specials: &SPECIALS, words: &WORDS };
    Tokenizer::train(texts().into_iter(), &vocabulary).unwrap()
}

fn files() -> ChatFiles<'static> {
    ChatFiles { template: "{{ messages }}", eos: IM_END, context: 512 }
}

#[test]
fn special_tokens_typed_by_a_user_stay_text() {
    let tokenizer = small();
    let text = "stop <|im_end|> here";
    let ids = tokenizer.encode(text).unwrap();
    assert!(!ids.contains(&tokenizer.id(IM_END).unwrap()), "{ids:?}");
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), text);
    let defused = tokenizer.encode_template(&tokenizer.defuse(text)).unwrap();
    assert_eq!(defused, ids);
}

#[test]
fn special_tokens_of_a_template_are_special() {
    let tokenizer = small();
    let ids = tokenizer.encode_template("<|im_start|>user\nWhat<|im_end|>").unwrap();
    assert_eq!(ids.first(), tokenizer.id(IM_START).as_ref());
    assert_eq!(ids.last(), tokenizer.id(IM_END).as_ref());
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "user\nWhat");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), "<|im_start|>user\nWhat<|im_end|>");
}

#[test]
fn digits_are_tokens_of_their_own_and_words_stay_whole() {
    let tokenizer = small();
    assert_eq!(tokenizer.encode("12345").unwrap().len(), 5);
    assert_eq!(tokenizer.encode("<|begin_of_thought|>").unwrap().len(), 1);
    assert_eq!(tokenizer.id(END_OF_TEXT), Some(0));
    assert!(tokenizer.vocabulary() <= 400, "{}", tokenizer.vocabulary());
    let ids = tokenizer.encode("a<|begin_of_thought|>b").unwrap();
    assert_eq!(tokenizer.decode(&ids, false).unwrap(), "a<|begin_of_thought|>b");
}

#[test]
fn the_same_texts_give_the_same_file_in_any_order() {
    let save = |texts: Vec<String>| {
        let dir = tempfile::tempdir().unwrap();
        let vocabulary = Vocabulary { size: 400, specials: &SPECIALS, words: &WORDS };
        let tokenizer = Tokenizer::train(texts.into_iter(), &vocabulary).unwrap();
        tokenizer.save(dir.path(), &files()).unwrap();
        std::fs::read(dir.path().join("tokenizer.json")).unwrap()
    };
    let backwards = texts().into_iter().rev().collect();
    assert_eq!(save(texts()), save(backwards));
}

#[test]
fn a_saved_tokenizer_opens_again_and_agrees() {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = small();
    tokenizer.save(dir.path(), &files()).unwrap();
    let opened = Tokenizer::open(dir.path()).unwrap();
    let text = "What is 12 + 7? naïve 😀 <|im_end|>\n\n<|end_of_thought|>";
    assert_eq!(opened.encode(text).unwrap(), tokenizer.encode(text).unwrap());
    assert_eq!(opened.encode_template(text).unwrap(), tokenizer.encode_template(text).unwrap());
}

#[test]
fn a_vocabulary_without_room_for_the_bytes_is_refused() {
    let vocabulary = Vocabulary { size: 100, specials: &SPECIALS, words: &[] };
    let error = Tokenizer::train(["a"].into_iter(), &vocabulary).err().unwrap();
    assert!(error.to_string().contains("bytes and special tokens alone are 259"), "{error}");
}

#[test]
fn a_folder_without_tokenizer_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::open(dir.path()).err().unwrap();
    assert!(crate::hint::of(&error).unwrap().contains("tokenizer.json"), "{error}");
}

fn streamed(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = Detokenizer::default();
    let mut text = String::new();
    for id in ids {
        text += &stream.push(tokenizer, *id).unwrap();
    }
    text + &stream.finish(tokenizer).unwrap()
}

#[test]
fn a_character_over_several_tokens_comes_out_whole() {
    let tokenizer = small();
    let ids = tokenizer.encode("a😀").unwrap();
    assert_eq!(ids.len(), 5, "the emoji is four bytes");
    let mut stream = Detokenizer::default();
    let pieces: Vec<String> = ids.iter().map(|id| stream.push(&tokenizer, *id).unwrap()).collect();
    assert_eq!(pieces, ["a", "", "", "", "😀"]);
    assert_eq!(streamed(&tokenizer, &ids[..3]), tokenizer.decode(&ids[..3], false).unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn text_survives_encoding(text in "\\PC{0,40}") {
        // Qwen's rules compose characters (NFC); ask for text that is composed already.
        let tokenizer = small();
        let once = tokenizer.decode(&tokenizer.encode(&text).unwrap(), false).unwrap();
        let twice = tokenizer.decode(&tokenizer.encode(&once).unwrap(), false).unwrap();
        prop_assert_eq!(once, twice);
    }

    #[test]
    fn a_stream_is_the_whole(ids in proptest::collection::vec(3_u32..380, 0..60)) {
        let tokenizer = small();
        let ids: Vec<u32> =
            ids.into_iter().filter(|id| (*id as usize) < tokenizer.vocabulary()).collect();
        prop_assert_eq!(streamed(&tokenizer, &ids), tokenizer.decode(&ids, false).unwrap());
    }
}
