//! A whole run: loads the databases, makes the measurements one after the other in processes of their
//! own, and shows what came of them.

use std::ffi::OsString;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kit::scratch::Scratch;
use kit::{Error, Result};

use crate::args::Args;
use crate::cell::{CellName, Figures, Task};
use crate::engines::EngineName;
use crate::measure::cost_of_a_call;
use crate::plan::{Planned, loads, plan};
use crate::report::{Outcome, Report, short};
use crate::workload::{Database, Kind};

/// Runs everything; whether nothing has failed.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let engines = args.engines();
    if let Some(missing) = engines.iter().find(|engine| !engine.is_built()) {
        return Err(missing.not_built().into());
    }
    let scratch = Scratch::new(args.dir.as_deref())?;
    let out = args.out.clone().unwrap_or_else(|| default_out(scratch.path()));
    fs::create_dir_all(&out)
        .map_err(|error| format!("cannot use {} for the results: {error}", out.display()))?;
    let header = header(args, &engines)?;
    print!("{header}");
    let mut runner = Runner { args, folder: scratch.path(), outcomes: Vec::new() };
    runner.load()?;
    runner.measure()?;
    let report = Report { engines: &engines, outcomes: &runner.outcomes };
    let tables = report.tables();
    println!("{tables}");
    write(&out.join("results.csv"), &report.csv())?;
    write(&out.join("results.md"), &format!("{header}{tables}"))?;
    eprintln!("the raw figures are in {}", out.display());
    Ok(runner.outcomes.iter().all(|outcome| outcome.figures.is_ok()))
}

/// Beside the databases, which lie under the build's folder; results stay.
fn default_out(databases: &Path) -> PathBuf {
    let build = databases.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    build.unwrap_or(Path::new(".")).join("polder-compare-results")
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}

/// The command, the machine and what each engine makes of the options, in Markdown.
fn header(args: &Args, engines: &[EngineName]) -> Result<String> {
    let words: Vec<_> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let mut text = format!("`cargo xtask bench --compare {}`\n\n", words.join(" "));
    text += &format!(
        "{} keys of 16 B, values of {} B, {} rounds, {cores} cores, at most {} s a measurement; the clock costs \
         {:.0} ns a call.\n\n",
        args.keys,
        args.value_bytes(),
        args.rounds(),
        args.limit().as_secs(),
        cost_of_a_call()?,
    );
    let config = args.config(Kind::Write);
    for engine in engines {
        text += &format!("- {engine}: {}\n", engine.configuration(&config));
    }
    if args.workloads().iter().any(|workload| workload.kind() == Kind::Metadata) {
        let config = args.config(Kind::Metadata);
        text += "\nFor the metadata workload:\n\n";
        for engine in
            engines.iter().filter(|engine| engine.runs(crate::workload::Workload::Metadata))
        {
            text += &format!("- {engine}: {}\n", engine.configuration(&config));
        }
    }
    Ok(text + "\n")
}

struct Runner<'a> {
    args: &'a Args,
    folder: &'a Path,
    outcomes: Vec<Outcome>,
}

