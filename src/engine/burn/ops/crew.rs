//! Threads that share the kernels of a step, and wait for the next one awake.
//!
//! A step is hundreds of kernels of some ten microseconds each. Waking a sleeping thread takes longer
//! than that, so helpers turn for a while before they sleep. A helper that the system holds back is
//! never waited for: it joins a kernel only while there is something left of it.
//!
//! Which thread does what changes nothing in the numbers. Without a crew ([`Crew::lead`]) kernels run
//! on rayon's threads, as training does.

#![expect(unsafe_code, reason = "helpers borrow what the leader's stack holds")]

use std::cell::{Cell, UnsafeCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use rayon::prelude::*;

/// How long a helper turns before it sleeps: longer than what lies between two kernels of a step, and
/// than choosing the next tokens of a small batch.
const AWAKE: Duration = Duration::from_micros(300);

/// Turns between two looks at the clock.
const TURNS: u32 = 64;

/// Of [`Shared::state`]: how many helpers are at work, whether more may join, and the kernel's number.
const HELPERS: u64 = (1 << 16) - 1;
const OPEN: u64 = 1 << 16;
const NUMBER: u32 = 17;

thread_local! {
    /// The crew that this thread leads, unless a kernel is running.
    static LED: Cell<Option<&'static Shared>> = const { Cell::new(None) };
}

/// A leader's helpers.
pub(crate) struct Crew {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

/// A kernel: takes tasks until there are none.
type Kernel<'a> = dyn Fn(Tasks<'_>) + Sync + 'a;

struct Shared {
    state: AtomicU64,
    /// Written by the leader while no helper may join.
    kernel: UnsafeCell<Option<(*const Kernel<'static>, usize)>>,
    /// The next task of each thread's part of all tasks.
    next: Vec<Next>,
    /// Helpers that sleep, or are about to.
    asleep: AtomicUsize,
    threads: OnceLock<Vec<Thread>>,
    has_panicked: AtomicBool,
    is_over: AtomicBool,
}

// SAFETY: the kernel is written only while the state is closed and no helper is at work, and read only
// by helpers that have joined; the pointers lead to what may be shared.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

/// A task's number on a cache line of its own.
#[repr(align(64))]
struct Next(AtomicUsize);

/// The tasks of a kernel as one thread takes them: its own part from first to last, as tasks beside each
/// other read memory one after the other, then what is left of the others' parts.
struct Tasks<'a> {
    next: &'a [Next],
    count: usize,
    thread: usize,
    /// Parts that are done.
    done: usize,
}

impl Iterator for Tasks<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let parts = self.next.len();
        while self.done < parts {
            let part = (self.thread + self.done) % parts;
            let end = bound(part + 1, parts, self.count);
            // A part that is done is left alone: its number cannot overflow.
            if self.next[part].0.load(Ordering::Relaxed) < end {
                let task = self.next[part].0.fetch_add(1, Ordering::Relaxed);
                if task < end {
                    return Some(task);
                }
            }
            self.done += 1;
        }
        None
    }
}

/// Where a part of `count` tasks begins.
fn bound(part: usize, parts: usize, count: usize) -> usize {
    part * count / parts
}

impl Crew {
    /// A leader and helpers, `threads` in all.
    pub(crate) fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            kernel: UnsafeCell::new(None),
            next: (0..threads.max(1)).map(|_| Next(AtomicUsize::new(0))).collect(),
            asleep: AtomicUsize::new(0),
            threads: OnceLock::new(),
            has_panicked: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let help = |number: usize| {
            let shared = Arc::clone(&shared);
            let name = format!("kernels-{number}");
            // With fewer threads it is slower, and all else the same.
            thread::Builder::new().name(name).spawn(move || shared.help(number)).ok()
        };
        let helpers: Vec<JoinHandle<()>> = (1..threads).filter_map(help).collect();
        shared.threads.get_or_init(|| helpers.iter().map(|h| h.thread().clone()).collect());
        Self { shared, helpers }
    }

    /// Runs something on this thread whose kernels the crew shares.
    pub(crate) fn lead<R>(&self, work: impl FnOnce() -> R) -> R {
        /// Puts back who led before, however it ends.
        struct Until(Option<&'static Shared>);
        impl Drop for Until {
            fn drop(&mut self) {
                LED.set(self.0);
            }
        }
        if self.helpers.is_empty() {
            return work();
        }
        // SAFETY: only this thread sees it, and no longer than until the end of this function, for
        // which the crew is borrowed.
        let shared: &'static Shared = unsafe { &*Arc::as_ptr(&self.shared) };
        let _until = Until(LED.replace(Some(shared)));
        shared.wake();
        work()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for helper in self.helpers.drain(..) {
            helper.thread().unpark();
            // It catches what kernels throw, and has nothing else to fail at.
            drop(helper.join());
        }
    }
}

