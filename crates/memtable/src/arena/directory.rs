//! Where a reference points: 32 bits that name a place in one of the arena's chunks.
//!
//! A reference is the number of a piece, 15 bits, and an offset into it in units of eight bytes, 17 bits: a piece is a
//! mebibyte of a chunk, or the whole of a smaller one. The pieces of a chunk have consecutive numbers, so that what is
//! cut from a chunk can be counted on in references as in addresses. Number 0 is no piece, and reference 0 nothing.
//!
//! Concurrency: pieces are added under the arena's lock and read without; each is stored once, before any reference
//! into it exists. The directory itself is on the heap, 24 bytes a chunk, beside the list of chunks.

use std::ptr::NonNull;

use base::sync::OnceLock;

use crate::entry::{ALIGN, HEADER_BYTES};

/// The bits of a reference that are an offset.
const OFFSET_BITS: u32 = 17;
/// The most bytes of a chunk that one piece covers.
pub(crate) const PIECE_BYTES: usize = ALIGN << OFFSET_BITS;
/// The pieces of the first segment; each further one has twice as many as that before.
const SEGMENT_PIECES: usize = 32;
const SEGMENTS: usize = 10;
/// One more than the greatest number of a piece.
const PIECES_MAX: usize = SEGMENT_PIECES * ((1 << SEGMENTS) - 1);

const _: () = assert!(PIECES_MAX <= 1 << (32 - OFFSET_BITS) && ALIGN == 8);

/// The places of an arena's chunks.
#[derive(Debug)]
pub(crate) struct Directory {
    segments: [OnceLock<Box<[OnceLock<Piece>]>>; SEGMENTS],
}

#[derive(Clone, Copy, Debug)]
struct Piece {
    start: NonNull<u8>,
    /// From `start` to the end of the chunk, further pieces included.
    bytes: usize,
}

// SAFETY: a piece only says where memory is; who touches that memory answers for it.
unsafe impl Send for Piece {}
// SAFETY: as above.
unsafe impl Sync for Piece {}

impl Directory {
    /// A directory of nothing.
    pub(crate) fn new() -> Self {
        Self { segments: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// How many pieces a chunk of `bytes` takes.
    pub(crate) fn pieces(bytes: usize) -> usize {
        bytes.div_ceil(PIECE_BYTES)
    }

    /// Whether `pieces` more fit when `taken` are taken.
    pub(crate) fn has_room(taken: usize, pieces: usize) -> bool {
        pieces < PIECES_MAX - taken
    }

    /// Enters a chunk of `bytes` at `start` behind the `taken` pieces; the reference of its first byte.
    pub(crate) fn enter(&self, taken: usize, start: NonNull<u8>, bytes: usize) -> u32 {
        let pieces = Self::pieces(bytes);
        assert!(Self::has_room(taken, pieces), "a memtable has room for 32 GiB");
        for piece in 0..pieces {
            let skipped = piece * PIECE_BYTES;
            // `wrapping_add` never wraps here: the piece starts inside the chunk.
            let start = NonNull::new(start.as_ptr().wrapping_add(skipped));
            let start = start.expect("no chunk reaches around the end of memory");
            let (segment, at) = place(1 + taken + piece);
            let segment = self.segments[segment]
                .get_or_init(|| (0..SEGMENT_PIECES << segment).map(|_| OnceLock::new()).collect());
            segment[at].get_or_init(|| Piece { start, bytes: bytes - skipped });
        }
        ((1 + taken) << OFFSET_BITS) as u32
    }

    /// Where `reference` points; `None` when no entry can be there.
    #[inline]
    pub(crate) fn resolve(&self, reference: u32) -> Option<NonNull<u8>> {
        let (segment, at) = place((reference >> OFFSET_BITS) as usize);
        let piece = self.segments.get(segment)?.get()?.get(at)?.get()?;
        let offset = (reference as usize & ((1 << OFFSET_BITS) - 1)) * ALIGN;
        if offset + HEADER_BYTES > piece.bytes {
            return None;
        }
        NonNull::new(piece.start.as_ptr().wrapping_add(offset))
    }
}

/// The segment of a piece, and its place there.
#[inline]
fn place(piece: usize) -> (usize, usize) {
    let from_first = piece + SEGMENT_PIECES;
    let segment = (from_first / SEGMENT_PIECES).ilog2() as usize;
    (segment, from_first - (SEGMENT_PIECES << segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_piece_has_a_place_of_its_own() {
        assert_eq!(place(0), (0, 0));
        assert_eq!(place(SEGMENT_PIECES), (1, 0));
        for piece in 1..PIECES_MAX {
            let ((before, at), here) = (place(piece - 1), place(piece));
            let last = at + 1 == SEGMENT_PIECES << before;
            assert_eq!(here, if last { (before + 1, 0) } else { (before, at + 1) });
        }
        assert_eq!(place(PIECES_MAX).0, SEGMENTS);
    }

    #[test]
    fn references_point_into_their_chunk_and_nowhere_else() {
        let directory = Directory::new();
        let mut memory = vec![0u64; (2 * PIECE_BYTES + 4_096) / 8];
        let start = NonNull::from(memory.as_mut_slice()).cast::<u8>();
        let small = directory.enter(0, start, 4_096);
        let large = directory.enter(1, start, 2 * PIECE_BYTES + 4_096);
        let offset_of = |reference: u32| {
            directory.resolve(reference).map(|at| at.addr().get() - start.addr().get())
        };
        assert_eq!(offset_of(small), Some(0));
        assert_eq!(offset_of(small + (4_096 - 16) / 8), Some(4_096 - 16));
        assert_eq!(offset_of(small + (4_096 - 8) / 8), None);
        // A reference is counted on from piece to piece as an address is.
        for bytes in [0, 8, PIECE_BYTES - 8, PIECE_BYTES, 2 * PIECE_BYTES + 4_080] {
            assert_eq!(offset_of(large + (bytes / 8) as u32), Some(bytes));
        }
        assert_eq!(offset_of(large + ((2 * PIECE_BYTES + 4_088) / 8) as u32), None);
        for nothing in [0, 1, u32::MAX, 9 << OFFSET_BITS] {
            assert_eq!(offset_of(nothing), None);
        }
    }
}
