//! What surrounds blocks: handles, the trailer that follows each block, and the footer.
//!
//! Format: see `docs/format/sstable.md`. A block is its payload and a trailer of [`TRAILER_BYTES`]; the trailer's
//! checksum takes in the payload, the rest of the trailer, the block's offset in the file and the file's salt, so that
//! a block that was written to another place, or left behind by another file, is not taken for this one.

use crate::error::Malformed;
use base::varint;
use std::fmt;

/// The version that this release writes, and the only one that it reads.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The last bytes of every table.
pub(crate) const MAGIC: [u8; 8] = *b"POLDERST";
/// Bytes that follow a block's payload.
pub(crate) const TRAILER_BYTES: usize = 10;
/// Bytes of the footer.
pub(crate) const FOOTER_BYTES: usize = 72;

/// What a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum BlockKind {
    /// Entries.
    Data = 1,
    /// One partition of the index: the places of data blocks.
    Index = 2,
    /// The places of the partitions of index and filter. Stays in memory while the table is open.
    TopIndex = 3,
    /// One partition of the filter, for the same keys as the index partition beside it.
    Filter = 4,
    /// Counts and ranges of the whole table. Stays in memory while the table is open.
    Properties = 5,
}

impl BlockKind {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Data,
            2 => Self::Index,
            3 => Self::TopIndex,
            4 => Self::Filter,
            5 => Self::Properties,
            _ => return None,
        })
    }
}

impl fmt::Display for BlockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Data => "data block",
            Self::Index => "index partition",
            Self::TopIndex => "top index",
            Self::Filter => "filter partition",
            Self::Properties => "properties block",
        })
    }
}

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    /// Offset of its first byte in the file.
    pub(crate) offset: u64,
    /// Bytes of its payload, without the trailer.
    pub(crate) len: u32,
}

impl Handle {
    /// The handle that stands for "there is none".
    pub(crate) const NONE: Self = Self { offset: 0, len: 0 };

    /// Bytes that the block takes in the file.
    pub(crate) fn stored_bytes(self) -> usize {
        self.len as usize + TRAILER_BYTES
    }

    /// Where the block ends, or `None` when that is beyond what a file can have.
    pub(crate) fn end(self) -> Option<u64> {
        self.offset.checked_add(self.stored_bytes() as u64)
    }

    pub(crate) fn put(self, out: &mut Vec<u8>) {
        varint::put_u64(out, self.offset);
        varint::put_u32(out, self.len);
    }

    #[inline]
    pub(crate) fn get(input: &mut &[u8]) -> Option<Self> {
        Some(Self { offset: varint::get_u64(input)?, len: varint::get_u32(input)? })
    }

    /// Checks that the block lies before `limit`: nothing is allocated for a block before this was asked.
    pub(crate) fn check(self, limit: u64) -> Result<Self, Malformed> {
        match self.end() {
            Some(end) if end <= limit => Ok(self),
            _ => Err(Malformed::new(
                "a block that ends before the footer",
                format_args!("{} bytes at {}, footer at {limit}", self.len, self.offset),
            )),
        }
    }
}

/// What stands between a block's payload and the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trailer {
    /// Bytes of the payload when it is decompressed.
    pub(crate) raw_len: u32,
    /// What the block holds.
    pub(crate) kind: BlockKind,
    /// How the payload is compressed: [`crate::Compression::code`].
    pub(crate) compression: u8,
}

/// What a block's checksum covers beside the block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) offset: u64,
    pub(crate) salt: u64,
}

fn checksum(payload: &[&[u8]], fields: &[u8], place: Place) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    payload.iter().for_each(|part| crc.update(part));
    crc.update(fields);
    crc.update(&place.offset.to_le_bytes());
    crc.update(&place.salt.to_le_bytes());
    crc.finalize()
}

