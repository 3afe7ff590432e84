//! What the harness' answers mean. Running programs is tested from outside, with the real binary.

use super::python::{Answer, answer, job};
use super::{Ended, Job, Limits, Program};

/// The end of a run with this wait status, processor time and standard error.
#[track_caller]
fn ended(status: i32, cpu_ms: u64, stderr: &str) -> Ended {
    let head = format!("0 {status} 0 {cpu_ms} 5 1000 2 {} 0 0\n", stderr.len());
    let bytes = format!("{head}ok{stderr}");
    match answer(bytes.as_bytes(), 0, &Limits::default()) {
        Answer::Whole(run, used) => {
            assert_eq!((used, run.stdout.as_slice()), (bytes.len(), &b"ok"[..]));
            run.ended
        }
        other @ (Answer::Partial | Answer::Forged) => panic!("{other:?}"),
    }
}

#[test]
fn the_end_of_a_run_has_one_name() {
    assert_eq!(ended(0, 5, ""), Ended::Normally);
    assert_eq!(ended(0, 4001, ""), Ended::CpuTimeLimit);
    assert_eq!(ended(24, 5, ""), Ended::CpuTimeLimit);
    assert_eq!(ended(9, 5, ""), Ended::MemoryLimit);
    assert_eq!(ended(1 << 8, 5, "Traceback\nMemoryError\n"), Ended::MemoryLimit);
    assert_eq!(ended(11, 5, ""), Ended::RuntimeError("killed by signal 11".into()));
    assert_eq!(ended(2 << 8, 5, "a\nb\n"), Ended::RuntimeError("exit status 2: b".into()));
    assert_eq!(ended(121 << 8, 5, "SyntaxError: x"), Ended::CompileError("SyntaxError: x".into()));
}

#[test]
fn what_the_harness_would_not_write_is_forged() {
    let limits = Limits::default();
    for bytes in [
        "1 0 0 1 1 1 0 0 0 0\n",
        "0 0 0 1 1 1 99999999999 0 0 0\n",
        "0 0 0 1 1 1 0 0 0\n",
        "0 0 0 1 1 1 0 0 0 -1\n",
        "passed\n",
        "\u{0}\n",
    ] {
        assert!(matches!(answer(bytes.as_bytes(), 0, &limits), Answer::Forged), "{bytes:?}");
    }
    assert!(matches!(answer(&[b'1'; 1000], 0, &limits), Answer::Forged));
}

#[test]
fn an_answer_may_come_in_pieces() {
    let whole = "0 0 0 1 1 1 3 0 7 0\nabc[\"n\"]\n";
    let limits = Limits::default();
    for cut in 0..whole.len() - 1 {
        let read = answer(&whole.as_bytes()[..cut], 0, &limits);
        assert!(matches!(read, Answer::Partial), "{cut}: {read:?}");
    }
}

#[test]
fn a_job_is_a_line_of_sizes_and_the_texts() {
    let program = Program { source: "pass", ..Program::default() };
    let inputs = [b"1".to_vec(), b"22".to_vec()];
    let bytes = job(&Job { program, inputs: &inputs, limits: Limits::default() });
    let expected = "0 4000 14000 16777216 16777216 64 4 0 1 2\npass122";
    assert_eq!(String::from_utf8(bytes).unwrap(), expected);
}
