//! The file system as a storage engine sees it, in one real and one simulated form.
//!
#![doc = include_str!("../README.md")]

mod error;
mod file;
mod fs;
mod map;
mod real;
#[cfg(feature = "sim")]
pub mod sim;

pub use error::{Error, ErrorKind, Operation, Result};
pub use file::File;
pub use fs::{Access, DirEntry, FileLock, Fs, MapSupport, Metadata};
pub use map::MappedRegion;
pub use real::RealFs;
