//! Executes what a sync session asks of the file system, confined to one tree.
//!
//! Names come from the peer: [`super::confine`] opens them, so that none leads out of the tree. Files
//! are written beside their place and renamed into it, so what is there is either the old file or the
//! whole new one; a temporary file goes with whoever drops it.
//!
//! When a connection is cut, the file that was being rebuilt stays beside its place as a part ([`Part`]); the next run
//! sums it and, where the sender's file begins with the same bytes, goes on behind it.
//!
//! Synced are regular files, directories and symlinks, with permission bits and modification time.
//! Symlinks are made anew, never followed. Owners, set-id bits, hard links and extended attributes are not kept.

use super::confine::{MAKE, PASS, READ, io, leads_out, open_below, pass, split, sys};
use super::digest::Digest;
use super::listing::Listing;
use super::part::{self, Found, Part};
use crate::sync::fs::MAX_WORK;
use crate::sync::signature::sums;
use crate::sync::{FsError, FsErrorKind, FsOp, FsReply, FsRequest, Kind, Meta, Mtime, safe_target};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open, readlinkat, renameat};
use nix::sys::stat::{
    FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, fstatat, futimens, mkdirat, utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};
use std::collections::HashMap;
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
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
    fsync: bool,
    base: Option<Arc<OwnedFd>>,
    /// The tree is this one file.
    only: Option<String>,
    listing: Option<Listing>,
    /// The directories that were last walked to, the latest first: most files lie beside the one before.
    near: Vec<(String, Arc<OwnedFd>)>,
    source: Option<(File, Meta)>,
    basis: Option<File>,
    /// What was last read to be summed.
    piece: Vec<u8>,
    temp: Option<Temp>,
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
            fsync: false,
            base: None,
            only: None,
            listing: None,
            near: Vec::new(),
            source: None,
            basis: None,
            piece: Vec::new(),
            temp: None,
            finding: None,
            found: HashMap::new(),
        }
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
        let temp = self.temp.as_mut().filter(|t| t.len > part::LEAST)?;
        let kept = Part::keep(Arc::clone(&temp.dir), &temp.name, &temp.place)?;
        temp.renamed = true;
        self.temp = None;
        Some(kept)
    }

    fn run(&mut self, op: FsOp) -> Result<FsReply, FsError> {
        Ok(match op {
            FsOp::Enter { path, create } => {
                self.enter(&path, create)?;
                FsReply::Done
            }
            FsOp::List => self.list(),
            FsOp::Stat { path } => {
                let (dir, name) = self.parent(&path)?;
                FsReply::Stat(stat(&dir, name)?.as_ref().map(meta))
            }
            FsOp::MakeDir { path } => self.make_dir(&path)?,
            FsOp::SetAttr { path, mode, mtime } => self.set_attr(&path, mode, mtime)?,
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
                self.basis = Some(file);
                FsReply::Opened(meta)
            }
            FsOp::Sums { offset, len, block_size, strong } => {
                read(self.basis.as_ref(), offset, len, &mut self.piece)?;
                FsReply::Sums(sums(&self.piece, block_size, strong))
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
            FsOp::Write { data } => {
                self.temp()?.append(data)?;
                FsReply::Done
            }
            FsOp::Copy { from, len } => {
                let temp = self.temp()?;
                let mut data = temp.digest.buffer();
                read(temp.basis.as_ref(), from, len, &mut data).map_err(changed)?;
                if data.len() < len as usize {
                    let message = "the destination's file became shorter while it was synced";
                    return Err(FsError::new(FsErrorKind::Changed, message));
                }
                temp.append(data)?;
                FsReply::Done
            }
            FsOp::Hash => {
                let lost =
                    || FsError::new(FsErrorKind::Other, "internal error: the hash is lost; please report it");
                FsReply::Hash(self.temp()?.digest.finish().ok_or_else(lost)?)
            }
            FsOp::Commit { mode, mtime } => {
                let fsync = self.fsync;
                self.temp()?.commit(mode, mtime, fsync)?;
                self.temp = None;
                FsReply::Done
            }
            FsOp::Discard => {
                self.temp = None;
                FsReply::Done
            }
        })
    }

    fn enter(&mut self, path: &str, create: bool) -> Result<(), FsError> {
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        if create {
            std::fs::create_dir_all(&self.root)
                .map_err(|e| io(&format!("make the directory {}", self.root.display()), &e))?;
        }
        let mut at = match open(&self.root, flags, Mode::empty()) {
            Err(Errno::ENOTDIR) if !create && path.is_empty() && self.root.is_file() => {
                let name = self.root.file_name().and_then(|n| n.to_str()).ok_or_else(no_utf8)?;
                self.only = Some(name.to_owned());
                let parent = self.root.parent().filter(|p| !p.as_os_str().is_empty());
                open(parent.unwrap_or(Path::new(".")), flags, Mode::empty())
            }
            other => other,
        }
        .map_err(|e| sys(&format!("open the directory {}", self.root.display()), e))?;
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

    fn list(&mut self) -> FsReply {
        let mut listing = self.listing.take().unwrap_or_else(|| Listing::new(self.only.clone()));
        let (entries, faults) = listing.some(self);
        let last = listing.is_over();
        self.listing = (!last).then_some(listing);
        FsReply::Listed { entries, faults, last }
    }

    fn make_dir(&mut self, path: &str) -> Result<FsReply, FsError> {
        let (dir, name) = self.parent(path)?;
        match mkdirat(&dir, name, Mode::from_bits_truncate(0o777)) {
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
                    Ok(FsReply::Unchanged)
                }
                _ => Err(FsError::new(FsErrorKind::InTheWay, "something that is no directory is in the way")),
            },
            Err(e) => Err(sys("make the directory", e)),
        }
    }

    fn set_attr(&mut self, path: &str, mode: u32, mtime: Mtime) -> Result<FsReply, FsError> {
        let (dir, name) = self.parent(path)?;
        let there = stat(&dir, name)?.as_ref().map(meta).ok_or_else(|| sys("find", Errno::ENOENT))?;
        if !matches!(there.kind, Kind::File | Kind::Dir) {
            return Err(FsError::new(FsErrorKind::InTheWay, "something else has taken its place"));
        }
        if there.mode == mode && there.mtime == mtime {
            return Ok(FsReply::Unchanged);
        }
        if there.mtime != mtime {
            let t = time(mtime);
            utimensat(&dir, name, &t, &t, UtimensatFlags::NoFollowSymlink)
                .map_err(|e| sys("set the time", e))?;
        }
        if there.mode != mode {
            let file = open_below(&dir, name, READ, Mode::empty()).map_err(|e| sys("open", e))?;
            fchmod(&file, Mode::from_bits_truncate(mode)).map_err(|e| sys("set the permissions", e))?;
        }
        Ok(FsReply::Done)
    }

    fn symlink(&mut self, path: &str, target: &str) -> Result<FsReply, FsError> {
        if !safe_target(path, target) {
            return Err(leads_out());
        }
        let (dir, name) = self.parent(path)?;
        match stat(&dir, name)?.as_ref().map(meta).map(|m| m.kind) {
            Some(Kind::Symlink) if readlinkat(&dir, name).is_ok_and(|t| t == *target) => {
                return Ok(FsReply::Unchanged);
            }
            None | Some(Kind::Symlink | Kind::File) => {}
            Some(_) => return Err(FsError::new(FsErrorKind::InTheWay, "something else is in the way")),
        }
        let temp = temp_name();
        symlinkat(target, &dir, temp.as_str()).map_err(|e| sys("make the symlink", e))?;
        renameat(&dir, temp.as_str(), &dir, name).map_err(|e| {
            let _ = unlinkat(&dir, temp.as_str(), UnlinkatFlags::NoRemoveDir);
            sys("put the symlink in its place", e)
        })?;
        Ok(FsReply::Done)
    }

    fn open_temp(&mut self, path: &str, from: u64, basis: bool) -> Result<(), FsError> {
        self.temp = None;
        let unsummed = self.finding.take_if(|f| f.0 == path).map(|f| f.1);
        let found = self.found.remove(path).or(unsummed);
        let (dir, name) = self.parent(path)?;
        let basis = if basis { Some(open_file(&dir, name).map_err(changed)?.0) } else { None };
        if from > 0 {
            let found = found.filter(|f| f.is_summed() && f.len() == from).ok_or_else(out_of_order)?;
            let temp = temp_name();
            let (file, digest) = found.adopt(&temp).map_err(|e| changed(sys("take up the part", e)))?;
            let place = name.to_owned();
            self.temp = Some(Temp { dir, name: temp, place, file, basis, digest, len: from, renamed: false });
            return Ok(());
        }
        if let Some(found) = found {
            found.discard();
        }
        let mut tries = 0;
        let (file, temp) = loop {
            let temp = temp_name();
            match open_below(&dir, temp.as_str(), MAKE, Mode::from_bits_truncate(0o600)) {
                Ok(fd) => break (File::from(fd), temp),
                Err(Errno::EEXIST) if tries < 10 => tries += 1,
                Err(e) => return Err(sys("make a temporary file", e)),
            }
        };
        self.temp = Some(Temp {
            dir,
            name: temp,
            place: name.to_owned(),
            file,
            basis,
            digest: Digest::default(),
            len: 0,
            renamed: false,
        });
        Ok(())
    }

    fn temp(&mut self) -> Result<&mut Temp, FsError> {
        self.temp.as_mut().ok_or_else(out_of_order)
    }
}

