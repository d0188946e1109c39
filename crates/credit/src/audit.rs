//! A second, independent account kept in debug builds, and the check of the first against it.
//!
//! Every grant and release is added up here too, in a plain sum beside the packed word. The word and
//! the sum cannot be changed in one step, so each change by the fast path happens inside a window that
//! is counted: a checker that has stopped the fast path and sees no open window may compare the two.
//! In release builds all of this is empty.

pub(crate) use imp::Audit;

#[cfg(all(debug_assertions, not(any(loom, shuttle))))]
mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering::SeqCst};

    use crate::account::Account;

    /// Counters with a life of their own: a release may outlive its account by a moment.
    #[derive(Debug, Clone)]
    pub(crate) struct Audit(Arc<Counters>);

    #[derive(Debug)]
    struct Counters {
        /// Grants less releases. Signed, since inside a window a release may be seen before its grant.
        sum: AtomicI64,
        windows: AtomicUsize,
    }

    impl Audit {
        pub(crate) fn new() -> Audit {
            Audit(Arc::new(Counters { sum: AtomicI64::new(0), windows: AtomicUsize::new(0) }))
        }

        pub(crate) fn assert_alive(&self) {}

        pub(crate) fn add(&self, bytes: i64) {
            self.0.sum.fetch_add(bytes, SeqCst);
        }

        pub(crate) fn grant_fast(&self, account: &Account, bytes: u64) -> bool {
            self.0.windows.fetch_add(1, SeqCst);
            let granted = account.grant_fast(bytes);
            if granted {
                self.add(bytes as i64);
            }
            self.0.windows.fetch_sub(1, SeqCst);
            granted
        }

        pub(crate) fn release_fast(&self, account: &Account, bytes: u64) -> bool {
            let audit = self.clone();
            audit.0.windows.fetch_add(1, SeqCst);
            let released = account.release_fast(bytes);
            // From here on the account may be gone; `audit` is ours.
            if released {
                audit.add(-(bytes as i64));
            }
            audit.0.windows.fetch_sub(1, SeqCst);
            released
        }

        /// The sum, once no change is under way; the caller has stopped the fast path.
        pub(crate) fn sum(&self) -> Option<i64> {
            while self.0.windows.load(SeqCst) > 0 {
                std::thread::yield_now();
            }
            Some(self.0.sum.load(SeqCst))
        }
    }
}

#[cfg(any(not(debug_assertions), loom, shuttle))]
mod imp {
    use crate::account::Account;

    #[derive(Debug)]
    pub(crate) struct Audit {
        /// Set when the account would have been freed; the models keep the memory to see late uses.
        #[cfg(loom)]
        freed: std::sync::atomic::AtomicBool,
    }

    impl Audit {
        pub(crate) fn new() -> Audit {
            Audit {
                #[cfg(loom)]
                freed: std::sync::atomic::AtomicBool::new(false),
            }
        }

        #[cfg(not(loom))]
        #[inline(always)]
        pub(crate) fn assert_alive(&self) {}

        #[cfg(loom)]
        pub(crate) fn assert_alive(&self) {
            let freed = self.freed.load(std::sync::atomic::Ordering::SeqCst);
            assert!(!freed, "the account was used after it was freed");
        }

        #[cfg(loom)]
        pub(crate) fn set_freed(&self) {
            self.freed.store(true, std::sync::atomic::Ordering::SeqCst);
        }

        #[inline(always)]
        pub(crate) fn add(&self, _bytes: i64) {}

        #[inline(always)]
        pub(crate) fn grant_fast(&self, account: &Account, bytes: u64) -> bool {
            account.grant_fast(bytes)
        }

        #[inline(always)]
        pub(crate) fn release_fast(&self, account: &Account, bytes: u64) -> bool {
            account.release_fast(bytes)
        }

        pub(crate) fn sum(&self) -> Option<i64> {
            None
        }
    }
}
