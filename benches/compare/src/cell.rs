//! One measurement: one engine, one workload, one number of threads, in a process of its own, so that
//! the memory that it shows is that engine's alone.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use hdrhistogram::Histogram;
use kit::Result;
use serde_json::{Value, json};

use crate::args::Args;
use crate::engines::{Engine, EngineName};
use crate::keys::Values;
use crate::measure::Measured;
use crate::process::{self, Sampler};
use crate::read::{read, read_while_writing, warm};
use crate::workload::{Database, Kind, Workload};
use crate::write::{self, Load, load, settle, write};

/// What a process has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    /// Make a database for the workloads that read it.
    Load(Database),
    /// Run a workload.
    Run(Workload),
}

impl Task {
    fn name(self) -> String {
        match self {
            Self::Load(database) => format!("load-{}", database.name()),
            Self::Run(workload) => workload.name().to_owned(),
        }
    }
}

/// Which measurement: shown and read as `engine/workload/threads`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CellName {
    pub(crate) engine: EngineName,
    pub(crate) task: Task,
    pub(crate) threads: u64,
}

impl fmt::Display for CellName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.engine, self.task.name(), self.threads)
    }
}

impl FromStr for CellName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts: Vec<_> = text.split('/').collect();
        let [engine, task, threads] = parts[..] else {
            return Err(format!("`{text}` is not ENGINE/WORKLOAD/THREADS"));
        };
        let loads = [Database::Full, Database::Deleted].map(Task::Load);
        let task = match loads.into_iter().find(|load| load.name() == task) {
            Some(load) => load,
            None => Task::Run(task.parse()?),
        };
        let threads = threads.parse().map_err(|_| format!("`{threads}` is not a count"))?;
        Ok(Self { engine: engine.parse()?, task, threads })
    }
}

/// The figures of one measurement.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    /// Operations per second.
    pub(crate) rate: f64,
    /// Operations made.
    pub(crate) operations: u64,
    /// Seconds that they took.
    pub(crate) seconds: f64,
    /// Latencies of a call in microseconds: p50, p99, p99.9 and the longest.
    pub(crate) micros: [f64; 4],
    /// Seconds of processor time that the process used meanwhile, background work included.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most anonymous memory that was resident, in bytes, from start to end of the process.
    pub(crate) anonymous_bytes: Option<u64>,
    /// The same of all memory, mapped files included.
    pub(crate) resident_bytes: Option<u64>,
    /// Bytes that were fetched from the storage meanwhile.
    pub(crate) fetched_bytes: Option<u64>,
    /// What is worth knowing besides.
    pub(crate) note: String,
}

/// The percentiles of [`Figures::micros`]; the last is the maximum.
pub(crate) const PERCENTILES: [&str; 4] = ["p50", "p99", "p99.9", "max"];

impl Figures {
    fn of(measured: &Measured) -> Self {
        Self {
            rate: measured.rate(),
            operations: measured.operations,
            seconds: measured.time.as_secs_f64(),
            micros: micros(&measured.calls),
            ..Self::default()
        }
    }

    /// For another process to read.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "rate": self.rate,
            "operations": self.operations,
            "seconds": self.seconds,
            "micros": self.micros,
            "cpu_seconds": self.cpu_seconds,
            "anonymous_bytes": self.anonymous_bytes,
            "resident_bytes": self.resident_bytes,
            "fetched_bytes": self.fetched_bytes,
            "note": self.note,
        })
    }

    /// What [`Self::to_json`] has written; `None` for anything else.
    pub(crate) fn from_json(json: &Value) -> Option<Self> {
        let micros = json.get("micros")?.as_array()?.iter().map(Value::as_f64);
        Some(Self {
            rate: json.get("rate")?.as_f64()?,
            operations: json.get("operations")?.as_u64()?,
            seconds: json.get("seconds")?.as_f64()?,
            micros: micros.collect::<Option<Vec<_>>>()?.try_into().ok()?,
            cpu_seconds: json.get("cpu_seconds")?.as_f64(),
            anonymous_bytes: json.get("anonymous_bytes")?.as_u64(),
            resident_bytes: json.get("resident_bytes")?.as_u64(),
            fetched_bytes: json.get("fetched_bytes")?.as_u64(),
            note: json.get("note")?.as_str()?.to_owned(),
        })
    }
}

fn micros(calls: &Histogram<u64>) -> [f64; 4] {
    let nanos = [
        calls.value_at_percentile(50.0),
        calls.value_at_percentile(99.0),
        calls.value_at_percentile(99.9),
        calls.max(),
    ];
    nanos.map(|nanos| nanos as f64 / 1000.0)
}

/// Does what `cell` says with the database in `path`.
///
/// # Errors
/// If the engine fails or reads anything that is wrong.
pub(crate) fn run(args: &Args, cell: CellName, path: &Path) -> Result<Figures> {
    match cell.task {
        Task::Load(database) => load_database(args, cell.engine, database, path),
        Task::Run(workload) => {
            let sampler = Sampler::start();
            let value_bytes = usize::try_from(workload.value_bytes(args.value_bytes()))?;
            let values = Values::new(value_bytes);
            let load = Load {
                workload,
                threads: cell.threads,
                keys: args.keys(workload),
                values: &values,
                limit: args.limit(),
            };
            let mut figures = measure(args, cell.engine, &load, path)?;
            let peak = sampler.finish()?;
            figures.anonymous_bytes = peak.anonymous;
            figures.resident_bytes = peak.total;
            Ok(figures)
        }
    }
}

