//! Opening a table: footer, properties, top index; usually one read.

use super::fetch::Fetcher;
use super::{Table, partitions_of};
use crate::block::Block;
use crate::cache::BlockCacheHandle;
use crate::error::{Error, Malformed};
use crate::format::{BlockKind, FOOTER_BYTES, Footer, FooterError, Handle};
use crate::properties::Properties;
use std::sync::Arc;
use vfs::File;

/// So much of the file's end is read at once.
const TAIL_BYTES: usize = 8 << 10;

impl Table {
    /// Opens the table in `file`. Its blocks are kept in `cache`, if there is one; without, each read goes to the
    /// file.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the file is not a whole table, [`Error::UnsupportedVersion`] when another release wrote
    /// it, [`Error::Io`] when it cannot be read.
    pub fn open(file: Arc<dyn File>, cache: Option<BlockCacheHandle>) -> Result<Self, Error> {
        let file_bytes = file.len().map_err(Error::io("find the length of"))?;
        let tail_len = file_bytes.min(TAIL_BYTES as u64) as usize;
        let tail_start = file_bytes - tail_len as u64;
        let mut tail = vec![0; tail_len];
        file.read_exact_at(&mut tail, tail_start).map_err(Error::io("read"))?;
        let footer = read_footer(&*file, &tail, file_bytes)?;
        let limit = file_bytes - FOOTER_BYTES as u64;
        let fetcher = Fetcher { file, cache, salt: footer.salt, mapped: None, limit };
        let block = |handle: Handle, kind| -> Result<Block, Error> {
            let start =
                handle.offset.checked_sub(tail_start).and_then(|at| usize::try_from(at).ok());
            let end = start.and_then(|start| start.checked_add(handle.stored_bytes()));
            match start.zip(end).and_then(|(start, end)| tail.get(start..end)) {
                Some(stored) => fetcher.decode_block(stored, handle, kind, true),
                None => fetcher.read_block(handle, kind),
            }
        };
        let top = block(footer.top_index, BlockKind::TopIndex)?;
        let partitions = partitions_of(&top)
            .map_err(fetcher.damaged(footer.top_index.offset, BlockKind::TopIndex))?;
        let properties = block(footer.properties, BlockKind::Properties)?;
        let properties = Properties::decode(properties.data())
            .map_err(fetcher.damaged(footer.properties.offset, BlockKind::Properties))?;
        Ok(Self { fetcher, footer, top, partitions, properties })
    }
}

fn read_footer(file: &dyn File, tail: &[u8], file_bytes: u64) -> Result<Footer, Error> {
    let damaged = |offset, malformed: Malformed| malformed.at(file.path(), offset, None);
    let Some(bytes) = tail.last_chunk::<FOOTER_BYTES>() else {
        return Err(damaged(
            0,
            Malformed::new(
                "a table, at least its footer of 72 bytes",
                format_args!("a file of {file_bytes} bytes"),
            ),
        ));
    };
    let offset = file_bytes - FOOTER_BYTES as u64;
    let footer = Footer::decode(bytes).map_err(|error| match error {
        FooterError::Malformed(malformed) => damaged(offset, malformed),
        FooterError::Version(found) => {
            Error::UnsupportedVersion { path: file.path().to_path_buf(), found }
        }
    })?;
    if footer.file_bytes != file_bytes {
        return Err(damaged(
            offset,
            Malformed::new(
                "a file as long as it was written",
                format_args!("{file_bytes} bytes for {}", footer.file_bytes),
            ),
        ));
    }
    if footer.range_deletes != Handle::NONE {
        return Err(damaged(
            offset,
            Malformed::new(
                "no block of range tombstones in format version 2",
                format_args!("one at {}", footer.range_deletes.offset),
            ),
        ));
    }
    Ok(footer)
}
