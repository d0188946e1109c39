//! A durable queue of messages, with nothing but the log: what was put in survives a power cut and is taken out in order,
//! each at least once, across restarts.
//!
//! `cargo run -p polder-wal --example journal DIR put TEXT...` puts messages in, `... DIR take` takes one out, and
//! `... DIR follow` shows what is put in by this process while it is.
//!
//! How: a message is a record `+text`, taking one out is a record `-`, so the queue is what recovery finds. What is still
//! in it is written again at each opening, behind a mark, and the segments before it are retired once a small file says
//! that recovery begins there.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::SegmentNumber;
use vfs::{Access, ErrorKind, FileLock, Fs, RealFs};
use wal::{ReadUpTo, RecoveryMode, Wal, WalOptions, recover};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A queue in a directory.
struct Queue {
    log: Wal,
    messages: VecDeque<Vec<u8>>,
    _lock: Box<dyn FileLock>,
}

impl Queue {
    fn open(dir: &Path) -> Result<Self> {
        let fs: Arc<dyn Fs> = Arc::new(RealFs::new());
        fs.create_dir_all(dir)?;
        let lock = fs.lock(&dir.join("LOCK"))?;
        let from = read_from(&*fs, dir)?;
        let mut messages = VecDeque::new();
        let mut visit = |_: SegmentNumber, _: u64, record: &[u8]| {
            match record.split_first() {
                Some((b'+', text)) => messages.push_back(text.to_vec()),
                Some((b'-', _)) => drop(messages.pop_front()),
                // What follows is the whole queue again.
                _ => messages.clear(),
            }
            Ok::<(), Infallible>(())
        };
        let recovered = recover(&fs, dir, from, RecoveryMode::PointInTime, &mut visit)?;
        let log = Wal::create(Arc::clone(&fs), dir, WalOptions::default(), recovered.start)?;
        let first = log.current_segment();
        log.append(&[b"="])?;
        for message in &messages {
            log.append(&[b"+", message])?;
        }
        log.sync(log.filled())?;
        write_from(&*fs, dir, first)?;
        log.retire_before(first)?;
        Ok(Self { log, messages, _lock: lock })
    }

    /// Puts a message in; on return it survives a power cut.
    fn put(&mut self, text: &[u8]) -> Result<()> {
        self.log.append_synced(&[b"+", text])?;
        self.messages.push_back(text.to_vec());
        Ok(())
    }

    /// Takes the first message out; on return it does not come back.
    fn take(&mut self) -> Result<Option<Vec<u8>>> {
        let Some(message) = self.messages.pop_front() else { return Ok(None) };
        self.log.append_synced(&[b"-"])?;
        Ok(Some(message))
    }
}

fn from_path(dir: &Path) -> PathBuf {
    dir.join("FROM")
}

/// Where recovery begins.
fn read_from(fs: &dyn Fs, dir: &Path) -> Result<SegmentNumber> {
    let file = match fs.open(&from_path(dir), Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(SegmentNumber::new(0)),
        Err(error) => return Err(error.into()),
    };
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(SegmentNumber::new(u64::from_le_bytes(bytes)))
}

/// Says it anew, so that a crash leaves the old number or the new one.
fn write_from(fs: &dyn Fs, dir: &Path, from: SegmentNumber) -> Result<()> {
    let new = dir.join("FROM.new");
    match fs.remove(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let file = fs.create(&new)?;
    file.write_all_at(&from.get().to_le_bytes(), 0)?;
    file.sync_all()?;
    fs.rename(&new, &from_path(dir))?;
    fs.sync_dir(dir)?;
    Ok(())
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [dir, "put", texts @ ..] => {
            let mut queue = Queue::open(dir.as_ref())?;
            for text in texts {
                queue.put(text.as_bytes())?;
            }
            queue.log.close()?;
        }
        [dir, "take"] => {
            let mut queue = Queue::open(dir.as_ref())?;
            match queue.take()? {
                Some(message) => println!("{}", String::from_utf8_lossy(&message)),
                None => println!("(nothing)"),
            }
            queue.log.close()?;
        }
        [dir, "follow"] => {
            let mut queue = Queue::open(dir.as_ref())?;
            let mut reader = queue.log.reader(ReadUpTo::Durable);
            for text in ["one", "two", "three"] {
                queue.put(text.as_bytes())?;
                while let Some(record) = reader.next_record()? {
                    println!("{}", String::from_utf8_lossy(record.payload));
                }
            }
            queue.log.close()?;
        }
        _ => println!("usage: journal DIR (put TEXT... | take | follow)"),
    }
    Ok(())
}
