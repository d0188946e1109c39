//! Reading a log back after a crash, or a close: which segments belong to it, what they hold, where it ends.
//!
//! Recovery changes nothing on disk. It syncs what it read, written over itself where nothing vouches for it, so that
//! what the caller builds on it cannot be lost while the building stays; the place where it ended becomes the log's end
//! when the next [`Wal`](crate::Wal) writes it into its first segment's header. So a crash during recovery, or after it,
//! changes nothing: the next recovery reads the same.
//!
//! Memory is bounded by one block, the longest record, and the headers of the segments.

mod chain;
mod segment;

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::{LogPlace, SegmentNumber};
use vfs::{Access, File, Fs, Operation};

use crate::error::{Error, RecoverError};
use crate::format::segment_file_name;
use crate::options::{LogStart, Predecessor, SegmentInfo, SegmentState};
use chain::{Chain, Link};
use segment::{Ending, SegmentReader};

/// What recovery does about a place in the log that cannot be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// Ends at the first record that is not whole, as a crash may leave it: what was not synced may be lost, always
    /// from one point on. Damage below a place that is vouched for as durable is an error.
    #[default]
    PointInTime,
    /// As point in time, but a record that is not whole is an error too: nothing is lost without being noticed. For
    /// logs that were closed, or whose every write was synced one at a time.
    AbsoluteConsistency,
    /// Leaves out what cannot be read, wherever it is, and goes on behind it; also reads on where segments are missing.
    /// For saving what can be saved: records from the middle may be lost, and records that were cut off may come back.
    /// The log cannot be continued: [`Recovered::start`] begins a new one, and the caller makes durable elsewhere what
    /// it took in before it lets a later recovery begin there.
    SkipDamaged,
}

/// How the log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Behind the last record nothing was ever written.
    Clean,
    /// Behind the last whole record stands something that is not a record: writes that a crash cut short.
    Torn {
        /// The segment's file.
        path: PathBuf,
        /// The end of the last whole record: an offset in the file, in bytes.
        offset: u64,
        /// What stands there.
        reason: String,
    },
    /// The last segment's file had an earlier use, and the log was not closed: behind the last whole record stands the
    /// earlier use, or the beginning of a record that a crash cut short. No whole record stands there. To have the two
    /// told apart, set [`WalOptions::spare_segments_max`](crate::WalOptions::spare_segments_max) to 0.
    Unsealed {
        /// The segment's file.
        path: PathBuf,
        /// The end of the last whole record: an offset in the file, in bytes.
        offset: u64,
    },
}

/// A place that was left out in the mode [`RecoveryMode::SkipDamaged`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// Where the damage begins: an offset in the file, in bytes.
    pub offset: u64,
    /// What is wrong there.
    pub reason: String,
}

/// What was recovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// How the log ended.
    pub tail: Tail,
    /// Where the next [`Wal`](crate::Wal) starts, with all segment files that are there.
    pub start: LogStart,
    /// Records that were visited.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
    /// The first place that was left out; only when damaged records are skipped.
    pub first_damage: Option<Damage>,
    /// How many places were left out.
    pub damaged_places: u64,
}

/// What is known elsewhere, durably, about the log that is to be recovered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecoverFrom {
    /// The segment to begin at: see [`recover`].
    pub segment: SegmentNumber,
    /// What [`Wal::durable_place`](crate::Wal::durable_place) said some time: if the log ends before it, that is damage.
    /// The default place says nothing, and neither does one before `segment`.
    pub durable: LogPlace,
}

impl From<SegmentNumber> for RecoverFrom {
    fn from(segment: SegmentNumber) -> Self {
        Self { segment, durable: LogPlace::default() }
    }
}

/// What takes in a record: its segment, the offset of its first chunk in that segment's file, its payload.
pub type Visit<'a, E> = dyn FnMut(SegmentNumber, u64, &[u8]) -> Result<(), E> + 'a;

