//! A `thinkery grade code` that is fed one program at a time, in a setting that leaves it some of
//! the kernel's means.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::host::{self, Host};
use super::programs::Program;

/// Limits of a program that asks for none: enough for any that does what it should.
const CPU_MS: u64 = 500;
const WALL_MS: u64 = 5000;

/// What a row may take on top of its runs' watchdogs: starting a slot on a busy machine.
const GRACE: Duration = Duration::from_secs(1);

/// How often a program is judged that was held, but later than it should have been.
const ATTEMPTS: usize = 4;

/// When a judge counts as stalled.
const STALLED: Duration = Duration::from_secs(120);

/// How much of the kernel's means a judge is left.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// The tier that must come of it.
    pub(super) tier: &'static str,
    /// The tier that is asked for; without, the best that holds is chosen.
    pub(super) asked: Option<&'static str>,
    pub(super) user: Option<u32>,
    pub(super) missing: Missing,
    pub(super) groups: Option<Delegated>,
}

/// What the kernel refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Nothing,
    Namespaces,
    /// And Landlock, and filters of system calls.
    Everything,
}

impl Setting {
    /// Everything; none where control groups are out of reach.
    pub(super) fn best() -> Option<Self> {
        let whole = Self {
            name: "T3",
            tier: "T3",
            asked: None,
            user: None,
            missing: Missing::Nothing,
            groups: None,
        };
        host::is_root().then_some(whole)
    }

    /// A user with control groups of its own, made by root.
    pub(super) fn plain_user(user: u32) -> Option<Self> {
        let groups = Delegated::to(user);
        let tier = if groups.is_some() { "T3" } else { "T2" };
        let name = "T3 as a plain user";
        let setting =
            Self { name, tier, asked: None, user: Some(user), missing: Missing::Nothing, groups };
        host::is_root().then_some(setting)
    }

    /// Namespaces without control groups.
    pub(super) fn no_groups() -> Option<Self> {
        Some(Self { name: "T2", tier: "T2", asked: Some("T2"), ..Self::best()? })
    }

    /// A container without privileges.
    pub(super) fn no_namespaces(user: Option<u32>) -> Self {
        let name = if user.is_some() { "T1 as a plain user" } else { "T1" };
        Self { name, tier: "T1", asked: None, user, missing: Missing::Namespaces, groups: None }
    }

    /// The tier that `doctor` finds in this setting.
    pub(super) fn found(&self, host: &Host) -> String {
        let output = self.command(host, &["doctor", "--json"]).output().unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(said["sandbox"]["tier"].is_string(), "{}: {}", self.name, said["sandbox"]);
        said["sandbox"]["tier"].as_str().unwrap().to_owned()
    }

    /// `thinkery ARGUMENTS` in this setting.
    pub(super) fn command(&self, host: &Host, arguments: &[&str]) -> Command {
        let mut words: Vec<String> = Vec::new();
        if let Some(groups) = &self.groups {
            let join =
                groups.folders.iter().map(|f| format!("echo $$ > {}/cgroup.procs", f.display()));
            let join = join.collect::<Vec<_>>().join(" && ");
            words.extend(["sh", "-c", &format!("{join} && exec \"$@\""), "sh"].map(str::to_owned));
        }
        if let Some(user) = self.user {
            let user = [format!("--reuid={user}"), format!("--regid={user}")];
            words.push("setpriv".to_owned());
            words.extend(user);
            words.push("--clear-groups".to_owned());
        }
        if self.missing != Missing::Nothing {
            let script = include_str!("no_namespaces.py");
            let everything = if self.missing == Missing::Everything { "all" } else { "" };
            words.extend([&python(), "-c", script, everything].map(str::to_owned));
        }
        words.push(host.binary().display().to_string());
        words.extend(arguments.iter().map(|word| (*word).to_owned()));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir("/").env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("TMPDIR", host.tmp()).env("THINKERY_CANARY", &host.secret);
        if let Some(tier) = self.asked {
            command.env("THINKERY_SANDBOX_TIER", tier);
        }
        command
    }
}

