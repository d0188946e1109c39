//! Reads framed records back, block by block, and says exactly where and why it stopped.

use super::{BLOCK_BYTES, ChunkKind, HEADER_BYTES, checksum};

/// A record that was read whole and whose checksums hold.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The file offset at which its first chunk's header stands.
    pub offset: u64,
    /// The file offset behind its last byte.
    pub end: u64,
    /// What was written.
    pub payload: &'a [u8],
}

/// Where reading stopped, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The file offset of the chunk that could not be taken.
    pub offset: u64,
    /// The file offset up to which whole records (or aborted places) were read.
    pub good_until: u64,
    /// Why.
    pub reason: Reason,
}

/// What stands in a part of a file; see [`RecordReader::survey`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Survey {
    /// Whether there is anything but zeros.
    pub written: bool,
    /// How many chunks hold.
    pub chunks: u64,
}

/// Why a chunk could not be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The file (or the part of it that was to be read) ends here, between two records.
    End,
    /// Here stand zeros: nothing was ever written.
    Unwritten,
    /// The file ends inside a chunk, or after a record's first chunk.
    Truncated,
    /// The checksum does not fit.
    Checksum {
        /// The checksum that the bytes have.
        expected: u32,
        /// The checksum that is written beside them.
        found: u32,
    },
    /// The header's kind is unknown, or its reserved byte is not zero.
    Header {
        /// The byte that was found.
        found: u8,
    },
    /// The chunk would cross its block's end.
    Length {
        /// The length that is written.
        found: u16,
    },
    /// A middle or last chunk without a first one, or a first one inside a record.
    Order,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::End => f.write_str("the file ends here"),
            Self::Unwritten => f.write_str("expected a chunk header, found zeros"),
            Self::Truncated => f.write_str("the file ends inside a record"),
            Self::Checksum { expected, found } => {
                write!(
                    f,
                    "the checksum of the bytes is {expected:#010x}, beside them stands {found:#010x}"
                )
            }
            Self::Header { found } => {
                write!(f, "a chunk header holds the unknown byte {found:#04x}")
            }
            Self::Length { found } => {
                write!(f, "a chunk of {found} bytes would cross its block's end")
            }
            Self::Order => f.write_str("a record's chunks are not in order"),
        }
    }
}

/// Reads the records of one file in order.
///
/// `read_at(offset, buf)` fills `buf` from the file at `offset` and answers how many bytes there were: fewer than asked
/// for only at the file's end. Memory is bounded by one block and the largest record.
///
/// ```
/// use base::record::{encode, framed_len, Reason, RecordReader};
///
/// let mut file = vec![0; framed_len(0, 5) as usize];
/// encode(&mut file, 0, 7, 0, &[b"he", b"llo"]);
/// let mut reader = RecordReader::new(7, 0, |at, buf: &mut [u8]| {
///     let rest = &file[(at as usize).min(file.len())..];
///     let n = rest.len().min(buf.len());
///     buf[..n].copy_from_slice(&rest[..n]);
///     Ok::<usize, std::convert::Infallible>(n)
/// });
/// assert_eq!(reader.next_record().unwrap().unwrap().payload, b"hello");
/// assert_eq!(reader.next_record().unwrap().unwrap_err().reason, Reason::End);
/// ```
pub struct RecordReader<R> {
    read_at: R,
    salt: u32,
    block: Box<[u8]>,
    /// The file offset of the block held, and how many of its bytes exist.
    block_start: u64,
    block_len: usize,
    /// Where the next chunk is expected.
    at: u64,
    good_until: u64,
    /// Whether what is not of this log may be anything.
    has_old_content: bool,
    /// Up to here a chunk is looked for at every byte, behind it where blocks begin.
    search_until: u64,
    vouched: u32,
    payload: Vec<u8>,
}

/// A chunk that holds: its kind and where its payload lies in the block.
struct Chunk {
    kind: ChunkKind,
    body: std::ops::Range<usize>,
}

