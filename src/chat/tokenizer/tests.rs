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
    assert_eq!(streamed(&tokenizer, &ids[..3]), "a", "half a character is no text");
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
    fn a_stream_is_the_whole_without_a_character_cut_in_two_at_its_end(ids in proptest::collection::vec(3_u32..380, 0..60)) {
        let tokenizer = small();
        let ids: Vec<u32> =
            ids.into_iter().filter(|id| (*id as usize) < tokenizer.vocabulary()).collect();
        let whole = tokenizer.decode(&ids, false).unwrap();
        let bytes: Vec<u8> = ids.iter().flat_map(|id| tokenizer.bytes(*id)).collect();
        let last = bytes.utf8_chunks().last();
        // A chunk's invalid end is cut, not wrong, if more bytes could have made it a character.
        let is_cut = last.is_some_and(|last| {
            let end = std::str::from_utf8(last.invalid());
            end.is_err_and(|error| error.error_len().is_none())
        });
        let text = if is_cut { whole.strip_suffix('\u{FFFD}').unwrap() } else { &whole };
        prop_assert_eq!(streamed(&tokenizer, &ids), text);
    }
}

/// The tokenizer of `small` as files of the old kind: `vocab.json`, `merges.txt` and neighbours.
fn old_files(dir: &std::path::Path) {
    small().save(dir, &files()).unwrap();
    let text = std::fs::read(dir.join("tokenizer.json")).unwrap();
    std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut vocab = json["model"]["vocab"].clone();
    for token in SPECIALS {
        vocab.as_object_mut().unwrap().remove(token);
    }
    std::fs::write(dir.join("vocab.json"), vocab.to_string()).unwrap();
    let pair = |pair: &serde_json::Value| match pair.as_str() {
        Some(pair) => format!("{pair}\n"),
        None => format!("{} {}\n", pair[0].as_str().unwrap(), pair[1].as_str().unwrap()),
    };
    let merges = json["model"]["merges"].as_array().unwrap();
    let merges: String = merges.iter().map(pair).collect();
    std::fs::write(dir.join("merges.txt"), format!("#version: 0.2\n{merges}")).unwrap();
    let config = std::fs::read_to_string(dir.join("tokenizer_config.json")).unwrap();
    let config = config.replace("PreTrainedTokenizerFast", "Qwen2TokenizerFast");
    std::fs::write(dir.join("tokenizer_config.json"), config).unwrap();
}

const TEXTS: [&str; 6] = [
    "What is 12345 + 7? It's  naïve\r\n\n 😀e\u{301} 漢字",
    "a <|im_end|> b <|im_start|><|begin_of_thought|>x",
    "<|im_start|>user\nHi<|im_end|>\n",
    " leading and trailing  ",
    "I'LL we've don'T",
    "",
];

#[track_caller]
fn check_same(left: &Tokenizer, right: &Tokenizer) {
    for text in TEXTS {
        assert_eq!(left.encode(text).unwrap(), right.encode(text).unwrap(), "{text:?}");
        let ids = left.encode_template(text).unwrap();
        assert_eq!(ids, right.encode_template(text).unwrap(), "{text:?}");
        for specials in [false, true] {
            let texts = (left.decode(&ids, specials), right.decode(&ids, specials));
            assert_eq!(texts.0.unwrap(), texts.1.unwrap(), "{text:?}");
        }
    }
}

#[test]
fn a_vocabulary_and_merges_are_the_same_tokenizer() {
    let dir = tempfile::tempdir().unwrap();
    old_files(dir.path());
    check_same(&Tokenizer::open(dir.path()).unwrap(), &small());
    // Older still: no list in the configuration, and a map that says which are special.
    let ids = |token: &&str| ((*token).to_owned(), small().id(token).unwrap().into());
    let added: serde_json::Map<String, serde_json::Value> =
        SPECIALS.iter().chain(&WORDS).map(ids).collect();
    let write = |name: &str, json: serde_json::Value| {
        std::fs::write(dir.path().join(name), json.to_string()).unwrap();
    };
    write("added_tokens.json", added.into());
    write("tokenizer_config.json", serde_json::json!({ "tokenizer_class": "Qwen2Tokenizer" }));
    let specials = [IM_START, IM_END];
    let map = serde_json::json!({
        "eos_token": { "content": END_OF_TEXT }, "additional_special_tokens": specials,
    });
    write("special_tokens_map.json", map);
    check_same(&Tokenizer::open(dir.path()).unwrap(), &small());
}

