//! Made-up load: a fixed number of operations on numbered keys, all determined by a seed.
//!
//! Operation `i` of thread `t` is a pure function of the seed, `t` and `i`. Thread `t` of `T` owns
//! the key numbers `t`, `t + T`, `t + 2T`, … A key is its number in big-endian order (so that keys
//! sort as their numbers do), filled up with `0` characters: the layout that RocksDB's `db_bench`
//! uses. To know what must be there at the end, the operations are worked out again, and for each
//! key number the last one is kept: four bytes per key, after the measured part of the run.

use super::{Action, Expected, Operations, Source};
use crate::Result;
use crate::random::{below, fill, mix};
use crate::zipf::Zipf;

/// In which order the keys come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Distribution {
    /// Each key once, in ascending order (each thread its own part).
    Sequential,
    /// Each operation takes any key: about 63 % of the keys are written, some of them many times.
    Random,
    /// A few keys are written very often, most rarely or never (Zipf's law, θ = 0.99).
    Zipfian,
}

/// What the load looks like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// How many operations are made, and how many keys there are.
    pub(crate) keys: u64,
    /// Length of a key in bytes.
    pub(crate) key_bytes: usize,
    /// Length of a value in bytes.
    pub(crate) value_bytes: usize,
    /// Writer threads; at least 1.
    pub(crate) threads: u64,
    /// Everything follows from it.
    pub(crate) seed: u64,
    /// In which order the keys come.
    pub(crate) distribution: Distribution,
    /// How many operations in a hundred are deletes.
    pub(crate) delete_percent: u64,
    /// How much of a value, in per cent, a compressor finds again.
    pub(crate) compressible_percent: u64,
}

/// The load itself.
#[derive(Debug)]
pub(crate) struct Synthetic {
    shape: Shape,
}

impl Synthetic {
    /// # Errors
    /// If the numbers cannot be met: the message says what to change.
    pub(crate) fn new(shape: Shape) -> Result<Self> {
        let Shape { keys, key_bytes, threads, .. } = shape;
        if keys >= u64::from(u32::MAX) {
            return Err(format!("--keys {keys}: at most {} can be verified", u32::MAX - 1).into());
        }
        let room = 256_u64.checked_pow(u32::try_from(key_bytes)?).unwrap_or(u64::MAX);
        if keys > room {
            return Err(format!(
                "--keys {keys}: a key of {key_bytes} bytes can hold {room} numbers; raise --key-size"
            )
            .into());
        }
        if threads == 0 {
            return Err("--threads 0: at least one must write".into());
        }
        Ok(Self { shape })
    }
}

impl Source for Synthetic {
    fn describe(&self) -> String {
        let Shape { keys, key_bytes, value_bytes, threads, seed, delete_percent, .. } = self.shape;
        let order = format!("{:?}", self.shape.distribution).to_lowercase();
        format!(
            "{keys} operations ({delete_percent} % deletes) in {order} order, keys of {key_bytes} B, \
             values of {value_bytes} B, {threads} threads, seed {seed}"
        )
    }

    fn operations(&self) -> Option<u64> {
        Some(self.shape.keys)
    }

    fn writers(&mut self) -> Result<Vec<Box<dyn Operations>>> {
        let writer = |thread| {
            let part = Part::new(self.shape, thread);
            Box::new(Writer { part, next: 0 }) as Box<dyn Operations>
        };
        Ok((0..self.shape.threads).map(writer).collect())
    }

    fn expected(&mut self) -> Result<Box<dyn Expected + '_>> {
        Ok(Box::new(Newest::new(self.shape)))
    }
}

/// One thread's operations.
#[derive(Clone, Debug)]
struct Part {
    shape: Shape,
    thread: u64,
    /// How many operations it makes, and how many keys it owns.
    count: u64,
    zipf: Option<Zipf>,
}

impl Part {
    fn new(shape: Shape, thread: u64) -> Self {
        let count = shape.keys / shape.threads + u64::from(thread < shape.keys % shape.threads);
        let zipf = (shape.distribution == Distribution::Zipfian).then(|| Zipf::new(count));
        Self { shape, thread, count, zipf }
    }

