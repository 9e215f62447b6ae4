//! Executes what a sync session asks of the file system, confined to one tree.
//!
//! Names come from the peer: [`super::confine`] opens them, so that none leads out of the tree. Files
//! are written beside their place and renamed into it, so what is there is either the old file or the
//! whole new one; a temporary file goes with whoever drops it ([`super::temp`]).
//!
//! When a connection is cut, the file that was being rebuilt stays beside its place as a part ([`Part`]); the next run
//! sums it and, where the sender's file begins with the same bytes, goes on behind it.
//!
//! Synced are regular files, directories and symlinks, with permission bits and modification time, and which names
//! are one file. Symlinks are made anew, never followed. Owners, set-id bits and extended attributes are not kept.

use super::ahead::{Ahead, Piece};
use super::behind::{Behind, Commit};
use super::confine::{PASS, READ, io, leads_out, open_below, pass, raw, split, sys};
use super::listing::Listing;
use super::part::{self, Found, Part};
use super::prune;
use super::rules::Rules;
use super::temp::{OwnTemp, Temp};
use crate::model::name;
use crate::sync::fs::MAX_WORK;
use crate::sync::{
    FsError, FsErrorKind, FsOp, FsReply, FsRequest, Kind, Meta, Mtime, Pick, safe_path, safe_target,
};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{linkat, symlinkat};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Parts that are looked at in one run: each cut leaves one.
const PARTS: usize = 64;
/// Directories kept open: one for each file that is at hand, and the next one's.
const NEAR: usize = 4;

/// One side's tree and the files open in it.
#[derive(Debug)]
pub struct Disk {
    root: PathBuf,
    /// The root itself, where it was opened before.
    opened: Option<Arc<OwnedFd>>,
    fsync: bool,
    pick: Pick,
    rules: Rules,
    base: Option<Arc<OwnedFd>>,
    /// The tree is this one file.
    only: Option<String>,
    listing: Option<Listing>,
    /// The directories that were last walked to, the latest first: most files lie beside the one before.
    near: Vec<(String, Arc<OwnedFd>)>,
    source: Option<(File, Meta)>,
    basis: Option<Arc<File>>,
    ahead: Ahead,
    /// What was last read to be summed.
    piece: Vec<u8>,
    temp: Option<Temp>,
    behind: Behind,
    /// The part that is being summed.
    finding: Option<(String, Found)>,
    /// Parts that were summed, by the path of their files.
    found: HashMap<String, Found>,
}

impl Disk {
    /// Works below `root`: a directory, made when files are received and it is missing, or, to send
    /// it alone, a file.
    pub fn new(root: impl Into<PathBuf>) -> Disk {
        Disk {
            root: root.into(),
            opened: None,
            fsync: false,
            pick: Pick::default(),
            rules: Rules::default(),
            base: None,
            only: None,
            listing: None,
            near: Vec::new(),
            source: None,
            basis: None,
            ahead: Ahead::default(),
            piece: Vec::new(),
            temp: None,
            behind: Behind::default(),
            finding: None,
            found: HashMap::new(),
        }
    }

    /// Works in this directory, whatever lies at its path by now.
    #[must_use]
    pub fn opened(mut self, root: Arc<OwnedFd>) -> Disk {
        self.opened = Some(root);
        self
    }

    /// Makes each file durable before it is renamed into its place.
    #[must_use]
    pub fn fsync(mut self, on: bool) -> Disk {
        self.fsync = on;
        self
    }

    /// Does it; failures are replies too.
    pub fn execute(&mut self, request: FsRequest) -> FsReply {
        self.run(request.op).unwrap_or_else(|e| {
            // It may have failed because the directory is another one by now.
            self.near.clear();
            FsReply::Failed(e)
        })
    }

    /// After the connection was cut: the file that was being rebuilt stays as a part, if it is worth it.
    pub fn keep_part(&mut self) -> Option<Part> {
        self.temp.take()?.into_part()
    }

