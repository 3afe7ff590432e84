//! Tests of the client's pure parts: addresses, requests, and every shape a reply comes in.

use proptest::prelude::*;

use super::wire::body;
use super::{Decoder, Endpoint, Error, Kind, Reply, completions_url, parse};
use crate::chat::{Message, Request};

#[test]
fn addresses_are_taken_with_and_without_their_path() {
    let check = |base: &str, expected: Option<&str>| {
        let url = completions_url(base);
        assert_eq!(url.as_ref().map(reqwest::Url::as_str), expected, "{base}");
    };
    check("http://127.0.0.1:8000", Some("http://127.0.0.1:8000/v1/chat/completions"));
    check("http://h:1/v1/", Some("http://h:1/v1/chat/completions"));
    check("https://h/api/v1", Some("https://h/api/v1/chat/completions"));
    check("https://h/v1/chat/completions", Some("https://h/v1/chat/completions"));
    for bad in ["", "h:1", "ftp://h", "no address", "http://"] {
        check(bad, None);
    }
}

#[test]
fn requests_carry_what_was_asked_and_nothing_else() {
    let request = Request {
        messages: vec![Message::user("hi")],
        temperature: 0.7,
        top_p: 0.95,
        max_tokens: 8,
        seed: 3,
    };
    let endpoint = |stream| Endpoint { stream, ..Endpoint::new("http://h", "m", None) };
    let text = |stream| String::from_utf8(body(&endpoint(stream), &request)).unwrap();
    let plain = r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"temperature":0.7,"top_p":0.95,"max_tokens":8,"seed":3,"stream":false}"#;
    assert_eq!(text(false), plain);
    assert!(text(true).ends_with(r#""stream":true,"stream_options":{"include_usage":true}}"#));
    let response_format = Some(serde_json::json!({"type": "json_object"}));
    let formed = body(&Endpoint { response_format, ..endpoint(false) }, &request);
    let formed = String::from_utf8(formed).unwrap();
    assert!(formed.ends_with(r#""stream":false,"response_format":{"type":"json_object"}}"#));
}

/// A reply whose message is `message`.
fn whole(message: &str) -> String {
    format!(r#"{{"choices":[{{"message":{message},"finish_reason":"stop"}}]}}"#)
}

#[track_caller]
fn check(message: &str, reasoning: &str, solution: &str) {
    let reply = parse(whole(message).as_bytes()).unwrap();
    assert_eq!((&*reply.reasoning, &*reply.solution), (reasoning, solution), "{message}");
}

#[test]
fn every_shape_of_a_thought_is_understood() {
    check(r#"{"reasoning_content":" a\n","content":"b"}"#, " a\n", "b");
    check(r#"{"reasoning":"a","content":"b"}"#, "a", "b");
    check(r#"{"reasoning":"a","reasoning_content":"a","content":"b"}"#, "a", "b");
    check(r#"{"reasoning":"a","content":null}"#, "a", "");
    check(r#"{"content":"<think>\na\n</think>\n\nb"}"#, "a", "b");
    check(r#"{"content":"a\n</think>\n\nb"}"#, "a", "b");
    check(r#"{"content":"<think>\n\n</think>\n\nb"}"#, "", "b");
    check(r#"{"content":"<think>a"}"#, "a", "");
    check(r#"{"content":"◁think▷a◁/think▷b"}"#, "a", "b");
    check(r#"{"reasoning_content":null,"content":"b"}"#, "", "b");
    check(
        r#"{"content":[{"type":"thinking","thinking":[{"type":"text","text":"a"}]},{"type":"text","text":"b"}]}"#,
        "a",
        "b",
    );
}

#[test]
fn usage_is_taken_as_billed_and_estimated_where_it_is_missing() {
    let body = r#"

{"choices":[{"message":{"reasoning":"abcd","content":"efgh"},"finish_reason":"length"}],
 "usage":{"prompt_tokens":7,"completion_tokens":9,"cost":0.25}}"#;
    let reply = parse(body.as_bytes()).unwrap();
    assert_eq!((reply.prompt_tokens, reply.completion_tokens), (7, 9));
    assert_eq!((reply.cost_usd, &*reply.finish_reason), (Some(0.25), "length"));
    let reply = parse(whole(r#"{"reasoning":"abcd","content":"efgh"}"#).as_bytes()).unwrap();
    assert_eq!((reply.prompt_tokens, reply.completion_tokens, reply.cost_usd), (0, 2, None));
}

#[track_caller]
fn check_bad(body: &str, kind: Kind) {
    let error: Error = parse(body.as_bytes()).unwrap_err();
    assert_eq!(error.kind, kind, "{body}: {error}");
}

#[test]
fn what_is_no_answer_is_named() {
    check_bad("", Kind::Cut);
    check_bad("\n\n \n", Kind::Cut);
    check_bad("<html>502</html>", Kind::Garbage);
    check_bad(r#"{"choices":[{"mess"#, Kind::Cut);
    check_bad("{}", Kind::Garbage);
    check_bad(r#"{"choices":[]}"#, Kind::Garbage);
    check_bad(r#"{"choices":[{"message":{"content":""},"finish_reason":"stop"}]}"#, Kind::Garbage);
    check_bad(r#"{"choices":[{"message":{"content":"x"},"finish_reason":null}]}"#, Kind::Cut);
    let filtered = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"content_filter"}]}"#;
    check_bad(filtered, Kind::Refused);
    let busy = r#"{"choices":[{"message":{"content":"x"},"finish_reason":"insufficient_system_resource"}]}"#;
    check_bad(busy, Kind::Server);
    check_bad(r#"{"error":{"message":"no money","code":402}}"#, Kind::Money);
    check_bad("data: {\"error\":{\"message\":\"x\",\"code\":429}}\n\n", Kind::Busy);
    check_bad("data: {\"choices\":[{\"delta\":{\"content\":\"half\"}}]}\n\n", Kind::Cut);
}

/// A stream as servers send it, with comments, both line ends and letters of several bytes.
const STREAM: &str = ": keep-alive\r\n\r\n\
     data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":null}}]}\n\n\
     event: message\ndata: {\"choices\":[{\"delta\":{\"reasoning\":\"nä\"}}]}\r\n\r\n\
     data:{\"choices\":[{\"delta\":{\"reasoning\":\"he\",\"content\":\"\"}}]}\n\n\
     data: {\"choices\":[{\"delta\":\ndata: {\"content\":\"→4\"},\"finish_reason\":\"stop\"}]}\n\n\
     data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n\
     data: [DONE]\n\n";

#[test]
fn a_stream_says_the_same_as_a_whole_reply() {
    let reply = parse(STREAM.as_bytes()).unwrap();
    let expected = Reply {
        reasoning: "nähe".into(),
        solution: "→4".into(),
        finish_reason: "stop".into(),
        prompt_tokens: 1,
        completion_tokens: 2,
        cost_usd: None,
    };
    assert_eq!(reply, expected);
}

proptest! {
    #[test]
    fn events_are_the_same_under_any_chunking(cuts in proptest::collection::vec(0..STREAM.len(), 0..40)) {
        let mut whole = Decoder::default();
        let expected = whole.push(STREAM.as_bytes());
        let mut cuts = cuts;
        cuts.extend([0, STREAM.len()]);
        cuts.sort_unstable();
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        for pair in cuts.windows(2) {
            events.extend(decoder.push(&STREAM.as_bytes()[pair[0]..pair[1]]));
        }
        prop_assert_eq!(events, expected);
        prop_assert_eq!(decoder.finish(), None);
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        decoder.finish();
    }
}
