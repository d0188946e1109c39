//! The command line. Every option says its unit and default.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use kit::size::Size;

use crate::cell::CellName;
use crate::engines::{Config, EngineName};
use crate::workload::{Kind, Workload};

/// Polder beside other storage engines: the same workloads, one process for each engine and workload,
/// the engines taking turns, medians and ratios in the end.
///
/// What an engine reads is checked; one that reads wrong has failed, and so has the run. Sizes are in
/// bytes, or a number with a unit: 16777216, 16MiB, 16MB.
#[derive(Clone, Debug, Parser)]
#[command(name = "cargo xtask bench --compare", bin_name = "cargo xtask bench --compare")]
#[command(max_term_width = 100, after_help = WORKLOADS_HELP.as_str())]
pub(crate) struct Args {
    /// Engines, by name and in this order: polder, rocksdb, fjall, leveldb, redb, lmdb, and the
    /// baselines plain-write and group-commit [default: polder, rocksdb, fjall, leveldb, baselines]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) engines: Option<Vec<EngineName>>,

    /// Workloads, by name [default: all]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    workloads: Option<Vec<Workload>>,

    /// Keys to choose from; most workloads make as many operations
    #[arg(long, default_value = "1000000", value_name = "COUNT", value_parser = count)]
    pub(crate) keys: u64,

    /// Threads, each number in turn [default: 1,2,4,8; synced writes: 1,4,16]
    #[arg(long, value_name = "COUNTS", value_delimiter = ',')]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1024))]
    threads: Option<Vec<u64>>,

    /// Times that everything is measured [default: 3]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    rounds: Option<u64>,

    /// Length of a value, in bytes
    #[arg(long, default_value_t = Size(100), value_name = "SIZE")]
    value_size: Size,

    /// Directory for the databases, empty or not there yet; it is kept [default: a fresh one under
    /// the build's folder, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,

    /// Directory for the results, raw and as tables [default: polder-compare-results beside the
    /// build's products]
    #[arg(long, value_name = "DIR")]
    pub(crate) out: Option<PathBuf>,

    /// A run of some five minutes: one round, one thread (synced: 1 and 16), 3 seconds and 1 million
    /// keys for each measurement at most. What is given beside it wins
    #[arg(long)]
    quick: bool,

    /// The most time that one measurement takes, in seconds [default: 20]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    seconds: Option<u64>,

    /// Size of a memtable
    #[arg(long, default_value_t = Size(64 << 20), value_name = "SIZE")]
    write_buffer: Size,

    /// Memory for blocks that were read
    #[arg(long, default_value_t = Size(64 << 20), value_name = "SIZE")]
    cache: Size,

    /// Compact everything before it is read [default: what the engine does by itself]
    #[arg(long)]
    pub(crate) compact: bool,

    /// One memory budget for memtables and blocks, in the engines that can share it: what the ones do not use the others
    /// have. It is as much as both have otherwise, and 16 MiB [default: memtables and cache apart, the same for all]
    #[arg(long)]
    one_budget: bool,

    /// Tables are read through a mapping of their files, in the engines that have that as an option
    #[arg(long)]
    mmap_reads: bool,

    /// Writes per second beside the readers of readwhilewriting
    #[arg(long, default_value_t = 20_000, value_name = "COUNT")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) writer_rate: u64,

    /// Records of the metadata workload [default: 20000000]
    #[arg(long, value_name = "COUNT", value_parser = count)]
    metadata_keys: Option<u64>,

    /// The memory budget of the metadata workload
    #[arg(long, default_value_t = Size(64 << 20), value_name = "SIZE")]
    memory_budget: Size,

    /// One measurement of a run, in a process of its own.
    #[arg(long, hide = true, requires = "database")]
    pub(crate) cell: Option<CellName>,

    /// The database of that measurement.
    #[arg(long, hide = true)]
    pub(crate) database: Option<PathBuf>,
}

/// One line for each workload, below the options.
static WORKLOADS_HELP: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
    let lines = Workload::ALL.map(Workload::describe);
    let lines = lines.iter().map(|(name, about)| format!("  {name:<17} {about}\n"));
    format!("Workloads:\n{}", lines.collect::<String>())
});

/// What a shared budget has beside two memtables and the cache: for the log and what else an engine charges.
const BUDGET_BESIDE_BYTES: u64 = 16 << 20;

fn count(text: &str) -> Result<u64, String> {
    let count = text.replace('_', "").parse().map_err(|_| format!("`{text}` is not a count"))?;
    // Key numbers beyond this would not fit the positions that a shuffle works with.
    if (1..=1 << 40).contains(&count) { Ok(count) } else { Err("use 1 to 2^40".to_owned()) }
}

impl Args {
    /// The engines to compare: those that were named, or all that this build has by default.
    pub(crate) fn engines(&self) -> Vec<EngineName> {
        let is_default = |engine: &EngineName| {
            engine.is_built() && !matches!(engine, EngineName::Redb | EngineName::Lmdb)
        };
        let all = || EngineName::ALL.into_iter().filter(is_default).collect();
        self.engines.clone().unwrap_or_else(all)
    }

