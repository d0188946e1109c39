//! Polder measured beside other storage engines; `cargo xtask bench --compare` builds and runs it.

mod args;
mod cell;
mod engines;
mod keys;
mod measure;
mod plan;
mod process;
mod read;
mod report;
mod run;
mod stats;
mod workload;
mod write;

use std::process::ExitCode;

use clap::Parser;
use kit::{Result, describe};

fn main() -> ExitCode {
    let args = args::Args::parse();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {}", describe(&*error));
            ExitCode::FAILURE
        }
    }
}

/// A whole run, or the one measurement of it that this process is for; whether nothing has failed.
fn run(args: &args::Args) -> Result<bool> {
    let Some((cell, path)) = args.cell.zip(args.database.as_deref()) else {
        return run::run(args);
    };
    println!("{}", cell::run(args, cell, path)?.to_json());
    Ok(true)
}
