//! Which part of the network learns when, and how its parameters move.

pub mod average;
pub mod frozen_part;
pub mod optimiser;
pub mod parameters;
pub mod phases;
pub mod recipe;
pub mod schedule;