#[test]
fn gpt_2s_rules_keep_numbers_together() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    write("vocab.json", r#"{"1": 0, "2": 1, "3": 2, "12": 3, "123": 4, "Ġ": 5, "Ġ123": 6}"#);
    write("merges.txt", "1 2\n12 3\nĠ 123\n");
    let encode = |class: &str| {
        let config = serde_json::json!({ "tokenizer_class": class });
        write("tokenizer_config.json", &config.to_string());
        Tokenizer::open(dir.path()).and_then(|tokenizer| tokenizer.encode("123 123"))
    };
    assert_eq!(encode("GPT2Tokenizer").unwrap(), [4, 6]);
    assert_eq!(encode("Qwen2Tokenizer").unwrap(), [0, 1, 2, 5, 0, 1, 2]);
    let error = format!("{:#}", encode("LlamaTokenizer").unwrap_err());
    assert!(error.contains("`LlamaTokenizer`") && error.contains("tokenizer.json"), "{error}");
}

#[test]
fn old_files_that_are_wrong_are_named() {
    #[track_caller]
    fn check(name: &str, text: &str, said: &[&str]) {
        let dir = tempfile::tempdir().unwrap();
        old_files(dir.path());
        std::fs::write(dir.path().join(name), text).unwrap();
        let error = format!("{:#}", Tokenizer::open(dir.path()).err().unwrap());
        assert!(said.iter().all(|said| error.contains(said)), "{said:?} in {error}");
    }
    check("vocab.json", "{\"a\": 0", &["vocab.json", "EOF"]);
    check("vocab.json", "{\"a\": -1}", &["vocab.json", "could not read the vocabulary"]);
    check("vocab.json", "{\"a\": 300, \"b\": 300}", &["`a` and `b`", "one id, 300"]);
    check("merges.txt", "a b\nabc\n", &["line 2 of", "merges.txt", "`abc`"]);
    check("merges.txt", "neither nor\n", &["could not read the vocabulary"]);
    let other = r#"{"added_tokens_decoder": {"zero": {"content": "<x>"}}}"#;
    check("tokenizer_config.json", other, &["added_tokens_decoder", "`zero`"]);
    let taken = r#"{"added_tokens_decoder": {"9999": {"content": "a"}}}"#;
    check("tokenizer_config.json", taken, &["the added token `a` has id 9999"]);
}

#[test]
fn what_a_tokenizer_puts_around_every_text_is_for_bare_prompts_only() {
    let dir = tempfile::tempdir().unwrap();
    small().save(dir.path(), &files()).unwrap();
    let path = dir.path().join("tokenizer.json");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    let id = small().id(IM_START).unwrap();
    json["post_processor"] = serde_json::json!({
        "type": "TemplateProcessing",
        "single": [
            { "SpecialToken": { "id": IM_START, "type_id": 0 } },
            { "Sequence": { "id": "A", "type_id": 0 } },
        ],
        "pair": [],
        "special_tokens": { IM_START: { "id": IM_START, "ids": [id], "tokens": [IM_START] } },
    });
    std::fs::write(path, json.to_string()).unwrap();
    let tokenizer = Tokenizer::open(dir.path()).unwrap();
    let text = "What <|im_end|>";
    let bare = tokenizer.encode(text).unwrap();
    assert_eq!(bare, small().encode(text).unwrap());
    let expected: Vec<u32> = std::iter::once(id).chain(bare).collect();
    assert_eq!(tokenizer.encode_completion(text).unwrap(), expected);
}

#[test]
fn a_dummys_tokenizer_knows_every_row_and_any_text() {
    let tokenizer = Tokenizer::open(std::path::Path::new("dummy:qwen3-0.6b")).unwrap();
    assert_eq!(tokenizer.vocabulary(), 151_936);
    let text = "naïve 😀 <|im_end|>\n";
    let ids = tokenizer.encode(text).unwrap();
    assert_eq!(ids.len(), text.len(), "a token per byte");
    assert_eq!(tokenizer.decode(&ids, true).unwrap(), text);
    let words: Vec<String> =
        [259, 260, 151_935].iter().map(|id| tokenizer.decode(&[*id], false).unwrap()).collect();
    assert_eq!(words, [" aajz", " aaka", " iqtr"]);
}