    fn run(&mut self, op: FsOp) -> Result<FsReply, FsError> {
        Ok(match op {
            FsOp::Enter { path, create, pick } => {
                let wrong = |message| FsError::new(FsErrorKind::Unsupported, message);
                self.rules = Rules::new(&pick.rules).map_err(wrong)?;
                self.pick = pick;
                self.enter(&path, create)?;
                FsReply::Done
            }
            FsOp::List => self.list()?,
            FsOp::Stat { path } => FsReply::Stat(self.look(&path)?),
            FsOp::MakeDir { path } => self.make_dir(&path)?,
            FsOp::SetAttr { .. } if self.pick.dry_run => FsReply::Done,
            FsOp::SetAttr { path, mode, mtime } => self.set_attr(&path, mode, mtime)?,
            FsOp::HardLink { path, to } => self.hard_link(&path, &to)?,
            FsOp::Prune { path, keep } => self.prune(&path, &keep)?,
            FsOp::Symlink { path, target } => self.symlink(&path, &target)?,
            FsOp::OpenSource { path } => {
                let (file, meta) = self.open(&path).map_err(|e| match e.kind {
                    FsErrorKind::NotFound => FsError::new(e.kind, "it vanished after it was listed"),
                    _ => e,
                })?;
                self.source = Some((file, meta));
                FsReply::Opened(meta)
            }
            FsOp::ReadSource { offset, len, last } => {
                let mut data = Vec::new();
                let (file, opened) = self.source.as_ref().ok_or_else(out_of_order)?;
                read(Some(file), offset, len, &mut data)?;
                match last && file_meta(file)? != *opened {
                    true => FsReply::Torn(data),
                    false => FsReply::Data(data),
                }
            }
            FsOp::OpenBasis { path } => {
                let (file, meta) = self.open(&path)?;
                self.basis = Some(Arc::new(file));
                FsReply::Opened(meta)
            }
            FsOp::Sums { offset, len, block_size, strong } => {
                let basis = self.basis.as_ref().ok_or_else(out_of_order)?;
                let len = len.min(MAX_WORK);
                FsReply::Sums(self.ahead.sums(basis, Piece { offset, len, block_size, strong })?)
            }
            FsOp::FindPart { path } => {
                let (dir, name) = self.parent(&path)?;
                self.finding = None;
                let found = if self.found.len() < PARTS { part::find(dir, name) } else { None };
                let len = found.as_ref().map_or(0, Found::len);
                self.finding = found.map(|f| (path, f));
                FsReply::Part(len)
            }
            FsOp::SumPart { len } => {
                let (path, mut found) = self.finding.take().ok_or_else(out_of_order)?;
                let hash = found.sum(len.min(MAX_WORK), &mut self.piece).map_err(|e| io("read", &e))?;
                match found.is_summed() {
                    true => drop(self.found.insert(path, found)),
                    false => self.finding = Some((path, found)),
                }
                FsReply::Hash(hash)
            }
            FsOp::OpenTemp { path, from, basis } => {
                self.open_temp(&path, from, basis)?;
                FsReply::Done
            }
            FsOp::Keep { path } => {
                if let Some(found) = self.take_found(&path).filter(|_| !self.pick.dry_run) {
                    found.discard();
                }
                let (dir, name) = self.parent(&path)?;
                self.temp = Some(Temp::keep(dir, name)?);
                FsReply::Done
            }
            FsOp::Fork => {
                self.temp()?.fork()?;
                FsReply::Done
            }
            FsOp::Recopy { len } => {
                self.temp()?.recopy(len)?;
                FsReply::Done
            }
            FsOp::Write { data } => {
                self.temp()?.append(data)?;
                FsReply::Done
            }
            FsOp::Copy { from, len } => {
                self.temp()?.copy(from, len)?;
                FsReply::Done
            }
            FsOp::Hash => FsReply::Hash(self.temp()?.hash()?),
            FsOp::Commit { .. } if self.pick.dry_run => {
                self.temp = None;
                FsReply::Unchanged
            }
            FsOp::Commit { mode, perms, mtime } => {
                let temp = self.temp.take().ok_or_else(out_of_order)?;
                let last = Commit { temp, mode, perms, mtime, fsync: self.fsync };
                if last.temp.is_short() { self.behind.take(last) } else { last.run() }?
            }
            FsOp::Settle { left } => {
                let results = self.behind.settle(left);
                if results.iter().any(Result::is_err) {
                    self.near.clear();
                }
                FsReply::Settled(results)
            }
            FsOp::Discard => {
                self.temp = None;
                FsReply::Done
            }
        })
    }

