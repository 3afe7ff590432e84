//! A folder of its own and the real binary: what every test from outside stands on.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

/// A data folder in a temporary directory. Dropping it removes everything.
pub(crate) struct TestEnv {
    dir: tempfile::TempDir,
}

/// How a command ended, as text.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; none after a signal.
    pub(crate) code: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// What `output` says.
    pub(crate) fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The one JSON object on standard output; the command must have succeeded.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:#?}");
        serde_json::from_str(self.stdout.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("no JSON at the end ({error}): {}", self.stdout))
    }

    /// The lines of standard error that are an error or a hint; the command must have failed.
    #[track_caller]
    pub(crate) fn error(&self) -> String {
        assert_eq!(self.code, Some(1), "{self:#?}");
        let from = self.stderr.find("error: ").unwrap_or_else(|| panic!("no error: {self:#?}"));
        self.stderr[from..].trim_end().to_owned()
    }
}

impl TestEnv {
    /// An empty one.
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    /// The temporary directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data folder in it.
    pub(crate) fn data(&self) -> PathBuf {
        self.path().join("data")
    }

    /// A file in it with this content.
    pub(crate) fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// The binary with `args`, this data folder, and no settings from outside.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_thinkery"));
        command.args(args).current_dir(self.path()).env("THINKERY_DATA_DIR", self.data());
        command.env("NO_COLOR", "1").stdin(Stdio::null());
        for name in [
            "THINKERY_TEACHER_KEY",
            "THINKERY_TEACHER_KEY_FILE",
            "THINKERY_JUDGE_KEY",
            "THINKERY_JUDGE_KEY_FILE",
            "XDG_DATA_HOME",
        ] {
            command.env_remove(name);
        }
        command
    }

    /// Runs `thinkery ARGS…` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(self.command(args).output().unwrap())
    }

    /// Runs `thinkery ARGS…` with `input` on standard input.
    pub(crate) fn run_with(&self, args: &[&str], input: &str) -> Ended {
        self.run_with_bytes(args, input.as_bytes())
    }

    /// The same with what need not be text.
    pub(crate) fn run_with_bytes(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        // A command that refuses its input early closes the pipe: its own error says why.
        drop(writer.join().unwrap());
        Ended::of(output)
    }

    /// Runs `thinkery ARGS…` where no file may have more than `blocks` of 512 bytes (of 1024, says
    /// the manual of some shells): like a full disk, but it needs no privileges.
    pub(crate) fn run_with_small_files(&self, blocks: u32, args: &[&str]) -> Ended {
        let binary = env!("CARGO_BIN_EXE_thinkery");
        let limited = format!("trap '' XFSZ; ulimit -f {blocks} && exec {binary} \"$@\"");
        let mut command = self.command(&[]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &limited, "sh"]).args(args).current_dir(self.path());
        shell.env_clear().envs(std::env::vars_os());
        for (name, value) in command.stdin(Stdio::null()).get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        Ended::of(shell.stdin(Stdio::null()).output().unwrap())
    }

    /// Starts `thinkery ARGS…` and leaves it running; its standard error goes to `stderr.txt`.
    pub(crate) fn start(&self, args: &[&str]) -> Running {
        self.spawn(self.command(args))
    }

    /// Starts a command of [`TestEnv::command`] and leaves it running.
    pub(crate) fn spawn(&self, mut command: Command) -> Running {
        let log = std::fs::File::create(self.path().join("stderr.txt")).unwrap();
        command.stdout(Stdio::piped()).stderr(log);
        Running(command.spawn().unwrap())
    }
}

/// A process that is killed when the test ends.
pub(crate) struct Running(pub(crate) Child);

impl Running {
    /// The first line of its standard output, read to the end of that line only.
    pub(crate) fn first_line(&mut self) -> String {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// The address in its first line, `{"listening":"http://…"}`.
    pub(crate) fn address(&mut self) -> String {
        let line = self.first_line();
        let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("said `{line}`"));
        value["listening"].as_str().unwrap().to_owned()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}
