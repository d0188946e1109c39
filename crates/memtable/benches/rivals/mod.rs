//! The sorted maps that are measured beside the memtable, and the keys they are measured with.
//!
//! All of them keep versions: an insert adds an entry under (user key ascending, sequence number descending), a get
//! finds the newest version of a user key. The rivals get the whole as one byte string, the number inverted behind the
//! key, which orders right because the keys of one workload are of one length.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound::{Included, Unbounded};
use std::sync::Mutex;

use base::{Cursor, InternalKeyRef, SeqNo, ValueKind};
use credit::Pool;
use crossbeam_skiplist::SkipMap;
use memtable::{Chunk, Memtable, Space};

/// A sorted map of versions that several threads use at once.
pub trait Rival: Sync {
    /// What the tables call it.
    const NAME: &'static str;

    /// An empty one.
    fn new() -> Self;

    /// Inserts a version.
    fn insert(&self, user_key: &[u8], seq: u64, value: &[u8]);

    /// The first byte of the newest version's value.
    fn get(&self, user_key: &[u8]) -> Option<u8>;

    /// Walks everything in order: how many entries, and the sum of the first bytes of their values.
    fn scan(&self) -> (usize, u64);
}

/// Polder's memtable, filled as an engine does it: room reserved, a charged chunk added where one is needed.
pub struct Polder {
    pool: Pool,
    table: Memtable,
}

impl Rival for Polder {
    const NAME: &'static str = "polder";

    fn new() -> Self {
        Self { pool: Pool::new(None), table: Memtable::new(0) }
    }

    fn insert(&self, user_key: &[u8], seq: u64, value: &[u8]) {
        let mut space = Space::new();
        space.add(user_key.len(), value.len());
        let mut reserved = loop {
            if let Some(reserved) = self.table.reserve(&space) {
                break reserved;
            }
            if let Some(bytes) = self.table.chunk_bytes_for(&space) {
                let permit = self.pool.acquire(bytes as u64).expect("the pool has no limit");
                self.table.add_chunk(Chunk::map(permit).expect("there is memory"));
            }
        };
        let key = InternalKeyRef::new(user_key, SeqNo::new(seq), ValueKind::Put);
        self.table.insert(&mut reserved, key, value);
    }

    fn get(&self, user_key: &[u8]) -> Option<u8> {
        self.table.get(user_key, SeqNo::MAX).map(|(_, value)| value[0])
    }

    fn scan(&self) -> (usize, u64) {
        let mut cursor = self.table.cursor();
        let Ok(()) = cursor.seek_to_first();
        let (mut entries, mut sum) = (0, 0);
        while cursor.is_valid() {
            entries += 1;
            sum += u64::from(cursor.value()[0]);
            let Ok(()) = cursor.next();
        }
        (entries, sum)
    }
}

/// The longest user key of a workload.
const USER_KEY_BYTES_MAX: usize = 48;

/// A version's place in the order of a map that knows byte strings only.
fn encoded<'a>(
    user_key: &[u8],
    seq: u64,
    buffer: &'a mut [u8; USER_KEY_BYTES_MAX + 8],
) -> &'a [u8] {
    let len = user_key.len();
    buffer[..len].copy_from_slice(user_key);
    buffer[len..len + 8].copy_from_slice(&(!seq).to_be_bytes());
    &buffer[..len + 8]
}

/// crossbeam's skip list.
pub struct Crossbeam(SkipMap<Vec<u8>, Vec<u8>>);

impl Rival for Crossbeam {
    const NAME: &'static str = "crossbeam";

    fn new() -> Self {
        Self(SkipMap::new())
    }

    fn insert(&self, user_key: &[u8], seq: u64, value: &[u8]) {
        let mut buffer = [0; USER_KEY_BYTES_MAX + 8];
        self.0.insert(encoded(user_key, seq, &mut buffer).to_vec(), value.to_vec());
    }

    fn get(&self, user_key: &[u8]) -> Option<u8> {
        let mut buffer = [0; USER_KEY_BYTES_MAX + 8];
        let from = encoded(user_key, u64::MAX, &mut buffer);
        let found = self.0.lower_bound::<[u8]>(Included(from))?;
        found.key().starts_with(user_key).then(|| found.value()[0])
    }

    fn scan(&self) -> (usize, u64) {
        self.0
            .iter()
            .fold((0, 0), |(entries, sum), entry| (entries + 1, sum + u64::from(entry.value()[0])))
    }
}

