//! A writer's file: blocks are sealed, gathered in a buffer, written, and given to the disk every so many bytes.

use crate::compress::Compressor;
use crate::error::Error;
use crate::format::{BlockKind, Handle, Place, Trailer};
use crate::options::{Compression, TableOptions};
use std::io::{self, IoSlice};
use std::path::Path;
use std::sync::Arc;
use vfs::File;

/// Bytes that are gathered before they are written.
pub(crate) const BUFFER_BYTES: usize = 256 << 10;

pub(super) struct Output {
    file: Arc<dyn File>,
    buffer: Vec<u8>,
    /// Bytes written to the file.
    written: u64,
    /// How many of them the operating system was asked to write to the disk.
    handed_over: u64,
    bytes_per_sync: u64,
    is_strict: bool,
    salt: u64,
    compression: Compression,
    compressor: Compressor,
    /// What the compressor makes.
    compressed: Vec<u8>,
    has_failed: bool,
}

impl Output {
    pub(super) fn new(file: Arc<dyn File>, options: &TableOptions) -> Self {
        Self {
            file,
            buffer: Vec::new(),
            written: 0,
            handed_over: 0,
            bytes_per_sync: options.bytes_per_sync,
            is_strict: options.strict_bytes_per_sync,
            salt: options.checksum_salt,
            compression: options.compression,
            compressor: Compressor::None,
            compressed: Vec::new(),
            has_failed: false,
        }
    }

    pub(super) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Bytes that its buffers hold.
    pub(super) fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.compressed.capacity() + self.compressor.memory_bytes()
    }

    /// Refuses when an earlier call failed.
    pub(super) fn check_usable(&self) -> Result<(), Error> {
        if self.has_failed {
            return Err(Error::WriterFailed { path: self.path().to_path_buf() });
        }
        Ok(())
    }

    /// Sets up compression and sees to it that the file is empty.
    pub(super) fn start(&mut self, options: &TableOptions) -> Result<(), Error> {
        self.compressor =
            Compressor::new(options.compression).map_err(|source| self.refused(source))?;
        match self.file.len().map_err(Error::io("find the length of"))? {
            0 => Ok(()),
            found => Err(Error::NotEmpty { path: self.path().to_path_buf(), found }),
        }
    }

    /// Where the next block begins.
    pub(super) fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Appends a block; compressed, if that was asked for and pays.
    pub(super) fn write_block(
        &mut self,
        kind: BlockKind,
        raw: &[u8],
        compress: bool,
    ) -> Result<Handle, Error> {
        // Taken out while it is appended; lost with a writer that has failed.
        let mut out = std::mem::take(&mut self.compressed);
        let len = if compress { self.compressor.compress(raw, &mut out) } else { Ok(None) };
        let handle = self.write_compressed(kind, raw, len.map(|len| len.map(|len| &out[..len])))?;
        self.compressed = out;
        Ok(handle)
    }

    /// Appends a block that was compressed before: `compressed` is what became of `raw`, `None` when that is not worth
    /// having.
    pub(super) fn write_compressed(
        &mut self,
        kind: BlockKind,
        raw: &[u8],
        compressed: io::Result<Option<&[u8]>>,
    ) -> Result<Handle, Error> {
        let written = compressed
            .map_err(|source| self.refused(source))
            .and_then(|compressed| self.try_write_block(kind, raw, compressed));
        self.has_failed |= written.is_err();
        written
    }

    fn try_write_block(
        &mut self,
        kind: BlockKind,
        raw: &[u8],
        compressed: Option<&[u8]>,
    ) -> Result<Handle, Error> {
        let offset = self.offset();
        let Ok(raw_len) = u32::try_from(raw.len()) else {
            let path = self.path().to_path_buf();
            return Err(Error::TooLarge { path, block: kind, found: raw.len() });
        };
        let code = if compressed.is_some() { self.compression.code() } else { 0 };
        let payload = compressed.unwrap_or(raw);
        let trailer = Trailer { raw_len, kind, compression: code };
        let sealed = trailer.seal(&[payload], Place { offset, salt: self.salt });
        self.append(payload)?;
        self.append(&sealed)?;
        Ok(Handle { offset, len: payload.len() as u32 })
    }

    /// Appends a block whose payload is `parts`, one after the other, as it is. What fits is gathered in the buffer; else
    /// buffer and parts are written from where they stand, in one call.
    ///
    /// Writing each large value from where it stands would spare the copy into the buffer, and cost more than that: of
    /// 64 KiB values one took 25 µs and not 22, of 32 KiB 16 and not 11, for the system is better at few long writes.
    pub(super) fn write_parts(
        &mut self,
        kind: BlockKind,
        parts: [&[u8]; 2],
    ) -> Result<Handle, Error> {
        let written = self.try_write_parts(kind, parts);
        self.has_failed |= written.is_err();
        written
    }

    fn try_write_parts(&mut self, kind: BlockKind, parts: [&[u8]; 2]) -> Result<Handle, Error> {
        let offset = self.offset();
        let found = parts.iter().map(|part| part.len()).sum();
        let Ok(len) = u32::try_from(found) else {
            return Err(Error::TooLarge { path: self.path().to_path_buf(), block: kind, found });
        };
        let trailer = Trailer { raw_len: len, kind, compression: 0 };
        let sealed = trailer.seal(&parts, Place { offset, salt: self.salt });
        let [value, behind] = parts;
        if self.buffer.len() + found + sealed.len() <= BUFFER_BYTES {
            [value, behind, &sealed].iter().for_each(|part| self.buffer.extend_from_slice(part));
            return Ok(Handle { offset, len });
        }
        let buffer = std::mem::take(&mut self.buffer);
        let mut all = [&buffer[..], value, behind, &sealed].map(IoSlice::new);
        let bytes = buffer.len() + found + sealed.len();
        self.write(bytes, |file, at| file.write_parts_at(&mut all, at))?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(Handle { offset, len })
    }

    /// Appends the footer and syncs the file.
    pub(super) fn finish(&mut self, footer: &[u8]) -> Result<(), Error> {
        self.append(footer)?;
        self.flush()?;
        self.file.sync_all().map_err(Error::io("sync"))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            return self.write(bytes.len(), |file, at| file.write_all_at(bytes, at));
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(buffer.len(), |file, at| file.write_all_at(&buffer, at))?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write(
        &mut self,
        len: usize,
        write: impl FnOnce(&dyn File, u64) -> vfs::Result<()>,
    ) -> Result<(), Error> {
        write(&*self.file, self.written).map_err(Error::io("write"))?;
        self.written += len as u64;
        let pending = self.written - self.handed_over;
        if self.bytes_per_sync > 0 && pending >= self.bytes_per_sync {
            self.file
                .sync_range(self.handed_over, pending, self.is_strict)
                .map_err(Error::io("sync a part of"))?;
            self.handed_over = self.written;
        }
        Ok(())
    }

    fn refused(&self, source: io::Error) -> Error {
        Error::Compress { path: self.path().to_path_buf(), source: Box::new(source) }
    }
}
