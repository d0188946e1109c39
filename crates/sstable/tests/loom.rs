//! Loom models of handing blocks to helpers and back, on the production code: run with
//! `RUSTFLAGS="--cfg loom" cargo test -p polder-sstable --release --test loom`.
//!
//! The file is written by the writer's thread alone, on the simulated disk, whose locks the models do not see.
#![cfg(loom)]

use std::path::Path;
use std::sync::Arc;

use base::{InternalKeyRef, SeqNo};
use loom::thread;
use sstable::{Compression, CompressionHelpers, TableOptions, TableWriter};
use vfs::sim::SimFs;
use vfs::{File, Fs};

const PATH: &str = "/table";

fn new_file() -> Arc<dyn File> {
    SimFs::new().create(Path::new(PATH)).unwrap()
}

/// A writer of blocks of one entry each.
fn writer(file: &Arc<dyn File>) -> TableWriter {
    let compression = Compression::Zstd { level: 1 };
    let options = TableOptions { compression, block_bytes: 256, ..TableOptions::default() };
    TableWriter::new(Arc::clone(file), options)
}

/// So many entries; the last block is not handed over before the end.
fn fill(mut writer: TableWriter, entries: u8) -> TableWriter {
    for number in 0..entries {
        writer.add(InternalKeyRef::seek_at(&[number], SeqNo::ZERO), &[number; 250]).unwrap();
    }
    writer
}

fn contents(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn written(entries: u8, helpers: Option<&Arc<CompressionHelpers>>) -> Vec<u8> {
    let file = new_file();
    let plain = writer(&file);
    let writer = match helpers {
        Some(helpers) => plain.with_helpers(helpers),
        None => plain,
    };
    fill(writer, entries).finish().unwrap();
    contents(&*file)
}

fn explore(bound: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(bound);
    model.check(run);
}

/// Each block comes back once, whoever compressed it, and goes to its place. Made to fail by: a result that is put down
/// without a wake, a wait that does not look first.
#[test]
fn the_file_is_the_same() {
    let expected = written(3, None);
    explore(4, move || {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        assert!(written(3, Some(&helpers)) == expected);
    });
}

#[test]
fn two_helpers_put_their_blocks_down_in_any_order() {
    let expected = written(3, None);
    explore(3, move || {
        let helpers = Arc::new(CompressionHelpers::start(2).unwrap());
        assert!(written(3, Some(&helpers)) == expected);
    });
}

/// Nobody waits for what nobody will do: not a writer for helpers that end, and not they for it.
#[test]
fn helpers_may_end_at_any_moment() {
    let expected = written(2, None);
    explore(3, move || {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        let stopped = Arc::clone(&helpers);
        let stopping = thread::spawn(move || stopped.stop());
        assert!(written(2, Some(&helpers)) == expected);
        stopping.join().unwrap();
    });
}

/// A writer that is given up takes its blocks back, or waits for the one in hand; then nobody holds anything of it.
#[test]
fn a_writer_may_be_dropped_at_any_moment() {
    let expected = written(2, None);
    explore(3, move || {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        drop(fill(writer(&new_file()).with_helpers(&helpers), 4));
        assert!(written(2, Some(&helpers)) == expected);
    });
}

/// Two writers share a helper, and neither gets the other's blocks.
#[test]
fn two_writers_share_a_helper() {
    let expected = [written(2, None), written(3, None)];
    explore(2, move || {
        let helpers = Arc::new(CompressionHelpers::start(1).unwrap());
        let other = Arc::clone(&helpers);
        let writing = thread::spawn(move || written(2, Some(&other)));
        assert!(written(3, Some(&helpers)) == expected[1]);
        assert!(writing.join().unwrap() == expected[0]);
    });
}
