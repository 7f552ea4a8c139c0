//! Which pictures stand in more than one split: the same files, the same pixels, and near copies.
//!
//! A score on a picture that was trained on is no test, and dataset exporters copy pictures after
//! they turned, brightened or encoded them again. The three kinds differ, because the first
//! two are beyond doubt and the third is judged: [`for_each_candidate`] finds pairs whose
//! perceptual hashes are near, and [`lay_on`] looks at both pictures.

mod alike;
mod candidates;
mod exact;
mod groups;
mod near;
mod pair;
mod pairs;
mod picture;
mod pieces;
mod print;
#[cfg(test)]
mod reference;
mod row_table;
mod scratch;
mod search;
mod sorted;

pub use alike::{Alike, MIN_CORRELATION, lay_on};
pub use candidates::{Candidate, HashIndex, HashIndexBuilder, radius};
pub use pair::LeakPair;
pub use picture::Picture;
pub use print::Print;
pub use scratch::Scratch;
pub use search::{FoundLeaks, LeakSearch, Leaks, MEMORY_BYTES, find_leaks};
