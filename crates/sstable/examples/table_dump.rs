//! Prints a table file for people: its properties, and with `--entries` every entry; then verifies it.
//!
//! `cargo run -p polder-sstable --example table_dump -- [--entries] FILE`

use base::{Cursor, ValueKind};
use sstable::{Properties, ScanOptions, Table};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use vfs::{Access, Fs, RealFs};

/// So many bytes of a key or value are shown.
const SHOWN_BYTES: usize = 48;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (file, entries) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [file] if !file.starts_with('-') => (file, false),
        ["--entries", file] => (file, true),
        _ => {
            eprintln!("usage: table_dump [--entries] FILE");
            return ExitCode::from(2);
        }
    };
    match dump(Path::new(file), entries) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(faults) => {
            eprintln!("{faults} faults");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("  because {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// Prints the table; the number of faults found.
fn dump(path: &Path, entries: bool) -> Result<u64, Box<dyn Error>> {
    let table = Arc::new(Table::open(RealFs::new().open(path, Access::Read)?, None)?);
    print_properties(&table);
    if entries {
        print_entries(&table)?;
    }
    let verified = table.verify_all(&mut |fault| println!("{fault}"));
    println!(
        "verified: {} blocks, {} entries, {} faults",
        verified.blocks, verified.entries, verified.faults
    );
    Ok(verified.faults)
}

fn print_properties(table: &Table) {
    let Properties { smallest, largest, .. } = table.properties();
    let p = table.properties();
    let raw = p.raw_key_bytes + p.raw_value_bytes;
    println!(
        "file            {} bytes, {} in memory while open",
        table.file_bytes(),
        table.memory_bytes()
    );
    println!(
        "entries         {}: {} deletes, {} range deletes, {} merges",
        p.entries, p.deletes, p.range_deletes, p.merges
    );
    println!(
        "keys            {} bytes, from {} to {}",
        p.raw_key_bytes,
        shown(&smallest.user_key),
        shown(&largest.user_key)
    );
    println!("values          {} bytes", p.raw_value_bytes);
    println!("sequence        {} to {}", p.min_seq, p.max_seq);
    println!(
        "data            {} blocks, {} bytes, {} stored ({:.3} of keys and values)",
        p.data_blocks,
        p.data_raw_bytes,
        p.data_stored_bytes,
        p.data_stored_bytes as f64 / raw.max(1) as f64
    );
    println!(
        "index, filter   {} partitions, {} and {} bytes stored",
        p.partitions, p.index_stored_bytes, p.filter_stored_bytes
    );
    println!(
        "options         {:?}, blocks of {}, a restart every {}, {} filter bits for each key",
        p.compression, p.block_bytes, p.restart_interval, p.filter_bits_per_key
    );
}

fn print_entries(table: &Arc<Table>) -> Result<(), sstable::Error> {
    let mut cursor = table.cursor_with(ScanOptions { fill_cache: false, ..ScanOptions::default() });
    cursor.seek_to_first()?;
    while cursor.is_valid() {
        let key = cursor.key();
        let kind = match key.kind {
            ValueKind::Delete => "delete",
            ValueKind::Put => "put",
            ValueKind::Merge => "merge",
            ValueKind::RangeDelete => "range delete",
        };
        println!("{} @{} {kind} {}", shown(key.user_key), key.seq, shown(cursor.value()));
        cursor.next()?;
    }
    Ok(())
}

fn shown(bytes: &[u8]) -> String {
    match bytes.get(..SHOWN_BYTES) {
        Some(head) if bytes.len() > SHOWN_BYTES => {
            format!("\"{}\"... ({} bytes)", head.escape_ascii(), bytes.len())
        }
        _ => format!("\"{}\"", bytes.escape_ascii()),
    }
}
