//! Prints what the simulators of pacer and tuner show: a summary, CSV, or a picture.
//!
//! `cargo run --release -p polder-credit --example simulate -- [summary|pacing-csv|pacing-svg|tuning-csv|tuning-svg]`

#[path = "../sim/mod.rs"]
mod sim;

use sim::pacing::{self, DEVICE, Outcome, Policy, SCENARIOS};
use sim::picture::{Chart, svg};
use sim::tuning::{self, Tuner};

const COLOURS: [&str; 3] = ["#1a6fb5", "#d95f02", "#777777"];

fn main() {
    let what = std::env::args().nth(1).unwrap_or_else(|| "summary".to_owned());
    match what.as_str() {
        "summary" => summary(),
        "pacing-csv" => pacing_csv(),
        "pacing-svg" => print!("{}", pacing_svg()),
        "tuning-csv" => tuning_csv(),
        "tuning-svg" => print!("{}", tuning_svg()),
        other => {
            eprintln!(
                "unknown output {other:?}: summary, pacing-csv, pacing-svg, tuning-csv or tuning-svg"
            );
            std::process::exit(2);
        }
    }
}

fn summary() {
    println!(
        "| scenario | policy | held, most | found no room | written | least in a second | delay p50 | p99 | p99.9 | longest |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for scenario in &SCENARIOS {
        for policy in Policy::ALL {
            let outcome = pacing::run(scenario, policy);
            let millis = |quantile| format!("{:.1} ms", 1e3 * outcome.delay(quantile));
            println!(
                "| {} | {} | {:.2} % | {} | {:.0} MB | {:.1} MB | {} | {} | {} | {} |",
                scenario.name,
                policy.name(),
                100.0 * outcome.held_max,
                outcome.blocked,
                outcome.written() / 1e6,
                outcome.second_min / 1e6,
                millis(0.5),
                millis(0.99),
                millis(0.999),
                millis(1.0),
            );
        }
    }
}

fn pacing_csv() {
    println!("scenario,policy,second,offered,written,held_max,delay_max,score");
    for scenario in &SCENARIOS {
        for policy in Policy::ALL {
            for s in pacing::run(scenario, policy).samples {
                println!(
                    "{},{},{:.1},{:.0},{:.0},{:.4},{:.4},{:.3}",
                    scenario.name,
                    policy.name(),
                    s.second,
                    s.offered,
                    s.written,
                    s.held_max,
                    s.delay_max,
                    s.score
                );
            }
        }
    }
}

fn pacing_svg() -> String {
    let mut charts = Vec::new();
    for scenario in &SCENARIOS {
        let outcomes: Vec<(Policy, Outcome)> =
            Policy::ALL.into_iter().map(|policy| (policy, pacing::run(scenario, policy))).collect();
        let mut chart = |title: &str, unit, max, value: fn(&pacing::Sample) -> f64| {
            let lines = outcomes.iter().zip(COLOURS).rev();
            let lines = lines.map(|((policy, outcome), colour)| {
                let points = outcome.samples.iter().map(|s| (s.second, value(s))).collect();
                (policy.name(), colour, points)
            });
            charts.push(Chart {
                title: format!("{}: {title}", scenario.name),
                unit,
                max,
                lines: lines.collect(),
            });
        };
        chart("written", "MB/s", 2.0 * DEVICE / 1e6, |s| s.written / 1e6);
        chart("held", "part of the budget", 1.0, |s| s.held_max);
        chart("longest delay", "s", 0.4, |s| s.delay_max);
    }
    svg(&charts, 3)
}

fn tuning_csv() {
    println!("tuner,second,clients,rate,queue_seconds");
    for tuner in Tuner::ALL {
        for p in tuning::run(tuner, 120).iter().step_by(20) {
            println!(
                "{},{:.2},{:.0},{:.0},{:.4}",
                tuner.name(),
                p.second,
                p.clients,
                p.rate,
                p.queue_seconds
            );
        }
    }
}

fn tuning_svg() -> String {
    let runs: Vec<(Tuner, Vec<tuning::Point>)> =
        Tuner::ALL.into_iter().map(|tuner| (tuner, tuning::run(tuner, 120))).collect();
    let chart = |title: &str, unit, max, value: fn(&tuning::Point) -> f64| {
        let lines = runs.iter().zip(COLOURS).map(|((tuner, points), colour)| {
            let points = points.iter().step_by(20).map(|p| (p.second, value(p))).collect();
            (tuner.name(), colour, points)
        });
        Chart { title: title.to_owned(), unit, max, lines: lines.collect() }
    };
    svg(
        &[
            chart("background rate", "MB/s", 100.0, |p| p.rate / 1e6),
            chart("device queue", "s", 0.2, |p| p.queue_seconds),
        ],
        2,
    )
}
