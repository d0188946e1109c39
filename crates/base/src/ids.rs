//! Numbers that name things, as types of their own, so that one cannot be passed for another.

use std::fmt;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($int);

        impl $name {
            /// The id with this number.
            #[inline]
            #[must_use]
            pub const fn new(number: $int) -> Self {
                Self(number)
            }

            /// The number itself.
            #[inline]
            #[must_use]
            pub const fn get(self) -> $int {
                self.0
            }

            /// The id that follows this one, or `None` when the numbers are used up.
            #[must_use]
            pub fn next(self) -> Option<Self> {
                self.0.checked_add(1).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

id! {
    /// A column family of one database; 0 is the default family, which always exists.
    FamilyId(u32)
}
id! {
    /// A file of one database that is neither a log segment nor a lock: table or manifest. Never used twice.
    FileNumber(u64)
}
id! {
    /// A segment of the write-ahead log. Segments are numbered in the order in which they are written; a number is
    /// never used twice in the life of a database.
    SegmentNumber(u64)
}

/// A place in the log: so many bytes from the start of a segment. Places order as what stands at them was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// The segment.
    pub segment: SegmentNumber,
    /// Bytes from the start of its file.
    pub offset: u64,
}

impl fmt::Display for LogPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "byte {} of segment {}", self.offset, self.segment)
    }
}

impl FamilyId {
    /// The family that exists in every database.
    pub const DEFAULT: Self = Self::new(0);
}
