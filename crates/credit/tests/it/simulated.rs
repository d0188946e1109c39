//! Pacer and tuner in their simulators, against what they replace.

#[path = "../../sim/pacing.rs"]
mod pacing;
#[path = "../../sim/tuning.rs"]
mod tuning;

use pacing::{Policy, SCENARIOS, Scenario};
use tuning::{DEVICE, Point, Tuner};

fn scenario(name: &str) -> &'static Scenario {
    SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario of that name")
}

#[test]
fn held_never_reaches_the_budget_and_no_second_drops_to_zero() {
    // L5, C11
    for scenario in &SCENARIOS {
        let outcome = pacing::run(scenario, Policy::Law);
        let name = scenario.name;
        assert!(outcome.held_max < 1.0, "{name}: {} of the budget was held", outcome.held_max);
        assert_eq!(outcome.blocked, 0, "{name}: a write found no room");
        // As much as the slowest device can, or the clients offer; less what jitter takes.
        assert!(outcome.second_min > 9e6, "{name}: {} bytes in one second", outcome.second_min);
        assert!(outcome.delay(1.0) < 0.05, "{name}: a write was held up {} s", outcome.delay(1.0));
    }
}

#[test]
fn at_95_percent_nobody_is_held_up_for_long_and_nothing_is_lost() {
    // L5
    let outcome = pacing::run(scenario("steady"), Policy::Law);
    let offered = 0.95 * pacing::DEVICE * 40.0;
    assert!(outcome.written() > 0.999 * offered, "{} of {offered}", outcome.written());
    assert!(outcome.delay(0.999) < 0.002, "{}", outcome.delay(0.999));
}

#[test]
fn the_others_stall_where_the_law_slows_down() {
    // L5: the simulator must be able to show a stall, or its silence about the law means nothing.
    for (name, policy) in [
        ("slow device", Policy::RocksDb),
        ("slow device", Policy::Blocking),
        ("debt jump", Policy::RocksDb),
        ("bursts", Policy::Blocking),
    ] {
        let (other, law) =
            (pacing::run(scenario(name), policy), pacing::run(scenario(name), Policy::Law));
        let (other_longest, longest) = (other.delay(1.0), law.delay(1.0));
        assert!(other.blocked > 0, "{name}, {}", policy.name());
        assert!(
            other_longest > 0.1 && other_longest > 10.0 * longest,
            "{name}, {}: {other_longest} s against {longest} s",
            policy.name()
        );
    }
}

/// When the rate came within a tenth of `target` after `from`, for good until `to`.
fn settled_after(points: &[Point], from: f64, to: f64, target: f64) -> Option<f64> {
    let span = || points.iter().filter(|p| (from..to).contains(&p.second));
    let last_off =
        span().filter(|p| (p.rate - target).abs() > 0.1 * target).map(|p| p.second).next_back();
    let last = span().next_back()?.second;
    match last_off {
        Some(second) if second >= last => None,
        Some(second) => Some(second - from),
        None => Some(0.0),
    }
}

#[test]
fn the_tuner_follows_a_step_within_a_second_and_rocksdbs_does_not() {
    // L5
    let ours = tuning::run(Tuner::AutoTune, 120);
    let rocks = tuning::run(Tuner::RocksDb, 120);
    for (from, to) in [(30.0, 60.0), (60.0, 90.0), (90.0, 120.0)] {
        let target = DEVICE - tuning::load(from).0;
        let settled = settled_after(&ours, from, to, target);
        assert!(settled.is_some_and(|seconds| seconds < 1.0), "{from} s: {settled:?}");
        assert_eq!(settled_after(&rocks, from, to, target), None, "{from} s");
    }
    let worst = ours.iter().map(|p| p.queue_seconds).fold(0.0, f64::max);
    assert!(worst < 0.15, "the device's queue grew to {worst} s");
}

#[test]
fn the_tuner_does_not_oscillate() {
    // L5
    let points = tuning::run(Tuner::AutoTune, 120);
    let steady: Vec<f64> =
        points.iter().filter(|p| (62.0..90.0).contains(&p.second)).map(|p| p.rate).collect();
    let (least, most) = steady
        .iter()
        .fold((f64::INFINITY, 0.0f64), |(least, most), &rate| (least.min(rate), most.max(rate)));
    // The load's own unrest is 2 % of 80 MB/s to each side; the rate may mirror it and not more.
    assert!(most - least <= 2.0 * 0.02 * 80e6, "{least} to {most}");
    assert!((steady.iter().sum::<f64>() / steady.len() as f64 - 20e6).abs() < 0.2e6);
}
