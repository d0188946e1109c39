//! The command line. Every option says its unit and default.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Parser;

use crate::size::{Budget, Size};
use crate::source::synthetic::Distribution;
use crate::target::{Compression, Options};

/// The main job: writes a load into a fresh database, flushes and compacts it, closes and reopens
/// it, reads everything back and verifies it.
///
/// Sizes are in bytes, or a number with a unit: 16777216, 16MiB, 16MB. The exit code is 0 only if
/// everything was verified.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", max_term_width = 100)]
pub(crate) struct Args {
    /// Operations to make, and keys to choose from
    #[arg(long, default_value = "2000000", value_name = "COUNT", value_parser = count)]
    #[arg(help_heading = "Synthetic load")]
    pub(crate) keys: u64,

    /// Length of a key, in bytes
    #[arg(long, default_value_t = Size(16), value_name = "SIZE", help_heading = "Synthetic load")]
    pub(crate) key_size: Size,

    /// Length of a value, in bytes
    #[arg(long, default_value_t = Size(100), value_name = "SIZE", help_heading = "Synthetic load")]
    pub(crate) value_size: Size,

    /// How much of a value compresses away, in per cent
    #[arg(long, default_value_t = 50, value_name = "PERCENT", help_heading = "Synthetic load")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) compressible: u64,

    /// In which order the keys come
    #[arg(long, value_enum, default_value_t = Distribution::Random)]
    #[arg(help_heading = "Synthetic load")]
    pub(crate) distribution: Distribution,

    /// Operations that are deletes, in per cent
    #[arg(long, default_value_t = 0, value_name = "PERCENT", help_heading = "Synthetic load")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) deletes: u64,

    /// Number that the whole load follows from (together with the number of threads)
    #[arg(long, default_value_t = 1, value_name = "NUMBER", help_heading = "Synthetic load")]
    pub(crate) seed: u64,

