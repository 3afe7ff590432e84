//! What people see of verdicts and decide about them: the API of the Verify page and `verify review`.

use axum::http::StatusCode;
use serde_json::{Value, json};
use thinkery::records::{
    Domain, FinishReason, Judgement, Mode, NewQuestion, NewTrace, QuestionId, Split, Tests,
    TraceId, Verdict, VerdictRow,
};
use thinkery::store::Store;

use crate::api::{House, json_of};
use crate::env::TestEnv;

fn question(key: &str, domain: Domain) -> NewQuestion {
    NewQuestion {
        key: key.into(),
        domain,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: "what is 2 + 3?".into(),
        reference: Some("5".into()),
        tests: None,
        starter_code: None,
    }
}

fn trace(question: i64, solution: &str) -> NewTrace {
    NewTrace {
        question_id: QuestionId(question),
        sample: 0,
        model: "teacher".into(),
        endpoint: "e".into(),
        reasoning: "r".into(),
        solution: solution.into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: 1,
        completion_tokens: 2,
        cost_usd: 0.0,
        attempts: 1,
    }
}

fn verdict(id: i64, verdict: Verdict, verifier: &str, detail: Value) -> VerdictRow {
    let (trace_id, mode, verifier) = (TraceId(id), Mode::Strict, verifier.into());
    VerdictRow { trace_id, mode, verdict, verifier, version: 2, detail }
}

/// Four traces: one that rules and judge see differently, one that the judge would not decide, one
/// program, and one that nobody has looked at.
fn fill(store: &Store) {
    let code = NewQuestion {
        tests: Some(Tests {
            inputs: vec!["1".into(), "x".repeat(5_000).into()].into(),
            outputs: vec!["1".into(), "2".into()].into(),
            ..Tests::default()
        }),
        ..question("c", Domain::Code)
    };
    let puzzle = question("b", Domain::Puzzle);
    let last = question("d", Domain::Math);
    store.add_questions(&[question("a", Domain::Math), puzzle, code, last]).unwrap();
    for (index, solution) in [r"\boxed{6}", "five", "```\nx\n```", "?"].iter().enumerate() {
        store.add_trace(&trace(index as i64 + 1, solution)).unwrap();
    }
    let math = json!({"answer": "6", "answer_parsed": "6", "reference_parsed": "5", "reason": "r"});
    let failed =
        json!({"index": 1, "input": "x", "expected": "1 2\n", "got": "1 3\n", "position": 2});
    let tests = json!({"outcome": "wrong_answer", "cpu_ms": 9, "memory_bytes": 1, "flaky": 1,
        "failed": failed, "tests": [
        {"outcome": "passed", "wall_ms": 3, "cpu_ms": 2, "memory_bytes": 1},
        {"outcome": "wrong_answer", "wall_ms": 9, "cpu_ms": 7, "memory_bytes": 1, "repeated": true,
         "flaky": true}]});
    store
        .put_verdicts(&[
            verdict(1, Verdict::Wrong("`6` is not `5`".into()), "math", math),
            verdict(2, Verdict::Unchecked("no rule".into()), "unchecked", Value::Null),
            verdict(3, Verdict::Wrong("test 2".into()), "code", tests),
        ])
        .unwrap();
    let judged = |id: i64, verdict: Verdict| Judgement {
        trace_id: TraceId(id),
        verdict,
        verifier: "judge".into(),
        version: 1,
        settings: "s".into(),
        detail: json!({"model": "j", "prompt": "default",
            "votes": [{"decision": "correct", "reasoning": "it adds up"}]}),
    };
    let unsure = Verdict::Unchecked("the judge is unsure".into());
    store.put_judgements(&[judged(1, Verdict::Correct), judged(2, unsure)]).unwrap();
    store.refresh_reviews().unwrap();
}

