//! Reads one key: memtables, then level 0, each newest first, then one table a deeper level.

use base::{FamilyId, SeqNo, ValueKind};
use bytes::Bytes;

use crate::error::Error;
use crate::shared::Shared;

impl Shared {
    /// The value of `key` in `family` as a reader at `at` sees it; `None` for `at`: now.
    pub(crate) fn get(
        &self,
        family: FamilyId,
        key: &[u8],
        at: Option<SeqNo>,
    ) -> Result<Option<Bytes>, Error> {
        self.health.check_open()?;
        let (view, visible) = self.view_now();
        let at = at.unwrap_or(visible);
        let (memtables, levels) = view.family(family)?;
        for memtable in memtables {
            if let Some((found, value)) = memtable.get(key, at) {
                return Ok(live(found.kind).then(|| Bytes::copy_from_slice(value)));
            }
        }
        for file in levels.tables_for(key) {
            if let Some(found) = self.tables.reader(file)?.get(key, at)? {
                return Ok(live(found.kind).then_some(found.value));
            }
        }
        Ok(None)
    }
}

/// Whether the newest version of a key is a value.
fn live(kind: ValueKind) -> bool {
    kind == ValueKind::Put
}