    /// Write real data: a directory (key = relative path, value = contents) or a file of lines
    /// `key<TAB>value`, and prove that what is read back is byte-equal to it
    #[arg(long, value_name = "PATH", help_heading = "Real data", conflicts_with_all =
        ["keys", "key_size", "value_size", "compressible", "distribution", "deletes", "seed"])]
    pub(crate) input: Option<PathBuf>,

    /// Threads that write
    #[arg(long, default_value_t = 4, value_name = "COUNT", help_heading = "Writing")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) threads: u64,

    /// Operations in one write call
    #[arg(long, default_value_t = 1, value_name = "COUNT", help_heading = "Writing")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) batch: u64,

    /// Make every write call wait until it is on stable storage [default: off]
    #[arg(long, help_heading = "Writing")]
    pub(crate) sync: bool,

    /// Most memory that unflushed writes may hold; `off`, 0 or less: no limit [default: the
    /// engine's, 64MiB]
    #[arg(long, value_name = "SIZE", overrides_with = "budget", allow_hyphen_values = true)]
    #[arg(help_heading = "Database")]
    pub(crate) budget: Option<Budget>,

    /// Size at which a memtable is flushed
    #[arg(long, value_name = "SIZE", default_value_t = Size(defaults().write_buffer_size))]
    #[arg(help_heading = "Database")]
    pub(crate) write_buffer_size: Size,

    /// Memtables that may exist at once, before writers wait
    #[arg(long, value_name = "COUNT", default_value_t = defaults().max_write_buffer_number)]
    #[arg(help_heading = "Database")]
    pub(crate) max_write_buffer_number: usize,

    /// Compression of tables: none, lz4, zstd, or zstd:LEVEL with a level of -7 to 22; a slow one
    /// makes the flush the bottleneck
    #[arg(long, value_name = "NAME", default_value = "lz4", value_parser = compression)]
    #[arg(help_heading = "Database")]
    pub(crate) compression: Compression,

    /// Compression of the tables of each level, named as above and separated by commas: of level 0, of the level that it
    /// is compacted to, and so on; the last one holds for all deeper levels [default: --compression for all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = compression)]
    #[arg(help_heading = "Database")]
    pub(crate) compression_per_level: Vec<Compression>,

    /// Compression of the deepest level's tables, whatever the other two say [default: as they say]
    #[arg(long, value_name = "NAME", value_parser = compression)]
    #[arg(help_heading = "Database")]
    pub(crate) bottommost_compression: Option<Compression>,

    /// Threads that compress blocks beside those of flush and compaction, for zstd [default: as many as there are cores
    /// beyond two, at most 4, and at least one for zstd:6 and above]
    #[arg(long, value_name = "COUNT", help_heading = "Database")]
    pub(crate) compression_threads: Option<usize>,

    /// The most memory for blocks that were read; without it, what the memory budget leaves
    #[arg(long, value_name = "SIZE")]
    #[arg(help_heading = "Database")]
    pub(crate) block_cache: Option<Size>,

    /// Hand table files to the disk in steps of this size while they are written; 0: at their end
    #[arg(long, value_name = "SIZE", default_value_t = Size(defaults().bytes_per_sync))]
    #[arg(help_heading = "Database")]
    pub(crate) bytes_per_sync: Size,

    /// Wait for each such step [default: off]
    #[arg(long, help_heading = "Database")]
    pub(crate) strict_bytes_per_sync: bool,

    /// Size of a log segment
    #[arg(long, value_name = "SIZE", default_value_t = Size(defaults().wal_segment_bytes))]
    #[arg(help_heading = "Database")]
    pub(crate) wal_segment_size: Size,

    /// Level-0 tables from which on writes are slowed down
    #[arg(long, value_name = "COUNT", default_value_t = defaults().level0_slowdown_writes_trigger)]
    #[arg(help_heading = "Database")]
    pub(crate) level0_slowdown: usize,

    /// Level-0 tables at which writes wait
    #[arg(long, value_name = "COUNT", default_value_t = defaults().level0_stop_writes_trigger)]
    #[arg(help_heading = "Database")]
    pub(crate) level0_stop: usize,

    /// Directory for the database, empty or not there yet; it is kept [default: a fresh one under
    /// target/, removed at the end]
    #[arg(long, value_name = "DIR", overrides_with = "path", help_heading = "Database")]
    pub(crate) path: Option<PathBuf>,

    /// Write the result to this file as one flat JSON object
    #[arg(long, value_name = "FILE", overrides_with = "json", help_heading = "Output")]
    pub(crate) json: Option<PathBuf>,

    /// Run twice, in two processes, with the budget on and off, and show both results
    #[arg(long, help_heading = "Output")]
    pub(crate) compare_budget: bool,

    /// One of the two runs of a comparison.
    #[arg(long, hide = true, overrides_with = "compare_budget")]
    pub(crate) single_run: bool,
}

fn defaults() -> Options {
    Options::default()
}

fn count(text: &str) -> Result<u64, String> {
    text.replace('_', "").parse().map_err(|_| format!("`{text}` is not a count"))
}

fn compression(text: &str) -> Result<Compression, String> {
    let (name, level) = text.split_once(':').map_or((text, None), |(n, l)| (n, Some(l)));
    match (name, level) {
        ("none", None) => Ok(Compression::None),
        ("lz4", None) => Ok(Compression::Lz4),
        ("zstd", level) => {
            let level = level.map_or(Ok(3), i32::from_str);
            let level = level.ok().filter(|level| (-7..=22).contains(level));
            let level = level.ok_or("a zstd level is a number from -7 to 22")?;
            Ok(Compression::Zstd { level })
        }
        _ => Err("use none, lz4, zstd or zstd:LEVEL".to_owned()),
    }
}

