//! The door of the server: closed while the model is loaded, closed again while the last answers
//! are finished.

use std::sync::Arc;

use tokio::sync::watch;

use super::Error;

/// Whether requests are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not yet.
    Loading,
    Open,
    /// No more; those inside finish.
    Draining,
    /// Those inside are to leave at once.
    Cut,
}

#[derive(Debug, Clone, Copy)]
struct State {
    phase: Phase,
    /// Requests being answered.
    inside: usize,
}

/// The door.
#[derive(Debug)]
pub struct Gate(watch::Sender<State>);

impl Gate {
    fn new(phase: Phase) -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(State { phase, inside: 0 })))
    }

    /// An open one.
    pub fn opened() -> Arc<Self> {
        Self::new(Phase::Open)
    }

    /// One that is closed until [`Gate::open`], because the model is being loaded.
    pub fn loading() -> Arc<Self> {
        Self::new(Phase::Loading)
    }

    /// Lets requests in from now on.
    pub fn open(&self) {
        self.0.send_modify(|state| state.phase = Phase::Open);
    }

    /// Lets nobody in from now on.
    pub fn drain(&self) {
        self.0.send_modify(|state| state.phase = Phase::Draining);
    }

    /// Ends the answers that are being written.
    pub fn cut(&self) {
        self.0.send_modify(|state| state.phase = Phase::Cut);
    }

    /// Requests being answered.
    pub fn inside(&self) -> usize {
        self.0.borrow().inside
    }

    /// Waits until nobody is inside.
    pub async fn emptied(&self) {
        // The sender is `self`: it cannot be gone.
        drop(self.0.subscribe().wait_for(|state| state.inside == 0).await);
    }

    /// Whether requests are let in.
    pub(super) fn check(&self) -> Result<(), Error> {
        match self.0.borrow().phase {
            Phase::Open => Ok(()),
            Phase::Loading => Err(Error::Loading),
            Phase::Draining | Phase::Cut => Err(Error::Draining),
        }
    }

    /// Lets a request in.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Visit, Error> {
        let mut entered = false;
        self.0.send_if_modified(|state| {
            entered = state.phase == Phase::Open;
            state.inside += usize::from(entered);
            entered
        });
        if entered { Ok(Visit(Arc::clone(self))) } else { self.check().and(Err(Error::Draining)) }
    }
}

/// A request inside; dropping it leaves.
#[derive(Debug)]
pub(super) struct Visit(Arc<Gate>);

impl Visit {
    /// Waits until those inside are to leave at once.
    pub(super) async fn cut(&self) {
        drop(self.0.0.subscribe().wait_for(|state| state.phase == Phase::Cut).await);
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| state.inside -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Gate};

    #[test]
    fn only_an_open_gate_lets_in() {
        let gate = Gate::loading();
        assert!(matches!(gate.enter(), Err(Error::Loading)));
        gate.open();
        let visit = gate.enter().unwrap();
        assert_eq!(gate.inside(), 1);
        gate.drain();
        assert!(matches!(gate.enter(), Err(Error::Draining)));
        drop(visit);
        assert_eq!(gate.inside(), 0);
    }

    #[tokio::test]
    async fn a_drained_gate_is_empty_once_the_last_has_left() {
        let gate = Gate::opened();
        let visit = gate.enter().unwrap();
        gate.drain();
        let waiting = gate.emptied();
        tokio::pin!(waiting);
        tokio::select! {
            biased;
            () = &mut waiting => panic!("somebody is inside"),
            () = std::future::ready(()) => {}
        }
        gate.cut();
        visit.cut().await;
        drop(visit);
        waiting.await;
    }
}
