//! LevelDB, the system's library through its C interface.

use std::ffi::{CStr, CString, c_char, c_int, c_uchar, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use kit::Result;
use kit::size::Size;

use super::{Config, Engine, FILTER_BITS};
use crate::keys::Key;

/// An object of the library, seen from outside.
type Handle = *mut c_void;

#[link(name = "leveldb")]
unsafe extern "C" {
    fn leveldb_open(options: Handle, name: *const c_char, error: *mut *mut c_char) -> Handle;
    fn leveldb_close(db: Handle);
    fn leveldb_put(
        db: Handle,
        options: Handle,
        key: *const c_char,
        key_length: usize,
        value: *const c_char,
        value_length: usize,
        error: *mut *mut c_char,
    );
    fn leveldb_write(db: Handle, options: Handle, batch: Handle, error: *mut *mut c_char);
    fn leveldb_get(
        db: Handle,
        options: Handle,
        key: *const c_char,
        key_length: usize,
        value_length: *mut usize,
        error: *mut *mut c_char,
    ) -> *mut c_char;
    fn leveldb_compact_range(
        db: Handle,
        start: *const c_char,
        start_length: usize,
        limit: *const c_char,
        limit_length: usize,
    );
    fn leveldb_create_iterator(db: Handle, options: Handle) -> Handle;
    fn leveldb_iter_destroy(cursor: Handle);
    fn leveldb_iter_valid(cursor: Handle) -> c_uchar;
    fn leveldb_iter_seek(cursor: Handle, key: *const c_char, length: usize);
    fn leveldb_iter_next(cursor: Handle);
    fn leveldb_iter_key(cursor: Handle, length: *mut usize) -> *const c_char;
    fn leveldb_iter_value(cursor: Handle, length: *mut usize) -> *const c_char;
    fn leveldb_iter_get_error(cursor: Handle, error: *mut *mut c_char);
    fn leveldb_writebatch_create() -> Handle;
    fn leveldb_writebatch_destroy(batch: Handle);
    fn leveldb_writebatch_put(
        batch: Handle,
        key: *const c_char,
        key_length: usize,
        value: *const c_char,
        value_length: usize,
    );
    fn leveldb_writebatch_delete(batch: Handle, key: *const c_char, key_length: usize);
    fn leveldb_options_create() -> Handle;
    fn leveldb_options_destroy(options: Handle);
    fn leveldb_options_set_create_if_missing(options: Handle, value: c_uchar);
    fn leveldb_options_set_write_buffer_size(options: Handle, bytes: usize);
    fn leveldb_options_set_cache(options: Handle, cache: Handle);
    fn leveldb_options_set_filter_policy(options: Handle, filter: Handle);
    fn leveldb_options_set_compression(options: Handle, compression: c_int);
    fn leveldb_cache_create_lru(bytes: usize) -> Handle;
    fn leveldb_cache_destroy(cache: Handle);
    fn leveldb_filterpolicy_create_bloom(bits_per_key: c_int) -> Handle;
    fn leveldb_filterpolicy_destroy(filter: Handle);
    fn leveldb_readoptions_create() -> Handle;
    fn leveldb_readoptions_destroy(options: Handle);
    fn leveldb_readoptions_set_verify_checksums(options: Handle, value: c_uchar);
    fn leveldb_writeoptions_create() -> Handle;
    fn leveldb_writeoptions_destroy(options: Handle);
    fn leveldb_writeoptions_set_sync(options: Handle, value: c_uchar);
    fn leveldb_free(pointer: *mut c_void);
}

const NO_COMPRESSION: c_int = 0;

/// An open database and what was made for it.
struct Leveldb {
    db: Handle,
    options: Handle,
    cache: Handle,
    filter: Handle,
    read: Handle,
    write: Handle,
}

// SAFETY: LevelDB's `doc/index.md`, Concurrency: a database may be used by several threads without
// synchronisation; the options are only read. Nothing else is shared.
unsafe impl Sync for Leveldb {}

/// Opens the database in `path`.
pub(super) fn open(path: &Path, config: &Config) -> Result<Box<dyn Engine>> {
    std::fs::create_dir_all(path)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    let (buffer, cache_bytes) =
        (usize::try_from(config.write_buffer_bytes)?, usize::try_from(config.cache_bytes)?);
    // SAFETY: every handle comes from its `create` and lives until `Leveldb` is dropped, which is
    // after the last use; the name ends in a zero byte and outlives the call.
    let (database, outcome) = unsafe {
        let options = leveldb_options_create();
        let cache = leveldb_cache_create_lru(cache_bytes);
        let filter = leveldb_filterpolicy_create_bloom(FILTER_BITS as c_int);
        leveldb_options_set_create_if_missing(options, 1);
        leveldb_options_set_write_buffer_size(options, buffer);
        leveldb_options_set_cache(options, cache);
        leveldb_options_set_filter_policy(options, filter);
        leveldb_options_set_compression(options, NO_COMPRESSION);
        let read = leveldb_readoptions_create();
        leveldb_readoptions_set_verify_checksums(read, 1);
        let write = leveldb_writeoptions_create();
        leveldb_writeoptions_set_sync(write, c_uchar::from(config.sync));
        let mut error = ptr::null_mut();
        let db = leveldb_open(options, name.as_ptr(), &raw mut error);
        (Leveldb { db, options, cache, filter, read, write }, check(error))
    };
    outcome?;
    Ok(Box::new(database))
}

/// The configuration in words.
pub(super) fn configuration(config: &Config) -> String {
    format!(
        "2 memtables of {}, log on, no compression, block cache {}, blocks of 4KiB, filter {FILTER_BITS} bits a \
         key, checksums verified; the system's package: built for the base instruction set, its checksums in \
         software; no flush on request: a database that is read was closed and opened again; multi_get: single gets",
        Size(config.write_buffer_bytes),
        Size(config.cache_bytes),
    )
}

/// The error that a call has left behind, if any.
///
/// # Safety
/// `error` is null, or a string of the library's that nobody else frees.
unsafe fn check(error: *mut c_char) -> Result<()> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: by this function's contract; the library's strings end in a zero byte.
    let text = unsafe { CStr::from_ptr(error) }.to_string_lossy().into_owned();
    // SAFETY: the string is not used any more.
    unsafe { leveldb_free(error.cast()) };
    Err(format!("leveldb: {text}").into())
}

