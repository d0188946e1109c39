//! Integration tests of the log, on the simulated and the real file system.
#![cfg(not(any(loom, shuttle)))]

mod attack;
mod basics;
mod concurrent;
mod crash;
mod creation;
mod damage;
mod failing;
mod golden;
mod history;
mod kit;
mod recycled;
mod tailing;
mod unsynced;
