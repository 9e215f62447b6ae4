//! How much a list may ask of this side: a peer's that it is sent, its own that it is asked for.

use super::error::PeerFault;
use super::fs::{FsError, FsErrorKind, Kind, Meta, Pick};

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

impl Pick {
    /// Whether this side lists a tree that has `found` entries so far.
    pub fn bears(&self, found: usize) -> Result<(), FsError> {
        if found <= self.entries {
            return Ok(());
        }
        let message = format!(
            "it has more than {} entries, and no more are listed here; pull a folder of it alone, or let more be listed \
             where it is served: --max-files N, or max-files of the module",
            self.entries
        );
        Err(FsError::new(FsErrorKind::Unsupported, message))
    }
}
