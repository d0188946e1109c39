//! The engine's integration tests.

mod backpressure;
mod basics;
mod crash;
mod families;
mod kill;
mod misuse;
mod model;
mod readers;
mod recovery;
mod sim;
mod support;