/// A python3 that every user can start: the system's, if there is one.
pub(super) fn python() -> String {
    let system = "/usr/bin/python3";
    if fs::exists(system).unwrap() { system.to_owned() } else { "python3".to_owned() }
}

/// Control groups that belong to a user.
#[derive(Debug)]
pub(super) struct Delegated {
    folders: Vec<PathBuf>,
}

impl Delegated {
    /// New ones, where root has the first version of control groups and may make some.
    fn to(user: u32) -> Option<Self> {
        if !host::is_root() {
            return None;
        }
        // Each its own: tests run beside each other, and who is done takes its groups away.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("thinkery-test-{}-{number}", std::process::id());
        let folders: Vec<PathBuf> =
            ["memory", "pids"].map(|kind| PathBuf::from("/sys/fs/cgroup").join(kind)).into();
        let made: Vec<PathBuf> = folders.iter().map(|folder| folder.join(&name)).collect();
        let usable = folders.iter().zip(&made).all(|(folder, made)| {
            folder.join("tasks").exists() && fs::create_dir_all(made).is_ok()
        });
        let id = rustix::fs::Uid::from_raw(user);
        usable.then(|| {
            for folder in &made {
                rustix::fs::chown(folder, Some(id), None).unwrap();
            }
            Self { folders: made }
        })
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        for folder in &self.folders {
            // Whoever is still on the way out keeps it; a test that failed has said so already.
            let _busy = fs::remove_dir(folder);
        }
    }
}

