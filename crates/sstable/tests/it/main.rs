//! The integration tests of table files.

mod bounds;
mod common;
mod damage;
mod golden;
mod helping;
mod largest;
mod model;
mod reading;
mod recorder;
mod verifying;
mod writing;