    /// The workloads to run.
    pub(crate) fn workloads(&self) -> Vec<Workload> {
        self.workloads.clone().unwrap_or_else(|| Workload::ALL.into())
    }

    /// The numbers of threads that a workload runs with.
    pub(crate) fn threads(&self, workload: Workload) -> Vec<u64> {
        if matches!(workload.kind(), Kind::ColdRead | Kind::Metadata) {
            return vec![1];
        }
        let usual: &[u64] = match (workload.kind(), self.quick) {
            (Kind::SyncedWrite, true) => &[1, 16],
            (Kind::SyncedWrite, false) => &[1, 4, 16],
            (_, true) => &[1],
            (_, false) => &[1, 2, 4, 8],
        };
        self.threads.clone().unwrap_or_else(|| usual.into())
    }

    /// Times that everything is measured.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    /// The most time that one measurement takes.
    pub(crate) fn limit(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(if self.quick { 3 } else { 20 }))
    }

    /// Keys that a workload chooses from.
    pub(crate) fn keys(&self, workload: Workload) -> u64 {
        match workload {
            Workload::Metadata => {
                self.metadata_keys.unwrap_or(if self.quick { 1_000_000 } else { 20_000_000 })
            }
            _ => self.keys,
        }
    }

    /// Length of the values of most workloads, in bytes.
    pub(crate) fn value_bytes(&self) -> u64 {
        self.value_size.0
    }

    /// How a database is opened for a workload of this kind.
    pub(crate) fn config(&self, kind: Kind) -> Config {
        let budget = self.memory_budget.0;
        match kind {
            // Two memtables make up half of the budget, what was read the other half.
            Kind::Metadata => Config {
                write_buffer_bytes: budget / 4,
                cache_bytes: budget / 2,
                sync: false,
                memory_budget: Some(budget),
                mmap_reads: self.mmap_reads,
            },
            _ => Config {
                write_buffer_bytes: self.write_buffer.0,
                cache_bytes: self.cache.0,
                sync: kind == Kind::SyncedWrite,
                memory_budget: self
                    .one_budget
                    .then_some(2 * self.write_buffer.0 + self.cache.0 + BUDGET_BESIDE_BYTES),
                mmap_reads: self.mmap_reads,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(std::iter::once("compare").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_consistent_and_explained() {
        Args::command().debug_assert();
        for option in Args::command().get_arguments().filter(|option| !option.is_hide_set()) {
            assert!(option.get_help().is_some(), "{}", option.get_id());
        }
        let help = Args::command().render_long_help().to_string();
        assert!(Workload::ALL.iter().all(|workload| help.contains(workload.name())));
    }

    #[test]
    fn quick_is_small_and_gives_way() {
        let args = parse("--quick").expect("valid");
        assert_eq!((args.rounds(), args.limit()), (1, Duration::from_secs(3)));
        assert_eq!(args.threads(Workload::FillSeq), [1]);
        assert_eq!(args.threads(Workload::Synced), [1, 16]);
        let args = parse("--quick --rounds 5 --seconds 9 --threads 3,4").expect("valid");
        assert_eq!((args.rounds(), args.limit()), (5, Duration::from_secs(9)));
        assert_eq!(args.threads(Workload::Synced), [3, 4]);
        assert_eq!(args.threads(Workload::ColdSeq), [1]);
    }

    #[test]
    fn names_are_lists() {
        let args = parse("--engines fjall,polder --workloads small,readseq").expect("valid");
        assert_eq!(args.engines(), [EngineName::Fjall, EngineName::Polder]);
        assert_eq!(args.workloads(), [Workload::Small, Workload::ReadSeq]);
        let defaults = parse("").expect("valid");
        assert_eq!(defaults.workloads(), Workload::ALL);
        assert!(defaults.engines().contains(&EngineName::Polder));
        assert!(!defaults.engines().contains(&EngineName::Lmdb));
    }

    #[test]
    fn only_the_metadata_workload_has_a_budget_unless_all_have() {
        let args = parse("--memory-budget 32MiB --write-buffer 8MiB").expect("valid");
        let config = args.config(Kind::Metadata);
        assert_eq!((config.memory_budget, config.write_buffer_bytes), (Some(32 << 20), 8 << 20));
        assert_eq!(config.cache_bytes, 16 << 20);
        let config = args.config(Kind::SyncedWrite);
        assert!(config.sync && config.memory_budget.is_none());
        assert_eq!(config.write_buffer_bytes, 8 << 20);
        assert!(!args.config(Kind::Write).sync);
        let shared = parse("--one-budget").expect("valid").config(Kind::Write);
        assert_eq!(shared.memory_budget, Some(208 << 20));
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "--engines rocks",
            "--workloads fill",
            "--threads 0",
            "--keys 0",
            "--rounds 0",
            "--value-size x",
            "--cell polder/fillseq/1",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
