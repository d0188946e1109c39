//! The results: tables for people, one line a measurement for machines.

use std::fmt::Write as _;

use crate::cell::{CellName, Figures, PERCENTILES, Task};
use crate::engines::EngineName;
use crate::stats::median;
use crate::workload::Workload;

/// What came of one measurement.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// From 0.
    pub(crate) round: u64,
    pub(crate) cell: CellName,
    /// The figures, or why there are none.
    pub(crate) figures: Result<Figures, String>,
}

/// The engine that the others are measured against: RocksDB, or the first that is not Polder.
pub(crate) fn reference(engines: &[EngineName]) -> Option<EngineName> {
    let other = || engines.iter().find(|engine| **engine != EngineName::Polder);
    engines.iter().find(|engine| **engine == EngineName::Rocksdb).or_else(other).copied()
}

/// All measurements of one run, to be looked up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Report<'a> {
    /// The engines, in the order of the columns.
    pub(crate) engines: &'a [EngineName],
    /// Every measurement.
    pub(crate) outcomes: &'a [Outcome],
}

impl Report<'_> {
    /// The tables, in Markdown.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        let reference = reference(self.engines);
        let title = match reference {
            Some(name) => {
                format!("Operations per second, median (× {name}: median of the rounds' ratios)")
            }
            None => "Operations per second, median".to_owned(),
        };
        self.section(&mut text, &title, |engine, row| self.rate(engine, row, reference));
        let title = format!("Latency of a call, microseconds: {}", PERCENTILES.join(" / "));
        self.section(&mut text, &title, |engine, row| self.latency(engine, row));
        let title = "Processor time of an operation, microseconds, background work included";
        self.section(&mut text, title, |engine, row| self.processor(engine, row));
        let title = "Peak resident memory of the process, MiB: anonymous / all";
        self.section(&mut text, title, |engine, row| self.memory(engine, row));
        text + &self.notes()
    }

    /// The workloads and threads that were measured, in the order of the workloads.
    fn rows(&self) -> Vec<(Workload, u64)> {
        let row = |outcome: &Outcome| match outcome.cell.task {
            Task::Run(workload) => Some((workload, outcome.cell.threads)),
            Task::Load(_) => None,
        };
        let mut rows: Vec<_> = self.outcomes.iter().filter_map(row).collect();
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    /// What the rounds have brought for this engine in this row, by round.
    fn rounds(&self, engine: EngineName, row: (Workload, u64)) -> Vec<(u64, &Figures)> {
        let cell = CellName { engine, task: Task::Run(row.0), threads: row.1 };
        let of_cell = self.outcomes.iter().filter(|outcome| outcome.cell == cell);
        of_cell.filter_map(|it| Some((it.round, it.figures.as_ref().ok()?))).collect()
    }

    fn median(
        &self,
        engine: EngineName,
        row: (Workload, u64),
        figure: impl Fn(&Figures) -> Option<f64>,
    ) -> Option<f64> {
        median(self.rounds(engine, row).into_iter().filter_map(|(_, figures)| figure(figures)))
    }

    fn rate(
        &self,
        engine: EngineName,
        row: (Workload, u64),
        reference: Option<EngineName>,
    ) -> Option<String> {
        let rate = self.median(engine, row, |figures| Some(figures.rate))?;
        let Some(reference) = reference.filter(|reference| *reference != engine) else {
            return Some(short(rate));
        };
        let others = self.rounds(reference, row);
        let ratios = self.rounds(engine, row).into_iter().filter_map(|(round, figures)| {
            let (_, other) = others.iter().find(|(other_round, _)| *other_round == round)?;
            (other.rate > 0.0).then(|| figures.rate / other.rate)
        });
        Some(match median(ratios) {
            Some(ratio) => format!("{} ({ratio:.2}×)", short(rate)),
            None => short(rate),
        })
    }

    fn latency(&self, engine: EngineName, row: (Workload, u64)) -> Option<String> {
        let all = (0..PERCENTILES.len())
            .map(|at| self.median(engine, row, |figures| Some(figures.micros[at])).map(micros));
        Some(all.collect::<Option<Vec<_>>>()?.join(" / "))
    }

    fn processor(&self, engine: EngineName, row: (Workload, u64)) -> Option<String> {
        let used = self.median(engine, row, |figures| {
            (figures.operations > 0)
                .then(|| figures.cpu_seconds.map(|s| s * 1e6 / figures.operations as f64))?
        });
        used.map(micros)
    }

    fn memory(&self, engine: EngineName, row: (Workload, u64)) -> Option<String> {
        let mebibytes = |bytes: Option<u64>| bytes.map(|bytes| bytes as f64 / f64::from(1 << 20));
        let anonymous = self.median(engine, row, |figures| mebibytes(figures.anonymous_bytes))?;
        let all = self.median(engine, row, |figures| mebibytes(figures.resident_bytes))?;
        Some(format!("{anonymous:.0} / {all:.0}"))
    }

    /// One table: a row for each workload and number of threads, a column for each engine.
    fn section(
        &self,
        text: &mut String,
        title: &str,
        cell: impl Fn(EngineName, (Workload, u64)) -> Option<String>,
    ) {
        let mut rows = vec![vec!["workload".to_owned(), "threads".to_owned()]];
        rows[0].extend(self.engines.iter().map(ToString::to_string));
        for row in self.rows() {
            let mut cells = vec![row.0.to_string(), row.1.to_string()];
            cells.extend(self.engines.iter().map(|engine| match cell(*engine, row) {
                Some(shown) => shown,
                None if self.has_failed(*engine, row) => "failed".to_owned(),
                None => "–".to_owned(),
            }));
            rows.push(cells);
        }
        *text += &format!("{title}\n\n{}\n", markdown(&rows));
    }

    fn has_failed(&self, engine: EngineName, row: (Workload, u64)) -> bool {
        let cell = CellName { engine, task: Task::Run(row.0), threads: row.1 };
        self.outcomes.iter().any(|outcome| outcome.cell == cell && outcome.figures.is_err())
    }

    /// What the measurements remarked, and why some failed.
    fn notes(&self) -> String {
        let mut text = String::new();
        for Outcome { round, cell, figures } in self.outcomes {
            let note = match figures {
                Ok(figures) if figures.note.is_empty() => continue,
                Ok(figures) => figures.note.clone(),
                Err(error) => format!("FAILED: {error}"),
            };
            text += &format!("- {cell}, round {}: {note}\n", round + 1);
        }
        if text.is_empty() { text } else { format!("Notes\n\n{text}") }
    }

    /// Every measurement on a line of its own, with a line of names.
    pub(crate) fn csv(&self) -> String {
        let mut text =
            "round,workload,threads,engine,operations,seconds,operations_per_second,p50_micros,\
                        p99_micros,p999_micros,max_micros,cpu_seconds,anonymous_peak_bytes,\
                        resident_peak_bytes,fetched_bytes,note\n"
                .to_owned();
        for Outcome { round, cell, figures } in self.outcomes {
            let Task::Run(workload) = cell.task else { continue };
            let (threads, engine) = (cell.threads, cell.engine);
            text += &format!("{},{workload},{threads},{engine},", round + 1);
            text += &match figures {
                Ok(figures) => fields(figures),
                Err(error) => format!(",,,,,,,,,,,{}", quoted(&format!("FAILED: {error}"))),
            };
            text.push('\n');
        }
        text
    }
}

