//! Failures of text, JSON and HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::client::{CHAT, COMPLETIONS, PATIENCE, Reply, Server, chat, read_to, with};

const JSON: &str = "content-type: application/json\r\n";

#[test]
fn f10_characters_in_pieces_come_out_whole() {
    let server = Server::new("step-ms=0", &[]);
    // The parrot's tokens are bytes: every one of these characters is spread over several.
    let text = "naïve 😀 日本語 👩‍👩‍👧 é\u{301} \u{FFFD}!";
    for stream in [false, true] {
        let reply = server.post(CHAT, &chat(text, &json!({ "stream": stream })));
        assert_eq!(reply.text(), text);
        for tokens in 1..text.len() {
            let more = json!({ "stream": stream, "max_tokens": tokens });
            let cut = server.post(CHAT, &chat(text, &more)).text();
            let whole = (0..=tokens).rev().find(|at| text.is_char_boundary(*at)).unwrap();
            assert_eq!(cut, text[..whole], "after {tokens} tokens");
        }
    }
}

#[test]
fn f11_a_stop_text_over_many_tokens_ends_the_answer_and_nothing_of_it_leaks() {
    let server = Server::new("step-ms=0", &[]);
    for (text, stop, expected) in [
        ("abc XYZ def", json!("XYZ"), "abc "),
        ("abc XYXYZ def", json!(["XYZ"]), "abc XY"),
        ("abc XY", json!("XYZ"), "abc XY"),
        ("one two three", json!(["three", "two", "four"]), "one "),
        ("grüße 😀 ende", json!("😀 e"), "grüße "),
        ("a\n\nb", json!("\n\n"), "a"),
    ] {
        for stream in [false, true] {
            let more = json!({ "stop": stop, "stream": stream });
            let reply = server.post(CHAT, &chat(text, &more));
            assert_eq!(reply.text(), expected, "{text:?} up to {stop}");
            assert!(reply.body.contains("\"finish_reason\":\"stop\""), "{}", reply.body);
        }
    }
    server.until_idle();
}

#[test]
fn f12_bodies_that_are_no_request_are_refused_and_never_break_anything() {
    let server = Server::new("step-ms=0", &[]);
    let deep = "[".repeat(10_000);
    let deep_field = format!("{{\"messages\":{deep}");
    let huge = format!("{{\"messages\":[],\"seed\":{}}}", "9".repeat(400));
    let texts = [
        "",
        " ",
        "{",
        "}",
        "null",
        "42",
        "[]",
        "\"why\"",
        "true",
        "{\"messages\"",
        "{]}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"\\ud800\"}]}",
        "{\"messages\":[],\"temperature\":NaN}",
        "{\"messages\":[],\"temperature\":1e999}",
        "{\"messages\":[],\"temperature\":-Infinity}",
        "{'messages':[]}",
        "{\"messages\":[],}",
        "\u{feff}{\"messages\":[]}",
        "{\"messages\":[]}\u{0}",
        "{\"a\u{0}\":1}",
        &deep,
        &deep_field,
        &huge,
    ];
    for path in [CHAT, COMPLETIONS, "/tokenize", "/detokenize"] {
        for text in texts {
            let reply = server.post_bytes(path, JSON, text.as_bytes());
            assert_eq!(reply.status, 400, "{path}: {text:.40} got {reply:?}");
            assert!(reply.json()["error"]["message"].is_string());
        }
        for bytes in [&b"\xff\xfe{}"[..], b"{\"model\":\"\xc3\"}", b"{\"model\":\"\xed\xa0\x80\"}"]
        {
            assert_eq!(server.post_bytes(path, JSON, bytes).status, 400);
        }
        for value in [json!(null), json!("x"), json!(7), json!([]), json!([[]]), json!({})] {
            for field in ["messages", "prompt", "tokens"] {
                let status = server.post(path, &json!({ field: value })).status;
                assert!((200..500).contains(&status), "{path} {field}={value}: {status}");
            }
        }
    }
}

