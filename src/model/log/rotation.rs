//! When a log file makes room for a new one.

/// How much of a log is kept on disk: at most `keep + 1` files of `size`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes of one file.
    pub size: u64,
    /// Files kept beside the one that is written, as `.1`, `.2` and so on.
    pub keep: u16,
}
