//! An allocator that notes the largest single allocation of each thread, and what holds of it.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// The largest allocation of this thread since it was last set to 0.
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    /// The largest allocation of what was measured.
    static MEASURED: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, and the note. A binary that measures makes it its `#[global_allocator]`.
#[derive(Debug)]
pub struct Counting;

fn note(size: usize) {
    // While a thread ends its cells may be gone; nothing is measured then.
    _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

// SAFETY: every call goes to the system's allocator as it came. The note allocates nothing: its cells are
// initialised by constants and have no destructor.
#[allow(unsafe_code, reason = "the trait is unsafe")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The result of `f`, and its largest single allocation on this thread, in bytes.
pub fn largest_of<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let before = LARGEST.replace(0);
    let result = f();
    let largest = LARGEST.replace(before.max(LARGEST.get()));
    (result, largest)
}

/// The result of `f`, whose largest single allocation must not be above `limit` bytes.
///
/// # Panics
/// When it is.
pub fn at_most<R>(limit: usize, what: &str, f: impl FnOnce() -> R) -> R {
    let (result, largest) = largest_of(f);
    MEASURED.set(MEASURED.get().max(largest));
    assert!(largest <= limit, "{what}: an allocation of {largest} bytes, limit is {limit}");
    result
}

/// The largest allocation inside [`at_most`] on this thread since the last call.
pub fn take_measured() -> usize {
    MEASURED.replace(0)
}