fn load_database(
    args: &Args,
    name: EngineName,
    database: Database,
    path: &Path,
) -> Result<Figures> {
    let values = Values::new(usize::try_from(args.value_bytes())?);
    let config = args.config(Kind::Read(database));
    let engine = name.open(path, &config)?;
    load(&*engine, database, args.keys, &values)?;
    engine.flush()?;
    if args.compact {
        engine.compact()?;
    }
    settle(&*engine)?;
    engine.close()?;
    // Some engines move the log's content into tables only when they are opened again.
    let engine = name.open(path, &config)?;
    settle(&*engine)?;
    engine.close()?;
    Ok(Figures::default())
}

fn measure(args: &Args, name: EngineName, load: &Load<'_>, path: &Path) -> Result<Figures> {
    let kind = load.workload.kind();
    let config = args.config(kind);
    if kind == Kind::ColdRead {
        process::drop_page_cache(path)?;
    }
    let engine = name.open(path, &config)?;
    let figures = match kind {
        Kind::Write | Kind::SyncedWrite => {
            let looks_up = name.runs(Workload::ReadRandom);
            used(|| Ok(Figures::of(&write(&*engine, load, looks_up)?)))?
        }
        Kind::Read(database) => {
            warm(&*engine, load, database)?;
            used(|| match load.workload {
                Workload::ReadWhileWriting => beside_a_writer(&*engine, load, args.writer_rate),
                _ => Ok(Figures::of(&read(&*engine, load)?)),
            })?
        }
        Kind::Deletes => {
            write::load(&*engine, Database::Full, load.keys, load.values)?;
            settle(&*engine)?;
            write::delete(&*engine, load.keys)?;
            used(|| Ok(Figures::of(&read(&*engine, load)?)))?
        }
        Kind::ColdRead => used(|| Ok(Figures::of(&read(&*engine, load)?)))?,
        Kind::Metadata => used(|| metadata(&*engine, load))?,
    };
    engine.close()?;
    Ok(figures)
}

/// Adds what the process has used meanwhile.
fn used(work: impl FnOnce() -> Result<Figures>) -> Result<Figures> {
    let (cpu, fetched) = (process::cpu_seconds(), process::fetched_bytes());
    let mut figures = work()?;
    figures.cpu_seconds = process::cpu_seconds().zip(cpu).map(|(now, before)| now - before);
    figures.fetched_bytes = process::fetched_bytes().zip(fetched).map(|(now, before)| now - before);
    Ok(figures)
}

/// Of a writer's rate, what it may fall short by without a note.
const RATE_TOLERANCE: f64 = 0.95;

fn beside_a_writer(engine: &dyn Engine, load: &Load<'_>, rate: u64) -> Result<Figures> {
    let (measured, paced) = read_while_writing(engine, load, rate)?;
    let mut figures = Figures::of(&measured);
    if paced.made < paced.asked * RATE_TOLERANCE {
        figures.note = format!("the writer made {:.0}/s of {:.0}", paced.made, paced.asked);
    }
    Ok(figures)
}

/// Writes every key once in random order, one call each, and reads some of them at random. The rate
/// is that of the writing; a time limit does not hold, or the engines would not have the same to keep.
fn metadata(engine: &dyn Engine, given: &Load<'_>) -> Result<Figures> {
    const READS: u64 = 100_000;
    const NO_LIMIT: std::time::Duration = std::time::Duration::from_secs(24 * 3600);
    let order = crate::keys::Shuffle::new(given.keys, 1);
    let written = crate::measure::run(1, NO_LIMIT, |_, meter| {
        for position in 0..given.keys {
            let number = order.at(position);
            engine.put(&crate::keys::key(number), given.values.of(number))?;
            meter.done(1);
        }
        Ok(())
    })?;
    engine.flush()?;
    let chooser = write::Chooser::new(given);
    let reads = crate::measure::run(1, NO_LIMIT, |_, meter| {
        for index in 0..READS {
            write::check(engine, chooser.number(0, index), given.values)?;
            meter.done(1);
        }
        Ok(())
    })?;
    let mut figures = Figures::of(&written);
    figures.note = format!("then reads {:.0}/s", reads.rate());
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let cell = |task| CellName { engine: EngineName::Fjall, task, threads: 4 };
        for (task, shown) in [
            (Task::Run(Workload::MultiGet), "fjall/multi_get/4"),
            (Task::Load(Database::Deleted), "fjall/load-deleted/4"),
        ] {
            assert_eq!(cell(task).to_string(), shown);
            assert_eq!(shown.parse(), Ok(cell(task)));
        }
        for wrong in ["fjall/readseq", "fjall/readseq/x", "x/readseq/1", "fjall/x/1"] {
            assert!(wrong.parse::<CellName>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn figures_survive_the_way_between_processes() {
        let figures = Figures {
            rate: 12.5,
            operations: 100,
            seconds: 8.0,
            micros: [1.0, 2.0, 3.0, 4.0],
            cpu_seconds: Some(0.5),
            anonymous_bytes: None,
            resident_bytes: Some(1 << 30),
            fetched_bytes: Some(0),
            note: "a \"note\"".to_owned(),
        };
        let text = figures.to_json().to_string();
        let json: Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(Figures::from_json(&json), Some(figures));
        assert_eq!(Figures::from_json(&json!({ "rate": 1 })), None);
    }
}
