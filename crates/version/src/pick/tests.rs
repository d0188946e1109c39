//! Data-driven tests of picking (commands in, tree out), and a model of a whole store in which jobs run side by side.
//!
//! The files in `testdata/pick` hold commands and, behind `----`, what they answer. `UPDATE_EXPECT=1 cargo test` writes
//! the answers anew; read the difference.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use base::SeqNo;
use expect_test::expect_file;
use proptest::prelude::*;

use super::*;
use crate::levels::Family;
use crate::table::TableFile;
use crate::testing::{key, shared, table};

fn no_levels() -> FamilyLevels<()> {
    Family::new(base::FamilyId::DEFAULT, "f").levels
}

/// The store that a file's commands change.
struct Store {
    levels: FamilyLevels<()>,
    options: CompactionOptions,
    limits: DebtLimits,
    table_bytes: u64,
    next: u64,
    running: BTreeMap<char, Compaction<()>>,
    /// What reads have paid, by table.
    paid: HashMap<FileNumber, u64>,
}

/// `3[a-f]=100` or `9[a-z]@50=100:1/10`: number, keys, sequence number (otherwise the number), bytes, and how many of the
/// entries are tombstones.
fn parse_table(text: &str) -> TableMeta {
    let (number, rest) = text.split_once('[').expect(text);
    let (keys, rest) = rest.split_once(']').expect(text);
    let (first, last) = keys.split_once('-').expect(text);
    let (seq, bytes) = rest.split_once('=').expect(text);
    let number: u64 = number.parse().expect(text);
    let seq = seq.strip_prefix('@').map_or(number, |seq| seq.parse().expect(text));
    let mut meta = table(number, first, last, seq);
    let (bytes, counts) = bytes.split_once(':').map_or((bytes, None), |(b, c)| (b, Some(c)));
    meta.file_bytes = bytes.parse().expect(text);
    if let Some((tombstones, entries)) = counts.and_then(|counts| counts.split_once('/')) {
        meta.tombstones = tombstones.parse().expect(text);
        meta.entries = entries.parse().expect(text);
    }
    meta
}

fn numbers(tables: &[SharedTable<()>]) -> String {
    let numbers: Vec<String> = tables.iter().map(|t| t.meta.number.to_string()).collect();
    numbers.join(" ")
}

fn describe(picked: &Compaction<()>) -> String {
    let Compaction { level, output_level, inputs, reason, score, .. } = picked;
    let mut text = format!("L{level} -> L{output_level}: {}", numbers(&inputs[0]));
    if !inputs[1].is_empty() {
        write!(text, " with {}", numbers(&inputs[1])).unwrap();
    }
    write!(text, " ({reason}, score {score:.2}").unwrap();
    if picked.is_trivial_move {
        text.push_str(", moved");
    }
    if picked.is_bottommost {
        text.push_str(", bottommost");
    }
    text + ")\n"
}

impl Store {
    fn new() -> Self {
        Self {
            levels: no_levels(),
            options: CompactionOptions { level_base_bytes: 1000, ..CompactionOptions::default() },
            limits: DebtLimits::default(),
            table_bytes: u64::MAX,
            next: 100,
            running: BTreeMap::new(),
            paid: HashMap::new(),
        }
    }

    fn add(&mut self, level: usize, meta: TableMeta) {
        self.levels.add(level, vec![shared(meta)]).expect("tables that do not overlap");
    }

    fn tree(&self) -> String {
        let mut text = String::new();
        for (level, tables) in self.levels.levels().enumerate() {
            if tables.is_empty() {
                continue;
            }
            write!(text, "L{level}:").unwrap();
            for table in tables {
                let meta = &table.meta;
                let [first, last] = [&meta.smallest, &meta.largest]
                    .map(|key| String::from_utf8_lossy(&key.user_key));
                write!(text, " {}[{first}-{last}]={}", meta.number, meta.file_bytes).unwrap();
            }
            text.push('\n');
        }
        text
    }

    fn claims(&self) -> Vec<Claim> {
        self.running.values().map(Compaction::claim).collect()
    }

    fn pick(&self) -> Option<Compaction<()>> {
        pick_compaction(&self.levels, &self.options, &self.claims())
    }

    fn pick_reads(&self) -> Option<Compaction<()>> {
        let paid =
            |table: &TableFile<()>| self.paid.get(&table.meta.number).copied().unwrap_or_default();
        pick_reads(&self.levels, &self.options, &self.claims(), paid)
    }