/// One judge.
pub(super) struct Judge {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Judge {
    pub(super) fn start(setting: &Setting, host: &Host) -> Self {
        let mut command = setting.command(host, &["grade", "code"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Whatever it leaves becomes our child, and a group of its own keeps signals apart.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let mut child = command.process_group(0).spawn().unwrap();
        let stdin = child.stdin.take();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, stdin, lines }
    }

    /// Hands over one row and waits for its grade.
    fn ask(&mut self, row: &Value) -> Result<(Value, Duration), String> {
        let begin = Instant::now();
        let stdin = self.stdin.as_mut().unwrap();
        let written = writeln!(stdin, "{row}").and_then(|()| stdin.flush());
        let line = written
            .map_err(|e| e.to_string())
            .and_then(|()| self.lines.recv_timeout(STALLED).map_err(|error| error.to_string()));
        match line {
            Ok(line) => Ok((serde_json::from_str(&line).unwrap(), begin.elapsed())),
            Err(why) => Err(format!("the judge is gone ({why}): {}", self.last_words())),
        }
    }

    fn last_words(&mut self) -> String {
        _ = self.child.kill();
        let mut said = String::new();
        let stderr = self.child.stderr.take();
        _ = stderr.map(|mut stderr| std::io::Read::read_to_string(&mut stderr, &mut said));
        said
    }

    /// Judges one program; says what was wrong about it. A host that takes processors away makes
    /// any program slow: whoever was only late is judged again.
    pub(super) fn judge(&mut self, program: &Program, host: &Host) -> Vec<String> {
        let mut limits = json!({
            "cpu_ms": CPU_MS, "wall_ms": WALL_MS, "memory_bytes": 256 << 20,
            "output_bytes": 1 << 20, "file_bytes": 1 << 20, "processes": 32
        });
        for (name, value) in program.limits.as_object().unwrap() {
            limits[name] = value.clone();
        }
        let solution = host.fill(&program.solution, self.child.id());
        let tests: Value = serde_json::from_str(&host.fill(&program.tests.to_string(), 0)).unwrap();
        let row = json!({"solution": solution, "tests": tests, "limits": limits});
        let title = &program.title;
        let mut late = None;
        for _ in 0..ATTEMPTS {
            let (grade, took) = match self.ask(&row) {
                Ok(answer) => answer,
                Err(why) => panic!("{title}: {why}"),
            };
            let outcome = grade["outcome"].as_str().unwrap_or("none");
            let fits = |expected: &String| {
                expected == outcome || expected == "runtime_error" && outcome == "forbidden"
            };
            if !program.expect.iter().any(fits) {
                return vec![format!("{title}: {outcome}, not {:?}: {grade}", program.expect)];
            }
            late = too_late(program, &row, &grade, took);
            if late.is_none() {
                break;
            }
        }
        late.map(|late| format!("{title}: {late}")).into_iter().collect()
    }

    /// Judges a program that means well, after one that did not.
    pub(super) fn innocent(&mut self, after: &str) -> Vec<String> {
        let code = "import math\nn = int(input())\nopen('own', 'w').close() if n < 0 else None\nprint(math.isqrt(n))";
        let row = json!({
            "solution": format!("```python\n{code}\n```"),
            "tests": {"inputs": ["16"], "outputs": ["4"]}, "limits": {"wall_ms": 20_000}
        });
        match self.ask(&row) {
            Ok((grade, _)) if grade["outcome"] == "passed" => Vec::new(),
            Ok((grade, _)) => vec![format!("after {after}: {grade}")],
            Err(why) => panic!("after {after}: {why}"),
        }
    }

    /// How many files the judge has open.
    pub(super) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Ends the judge and looks for what is left of it.
    pub(super) fn finish(mut self) -> Vec<String> {
        self.stdin = None;
        let status = self.child.wait().unwrap();
        let mut failures = Vec::new();
        if !status.success() {
            failures.push(format!("the judge ended with {status}: {}", self.last_words()));
        }
        let id = self.child.id();
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut left = left_of(id);
        while !left.is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
            left = left_of(id);
        }
        failures.extend(left);
        failures
    }
}

/// What is wrong about the time that `program` was given, if anything: a row may take its runs'
/// watchdogs and a second, a run by its CPU limit a tenth of it and a tick of the kernel's clock more.
fn too_late(program: &Program, row: &Value, grade: &Value, took: Duration) -> Option<String> {
    let limits = &row["limits"];
    // Without optimisation a judge reads some megabytes a second.
    let read = row["solution"].as_str().map_or(0, str::len);
    let reading = Duration::from_millis(read as u64 / 2048);
    // What came close to its limit was run once more, alone.
    let again = grade["flaky"].as_u64().unwrap_or(0) as u32;
    let runs = grade["tests"].as_array().map_or(1, |tests| tests.len().max(1)) as u32 + again;
    let busy = host::busy();
    let most =
        Duration::from_millis(limits["wall_ms"].as_u64().unwrap()) * runs + GRACE * busy + reading;
    if took > most {
        return Some(format!("took {took:?}, more than {most:?}: {grade}"));
    }
    let cpu_ms = grade["tests"][0]["cpu_ms"].as_u64().unwrap_or(0);
    let limit = limits["cpu_ms"].as_u64().unwrap();
    let held = limit..=limit + limit / 10 + 10 * u64::from(busy);
    let missed = program.by_cpu && !held.contains(&cpu_ms);
    missed.then(|| format!("used {cpu_ms} of {limit} ms: {grade}"))
}

/// Processes that nobody owns any more, and control groups of the judge `id`.
fn left_of(id: u32) -> Vec<String> {
    let mut left = Vec::new();
    let own = std::process::id();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        let after = stat.rsplit(')').next().unwrap_or_default();
        let mut words = after.split_whitespace();
        let (state, parent) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let boxed = words.contains("sandboxed") || words.contains("serve\0");
        if parent == Some(own) && boxed && state != Some("Z") {
            left.push(format!("process {pid} is left: {:.200}", words.replace('\0', " ")));
        }
    }
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().starts_with(&format!("thinkery-{id}-")) {
                left.push(format!("control group {} is left", entry.path().display()));
            }
            folders.push(entry.path());
        }
    }
    left
}
