//! Checksummed record framing, shared by the log and the manifest: how one record becomes bytes at a place in a file.
//!
//! Format: a file is read in blocks of 32 KiB. A record is cut into chunks so that no chunk crosses a block boundary:
//! reading can start again at any boundary after damage. A chunk is a 12-byte header and its share of the payload:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | CRC-32 (IEEE), little-endian, of the salt (4 bytes), the header's file offset (8 bytes), header bytes 4..12 and the payload |
//! | 4..6 | payload length, little-endian |
//! | 6 | kind: 1 full, 2 first, 3 middle, 4 last, 5 abort |
//! | 7 | 0 |
//! | 8..12 | vouched: bytes of this file, from its start, known to be on stable storage when the chunk was written |
//!
//! A block's last bytes that cannot hold a header are zero. A chunk of kind *abort* covers its length without meaning
//! (its checksum leaves the payload out): it stands where a reservation was given up. The salt is the file's number,
//! so that what an earlier use of the same disk blocks left behind is not taken for a record; the offset is in the sum so
//! that a search for chunks behind damage takes none out of a payload that holds (a copy of) such a file.
//!
//! Invariants: what is written at a place depends on nothing but the arguments, so records may be encoded in any order
//! by any thread once their places are known.

use std::ops::Range;

mod reader;
pub use reader::{Reason, Record, RecordReader, Stop, Survey};
#[cfg(test)]
mod tests;

/// Bytes of a block; no chunk crosses a multiple of it.
pub const BLOCK_BYTES: usize = 32 * 1024;

/// Bytes of a chunk's header.
pub const HEADER_BYTES: usize = 12;

/// What a chunk is to its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum ChunkKind {
    Full = 1,
    First = 2,
    Middle = 3,
    Last = 4,
    Abort = 5,
}

impl ChunkKind {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Full,
            2 => Self::First,
            3 => Self::Middle,
            4 => Self::Last,
            5 => Self::Abort,
            _ => return None,
        })
    }
}

/// One chunk of a record: where its header stands, relative to the record's start, and which bytes it carries.
struct Piece {
    header: usize,
    payload: Range<usize>,
    kind: ChunkKind,
}

/// Cuts a record of `payload_len` bytes at file offset `offset` into chunks.
fn pieces(offset: u64, payload_len: usize) -> impl Iterator<Item = Piece> {
    let start_in_block = (offset % BLOCK_BYTES as u64) as usize;
    let mut at = 0usize;
    let mut taken = 0usize;
    let mut is_first = true;
    let mut done = false;
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut left = BLOCK_BYTES - (start_in_block + at) % BLOCK_BYTES;
        if left < HEADER_BYTES {
            at += left;
            left = BLOCK_BYTES;
        }
        let len = (left - HEADER_BYTES).min(payload_len - taken);
        let is_last = taken + len == payload_len;
        let kind = match (is_first, is_last) {
            (true, true) => ChunkKind::Full,
            (true, false) => ChunkKind::First,
            (false, false) => ChunkKind::Middle,
            (false, true) => ChunkKind::Last,
        };
        // Not `taken == 0`: a first chunk that has room for its header alone carries nothing.
        is_first = false;
        let piece = Piece { header: at, payload: taken..taken + len, kind };
        at += HEADER_BYTES + len;
        taken += len;
        done = is_last;
        Some(piece)
    })
}

/// The bytes that a record of `payload_len` bytes takes at file offset `offset`, padding before it included.
#[must_use]
pub fn framed_len(offset: u64, payload_len: usize) -> u64 {
    let start = (offset % BLOCK_BYTES as u64) as usize;
    let left = BLOCK_BYTES - start;
    let (skip, room) = if left < HEADER_BYTES { (left, BLOCK_BYTES) } else { (0, left) };
    let first = (room - HEADER_BYTES).min(payload_len);
    let rest = payload_len - first;
    let full = BLOCK_BYTES - HEADER_BYTES;
    let chunks = 1 + rest.div_ceil(full);
    (skip + chunks * HEADER_BYTES + payload_len) as u64
}

/// What of a chunk's checksum is gathered before it is computed: short pieces cost more by their number than by their
/// length.
const GATHERED_BYTES: usize = 64;

/// The checksum of a chunk whose header stands at file offset `offset`.
fn checksum<'a>(
    salt: u32,
    offset: u64,
    header: &[u8; HEADER_BYTES],
    payload: impl Iterator<Item = &'a [u8]>,
) -> u32 {
    let mut gathered = [0u8; GATHERED_BYTES];
    let mut len = 0;
    let mut gather =
        |piece: &[u8], len: &mut usize| match gathered.get_mut(*len..*len + piece.len()) {
            Some(place) => {
                place.copy_from_slice(piece);
                *len += piece.len();
                true
            }
            None => false,
        };
    let mut payload = payload.peekable();
    for piece in [&salt.to_le_bytes()[..], &offset.to_le_bytes(), &header[4..]] {
        gather(piece, &mut len);
    }
    while payload.next_if(|piece| gather(piece, &mut len)).is_some() {}
    let mut crc = crc32fast::Hasher::new();
    crc.update(&gathered[..len]);
    for part in payload {
        crc.update(part);
    }
    crc.finalize()
}

