//! Building the payload of one block of sorted entries.

use super::{RESTART_BYTES, SEQ_BYTES_MAX, SHAPE_BYTES};
use crate::keys::{common_prefix, prefix_number};
use base::{InternalKeyRef, varint};

/// Builds block after block, in the same buffers. Keys must ascend; its caller sees to it.
pub(crate) struct BlockBuilder {
    /// The values; when it is finished, the payload.
    out: Vec<u8>,
    entries: Vec<u8>,
    restarts: Vec<Restart>,
    restart_interval: usize,
    since_restart: usize,
    last_key: Vec<u8>,
    /// With so many bytes every user key begins; more than [`COMMON_MAX`] are not looked for.
    common: usize,
}

struct Restart {
    /// Where its entry begins in `entries`, and its value in the payload.
    entry: u32,
    value: u32,
    /// Its user key's place in `entries`.
    key: u32,
    key_len: u16,
}

const COMMON_MAX: usize = u8::MAX as usize;

impl BlockBuilder {
    pub(crate) fn new(restart_interval: usize) -> Self {
        Self {
            out: Vec::new(),
            entries: Vec::new(),
            restarts: Vec::new(),
            restart_interval,
            since_restart: 0,
            last_key: Vec::new(),
            common: COMMON_MAX,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Bytes that the payload would have now.
    pub(crate) fn size(&self) -> usize {
        let entries = self.out.len() + self.entries.len();
        entries + self.restarts.len() * RESTART_BYTES + self.common_now() + SHAPE_BYTES
    }

    /// Bytes that its buffers hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        let restarts = self.restarts.capacity() * size_of::<Restart>();
        self.out.capacity() + self.entries.capacity() + restarts + self.last_key.capacity()
    }

    fn common_now(&self) -> usize {
        if self.is_empty() { 0 } else { self.common }
    }

    /// At least the bytes that the payload would have with this entry too.
    pub(crate) fn size_with(&self, key: InternalKeyRef<'_>, value: &[u8]) -> usize {
        let header = 3 * varint::MAX_U32_BYTES + SEQ_BYTES_MAX + 1;
        let first_common = if self.is_empty() { COMMON_MAX } else { 0 };
        let (restart, suffix) = if self.is_empty() || self.since_restart == self.restart_interval {
            (RESTART_BYTES + first_common, key.user_key.len())
        } else {
            (0, key.user_key.len() - common_prefix(&self.last_key, key.user_key))
        };
        self.size() + restart + header + suffix + value.len()
    }

    /// Appends an entry. Its caller has seen to it that the payload stays below 4 GiB.
    pub(crate) fn add(&mut self, key: InternalKeyRef<'_>, value: &[u8]) {
        self.add_entry(key, value.len());
        self.out.extend_from_slice(value);
    }

    /// The payload of a block with this entry alone, but for the value that it begins with. It stays in place until
    /// [`BlockBuilder::clear`]. The builder must be empty.
    pub(crate) fn behind(&mut self, key: InternalKeyRef<'_>, value_bytes: usize) -> &[u8] {
        self.add_entry(key, value_bytes);
        self.finish_behind(value_bytes)
    }

    fn add_entry(&mut self, key: InternalKeyRef<'_>, value_bytes: usize) {
        let is_first = self.is_empty();
        let same =
            if is_first { key.user_key.len() } else { common_prefix(&self.last_key, key.user_key) };
        self.common = same.min(if is_first { COMMON_MAX } else { self.common });
        let is_restart = is_first || self.since_restart == self.restart_interval;
        let shared = if is_restart { 0 } else { same };
        let suffix = &key.user_key[shared..];
        let seq = key.seq.get();
        let seq_len = (64 - seq.leading_zeros() as usize).div_ceil(8);
        let at = self.entries.len();
        varint::put_u64(&mut self.entries, shared as u64);
        varint::put_u64(&mut self.entries, (suffix.len() + seq_len + 1) as u64);
        varint::put_u64(&mut self.entries, value_bytes as u64);
        if is_restart {
            self.restarts.push(Restart {
                entry: at as u32,
                value: self.out.len() as u32,
                key: self.entries.len() as u32,
                key_len: suffix.len() as u16,
            });
            self.since_restart = 0;
        }
        self.since_restart += 1;
        self.entries.extend_from_slice(suffix);
        self.entries.extend_from_slice(&seq.to_le_bytes()[..seq_len]);
        self.entries.push((seq_len as u8) << 4 | key.kind as u8);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
    }

    /// Completes the payload, which stays in place until [`BlockBuilder::clear`]. There must be an entry.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.finish_behind(self.out.len())
    }

    /// Appends to `out` all that stands behind `values` bytes of values.
    fn finish_behind(&mut self, values: usize) -> &[u8] {
        let common = self.common_now();
        self.out.extend_from_slice(&self.entries);
        for restart in &self.restarts {
            let start = restart.key as usize;
            let key = &self.entries[start..start + usize::from(restart.key_len)];
            self.out.extend_from_slice(&prefix_number(&key[common..]).to_be_bytes());
        }
        for restart in &self.restarts {
            let entry = (values as u32).wrapping_add(restart.entry);
            self.out.extend_from_slice(&entry.to_le_bytes());
            self.out.extend_from_slice(&restart.value.to_le_bytes());
        }
        self.out.extend_from_slice(&self.last_key[..common]);
        self.out.push(common as u8);
        self.out.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        &self.out
    }

    /// Starts the next block.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.entries.clear();
        self.restarts.clear();
        self.since_restart = 0;
        self.last_key.clear();
    }
}
