//! What each layer is for: leave one out and its probe turns red, leave all out and every probe does.
//! And what a machine is told that lacks something.

use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::USER;
use super::host::{self, Host};
use super::judge::{Missing, Setting};
use crate::env::{Ended, TestEnv};

/// What `doctor` says about the sandbox.
fn report(command: &mut Command) -> Value {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all: Value = serde_json::from_str(said.trim_end()).unwrap_or_else(|error| {
        panic!("{error}: {said}{}", String::from_utf8_lossy(&output.stderr))
    });
    all["sandbox"].clone()
}

/// The probes that got through.
fn escaped(report: &Value) -> Vec<&str> {
    let probes = report["probes"].as_array().unwrap();
    assert!(probes.len() >= 12, "{report}");
    probes.iter().filter(|p| p["held"] == false).map(|p| p["probe"].as_str().unwrap()).collect()
}

#[test]
fn a_layer_left_out_is_found_missing() {
    let Some(best) = Setting::best() else { return };
    let host = Host::new();
    let whole = report(&mut best.command(&host, &["doctor", "--json"]));
    assert_eq!((whole["tier"].as_str(), escaped(&whole)), (Some("T3"), vec![]), "{whole}");
    for (tier, layer, probe) in [
        ("T3", "network", "tcp"),
        ("T3", "network", "socket"),
        ("T3", "root", "file"),
        ("T3", "landlock", "file"),
        ("T3", "seccomp", "tcp"),
        ("T3", "seccomp", "socket"),
        ("T3", "processes", "processes"),
        ("T3", "memory", "memory"),
        ("T2", "memory", "memory"),
        ("T3", "pids", "signal"),
        ("T3", "proc", "environment"),
        ("T1", "landlock", "file"),
        ("T1", "landlock", "environment"),
        ("T1", "seccomp", "processes"),
        ("T1", "seccomp", "tcp"),
    ] {
        let mut command = best.command(&host, &["doctor", "--json"]);
        command.env("THINKERY_SANDBOX_TIER", tier).env("THINKERY_SANDBOX_WITHOUT", layer);
        let found = report(&mut command);
        assert!(found["tier"].is_null(), "{tier} without {layer}: {found}");
        assert!(escaped(&found).contains(&probe), "{tier} without {layer}: {found}");
    }
}

