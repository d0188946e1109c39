//! The content of one simulated file: what readers see, what is durable, and the steps between.
//!
//! Invariants: a page's current bytes are its durable bytes with all pending patches applied, in
//! order; bytes at and after the current length are zero in every current page; `lengths` begins
//! with the durable length and ends with the current one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use super::crash::{Choice, Chooser};

pub(super) const PAGE_BYTES: usize = 4096;
const SECTOR_BYTES: usize = 512;
/// The longest file: anything beyond is a mistake of the test, or of what it tests.
pub(super) const FILE_BYTES_MAX: u64 = 16 << 30;
/// Above this many unsynced patches the older half of them becomes one step.
const PENDING_MAX: usize = 64;

type PageBytes = Arc<[u8; PAGE_BYTES]>;

static ZEROS: LazyLock<PageBytes> = LazyLock::new(|| Arc::new([0; PAGE_BYTES]));

#[derive(Debug)]
pub(super) struct Content {
    /// A page that is missing is all zeros, and durably so.
    pages: BTreeMap<u64, Page>,
    /// The durable length and every one since.
    lengths: Vec<u64>,
    /// Pages that have blocks.
    allocated: BTreeSet<u64>,
}

#[derive(Debug)]
struct Page {
    current: PageBytes,
    durable: PageBytes,
    pending: Vec<Patch>,
    /// Whether the next sync will write it. Pending patches on a page that is not dirty are those
    /// of a failed sync: readers see them, no sync writes them.
    dirty: bool,
}

#[derive(Debug)]
struct Patch {
    at: usize,
    bytes: Box<[u8]>,
}

impl Patch {
    /// Applies the part of the patch that lies in `range` of the page.
    fn apply(&self, page: &mut [u8; PAGE_BYTES], range: Range<usize>) {
        let start = self.at.max(range.start);
        let end = (self.at + self.bytes.len()).min(range.end);
        if start < end {
            page[start..end].copy_from_slice(&self.bytes[start - self.at..end - self.at]);
        }
    }
}

