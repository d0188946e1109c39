//! The token bucket as a state machine: requests, refills, and who gets what of them.
//!
//! Rules
//! - Each period one refill of `rate × period` bytes comes. What is not used is kept up to one refill, the burst.
//! - Classes that never wait take what they need and may leave the bucket in debt, which the next
//!   refills pay. While others wait, at least 1/fairness of a refill reaches them all the same: what
//!   of the debt stands in the way is forgiven.
//! - A refill serves waiting classes in order of urgency, requests of a class in order of arrival. What does
//!   not suffice for a request is given to it as a part; it is done when all parts are there.
//! - A refill for which several classes wait is *contended*. Of any `fairness` contended refills through
//!   which a class waits, it is first in at least one (with `fairness` at least the number of classes that wait).
//!
//! The last rule is aging, not chance: RocksDB throws a die at each refill, which gives a lower class
//! its part on average only, needs a source of randomness, and cannot be replayed. A count of the
//! refills in which others were first gives it always, and a test can check each window.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Priority;

/// Names a waiting request.
pub(crate) type Ticket = u64;

/// The bucket.
#[derive(Debug)]
pub(crate) struct Bucket {
    bytes_per_second: u64,
    period: Duration,
    fairness: u32,
    /// What may be taken now; negative is debt.
    available: i64,
    /// When the last refill came.
    refilled_at: Duration,
    classes: [Class; Priority::ALL.len()],
    next_ticket: Ticket,
}

#[derive(Debug, Default)]
struct Class {
    queue: VecDeque<Ticket>,
    /// Bytes that a waiting request still lacks.
    lacking: BTreeMap<Ticket, u64>,
    /// Contended refills since the class was first, while it waited.
    passed: u32,
}

impl Bucket {
    pub(crate) fn new(
        bytes_per_second: u64,
        period: Duration,
        fairness: u32,
        now: Duration,
    ) -> Bucket {
        let mut bucket = Bucket {
            bytes_per_second,
            period,
            fairness,
            available: 0,
            refilled_at: now,
            classes: Default::default(),
            next_ticket: 0,
        };
        bucket.available = bucket.refill_bytes();
        bucket
    }

    /// Bytes of one refill, at least 1.
    pub(crate) fn refill_bytes(&self) -> i64 {
        let bytes = self.bytes_per_second as f64 * self.period.as_secs_f64();
        (bytes as i64).max(1)
    }

    pub(crate) fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    pub(crate) fn set_rate(&mut self, bytes_per_second: u64) {
        self.bytes_per_second = bytes_per_second;
        // What was saved at the old rate must not be a burst at the new one.
        self.available = self.available.min(self.refill_bytes());
    }

