//! The words in which the harness is spoken to, and what its answers mean.
//!
//! The harness is our own; the files that a run leaves behind are the program's and mean what the
//! kernel says about how it ended. No expected output is ever among what is sent.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Ended, Limits, Program, Run};

/// Exit status by which the harness says that the program does not compile.
const COMPILE_ERROR: i32 = 121;

/// The packet that hands over a program, and the text that goes with it in a file.
pub(super) fn program(program: &Program<'_>) -> (Vec<u8>, Vec<u8>) {
    let Program { source, function, files, arguments } = program;
    let name = function.unwrap_or_default();
    let mut head = format!("P {} {}", source.len(), name.len());
    let mut text = Vec::with_capacity(source.len() + name.len());
    text.extend_from_slice(source.as_bytes());
    text.extend_from_slice(name.as_bytes());
    for argument in *arguments {
        head.push_str(&format!(" {}", argument.len()));
        text.extend_from_slice(argument.as_bytes());
    }
    head.push_str(" /");
    for (name, content) in *files {
        head.push_str(&format!(" {} {}", name.len(), content.len()));
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(content);
    }
    (head.into_bytes(), text)
}

/// The packet that asks for a run. `processes` is the limit as the kernel counts it.
pub(super) fn run(limits: &Limits, processes: u64, seed: u64) -> Vec<u8> {
    let numbers = [
        limits.cpu_ms,
        limits.kill_ms(),
        limits.watchdog_ms(),
        limits.address_bytes(),
        limits.output_bytes,
        limits.file_bytes,
        limits.open_files,
        processes,
        seed,
    ];
    let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
    format!("T {}", words.join(" ")).into_bytes()
}

/// What `random` is seeded with in run `index` of a program: the same on every machine. Whole numbers
/// up to 2^53 survive every JSON reader.
pub(super) fn seed(source: &str, index: usize) -> u64 {
    let digest = Sha256::new().chain_update(source).chain_update(index.to_le_bytes()).finalize();
    digest.iter().take(8).fold(0, |seed, byte| seed << 8 | u64::from(*byte)) >> 11
}

/// What the kernel said about a run, as the harness passes it on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reply {
    /// The word that `wait` returns: a signal in the low seven bits, an exit status above eight.
    status: i32,
    /// Killed for its processor time, or for its wall time.
    killed: Option<Time>,
    cpu_us: u64,
    wall_us: u64,
    memory_bytes: u64,
    left_processes: u64,
    /// Whether its folder could be wiped.
    pub(super) clean: bool,
}

/// The two times that a run has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Time {
    Cpu,
    Wall,
}

impl Reply {
    /// Reads the packet; none if it is another one.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(packet).ok()?.strip_prefix("R ")?;
        let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [status, killed, cpu_us, wall_us, memory_bytes, left_processes, clean] =
            numbers.try_into().ok()?;
        let killed = match killed {
            0 => None,
            1 => Some(Time::Cpu),
            _ => Some(Time::Wall),
        };
        let status = i32::try_from(status).ok()?;
        Some(Self {
            status,
            killed,
            cpu_us,
            wall_us,
            memory_bytes,
            left_processes,
            clean: clean == 1,
        })
    }

    /// The signal that ended it.
    pub(super) fn signal(&self) -> Option<i32> {
        Some(self.status & 0x7f).filter(|signal| *signal != 0)
    }

    fn exit_status(&self) -> Option<i32> {
        self.signal().is_none().then_some((self.status >> 8) & 0xff)
    }
}

/// What a run left.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) reply: Reply,
    /// The kernel, or we for it, killed it for want of memory.
    pub(super) killed_for_memory: bool,
    /// Standard output, at most one byte more than it may be.
    pub(super) stdout: Vec<u8>,
    /// The end of standard error.
    pub(super) stderr: Vec<u8>,
    /// All that was written to it.
    pub(super) stderr_bytes: u64,
    /// What was written in place of a value.
    pub(super) value: Option<Vec<u8>>,
}

/// The run that left this.
pub(super) fn outcome(left: Left, limits: &Limits, seed: u64) -> Run {
    let stderr = String::from_utf8_lossy(&left.stderr).into_owned();
    let (value, forged) = match left.value.as_deref().map(frame) {
        None | Some(Ok(None)) => (None, false),
        Some(Ok(value)) => (value, false),
        Some(Err(())) => (None, true),
    };
    let mut ended = ended(&left, &stderr, limits);
    if forged && ended == Ended::Normally {
        ended = Ended::Forbidden("it wrote to the channel of the returned value".into());
    }
    let reply = left.reply;
    Run {
        ended,
        stdout: left.stdout,
        value,
        stderr,
        cpu_ms: reply.cpu_us.div_ceil(1000),
        wall_ms: reply.wall_us.div_ceil(1000),
        memory_bytes: reply.memory_bytes,
        left_processes: reply.left_processes,
        exit_status: reply.exit_status(),
        signal: reply.signal(),
        repeated_alone: false,
        flaky: false,
        seed,
    }
}

/// The value in exactly one frame, a length and as many bytes of JSON; none in an empty file.
fn frame(bytes: &[u8]) -> Result<Option<Value>, ()> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n').ok_or(())?;
    let length = std::str::from_utf8(&bytes[..end]).map_err(drop)?;
    let length: usize = length.parse().map_err(drop)?;
    let text = &bytes[end + 1..];
    if text.len() != length {
        return Err(());
    }
    serde_json::from_slice(text).map(Some).map_err(drop)
}

fn ended(left: &Left, stderr: &str, limits: &Limits) -> Ended {
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    let reply = &left.reply;
    let last_line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let written = (left.stdout.len() as u64).max(left.stderr_bytes);
    let signal = reply.signal();
    if left.stdout.len() as u64 > limits.output_bytes
        || signal == Some(SIGXFSZ) && written >= limits.output_bytes
    {
        Ended::OutputLimit
    } else if left.killed_for_memory {
        Ended::MemoryLimit
    } else if reply.killed == Some(Time::Cpu)
        || signal == Some(SIGXCPU)
        || reply.cpu_us > limits.cpu_ms * 1000
    {
        Ended::CpuTimeLimit
    } else if reply.killed == Some(Time::Wall) {
        Ended::WallTimeLimit
    } else {
        match (signal, reply.exit_status().unwrap_or_default()) {
            (None, 0) => Ended::Normally,
            (None, COMPILE_ERROR) => Ended::CompileError(last_line.to_owned()),
            (None, _) if last_line.starts_with("MemoryError") => Ended::MemoryLimit,
            (None, status) => Ended::RuntimeError(format!("exit status {status}: {last_line}")),
            (Some(_), _) if reply.memory_bytes >= limits.memory_bytes / 10 * 9 => {
                Ended::MemoryLimit
            }
            (Some(signal), _) => Ended::RuntimeError(format!("killed by signal {signal}")),
        }
    }
}
