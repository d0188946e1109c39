//! The benchmark of Polder's main job; `cargo xtask bench` builds and runs it.

mod args;
mod compare;
mod heap;
mod ingest;
mod job;
mod progress;
mod report;
mod sampler;
mod source;
mod target;
mod verify;

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use polder_bench::{Error, Result, describe, latency, memory, random, scratch, size, table, zipf};
use serde_json::{Map, Value};

/// Every allocation of the process is counted here.
#[global_allocator]
static HEAP: heap::CountingAllocator = heap::CountingAllocator::new();

fn main() -> ExitCode {
    let args = args::Args::parse();
    let outcome = if args.compare_budget { compare::run(&args).map(|()| true) } else { run(&args) };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

/// Runs the job once; whether it was verified.
fn run(args: &args::Args) -> Result<bool> {
    let json = args.json.as_deref().map(JsonFile::create).transpose()?;
    let outcome = job::run(args)?;
    println!("{}", outcome.table());
    if let Some(json) = json {
        json.write(&outcome.json())?;
    }
    Ok(outcome.verified.is_proved())
}

/// A file for a result for machines, made before the work, so that a wrong path is told at once.
struct JsonFile<'a> {
    path: &'a Path,
    file: File,
}

impl<'a> JsonFile<'a> {
    fn create(path: &'a Path) -> Result<Self> {
        match File::create(path) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(format!("cannot write {}: {error}", path.display()).into()),
        }
    }

    fn write(mut self, object: &Map<String, Value>) -> Result<()> {
        let text = serde_json::to_string_pretty(object)? + "\n";
        let written = self.file.write_all(text.as_bytes());
        written.map_err(|error| format!("cannot write {}: {error}", self.path.display()).into())
    }
}