    /// Takes `bytes` whatever there is.
    pub(crate) fn charge(&mut self, bytes: u64) {
        self.available = self.available.saturating_sub(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// Takes `bytes` for `class` if they are there and nobody waits who is as urgent or more.
    pub(crate) fn take(&mut self, class: Priority, bytes: u64) -> bool {
        let before = &self.classes[..=class.index()];
        let fits = i64::try_from(bytes).is_ok_and(|bytes| bytes <= self.available);
        if !fits || before.iter().any(|class| !class.queue.is_empty()) {
            return false;
        }
        self.charge(bytes);
        true
    }

    /// Queues a request that was not taken; what there is goes to it as a part.
    pub(crate) fn enqueue(&mut self, class: Priority, bytes: u64) -> Ticket {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let waiting = &mut self.classes[class.index()];
        waiting.queue.push_back(ticket);
        waiting.lacking.insert(ticket, bytes);
        ticket
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.classes.iter().all(|class| class.queue.is_empty())
    }

    /// When the next refill comes.
    pub(crate) fn next_refill(&self) -> Duration {
        self.refilled_at.saturating_add(self.period)
    }

    /// Lets the refills up to `now` come; those who are done then, in the order of their being served.
    pub(crate) fn advance(&mut self, now: Duration) -> Vec<Ticket> {
        let mut done = Vec::new();
        while self.next_refill() <= now {
            if self.is_idle() {
                self.skip_to(now);
                break;
            }
            self.refilled_at = self.next_refill();
            self.refill();
            self.serve(&mut done);
        }
        done
    }

    /// While nobody waits, refills need no counting one by one.
    fn skip_to(&mut self, now: Duration) {
        let nanos = self.period.as_nanos().max(1);
        let periods = now.saturating_sub(self.refilled_at).as_nanos() / nanos;
        let refill = self.refill_bytes();
        let gained = i64::try_from(periods).unwrap_or(i64::MAX).saturating_mul(refill);
        self.available = self.available.saturating_add(gained).min(refill);
        let passed = u64::try_from(periods * nanos).unwrap_or(u64::MAX);
        self.refilled_at = self.refilled_at.saturating_add(Duration::from_nanos(passed));
    }

    fn refill(&mut self) {
        let refill = self.refill_bytes();
        let least = (refill / i64::from(self.fairness)).max(1);
        self.available = self.available.saturating_add(refill).clamp(least, refill);
    }

    fn serve(&mut self, done: &mut Vec<Ticket>) {
        let mut order: Vec<usize> = (0..self.classes.len())
            .filter(|&class| !self.classes[class].queue.is_empty())
            .collect();
        if order.len() > 1 {
            // Due early enough that all others may become due together with it and go first. Of those
            // who are due the one that waited longest is first; of equals, the less urgent.
            let rivals = order.len() as u32 - 1;
            let due = |&class: &usize| self.classes[class].passed + rivals >= self.fairness;
            let passed = |&class: &usize| (self.classes[class].passed, class);
            let first = order.iter().copied().filter(due).max_by_key(passed);
            if let Some(first) = first {
                order.retain(|&class| class != first);
                order.insert(0, first);
            }
            for (place, &class) in order.iter().enumerate() {
                let passed = &mut self.classes[class].passed;
                *passed = if place == 0 { 0 } else { *passed + 1 };
            }
        }
        for class in order {
            self.serve_class(class, done);
        }
    }

    fn serve_class(&mut self, class: usize, done: &mut Vec<Ticket>) {
        let class = &mut self.classes[class];
        while let Some(&ticket) = class.queue.front()
            && self.available > 0
        {
            let Some(lacking) = class.lacking.get_mut(&ticket) else { break };
            let part = (*lacking).min(self.available as u64);
            *lacking -= part;
            self.available -= part as i64;
            if *lacking > 0 {
                break;
            }
            class.lacking.remove(&ticket);
            class.queue.pop_front();
            done.push(ticket);
        }
        if class.queue.is_empty() {
            class.passed = 0;
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use Priority::{ClientRead, Deep, LevelZero};

    const PERIOD: Duration = Duration::from_millis(10);

    /// 100 bytes a refill, 100 to begin with.
    fn bucket(fairness: u32) -> Bucket {
        Bucket::new(10_000, PERIOD, fairness, Duration::ZERO)
    }

    fn refills(bucket: &mut Bucket, from: u32, to: u32) -> Vec<Vec<Ticket>> {
        (from..to).map(|i| bucket.advance(PERIOD * (i + 1))).collect()
    }

    #[test]
    fn what_is_saved_is_at_most_one_refill() {
        // L1
        let mut bucket = bucket(10);
        assert!(bucket.take(Deep, 60) && !bucket.take(Deep, 41) && bucket.take(Deep, 40));
        assert!(bucket.advance(PERIOD * 1000 + PERIOD / 2).is_empty());
        assert!(!bucket.take(Deep, 101));
        assert!(bucket.take(Deep, 100));
        // The half period that had gone by is not lost.
        assert_eq!(bucket.next_refill(), PERIOD * 1001);
    }

    #[test]
    fn large_requests_are_served_in_parts() {
        // L1
        let mut bucket = bucket(10);
        let large = bucket.enqueue(Deep, 250);
        let behind = bucket.enqueue(Deep, 10);
        // The first refill finds a full bucket: the burst is not more than one.
        assert_eq!(refills(&mut bucket, 0, 3), [vec![], vec![], vec![large, behind]]);
        assert!(bucket.take(Deep, 40) && !bucket.take(Deep, 1));
    }

    #[test]
    fn the_urgent_come_first_and_nobody_passes_them() {
        // L2
        let mut bucket = bucket(10);
        bucket.charge(100);
        let deep = bucket.enqueue(Deep, 60);
        let zero = bucket.enqueue(LevelZero, 60);
        assert!(!bucket.take(ClientRead, 1), "the bucket is empty");
        assert_eq!(refills(&mut bucket, 0, 2), [vec![zero], vec![deep]]);
        let zero = bucket.enqueue(LevelZero, 1000);
        assert!(!bucket.take(LevelZero, 1) && !bucket.take(Deep, 1));
        assert!(bucket.take(ClientRead, 1), "more urgent than who waits");
        assert_eq!(refills(&mut bucket, 2, 12).concat(), [zero]);
    }

    #[test]
    fn each_class_is_first_in_one_of_fairness_contended_refills() {
        // L2
        let mut bucket = bucket(10);
        let read = bucket.enqueue(ClientRead, 1_000_000);
        let zero = bucket.enqueue(LevelZero, 1_000_000);
        let deep = bucket.enqueue(Deep, 1_000_000);
        let tickets = [(ClientRead, read), (LevelZero, zero), (Deep, deep)];
        let lacking = |bucket: &Bucket| {
            tickets.map(|(class, ticket)| bucket.classes[class.index()].lacking[&ticket])
        };
        let mut since_first = [0; 3];
        let mut shares = [0; 3];
        for refill in 0..1000 {
            let before = lacking(&bucket);
            refills(&mut bucket, refill, refill + 1);
            for (class, (before, after)) in before.into_iter().zip(lacking(&bucket)).enumerate() {
                shares[class] += before - after;
                // Nobody is done here, so the first takes the whole refill.
                since_first[class] = if after < before { 0 } else { since_first[class] + 1 };
                assert!(since_first[class] < 10, "class {class} was passed ten times");
            }
        }
        assert_eq!(shares.iter().sum::<u64>(), 100_000);
        assert!(shares[0] > 75_000, "{shares:?}");
    }

    #[test]
    fn those_who_never_wait_leave_a_debt_that_does_not_stop_the_others() {
        // L2
        let mut bucket = bucket(10);
        bucket.charge(250);
        let deep = bucket.enqueue(Deep, 100);
        // 150 owed: the refill would leave -50, a tenth of it comes through.
        assert_eq!(refills(&mut bucket, 0, 1), [vec![]]);
        assert_eq!(bucket.classes[Deep.index()].lacking[&deep], 90);
        bucket.charge(1 << 40);
        for i in 1..9 {
            assert_eq!(bucket.advance(PERIOD * (i + 1)), []);
            bucket.charge(1 << 40);
        }
        assert_eq!(bucket.advance(PERIOD * 10), [deep], "ten tenths");
    }

    #[test]
    fn a_new_rate_applies_from_the_next_refill_and_cuts_what_was_saved() {
        // L1
        let mut bucket = bucket(10);
        bucket.set_rate(1000);
        assert!(!bucket.take(Deep, 11) && bucket.take(Deep, 10));
        bucket.set_rate(50_000);
        let large = bucket.enqueue(Deep, 500);
        assert_eq!(bucket.advance(PERIOD), [large]);
    }
}
