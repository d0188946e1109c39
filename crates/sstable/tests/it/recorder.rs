//! A file that notes the reads, writes and syncs that it passes on.

use std::path::Path;
use std::sync::{Arc, Mutex};
use vfs::{Access, File, MappedRegion, Result};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Read { len: u64 },
    WillRead { offset: u64, len: u64 },
    Write { offset: u64, len: u64 },
    SyncRange { offset: u64, len: u64, wait: bool },
    SyncAll,
}

#[derive(Debug)]
pub struct Recorder {
    inner: Arc<dyn File>,
    calls: Mutex<Vec<Call>>,
}

impl Recorder {
    pub fn new(inner: Arc<dyn File>) -> Arc<Self> {
        Arc::new(Self { inner, calls: Mutex::default() })
    }

    /// What was noted since the last time.
    pub fn take(&self) -> Vec<Call> {
        std::mem::take(&mut *self.calls.lock().unwrap())
    }

    fn note(&self, call: Call) {
        self.calls.lock().unwrap().push(call);
    }
}

impl File for Recorder {
    fn path(&self) -> &Path {
        self.inner.path()
    }
    fn len(&self) -> Result<u64> {
        self.inner.len()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.note(Call::Read { len: buf.len() as u64 });
        self.inner.read_at(buf, offset)
    }
    fn will_read(&self, offset: u64, len: u64) {
        self.note(Call::WillRead { offset, len });
        self.inner.will_read(offset, len);
    }
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<()> {
        self.note(Call::Write { offset, len: buf.len() as u64 });
        self.inner.write_all_at(buf, offset)
    }
    fn allocate(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.allocate(offset, len)
    }
    fn set_len(&self, len: u64) -> Result<()> {
        self.inner.set_len(len)
    }
    fn sync_data(&self) -> Result<()> {
        self.inner.sync_data()
    }
    fn sync_all(&self) -> Result<()> {
        self.note(Call::SyncAll);
        self.inner.sync_all()
    }
    fn sync_range(&self, offset: u64, len: u64, wait: bool) -> Result<()> {
        self.note(Call::SyncRange { offset, len, wait });
        self.inner.sync_range(offset, len, wait)
    }
    fn punch_hole(&self, offset: u64, len: u64) -> Result<()> {
        self.inner.punch_hole(offset, len)
    }
    fn map(&self, offset: u64, len: usize, access: Access) -> Result<MappedRegion> {
        self.inner.map(offset, len, access)
    }
}
