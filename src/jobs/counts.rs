//! Tells the panel how much there is of everything, while a job makes more of it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::records::{Counts, JobKind};
use crate::store::{Result, Store};

/// How often the store is counted at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counting takes no more than a tenth of the time: a million traces take most of a second.
const REST: u32 = 9;

/// What was told last.
pub(super) struct CountsNews {
    store: Store,
    last: Mutex<Told>,
}

/// What was told last, and when to count again at the earliest.
#[derive(Default)]
struct Told {
    due: Option<Instant>,
    counts: Option<Counts>,
}

impl CountsNews {
    /// News of the job's store; none for a kind of job that changes no count.
    pub(super) fn of(store: &Store, kind: JobKind) -> Option<Self> {
        match kind {
            JobKind::Questions | JobKind::Distill | JobKind::Verify => {
                Some(Self { store: store.clone(), last: Mutex::default() })
            }
            JobKind::Dataset | JobKind::Train | JobKind::Evaluate | JobKind::Serve => None,
        }
    }

    /// Tells the counts if they have changed; `now` or once a second.
    ///
    /// # Errors
    /// If the store refuses.
    pub(super) fn tell(&self, now: bool) -> Result<()> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = Instant::now();
        if !now && last.due.is_some_and(|due| begin < due) {
            return Ok(());
        }
        let counts = self.store.counts()?;
        if last.counts.as_ref() != Some(&counts) {
            self.store.add_counts_event(&counts)?;
        }
        let end = Instant::now();
        let rest = INTERVAL.max((end - begin) * REST);
        *last = Told { due: Some(end + rest), counts: Some(counts) };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::CountsNews;
    use crate::questions::rehearsal;
    use crate::records::JobKind;
    use crate::store::Store;

    #[test]
    fn counts_are_told_when_they_change_and_only_then() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert!(CountsNews::of(&store, JobKind::Train).is_none());
        let news = CountsNews::of(&store, JobKind::Questions).unwrap();
        news.tell(true).unwrap();
        news.tell(true).unwrap();
        let questions = rehearsal::questions(&rehearsal::Config::default()).unwrap();
        store.add_questions(&questions[..3]).unwrap();
        news.tell(false).unwrap();
        assert_eq!(store.events_after(0, 9).unwrap().len(), 1, "not yet");
        news.tell(true).unwrap();
        let events = store.events_after(0, 9).unwrap();
        let totals: Vec<_> = events.iter().map(|event| &event.data["questions"]["total"]).collect();
        assert_eq!(totals, [0, 3]);
        assert!(events.iter().all(|event| event.topic == "counts"));
    }
}
