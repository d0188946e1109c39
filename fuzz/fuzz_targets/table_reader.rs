//! Any file is taken for a table without a panic, nothing is allocated that its size does not warrant, and a table that
//! passes verification is read alike by every way there is.
//!
//! The input's first byte says how the file is made: of its contents as they are, or (bit 6) of a good table of one
//! compression or another, with changes (a place, two bytes, and a byte for it), after which all checksums are made right (bit 5), so
//! that what stands behind them is reached.
#![no_main]

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use base::{Cursor, FileNumber, InternalKey, InternalKeyRef, SeqNo, ValueKind};
use libfuzzer_sys::fuzz_target;
use sstable::{
    Block, BlockCache, BlockCacheHandle, Compression, FoundRef, ReadBlocks, ScanOptions, Table,
    TableOptions, TableWriter,
};
use vfs::sim::SimFs;
use vfs::{Access, File, Fs};

const TRAILER_BYTES: usize = 10;
const FOOTER_BYTES: usize = 72;

/// Keeps every block, so that it is known where they are.
#[derive(Default)]
struct KeepAll(Mutex<HashMap<u64, Block>>);

impl BlockCache for KeepAll {
    fn get(&self, _: FileNumber, offset: u64) -> Option<Block> {
        self.0.lock().expect("nobody panics").get(&offset).cloned()
    }
    fn insert(&self, _: FileNumber, offset: u64, block: Block) {
        self.0.lock().expect("nobody panics").insert(offset, block);
    }
}

struct Good {
    bytes: Vec<u8>,
    /// Where each block begins and ends, its trailer included.
    blocks: Vec<(usize, usize)>,
}

fn file_of(bytes: &[u8]) -> Arc<dyn File> {
    let (fs, path) = (SimFs::new(), Path::new("/table"));
    fs.create(path).and_then(|file| file.write_all_at(bytes, 0)).expect("there is room");
    fs.open(path, Access::Read).expect("it is there")
}

fn good_table(compression: Compression, filter_bits_per_key: u32) -> Good {
    let options = TableOptions {
        compression,
        filter_bits_per_key,
        block_bytes: 256,
        partition_bytes: 150,
        restart_interval: 3,
        ..TableOptions::default()
    };
    let (fs, path) = (SimFs::new(), Path::new("/table"));
    let file = fs.create(path).expect("there is room");
    let mut writer = TableWriter::new(Arc::clone(&file), options);
    for n in 0..60u64 {
        let user_key = format!("key/{:04}", n / 2);
        let kind = ValueKind::try_from((n % 7).min(3) as u8).expect("a kind");
        let key = InternalKeyRef::new(user_key.as_bytes(), SeqNo::new(100 - n % 2), kind);
        writer.add(key, &vec![b'v'; (n % 5) as usize * 9]).expect("keys ascend");
    }
    writer.finish().expect("there is room");
    let mut bytes = vec![0; file.len().expect("it is open") as usize];
    file.read_exact_at(&mut bytes, 0).expect("it is as long");
    let cache = Arc::new(KeepAll::default());
    let handle = BlockCacheHandle { cache: Arc::clone(&cache) as _, table: FileNumber::new(1) };
    let table = Arc::new(Table::open(file_of(&bytes), Some(handle)).expect("a good table"));
    let entries = forward(&table, true).expect("a good table");
    for (key, _) in &entries {
        table.get(&key.user_key, key.seq).expect("a good table");
    }
    let mut starts: Vec<usize> =
        cache.0.lock().expect("nobody panics").keys().map(|&offset| offset as usize).collect();
    let footer = bytes.len() - FOOTER_BYTES;
    for at in [footer, footer + 12] {
        let offset: [u8; 8] = bytes[at..at + 8].try_into().expect("eight bytes");
        starts.push(u64::from_le_bytes(offset) as usize);
    }
    starts.sort_unstable();
    let ends = starts[1..].iter().copied().chain([footer]);
    let blocks = starts.iter().copied().zip(ends).collect();
    Good { blocks, bytes }
}

fn good() -> &'static [Good] {
    static GOOD: OnceLock<Vec<Good>> = OnceLock::new();
    GOOD.get_or_init(|| {
        vec![
            good_table(Compression::None, 10),
            good_table(Compression::Lz4, 10),
            good_table(Compression::Zstd { level: 3 }, 10),
            good_table(Compression::None, 0),
        ]
    })
}

/// CRC-32 (IEEE), over several pieces.
fn crc(pieces: &[&[u8]]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    pieces.iter().for_each(|piece| crc.update(piece));
    crc.finalize()
}

