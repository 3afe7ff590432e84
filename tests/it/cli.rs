//! What people see at the command line: help, results, and what bad input gets.

use std::os::unix::fs::PermissionsExt;

use insta::assert_snapshot;

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
    assert_snapshot!(TestEnv::new().run(&["job", "1"]).error(), @"");
}

#[test]
fn there_is_no_such_recipe() {
    let env = TestEnv::new();
    assert_snapshot!(env.run(&["run", "rehersal"]).error(), @"");
    assert_snapshot!(env.run(&["plan", "something"]).error(), @"");
}

#[test]
fn a_recipe_that_is_no_toml_names_the_line() {
    let env = TestEnv::new();
    env.file("mine.toml", "[train]\nsteps = \n");
    assert_snapshot!(env.run(&["plan", "mine.toml"]).error(), @"");
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
    assert_snapshot!(about.join("\n"), @"");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_with_a_hint() {
    if rustix::process::geteuid().is_root() {
        // Root may write anywhere: a file in the place of the folder is the same obstacle.
        let env = TestEnv::new();
        env.file("data", "");
        let error = env.run(&["run", "rehearsal"]).error();
        assert!(error.contains("could not use") && error.contains("hint:"), "{error}");
        return;
    }
    let env = TestEnv::new();
    std::fs::set_permissions(env.path(), PermissionsExt::from_mode(0o500)).unwrap();
    let error = env.run(&["run", "rehearsal"]).error();
    assert!(error.contains("could not use") && error.contains("hint:"), "{error}");
}
