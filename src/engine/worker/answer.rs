//! The way of events from the engine to whoever asked: bounded, and never waited for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use super::Event;

/// Events that may wait for their reader. Whoever is further behind is cancelled: one slow reader
/// must not hold blocks that others need, nor memory without end.
pub const EVENTS_MAX: usize = 4096;

/// What both ends see.
#[derive(Debug, Default)]
struct Shared {
    /// Events sent and not yet read.
    unread: AtomicUsize,
    cancelled: AtomicBool,
}

/// The events of a request, in order. Dropping it cancels the request before the engine's next step.
#[derive(Debug)]
pub struct Events {
    receiver: Receiver<Event>,
    shared: Arc<Shared>,
}

impl Events {
    /// Waits for the next event.
    ///
    /// # Errors
    /// If the engine has stopped.
    pub fn recv(&self) -> Result<Event, RecvError> {
        self.receiver.recv().inspect(|_| self.read())
    }

    /// Waits at most `timeout` for the next event.
    ///
    /// # Errors
    /// If there was none, or the engine has stopped.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, RecvTimeoutError> {
        self.receiver.recv_timeout(timeout).inspect(|_| self.read())
    }

    /// The next event, if there is one.
    ///
    /// # Errors
    /// If there is none, or the engine has stopped.
    pub fn try_recv(&self) -> Result<Event, TryRecvError> {
        self.receiver.try_recv().inspect(|_| self.read())
    }

    /// Cancels the request. What is on its way can still be read.
    pub fn cancel(&self) {
        self.shared.cancelled.store(true, Ordering::Release);
    }

    fn read(&self) {
        self.shared.unread.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.cancel();
    }
}

/// The engine's end.
pub(super) struct Outlet {
    sender: Sender<Event>,
    shared: Arc<Shared>,
    /// Called after each event, for readers that do not block.
    notify: Option<Box<dyn Fn() + Send>>,
}

/// Both ends.
pub(super) fn channel(notify: Option<Box<dyn Fn() + Send>>) -> (Outlet, Events) {
    let (sender, receiver) = mpsc::channel();
    let shared = Arc::new(Shared::default());
    let outlet = Outlet { sender, shared: Arc::clone(&shared), notify };
    (outlet, Events { receiver, shared })
}

impl Outlet {
    /// Sends an event, unless the reader is gone or too far behind; a reader that is too far behind
    /// is told so and cancelled.
    pub(super) fn send(&self, event: Event) {
        if self.is_cancelled() {
            return;
        }
        let unread = self.shared.unread.load(Ordering::Acquire);
        if unread >= EVENTS_MAX && matches!(event, Event::Token(_)) {
            let why = format!("the reader is {unread} tokens behind");
            self.push(Event::Failed(why));
            self.shared.cancelled.store(true, Ordering::Release);
            return;
        }
        self.push(event);
    }

    /// Whether the request is to be dropped.
    pub(super) fn is_cancelled(&self) -> bool {
        self.shared.cancelled.load(Ordering::Acquire)
    }

    fn push(&self, event: Event) {
        self.shared.unread.fetch_add(1, Ordering::AcqRel);
        // A reader that went away meanwhile has cancelled: nothing to tell.
        drop(self.sender.send(event));
        if let Some(notify) = &self.notify {
            notify();
        }
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        // The reader hears that nothing more comes; the sender goes after this.
        let sender = std::mem::replace(&mut self.sender, mpsc::channel().0);
        drop(sender);
        if let Some(notify) = &self.notify {
            notify();
        }
    }
}
