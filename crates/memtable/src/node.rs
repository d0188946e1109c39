//! Nodes: one entry each, written once into arena memory, then only its links change.
//!
//! Format, in memory (the machine's byte order; nothing of it reaches a disk):
//!
//! ```text
//! prefix u64 | trailer u64 | value length u32 | key length u16 | height u8 | unused u8   the header, 24 bytes
//! link × height                                                                          8 bytes each
//! key bytes | value bytes | padding to the next multiple of 8
//! ```
//!
//! The prefix is the first eight bytes of the user key as a big-endian number, filled up with zeros: when two prefixes
//! differ they order as the keys do; when they are equal the keys decide, since keys may share them and a key may end
//! in zeros. The links lie between header and key so that one cache line serves most comparisons.
//!
//! Concurrency: everything but the links is written before the node is published by a Release store of its address
//! into a link, and read after an Acquire load of that link. A node never moves and lives as long as its arena.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};
use std::slice;

use base::InternalKeyRef;
use base::sync::atomic::AtomicPtr;

/// The most levels a tower can have: 4^12 = 16 million entries at full speed, and more a little slower. Models have few
/// entries, and every level is work to explore.
pub(crate) const HEIGHT_MAX: usize = if cfg!(loom) { 3 } else { 12 };

/// What every node starts at a multiple of.
pub(crate) const ALIGN: usize = align_of::<Header>();

const _: () = assert!(align_of::<Link>() <= ALIGN && size_of::<Header>().is_multiple_of(ALIGN));
const _: () =
    assert!(base::MAX_KEY_BYTES <= u16::MAX as usize && base::MAX_VALUE_BYTES <= u32::MAX as usize);

/// Where a tower points at one level: the next node of at least that height, or null.
pub(crate) type Link = AtomicPtr<Header>;

/// The fixed part of a node.
#[repr(C, align(8))]
pub(crate) struct Header {
    prefix: u64,
    trailer: u64,
    value_len: u32,
    key_len: u16,
    height: u8,
    /// Lets loom see the plain bytes of a node: touched as they are, so that a link with too weak an ordering shows.
    #[cfg(loom)]
    witness: loom::cell::UnsafeCell<()>,
}

/// The bytes of a node, a multiple of [`ALIGN`]. The lengths are within the limits of keys and values.
#[inline]
pub(crate) fn bytes(height: usize, key_len: usize, value_len: usize) -> usize {
    (size_of::<Header>() + height * size_of::<Link>() + key_len + value_len).next_multiple_of(ALIGN)
}

/// What a search looks for: an internal key, with its prefix taken once.
#[derive(Clone, Copy)]
pub(crate) struct Probe<'k> {
    user_key: &'k [u8],
    prefix: u64,
    trailer: u64,
}

impl<'k> Probe<'k> {
    #[inline]
    pub(crate) fn new(key: InternalKeyRef<'k>) -> Self {
        Self { user_key: key.user_key, prefix: prefix(key.user_key), trailer: key.trailer() }
    }
}

/// The first eight bytes as a big-endian number, filled up with zeros.
#[inline]
fn prefix(key: &[u8]) -> u64 {
    match key.first_chunk::<8>() {
        Some(first) => u64::from_be_bytes(*first),
        None => key.iter().rev().fold(0, |low, &byte| (low >> 8) | u64::from(byte) << 56),
    }
}

/// A node whose memory stays valid for `'a`.
///
/// A raw pointer inside, not a reference to the header: links, key and value lie beyond the header, and a reference
/// would not be allowed to reach them.
#[derive(Clone, Copy)]
pub(crate) struct NodeRef<'a> {
    header: NonNull<Header>,
    lives: PhantomData<&'a Header>,
}

// SAFETY: a `NodeRef` gives what a `&Header` gives: shared access to bytes that no longer change and to atomics.
unsafe impl Send for NodeRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for NodeRef<'_> {}

