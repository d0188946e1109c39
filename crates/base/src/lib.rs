//! polder-base
