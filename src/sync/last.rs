//! What the receiver does once all files are in place: further names of files, removal of what the source does
//! not have, attributes of directories.
//!
//! Nothing is removed where the source could not be read: a directory that could not be listed keeps
//! all it has, and what could not be sent keeps its name.

use super::error::SyncError;
use super::fs::{FsError, FsErrorKind, FsOp, FsReply, Kind};
use super::receiver::{done, fail, set_attr};
use super::session::{Ask, Core};
use super::wire::Frame;
use super::wish::{Change, Flags};
use crate::model::Phase;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Last {
    flags: Flags,
    /// Entries that are another name of a file.
    pub(super) links: Vec<u32>,
    /// Directories, parents first.
    pub(super) dirs: Vec<u32>,
    /// Paths that the source has and could not list or send.
    spared: HashSet<String>,
    /// Files that are not what they should be.
    failed: HashSet<u32>,
    prune: Prune,
    doing: Option<Doing>,
}

#[derive(Debug)]
enum Prune {
    Wanted,
    /// Directories left, and the names in them that stay.
    Dirs(Vec<(String, Arc<HashSet<String>>)>),
    Done,
}

#[derive(Clone, Copy, Debug)]
enum Doing {
    Link(u32),
    Prune,
    Dir(u32),
}

impl Last {
    pub(super) fn new(flags: Flags) -> Last {
        Last {
            flags,
            links: Vec::new(),
            dirs: Vec::new(),
            spared: HashSet::new(),
            failed: HashSet::new(),
            prune: if flags.delete && flags.recurse { Prune::Wanted } else { Prune::Done },
            doing: None,
        }
    }

    /// The source has this, but not in its list.
    pub(super) fn spare(&mut self, path: &str) {
        if self.flags.delete {
            self.spared.insert(path.to_owned());
        }
    }

    /// This file is not what it should be.
    pub(super) fn failed(&mut self, core: &Core, file: u32) {
        if self.flags.hard_links && core.items.get(file as usize).is_some_and(|i| i.meta.kind == Kind::File) {
            self.failed.insert(file);
        }
    }

    pub(super) fn is_done(&mut self, core: &Core) -> bool {
        self.doing.is_none() && self.links.is_empty() && self.next_dir(core).is_none() && self.no_attributes()
    }

    /// Nothing is left to be set on directories.
    fn no_attributes(&self) -> bool {
        self.dirs.is_empty() || self.flags.dry_run || !(self.flags.perms || self.flags.times)
    }

    pub(super) fn ask(&mut self, core: &mut Core) -> Option<Ask> {
        if !core.out.has_room() {
            return None;
        }
        while let Some(file) = self.links.pop() {
            let first = core.items.get(file as usize).and_then(|i| i.same_as)?;
            if self.failed.contains(&first) {
                let message = format!("its first name, {:?}, failed", core.name(first));
                fail(core, file, &FsError::new(FsErrorKind::Other, message));
                continue;
            }
            self.doing = Some(Doing::Link(file));
            let op = FsOp::HardLink { path: core.name(file).to_owned(), to: core.name(first).to_owned() };
            return Some(Ask { about: (Phase::Rename, Some(file), None), op });
        }
        if let Some((path, keep)) = self.next_dir(core) {
            let op = FsOp::Prune { path: path.clone(), keep: Arc::clone(keep) };
            self.doing = Some(Doing::Prune);
            return Some(Ask { about: (Phase::Rename, None, None), op });
        }
        if self.no_attributes() {
            return None;
        }
        let file = self.dirs.pop()?;
        let meta = core.items.get(file as usize)?.meta;
        self.doing = Some(Doing::Dir(file));
        let op = set_attr(core.name(file).to_owned(), meta, self.flags);
        Some(Ask { about: (Phase::Rename, Some(file), None), op })
    }

    /// The directory to be pruned now.
    fn next_dir(&mut self, core: &Core) -> Option<&(String, Arc<HashSet<String>>)> {
        if let Prune::Wanted = self.prune {
            let dirs = if self.spared.contains(".") { Vec::new() } else { self.kept(core) };
            self.prune = Prune::Dirs(dirs);
        }
        match &self.prune {
            Prune::Dirs(dirs) => dirs.last(),
            Prune::Wanted | Prune::Done => None,
        }
    }

    /// Each directory of the list, and the names in it that stay.
    fn kept(&self, core: &Core) -> Vec<(String, Arc<HashSet<String>>)> {
        let mut names: HashMap<&str, HashSet<String>> = HashMap::new();
        names.insert("", HashSet::new());
        for (path, item) in core.names.iter().zip(&core.items) {
            if item.meta.kind == Kind::Dir {
                names.entry(path).or_default();
            }
        }
        for path in core.names.iter().chain(&self.spared) {
            let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
            if let Some(keep) = names.get_mut(dir) {
                keep.insert(name.to_owned());
            }
        }
        let mut dirs: Vec<_> = names
            .into_iter()
            .filter(|(dir, _)| !self.spared.contains(*dir))
            .map(|(dir, keep)| (dir.to_owned(), Arc::new(keep)))
            .collect();
        // From the last to the first.
        dirs.sort_by(|a, b| b.0.cmp(&a.0));
        dirs
    }

    pub(super) fn reply(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        let linked = |new| Change { new, link: true, ..Change::default() };
        match (self.doing.take(), reply) {
            (Some(Doing::Link(file)), FsReply::Done) => done(core, file, linked(true)),
            (Some(Doing::Link(file)), FsReply::Replaced) => done(core, file, linked(false)),
            (Some(Doing::Link(_)), FsReply::Unchanged) | (Some(Doing::Dir(_)), FsReply::Done) => {}
            (Some(Doing::Link(file) | Doing::Dir(file)), FsReply::Failed(e)) => fail(core, file, &e),
            (Some(Doing::Prune), FsReply::Pruned { removed, faults, more }) => {
                for gone in removed {
                    self.say(core, &gone.path, gone.dir, "");
                }
                for (path, e) in faults {
                    self.say(core, &path, false, &e.message);
                }
                self.pruned(more);
            }
            (Some(Doing::Prune), FsReply::Failed(e)) => {
                let dir = self.next_dir(core).map(|d| d.0.clone()).unwrap_or_default();
                self.say(core, if dir.is_empty() { "." } else { &dir }, true, &e.message);
                self.pruned(false);
            }
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        }
        Ok(())
    }

    fn pruned(&mut self, more: bool) {
        if let Prune::Dirs(dirs) = &mut self.prune
            && !more
        {
            dirs.pop();
        }
    }

    fn say(&self, core: &mut Core, path: &str, dir: bool, reason: &str) {
        core.out.frame(&Frame::Gone { path, dir, reason }, (Phase::Rename, None, None));
        core.gone(path, dir, reason, false);
    }
}
