//! Tells how far the run is: a bar on a terminal, plain lines elsewhere. Both on standard error, so
//! that the result on standard output stands alone.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Time between two plain lines of a phase.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

const BAR: &str = "{prefix:>10} [{bar:32}] {human_pos} of {human_len}, {rate}, {eta} left";
const SPINNER: &str = "{prefix:>10} {spinner} {human_pos} in {elapsed}";

/// One phase of the run, from its start until it is dropped or finished.
#[derive(Debug)]
pub(crate) struct Phase {
    name: &'static str,
    total: Option<u64>,
    start: Instant,
    /// On a terminal.
    bar: Option<ProgressBar>,
    /// Elsewhere: when the last line was printed.
    last_line: Mutex<Instant>,
}

impl Phase {
    /// Starts a phase with so many things to do, if that is known.
    pub(crate) fn start(name: &'static str, total: Option<u64>) -> Self {
        let start = Instant::now();
        let bar = std::io::stderr().is_terminal().then(|| bar(name, total));
        if bar.is_none() {
            eprintln!("{name} …");
        }
        Self { name, total, start, bar, last_line: Mutex::new(start) }
    }

    /// So many things are done by now.
    pub(crate) fn done(&self, done: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if last.elapsed() >= LINE_INTERVAL {
            *last = Instant::now();
            eprintln!("{}", line(self.name, done, self.total, self.start.elapsed()));
        }
    }

    /// Ends the phase and returns how long it took.
    pub(crate) fn finish(self) -> Duration {
        let time = self.start.elapsed();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!("{:>10} done in {:.2} s", self.name, time.as_secs_f64());
        time
    }
}

fn bar(name: &'static str, total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = if total.is_some() { BAR } else { SPINNER };
    // The templates are constants, and a test reads them.
    let style =
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let style = style.with_key("rate", |state: &ProgressState, out: &mut dyn fmt::Write| {
        // The bar has nowhere to report an error to.
        write!(out, "{:.0}/s", state.per_sec()).unwrap_or_default();
    });
    bar.set_style(style.progress_chars("=> "));
    bar.set_prefix(name);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn line(name: &str, done: u64, total: Option<u64>, time: Duration) -> String {
    let rate = done as f64 / time.as_secs_f64().max(1e-9);
    match total {
        Some(total) if total > 0 => {
            let percent = done * 100 / total;
            format!("{name:>10} {done} of {total} ({percent} %), {rate:.0}/s")
        }
        _ => format!("{name:>10} {done}, {rate:.0}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_valid() {
        for template in [BAR, SPINNER] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn a_line_says_how_far_and_how_fast() {
        let two = Duration::from_secs(2);
        assert_eq!(line("ingest", 500, Some(2000), two), "    ingest 500 of 2000 (25 %), 250/s");
        assert_eq!(line("read", 500, None, two), "      read 500, 250/s");
        assert!(line("read", 0, Some(0), Duration::ZERO).contains("0/s"));
    }
}
