//! Real data: the lines of a file. Each is `key<TAB>value`; the value may hold further tabs. If a
//! key comes more than once, its last line counts.
//!
//! Concurrency: one thread reads the file and deals the lines to the writers by a checksum of their
//! key, so that all lines of a key go to one writer, in order. To verify, the file is read into
//! memory as a whole and its lines are sorted: after the measured part of the run.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Action, Expected, Operations, Source};
use crate::Result;
use crate::random::checksum;

/// Bytes that are dealt to a writer at once.
const PARCEL_BYTES: usize = 64 << 10;

/// Parcels that wait for a writer before the reader does.
const PARCELS_WAITING: usize = 4;

/// The lines of a file.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    threads: usize,
    /// Checksum over all lines as they were read.
    read: Arc<AtomicU64>,
    sorted: Sorted,
}

impl Lines {
    /// The lines of `path`, to be written by `threads` threads.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn new(path: &Path, threads: usize) -> Result<Self> {
        open(path)?;
        Ok(Self {
            path: path.to_owned(),
            threads: threads.max(1),
            read: Arc::default(),
            sorted: Sorted::default(),
        })
    }
}

fn open(path: &Path) -> Result<File> {
    Ok(File::open(path).map_err(|error| format!("cannot open {}: {error}", path.display()))?)
}

/// Splits a line, without its line break, into key and value.
fn split(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let tab = line.iter().position(|&byte| byte == b'\t')?;
    Some((&line[..tab], &line[tab + 1..]))
}

impl Source for Lines {
    fn describe(&self) -> String {
        format!("the lines of {}, {} threads", self.path.display(), self.threads)
    }

    fn operations(&self) -> Option<u64> {
        None
    }

    fn writers(&mut self) -> Result<Vec<Box<dyn Operations>>> {
        let file = open(&self.path)?;
        let mut writers: Vec<Box<dyn Operations>> = Vec::new();
        let mut senders = Vec::new();
        for _ in 0..self.threads {
            let (sender, parcels) = sync_channel(PARCELS_WAITING);
            senders.push(sender);
            writers.push(Box::new(Writer { parcels, parcel: Parcel::default(), next: 0 }));
        }
        let (path, read) = (self.path.clone(), Arc::clone(&self.read));
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            if let Err(error) = deal(file, &path, &senders, &read) {
                let message = error.to_string();
                // A writer that is gone has its own error, which ends the run too.
                senders.iter().for_each(|sender| drop(sender.send(Err(message.clone()))));
            }
        })?;
        Ok(writers)
    }

    fn expected(&mut self) -> Result<Box<dyn Expected + '_>> {
        let text = std::fs::read(&self.path)
            .map_err(|error| format!("cannot read {}: {error}", self.path.display()))?;
        self.sorted = Sorted::new(text, &self.path)?;
        if self.sorted.checksum != self.read.load(Ordering::Acquire) {
            let path = self.path.display();
            return Err(format!("{path} changed during the run: nothing can be proved").into());
        }
        Ok(Box::new(SortedLines { sorted: &self.sorted, next: 0 }))
    }
}

/// Some lines on their way to a writer.
#[derive(Debug, Default)]
struct Parcel {
    bytes: Vec<u8>,
    /// For each line, where its key and its value end in `bytes`.
    ends: Vec<(usize, usize)>,
}

impl Parcel {
    fn push(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        let key_end = self.bytes.len();
        self.bytes.extend_from_slice(value);
        self.ends.push((key_end, self.bytes.len()));
    }
}

type Message = std::result::Result<Parcel, String>;

