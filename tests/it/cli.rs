//! What people see at the command line: help, results, and what bad input gets.

use insta::assert_snapshot;
use thinkery::store::Store;

use crate::env::TestEnv;

#[test]
fn the_help_lists_every_verb() {
    let ended = TestEnv::new().run(&["--help"]);
    assert_eq!(ended.code, Some(0));
    assert_snapshot!("help", ended.stdout);
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [&["nonsense"][..], &["run"], &["plan", "rehearsal", "--device-memory", "80Gb"]] {
        assert_eq!(TestEnv::new().run(args).code, Some(2), "{args:?}");
    }
}

#[test]
fn completions_are_a_script() {
    let ended = TestEnv::new().run(&["completions", "bash"]);
    assert!(ended.stdout.contains("complete -F _thinkery"), "{ended:?}");
}

#[test]
fn settings_say_where_they_come_from() {
    let env = TestEnv::new();
    let from_variable = env.run(&["config", "show", "--json"]).json();
    assert_eq!(from_variable["data"]["origin"], "THINKERY_DATA_DIR");
    let dir = env.path().join("elsewhere");
    let from_flag = env.run(&["config", "show", "--json", "--data", dir.to_str().unwrap()]).json();
    assert_eq!(from_flag["data"]["origin"], "--data");
    assert_eq!(from_flag["data"]["value"], dir.to_str().unwrap());
}

#[test]
fn a_secret_is_never_printed() {
    let env = TestEnv::new();
    let mut command = env.command(&["config", "show", "--origin"]);
    let output = command.env("THINKERY_TEACHER_KEY", "sk-very-secret").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("sk-very-secret") && text.contains("THINKERY_TEACHER_KEY"), "{text}");
}

#[test]
fn a_job_is_started_by_the_owner_of_the_folder_only() {
    assert_eq!(
        TestEnv::new().run(&["job", "1"]).error(),
        "error: job 1 can only be started by the process that owns the data folder\n\
         hint: use `thinkery run`, or start it in the panel of `thinkery up`"
    );
}

#[test]
fn there_is_no_such_recipe() {
    let env = TestEnv::new();
    assert_eq!(
        env.run(&["run", "rehersal"]).error(),
        "error: there is no recipe `rehersal`\n\
         hint: did you mean `rehearsal`? or give the path of a TOML file"
    );
    assert_eq!(
        env.run(&["plan", "xyz"]).error(),
        "error: there is no recipe `xyz`\nhint: built in are rehearsal, openthinker_7b, \
         openthinker_32b; or give the path of a TOML file"
    );
}

#[test]
fn a_recipe_that_is_no_toml_names_the_line() {
    let env = TestEnv::new();
    env.file("mine.toml", "[train]\nsteps = \n");
    let error = env.run(&["plan", "mine.toml"]).error();
    assert!(error.starts_with("error: could not read the recipe `mine`: line 2: "), "{error}");
}

