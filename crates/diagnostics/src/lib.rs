//! Findings: what is wrong with an input, where, why, and what to do about it.
//!
//! A [`Finding`] can be rendered in several formats: with a caret under the source line for people
//! ([`Format::Full`]), as one line per finding ([`Format::Concise`]), and as JSON lines, GitHub
//! annotations or SARIF for machines. Text from files is made printable before it is rendered.

mod finding;
mod printable;
mod render;

pub use finding::{Action, Finding, Location, Severity};
pub use printable::printable;
pub use render::{Format, Renderer};
