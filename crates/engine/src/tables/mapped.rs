//! Tables that are read through a mapping of their file ([`Options::allow_mmap_reads`](crate::Options::allow_mmap_reads)).

#![allow(unsafe_code, reason = "says that table files do not change")]

use sstable::{Compression, Table};

/// `table`, one of this database's, mapped if it was written without compression: of others nothing would be read where it
/// lies.
pub(super) fn if_plain(table: Table) -> Table {
    if table.properties().compression != Compression::None {
        return table;
    }
    // SAFETY: nobody writes to a table file or cuts it once it was written: a table is opened when its writer has
    // finished, files are made anew or not at all (`Fs::create`) and removed as a whole, and a number never stands for two
    // tables. Other processes are kept out of the directory by its lock; one that goes past it is what the option warns of.
    // A value may outlive the database, and with it the lock; another that opens the directory then keeps to the same.
    unsafe { table.into_mapped() }
}
