//! Segment files: their names, their header, their link.
//!
//! Format (`docs/format/wal.md`): a segment is a header and a link of 64 bytes each, then records in the framing of
//! [`base::record`], whose salt is the segment's number. Integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0..8 | `POLDRWAL` |
//! | 8..12 | format version, 2 |
//! | 12..16 | 0 |
//! | 16..24 | number of this segment, from 1 |
//! | 24..32 | number of the segment that the file was before; 0: the file was new |
//! | 32..60 | 0 |
//! | 60..64 | CRC-32 (IEEE) of bytes 0..60, in every version |
//! | 64..72 | `POLDRLNK` |
//! | 72..80 | number of this segment |
//! | 80..88 | number of its predecessor; 0: none |
//! | 88..96 | the offset at which the predecessor's last record ends; 0 without predecessor |
//! | 96..104 | how many of the predecessor's bytes were known to be durable when this was written |
//! | 104..124 | 0 |
//! | 124..128 | CRC-32 (IEEE) of bytes 64..124 |

use std::fmt;

use base::SegmentNumber;

use crate::options::Predecessor;

/// The version of the format that this crate writes, and the only one that it reads.
pub const FORMAT_VERSION: u32 = 2;

/// Bytes of a segment's header and link: the offset of its first record.
pub const SEGMENT_HEADER_BYTES: u64 = 128;

/// Bytes of each of the two.
const PART: usize = 64;
/// Where the link stands.
pub(crate) const LINK_OFFSET: u64 = PART as u64;
/// Bytes of both.
pub(crate) const HEAD_LEN: usize = SEGMENT_HEADER_BYTES as usize;
const MAGIC: [u8; 8] = *b"POLDRWAL";
const LINK_MAGIC: [u8; 8] = *b"POLDRLNK";

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

/// A segment's header: durable before the segment is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub number: SegmentNumber,
    /// The segment that the file was before. Without one, what was not written in it reads as zeros.
    pub recycled_from: Option<SegmentNumber>,
}

/// A segment's link: written when the segment is taken into use, durable with its first synced record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLink {
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
        }
    }
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; PART] {
        let mut bytes = [0; PART];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.number.get().to_le_bytes());
        let before = self.recycled_from.map_or(0, SegmentNumber::get);
        bytes[24..32].copy_from_slice(&before.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// Takes the header of segment `number` from the first bytes of its file, which has those of a link too.
    pub fn decode(bytes: &[u8], number: SegmentNumber) -> Result<Self, HeaderFault> {
        let (true, Some(bytes)) = (bytes.len() >= HEAD_LEN, bytes.first_chunk::<PART>()) else {
            return Err(HeaderFault::Short { found: bytes.len() });
        };
        if bytes[..8] != MAGIC {
            return Err(HeaderFault::Magic);
        }
        let (expected, found) = checksums(bytes);
        if expected != found {
            return Err(HeaderFault::Checksum { expected, found });
        }
        let version = u32_at(bytes, 8);
        if version != FORMAT_VERSION {
            return Err(HeaderFault::Version { found: version });
        }
        let found = SegmentNumber::new(u64_at(bytes, 16));
        if found != number {
            return Err(HeaderFault::Number { expected: number, found });
        }
        let recycled_from = number_at(bytes, 24);
        Ok(Self { number, recycled_from })
    }
}

impl SegmentLink {
    /// The bytes of the link of segment `number`.
    pub fn encode(&self, number: SegmentNumber) -> [u8; PART] {
        let (predecessor, end) =
            self.predecessor.map_or((0, 0), |p| (p.segment.get(), p.end_offset));
        let mut bytes = [0; PART];
        bytes[..8].copy_from_slice(&LINK_MAGIC);
        bytes[8..16].copy_from_slice(&number.get().to_le_bytes());
        bytes[16..24].copy_from_slice(&predecessor.to_le_bytes());
        bytes[24..32].copy_from_slice(&end.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.predecessor_vouched.to_le_bytes());
        seal(&mut bytes);
        bytes
    }

