//! How much memory this process has allocated, now and at most: what a training run really takes.
//!
//! The kernel's own figure counts mapped files and pages that were given back to the allocator only;
//! this one counts every larger allocation when it is made. Small ones are not worth a shared
//! counter: a tensor of 1,024 numbers is the least that counts.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of an allocation that counts.
const LEAST: usize = 4096;

static NOW: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator, with a counter.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: usize) {
    if bytes >= LEAST {
        let now = NOW.fetch_add(bytes, Relaxed) + bytes;
        MOST.fetch_max(now, Relaxed);
    }
}

fn take(bytes: usize) {
    if bytes >= LEAST {
        NOW.fetch_sub(bytes, Relaxed);
    }
}

#[expect(unsafe_code, reason = "an allocator is asked by the language itself")]
// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        take(layout.size());
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(layout.size());
        add(size);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }
}

/// Bytes that are allocated.
pub(crate) fn bytes() -> u64 {
    NOW.load(Relaxed) as u64
}

/// The most bytes that were allocated since [`restart`].
pub(crate) fn peak_bytes() -> u64 {
    MOST.load(Relaxed) as u64
}

/// Forgets the peak; gives the bytes that are allocated.
pub(crate) fn restart() -> u64 {
    MOST.store(NOW.load(Relaxed), Relaxed);
    bytes()
}

/// Does something, and says by how many bytes it was at most more than before.
pub(crate) fn during<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let (before, most) = (NOW.load(Relaxed), MOST.load(Relaxed));
    MOST.store(before, Relaxed);
    let done = work();
    let own = MOST.fetch_max(most, Relaxed);
    (done, own.saturating_sub(before) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_allocated_meanwhile_is_counted_and_given_back() {
        // Other tests allocate at the same time, but not a gigabyte; nothing is ever written to it.
        let size = 1 << 30;
        let (kept, most) = during(|| {
            drop(vec![0_u8; 2 * size]);
            vec![0_u8; size]
        });
        assert!(most >= 2 * size as u64 && peak_bytes() >= most, "{most}");
        let held = bytes();
        drop(kept);
        assert!(bytes() + size as u64 / 2 < held, "{held}");
    }
}
