//! Reserving space where the system has no call for it.

use std::fs::File;
use std::io;

use super::sys;

/// Writes zeros from the end of the file, or from `offset` if that is further, to `offset + len`.
pub(super) fn fill_with_zeros(file: &File, offset: u64, len: u64) -> io::Result<()> {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];

    let end = offset.checked_add(len).ok_or(io::ErrorKind::InvalidInput)?;
    let mut at = file.metadata()?.len().max(offset);
    while at < end {
        let count = (end - at).min(ZEROS.len() as u64) as usize;
        match sys::write_at(file, &ZEROS[..count], at) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => at += written as u64,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::FileExt;

    #[test]
    fn extends_and_keeps_what_is_there() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(b"abcdef", 0).unwrap();
        fill_with_zeros(&file, 2, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_002);
        let mut content = vec![1; 100_002];
        file.read_exact_at(&mut content, 0).unwrap();
        assert_eq!(&content[..6], b"abcdef");
        assert!(content[6..].iter().all(|byte| *byte == 0));

        fill_with_zeros(&file, 0, 10).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_002, "never shortens");
    }

    #[test]
    fn refuses_a_range_past_the_end_of_numbers() {
        let file = tempfile::tempfile().unwrap();
        let error = fill_with_zeros(&file, u64::MAX, 2).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
