//! Threads that compress blocks for those who write tables.
//!
//! A writer hands a block over and goes on; when it needs the result, it first compresses what of its own no helper has
//! begun, and waits only for a block that a helper has in hand. So it never waits for a helper that is busy with others,
//! or that has ended, and takes part in the work when there is more of it than the helpers can do.
//!
//! Concurrency: two locks, neither held while the other is taken or while a block is compressed: the queue's, which all
//! writers and helpers share, and one for each writer, of its results and compressors. Each block is taken off the queue
//! once, by a helper or by its writer, and whoever takes it puts a result down, whatever happens to it.

use crate::compress::Compressor;
use crate::options::{Compression, TableOptions};
use base::sync::thread::{self, JoinHandle};
use base::sync::{Arc, Condvar, Mutex};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Blocks that a writer has in flight for each thread that works on them, itself included: one in hand and some that
/// wait, so that a helper finds work while the writer compresses a block itself.
const BLOCKS_PER_THREAD: usize = 4;

/// What a block has at most as a rule: buffers for larger ones are not kept.
pub(crate) fn usual_bytes(options: &TableOptions) -> usize {
    options.block_bytes.max(64 << 10)
}

/// Threads that compress blocks for any number of [`TableWriter`]s, which share them. They end when it is stopped or
/// dropped; writers then go on by themselves.
///
/// [`TableWriter`]: crate::TableWriter
pub struct CompressionHelpers {
    shared: Arc<Shared>,
    threads: usize,
    running: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is a block, or an end.
    changed: Condvar,
}

struct Queue {
    waiting: VecDeque<Task>,
    is_stopped: bool,
}

/// A block that nobody has begun.
struct Task {
    lane: Arc<Lane>,
    number: u64,
    buffers: Buffers,
}

/// A block and the place for what becomes of it.
#[derive(Default)]
pub(crate) struct Buffers {
    pub(crate) raw: Vec<u8>,
    pub(crate) out: Vec<u8>,
}

/// A block that somebody has compressed: the first so many bytes of `out`, or `None` when that is not worth having.
pub(crate) struct Finished {
    pub(crate) buffers: Buffers,
    pub(crate) len: io::Result<Option<usize>>,
}

/// What one writer and those who compress its blocks share.
pub(crate) struct Lane {
    compression: Compression,
    state: Mutex<LaneState>,
    /// There is another result.
    finished: Condvar,
}

#[derive(Default)]
struct LaneState {
    /// Those that nobody uses just now.
    compressors: Vec<Compressor>,
    /// Bytes of all of them, as they were when they were used last.
    compressor_bytes: usize,
    finished: Vec<(u64, Finished)>,
}

impl fmt::Debug for CompressionHelpers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompressionHelpers").field("threads", &self.threads).finish()
    }
}

impl CompressionHelpers {
    /// Starts so many threads.
    ///
    /// # Errors
    /// When the system has no room for one of them; those that had been started end.
    pub fn start(threads: usize) -> io::Result<Self> {
        let queue = Queue { waiting: VecDeque::new(), is_stopped: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), changed: Condvar::new() });
        let helpers = Self { shared, threads, running: Mutex::default() };
        for _ in 0..threads {
            let shared = Arc::clone(&helpers.shared);
            let thread = thread::spawn_named("polder-compress", move || shared.run())?;
            helpers.running.lock().push(thread);
        }
        Ok(helpers)
    }

    /// How many threads there are.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Ends the threads and waits for that; a block that one of them has in hand is finished first.
    pub fn stop(&self) {
        self.shared.queue.lock().is_stopped = true;
        self.shared.changed.notify_all();
        let running = std::mem::take(&mut *self.running.lock());
        for thread in running {
            // None of them ends by a panic: see `Lane::compress`.
            drop(thread.join());
        }
    }

    /// How many blocks a writer has in flight at most.
    pub(crate) fn blocks_max(&self) -> usize {
        BLOCKS_PER_THREAD * (self.threads + 1)
    }

    /// The most bytes of blocks, before compression, that a writer with these options has in flight.
    pub(crate) fn raw_bytes_max(&self, options: &TableOptions) -> usize {
        self.blocks_max() * usual_bytes(options)
    }

    /// The most bytes that a writer which these threads help holds beside [`TableOptions::buffered_bytes_max`]. What
    /// Zstandard itself needs comes on top, once for each thread and once for the writer.
    #[must_use]
    pub fn buffered_bytes_max(&self, options: &TableOptions) -> usize {
        // Beside each block its separator and its keys' hashes, in buffers that double when they grow.
        let beside = 4 * options.block_bytes + 2 * base::MAX_KEY_BYTES;
        // Once what is in flight, once what is kept for the next blocks; a block and what becomes of it.
        let raw = self.raw_bytes_max(options);
        4 * raw + raw / 64 + self.blocks_max() * beside
    }

    /// Hands over a block of `lane`, whose number comes after those before it.
    pub(crate) fn submit(&self, lane: &Arc<Lane>, number: u64, buffers: Buffers) {
        let task = Task { lane: Arc::clone(lane), number, buffers };
        self.shared.queue.lock().waiting.push_back(task);
        self.shared.changed.notify_one();
    }

    /// What became of a block that was handed over, once.
    pub(crate) fn collect(&self, lane: &Arc<Lane>, number: u64) -> Finished {
        loop {
            if let Some(finished) = lane.take(number) {
                return finished;
            }
            match self.take_back(lane) {
                Some(task) => task.run(),
                None => return lane.wait_for(number),
            }
        }
    }

    /// The oldest block of `lane` that nobody has begun.
    fn take_back(&self, lane: &Arc<Lane>) -> Option<Task> {
        let mut queue = self.shared.queue.lock();
        let at = queue.waiting.iter().position(|task| Arc::ptr_eq(&task.lane, lane))?;
        queue.waiting.remove(at)
    }
}

