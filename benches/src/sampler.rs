//! A thread that looks at memory every ten milliseconds and keeps the peaks.
//!
//! What lasts less than that between two looks is missed. Three figures do not depend on it: the
//! pool's own high-water mark, the allocator's own peak, and the kernel's own peak of all resident
//! memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::target::Target;
use crate::{HEAP, Result, memory};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_millis(10);

/// The most that was seen of each, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peaks {
    /// How often was looked.
    pub(crate) samples: u64,
    /// Unflushed bytes.
    pub(crate) in_flight: u64,
    /// Heap: what the allocator has given out, and the memtables' mapped arenas (the unflushed
    /// bytes), added up at the same moment.
    pub(crate) heap: u64,
    /// Resident anonymous memory; `None` where the system does not tell.
    pub(crate) anonymous: Option<u64>,
    /// Resident file memory.
    pub(crate) file: Option<u64>,
    /// All resident memory: the kernel's own peak.
    pub(crate) resident: Option<u64>,
}

impl Peaks {
    fn look(&mut self, database: &Target, text: &mut String) {
        let in_flight = database.stats().in_flight_bytes;
        self.samples += 1;
        self.in_flight = self.in_flight.max(in_flight);
        self.heap = self.heap.max(HEAP.live_bytes() + in_flight);
        if let Some(now) = memory::resident(text) {
            self.anonymous = self.anonymous.max(Some(now.anonymous));
            self.file = self.file.max(Some(now.file));
            self.resident = self.resident.max(Some(now.peak));
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peaks>,
}

impl Sampler {
    /// Starts to look at the process and at `database`.
    pub(crate) fn start(database: Target) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("sampler".to_owned()).spawn(move || {
            let (mut peaks, mut text) = (Peaks::default(), String::new());
            let mut next = Instant::now();
            while !seen.load(Ordering::Acquire) {
                peaks.look(&database, &mut text);
                next += INTERVAL;
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
            peaks.look(&database, &mut text);
            peaks
        })?;
        Ok(Self { stop, thread })
    }

    /// Looks a last time and returns the peaks.
    pub(crate) fn finish(self) -> Result<Peaks> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| "the sampling thread panicked".into())
    }
}
