//! Building the payload of one block of sorted entries.

use super::{RESTART_BYTES, SHAPE_BYTES};
use crate::keys::{common_prefix, prefix_number};
use base::{InternalKeyRef, varint};

/// Builds block after block, in the same buffers. Keys must ascend; its caller sees to it.
pub(crate) struct BlockBuilder {
    out: Vec<u8>,
    /// For each restart its entry's offset, and in `out` where its user key begins and how long it is.
    restarts: Vec<(u32, u32, u16)>,
    restart_interval: usize,
    since_restart: usize,
    last_key: Vec<u8>,
    /// With so many bytes every user key begins; more than [`COMMON_MAX`] are not looked for.
    common: usize,
}

const COMMON_MAX: usize = u8::MAX as usize;

impl BlockBuilder {
    pub(crate) fn new(restart_interval: usize) -> Self {
        Self {
            out: Vec::new(),
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
        self.out.len() + self.restarts.len() * RESTART_BYTES + self.common_now() + SHAPE_BYTES
    }

    /// Bytes that its buffers hold.
    pub(crate) fn memory_bytes(&self) -> usize {
        let restarts = self.restarts.capacity() * size_of::<(u32, u32, u16)>();
        self.out.capacity() + restarts + self.last_key.capacity()
    }

    fn common_now(&self) -> usize {
        if self.is_empty() { 0 } else { self.common }
    }

    /// At least the bytes that the payload would have with this entry too.
    pub(crate) fn size_with(&self, key: InternalKeyRef<'_>, value: &[u8]) -> usize {
        let header = 3 * varint::MAX_U32_BYTES + varint::MAX_U64_BYTES;
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
        self.add_head(key, value.len());
        self.out.extend_from_slice(value);
    }

    /// The payload of a block with this entry alone, in two parts: the value belongs between them. They stay in place
    /// until [`BlockBuilder::clear`]. The builder must be empty.
    pub(crate) fn around(&mut self, key: InternalKeyRef<'_>, value_bytes: usize) -> [&[u8]; 2] {
        self.add_head(key, value_bytes);
        let head = self.out.len();
        self.finish();
        let (head, tail) = self.out.split_at(head);
        [head, tail]
    }

    /// Appends what stands before an entry's value.
    fn add_head(&mut self, key: InternalKeyRef<'_>, value_bytes: usize) {
        let is_first = self.is_empty();
        let same =
            if is_first { key.user_key.len() } else { common_prefix(&self.last_key, key.user_key) };
        self.common = same.min(if is_first { COMMON_MAX } else { self.common });
        let is_restart = is_first || self.since_restart == self.restart_interval;
        let shared = if is_restart { 0 } else { same };
        let suffix = &key.user_key[shared..];
        let trailer = key.trailer();
        let at = self.out.len();
        varint::put_u64(&mut self.out, shared as u64);
        varint::put_u64(&mut self.out, suffix.len() as u64);
        varint::put_u64(&mut self.out, (varint::len_u64(trailer) + value_bytes) as u64);
        if is_restart {
            self.restarts.push((at as u32, self.out.len() as u32, suffix.len() as u16));
            self.since_restart = 0;
        }
        self.since_restart += 1;
        self.out.extend_from_slice(suffix);
        varint::put_u64(&mut self.out, trailer);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
    }

    /// Completes the payload, which stays in place until [`BlockBuilder::clear`]. There must be an entry.
    pub(crate) fn finish(&mut self) -> &[u8] {
        let common = self.common_now();
        for &(_, start, len) in &self.restarts {
            let key = &self.out[start as usize..start as usize + usize::from(len)];
            let number = prefix_number(&key[common..]);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        for &(at, ..) in &self.restarts {
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        self.out.extend_from_slice(&self.last_key[..common]);
        self.out.push(common as u8);
        self.out.extend_from_slice(&(self.restarts.len() as u32).to_le_bytes());
        &self.out
    }

    /// Starts the next block.
    pub(crate) fn clear(&mut self) {
        self.out.clear();
        self.restarts.clear();
        self.since_restart = 0;
        self.last_key.clear();
    }
}