    /// Starts a job under the next free letter.
    fn start(&mut self, picked: Option<Compaction<()>>) -> String {
        let Some(picked) = picked else {
            return "nothing\n".to_owned();
        };
        let name = ('A'..='Z').find(|name| !self.running.contains_key(name)).expect("a letter");
        let text = format!("{name}: {}", describe(&picked));
        self.running.insert(name, picked);
        text
    }

    fn finish(&mut self, name: char) {
        let done = self.running.remove(&name).expect("a job of that name");
        for (level, inputs) in [done.level, done.output_level].into_iter().zip(&done.inputs) {
            let numbers = inputs.iter().map(|table| table.meta.number).collect();
            assert_eq!(self.levels.remove(level, &numbers).len(), inputs.len());
        }
        if done.is_trivial_move {
            self.add(done.output_level, done.inputs[0][0].meta.clone());
            return;
        }
        let claim = done.claim();
        let (first, last) = (claim.first[0], claim.last[0]);
        let seq = done.tables().map(|table| table.meta.max_seq.get()).max().unwrap();
        let bytes = done.input_bytes();
        let keys = u64::from(last - first) + 1;
        let parts = bytes.div_ceil(self.table_bytes).clamp(1, keys);
        for part in 0..parts {
            let at = |part: u64| first + (keys * part / parts) as u8;
            let [low, high] = [at(part), at(part + 1) - 1].map(|key| char::from(key).to_string());
            let mut meta = table(self.next, &low, &high, seq);
            meta.file_bytes = bytes / parts;
            self.next += 1;
            self.add(done.output_level, meta);
        }
    }

    /// Does what there is to do, one job at a time.
    fn settle(&mut self) -> String {
        let mut text = String::new();
        while let Some(picked) = self.pick() {
            text.push_str(&self.start(Some(picked)));
            self.finish('A');
        }
        text + &self.tree()
    }

    fn set(&mut self, option: &str) {
        let (name, value) = option.split_once('=').expect(option);
        let value: u64 = value.parse().expect(option);
        let small = value as u32;
        match name {
            "trigger" => self.options.level0_file_num_compaction_trigger = small,
            "base" => self.options.level_base_bytes = value,
            "multiplier" => self.options.level_multiplier = small,
            "levels" => self.options.levels = small,
            "table" => self.table_bytes = value,
            "slowdown" => self.limits.level0_slowdown_writes_trigger = small,
            "stop" => self.limits.level0_stop_writes_trigger = small,
            "soft" => self.limits.soft_pending_compaction_bytes = value,
            "hard" => self.limits.hard_pending_compaction_bytes = value,
            _ => panic!("no option {option}"),
        }
        self.options.validate().unwrap();
        self.limits.validate().unwrap();
    }

    fn debt(&self, arguments: &[&str]) -> String {
        let mut progress = Progress::default();
        for argument in arguments {
            match argument.split_once('=').expect(argument) {
                ("tables", done) => progress.level0_tables = done.parse().unwrap(),
                ("bytes", done) => progress.bytes = done.parse().unwrap(),
                _ => panic!("{argument}"),
            }
        }
        let pending = pending_compaction_bytes(&self.levels, &self.options);
        let score = debt_score(&self.levels, &self.options, &self.limits, progress);
        format!("pending {pending}, s {score:.3}\n")
    }

    /// Carries out one command; `input` are the lines below it.
    fn run(&mut self, command: &str, input: &[&str]) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let (verb, arguments) = words.split_first().expect("a command");
        match *verb {
            "options" => arguments.iter().for_each(|option| self.set(option)),
            "define" => {
                self.levels = no_levels();
                for line in input {
                    let (level, tables) = line.split_once(':').expect(line);
                    let level = level.trim_start_matches('L').parse().expect(line);
                    tables.split_whitespace().for_each(|table| self.add(level, parse_table(table)));
                }
                return self.tree();
            }
            "flush" => arguments.iter().for_each(|table| self.add(0, parse_table(table))),
            "put" => {
                let [level, meta] = arguments else { panic!("{command}") };
                self.add(level.parse().expect(command), parse_table(meta));
            }
            "tree" => return self.tree(),
            "targets" => {
                let Targets { base_level, bytes } = targets(&self.levels, &self.options);
                return format!("base L{base_level}, targets {bytes:?}\n");
            }
            "pick" => {
                return self.pick().map_or("nothing\n".to_owned(), |picked| describe(&picked));
            }
            "start" => {
                let picked = self.pick();
                return self.start(picked);
            }
            // `5=300`: so many KiB were paid for table 5, in all.
            "paid" => {
                for argument in arguments {
                    let (number, kib) = argument.split_once('=').expect(argument);
                    let number = FileNumber::new(number.parse().expect(argument));
                    self.paid.insert(number, kib.parse::<u64>().expect(argument) << 10);
                }
            }
            // Of the oldest snapshot's sequence number.
            "leftovers" => {
                let oldest = SeqNo::new(arguments[0].parse().expect(command));
                let left = pick_leftovers(&self.levels, &self.options, &self.claims(), oldest);
                let held = left.held_until.map_or(String::new(), |at| format!("held until {at}\n"));
                return self.start(left.compaction) + &held;
            }
            "reads" => {
                let picked = self.pick_reads();
                return self.start(picked);
            }
            "range" => {
                let [level, first, last] = arguments else { panic!("{command}") };
                let (first, last) = (first.as_bytes(), last.as_bytes());
                let level = level.parse().expect(command);
                let picked =
                    pick_range(&self.levels, &self.options, &self.claims(), level, first, last);
                return self.start(picked);
            }
            "finish" => {
                self.finish(arguments[0].chars().next().expect(command));
                return self.tree();
            }
            "abort" => drop(self.running.remove(&arguments[0].chars().next().expect(command))),
            "settle" => return self.settle(),
            "debt" => return self.debt(arguments),
            _ => panic!("no command {command}"),
        }
        "ok\n".to_owned()
    }
}