#[test]
fn f12_every_parameter_of_a_wrong_type_is_refused_by_its_name() {
    let server = Server::new("step-ms=0", &[]);
    let document = server.get("/openapi.json").json();
    for (path, schema, least) in [
        (CHAT, "ChatRequest", chat("x", &json!({}))),
        (COMPLETIONS, "CompletionRequest", json!({ "prompt": "x" })),
    ] {
        let properties = &document["components"]["schemas"][schema]["properties"];
        for name in properties.as_object().unwrap().keys().filter(|name| *name != "user") {
            let wrong = match name.as_str() {
                "logit_bias" | "chat_template_kwargs" => json!("x"),
                _ => json!({ "x": 1 }),
            };
            let reply = server.post(path, &with(least.clone(), &json!({ name: wrong })));
            let error = &reply.json()["error"];
            assert_eq!(reply.status, 400, "{path} {name}: {error}");
            assert!(error["param"].as_str().unwrap().starts_with(name.as_str()), "{name}: {error}");
            assert_ne!(error["code"], "unknown_parameter", "{path} {name}");
        }
    }
}

#[test]
fn f13_huge_slow_and_packed_bodies_are_refused_and_take_no_memory() {
    let server = Server::new("step-ms=0", &[]);
    let before = server.memory_mib();
    let head = |length: &str| format!("POST {CHAT} HTTP/1.1\r\nhost: h\r\n{JSON}{length}\r\n\r\n");
    // Slow heads and slow bodies, which stay open all the while.
    let slow: Vec<TcpStream> = (0..100)
        .map(|at| {
            let mut stream = server.connect();
            let whole = head("content-length: 1000");
            let sent = if at % 2 == 0 { &whole[..20] } else { whole.as_str() };
            stream.write_all(sent.as_bytes()).unwrap();
            stream
        })
        .collect();
    let mut declared = server.connect();
    declared.write_all(head("content-length: 100000000").as_bytes()).unwrap();
    assert!(read_to(&mut declared, "\r\n").contains("413"));
    let mut chunked = server.connect();
    chunked.write_all(head("transfer-encoding: chunked").as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &vec![b' '; 1 << 20], b"\r\n"].concat();
    // It stops reading when it has seen enough; the rest may meet a closed connection.
    for _ in 0..64 {
        if chunked.write_all(&chunk).is_err() {
            break;
        }
    }
    let mut reply = [0; 12];
    if chunked.read_exact(&mut reply).is_ok() {
        assert_eq!(&reply, b"HTTP/1.1 413");
    }
    let packed = server.post_bytes(CHAT, &format!("{JSON}content-encoding: gzip\r\n"), &[0; 99]);
    assert_eq!(packed.status, 415);
    assert_eq!(server.post_bytes(CHAT, "content-type: text/plain\r\n", b"{}").status, 415);
    assert_eq!(server.post(CHAT, &chat("and me?", &json!({}))).text(), "and me?");
    let grown = server.memory_mib().saturating_sub(before);
    assert!(grown < 48, "{grown} MiB more");
    drop(slow);
}

#[test]
fn f14_the_longest_prompt_is_taken_and_one_more_token_is_refused() {
    let server = Server::new("context=64,step-ms=0", &[]);
    for (length, max_tokens, status) in
        [(62, 2, 200), (63, 1, 200), (63, 9, 200), (64, 1, 400), (65, 1, 400), (64, 0, 200)]
    {
        let prompt = json!({ "prompt": "x".repeat(length), "max_tokens": max_tokens });
        let reply = server.post(COMPLETIONS, &prompt);
        assert_eq!(reply.status, status, "{length} tokens: {reply:?}");
        if status == 400 {
            let error = &reply.json()["error"];
            assert_eq!(error["code"], "context_length_exceeded");
            assert_eq!(error["param"], "prompt");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(&length.to_string()) && message.contains("64"), "{message}");
        }
    }
    let long = server.post(CHAT, &chat(&"x".repeat(999), &json!({})));
    assert_eq!(long.json()["error"]["param"], "messages");
}

