//! Is there an order of these operations, each somewhere between its call and its return, that explains every answer?
//!
//! Wing and Gong's search with Lowe's memory of what was tried: next comes any operation that was called before every
//! other open one returned; a set of operations that are done, with the state they lead to, is looked at once. Own code
//! rather than a library's, because the state of a few keys fits a word each and the search needs nothing else.
//!
//! Source: Wing and Gong, "Testing and Verifying Concurrent Objects" (1993); Lowe, "Testing for linearizability" (2017).

use std::collections::HashSet;

/// The keys of a round: the first half in one column family, the second half in the other.
pub const KEYS: usize = 6;

/// What the keys hold; 0 is nothing.
pub type State = [u32; KEYS];

/// What was done, and what was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// All of these at once; 0 deletes.
    Write(Vec<(usize, u32)>),
    /// One key.
    Get(usize, u32),
    /// All keys, as of the call.
    View(State),
    /// The first half of the keys, as of the call.
    Range(State),
}

/// An operation, called after `call` and over before `returned`: points on one clock.
#[derive(Clone, Debug)]
pub struct Event {
    pub op: Op,
    pub call: u64,
    pub returned: u64,
}

impl Op {
    /// The state after it, if its answer fits the state before.
    fn apply(&self, state: &State) -> Option<State> {
        match self {
            Op::Write(entries) => {
                let mut after = *state;
                for &(key, value) in entries {
                    after[key] = value;
                }
                Some(after)
            }
            Op::Get(key, seen) => (state[*key] == *seen).then_some(*state),
            Op::View(seen) => (state == seen).then_some(*state),
            Op::Range(seen) => (state[..KEYS / 2] == seen[..KEYS / 2]).then_some(*state),
        }
    }
}

/// Whether `history`, of at most 64 operations that began with every key empty, can be put in order.
pub fn is_linearizable(history: &[Event]) -> bool {
    assert!(history.len() <= 64, "one bit an operation");
    let all = if history.len() == 64 { u64::MAX } else { (1 << history.len()) - 1 };
    let mut tried = HashSet::new();
    let mut open: Vec<(u64, State)> = vec![(0, [0; KEYS])];
    while let Some((done, state)) = open.pop() {
        if done == all {
            return true;
        }
        if !tried.insert((done, state)) {
            continue;
        }
        let left = |at: &usize| done & (1 << at) == 0;
        let first_return = (0..history.len()).filter(left).map(|at| history[at].returned).min();
        for at in (0..history.len()).filter(left) {
            if Some(history[at].call) < first_return
                && let Some(after) = history[at].op.apply(&state)
            {
                open.push((done | 1 << at, after));
            }
        }
    }
    false
}

fn event(op: Op, call: u64, returned: u64) -> Event {
    Event { op, call, returned }
}

#[test]
fn what_overlaps_may_come_in_either_order_and_what_does_not_may_not() {
    let write = |value| Op::Write(vec![(0, value)]);
    let history =
        |seen| [event(write(1), 0, 5), event(write(2), 1, 4), event(Op::Get(0, seen), 6, 7)];
    assert!(is_linearizable(&history(1)) && is_linearizable(&history(2)));
    assert!(!is_linearizable(&history(0)));
    let in_turn = [event(write(1), 0, 1), event(write(2), 2, 3), event(Op::Get(0, 1), 4, 5)];
    assert!(!is_linearizable(&in_turn));
}

#[test]
fn half_a_batch_and_a_step_back_are_seen() {
    let batch = event(Op::Write(vec![(0, 1), (5, 1)]), 0, 9);
    let half = event(Op::View([1, 0, 0, 0, 0, 0]), 1, 2);
    assert!(!is_linearizable(&[batch.clone(), half]));
    let back = [batch, event(Op::Get(0, 1), 1, 2), event(Op::Get(5, 0), 3, 4)];
    assert!(!is_linearizable(&back));
}
