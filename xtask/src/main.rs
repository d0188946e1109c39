//! The repository's own tasks, run as `cargo xtask <task>`: `bench`, `test` and `tidy`.
//!
//! Needs nothing but a Rust toolchain. Each task is one module; this file only dispatches.

#![forbid(unsafe_code)]

mod bench;
mod check;
mod runner;
mod tidy;
mod workspace;

use std::process::ExitCode;

const HELP: &str = "\
The repository's own tasks.

Usage: cargo xtask <TASK> [ARGS]

Tasks:
  bench [ARGS]        build the benchmark in release mode and run the main job; ARGS are passed
                      through (`cargo xtask bench --help` lists them)
  bench --compare [ARGS]
                      build the comparison with other engines and run it (`--compare --help`)
  test [OPTIONS]      everything that continuous integration runs
      --only STEP     run this step alone (may be given more than once)
      --list          list the steps with the command of each, run nothing
      --verbose       show the output of each step while it runs
  tidy [--list]       check the repository's rules, or list them
  help                print this text

The exit code is 0 if everything succeeded, 1 if something failed, 2 for a wrong command line.
";

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let task = args.next().map(|task| task.to_string_lossy().into_owned());
    let rest: Vec<_> = args.collect();
    let outcome = match task.as_deref() {
        Some("bench") => bench::run(&rest),
        Some("test") => check::run(&rest),
        Some("tidy") => tidy::run(&rest),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Some(other) => Err(Failure::Usage(format!("there is no task `{other}`"))),
        None => Err(Failure::Usage("name a task".to_owned())),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => {
            eprintln!("xtask: {message}\n\n{HELP}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Exit(code)) => ExitCode::from(code),
    }
}

/// Why a task did not succeed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line was wrong; the help text is printed.
    Usage(String),
    /// The task ran and failed; the message says what to do next.
    Failed(String),
    /// A child process has already said what was wrong; its exit code is handed on.
    Exit(u8),
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }
}
