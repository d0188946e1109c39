//! The memory budget: one pool, and who draws from it.
//!
//! | child | what it holds | promised | at most |
//! |---|---|---|---|
//! | `writes` | memtables | `write_budget` | the same |
//! | `log` | the log's windows | `wal_window_bytes` | the same |
//! | `tables` | open readers: their indexes' tops and properties | a sixteenth | the same |
//! | `jobs` | buffers of flush and compaction | a sixteenth | the same |
//! | `pinned` | what values and iterators keep in memory | nothing | a sixteenth |
//! | `cache` | blocks; gives way to all others | nothing | what is left |
//!
//! A write waits for `writes` alone: its floor is its ceiling, and nobody but the cache, which gives way at once, may
//! borrow it. Nobody waits for the others: what gets no credit there is done without (a block is not kept, a value is
//! copied, a reader is closed after use), but for jobs, which give memory back in the end and so go on beyond their part.

use credit::{ChildError, ChildOptions, Permit, Pool};

use crate::options::Options;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Budget {
    pub(crate) all: Pool,
    pub(crate) writes: Pool,
    pub(crate) log: Pool,
    pub(crate) tables: Pool,
    pub(crate) jobs: Pool,
    pub(crate) pinned: Pool,
}

impl Budget {
    /// # Errors
    /// [`ChildError`] when the parts do not fit into the whole; options that are valid give none.
    pub(crate) fn new(options: &Options) -> Result<Self, ChildError> {
        let all = Pool::new(options.memory_budget);
        // Without a limit on all nobody needs a promise.
        let is_limited = all.capacity_bytes().is_some();
        let fixed = |bytes: Option<u64>| ChildOptions {
            floor_bytes: bytes.filter(|_| is_limited).unwrap_or(0),
            ceiling_bytes: bytes,
            ..ChildOptions::default()
        };
        let part = options.memory_part_bytes();
        let writes = match options.write_budget {
            // Without a limit of their own writes have none, and are counted apart.
            None | Some(0) => Pool::new(None),
            limit => all.child("writes", &fixed(limit))?,
        };
        let log = all.child("log", &fixed(Some(options.wal_window_bytes)))?;
        let tables = all.child("tables", &fixed(part))?;
        let jobs = all.child("jobs", &fixed(part))?;
        let pinned = ChildOptions { ceiling_bytes: part, ..ChildOptions::default() };
        let pinned = all.child("pinned", &pinned)?;
        Ok(Self { all, writes, log, tables, jobs, pinned })
    }

    /// All that is held now.
    pub(crate) fn held_bytes(&self) -> u64 {
        let apart =
            if self.writes.capacity_bytes().is_none() { self.writes.held_bytes() } else { 0 };
        self.all.held_bytes() + apart
    }

    /// The most bytes of memtables that one write can ever get: what nobody else may hold.
    pub(crate) fn write_bytes_max(&self) -> u64 {
        let others = [&self.log, &self.tables, &self.jobs, &self.pinned];
        match self.all.capacity_bytes() {
            Some(all) if self.writes.capacity_bytes().is_some() => {
                let others = others.iter().filter_map(|pool| pool.capacity_bytes()).sum();
                all.saturating_sub(others)
            }
            _ => u64::MAX,
        }
    }
}

/// What the buffers of a job are charged with.
#[derive(Debug)]
pub(crate) struct JobCharge<'a> {
    pool: &'a Pool,
    held: Option<Permit>,
}

impl<'a> JobCharge<'a> {
    /// So much is asked for at once.
    const STEP_BYTES: u64 = 64 << 10;

    pub(crate) fn new(pool: &'a Pool) -> Self {
        Self { pool, held: None }
    }

    /// Sees to it that `bytes` are charged, if there are credits: a job waits for none.
    pub(crate) fn cover(&mut self, bytes: u64) {
        let held = self.held.as_ref().map_or(0, Permit::bytes);
        if bytes <= held {
            return;
        }
        let more = (bytes - held).next_multiple_of(Self::STEP_BYTES);
        let Ok(permit) = self.pool.try_acquire(more) else { return };
        match &mut self.held {
            Some(held) => held.merge(permit),
            none => *none = Some(permit),
        }
    }
}
