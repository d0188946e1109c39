//! Which segment files make up the log.
//!
//! Each header names its predecessor and that one's exact end, and is durable before the segment holds a record. So the
//! newest segment with a good header is the log's last, and the log is what its chain of predecessors leads back over.
//! Files beside the chain are leftovers: of creations that a crash cut short, and of segments whose predecessor lost
//! its end in a crash, which a later segment's header then cut off.
//!
//! A file newer than the chain whose header is bad is such a leftover too, unless a record's chunk stands in it: then
//! its header had been durable, and is damaged.

use std::collections::BTreeMap;
use std::path::Path;

use base::SegmentNumber;
use vfs::Fs;

use super::segment::{SegmentReader, read_header};
use super::{Damage, RecoveryMode};
use crate::error::{Error, NeededBy};
use crate::format::{
    FORMAT_VERSION, HeaderFault, SegmentHeader, parse_segment_file_name, segment_file_name,
};
use crate::options::{SegmentInfo, SegmentState};

type Header = Result<SegmentHeader, HeaderFault>;

/// The segments to read, oldest first, and all files that there are.
pub(crate) struct Chain {
    pub links: Vec<Link>,
    /// Oldest first. Those of the chain are marked live when they are read.
    pub files: Vec<SegmentInfo>,
    pub first_damage: Option<Damage>,
    pub damaged_places: u64,
}

/// A segment of the log.
pub(crate) struct Link {
    pub number: SegmentNumber,
    /// Where its last record ends, as its successor says.
    pub end: Option<u64>,
    /// How many bytes of its predecessor its header vouches for.
    pub predecessor_vouched: u64,
}

impl Chain {
    /// Finds the segments of the log in `dir` from `from` on.
    pub fn find(
        fs: &dyn Fs,
        dir: &Path,
        from: SegmentNumber,
        mode: RecoveryMode,
    ) -> Result<Self, Error> {
        let files = list(fs, dir, from)?;
        let mut headers = BTreeMap::new();
        for info in files.iter().filter(|info| info.number >= from) {
            headers.insert(info.number, read_header(fs, dir, info.number)?);
        }
        let mut search = Search { fs, dir, from, headers, damages: Vec::new() };
        search.refuse_other_versions()?;
        let links = if mode == RecoveryMode::SkipDamaged {
            search.whatever_is_there()?
        } else {
            search.the_log()?
        };
        let damaged_places = search.damages.len() as u64;
        let first_damage = search.damages.into_iter().next();
        Ok(Self { links, files, first_damage, damaged_places })
    }
}

/// All segment files in `dir`, oldest first.
fn list(fs: &dyn Fs, dir: &Path, from: SegmentNumber) -> Result<Vec<SegmentInfo>, Error> {
    let entries = fs.list(dir)?.into_iter().filter(|entry| !entry.is_dir);
    let mut files: Vec<_> = entries
        .filter_map(|entry| {
            let number = parse_segment_file_name(&entry.name)?;
            let is_old = number < from;
            let state = if is_old { SegmentState::Obsolete } else { SegmentState::Discarded };
            Some(SegmentInfo { number, state, bytes: 0, file_bytes: entry.len })
        })
        .collect();
    files.sort_by_key(|info| info.number);
    Ok(files)
}

struct Search<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    from: SegmentNumber,
    headers: BTreeMap<SegmentNumber, Header>,
    /// What is wrong, where that is not an error.
    damages: Vec<Damage>,
}

