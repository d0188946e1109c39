//! What the operating system says about this process: resident memory, bytes handed to the disk.
//!
//! Linux only, from `/proc/self`; elsewhere there are no figures, and the report says so.

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Everything that is resident.
    pub total: u64,
    /// Of it, anonymous memory: heap, stacks, memtable arenas. A memory limit kills for this.
    pub anonymous: u64,
    /// Of it, mapped files: the log's window, the program itself. The kernel can take it back.
    pub file: u64,
    /// The most that `total` has ever been in this process.
    pub peak: u64,
}

/// Reads the memory of this process now. `text` is a buffer to be used again.
pub fn resident(text: &mut String) -> Option<Resident> {
    read("/proc/self/status", text)?;
    parse_status(text)
}

fn parse_status(text: &str) -> Option<Resident> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes << 10)
    };
    Some(Resident {
        total: field("VmRSS:")?,
        anonymous: field("RssAnon:")?,
        // Shared memory (tmpfs) is file memory too.
        file: field("RssFile:")? + field("RssShmem:").unwrap_or(0),
        peak: field("VmHWM:")?,
    })
}

/// Bytes that this process has caused to be sent to the storage layer, as the kernel counts them:
/// whole pages, when they become dirty, and less what was discarded before it was written.
pub fn sent_to_storage() -> Option<u64> {
    let mut text = String::new();
    read("/proc/self/io", &mut text)?;
    parse_io(&text)
}

fn parse_io(text: &str) -> Option<u64> {
    let field = |name: &str| {
        text.lines().find_map(|line| line.strip_prefix(name))?.trim().parse::<u64>().ok()
    };
    Some(field("write_bytes:")?.saturating_sub(field("cancelled_write_bytes:")?))
}

fn read(path: &str, text: &mut String) -> Option<()> {
    use std::io::Read;
    text.clear();
    std::fs::File::open(path).ok()?.read_to_string(text).ok()?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_is_read_in_bytes() {
        let text = "Name:\tx\nVmHWM:\t    3000 kB\nVmRSS:\t    2000 kB\nRssAnon:\t 1500 kB\n\
                    RssFile:\t  400 kB\nRssShmem:\t  100 kB\n";
        let expected = Resident {
            total: 2000 << 10,
            anonymous: 1500 << 10,
            file: 500 << 10,
            peak: 3000 << 10,
        };
        assert_eq!(parse_status(text), Some(expected));
        assert_eq!(parse_status("VmRSS: 5 kB\n"), None);
    }

    #[test]
    fn discarded_pages_were_not_written() {
        let text = "wchar: 9\nread_bytes: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 96\n";
        assert_eq!(parse_io(text), Some(4000));
        assert_eq!(parse_io("write_bytes: x"), None);
    }

    #[test]
    fn this_process_has_memory_where_the_system_tells() {
        let told = resident(&mut String::new());
        assert_eq!(told.is_some(), cfg!(target_os = "linux"));
        assert!(told.is_none_or(|told| told.anonymous > 0 && told.peak >= told.total / 2));
    }
}