impl Page {
    fn zeros() -> Self {
        Page {
            current: Arc::clone(&ZEROS),
            durable: Arc::clone(&ZEROS),
            pending: Vec::new(),
            dirty: false,
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let patch = Patch { at, bytes: bytes.into() };
        patch.apply(Arc::make_mut(&mut self.current), 0..PAGE_BYTES);
        self.pending.push(patch);
        self.dirty = true;
        if self.pending.len() > PENDING_MAX {
            let mut merged = Arc::clone(&self.durable);
            for patch in self.pending.drain(..PENDING_MAX / 2) {
                patch.apply(Arc::make_mut(&mut merged), 0..PAGE_BYTES);
            }
            self.pending.insert(0, Patch { at: 0, bytes: merged.as_slice().into() });
        }
    }

    fn sync(&mut self) {
        if self.dirty {
            self.durable = Arc::clone(&self.current);
            self.pending.clear();
            self.dirty = false;
        }
    }

    fn crash(&self, choice: Choice, chooser: &mut Chooser) -> PageBytes {
        if self.pending.is_empty() {
            return Arc::clone(&self.durable);
        }
        let mut left = Arc::clone(&self.durable);
        let page = Arc::make_mut(&mut left);
        let unit = if chooser.tears_pages() { SECTOR_BYTES } else { PAGE_BYTES };
        for start in (0..PAGE_BYTES).step_by(unit) {
            let survivors = chooser.survivors(choice, self.pending.len());
            for patch in &self.pending[..survivors] {
                patch.apply(page, start..start + unit);
            }
        }
        left
    }
}

/// The pages that `[offset, offset + len)` touches.
fn pages_of(offset: u64, len: u64) -> Range<u64> {
    let page = PAGE_BYTES as u64;
    if len == 0 { 0..0 } else { offset / page..offset.saturating_add(len).div_ceil(page) }
}

impl Content {
    pub(super) fn new() -> Self {
        Content { pages: BTreeMap::new(), lengths: vec![0], allocated: BTreeSet::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.lengths.last().copied().unwrap_or(0)
    }

    pub(super) fn allocated_pages(&self) -> u64 {
        self.allocated.len() as u64
    }

    /// How many more pages a write to the range would allocate.
    pub(super) fn pages_lacking(&self, offset: u64, len: u64) -> u64 {
        let pages = pages_of(offset, len);
        pages.end - pages.start - self.allocated.range(pages).count() as u64
    }

    /// Gives every page of the range a block.
    pub(super) fn allocate(&mut self, offset: u64, len: u64) {
        self.allocated.extend(pages_of(offset, len));
    }

    /// Reads up to the end of the file; returns the bytes read.
    pub(super) fn read(&self, offset: u64, buf: &mut [u8]) -> usize {
        let count = self.len().saturating_sub(offset).min(buf.len() as u64) as usize;
        let mut done = 0;
        while done < count {
            let at = offset + done as u64;
            let (index, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let part = (PAGE_BYTES - within).min(count - done);
            let target = &mut buf[done..done + part];
            match self.pages.get(&index) {
                Some(page) => target.copy_from_slice(&page.current[within..within + part]),
                None => target.fill(0),
            }
            done += part;
        }
        count
    }

    /// Writes, extending the file and allocating what it touches.
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.allocate(offset, bytes.len() as u64);
        let mut rest = bytes;
        let mut at = offset;
        while !rest.is_empty() {
            let (index, within) = (at / PAGE_BYTES as u64, (at % PAGE_BYTES as u64) as usize);
            let (part, next) = rest.split_at((PAGE_BYTES - within).min(rest.len()));
            self.pages.entry(index).or_insert_with(Page::zeros).write(within, part);
            at += part.len() as u64;
            rest = next;
        }
        if at > self.len() {
            self.push_len(at);
        }
    }

    /// Makes the range zero, without changing length or blocks.
    fn zero(&mut self, offset: u64, len: u64) {
        let end = offset + len;
        for (index, page) in self.pages.range_mut(pages_of(offset, len)) {
            let start = index * PAGE_BYTES as u64;
            let from = offset.max(start) - start;
            let to = end.min(start + PAGE_BYTES as u64) - start;
            page.write(from as usize, &[0; PAGE_BYTES][from as usize..to as usize]);
        }
    }

    pub(super) fn set_len(&mut self, len: u64) {
        let old = self.len();
        if len < old {
            self.zero(len, old - len);
            self.allocated.split_off(&len.div_ceil(PAGE_BYTES as u64));
        }
        if len != old {
            self.push_len(len);
        }
    }

    pub(super) fn punch_hole(&mut self, offset: u64, len: u64) {
        self.zero(offset, len);
        let page = PAGE_BYTES as u64;
        let whole = offset.div_ceil(page)..(offset + len) / page;
        self.allocated.retain(|index| !whole.contains(index));
    }

    fn push_len(&mut self, len: u64) {
        self.lengths.push(len);
        if self.lengths.len() > PENDING_MAX {
            self.lengths.drain(1..PENDING_MAX / 2);
        }
    }

    fn sync_len(&mut self) {
        self.lengths = vec![self.len()];
    }

    /// Makes everything durable, but for pages that a failed sync has marked clean.
    pub(super) fn sync(&mut self) {
        self.pages.values_mut().for_each(Page::sync);
        self.sync_len();
        let end = self.len().div_ceil(PAGE_BYTES as u64);
        // A page cut off by a truncation is gone, unless its bytes may come back by a crash.
        self.pages.retain(|index, page| *index < end || !page.pending.is_empty());
    }

    /// Makes the pages of the range, and the length, durable.
    pub(super) fn sync_pages(&mut self, offset: u64, len: u64) {
        self.pages.range_mut(pages_of(offset, len)).for_each(|(_, page)| page.sync());
        self.sync_len();
    }

    /// What a failed write-back does: the pages of the range are clean, and not written.
    pub(super) fn fail_sync(&mut self, offset: u64, len: u64) {
        self.pages.range_mut(pages_of(offset, len)).for_each(|(_, page)| page.dirty = false);
    }

    /// The content that a crash leaves.
    pub(super) fn crash(&self, chooser: &mut Chooser) -> Content {
        let choice = chooser.choice();
        let steps = self.lengths.len().saturating_sub(1);
        let len = self.lengths.get(chooser.survivors(choice, steps)).copied().unwrap_or(0);
        let end = len.div_ceil(PAGE_BYTES as u64);
        let mut pages = BTreeMap::new();
        for (index, page) in &self.pages {
            let mut left = page.crash(choice, chooser);
            if *index >= end {
                continue;
            }
            let within = len - index * PAGE_BYTES as u64;
            if within < PAGE_BYTES as u64 {
                Arc::make_mut(&mut left)[within as usize..].fill(0);
            }
            let durable = Arc::clone(&left);
            pages
                .insert(*index, Page { current: left, durable, pending: Vec::new(), dirty: false });
        }
        let mut allocated: BTreeSet<u64> = self.allocated.range(..end).copied().collect();
        allocated.extend(pages.keys());
        Content { pages, lengths: vec![len], allocated }
    }
}
