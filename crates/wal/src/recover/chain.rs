//! Which segment files make up the log.
//!
//! Each segment in use has a link, which names its predecessor and that one's exact end; its header was durable before.
//! So the newest segment with a good link is the log's last, and the log is what its chain of predecessors leads back
//! over. Files beside the chain are leftovers: of creations that a crash cut short, segments that were ready and never
//! used, and segments whose predecessor lost its end in a crash, which a later segment's link then cut off.
//!
//! A link becomes durable with the first synced record of its segment, so a power cut may take one and leave some of the
//! records behind it, or of later segments: the log then ends before it. If any chunk or link says that the lost one was
//! durable, that is damage instead.
//!
//! A file newer than the chain whose header is bad is a leftover too, unless a record's chunk stands in it: then its
//! header had been durable, and is damaged.

use std::collections::BTreeMap;
use std::path::Path;

use base::SegmentNumber;
use base::record::Survey;
use vfs::Fs;

use super::segment::{Head, SegmentReader, read_head};
use super::{Damage, RecoveryMode};
use crate::error::{Error, NeededBy};
use crate::format::{
    FORMAT_VERSION, HeaderFault, LINK_OFFSET, SegmentHeader, SegmentLink, parse_segment_file_name,
    segment_file_name,
};
use crate::options::{SegmentInfo, SegmentState};

/// The segments to read, oldest first, and all files that there are.
pub(crate) struct Chain {
    pub links: Vec<Link>,
    /// Records stand in segments behind the chain: their beginning was lost.
    pub is_cut: bool,
    /// Oldest first. Those of the chain are marked live when they are read.
    pub files: Vec<SegmentInfo>,
    pub first_damage: Option<Damage>,
    pub damaged_places: u64,
}

/// A segment of the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    pub number: SegmentNumber,
    /// Where its last record ends, as its successor says.
    pub end: Option<u64>,
    /// How many bytes of its predecessor its link vouches for.
    pub predecessor_vouched: u64,
    /// Its file had an earlier use: what was not written in it is not zero.
    pub is_recycled: bool,
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
        let mut heads = BTreeMap::new();
        for info in files.iter().filter(|info| info.number >= from) {
            heads.insert(info.number, read_head(fs, dir, info.number)?);
        }
        let mut search = Search { fs, dir, from, heads, damages: Vec::new() };
        search.refuse_other_versions()?;
        let (links, is_cut) = if mode == RecoveryMode::SkipDamaged {
            (search.whatever_is_there()?, false)
        } else {
            search.the_log()?
        };
        let damaged_places = search.damages.len() as u64;
        let first_damage = search.damages.into_iter().next();
        Ok(Self { links, is_cut, files, first_damage, damaged_places })
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
    heads: BTreeMap<SegmentNumber, Head>,
    /// What is wrong, where that is not an error.
    damages: Vec<Damage>,
}

/// What a walk along the chain came to.
enum Walk {
    /// The whole chain, oldest first.
    Whole(Vec<Link>),
    /// The link of this segment, which the chain leads over, was lost before it was durable.
    LostAt(SegmentNumber),
}

