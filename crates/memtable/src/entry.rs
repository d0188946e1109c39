//! Entries: a key and its value, written once into arena memory and never changed.
//!
//! Format, in memory (the machine's byte order; nothing of it reaches a disk):
//!
//! ```text
//! trailer u64 | value length u32 | key length u16 | unused u16      the header, 16 bytes
//! key bytes | value bytes | padding to the next multiple of 8
//! ```
//!
//! Concurrency: an entry is written before its place is stored, with Release, into a node, and read after an Acquire
//! load of that place. It never moves and lives as long as its arena.

use std::cmp::Ordering;
use std::marker::PhantomData;
use std::mem::{align_of, size_of};
use std::ptr::{self, NonNull};
use std::slice;

use base::InternalKeyRef;

/// What every entry starts at a multiple of.
pub(crate) const ALIGN: usize = align_of::<Header>();

/// The least that an entry takes.
pub(crate) const HEADER_BYTES: usize = size_of::<Header>();

const _: () = assert!(size_of::<Header>().is_multiple_of(ALIGN));
const _: () =
    assert!(base::MAX_KEY_BYTES <= u16::MAX as usize && base::MAX_VALUE_BYTES <= u32::MAX as usize);

/// The fixed part of an entry.
#[repr(C, align(8))]
struct Header {
    trailer: u64,
    value_len: u32,
    key_len: u16,
    /// Lets loom see the plain bytes of an entry: touched as they are, so that one that is read before it is
    /// published shows.
    #[cfg(loom)]
    witness: loom::cell::UnsafeCell<()>,
}

/// The bytes of an entry, a multiple of [`ALIGN`]. The lengths are within the limits of keys and values.
#[inline]
pub(crate) fn bytes(key_len: usize, value_len: usize) -> usize {
    (HEADER_BYTES + key_len + value_len).next_multiple_of(ALIGN)
}

/// What a search looks for: a place in the order of internal keys.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Probe<'a> {
    pub(crate) user_key: &'a [u8],
    pub(crate) trailer: u64,
}

impl<'a> Probe<'a> {
    /// The place of `key`.
    #[inline]
    pub(crate) fn new(key: InternalKeyRef<'a>) -> Self {
        Self { user_key: key.user_key, trailer: key.trailer() }
    }

    /// Before every key.
    pub(crate) const FIRST: Self = Self { user_key: b"", trailer: u64::MAX };
}

/// An entry whose memory is valid for `'a`.
#[derive(Clone, Copy)]
pub(crate) struct EntryRef<'a> {
    header: NonNull<Header>,
    lives: PhantomData<&'a Header>,
}

// SAFETY: an entry is plain bytes that nobody writes any more once there is an `EntryRef` to share.
unsafe impl Send for EntryRef<'_> {}
// SAFETY: as above.
unsafe impl Sync for EntryRef<'_> {}

impl<'a> EntryRef<'a> {
    /// Writes an entry.
    ///
    /// # Safety
    /// `at` is a multiple of [`ALIGN`] and valid for reads and writes of [`bytes`] of these lengths for all of `'a`,
    /// and nobody else accesses that memory but through what this call returns.
    #[inline]
    pub(crate) unsafe fn write(at: NonNull<u8>, key: InternalKeyRef<'_>, value: &[u8]) -> Self {
        debug_assert!(at.addr().get().is_multiple_of(ALIGN));
        let header = at.cast::<Header>();
        let fixed = Header {
            trailer: key.trailer(),
            value_len: value.len() as u32,
            key_len: key.user_key.len() as u16,
            #[cfg(loom)]
            witness: loom::cell::UnsafeCell::new(()),
        };
        // SAFETY: the header comes first in the memory that the caller vouches for.
        unsafe { header.write(fixed) };
        let entry = Self { header, lives: PhantomData };
        let bytes = entry.key_at();
        // SAFETY: the key follows the header, the value follows the key; both were counted in the caller's bytes, and
        // nobody else can hold references into that memory, so the source does not overlap it.
        unsafe {
            ptr::copy_nonoverlapping(key.user_key.as_ptr(), bytes, key.user_key.len());
            ptr::copy_nonoverlapping(value.as_ptr(), bytes.add(key.user_key.len()), value.len());
        }
        #[cfg(loom)]
        entry.header().witness.with_mut(|_| ());
        entry
    }

    /// The entry that starts at `at`.
    ///
    /// # Safety
    /// [`EntryRef::write`] wrote an entry there, that happened before this, and its memory stays valid for `'a`.
    #[inline]
    pub(crate) unsafe fn at(at: NonNull<u8>) -> Self {
        let entry = Self { header: at.cast(), lives: PhantomData };
        #[cfg(loom)]
        entry.header().witness.with(|_| ());
        entry
    }

    /// The same entry, said to be valid for `'b`.
    ///
    /// # Safety
    /// The entry's memory stays valid for `'b`.
    #[inline]
    pub(crate) unsafe fn extend<'b>(self) -> EntryRef<'b> {
        EntryRef { header: self.header, lives: PhantomData }
    }

    /// Its key.
    #[inline]
    pub(crate) fn key(self) -> InternalKeyRef<'a> {
        InternalKeyRef::from_trailer(self.user_key(), self.header().trailer)
            .expect("an entry's trailer was taken from an internal key")
    }

    /// Its place in the order.
    #[inline]
    pub(crate) fn probe(self) -> Probe<'a> {
        Probe { user_key: self.user_key(), trailer: self.header().trailer }
    }

    /// The user key.
    #[inline]
    pub(crate) fn user_key(self) -> &'a [u8] {
        // SAFETY: `write` wrote so many key bytes there, and nothing changes them.
        unsafe { slice::from_raw_parts(self.key_at(), usize::from(self.header().key_len)) }
    }

    /// Its value.
    #[inline]
    pub(crate) fn value(self) -> &'a [u8] {
        let header = self.header();
        let key_end = self.key_at().wrapping_add(usize::from(header.key_len));
        // SAFETY: `write` wrote so many value bytes right behind the key, and nothing changes them.
        unsafe { slice::from_raw_parts(key_end, header.value_len as usize) }
    }

    /// Where this entry stands, seen from `probe`: `Less` when it comes before it.
    #[inline]
    pub(crate) fn compare(self, probe: &Probe<'_>) -> Ordering {
        let keys = self.user_key().cmp(probe.user_key);
        keys.then_with(|| probe.trailer.cmp(&self.header().trailer))
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: whoever made this `EntryRef` vouched that the header is initialised and valid for `'a`; it is never
        // written again.
        unsafe { self.header.as_ref() }
    }

    /// Where the key is.
    #[inline]
    fn key_at(self) -> *mut u8 {
        self.header.as_ptr().wrapping_add(1).cast()
    }
}
