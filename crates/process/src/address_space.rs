use std::io::{self, Write as _};
use std::ptr;

/// What a program takes of the address space at the least, besides its code: stacks and memory of
/// its threads, which may wait for each other for ever where only some of them can be started.
const MIN_FREE_BYTES: usize = 128 << 20;

const REFUSAL: &str = "error: out of memory: this program needs 128 MiB of address space besides \
    its code; allow the process more (`ulimit -v`, or the limit of the job)\n";

/// Ends the program with exit code 1 and a sentence where `ulimit -v` leaves it too little room to
/// begin.
pub(crate) fn require() {
    // SAFETY: what is mapped is new, never touched, and given back at once.
    let is_there = unsafe {
        let room = libc::mmap(
            ptr::null_mut(),
            MIN_FREE_BYTES,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        room != libc::MAP_FAILED && libc::munmap(room, MIN_FREE_BYTES) == 0
    };
    if !is_there {
        // Without a standard error the exit code alone says it.
        let _ = io::stderr().write_all(REFUSAL.as_bytes());
        std::process::exit(1);
    }
}
