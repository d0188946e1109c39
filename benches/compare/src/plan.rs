//! Which measurements are made, and in which order: a pure function of the command line.

use crate::args::Args;
use crate::cell::{CellName, Task};
use crate::engines::EngineName;
use crate::workload::Database;

/// A measurement and the round that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Planned {
    /// From 0.
    pub(crate) round: u64,
    pub(crate) cell: CellName,
}

/// Every measurement, in order. The engines take turns within each workload, and each time another
/// one begins, so that what else happens on the machine meets all of them.
pub(crate) fn plan(args: &Args) -> Vec<Planned> {
    let engines = args.engines();
    let mut planned = Vec::new();
    for round in 0..args.rounds() {
        let mut first = round as usize;
        for workload in args.workloads() {
            for threads in args.threads(workload) {
                for turn in 0..engines.len() {
                    let engine = engines[(first + turn) % engines.len()];
                    if engine.runs(workload) {
                        let cell = CellName { engine, task: Task::Run(workload), threads };
                        planned.push(Planned { round, cell });
                    }
                }
                first += 1;
            }
        }
    }
    planned
}

/// The databases that have to be there before.
pub(crate) fn loads(args: &Args) -> Vec<(EngineName, Database)> {
    let needed = |database: &Database| {
        args.workloads().iter().any(|workload| workload.database() == Some(*database))
    };
    let databases: Vec<_> =
        [Database::Full, Database::Deleted].into_iter().filter(needed).collect();
    let reads = |engine: &EngineName| engine.runs(crate::workload::Workload::ReadRandom);
    let engines = args.engines().into_iter().filter(reads);
    engines.flat_map(|engine| databases.iter().map(move |database| (engine, *database))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn args(line: &str) -> Args {
        let words = std::iter::once("compare").chain(line.split_whitespace());
        Args::try_parse_from(words).expect("a valid line")
    }

    fn shown(line: &str) -> Vec<String> {
        plan(&args(line)).iter().map(|planned| planned.cell.to_string()).collect()
    }

    #[test]
    fn engines_take_turns_and_each_begins_in_turn() {
        let shown = shown("--engines polder,fjall --workloads fillseq --threads 1,2 --rounds 2");
        assert_eq!(
            shown,
            [
                "polder/fillseq/1",
                "fjall/fillseq/1",
                "fjall/fillseq/2",
                "polder/fillseq/2",
                "fjall/fillseq/1",
                "polder/fillseq/1",
                "polder/fillseq/2",
                "fjall/fillseq/2",
            ]
        );
    }

    #[test]
    fn baselines_only_do_what_they_can() {
        let line = "--engines polder,plain-write,group-commit --quick";
        let shown = shown(&format!("{line} --workloads small,synced,readseq"));
        assert_eq!(
            shown,
            [
                "polder/small/1",
                "plain-write/small/1",
                "group-commit/synced/1",
                "polder/synced/1",
                "group-commit/synced/16",
                "polder/synced/16",
                "polder/readseq/1",
            ]
        );
    }

    #[test]
    fn only_what_is_read_is_loaded() {
        let loaded = |workloads: &str| {
            loads(&args(&format!("--engines polder,plain-write --workloads {workloads}"))).len()
        };
        assert_eq!(loaded("fillseq,metadata"), 0);
        assert_eq!(loaded("fillseq,readseq,coldseq"), 1);
        assert_eq!(loaded("readseq,scan100deleted"), 2);
    }
}
