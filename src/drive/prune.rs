//! Removes from a directory what is not to be kept, a bounded amount at a time, and never through a symlink.

use super::confine::{PASS, READ, open_below, raw, sys};
use super::part;
use super::rules::Rules;
use crate::model::name;
use crate::sync::{FsError, FsErrorKind, FsReply, Gone};
use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Most things that are removed at once.
const MOST: usize = 4096;
/// Directories within directories that are gone into.
const DEEPEST: usize = 1000;

/// One round of removing.
struct Pruner<'a> {
    rules: &'a Rules,
    dry_run: bool,
    removed: Vec<Gone>,
    faults: Vec<(String, FsError)>,
}

/// What came of one thing.
#[derive(PartialEq, Eq)]
enum Fate {
    Gone,
    Stays,
    /// Enough for now.
    Later,
}

/// Empties the directory at `path`, but for `keep`.
pub(super) fn round(
    dir: &OwnedFd,
    path: &str,
    keep: &HashSet<String>,
    rules: &Rules,
    dry_run: bool,
) -> FsReply {
    let mut p = Pruner { rules, dry_run, removed: Vec::new(), faults: Vec::new() };
    let fate = p.empty(dir, path, keep, 0);
    FsReply::Pruned { removed: p.removed, faults: p.faults, more: fate == Fate::Later }
}

impl Pruner<'_> {
    fn empty(&mut self, dir: &OwnedFd, path: &str, keep: &HashSet<String>, depth: usize) -> Fate {
        let names = match names(dir) {
            Ok(names) => names,
            Err(e) => {
                self.faults.push((if path.is_empty() { ".".to_owned() } else { path.to_owned() }, e));
                return Fate::Stays;
            }
        };
        let mut fate = Fate::Gone;
        for entry in names {
            let full = if path.is_empty() { entry.clone() } else { format!("{path}/{entry}") };
            let one = if keep.contains(&entry) {
                Fate::Stays
            } else if part::is_ours(&entry) {
                if !self.dry_run {
                    part::tidy(dir, &entry);
                }
                Fate::Stays
            } else if !self.dry_run && self.removed.len() + self.faults.len() >= MOST {
                Fate::Later
            } else {
                self.remove(dir, &entry, full, depth)
            };
            match one {
                Fate::Gone => {}
                Fate::Stays => fate = Fate::Stays,
                Fate::Later => return Fate::Later,
            }
        }
        fate
    }

    fn remove(&mut self, dir: &OwnedFd, entry: &str, full: String, depth: usize) -> Fate {
        let inside = match open_below(dir, entry, PASS, Mode::empty()) {
            Ok(inside) => Some(inside),
            Err(Errno::ENOTDIR | Errno::ELOOP) => None,
            Err(Errno::ENOENT) => return Fate::Gone,
            Err(e) => return self.failed(full, sys("remove", e)),
        };
        // What the rules leave out of the source is left alone here, too.
        if self.rules.leave_out(Path::new(OsStr::from_bytes(&raw(&full))), inside.is_some()) {
            return Fate::Stays;
        }
        if let Some(inside) = &inside {
            if depth == DEEPEST {
                return self.failed(
                    full,
                    FsError::new(FsErrorKind::Unsupported, "cannot remove: too many directories in it"),
                );
            }
            let fate = self.empty(inside, &full, &HashSet::new(), depth + 1);
            if fate != Fate::Gone {
                return fate;
            }
        }
        let flag = if inside.is_some() { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        match if self.dry_run { Ok(()) } else { unlinkat(dir, &*raw(entry), flag) } {
            Ok(()) => {
                self.removed.push(Gone { path: full, dir: inside.is_some() });
                Fate::Gone
            }
            Err(Errno::ENOENT) => Fate::Gone,
            Err(e) => self.failed(full, sys("remove", e)),
        }
    }

    fn failed(&mut self, path: String, e: FsError) -> Fate {
        self.faults.push((path, e));
        Fate::Stays
    }
}

/// Names in a directory, in order.
fn names(dir: &OwnedFd) -> Result<Vec<String>, FsError> {
    let flags = READ | OFlag::O_DIRECTORY;
    let fd = open_below(dir, ".", flags, Mode::empty()).map_err(|e| sys("list", e))?;
    let mut open = Dir::from_fd(fd).map_err(|e| sys("list", e))?;
    let mut names = Vec::new();
    for entry in open.iter() {
        let entry = entry.map_err(|e| sys("list", e))?;
        let bytes = entry.file_name().to_bytes();
        if bytes != b"." && bytes != b".." {
            names.push(name::from_bytes(bytes));
        }
    }
    names.sort();
    Ok(names)
}