impl Drop for CompressionHelpers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// A helper's life.
    fn run(&self) {
        let mut queue = self.queue.lock();
        while !queue.is_stopped {
            match queue.waiting.pop_front() {
                Some(task) => {
                    drop(queue);
                    task.run();
                    queue = self.queue.lock();
                }
                None => queue = self.changed.wait(queue),
            }
        }
    }
}

impl Task {
    fn run(self) {
        let finished = self.lane.compress(self.buffers);
        self.lane.state.lock().finished.push((self.number, finished));
        self.lane.finished.notify_one();
    }
}

impl Lane {
    pub(crate) fn new(compression: Compression) -> Self {
        Self { compression, state: Mutex::default(), finished: Condvar::new() }
    }

    /// Bytes of the compressors; what is in flight is its writer's to count.
    pub(crate) fn compressor_bytes(&self) -> usize {
        self.state.lock().compressor_bytes
    }

    /// Whoever compresses next finds a defect.
    #[cfg(test)]
    pub(crate) fn break_one(&self) {
        self.state.lock().compressors.push(Compressor::Broken);
    }

    /// Results that nobody has collected.
    #[cfg(test)]
    pub(crate) fn uncollected(&self) -> usize {
        self.state.lock().finished.len()
    }

    fn compress(&self, mut buffers: Buffers) -> Finished {
        let taken = self.state.lock().compressors.pop();
        let held_before = taken.as_ref().map_or(0, Compressor::memory_bytes);
        let Buffers { raw, out } = &mut buffers;
        // A panic must not take the writer's result with it: it would wait for ever.
        let compressed = catch_unwind(AssertUnwindSafe(|| {
            let mut compressor = match taken {
                Some(compressor) => compressor,
                None => Compressor::new(self.compression)?,
            };
            let len = compressor.compress(raw, out)?;
            Ok((compressor, len))
        }));
        let compressed =
            compressed.unwrap_or_else(|_| Err(io::Error::other("the compressor panicked")));
        let mut state = self.state.lock();
        state.compressor_bytes -= held_before;
        let len = compressed.map(|(compressor, len)| {
            state.compressor_bytes += compressor.memory_bytes();
            state.compressors.push(compressor);
            len
        });
        Finished { buffers, len }
    }

    fn take(&self, number: u64) -> Option<Finished> {
        self.state.lock().take(number)
    }

    /// Waits for a block that a helper has in hand.
    fn wait_for(&self, number: u64) -> Finished {
        let mut state = self.state.lock();
        loop {
            if let Some(finished) = state.take(number) {
                return finished;
            }
            state = self.finished.wait(state);
        }
    }
}

impl LaneState {
    fn take(&mut self, number: u64) -> Option<Finished> {
        let at = self.finished.iter().position(|(of, _)| *of == number)?;
        Some(self.finished.swap_remove(at).1)
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;

    fn block(byte: u8) -> Buffers {
        Buffers { raw: vec![byte; 1000], out: Vec::new() }
    }

    #[test]
    fn a_panic_is_an_error_of_its_block_alone() {
        for threads in [0, 1, 2] {
            let helpers = CompressionHelpers::start(threads).unwrap();
            let lane = Arc::new(Lane::new(Compression::Zstd { level: 1 }));
            lane.break_one();
            (0..4).for_each(|number| helpers.submit(&lane, number, block(number as u8)));
            let results = (0..4u8).map(|number| {
                let finished = helpers.collect(&lane, number.into());
                assert_eq!(finished.buffers.raw, block(number).raw, "each gets its own");
                finished.len
            });
            let failed: Vec<_> = results.filter_map(Result::err).collect();
            assert_eq!(failed.len(), 1, "{failed:?}");
            assert!(failed[0].to_string().contains("panicked"));
            let compressors = lane.state.lock().compressors.len();
            assert!((1..=threads + 1).contains(&compressors), "the defect one is gone");
            assert!(lane.compressor_bytes() > 10_000);
        }
    }

    #[test]
    fn who_collects_takes_part_and_only_in_its_own() {
        let helpers = CompressionHelpers::start(0).unwrap();
        let lanes = [1, 3].map(|level| Arc::new(Lane::new(Compression::Zstd { level })));
        for number in 0..3 {
            lanes.iter().for_each(|lane| helpers.submit(lane, number, block(1)));
        }
        // The others are done on the way to the last one.
        assert!(helpers.collect(&lanes[0], 2).len.unwrap().is_some());
        assert_eq!(lanes[0].state.lock().finished.len(), 2);
        assert_eq!(helpers.shared.queue.lock().waiting.len(), 3);
        assert!(lanes[1].state.lock().finished.is_empty());
    }
}