#[tokio::test]
async fn the_summary_counts_every_trace_once_with_the_one_whose_word_counts() {
    let (house, cookie) = House::entered().await;
    let empty = house.see("/api/v1/verify/summary", &cookie).await;
    assert_eq!((&empty["domains"], &empty["total"]["keep_rate"]), (&json!([]), &Value::Null));
    fill(&house.store);
    let path = "/api/v1/reviews/1";
    let said = house.post(path, Some(&cookie), json!({"action": "accept", "note": "n"})).await;
    assert_eq!(said.status(), StatusCode::OK);
    let summary = house.see("/api/v1/verify/summary", &cookie).await;
    let domains: Vec<&Value> =
        summary["domains"].as_array().unwrap().iter().map(|row| &row["domain"]).collect();
    assert_eq!(domains, ["math", "code", "puzzle"]);
    let math = &summary["domains"][0];
    assert_eq!(
        (&math["correct"], &math["not_judged"], &math["keep_rate"]),
        (&json!(1), &json!(1), &json!(1.0))
    );
    assert_eq!(math["published"]["kept"], 89_120);
    let rate = summary["total"]["published"]["keep_rate"].as_f64().unwrap();
    assert!((0.65..0.67).contains(&rate));
    let verifiers = json!([
        {"verifier": "code", "verdicts": {"wrong": 1}},
        {"verifier": "human", "verdicts": {"correct": 1}},
        {"verifier": "judge", "verdicts": {"unchecked": 1}},
    ]);
    assert_eq!(summary["verifiers"], verifiers);
    assert_eq!(summary["judge"]["judged"], 2);
    assert_eq!(summary["reviews"], json!({"open": 1, "accepted": 1, "rejected": 0, "skipped": 0}));
    let slow = json!({"trace_id": 3, "verdict": "wrong", "tests": 2, "cpu_ms": 9, "cpu_ms_max": 7, "flaky": 1,
        "memory_bytes": 1});
    assert_eq!(summary["slowest"], json!([&slow]));
    assert_eq!(summary["flakiest"], json!([slow]));
    let sandbox = house.see("/api/v1/verify/sandbox", &cookie).await;
    assert_eq!((&sandbox["tier"], &sandbox["lost"]), (&json!("T3"), &Value::Null));
    let probe = json!({"name": "tcp", "tries": "connect", "held": true, "why": ""});
    assert_eq!(sandbox["probes"][0], probe);
    let spent = &summary["ledger"][0];
    assert_eq!((&spent["traces"], &spent["provider"]), (&json!(4), &json!("unknown")));
    assert_eq!(summary["domains"][1]["outcomes"], json!({"wrong_answer": 1}));
    assert_eq!(summary["total"]["outcomes"], json!({"wrong_answer": 1}));
}

#[tokio::test]
async fn the_queue_is_paged_filtered_and_decided_with_a_trail() {
    let (house, cookie) = House::entered().await;
    fill(&house.store);
    let first = house.see("/api/v1/reviews?limit=1&state=open", &cookie).await;
    assert_eq!((&first["items"][0]["id"], &first["next"]), (&json!(1), &json!(1)));
    let item = &first["items"][0];
    assert_eq!(
        (&item["reason"], &item["rule"]["verdict"]),
        (&json!("disagreement"), &json!("wrong"))
    );
    assert_eq!(item["judge"]["votes"][0]["reasoning"], "it adds up");
    let second = house.see("/api/v1/reviews?limit=1&state=open&after=1", &cookie).await;
    assert_eq!(second["items"][0]["reason"], "abstained");
    let none = house.see("/api/v1/reviews?reason=asked", &cookie).await;
    assert_eq!(none["items"], json!([]));
    for (action, state, verdict) in [
        ("accept", "accepted", "correct"),
        ("reject", "rejected", "wrong"),
        ("skip", "skipped", "wrong"),
    ] {
        let answer =
            house.post("/api/v1/reviews/1", Some(&cookie), json!({ "action": action })).await;
        let review = json_of(answer).await;
        assert_eq!((&review["state"], &review["verdict"]), (&json!(state), &json!(verdict)));
        assert_eq!(review["decided_by"], "panel");
    }
    let detail = house.see("/api/v1/traces/1/verdict", &cookie).await;
    let actions: Vec<&Value> =
        detail["log"].as_array().unwrap().iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["accept", "reject", "skip"]);
    assert_eq!(detail["log"][1]["before_verifier"], "human");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let (house, cookie) = House::entered().await;
    fill(&house.store);
    for (path, body, status) in [
        ("/api/v1/reviews/9", json!({"action": "accept"}), StatusCode::NOT_FOUND),
        ("/api/v1/reviews/1", json!({"action": "burn"}), StatusCode::BAD_REQUEST),
        (
            "/api/v1/reviews/1",
            json!({"action": "skip", "note": "x".repeat(2_001)}),
            StatusCode::BAD_REQUEST,
        ),
        ("/api/v1/reviews/x", json!({"action": "accept"}), StatusCode::BAD_REQUEST),
        ("/api/v1/traces/9/replay", json!({}), StatusCode::NOT_FOUND),
    ] {
        let answer = house.post(path, Some(&cookie), body.clone()).await;
        assert_eq!(answer.status(), status, "{path} {body}");
    }
    for path in
        ["/api/v1/reviews?state=odd", "/api/v1/traces/9/verdict", "/api/v1/reviews?reason=x"]
    {
        assert!(house.get(path, Some(&cookie)).await.status().is_client_error(), "{path}");
    }
    for path in [
        "/api/v1/reviews",
        "/api/v1/verify/summary",
        "/api/v1/verify/sandbox",
        "/api/v1/traces/1/verdict",
    ] {
        assert_eq!(house.get(path, None).await.status(), StatusCode::UNAUTHORIZED, "{path}");
    }
}

