//! Two results, side by side.

use serde_json::{Map, Value};

use crate::size::mebibytes;
use crate::table::{Row, table};

/// Two results side by side, with the ratio of their figures.
pub(crate) fn comparison(on: &Map<String, Value>, off: &Map<String, Value>) -> String {
    let mut rows =
        vec![Row::Cells(["", "budget on", "budget off", "off / on"].map(str::to_owned).into())];
    let bytes = [
        ("in flight, peak", "in_flight_peak_bytes"),
        ("heap, peak", "heap_peak_bytes"),
        ("resident anonymous, peak", "resident_anonymous_peak_bytes"),
        ("resident, peak", "resident_peak_bytes"),
        ("written to disk", "written_to_disk_bytes"),
    ];
    let plain = [
        ("operations/s", "operations_per_second", 0),
        ("operations/s, sustained", "sustained_operations_per_second", 0),
        ("latency p99, µs", "latency_micros_p99", 1),
        ("latency p99.99, µs", "latency_micros_p9999", 1),
        ("latency max, µs", "latency_micros_max", 0),
        ("waits for credits, s", "credit_wait_seconds", 3),
        ("write amplification", "write_amplification", 2),
    ];
    let figure = |object: &Map<String, Value>, name: &str| object.get(name).and_then(Value::as_f64);
    let mut add = |title: &str, name: &str, show: &dyn Fn(f64) -> String| {
        let (on, off) = (figure(on, name), figure(off, name));
        let shown = |value: Option<f64>| value.map_or_else(|| "not told".to_owned(), show);
        let ratio = match (on, off) {
            (Some(on), Some(off)) if on > 0.0 && off > 0.0 => format!("{:.2}", off / on),
            _ => String::new(),
        };
        rows.push(Row::Cells(vec![title.to_owned(), shown(on), shown(off), ratio]));
    };
    add("write budget", "budget_bytes", &|bytes| {
        if bytes == 0.0 { "off".to_owned() } else { mebibytes(bytes as u64) }
    });
    for (title, name) in bytes {
        add(title, name, &|bytes| mebibytes(bytes as u64));
    }
    for (title, name, digits) in plain {
        add(title, name, &|value| format!("{value:.digits$}"));
    }
    table(&rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_results_are_shown_side_by_side() {
        let figures = |budget: u64, heap: u64| {
            let figures = [("budget_bytes", budget), ("heap_peak_bytes", heap)];
            Map::from_iter(figures.map(|(name, value)| (name.to_owned(), Value::from(value))))
        };
        let text = comparison(&figures(16 << 20, 40 << 20), &figures(0, 80 << 20));
        let cells = |start: &str| {
            let line = text.lines().find(|line| line.starts_with(start)).expect(start);
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(cells("heap"), "heap, peak 40.0 MiB 80.0 MiB 2.00");
        assert_eq!(cells("write budget"), "write budget 16.0 MiB off");
        assert_eq!(cells("operations/s "), "operations/s not told not told");
    }
}