/// A chunk's header, checksum included.
fn header_bytes<'a>(
    kind: ChunkKind,
    len: usize,
    (salt, offset, vouched): (u32, u64, u32),
    payload: impl Iterator<Item = &'a [u8]>,
) -> [u8; HEADER_BYTES] {
    let mut header = [0u8; HEADER_BYTES];
    header[4..6].copy_from_slice(&(len as u16).to_le_bytes());
    header[6] = kind as u8;
    header[8..12].copy_from_slice(&vouched.to_le_bytes());
    let crc = checksum(salt, offset, &header, payload);
    header[..4].copy_from_slice(&crc.to_le_bytes());
    header
}

/// A place in a payload that is given in parts.
#[derive(Clone, Copy)]
struct Parts<'a> {
    current: &'a [u8],
    rest: &'a [&'a [u8]],
}

impl<'a> Parts<'a> {
    /// Cuts off the next `len` bytes; there are that many.
    fn take(&mut self, mut len: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let before = *self;
        let mut left = len;
        while left > self.current.len() {
            left -= self.current.len();
            let (next, rest) =
                self.rest.split_first().expect("as many bytes as the lengths add up to");
            (self.current, self.rest) = (next, rest);
        }
        self.current = &self.current[left..];
        std::iter::once(before.current).chain(before.rest.iter().copied()).map_while(move |part| {
            let taken = &part[..part.len().min(len)];
            len -= taken.len();
            (len > 0 || !taken.is_empty()).then_some(taken)
        })
    }
}

/// A chunk of a record, encoded where its bytes are: see [`chunks`].
pub struct EncodedChunk<'a> {
    /// So many zeros stand before the header.
    pub padding: usize,
    /// The header.
    pub header: [u8; HEADER_BYTES],
    body: Parts<'a>,
    body_len: usize,
}

impl<'a> EncodedChunk<'a> {
    /// What stands behind the header, in slices of what was given as the record's parts.
    pub fn body(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut body = self.body;
        body.take(self.body_len)
    }

    /// Bytes of padding, header and body.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.padding + HEADER_BYTES + self.body_len
    }
}

/// The chunks of the record made of `parts`, one after the other, for file offset `offset`: together its
/// [`framed_len`] bytes, in order, without a copy of the payload. `vouched` is the number of bytes of the file known to
/// be durable.
pub fn chunks<'a>(
    offset: u64,
    salt: u32,
    vouched: u32,
    parts: &'a [&'a [u8]],
) -> impl Iterator<Item = EncodedChunk<'a>> {
    let payload_len = parts.iter().map(|part| part.len()).sum();
    let mut payload = Parts { current: &[], rest: parts };
    let mut filled = 0;
    pieces(offset, payload_len).map(move |piece| {
        let body_len = piece.payload.len();
        let place = (salt, offset + piece.header as u64, vouched);
        let body = payload;
        let header = header_bytes(piece.kind, body_len, place, payload.take(body_len));
        let padding = piece.header - filled;
        filled = piece.header + HEADER_BYTES + body_len;
        EncodedChunk { padding, header, body, body_len }
    })
}

/// Encodes the record made of `parts`, one after the other, for file offset `offset`: `emit` gets its
/// [`framed_len`] bytes in order, in slices of at most a block, which need not be kept together.
///
/// `vouched` is the number of bytes of the file known to be durable.
///
/// # Errors
/// The first error of `emit`, which is then not called again.
pub fn encode_with<E>(
    offset: u64,
    salt: u32,
    vouched: u32,
    parts: &[&[u8]],
    mut emit: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    for chunk in chunks(offset, salt, vouched, parts) {
        emit(&[0; HEADER_BYTES][..chunk.padding])?;
        emit(&chunk.header)?;
        for part in chunk.body() {
            emit(part)?;
        }
    }
    Ok(())
}

/// Encodes the record made of `parts` for file offset `offset` into `out`, which holds exactly [`framed_len`] bytes:
/// [`encode_with`] into memory.
///
/// # Panics
/// When `out` has another length.
pub fn encode(out: &mut [u8], offset: u64, salt: u32, vouched: u32, parts: &[&[u8]]) {
    let payload_len = parts.iter().map(|part| part.len()).sum();
    assert_eq!(
        out.len() as u64,
        framed_len(offset, payload_len),
        "the place has the record's size"
    );
    let mut at = 0;
    let done = encode_with(offset, salt, vouched, parts, |slice| {
        out[at..at + slice.len()].copy_from_slice(slice);
        at += slice.len();
        Ok::<(), std::convert::Infallible>(())
    });
    match done {
        Ok(()) => {}
        Err(never) => match never {},
    }
}

/// The headers that turn the place of a record of `payload_len` bytes at `offset` into aborted chunks, which a reader
/// passes over: each with its file offset. What lies between them is left as it is.
pub fn abort(
    offset: u64,
    payload_len: usize,
    salt: u32,
    vouched: u32,
) -> impl Iterator<Item = (u64, [u8; HEADER_BYTES])> {
    pieces(offset, payload_len).map(move |piece| {
        let at = offset + piece.header as u64;
        let place = (salt, at, vouched);
        (at, header_bytes(ChunkKind::Abort, piece.payload.len(), place, std::iter::empty()))
    })
}
