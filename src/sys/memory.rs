//! prun's memory comes from the C library, and where that has none prun says so before it ends.
#![allow(unsafe_code)]

use crate::report;
use std::alloc::{GlobalAlloc, Layout, System};

/// What a program allocates from that is to say it in prun's name when there is no memory. The standard library ends the
/// program then, by SIGABRT and without a name. glibc finds memory by mmap(2) where brk(2) has none, and the other way
/// round; musl, which is what prun is shipped with, does not.
pub struct Memory;

fn told(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        report::out_of_memory();
    }
    memory
}

// SAFETY: each is the system's, which keeps the contract; what it returns is passed on as it is, and nothing here allocates.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that the system's asks for.
        told(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        told(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; what was allocated here is the system's.
        told(unsafe { System.realloc(memory, layout, size) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}