#[test]
fn f15_extreme_limits_are_refused_or_mean_the_rest_of_the_context() {
    let server = Server::new("context=256,step-ms=0", &[]);
    for bad in ["0", "-1", "1.5", "\"5\"", "true", "1e30", "[]"] {
        let body = format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"x\"}}],\"max_tokens\":{bad}}}"
        );
        let reply = server.post_bytes(CHAT, JSON, body.as_bytes());
        assert_eq!(reply.status, 400, "{bad}: {reply:?}");
        assert_eq!(reply.json()["error"]["param"], "max_tokens");
    }
    let all = json!({ "ignore_eos": true });
    for limit in [
        json!({}),
        json!({ "max_tokens": null }),
        json!({ "max_tokens": u64::MAX }),
        json!({ "max_tokens": 1_u64 << 63 }),
        json!({ "max_completion_tokens": 100_000 }),
    ] {
        let answer = server.post(CHAT, &chat("x", &with(all.clone(), &limit))).json();
        assert_eq!(answer["usage"]["total_tokens"], 256, "{limit}");
        assert_eq!(answer["choices"][0]["finish_reason"], "length");
    }
    assert_eq!(server.post(CHAT, &chat("abc", &json!({ "max_tokens": 1 }))).text(), "a");
}

#[test]
fn f16_a_template_that_raises_says_why() {
    let server = Server::new("step-ms=0,raises=roles must alternate", &[]);
    let reply = server.post(CHAT, &chat("x", &json!({})));
    let error = &reply.json()["error"];
    assert_eq!((reply.status, &error["param"]), (400, &json!("messages")));
    assert!(error["message"].as_str().unwrap().contains("roles must alternate"), "{error}");
    for messages in [json!([{}]), json!([{ "role": "user" }]), json!([{ "content": "x" }])] {
        assert_eq!(server.post(CHAT, &json!({ "messages": messages })).status, 400);
    }
}

#[test]
fn f22_odd_http_is_answered_and_the_next_connection_is_taken() {
    let server = Server::new("step-ms=0", &[]);
    let idle: Vec<TcpStream> = (0..500).map(|_| server.connect()).collect();
    // Two requests at once over one connection.
    let mut piped = server.connect();
    let get = "GET /version HTTP/1.1\r\nhost: h\r\n\r\n";
    let last = "GET /version HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
    piped.write_all(format!("{get}{last}").as_bytes()).unwrap();
    let mut both = String::new();
    piped.read_to_string(&mut both).unwrap();
    assert_eq!(both.matches("HTTP/1.1 200").count(), 2, "{both}");
    // The body comes when it is asked for.
    let mut patient = server.connect();
    let body = chat("please", &json!({})).to_string();
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nexpect: 100-continue\r\n{JSON}\
         content-length: {}\r\n\r\n",
        body.len()
    );
    patient.write_all(head.as_bytes()).unwrap();
    assert!(read_to(&mut patient, "\r\n\r\n").contains("100 Continue"));
    patient.write_all(body.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut patient).text(), "please");
    let old = server.raw("GET /version HTTP/1.0\r\n", b"");
    assert_eq!(old.status, 200);
    let mut streamed = server.connect();
    let body = chat("old", &json!({ "stream": true })).to_string();
    let head =
        format!("POST {CHAT} HTTP/1.0\r\n{JSON}content-length: {}\r\n\r\n{body}", body.len());
    streamed.write_all(head.as_bytes()).unwrap();
    assert_eq!(Reply::read(&mut streamed).text(), "old");
    for (head, status) in [
        ("HEAD /health HTTP/1.1\r\n", 200),
        ("OPTIONS /v1/chat/completions HTTP/1.1\r\n", 405),
        ("DELETE /v1/models HTTP/1.1\r\n", 405),
        ("GET /v1/chat/completions HTTP/1.1\r\n", 405),
        ("GET /nothing HTTP/1.1\r\n", 404),
        ("BREW / HTTP/1.1\r\n", 404),
    ] {
        assert_eq!(server.raw(head, b"").status, status, "{head}");
    }
    for garbage in [&b"\x16\x03\x01\x02\x00\x01"[..], b"\r\n\r\n\r\n", b"GET\r\n\r\n", &[0; 9000]] {
        let mut stream = server.connect();
        // It may be answered and closed before all of it is sent.
        drop(stream.write_all(garbage));
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    assert_eq!(server.post(CHAT, &chat("and me?", &json!({}))).text(), "and me?");
    drop(idle);
}

