//! Runs one command of a check: captures or shows its output, measures its time.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Failure;

/// A command of a check: arguments for cargo and variables of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CargoCall {
    /// What follows `cargo`.
    pub(crate) args: Vec<String>,
    /// Variables that are set, for this command only.
    pub(crate) env: Vec<(String, String)>,
}

impl CargoCall {
    /// A call with these arguments, split at spaces.
    pub(crate) fn new(args: &str) -> Self {
        Self { args: args.split_whitespace().map(str::to_owned).collect(), env: Vec::new() }
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// The command as one would type it into a shell.
    pub(crate) fn shown(&self) -> String {
        let mut words = Vec::new();
        for (name, value) in &self.env {
            let quote = if value.contains(' ') { "\"" } else { "" };
            words.push(format!("{name}={quote}{value}{quote}"));
        }
        words.push("cargo".to_owned());
        words.extend(self.args.iter().cloned());
        words.join(" ")
    }

    fn command(&self, root: &Path) -> Command {
        let mut command = crate::workspace::cargo();
        command.args(&self.args).current_dir(root).stdin(Stdio::null());
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Whether it exited with 0.
    pub(crate) succeeded: bool,
    /// Time from its start to its end.
    pub(crate) time: Duration,
    /// What it printed; empty if that was shown instead.
    pub(crate) output: String,
    /// The file that holds what it printed, if it was captured.
    pub(crate) log: Option<PathBuf>,
}

/// Runs `call` in `root`; with `verbose` its output is shown as it comes, otherwise it goes to the
/// file `name.log` in `logs`.
pub(crate) fn run(
    call: &CargoCall,
    root: &Path,
    logs: &Path,
    name: &str,
    verbose: bool,
) -> Result<Finished, Failure> {
    let cannot = |what: &Path, error: std::io::Error| {
        Failure::new(format!("cannot use {}: {error}", what.display()))
    };
    let mut command = call.command(root);
    let mut log = None;
    if !verbose {
        std::fs::create_dir_all(logs).map_err(|error| cannot(logs, error))?;
        let path = logs.join(format!("{name}.log"));
        let file = File::create(&path).map_err(|error| cannot(&path, error))?;
        command.stderr(file.try_clone().map_err(|error| cannot(&path, error))?);
        command.stdout(file);
        log = Some(path);
    }
    let start = Instant::now();
    let status = command
        .status()
        .map_err(|error| Failure::new(format!("cannot run `{}`: {error}", call.shown())))?;
    let time = start.elapsed();
    let output = match &log {
        Some(path) => {
            let bytes = std::fs::read(path).map_err(|error| cannot(path, error))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => String::new(),
    };
    Ok(Finished { succeeded: status.success(), time, output, log })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_shown_as_it_would_be_typed() {
        let call = CargoCall::new("test  --release").env("RUSTFLAGS", "--cfg loom").env("A", "b");
        assert_eq!(call.shown(), "RUSTFLAGS=\"--cfg loom\" A=b cargo test --release");
    }

    #[test]
    fn a_failing_command_is_seen_and_its_output_kept() {
        let root = crate::workspace::root();
        let logs = std::env::temp_dir().join(format!("polder-xtask-{}", std::process::id()));
        let good = run(&CargoCall::new("--version"), &root, &logs, "good", false).expect("cargo");
        assert!(good.succeeded);
        assert!(good.output.starts_with("cargo "), "{}", good.output);
        let bad = run(&CargoCall::new("no-such-command"), &root, &logs, "bad", false).expect("run");
        assert!(!bad.succeeded);
        assert!(bad.output.contains("no-such-command"), "{}", bad.output);
        std::fs::remove_dir_all(&logs).expect("remove the logs");
    }
}
