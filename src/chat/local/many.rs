//! Many questions at a time to a model on this machine, for whoever may block.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;

use super::{LocalModel, Stream};
use crate::chat::{Answer, Model, Request};
use crate::engine::worker;

/// How long the oldest of many answers is waited for before the others are looked at. Shorter than
/// a decode step of any model worth asking in parallel.
const POLL: Duration = Duration::from_millis(2);

impl Model for LocalModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer_many(
        &self,
        requests: &[Request],
        in_flight: usize,
        sink: &mut dyn FnMut(usize, anyhow::Result<Answer>) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        let mut waiting = requests.iter().enumerate();
        let mut running: VecDeque<(usize, Stream<'_>)> = VecDeque::new();
        loop {
            while running.len() < in_flight.max(1) {
                let Some((index, request)) = waiting.next() else { break };
                match self.submit(request) {
                    Ok(stream) => running.push_back((index, stream)),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        if sink(index, Err(error)).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            let Some((_, oldest)) = running.front_mut() else { return Ok(()) };
            oldest.wait(POLL);
            for _ in 0..running.len() {
                let Some((index, mut stream)) = running.pop_front() else { break };
                match stream.poll() {
                    None => running.push_back((index, stream)),
                    Some(answer) => {
                        if sink(index, answer).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

/// Whether every other request would fail too.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<worker::Refused>().is_some_and(worker::Refused::is_final)
}