    /// What lies there; where nothing is changed, directories may be missing that would have been made.
    fn look(&mut self, path: &str) -> Result<Option<Meta>, FsError> {
        if self.pick.dry_run && self.base.is_none() {
            return Ok(None);
        }
        match self.parent(path) {
            Ok((dir, name)) => Ok(stat(&dir, name)?.as_ref().map(meta)),
            Err(e) if self.pick.dry_run && e.kind == FsErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn enter(&mut self, path: &str, create: bool) -> Result<(), FsError> {
        if !(create && self.pick.dry_run) {
            return self.go_in(path, create);
        }
        match self.go_in(path, false) {
            Err(e) if e.kind == FsErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn go_in(&mut self, path: &str, create: bool) -> Result<(), FsError> {
        // Before anything is made on the way.
        if !path.is_empty() && !safe_path(path) {
            return Err(leads_out());
        }
        let mut at = match &self.opened {
            Some(root) => root.try_clone().map_err(|e| io("open the directory", &e))?,
            None => self.open_given(path, create)?,
        };
        if !path.is_empty() {
            if create {
                make_all(&at, path)?;
            }
            at = match open_below(&at, path, PASS, Mode::empty()) {
                Err(Errno::ENOTDIR) if !create => {
                    let (dirs, name) = split(path)?;
                    let parent = if dirs.is_empty() { at } else { pass(&at, dirs)? };
                    let file = stat(&parent, name)?.is_some_and(|s| meta(&s).kind == Kind::File);
                    self.only = file.then(|| name.to_owned());
                    if !file {
                        return Err(sys("open the directory", Errno::ENOTDIR));
                    }
                    parent
                }
                Err(Errno::ELOOP) => return pass(&at, path).map(drop),
                other => other.map_err(|e| sys("open the directory", e))?,
            };
        }
        self.base = Some(Arc::new(at));
        Ok(())
    }

    /// The root by the path that this side's user gave: the one place where symlinks are followed.
    fn open_given(&mut self, path: &str, create: bool) -> Result<OwnedFd, FsError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if create {
            std::fs::create_dir_all(&self.root)
                .map_err(|e| io(&format!("make the directory {}", self.root.display()), &e))?;
        }
        match open(&self.root, flags, Mode::empty()) {
            Err(Errno::ENOTDIR) if !create && path.is_empty() && self.root.is_file() => {
                self.only = self.root.file_name().map(|n| name::from_bytes(n.as_bytes()));
                let parent = self.root.parent().filter(|p| !p.as_os_str().is_empty());
                open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())
            }
            other => other,
        }
        .map_err(|e| sys(&format!("open the directory {}", self.root.display()), e))
    }

    /// The root itself, to be listed.
    pub(super) fn open_root(&self) -> Result<OwnedFd, FsError> {
        let base = self.base.as_ref().ok_or_else(out_of_order)?;
        open_below(base, ".", READ | OFlag::O_DIRECTORY, Mode::empty()).map_err(|e| sys("list", e))
    }

    /// The directory that holds `path`, and its last component.
    pub(super) fn parent<'a>(&mut self, path: &'a str) -> Result<(Arc<OwnedFd>, &'a str), FsError> {
        let base = self.base.as_ref().ok_or_else(out_of_order)?;
        let (dirs, name) = split(path)?;
        if let Some(i) = self.near.iter().position(|n| n.0 == dirs) {
            self.near.swap(0, i);
            return Ok((Arc::clone(&self.near[0].1), name));
        }
        let at = if dirs.is_empty() { Arc::clone(base) } else { Arc::new(pass(base, dirs)?) };
        self.near.truncate(NEAR - 1);
        self.near.insert(0, (dirs.to_owned(), Arc::clone(&at)));
        Ok((at, name))
    }

    /// A regular file to read.
    fn open(&mut self, path: &str) -> Result<(File, Meta), FsError> {
        let (dir, name) = self.parent(path)?;
        open_file(&dir, name)
    }

    fn list(&mut self) -> Result<FsReply, FsError> {
        let fresh = || Listing::new(self.only.clone(), self.pick.clone());
        let mut listing = self.listing.take().unwrap_or_else(fresh);
        let (entries, faults) = listing.some(self)?;
        let last = listing.is_over();
        self.listing = (!last).then_some(listing);
        Ok(FsReply::Listed { entries, faults, last })
    }

    /// Whether what was found is left out of the source.
    pub(super) fn leaves_out(&self, path: &str, dir: bool) -> bool {
        self.rules.leave_out(Path::new(std::ffi::OsStr::from_bytes(&raw(path))), dir)
    }

    fn make_dir(&mut self, path: &str) -> Result<FsReply, FsError> {
        let in_the_way =
            || FsError::new(FsErrorKind::InTheWay, "something that is no directory is in the way");
        if self.pick.dry_run {
            return match self.look(path)? {
                None => Ok(FsReply::Done),
                Some(m) if m.kind == Kind::Dir => Ok(FsReply::Stat(Some(m))),
                Some(_) => Err(in_the_way()),
            };
        }
        let (dir, name) = self.parent(path)?;
        match mkdirat(&dir, &*raw(name), Mode::from_bits_truncate(0o777)) {
            Ok(()) => Ok(FsReply::Done),
            Err(Errno::EEXIST) => match stat(&dir, name)?.as_ref().map(meta) {
                Some(m) if m.kind == Kind::Dir => {
                    // The source may be read-only; its attributes are set once its files are in place.
                    if m.mode & 0o700 != 0o700 {
                        let fd = open_below(&dir, name, READ | OFlag::O_DIRECTORY, Mode::empty());
                        let open = Mode::from_bits_truncate(m.mode | 0o700);
                        fd.and_then(|fd| fchmod(fd, open))
                            .map_err(|e| sys("make the directory writable", e))?;
                    }
                    Ok(FsReply::Stat(Some(m)))
                }
                _ => Err(in_the_way()),
            },
            Err(e) => Err(sys("make the directory", e)),
        }
    }

    fn set_attr(&mut self, path: &str, mode: Option<u32>, mtime: Option<Mtime>) -> Result<FsReply, FsError> {
        let (dir, name) = self.parent(path)?;
        let there = stat(&dir, name)?.as_ref().map(meta).ok_or_else(|| sys("find", Errno::ENOENT))?;
        if !matches!(there.kind, Kind::File | Kind::Dir) {
            return Err(FsError::new(FsErrorKind::InTheWay, "something else has taken its place"));
        }
        if let Some(t) = mtime.filter(|t| there.mtime != *t).map(time) {
            utimensat(&dir, &*raw(name), &t, &t, UtimensatFlags::NoFollowSymlink)
                .map_err(|e| sys("set the time", e))?;
        }
        if let Some(mode) = mode.filter(|m| there.mode != *m) {
            let file = open_below(&dir, name, READ, Mode::empty()).map_err(|e| sys("open", e))?;
            fchmod(&file, Mode::from_bits_truncate(mode)).map_err(|e| sys("set the permissions", e))?;
        }
        Ok(FsReply::Done)
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<FsReply, FsError> {
        if !safe_target(path, target) {
            return Err(leads_out());
        }
        let there = self.look(path)?.map(|m| m.kind);
        if there.is_none() && self.pick.dry_run {
            return Ok(FsReply::Done);
        }
        let (dir, name) = self.parent(path)?;
        let reply = match there {
            Some(Kind::Symlink)
                if readlinkat(&dir, &*raw(name)).is_ok_and(|t| t.as_bytes() == &*raw(target)) =>
            {
                return Ok(FsReply::Unchanged);
            }
            None => FsReply::Done,
            Some(Kind::Symlink | Kind::File) => FsReply::Replaced,
            Some(_) => return Err(FsError::new(FsErrorKind::InTheWay, "something else is in the way")),
        };
        if !self.pick.dry_run {
            let temp = OwnTemp::name();
            symlinkat(&*raw(target), &dir, temp.as_str()).map_err(|e| sys("make the symlink", e))?;
            OwnTemp::new(&dir, temp).rename(name)?;
        }
        Ok(reply)
    }

    /// What was found of a file that a run before this one did not finish.
    fn take_found(&mut self, path: &str) -> Option<Found> {
        let unsummed = self.finding.take_if(|f| f.0 == path).map(|f| f.1);
        self.found.remove(path).or(unsummed)
    }

    fn open_temp(&mut self, path: &str, from: u64, basis: bool) -> Result<(), FsError> {
        self.temp = None;
        let found = self.take_found(path);
        let (dir, name) = self.parent(path)?;
        self.temp = Some(if from > 0 {
            let found = found.filter(|f| f.is_summed() && f.len() == from).ok_or_else(out_of_order)?;
            Temp::go_on(dir, name, found, basis)?
        } else {
            if let Some(found) = found {
                found.discard();
            }
            Temp::fresh(dir, name)
        });
        Ok(())
    }

    fn hard_link(&mut self, path: &str, to: &str) -> Result<FsReply, FsError> {
        let there = self.look(path)?;
        if there.is_none() && self.pick.dry_run {
            return Ok(FsReply::Done);
        }
        let reply = match there.map(|m| m.kind) {
            None => FsReply::Done,
            Some(Kind::File | Kind::Symlink) => FsReply::Replaced,
            Some(_) => return Err(FsError::new(FsErrorKind::InTheWay, "something else is in the way")),
        };
        let first = self.look(to)?;
        if self.pick.dry_run && first.is_none() {
            return Ok(reply);
        }
        if first.is_none_or(|m| m.kind != Kind::File) {
            return Err(FsError::new(FsErrorKind::Changed, "its first name is no regular file any more"));
        }
        let (to_dir, to_name) = self.parent(to)?;
        let (dir, name) = self.parent(path)?;
        let inode = |s: Option<FileStat>| s.map(|s| (s.st_dev, s.st_ino));
        if inode(stat(&dir, name)?) == inode(stat(&to_dir, to_name)?) {
            return Ok(FsReply::Unchanged);
        }
        if !self.pick.dry_run {
            let temp = OwnTemp::name();
            // A symlink that was planted meanwhile would be linked itself, not what it points to.
            linkat(&to_dir, &*raw(to_name), &dir, temp.as_str(), AtFlags::empty())
                .map_err(|e| sys("make the hard link", e))?;
            OwnTemp::new(&dir, temp).rename(name)?;
        }
        Ok(reply)
    }

    fn prune(&mut self, path: &str, keep: &HashSet<String>) -> Result<FsReply, FsError> {
        let nothing = FsReply::Pruned { removed: Vec::new(), faults: Vec::new(), more: false };
        let Some(base) = self.base.as_ref().map(Arc::clone) else { return Ok(nothing) };
        let dir = match path {
            "" => base,
            path if !safe_path(path) => return Err(leads_out()),
            // A directory that could not be made is told already.
            path => match open_below(&base, path, PASS, Mode::empty()) {
                Ok(dir) => Arc::new(dir),
                Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(nothing),
                Err(e) => return Err(sys("list", e)),
            },
        };
        Ok(prune::round(&dir, path, keep, &self.rules, self.pick.dry_run))
    }

    fn temp(&mut self) -> Result<&mut Temp, FsError> {
        self.temp.as_mut().ok_or_else(out_of_order)
    }
}

/// Makes the directories of `path` that are missing.
fn make_all(base: &OwnedFd, path: &str) -> Result<(), FsError> {
    let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
    for part in ends.map(|end| path.get(..end).unwrap_or_default()) {
        let (dirs, name) = split(part)?;
        let passed;
        let at = match dirs {
            "" => base,
            dirs => {
                passed = pass(base, dirs)?;
                &passed
            }
        };
        match mkdirat(at, &*raw(name), Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(sys("make the directory", e)),
        }
    }
    Ok(())
}

pub(super) fn file_meta(file: &impl AsFd) -> Result<Meta, FsError> {
    Ok(meta(&fstat(file.as_fd()).map_err(|e| sys("look at", e))?))
}

pub(super) fn open_file(dir: &OwnedFd, name: &str) -> Result<(File, Meta), FsError> {
    let fd = open_below(dir, name, READ, Mode::empty()).map_err(|e| sys("open", e))?;
    let m = file_meta(&fd)?;
    if m.kind != Kind::File {
        return Err(FsError::new(FsErrorKind::Changed, "it is no regular file any more"));
    }
    Ok((File::from(fd), m))
}

pub(super) fn stat(dir: &OwnedFd, name: &str) -> Result<Option<FileStat>, FsError> {
    match fstatat(dir, &*raw(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(s) => Ok(Some(s)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(sys("look at", e)),
    }
}

pub(super) fn meta(s: &FileStat) -> Meta {
    let kind = match SFlag::from_bits_truncate(s.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFREG => Kind::File,
        SFlag::S_IFDIR => Kind::Dir,
        SFlag::S_IFLNK => Kind::Symlink,
        _ => Kind::Other,
    };
    Meta {
        kind,
        size: if kind == Kind::File { s.st_size.max(0) as u64 } else { 0 },
        mode: s.st_mode & 0o777,
        mtime: Mtime { secs: s.st_mtime, nanos: s.st_mtime_nsec.clamp(0, 999_999_999) as u32 },
    }
}

pub(super) fn time(t: Mtime) -> TimeSpec {
    TimeSpec::new(t.secs, i64::from(t.nanos))
}

/// Up to `len` bytes into `buf`, in place of what it held; fewer only at the end of the file.
pub(super) fn read(file: Option<&File>, offset: u64, len: u32, buf: &mut Vec<u8>) -> Result<(), FsError> {
    let file = file.ok_or_else(out_of_order)?;
    buf.resize(len.min(MAX_WORK) as usize, 0);
    let mut n = 0;
    while n < buf.len() {
        match file.read_at(&mut buf[n..], offset + n as u64) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(io("read", &e)),
        }
    }
    buf.truncate(n);
    Ok(())
}

pub(super) fn out_of_order() -> FsError {
    FsError::new(FsErrorKind::Other, "internal error: no file is open for this; please report it")
}
