//! Edits as bytes.
//!
//! Format: `docs/format/manifest.md`, "An edit". A format version, then fields, each a tag, a length and that many
//! bytes; numbers are LEB128.

use base::varint::{get_len_prefixed, get_u32, get_u64, put_len_prefixed, put_u32, put_u64};
use base::{
    FamilyId, FileNumber, InternalKey, InternalKeyRef, LogPlace, MAX_KEY_BYTES, SegmentNumber,
    SeqNo,
};

use super::{FAMILY_NAME_BYTES_MAX, LEVELS_MAX, VersionEdit};
use crate::ids::VersionNumber;
use crate::table::TableMeta;

/// The version of the manifest's format that is written, and the only one that is read.
pub const FORMAT_VERSION: u8 = 1;

/// What stands in a field.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Tag {
    Version = 1,
    NextFile = 2,
    NextFamily = 3,
    LastSeq = 4,
    LogFrom = 5,
    AddedFamily = 6,
    DroppedFamily = 7,
    FlushedSeq = 8,
    AddedTable = 9,
    RemovedTable = 10,
    LogDurable = 11,
}

impl Tag {
    fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Version,
            2 => Self::NextFile,
            3 => Self::NextFamily,
            4 => Self::LastSeq,
            5 => Self::LogFrom,
            6 => Self::AddedFamily,
            7 => Self::DroppedFamily,
            8 => Self::FlushedSeq,
            9 => Self::AddedTable,
            10 => Self::RemovedTable,
            11 => Self::LogDurable,
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Version => "version",
            Self::NextFile => "next file",
            Self::NextFamily => "next family",
            Self::LastSeq => "last sequence number",
            Self::LogFrom => "log from",
            Self::AddedFamily => "added family",
            Self::DroppedFamily => "dropped family",
            Self::FlushedSeq => "flushed sequence number",
            Self::AddedTable => "added table",
            Self::RemovedTable => "removed table",
            Self::LogDurable => "log durable",
        }
    }
}

/// Bytes that are not an edit: where in them, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes were written by a newer program, or are not an edit at all.
    #[error("the edit has format version {found}, this program reads {FORMAT_VERSION}")]
    FormatVersion {
        /// The version that was found.
        found: u8,
    },
    /// The bytes end before the edit does.
    #[error("the edit is cut off at its byte {at}")]
    Truncated {
        /// The offset from the edit's first byte.
        at: usize,
    },
    /// A field of a kind that this program does not know.
    #[error("the edit has a field of the unknown kind {tag} at its byte {at}")]
    UnknownTag {
        /// The offset from the edit's first byte.
        at: usize,
        /// The tag that was found.
        tag: u32,
    },
    /// A field that does not hold what its tag says.
    #[error("the field {field:?} at byte {at} of the edit is wrong: {fault}")]
    Field {
        /// The offset of the field's tag from the edit's first byte.
        at: usize,
        /// What the field should hold.
        field: &'static str,
        /// What is wrong with it.
        fault: &'static str,
    },
    /// A field that may stand once stands again.
    #[error("the field {field:?} at byte {at} of the edit stands there twice")]
    Repeated {
        /// The offset of the second field's tag from the edit's first byte.
        at: usize,
        /// What the field holds.
        field: &'static str,
    },
}

impl VersionEdit {
    /// Appends the encoded edit to `out`.
    pub fn encode_to(&self, out: &mut Vec<u8>) {
        out.push(FORMAT_VERSION);
        let mut scratch = Vec::new();
        let mut field = |tag: Tag, fill: &dyn Fn(&mut Vec<u8>)| {
            scratch.clear();
            fill(&mut scratch);
            put_u32(out, tag as u32);
            put_len_prefixed(out, &scratch);
        };
        if let Some(version) = self.version {
            field(Tag::Version, &|to| put_u64(to, version.get()));
        }
        if let Some(next) = self.next_file {
            field(Tag::NextFile, &|to| put_u64(to, next.get()));
        }
        if let Some(next) = self.next_family {
            field(Tag::NextFamily, &|to| put_u32(to, next.get()));
        }
        if let Some(seq) = self.last_seq {
            field(Tag::LastSeq, &|to| put_u64(to, seq.get()));
        }
        if let Some(segment) = self.log_from {
            field(Tag::LogFrom, &|to| put_u64(to, segment.get()));
        }
        if let Some(place) = self.log_durable {
            field(Tag::LogDurable, &|to| {
                put_u64(to, place.segment.get());
                put_u64(to, place.offset);
            });
        }
        for (family, name) in &self.added_families {
            field(Tag::AddedFamily, &|to| {
                put_u32(to, family.get());
                put_len_prefixed(to, name.as_bytes());
            });
        }
        for family in &self.dropped_families {
            field(Tag::DroppedFamily, &|to| put_u32(to, family.get()));
        }
        for (family, seq) in &self.flushed_seq {
            field(Tag::FlushedSeq, &|to| {
                put_u32(to, family.get());
                put_u64(to, seq.get());
            });
        }
        for (family, level, table) in &self.added_tables {
            field(Tag::AddedTable, &|to| put_table(to, *family, *level, table));
        }
        for (family, level, number) in &self.removed_tables {
            field(Tag::RemovedTable, &|to| {
                put_u32(to, family.get());
                put_u32(to, *level);
                put_u64(to, number.get());
            });
        }
    }

