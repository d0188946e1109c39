//! The same job twice, with the write budget on and off, each in a process of its own, so that
//! neither sees the other's memory.

use std::path::Path;
use std::process::Command;

use serde_json::{Map, Value};

use crate::args::Args;
use crate::report::comparison::comparison;
use crate::scratch::Scratch;
use crate::size::Budget;
use crate::target::Options;
use crate::{JsonFile, Result};

/// Runs both and prints both results and their comparison.
///
/// # Errors
/// If a run failed or was not verified.
pub(crate) fn run(args: &Args) -> Result<()> {
    let budget = match args.budget {
        Some(Budget(budget)) => budget,
        None => Options::default().write_budget,
    };
    let budget = budget.ok_or("--compare-budget needs a --budget that is not off")?;
    let json = args.json.as_deref().map(JsonFile::create).transpose()?;
    let results = Scratch::new(None)?;
    let on = single(args, &budget.to_string(), "on", results.path())?;
    let off = single(args, "off", "off", results.path())?;
    println!("{}", comparison(&on, &off));
    if let Some(json) = json {
        json.write(&flatten(&on, &off))?;
    }
    Ok(())
}

/// Both results in one flat object: each name with `budget_on_` or `budget_off_` before it.
fn flatten(on: &Map<String, Value>, off: &Map<String, Value>) -> Map<String, Value> {
    let named = |prefix: &'static str, object: &Map<String, Value>| {
        let fields = object.clone().into_iter();
        fields.map(move |(name, value)| (format!("{prefix}_{name}"), value))
    };
    named("budget_on", on).chain(named("budget_off", off)).collect()
}

/// One run in a child process: this command line, with another budget.
fn single(args: &Args, budget: &str, name: &str, results: &Path) -> Result<Map<String, Value>> {
    let json = results.join(format!("{name}.json"));
    println!("== budget {name} ==");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1));
    // What comes later on the command line overrides what came before.
    command.args(["--single-run", "--budget", budget, "--json"]).arg(&json);
    if let Some(path) = &args.path {
        command.arg("--path").arg(path.join(name));
    }
    let status = command.status()?;
    if !status.success() {
        return Err(format!("the run with the budget {name} failed ({status})").into());
    }
    println!();
    let text = std::fs::read(&json)
        .map_err(|error| format!("cannot read the result {}: {error}", json.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_results_fit_into_one_flat_object() {
        let object = |value: u64| Map::from_iter([("operations".to_owned(), Value::from(value))]);
        let both = flatten(&object(1), &object(2));
        assert_eq!(both["budget_on_operations"], 1);
        assert_eq!(both["budget_off_operations"], 2);
        assert_eq!(both.len(), 2);
    }
}
