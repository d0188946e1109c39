//! What only a full verification looks at: that a block's restarts are what a search takes them for.

use super::{Block, RestartPlace};
use crate::error::Malformed;
use crate::keys::prefix_number;

impl Block {
    /// Whether the stored prefixes and the common bytes are those of the restarts' keys.
    pub(crate) fn check_prefixes(&self) -> Result<(), Malformed> {
        let common = self.common();
        for (number, prefix) in self.prefixes().iter().enumerate() {
            let (key, _) = self.indexed(number)?;
            let rest = key.user_key.strip_prefix(common);
            if rest.map(prefix_number) != Some(u64::from_be_bytes(*prefix)) {
                return Err(Malformed::new(
                    "common bytes and a prefix that are those of the restart's key",
                    format_args!("others at restart {number}"),
                ));
            }
        }
        Ok(())
    }

    /// Whether every entry is a restart, as it must be in an index, and keys ascend strictly.
    pub(crate) fn check_index(&self) -> Result<(), Malformed> {
        let mut place = RestartPlace { entry: self.entries_start(), value: 0 };
        let mut last = None;
        for number in 0..self.restarts() {
            let (key, value) = self.indexed(number)?;
            if self.restart(number)? != place || last.is_some_and(|last| last >= key) {
                return Err(Malformed::new(
                    "index entries in order, each a restart",
                    format_args!("another, number {number}"),
                ));
            }
            last = Some(key);
            place.entry = self.entry_at(place.entry)?.end;
            place.value += value.len() as u64;
        }
        let end = RestartPlace { entry: self.entries_end(), value: self.entries_start() as u64 };
        if place != end {
            return Err(Malformed::new(
                "index entries in order, each a restart, and values that fill their part",
                format_args!("the last at byte {}", place.entry),
            ));
        }
        Ok(())
    }
}
