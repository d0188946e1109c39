//! What a table says of itself as a whole.
//!
//! Format: fields in ascending order of their tags, each a tag (varint), a length (varint) and so many bytes. A number
//! is a varint, a key an encoded internal key, a level a zigzag varint. A reader refuses a tag below 128 that it does
//! not know and passes over one from 128 on.

use crate::error::Malformed;
use crate::options::{Compression, TableOptions};
use base::{InternalKey, InternalKeyRef, SeqNo, ValueKind, varint};

/// Counts, sizes and ranges of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Properties {
    /// Entries of every kind.
    pub entries: u64,
    /// Entries of kind delete.
    pub deletes: u64,
    /// Entries of kind range delete.
    pub range_deletes: u64,
    /// Entries of kind merge.
    pub merges: u64,
    /// Bytes of all user keys as they were added.
    pub raw_key_bytes: u64,
    /// Bytes of all values as they were added.
    pub raw_value_bytes: u64,
    /// Bytes of all data blocks before compression.
    pub data_raw_bytes: u64,
    /// Bytes of all data blocks in the file, trailers included.
    pub data_stored_bytes: u64,
    /// Bytes of all index partitions in the file, trailers included.
    pub index_stored_bytes: u64,
    /// Bytes of all filter partitions in the file, trailers included.
    pub filter_stored_bytes: u64,
    /// Data blocks.
    pub data_blocks: u64,
    /// Index partitions, and filter partitions if there is a filter.
    pub partitions: u64,
    /// The first key.
    pub smallest: InternalKey,
    /// The last key.
    pub largest: InternalKey,
    /// The least sequence number of any entry.
    pub min_seq: SeqNo,
    /// The greatest sequence number of any entry.
    pub max_seq: SeqNo,
    /// How blocks were compressed (each block says it for itself).
    pub compression: Compression,
    /// [`TableOptions::block_bytes`] at the time.
    pub block_bytes: u64,
    /// [`TableOptions::restart_interval`] at the time.
    pub restart_interval: u64,
    /// [`TableOptions::filter_bits_per_key`] at the time.
    pub filter_bits_per_key: u64,
}

/// Tags from here on may be passed over by a reader that does not know them.
const ADVISORY: u64 = 128;

impl Properties {
    /// Those of a table without entries so far.
    pub(crate) fn new(options: &TableOptions) -> Self {
        let none = InternalKeyRef::seek_at(&[], SeqNo::ZERO).to_owned();
        Self {
            entries: 0,
            deletes: 0,
            range_deletes: 0,
            merges: 0,
            raw_key_bytes: 0,
            raw_value_bytes: 0,
            data_raw_bytes: 0,
            data_stored_bytes: 0,
            index_stored_bytes: 0,
            filter_stored_bytes: 0,
            data_blocks: 0,
            partitions: 0,
            smallest: none.clone(),
            largest: none,
            min_seq: SeqNo::MAX,
            max_seq: SeqNo::ZERO,
            compression: options.compression,
            block_bytes: options.block_bytes as u64,
            restart_interval: options.restart_interval as u64,
            filter_bits_per_key: u64::from(options.filter_bits_per_key),
        }
    }

    /// Those of the same table with nothing counted.
    pub(crate) fn uncounted(&self) -> Self {
        Self {
            compression: self.compression,
            block_bytes: self.block_bytes,
            restart_interval: self.restart_interval,
            filter_bits_per_key: self.filter_bits_per_key,
            ..Self::new(&TableOptions::default())
        }
    }

    /// Counts one entry, the keys' range left out.
    #[inline]
    pub(crate) fn count(&mut self, key: InternalKeyRef<'_>, value_bytes: usize) {
        self.entries += 1;
        match key.kind {
            ValueKind::Put => {}
            ValueKind::Delete => self.deletes += 1,
            ValueKind::Merge => self.merges += 1,
            ValueKind::RangeDelete => self.range_deletes += 1,
        }
        self.raw_key_bytes += key.user_key.len() as u64;
        self.raw_value_bytes += value_bytes as u64;
        self.min_seq = self.min_seq.min(key.seq);
        self.max_seq = self.max_seq.max(key.seq);
    }

    /// Entries that take something away: deletes and range deletes.
    #[must_use]
    pub fn tombstones(&self) -> u64 {
        self.deletes.saturating_add(self.range_deletes)
    }

