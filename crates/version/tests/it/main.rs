//! Tests of the crate from outside: on the simulated file system, on a real one, and against a golden file.

mod crash;
mod faults;
mod golden;
mod history;
mod misuse;
mod pins;
mod support;
