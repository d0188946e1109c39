//! `cargo xtask test`: everything that continuous integration runs, step by step.
//!
//! The order is: cheapest first, and steps that share build products after one another. Clippy and
//! the documentation share the check of every dependency; unit, integration and documentation tests
//! share one build. Models need every crate built anew (`--cfg loom`, `--cfg shuttle`), so they have
//! target folders of their own, and only the crates that have models are compiled.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::runner::{self, CargoCall, Finished};
use crate::{Failure, tidy, workspace};

/// How many of the last lines of a failed step are printed; the log file holds all.
const LINES_SHOWN: usize = 150;

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Work {
    /// The repository's rules, in this process.
    Tidy,
    /// Commands, one after the other; in the last field whether they run tests, which are counted.
    Cargo(Vec<CargoCall>, Tests),
}

/// Whether a step's commands run tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tests {
    /// They do, and a step that ran none has failed.
    Counted,
    /// They do not.
    None,
}

/// One step of the check.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    name: &'static str,
    about: &'static str,
    work: Work,
}

/// The command line of `cargo xtask test`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Arguments {
    only: Vec<String>,
    list: bool,
    verbose: bool,
}

/// Runs the steps; stops at the first that fails.
pub(crate) fn run(args: &[OsString]) -> Result<(), Failure> {
    let arguments = parse(args).map_err(Failure::Usage)?;
    let root = workspace::root();
    let files = workspace::files(&root)?;
    let packages = workspace::packages(&root)?;
    let with = |models| crates_with(models, &files, &packages);
    let steps =
        select(steps(&with("loom"), &with("shuttle")), &arguments.only).map_err(Failure::Usage)?;
    if arguments.list {
        list(&steps);
        return Ok(());
    }
    let start = Instant::now();
    let mut done = Vec::new();
    for (position, step) in steps.iter().enumerate() {
        println!("[{}/{}] {}: {}", position + 1, steps.len(), step.name, step.about);
        let step_start = Instant::now();
        let note = perform(step, &root, arguments.verbose)?;
        let time = step_start.elapsed();
        println!("      ok in {}{}", seconds(time), with_note(&note));
        done.push((step.name, time, note));
    }
    println!("\nEvery step succeeded:");
    for (name, time, note) in &done {
        println!("  {name:<8} {:>8}{}", seconds(*time), with_note(note));
    }
    println!("  {:<8} {:>8}", "total", seconds(start.elapsed()));
    Ok(())
}

fn parse(args: &[OsString]) -> Result<Arguments, String> {
    let mut arguments = Arguments::default();
    let mut words = args.iter().map(|word| word.to_string_lossy());
    while let Some(word) = words.next() {
        match word.as_ref() {
            "--list" => arguments.list = true,
            "--verbose" => arguments.verbose = true,
            "--only" => match words.next() {
                Some(step) => arguments.only.push(step.into_owned()),
                None => return Err("`--only` needs the name of a step".to_owned()),
            },
            other => match other.strip_prefix("--only=") {
                Some(step) => arguments.only.push(step.to_owned()),
                None => return Err(format!("`test` has no option `{other}`")),
            },
        }
    }
    Ok(arguments)
}

/// All steps, in order. `loom` and `shuttle` name the packages that have models for them.
fn steps(loom: &[String], shuttle: &[String]) -> Vec<Step> {
    let cargo = |calls: Vec<CargoCall>| Work::Cargo(calls, Tests::None);
    let tests = |calls: Vec<CargoCall>| Work::Cargo(calls, Tests::Counted);
    let mut steps = vec![
        Step {
            name: "fmt",
            about: "every file is formatted",
            work: cargo(vec![CargoCall::new("fmt --all -- --check")]),
        },
        Step { name: "tidy", about: "the repository's rules", work: Work::Tidy },
        Step {
            name: "clippy",
            about: "no warning in any target, with all features",
            work: cargo(vec![CargoCall::new(
                "clippy --workspace --all-targets --all-features -- -D warnings",
            )]),
        },
        Step {
            name: "docs",
            about: "the documentation builds without a warning",
            work: cargo(vec![
                CargoCall::new("doc --workspace --all-features --no-deps")
                    .env("RUSTDOCFLAGS", "-D warnings"),
            ]),
        },
        Step {
            name: "unit",
            about: "unit and integration tests",
            work: tests(vec![CargoCall::new(
                "test --workspace --all-features --lib --bins --tests --examples",
            )]),
        },
        Step {
            name: "doctest",
            about: "examples in the documentation",
            work: tests(vec![CargoCall::new("test --workspace --all-features --doc")]),
        },
        Step {
            name: "compare",
            about: "the comparison with other engines, built without them",
            work: tests(vec![
                compare_call("fmt", "-- --check"),
                compare_call("clippy", "--all-targets -- -D warnings"),
                compare_call("test", ""),
            ]),
        },
    ];
    if !shuttle.is_empty() {
        steps.push(Step {
            name: "shuttle",
            about: "the pool and the whole engine under a seeded scheduler",
            work: tests(vec![models_call("shuttle", shuttle)]),
        });
    }
    if !loom.is_empty() {
        steps.push(Step {
            name: "loom",
            about: "models of the concurrent protocols, every interleaving",
            work: tests(vec![models_call("loom", loom)]),
        });
    }
    steps
}

