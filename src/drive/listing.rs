//! The source tree as a list, depth first, names in order. Only names wait, no descriptors: the
//! directory of each batch is opened anew from the root, as [`super::confine`] does it.

use super::confine::{READ, open_below, raw, sys};
use super::files::{Disk, meta, stat};
use super::part;
use crate::model::name;
use crate::sync::{Entry, FsError, FsErrorKind, Kind, Pick, safe_path};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, readlinkat};
use nix::sys::stat::Mode;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;

/// Entries of one batch.
const BATCH: usize = 256;

/// What can't be synced, with the reason.
type Fault = (String, FsError);

/// How far the list is.
#[derive(Debug)]
pub(super) struct Listing {
    /// Paths that are still to be looked at, the next one last.
    todo: Vec<String>,
    begun: bool,
    /// Entries so far, with those that cannot be synced.
    given: usize,
    only: bool,
    pick: Pick,
}

impl Listing {
    /// Of the whole tree, or of one file in its root.
    pub(super) fn new(only: Option<String>, pick: Pick) -> Listing {
        Listing { only: only.is_some(), todo: only.into_iter().collect(), begun: false, given: 0, pick }
    }

    pub(super) fn is_over(&self) -> bool {
        self.begun && self.todo.is_empty()
    }

    /// The next few; an error: there are more than this side lists. What is left out counts while it waits.
    pub(super) fn some(&mut self, disk: &mut Disk) -> Result<(Vec<Entry>, Vec<Fault>), FsError> {
        let (mut entries, mut faults) = (Vec::new(), Vec::new());
        if !self.begun {
            self.begun = true;
            if !self.only {
                self.read(disk, "", &mut faults)?;
            }
        }
        while entries.len() + faults.len() < BATCH {
            let Some(path) = self.todo.pop() else { break };
            match self.entry(disk, &path) {
                // It went while the directory was read, or is not wanted.
                Ok(None) => {}
                Ok(Some(e)) => {
                    entries.push(e);
                    if entries.last().is_some_and(|e| e.meta.kind == Kind::Dir) {
                        self.read(disk, &path, &mut faults)?;
                    }
                }
                Err(e) => faults.push((path, e)),
            }
        }
        self.given += entries.len() + faults.len();
        self.pick.bears(self.given)?;
        Ok((entries, faults))
    }

    /// What lies there as an entry of the list; none: nothing any more, or nothing that is wanted.
    fn entry(&self, disk: &mut Disk, path: &str) -> Result<Option<Entry>, FsError> {
        if !safe_path(path) {
            return Err(FsError::new(FsErrorKind::Unsupported, "skipped: its path is too long"));
        }
        let (dir, last) = disk.parent(path)?;
        let Some(stat) = stat(&dir, last)? else { return Ok(None) };
        let meta = meta(&stat);
        let unwanted = match meta.kind {
            Kind::Dir => !self.pick.recurse,
            Kind::Symlink => !self.pick.links,
            Kind::File | Kind::Other => false,
        };
        if unwanted || !self.only && disk.leaves_out(path, meta.kind == Kind::Dir) {
            return Ok(None);
        }
        let target = match meta.kind {
            Kind::Other => {
                let message = "skipped: neither a file, a directory nor a symlink";
                return Err(FsError::new(FsErrorKind::Unsupported, message));
            }
            Kind::Symlink => match readlinkat(&dir, &*raw(last)) {
                Ok(to) => name::from_bytes(to.as_bytes()),
                Err(Errno::ENOENT) => return Ok(None),
                Err(e) => return Err(sys("read the symlink", e)),
            },
            Kind::File | Kind::Dir => String::new(),
        };
        let several = self.pick.hard_links && meta.kind == Kind::File && stat.st_nlink > 1;
        let inode = several.then_some((stat.st_dev, stat.st_ino));
        Ok(Some(Entry { path: path.to_owned(), meta, target, inode }))
    }

    /// Puts what lies in a directory on the list of what is to be done.
    fn read(&mut self, disk: &mut Disk, path: &str, faults: &mut Vec<Fault>) -> Result<(), FsError> {
        let first = self.todo.len();
        let prefix = if path.is_empty() { String::new() } else { format!("{path}/") };
        if let Err(e) = open(disk, path).and_then(|mut dir| self.names(&mut dir, &prefix)) {
            faults.push((if path.is_empty() { "." } else { path }.to_owned(), e));
        }
        if let Some(new) = self.todo.get_mut(first..) {
            new.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.pick.bears(self.todo.len())
    }

    fn names(&mut self, dir: &mut Dir, prefix: &str) -> Result<(), FsError> {
        for found in dir.iter() {
            let found = found.map_err(|e| sys("list", e))?;
            let name = found.file_name();
            match name.to_bytes() {
                b"." | b".." => {}
                name if part::is_ours(&String::from_utf8_lossy(name)) => {}
                // One more than is borne is enough to know.
                _ if self.todo.len() > self.pick.entries => break,
                name => self.todo.push(format!("{prefix}{}", name::from_bytes(name))),
            }
        }
        Ok(())
    }
}

fn open(disk: &mut Disk, path: &str) -> Result<Dir, FsError> {
    let fd: OwnedFd = match path {
        "" => disk.open_root()?,
        path => {
            let (dir, name) = disk.parent(path)?;
            open_below(&dir, name, READ | OFlag::O_DIRECTORY, Mode::empty()).map_err(|e| sys("list", e))?
        }
    };
    Dir::from_fd(fd).map_err(|e| sys("list", e))
}
