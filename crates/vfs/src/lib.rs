//! The file system: traits, the real one, and (feature `sim`) a simulated one that can crash.

#![warn(missing_docs)]

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
