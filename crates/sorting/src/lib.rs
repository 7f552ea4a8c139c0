//! Records that need not fit into memory: sorted, merged, or kept in the order they came.
//!
//! What does not fit goes to files without names, which are gone when they are closed, however the
//! process ends. However many records there are, at most two such files are open at a time.

mod merge;
mod queue;
mod record;
mod runs;
mod scratch_file;
mod sorter;

pub use merge::Merge;
pub use queue::Queue;
pub use record::{Ordered, Stored};
pub use runs::{MAX_WINDOW_BYTES, RunReader, RunWriter, Runs};
pub use scratch_file::ScratchFile;
pub use sorter::{Sorted, SortedRecords, Sorter};
