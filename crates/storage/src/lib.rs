//! Where datasets and work folders lie: in a folder of this machine, or in an object store.
//!
//! A path is one of this machine, or a URL such as `s3://bucket/folder` ([`is_url`]). A dataset is
//! read where it lies ([`stat`], [`read`], [`list`], [`ObjectReader`], [`ReadAhead`]). A work
//! folder in a store has a [`Mirror`] on this machine: stages write there, and what they have
//! published goes to the store.
//!
//! Nothing here runs, and no thread is started, before the first URL is met.

mod address;
mod bucket;
mod files;
mod http;
mod layout;
mod listed_page;
mod mirror;
mod object;
mod object_reader;
mod outage;
mod read_ahead;
mod requests;
mod retry;
mod runtime;
mod transfer;

pub use address::{check_local, check_url, is_url};
pub use files::{
    Stat, canonicalize, files_in, find, is_dir, is_file, list, read, read_with_stat, refused_below,
    stat,
};
pub use layout::how_to_make_again;
pub use mirror::{
    Garbage, MIN_PRUNE_AGE, Mirror, Moved, Trust, fetch, fetch_ahead, forget, give_second_name,
    is_lost, is_whole, rename, room_for, size,
};
pub use object_reader::ObjectReader;
pub use outage::is_outage;
pub use read_ahead::ReadAhead;
pub use requests::{Requests, configure, requests};
