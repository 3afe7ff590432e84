//! The panel's API, asked through its real router; who may come in, and what they see.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use thinkery::api::{self, AppState, Hosts, Parts};
use thinkery::app::app;
use thinkery::engine::Device;
use thinkery::jobs::{Launch, Owner, Replayer, Runner, Secrets};
use thinkery::recipe::{Machine, Recipe};
use thinkery::records::{JobKind, JobProgress, JobState, Step};
use thinkery::sandbox::Sandbox;
use thinkery::serve::{Models, Offer};
use thinkery::store::{NewJob, NewRun, Store};
use tower::ServiceExt;

const PASSWORD: &str = "correct horse battery";

/// A panel over a folder of its own.
pub(crate) struct House {
    dir: TempDir,
    pub(crate) store: Store,
    state: AppState,
}

impl House {
    /// With a job runner whose children end at once.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let launch = Launch {
            exe: "/bin/false".into(),
            secrets: Secrets::default(),
            search_path: Default::default(),
            allow_unsandboxed: false,
        };
        let owner = Owner::open(dir.path(), launch).unwrap();
        let store = owner.store().clone();
        let models = Arc::new(Models::of_store(store.clone(), Device::Cpu));
        for (name, dir) in [("broken", "/nowhere"), ("echo", "parrot:")] {
            models.offer(Offer { name: name.into(), dir: dir.into(), created: 0 });
        }
        let state = AppState::new(Parts {
            store: store.clone(),
            runner: Some(Runner::start(owner).unwrap()),
            v1: Router::new().route("/v1/chat/completions", post(|body: String| async { body })),
            models,
            machine: Machine::here(),
            gpus: Vec::new(),
            hosts: Hosts { bound: Vec::new(), names: vec!["lab.example".into()] },
            sandbox: Some(Arc::new(|| api::Sandbox {
                tier: "T3".into(),
                healthy: true,
                note: "test".into(),
                means: "everything".into(),
                lost: None,
                fix: None,
                refused: Vec::new(),
                probes: vec![api::Probe {
                    name: "tcp".into(),
                    tries: "connect".into(),
                    held: true,
                    why: String::new(),
                }],
            })),
            replayer: Some(Replayer::new(|| Ok(Sandbox::new("/bin/false".into(), Vec::new())))),
        });
        Self { dir, store, state }
    }

    /// With a password and somebody logged in.
    pub(crate) async fn entered() -> (Self, String) {
        let house = Self::new();
        api::set_password(&house.store, PASSWORD).unwrap();
        let answer = house.post("/api/v1/login", None, json!({ "password": PASSWORD })).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let cookie = cookie(&answer);
        (house, cookie)
    }

    async fn ask(&self, request: Request<Body>) -> Response {
        app(self.state.clone()).oneshot(request).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str, cookie: Option<&str>) -> Response {
        self.ask(request("GET", path, cookie).body(Body::empty()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, cookie: Option<&str>, body: Value) -> Response {
        let request = request("POST", path, cookie).header("content-type", "application/json");
        self.ask(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// The JSON at `path`, for somebody who is logged in.
    pub(crate) async fn see(&self, path: &str, cookie: &str) -> Value {
        let answer = self.get(path, Some(cookie)).await;
        let status = answer.status();
        let value = json_of(answer).await;
        assert_eq!(status, StatusCode::OK, "{path}: {value}");
        value
    }

    fn job(&self, kind: JobKind) -> thinkery::records::Job {
        let new = NewJob { plan_id: None, kind, config: json!({}) };
        self.store.add_jobs(&[new]).unwrap().remove(0)
    }
}

fn request(method: &str, path: &str, cookie: Option<&str>) -> axum::http::request::Builder {
    let request = Request::builder().method(method).uri(path).header("host", "localhost:8642");
    match cookie {
        Some(cookie) => request.header("cookie", cookie),
        None => request,
    }
}

fn cookie(answer: &Response) -> String {
    let cookie = answer.headers()[header::SET_COOKIE].to_str().unwrap();
    cookie.split(';').next().unwrap().to_owned()
}

async fn text_of(answer: Response) -> String {
    let bytes = to_bytes(answer.into_body(), 1 << 24).await.unwrap();
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) async fn json_of(answer: Response) -> Value {
    let text = text_of(answer).await;
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text:?}"))
}

#[test]
fn the_description_is_the_committed_one() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/web/openapi.json");
    let found = api::openapi();
    if std::env::var_os("THINKERY_RECORD").is_some() {
        std::fs::write(path, &found).unwrap();
    }
    let recorded = std::fs::read_to_string(path).unwrap();
    assert!(found == recorded, "web/openapi.json differs; write it with `thinkery openapi`");
    let description: Value = serde_json::from_str(&found).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
}

#[tokio::test]
async fn hosts_that_are_not_ours_are_refused_before_anything_else() {
    let (house, cookie) = House::entered().await;
    let paths = ["/", "/api/v1/session", "/api/v1/status", "/api/v1/events", "/healthz", "/v1/x"];
    for path in paths {
        for (host, ours) in [
            ("localhost:8642", true),
            ("127.0.0.1:8642", true),
            ("[::1]:8642", true),
            ("lab.example", true),
            ("evil.example", false),
            ("evil.example:8642", false),
            ("10.0.0.7", false),
        ] {
            let request = Request::builder().uri(path).header("host", host);
            let request = request.header("cookie", &cookie).body(Body::empty()).unwrap();
            let refused = house.ask(request).await.status() == StatusCode::FORBIDDEN;
            assert_eq!(refused, !ours, "{host} asks {path}");
        }
        let nameless = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(house.ask(nameless).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test]
async fn the_setup_link_works_once_and_then_never_again() {
    let house = House::new();
    let session = json_of(house.get("/api/v1/session", None).await).await;
    assert_eq!(session, json!({ "authenticated": false, "setup_needed": true }));

    let url = api::issue_setup_url(&house.store, "http://127.0.0.1:8642").unwrap();
    let (base, token) = url.split_once("/setup#token=").unwrap();
    assert_eq!(base, "http://127.0.0.1:8642");
    let file = house.dir.path().join("setup-url");
    assert_eq!(std::fs::read_to_string(&file).unwrap().trim(), url);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let wrong = json!({ "token": "0".repeat(64), "password": PASSWORD });
    let answer = house.post("/api/v1/setup", None, wrong).await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    let short = json!({ "token": token, "password": "short" });
    let answer = house.post("/api/v1/setup", None, short).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);

    let good = json!({ "token": token, "password": PASSWORD });
    let answer = house.post("/api/v1/setup", None, good.clone()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let set = answer.headers()[header::SET_COOKIE].to_str().unwrap().to_owned();
    for word in ["thinkery_", "HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(set.contains(word), "{set}");
    }
    let session = house.see("/api/v1/session", &cookie(&answer)).await;
    assert_eq!(session, json!({ "authenticated": true, "setup_needed": false }));
    assert!(!file.exists(), "the used link is gone");

    let again = house.post("/api/v1/setup", None, good).await;
    assert_eq!(again.status(), StatusCode::UNAUTHORIZED);
    assert!(api::issue_setup_url(&house.store, "http://127.0.0.1:8642").is_err());
}

#[tokio::test]
async fn a_setup_link_ends_after_its_hour_and_when_another_is_made() {
    let house = House::new();
    let first = api::issue_setup_url(&house.store, "http://x").unwrap();
    let second = api::issue_setup_url(&house.store, "http://x").unwrap();
    let (_, void) = first.split_once("token=").unwrap();
    let body = json!({ "token": void, "password": PASSWORD });
    assert_eq!(house.post("/api/v1/setup", None, body).await.status(), StatusCode::UNAUTHORIZED);

    let (_, token) = second.split_once("token=").unwrap();
    house.store.set_setup_token(&sha256(token), now() - 1).unwrap();
    let body = json!({ "token": token, "password": PASSWORD });
    assert_eq!(house.post("/api/v1/setup", None, body).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn everything_but_the_front_door_needs_a_session() {
    let (house, cookie) = House::entered().await;
    let open = ["/version", "/session", "/setup", "/login", "/logout"];
    let description: Value = serde_json::from_str(&api::openapi()).unwrap();
    let mut asked = 0;
    for (path, methods) in description["paths"].as_object().unwrap() {
        if open.contains(&path.as_str()) {
            continue;
        }
        for method in methods.as_object().unwrap().keys() {
            let path = format!("/api/v1{}", path.replace("{id}", "1").replace("{name}", "x"));
            for cookie in [None, Some("thinkery_00000000=1"), Some("session=1")] {
                let request = request(&method.to_uppercase(), &path, cookie);
                let request = request.header("content-type", "application/json");
                let answer = house.ask(request.body(Body::from("{}")).unwrap()).await;
                assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
                let body = json_of(answer).await;
                assert_eq!(body["error"]["code"], "login_needed");
                assert!(body["error"]["hint"].is_string());
            }
            asked += 1;
        }
    }
    assert!(asked > 20, "{asked}");
    house.see("/api/v1/status", &cookie).await;
}

#[tokio::test]
async fn guessing_a_password_is_slowed_down_and_tells_nothing() {
    let (house, _) = House::entered().await;
    let wrong = json!({ "password": "wrong" });
    let mut refused = 0;
    // On a slow machine some tries come back while this goes on.
    let limited = loop {
        let answer = house.post("/api/v1/login", None, wrong.clone()).await;
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            break answer;
        }
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(json_of(answer).await["error"]["message"], "wrong password");
        refused += 1;
        assert!(refused < 50, "nobody slows this down");
    };
    assert!(refused >= 5, "people mistype: {refused}");
    assert!(limited.headers().contains_key(header::RETRY_AFTER));
    assert_eq!(json_of(limited).await["error"]["code"], "too_many_requests");

    let empty = House::new();
    let answer = empty.post("/api/v1/login", None, wrong).await;
    assert_eq!(json_of(answer).await["error"]["message"], "wrong password");
}

#[tokio::test]
async fn a_session_ends_with_logout_login_a_new_password_and_time() {
    let (house, first) = House::entered().await;
    let is_in = async |cookie: &str| {
        json_of(house.get("/api/v1/session", Some(cookie)).await).await["authenticated"] == true
    };
    let login = json!({ "password": PASSWORD });
    let second = cookie(&house.post("/api/v1/login", Some(&first), login.clone()).await);
    assert_ne!(first, second, "a login makes a new secret");
    assert!(!is_in(&first).await, "and the browser's old one is void");

    let third = cookie(&house.post("/api/v1/login", None, login).await);
    let change = json!({ "current": PASSWORD, "new": "another password" });
    let answer = house.post("/api/v1/password", Some(&second), change).await;
    let fourth = cookie(&answer);
    assert!(!is_in(&second).await && !is_in(&third).await && is_in(&fourth).await);

    house.post("/api/v1/logout", Some(&fourth), json!({})).await;
    assert!(!is_in(&fourth).await);

    let (name, _) = fourth.split_once('=').unwrap();
    for (secret, age, lives) in
        [("a", 11 * 3_600, true), ("b", 13 * 3_600, false), ("c", 31 * 24 * 3_600, false)]
    {
        house.store.add_session(&sha256(secret), now() - age).unwrap();
        assert_eq!(is_in(&format!("{name}={secret}")).await, lives, "{age} s old");
    }
    house.store.add_session(&sha256("d"), now() - 31 * 24 * 3_600).unwrap();
    house.store.touch_session(&sha256("d"), now()).unwrap();
    assert!(!is_in(&format!("{name}=d")).await, "30 days are all, however busy");
}

#[tokio::test]
async fn requests_from_other_sites_change_nothing() {
    let (house, cookie) = House::entered().await;
    let cases: &[(&[(&str, &str)], StatusCode)] = &[
        (&[], StatusCode::OK),
        (&[("sec-fetch-site", "same-origin")], StatusCode::OK),
        (&[("sec-fetch-site", "none")], StatusCode::OK),
        (&[("sec-fetch-site", "cross-site")], StatusCode::FORBIDDEN),
        (&[("sec-fetch-site", "same-site")], StatusCode::FORBIDDEN),
        (
            &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:8642")],
            StatusCode::FORBIDDEN,
        ),
        (&[("origin", "http://localhost:8642")], StatusCode::OK),
        (&[("origin", "http://localhost:9999")], StatusCode::FORBIDDEN),
        (&[("origin", "http://evil.example")], StatusCode::FORBIDDEN),
        (&[("origin", "null")], StatusCode::FORBIDDEN),
    ];
    for (headers, expected) in cases {
        let mut request = request("POST", "/api/v1/stop", Some(&cookie));
        for (name, value) in *headers {
            request = request.header(*name, *value);
        }
        let answer = house.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), *expected, "{headers:?}");
    }
    let form = request("POST", "/api/v1/stop", Some(&cookie))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = house.ask(form.body(Body::from("a=b")).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = json!({ "password": "x".repeat(3 << 20) });
    let answer = house.post("/api/v1/login", None, large).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn every_answer_carries_the_security_headers_and_no_cors() {
    let (house, cookie) = House::entered().await;
    for path in ["/", "/no.js", "/api/v1/status", "/api/x", "/v1/models", "/healthz", "/metrics"] {
        let request = request("GET", path, Some(&cookie)).header("origin", "http://evil.example");
        let answer = house.ask(request.body(Body::empty()).unwrap()).await;
        let headers = answer.headers();
        let policy = headers["content-security-policy"].to_str().unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "style-src-attr 'unsafe-inline'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert_eq!(headers["x-content-type-options"], "nosniff", "{path}");
        assert_eq!(headers["referrer-policy"], "no-referrer", "{path}");
        assert_eq!(headers["cross-origin-opener-policy"], "same-origin", "{path}");
        assert!(!headers.contains_key("access-control-allow-origin"), "{path}");
    }
}

#[tokio::test]
async fn the_keyed_door_opens_to_keys_only() {
    let (house, session) = House::entered().await;
    let ask = async |headers: &[(&str, &str)]| {
        let mut request = request("POST", "/v1/chat/completions", None);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        house.ask(request.body(Body::from("{\"echo\":1}")).unwrap()).await
    };
    for headers in [
        &[][..],
        &[("cookie", session.as_str())],
        &[("authorization", "Bearer tk_wrong")],
        &[("authorization", "Basic dGs6")],
    ] {
        let answer = ask(headers).await;
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{headers:?}");
        let body = json_of(answer).await;
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["code"], "invalid_api_key");
        assert!(body["error"]["message"].is_string());
    }

    let made = house.post("/api/v1/keys", Some(&session), json!({ "name": "laptop" })).await;
    assert_eq!(made.status(), StatusCode::CREATED);
    let made = json_of(made).await;
    let key = made["key"].as_str().unwrap();
    assert!(key.starts_with("tk_") && key.len() > 40, "{key}");
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("origin", "http://any.example")];
    let answer = ask(&headers).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(text_of(answer).await, "{\"echo\":1}");

    let list = house.see("/api/v1/keys", &session).await;
    assert_eq!(list["items"][0]["name"], "laptop");
    assert_eq!(list["items"][0]["last4"], key[key.len() - 4..]);
    assert!(list["items"][0]["last_used_at"].is_i64());
    assert!(!list.to_string().contains(key), "a key is shown once");
    let database = std::fs::read(house.dir.path().join("thinkery.db")).unwrap();
    assert!(!contains(&database, key.as_bytes()), "and stored nowhere");

    let path = format!("/api/v1/keys/{}", made["id"]);
    let answer = house.ask(request("DELETE", &path, Some(&session)).body(Body::empty()).unwrap());
    assert_eq!(answer.await.status(), StatusCode::NO_CONTENT);
    assert_eq!(ask(&headers).await.status(), StatusCode::UNAUTHORIZED, "revoked at once");

    let chat = house.post("/api/v1/chat", Some(&session), json!({ "messages": [] })).await;
    assert_eq!(text_of(chat).await, "{\"messages\":[]}", "the panel chats by its session");
}

#[tokio::test]
async fn a_panel_page_is_only_given_to_who_asks_for_a_page() {
    let house = House::new();
    let ask = async |path: &str, accept: &str| {
        let request = request("GET", path, None).header("accept", accept);
        house.ask(request.body(Body::empty()).unwrap()).await
    };
    for (path, accept, status, kind) in [
        ("/", "text/html", 200, "text/html; charset=utf-8"),
        ("/jobs/7", "text/html,*/*", 200, "text/html; charset=utf-8"),
        ("/jobs/7", "application/json", 404, "text/plain; charset=utf-8"),
        ("/jobs/7.js", "text/html", 404, "text/plain; charset=utf-8"),
        ("/assets/missing.js", "text/html", 404, "text/plain; charset=utf-8"),
        ("/assets/missing", "text/html", 404, "text/plain; charset=utf-8"),
        ("/api/unknown", "text/html", 404, "application/json"),
        ("/api/v1/unknown", "text/html", 404, "application/json"),
    ] {
        let answer = ask(path, accept).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert_eq!(answer.headers()["content-type"], kind, "{path}");
    }
    let page = ask("/", "text/html").await;
    assert_eq!(page.headers()["cache-control"], "no-cache");
    let tag = page.headers()["etag"].to_str().unwrap().to_owned();
    let again = request("GET", "/", None).header("if-none-match", tag);
    let again = house.ask(again.body(Body::empty()).unwrap()).await;
    assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn probes_and_metrics_need_no_login() {
    let house = House::new();
    house.job(JobKind::Verify);
    for path in ["/healthz", "/readyz", "/api/v1/version", "/api/openapi.json"] {
        assert_eq!(house.get(path, None).await.status(), StatusCode::OK, "{path}");
    }
    let metrics = text_of(house.get("/metrics", None).await).await;
    for line in [
        "thinkery_jobs{state=\"queued\"} 1",
        "thinkery_traces 0",
        "thinkery_questions{split=\"train\"} 0",
        "thinkery_verdicts{verdict=\"correct\"} 0",
        "thinkery_http_responses_total{class=\"2xx\"} 4",
        "# TYPE thinkery_uptime_seconds gauge",
        "# TYPE vllm:prompt_tokens_total counter",
        "# TYPE vllm:generation_tokens_total counter",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }
    let state = house.state.clone();
    tokio::task::spawn_blocking(move || state.close()).await.unwrap();
    assert_eq!(house.get("/readyz", None).await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn jobs_are_listed_stopped_retried_and_their_logs_read() {
    let (house, cookie) = House::entered().await;
    let ids: Vec<i64> = (0..3).map(|_| house.job(JobKind::Verify).id.0).collect();
    let page = house.see("/api/v1/jobs?limit=2", &cookie).await;
    assert_eq!(page["items"][0]["id"], ids[2]);
    assert_eq!(page["items"][0]["state"], "queued");
    let next = format!("/api/v1/jobs?limit=2&after={}", page["next"]);
    let page = house.see(&next, &cookie).await;
    assert_eq!((&page["items"][0]["id"], &page["next"]), (&json!(ids[0]), &Value::Null));

    let path = format!("/api/v1/jobs/{}", ids[0]);
    let stopped = house.post(&format!("{path}/stop"), Some(&cookie), json!({})).await;
    assert_eq!(json_of(stopped).await["state"], "cancelled", "one that waits ends at once");
    let again = house.post(&format!("{path}/stop"), Some(&cookie), json!({})).await;
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let all = house.post("/api/v1/stop", Some(&cookie), json!({})).await;
    assert_eq!(json_of(all).await, json!({ "stopped": 2 }));

    let logs = house.dir.path().join("logs");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join(format!("job-{}.log", ids[0])), "one\ntwo\n").unwrap();
    let log = house.see(&format!("{path}/log"), &cookie).await;
    assert_eq!(log, json!({ "text": "one\ntwo\n", "offset": 0, "next": 8, "complete": true }));
    let missing = house.get("/api/v1/jobs/999", Some(&cookie)).await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(json_of(missing).await["error"]["code"], "not_found");
}

#[tokio::test]
async fn a_recipe_is_started_by_name_only_and_its_problems_are_told() {
    let (house, cookie) = House::entered().await;
    let recipes = house.see("/api/v1/recipes", &cookie).await;
    assert_eq!(recipes["items"][0]["name"], "rehearsal");
    for (name, status) in [("unknown", 404), ("..%2F..%2Fetc%2Fpasswd", 404)] {
        let path = format!("/api/v1/recipes/{name}/run");
        let answer = house.post(&path, Some(&cookie), json!({})).await;
        assert_eq!(answer.status().as_u16(), status, "{name}");
    }
    let wrong = json!({ "set": { "train.learning_rat": 1.0 } });
    let answer = house.post("/api/v1/recipes/rehearsal/run", Some(&cookie), wrong).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let message = json_of(answer).await["error"]["message"].to_string();
    assert!(message.contains("learning_rate"), "{message}");

    let answer = house.post("/api/v1/recipes/rehearsal/run", Some(&cookie), json!({})).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let started = json_of(answer).await;
    assert_eq!(started["jobs"][0]["kind"], "questions");
    let status = house.see("/api/v1/status", &cookie).await;
    assert_eq!(status["plan"]["recipe"], "rehearsal");
    assert_eq!(status["stages"].as_array().unwrap().len(), 7);
    let stop = format!("/api/v1/plans/{}/stop", started["plan_id"]);
    let answer = house.post(&stop, Some(&cookie), json!({})).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_recipe_is_planned_for_other_machines_with_all_its_problems() {
    let (house, cookie) = House::entered().await;
    let path = "/api/v1/recipes/openthinker_7b/plan";
    let plan = async |body: Value| json_of(house.post(path, Some(&cookie), body).await).await;
    let eight = plan(json!({ "gpus": 8, "gpu_memory_bytes": 80u64 << 30 })).await;
    let forecast = &eight["forecast"];
    assert_eq!((&forecast["steps"], &forecast["fits"]), (&json!(3_561), &json!(true)));
    let shares = forecast["device"].as_array().unwrap();
    let sum: u64 = shares.iter().map(|share| share["bytes"].as_u64().unwrap()).sum();
    assert_eq!(forecast["device_bytes"], sum);
    let settings = eight["settings"].as_array().unwrap();
    let rate = settings.iter().find(|setting| setting["name"] == "learning_rate").unwrap();
    assert_eq!((&rate["value"], &rate["origin"]), (&json!(1e-5), &json!("recipe")));
    assert!(rate["about"].as_str().unwrap().starts_with("Peak learning rate"), "{rate}");

    let one = plan(json!({ "gpus": 1, "gpu_memory_bytes": 80u64 << 30 })).await;
    assert_eq!(one["forecast"]["fits"], false);
    let wrong = json!({ "set": { "train.learning_rate": -1.0, "train.epochs": "x" } });
    let wrong = plan(wrong).await;
    assert_eq!((&wrong["forecast"], &wrong["settings"]), (&Value::Null, &json!([])));
    assert!(!wrong["problems"].as_array().unwrap().is_empty(), "{wrong}");
    for (path, body, status) in [
        ("/api/v1/recipes/none/plan", json!({}), 404),
        (path, json!({ "gpus": 5_000 }), 400),
        (path, json!({ "gpu": 1 }), 400),
    ] {
        let answer = house.post(path, Some(&cookie), body).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn a_recipe_that_is_at_work_is_not_started_twice() {
    let (house, cookie) = House::entered().await;
    let machine = Machine::here();
    let plan = Recipe::load("rehearsal", &[]).unwrap().resolve(&machine).unwrap();
    let row = house.store.add_plan(&plan.recipe, &plan.to_json(), &plan.hash()).unwrap();
    let new = NewJob { plan_id: Some(row.id), kind: JobKind::Questions, config: json!({}) };
    house.store.add_jobs(&[new]).unwrap();
    let answer = house.post("/api/v1/recipes/rehearsal/run", Some(&cookie), json!({})).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let error = json_of(answer).await["error"].take();
    assert_eq!(error["code"], "at_work");
    assert_eq!(error["message"], "the recipe `rehearsal` is at work already");
    assert_eq!(error["hint"], "wait until it is done, or stop its jobs first");
    assert_eq!(house.store.plan_jobs(row.id).unwrap().len(), 1, "nothing was queued");
}

#[tokio::test]
async fn a_run_shows_its_whole_curve_in_few_points() {
    let (house, cookie) = House::entered().await;
    let new = NewRun {
        name: "verified".into(),
        dataset_id: None,
        config: json!({ "steps": 5_000 }),
        hash: "h".into(),
        steps_total: 5_000,
        path: "runs/verified".into(),
    };
    let run = house.store.add_run(&new).unwrap();
    let steps: Vec<Step> = (0..5_000).map(step).collect();
    house.store.put_steps(run.id, &steps).unwrap();
    let path = format!("/api/v1/runs/{}", run.id);
    let curve = house.see(&format!("{path}/steps?max_points=200"), &cookie).await;
    let items = curve["items"].as_array().unwrap();
    assert!(items.len() <= 200 && items.len() > 100, "{}", items.len());
    assert_eq!((&curve["total"], &curve["sampled"]), (&json!(5_000), &json!(true)));
    assert_eq!(items[0]["step"], 0);
    assert_eq!(items[items.len() - 1]["step"], 4_999);
    assert!(items.iter().any(|step| step["loss"] == 77.0), "the spike stays");
    let end = house.see(&format!("{path}/steps?from=4990"), &cookie).await;
    assert_eq!(end["items"].as_array().unwrap().len(), 10);

    let detail = house.see(&path, &cookie).await;
    assert_eq!((&detail["steps_done"], &detail["state"]), (&json!(5_000), &json!("running")));
    let models = house.see("/api/v1/models", &cookie).await;
    assert_eq!(models["items"], json!([]), "nothing is finished");
    house.store.finish_run(run.id).unwrap();
    let folder = house.dir.path().join("runs/verified/final");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.json"), "{}").unwrap();
    let models = house.see("/api/v1/models", &cookie).await;
    assert_eq!(
        (&models["items"][0]["name"], &models["items"][0]["served"]),
        (&json!("verified"), &json!(true))
    );
    let status = house.see("/api/v1/status", &cookie).await;
    assert_eq!(status["served"]["name"], "verified");
    assert_eq!(status["runs"][0]["steps_done"], 5_000);
}

#[tokio::test]
async fn models_are_loaded_and_unloaded_on_request() {
    let (house, cookie) = House::entered().await;
    let told = async |what: &str, model: &str| {
        let path = format!("/api/v1/models/{what}");
        let answer = house.post(&path, Some(&cookie), json!({ "model": model })).await;
        let status = answer.status();
        (status, if status == StatusCode::NO_CONTENT { json!({}) } else { json_of(answer).await })
    };
    let loaded = async || house.see("/api/v1/models/loaded", &cookie).await["items"].clone();
    assert_eq!(loaded().await, json!([]), "nothing is loaded before it is asked for");
    let (status, model) = told("load", "echo").await;
    assert_eq!((status, &model["loading"]), (StatusCode::OK, &json!(false)), "{model}");
    assert_eq!((&model["name"], &model["context"]), (&json!("echo"), &json!(4096)));
    let copy = &loaded().await[0]["copies"][0];
    assert_eq!((&copy["running"], &copy["waiting"]), (&json!(0), &json!(0)));
    assert_eq!((&copy["cache_tokens"], &copy["dead"]), (&json!(65_536), &json!(null)));

    let (status, error) = told("load", "nobody").await;
    assert_eq!((status, &error["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, error) = told("load", "broken").await;
    assert_eq!(status, StatusCode::CONFLICT);
    let message = error["error"]["message"].as_str().unwrap();
    assert!(message.contains("`/nowhere`"), "{message}");
    assert_eq!(loaded().await.as_array().unwrap().len(), 1, "what failed is not on its way");

    assert_eq!(told("unload", "echo").await.0, StatusCode::NO_CONTENT);
    assert_eq!(loaded().await, json!([]));
    assert_eq!(told("unload", "echo").await.0, StatusCode::CONFLICT);
}

fn step(step: u64) -> Step {
    Step {
        step,
        epoch: 0.0,
        loss: if step == 2_500 { 77.0 } else { 5.0 / (step + 1) as f64 },
        grad_norm: 1.0,
        learning_rate: 1e-3,
        tokens: 1,
        trained_tokens: 1,
        tokens_per_second: 1.0,
        mfu: None,
        seconds: 1.0,
        peak_memory_bytes: 1,
        balance: None,
    }
}

/// Lines of an event stream as they come.
struct Listener {
    stream: axum::body::BodyDataStream,
    text: String,
}

impl Listener {
    async fn new(house: &House, cookie: &str, query: &str, last: Option<&str>) -> Self {
        let mut request = request("GET", &format!("/api/v1/events{query}"), Some(cookie));
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = house.ask(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let headers = answer.headers();
        assert_eq!(headers["content-type"], "text/event-stream");
        assert_eq!(headers["cache-control"], "no-store");
        assert_eq!(headers["x-accel-buffering"], "no");
        Self { stream: answer.into_body().into_data_stream(), text: String::new() }
    }

    /// Reads on until the stream says `word`; gives all it said so far.
    async fn until(&mut self, word: &str) -> &str {
        while !self.text.contains(word) {
            let next = tokio::time::timeout(Duration::from_secs(10), self.stream.next()).await;
            let bytes: Bytes = next.expect("the stream is silent").expect("it ended").unwrap();
            self.text.push_str(std::str::from_utf8(&bytes).unwrap());
        }
        &self.text
    }

    async fn ends(mut self) -> bool {
        let end = async { while self.stream.next().await.is_some() {} };
        tokio::time::timeout(Duration::from_secs(10), end).await.is_ok()
    }
}

fn ids(text: &str) -> Vec<i64> {
    text.lines().filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).collect()
}

#[tokio::test]
async fn events_are_replayed_and_go_on_without_gap_or_repetition() {
    let (house, cookie) = House::entered().await;
    for _ in 0..5 {
        house.store.add_event("score", &json!({ "model": "m" })).unwrap();
    }
    let mut listener = Listener::new(&house, &cookie, "?after=2", None).await;
    assert!(listener.until("id: 5\n").await.starts_with("retry: 2000\n\n"));
    house.store.add_event("score", &json!({ "model": "m" })).unwrap();
    let text = listener.until("id: 6\n").await;
    assert_eq!(ids(text), [3, 4, 5, 6]);
    assert!(
        text.contains("event: score\ndata: {\"topic\":\"score\",\"data\":{\"model\":\"m\"}}\n\n")
    );

    let mut header = Listener::new(&house, &cookie, "?after=0", Some("5")).await;
    assert_eq!(ids(header.until("id: 6\n").await), [6], "the header wins");
    let mut fresh = Listener::new(&house, &cookie, "", None).await;
    fresh.until("retry").await;
    house.store.add_event("counts", &json!({})).unwrap();
    assert_eq!(ids(fresh.until("id: 7\n").await), [7], "from now on");
}

#[tokio::test]
async fn who_is_too_far_behind_is_told_to_resync() {
    let (house, cookie) = House::entered().await;
    for _ in 0..2_100 {
        house.store.add_event("score", &json!({})).unwrap();
    }
    for last in ["10", "999999"] {
        let mut listener = Listener::new(&house, &cookie, "", Some(last)).await;
        let text = listener.until("event: resync\n").await;
        assert_eq!(ids(text), [2_100], "from {last}");
    }
    let bad = request("GET", "/api/v1/events", Some(&cookie)).header("last-event-id", "x");
    let answer = house.ask(bad.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_jobs_progress_is_passed_on_in_its_latest_form() {
    let (house, cookie) = House::entered().await;
    let job = house.job(JobKind::Verify);
    house.store.move_job(job.id, &[JobState::Queued], JobState::Running).unwrap();
    for done in 0..100 {
        let progress = JobProgress { done, total: 100, note: "x".into() };
        house.store.set_job_progress(job.id, &progress).unwrap();
    }
    let mut listener = Listener::new(&house, &cookie, "?after=0", None).await;
    let text = listener.until("\"done\":99").await;
    assert_eq!(text.matches("event: job\n").count(), 2, "queued, and running at the end: {text}");
}

#[tokio::test]
async fn streams_end_with_their_session_and_with_the_house() {
    let (house, cookie) = House::entered().await;
    let mut listener = Listener::new(&house, &cookie, "", None).await;
    listener.until("retry").await;
    house.post("/api/v1/logout", Some(&cookie), json!({})).await;
    assert!(listener.ends().await, "logged out");

    let login = house.post("/api/v1/login", None, json!({ "password": PASSWORD })).await;
    let cookie = self::cookie(&login);
    let mut listener = Listener::new(&house, &cookie, "", None).await;
    listener.until("retry").await;
    let state = house.state.clone();
    tokio::task::spawn_blocking(move || state.close()).await.unwrap();
    assert!(listener.ends().await, "closed");
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn sha256(text: &str) -> String {
    use sha2::Digest;
    sha2::Sha256::digest(text).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[tokio::test]
async fn a_run_has_its_checkpoints_its_table_and_goes_on_from_any_of_them() {
    let (house, cookie) = House::entered().await;
    let arm = thinkery::records::Arm::Verified;
    let mode = thinkery::records::Mode::Strict;
    let dataset = house.store.add_dataset(("d", arm, mode), "0123456789", "datasets/d", &[]);
    let config = serde_json::to_value(thinkery::train::Config::default()).unwrap();
    let new = NewRun {
        name: "verified".into(),
        dataset_id: Some(dataset.unwrap().id),
        config,
        hash: "h".into(),
        steps_total: 8,
        path: "runs/verified".into(),
    };
    let run = house.store.add_run(&new).unwrap();
    house.store.put_steps(run.id, &(0..8).map(step).collect::<Vec<_>>()).unwrap();
    house.store.finish_run(run.id).unwrap();
    let folder = house.dir.path().join("runs/verified");
    for (at, loss) in [(4, 0.5), (6, 0.25), (8, 0.75)] {
        let path = format!("runs/verified/checkpoint-{at}");
        std::fs::create_dir_all(house.dir.path().join(&path).join("state")).unwrap();
        let progress = json!({ "step": at, "loss": loss }).to_string();
        std::fs::write(house.dir.path().join(&path).join("state/progress.json"), progress).unwrap();
        let checkpoint = thinkery::records::Checkpoint { run_id: run.id, step: at, path };
        house.store.add_checkpoint(&checkpoint).unwrap();
    }
    let path = format!("/api/v1/runs/{}", run.id);
    let told = house.see(&path, &cookie).await;
    let one = |at: usize| {
        let checkpoint = &told["checkpoints"][at];
        (checkpoint["step"].as_u64(), checkpoint["best"].as_bool(), checkpoint["bytes"].as_u64())
    };
    assert_eq!(
        [0, 1].map(one),
        [(Some(4), Some(false), Some(21)), (Some(6), Some(true), Some(22))]
    );
    assert!(told["command"].as_str().unwrap().contains("--examples 01234567 --out verified-again"));
    let answer = house.get(&format!("{path}/steps.csv"), Some(&cookie)).await;
    assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/csv; charset=utf-8");
    let table = text_of(answer).await;
    assert!(table.starts_with("step,epoch,loss,grad_norm,learning_rate,"), "{table}");
    assert_eq!(table.lines().count(), 9);

    let resume = async |from: u64| {
        let answer =
            house.post(&format!("{path}/resume"), Some(&cookie), json!({ "from": from })).await;
        (answer.status(), json_of(answer).await)
    };
    let (status, refused) = resume(5).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(refused["error"]["hint"], "there are checkpoints after 4, 6, 8 steps");
    let (status, job) = resume(6).await;
    assert_eq!(status, StatusCode::OK, "{job}");
    assert_eq!((&job["kind"], &job["config"]["arms"]), (&json!("train"), &json!(["verified"])));
    assert_eq!(job["config"]["dataset"], "0123456789", "exactly what it began with");
    assert!(folder.join("checkpoint-6").is_dir() && !folder.join("checkpoint-8").exists());
    let told = house.see(&path, &cookie).await;
    assert_eq!((&told["state"], &told["job_id"]), (&json!("running"), &job["id"]));
    assert_eq!(told["checkpoints"].as_array().unwrap().len(), 2);
    assert_eq!(told["events"][0]["kind"], "went_back");

    let waits = house.job(JobKind::Train);
    let (status, refused) = resume(4).await;
    assert_eq!((status, &refused["error"]["code"]), (StatusCode::CONFLICT, &json!("at_work")));
    assert!(waits.id.0 > 0 && folder.join("checkpoint-6").is_dir(), "nothing was deleted");
}

#[tokio::test]
async fn an_example_is_asked_for_before_there_is_one() {
    let (house, cookie) = House::entered().await;
    let ask = async |recipe: &str, body: Value| {
        let path = format!("/api/v1/recipes/{recipe}/example");
        let answer = house.post(&path, Some(&cookie), body).await;
        (answer.status(), json_of(answer).await["error"].take())
    };
    let (status, error) = ask("rehearsal", json!({ "row": 1 })).await;
    assert_eq!((status, &error["code"]), (StatusCode::BAD_REQUEST, &json!("invalid")));
    assert_eq!(error["message"], "there is no verified dataset `rehearsal`");
    assert_eq!(error["hint"], "build it first: thinkery dataset build");
    let (_, error) = ask("rehearsal", json!({ "row": 1, "arm": "best" })).await;
    assert_eq!(error["hint"], "arms are verified and unverified");
    let bad = json!({ "row": 1, "set": { "train.learning_rate": -1 } });
    let (status, error) = ask("rehearsal", bad).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(error["message"].as_str().unwrap().contains("`train.learning_rate` is -1"), "{error}");
    assert_eq!(ask("nothing", json!({ "row": 1 })).await.0, StatusCode::NOT_FOUND);
}
