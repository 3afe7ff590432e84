//! The shapes of answers, as OpenAI's and vLLM's clients expect them.

use serde_json::{Value, json};

use super::client::{CHAT, COMPLETIONS, Server, chat, with};

#[test]
fn a_stream_is_roles_then_words_then_an_empty_delta_then_done() {
    let server = Server::new("step-ms=0", &[]);
    let more = json!({ "stream": true, "n": 2, "stream_options": { "include_usage": true } });
    let reply = server.post(CHAT, &chat("hello", &more));
    let events = reply.events();
    let (usage, events) = events.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"]["completion_tokens"], 10);
    for index in 0..2 {
        let mine: Vec<&Value> = events
            .iter()
            .map(|event| &event["choices"][0])
            .filter(|choice| choice["index"] == index)
            .collect();
        assert_eq!(mine[0]["delta"], json!({ "role": "assistant", "content": "" }));
        let last = mine[mine.len() - 1];
        assert_eq!((&last["delta"], &last["finish_reason"]), (&json!({}), &json!("stop")));
        let text: String =
            mine.iter().filter_map(|choice| choice["delta"]["content"].as_str()).collect();
        assert_eq!(text, "hello");
    }
    assert!(events.iter().all(|event| event["id"] == events[0]["id"]));
    assert!(events.iter().all(|event| event["usage"].is_null()));
    assert!(events.iter().all(|event| event["object"] == "chat.completion.chunk"));
}

#[test]
fn usage_comes_with_every_chunk_if_it_is_asked_for() {
    let server = Server::new("step-ms=0", &[]);
    let options = json!({ "include_usage": true, "continuous_usage_stats": true });
    let events = server
        .post(CHAT, &chat("hello", &json!({ "stream": true, "stream_options": options })))
        .events();
    let used: Vec<u64> =
        events.iter().map(|e| e["usage"]["completion_tokens"].as_u64().unwrap()).collect();
    assert_eq!(used, [0, 1, 2, 3, 4, 5, 5, 5]);
}

#[test]
fn the_tokens_of_logprobs_are_the_text() {
    let server = Server::new("step-ms=0", &[]);
    let more = json!({ "logprobs": true, "top_logprobs": 3, "return_token_ids": true });
    let whole = server.post(CHAT, &chat("hé!", &more)).json();
    let choice = &whole["choices"][0];
    let content = choice["logprobs"]["content"].as_array().unwrap();
    let bytes: Vec<u8> = content
        .iter()
        .flat_map(|token| token["bytes"].as_array().unwrap())
        .map(|byte| byte.as_u64().unwrap() as u8)
        .collect();
    assert_eq!(bytes, "hé!".as_bytes());
    for token in content {
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), 3);
        assert_eq!((&top[0]["token"], &top[0]["logprob"]), (&token["token"], &token["logprob"]));
        let logprobs: Vec<f64> = top.iter().map(|t| t["logprob"].as_f64().unwrap()).collect();
        assert!(logprobs[0] <= 0.0 && logprobs.is_sorted_by(|a, b| a >= b), "{logprobs:?}");
    }
    assert_eq!(choice["token_ids"].as_array().unwrap().len(), 4);
    let prompt = whole["prompt_token_ids"].as_array().unwrap().len() as u64;
    assert_eq!(whole["usage"]["prompt_tokens"], prompt);
    let streamed =
        server.post(CHAT, &chat("hé!", &with(more, &json!({ "stream": true })))).events();
    let gathered: Vec<Value> = streamed
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["content"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(&gathered, content);
    assert_eq!(streamed[0]["prompt_token_ids"], whole["prompt_token_ids"]);
}

#[test]
fn thoughts_travel_apart_whole_and_streamed() {
    let server = Server::new("step-ms=0", &[]);
    for text in [
        "<think>\nhm, 2\n</think>\n\nIt is 4.",
        "<|begin_of_thought|>\n\nhm, 2\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n\
         It is 4.\n\n<|end_of_solution|>",
    ] {
        let whole = server.post(CHAT, &chat(text, &json!({}))).json();
        let message = &whole["choices"][0]["message"];
        assert_eq!(
            (&message["reasoning_content"], &message["content"]),
            (&json!("hm, 2"), &json!("It is 4."))
        );
        let events = server.post(CHAT, &chat(text, &json!({ "stream": true }))).events();
        let all = |field: &str| -> String {
            let deltas = events.iter().map(|event| &event["choices"][0]["delta"][field]);
            deltas.filter_map(Value::as_str).collect()
        };
        assert_eq!(
            (all("reasoning_content").as_str(), all("content").as_str()),
            ("hm, 2", "It is 4.")
        );
    }
}

