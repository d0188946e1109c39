//! The database as its users hold it.

use std::borrow::Borrow;
use std::fmt;
use std::ops::RangeBounds;
use std::path::Path;
use std::sync::Arc;

use base::{Changes, FamilyId, SeqNo, WriteBatch};
use bytes::Bytes;
use version::{PinReport, VersionEdit};
use vfs::{Fs, RealFs};

use crate::commit::FlushReason;
use crate::commit::state::FamilyState;
use crate::error::Error;
use crate::options::{Options, WriteOptions};
use crate::read::Iter;
use crate::read::get::GetHow;
use crate::read::iter::{ScanHow, SnapshotGuard};
use crate::read::options::{ReadOptions, slices};
use crate::recovery;
use crate::shared::{Owner, Shared};
use crate::stats::Stats;

/// The name of the column family that every database has.
pub const DEFAULT_FAMILY: &str = "default";

/// An open database. Clones are handles to the same one; it is closed by [`Db::close`], or when the
/// last handle, family, snapshot and iterator is gone.
///
/// All calls may be made from any thread at the same time. Calls without a family in their name act on the default
/// column family.
#[derive(Clone)]
pub struct Db {
    pub(crate) owner: Arc<Owner>,
}

impl Db {
    /// Opens the database in the directory `path`, and makes it if need be.
    ///
    /// Replays what the log holds beyond the tables, so it takes as long as that needs reading.
    ///
    /// # Errors
    /// [`Error::Locked`]: it is open elsewhere. [`Error::NotADatabase`], [`Error::NoDatabase`], [`Error::Exists`],
    /// [`Error::InvalidOptions`]: nothing was touched. Errors of kind [`Corruption`](crate::ErrorKind::Corruption) name
    /// the damaged file.
    pub fn open(path: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        Self::open_on(Arc::new(RealFs::new()), path, options)
    }

    /// As [`Db::open`], on a file system of the caller's.
    ///
    /// # Errors
    /// As [`Db::open`].
    pub fn open_on(
        fs: Arc<dyn Fs>,
        path: impl AsRef<Path>,
        options: Options,
    ) -> Result<Self, Error> {
        let shared = recovery::open(fs, path.as_ref(), options)?;
        Ok(Self { owner: Arc::new(Owner(shared)) })
    }

    fn shared(&self) -> &Shared {
        &self.owner
    }

    fn read_now(&self) -> SnapshotGuard {
        SnapshotGuard::now(&self.owner)
    }

