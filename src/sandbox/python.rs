//! How a Python program is handed to the harness inside the box, and how its answers come back.
//!
//! The harness starts one interpreter per program and forks it per input: a fork costs a tenth of a
//! start. It never sees an expected output.

use serde_json::Value;

use super::{Ended, Job, Limits, Run};

/// Runs inside the box; see the file's own head.
pub(super) const HARNESS: &str = include_str!("harness.py");

/// Exit status by which the harness says that the program does not compile.
const COMPILE_ERROR: i32 = 121;

/// Longest head of an answer: ten numbers.
const HEAD_BYTES_MAX: usize = 256;

/// The job as the harness reads it from standard input.
pub(super) fn job(job: &Job<'_>) -> Vec<u8> {
    let Job { program, inputs, limits } = job;
    let name = program.function.unwrap_or_default();
    let numbers = [
        u64::from(program.function.is_some()),
        limits.cpu_ms,
        limits.watchdog_ms(),
        limits.output_bytes,
        limits.file_bytes,
        limits.open_files,
    ];
    let sizes = [program.source.len(), name.len()].into_iter().chain(inputs.iter().map(Vec::len));
    let head: Vec<String> = numbers
        .into_iter()
        .map(|number| number.to_string())
        .chain(sizes.map(|size| size.to_string()))
        .collect();
    let mut bytes = head.join(" ").into_bytes();
    bytes.push(b'\n');
    bytes.extend_from_slice(program.source.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    inputs.iter().for_each(|input| bytes.extend_from_slice(input));
    bytes
}

/// What the bytes from the harness hold so far.
#[derive(Debug)]
pub(super) enum Answer {
    /// Not yet a whole answer.
    Partial,
    /// One answer, and how many bytes it took.
    Whole(Box<Run>, usize),
    /// Not what the harness writes: the program got at its channel.
    Forged,
}

/// The first answer in `bytes`, which must be that to input `index`.
pub(super) fn answer(bytes: &[u8], index: usize, limits: &Limits) -> Answer {
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() > HEAD_BYTES_MAX { Answer::Forged } else { Answer::Partial };
    };
    let Some(head) = head(&bytes[..end]) else { return Answer::Forged };
    let [number, status, timed_out, cpu_ms, wall_ms, memory_bytes, out, err, value, left] = head;
    let most = limits.output_bytes.max(4096) + 1;
    if number != index as u64 || out > most || err > most || value > most {
        return Answer::Forged;
    }
    let (out, err, value) = (out as usize, err as usize, value as usize);
    let start = end + 1;
    let total = start + out + err + value;
    if bytes.len() < total {
        return Answer::Partial;
    }
    let stderr = String::from_utf8_lossy(&bytes[start + out..start + out + err]).into_owned();
    let seen = Seen { status: status as i32, timed_out: timed_out != 0, cpu_ms, memory_bytes, out };
    let run = Run {
        ended: ended(&seen, &stderr, limits),
        stdout: bytes[start..start + out].to_vec(),
        value: serde_json::from_slice::<Value>(&bytes[start + out + err..total]).ok(),
        stderr,
        cpu_ms,
        wall_ms,
        memory_bytes,
        left_processes: left,
        exit_status: (status & 0x7f == 0).then_some((status >> 8 & 0xff) as i32),
        signal: (status & 0x7f != 0).then_some((status & 0x7f) as i32),
        repeated_alone: false,
        seed: 0,
    };
    Answer::Whole(Box::new(run), total)
}

fn head(line: &[u8]) -> Option<[u64; 10]> {
    let text = std::str::from_utf8(line).ok()?;
    let numbers: Vec<u64> = text.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
    numbers.try_into().ok()
}

/// What the kernel said about one run.
struct Seen {
    status: i32,
    timed_out: bool,
    cpu_ms: u64,
    memory_bytes: u64,
    out: usize,
}

fn ended(seen: &Seen, stderr: &str, limits: &Limits) -> Ended {
    const SIGKILL: i32 = 9;
    const SIGALRM: i32 = 14;
    const SIGXCPU: i32 = 24;
    const SIGXFSZ: i32 = 25;
    // The word that wait(2) returns: signal in the low seven bits, exit status above eight.
    let (signal, exit) = (seen.status & 0x7f, (seen.status >> 8) & 0xff);
    let last_line = stderr.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let memory_is_full = seen.memory_bytes >= limits.memory_bytes / 10 * 9;
    if seen.out as u64 > limits.output_bytes
        || signal == SIGXFSZ && seen.out as u64 >= limits.output_bytes
    {
        Ended::OutputLimit
    } else if signal == SIGXCPU || seen.cpu_ms > limits.cpu_ms {
        Ended::CpuTimeLimit
    } else if seen.timed_out || signal == SIGALRM {
        Ended::WallTimeLimit
    } else if last_line.starts_with("MemoryError") && exit != COMPILE_ERROR
        || signal != 0 && memory_is_full
        || signal == SIGKILL
    {
        // Nobody but the kernel, out of memory, kills a program that is within its time.
        Ended::MemoryLimit
    } else if exit == COMPILE_ERROR {
        Ended::CompileError(last_line.to_owned())
    } else if signal != 0 {
        Ended::RuntimeError(format!("killed by signal {signal}"))
    } else if exit != 0 {
        Ended::RuntimeError(format!("exit status {exit}: {last_line}"))
    } else {
        Ended::Normally
    }
}
