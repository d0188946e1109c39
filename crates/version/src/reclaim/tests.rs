//! The extents against a naive model that looks at every thing and every version each time.

use proptest::prelude::*;

use super::*;

fn at(number: u64) -> VersionNumber {
    VersionNumber::new(number)
}

/// Versions 1 to `last` live, and a thing created at `a`, dropped at `b`.
fn dropped(last: u64, a: u64, b: u64) -> Extents<&'static str> {
    let mut extents = Extents::new();
    for number in 1..=last {
        extents.begin(at(number)).unwrap();
    }
    extents.add("thing", at(a), 10).unwrap();
    assert_eq!(extents.retire(&"thing", at(b)), Ok(Retired::Parked));
    extents
}

fn end(extents: &mut Extents<&'static str>, version: u64) -> Vec<&'static str> {
    let mut free = Vec::new();
    extents.end(at(version), &mut free).unwrap();
    free
}

// R1: a reader exactly at the creation version holds the thing.
#[test]
fn a_reader_at_the_first_version_holds_it() {
    let mut extents = dropped(6, 3, 5);
    for other in [1, 2, 4, 5, 6] {
        assert!(end(&mut extents, other).is_empty());
    }
    assert_eq!(extents.parked(), Usage { count: 1, bytes: 10 });
    assert_eq!(end(&mut extents, 3), ["thing"]);
    assert_eq!(extents.parked(), Usage::default());
}

// R1: a reader exactly at the last version before the drop holds the thing.
#[test]
fn a_reader_just_before_the_drop_holds_it() {
    let mut extents = dropped(6, 3, 5);
    for other in [6, 5, 3, 2, 1] {
        assert!(end(&mut extents, other).is_empty());
    }
    assert_eq!(end(&mut extents, 4), ["thing"]);
}

// R1: readers at the drop itself, and before the creation, do not hold it.
#[test]
fn readers_at_the_drop_and_before_the_creation_do_not_hold_it() {
    let mut extents = dropped(6, 3, 5);
    assert!(end(&mut extents, 4).is_empty());
    assert_eq!(end(&mut extents, 3), ["thing"]);
    assert_eq!(extents.live().map(|(v, _)| v.get()).collect::<Vec<_>>(), [1, 2, 5, 6]);
}

// R1: what came and went between two readers is free although an older reader is open.
#[test]
fn a_gap_between_readers_is_free_at_once() {
    let mut extents = Extents::new();
    extents.begin(at(1)).unwrap();
    extents.begin(at(9)).unwrap();
    extents.add("in the gap", at(3), 1).unwrap();
    assert_eq!(extents.retire(&"in the gap", at(5)), Ok(Retired::Free));
    extents.add("under a reader", at(1), 1).unwrap();
    assert_eq!(extents.retire(&"under a reader", at(2)), Ok(Retired::Parked));
}

// R5: freeing twice and freeing what is live are refused, and change nothing.
#[test]
fn freeing_twice_or_what_is_live_is_refused() {
    let mut extents = dropped(6, 3, 5);
    assert_eq!(extents.retire(&"thing", at(6)), Err(ReclaimError::AlreadyDropped));
    assert_eq!(extents.add("thing", at(6), 1), Err(ReclaimError::AlreadyThere));
    for version in 1..=6 {
        extents.end(at(version), &mut Vec::new()).unwrap();
    }
    assert_eq!(extents.retire(&"thing", at(6)), Err(ReclaimError::Unknown));
    let mut free = Vec::new();
    assert_eq!(extents.end(at(3), &mut free), Err(ReclaimError::NotLive { version: at(3) }));
    assert!(free.is_empty());

    extents.begin(at(7)).unwrap();
    extents.add("young", at(7), 1).unwrap();
    assert_eq!(
        extents.retire(&"young", at(7)),
        Err(ReclaimError::DroppedBeforeCreated { created: at(7), dropped: at(7) })
    );
    let ahead = ReclaimError::NotBegun { version: at(8), newest: at(7) };
    assert_eq!(extents.retire(&"young", at(8)), Err(ahead));
    assert_eq!(extents.add("unborn", at(8), 1), Err(ahead));
    assert_eq!(
        extents.begin(at(7)),
        Err(ReclaimError::OutOfOrder { version: at(7), newest: at(7) })
    );
    assert!(extents.contains(&"young"));
}

// R3: what an old version pins is not looked at when others come and go.
#[test]
fn ending_a_version_does_not_touch_what_others_pin() {
    let mut extents = Extents::new();
    extents.begin(at(1)).unwrap();
    for thing in 0..1000 {
        extents.add(thing, at(1), 1).unwrap();
    }
    extents.begin(at(2)).unwrap();
    for thing in 0..1000 {
        assert_eq!(extents.retire(&thing, at(2)), Ok(Retired::Parked));
    }
    let parked = extents.moves;
    let mut free = Vec::new();
    for number in 3..1000u64 {
        let thing = number as i32 * 1000;
        extents.begin(at(number)).unwrap();
        extents.add(thing, at(number), 1).unwrap();
        if number > 3 {
            assert_eq!(extents.retire(&(thing - 1000), at(number)), Ok(Retired::Parked));
        }
        extents.end(at(number - 1), &mut free).unwrap();
    }
    assert_eq!(extents.parked().count, 1000);
    assert_eq!(free.len(), 995 + 1);
    assert!(extents.moves - parked <= 1000, "one move for each drop");
}

// R3: closing many readers, the newest first, does not move all they pin each time.
#[test]
fn closing_newest_first_moves_little() {
    let mut extents = Extents::new();
    extents.begin(at(1)).unwrap();
    for thing in 0..1024 {
        extents.add(thing, at(1), 1).unwrap();
    }
    for number in 2..=1025u64 {
        extents.begin(at(number)).unwrap();
        assert_eq!(extents.retire(&(number - 2), at(number)), Ok(Retired::Parked));
    }
    let mut free = Vec::new();
    for number in (1..=1025).rev() {
        extents.end(at(number), &mut free).unwrap();
    }
    assert_eq!(free.len(), 1024);
    assert!(extents.moves <= 1024 * 11, "{} moves", extents.moves);
}

/// The requirement as it is written: look at all things and all versions after each step.
#[derive(Default)]
struct Naive {
    live: Vec<u64>,
    things: Vec<(u32, u64, Option<u64>)>,
}

impl Naive {
    fn reclaim(&mut self) -> Vec<u32> {
        let live = &self.live;
        let (free, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.things).into_iter().partition(|&(_, created, dropped)| {
                dropped
                    .is_some_and(|dropped| !live.iter().any(|&v| (created..dropped).contains(&v)))
            });
        self.things = kept;
        let mut free: Vec<u32> = free.into_iter().map(|(thing, ..)| thing).collect();
        free.sort_unstable();
        free
    }
}

#[derive(Clone, Debug)]
enum Step {
    Begin { skip: u64 },
    End(prop::sample::Index),
    Add { back: u64 },
    Retire(prop::sample::Index, u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0u64..3).prop_map(|skip| Step::Begin { skip }),
        2 => any::<prop::sample::Index>().prop_map(Step::End),
        3 => (0u64..4).prop_map(|back| Step::Add { back }),
        3 => (any::<prop::sample::Index>(), 0u64..4).prop_map(|(i, back)| Step::Retire(i, back)),
    ];
    prop::collection::vec(step, 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    // R1, R5
    #[test]
    fn frees_exactly_what_the_naive_model_frees(steps in steps()) {
        let mut naive = Naive::default();
        let mut extents = Extents::new();
        let mut newest = 0u64;
        let mut next_thing = 0u32;
        for step in steps {
            let mut free = Vec::new();
            match step {
                Step::Begin { skip } => {
                    newest += 1 + skip;
                    extents.begin(at(newest)).unwrap();
                    naive.live.push(newest);
                }
                Step::End(index) if !naive.live.is_empty() => {
                    let version = naive.live.remove(index.index(naive.live.len()));
                    extents.end(at(version), &mut free).unwrap();
                }
                Step::Add { back } => {
                    let created = newest.saturating_sub(back);
                    extents.add(next_thing, at(created), 1).unwrap();
                    naive.things.push((next_thing, created, None));
                    next_thing += 1;
                }
                Step::Retire(index, back) if !naive.things.is_empty() => {
                    let index = index.index(naive.things.len());
                    let (thing, created, dropped) = &mut naive.things[index];
                    let version = newest.saturating_sub(back);
                    match extents.retire(thing, at(version)) {
                        Ok(retired) => {
                            prop_assert!(dropped.is_none() && version > *created);
                            *dropped = Some(version);
                            if retired == Retired::Free {
                                free.push(*thing);
                            }
                        }
                        Err(_) => prop_assert!(dropped.is_some() || version <= *created),
                    }
                }
                Step::End(_) | Step::Retire(..) => {}
            }
            free.sort_unstable();
            prop_assert_eq!(free, naive.reclaim());
            let parked = naive.things.iter().filter(|thing| thing.2.is_some()).count() as u64;
            prop_assert_eq!(extents.parked(), Usage { count: parked, bytes: parked });
            let known: Vec<u32> = extents.things().copied().collect();
            let mut expected: Vec<u32> = naive.things.iter().map(|thing| thing.0).collect();
            expected.sort_unstable();
            prop_assert_eq!(known, expected);
        }
    }
}