    /// Gives `key` the value `value`.
    ///
    /// When the call returns, the write is in the log and visible to all; it outlives the end of the process, and, once
    /// synced, that of the machine.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write_one(
            FamilyId::DEFAULT,
            key.as_ref(),
            Some(value.as_ref()),
            &WriteOptions::default(),
        )
    }

    /// Removes `key`; that it is not there is no error.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        self.write_one(FamilyId::DEFAULT, key.as_ref(), None, &WriteOptions::default())
    }

    /// A batch of one entry.
    fn write_one(
        &self,
        family: FamilyId,
        key: &[u8],
        value: Option<&[u8]>,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        self.shared().write(Changes::one(family, key, value), options)
    }

    /// Applies `batch` as a whole, across column families: readers see all of it or nothing, and so does a restart.
    ///
    /// It waits while the write budget is used up or compaction is far behind; [`WriteOptions`] bounds that.
    ///
    /// # Errors
    /// Errors of kind [`Refused`](crate::ErrorKind::Refused) and [`RetryLater`](crate::ErrorKind::RetryLater): nothing
    /// was written. [`ReadOnly`](crate::ErrorKind::ReadOnly): the write may or may not be there after a restart, and no
    /// further one is taken.
    pub fn write(
        &self,
        batch: impl Borrow<WriteBatch>,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        self.shared().write(Changes::Batch(batch.borrow()), options)
    }

    /// As [`Db::put`], for tasks; see [`Db::write_async`].
    ///
    /// # Errors
    /// As [`Db::write`].
    #[cfg(feature = "async")]
    pub async fn put_async(
        &self,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> Result<(), Error> {
        let change = Changes::one(FamilyId::DEFAULT, key.as_ref(), Some(value.as_ref()));
        self.shared().write_async(change, &WriteOptions::default()).await
    }

    /// As [`Db::write`], for tasks of any runtime: waiting for memory, for a flush or for compaction does not hold up the
    /// thread. What is short does: the copy into log and memory, a new log segment, the turn of writes that came before;
    /// and a sync, so that synced writes belong where blocking is allowed.
    ///
    /// What a write was granted it keeps until it is polled or dropped: a thread that polls such writes must not call
    /// [`Db::write`] or its like, which could wait for just that, for ever.
    ///
    /// A future that is dropped before it is ready has written nothing. Write times ([`MeasureWrites`](crate::MeasureWrites)) are not measured.
    ///
    /// # Errors
    /// As [`Db::write`].
    #[cfg(feature = "async")]
    pub async fn write_async(
        &self,
        batch: &WriteBatch,
        options: &WriteOptions,
    ) -> Result<(), Error> {
        self.shared().write_async(Changes::Batch(batch), options).await
    }

    /// The value of `key`, if it has one.
    ///
    /// The value is cheap to clone. A large one from a table is a part of the block that holds it, which it keeps in memory,
    /// charged to the memory budget; others are copies.
    ///
    /// # Errors
    /// [`Error::Table`] names the damaged file; [`Error::Closed`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.get_with(key, &ReadOptions::default())
    }

    /// All entries, ascending by key, as of now.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn iter(&self) -> Result<Iter, Error> {
        self.range::<&[u8]>(..)
    }

    /// The entries whose keys lie within `bounds`, ascending by key, as of now.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<Iter, Error> {
        Iter::new(self.read_now(), FamilyId::DEFAULT, slices(&bounds), ScanHow::default())
    }

    /// The database as it is now, for any number of reads. While it is open, the versions that it sees are kept.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot { guard: self.read_now() }
    }

    /// Makes a column family.
    ///
    /// # Errors
    /// [`Error::FamilyExists`]; [`Error::NotRecorded`] when the name is refused or the manifest cannot be written.
    pub fn create_family(&self, name: &str) -> Result<Family, Error> {
        let shared = self.shared();
        let _install = shared.install.lock();
        // Under the lock that a close takes before it gives the directory away.
        shared.health.check_writable()?;
        if shared.versions.current().family_named(name).is_some() {
            return Err(Error::FamilyExists { name: name.to_owned() });
        }
        let id = shared.versions.new_family_id();
        let edit =
            VersionEdit { added_families: vec![(id, name.to_owned())], ..VersionEdit::default() };
        shared.versions.apply(edit, Vec::new())?;
        let mut state = shared.commit.lock();
        let memtable = state.next_memtable;
        state.next_memtable += 1;
        let at = state.families.partition_point(|family| family.id < id);
        state.families.insert(at, FamilyState::new(id, memtable));
        shared.store_view(&state);
        Ok(Family { db: self.clone(), id })
    }

    /// Opens a column family.
    ///
    /// # Errors
    /// [`Error::UnknownFamily`].
    pub fn family(&self, name: &str) -> Result<Family, Error> {
        match self.shared().versions.current().family_named(name) {
            Some(family) => Ok(Family { db: self.clone(), id: family.id() }),
            None => Err(Error::UnknownFamily { name: name.to_owned() }),
        }
    }

    /// The names of all column families, in the order in which they were made.
    #[must_use]
    pub fn families(&self) -> Vec<String> {
        self.shared().versions.families().into_iter().map(|(_, name)| name).collect()
    }

    /// Writes all that is in memory at the time of the call to tables, and waits for it.
    ///
    /// # Errors
    /// [`Error::FlushFailing`]: an attempt failed; the engine goes on trying, and the log keeps the data.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared().flush_all(FlushReason::Manual)
    }

    /// Flushes, and merges every column family into its last level, and waits for it. What overwritten and deleted
    /// entries took up above the last level is given back; tables that were in the last level already and that nothing
    /// newer overlaps stay as they are.
    ///
    /// # Errors
    /// As [`Db::flush`]; [`Error::CompactionFailing`].
    pub fn compact(&self) -> Result<(), Error> {
        self.flush()?;
        for (family, _) in self.shared().versions.families() {
            self.shared().compact_family(family)?;
        }
        Ok(())
    }

    /// Waits until no compaction is due.
    ///
    /// # Errors
    /// [`Error::CompactionFailing`]; [`Error::Closed`].
    pub fn wait_for_compaction(&self) -> Result<(), Error> {
        self.shared().wait_for_compaction()
    }

    /// What has been done since the database was opened, and what it holds now.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared().stats()
    }

    /// What readers of older versions keep on the disk.
    #[must_use]
    pub fn pins(&self) -> PinReport {
        self.shared().pins()
    }

    /// Syncs and seals the log, ends the background threads, and lets go of the directory, whatever other handles there are:
    /// their calls fail from then on.
    ///
    /// What is in memory stays in the log and is there when the database is opened again.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] after an earlier failure, else [`Error::Log`]: writes that were not synced may not outlive a
    /// power cut. The database is closed all the same.
    pub fn close(self) -> Result<(), Error> {
        self.shared().close()
    }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("dir", &self.shared().dir).finish_non_exhaustive()
    }
}