impl<'a> NodeRef<'a> {
    /// Writes a node, with null links, and gives it; nobody else knows it yet.
    ///
    /// # Safety
    /// `at` is aligned to [`ALIGN`], valid for reads and writes of `bytes(height, key length, value length)` bytes for
    /// all of `'a`, and nobody else accesses that memory but through what this call returns.
    #[inline]
    pub(crate) unsafe fn write(
        at: NonNull<u8>,
        height: usize,
        key: InternalKeyRef<'_>,
        value: &[u8],
    ) -> Self {
        debug_assert!((1..=HEIGHT_MAX).contains(&height) && at.addr().get().is_multiple_of(ALIGN));
        let header = at.cast::<Header>();
        let fixed = Header {
            prefix: prefix(key.user_key),
            trailer: key.trailer(),
            value_len: value.len() as u32,
            key_len: key.user_key.len() as u16,
            height: height as u8,
            #[cfg(loom)]
            witness: loom::cell::UnsafeCell::new(()),
        };
        // SAFETY: the header comes first in the memory that the caller vouches for.
        unsafe { header.write(fixed) };
        let node = Self { header, lives: PhantomData };
        for level in 0..height {
            // SAFETY: `height` links follow the header in that memory.
            unsafe { node.link_at(level).write(Link::new(ptr::null_mut())) };
        }
        let bytes = node.key_at(height);
        // SAFETY: the key follows the links, the value follows the key; both were counted in the caller's bytes, and
        // nobody else can hold references into that memory, so the source does not overlap it.
        unsafe {
            ptr::copy_nonoverlapping(key.user_key.as_ptr(), bytes, key.user_key.len());
            ptr::copy_nonoverlapping(value.as_ptr(), bytes.add(key.user_key.len()), value.len());
        }
        #[cfg(loom)]
        node.header().witness.with_mut(|_| ());
        node
    }

    /// The node behind an address that was read from a link; `None` for null.
    ///
    /// # Safety
    /// `header` is null, or was given by [`NodeRef::as_ptr`] of a node whose memory stays valid for `'a`, and was read
    /// by an Acquire load from a link into which it was stored with Release.
    #[inline]
    pub(crate) unsafe fn from_link(header: *mut Header) -> Option<Self> {
        let node = NonNull::new(header).map(|header| Self { header, lives: PhantomData })?;
        #[cfg(loom)]
        node.header().witness.with(|_| ());
        Some(node)
    }

    /// The same node, said to be valid for `'b`.
    ///
    /// # Safety
    /// The node's memory stays valid for `'b`.
    #[inline]
    pub(crate) unsafe fn extend<'b>(self) -> NodeRef<'b> {
        NodeRef { header: self.header, lives: PhantomData }
    }

    /// Its address, to be stored in links.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut Header {
        self.header.as_ptr()
    }

    /// How many links it has.
    #[inline]
    pub(crate) fn height(self) -> usize {
        usize::from(self.header().height)
    }

    /// Its link at `level`, which is below its height.
    #[inline]
    pub(crate) fn link(self, level: usize) -> &'a Link {
        assert!(level < self.height(), "a node has links only below its height");
        // SAFETY: `write` wrote this link, and it is only accessed through shared references since.
        unsafe { &*self.link_at(level) }
    }

    /// Its key.
    #[inline]
    pub(crate) fn key(self) -> InternalKeyRef<'a> {
        InternalKeyRef::from_trailer(self.user_key(), self.header().trailer)
            .expect("a node's trailer was taken from an internal key")
    }

    /// Its value.
    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        let header = self.header();
        let key_end = self.key_at(self.height()).wrapping_add(usize::from(header.key_len));
        // SAFETY: `write` wrote so many value bytes right behind the key, and nothing changes them.
        unsafe { slice::from_raw_parts(key_end, header.value_len as usize) }
    }

    /// The user key.
    #[inline]
    pub(crate) fn user_key(self) -> &'a [u8] {
        let start = self.key_at(self.height());
        // SAFETY: `write` wrote so many key bytes there, and nothing changes them.
        unsafe { slice::from_raw_parts(start, usize::from(self.header().key_len)) }
    }

    /// Where this node stands, seen from `probe`: `Less` when it comes before it.
    #[inline]
    pub(crate) fn compare(self, probe: &Probe<'_>) -> Ordering {
        let header = self.header();
        match header.prefix.cmp(&probe.prefix) {
            Ordering::Equal => {
                let keys = self.user_key().cmp(probe.user_key);
                keys.then_with(|| probe.trailer.cmp(&header.trailer))
            }
            decided => decided,
        }
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: whoever made this `NodeRef` vouched that the header is initialised and valid for `'a`; it is never
        // written again.
        unsafe { self.header.as_ref() }
    }

    /// Where the link at `level` is.
    #[inline]
    fn link_at(self, level: usize) -> *mut Link {
        self.header.as_ptr().wrapping_add(1).cast::<Link>().wrapping_add(level)
    }

    /// Where the key is, in a node of this height.
    #[inline]
    fn key_at(self, height: usize) -> *mut u8 {
        self.link_at(height).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_order_as_their_keys() {
        let keys: [&[u8]; 9] =
            [b"", b"\0", b"a", b"a\0", b"ab", b"abcdefg", b"abcdefgh", b"abcdefghi", b"b"];
        for pair in keys.windows(2) {
            assert!(prefix(pair[0]) <= prefix(pair[1]), "{pair:?}");
        }
        assert_eq!(prefix(b"abc"), u64::from_be_bytes(*b"abc\0\0\0\0\0"));
        assert_eq!(prefix(b"abcdefghijk"), u64::from_be_bytes(*b"abcdefgh"));
    }
}
