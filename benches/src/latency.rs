//! Histograms of latencies, in nanoseconds.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::Result;

/// The longest time that the histograms tell apart, in nanoseconds; longer ones count as this.
const LATENCY_MAX_NANOS: u64 = 600_000_000_000;

/// An empty histogram for latencies in nanoseconds, to three digits.
///
/// # Errors
/// None in practice: the bounds are constants.
pub fn histogram() -> Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, LATENCY_MAX_NANOS, 3)?)
}

/// Adds one call that took so long.
pub fn record(histogram: &mut Histogram<u64>, time: Duration) {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    histogram.saturating_record(nanos.max(1));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_outside_the_bounds_count_as_the_nearest() {
        let mut latencies = histogram().expect("histogram");
        record(&mut latencies, Duration::ZERO);
        record(&mut latencies, Duration::from_secs(u64::MAX));
        assert_eq!(latencies.len(), 2);
        assert_eq!(latencies.min(), 1);
        assert!(latencies.max() >= LATENCY_MAX_NANOS);
    }
}