/// Runs the commands of a file; the file with the answers that there were.
fn answered(text: &str) -> String {
    let mut store = Store::new();
    let mut out = String::new();
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        let asked = block.split("\n----").next().unwrap_or_default();
        let (comments, lines): (Vec<&str>, Vec<&str>) =
            asked.lines().partition(|line| line.starts_with('#'));
        for comment in comments {
            writeln!(out, "{comment}").unwrap();
        }
        if let Some((command, input)) = lines.split_first() {
            let answer = store.run(command, input);
            write!(out, "{}\n----\n{answer}", lines.join("\n")).unwrap();
        }
        out.push('\n');
    }
    out
}

macro_rules! data_driven {
    ($($name:ident),*) => {$(
        #[test]
        fn $name() {
            let text = include_str!(concat!("../../testdata/pick/", stringify!($name), ".txt"));
            expect_file![concat!("../../testdata/pick/", stringify!($name), ".txt")]
                .assert_eq(&answered(text));
        }
    )*};
}

data_driven!(
    level0,
    deeper_levels,
    dynamic_levels,
    side_by_side,
    manual,
    debt,
    tombstones,
    leftovers,
    reads
);

#[test]
fn options_outside_their_bounds_are_named() {
    let options = CompactionOptions::default();
    assert_eq!(options.validate(), Ok(()));
    let cases = [
        (
            CompactionOptions { level0_file_num_compaction_trigger: 0, ..options },
            "level0_file_num_compaction_trigger is 0, it has to be at least 1",
        ),
        (
            CompactionOptions { level_base_bytes: 0, ..options },
            "level_base_bytes is 0, it has to be at least 1",
        ),
        (
            CompactionOptions { level_multiplier: 1, ..options },
            "level_multiplier is 1, it has to be at least 2",
        ),
        (CompactionOptions { levels: 17, ..options }, "levels is 17, it has to be from 2 to 16"),
    ];
    for (options, expected) in cases {
        assert_eq!(options.validate().unwrap_err().to_string(), expected);
    }
    let limits = DebtLimits::default();
    assert_eq!(limits.validate(), Ok(()));
    for (limits, option) in [
        (
            DebtLimits { level0_slowdown_writes_trigger: 0, ..limits },
            "level0_slowdown_writes_trigger",
        ),
        (DebtLimits { level0_stop_writes_trigger: 20, ..limits }, "level0_stop_writes_trigger"),
        (
            DebtLimits { soft_pending_compaction_bytes: 0, ..limits },
            "soft_pending_compaction_bytes",
        ),
        (
            DebtLimits { hard_pending_compaction_bytes: 9, ..limits },
            "hard_pending_compaction_bytes",
        ),
    ] {
        assert_eq!(limits.validate().unwrap_err().option, option);
    }
}

/// A store whose tables have contents: for each table, each of its keys with the newest sequence number there.
struct Model {
    levels: FamilyLevels<()>,
    options: CompactionOptions,
    contents: HashMap<FileNumber, BTreeMap<u8, u64>>,
    newest: BTreeMap<u8, u64>,
    running: Vec<Compaction<()>>,
    next: u64,
    seq: u64,
}

