//! How much memory this process has allocated, now and at most: what a training run really takes.
//!
//! The kernel's own figure counts mapped files and pages that were given back to the allocator only;
//! this one counts every larger allocation when it is made. Small ones are not worth a shared
//! counter: a tensor of 1,024 numbers is the least that counts.
//!
//! While a model is trained, large blocks that are given back are kept for the next that ask for as
//! much: the system would take their pages away, and fill new ones with zeros, at every operation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

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

/// Bytes of a block that may be kept.
const LARGE: usize = 1 << 18;

/// Blocks that are kept at most.
const BLOCKS: usize = 256;

/// Large sizes are rounded up to an eighth of the power of two below, so that more of them agree.
const SIZES: u32 = 3;

/// Blocks that were given back, the oldest first: its address and what was asked for.
struct Spare {
    blocks: [(usize, Layout); BLOCKS],
    count: usize,
    bytes: usize,
    /// Bytes that may be kept.
    most: usize,
}

const NOTHING: Layout = Layout::new::<()>();

static SPARE: Mutex<Spare> =
    Mutex::new(Spare { blocks: [(0, NOTHING); BLOCKS], count: 0, bytes: 0, most: 0 });

fn spare() -> MutexGuard<'static, Spare> {
    SPARE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Spare {
    /// A block of exactly this layout.
    fn take(&mut self, layout: Layout) -> Option<*mut u8> {
        let at = self.blocks[..self.count].iter().rposition(|block| block.1 == layout)?;
        Some(self.remove(at).0)
    }

    fn remove(&mut self, at: usize) -> (*mut u8, Layout) {
        let (address, layout) = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= layout.size();
        (std::ptr::with_exposed_provenance_mut(address), layout)
    }

    /// The oldest, if there are too many to keep one more of this size.
    fn excess(&mut self, size: usize) -> Option<(*mut u8, Layout)> {
        let full = self.count == BLOCKS || self.bytes.saturating_add(size) > self.most;
        (full && self.count > 0).then(|| self.remove(0))
    }

    fn put(&mut self, place: *mut u8, layout: Layout) {
        self.blocks[self.count] = (place.expose_provenance(), layout);
        self.count += 1;
        self.bytes += layout.size();
    }
}

/// What the system is asked for.
fn rounded(layout: Layout) -> Layout {
    if layout.size() < LARGE {
        return layout;
    }
    let unit = 1 << (layout.size().ilog2() - SIZES);
    let size = layout.size().checked_next_multiple_of(unit).unwrap_or(layout.size());
    Layout::from_size_align(size, layout.align()).unwrap_or(layout)
}

/// Keeps up to so many bytes of large blocks that are given back, until it is dropped.
#[must_use]
pub(crate) struct Kept(());

impl Kept {
    pub(crate) fn most(bytes: u64) -> Self {
        spare().most = usize::try_from(bytes).unwrap_or(usize::MAX);
        Self(())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        spare().most = 0;
        release(0);
    }
}

/// Gives blocks back to the system until one of this size may be kept.
#[expect(unsafe_code, reason = "what was kept is given back as the system gave it")]
fn release(size: usize) {
    loop {
        let Some((place, layout)) = spare().excess(size) else { return };
        // SAFETY: the system gave the block for this layout, and nobody else has it.
        unsafe { System.dealloc(place, layout) };
    }
}

/// A block that was kept.
fn kept(layout: Layout) -> Option<*mut u8> {
    (layout.size() >= LARGE).then(|| spare().take(layout)).flatten()
}

#[expect(unsafe_code, reason = "an allocator is asked by the language itself")]
// SAFETY: every call is passed on to the system's allocator, for at least what was asked for, or gets
// a block of the same layout that was given back. Counting and keeping allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        let layout = rounded(layout);
        // SAFETY: the caller's promises are those that the system's allocator asks for; a size that
        // was rounded up is none that it could not be asked for.
        kept(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        let whole = rounded(layout);
        let Some(place) = kept(whole) else {
            // SAFETY: as above.
            return unsafe { System.alloc_zeroed(whole) };
        };
        // SAFETY: the block is at least that large.
        unsafe { place.write_bytes(0, layout.size()) };
        place
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        take(layout.size());
        let layout = rounded(layout);
        if layout.size() >= LARGE {
            release(layout.size());
            let mut spare = spare();
            if spare.count < BLOCKS && spare.bytes.saturating_add(layout.size()) <= spare.most {
                spare.put(place, layout);
                return;
            }
        }
        // SAFETY: as above; the block was asked for with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        take(layout.size());
        add(size);
        let new =
            Layout::from_size_align(size, layout.align()).map_or(size, |new| rounded(new).size());
        // SAFETY: as above.
        unsafe { System.realloc(place, rounded(layout), new) }
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
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_large_block_that_was_given_back_is_given_again_for_nearly_the_same_size() {
        let layout = |size| rounded(Layout::from_size_align(size, 4).expect("a size"));
        let mut spare = Spare { blocks: [(0, NOTHING); BLOCKS], count: 0, bytes: 0, most: 4 << 20 };
        let sizes = [1_000_000, 1 << 20, 1_050_000];
        for (at, size) in sizes.iter().enumerate() {
            assert!(spare.excess(layout(*size).size()).is_none(), "{size}");
            spare.put(std::ptr::without_provenance_mut(1 + at), layout(*size));
        }
        assert_eq!(layout(1000).size(), 1000, "a small one is as it was asked for");
        assert_eq!(spare.take(layout(1_100_000)).map(|place| place.addr()), Some(3));
        assert_eq!(spare.take(layout(1_100_000)), None, "it is given once");
        assert_eq!(spare.take(layout(990_000)).map(|place| place.addr()), Some(2));
        assert_eq!(spare.take(layout(500_000)), None, "no larger one is given");
        let oldest = spare.excess(5 << 20).expect("there is no room");
        assert_eq!((oldest.0.addr(), spare.bytes, spare.count), (1, 0, 0));
    }

    #[test]
    fn what_is_kept_grows_and_shrinks_and_is_zeros_where_zeros_are_asked_for() {
        let _kept = Kept::most(1 << 30);
        for size in [LARGE - 1, LARGE, LARGE + 1, 3 * LARGE + 7] {
            drop(vec![7_u8; size]);
            let mut values = vec![0_u8; size];
            assert!(values.iter().all(|value| *value == 0), "{size}");
            values.resize(2 * size, 2);
            values.truncate(size + 1);
            values.shrink_to_fit();
            assert!(values[..size].iter().all(|value| *value == 0) && values[size] == 2, "{size}");
        }
    }

    #[test]
    fn what_is_allocated_meanwhile_is_counted_and_given_back() {
        // Other tests allocate at the same time, but not a gigabyte; nothing is ever written to it.
        let size = 1 << 30;
        let (kept, most) = during(|| {
            // Hidden from the compiler, which leaves out what nobody looks at.
            drop(black_box(vec![0_u8; 2 * size]));
            black_box(vec![0_u8; size])
        });
        assert!(most >= 2 * size as u64 && peak_bytes() >= most, "{most}");
        let held = bytes();
        drop(kept);
        assert!(bytes() + size as u64 / 2 < held, "{held}");
    }
}
