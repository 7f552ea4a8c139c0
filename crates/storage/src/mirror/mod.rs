//! A work folder in an object store, and its mirror on this machine.
//!
//! The mirror has a note of each object that it knows, and whether the file beside is its content.
//! Small files are fetched when the mirror is brought up to date, large ones when they are opened.
//! What a stage has published is sent: files under names of their content, which are never written
//! again, then the manifest, which says which object is which file, on the condition that nobody
//! else published meanwhile.

mod cache;
mod folder;
mod index;
#[cfg(test)]
mod model;
mod notes;
mod parallel;
mod prune;
mod publication;
mod pull;
mod registry;
#[cfg(test)]
mod tests;

pub use folder::{Mirror, Moved};
pub use prune::{Garbage, MIN_PRUNE_AGE};
pub use publication::Trust;
pub use registry::{
    fetch, fetch_ahead, forget, give_second_name, is_lost, is_whole, rename, room_for, size,
};
