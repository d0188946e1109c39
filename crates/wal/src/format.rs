//! Segment files: their names and their header.
//!
//! Format (`docs/format/wal.md`): a segment is a header of 64 bytes, then records in the framing of [`base::record`],
//! whose salt is the segment's number. Integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `POLDRWAL` |
//! | 8..12 | format version, 1 |
//! | 12..16 | 0 |
//! | 16..24 | number of this segment, from 1 |
//! | 24..32 | number of its predecessor; 0: none |
//! | 32..40 | the offset at which the predecessor's last record ends; 0 without predecessor |
//! | 40..48 | how many of the predecessor's bytes were known to be durable when this was written |
//! | 48..60 | 0 |
//! | 60..64 | CRC-32 (IEEE) of bytes 0..60, in every version |

use std::fmt;

use base::SegmentNumber;

use crate::options::Predecessor;

/// The version of the format that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Bytes of a segment's header: the offset of its first record.
pub const SEGMENT_HEADER_BYTES: u64 = 64;

const HEADER_LEN: usize = SEGMENT_HEADER_BYTES as usize;
const MAGIC: [u8; 8] = *b"POLDRWAL";

/// The name of a segment's file: its number with at least six digits, and `.log`.
#[must_use]
pub fn segment_file_name(number: SegmentNumber) -> String {
    format!("{number:06}.log")
}

/// The segment whose file has this name, or `None` when it is no segment's.
#[must_use]
pub fn parse_segment_file_name(name: &str) -> Option<SegmentNumber> {
    let number = SegmentNumber::new(name.strip_suffix(".log")?.parse().ok()?);
    (number.get() > 0 && segment_file_name(number) == name).then_some(number)
}

/// What salts the checksums of a segment's records: what another segment left behind is not taken for one of them.
pub(crate) fn salt(number: SegmentNumber) -> u32 {
    number.get() as u32
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: SegmentNumber,
    pub predecessor: Option<Predecessor>,
    /// Bytes of the predecessor that were known to be durable; at most its `end_offset`.
    pub predecessor_vouched: u64,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Short { found: usize },
    Magic,
    Checksum { expected: u32, found: u32 },
    Version { found: u32 },
    Number { expected: SegmentNumber, found: SegmentNumber },
    Chain { predecessor: SegmentNumber },
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short { found } => write!(f, "{found} bytes"),
            Self::Magic => f.write_str("other bytes than a segment begins with"),
            Self::Checksum { expected, found } => {
                write!(
                    f,
                    "a header whose checksum is {expected:#010x} beside the checksum {found:#010x}"
                )
            }
            Self::Version { found } => write!(f, "format version {found}"),
            Self::Number { found, .. } => write!(f, "the header of segment {found}"),
            Self::Chain { predecessor } => {
                write!(f, "the later segment {predecessor} as its predecessor")
            }
        }
    }
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let (predecessor, end) =
            self.predecessor.map_or((0, 0), |p| (p.segment.get(), p.end_offset));
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.get().to_le_bytes());
        bytes[24..32].copy_from_slice(&predecessor.to_le_bytes());
        bytes[32..40].copy_from_slice(&end.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.predecessor_vouched.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..60]);
        bytes[60..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Takes the header of segment `number` from the first bytes of its file.
    pub fn decode(bytes: &[u8], number: SegmentNumber) -> Result<Self, HeaderFault> {
        let Some(bytes) = bytes.first_chunk::<HEADER_LEN>() else {
            return Err(HeaderFault::Short { found: bytes.len() });
        };
        if bytes[..8] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let expected = crc32fast::hash(&bytes[..60]);
        let crc = u32_at(bytes, 60);
        if expected != crc {
            return Err(HeaderFault::Checksum { expected, found: crc });
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version { found: version });
        }
        let found = SegmentNumber::new(u64_at(bytes, 16));
        if found != number {
            return Err(HeaderFault::Number { expected: number, found });
        }
        let predecessor = Some(u64_at(bytes, 24))
            .filter(|&n| n != 0)
            .map(|n| Predecessor { segment: SegmentNumber::new(n), end_offset: u64_at(bytes, 32) });
        if let Some(Predecessor { segment, .. }) = predecessor
            && segment >= number
        {
            return Err(HeaderFault::Chain { predecessor: segment });
        }
        Ok(Self { number, predecessor, predecessor_vouched: u64_at(bytes, 40) })
    }
}

fn u32_at(bytes: &[u8; HEADER_LEN], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; HEADER_LEN], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: SegmentNumber = SegmentNumber::new(0x0102_0304_0506);

    fn header() -> SegmentHeader {
        let predecessor =
            Some(Predecessor { segment: SegmentNumber::new(77), end_offset: 123_456 });
        SegmentHeader { number: NUMBER, predecessor, predecessor_vouched: 4711 }
    }

    #[test]
    fn a_header_is_read_as_written_and_every_flip_is_seen() {
        let bytes = header().encode();
        assert_eq!(SegmentHeader::decode(&bytes, NUMBER), Ok(header()));
        for at in 0..bytes.len() {
            let mut damaged = bytes;
            damaged[at] ^= 0x10;
            assert!(SegmentHeader::decode(&damaged, NUMBER).is_err(), "flip at {at}");
            assert!(SegmentHeader::decode(&bytes[..at], NUMBER).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_header_of_another_number_version_or_order_is_told_apart() {
        let other = SegmentNumber::new(5);
        let fault = SegmentHeader::decode(&header().encode(), other);
        assert_eq!(fault, Err(HeaderFault::Number { expected: other, found: NUMBER }));

        let mut newer = header().encode();
        newer[8] = 2;
        let crc = crc32fast::hash(&newer[..60]);
        newer[60..].copy_from_slice(&crc.to_le_bytes());
        let fault = SegmentHeader::decode(&newer, NUMBER);
        assert_eq!(fault, Err(HeaderFault::Version { found: 2 }));

        let circle = SegmentHeader { predecessor: Some(Predecessor::empty(NUMBER)), ..header() };
        let fault = SegmentHeader::decode(&circle.encode(), NUMBER);
        assert_eq!(fault, Err(HeaderFault::Chain { predecessor: NUMBER }));
    }

    #[test]
    fn names_and_numbers_are_one_to_one() {
        for number in [1, 999_999, 1_000_000, u64::MAX] {
            let number = SegmentNumber::new(number);
            assert_eq!(parse_segment_file_name(&segment_file_name(number)), Some(number));
        }
        for name in
            ["1.log", "+00001.log", "0000001.log", "000000.log", "000001.sst", "x.log", ".log"]
        {
            assert_eq!(parse_segment_file_name(name), None, "{name}");
        }
    }
}