impl Trailer {
    /// The trailer's bytes for a payload, of parts that follow each other, at `place`.
    pub(crate) fn seal(self, payload: &[&[u8]], place: Place) -> [u8; TRAILER_BYTES] {
        let mut out = [0; TRAILER_BYTES];
        out[..4].copy_from_slice(&self.raw_len.to_le_bytes());
        out[4] = self.kind as u8;
        out[5] = self.compression;
        let crc = checksum(payload, &out[..6], place);
        out[6..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Takes a stored block apart into its payload and its trailer, after checking that it is what `seal` made for
    /// this place and that it is a `kind`.
    pub(crate) fn open(
        stored: &[u8],
        kind: BlockKind,
        place: Place,
    ) -> Result<(&[u8], Self), Malformed> {
        let (payload, bytes) = split(stored)?;
        let expected = checksum(&[payload], &bytes[..6], place);
        let [.., c0, c1, c2, c3] = *bytes;
        let found = u32::from_le_bytes([c0, c1, c2, c3]);
        if found != expected {
            return Err(Malformed::new(
                "contents that fit their checksum",
                format_args!("checksum {found:08x} over contents with checksum {expected:08x}"),
            ));
        }
        Ok((payload, Self::take(bytes, kind)?))
    }

    /// As [`Trailer::open`], but believes the contents without looking at their checksum.
    pub(crate) fn open_unverified(
        stored: &[u8],
        kind: BlockKind,
    ) -> Result<(&[u8], Self), Malformed> {
        let (payload, bytes) = split(stored)?;
        Ok((payload, Self::take(bytes, kind)?))
    }

    fn take(bytes: &[u8; TRAILER_BYTES], kind: BlockKind) -> Result<Self, Malformed> {
        let [r0, r1, r2, r3, kind_code, compression, ..] = *bytes;
        if BlockKind::from_code(kind_code) != Some(kind) {
            return Err(Malformed::new(
                "a block of this kind",
                format_args!("one of kind code {kind_code}"),
            ));
        }
        Ok(Self { raw_len: u32::from_le_bytes([r0, r1, r2, r3]), kind, compression })
    }
}

fn split(stored: &[u8]) -> Result<(&[u8], &[u8; TRAILER_BYTES]), Malformed> {
    stored.split_last_chunk::<TRAILER_BYTES>().ok_or_else(|| {
        Malformed::new("a block with its trailer", format_args!("{} bytes", stored.len()))
    })
}

/// The file's last bytes, from which everything else is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) top_index: Handle,
    pub(crate) properties: Handle,
    /// Room for a block of range tombstones; version 2 has none.
    pub(crate) range_deletes: Handle,
    /// Length of the whole file.
    pub(crate) file_bytes: u64,
    /// Goes into the checksum of every block.
    pub(crate) salt: u64,
}

/// Why a footer was not taken.
#[derive(Debug)]
pub(crate) enum FooterError {
    Malformed(Malformed),
    Version(u32),
}

impl Footer {
    pub(crate) fn encode(&self) -> [u8; FOOTER_BYTES] {
        let mut out = Vec::with_capacity(FOOTER_BYTES);
        for handle in [self.top_index, self.properties, self.range_deletes] {
            out.extend_from_slice(&handle.offset.to_le_bytes());
            out.extend_from_slice(&handle.len.to_le_bytes());
        }
        out.extend_from_slice(&self.file_bytes.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let crc = footer_checksum(&out, FORMAT_VERSION);
        out.extend_from_slice(&crc.to_le_bytes());
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&MAGIC);
        let mut bytes = [0; FOOTER_BYTES];
        bytes.copy_from_slice(&out);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; FOOTER_BYTES]) -> Result<Self, FooterError> {
        let malformed =
            |expected, found: String| Err(FooterError::Malformed(Malformed::new(expected, found)));
        if bytes[64..] != MAGIC {
            return malformed(
                "a table's last 8 bytes, \"POLDERST\" (not a table, or cut short)",
                format!("\"{}\"", bytes[64..].escape_ascii()),
            );
        }
        let version = u32_at(bytes, 60);
        if version != FORMAT_VERSION {
            return Err(FooterError::Version(version));
        }
        let expected = footer_checksum(&bytes[..56], version);
        let found = u32_at(bytes, 56);
        if expected != found {
            return malformed(
                "a footer that fits its checksum",
                format!("checksum {found:08x} over contents with checksum {expected:08x}"),
            );
        }
        let flags = u32_at(bytes, 52);
        if flags != 0 {
            return malformed("no feature flags", format!("flags {flags:08x}"));
        }
        let handle = |at| Handle { offset: u64_at(bytes, at), len: u32_at(bytes, at + 8) };
        Ok(Self {
            top_index: handle(0),
            properties: handle(12),
            range_deletes: handle(24),
            file_bytes: u64_at(bytes, 36),
            salt: u64_at(bytes, 44),
        })
    }
}

fn footer_checksum(fields: &[u8], version: u32) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(fields);
    crc.update(&version.to_le_bytes());
    crc.update(&MAGIC);
    crc.finalize()
}

fn u32_at(bytes: &[u8; FOOTER_BYTES], at: usize) -> u32 {
    let mut field = [0; 4];
    field.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(field)
}

fn u64_at(bytes: &[u8; FOOTER_BYTES], at: usize) -> u64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(field)
}
