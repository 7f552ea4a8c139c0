//! Refuses in words to run where `ulimit -v` leaves too little room for libtorch.
//!
//! libtorch is linked, so its constructors run before `main`. Where they are refused memory, the
//! process dies of a signal or of an exception that nobody can catch. The loader calls the
//! functions of `.preinit_array` before any constructor of a library, and after it has mapped all
//! libraries. Where not even these fit, the loader itself ends the process with exit code 127 and
//! "cannot map" or "cannot allocate memory": nothing of ours runs then.

use std::ffi::{c_char, c_int};

/// What libtorch's constructors, its threads and a small network take of the address space besides
/// the libraries.
const MIN_FREE_BYTES: usize = 128 << 20;

const REFUSAL: &[u8] =
    b"error: out of memory: libtorch needs 128 MiB of address space besides its \
    libraries; allow the process more (`ulimit -v`, or the limit of the job), or use the build \
    without libtorch\n";

type Function = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".preinit_array")]
static CHECK: Function = refuse_too_little;

unsafe extern "C" {
    fn ossify_explain_lack_of_memory();
}

extern "C" fn refuse_too_little(
    _count: c_int,
    _arguments: *const *const c_char,
    _environment: *const *const c_char,
) {
    // SAFETY: the C library is ready when these functions run. What is mapped is never touched and
    // is given back at once; the text is valid for its length.
    unsafe {
        let room = libc::mmap(
            std::ptr::null_mut(),
            MIN_FREE_BYTES,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        );
        if room == libc::MAP_FAILED {
            libc::write(libc::STDERR_FILENO, REFUSAL.as_ptr().cast(), REFUSAL.len());
            libc::_exit(1);
        }
        libc::munmap(room, MIN_FREE_BYTES);
        ossify_explain_lack_of_memory();
    }
}