impl<R, E> RecordReader<R>
where
    R: FnMut(u64, &mut [u8]) -> Result<usize, E>,
{
    /// A reader that starts at file offset `offset` in a file whose salt is `salt`.
    pub fn new(salt: u32, offset: u64, read_at: R) -> Self {
        Self {
            read_at,
            salt,
            block: vec![0; BLOCK_BYTES].into_boxed_slice(),
            block_start: u64::MAX,
            block_len: 0,
            at: offset,
            good_until: offset,
            has_old_content: false,
            search_until: 0,
            vouched: 0,
            payload: Vec::new(),
        }
    }

    /// From here on the file is taken for one that held something else before: behind damage, chunks are looked for at
    /// every byte of the damaged block and the next one, and further on only where a block begins and from each chunk to
    /// the one behind it. What was written in order is found that way as soon as the damage ends; to try every byte of
    /// megabytes of old content would take some of it for a chunk in the end, and take its time.
    pub fn expect_old_content(&mut self) {
        self.has_old_content = true;
    }

    /// The greatest number of leading bytes that any chunk read so far vouches for as durable.
    pub fn vouched(&self) -> u32 {
        self.vouched
    }

    /// Reads the next record, passing over aborted places. The inner error is where and why reading ends; asking again
    /// gives the same answer until [`RecordReader::resync`].
    ///
    /// # Errors
    /// The outer error is `read_at`'s.
    pub fn next_record(&mut self) -> Result<Result<Record<'_>, Stop>, E> {
        let before = self.at;
        match self.assemble()? {
            Ok(offset) => Ok(Ok(Record { offset, end: self.at, payload: &self.payload })),
            Err((offset, reason)) => {
                self.at = before.max(self.good_until);
                Ok(Err(Stop { offset, good_until: self.good_until, reason }))
            }
        }
    }

    /// Goes on behind damage at `offset`: at the next chunk after it that begins a record, wherever it stands.
    /// Answers `false` when the file ends before one is found.
    ///
    /// # Errors
    /// `read_at`'s.
    pub fn resync(&mut self, offset: u64) -> Result<bool, E> {
        self.search_from(offset.saturating_add(1));
        while let Some((start, kind)) = self.find_chunk()? {
            if matches!(kind, ChunkKind::Full | ChunkKind::First | ChunkKind::Abort) {
                self.at = start;
                self.good_until = start;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Looks through everything from `offset` to the file's end without taking a record from it, and counts what its
    /// chunks vouch for into [`RecordReader::vouched`]. Reading is over then.
    ///
    /// # Errors
    /// `read_at`'s.
    pub fn survey(&mut self, offset: u64) -> Result<Survey, E> {
        self.search_from(offset);
        let mut survey = Survey { written: false, chunks: 0 };
        while !survey.written {
            let available = self.load(self.at)?;
            if available == 0 {
                return Ok(survey);
            }
            let start = (self.at - self.block_start) as usize;
            survey.written = self.block[start..start + available].iter().any(|&b| b != 0);
            if !survey.written {
                self.at = self.at.saturating_add(available as u64);
            }
        }
        while self.find_chunk()?.is_some() {
            survey.chunks += 1;
        }
        Ok(survey)
    }

    /// Begins to look for chunks at `offset`.
    fn search_from(&mut self, offset: u64) {
        self.at = offset;
        self.search_until = if self.has_old_content {
            let block = BLOCK_BYTES as u64;
            (offset - offset % block).saturating_add(2 * block)
        } else {
            u64::MAX
        };
    }

    /// The next chunk that holds, at `self.at` or behind it: its offset and kind. Moves behind it, or to the end.
    fn find_chunk(&mut self) -> Result<Option<(u64, ChunkKind)>, E> {
        loop {
            let available = self.load(self.at)?;
            if available == 0 {
                return Ok(None);
            }
            if self.at >= self.search_until {
                self.skip_block_tail();
                let offset = self.at;
                match self.chunk()? {
                    Ok(chunk) => return Ok(Some((offset, chunk.kind))),
                    Err(_) => {
                        let block = BLOCK_BYTES as u64;
                        self.at = (offset - offset % block).saturating_add(block);
                    }
                }
                continue;
            }
            let start = (self.at - self.block_start) as usize;
            let held = &self.block[start..start + available];
            // Where a header could stand: by its kind and the zero behind it, and not across the block's end.
            let skip = held
                .windows(HEADER_BYTES)
                .position(|header| header[7] == 0 && ChunkKind::from_code(header[6]).is_some());
            let Some(skip) = skip else {
                self.at = self.at.saturating_add(available as u64);
                continue;
            };
            self.at += skip as u64;
            let offset = self.at;
            match self.chunk()? {
                Ok(chunk) => return Ok(Some((offset, chunk.kind))),
                Err(_) => self.at = offset.saturating_add(1),
            }
        }
    }

    /// Reads chunks until a record is whole; its offset, or where and why not.
    fn assemble(&mut self) -> Result<Result<u64, (u64, Reason)>, E> {
        self.payload.clear();
        let mut first: Option<u64> = None;
        loop {
            self.skip_block_tail();
            let offset = self.at;
            let chunk = match self.chunk()? {
                Ok(chunk) => chunk,
                Err(Reason::End) if first.is_some() => return Ok(Err((offset, Reason::Truncated))),
                Err(reason) => return Ok(Err((offset, reason))),
            };
            match (chunk.kind, first) {
                (ChunkKind::Abort, None) => {
                    self.good_until = self.at;
                    continue;
                }
                (ChunkKind::Full | ChunkKind::First, None) => first = Some(offset),
                (ChunkKind::Middle | ChunkKind::Last, Some(_)) => {}
                _ => return Ok(Err((offset, Reason::Order))),
            }
            self.payload.extend_from_slice(&self.block[chunk.body]);
            if matches!(chunk.kind, ChunkKind::Full | ChunkKind::Last) {
                self.good_until = self.at;
                return Ok(Ok(first.unwrap_or(offset)));
            }
        }
    }

    /// Steps over a block's tail that cannot hold a header.
    fn skip_block_tail(&mut self) {
        let in_block = (self.at % BLOCK_BYTES as u64) as usize;
        let left = BLOCK_BYTES - in_block;
        if left < HEADER_BYTES {
            self.at = self.at.saturating_add(left as u64);
        }
    }

    /// Takes the chunk at `self.at` and moves behind it.
    fn chunk(&mut self) -> Result<Result<Chunk, Reason>, E> {
        self.skip_block_tail();
        let available = self.load(self.at)?;
        let start = (self.at - self.block_start) as usize;
        if available == 0 {
            return Ok(Err(Reason::End));
        }
        if available < HEADER_BYTES {
            let zeros = self.block[start..start + available].iter().all(|&b| b == 0);
            return Ok(Err(if zeros { Reason::Unwritten } else { Reason::Truncated }));
        }
        let mut header = [0; HEADER_BYTES];
        header.copy_from_slice(&self.block[start..start + HEADER_BYTES]);
        if header.iter().all(|&b| b == 0) {
            return Ok(Err(Reason::Unwritten));
        }
        let len = u16::from_le_bytes([header[4], header[5]]);
        let Some(kind) = ChunkKind::from_code(header[6]) else {
            return Ok(Err(Reason::Header { found: header[6] }));
        };
        if header[7] != 0 {
            return Ok(Err(Reason::Header { found: header[7] }));
        }
        let body = start + HEADER_BYTES..start + HEADER_BYTES + usize::from(len);
        if body.end > BLOCK_BYTES {
            return Ok(Err(Reason::Length { found: len }));
        }
        if body.end > self.block_len && kind != ChunkKind::Abort {
            return Ok(Err(Reason::Truncated));
        }
        let found = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let payload = if kind == ChunkKind::Abort { &[][..] } else { &self.block[body.clone()] };
        let expected = checksum(self.salt, self.at, &header, std::iter::once(payload));
        if expected != found {
            return Ok(Err(Reason::Checksum { expected, found }));
        }
        let vouched = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
        self.vouched = self.vouched.max(vouched);
        self.at = self.at.saturating_add((body.end - start) as u64);
        Ok(Ok(Chunk { kind, body }))
    }

    /// Makes the block around `at` the one held; how many of its bytes exist from `at` on.
    fn load(&mut self, at: u64) -> Result<usize, E> {
        let block_start = at - at % BLOCK_BYTES as u64;
        if self.block_start != block_start {
            self.block_start = u64::MAX;
            let mut len = 0;
            while len < BLOCK_BYTES {
                let n =
                    (self.read_at)(block_start.saturating_add(len as u64), &mut self.block[len..])?;
                if n == 0 {
                    break;
                }
                len += n;
            }
            self.block_start = block_start;
            self.block_len = len;
        }
        Ok(self.block_len.saturating_sub((at - block_start) as usize))
    }
}
