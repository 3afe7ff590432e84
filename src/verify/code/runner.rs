//! Runs one program on many inputs, a few at a time: a million tests wait as the text they came in.

use std::ops::ControlFlow;

use super::json;
use crate::hint::Hinted;
use crate::records::Cases;
use crate::sandbox::{self, Job, Limits, Program, Run, Sandbox};
use crate::stage::{Stop, Stopped};
use crate::verify::Unjudged;

/// How often the sandbox may fail before a program counts as unjudged.
pub(super) const RETRIES_MAX: u32 = 2;

/// Inputs that are handed over at once, at most: enough that a program's start does not count.
const CHUNK: usize = 256;

/// Bytes of input that are handed over at once, at most (but for a single input).
const CHUNK_BYTES: usize = 4 << 20;

/// Something that runs programs: the sandbox, or a fake in tests.
pub(super) trait RunsPrograms {
    /// As [`Sandbox::run`].
    fn run(
        &self,
        job: &Job<'_>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> sandbox::Result<()>;
}

impl RunsPrograms for Sandbox {
    fn run(
        &self,
        job: &Job<'_>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> sandbox::Result<()> {
        Self::run(self, job, stop, sink)
    }
}

/// What a program is run with.
pub(super) struct Runner<'a> {
    pub(super) sandbox: &'a dyn RunsPrograms,
    pub(super) stop: &'a Stop,
    pub(super) limits: Limits,
    /// How many inputs are handed over at once, at most.
    pub(super) chunk: usize,
}

/// Sees runs as they come.
pub(super) trait Watch {
    /// One run, of the input at `index`.
    fn see(&mut self, index: usize, run: Run) -> ControlFlow<()>;

    /// Between two chunks, when no program runs.
    ///
    /// # Errors
    /// If we could not do our job.
    fn settle(&mut self) -> anyhow::Result<ControlFlow<()>> {
        Ok(ControlFlow::Continue(()))
    }
}

impl<'a> Runner<'a> {
    pub(super) fn new(sandbox: &'a dyn RunsPrograms, stop: &'a Stop, limits: Limits) -> Self {
        Self { sandbox, stop, limits, chunk: CHUNK }
    }

    /// Runs `program` on each of `inputs` until `watch` has seen enough. Gives how often the sandbox
    /// failed and was tried again.
    ///
    /// # Errors
    /// [`Unjudged`] if it failed too often; [`Stopped`] if somebody asked; if nothing can be run.
    pub(super) fn run(
        &self,
        program: &Program<'_>,
        inputs: &Cases,
        watch: &mut dyn Watch,
    ) -> anyhow::Result<u32> {
        let mut next = 0;
        let mut retries = 0;
        while next < inputs.len() {
            let chunk = self.chunk_from(inputs, next, program.function.is_some())?;
            let begin = next;
            let mut enough = false;
            let job = Job { program: *program, inputs: &chunk, limits: self.limits };
            let ended = self.sandbox.run(&job, &|| self.stop.is_requested(), &mut |run| {
                let flow = watch.see(next, run);
                next += 1;
                enough = flow.is_break();
                flow
            });
            match ended {
                Ok(()) if enough || next > begin => {}
                Err(sandbox::Error::Stopped) => return Err(Stopped.into()),
                Err(sandbox::Error::Failed(_)) | Ok(()) if retries < RETRIES_MAX => {
                    retries += 1;
                    continue;
                }
                Err(sandbox::Error::Failed(why)) => return Err(Unjudged(why).into()),
                Ok(()) => return Err(Unjudged("the sandbox gave no result".into()).into()),
                Err(error) => return Err(unavailable(&error)),
            }
            if watch.settle()?.is_break() || enough {
                break;
            }
        }
        Ok(retries)
    }