    fn numbers(&self) -> [(u64, u64); 18] {
        [
            (1, self.entries),
            (2, self.deletes),
            (3, self.range_deletes),
            (4, self.merges),
            (5, self.raw_key_bytes),
            (6, self.raw_value_bytes),
            (7, self.data_raw_bytes),
            (8, self.data_stored_bytes),
            (9, self.index_stored_bytes),
            (10, self.filter_stored_bytes),
            (11, self.data_blocks),
            (12, self.partitions),
            (13, self.min_seq.get()),
            (14, self.max_seq.get()),
            (15, u64::from(self.compression.code())),
            (16, self.block_bytes),
            (17, self.restart_interval),
            (18, self.filter_bits_per_key),
        ]
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut field = Vec::new();
        let put = |out: &mut Vec<u8>, tag: u64, field: &mut Vec<u8>| {
            varint::put_u64(out, tag);
            varint::put_len_prefixed(out, field);
            field.clear();
        };
        for (tag, number) in self.numbers() {
            varint::put_u64(&mut field, number);
            put(&mut out, tag, &mut field);
        }
        self.smallest.as_ref().encode_to(&mut field);
        put(&mut out, 19, &mut field);
        self.largest.as_ref().encode_to(&mut field);
        put(&mut out, 20, &mut field);
        let level = self.compression.level();
        varint::put_u32(&mut field, ((level << 1) ^ (level >> 31)) as u32);
        put(&mut out, 21, &mut field);
        out
    }

    pub(crate) fn decode(mut input: &[u8]) -> Result<Self, Malformed> {
        let mut numbers = [None; 19];
        let (mut smallest, mut largest, mut level) = (None, None, None);
        let mut last_tag = 0;
        while !input.is_empty() {
            let (tag, mut field) = varint::get_u64(&mut input)
                .zip(varint::get_len_prefixed(&mut input))
                .ok_or_else(|| Malformed::new("whole property fields", "one cut short"))?;
            if tag <= last_tag {
                return Err(Malformed::new(
                    "ascending property tags",
                    format_args!("{tag} after {last_tag}"),
                ));
            }
            last_tag = tag;
            match tag {
                1..=18 => {
                    numbers[tag as usize] =
                        varint::get_u64(&mut field).filter(|_| field.is_empty());
                }
                19 => smallest = InternalKeyRef::decode(field),
                20 => largest = InternalKeyRef::decode(field),
                21 => {
                    level = varint::get_u32(&mut field)
                        .map(|code| (code >> 1) as i32 ^ -((code & 1) as i32));
                }
                ADVISORY.. => {}
                unknown => {
                    return Err(Malformed::new("known properties", format_args!("tag {unknown}")));
                }
            }
        }
        let missing = |tag| {
            Malformed::new("every property", format_args!("none, or a bad one, of tag {tag}"))
        };
        let number = |tag: usize| numbers[tag].ok_or_else(|| missing(tag));
        let seq = |tag: usize| SeqNo::checked(number(tag)?).ok_or_else(|| missing(tag));
        let properties = Self {
            entries: number(1)?,
            deletes: number(2)?,
            range_deletes: number(3)?,
            merges: number(4)?,
            raw_key_bytes: number(5)?,
            raw_value_bytes: number(6)?,
            data_raw_bytes: number(7)?,
            data_stored_bytes: number(8)?,
            index_stored_bytes: number(9)?,
            filter_stored_bytes: number(10)?,
            data_blocks: number(11)?,
            partitions: number(12)?,
            min_seq: seq(13)?,
            max_seq: seq(14)?,
            compression: level.ok_or_else(|| missing(21)).and_then(|level| {
                Compression::from_parts(number(15)?, level).ok_or_else(|| missing(15))
            })?,
            block_bytes: number(16)?,
            restart_interval: number(17)?,
            filter_bits_per_key: number(18)?,
            smallest: smallest.ok_or_else(|| missing(19))?.to_owned(),
            largest: largest.ok_or_else(|| missing(20))?.to_owned(),
        };
        if properties.smallest > properties.largest || properties.min_seq > properties.max_seq {
            return Err(Malformed::new("ranges that ascend", "one that does not"));
        }
        Ok(properties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Properties {
        let mut properties = Properties::new(&TableOptions {
            compression: Compression::Zstd { level: -5 },
            ..TableOptions::default()
        });
        properties.smallest = InternalKeyRef::new(b"a", SeqNo::new(9), ValueKind::Put).to_owned();
        properties.largest = InternalKeyRef::new(b"z", SeqNo::new(7), ValueKind::Delete).to_owned();
        properties.min_seq = SeqNo::new(7);
        properties.max_seq = SeqNo::MAX;
        properties.entries = u64::MAX;
        properties
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let properties = sample();
        assert_eq!(Properties::decode(&properties.encode()), Ok(properties));
    }

    #[test]
    fn truncation_unknown_and_missing_fields_are_refused_and_advice_is_passed_over() {
        let mut bytes = sample().encode();
        for len in 0..bytes.len() {
            assert!(Properties::decode(&bytes[..len]).is_err(), "cut at {len}");
        }
        bytes.extend_from_slice(&[0x80, 1, 1, 42]);
        assert_eq!(Properties::decode(&bytes), Ok(sample()));
        let twice = [sample().encode(), sample().encode()].concat();
        assert!(Properties::decode(&twice).is_err());
        let mut bytes = sample().encode();
        bytes.extend_from_slice(&[22, 1, 42]);
        let fault = Properties::decode(&bytes).unwrap_err();
        assert!(fault.found().contains("22"), "{fault:?}");
    }
}