/// Reads the log in `dir` from the segment `from` on and hands each record to `visit`. Records come in the order in which
/// they were reserved.
///
/// `from` 0 stands for "nothing is recorded about the log": then an empty directory, or one in which the making of the
/// first segment was cut short, is a log in which nothing was ever written. Any other `from` is the number of a segment
/// that was in use, by [`Wal::current_segment`](crate::Wal::current_segment) or
/// [`Reservation::segment`](crate::Reservation::segment), so it must exist, and all from it on.
///
/// # Errors
/// [`RecoverError::Log`] with [`Error::Corrupt`], [`Error::MissingSegment`], [`Error::UnsupportedVersion`],
/// [`Error::TornTail`] or [`Error::Fs`]: each says what to do. `visit` may have been called before.
/// [`RecoverError::Visitor`]: `visit` ended it.
pub fn recover<E>(
    fs: &Arc<dyn Fs>,
    dir: &Path,
    from: impl Into<RecoverFrom>,
    mode: RecoveryMode,
    visit: &mut Visit<'_, E>,
) -> Result<Recovered, RecoverError<E>> {
    let fs = &**fs;
    let RecoverFrom { segment: from, durable } = from.into();
    let chain = Chain::find(fs, dir, from, mode)?;
    let mut reading = Reading {
        fs,
        dir,
        mode,
        tail: Tail::Clean,
        end: None,
        is_cut: chain.is_cut,
        infos: chain.files,
        records: 0,
        bytes: 0,
        first_damage: chain.first_damage,
        damaged_places: chain.damaged_places,
        read: Vec::new(),
    };
    for (at, link) in chain.links.iter().enumerate() {
        if !reading.segment(link, &chain.links[at + 1..], visit)? {
            break;
        }
    }
    if mode != RecoveryMode::SkipDamaged {
        reading.check_reaches(from, durable)?;
        reading.sync()?;
    }
    Ok(reading.finish(from)?)
}

/// A recovery under way.
struct Reading<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    mode: RecoveryMode,
    tail: Tail,
    /// The end of what was read, in the last segment that was.
    end: Option<Predecessor>,
    /// Records stand in segments behind the chain.
    is_cut: bool,
    /// All segment files, oldest first; those that were read become live.
    infos: Vec<SegmentInfo>,
    records: u64,
    bytes: u64,
    first_damage: Option<Damage>,
    damaged_places: u64,
    /// What was read, oldest first, and what each segment's own chunks vouch for in it.
    read: Vec<(Link, u64)>,
}

