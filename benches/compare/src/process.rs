//! What the system says of this process, and what it is told about files. Linux only; elsewhere
//! nothing is known, and the page cache stays as it is.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kit::{Result, memory};

/// Time between two looks at memory.
const INTERVAL: Duration = Duration::from_millis(20);

/// Processor time that this process has used, user and system, in seconds.
pub(crate) fn cpu_seconds() -> Option<f64> {
    parse_stat(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse_stat(text: &str) -> Option<f64> {
    // The second field is the program's name, which may hold anything up to the last bracket.
    let fields: Vec<_> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    // Fields 14 and 15 of proc(5), in the hundredths of a second that Linux shows everywhere.
    Some((ticks(11)? + ticks(12)?) as f64 / 100.0)
}

/// Bytes that this process has had fetched from the storage.
pub(crate) fn fetched_bytes() -> Option<u64> {
    parse_io(&std::fs::read_to_string("/proc/self/io").ok()?)
}

fn parse_io(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("read_bytes:"))?.trim().parse().ok()
}

/// Writes every file below `folder` to the storage and tells the kernel to forget its pages.
pub(crate) fn drop_page_cache(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            drop_page_cache(&entry.path())?;
            continue;
        }
        let file = File::open(entry.path())?;
        file.sync_all()?;
        #[cfg(target_os = "linux")]
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
    }
    Ok(())
}

/// The most memory that was resident, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Peak {
    /// Anonymous memory, by looking every 20 ms.
    pub(crate) anonymous: Option<u64>,
    /// All of it, mapped files as well: the kernel's own peak.
    pub(crate) total: Option<u64>,
}

/// A thread that looks at the memory of this process now and then.
#[derive(Debug)]
pub(crate) struct Sampler {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Peak>,
}

impl Sampler {
    /// Starts to look.
    pub(crate) fn start() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let (mut peak, mut text) = (Peak::default(), String::new());
            loop {
                let is_last = seen.load(Ordering::Acquire);
                if let Some(now) = memory::resident(&mut text) {
                    peak.anonymous = peak.anonymous.max(Some(now.anonymous));
                    peak.total = Some(now.peak);
                }
                if is_last {
                    return peak;
                }
                std::thread::park_timeout(INTERVAL);
            }
        });
        Self { stop, thread }
    }

    /// Looks a last time and returns the peak.
    pub(crate) fn finish(self) -> Result<Peak> {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        self.thread.join().map_err(|_| "the sampling thread panicked".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let text = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0\n";
        assert_eq!(parse_stat(text), Some(2.0));
        assert_eq!(parse_stat("7 (a) S 1"), None);
        assert_eq!(parse_stat(""), None);
    }

    #[test]
    fn fetched_bytes_are_found() {
        assert_eq!(parse_io("rchar: 9\nread_bytes: 4096\n"), Some(4096));
        assert_eq!(parse_io("rchar: 9\n"), None);
    }

    #[test]
    fn this_process_uses_time_and_memory_where_the_system_tells() {
        let peak = Sampler::start().finish().expect("peak");
        assert_eq!(peak.anonymous.is_some(), cfg!(target_os = "linux"));
        assert_eq!(cpu_seconds().is_some(), cfg!(target_os = "linux"));
    }

    #[test]
    fn files_keep_their_content_when_the_cache_is_dropped() {
        let scratch = kit::scratch::Scratch::new(None).expect("folder");
        std::fs::create_dir(scratch.path().join("deep")).expect("folder");
        let path = scratch.path().join("deep/file");
        std::fs::write(&path, vec![7; 100_000]).expect("write");
        drop_page_cache(scratch.path()).expect("drop");
        assert_eq!(std::fs::read(&path).expect("read"), vec![7; 100_000]);
        assert!(drop_page_cache(&scratch.path().join("none")).is_err());
    }
}
