//! What is published of a split: figures for programs, for people and for jobs.

pub(crate) mod ci;
pub(crate) mod contents;
pub(crate) mod digits;
pub(crate) mod figures;
pub(crate) mod largest;
pub(crate) mod page;
pub(crate) mod words;
