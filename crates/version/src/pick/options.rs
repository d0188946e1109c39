//! How large levels may get.

use crate::edit::LEVELS_MAX;

/// How large levels may get before they are compacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionOptions {
    /// Level 0 is compacted when it has this many tables; at least 1. Default 4.
    pub level0_file_num_compaction_trigger: u32,
    /// The greatest target of the base level, in bytes, and the size from which on level 0 is compacted, however few
    /// tables it has; at least 1. Default 256 MiB.
    pub level_base_bytes: u64,
    /// How many times larger each level's target is than the one above it; at least 2. Default 10.
    pub level_multiplier: u32,
    /// How many levels there are, level 0 included; 2 to 16. Default 7. Levels beyond that hold what they held.
    pub levels: u32,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        Self {
            level0_file_num_compaction_trigger: 4,
            level_base_bytes: 256 << 20,
            level_multiplier: 10,
            levels: 7,
        }
    }
}

/// An option outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {found}, it has to be {bounds}")]
pub struct OptionError {
    /// The option's name.
    pub option: &'static str,
    /// Its value.
    pub found: u64,
    /// The values that it can have.
    pub bounds: &'static str,
}

impl CompactionOptions {
    /// Whether each option is within its bounds.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn validate(&self) -> Result<(), OptionError> {
        let refuse = |option, found, bounds| Err(OptionError { option, found, bounds });
        if self.level0_file_num_compaction_trigger == 0 {
            return refuse("level0_file_num_compaction_trigger", 0, "at least 1");
        }
        if self.level_base_bytes == 0 {
            return refuse("level_base_bytes", 0, "at least 1");
        }
        if self.level_multiplier < 2 {
            return refuse("level_multiplier", self.level_multiplier.into(), "at least 2");
        }
        if !(2..=LEVELS_MAX).contains(&self.levels) {
            return refuse("levels", self.levels.into(), "from 2 to 16");
        }
        Ok(())
    }
}