#[test]
fn f22_a_server_that_has_run_out_of_files_goes_on_when_there_are_some() {
    let server = Server::new("step-ms=0", &["-v"]);
    let most = server.open_files() as u64 + 20;
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    prlimit(Pid::from_raw(server.running.pid()), Resource::Nofile, limit).unwrap();
    // The system connects them; the server cannot take them all.
    let idle: Vec<TcpStream> = (0..60).map(|_| server.connect()).collect();
    let begin = Instant::now();
    while !server.log().contains("could not accept a connection") {
        assert!(begin.elapsed() < PATIENCE, "it never ran out of files: {}", server.log());
    }
    drop(idle);
    assert_eq!(server.post(CHAT, &chat("and me?", &json!({}))).text(), "and me?");
    server.until("closed", |server| server.open_files() as u64 <= most - 10);
}

#[test]
fn f23_only_the_whole_key_opens_and_it_is_never_written_down() {
    let key = "sk-parrot-4f1d";
    let server = Server::with("step-ms=0", &["-v"], &[("THINKERY_API_KEY", key)]);
    let body = chat("hello", &json!({})).to_string();
    for (header, status) in [
        (String::new(), 401),
        (format!("authorization: Bearer {key}"), 200),
        (format!("Authorization: bearer {key}"), 200),
        (format!("AUTHORIZATION: BEARER   {key} "), 200),
        (format!("authorization: Bearer {}", &key[..13]), 401),
        (format!("authorization: Bearer {key}x"), 401),
        (format!("authorization: Bearer {}", key.to_uppercase()), 401),
        (format!("authorization: {key}"), 401),
        (format!("authorization: Basic {key}"), 401),
        ("authorization: Bearer".to_owned(), 401),
        (format!("x-api-key: {key}"), 401),
    ] {
        let header = if header.is_empty() { header } else { format!("{header}\r\n") };
        for path in [CHAT, "/chat/completions"] {
            let reply = server.post_bytes(path, &format!("{header}{JSON}"), body.as_bytes());
            assert_eq!(reply.status, status, "{header}: {reply:?}");
            if status == 401 {
                assert_eq!(reply.json()["error"]["code"], "invalid_api_key");
                assert!(reply.head.contains("www-authenticate: bearer"));
                assert!(!reply.body.contains("parrot-4f"), "{}", reply.body);
            }
        }
    }
    let in_query = server.post_bytes(&format!("{CHAT}?api_key={key}"), JSON, body.as_bytes());
    assert_eq!(in_query.status, 401);
    for (path, status) in [
        ("/v1/models", 401),
        ("/models", 401),
        ("/tokenizer_info", 401),
        ("/health", 200),
        ("/version", 200),
        ("/metrics", 200),
        ("/openapi.json", 200),
    ] {
        assert_eq!(server.get(path).status, status, "{path}");
    }
    assert!(!server.log().contains(key), "{}", server.log());
}

#[test]
fn the_document_has_every_route_and_every_route_answers() {
    let server = Server::new("step-ms=0", &[]);
    let document = server.get("/openapi.json").json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "parrot");
        for method in methods.as_object().unwrap().keys() {
            let reply = match method.as_str() {
                "get" => server.get(&path),
                _ => server.post(&path, &json!({})),
            };
            let expected = if method == "get" { 200 } else { 400 };
            assert_eq!(reply.status, expected, "{method} {path}: {reply:?}");
        }
    }
    for path in ["/chat/completions", "/completions", "/tokenize", "/detokenize"] {
        assert_eq!(server.post(path, &Value::Null).status, 400, "{path} without /v1");
    }
}
