//! The calls that read as [`ReadOptions`] say, and [`Db::verify`].

use std::sync::Arc;

use base::FamilyId;
use bytes::Bytes;

use crate::db::{Db, Family};
use crate::error::Error;
use crate::read::get::Lent;
use crate::read::iter::{Iter, SnapshotGuard};
use crate::read::options::{ReadOptions, borrowed};
use crate::read::verify::{Fault, VerifyReport};

/// Reads of the default column family.
impl Db {
    /// As [`Db::get`], as `options` say.
    ///
    /// # Errors
    /// As [`Db::get`]; [`Error::TimedOut`]; [`Error::UnknownFamilyNumber`] for a snapshot of another database.
    pub fn get_with(
        &self,
        key: impl AsRef<[u8]>,
        options: &ReadOptions<'_>,
    ) -> Result<Option<Bytes>, Error> {
        self.get_of(FamilyId::DEFAULT, key.as_ref(), options)
    }

    /// What `look` makes of the value of `key`, which is lent to it where it lies: nothing is copied or allocated.
    /// `look` should be short, for it may hold up memory that writers wait for.
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn get_map<T>(
        &self,
        key: impl AsRef<[u8]>,
        options: &ReadOptions<'_>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        self.map_of(FamilyId::DEFAULT, key.as_ref(), options, look)
    }

    /// The values of `keys`, each in its key's place, all as of one moment. The keys may come in any order, and more than
    /// once; they are looked up together, which is cheaper than one by one.
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        options: &ReadOptions<'_>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.multi_get_of(FamilyId::DEFAULT, keys, options)
    }

    /// As [`Db::multi_get`], but each value that there is is lent to `look`, with its key's place, in no order that is
    /// promised. See [`Db::get_map`].
    ///
    /// # Errors
    /// As [`Db::get_with`]; what was looked at before the error was right.
    pub fn multi_get_map<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        options: &ReadOptions<'_>,
        look: impl FnMut(usize, &[u8]),
    ) -> Result<(), Error> {
        self.multi_map_of(FamilyId::DEFAULT, keys, options, look)
    }

    /// The entries that `options` ask for, ascending by key.
    ///
    /// # Errors
    /// As [`Db::iter`]; [`Error::UnknownFamilyNumber`] for a snapshot of another database.
    pub fn iter_with(&self, options: &ReadOptions<'_>) -> Result<Iter, Error> {
        self.iter_of(FamilyId::DEFAULT, options)
    }

    /// Reads every block of every table of all column families from the disk, past all caches, and gives each fault to
    /// `on_fault`. It takes as long as reading all files; reads and writes go on meanwhile.
    ///
    /// What is only in the log and in memory yet is not looked at.
    ///
    /// # Errors
    /// [`Error::Closed`]: the check was cut short. Faults are no errors of the call.
    pub fn verify(&self, mut on_fault: impl FnMut(Fault)) -> Result<VerifyReport, Error> {
        self.owner.verify(&mut on_fault)
    }

    fn check(&self, options: &ReadOptions<'_>, family: FamilyId) -> Result<(), Error> {
        match options.snapshot {
            Some(snapshot) if !Arc::ptr_eq(&snapshot.guard.owner, &self.owner) => {
                Err(Error::UnknownFamilyNumber { family })
            }
            _ => Ok(()),
        }
    }

    fn get_of(
        &self,
        family: FamilyId,
        key: &[u8],
        options: &ReadOptions<'_>,
    ) -> Result<Option<Bytes>, Error> {
        self.check(options, family)?;
        self.owner.get(family, key, &options.get(), |lent| lent.handle(&self.owner))
    }

    fn map_of<T>(
        &self,
        family: FamilyId,
        key: &[u8],
        options: &ReadOptions<'_>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        self.check(options, family)?;
        self.owner.get(family, key, &options.get(), |lent| look(lent.bytes()))
    }

    fn multi_get_of<K: AsRef<[u8]>>(
        &self,
        family: FamilyId,
        keys: &[K],
        options: &ReadOptions<'_>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.check(options, family)?;
        let mut values = vec![None; keys.len()];
        let mut each =
            |position: usize, lent: Lent<'_>| values[position] = Some(lent.handle(&self.owner));
        self.owner.multi_get(family, keys, &options.get(), &mut each)?;
        Ok(values)
    }

    fn multi_map_of<K: AsRef<[u8]>>(
        &self,
        family: FamilyId,
        keys: &[K],
        options: &ReadOptions<'_>,
        mut look: impl FnMut(usize, &[u8]),
    ) -> Result<(), Error> {
        self.check(options, family)?;
        let mut each = |position: usize, lent: Lent<'_>| look(position, lent.bytes());
        self.owner.multi_get(family, keys, &options.get(), &mut each)
    }

    fn iter_of(&self, family: FamilyId, options: &ReadOptions<'_>) -> Result<Iter, Error> {
        self.check(options, family)?;
        let guard = match options.snapshot {
            Some(snapshot) => snapshot.guard.clone(),
            None => SnapshotGuard::now(&self.owner),
        };
        let (lower, upper) = options.bounds();
        Iter::new(guard, family, (lower, borrowed(&upper)), options.scan())
    }
}

/// Reads of this family.
impl Family {
    /// As [`Db::get_with`].
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn get_with(
        &self,
        key: impl AsRef<[u8]>,
        options: &ReadOptions<'_>,
    ) -> Result<Option<Bytes>, Error> {
        self.db.get_of(self.id, key.as_ref(), options)
    }

    /// As [`Db::get_map`].
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn get_map<T>(
        &self,
        key: impl AsRef<[u8]>,
        options: &ReadOptions<'_>,
        look: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        self.db.map_of(self.id, key.as_ref(), options, look)
    }

    /// As [`Db::multi_get`].
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn multi_get<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        options: &ReadOptions<'_>,
    ) -> Result<Vec<Option<Bytes>>, Error> {
        self.db.multi_get_of(self.id, keys, options)
    }

    /// As [`Db::multi_get_map`].
    ///
    /// # Errors
    /// As [`Db::get_with`].
    pub fn multi_get_map<K: AsRef<[u8]>>(
        &self,
        keys: &[K],
        options: &ReadOptions<'_>,
        look: impl FnMut(usize, &[u8]),
    ) -> Result<(), Error> {
        self.db.multi_map_of(self.id, keys, options, look)
    }

    /// As [`Db::iter_with`].
    ///
    /// # Errors
    /// As [`Db::iter_with`].
    pub fn iter_with(&self, options: &ReadOptions<'_>) -> Result<Iter, Error> {
        self.db.iter_of(self.id, options)
    }
}