impl Shared {
    /// Runs a kernel on this thread, the leader, and on as many helpers as come in time.
    fn run(&self, count: usize, kernel: &Kernel<'_>) {
        /// Closes the kernel and waits for those at work, also if the leader's part panics.
        struct Close<'a>(&'a Shared);
        impl Drop for Close<'_> {
            fn drop(&mut self) {
                self.0.state.fetch_and(!OPEN, Ordering::SeqCst);
                let mut turns = 0_u32;
                while self.0.state.load(Ordering::Acquire) & HELPERS > 0 {
                    turn(&mut turns);
                }
            }
        }
        for (part, next) in self.next.iter().enumerate() {
            next.0.store(bound(part, self.next.len(), count), Ordering::Relaxed);
        }
        // SAFETY: no helper is at work and none may join. The kernel outlives its readers: `Close`
        // waits for them before this function ends. Only the lifetime is another.
        unsafe {
            let kernel = std::mem::transmute::<*const Kernel<'_>, *const Kernel<'static>>(kernel);
            *self.kernel.get() = Some((kernel, count));
        }
        // Of a kernel whose leader panicked too nobody has asked.
        self.has_panicked.store(false, Ordering::Relaxed);
        let number = (self.state.load(Ordering::Relaxed) >> NUMBER) + 1;
        self.state.store(number << NUMBER | OPEN, Ordering::SeqCst);
        self.wake();
        let close = Close(self);
        kernel(self.tasks(0, count));
        drop(close);
        assert!(!self.has_panicked.swap(false, Ordering::AcqRel), "a helper's kernel panicked");
    }

    fn tasks(&self, thread: usize, count: usize) -> Tasks<'_> {
        Tasks { next: &self.next, count, thread, done: 0 }
    }

    fn wake(&self) {
        if self.asleep.load(Ordering::SeqCst) > 0 {
            self.threads.get().into_iter().flatten().for_each(Thread::unpark);
        }
    }

    /// A helper's life.
    fn help(&self, thread: usize) {
        let (mut done, mut turns, mut since) = (0, 0_u32, Instant::now());
        while !self.is_over.load(Ordering::Relaxed) {
            if self.join(thread, &mut done) {
                (turns, since) = (0, Instant::now());
                continue;
            }
            turns += 1;
            std::hint::spin_loop();
            if turns.is_multiple_of(TURNS) && since.elapsed() > AWAKE {
                self.asleep.fetch_add(1, Ordering::SeqCst);
                if !self.is_waiting(done) && !self.is_over.load(Ordering::SeqCst) {
                    thread::park();
                }
                self.asleep.fetch_sub(1, Ordering::SeqCst);
                (turns, since) = (0, Instant::now());
            }
        }
    }

    /// Whether there is a kernel that the helper has not seen.
    fn is_waiting(&self, done: u64) -> bool {
        let state = self.state.load(Ordering::SeqCst);
        state & OPEN > 0 && state >> NUMBER != done
    }

    /// Takes part in the kernel that is open, if there is one that the helper has not seen.
    fn join(&self, thread: usize, done: &mut u64) -> bool {
        let state = self.state.load(Ordering::Acquire);
        if state & OPEN == 0 || state >> NUMBER == *done {
            return false;
        }
        let joined =
            self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
        if joined.is_err() {
            return false;
        }
        *done = state >> NUMBER;
        // SAFETY: the leader wrote it before it opened the kernel, and waits for this helper.
        let ran = catch_unwind(AssertUnwindSafe(|| unsafe {
            if let Some((kernel, count)) = *self.kernel.get() {
                (*kernel)(self.tasks(thread, count));
            }
        }));
        if ran.is_err() {
            self.has_panicked.store(true, Ordering::Release);
        }
        self.state.fetch_sub(1, Ordering::AcqRel);
        true
    }
}

/// Waits for a moment; gives the processor away now and then, as whoever is waited for may need it.
fn turn(turns: &mut u32) {
    *turns += 1;
    match turns.is_multiple_of(TURNS * 16) {
        true => thread::yield_now(),
        false => std::hint::spin_loop(),
    }
}

