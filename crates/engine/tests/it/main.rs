//! The engine's integration tests.

mod accounting;
mod attack;
mod backpressure;
mod basics;
mod compressing;
mod crash;
mod failing;
mod families;
mod faults;
mod keeping;
mod kill;
mod limiting;
mod linear;
mod mapped;
mod memory;
mod misuse;
mod model;
mod passing;
mod paying;
mod readers;
mod records;
mod recovery;
mod sim;
mod support;
#[cfg(feature = "async")]
mod tasks;
mod unlogged;
mod verifying;