    /// Reads an edit that fills `bytes` exactly.
    ///
    /// # Errors
    /// [`DecodeError`] when it does not; nothing of it is to be used.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        let Some((&format, body)) = rest.split_first() else {
            return Err(DecodeError::Truncated { at: 0 });
        };
        if format != FORMAT_VERSION {
            return Err(DecodeError::FormatVersion { found: format });
        }
        rest = body;
        let mut edit = Self::default();
        while !rest.is_empty() {
            let at = bytes.len() - rest.len();
            let code = get_u32(&mut rest).ok_or(DecodeError::Truncated { at })?;
            let tag = Tag::from_code(code).ok_or(DecodeError::UnknownTag { at, tag: code })?;
            let here = bytes.len() - rest.len();
            let value = get_len_prefixed(&mut rest).ok_or(DecodeError::Truncated { at: here })?;
            edit.take_field(tag, value).map_err(|fault| match fault {
                FieldFault::Repeated => DecodeError::Repeated { at, field: tag.name() },
                FieldFault::Wrong(fault) => DecodeError::Field { at, field: tag.name(), fault },
            })?;
        }
        Ok(edit)
    }

    fn take_field(&mut self, tag: Tag, value: &[u8]) -> Result<(), FieldFault> {
        let input = &mut &*value;
        match tag {
            Tag::Version => once(&mut self.version, VersionNumber::new(u64_of(input)?))?,
            Tag::NextFile => once(&mut self.next_file, FileNumber::new(u64_of(input)?))?,
            Tag::NextFamily => once(&mut self.next_family, family_of(input)?)?,
            Tag::LastSeq => once(&mut self.last_seq, seq_of(input)?)?,
            Tag::LogFrom => once(&mut self.log_from, SegmentNumber::new(u64_of(input)?))?,
            Tag::LogDurable => {
                let segment = SegmentNumber::new(u64_of(input)?);
                once(&mut self.log_durable, LogPlace { segment, offset: u64_of(input)? })?;
            }
            Tag::AddedFamily => self.added_families.push((family_of(input)?, name_of(input)?)),
            Tag::DroppedFamily => self.dropped_families.push(family_of(input)?),
            Tag::FlushedSeq => self.flushed_seq.push((family_of(input)?, seq_of(input)?)),
            Tag::AddedTable => {
                self.added_tables.push((family_of(input)?, level_of(input)?, table_of(input)?));
            }
            Tag::RemovedTable => {
                let table = (family_of(input)?, level_of(input)?, FileNumber::new(u64_of(input)?));
                self.removed_tables.push(table);
            }
        }
        if input.is_empty() { Ok(()) } else { Err(FieldFault::Wrong("bytes are left over")) }
    }
}

enum FieldFault {
    Repeated,
    Wrong(&'static str),
}

const CUT: FieldFault = FieldFault::Wrong("it is cut off");

fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), FieldFault> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(FieldFault::Repeated),
    }
}

fn u64_of(input: &mut &[u8]) -> Result<u64, FieldFault> {
    get_u64(input).ok_or(CUT)
}

fn family_of(input: &mut &[u8]) -> Result<FamilyId, FieldFault> {
    get_u32(input).map(FamilyId::new).ok_or(CUT)
}

fn seq_of(input: &mut &[u8]) -> Result<SeqNo, FieldFault> {
    SeqNo::checked(u64_of(input)?).ok_or(FieldFault::Wrong("a sequence number has 56 bits"))
}

fn level_of(input: &mut &[u8]) -> Result<u32, FieldFault> {
    let level = get_u32(input).ok_or(CUT)?;
    if level < LEVELS_MAX { Ok(level) } else { Err(FieldFault::Wrong("there is no such level")) }
}

fn name_of(input: &mut &[u8]) -> Result<String, FieldFault> {
    let name = get_len_prefixed(input).ok_or(CUT)?;
    if name.is_empty() || name.len() > FAMILY_NAME_BYTES_MAX {
        return Err(FieldFault::Wrong("a family's name has 1 to 255 bytes"));
    }
    let name = std::str::from_utf8(name);
    name.map(str::to_owned).map_err(|_| FieldFault::Wrong("a family's name is UTF-8"))
}

fn key_of(input: &mut &[u8]) -> Result<InternalKey, FieldFault> {
    let encoded = get_len_prefixed(input).ok_or(CUT)?;
    let key = InternalKeyRef::decode(encoded).ok_or(FieldFault::Wrong("not an internal key"))?;
    if key.user_key.len() > MAX_KEY_BYTES {
        return Err(FieldFault::Wrong("a user key has at most 65,535 bytes"));
    }
    Ok(key.to_owned())
}

fn table_of(input: &mut &[u8]) -> Result<TableMeta, FieldFault> {
    let meta = TableMeta {
        number: FileNumber::new(u64_of(input)?),
        file_bytes: u64_of(input)?,
        entries: u64_of(input)?,
        tombstones: u64_of(input)?,
        smallest: key_of(input)?,
        largest: key_of(input)?,
        min_seq: seq_of(input)?,
        max_seq: seq_of(input)?,
        created: VersionNumber::new(u64_of(input)?),
    };
    match meta.fault() {
        None => Ok(meta),
        Some(fault) => Err(FieldFault::Wrong(fault)),
    }
}

fn put_table(to: &mut Vec<u8>, family: FamilyId, level: u32, table: &TableMeta) {
    put_u32(to, family.get());
    put_u32(to, level);
    put_u64(to, table.number.get());
    put_u64(to, table.file_bytes);
    put_u64(to, table.entries);
    put_u64(to, table.tombstones);
    for key in [&table.smallest, &table.largest] {
        let mut encoded = Vec::with_capacity(key.user_key.len() + 8);
        key.as_ref().encode_to(&mut encoded);
        put_len_prefixed(to, &encoded);
    }
    put_u64(to, table.min_seq.get());
    put_u64(to, table.max_seq.get());
    put_u64(to, table.created.get());
}
