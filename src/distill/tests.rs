//! Tests of what is asked and what traces say; asking itself is tested over HTTP in `tests/it`.

use super::{Config, Secrets, label, request, run};
use crate::chat::Role;
use crate::questions::rehearsal;
use crate::records::Domain;
use crate::stage::{Context, Progress, Stop, hint_of};
use crate::store::Store;

#[test]
fn every_rehearsal_question_is_asked_in_openthoughts_words() {
    let questions = rehearsal::questions(&rehearsal::Config::default()).unwrap();
    for question in questions {
        let request = request(&Config::default(), &question, 2);
        assert_eq!((request.messages.len(), request.seed), (2, 2));
        let user = &request.messages[1];
        assert_eq!(user.role, Role::User);
        assert!(user.content.contains(&question.problem));
        assert_eq!(
            user.content != question.problem,
            matches!(question.domain, Domain::Math | Domain::Code)
        );
    }
}

#[test]
fn labels_hold_no_secrets() {
    let check = |endpoint: &str, expected: &str| {
        let config = Config { endpoint: endpoint.into(), ..Config::default() };
        assert_eq!(label(&config), expected);
    };
    check("https://user:word@host:1/v1?key=k", "https://host:1/v1");
    check("http://127.0.0.1:8000", "http://127.0.0.1:8000");
    let labelled = Config { endpoint_label: Some("rehearsal".into()), ..Config::default() };
    assert_eq!(label(&labelled), "rehearsal");
    let secrets =
        Secrets { teacher_key: Some("sk-secret".into()), judge_key: Some("sk-secret".into()) };
    assert!(!format!("{secrets:?}").contains("sk-secret"));
}

#[test]
fn settings_that_cannot_work_are_refused_with_a_hint() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let cx = Context { store, progress: Progress::silent(), stop: Stop::default() };
    let here = Config { endpoint: "http://127.0.0.1:9".into(), ..Config::default() };
    let configs = [
        Config::default(),
        Config { samples: 0, ..here.clone() },
        Config { price_prompt: f64::NAN, ..here.clone() },
        Config { budget_usd: Some(-1.0), ..here.clone() },
    ];
    for config in configs {
        let error = run(&cx, &config, &Secrets::default()).unwrap_err();
        assert!(hint_of(&error).is_some(), "{error:#}");
    }
    let summary = run(&cx, &here, &Secrets::default()).unwrap();
    assert_eq!((summary.requested, summary.paused), (0, false), "nothing to do is no error");
}
