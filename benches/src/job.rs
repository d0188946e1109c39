//! The main job, from a fresh directory to the verified result.

use std::time::Instant;

use crate::args::Args;
use crate::ingest::{Calls, ingest};
use crate::progress::Phase;
use crate::report::Outcome;
use crate::sampler::Sampler;
use crate::scratch::Scratch;
use crate::source::Source;
use crate::source::directory::Directory;
use crate::source::lines::Lines;
use crate::source::synthetic::{Shape, Synthetic};
use crate::target::Target;
use crate::verify::{Verified, verify};
use crate::{HEAP, Result, memory};

/// Runs the job that the command line describes.
///
/// # Errors
/// If it could not be done. A database that gives back the wrong thing is no error here: it is in
/// the outcome.
pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let mut source = source(args)?;
    let options = args.options();
    let scratch = Scratch::new(args.path.as_deref())?;
    eprintln!("{} → {}", source.describe(), scratch.path().display());
    let (heap_start, sent_before) = (HEAP.live_bytes(), memory::sent_to_storage());
    HEAP.reset_peak();

    let database = Target::open(scratch.path(), options.clone())?;
    let sampler = Sampler::start(database.clone())?;
    let phase = Phase::start("write", source.operations());
    let calls = Calls { batch: args.batch, sync: args.sync };
    let ingested = ingest(&database, source.writers()?, calls, &phase)?;
    phase.finish();
    let phase = Phase::start("flush", None);
    database.flush()?;
    let flush_time = phase.finish();
    let phase = Phase::start("compact", None);
    database.compact()?;
    let compaction_time = phase.finish();
    let peaks = sampler.finish()?;
    let (stats, heap_allocator_peak) = (database.stats(), HEAP.peak_bytes());

    let start = Instant::now();
    database.close()?;
    let sent_to_storage =
        sent_before.and_then(|before| Some(memory::sent_to_storage()?.saturating_sub(before)));
    let reopened = Target::open(
        scratch.path(),
        crate::target::Options { create_if_missing: false, error_if_exists: false, ..options },
    )?;
    let reopen_time = start.elapsed();
    let verified = read_back(&reopened, &mut *source)?;
    reopened.close()?;
    if scratch.is_kept() {
        eprintln!("the database is kept in {}", scratch.path().display());
    }
    Ok(Outcome {
        arguments: arguments(),
        load: source.describe(),
        batch: args.batch,
        sync: args.sync,
        write_buffer_bytes: args.write_buffer_size.0,
        ingested,
        flush_time,
        compaction_time,
        reopen_time,
        peaks,
        heap_allocator_peak,
        heap_start,
        stats,
        sent_to_storage,
        verified,
    })
}

/// The command line, so that a result says how to get it again.
fn arguments() -> String {
    let words = std::env::args_os().skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

fn source(args: &Args) -> Result<Box<dyn Source>> {
    let threads = usize::try_from(args.threads)?;
    let Some(input) = &args.input else {
        return Ok(Box::new(Synthetic::new(Shape {
            keys: args.keys,
            key_bytes: usize::try_from(args.key_size.0)?,
            value_bytes: usize::try_from(args.value_size.0)?,
            threads: args.threads,
            seed: args.seed,
            distribution: args.distribution,
            delete_percent: args.deletes,
            compressible_percent: args.compressible,
        })?));
    };
    let metadata = std::fs::metadata(input)
        .map_err(|error| format!("cannot read --input {}: {error}", input.display()))?;
    Ok(if metadata.is_dir() {
        Box::new(Directory::new(input, threads)?)
    } else {
        Box::new(Lines::new(input, threads)?)
    })
}

fn read_back(database: &Target, source: &mut dyn Source) -> Result<Verified> {
    let phase = Phase::start("read back", None);
    let mut expected = source.expected()?;
    let verified = verify(database.scan()?, |key| database.get(key), &mut *expected, &phase)?;
    phase.finish();
    Ok(verified)
}
