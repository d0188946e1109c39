//! What no engine can beat by much: a plain `write` for each call, and a bare group commit. Neither
//! keeps an index, so neither can read.

use std::cell::RefCell;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use kit::Result;

use super::Engine;
use crate::keys::Key;

/// The configuration of the plain writes in words.
pub(super) const PLAIN_WRITE: &str =
    "one write(2) a call to the end of a file: lengths, key, value; no index, no checksum";

/// The configuration of the group commit in words.
pub(super) const GROUP_COMMIT: &str = "one pwrite(2) and one fdatasync(2) for all calls that wait, into a file of \
     zeros written beforehand; no index, no checksum";

/// Bytes of the file that the group commit writes over and over.
const LOG_BYTES: u64 = 64 << 20;

const UNREADABLE: &str = "a baseline keeps no index and cannot read";

/// Opens the plain writes.
pub(super) fn open_plain_write(path: &Path) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(path)?;
    let file = OpenOptions::new().create(true).append(true).open(path.join("log"))?;
    Ok(Box::new(Baseline { log: PlainWrite(file) }))
}

/// Opens the group commit.
pub(super) fn open_group_commit(path: &Path) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(path)?;
    let mut file = File::create(path.join("log"))?;
    let zeros = vec![0; 1 << 20];
    for _ in 0..LOG_BYTES >> 20 {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    let state = Mutex::new(State::default());
    Ok(Box::new(Baseline { log: GroupCommit { file, state, done: Condvar::new() } }))
}

/// Takes what a call writes.
trait Log: Sync {
    fn append(&self, bytes: &[u8]) -> Result<()>;
}

struct Baseline<L> {
    log: L,
}

impl<L: Log> Baseline<L> {
    fn write<'a>(&self, records: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Result<()> {
        thread_local!(static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            for (key, value) in records {
                for part in [key, value] {
                    buffer.extend_from_slice(&u32::try_from(part.len())?.to_le_bytes());
                }
                buffer.extend_from_slice(key);
                buffer.extend_from_slice(value);
            }
            self.log.append(buffer)
        })
    }
}

impl<L: Log> Engine for Baseline<L> {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.write(std::iter::once((key, value)))
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        self.write(records.iter().map(|(key, value)| (&key[..], value.unwrap_or_default())))
    }

    fn get(&self, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Err(UNREADABLE.into())
    }

    fn scan(&self, _: &[u8], _: u64, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        Err(UNREADABLE.into())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

struct PlainWrite(File);

impl Log for PlainWrite {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        Ok((&self.0).write_all(bytes)?)
    }
}

struct GroupCommit {
    file: File,
    state: Mutex<State>,
    /// Signalled when a group is on stable storage.
    done: Condvar,
}

/// Calls are numbered from 1.
#[derive(Default)]
struct State {
    /// What the calls have brought that no leader has taken.
    pending: Vec<u8>,
    /// The last call that has brought something.
    brought: u64,
    /// All calls up to this one are on stable storage.
    durable: u64,
    /// Where the next group goes.
    at: u64,
    is_led: bool,
    failed: Option<String>,
}

impl Log for GroupCommit {
    fn append(&self, bytes: &[u8]) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending.extend_from_slice(bytes);
        state.brought += 1;
        let mine = state.brought;
        while state.durable < mine {
            if let Some(failed) = &state.failed {
                return Err(failed.clone().into());
            }
            if state.is_led {
                state = self.done.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.is_led = true;
            let group = std::mem::take(&mut state.pending);
            let last = state.brought;
            let at = if state.at + group.len() as u64 > LOG_BYTES { 0 } else { state.at };
            drop(state);
            let written = self.file.write_all_at(&group, at).and_then(|()| self.file.sync_data());
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.is_led = false;
            state.at = at + group.len() as u64;
            match written {
                Ok(()) => state.durable = last,
                Err(error) => state.failed = Some(error.to_string()),
            }
            self.done.notify_all();
        }
        Ok(())
    }
}
