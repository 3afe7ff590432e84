//! Distilling over real HTTP from a teacher that misbehaves on demand.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use thinkery::distill::{self, Config, Secrets, Summary};
use thinkery::questions::{self, rehearsal};
use thinkery::records::{FinishReason, JobState, NewQuestion, Question, Split};
use thinkery::stage::{Context, Progress, Stop, hint_of};
use thinkery::store::{QuestionFilter, Store, TraceFilter};
use thinkery::teacher::{self, Faults, Teacher};

use crate::env::TestEnv;

/// A key that must never be seen anywhere again.
pub(crate) const KEY: &str = "sk-canary-0123456789";

/// A teacher in a thread of its own; it ends with the test's process.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    _stop: tokio::sync::oneshot::Sender<()>,
}

impl Server {
    pub(crate) fn start(faults: &str) -> Self {
        let (ready, address) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let faults = Faults::parse(faults).unwrap();
        std::thread::spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            runtime.enable_all().build().unwrap().block_on(async move {
                let config = teacher::Config { seed: 1, faults };
                let here = SocketAddr::from(([127, 0, 0, 1], 0));
                let teacher = Teacher::bind(here, config).await.unwrap();
                ready.send(teacher.address().unwrap()).unwrap();
                teacher.serve(async { drop(stopped.await) }).await.unwrap();
            });
        });
        Self { address: address.recv().unwrap(), _stop: stop }
    }
}

/// A store with some of the rehearsal's math questions.
struct World {
    _dir: tempfile::TempDir,
    cx: Context,
}

impl World {
    fn new(questions: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let cx = Context { store, progress: Progress::silent(), stop: Stop::default() };
        let few = rehearsal::Config {
            math: questions,
            held_out_per_family: 1,
            code: 0,
            puzzle: 0,
            science: 0,
            ..rehearsal::Config::default()
        };
        let config = questions::Config { rehearsal: few, ..questions::Config::default() };
        questions::run(&cx, &config).unwrap();
        Self { _dir: dir, cx }
    }

    fn distill(&self, config: &Config) -> anyhow::Result<Summary> {
        let secrets = Secrets { teacher_key: Some(KEY.into()), ..Secrets::default() };
        distill::run(&self.cx, config, &secrets)
    }

    fn traces(&self) -> u64 {
        assert_eq!(self.cx.store.integrity_check().unwrap(), "ok");
        self.cx.store.trace_counts().unwrap().traces
    }

    fn questions(&self, split: Split) -> Vec<Question> {
        let filter = QuestionFilter { split: Some(split), ..QuestionFilter::default() };
        self.cx.store.questions(&filter).unwrap()
    }
}

/// Asks `server` quickly and one request after the other, so that faults hit known requests.
fn one_by_one(server: &Server) -> Config {
    Config {
        endpoint: format!("http://{}", server.address),
        endpoint_label: Some("rehearsal".into()),
        in_flight: 1,
        backoff_ms: 1,
        attempts_max: 3,
        ..Config::default()
    }
}

/// Distills 6 questions under `faults`; all must come through, after so many retries at least.
#[track_caller]
fn check_survives(faults: &str, retries_min: u64, change: impl Fn(Config) -> Config) {
    let world = World::new(6);
    let server = Server::start(faults);
    let summary = world.distill(&change(one_by_one(&server))).unwrap();
    assert_eq!((summary.requested, summary.succeeded), (6, 6), "{faults}: {summary:?}");
    assert!(summary.retries >= retries_min, "{faults}: {summary:?}");
    assert_eq!(summary.attempts, 6 + summary.retries, "{faults}: {summary:?}");
    assert_eq!((summary.failed, summary.dead_letter, summary.paused), (0, 0, false));
    assert_eq!(world.traces(), 6);
}