impl Search<'_> {
    fn refuse_other_versions(&self) -> Result<(), Error> {
        for (&number, head) in &self.heads {
            if let Err(HeaderFault::Version { found }) = head.header {
                let path = self.dir.join(segment_file_name(number));
                return Err(Error::UnsupportedVersion { path, found, supported: FORMAT_VERSION });
            }
        }
        Ok(())
    }

    /// The chain that ends in the newest segment from which it can be followed back to `from`, or to the log's first
    /// segment when that is 0; and whether records stand behind it.
    fn the_log(&self) -> Result<(Vec<Link>, bool), Error> {
        let mut is_cut = false;
        let mut below = None;
        loop {
            let Some(last) = self.last_in_use(below, &mut is_cut)? else {
                return match self.heads.get(&self.from) {
                    Some(Head { header: Err(fault), .. }) => {
                        Err(self.damaged_header(self.from, fault))
                    }
                    _ if self.from.get() == 0 => Ok((Vec::new(), is_cut)),
                    _ => Err(self.missing(self.from, NeededBy::Caller)),
                };
            };
            match self.walk(last)? {
                Walk::Whole(links) => return Ok((links, is_cut)),
                Walk::LostAt(number) => {
                    is_cut = true;
                    below = Some(number);
                }
            }
        }
    }

    /// The newest segment below `below` that was in use: it has a link, or it is where recovery is to begin. Those
    /// passed over must be leftovers; `is_cut` is set if records stand in one.
    fn last_in_use(
        &self,
        below: Option<SegmentNumber>,
        is_cut: &mut bool,
    ) -> Result<Option<SegmentNumber>, Error> {
        for (&number, head) in self.heads.iter().rev() {
            if below.is_some_and(|below| number >= below) {
                continue;
            }
            match head.header {
                Ok(_) if head.link.is_some() || number == self.from => return Ok(Some(number)),
                Ok(_) => {
                    let (survey, vouched) = self.survey(number)?;
                    if vouched > 0 {
                        return Err(self.damaged_link(number));
                    }
                    *is_cut |= survey.chunks > 0;
                }
                Err(fault) if self.survey(number)?.0.chunks > 0 => {
                    return Err(self.damaged_header(number, &fault));
                }
                Err(_) => {}
            }
        }
        Ok(None)
    }

    /// Follows the chain back from `last`.
    fn walk(&self, last: SegmentNumber) -> Result<Walk, Error> {
        let mut links: Vec<Link> = Vec::new();
        let (mut number, mut end, mut needed_by) = (last, None, NeededBy::Caller);
        loop {
            let Some(head) = self.heads.get(&number) else {
                return Err(self.missing(number, needed_by));
            };
            let header = head.header.map_err(|fault| self.damaged_header(number, &fault))?;
            links.push(link(&header, head.link, end));
            let Some(SegmentLink { predecessor, .. }) = head.link else {
                // Where recovery begins, the link is not needed, and an earlier recovery may have done without: only the
                // segment itself can say that it was durable.
                let is_first = number == self.from;
                let evidence = if is_first { &links[links.len() - 1..] } else { &links[..] };
                if self.any_vouches_from(evidence)? {
                    return Err(self.damaged_link(number));
                }
                if is_first {
                    break;
                }
                return Ok(Walk::LostAt(number));
            };
            if number == self.from {
                break;
            }
            let Some(predecessor) = predecessor else {
                if self.from.get() == 0 {
                    break;
                }
                return Err(self.missing(self.from, NeededBy::Segment(number)));
            };
            if predecessor.segment < self.from {
                // Segments are numbered with gaps: the chain itself says that none is between these two.
                break;
            }
            needed_by = NeededBy::Segment(number);
            (number, end) = (predecessor.segment, Some(predecessor.end_offset));
        }
        links.reverse();
        Ok(Walk::Whole(links))
    }

    /// Whether anything says that the link of the oldest of these segments, given newest first, is durable: a chunk in
    /// it or in a later one, or the link of a later one.
    fn any_vouches_from(&self, links: &[Link]) -> Result<bool, Error> {
        let Some((_, later)) = links.split_last() else { return Ok(false) };
        if later.iter().any(|link| link.predecessor_vouched > 0) {
            return Ok(true);
        }
        for link in links {
            if self.survey(link.number)?.1 > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What stands behind the head of a segment's file, and how many leading bytes of it a chunk there vouches for.
    fn survey(&self, number: SegmentNumber) -> Result<(Survey, u32), Error> {
        let mut reader = SegmentReader::open(self.fs, self.dir, number, None)?;
        // Its head may be what is damaged, and does not say then.
        reader.expect_old_content();
        let survey = reader.survey_all()?;
        Ok((survey, reader.vouched()))
    }

    /// Every segment that is or may be part of the log: the chain as far as it leads, and where it breaks, the next
    /// older file.
    fn whatever_is_there(&mut self) -> Result<Vec<Link>, Error> {
        let mut links = Vec::new();
        let mut end = None;
        let mut next = self.heads.last_key_value().map(|(&number, _)| number);
        while let Some(number) = next {
            let older = self.heads.range(..number).next_back().map(|(&number, _)| number);
            let head = self.heads[&number];
            match (head.header, head.link) {
                (Ok(header), Some(found)) => {
                    links.push(link(&header, Some(found), end));
                    let predecessor = found.predecessor.filter(|_| number != self.from);
                    let Some(predecessor) = predecessor else { break };
                    if self.heads.contains_key(&predecessor.segment) {
                        next = Some(predecessor.segment);
                        end = Some(predecessor.end_offset);
                    } else {
                        self.damage(predecessor.segment, "the file is missing".into());
                        (next, end) = (older, None);
                    }
                }
                (header, _) => {
                    if self.survey(number)?.0.chunks > 0 || !links.is_empty() {
                        let reason = match header {
                            Ok(_) => "the link to the predecessor is missing".to_owned(),
                            Err(fault) => fault.to_string(),
                        };
                        self.damage(number, reason);
                        // Whether it is recycled is not known: nothing is taken for zeros then.
                        let is_recycled = header.map_or(true, |h| h.recycled_from.is_some());
                        links.push(Link { number, end, predecessor_vouched: 0, is_recycled });
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

    fn damaged_link(&self, number: SegmentNumber) -> Error {
        Error::Corrupt {
            path: self.dir.join(segment_file_name(number)),
            offset: LINK_OFFSET,
            expected: format!(
                "the link of segment {number}, since a later mark says that it was on stable storage"
            ),
            found: "other bytes".to_owned(),
        }
    }
}

fn link(header: &SegmentHeader, link: Option<SegmentLink>, end: Option<u64>) -> Link {
    Link {
        number: header.number,
        end,
        predecessor_vouched: link.map_or(0, |link| link.predecessor_vouched),
        is_recycled: header.recycled_from.is_some(),
    }
}
