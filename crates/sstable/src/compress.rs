//! Compressing and decompressing the payload of one block.

use crate::error::Malformed;
use crate::options::Compression;
use std::cell::RefCell;
use std::io;

/// A writer's compressor: its tables are used for block after block. What it makes of a block does not depend on those
/// before it.
pub(crate) enum Compressor {
    None,
    Lz4 {
        table: Box<lz4_flex::block::CompressTable>,
    },
    Zstd {
        context: Box<zstd::bulk::Compressor<'static>>,
        /// What the library holds for it.
        held_bytes: usize,
    },
    /// Ends by a panic, as a defect would.
    #[cfg(test)]
    Broken,
}

/// What LZ4's hash table takes at most.
const LZ4_TABLE_BYTES: usize = 16 << 10;

impl Compressor {
    pub(crate) fn new(compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4 { table: Box::default() },
            Compression::Zstd { level } => {
                Self::Zstd { context: Box::new(zstd::bulk::Compressor::new(level)?), held_bytes: 0 }
            }
        })
    }

    /// About how many bytes of memory it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Lz4 { .. } => LZ4_TABLE_BYTES,
            Self::Zstd { held_bytes, .. } => *held_bytes,
            #[cfg(test)]
            Self::Broken => 0,
        }
    }

    /// Puts the compressed form of `raw` into the beginning of `out`, which grows as needed: its length, or `None` when
    /// it is not worth having.
    pub(crate) fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let len = match self {
            Self::None => return Ok(None),
            Self::Lz4 { table } => {
                Compression::Lz4.make_room(out, raw.len());
                lz4_flex::block::compress_into_with_table(raw, out, table)
                    .map_err(|refused| io::Error::other(refused.to_string()))?
            }
            Self::Zstd { context, held_bytes } => {
                make_room(out, zstd::zstd_safe::compress_bound(raw.len()));
                let len = context.compress_to_buffer(raw, &mut out[..])?;
                *held_bytes = context.context_mut().sizeof();
                len
            }
            #[cfg(test)]
            Self::Broken => panic!("a defect"),
        };
        Ok((len <= raw.len() - raw.len() / 8).then_some(len))
    }
}

/// Makes `out` at least so long.
fn make_room(out: &mut Vec<u8>, bytes: usize) {
    if out.len() < bytes {
        out.reserve_exact(bytes - out.len());
        out.resize(bytes, 0);
    }
}

impl Compression {
    /// Makes as much room in `out` as its compressor needs for so many bytes.
    pub(crate) fn make_room(self, out: &mut Vec<u8>, raw_bytes: usize) {
        match self {
            Self::None => {}
            Self::Lz4 => make_room(out, lz4_flex::block::get_maximum_output_size(raw_bytes)),
            Self::Zstd { .. } => make_room(out, zstd::zstd_safe::compress_bound(raw_bytes)),
        }
    }
}

