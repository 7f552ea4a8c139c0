use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::allocator::refused_bytes;

/// From now on a file that grows beyond `ulimit -f` fails the write that meets the limit, and a
/// program that aborts for lack of memory says so and ends with exit code 1.
pub(crate) fn listen() {
    // Without a handler the program still runs; it only ends without a word at that limit.
    let _ = signal_hook::flag::register(libc::SIGXFSZ, Arc::new(AtomicBool::new(false)));
    let handler: extern "C" fn(libc::c_int) = explain_abort;
    // SAFETY: the handler calls nothing but functions that signal handlers may call.
    unsafe { libc::signal(libc::SIGABRT, handler as libc::sighandler_t) };
}

/// Ends the program where its thread aborts for lack of memory; other aborts take their course.
extern "C" fn explain_abort(signal: libc::c_int) {
    match refused_bytes() {
        Some(bytes) => {
            let mut text = Text::default();
            text.push(b"error: out of memory: ");
            text.push_number(bytes);
            text.push(
                b" bytes more are not to be had; lower what is worked on at a time, or allow the \
                  process more (`ulimit -v`, or the limit of the container or of the job)\n",
            );
            // SAFETY: both may be called in a signal handler; the text is valid for its length.
            unsafe {
                libc::write(libc::STDERR_FILENO, text.bytes.as_ptr().cast(), text.length);
                libc::_exit(1);
            }
        }
        // SAFETY: it may be called in a signal handler. The abort goes on when this returns.
        None => unsafe {
            libc::signal(signal, libc::SIG_DFL);
        },
    }
}

/// A text on the stack: a signal handler must not allocate.
struct Text {
    bytes: [u8; 256],
    length: usize,
}

impl Default for Text {
    fn default() -> Self {
        Text { bytes: [0; 256], length: 0 }
    }
}

impl Text {
    /// Appends what has room.
    fn push(&mut self, more: &[u8]) {
        for byte in more {
            if let Some(free) = self.bytes.get_mut(self.length) {
                *free = *byte;
                self.length += 1;
            }
        }
    }

    fn push_number(&mut self, mut number: usize) {
        let mut digits = [0; 20];
        let mut first = digits.len();
        for digit in digits.iter_mut().rev() {
            *digit = b"0123456789"[number % 10];
            number /= 10;
            first -= 1;
            if number == 0 {
                break;
            }
        }
        self.push(digits.get(first..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_made_without_allocating() {
        let mut text = Text::default();
        text.push(b"a ");
        text.push_number(0);
        text.push(b" ");
        text.push_number(usize::MAX);
        assert_eq!(text.bytes[..text.length], *format!("a 0 {}", usize::MAX).as_bytes());
        (0..300).for_each(|_| text.push(b"x"));
        assert_eq!(text.length, text.bytes.len());
    }
}
