//! What the harness is told and what its answers mean. Running programs is tested from outside, with
//! the real binary.

use super::python::{self, Left, Reply, outcome};
use super::{Ended, Limits, Program, Run};

/// What a run left that ended with this wait status and packet.
fn left(status: i32, killed: u32, cpu_us: u64, stderr: &str) -> Left {
    let packet = format!("R {status} {killed} {cpu_us} 5000 1000 0 1");
    Left {
        reply: Reply::read(packet.as_bytes()).unwrap(),
        killed_for_memory: false,
        stdout: b"ok".to_vec(),
        stderr: stderr.as_bytes().to_vec(),
        stderr_bytes: stderr.len() as u64,
        value: None,
    }
}

fn run(left: Left) -> Run {
    outcome(left, &Limits::default(), 7)
}

#[test]
fn the_end_of_a_run_has_one_name() {
    for (status, killed, cpu_us, stderr, expected) in [
        (0, 0, 5, "", Ended::Normally),
        (0, 0, 4_000_001, "", Ended::CpuTimeLimit),
        (9, 1, 4_400_000, "", Ended::CpuTimeLimit),
        (9, 2, 5, "", Ended::WallTimeLimit),
        (24, 0, 5, "", Ended::CpuTimeLimit),
        (9, 0, 5, "", Ended::RuntimeError("killed by signal 9".into())),
        (1 << 8, 0, 5, "Traceback\nMemoryError\n", Ended::MemoryLimit),
        (11, 0, 5, "", Ended::RuntimeError("killed by signal 11".into())),
        (2 << 8, 0, 5, "a\nb\n", Ended::RuntimeError("exit status 2: b".into())),
        (121 << 8, 0, 5, "SyntaxError: x", Ended::CompileError("SyntaxError: x".into())),
        (121 << 8, 0, 5, "MemoryError: ", Ended::CompileError("MemoryError: ".into())),
    ] {
        let run = run(left(status, killed, cpu_us, stderr));
        assert_eq!(run.ended, expected, "{status} {killed} {cpu_us} {stderr}");
        assert_eq!((run.seed, run.stdout.as_slice()), (7, &b"ok"[..]));
    }
}

#[test]
fn exit_status_and_signal_exclude_each_other() {
    for (status, exit, signal) in [(0, Some(0), None), (3 << 8, Some(3), None), (6, None, Some(6))]
    {
        let run = run(left(status, 0, 5, ""));
        assert_eq!((run.exit_status, run.signal), (exit, signal), "{status}");
    }
}

#[test]
fn memory_and_output_have_their_own_ends() {
    let mut killed = left(9, 0, 5, "");
    killed.killed_for_memory = true;
    assert_eq!(run(killed).ended, Ended::MemoryLimit);
    let mut flooded = left(25, 0, 5, "");
    flooded.stderr_bytes = Limits::default().output_bytes + 1;
    assert_eq!(run(flooded).ended, Ended::OutputLimit);
    let mut flooded = left(0, 0, 5, "");
    flooded.stdout = vec![b'x'; Limits::default().output_bytes as usize + 1];
    assert_eq!(run(flooded).ended, Ended::OutputLimit);
}

#[test]
fn a_value_is_exactly_one_frame() {
    for (bytes, value) in [
        ("", Some(None)),
        ("5\n[\"n\"]", Some(Some("[\"n\"]"))),
        ("5\n[\"n\"]5\n[\"n\"]", None),
        ("5\n[\"n\"] ", None),
        ("6\n[\"n\"]", None),
        ("-5\n[\"n\"]", None),
        ("[\"n\"]", None),
        ("3\n[\"n", None),
    ] {
        let mut left = left(0, 0, 5, "");
        left.value = Some(bytes.as_bytes().to_vec());
        let run = run(left);
        let forged = matches!(run.ended, Ended::Forbidden(_));
        assert_eq!(forged, value.is_none(), "{bytes:?}: {run:?}");
        let given = run.value.map(|value| value.to_string());
        assert_eq!(given.as_deref(), value.flatten(), "{bytes:?}");
    }
}

#[test]
fn what_is_no_answer_is_none() {
    for packet in ["", "R", "R 0 0 0 0 0 0", "R 0 0 0 0 0 0 1 1", "R 0 0 0 0 0 -1 1", "E no", "K"] {
        assert_eq!(Reply::read(packet.as_bytes()), None, "{packet:?}");
    }
}

#[test]
fn a_program_is_a_line_of_sizes_and_the_texts() {
    let program = Program {
        source: "pass",
        function: Some("f"),
        files: &[("in", b"123"), ("out", b"")],
        arguments: &["in", "-v"],
    };
    let (head, text) = python::program(&program);
    assert_eq!(String::from_utf8(head).unwrap(), "P 4 1 2 2 / 2 3 3 0");
    assert_eq!(String::from_utf8(text).unwrap(), "passfin-vin123out");
}

#[test]
fn seeds_differ_by_program_and_input_only() {
    assert_eq!(python::seed("a", 0), python::seed("a", 0));
    assert_ne!(python::seed("a", 0), python::seed("a", 1));
    assert_ne!(python::seed("a", 0), python::seed("b", 0));
    assert!(python::seed("a", 0) < 1 << 53);
}

#[test]
fn a_run_is_close_to_its_limit_within_a_fifth() {
    let limits = Limits { cpu_ms: 1000, ..Limits::default() };
    for (cpu_ms, borderline) in
        [(799, false), (800, true), (1000, true), (1200, true), (1201, false)]
    {
        assert_eq!(limits.is_borderline(cpu_ms), borderline, "{cpu_ms}");
    }
    assert_eq!(limits.kill_ms(), 1100);
}