/// A column family of an open database: keys of its own, one log and one write budget with all others.
#[derive(Clone, Debug)]
pub struct Family {
    pub(crate) db: Db,
    pub(crate) id: FamilyId,
}

impl Family {
    /// The number by which a [`WriteBatch`] names it: numbers of one database mean nothing in another.
    #[must_use]
    pub fn id(&self) -> FamilyId {
        self.id
    }

    /// As [`Db::put`], in this family.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn put(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<(), Error> {
        self.db.write_one(self.id, key.as_ref(), Some(value.as_ref()), &WriteOptions::default())
    }

    /// As [`Db::delete`], in this family.
    ///
    /// # Errors
    /// As [`Db::write`].
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<(), Error> {
        self.db.write_one(self.id, key.as_ref(), None, &WriteOptions::default())
    }

    /// As [`Db::get`], in this family.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.get_with(key, &ReadOptions::default())
    }

    /// As [`Db::iter`], in this family.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter(&self) -> Result<Iter, Error> {
        self.range::<&[u8]>(..)
    }

    /// As [`Db::range`], in this family.
    ///
    /// # Errors
    /// As [`Db::range`].
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<Iter, Error> {
        Iter::new(self.db.read_now(), self.id, slices(&bounds), ScanHow::default())
    }
}

impl From<&Family> for FamilyId {
    fn from(family: &Family) -> Self {
        family.id
    }
}

/// The database as it was at one moment.
#[derive(Clone)]
pub struct Snapshot {
    pub(crate) guard: SnapshotGuard,
}

impl Snapshot {
    /// The sequence number that it stands at.
    pub(crate) fn at(&self) -> SeqNo {
        self.guard.at
    }

    /// As [`Db::get`], as of the snapshot.
    ///
    /// # Errors
    /// As [`Db::get`].
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.get_of(FamilyId::DEFAULT, key.as_ref())
    }

    /// As [`Family::get`], as of the snapshot.
    ///
    /// # Errors
    /// As [`Db::get`]; [`Error::UnknownFamilyNumber`] for a family of another database.
    pub fn get_in(&self, family: &Family, key: impl AsRef<[u8]>) -> Result<Option<Bytes>, Error> {
        self.check(family)?;
        self.get_of(family.id, key.as_ref())
    }

    /// As [`Db::iter`], as of the snapshot.
    ///
    /// # Errors
    /// As [`Db::iter`].
    pub fn iter(&self) -> Result<Iter, Error> {
        self.range::<&[u8]>(..)
    }

    /// As [`Db::range`], as of the snapshot.
    ///
    /// # Errors
    /// As [`Db::range`].
    pub fn range<K: AsRef<[u8]>>(&self, bounds: impl RangeBounds<K>) -> Result<Iter, Error> {
        Iter::new(self.guard.clone(), FamilyId::DEFAULT, slices(&bounds), ScanHow::default())
    }

    /// As [`Family::range`], as of the snapshot.
    ///
    /// # Errors
    /// As [`Db::range`].
    pub fn range_in<K: AsRef<[u8]>>(
        &self,
        family: &Family,
        bounds: impl RangeBounds<K>,
    ) -> Result<Iter, Error> {
        self.check(family)?;
        Iter::new(self.guard.clone(), family.id, slices(&bounds), ScanHow::default())
    }

    fn get_of(&self, family: FamilyId, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let how = GetHow { at: Some(self.guard.at), ..GetHow::default() };
        self.guard.owner.get(family, key, &how, |lent| lent.handle(&self.guard.owner))
    }

    fn check(&self, family: &Family) -> Result<(), Error> {
        if Arc::ptr_eq(&self.guard.owner, &family.db.owner) {
            Ok(())
        } else {
            Err(Error::UnknownFamilyNumber { family: family.id })
        }
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").field("at", &self.guard.at).finish_non_exhaustive()
    }
}
