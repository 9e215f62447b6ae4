//! How much a peer's list may ask of this side.

use super::error::PeerFault;
use super::fs::{Kind, Meta};

/// Most of each; beyond entries and bytes the session ends, a single file or path is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Entries of a list.
    pub entries: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Bytes of one file.
    pub file: u64,
    /// Components of a path.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { entries: 1 << 20, bytes: u64::MAX, file: u64::MAX, depth: usize::MAX }
    }
}

impl Limits {
    /// What is wrong with one entry, in words.
    pub(super) fn skips(&self, path: &str, meta: Meta) -> Option<String> {
        if meta.kind == Kind::File && meta.size > self.file {
            return Some(format!("skipped: {} bytes, at most {} are taken here", meta.size, self.file));
        }
        let depth = path.split('/').count();
        (depth > self.depth)
            .then(|| format!("skipped: {depth} levels deep, at most {} are taken here", self.depth))
    }

    /// Whether a list of this many entries and bytes is bearable.
    pub(super) fn check(&self, entries: usize, bytes: u64) -> Result<(), PeerFault> {
        match () {
            () if entries > self.entries => Err(PeerFault::TooMany("list entries")),
            () if bytes > self.bytes => Err(PeerFault::TooMany("bytes of files")),
            () => Ok(()),
        }
    }
}