impl Runner<'_> {
    /// Makes the databases that are read.
    fn load(&mut self) -> Result<()> {
        let loads = loads(self.args);
        for (number, (engine, database)) in loads.iter().enumerate() {
            let cell = CellName { engine: *engine, task: Task::Load(*database), threads: 1 };
            let start = Instant::now();
            eprint!("[load {}/{}] {cell} … ", number + 1, loads.len());
            let path = self.loaded(*engine, *database);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            let figures = self.child(cell, &path);
            match &figures {
                Ok(_) => eprintln!("{:.1} s", start.elapsed().as_secs_f64()),
                Err(error) => eprintln!("FAILED: {error}"),
            }
            self.outcomes.push(Outcome { round: 0, cell, figures });
        }
        Ok(())
    }

    fn loaded(&self, engine: EngineName, database: Database) -> PathBuf {
        self.folder.join(format!("{engine}-{}", database.name())).join("db")
    }

    fn measure(&mut self) -> Result<()> {
        let plan = plan(self.args);
        for (number, Planned { round, cell }) in plan.iter().copied().enumerate() {
            eprint!("[{}/{}] round {}, {cell} … ", number + 1, plan.len(), round + 1);
            let figures = self.one(cell)?;
            match &figures {
                Ok(figures) => {
                    let longest = figures.micros[3] / 1e3;
                    eprintln!("{}/s, longest call {longest:.1} ms", short(figures.rate));
                }
                Err(error) => eprintln!("FAILED: {error}"),
            }
            self.outcomes.push(Outcome { round, cell, figures });
        }
        Ok(())
    }

    fn one(&self, cell: CellName) -> Result<Result<Figures, String>> {
        let Task::Run(workload) = cell.task else {
            return Err("only workloads are measured".into());
        };
        if let Some(database) = workload.database() {
            return Ok(self.child(cell, &self.loaded(cell.engine, database)));
        }
        let folder = self.folder.join("fresh");
        fs::create_dir_all(&folder)?;
        let figures = self.child(cell, &folder.join("db"));
        fs::remove_dir_all(&folder)?;
        Ok(figures)
    }

    /// Runs one cell in a process of its own: this command line, and which cell.
    fn child(&self, cell: CellName, path: &Path) -> Result<Figures, String> {
        let cannot = |error: std::io::Error| format!("cannot start a process: {error}");
        let mut command = Command::new(std::env::current_exe().map_err(cannot)?);
        command.args(std::env::args_os().skip(1));
        command.args(["--cell".into(), OsString::from(cell.to_string()), "--database".into()]);
        command.arg(path).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(cannot)?;
        let (succeeded, out, err) =
            wait(child, self.patience(cell)).map_err(|error| error.to_string())?;
        if !succeeded {
            let said = err.trim().lines().last().unwrap_or("it said nothing").to_owned();
            return Err(said);
        }
        let json = serde_json::from_str(out.trim()).map_err(|error| error.to_string())?;
        Figures::from_json(&json).ok_or_else(|| "the process printed no figures".to_owned())
    }

    /// How long a process may take before it is taken to hang.
    fn patience(&self, cell: CellName) -> Duration {
        const AT_LEAST: Duration = Duration::from_secs(300);
        // Writes that are made without a limit: as slow as the slowest engine that is not broken.
        const WRITE: Duration = Duration::from_micros(100);
        let keys = match cell.task {
            Task::Run(workload) => self.args.keys(workload),
            Task::Load(_) => self.args.keys,
        };
        AT_LEAST + self.args.limit() * 4 + WRITE * u32::try_from(keys).unwrap_or(u32::MAX)
    }
}

/// Waits for a process and what it prints; ends it when it takes too long.
fn wait(mut child: Child, patience: Duration) -> Result<(bool, String, String)> {
    const LOOK: Duration = Duration::from_millis(20);
    let out = child.stdout.take().ok_or("a process without an output")?;
    let err = child.stderr.take().ok_or("a process without an output for errors")?;
    std::thread::scope(|scope| {
        let out = scope.spawn(|| read(out));
        let err = scope.spawn(|| read(err));
        let start = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            if start.elapsed() > patience {
                child.kill()?;
                child.wait()?;
                let seconds = patience.as_secs();
                return Err(Error::from(format!("hangs: ended after {seconds} seconds")));
            }
            std::thread::sleep(LOOK);
        };
        let text = |thread: std::thread::ScopedJoinHandle<'_, std::io::Result<String>>| {
            thread
                .join()
                .map_err(|_| Error::from("a reading thread panicked"))?
                .map_err(Error::from)
        };
        Ok((status.success(), text(out)?, text(err)?))
    })
}

fn read(mut pipe: impl Read) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    pipe.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("a shell")
    }

    #[test]
    fn what_a_process_prints_is_kept_apart() {
        let (succeeded, out, err) =
            wait(shell("echo out; echo err >&2; exit 3"), Duration::from_secs(60)).expect("wait");
        assert_eq!((succeeded, out.as_str(), err.as_str()), (false, "out\n", "err\n"));
    }

    #[test]
    fn a_process_that_hangs_is_ended() {
        let error = wait(shell("exec sleep 600"), Duration::ZERO).expect_err("it hangs");
        assert!(error.to_string().contains("hangs"), "{error}");
    }

    #[test]
    fn results_lie_beside_the_builds_products() {
        let scratch = Scratch::new(None).expect("folder");
        fs::write(scratch.path().join("CACHEDIR.TAG"), "").expect("tag");
        let expected = scratch.path().join("polder-compare-results");
        assert_eq!(default_out(&scratch.path().join("a/b")), expected);
    }
}