/// Reads all lines and sends them to the writers; ends early if a writer is gone.
fn deal(file: File, path: &Path, writers: &[SyncSender<Message>], read: &AtomicU64) -> Result<()> {
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let mut parcels: Vec<Parcel> = writers.iter().map(|_| Parcel::default()).collect();
    let (mut line, mut number, mut sum) = (Vec::new(), 0_u64, 0);
    loop {
        line.clear();
        let length = lines
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if length == 0 {
            break;
        }
        number += 1;
        line.pop_if(|last| *last == b'\n');
        sum = checksum(sum, &line);
        let (key, value) = split(&line).ok_or_else(|| no_tab(path, number))?;
        let writer = (checksum(0, key) % writers.len() as u64) as usize;
        parcels[writer].push(key, value);
        if parcels[writer].bytes.len() >= PARCEL_BYTES {
            let parcel = std::mem::take(&mut parcels[writer]);
            if writers[writer].send(Ok(parcel)).is_err() {
                return Ok(());
            }
        }
    }
    // Release: whoever has seen the last parcel sees the checksum, also without joining us.
    read.store(sum, Ordering::Release);
    for (writer, parcel) in writers.iter().zip(parcels) {
        if writer.send(Ok(parcel)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn no_tab(path: &Path, line: u64) -> String {
    format!("{}:{line}: no tab; each line must be key<TAB>value", path.display())
}

struct Writer {
    parcels: Receiver<Message>,
    parcel: Parcel,
    next: usize,
}

impl Operations for Writer {
    fn next(&mut self, key: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Option<Action>> {
        while self.next == self.parcel.ends.len() {
            match self.parcels.recv() {
                Ok(parcel) => (self.parcel, self.next) = (parcel?, 0),
                // The reader has sent everything and ended.
                Err(_) => return Ok(None),
            }
        }
        let start = self.next.checked_sub(1).map_or(0, |before| self.parcel.ends[before].1);
        let (key_end, value_end) = self.parcel.ends[self.next];
        key.clear();
        key.extend_from_slice(&self.parcel.bytes[start..key_end]);
        value.clear();
        value.extend_from_slice(&self.parcel.bytes[key_end..value_end]);
        self.next += 1;
        Ok(Some(Action::Put))
    }
}

/// The whole file and where its lines are, in key order, each key's last line only.
#[derive(Debug, Default)]
struct Sorted {
    text: Vec<u8>,
    lines: Vec<(usize, usize)>,
    checksum: u64,
}

impl Sorted {
    fn new(text: Vec<u8>, path: &Path) -> Result<Self> {
        let (mut lines, mut start, mut sum) = (Vec::new(), 0, 0);
        while start < text.len() {
            let end = text[start..].iter().position(|&byte| byte == b'\n');
            let end = end.map_or(text.len(), |length| start + length);
            sum = checksum(sum, &text[start..end]);
            if split(&text[start..end]).is_none() {
                return Err(no_tab(path, lines.len() as u64 + 1).into());
            }
            lines.push((start, end));
            start = end + 1;
        }
        let key = |line: &(usize, usize)| split(&text[line.0..line.1]).map(|(key, _)| key);
        // By key, the last line of each first, so that it is the one that stays.
        lines.sort_unstable_by(|a, b| key(a).cmp(&key(b)).then(b.0.cmp(&a.0)));
        lines.dedup_by(|later, kept| key(later) == key(kept));
        Ok(Self { text, lines, checksum: sum })
    }
}

struct SortedLines<'a> {
    sorted: &'a Sorted,
    next: usize,
}

impl Expected for SortedLines<'_> {
    fn next(&mut self, key_buffer: &mut Vec<u8>, value_buffer: &mut Vec<u8>) -> Result<bool> {
        let Some(&(start, end)) = self.sorted.lines.get(self.next) else { return Ok(false) };
        self.next += 1;
        // Lines without a tab were refused when they were sorted.
        let (key, value) = split(&self.sorted.text[start..end]).unwrap_or_default();
        key_buffer.clear();
        key_buffer.extend_from_slice(key);
        value_buffer.clear();
        value_buffer.extend_from_slice(value);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use crate::source::tests::check_source;

    fn with_file<T>(contents: &[u8], check: impl FnOnce(&Path) -> T) -> T {
        let scratch = Scratch::new(None).expect("scratch");
        std::fs::create_dir_all(scratch.path()).expect("create");
        let path = scratch.path().join("lines");
        std::fs::write(&path, contents).expect("write");
        check(&path)
    }

    #[test]
    fn the_last_line_of_a_key_counts() {
        let text = b"b\t1\na\t2\nb\t3\nc\td\te\n\tempty key\ne\t\na\t9";
        with_file(text, |path| {
            for threads in [0, 1, 3] {
                let mut source = Lines::new(path, threads).expect("open");
                assert_eq!(check_source(&mut source), 5);
                let mut expected = source.expected().expect("expected");
                let (mut key, mut value) = (Vec::new(), Vec::new());
                let mut all = Vec::new();
                while expected.next(&mut key, &mut value).expect("record") {
                    all.push(format!(
                        "{}={}",
                        String::from_utf8_lossy(&key),
                        String::from_utf8_lossy(&value)
                    ));
                }
                assert_eq!(all, ["=empty key", "a=9", "b=3", "c=d\te", "e="]);
            }
        });
    }

    #[test]
    fn many_lines_pass_through_several_parcels() {
        let text: String = (0..20_000).map(|n| format!("key{}\tvalue {n}\n", n % 7919)).collect();
        assert!(text.len() > 3 * PARCEL_BYTES);
        with_file(text.as_bytes(), |path| {
            assert_eq!(check_source(&mut Lines::new(path, 3).expect("open")), 7919);
        });
        with_file(b"", |path| assert_eq!(check_source(&mut Lines::new(path, 2).expect("open")), 0));
    }

    #[test]
    fn a_line_without_a_tab_is_named() {
        with_file(b"a\tb\nno tab\nc\td\n", |path| {
            let mut writer =
                Lines::new(path, 1).expect("open").writers().expect("writers").remove(0);
            let (mut key, mut value) = (Vec::new(), Vec::new());
            let error = loop {
                match writer.next(&mut key, &mut value) {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("the line was not seen"),
                    Err(error) => break error.to_string(),
                }
            };
            assert!(error.contains("lines:2: no tab"), "{error}");
        });
    }

    #[test]
    fn a_source_that_changes_is_not_the_databases_fault() {
        with_file(b"a\tb\n", |path| {
            let mut source = Lines::new(path, 1).expect("open");
            check_source(&mut source);
            std::fs::write(path, b"a\tc\n").expect("write");
            let error = source.expected().err().map(|error| error.to_string());
            assert!(error.is_some_and(|error| error.contains("changed during the run")));
        });
    }
}
