use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Size of the last allocation of this thread that the system refused, bytes; 0 for none.
    static REFUSED_BYTES: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator. It remembers what it refused: code that cannot go on without memory
/// aborts next, and after [`prepare`](crate::prepare) it says why.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allocator;

// SAFETY: each function is that of `System`, with the same arguments and the same result.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of this function, which is the same.
        remembered(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        remembered(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        remembered(unsafe { System.realloc(pointer, layout, size) }, size)
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[inline]
fn remembered(pointer: *mut u8, bytes: usize) -> *mut u8 {
    if pointer.is_null() {
        // A thread that is ending has lost its variable, and then nothing is remembered.
        let _ = REFUSED_BYTES.try_with(|refused| refused.set(bytes));
    }
    pointer
}

/// Size of the last allocation of this thread that was refused, bytes.
pub(crate) fn refused_bytes() -> Option<usize> {
    REFUSED_BYTES.try_with(Cell::get).ok().filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests {
    use std::hint::black_box;

    use super::*;

    #[test]
    fn a_refused_allocation_is_remembered_and_others_are_not() {
        let layout = Layout::from_size_align(1 << 10, 16).unwrap();
        // SAFETY: the layout is not empty, and what was allocated is freed once with it.
        unsafe {
            let pointer = black_box(Allocator.alloc(layout));
            assert!(!pointer.is_null());
            Allocator.dealloc(pointer, layout);
        }
        assert_eq!(refused_bytes(), None);
        let layout = Layout::from_size_align(1 << 62, 16).unwrap();
        // SAFETY: the layout is not empty; no system has so much memory. The compiler may leave out
        // an allocation that is not used.
        assert!(black_box(unsafe { Allocator.alloc(layout) }).is_null());
        assert_eq!(refused_bytes(), Some(1 << 62));
    }
}
