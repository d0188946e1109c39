//! How large each level may be.

use super::CompactionOptions;
use crate::levels::FamilyLevels;

/// The target size of each level, and where level 0 is compacted to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Targets {
    /// The level that level 0 is compacted to: the levels between hold nothing.
    pub base_level: usize,
    /// By level, the size in bytes above which it is compacted into the next one. 0 for level 0, which is judged by
    /// other figures, and for the levels above the base level; the deepest level is never compacted for its size.
    pub bytes: Vec<u64>,
}

impl Targets {
    /// The deepest level.
    #[must_use]
    pub fn deepest(&self) -> usize {
        self.bytes.len() - 1
    }
}

/// The targets that follow from what the levels hold: the deepest level's target is what it has, each level above it
/// gets the multiplier's part of the one below, and the first level whose target does not exceed
/// [`CompactionOptions::level_base_bytes`] is the base level. Thus most of the data is in the deepest level, whatever
/// its size, and the space that overwritten entries take stays near 1/multiplier.
///
/// The base level is never below a level that holds tables, and no target is below
/// [`CompactionOptions::level_base_bytes`].
///
/// Source: Dong et al., "Optimizing Space Amplification in RocksDB", CIDR 2017.
#[must_use]
pub fn targets<H>(levels: &FamilyLevels<H>, options: &CompactionOptions) -> Targets {
    let deepest = (options.levels as usize).max(levels.depth()).max(2) - 1;
    let base_bytes = options.level_base_bytes.max(1);
    let multiplier = u64::from(options.level_multiplier.max(2));
    let mut bytes = vec![0; deepest + 1];
    let Some(first) = (1..levels.depth()).find(|&level| !levels.level(level).is_empty()) else {
        bytes[deepest] = base_bytes;
        return Targets { base_level: deepest, bytes };
    };
    // What `first` should hold for its part, if the largest level were the deepest one.
    let mut size = (first..levels.depth()).map(|level| levels.bytes(level)).max().unwrap_or(0);
    for _ in first..deepest {
        size /= multiplier;
    }
    let mut base_level = first;
    while base_level > 1 && size > base_bytes {
        base_level -= 1;
        size /= multiplier;
    }
    let mut target = size.clamp(base_bytes / multiplier + 1, base_bytes);
    for slot in &mut bytes[base_level..] {
        *slot = target.max(base_bytes);
        target = target.saturating_mul(multiplier);
    }
    Targets { base_level, bytes }
}
