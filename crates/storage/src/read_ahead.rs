use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use tokio::task::JoinHandle;

use crate::address::is_url;
use crate::files::open;
use crate::runtime::wait_for;

/// Reads whole files one after the other. Objects of a store are asked for ahead of need; files of
/// this machine are read when it is their turn, by the caller, who knows which of them are files.
pub struct ReadAhead<I> {
    paths: I,
    max_bytes: u64,
    ahead: usize,
    begun: VecDeque<(PathBuf, Begun)>,
}

enum Begun {
    Local,
    Remote(io::Result<JoinHandle<io::Result<Vec<u8>>>>),
}

impl<I: Iterator<Item = PathBuf>> ReadAhead<I> {
    /// Reads the files at `paths`, each of at most `max_bytes`, up to `ahead` of them in memory.
    pub fn new(paths: I, max_bytes: u64, ahead: usize) -> Self {
        ReadAhead { paths, max_bytes, ahead: ahead.max(1), begun: VecDeque::new() }
    }
}

impl<I: Iterator<Item = PathBuf>> Iterator for ReadAhead<I> {
    /// The path, and the content if it is that of an object.
    type Item = (PathBuf, Option<io::Result<Vec<u8>>>);

    fn next(&mut self) -> Option<Self::Item> {
        while self.begun.len() < self.ahead {
            let Some(path) = self.paths.next() else { break };
            let begun = if is_url(&path) {
                Begun::Remote(
                    open(&path).and_then(|(bucket, key)| bucket.begin_read(&key, self.max_bytes)),
                )
            } else {
                Begun::Local
            };
            self.begun.push_back((path, begun));
        }
        let (path, begun) = self.begun.pop_front()?;
        let content = match begun {
            Begun::Local => None,
            Begun::Remote(begun) => Some(begun.and_then(wait_for)),
        };
        Some((path, content))
    }
}