    /// The link of segment `number`, from the first bytes of its file; `None` when there is none: the segment was never
    /// taken into use, or its beginning was lost.
    pub fn decode(bytes: &[u8], number: SegmentNumber) -> Option<Self> {
        let bytes = bytes.get(PART..)?.first_chunk::<PART>()?;
        let (expected, found) = checksums(bytes);
        if bytes[..8] != LINK_MAGIC || expected != found || u64_at(bytes, 8) != number.get() {
            return None;
        }
        let predecessor = number_at(bytes, 16)
            .map(|segment| Predecessor { segment, end_offset: u64_at(bytes, 24) });
        // A circle is no chain: a writer never makes one.
        if predecessor.is_some_and(|predecessor| predecessor.segment >= number) {
            return None;
        }
        Some(Self { predecessor, predecessor_vouched: u64_at(bytes, 32) })
    }
}

/// Puts the checksum behind a part.
fn seal(bytes: &mut [u8; PART]) {
    let crc = crc32fast::hash(&bytes[..PART - 4]);
    bytes[PART - 4..].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum that a part's bytes have, and the one that stands behind them.
fn checksums(bytes: &[u8; PART]) -> (u32, u32) {
    (crc32fast::hash(&bytes[..PART - 4]), u32_at(bytes, PART - 4))
}

fn number_at(bytes: &[u8; PART], at: usize) -> Option<SegmentNumber> {
    Some(u64_at(bytes, at)).filter(|&number| number != 0).map(SegmentNumber::new)
}

fn u32_at(bytes: &[u8; PART], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u64_at(bytes: &[u8; PART], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBER: SegmentNumber = SegmentNumber::new(0x0102_0304_0506);

    fn header() -> SegmentHeader {
        SegmentHeader { number: NUMBER, recycled_from: Some(SegmentNumber::new(77)) }
    }

    fn link() -> SegmentLink {
        let predecessor =
            Some(Predecessor { segment: SegmentNumber::new(77), end_offset: 123_456 });
        SegmentLink { predecessor, predecessor_vouched: 4711 }
    }

    fn head() -> Vec<u8> {
        [header().encode(), link().encode(NUMBER)].concat()
    }

    #[test]
    fn a_head_is_read_as_written_and_every_flip_is_seen() {
        let bytes = head();
        assert_eq!(bytes.len(), HEAD_LEN);
        assert_eq!(SegmentHeader::decode(&bytes, NUMBER), Ok(header()));
        assert_eq!(SegmentLink::decode(&bytes, NUMBER), Some(link()));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            assert_eq!(SegmentHeader::decode(&damaged, NUMBER).is_ok(), at >= PART, "flip at {at}");
            assert_eq!(SegmentLink::decode(&damaged, NUMBER).is_some(), at < PART, "flip at {at}");
            assert!(SegmentHeader::decode(&bytes[..at], NUMBER).is_err(), "cut at {at}");
            assert_eq!(SegmentLink::decode(&bytes[..at], NUMBER), None, "cut at {at}");
        }
    }

    #[test]
    fn a_header_of_another_number_or_version_is_told_apart() {
        let other = SegmentNumber::new(5);
        let fault = SegmentHeader::decode(&head(), other);
        assert_eq!(fault, Err(HeaderFault::Number { expected: other, found: NUMBER }));

        let mut newer = header().encode();
        newer[8] = 9;
        seal(&mut newer);
        let fault = SegmentHeader::decode(&[newer, [0; PART]].concat(), NUMBER);
        assert_eq!(fault, Err(HeaderFault::Version { found: 9 }));
    }

    #[test]
    fn a_link_of_another_number_or_in_a_circle_is_none() {
        assert_eq!(SegmentLink::decode(&head(), SegmentNumber::new(5)), None);
        let circle = SegmentLink { predecessor: Some(Predecessor::empty(NUMBER)), ..link() };
        let bytes = [header().encode(), circle.encode(NUMBER)].concat();
        assert_eq!(SegmentLink::decode(&bytes, NUMBER), None);
        let first = SegmentLink { predecessor: None, predecessor_vouched: 0 };
        let bytes = [header().encode(), first.encode(NUMBER)].concat();
        assert_eq!(SegmentLink::decode(&bytes, NUMBER), Some(first));
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