impl Model {
    fn new() -> Self {
        let options = CompactionOptions {
            level0_file_num_compaction_trigger: 2,
            level_base_bytes: 60,
            level_multiplier: 2,
            levels: 5,
        };
        Self {
            levels: no_levels(),
            options,
            contents: HashMap::new(),
            newest: BTreeMap::new(),
            running: Vec::new(),
            next: 1,
            seq: 1,
        }
    }

    fn add(&mut self, level: usize, entries: BTreeMap<u8, u64>) {
        let (Some((first, _)), Some((last, _))) =
            (entries.first_key_value(), entries.last_key_value())
        else {
            return;
        };
        let mut meta = table(self.next, "", "", 0);
        self.next += 1;
        (meta.smallest, meta.largest) = (key(&[*first], 1), key(&[*last], 1));
        meta.file_bytes = entries.len() as u64 * 10;
        meta.max_seq = SeqNo::new(entries.values().copied().max().unwrap_or_default());
        self.contents.insert(meta.number, entries);
        self.levels.add(level, vec![shared(meta)]).expect("jobs write ranges that do not overlap");
    }

    fn flush(&mut self, keys: &[u8]) {
        let mut entries = BTreeMap::new();
        for &key in keys {
            self.seq += 1;
            entries.insert(key, self.seq);
            self.newest.insert(key, self.seq);
        }
        self.add(0, entries);
    }

    fn start(&mut self) -> bool {
        let claims: Vec<Claim> = self.running.iter().map(Compaction::claim).collect();
        let picked = pick_compaction(&self.levels, &self.options, &claims);
        let is_picked = picked.is_some();
        self.running.extend(picked);
        is_picked
    }

    /// As if reads had paid for anything.
    fn start_for_reads(&mut self) {
        let claims: Vec<Claim> = self.running.iter().map(Compaction::claim).collect();
        self.running.extend(pick_reads(&self.levels, &self.options, &claims, |_| u64::MAX));
    }

    fn finish(&mut self, job: usize) {
        let done = self.running.swap_remove(job);
        let claim = done.claim();
        if done.is_bottommost {
            for level in done.output_level + 1..self.levels.depth() {
                let below = self.levels.overlapping(level, &claim.first, &claim.last).count();
                assert_eq!(below, 0, "{done:?} says that it is at the bottom");
            }
        }
        let mut merged: BTreeMap<u8, u64> = BTreeMap::new();
        for (level, inputs) in [done.level, done.output_level].into_iter().zip(&done.inputs) {
            let numbers: HashSet<FileNumber> = inputs.iter().map(|t| t.meta.number).collect();
            let removed = self.levels.remove(level, &numbers);
            assert_eq!(removed.len(), inputs.len(), "no other job took a table of {done:?}");
            for table in removed {
                if done.is_trivial_move {
                    self.levels.add(done.output_level, vec![table]).expect("it overlaps nothing");
                    return;
                }
                for (key, seq) in self.contents.remove(&table.meta.number).expect("contents") {
                    let newest = merged.entry(key).or_default();
                    *newest = seq.max(*newest);
                }
            }
        }
        let entries: Vec<(u8, u64)> = merged.into_iter().collect();
        for part in entries.chunks(3) {
            self.add(done.output_level, part.iter().copied().collect());
        }
    }

    /// A reader that takes the first version it meets finds the newest.
    fn check(&self) {
        for (&key, &seq) in &self.newest {
            let found = self
                .levels
                .tables_for(std::slice::from_ref(&key))
                .find_map(|table| self.contents[&table.meta.number].get(&key).copied());
            assert_eq!(found, Some(seq), "key {key}\n{:?}", self.levels);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn jobs_side_by_side_never_let_newer_data_sink_below_older(
        steps in prop::collection::vec((0u8..10, prop::collection::vec(0u8..40, 1..6), any::<usize>()), 1..120),
    ) {
        let mut model = Model::new();
        for (what, keys, job) in steps {
            match what {
                0..=3 => model.flush(&keys),
                4..=5 => drop(model.start()),
                6 => model.start_for_reads(),
                7 if !model.running.is_empty() => drop(model.running.swap_remove(job % model.running.len())),
                _ if !model.running.is_empty() => model.finish(job % model.running.len()),
                _ => {}
            }
            model.check();
        }
        while !model.running.is_empty() {
            model.finish(0);
            model.check();
        }
        // Left alone, it comes to rest, and then no level is above its target.
        for _ in 0..1000 {
            if !model.start() {
                break;
            }
            model.finish(0);
            model.check();
        }
        let scores = Picker::new(&model.levels, &model.options, &[]).scores();
        prop_assert!(scores.iter().all(|score| score.1 < 1.0), "{scores:?}");
    }
}