#[test]
fn a_box_with_a_hole_is_given_no_program() {
    let Some(best) = Setting::best() else { return };
    let host = Host::new();
    let mut command = best.command(&host, &["grade", "code"]);
    command.env("THINKERY_SANDBOX_TIER", "T3").env("THINKERY_SANDBOX_WITHOUT", "landlock");
    let ended = grade(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(ended.stderr.contains("error: could not lock programs in: T3: "), "{ended:#?}");
    assert!(ended.stderr.contains("the probe `file` was not held: it listed `/`"), "{ended:#?}");
    assert!(ended.stderr.contains("hint: `thinkery doctor` shows"), "{ended:#?}");
}

/// Grades one program that does what it should.
fn grade(mut command: Command) -> Ended {
    let row = json!({
        "solution": "```python\nprint(1)\n```", "tests": {"inputs": [""], "outputs": ["1"]}
    });
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A judge that has nothing to judge with may be gone already.
    _ = writeln!(child.stdin.take().unwrap(), "{row}");
    Ended::of(child.wait_with_output().unwrap())
}

/// Runs one probe with no box around it.
fn bare(python: &Path, folder: &Path, given: &[(&str, &str)]) -> String {
    let mut child = Command::new(python)
        .args(["-I", "-S", "-c", include_str!("../../../src/sandbox/probes.py")])
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = given.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Something of this process that a probe may find.
static KNOWN: u64 = 0x7468_696e_6b65_7279;

#[test]
fn without_a_box_every_probe_gets_through() {
    let env = TestEnv::new();
    let canary = env.file("canary", "x");
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let name = format!("thinkery-bare-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).unwrap();
    let _unix = UnixListener::bind_addr(&address).unwrap();
    let port = tcp.local_addr().unwrap().port().to_string();
    let own = std::process::id().to_string();
    let known = std::ptr::from_ref(&KNOWN).addr().to_string();
    let python = PathBuf::from(super::judge::python());
    let ask = |probe: &str, process: &str| {
        // What is counted or held in several processes is the same question everywhere.
        let counted = ["processes", "memory"].contains(&probe);
        let (canary, folder) = (canary.display().to_string(), env.path().display().to_string());
        bare(
            &python,
            env.path(),
            &[
                ("probe", probe),
                ("process", process),
                ("isolated", if counted { "1" } else { "0" }),
                ("filtered", "0"),
                ("read", &canary),
                ("write", &folder),
                ("name", &name),
                ("port", &port),
                ("supervisor", &own),
                ("address", &known),
                ("processes", "8"),
                ("memory", "1000000"),
                ("seconds", "0"),
            ],
        )
    };
    // Where the kernel forbids to trace what one has not started, that probe proves nothing here.
    let yama = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let traceable = ["", "0"].contains(&yama.trim());
    for (probe, _) in thinkery::sandbox::PROBES {
        let mut said = ask(probe, "");
        if probe == "survive" {
            let process = said.lines().find(|line| *line != "held").unwrap_or_default().to_owned();
            said = ask("survived", &process);
            let pid = process.parse().ok().and_then(rustix::process::Pid::from_raw);
            let signal = rustix::process::Signal::KILL;
            rustix::process::kill_process(pid.expect("it says who lives on"), signal).unwrap();
        }
        assert!(said.starts_with("escaped: ") || probe == "trace" && !traceable, "{probe}: {said}");
    }
    assert!(tcp.set_nonblocking(true).is_ok() && tcp.accept().is_ok());
}

#[test]
fn what_a_machine_lacks_is_told_with_its_remedy() {
    let host = Host::new();
    let refused = |report: &Value, tier: &str| -> String {
        let all = report["refused"].as_array().unwrap();
        // There may be several interpreters, each with its own reason.
        let these = all.iter().filter(|refusal| refusal["tier"] == tier);
        these.map(|refusal| refusal["why"].as_str().unwrap()).collect::<Vec<_>>().join("\n")
    };
    // No namespaces: one process per run.
    let container = Setting::no_namespaces(None);
    let found = report(&mut container.command(&host, &["doctor", "--json"]));
    assert_eq!(found["tier"], "T1", "{found}");
    assert!(refused(&found, "T2").contains("could not make namespaces"), "{found}");
    // No control groups: a user that nobody gave any.
    if host::is_root() {
        let user = Setting { groups: None, ..Setting::plain_user(USER).unwrap() };
        let found = report(&mut user.command(&host, &["doctor", "--json"]));
        assert_eq!(found["tier"], "T2", "{found}");
        assert!(refused(&found, "T3").contains("cgroup"), "{found}");
    }
    // Nothing that holds: no program is run.
    let nothing = Setting { missing: Missing::Everything, ..Setting::no_namespaces(None) };
    let found = report(&mut nothing.command(&host, &["doctor", "--json"]));
    assert!(found["tier"].is_null(), "{found}");
    assert!(refused(&found, "T1").contains("could not restrict files"), "{found}");
    let ended = grade(nothing.command(&host, &["grade", "code"]));
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(ended.stderr.contains("error: could not lock programs in: "), "{ended:#?}");
    assert!(
        ended.stderr.contains("--allow-unsandboxed runs programs with limits only"),
        "{ended:#?}"
    );
}

#[test]
fn a_python_that_is_too_old_or_none_is_named() {
    let env = TestEnv::new();
    let said = [
        ("/usr/bin/python3\\n3\\n8\\n", "is Python 3.8, older than 3.9"),
        ("hello", "is no Python"),
    ];
    for (said, why) in said {
        let python = env.file("python3", &format!("#!/bin/sh\nprintf '{said}'\n"));
        std::fs::set_permissions(&python, Permissions::from_mode(0o755)).unwrap();
        let mut command = env.command(&["grade", "code"]);
        command.env("PATH", env.path());
        let ended = grade(command);
        assert_eq!(ended.code, Some(1), "{ended:#?}");
        let told = format!("error: could not find python3: `{}` {why}", python.display());
        assert!(ended.stderr.contains(&told), "{ended:#?}");
        assert!(ended.stderr.contains("hint: install Python 3.9 or newer"), "{ended:#?}");
    }
}

#[test]
fn without_a_folder_for_temporary_files_namespaces_do() {
    let host = Host::new();
    let nowhere = host.tmp().join("nowhere");
    if let Some(best) = Setting::best() {
        let mut command = best.command(&host, &["grade", "code"]);
        command.env("TMPDIR", &nowhere);
        let ended = grade(command);
        assert!(ended.stdout.contains(r#""outcome":"passed""#), "{ended:#?}");
    }
    let mut command = Setting::no_namespaces(None).command(&host, &["grade", "code"]);
    command.env("TMPDIR", &nowhere);
    let ended = grade(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:#?}");
    assert!(
        ended.stderr.contains("T1: ") && ended.stderr.contains("no temporary folder"),
        "{ended:#?}"
    );
}
