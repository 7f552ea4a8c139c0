//! What a program does before all else, so that a limit of its process is an error in words and
//! exit code 1, never a signal that ends it.
//!
//! ```
//! #[global_allocator]
//! static ALLOCATOR: ossify_process::Allocator = ossify_process::Allocator;
//!
//! fn main() {
//!     ossify_process::prepare();
//! }
//! ```

mod address_space;
mod allocator;
mod signals;
mod standard_output;

pub use allocator::Allocator;
pub use standard_output::{close_stdout_again, stdout_was_closed};

/// Makes limits of the process errors in words, with exit code 1: too little address space to begin
/// (`ulimit -v`), a write that makes a file larger than `ulimit -f` allows, and memory that is
/// refused to code which cannot go on without it. The latter needs [`Allocator`].
///
/// Where not even the program and its libraries fit into the address space, the system ends it
/// before it begins: with exit code 127 and the loader's words, or with a signal.
pub fn prepare() {
    address_space::require();
    signals::listen();
}
