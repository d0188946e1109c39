//! Sizes in bytes as people write them: `16MiB`, `16777216`.

use std::fmt;
use std::str::FromStr;

/// A number of bytes, read from and shown with a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: &[(&str, u64)] = &[
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let number = text[..digits].replace('_', "");
        let number: u64 = number
            .parse()
            .map_err(|_| format!("`{text}` is not a size: write bytes, or a number and a unit"))?;
        let unit = text[digits..].trim();
        let factor = match unit {
            "" => 1,
            unit => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|(_, factor)| *factor)
                .ok_or_else(|| {
                    format!("`{unit}` is not a unit: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")
                })?,
        };
        number.checked_mul(factor).map(Size).ok_or_else(|| format!("`{text}` is too large"))
    }
}

impl fmt::Display for Size {
    /// The largest binary unit that shows the exact number, so that it can be read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS[1..5]
            .iter()
            .rev()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A size for a table: rounded, in MiB, with one decimal.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// The write budget of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget(pub Option<u64>);

impl FromStr for Budget {
    type Err = String;

    /// `off`, 0 and anything below mean no limit.
    fn from_str(text: &str) -> Result<Self, String> {
        let negative = text.strip_prefix('-').is_some_and(|digits| digits.parse::<u64>().is_ok());
        if text == "off" || negative {
            return Ok(Self(None));
        }
        let Size(bytes) = text.parse()?;
        Ok(Self((bytes > 0).then_some(bytes)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("0", 0),
            ("16777216", 16 << 20),
            ("16MiB", 16 << 20),
            ("16 MiB", 16 << 20),
            ("2_000kB", 2_000_000),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "MiB", "16M", "16mib", "1.5MiB", "-1", "20000000TiB", "16 MiB x"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_shown_can_be_read_back() {
        for bytes in [0, 1, 1023, 1024, 1536, 16 << 20, (16 << 20) + 1, 3 << 30, u64::MAX] {
            let shown = Size(bytes).to_string();
            assert_eq!(shown.parse(), Ok(Size(bytes)), "{shown}");
        }
        assert_eq!(Size(16 << 20).to_string(), "16MiB");
        assert_eq!(mebibytes((16 << 20) + 52_429), "16.1 MiB");
    }

    #[test]
    fn a_budget_of_zero_or_below_is_off() {
        // C2
        for text in ["0", "off", "-1", "-67108864", "0MiB"] {
            assert_eq!(text.parse(), Ok(Budget(None)), "{text}");
        }
        assert_eq!("16MiB".parse(), Ok(Budget(Some(16 << 20))));
        assert!("-x".parse::<Budget>().is_err());
        assert!("on".parse::<Budget>().is_err());
    }
}