/// Does tasks `0..count`, each once, on the threads of whoever leads here; each thread has scratch of
/// its own.
pub(crate) fn each_with<S>(
    count: usize,
    scratch: impl Fn() -> S + Send + Sync,
    task: impl Fn(&mut S, usize) + Send + Sync,
) {
    let led = if count > 1 { LED.take() } else { None };
    let Some(shared) = led else {
        if count == 1 {
            return task(&mut scratch(), 0);
        }
        return (0..count)
            .into_par_iter()
            .for_each_init(&scratch, |scratch, number| task(scratch, number));
    };
    /// Puts the crew back: kernels within this one do not ask it.
    struct Until(&'static Shared);
    impl Drop for Until {
        fn drop(&mut self) {
            LED.set(Some(self.0));
        }
    }
    let _until = Until(shared);
    shared.run(count, &|tasks: Tasks<'_>| {
        let mut own = None;
        for number in tasks {
            task(own.get_or_insert_with(&scratch), number);
        }
    });
}

/// Where a thread writes what is its own.
struct Target<T>(*mut T);

// SAFETY: each task reaches elements of its own only.
unsafe impl<T: Send> Sync for Target<T> {}

impl<T> Target<T> {
    fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}

/// The chunks of a slice, each once, with their numbers; the last may be shorter.
pub(crate) fn each_chunk<T: Send>(
    values: &mut [T],
    size: usize,
    task: impl Fn(usize, &mut [T]) + Send + Sync,
) {
    let (length, target) = (values.len(), Target(values.as_mut_ptr()));
    each_with(
        length.div_ceil(size),
        || (),
        |(), number| {
            let (first, size) = (number * size, size.min(length - number * size));
            // SAFETY: chunks do not overlap and lie inside the slice, which is borrowed meanwhile;
            // each is a task of its own.
            task(number, unsafe { std::slice::from_raw_parts_mut(target.at(first), size) });
        },
    );
}

/// What each task gives, in order.
pub(crate) fn each_result<T: Send>(
    count: usize,
    task: impl Fn(usize) -> T + Send + Sync,
) -> Vec<T> {
    let mut results: Vec<Option<T>> = (0..count).map(|_| None).collect();
    each_chunk(&mut results, 1, |number, result| result[0] = Some(task(number)));
    results.into_iter().map(|result| result.expect("every task is done")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_is_done_once_whoever_does_it() {
        for threads in [1, 2, 3, 8] {
            let crew = Crew::new(threads);
            for count in (0..200).chain([5000]) {
                let times: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                let once = |(): &mut (), task: usize| {
                    times[task].fetch_add(1, Ordering::Relaxed);
                };
                crew.lead(|| each_with(count, || (), once));
                assert!(times.iter().all(|times| times.load(Ordering::Relaxed) == 1));
                let squares = crew.lead(|| each_result(count, |task| task * task));
                assert!(
                    squares.into_iter().enumerate().all(|(task, square)| square == task * task)
                );
            }
        }
    }

    #[test]
    fn kernels_follow_each_other_and_may_hold_others() {
        let crew = Crew::new(4);
        let mut values = vec![0_usize; 40];
        crew.lead(|| {
            for round in 1..20 {
                each_chunk(&mut values, 7, |number, chunk| {
                    let inner = each_result(3, |task| task + number).into_iter().sum::<usize>();
                    chunk.iter_mut().for_each(|value| *value += round * (inner - 3 * number));
                });
            }
        });
        assert!(values.iter().all(|value| *value == 3 * 19 * 20 / 2));
    }

    #[test]
    fn a_panic_reaches_the_leader_and_the_crew_goes_on() {
        let crew = Crew::new(3);
        for bad in [0, 50, 99] {
            let fails = || crew.lead(|| each_with(100, || (), |(), task| assert_ne!(task, bad)));
            assert!(catch_unwind(AssertUnwindSafe(fails)).is_err(), "{bad}");
            assert_eq!(crew.lead(|| each_result(50, |task| task)), (0..50).collect::<Vec<_>>());
        }
    }

    #[test]
    fn helpers_that_fell_asleep_come_again() {
        let crew = Crew::new(2);
        for _ in 0..3 {
            while crew.shared.asleep.load(Ordering::SeqCst) == 0 {
                thread::yield_now();
            }
            let helped = AtomicBool::new(false);
            let leader = thread::current().id();
            // The leader holds its task until a helper has come.
            crew.lead(|| {
                each_with(
                    2,
                    || (),
                    |(), _| match thread::current().id() == leader {
                        true => {
                            while !helped.load(Ordering::Acquire) {
                                thread::yield_now();
                            }
                        }
                        false => helped.store(true, Ordering::Release),
                    },
                );
            });
        }
    }
}
