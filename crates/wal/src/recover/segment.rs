//! Reads one segment file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::SegmentNumber;
use base::record::{HEADER_BYTES, Reason, Record, RecordReader, Survey};
use vfs::{Access, File, Fs};

use crate::error::Error;
use crate::format::{
    HEAD_LEN, HeaderFault, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentLink, salt,
    segment_file_name,
};

type ReadAt = Box<dyn FnMut(u64, &mut [u8]) -> vfs::Result<usize>>;

/// The records of one segment, up to its known end or the file's.
pub(crate) struct SegmentReader {
    path: PathBuf,
    file: Arc<dyn File>,
    records: RecordReader<ReadAt>,
    end: Option<u64>,
}

/// Where and why the records of a segment end.
pub(crate) struct Ending {
    /// The offset of what is not a record's chunk.
    pub offset: u64,
    /// The end of the last whole record.
    pub good_until: u64,
    pub reason: Reason,
    /// They end exactly where the segment does: at the end that its successor states, or else at the file's.
    pub is_whole: bool,
}

impl SegmentReader {
    /// A reader of segment `number` up to the offset `end`, if that is known.
    pub fn open(
        fs: &dyn Fs,
        dir: &Path,
        number: SegmentNumber,
        end: Option<u64>,
    ) -> Result<Self, Error> {
        let path = dir.join(segment_file_name(number));
        let file: Arc<dyn File> = fs.open(&path, Access::Read)?;
        let limit = end.unwrap_or(u64::MAX);
        let source = Arc::clone(&file);
        let read_at: ReadAt = Box::new(move |offset, buf| {
            let wanted = limit.saturating_sub(offset).min(buf.len() as u64) as usize;
            source.read_at(&mut buf[..wanted], offset)
        });
        let records = RecordReader::new(salt(number), SEGMENT_HEADER_BYTES, read_at);
        Ok(Self { path, file, records, end })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is known where the segment ends.
    pub fn has_known_end(&self) -> bool {
        self.end.is_some()
    }

    /// The next record, or where they end.
    pub fn next(&mut self) -> Result<Result<Record<'_>, Ending>, Error> {
        let end = self.end;
        Ok(self.records.next_record()?.map_err(|stop| {
            let is_whole =
                stop.reason == Reason::End && end.is_none_or(|end| stop.good_until == end);
            // A segment that is shorter than its successor says breaks off like one that ends inside a record.
            let reason = match stop.reason {
                Reason::End if !is_whole => Reason::Truncated,
                reason => reason,
            };
            Ending { offset: stop.offset, good_until: stop.good_until, reason, is_whole }
        }))
    }

    /// The file was used before, or may have been.
    pub fn expect_old_content(&mut self) {
        self.records.expect_old_content();
    }

    /// Goes on with the first record behind damage at `offset`; answers whether there is one.
    pub fn resync(&mut self, offset: u64) -> Result<bool, Error> {
        Ok(self.records.resync(offset)?)
    }

    /// What stands from `offset` on. No record can be read after it.
    pub fn survey(&mut self, offset: u64) -> Result<Survey, Error> {
        Ok(self.records.survey(offset)?)
    }

    /// What stands behind the header.
    pub fn survey_all(&mut self) -> Result<Survey, Error> {
        self.survey(SEGMENT_HEADER_BYTES)
    }

    /// The most leading bytes of the file that any chunk seen so far vouches for.
    pub fn vouched(&self) -> u32 {
        self.records.vouched()
    }

    /// Whether the last chunk before `good_until`, all of which was read, is the mark that closing leaves: an aborted
    /// place of no bytes that vouches for all before it.
    pub fn ends_with_mark(&self, good_until: u64) -> Result<bool, Error> {
        /// Kind and length of such a chunk.
        const ABORT: u8 = 5;
        let Some(at) = good_until.checked_sub(HEADER_BYTES as u64) else { return Ok(false) };
        let mut header = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut header, at)?;
        // It may stand behind padding that is shorter than itself.
        let vouched = u64::from(self.vouched());
        let is_all = vouched <= at && at - vouched < HEADER_BYTES as u64;
        Ok(header[4..8] == [0, 0, ABORT, 0] && is_all)
    }
}

/// What stands at the beginning of a segment's file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub header: Result<SegmentHeader, HeaderFault>,
    /// Where the log goes on from, once the segment was in use.
    pub link: Option<SegmentLink>,
}

/// Reads the head of segment `number`.
pub(crate) fn read_head(fs: &dyn Fs, dir: &Path, number: SegmentNumber) -> Result<Head, Error> {
    let path = dir.join(segment_file_name(number));
    let mut bytes = [0; HEAD_LEN];
    let found = fs.open(&path, Access::Read)?.read_at(&mut bytes, 0)?;
    let header = SegmentHeader::decode(&bytes[..found], number);
    Ok(Head { header, link: SegmentLink::decode(&bytes[..found], number) })
}