#[test]
fn every_passing_fault_is_retried_until_the_answer_is_there() {
    let faults = [
        r#"[{"request": 1, "status": 429}]"#,
        r#"[{"until": 2, "status": 500, "body": "<html>bad gateway</html>"}]"#,
        r#"[{"every": 4, "status": 503}]"#,
        r#"[{"request": 3, "garbage": true}]"#,
        r#"[{"request": 2, "body": ""}]"#,
        r#"[{"request": 2, "body": "\n\n\n"}]"#,
        r#"[{"request": 5, "cut_stream_after_bytes": 40}]"#,
        r#"[{"request": 5, "cut_stream_after_bytes": 0}]"#,
        r#"[{"request": 1, "body": "{\"error\": {\"message\": \"overloaded\", \"code\": 529}}"}]"#,
    ];
    for stream in [false, true] {
        for fault in faults {
            check_survives(fault, 1, |config| Config { stream, ..config });
        }
    }
}

#[test]
fn blank_lines_keep_a_reply_alive_and_silence_does_not() {
    let patient = |config| Config { idle_timeout_seconds: 1, ..config };
    check_survives(r#"[{"request": 2, "delay_ms": 1500, "blank_lines": true}]"#, 0, patient);
    check_survives(r#"[{"request": 2, "delay_ms": 3000}]"#, 1, patient);
}

#[test]
fn retry_after_is_waited_for() {
    let begun = Instant::now();
    check_survives(r#"[{"request": 2, "status": 429, "retry_after": 1}]"#, 1, |config| config);
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[test]
fn many_at_once_give_every_trace_once() {
    let world = World::new(600);
    let server = Server::start(r#"[{"every": 7, "status": 500}, {"every": 11, "garbage": true}]"#);
    let config = Config { in_flight: 64, attempts_max: 20, ..one_by_one(&server) };
    let summary = world.distill(&config).unwrap();
    assert_eq!((summary.succeeded, world.traces()), (600, 600), "{summary:?}");
    assert!(summary.retries > 100 && summary.truncated > 0, "{summary:?}");
    let again = world.distill(&config).unwrap();
    assert_eq!((again.requested, again.attempts), (0, 0), "only what is missing is asked for");
    let held_out: Vec<_> = world.questions(Split::HeldOut).iter().map(|q| q.id).collect();
    let mut truncated = 0;
    let each = |example: thinkery::records::Example| {
        assert!(!held_out.contains(&example.question.id), "held-out problems are never asked");
        assert_eq!(example.trace.endpoint, "rehearsal");
        truncated += u64::from(example.trace.finish_reason == FinishReason::Length);
        anyhow::Ok(())
    };
    world.cx.store.each_example(&TraceFilter::default(), each).unwrap();
    assert_eq!(truncated, summary.truncated);
}

#[test]
fn several_samples_of_a_question_are_several_requests() {
    let world = World::new(12);
    let server = Server::start("[]");
    let config = Config { samples: 3, ..one_by_one(&server) };
    assert_eq!(world.distill(&config).unwrap().succeeded, 36);
    assert_eq!(world.traces(), 36);
}

#[test]
fn a_wrong_key_ends_it_after_one_request_with_a_hint() {
    let world = World::new(12);
    let body = format!(r#"{{\"error\": {{\"message\": \"wrong key {KEY}\"}}}}"#);
    let faults = format!(r#"[{{"from": 1, "status": 401, "body": "{body}"}}]"#);
    let server = Server::start(&faults);
    let error = world.distill(&one_by_one(&server)).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.contains("does not accept the key (status 401): wrong key [key]"), "{text}");
    assert!(!text.contains(KEY) && !text.contains('\n'), "{text}");
    assert!(hint_of(&error).unwrap().contains("THINKERY_TEACHER_KEY"));
    assert_eq!(world.traces(), 0);
}

#[test]
fn an_empty_account_pauses_and_keeps_what_came() {
    let world = World::new(12);
    let server = Server::start(r#"[{"from": 5, "status": 402}]"#);
    let error = world.distill(&Config { in_flight: 2, ..one_by_one(&server) }).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with("could not go on asking `rehearsal`: the account"), "{text}");
    assert!(hint_of(&error).unwrap().starts_with("top up the account"), "{text}");
    let summary = error.downcast_ref::<distill::Paused>().unwrap().summary.clone();
    assert!(summary.paused && summary.attempts <= 8, "{summary:?}");
    assert!((3..=5).contains(&summary.succeeded), "{summary:?}");
    assert_eq!(world.traces(), summary.succeeded);
    let paid = Server::start("[]");
    let rest = world.distill(&one_by_one(&paid)).unwrap();
    assert_eq!(rest.requested, 12 - summary.succeeded);
    assert_eq!(world.traces(), 12);
}

#[test]
fn the_budget_is_kept() {
    let world = World::new(60);
    let server = Server::start("[]");
    let dear = Config { price_completion: 1e6, in_flight: 8, ..one_by_one(&server) };
    let config = Config { budget_usd: Some(500.0), ..dear };
    let summary = world.distill(&config).unwrap();
    assert!(summary.paused && summary.cost_usd <= 550.0, "{summary:?}");
    assert!((3..60).contains(&summary.succeeded), "{summary:?}");
    let again = world.distill(&config).unwrap();
    assert!(again.paused && again.cost_usd + summary.cost_usd <= 550.0, "{again:?}");
}

#[test]
fn an_endpoint_that_is_down_is_named_after_bounded_retries() {
    let world = World::new(12);
    // Bound and dropped: nobody listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Server::start("[]");
    let config = Config { endpoint: format!("http://{free}/v1"), ..one_by_one(&server) };
    let config = Config { endpoint_label: None, in_flight: 4, ..config };
    let error = world.distill(&config).unwrap_err();
    let text = format!("{error:#}");
    assert!(text.starts_with(&format!("could not distill from `http://{free}/v1`")), "{text}");
    assert!(hint_of(&error).unwrap().contains("endpoint runs"), "{text}");
    assert_eq!(world.traces(), 0);
}

#[test]
fn an_endpoint_that_only_fails_does_not_cost_thousands_of_requests() {
    let world = World::new(300);
    let server = Server::start(r#"[{"from": 1, "status": 422}]"#);
    let error = world.distill(&Config { in_flight: 8, ..one_by_one(&server) }).unwrap_err();
    assert!(format!("{error:#}").contains("status 422"), "{error:#}");
    assert_eq!(world.traces(), 0);
}

#[test]
fn a_question_the_endpoint_refuses_does_not_stop_the_others() {
    let world = World::new(12);
    let server = Server::start(r#"[{"request": 3, "status": 400}]"#);
    let summary = world.distill(&one_by_one(&server)).unwrap();
    assert_eq!((summary.succeeded, summary.dead_letter, summary.failed), (11, 1, 0));
    let again = world.distill(&one_by_one(&server)).unwrap();
    assert_eq!((again.requested, again.dead_letter, again.attempts), (1, 1, 0), "it stays dead");
    let other = Config { max_tokens: 100, ..one_by_one(&server) };
    assert_eq!(world.distill(&other).unwrap().succeeded, 1, "another request is another letter");
}

#[test]
fn dead_letters_are_sent_again_when_somebody_asks_for_it() {
    let world = World::new(12);
    let server = Server::start(r#"[{"from": 5, "until": 6, "status": 422}]"#);
    let config = one_by_one(&server);
    assert_eq!(world.distill(&config).unwrap().dead_letter, 2);
    let summary = world.distill(&Config { retry_dead_letters: true, ..config }).unwrap();
    assert_eq!((summary.requested, summary.succeeded, summary.dead_letter), (2, 2, 0));
    assert_eq!(world.traces(), 12);
}

#[test]
fn an_endpoint_that_refuses_everything_leaves_no_dead_letters() {
    let world = World::new(6);
    let server = Server::start(r#"[{"until": 6, "status": 400}]"#);
    world.distill(&one_by_one(&server)).unwrap_err();
    assert_eq!(world.distill(&one_by_one(&server)).unwrap().succeeded, 6);
}

#[test]
fn a_reply_that_was_kept_but_not_parsed_is_not_paid_for_again() {
    let world = World::new(6);
    let question = world.questions(Split::Train)[0].id;
    let body =
        br#"{"choices":[{"message":{"reasoning":"r","content":"s"},"finish_reason":"length"}],
            "usage":{"prompt_tokens":1000000,"completion_tokens":2000000}}"#;
    let reply = thinkery::records::Reply {
        question_id: question,
        sample: 0,
        model: Config::default().model,
        attempt: 2,
        status: 200,
        body: body.to_vec(),
    };
    // Twice: the first was lost to a retry, and both came.
    world.cx.store.add_replies(&[reply.clone(), reply]).unwrap();
    let server = Server::start("[]");
    let priced = Config { price_completion: 1.0, ..one_by_one(&server) };
    let summary = world.distill(&priced).unwrap();
    assert_eq!((summary.requested, summary.succeeded), (6, 6), "{summary:?}");
    assert_eq!(summary.attempts - summary.retries, 5, "{summary:?}");
    assert!((1_000_000..1_001_000).contains(&summary.prompt_tokens), "{summary:?}");
    assert!((2_000_000..2_010_000).contains(&summary.completion_tokens), "{summary:?}");
    assert!((2.0..2.1).contains(&summary.cost_usd) && summary.truncated >= 1, "{summary:?}");
    assert_eq!(world.traces(), 6);
}

#[test]
fn it_stops_within_two_seconds_and_keeps_what_came() {
    let world = World::new(60);
    let server = Server::start(r#"[{"from": 20, "delay_ms": 60000}]"#);
    let stop = world.cx.stop.clone();
    let rows = world.cx.store.clone();
    let watcher = std::thread::spawn(move || {
        while rows.unparsed_replies(&Config::default().model).unwrap().len() < 15 {
            std::thread::yield_now();
        }
        stop.request();
        Instant::now()
    });
    let result = world.distill(&Config { in_flight: 4, ..one_by_one(&server) });
    let asked = watcher.join().unwrap();
    assert!(result.unwrap_err().is::<thinkery::stage::Stopped>());
    assert!(asked.elapsed() < Duration::from_secs(2));
    assert!((15..=19).contains(&world.traces()));
}

/// A file with so many of the rehearsal's questions.
pub(crate) fn questions_file(env: &TestEnv, count: usize) -> String {
    let config = rehearsal::Config::default();
    let questions = rehearsal::questions(&config).unwrap();
    let rows = questions.iter().filter(|question| question.split == Split::Train).take(count);
    let row = |question: &NewQuestion| {
        let row = json!({
            "problem": question.problem, "domain": "math", "reference": question.reference,
        });
        format!("{row}\n")
    };
    env.file("questions.jsonl", &rows.map(row).collect::<String>()).display().to_string()
}

#[test]
fn out_of_money_is_one_line_a_hint_exit_code_1_and_what_was_done() {
    let env = TestEnv::new();
    let file = questions_file(&env, 30);
    let server = Server::start(r#"[{"from": 5, "status": 402}]"#);
    let endpoint = format!("http://{}/v1", server.address);
    let args = ["distill", &file, "--endpoint", &endpoint, "--model", "m", "--in-flight=2"];
    for budget in [&[][..], &["--budget-usd=5"]] {
        let ended = env.run(&[&args[..], budget, &["--json"]].concat());
        let error = ended.error();
        assert!(error.starts_with("error: `distill` is paused (job "), "{error}");
        assert!(error.contains("out of money (status 402)"), "{error}");
        assert!(error.contains("\nhint: top up the account"), "{error}");
        assert_eq!(error.lines().count(), 2, "{error}");
        let summary: Value = serde_json::from_str(ended.stdout.trim_end()).unwrap();
        assert_eq!(summary["paused"], true, "{summary}");
        assert!(summary["attempts"].as_u64().unwrap() <= 8, "{summary}");
    }
    let store = Store::open(&env.data()).unwrap();
    let job = store.jobs(1, None).unwrap().remove(0);
    assert_eq!(job.state, JobState::Failed);
    assert_eq!(job.summary.unwrap()["paused"], true);
    assert!(job.hint.unwrap().starts_with("top up"));
    drop(server);
    let paid = Server::start("[]");
    let endpoint = format!("http://{}/v1", paid.address);
    let args = ["distill", "--endpoint", &endpoint, "--model", "m", "--json"];
    let summary = env.run(&args).json();
    assert_eq!((&summary["paused"], &summary["failed"]), (&json!(false), &json!(0)));
    assert_eq!(store.trace_counts().unwrap().traces, 30);
}