impl Search<'_> {
    fn refuse_other_versions(&self) -> Result<(), Error> {
        for (&number, header) in &self.headers {
            if let Err(HeaderFault::Version { found }) = *header {
                let path = self.dir.join(segment_file_name(number));
                return Err(Error::UnsupportedVersion { path, found, supported: FORMAT_VERSION });
            }
        }
        Ok(())
    }

    /// The chain from the newest good header back to `from`, or to the log's first segment when that is 0.
    fn the_log(&self) -> Result<Vec<Link>, Error> {
        self.refuse_damaged_end()?;
        let newest = self.headers.iter().rev().find_map(|(_, header)| header.ok());
        let Some(mut header) = newest else {
            return match self.headers.get(&self.from) {
                Some(Err(fault)) => Err(self.damaged_header(self.from, fault)),
                _ if self.from.get() == 0 => Ok(Vec::new()),
                _ => Err(self.missing(self.from, NeededBy::Caller)),
            };
        };
        let mut links = Vec::new();
        let mut end = None;
        loop {
            let number = header.number;
            links.push(Link { number, end, predecessor_vouched: header.predecessor_vouched });
            if number == self.from {
                break;
            }
            let Some(predecessor) = header.predecessor else {
                if self.from.get() == 0 {
                    break;
                }
                return Err(self.missing(self.from, NeededBy::Segment(number)));
            };
            if predecessor.segment < self.from {
                // Segments are numbered with gaps: the chain itself says that none is between these two.
                break;
            }
            end = Some(predecessor.end_offset);
            header = match self.headers.get(&predecessor.segment) {
                Some(Ok(header)) => *header,
                Some(Err(fault)) => return Err(self.damaged_header(predecessor.segment, fault)),
                None => {
                    return Err(self.missing(predecessor.segment, NeededBy::Segment(number)));
                }
            };
        }
        links.reverse();
        Ok(links)
    }

    /// An error if a segment behind the newest good header holds records, or `from`, which must be good, is not.
    fn refuse_damaged_end(&self) -> Result<(), Error> {
        for (&number, header) in self.headers.iter().rev() {
            let Err(fault) = header else { return Ok(()) };
            if self.holds_records(number)? {
                return Err(self.damaged_header(number, fault));
            }
        }
        Ok(())
    }

    fn holds_records(&self, number: SegmentNumber) -> Result<bool, Error> {
        let mut reader = SegmentReader::open(self.fs, self.dir, number, None)?;
        Ok(reader.survey_all()?.chunks > 0)
    }

    /// Every segment that is or may be part of the log: the chain as far as it leads, and where it breaks, the next
    /// older file.
    fn whatever_is_there(&mut self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        let mut end = None;
        let mut next = self.headers.last_key_value().map(|(&number, _)| number);
        while let Some(number) = next {
            let older = self.headers.range(..number).next_back().map(|(&number, _)| number);
            match self.headers[&number] {
                Ok(header) => {
                    let predecessor_vouched = header.predecessor_vouched;
                    links.push(Link { number, end, predecessor_vouched });
                    let Some(predecessor) = header.predecessor.filter(|_| number != self.from)
                    else {
                        break;
                    };
                    if self.headers.contains_key(&predecessor.segment) {
                        next = Some(predecessor.segment);
                        end = Some(predecessor.end_offset);
                    } else {
                        self.damage(predecessor.segment, "the file is missing".into());
                        (next, end) = (older, None);
                    }
                }
                Err(fault) => {
                    if self.holds_records(number)? || !links.is_empty() {
                        self.damage(number, fault.to_string());
                        links.push(Link { number, end, predecessor_vouched: 0 });
                    }
                    (next, end) = (older, None);
                }
            }
        }
        links.reverse();
        Ok(links)
    }

    fn damage(&mut self, number: SegmentNumber, reason: String) {
        let path = self.dir.join(segment_file_name(number));
        self.damages.push(Damage { path, offset: 0, reason });
    }

    fn missing(&self, number: SegmentNumber, needed_by: NeededBy) -> Error {
        Error::MissingSegment { dir: self.dir.to_owned(), number, needed_by }
    }

    fn damaged_header(&self, number: SegmentNumber, fault: &HeaderFault) -> Error {
        Error::Corrupt {
            path: self.dir.join(segment_file_name(number)),
            offset: 0,
            expected: format!("the header of segment {number}"),
            found: fault.to_string(),
        }
    }
}