/// The standard library's B-tree behind a lock.
pub struct Locked(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl Rival for Locked {
    const NAME: &'static str = "Mutex<BTreeMap>";

    fn new() -> Self {
        Self(Mutex::new(BTreeMap::new()))
    }

    fn insert(&self, user_key: &[u8], seq: u64, value: &[u8]) {
        let mut buffer = [0; USER_KEY_BYTES_MAX + 8];
        let (key, value) = (encoded(user_key, seq, &mut buffer).to_vec(), value.to_vec());
        self.0.lock().expect("no panic").insert(key, value);
    }

    fn get(&self, user_key: &[u8]) -> Option<u8> {
        let mut buffer = [0; USER_KEY_BYTES_MAX + 8];
        let from = encoded(user_key, u64::MAX, &mut buffer);
        let map = self.0.lock().expect("no panic");
        let (found, value) = map.range::<[u8], _>((Included(from), Unbounded)).next()?;
        found.starts_with(user_key).then(|| value[0])
    }

    fn scan(&self) -> (usize, u64) {
        let map = self.0.lock().expect("no panic");
        map.values().fold((0, 0), |(entries, sum), value| (entries + 1, sum + u64::from(value[0])))
    }
}

/// In which order which keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    /// 16 random bytes, each key once.
    Random,
    /// 16 bytes, a growing number at their end.
    Sequential,
    /// 16 random bytes, drawn with a zipfian distribution (exponent 0.99): few keys have many versions.
    Zipfian,
    /// `user` and a number of 16 digits, each once, in no order.
    Shared,
}

impl Workload {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Random, Self::Sequential, Self::Zipfian, Self::Shared];

    /// The user keys in the order of their insertion.
    pub fn keys(self, entries: usize) -> Keys {
        let n = entries as u64;
        let mut zipf = Zipf::new(n);
        let mut keys =
            Keys { bytes: Vec::new(), width: if self == Self::Shared { 20 } else { 16 } };
        for i in 0..n {
            match self {
                Self::Random => keys.push_random(i),
                Self::Zipfian => keys.push_random(zipf.draw()),
                Self::Sequential => {
                    keys.bytes.extend([0; 8]);
                    keys.bytes.extend(i.to_be_bytes());
                }
                Self::Shared => {
                    keys.bytes.extend(format!("user{:016}", shuffled(i, n)).into_bytes());
                }
            }
        }
        keys
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Random => "random",
            Self::Sequential => "sequential",
            Self::Zipfian => "zipfian",
            Self::Shared => "shared prefix",
        })
    }
}

/// User keys of one length, one behind the other.
pub struct Keys {
    bytes: Vec<u8>,
    width: usize,
}

impl Keys {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.width
    }

    /// The key at `at`.
    pub fn at(&self, at: usize) -> &[u8] {
        &self.bytes[at * self.width..][..self.width]
    }

    fn push_random(&mut self, number: u64) {
        self.bytes.extend(mix(number).to_be_bytes());
        self.bytes.extend(mix(!number).to_be_bytes());
    }
}

/// Where the `i`th of `n` goes in an order without pattern: each place is taken once.
pub fn shuffled(i: u64, n: u64) -> u64 {
    // A step that shares no factor with n: consecutive ones land far apart.
    let mut step = (n as f64 * 0.618_033_988_75) as u64 | 1;
    while gcd(step, n) != 1 {
        step += 2;
    }
    (i * step + n / 3) % n
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// A number without pattern for each number (SplitMix64).
pub fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Ranks from 0 to n - 1, rank r about as often as 1 / (r + 1)^0.99: the inverse of the integral, which is close
/// enough to the sum for a benchmark.
struct Zipf {
    n: f64,
    drawn: u64,
}

impl Zipf {
    fn new(n: u64) -> Self {
        Self { n: n as f64, drawn: 0 }
    }

    fn draw(&mut self) -> u64 {
        const REST: f64 = 1.0 - 0.99;
        self.drawn += 1;
        let uniform = mix(self.drawn ^ 0x5eed) as f64 / u64::MAX as f64;
        let top = (self.n + 1.0).powf(REST) - 1.0;
        let rank = (uniform * top + 1.0).powf(1.0 / REST) - 1.0;
        (rank as u64).min(self.n as u64 - 1)
    }
}
