//! Integration tests: the same assertions on both file systems, then what is special to each.

mod conformance;
mod crash;
mod crash_model;
mod faults;
mod real;
