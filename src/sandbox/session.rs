//! The runs of one program: a slot that is replaced when it breaks, and runs that are repeated alone.
//!
//! A slot that breaks says nothing about the program: the run is done again in a new slot, and if
//! that one breaks too it is an error of ours.

use std::sync::PoisonError;

use super::python;
use super::slot::{Order, Slot, Trouble};
use super::steal::{Mark, may_have_taken};
use super::{Ended, Error, Job, Result, Run, Sandbox};

/// Slots that one run may break before we give up on it.
const SLOTS_PER_RUN: usize = 3;

/// How often a run is done again, alone.
const AGAIN_MAX: usize = 2;

/// One program in a slot.
pub(super) struct Session<'a> {
    sandbox: &'a Sandbox,
    job: &'a Job<'a>,
    stop: &'a dyn Fn() -> bool,
    /// With the program loaded; none after it broke.
    slot: Option<Slot>,
}

impl<'a> Session<'a> {
    /// Takes a slot and loads the program.
    pub(super) fn begin(
        sandbox: &'a Sandbox,
        job: &'a Job<'a>,
        stop: &'a dyn Fn() -> bool,
    ) -> Result<Self> {
        // What programs run in is found out first: without it there is nothing to try again.
        sandbox.tier()?;
        Ok(Self { sandbox, job, stop, slot: None })
    }

    /// Runs the program on its input `index`.
    pub(super) fn run(&mut self, index: usize) -> Result<Run> {
        let mut mark = self.sandbox.steal.mark();
        let mut run = {
            let _beside = self.sandbox.alone.read().unwrap_or_else(PoisonError::into_inner);
            self.try_run(index)?
        };
        for _ in 0..AGAIN_MAX {
            if !self.is_doubtful(&run, mark) {
                break;
            }
            let _alone = self.sandbox.alone.write().unwrap_or_else(PoisonError::into_inner);
            mark = self.sandbox.steal.mark();
            let again = self.try_run(index)?;
            let what = |run: &Run| (run.ended.clone(), run.exit_status, run.signal);
            let differs = what(&run) != what(&again)
                || run.stdout != again.stdout
                || run.value != again.value;
            run = Run { repeated_alone: true, flaky: run.flaky || differs, ..again };
        }
        Ok(run)
    }

    /// Whether a busy machine might have decided how `run` ended: it came close to the limit and was
    /// not yet run alone, or was killed for time that a host may have taken.
    fn is_doubtful(&self, run: &Run, mark: Mark) -> bool {
        let limits = &self.job.limits;
        if run.cpu_ms >= limits.kill_ms() {
            return run.ended == Ended::CpuTimeLimit && may_have_taken(mark, limits.kill_ms());
        }
        limits.is_borderline(run.cpu_ms) && !run.repeated_alone
    }

    /// Keeps the slot for the next program.
    pub(super) fn end(self) {
        if let Some(slot) = self.slot {
            self.sandbox.put_back(slot);
        }
    }

    fn try_run(&mut self, index: usize) -> Result<Run> {
        let mut why = String::new();
        for _ in 0..SLOTS_PER_RUN {
            match self.run_once(index) {
                Ok(run) => return Ok(run),
                Err(Trouble::Stopped) => return Err(Error::Stopped),
                Err(Trouble::OutOfMemory) => {
                    self.slot = None;
                    return Ok(Run::empty(Ended::MemoryLimit));
                }
                Err(Trouble::Broken(reason)) => {
                    self.slot = None;
                    why = reason;
                }
            }
        }
        Err(Error::Failed(format!("{SLOTS_PER_RUN} slots broke on it: {why}")))
    }

    fn run_once(&mut self, index: usize) -> Result<Run, Trouble> {
        let Job { program, inputs, limits } = self.job;
        let slot = match self.slot.take() {
            Some(slot) if !slot.worn => slot,
            _ => {
                let mut slot = self.sandbox.take(self.stop)?;
                slot.load(program, self.stop)?;
                slot
            }
        };
        let slot = self.slot.insert(slot);
        let seed = python::seed(program.source, index);
        let called = program.function.is_some();
        let order = Order { input: &inputs[index], called, limits, seed };
        let left = slot.run(&order, self.stop)?;
        Ok(python::outcome(left, limits, seed))
    }
}
