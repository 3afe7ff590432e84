//! Slots from outside: what holds them, and that none outlives whoever uses it.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::env::TestEnv;

/// How long anything here may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer.
#[track_caller]
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        match ask() {
            Some(answer) => return answer,
            None => assert!(begin.elapsed() < PATIENCE, "{what} took too long"),
        }
        std::thread::yield_now();
    }
}

/// The processes below `pid`.
fn below(pid: u32) -> Vec<u32> {
    let mut found = Vec::new();
    // A thread of ours may have started it.
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(children.split_whitespace().filter_map(|word| word.parse::<u32>().ok()));
    }
    let deeper: Vec<u32> = found.iter().flat_map(|child| below(*child)).collect();
    found.extend(deeper);
    found
}

/// The control groups that a process with this id made.
fn groups(pid: u32, folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            let name = entry.file_name().into_string().unwrap_or_default();
            found.extend(groups(pid, &path));
            if name.starts_with(&format!("thinkery-{pid}-")) {
                found.push(path);
            }
        }
    }
    found
}

#[test]
fn nothing_outlives_a_judge_that_is_killed() {
    let env = TestEnv::new();
    let code = "```python\nimport os, time\nos.fork()\nos.fork()\ntime.sleep(3600)\n```";
    let limits = json!({"wall_ms": 3_600_000, "cpu_ms": 60_000});
    let tests = json!({"inputs": [""], "outputs": [""]});
    let row = json!({"solution": code, "tests": tests, "limits": limits});
    let mut command = env.command(&["grade", "code"]);
    let mut judge = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut stdin = judge.stdin.take().unwrap();
    writeln!(stdin, "{row}").unwrap();
    let pid = judge.id();
    // The launcher, the interpreter, and the four of the program.
    let inside = wait_for("the program", || Some(below(pid)).filter(|found| found.len() >= 5));
    judge.kill().unwrap();
    judge.wait().unwrap();
    let alive = |pid: &&u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit(')')
            .next()
            .is_some_and(|rest| !rest.trim().is_empty() && !rest.starts_with(" Z"))
    };
    wait_for("its end", || inside.iter().find(alive).is_none().then_some(()));
    let cgroup = Path::new("/sys/fs/cgroup");
    wait_for("the end of its groups", || groups(pid, cgroup).is_empty().then_some(()));
}