/// Makes the checksums of all blocks and of the footer right.
fn seal(bytes: &mut [u8], blocks: &[(usize, usize)]) {
    let footer = bytes.len() - FOOTER_BYTES;
    let salt: Vec<u8> = bytes[footer + 44..footer + 52].to_vec();
    for &(start, end) in blocks {
        let place = (start as u64).to_le_bytes();
        let sum = crc(&[&bytes[start..end - 4], &place, &salt]);
        bytes[end - 4..end].copy_from_slice(&sum.to_le_bytes());
    }
    assert!(blocks.iter().all(|(start, end)| end - start > TRAILER_BYTES));
    let sum = crc(&[&bytes[footer..footer + 56], &bytes[footer + 60..]]);
    bytes[footer + 56..footer + 60].copy_from_slice(&sum.to_le_bytes());
}

fn contents(data: &[u8]) -> Vec<u8> {
    let [how, rest @ ..] = data else { return Vec::new() };
    if how & 0x40 == 0 {
        return rest.to_vec();
    }
    let good = &good()[usize::from(how & 3)];
    let mut bytes = good.bytes.clone();
    for change in rest.chunks_exact(3) {
        let at = usize::from(u16::from_le_bytes([change[0], change[1]])) % bytes.len();
        bytes[at] = change[2];
    }
    if how & 0x20 != 0 {
        seal(&mut bytes, &good.blocks);
    }
    bytes
}

type Entries = Vec<(InternalKey, Vec<u8>)>;

/// A table that is not what it says may lead in a circle: so many entries are enough.
const ENTRIES_MAX: usize = 2000;

fn forward(table: &Arc<Table>, verify_checksums: bool) -> Result<Entries, sstable::Error> {
    let mut cursor = table.cursor_with(ScanOptions { verify_checksums, ..ScanOptions::default() });
    let mut all = Vec::new();
    cursor.seek_to_first()?;
    while cursor.is_valid() && all.len() < ENTRIES_MAX {
        assert_eq!(cursor.value_bytes(), cursor.value());
        all.push((cursor.key().to_owned(), cursor.value().to_vec()));
        cursor.next()?;
    }
    Ok(all)
}

fn backward(table: &Arc<Table>) -> Result<Entries, sstable::Error> {
    let mut cursor = table.cursor();
    let mut all = Vec::new();
    cursor.seek_to_last()?;
    while cursor.is_valid() && all.len() < ENTRIES_MAX {
        all.push((cursor.key().to_owned(), cursor.value().to_vec()));
        cursor.prev()?;
    }
    all.reverse();
    Ok(all)
}

/// What point reads and seeks say of `keys`; on a table that is not sound they may say anything, in so many words.
fn look_up(table: &Arc<Table>, keys: &[InternalKey], is_sound: bool, how: &ReadBlocks) {
    let mut cursor = table.cursor();
    for key in keys {
        let found = table.get_with(&key.user_key, key.seq, how);
        let sought = cursor.seek(key.as_ref());
        let before = table.cursor().seek_for_prev(key.as_ref());
        if is_sound {
            assert_eq!(found.expect("it is sound").expect("it is there").seq, key.seq);
            sought.and(before).expect("it is sound");
            assert_eq!(cursor.key(), key.as_ref());
        }
    }
    let mut user_keys: Vec<&[u8]> = keys.iter().map(|key| &*key.user_key).collect();
    user_keys.sort_unstable();
    let mut count = 0;
    let each = |_, found: FoundRef<'_>| count += found.pin().len().min(1) + 1;
    let found = table.multi_get(&user_keys, SeqNo::MAX, how, each);
    if is_sound {
        found.expect("it is sound");
        assert!(count >= keys.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let bytes = contents(data);
    for is_cached in [false, true] {
        let cache = Arc::new(KeepAll::default());
        let handle = BlockCacheHandle { cache, table: FileNumber::new(1) };
        let Ok(table) = Table::open(file_of(&bytes), is_cached.then_some(handle)) else { return };
        let table = Arc::new(table);
        let mut faults = 0;
        let seen = table.verify_all(&mut |error| {
            assert!(!error.to_string().is_empty() && error.is_corruption());
            faults += 1;
        });
        assert_eq!(seen.faults, faults);
        let is_sound = faults == 0;
        let ascending = forward(&table, true);
        let descending = backward(&table);
        let mut keys: Vec<InternalKey> = Vec::new();
        if let Ok(entries) = &ascending {
            keys.extend(entries.iter().map(|(key, _)| key.clone()));
        }
        if is_sound {
            assert_eq!(ascending.expect("it is sound"), descending.expect("it is sound"));
        }
        look_up(&table, &keys, is_sound, &ReadBlocks::DEFAULT);
        let unverified = ReadBlocks { verify_checksums: false, ..ReadBlocks::DEFAULT };
        look_up(&table, &keys, is_sound, &unverified);
        // What is damaged is read as it is, and nothing worse.
        let unverified = forward(&table, false);
        assert!(!is_sound || unverified.is_ok());
    }
});
