//! Whether standard output was closed when the program began (`>&-`).
//!
//! Rust opens `/dev/null` in place of standard files that are closed, before `main`, and what is
//! written there is lost without an error; and what a shared library opens before that may get the
//! free number. The functions of `.preinit_array` run before both.

use std::ffi::{c_char, c_int};
use std::sync::atomic::{AtomicBool, Ordering};

static WAS_CLOSED: AtomicBool = AtomicBool::new(false);

type Function = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
#[unsafe(link_section = ".preinit_array")]
static LOOK: Function = look;

extern "C" fn look(
    _count: c_int,
    _arguments: *const *const c_char,
    _environment: *const *const c_char,
) {
    // SAFETY: reads the flags of a descriptor, which may be closed.
    let is_closed = unsafe { libc::fcntl(libc::STDOUT_FILENO, libc::F_GETFD) } == -1;
    WAS_CLOSED.store(is_closed, Ordering::Relaxed);
}

/// Closes standard output again where the program was started with it closed, for a program that
/// starts itself anew.
pub fn close_stdout_again() {
    if stdout_was_closed() {
        // SAFETY: nothing was ever written there, and what Rust opened in its place is dropped.
        unsafe { libc::close(libc::STDOUT_FILENO) };
    }
}

/// Whether the program was started with standard output closed, so that what it prints is lost.
pub fn stdout_was_closed() -> bool {
    WAS_CLOSED.load(Ordering::Relaxed)
}
