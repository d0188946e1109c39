//! What is done off the way of an append, and the threads that do it.
//!
//! Two threads, since one of them waits for the disk: `polder-log-map` maps and unmaps windows (`window`);
//! `polder-log-disk` has the next segment ready, starts the write-back of what is to be synced, syncs segments that were
//! left when that is due, and syncs at intervals if asked to. All of it is help: without a helper, or with one that is late or has failed,
//! whoever needs a segment makes it, whoever needs durability syncs, and records without a window are written.
//!
//! Errors. What a sync or write-back of log bytes says ends the log, as everywhere. A segment that could not be prepared
//! is counted, and tried again when more was written; whoever needs one meanwhile tries too, and gets its own error.

use base::sync::atomic::Ordering;
use base::sync::thread::{self, JoinHandle};
use base::sync::{Arc, Instant, Mutex, Signal, now};

use crate::error::{Error, Failure};
use crate::log::Log;

/// Write-back is started in steps of at least this size.
const WRITE_BACK_BYTES: u64 = 1 << 20;

/// How the helpers are woken, and how far they are.
#[derive(Debug, Default)]
pub(crate) struct Helpers {
    map: Signal,
    disk: Signal,
    progress: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The position up to which write-back was started.
    written_back: u64,
    /// When the log was last synced because of the interval.
    synced_at: Option<Instant>,
}

impl Helpers {
    /// There may be something to do for both.
    pub fn notify(&self) {
        self.notify_mapper();
        self.notify_disk();
    }

    /// There may be something to map or to unmap.
    pub fn notify_mapper(&self) {
        self.map.notify();
    }

    /// Something was written.
    pub fn notify_disk(&self) {
        self.disk.notify();
    }
}

/// The running threads of a log.
#[derive(Debug, Default)]
pub(crate) struct Threads(Vec<JoinHandle<()>>);

impl Threads {
    /// Starts those that the log's options ask for.
    pub fn start(log: &Arc<Log>) -> Result<Self, Error> {
        let mut threads = Self::default();
        if !log.options.helper_threads {
            return Ok(threads);
        }
        let mut start = |name: &str, run: fn(&Log)| {
            let of_thread = Arc::clone(log);
            match thread::spawn_named(name, move || run(&of_thread)) {
                Ok(handle) => {
                    threads.0.push(handle);
                    Ok(())
                }
                Err(source) => Err(Error::NoThread { source }),
            }
        };
        let mut started = start("polder-log-disk", run_disk);
        if started.is_ok() && log.mapper.is_on() {
            started = start("polder-log-map", run_map);
        }
        if let Err(error) = started {
            threads.stop(log);
            return Err(error);
        }
        log.helpers.notify();
        Ok(threads)
    }

    /// Ends them and waits until they have ended.
    pub fn stop(&mut self, log: &Log) {
        log.helpers.map.stop();
        log.helpers.disk.stop();
        for thread in self.0.drain(..) {
            if thread.join().is_err() {
                log.poison(Failure::new("a helper thread of the log has panicked"));
            }
        }
    }
}

/// A helper that ends by a panic ends the log, so that nobody builds on work that is not done.
struct PanicGuard<'a>(&'a Log);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.poison(Failure::new("a helper thread of the log has panicked"));
        }
    }
}

fn run_map(log: &Log) {
    let _guard = PanicGuard(log);
    while log.helpers.map.wait() {
        log.map_ahead();
    }
}

fn run_disk(log: &Log) {
    let _guard = PanicGuard(log);
    while log.helpers.disk.wait_until(log.next_interval()) {
        log.keep_up();
    }
}

impl Log {
    /// When the next sync of the interval is due.
    fn next_interval(&self) -> Option<Instant> {
        let interval = self.options.sync_interval?;
        let last = *self.helpers.progress.lock().synced_at.get_or_insert_with(now);
        last.checked_add(interval)
    }

    /// What `polder-log-disk` does when it is woken.
    pub(crate) fn keep_up(&self) {
        // To fill and sync a whole segment takes its time: what is due is not left until afterwards.
        let _known_to_the_log = self.sync_at_interval();
        match self.prepare_ahead() {
            Ok(false) => {}
            // The mapper has something to map.
            Ok(true) => self.helpers.notify_mapper(),
            Err(_) => self.counters.prepare_failures.add(1),
        }
        // These end the log when they fail, which whoever uses it next is told.
        let _known_to_the_log = self.start_write_back();
        let _known_to_the_log = self.sync_left_segments();
        let _known_to_the_log = self.sync_at_interval();
    }

    /// Starts the write-back of what was filled since the last time, in whole steps, if a sync is to come. What is mapped
    /// is left alone: to write a page back, the system takes it from every processor that may store into it.
    fn start_write_back(&self) -> Result<(), Error> {
        if self.failure().is_some() || !self.expects_syncs() {
            return Ok(());
        }
        self.mapper.unmap_left();
        let filled = self.tail.lock().unmapped_before().min(self.ring.published());
        let mut progress = self.helpers.progress.lock();
        let from = progress.written_back.max(self.durable.load(Ordering::Acquire));
        if filled - from.min(filled) < WRITE_BACK_BYTES {
            return Ok(());
        }
        progress.written_back = filled;
        drop(progress);
        for segment in self.segments.lock().between(from, filled) {
            let start = from.saturating_sub(segment.base());
            let end = segment.end().unwrap_or(u64::MAX).min(filled - segment.base());
            // The last page is still written to.
            let (start, end) = (start & !4095, end & !4095);
            if start < end
                && let Err(cause) = segment.file.sync_range(start, end - start, false)
            {
                // The system may have marked what it could not write as clean: as after a failed sync.
                self.poison(Failure::new(cause));
                return self.check();
            }
        }
        Ok(())
    }

    /// Makes segments durable that nothing is added to any more: all if a sync is to come, else so many that what a power
    /// cut can take stays bounded.
    fn sync_left_segments(&self) -> Result<(), Error> {
        let base = self.tail.lock().segment.base();
        let durable = self.durable.load(Ordering::Acquire);
        if durable >= base || self.ring.published() < base {
            return Ok(());
        }
        let bytes_max = if self.expects_syncs() { 0 } else { self.options.unsynced_bytes_max };
        let Some(upto) = self.segments.lock().overdue(durable, base, bytes_max) else {
            return Ok(());
        };
        self.counters.left_syncs.add(1);
        self.mapper.unmap_left();
        self.sync_left(upto)
    }

    fn sync_at_interval(&self) -> Result<(), Error> {
        let Some(interval) = self.options.sync_interval else { return Ok(()) };
        let time = now();
        {
            let mut progress = self.helpers.progress.lock();
            let last = *progress.synced_at.get_or_insert(time);
            if time.saturating_duration_since(last) < interval {
                return Ok(());
            }
            progress.synced_at = Some(time);
        }
        self.counters.interval_syncs.add(1);
        self.sync(self.filled())
    }
}