impl Reading<'_> {
    /// Reads one segment of the chain, which `later` ones follow; answers whether reading goes on into the next.
    fn segment<E>(
        &mut self,
        link: &Link,
        later: &[Link],
        visit: &mut Visit<'_, E>,
    ) -> Result<bool, RecoverError<E>> {
        let number = link.number;
        let mut reader = SegmentReader::open(self.fs, self.dir, number, link.end)?;
        if link.is_recycled {
            reader.expect_old_content();
        }
        let ending = loop {
            match reader.next()? {
                Ok(record) => {
                    visit(number, record.offset, record.payload).map_err(RecoverError::Visitor)?;
                    self.records += 1;
                    self.bytes += record.payload.len() as u64;
                }
                Err(ending) if self.mode == RecoveryMode::SkipDamaged => {
                    if !self.skip(&mut reader, &ending, link)? {
                        break ending;
                    }
                }
                Err(ending) => break ending,
            }
        };
        self.live(number, ending.good_until);
        self.read.push((*link, u64::from(reader.vouched())));
        if self.mode == RecoveryMode::SkipDamaged || (ending.is_whole && link.end.is_some()) {
            return Ok(true);
        }
        self.end_of_log(reader, &ending, link, later)?;
        Ok(false)
    }

    /// Notes a damaged place, and looks for the next record behind it; answers whether there is one.
    fn skip(
        &mut self,
        reader: &mut SegmentReader,
        ending: &Ending,
        link: &Link,
    ) -> Result<bool, Error> {
        if ending.is_whole {
            return Ok(false);
        }
        let path = reader.path().to_owned();
        let (offset, reason) = (ending.offset, ending.reason.to_string());
        let goes_on = reader.resync(ending.offset)?;
        // Zeros behind the last record of the last segment are unused room, not damage; so is what stands there from an
        // earlier use of the file.
        if goes_on
            || reader.has_known_end()
            || (!link.is_recycled && reader.survey(ending.good_until)?.written)
        {
            self.damaged_places += 1;
            self.first_damage.get_or_insert(Damage { path, offset, reason });
        }
        Ok(goes_on)
    }

    /// Decides what the place is where the records end before the segment does: the end of the log, or damage.
    fn end_of_log(
        &mut self,
        mut reader: SegmentReader,
        ending: &Ending,
        link: &Link,
        later: &[Link],
    ) -> Result<(), Error> {
        let survey = reader.survey(ending.good_until)?;
        let mut vouched = u64::from(reader.vouched());
        if let Some(next) = later.first() {
            vouched = vouched.max(next.predecessor_vouched);
        }
        // A later segment vouches for nothing of its own unless everything before it is durable.
        if !later.is_empty() && vouched <= ending.good_until && self.any_vouches(later)? {
            vouched = u64::MAX;
        }
        let path = reader.path().to_owned();
        let reason = ending.reason.to_string();
        if vouched > ending.good_until {
            let expected = "a whole record, since a later mark says that it was on stable storage";
            let offset = ending.offset;
            return Err(Error::Corrupt { path, offset, expected: expected.into(), found: reason });
        }
        let offset = ending.good_until;
        let is_last = later.is_empty() && !self.is_cut;
        if is_last && (ending.is_whole || (!link.is_recycled && !survey.written)) {
            return Ok(());
        }
        // Of a recycled file's unused room only this can be said: no chunk of this segment is in it.
        let is_unsealed = is_last && link.is_recycled && survey.chunks == 0;
        if is_unsealed && reader.ends_with_mark(offset)? {
            return Ok(());
        }
        if self.mode == RecoveryMode::AbsoluteConsistency {
            return Err(Error::TornTail { path, offset, reason });
        }
        self.tail = if is_unsealed {
            Tail::Unsealed { path, offset }
        } else {
            Tail::Torn { path, offset, reason }
        };
        Ok(())
    }

    /// Whether a mark in one of these segments, or the link of one behind the first, says that what is before them
    /// is durable.
    fn any_vouches(&self, later: &[Link]) -> Result<bool, Error> {
        if later.iter().skip(1).any(|link| link.predecessor_vouched > 0) {
            return Ok(true);
        }
        for link in later {
            let mut reader = SegmentReader::open(self.fs, self.dir, link.number, link.end)?;
            if link.is_recycled {
                reader.expect_old_content();
            }
            reader.survey_all()?;
            if reader.vouched() > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Refuses a log that ends before what was durable of it.
    fn check_reaches(&self, from: SegmentNumber, durable: LogPlace) -> Result<(), Error> {
        let end = self.end.map_or(LogPlace { segment: from, offset: 0 }, |end| LogPlace {
            segment: end.segment,
            offset: end.end_offset,
        });
        if durable.segment < from || durable <= end {
            return Ok(());
        }
        Err(Error::Corrupt {
            path: self.dir.join(segment_file_name(end.segment)),
            offset: end.offset,
            expected: format!("more records: the log was on stable storage up to {durable}"),
            found: match &self.tail {
                Tail::Torn { reason, .. } => reason.clone(),
                Tail::Clean | Tail::Unsealed { .. } => "the end of the log".to_owned(),
            },
        })
    }

    fn live(&mut self, number: SegmentNumber, bytes: u64) {
        self.end = Some(Predecessor { segment: number, end_offset: bytes });
        if let Some(info) = self.infos.iter_mut().find(|info| info.number == number) {
            info.state = SegmentState::Live;
            info.bytes = bytes;
        }
    }

    /// Makes what was read durable: it may so far be in the system's memory only.
    ///
    /// After a write-back that failed it may even be there for good: the pages read as written, but the system calls them
    /// clean, and a sync does not write them. So what nothing vouches for is written again as it is.
    fn sync(&self) -> Result<(), Error> {
        if self.read.is_empty() {
            return Ok(());
        }
        // How many bytes of the segment are vouched for by those behind it.
        let mut vouched_behind = 0;
        for (link, own) in self.read.iter().rev() {
            let vouched = vouched_behind.max(*own);
            let end = self.infos.iter().find(|info| info.number == link.number);
            let end = end.map_or(0, |info| info.bytes);
            let file =
                self.fs.open(&self.dir.join(segment_file_name(link.number)), Access::ReadWrite)?;
            write_again(&*file, vouched.min(end)..end)?;
            file.sync_data()?;
            // What vouches for anything in a segment vouches for all before it.
            vouched_behind = if vouched > 0 { u64::MAX } else { link.predecessor_vouched };
        }
        self.fs.sync_dir(self.dir)?;
        Ok(())
    }

    fn finish(self, from: SegmentNumber) -> Result<Recovered, Error> {
        let last = self.infos.last().map_or(from, |info| info.number.max(from));
        let segment = last
            .next()
            .ok_or_else(|| Error::NumbersExhausted { dir: self.dir.to_owned(), last })?;
        let predecessor = self.end.filter(|_| self.mode != RecoveryMode::SkipDamaged);
        Ok(Recovered {
            tail: self.tail,
            start: LogStart { segment, predecessor, existing: self.infos },
            records: self.records,
            bytes: self.bytes,
            first_damage: self.first_damage,
            damaged_places: self.damaged_places,
        })
    }
}

/// Makes these segments durable as they are read now: for who builds on what a recovery has read before that recovery
/// has ended. Each is written over itself first, since after a write-back that failed a page may read as written and yet
/// never be written by a sync.
///
/// # Errors
/// [`Error::Fs`]: it is unknown what is durable; do not build on it.
pub fn secure(
    fs: &dyn Fs,
    dir: &Path,
    segments: impl IntoIterator<Item = SegmentNumber>,
) -> Result<(), Error> {
    for number in segments {
        let file = fs.open(&dir.join(segment_file_name(number)), Access::ReadWrite)?;
        write_again(&*file, 0..file.len()?)?;
        file.sync_data()?;
    }
    Ok(())
}

/// Writes the bytes of a range of a file over themselves. They are read until two reads in a row agree: what was read
/// wrongly once must not get on the disk by this.
fn write_again(file: &dyn File, range: Range<u64>) -> vfs::Result<()> {
    const PIECE_BYTES: u64 = 256 << 10;
    const READS_MAX: usize = 16;
    let mut buffer = vec![0; (range.end - range.start).min(PIECE_BYTES) as usize];
    let mut before = buffer.clone();
    let mut at = range.start;
    while at < range.end {
        let len = (range.end - at).min(PIECE_BYTES) as usize;
        file.read_exact_at(&mut before[..len], at)?;
        for _ in 1..READS_MAX {
            file.read_exact_at(&mut buffer[..len], at)?;
            if before[..len] == buffer[..len] {
                break;
            }
            std::mem::swap(&mut before, &mut buffer);
        }
        if before[..len] != buffer[..len] {
            let cause =
                std::io::Error::other("each read of the same bytes gives others: see to the disk");
            return Err(vfs::Error::new(Operation::Read, file.path(), cause));
        }
        file.write_all_at(&buffer[..len], at)?;
        at += len as u64;
    }
    Ok(())
}