fn fields(figures: &Figures) -> String {
    let known = |value: Option<String>| value.unwrap_or_default();
    let bytes = |value: Option<u64>| known(value.map(|bytes| bytes.to_string()));
    let mut text = format!("{},{:.6},{:.1}", figures.operations, figures.seconds, figures.rate);
    for micros in figures.micros {
        // Writing to a string cannot fail.
        write!(text, ",{micros:.3}").unwrap_or_default();
    }
    let cpu = known(figures.cpu_seconds.map(|seconds| format!("{seconds:.2}")));
    let (anonymous, all) = (bytes(figures.anonymous_bytes), bytes(figures.resident_bytes));
    let (fetched, note) = (bytes(figures.fetched_bytes), quoted(&figures.note));
    text + &format!(",{cpu},{anonymous},{all},{fetched},{note}")
}

fn quoted(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

/// A rate to three digits: `1.05 M`, `287 K`, `950`.
pub(crate) fn short(rate: f64) -> String {
    let scaled = |value: f64, unit: &str| match value {
        value if value < 10.0 => format!("{value:.2} {unit}"),
        value if value < 100.0 => format!("{value:.1} {unit}"),
        value => format!("{value:.0} {unit}"),
    };
    match rate {
        rate if rate >= 999_500.0 => scaled(rate / 1e6, "M"),
        rate if rate >= 1000.0 => scaled(rate / 1e3, "K"),
        rate => format!("{rate:.0}"),
    }
}

fn micros(micros: f64) -> String {
    match micros {
        micros if micros < 10.0 => format!("{micros:.2}"),
        micros if micros < 100.0 => format!("{micros:.1}"),
        micros => format!("{micros:.0}"),
    }
}

/// A table in Markdown, its columns as wide as they have to be; the first row holds the names.
fn markdown(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let widest = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        let cells: Vec<_> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if number == 0 {
            let rules: Vec<_> = widths.iter().map(|width| "-".repeat(*width)).collect();
            text += &format!("|-{}-|\n", rules.join("-|-"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(round: u64, cell: &str, rate: Option<f64>) -> Outcome {
        let figures = rate.map(|rate| Figures {
            rate,
            operations: 10,
            cpu_seconds: Some(1e-4),
            anonymous_bytes: Some(3 << 20),
            resident_bytes: Some(5 << 20),
            micros: [0.5, 12.0, 120.0, 1200.0],
            ..Figures::default()
        });
        let figures = figures.ok_or_else(|| "key 7 is \"missing\"".to_owned());
        Outcome { round, cell: cell.parse().expect("cell"), figures }
    }

    fn line<'a>(text: &'a str, start: &str) -> &'a str {
        text.lines().find(|line| line.starts_with(start)).expect(start)
    }

    #[test]
    fn ratios_are_those_of_the_same_round() {
        let outcomes = [
            outcome(0, "polder/readseq/1", Some(100.0)),
            outcome(0, "rocksdb/readseq/1", Some(50.0)),
            outcome(1, "polder/readseq/1", Some(10.0)),
            outcome(1, "rocksdb/readseq/1", Some(5.0)),
            outcome(2, "polder/readseq/1", Some(90.0)),
            outcome(2, "rocksdb/readseq/1", Some(30.0)),
        ];
        let engines = [EngineName::Polder, EngineName::Rocksdb];
        let text = Report { engines: &engines, outcomes: &outcomes }.tables();
        // Medians 90 and 30; ratios 2, 2 and 3.
        assert!(line(&text, "| readseq").contains("| 90 (2.00×) | 30 "), "{text}");
        assert!(text.contains("× rocksdb"), "{text}");
        assert!(text.contains("0.50 / 12.0 / 120 / 1200"), "{text}");
        assert!(text.contains("| 3 / 5 "), "{text}");
        assert!(text.contains("| 10.0 "), "{text}");
    }

    #[test]
    fn failures_stand_out_and_gaps_are_told_apart() {
        let outcomes =
            [outcome(0, "polder/readseq/1", None), outcome(0, "fjall/small/2", Some(7.0))];
        let engines = [EngineName::Polder, EngineName::Fjall];
        let report = Report { engines: &engines, outcomes: &outcomes };
        let text = report.tables();
        assert!(line(&text, "| readseq").contains("| failed "), "{text}");
        assert!(line(&text, "| small").contains("| –"), "{text}");
        assert!(text.contains("polder/readseq/1, round 1: FAILED: key 7"), "{text}");
        let csv = report.csv();
        let columns = csv.lines().map(|line| line.matches(',').count()).collect::<Vec<_>>();
        assert_eq!(columns, [15, 15, 15], "{csv}");
        assert!(csv.contains("\"FAILED: key 7 is \"\"missing\"\"\""), "{csv}");
    }

    #[test]
    fn rocksdb_is_the_reference_where_it_runs() {
        use EngineName::{Fjall, Polder, Redb, Rocksdb};
        assert_eq!(reference(&[Polder, Fjall, Rocksdb]), Some(Rocksdb));
        assert_eq!(reference(&[Polder, Fjall, Redb]), Some(Fjall));
        assert_eq!(reference(&[Polder]), None);
    }

    #[test]
    fn rates_have_three_digits() {
        let shown = [1_050_000.0, 999_900.0, 287_400.0, 42_300.0, 9_990.0, 950.2].map(short);
        assert_eq!(shown, ["1.05 M", "1.00 M", "287 K", "42.3 K", "9.99 K", "950"]);
    }
}