#[test]
fn an_assistants_last_message_goes_on() {
    let server = Server::new("step-ms=0", &[]);
    let messages = json!([{ "role": "user", "content": [{ "type": "text", "text": "hello " },
        { "type": "text", "text": "world" }] }, { "role": "assistant", "content": "hello" }]);
    let ask = |more: &Value| {
        server.post(CHAT, &with(json!({ "messages": messages, "temperature": 0 }), more)).text()
    };
    assert_eq!(ask(&json!({})), " world");
    assert_eq!(
        ask(&json!({ "continue_final_message": true, "add_generation_prompt": false })),
        " world"
    );
    assert_eq!(ask(&json!({ "add_generation_prompt": true })), "hello world");
    let replaced = json!({ "messages": messages, "chat_template_kwargs": { "messages": [] } });
    let error = server.post(CHAT, &replaced).json()["error"].clone();
    assert_eq!(error["param"], "chat_template_kwargs.messages", "{error}");
    let both = json!({ "continue_final_message": true, "add_generation_prompt": true });
    let reply = server.post(CHAT, &with(json!({ "messages": messages }), &both));
    assert_eq!(reply.json()["error"]["param"], "continue_final_message");
}

#[test]
fn completions_take_texts_and_ids_one_or_many() {
    let server = Server::new("step-ms=0", &[]);
    let ids = server.post("/tokenize", &json!({ "prompt": "ab" })).json()["tokens"].clone();
    let texts = |prompt: Value, n: u32| -> Vec<String> {
        let more = json!({ "prompt": prompt, "max_tokens": 2, "n": n, "temperature": 0 });
        let answer = server.post(COMPLETIONS, &more).json();
        let choices = answer["choices"].as_array().unwrap();
        assert!(choices.iter().enumerate().all(|(at, choice)| choice["index"] == at));
        assert_eq!(answer["usage"]["completion_tokens"], 2 * choices.len());
        choices.iter().map(|choice| choice["text"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts(json!("ab"), 1), ["cd"]);
    assert_eq!(texts(ids.clone(), 1), ["cd"]);
    assert_eq!(texts(json!(["ab", "12"]), 2), ["cd", "cd", "34", "34"]);
    assert_eq!(texts(json!([ids, ids]), 1), ["cd", "cd"]);
    for (prompt, param) in [
        (json!(""), "prompt"),
        (json!([]), "prompt"),
        (json!([[]]), "prompt"),
        (json!([1, 9999]), "prompt"),
        (json!([1, -1]), "prompt[1]"),
        (json!([[1], [4_000_000_000_u32]]), "prompt"),
        (json!([{}]), "prompt[0]"),
    ] {
        let reply = server.post(COMPLETIONS, &json!({ "prompt": prompt }));
        assert_eq!(
            (reply.status, &reply.json()["error"]["param"]),
            (400, &json!(param)),
            "{prompt}"
        );
    }
}

#[test]
fn echo_tells_how_likely_a_prompt_is() {
    let server = Server::new("step-ms=0", &[]);
    let ids = server.post("/tokenize", &json!({ "prompt": "abX" })).json()["tokens"].clone();
    let ask = json!({ "prompt": ids, "echo": true, "logprobs": 1, "max_tokens": 1,
        "temperature": 0 });
    let answer = server.post(COMPLETIONS, &ask).json();
    let choice = &answer["choices"][0];
    assert_eq!(choice["text"], "abXY");
    let logprobs = &choice["logprobs"];
    assert_eq!(logprobs["tokens"], json!(["a", "b", "X", "Y"]));
    assert_eq!(logprobs["text_offset"], json!([0, 1, 2, 3]));
    let of = |at: usize| logprobs["token_logprobs"][at].as_f64();
    assert_eq!(of(0), None);
    assert!(of(1).unwrap() > -1e-3 && of(3).unwrap() > -1e-3, "{logprobs}");
    assert!(of(2).unwrap() < -10.0, "{logprobs}");
    assert_eq!(logprobs["top_logprobs"][0], Value::Null);
    let top = logprobs["top_logprobs"][2].as_object().unwrap();
    assert!(top.contains_key("c") && top.contains_key("X"), "{top:?}");
    // Only the prompt.
    let none = server.post(COMPLETIONS, &with(ask.clone(), &json!({ "max_tokens": 0 }))).json();
    assert_eq!(none["choices"][0]["text"], "abX");
    assert_eq!(none["choices"][0]["logprobs"]["tokens"], json!(["a", "b", "X"]));
    assert_eq!(none["usage"]["completion_tokens"], 0);
    let events = server.post(COMPLETIONS, &with(ask, &json!({ "stream": true }))).events();
    let tokens: Vec<Value> = events
        .iter()
        .filter_map(|event| event["choices"][0]["logprobs"]["tokens"].as_array())
        .flatten()
        .cloned()
        .collect();
    assert_eq!(tokens, ["a", "b", "X", "Y"]);
}

#[test]
fn every_setting_changes_what_it_says() {
    let server = Server::new("step-ms=0", &[]);
    let text = |content: &str, more: Value| server.post(CHAT, &chat(content, &more)).text();
    let id = |text: &str| {
        let ids = server.post("/tokenize", &json!({ "prompt": text })).json()["tokens"].clone();
        ids[0].as_u64().unwrap()
    };
    assert_eq!(
        text("abc", json!({ "logit_bias": { (id("z").to_string()): 100 }, "max_tokens": 3 })),
        "zzz"
    );
    assert_eq!(text("abc", json!({ "stop_token_ids": [id("c")] })), "ab");
    let least = server.post(CHAT, &chat("ab", &json!({ "min_tokens": 5, "max_tokens": 5 }))).json();
    assert_eq!(least["usage"]["completion_tokens"], 5);
    assert_eq!(text("ab", json!({ "ignore_eos": true, "max_tokens": 6 })), "abab");
    assert_eq!(
        text("ab", json!({ "ignore_eos": true, "max_tokens": 6, "skip_special_tokens": false })),
        "ab<|im_end|>ab<|im_end|>"
    );
    assert_eq!(text("abc", json!({ "temperature": 2, "top_k": 1 })), "abc");
    assert_eq!(text("abc", json!({ "temperature": 2, "min_p": 0.9 })), "abc");
    assert_eq!(text("abc", json!({ "temperature": 2, "top_p": 0.01 })), "abc");
    let penalised = text("aaaaaaaa", json!({ "frequency_penalty": 2, "logit_bias": {} }));
    assert_eq!(penalised, "aaaaaaaa", "a penalty of 2 is less than 20");
}

#[test]
fn the_tokenizers_endpoints_are_those_that_lm_eval_asks() {
    let server = Server::new("step-ms=0", &["--max-context", "512"]);
    let ask = json!({ "prompt": "naïve 😀", "add_special_tokens": false });
    let tokenized = server.post("/tokenize", &ask).json();
    let ids = tokenized["tokens"].clone();
    assert_eq!((&tokenized["count"], &tokenized["max_model_len"]), (&json!(11), &json!(512)));
    let back = server.post("/detokenize", &json!({ "tokens": ids })).json();
    assert_eq!(back["prompt"], "naïve 😀");
    let info = server.get("/tokenizer_info").json();
    assert_eq!((&info["eos_token"], &info["bos_token"]), (&json!("<|im_end|>"), &Value::Null));
    assert!(info["chat_template"].as_str().unwrap().contains("message"));
    let talk = json!({ "messages": [{ "role": "user", "content": "hi" }] });
    let talk = server.post("/tokenize", &talk).json();
    let text = server.post("/detokenize", &json!({ "tokens": talk["tokens"] })).json();
    assert_eq!(text["prompt"], "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(server.post("/detokenize", &json!({ "tokens": [9999] })).status, 400);
    let model = server.get("/v1/models/parrot").json();
    assert_eq!(model["max_model_len"], 512);
    assert_eq!(server.get("/load").json()["server_load"], 0);
}

#[test]
fn metrics_have_vllms_names_and_add_up() {
    let server = Server::new("step-ms=0", &[]);
    for _ in 0..3 {
        server.post(CHAT, &chat("hello", &json!({})));
    }
    server.post(CHAT, &chat("hello", &json!({ "max_tokens": 2 })));
    server.until_idle();
    let text = server.get("/metrics").body;
    for line in [
        "vllm:request_success_total{model_name=\"parrot\",finished_reason=\"stop\"} 3",
        "vllm:request_success_total{model_name=\"parrot\",finished_reason=\"length\"} 1",
        "vllm:time_to_first_token_seconds_count{model_name=\"parrot\"} 4",
        "vllm:e2e_request_latency_seconds_bucket{model_name=\"parrot\",le=\"+Inf\"} 4",
        "vllm:inter_token_latency_seconds_count{model_name=\"parrot\"} 13",
        "vllm:request_generation_tokens_sum{model_name=\"parrot\"} 17",
        "vllm:kv_cache_usage_perc{model_name=\"parrot\",engine=\"0\"} 0",
        "vllm:num_preemptions_total{model_name=\"parrot\",engine=\"0\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
    }
    assert_eq!(server.metric("vllm:generation_tokens_total"), 17.0);
    assert!(server.metric("engine_steps_total") > 0.0);
    assert!(server.metric("vllm:iteration_tokens_total_count") > 0.0);
    // Each family is announced once.
    let mut types: Vec<&str> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    let all = types.len();
    types.sort_unstable();
    types.dedup();
    assert_eq!(types.len(), all);
}
