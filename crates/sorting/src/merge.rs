//! Many sorted lists as one.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::record::Ordered;

/// The records of several sources, each of which is in order, in order. Of records that compare
/// equal those of an earlier source come first, so that the merge is stable. After an error nothing
/// follows.
pub struct Merge<S, R> {
    sources: Vec<S>,
    heads: BinaryHeap<Head<R>>,
}

impl<S, R, E> Merge<S, R>
where
    S: Iterator<Item = Result<R, E>>,
    R: Ordered,
{
    /// Reads the first record of each source.
    ///
    /// # Errors
    /// Those of the sources.
    pub fn new(mut sources: Vec<S>) -> Result<Self, E> {
        let mut heads = BinaryHeap::with_capacity(sources.len());
        for (source, records) in sources.iter_mut().enumerate() {
            heads.extend(records.next().transpose()?.map(|record| Head { record, source }));
        }
        Ok(Merge { sources, heads })
    }
}

impl<S, R, E> Iterator for Merge<S, R>
where
    S: Iterator<Item = Result<R, E>>,
    R: Ordered,
{
    type Item = Result<R, E>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut head = self.heads.peek_mut()?;
        // The one at the top is exchanged for the next of its source, which costs less than to take
        // it and to put that.
        let record = match self.sources[head.source].next() {
            Some(Ok(next)) => std::mem::replace(&mut head.record, next),
            None => PeekMut::pop(head).record,
            Some(Err(e)) => {
                drop(head);
                self.heads.clear();
                return Some(Err(e));
            }
        };
        Some(Ok(record))
    }
}

/// The next record of a source; the first in order is the greatest, as a heap wants it.
struct Head<R> {
    record: R,
    source: usize,
}

impl<R: Ordered> Ord for Head<R> {
    fn cmp(&self, other: &Self) -> Ordering {
        other.record.order(&self.record).then(other.source.cmp(&self.source))
    }
}

impl<R: Ordered> PartialOrd for Head<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<R: Ordered> PartialEq for Head<R> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<R: Ordered> Eq for Head<R> {}
