//! Executes what a sync session asks of the file system, confined to one tree.

use crate::sync::{FsError, FsErrorKind, FsReply, FsRequest};
use std::path::PathBuf;

/// One side's tree and the files open in it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
}

impl Disk {
    /// Works below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Disk {
        Disk { root: root.into() }
    }

    /// Does it; failures are replies too.
    pub fn execute(&mut self, _request: FsRequest) -> FsReply {
        FsReply::Failed(FsError::new(FsErrorKind::Other, format!("{}: not built yet", self.root.display())))
    }
}
