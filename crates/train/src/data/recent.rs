use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;

/// The most recently used of many files, opened when they are asked for: at most `limit` are open
/// at a time, besides those that a thread is reading from.
pub struct Recent<T> {
    limit: usize,
    /// By number; the most recently used is last.
    open: Mutex<VecDeque<(usize, Arc<T>)>>,
}

impl<T> Recent<T> {
    /// Keeps up to `limit` files open.
    pub fn new(limit: usize) -> Self {
        Recent { limit, open: Mutex::default() }
    }

    /// The file of this number, opened by `open` where it is not open yet.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn get(&self, number: usize, open: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut files = self.lock();
        let found = files.iter().rposition(|(found, _)| *found == number);
        let file = match found.and_then(|index| files.remove(index)) {
            Some((_, file)) => file,
            None => {
                // Other threads need not wait meanwhile.
                drop(files);
                let file = Arc::new(open()?);
                files = self.lock();
                files.retain(|(found, _)| *found != number);
                file
            }
        };
        files.push_back((number, Arc::clone(&file)));
        while files.len() > self.limit {
            files.pop_front();
        }
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(usize, Arc<T>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_is_closed_first() {
        let recent = Recent::new(2);
        let opened = Mutex::new(Vec::new());
        let get = |number: usize| {
            let open = || {
                opened.lock().unwrap().push(number);
                Ok(number * 10)
            };
            *recent.get(number, open).unwrap()
        };
        assert_eq!([1, 2, 1, 3, 1, 2].map(get), [10, 20, 10, 30, 10, 20]);
        assert_eq!(*opened.lock().unwrap(), [1, 2, 3, 2]);
        assert!(recent.get(4, || anyhow::bail!("gone")).is_err());
        assert_eq!(get(2), 20);
    }
}
