//! Findings: what is wrong with an input, where, why, and what to do about it.
//!
//! A [`Finding`] is one value with many renderers: a caret under the source line for people
//! ([`Format::Full`]), one line a finding ([`Format::Concise`]), JSON lines, GitHub annotations
//! and SARIF for machines. Text that comes from files is made printable before it is rendered.

mod finding;
mod printable;
mod render;

pub use finding::{Action, Finding, Place, Severity};
pub use printable::printable;
pub use render::{Format, Renderer};
