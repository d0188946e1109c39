//! A random but repeatable history of edits, with readers that pin versions, and a runner that carries it out on a file
//! system that may fail. Nothing in the history depends on what fails.

use std::collections::BTreeMap;

use base::{FamilyId, SeqNo};
use version::{ApplyError, Error, ManifestOptions, TableMeta, Version, VersionEdit};
use vfs::sim::SimFs;

use crate::support::*;

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// One edit, in terms of tables named by an id of their own, and what readers do after it.
#[derive(Clone, Debug, Default)]
pub struct Step {
    adds: Vec<(FamilyId, u32, u64)>,
    removes: Vec<(FamilyId, u32, u64)>,
    moves: Vec<(FamilyId, u32, u32, u64)>,
    add_family: Option<(FamilyId, String)>,
    drop_family: Option<FamilyId>,
    /// The log begins at this number.
    log: u64,
    /// A reader pins the version that this step makes.
    pins: bool,
    /// The reader with this place among those that there are closes.
    closes: Option<usize>,
}

/// A history of `len` edits.
pub fn history(seed: u64, len: u64) -> Vec<Step> {
    let mut rng = Rng(seed);
    let mut tables: BTreeMap<u64, (FamilyId, u32)> = BTreeMap::new();
    let mut families = vec![DEFAULT];
    let mut next_family = 1;
    let mut next_id = 1;
    let mut steps = Vec::new();
    for log in 1..=len {
        let mut step = Step { log, ..Step::default() };
        let family = families[rng.below(families.len() as u64) as usize];
        let of_family: Vec<(u64, u32)> =
            tables.iter().filter(|(_, at)| at.0 == family).map(|(id, at)| (*id, at.1)).collect();
        match rng.below(10) {
            0 if families.len() < 4 => {
                let id = FamilyId::new(next_family);
                next_family += 1;
                step.add_family = Some((id, format!("family {id}")));
                families.push(id);
            }
            1 if families.len() > 1 => {
                let id = families.remove(1);
                step.drop_family = Some(id);
                tables.retain(|_, at| at.0 != id);
            }
            2 | 3 if !of_family.is_empty() => {
                let (id, level) = of_family[rng.below(of_family.len() as u64) as usize];
                step.moves.push((family, level, level + 1, id));
                tables.insert(id, (family, level + 1));
            }
            4..=6 if of_family.len() >= 2 => {
                for &(id, level) in &of_family[..2] {
                    step.removes.push((family, level, id));
                    tables.remove(&id);
                }
                step.adds.push((family, 1, next_id));
            }
            _ => step.adds.push((family, 0, next_id)),
        }
        for &(family, level, id) in &step.adds {
            tables.insert(id, (family, level));
            next_id += 1;
        }
        step.pins = rng.below(3) == 0;
        step.closes = (rng.below(3) == 0).then(|| rng.below(100) as usize);
        steps.push(step);
    }
    steps
}

/// How far a history got.
#[derive(Debug)]
pub struct Outcome {
    /// Whether the creation was acknowledged.
    pub created: bool,
    /// The edits that were acknowledged.
    pub acknowledged: usize,
    /// The set, unless its creation failed.
    pub set: Option<Set>,
}

/// Carries out a history. A step that fails is tried again as often as `retries` says, in all; then it ends.
/// `after_failure` sees the number of acknowledged edits after each failure of an edit.
pub fn run(
    fs: &SimFs,
    options: ManifestOptions,
    steps: &[Step],
    retries: usize,
    after_failure: &mut dyn FnMut(usize),
) -> Outcome {
    let mut retries = retries;
    let mut outcome = Outcome { created: false, acknowledged: 0, set: None };
    let set = loop {
        match create(fs, options) {
            Ok(set) => break set,
            // The last step of the creation failed, and yet it is there.
            Err(Error::Exists { .. }) => match recover(fs, options) {
                Ok(set) => break set,
                Err(error) => panic!("a database that is there: {error}"),
            },
            Err(Error::File(_)) if retries > 0 => retries -= 1,
            Err(Error::File(_)) => return outcome,
            Err(error) => panic!("{error}"),
        }
    };
    outcome.created = true;
    let mut readers = Vec::new();
    for step in steps {
        loop {
            match attempt(fs, &set, step) {
                Ok(version) => {
                    readers.extend(step.pins.then_some(version));
                    break;
                }
                Err(()) => {
                    after_failure(outcome.acknowledged);
                    if retries == 0 {
                        outcome.set = Some(set);
                        return outcome;
                    }
                    retries -= 1;
                }
            }
        }
        outcome.acknowledged += 1;
        if let (Some(place), false) = (step.closes, readers.is_empty()) {
            readers.swap_remove(place % readers.len());
        }
        remove_reclaimable(fs, &set);
    }
    drop(readers);
    remove_reclaimable(fs, &set);
    outcome.set = Some(set);
    outcome
}

/// Carries out one step: writes its tables, applies its edit.
fn attempt(fs: &SimFs, set: &Set, step: &Step) -> Result<std::sync::Arc<Version<u64>>, ()> {
    let current = set.current();
    let find = |id: u64| -> TableMeta {
        let table = current.tables().find(|table| table.meta.entries == id);
        table.expect("a table of the history is in the version").meta.clone()
    };
    let mut edit = VersionEdit {
        added_families: step.add_family.iter().cloned().collect(),
        dropped_families: step.drop_family.iter().copied().collect(),
        log_from: log(step.log),
        last_seq: Some(SeqNo::new(step.log * 10)),
        flushed_seq: vec![(DEFAULT, SeqNo::new(step.log))],
        ..VersionEdit::default()
    };
    while let Some((id, _)) = &step.add_family {
        // The history knows the ids beforehand; the set has to have handed them out.
        if set.new_family_id() >= *id {
            break;
        }
    }
    let mut handles = Vec::new();
    for &(family, level, id) in &step.adds {
        let table = meta(set.new_file_number(), id);
        write_table(fs, &table).map_err(drop)?;
        handles.push(table.number.get());
        edit.added_tables.push((family, level, table));
    }
    for &(family, level, id) in &step.removes {
        edit.removed_tables.push((family, level, find(id).number));
    }
    for &(family, from, to, id) in &step.moves {
        edit.move_table(family, from, to, &find(id));
    }
    set.apply(edit, handles).map_err(|error| {
        assert!(!matches!(error, ApplyError::Refused(_)), "{error:?}");
    })
}

/// What the set says after the creation and after each edit of a history that nothing disturbs.
pub fn fingerprints(options: ManifestOptions, steps: &[Step]) -> Vec<String> {
    (0..=steps.len())
        .map(|len| {
            let fs = SimFs::new();
            let outcome = run(&fs, options, &steps[..len], 0, &mut |_| {});
            let set = outcome.set.expect("nothing fails here");
            remove_orphans(&fs, &set).unwrap();
            assert_no_leak(&fs, &set);
            fingerprint(&set.current())
        })
        .collect()
}