/// A file on its way to its place.
#[derive(Debug)]
struct Temp {
    dir: Arc<OwnedFd>,
    name: String,
    place: String,
    file: File,
    basis: Option<File>,
    digest: Digest,
    /// Bytes in it.
    len: u64,
    renamed: bool,
}

impl Temp {
    fn append(&mut self, data: Vec<u8>) -> Result<(), FsError> {
        self.file.write_all(&data).map_err(|e| io("write", &e))?;
        self.len += data.len() as u64;
        self.digest.update(data);
        Ok(())
    }

    fn commit(&mut self, mode: u32, mtime: Mtime, fsync: bool) -> Result<(), FsError> {
        fchmod(&self.file, Mode::from_bits_truncate(mode & 0o777))
            .map_err(|e| sys("set the permissions", e))?;
        let t = time(mtime);
        futimens(&self.file, &t, &t).map_err(|e| sys("set the time", e))?;
        if fsync {
            self.file.sync_all().map_err(|e| io("write", &e))?;
        }
        renameat(&self.dir, self.name.as_str(), &self.dir, self.place.as_str())
            .map_err(|e| sys("put the file in its place", e))?;
        self.renamed = true;
        Ok(())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        if !self.renamed {
            // Nothing can be done about a failure here.
            let _ = unlinkat(&self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Makes the directories of `path` that are missing.
fn make_all(base: &OwnedFd, path: &str) -> Result<(), FsError> {
    let ends = path.match_indices('/').map(|(i, _)| i).chain([path.len()]);
    let parts: Result<Vec<_>, FsError> = ends.map(|end| split(path.get(..end).unwrap_or_default())).collect();
    // Nothing is made on the way to a bad name.
    for (dirs, name) in parts? {
        let passed;
        let at = match dirs {
            "" => base,
            dirs => {
                passed = pass(base, dirs)?;
                &passed
            }
        };
        match mkdirat(at, name, Mode::from_bits_truncate(0o777)) {
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(sys("make the directory", e)),
        }
    }
    Ok(())
}

fn file_meta(file: &impl AsFd) -> Result<Meta, FsError> {
    Ok(meta(&fstat(file.as_fd()).map_err(|e| sys("look at", e))?))
}

fn open_file(dir: &OwnedFd, name: &str) -> Result<(File, Meta), FsError> {
    let fd = open_below(dir, name, READ, Mode::empty()).map_err(|e| sys("open", e))?;
    let m = file_meta(&fd)?;
    if m.kind != Kind::File {
        return Err(FsError::new(FsErrorKind::Changed, "it is no regular file any more"));
    }
    Ok((File::from(fd), m))
}

pub(super) fn stat(dir: &OwnedFd, name: &str) -> Result<Option<FileStat>, FsError> {
    match fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
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

fn time(t: Mtime) -> TimeSpec {
    TimeSpec::new(t.secs, i64::from(t.nanos))
}

/// Up to `len` bytes into `buf`, in place of what it held; fewer only at the end of the file.
fn read(file: Option<&File>, offset: u64, len: u32, buf: &mut Vec<u8>) -> Result<(), FsError> {
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

/// Unique on this host; hidden, so that it does not surprise whoever lists the directory meanwhile.
fn temp_name() -> String {
    let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
    format!(".syncscope-{}-{random:016x}.tmp", std::process::id())
}

/// A failure of the basis: the file may still come whole.
fn changed(e: FsError) -> FsError {
    FsError { kind: FsErrorKind::Changed, ..e }
}

pub(super) fn no_utf8() -> FsError {
    FsError::new(FsErrorKind::Unsupported, "skipped: its name is not UTF-8")
}

fn out_of_order() -> FsError {
    FsError::new(FsErrorKind::Other, "internal error: no file is open for this; please report it")
}