    /// The key number and the action of operation `index`.
    fn operation(&self, index: u64) -> (u64, Action) {
        let random = mix(mix(self.shape.seed ^ mix(self.thread)) ^ index);
        let is_delete = below(mix(random ^ 1), 100) < self.shape.delete_percent;
        let own = match self.shape.distribution {
            // A delete takes one of the keys written so far.
            Distribution::Sequential if is_delete => below(random, index + 1),
            Distribution::Sequential => index,
            Distribution::Random => below(random, self.count),
            Distribution::Zipfian => {
                let rank = self.zipf.as_ref().map_or(0, |zipf| zipf.rank(random));
                // Scattered, or the most used keys would all lie at the beginning.
                below(mix(rank ^ self.shape.seed), self.count)
            }
        };
        let action = if is_delete { Action::Delete } else { Action::Put };
        (own * self.shape.threads + self.thread, action)
    }

    fn value(&self, number: u64, index: u64, value: &mut Vec<u8>) {
        let length = self.shape.value_bytes;
        value.clear();
        value.resize(length, 0);
        let repeated = length * self.shape.compressible_percent.min(100) as usize / 100;
        let (random, rest) = value.split_at_mut(length - repeated);
        fill(random, mix(mix(self.shape.seed ^ mix(number)) ^ index));
        // The rest repeats the beginning of the value, or a fixed byte where there is none.
        for (position, byte) in rest.iter_mut().enumerate() {
            *byte = random.get(position % random.len().clamp(1, 32)).copied().unwrap_or(b'v');
        }
    }
}

/// Puts the key of this number into the buffer.
fn key(shape: &Shape, number: u64, key: &mut Vec<u8>) {
    let digits = shape.key_bytes.min(8);
    key.clear();
    key.extend_from_slice(&number.to_be_bytes()[8 - digits..]);
    key.resize(shape.key_bytes, b'0');
}

struct Writer {
    part: Part,
    next: u64,
}

