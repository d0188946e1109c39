//! The result: as a table for people, and as one flat JSON object for machines.

pub(crate) mod comparison;

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::ingest::Ingested;
use crate::sampler::Peaks;
use crate::size::mebibytes;
use crate::table::{Row, row, table};
use crate::target::Stats;
use crate::verify::Verified;

/// Everything that a run has measured.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    /// The command line, without the name of the program.
    pub(crate) arguments: String,
    /// What was written.
    pub(crate) load: String,
    /// Operations in one call.
    pub(crate) batch: u64,
    /// Whether each call was synced.
    pub(crate) sync: bool,
    /// Size at which a memtable is flushed.
    pub(crate) write_buffer_bytes: u64,
    /// The writing.
    pub(crate) ingested: Ingested,
    /// How long the flush after it took.
    pub(crate) flush_time: Duration,
    /// How long the compaction after that took.
    pub(crate) compaction_time: Duration,
    /// How long closing and opening again took.
    pub(crate) reopen_time: Duration,
    /// Memory while it was written, flushed and compacted.
    pub(crate) peaks: Peaks,
    /// The allocator's own peak over the same time, and what was in use before.
    pub(crate) heap_allocator_peak: u64,
    pub(crate) heap_start: u64,
    /// The engine's counts over the same time.
    pub(crate) stats: Stats,
    /// What the kernel says was sent to the storage layer until the database was closed.
    pub(crate) sent_to_storage: Option<u64>,
    /// The reading back.
    pub(crate) verified: Verified,
}

/// The percentiles that are reported: their names in JSON and in the table, and their values.
const PERCENTILES: [(&str, &str, f64); 4] = [
    ("p50", "p50", 50.0),
    ("p99", "p99", 99.0),
    ("p999", "p99.9", 99.9),
    ("p9999", "p99.99", 99.99),
];

impl Outcome {
    fn operations_per_second(&self) -> f64 {
        rate(self.ingested.operations, self.ingested.time)
    }

    /// The rate up to the end of the compaction: what could be kept up for ever.
    fn sustained_per_second(&self) -> f64 {
        let time = self.ingested.time + self.flush_time + self.compaction_time;
        rate(self.ingested.operations, time)
    }

    /// Keys and values per second, in units of 10⁶ bytes.
    fn megabytes_per_second(&self) -> f64 {
        rate(self.ingested.user_bytes, self.ingested.time) / 1e6
    }

    /// The peak of the heap: the sampled sum of allocator and arenas, or the exact peak of either if
    /// that is higher, which the sum must have reached as well.
    fn heap_peak(&self) -> u64 {
        self.peaks.heap.max(self.heap_allocator_peak).max(self.stats.in_flight_peak_bytes)
    }

    /// Bytes written, as the engine counts them.
    fn written_to_disk(&self) -> u64 {
        self.stats.log_bytes + self.stats.flush_bytes + self.stats.compaction_bytes
    }

    /// Bytes written for each byte of keys and values.
    fn write_amplification(&self) -> f64 {
        if self.ingested.user_bytes == 0 {
            return 0.0;
        }
        self.written_to_disk() as f64 / self.ingested.user_bytes as f64
    }

