//! Writes tables: a file that appears with its first entry and goes if it is not finished.

use std::sync::Arc;

use base::{Cursor, FileNumber, InternalKeyRef, SeqNo};
use credit::Pool;
use credit::limiter::Priority;
use memtable::Memtable;
use sstable::{Compression, CompressionHelpers, TableSummary, TableWriter};
use version::TableMeta;

use crate::budget::JobCharge;
use crate::error::Error;
use crate::health::Health;
use crate::meter::Meter;
use crate::options::Options;
use crate::read::merge::{Child, MergeCursor};
use crate::retention::Retention;
use crate::tables::{TableHandle, TableStore, VersionSet, table_options};

/// What writing a table needs.
#[derive(Clone, Copy)]
pub(crate) struct Outputs<'a> {
    pub(crate) versions: &'a VersionSet,
    pub(crate) tables: &'a TableStore,
    pub(crate) options: &'a Options,
    /// What the buffers of jobs are charged to.
    pub(crate) jobs: &'a Pool,
    /// Who compresses blocks beside the job itself.
    pub(crate) helpers: &'a Arc<CompressionHelpers>,
    pub(crate) health: &'a Health,
}

impl<'a> Outputs<'a> {
    /// What lets the bytes of a job pass.
    pub(crate) fn meter(self, class: Priority) -> Meter<'a> {
        Meter::new(self.options.rate_limiter.as_ref(), class, self.health)
    }

    /// Writes memtables, oldest first, to a new table, durably, without the versions that none of `snapshots` sees;
    /// nothing if no version is left.
    pub(crate) fn write_memtables(
        self,
        memtables: &[Arc<Memtable>],
        snapshots: Vec<SeqNo>,
    ) -> Result<Unapplied<'a>, Error> {
        let children =
            memtables.iter().rev().map(|table| Child::Memtable(table.owned_cursor())).collect();
        let mut cursor = MergeCursor::new(children);
        let mut retention = Retention::new(snapshots);
        let compression = self.options.flush_compression();
        let mut output = Output::new(self, self.meter(Priority::Flush), compression);
        cursor.seek_to_first()?;
        while cursor.is_valid() {
            if retention.keeps(cursor.key(), |_| false) {
                output.add(cursor.key(), cursor.value())?;
            }
            cursor.next()?;
        }
        let mut written = Unapplied::new(self.tables);
        written.extend(output.finish()?);
        if !written.tables.is_empty() {
            self.tables.sync_dir()?;
        }
        Ok(written)
    }
}

/// Tables that were written and are part of no version yet: removed on drop, unless an edit has taken them over.
pub(crate) struct Unapplied<'a> {
    store: &'a TableStore,
    tables: Vec<TableMeta>,
}

impl<'a> Unapplied<'a> {
    pub(crate) fn new(store: &'a TableStore) -> Self {
        Self { store, tables: Vec::new() }
    }

    pub(crate) fn extend(&mut self, tables: impl IntoIterator<Item = TableMeta>) {
        self.tables.extend(tables);
    }

    pub(crate) fn tables(&self) -> &[TableMeta] {
        &self.tables
    }

    /// Opens them, which proves that they can be read.
    pub(crate) fn open(&self) -> Result<Vec<TableHandle>, Error> {
        self.tables.iter().map(|meta| self.store.open_written(meta)).collect()
    }

    /// They stay: an edit names them, or may.
    pub(crate) fn keep(mut self) {
        self.tables.clear();
    }
}

impl Drop for Unapplied<'_> {
    fn drop(&mut self) {
        for table in &self.tables {
            self.store.discard(table.number);
        }
    }
}

/// A table that is written as soon as it has a first entry, and removed if it is not finished.
pub(crate) struct Output<'a> {
    outputs: Outputs<'a>,
    meter: Meter<'a>,
    compression: Compression,
    /// Bytes of the present table that have passed the meter.
    passed: u64,
    current: Option<(FileNumber, TableWriter)>,
    charge: JobCharge<'a>,
    /// Data blocks of the present table when its buffers were last looked at.
    looked_at: u64,
}

impl<'a> Output<'a> {
    /// Tables that are compressed in this way.
    pub(crate) fn new(outputs: Outputs<'a>, meter: Meter<'a>, compression: Compression) -> Self {
        let charge = JobCharge::new(outputs.jobs);
        Self { outputs, meter, compression, passed: 0, current: None, charge, looked_at: 0 }
    }

    /// Appends an entry, whose key comes after the one before it, at the pace that the meter allows.
    pub(crate) fn add(&mut self, key: InternalKeyRef<'_>, value: &[u8]) -> Result<(), Error> {
        let looked_at = self.looked_at;
        let writer = self.writer()?;
        writer.add(key, value)?;
        let sealed = writer.sealed_bytes();
        let blocks = writer.data_blocks();
        if blocks != looked_at {
            let buffered = writer.buffered_bytes() as u64;
            self.looked_at = blocks;
            self.charge.cover(buffered);
        }
        let due = sealed - self.passed;
        if due >= self.meter.piece_bytes() {
            self.meter.pass(due)?;
            self.passed = sealed;
        }
        Ok(())
    }

    /// The table's writer; its file is created when it is asked for first.
    fn writer(&mut self) -> Result<&mut TableWriter, Error> {
        if self.current.is_none() {
            let number = self.outputs.versions.new_file_number();
            let file = self.outputs.tables.create(number)?;
            let mut options = table_options(self.outputs.options, self.compression);
            options.checksum_salt = number.get();
            let writer = TableWriter::new(file, options).with_helpers(self.outputs.helpers);
            self.current = Some((number, writer));
        }
        let (_, writer) = self.current.as_mut().expect("it was made above");
        Ok(writer)
    }

    /// Bytes of the table so far, about.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |(_, writer)| writer.file_bytes())
    }

    /// Ends the table and syncs its file; nothing if it got no entry. The directory is the caller's to sync.
    pub(crate) fn finish(&mut self) -> Result<Option<TableMeta>, Error> {
        let Some((number, writer)) = self.current.take() else { return Ok(None) };
        let passed = std::mem::take(&mut self.passed);
        match writer.finish() {
            Ok(summary) => {
                // What was not known before the end: the last block, the index, the footer.
                let rest = summary.file_bytes - passed;
                if let Err(error) = self.meter.pass(rest) {
                    self.outputs.tables.discard(number);
                    return Err(error);
                }
                Ok(Some(meta(number, summary)))
            }
            Err(error) => {
                self.outputs.tables.discard(number);
                Err(error.into())
            }
        }
    }
}

impl Drop for Output<'_> {
    fn drop(&mut self) {
        if let Some((number, writer)) = self.current.take() {
            drop(writer);
            self.outputs.tables.discard(number);
        }
    }
}

fn meta(number: FileNumber, summary: TableSummary) -> TableMeta {
    TableMeta {
        number,
        file_bytes: summary.file_bytes,
        entries: summary.entries,
        tombstones: summary.tombstones,
        smallest: summary.smallest,
        largest: summary.largest,
        min_seq: summary.min_seq,
        max_seq: summary.max_seq,
        created: version::VersionNumber::ZERO,
    }
}