fn pointer(bytes: &[u8]) -> *const c_char {
    bytes.as_ptr().cast()
}

/// An iterator; destroyed on drop.
struct Cursor(Handle);

impl Cursor {
    /// The record that the cursor stands on.
    fn record(&self) -> Option<(&[u8], &[u8])> {
        // SAFETY: the handle is alive. The library's memory is valid until the cursor moves, which
        // takes `&mut self`, and is `length` bytes long.
        unsafe {
            if leveldb_iter_valid(self.0) == 0 {
                return None;
            }
            let (mut key_length, mut value_length) = (0, 0);
            let key = leveldb_iter_key(self.0, &raw mut key_length);
            let value = leveldb_iter_value(self.0, &raw mut value_length);
            Some((
                std::slice::from_raw_parts(key.cast(), key_length),
                std::slice::from_raw_parts(value.cast(), value_length),
            ))
        }
    }

    fn seek(&mut self, key: &[u8]) {
        // SAFETY: the handle is alive; the key is valid for its length during the call.
        unsafe { leveldb_iter_seek(self.0, pointer(key), key.len()) };
    }

    fn next(&mut self) {
        // SAFETY: the handle is alive, and called only on a record, as the library asks.
        unsafe { leveldb_iter_next(self.0) };
    }

    fn status(&self) -> Result<()> {
        let mut error = ptr::null_mut();
        // SAFETY: the handle is alive; what it leaves in `error` is ours to free.
        unsafe {
            leveldb_iter_get_error(self.0, &raw mut error);
            check(error)
        }
    }
}

impl Drop for Cursor {
    fn drop(&mut self) {
        // SAFETY: made by `leveldb_create_iterator`, destroyed once.
        unsafe { leveldb_iter_destroy(self.0) };
    }
}

impl Engine for Leveldb {
    fn put(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut error = ptr::null_mut();
        let (k, v) = (pointer(key), pointer(value));
        // SAFETY: the handles are alive; key and value are valid for their lengths during the call.
        unsafe {
            leveldb_put(self.db, self.write, k, key.len(), v, value.len(), &raw mut error);
            check(error)
        }
    }

    fn write_batch(&self, records: &[(Key, Option<&[u8]>)]) -> Result<()> {
        let mut error = ptr::null_mut();
        // SAFETY: the handles are alive, the batch until its destruction at the end; keys and values
        // are valid for their lengths during each call, which copies them.
        unsafe {
            let batch = leveldb_writebatch_create();
            for (key, value) in records {
                let k = pointer(key);
                match value {
                    Some(value) => {
                        leveldb_writebatch_put(batch, k, key.len(), pointer(value), value.len());
                    }
                    None => leveldb_writebatch_delete(batch, k, key.len()),
                }
            }
            leveldb_write(self.db, self.write, batch, &raw mut error);
            leveldb_writebatch_destroy(batch);
            check(error)
        }
    }

    fn get(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let (mut length, mut error) = (0, ptr::null_mut());
        // SAFETY: the handles are alive; the key is valid for its length during the call. What comes
        // back is null or `length` bytes that are ours until they are freed.
        unsafe {
            let (k, size) = (pointer(key), &raw mut length);
            let value = leveldb_get(self.db, self.read, k, key.len(), size, &raw mut error);
            check(error)?;
            if value.is_null() {
                return Ok(false);
            }
            found(std::slice::from_raw_parts(value.cast(), length));
            leveldb_free(value.cast());
        }
        Ok(true)
    }

    fn scan(&self, from: &[u8], limit: u64, each: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        // SAFETY: the handles are alive, and the cursor does not outlive them.
        let mut cursor = Cursor(unsafe { leveldb_create_iterator(self.db, self.read) });
        cursor.seek(from);
        let mut records = 0;
        while let Some((key, value)) = cursor.record() {
            each(key, value);
            records += 1;
            if records == limit {
                break;
            }
            cursor.next();
        }
        cursor.status()?;
        Ok(records)
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn compact(&self) -> Result<()> {
        // SAFETY: the handle is alive; null bounds mean everything.
        unsafe { leveldb_compact_range(self.db, ptr::null(), 0, ptr::null(), 0) };
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for Leveldb {
    fn drop(&mut self) {
        // SAFETY: each handle was made by its `create` and is destroyed once, the database first; it
        // is null if it could not be opened.
        unsafe {
            if !self.db.is_null() {
                leveldb_close(self.db);
            }
            leveldb_options_destroy(self.options);
            leveldb_cache_destroy(self.cache);
            leveldb_filterpolicy_destroy(self.filter);
            leveldb_readoptions_destroy(self.read);
            leveldb_writeoptions_destroy(self.write);
        }
    }
}