impl Operations for Writer {
    fn next(&mut self, key_buffer: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<Option<Action>> {
        if self.next == self.part.count {
            return Ok(None);
        }
        let (number, action) = self.part.operation(self.next);
        key(&self.part.shape, number, key_buffer);
        match action {
            Action::Put => self.part.value(number, self.next, value),
            Action::Delete => value.clear(),
        }
        self.next += 1;
        Ok(Some(action))
    }
}

/// The newest value of every key that was written and not deleted afterwards.
struct Newest {
    parts: Vec<Part>,
    /// For each key number, 1 + the index of its last operation; 0 if there was none.
    last: Vec<u32>,
    next: usize,
}

impl Newest {
    fn new(shape: Shape) -> Self {
        let parts: Vec<_> = (0..shape.threads).map(|thread| Part::new(shape, thread)).collect();
        let mut last = vec![0_u32; shape.keys as usize];
        for part in &parts {
            for index in 0..part.count {
                // Fewer keys than u32::MAX, so an index fits.
                last[part.operation(index).0 as usize] = index as u32 + 1;
            }
        }
        Self { parts, last, next: 0 }
    }
}

impl Expected for Newest {
    fn next(&mut self, key_buffer: &mut Vec<u8>, value: &mut Vec<u8>) -> Result<bool> {
        while let Some(&last) = self.last.get(self.next) {
            let number = self.next as u64;
            self.next += 1;
            let Some(index) = u64::from(last).checked_sub(1) else { continue };
            let part = &self.parts[(number % self.parts.len() as u64) as usize];
            if part.operation(index).1 == Action::Delete {
                continue;
            }
            key(&part.shape, number, key_buffer);
            part.value(number, index, value);
            return Ok(true);
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tests::check_source;

    fn shape(distribution: Distribution) -> Shape {
        Shape {
            keys: 3001,
            key_bytes: 12,
            value_bytes: 21,
            threads: 4,
            seed: 7,
            distribution,
            delete_percent: 20,
            compressible_percent: 50,
        }
    }

    const ALL: [Distribution; 3] =
        [Distribution::Sequential, Distribution::Random, Distribution::Zipfian];

    #[test]
    fn what_is_expected_is_what_the_operations_leave() {
        for distribution in ALL {
            for (threads, delete_percent) in [(1, 0), (4, 20), (7, 100)] {
                let shape = Shape { threads, delete_percent, ..shape(distribution) };
                let kept = check_source(&mut Synthetic::new(shape).expect("shape"));
                assert_eq!(kept == 0, delete_percent == 100, "{shape:?}");
            }
        }
    }

    #[test]
    fn in_sequential_order_a_delete_takes_a_key_that_was_written() {
        let shape = Shape { threads: 1, ..shape(Distribution::Sequential) };
        let part = Part::new(shape, 0);
        let actions: Vec<_> = (0..part.count).map(|index| part.operation(index)).collect();
        let puts = actions.iter().filter(|(_, action)| *action == Action::Put).count();
        let kept = check_source(&mut Synthetic::new(shape).expect("shape"));
        assert!(kept < puts * 9 / 10, "{kept} of {puts}");
    }

    #[test]
    fn the_same_seed_gives_the_same_load_and_another_another() {
        let values = |seed| {
            let shape = Shape { seed, ..shape(Distribution::Random) };
            let (mut key, mut value, mut all) = (Vec::new(), Vec::new(), Vec::new());
            for mut writer in Synthetic::new(shape).expect("shape").writers().expect("writers") {
                while let Some(action) = writer.next(&mut key, &mut value).expect("operation") {
                    all.push((key.clone(), value.clone(), action));
                }
            }
            all
        };
        assert_eq!(values(1), values(1));
        assert_ne!(values(1), values(2));
    }

    #[test]
    fn distributions_differ_in_how_often_a_key_comes() {
        let counts = |distribution| {
            let part = Part::new(
                Shape { keys: 10_000, threads: 1, delete_percent: 0, ..shape(distribution) },
                0,
            );
            let mut counts = vec![0_u32; 10_000];
            (0..10_000).for_each(|index| counts[part.operation(index).0 as usize] += 1);
            let written = counts.iter().filter(|&&count| count > 0).count();
            (written, counts.into_iter().max().unwrap_or(0))
        };
        assert_eq!(counts(Distribution::Sequential), (10_000, 1));
        let (written, most) = counts(Distribution::Random);
        assert!((6_000..6_700).contains(&written) && most < 15, "{written} {most}");
        let (written, most) = counts(Distribution::Zipfian);
        assert!(written < 4_000 && most > 500, "{written} {most}");
    }

    #[test]
    fn values_are_as_compressible_as_asked() {
        for (percent, random_bytes) in [(0, 1000), (50, 500), (100, 0)] {
            let shape = Shape {
                value_bytes: 1000,
                compressible_percent: percent,
                ..shape(Distribution::Random)
            };
            let mut value = Vec::new();
            Part::new(shape, 0).value(3, 5, &mut value);
            assert_eq!(value.len(), 1000);
            let repeats = value[random_bytes..].iter().enumerate();
            let again =
                repeats.filter(|(at, byte)| random_bytes == 0 || value[at % 32] == **byte).count();
            assert_eq!(again, 1000 - random_bytes);
        }
    }

    #[test]
    fn numbers_that_cannot_be_met_are_refused() {
        let refused = |shape: Shape| Synthetic::new(shape).expect_err("refused").to_string();
        let base = shape(Distribution::Random);
        assert!(refused(Shape { key_bytes: 1, keys: 257, ..base }).contains("--key-size"));
        assert!(refused(Shape { threads: 0, ..base }).contains("--threads"));
        assert!(refused(Shape { keys: 1 << 40, ..base }).contains("--keys"));
        assert!(Synthetic::new(Shape { key_bytes: 1, keys: 256, ..base }).is_ok());
        assert!(Synthetic::new(Shape { key_bytes: 0, keys: 1, ..base }).is_ok());
    }
}
