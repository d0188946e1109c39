//! What the tests share.

use engine::{Db, LogBackend, Options};
use std::path::Path;

/// A small, seeded source of numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// How records get to the log: mapped, or as `POLDER_LOG_BACKEND=positional` says.
pub fn backend() -> LogBackend {
    match std::env::var("POLDER_LOG_BACKEND").as_deref() {
        Ok("positional") => LogBackend::Positional,
        _ => LogBackend::Auto,
    }
}

/// Options under which a few megabytes of writes pass through every part of the engine.
pub fn small() -> Options {
    Options {
        write_budget: Some(1 << 20),
        write_buffer_size: 128 << 10,
        wal_segment_bytes: 256 << 10,
        wal_backend: backend(),
        target_file_size_base: 128 << 10,
        max_bytes_for_level_base: 512 << 10,
        block_cache_bytes: Some(1 << 20),
        ..Options::default()
    }
}

pub fn open(path: &Path, options: &Options) -> Db {
    Db::open(path, options.clone()).expect("the database opens")
}

/// All entries, by the iterator.
pub fn all(db: &Db) -> Vec<(Vec<u8>, Vec<u8>)> {
    let entries = db.iter().expect("the database is open");
    entries
        .map(|entry| entry.map(|(k, v)| (k.to_vec(), v.to_vec())).expect("the entry can be read"))
        .collect()
}

/// What an error and its causes say, one after the other.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// The directory as a crash would leave it: copied while the database is open and its caller does nothing. Its threads may
/// still rename and remove files; then everything is copied again.
pub fn copy(from: &Path) -> tempfile::TempDir {
    let names = || -> std::collections::BTreeSet<_> {
        std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let to = tempfile::tempdir().unwrap();
        let before = names();
        let copied = before
            .iter()
            .try_for_each(|name| std::fs::copy(from.join(name), to.path().join(name)).map(drop));
        match copied {
            Ok(()) if names() == before => return to,
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
            _ => assert!(std::time::Instant::now() < deadline, "the directory does not settle"),
        }
    }
}