    /// The result as one flat object.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
        let seconds = Duration::as_secs_f64;
        let (stats, peaks, verified) = (&self.stats, &self.peaks, &self.verified);
        put("arguments", json!(self.arguments));
        put("load", json!(self.load));
        put("batch", json!(self.batch));
        put("sync", json!(self.sync));
        put("write_buffer_bytes", json!(self.write_buffer_bytes));
        put("operations", json!(self.ingested.operations));
        put("operations_per_second", json!(self.operations_per_second()));
        put("sustained_operations_per_second", json!(self.sustained_per_second()));
        put("megabytes_per_second", json!(self.megabytes_per_second()));
        put("user_bytes", json!(self.ingested.user_bytes));
        for (name, value) in latencies(&self.ingested.latency) {
            put(&format!("latency_micros_{name}"), json!(value));
        }
        // 0 means no limit, as on the command line.
        put("budget_bytes", json!(stats.write_budget.unwrap_or(0)));
        put("in_flight_peak_bytes", json!(stats.in_flight_peak_bytes));
        put("in_flight_sampled_peak_bytes", json!(peaks.in_flight));
        put("memory_samples", json!(peaks.samples));
        put("heap_peak_bytes", json!(self.heap_peak()));
        put("heap_allocator_peak_bytes", json!(self.heap_allocator_peak));
        put("heap_start_bytes", json!(self.heap_start));
        put("resident_anonymous_peak_bytes", json!(peaks.anonymous));
        put("resident_file_peak_bytes", json!(peaks.file));
        put("resident_peak_bytes", json!(peaks.resident));
        put("written_to_disk_bytes", json!(self.written_to_disk()));
        put("log_bytes", json!(stats.log_bytes));
        put("flush_bytes", json!(stats.flush_bytes));
        put("compaction_bytes", json!(stats.compaction_bytes));
        put("sent_to_storage_bytes", json!(self.sent_to_storage));
        put("write_amplification", json!(self.write_amplification()));
        put("log_syncs", json!(stats.log_syncs));
        put("flushes", json!(stats.flushes));
        put("compactions", json!(stats.compactions));
        put("table_bytes", json!(stats.levels.iter().map(|level| level.bytes).sum::<u64>()));
        put("credit_waits", json!(stats.credit_waits));
        put("credit_wait_seconds", json!(seconds(&stats.credit_wait)));
        for stall in &stats.stalls {
            let cause = stall.cause.name().replace([' ', '-'], "_");
            put(&format!("stall_{cause}_count"), json!(stall.count));
            put(&format!("stall_{cause}_seconds"), json!(seconds(&stall.duration)));
        }
        put("ingest_seconds", json!(seconds(&self.ingested.time)));
        put("flush_seconds", json!(seconds(&self.flush_time)));
        put("compaction_seconds", json!(seconds(&self.compaction_time)));
        put("reopen_seconds", json!(seconds(&self.reopen_time)));
        put("scan_records_per_second", json!(rate(verified.records, verified.scan_time)));
        put("point_reads_per_second", json!(rate(verified.point_reads, verified.point_time)));
        for (name, value) in latencies(&verified.point_latency) {
            put(&format!("point_read_micros_{name}"), json!(value));
        }
        put("verified_records", json!(verified.records));
        put("verified_bytes", json!(verified.bytes));
        put("verified_checksum", json!(format!("{:016x}", verified.checksum)));
        put("verification_problems", json!(verified.problems));
        put("verified", json!(verified.is_proved()));
        object
    }

    /// The result as a table.
    pub(crate) fn table(&self) -> String {
        let mut rows = Vec::new();
        self.speed_rows(&mut rows);
        self.memory_rows(&mut rows);
        self.disk_rows(&mut rows);
        self.wait_rows(&mut rows);
        self.read_rows(&mut rows);
        table(&rows)
    }

    fn speed_rows(&self, rows: &mut Vec<Row>) {
        let ingested = &self.ingested;
        rows.push(row("command", format!("cargo xtask bench {}", self.arguments)));
        rows.push(row("load", &self.load));
        let sync = if self.sync { "each synced" } else { "not synced" };
        rows.push(row("calls", format!("{} operations each, {sync}", self.batch)));
        rows.push(Row::Line);
        rows.push(row(
            "write",
            format!(
                "{:.0} operations/s, {:.1} MB/s ({} operations in {:.2} s)",
                self.operations_per_second(),
                self.megabytes_per_second(),
                ingested.operations,
                ingested.time.as_secs_f64()
            ),
        ));
        rows.push(row("latency of a call", micros(&ingested.latency)));
        rows.push(row(
            "flush, compaction",
            format!(
                "{:.2} s, {:.2} s; {:.0} operations/s with both",
                self.flush_time.as_secs_f64(),
                self.compaction_time.as_secs_f64(),
                self.sustained_per_second()
            ),
        ));
    }

    fn memory_rows(&self, rows: &mut Vec<Row>) {
        let known = |bytes: Option<u64>| bytes.map_or_else(|| "not told".to_owned(), mebibytes);
        let budget = self.stats.write_budget.map_or_else(|| "off".to_owned(), mebibytes);
        rows.push(Row::Line);
        rows.push(row("write budget", budget));
        rows.push(row(
            "in flight, peak",
            format!(
                "{} (sampled: {}, {} samples)",
                mebibytes(self.stats.in_flight_peak_bytes),
                mebibytes(self.peaks.in_flight),
                self.peaks.samples
            ),
        ));
        rows.push(row(
            "heap, peak",
            format!(
                "{} with the arenas; {} from the allocator, {} before the run",
                mebibytes(self.heap_peak()),
                mebibytes(self.heap_allocator_peak),
                mebibytes(self.heap_start)
            ),
        ));
        rows.push(row(
            "resident, peak",
            format!(
                "{} anonymous, {} file, {} together",
                known(self.peaks.anonymous),
                known(self.peaks.file),
                known(self.peaks.resident)
            ),
        ));
    }

    fn disk_rows(&self, rows: &mut Vec<Row>) {
        let stats = &self.stats;
        rows.push(Row::Line);
        rows.push(row("accepted", mebibytes(self.ingested.user_bytes)));
        rows.push(row(
            "written to disk",
            format!(
                "{} = log {} + flush {} + compaction {}",
                mebibytes(self.written_to_disk()),
                mebibytes(stats.log_bytes),
                mebibytes(stats.flush_bytes),
                mebibytes(stats.compaction_bytes)
            ),
        ));
        let kernel = self.sent_to_storage.map_or_else(|| "not told".to_owned(), mebibytes);
        rows.push(row("sent to storage", format!("{kernel} (the kernel's count)")));
        let amplification = self.write_amplification();
        rows.push(row("amplification", format!("{amplification:.2} (written / accepted)")));
        rows.push(row(
            "jobs",
            format!(
                "{} flushes, {} compactions, {} log syncs",
                stats.flushes, stats.compactions, stats.log_syncs
            ),
        ));
        let levels = stats.levels.iter().enumerate().filter(|(_, level)| level.tables > 0);
        let levels: Vec<_> = levels
            .map(|(number, level)| {
                format!("L{number}: {} tables, {}", level.tables, mebibytes(level.bytes))
            })
            .collect();
        rows.push(row("levels", levels.join("; ")));
    }

    fn wait_rows(&self, rows: &mut Vec<Row>) {
        let stats = &self.stats;
        rows.push(Row::Line);
        rows.push(row(
            "waits for credits",
            format!(
                "{}, {:.3} s over all threads",
                stats.credit_waits,
                stats.credit_wait.as_secs_f64()
            ),
        ));
        let stalls = stats.stalls.iter().filter(|stall| stall.count > 0);
        let stalls: Vec<_> = stalls
            .map(|stall| {
                let (cause, time) = (stall.cause.name(), stall.duration.as_secs_f64());
                format!("{cause}: {} calls, {time:.3} s", stall.count)
            })
            .collect();
        let all = if stalls.is_empty() { "none".to_owned() } else { stalls.join("; ") };
        rows.push(row("all waits, by cause", all));
    }

    fn read_rows(&self, rows: &mut Vec<Row>) {
        let verified = &self.verified;
        rows.push(Row::Line);
        rows.push(row("close and reopen", format!("{:.2} s", self.reopen_time.as_secs_f64())));
        rows.push(row(
            "scan",
            format!(
                "{:.0} records/s, {:.1} MB/s, comparison included",
                rate(verified.records, verified.scan_time),
                rate(verified.bytes, verified.scan_time) / 1e6
            ),
        ));
        rows.push(row(
            "single reads",
            format!(
                "{:.0}/s; {}",
                rate(verified.point_reads, verified.point_time),
                micros(&verified.point_latency)
            ),
        ));
        let verdict = if verified.is_proved() {
            format!("yes: {} records, checksum {:016x}", verified.records, verified.checksum)
        } else {
            format!(
                "NO: {} problems, {} records right, checksum {:016x} for {:016x}",
                verified.problems, verified.records, verified.checksum, verified.checksum_expected
            )
        };
        rows.push(row("verified", verdict));
        rows.extend(verified.told.iter().map(|problem| row("", problem)));
    }
}

/// The percentiles and the maximum, in microseconds; 0 if nothing was recorded.
fn latencies(histogram: &Histogram<u64>) -> Vec<(&'static str, f64)> {
    let micros = |nanos: u64| nanos as f64 / 1000.0;
    let percentiles = PERCENTILES
        .iter()
        .map(|&(name, _, percent)| (name, micros(histogram.value_at_percentile(percent))));
    percentiles.chain([("max", micros(histogram.max()))]).collect()
}

fn micros(histogram: &Histogram<u64>) -> String {
    let shown = |micros: f64| match micros {
        micros if micros < 100.0 => format!("{micros:.2}"),
        micros => format!("{micros:.0}"),
    };
    let titles = PERCENTILES.iter().map(|(_, title, _)| *title).chain(["max"]);
    let parts: Vec<_> = titles
        .zip(latencies(histogram))
        .map(|(title, (_, value))| format!("{title} {}", shown(value)))
        .collect();
    format!("{} µs", parts.join(", "))
}

fn rate(count: u64, time: Duration) -> f64 {
    let seconds = time.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

#[cfg(test)]
mod tests;