#[test]
fn doctor_misses_python3() {
    let env = TestEnv::new();
    let mut command = env.command(&["doctor"]);
    let output = command.env("PATH", env.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    let line = text.lines().position(|line| line.contains("python3")).unwrap();
    let about: Vec<&str> = text.lines().skip(line).take(2).collect();
    assert_eq!(
        about.join("\n"),
        "!!  python3      it is nowhere on the search path\n                 fix: install Python 3.9 \
         or newer (`apt install python3`): code answers are run with it"
    );
}

#[test]
fn doctor_tries_ranks_where_there_is_an_engine() {
    let env = TestEnv::new();
    let ended = env.run(&["doctor", "--collectives", "--json"]);
    let told: serde_json::Value =
        serde_json::from_str(ended.stdout.lines().next().unwrap_or_default()).unwrap();
    let checks = told["checks"].as_array().unwrap();
    let health = |name: &str| {
        checks.iter().find(|check| check["name"] == name).map(|check| check["health"].clone())
    };
    if thinkery::engine::facts().backends.is_empty() {
        assert_eq!(health("collectives"), Some("broken".into()));
        return;
    }
    for name in ["all-gather", "reduce-scatter", "all-reduce", "one step"] {
        assert_eq!(health(name), Some("ok".into()), "{name}: {told}");
    }
}

#[test]
fn doctor_says_whether_the_panel_is_in_this_build() {
    let env = TestEnv::new();
    let checks = env.run(&["doctor", "--json"]);
    let checks: serde_json::Value = serde_json::from_str(checks.stdout.trim_end()).unwrap();
    let checks = checks["checks"].as_array().unwrap();
    let panel = checks.iter().find(|check| check["name"] == "panel").unwrap();
    let found = panel["found"].as_str().unwrap();
    assert!(found.starts_with(thinkery::api::WEB), "{panel}");
    let embedded = thinkery::api::WEB != "placeholder";
    assert_eq!(panel["health"], if embedded { "ok" } else { "absent" });
    assert_eq!(panel["fix"].is_null(), embedded, "{panel}");
}

#[test]
fn a_recipe_with_unknown_keys_is_refused_with_all_of_them() {
    let env = TestEnv::new();
    env.file("mine.toml", "[questions]\nsorce = \"rehearsal\"\n\n[trane]\nsteps = 1\n");
    assert_eq!(
        env.run(&["run", "mine.toml"]).error(),
        "error: the recipe `mine` has 2 problems:\n  \
         line 2: unknown key `questions.sorce` (did you mean `questions.source`?)\n  \
         line 5: unknown section `trane` in `trane.steps` (did you mean `train`?)\n\
         hint: `thinkery plan rehearsal --json` shows every setting with its value"
    );
    assert!(!env.data().exists(), "nothing was begun");
}

#[test]
fn openthinker_is_planned_anywhere_and_run_where_it_fits() {
    let env = TestEnv::new();
    let plan =
        env.run(&["plan", "openthinker_7b", "--json", "--devices=8", "--device-memory=80GiB"]);
    let plan = plan.json();
    assert_eq!((&plan["steps"], &plan["fits"]), (&3561.into(), &true.into()));
    assert_eq!(plan["origins"]["train.learning_rate"], "recipe");
    let plan = |devices| env.run(&["plan", "openthinker_32b", devices, "--device-memory=80GiB"]);
    assert_eq!(plan("--devices=8").code, Some(0), "one node is enough");
    let error = plan("--devices=4");
    assert!(error.error().contains("does not fit on 4 GPUs"), "{error:?}");
    // A machine with GPUs of unknown size may try.
    if env.run(&["plan", "openthinker_7b", "--json"]).json()["machine"]["gpus"] == 0 {
        let error = env.run(&["run", "openthinker_7b"]).error();
        assert!(error.contains("cannot be trained on this machine"), "{error}");
    }
}

#[test]
fn a_failed_stage_says_why_and_what_to_do() {
    let env = TestEnv::new();
    env.file("mine.toml", "[questions]\nsource = \"jsonl\"\npath = \"absent.jsonl\"\n");
    let error = env.run(&["run", "mine.toml"]).error();
    assert!(error.starts_with("error: `questions` failed (job 1): "), "{error}");
    assert!(error.contains("absent.jsonl"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error_with_a_hint() {
    let env = TestEnv::new();
    // A file in the place of the folder stops root as well.
    env.file("data", "");
    let error = env.run(&["run", "rehearsal", "--until=questions"]).error();
    assert!(error.contains("could not use") && error.contains("hint: "), "{error}");
}

#[test]
fn a_disk_that_takes_no_more_is_an_error_with_a_hint() {
    let env = TestEnv::new();
    // A megabyte for each file: everybody can have that, where a small disk needs privileges.
    let ended = env.run_with_small_files(2_048, &["run", "rehearsal", "--until=distill"]);
    let error = ended.error();
    assert!(error.contains("could not write to `thinkery.db`: no room"), "{error}");
    assert!(error.contains("\nhint: look at the quota"), "{error}");
    assert_eq!(error.lines().count(), 2, "{error}");
    let store = Store::open(&env.data()).unwrap();
    assert_eq!(store.integrity_check().unwrap(), "ok");
    let before = store.counts().unwrap().questions.total;
    let result = env.run(&["run", "rehearsal", "--until=questions", "--json"]).json();
    let counts = &result["stages"]["questions"]["counts"];
    assert_eq!(counts["duplicates"], before, "what was imported is whole");
    let total = store.counts().unwrap().questions.total;
    assert_eq!(counts["imported"], total - before);
}