#[tokio::test]
async fn a_trace_shows_how_its_verdict_came_about() {
    let (house, cookie) = House::entered().await;
    fill(&house.store);
    let math = house.see("/api/v1/traces/1/verdict", &cookie).await;
    assert_eq!(math["math"]["answer_parsed"], "6");
    assert_eq!(
        math["decided"],
        json!({"verdict": "wrong", "why": "`6` is not `5`", "verifier": "math"})
    );
    assert_eq!((&math["rules"][0]["mode"], &math["review"]), (&json!("strict"), &json!("open")));
    let code = house.see("/api/v1/traces/3/verdict", &cookie).await;
    let tests = code["tests"].as_array().unwrap();
    assert_eq!(
        (tests.len(), &tests[1]["number"], &tests[1]["expected"]),
        (2, &json!(2), &json!("2"))
    );
    assert_eq!(tests[1]["input"].as_str().unwrap().chars().count(), 2_001);
    let diff = json!([
        {"kind": "same", "text": "1 "}, {"kind": "expected", "text": "2"},
        {"kind": "got", "text": "3"}, {"kind": "same", "text": "\n"},
    ]);
    assert_eq!((&tests[1]["diff"], &tests[1]["position"]), (&diff, &json!(2)));
    assert_eq!((&tests[1]["flaky"], &tests[0]["flaky"]), (&json!(true), &json!(false)));
    assert_eq!(tests[0]["diff"], Value::Null);
    assert_eq!(
        (&code["math"], &code["judge"], &code["review"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let open = house.see("/api/v1/traces/4/verdict", &cookie).await;
    assert_eq!((&open["decided"], &open["rules"]), (&Value::Null, &json!([])));
}

#[tokio::test]
async fn a_replay_says_whether_the_same_comes_out_and_stores_nothing() {
    let (house, cookie) = House::entered().await;
    fill(&house.store);
    let replay = async || {
        json_of(house.post("/api/v1/traces/1/replay", Some(&cookie), json!({})).await).await
    };
    // The same verdict, but what it rests on was made up.
    let other = replay().await;
    assert_eq!((&other["same"], &other["before"]["verdict"]), (&json!(false), &json!("wrong")));
    let told = other["differences"].to_string();
    assert!(told.contains("reason was r and is ") && !told.contains("verdict was"), "{told}");
    let after = &other["after"];
    let version = u32::try_from(after["version"].as_u64().unwrap()).unwrap();
    let wrong = Verdict::Wrong(after["why"].as_str().unwrap().into());
    let row = VerdictRow { version, ..verdict(1, wrong, "math", after["detail"].clone()) };
    house.store.put_verdicts(&[row]).unwrap();
    let same = replay().await;
    assert_eq!(same["same"], true, "{same}");
    assert_eq!(same["differences"], json!([]), "{same}");
    let other = "/api/v1/traces/1/replay?mode=odd";
    let other = house.post(other, Some(&cookie), json!({})).await;
    assert_eq!(other.status(), StatusCode::BAD_REQUEST);
    let new = json_of(house.post("/api/v1/traces/4/replay", Some(&cookie), json!({})).await).await;
    assert_eq!((&new["same"], &new["before"]), (&json!(false), &Value::Null));
    assert_eq!(new["after"]["verdict"], "unreadable");
    assert!(house.store.verdict(TraceId(4), Mode::Strict).unwrap().is_none());
}

#[test]
fn the_command_line_lists_and_decides_and_says_what_changed() {
    let env = TestEnv::new();
    fill(&Store::open(&env.data()).unwrap());
    let list = env.run(&["verify", "review", "--json"]).json();
    let ids: Vec<&Value> =
        list["items"].as_array().unwrap().iter().map(|item| &item["id"]).collect();
    assert_eq!(ids, [&json!(1), &json!(2)]);
    let shown = env.run(&["verify", "review", "--limit=1"]).stdout;
    assert!(shown.contains("disagreement") && shown.ends_with("more with --after 1\n"), "{shown}");
    let args = ["verify", "review", "--accept", "1", "2", "--reject=3", "--note=seen", "--json"];
    let done = env.run(&args).json();
    let after: Vec<&Value> =
        done["decided"].as_array().unwrap().iter().map(|row| &row["after"]["verdict"]).collect();
    assert_eq!(after, ["correct", "correct", "wrong"]);
    assert_eq!(done["decided"][0]["before"], json!({"verdict": "wrong", "verifier": "math"}));
    assert_eq!(env.run(&["verify", "review"]).stdout, "nothing to review\n");
    let line = env.run(&["verify", "review", "--reopen=3"]).stdout;
    assert!(line.contains(": wrong (human) -> wrong (code)"), "{line}");
    let error = env.run(&["verify", "review", "--accept=99"]).error();
    assert!(error.starts_with("error: there is no trace `99`\nhint: "), "{error}");
}
