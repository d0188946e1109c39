//! What the unit tests of several modules make.

use std::sync::Arc;

use base::{FileNumber, InternalKey, SeqNo, ValueKind};

use crate::ids::VersionNumber;
use crate::table::{TableFile, TableMeta};

pub(crate) fn key(user_key: &[u8], seq: u64) -> InternalKey {
    InternalKey { user_key: user_key.into(), seq: SeqNo::new(seq), kind: ValueKind::Put }
}

/// A table with keys from `first` to `last`, whose entries have the sequence number `seq`.
pub(crate) fn table(number: u64, first: &str, last: &str, seq: u64) -> TableMeta {
    TableMeta {
        number: FileNumber::new(number),
        file_bytes: 1000,
        entries: 10,
        tombstones: 1,
        smallest: key(first.as_bytes(), seq),
        largest: key(last.as_bytes(), seq),
        min_seq: SeqNo::new(seq),
        max_seq: SeqNo::new(seq),
        created: VersionNumber::new(1),
    }
}

pub(crate) fn shared(meta: TableMeta) -> Arc<TableFile<()>> {
    Arc::new(TableFile { meta, handle: () })
}