    fn chunk_from(
        &self,
        inputs: &Cases,
        first: usize,
        called: bool,
    ) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut chunk = Vec::new();
        let mut bytes = 0;
        for index in first..inputs.len() {
            let input = input(inputs.get(index).unwrap_or_default(), called)
                .map_err(|why| anyhow::anyhow!("could not read input {}: {why}", index + 1))?;
            bytes += input.len();
            if !chunk.is_empty() && (chunk.len() >= self.chunk || bytes > CHUNK_BYTES) {
                break;
            }
            chunk.push(input);
        }
        Ok(chunk)
    }
}

/// What goes into the sandbox for one test.
pub(super) fn input(json: &str, called: bool) -> Result<Vec<u8>, String> {
    if !called {
        return Ok(json::text(json)?.into_bytes());
    }
    // One argument may stand without a list around it.
    Ok(if json.starts_with('[') { json.to_owned() } else { format!("[{json}]") }.into_bytes())
}

fn unavailable(error: &sandbox::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => Hinted::new(error.to_string(), hint).into(),
        None => anyhow::anyhow!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ops::ControlFlow;

    use super::{Runner, RunsPrograms, Watch};
    use crate::records::Cases;
    use crate::sandbox::{self, Ended, Error, Job, Limits, Program, Run};
    use crate::stage::{Stop, Stopped};
    use crate::verify::Unjudged;

    /// Runs everything normally, but fails so often, each time after one run.
    struct Failing {
        failures: Cell<u32>,
        error: fn() -> Error,
        given: Cell<usize>,
    }

    impl RunsPrograms for Failing {
        fn run(
            &self,
            job: &Job<'_>,
            _stop: &dyn Fn() -> bool,
            sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
        ) -> sandbox::Result<()> {
            self.given.set(self.given.get().max(job.inputs.len()));
            for _ in job.inputs {
                if sink(Run::empty(Ended::Normally)).is_break() {
                    return Ok(());
                }
                if self.failures.get() > 0 {
                    self.failures.set(self.failures.get() - 1);
                    return Err((self.error)());
                }
            }
            Ok(())
        }
    }

    struct Seen(Vec<usize>);

    impl Watch for Seen {
        fn see(&mut self, index: usize, _run: Run) -> ControlFlow<()> {
            self.0.push(index);
            ControlFlow::Continue(())
        }
    }

    fn run(
        failures: u32,
        error: fn() -> Error,
        inputs: usize,
    ) -> (anyhow::Result<u32>, Vec<usize>, usize) {
        let sandbox = Failing { failures: Cell::new(failures), error, given: Cell::new(0) };
        let (stop, mut seen) = (Stop::default(), Seen(Vec::new()));
        let inputs: Cases = (0..inputs).map(|n| serde_json::Value::from(n.to_string())).collect();
        let runner = Runner::new(&sandbox, &stop, Limits::default());
        let ended = runner.run(&Program::default(), &inputs, &mut seen);
        (ended, seen.0, sandbox.given.get())
    }

    #[test]
    fn a_sandbox_that_fails_is_tried_twice_more_and_no_test_is_seen_twice() {
        let failed = || Error::Failed("no memory".into());
        let all: Vec<usize> = (0..9).collect();
        for failures in 0..=2 {
            let (ended, seen, _) = run(failures, failed, 9);
            assert_eq!((ended.unwrap(), seen), (failures, all.clone()));
        }
        let error = run(3, failed, 9).0.unwrap_err();
        assert_eq!(error.downcast::<Unjudged>().unwrap().0, "no memory");
    }

    #[test]
    fn what_trying_again_cannot_mend_is_an_error_at_once() {
        let stopped = run(1, || Error::Stopped, 9).0.unwrap_err();
        assert!(stopped.is::<Stopped>());
        let missing = run(1, || Error::Unavailable("no python".into()), 9).0.unwrap_err();
        assert!(missing.to_string().contains("no python") && !missing.is::<Unjudged>());
    }

    #[test]
    fn a_million_inputs_are_handed_over_a_few_at_a_time() {
        let (ended, seen, given) = run(0, || Error::Stopped, 1_000_000);
        assert_eq!((ended.unwrap(), seen.len(), given), (0, 1_000_000, super::CHUNK));
    }
}
