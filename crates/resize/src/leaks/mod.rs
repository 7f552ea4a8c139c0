//! Finds pictures that occur in more than one split: the same files, the same pixels, and near
//! copies.
//!
//! A score on a picture that was trained on is not a test, and dataset exporters make copies that
//! are rotated, brightened or re-encoded. The first two kinds are certain, while near copies need a
//! judgement: [`HashIndex::for_each_candidate`] finds pairs whose perceptual hashes are near, and
//! [`align`] compares the two pictures.

mod alignment;
mod candidates;
mod exact;
mod groups;
mod hash_table;
mod image_hashes;
mod near;
mod pair;
mod pairs;
mod picture;
mod pieces;
#[cfg(test)]
mod reference;
mod row_table;
mod scratch;
mod search;
mod sorted;

pub use alignment::{Alignment, MIN_CORRELATION, align};
pub use candidates::{Candidate, HashIndex, HashIndexBuilder, radius};
pub use image_hashes::ImageHashes;
pub use pair::LeakPair;
pub use picture::Picture;
pub use scratch::Scratch;
pub use search::{FoundLeaks, LeakSearch, Leaks, MEMORY_BYTES, find_leaks};
