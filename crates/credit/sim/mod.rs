//! Simulators for the pacer and the tuner, shared by the tests and the examples.
//!
//! Time is virtual and steps are fixed, so a run gives the same figures everywhere.

pub mod pacing;
pub mod picture;
pub mod tuning;
