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
}

impl BlockBuilder {
    pub(crate) fn new(restart_interval: usize) -> Self {
        Self {
            out: Vec::new(),
            restarts: Vec::new(),
            restart_interval,
            since_restart: 0,
            last_key: Vec::new(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.restarts.is_empty()
    }

    /// Bytes that the payload would have now.
    pub(crate) fn size(&self) -> usize {
        self.out.len() + self.restarts.len() * RESTART_BYTES + SHAPE_BYTES
    }

    /// At least the bytes that the payload would have with this entry too.
    pub(crate) fn size_with(&self, key: InternalKeyRef<'_>, value: &[u8]) -> usize {
        let shared = if self.since_restart < self.restart_interval {
            common_prefix(&self.last_key, key.user_key)
        } else {
            0
        };
        let header = 3 * varint::MAX_U32_BYTES + varint::MAX_U64_BYTES;
        self.size() + RESTART_BYTES + header + (key.user_key.len() - shared) + value.len()
    }

    /// Appends an entry. Its caller has seen to it that the payload stays below 4 GiB.
    pub(crate) fn add(&mut self, key: InternalKeyRef<'_>, value: &[u8]) {
        let is_restart = self.restarts.is_empty() || self.since_restart == self.restart_interval;
        let shared = if is_restart { 0 } else { common_prefix(&self.last_key, key.user_key) };
        let suffix = &key.user_key[shared..];
        let trailer = key.trailer();
        let at = self.out.len();
        varint::put_u64(&mut self.out, shared as u64);
        varint::put_u64(&mut self.out, suffix.len() as u64);
        varint::put_u64(&mut self.out, (varint::len_u64(trailer) + value.len()) as u64);
        if is_restart {
            self.restarts.push((at as u32, self.out.len() as u32, suffix.len() as u16));
            self.since_restart = 0;
        }
        self.since_restart += 1;
        self.out.extend_from_slice(suffix);
        varint::put_u64(&mut self.out, trailer);
        self.out.extend_from_slice(value);
        self.last_key.truncate(shared);
        self.last_key.extend_from_slice(suffix);
    }

    /// Completes the payload, which stays in place until [`BlockBuilder::clear`]. There must be an entry.
    pub(crate) fn finish(&mut self) -> &[u8] {
        let place = |start: u32, len: u16| start as usize..start as usize + usize::from(len);
        // Keys ascend, so what the first and the last have in common all have.
        let common = self.restarts.first().map_or(0, |&(_, start, len)| {
            common_prefix(&self.out[place(start, len)], &self.last_key)
        });
        for &(_, start, len) in &self.restarts {
            let number = prefix_number(&self.out[place(start, len)][common..]);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
        for &(at, ..) in &self.restarts {
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        self.out.extend_from_slice(&(common as u16).to_le_bytes());
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
