//! What the benchmark shares with other programs that measure: numbers and ranks that can be worked
//! out again, sizes as people write them, tables, latencies, and what the system says of memory.

#![forbid(unsafe_code)]

pub mod latency;
pub mod memory;
pub mod random;
pub mod scratch;
pub mod size;
pub mod table;
pub mod zipf;

/// An error that ends the run.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// What most functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error and everything that led to it, in one line.
#[must_use]
pub fn describe(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text += &format!(": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_tells_what_led_to_it() {
        #[derive(Debug)]
        struct Outer(std::io::Error);
        impl std::fmt::Display for Outer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("outer")
            }
        }
        impl std::error::Error for Outer {
            fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
                Some(&self.0)
            }
        }
        assert_eq!(describe(&Outer(std::io::Error::other("inner"))), "outer: inner");
    }
}
