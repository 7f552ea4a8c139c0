use std::panic::{self, AssertUnwindSafe};
use std::sync::{Mutex, PoisonError};

/// Hooks are of the whole process: one query at a time changes them.
static HOOK: Mutex<()> = Mutex::new(());

/// What `work` gives, or what it said when it panicked, in one line. polars runs a query on threads
/// of its own, so that no hook but that of the whole process keeps its panics from standard error.
pub(crate) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    let _one_at_a_time = HOOK.lock().unwrap_or_else(PoisonError::into_inner);
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    panic::set_hook(hook);
    result.map_err(|payload| {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("no reason given");
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_in_one_line_and_hooks_come_back() {
        assert_eq!(guarded(|| 3), Ok(3));
        assert_eq!(guarded(|| panic!("first\n  {}", 2)), Err::<(), _>("first 2".to_owned()));
        let thread = || std::thread::spawn(|| panic!("there")).join().map_err(|_| "it panicked");
        assert_eq!(guarded(thread), Ok(Err::<(), _>("it panicked")));
    }
}