thread_local! {
    /// Zstandard's state (about 100 KiB) is dear to make, so each reading thread keeps one.
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The most bytes that `stored` bytes can decompress to: neither format can say more in fewer bytes, so a larger
/// claim is false and nothing is allocated for it.
fn raw_len_max(code: u8, stored: usize) -> u64 {
    let stored = stored as u64;
    match code {
        // A length is written in bytes of at most 255 each.
        1 => stored.saturating_mul(255).saturating_add(64),
        // A block of 128 KiB takes at least 4 bytes.
        2 => stored.saturating_mul(32 << 10).saturating_add(128 << 10),
        _ => stored,
    }
}

/// Decompresses a payload whose trailer says that it has `raw_len` bytes and the compression `code`.
pub(crate) fn decompress(code: u8, stored: &[u8], raw_len: u32) -> Result<Vec<u8>, Malformed> {
    let raw_len_wide = u64::from(raw_len);
    if raw_len_wide > raw_len_max(code, stored.len()) {
        return Err(Malformed::new(
            "a decompressed length that its contents can have",
            format_args!("{raw_len} bytes from {}", stored.len()),
        ));
    }
    let mut raw = Vec::new();
    raw.try_reserve_exact(raw_len as usize).map_err(|_| {
        Malformed::new("a block that fits in memory", format_args!("{raw_len} bytes"))
    })?;
    raw.resize(raw_len as usize, 0);
    let written = match code {
        0 => {
            if stored.len() == raw.len() {
                raw.copy_from_slice(stored);
            }
            Ok(stored.len())
        }
        1 => lz4_flex::block::decompress_into(stored, &mut raw).map_err(|fault| fault.to_string()),
        2 => unzstd(stored, &mut raw).map_err(|fault| fault.to_string()),
        _ => return Err(Malformed::new("compression 0, 1 or 2", format_args!("{code}"))),
    };
    match written {
        Ok(len) if len == raw.len() => Ok(raw),
        Ok(len) => Err(Malformed::new(
            "as many bytes as the trailer says",
            format_args!("{len} bytes for {raw_len}"),
        )),
        Err(fault) => Err(Malformed::new("contents that decompress", fault)),
    }
}

fn unzstd(stored: &[u8], raw: &mut [u8]) -> io::Result<usize> {
    let mut with = |slot: &mut Option<_>| {
        let context = match slot {
            Some(context) => context,
            None => slot.insert(zstd::bulk::Decompressor::new()?),
        };
        context.decompress_to_buffer(stored, raw)
    };
    match ZSTD.try_with(|slot| with(&mut slot.borrow_mut())) {
        Ok(done) => done,
        // The thread is ending: it reads once more while its locals are dropped.
        Err(_) => with(&mut None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(compression: Compression, raw: &[u8]) -> Option<usize> {
        let mut compressor = Compressor::new(compression).unwrap();
        let mut out = Vec::new();
        let len = compressor.compress(raw, &mut out).unwrap()?;
        assert_eq!(decompress(compression.code(), &out[..len], raw.len() as u32).unwrap(), raw);
        Some(len)
    }

    #[test]
    fn what_shrinks_is_compressed_and_comes_back() {
        for compression in [Compression::Lz4, Compression::Zstd { level: 3 }] {
            for len in [64, 1000, 100_000, 3 << 20] {
                // All alike is the greatest ratio there is: it must stay within `raw_len_max`.
                assert!(round_trip(compression, &vec![7; len]).is_some());
                let text: Vec<u8> = (0..len).map(|i| (i % 251 / 7) as u8).collect();
                assert!(round_trip(compression, &text).unwrap() < len);
            }
        }
    }

    #[test]
    fn a_thread_that_ends_can_still_read() {
        /// Reads when its thread ends, after the state that was made for the thread later is gone.
        struct AtThreadEnd(Vec<u8>, std::sync::mpsc::Sender<Option<Vec<u8>>>);

        impl AtThreadEnd {
            fn read(&self) -> Vec<u8> {
                decompress(2, &self.0, 1000).unwrap()
            }
        }

        impl Drop for AtThreadEnd {
            fn drop(&mut self) {
                // A panic in a thread's last moments ends the process.
                let read = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.read()));
                self.1.send(read.ok()).unwrap();
            }
        }

        thread_local! {
            static KEPT: RefCell<Option<AtThreadEnd>> = const { RefCell::new(None) };
        }
        let mut compressor = Compressor::new(Compression::Zstd { level: 3 }).unwrap();
        let mut stored = Vec::new();
        let len = compressor.compress(&[7; 1000], &mut stored).unwrap().unwrap();
        stored.truncate(len);
        let (said, heard) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            KEPT.with_borrow_mut(|place| *place = Some(AtThreadEnd(stored, said)));
            KEPT.with_borrow(|place| place.as_ref().unwrap().read())
        });
        assert_eq!(thread.join().unwrap(), [7; 1000]);
        assert_eq!(heard.recv().unwrap(), Some(vec![7; 1000]));
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let mut state = 1u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(4096)
        .collect();
        for compression in [Compression::None, Compression::Lz4, Compression::Zstd { level: 1 }] {
            assert_eq!(round_trip(compression, &noise), None);
        }
    }

    #[test]
    fn false_lengths_and_noise_are_refused() {
        for code in 0..=3 {
            assert!(decompress(code, &[1, 2, 3], u32::MAX).is_err());
            assert!(decompress(code, &[0xff; 40], 100).is_err());
        }
    }
}
