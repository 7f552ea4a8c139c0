use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Builder;

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs `work` on all items, at most `threads` at a time, until one fails.
pub(crate) fn in_parallel<T: Sync>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> io::Result<()> + Sync,
) -> io::Result<()> {
    if threads == 1 {
        return items.iter().try_for_each(work);
    }
    let queue = Mutex::new(items.iter());
    let failed = Mutex::new(None);
    std::thread::scope(|scope| {
        let take_items = || {
            while lock(&failed).is_none() {
                let Some(item) = lock(&queue).next() else { return };
                if let Err(e) = work(item) {
                    lock(&failed).get_or_insert(e);
                }
            }
        };
        for _ in 0..threads.min(items.len()) {
            if let Err(e) = Builder::new().spawn_scoped(scope, take_items) {
                lock(&failed).get_or_insert(e);
            }
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