/// A command for the comparison, which is a workspace of its own.
fn compare_call(task: &str, options: &str) -> CargoCall {
    let call = format!("{task} --manifest-path benches/compare/Cargo.toml {options}");
    CargoCall::new(&call).env("CARGO_TARGET_DIR", "target/compare")
}

/// The models of `packages` for `backend`, loom or shuttle.
fn models_call(backend: &str, packages: &[String]) -> CargoCall {
    let mut call = CargoCall::new(&format!("test --release --test {backend}"));
    for package in packages {
        call.args.extend(["--package".to_owned(), package.clone()]);
    }
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    call.env("RUSTFLAGS", format!("{flags} --cfg {backend}").trim_start())
        .env("CARGO_TARGET_DIR", format!("target/{backend}"))
        // The models need speed, not the release profile's link-time optimisation.
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true")
}

/// The packages with a `tests/BACKEND.rs`.
fn crates_with(backend: &str, files: &[String], packages: &[workspace::Package]) -> Vec<String> {
    let has_models = |package: &&workspace::Package| {
        let path = format!("{}/tests/{backend}.rs", package.folder);
        files.binary_search(&path).is_ok()
    };
    packages.iter().filter(has_models).map(|package| package.name.clone()).collect()
}

/// The steps that are asked for: all, or those named.
fn select(steps: Vec<Step>, only: &[String]) -> Result<Vec<Step>, String> {
    if let Some(unknown) = only.iter().find(|name| steps.iter().all(|step| step.name != **name)) {
        let names: Vec<_> = steps.iter().map(|step| step.name).collect();
        return Err(format!("there is no step `{unknown}`; the steps are: {}", names.join(", ")));
    }
    let wanted = |step: &Step| only.is_empty() || only.iter().any(|name| name == step.name);
    Ok(steps.into_iter().filter(wanted).collect())
}

fn list(steps: &[Step]) {
    for step in steps {
        println!("{:<8} {}", step.name, step.about);
        match &step.work {
            Work::Tidy => println!("         $ cargo xtask tidy"),
            Work::Cargo(calls, _) => {
                calls.iter().for_each(|call| println!("         $ {}", call.shown()));
            }
        }
    }
}

/// Does a step; what comes back is a remark for the summary.
fn perform(step: &Step, root: &Path, verbose: bool) -> Result<Option<String>, Failure> {
    let (calls, tests) = match &step.work {
        Work::Tidy => return tidy::check(root).map(Some),
        Work::Cargo(calls, tests) => (calls, *tests),
    };
    let logs = root.join("target").join("xtask");
    let mut passed = 0;
    for call in calls {
        let finished = runner::run(call, root, &logs, step.name, verbose)?;
        if !finished.succeeded {
            return Err(Failure::Failed(explain(step, call, &finished)));
        }
        passed += tests_passed(&finished.output);
    }
    // What was shown was not captured, so there is nothing to count.
    if tests == Tests::None || verbose { Ok(None) } else { tests_note(step.name, passed).map(Some) }
}

/// The remark on a step that ran so many tests. None at all means that the step checks nothing.
fn tests_note(step: &str, passed: u64) -> Result<String, Failure> {
    match passed {
        0 => Err(Failure::Failed(format!("step `{step}` ran no test at all"))),
        passed => Ok(format!("{passed} tests")),
    }
}