impl Args {
    /// The engine's options: its defaults, and what the command line says.
    pub(crate) fn options(&self) -> Options {
        let mut options = Options {
            create_if_missing: true,
            error_if_exists: true,
            write_buffer_size: self.write_buffer_size.0,
            max_write_buffer_number: self.max_write_buffer_number,
            compression: self.compression,
            compression_per_level: self.compression_per_level.clone(),
            bottommost_compression: self.bottommost_compression,
            compression_threads: self.compression_threads,
            block_cache_bytes: self.block_cache.map(|size| size.0),
            bytes_per_sync: self.bytes_per_sync.0,
            strict_bytes_per_sync: self.strict_bytes_per_sync,
            wal_segment_bytes: self.wal_segment_size.0,
            level0_slowdown_writes_trigger: self.level0_slowdown,
            level0_stop_writes_trigger: self.level0_stop,
            ..defaults()
        };
        // C10: the configured value stays unless another is given.
        if let Some(Budget(budget)) = self.budget {
            options.write_budget = budget;
            // Beside unflushed writes, as much as there is by default, and more for larger ones.
            let beside = |bytes: u64| bytes.saturating_add(bytes / 4).saturating_add(192 << 20);
            options.memory_budget = budget.map(beside);
        }
        options
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("bench").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_shown_option_says_what_it_does() {
        for option in Args::command().get_arguments().filter(|option| !option.is_hide_set()) {
            assert!(option.get_help().is_some(), "{}", option.get_id());
        }
    }

    #[test]
    fn without_arguments_the_engines_defaults_hold() {
        let options = parse("").expect("defaults").options();
        assert_eq!(Options { error_if_exists: false, ..options }, Options::default());
    }

    #[test]
    fn the_budget_overrides_only_when_given() {
        // C10
        let budget = |line: &str| parse(line).expect("valid").options().write_budget;
        assert_eq!(budget("--keys 5"), Options::default().write_budget);
        assert_eq!(budget("--budget 16777216"), Some(16 << 20));
        assert_eq!(budget("--budget 0"), None);
        assert_eq!(budget("--budget -1"), None);
        assert_eq!(budget("--budget=off"), None);
        assert_eq!(budget("--budget off --budget 1MiB"), Some(1 << 20));
    }

    #[test]
    fn compressions_are_read() {
        let read =
            |name: &str| parse(&format!("--compression {name}")).map(|args| args.compression);
        assert_eq!(read("none").ok(), Some(Compression::None));
        assert_eq!(read("zstd").ok(), Some(Compression::Zstd { level: 3 }));
        assert_eq!(read("zstd:-5").ok(), Some(Compression::Zstd { level: -5 }));
        for wrong in ["gzip", "lz4:3", "zstd:23", "zstd:x"] {
            assert!(read(wrong).is_err(), "{wrong}");
            let list = format!("--compression-per-level none,{wrong}");
            assert!(parse(&list).is_err(), "{list}");
        }
        let line = "--compression-per-level none,lz4,zstd:1 --bottommost-compression zstd:9";
        let options = parse(line).expect("valid").options();
        let zstd = |level| Compression::Zstd { level };
        let listed = [Compression::None, Compression::Lz4, zstd(1)];
        assert_eq!(options.compression_per_level, listed);
        assert_eq!(options.bottommost_compression, Some(zstd(9)));
        let threads = |line| parse(line).map(|args| args.options().compression_threads).ok();
        assert_eq!(threads("--compression-threads 0"), Some(Some(0)));
        assert_eq!(threads(""), Some(None));
    }

    #[test]
    fn contradictions_and_nonsense_are_refused() {
        for line in [
            "--input x --keys 5",
            "--threads 0",
            "--batch 0",
            "--deletes 101",
            "--keys many",
            "--write-buffer-size 16M",
            "--distribution alphabetic",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
        assert_eq!(parse("--keys 2_000").expect("valid").keys, 2000);
    }

    #[test]
    fn a_child_of_a_comparison_does_not_compare() {
        let args = parse("--compare-budget --single-run --json a --json b").expect("valid");
        assert!(!args.compare_budget && args.single_run);
        assert_eq!(args.json, Some("b".into()));
    }
}