/// What is printed when a command failed: its last lines, and what to run to see it again.
fn explain(step: &Step, call: &CargoCall, finished: &Finished) -> String {
    let mut text = String::new();
    if let Some(log) = &finished.log {
        let lines: Vec<_> = finished.output.lines().collect();
        let skipped = lines.len().saturating_sub(LINES_SHOWN);
        if skipped > 0 {
            text += &format!("(the first {skipped} lines are in {})\n", log.display());
        }
        text += &lines[skipped..].join("\n");
        text.push('\n');
    }
    let time = seconds(finished.time);
    let shown = call.shown();
    let name = step.name;
    text += &format!("\nstep `{name}` FAILED after {time}. To see it again:\n\n    {shown}\n");
    text += &format!("\nor, as part of the check: cargo xtask test --only {name} --verbose");
    text
}

/// Adds up the lines `test result: ok. 12 passed; …`.
fn tests_passed(output: &str) -> u64 {
    let passed = |line: &str| {
        let counts = line.split_once("test result: ok. ")?.1;
        counts.split_once(" passed")?.0.parse::<u64>().ok()
    };
    output.lines().filter_map(passed).sum()
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn with_note(note: &Option<String>) -> String {
    note.as_ref().map_or_else(String::new, |note| format!("   {note}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_command_line_is_read() {
        let arguments = parse(&words("--only fmt --verbose --only=tidy")).expect("valid");
        assert_eq!(arguments.only, ["fmt", "tidy"]);
        assert!(arguments.verbose && !arguments.list);
        assert!(parse(&words("--only")).is_err());
        assert!(parse(&words("--fast")).is_err());
    }

    #[test]
    fn only_selects_and_refuses_unknown_steps() {
        let all = steps(&["polder-credit".to_owned()], &[]);
        assert_eq!(all.last().map(|step| step.name), Some("loom"));
        assert_eq!(select(all.clone(), &[]).map(|steps| steps.len()), Ok(all.len()));
        let one = select(all.clone(), &["tidy".to_owned()]).expect("known");
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].work, Work::Tidy);
        let error = select(all, &["tidi".to_owned()]).expect_err("unknown");
        assert!(error.contains("`tidi`") && error.contains("clippy"), "{error}");
    }

    #[test]
    fn loom_runs_for_the_crates_that_have_models() {
        let package = |folder: &str| workspace::Package {
            name: format!("polder-{folder}"),
            folder: format!("crates/{folder}"),
            dependencies: Vec::new(),
        };
        let files = ["crates/a/tests/loom.rs".to_owned(), "crates/b/src/loom.rs".to_owned()];
        let models = crates_with("loom", &files, &[package("a"), package("b")]);
        assert_eq!(models, ["polder-a"]);
        assert!(models_call("loom", &models).shown().contains("--test loom --package polder-a"));
        assert!(steps(&[], &[]).iter().all(|step| step.name != "loom"));
    }

    #[test]
    fn passed_tests_are_added_up() {
        let output = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 0 ignored\n\
                      noise\ntest result: ok. 40 passed; 0 failed\ntest result: FAILED. 3 passed;";
        assert_eq!(tests_passed(output), 42);
        assert_eq!(tests_passed(""), 0);
        assert_eq!(tests_note("unit", 42).ok().as_deref(), Some("42 tests"));
        assert!(tests_note("unit", 0).is_err());
    }

    #[test]
    fn a_failure_shows_the_end_of_the_output_and_the_command() {
        let step = steps(&[], &[]).remove(0);
        let finished = Finished {
            succeeded: false,
            time: Duration::from_millis(1234),
            output: (0..LINES_SHOWN + 7).map(|n| format!("line {n}\n")).collect(),
            log: Some(PathBuf::from("fmt.log")),
        };
        let text = explain(&step, &CargoCall::new("fmt --all -- --check"), &finished);
        assert!(text.contains("(the first 7 lines are in fmt.log)"), "{text}");
        assert!(!text.contains("line 6\n") && text.contains("line 7\n"), "{text}");
        assert!(text.contains("    cargo fmt --all -- --check\n"), "{text}");
        assert!(text.contains("FAILED after 1.2 s"), "{text}");
    }
}
