//! A file on its way to its place: written beside it and renamed, or kept as it is where it turns out to be right.

use super::confine::{MAKE, io, open_below, raw, sys};
use super::digest::Digest;
use super::files::{meta, open_file, out_of_order, read, stat, time};
use super::part::{self, Found, PREFIX, Part};
use crate::sync::fs::MAX_WORK;
use crate::sync::{FsError, FsErrorKind, FsReply, Mtime};
use nix::errno::Errno;
use nix::fcntl::{copy_file_range, renameat};
use nix::sys::stat::{Mode, fchmod, futimens};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

/// A new file up to this length is kept in memory until it is whole, bytes: no part would be kept of it either.
const SHORT: usize = part::LEAST as usize;

/// See the module. What is not committed goes when it is dropped.
#[derive(Debug)]
pub(super) struct Temp {
    dir: Arc<OwnedFd>,
    /// Name in the tree.
    place: String,
    /// The new file; none: it is short so far, or the basis may be right.
    file: Option<(Arc<File>, OwnTemp)>,
    /// All of a new file that is short so far: it is made once it is known to be right.
    short: Option<Vec<u8>>,
    basis: Option<File>,
    digest: Digest,
    /// Bytes of the basis that are hashed and not yet copied.
    recopied: u64,
}

impl Temp {
    /// A new file.
    pub(super) fn fresh(dir: Arc<OwnedFd>, place: &str) -> Temp {
        Temp { short: Some(Vec::new()), ..Temp::empty(dir, place) }
    }

    /// All of it is in memory.
    pub(super) fn is_short(&self) -> bool {
        self.short.is_some()
    }

    /// The file that is there, which may be right.
    pub(super) fn keep(dir: Arc<OwnedFd>, place: &str) -> Result<Temp, FsError> {
        let basis = open_file(&dir, place).map_err(changed)?.0;
        Ok(Temp { basis: Some(basis), ..Temp::empty(dir, place) })
    }

    /// Behind what an earlier run had of it.
    pub(super) fn go_on(dir: Arc<OwnedFd>, place: &str, found: Found, basis: bool) -> Result<Temp, FsError> {
        let mut temp = if basis { Temp::keep(dir, place)? } else { Temp::empty(dir, place) };
        part::clear(&temp.dir, place);
        let names = (part::temp_name(place), OwnTemp::name());
        let taken = found.adopt(names.0, names.1);
        let (file, digest, name) = taken.map_err(|e| changed(sys("take up the part", e)))?;
        (temp.file, temp.digest) = (Some((Arc::new(file), OwnTemp::new(&temp.dir, name))), digest);
        Ok(temp)
    }

    /// What there is of it stays for the next run, if it is worth it.
    pub(super) fn into_part(self) -> Option<Part> {
        let (file, own) = self.file?;
        let len = file.metadata().ok()?.len();
        if len > part::LEAST { own.into_part(&self.place) } else { None }
    }

    fn empty(dir: Arc<OwnedFd>, place: &str) -> Temp {
        let (place, digest) = (place.to_owned(), Digest::default());
        Temp { dir, place, file: None, short: None, basis: None, digest, recopied: 0 }
    }

    /// The file that is there is not right after all.
    pub(super) fn fork(&mut self) -> Result<(), FsError> {
        self.file = Some(create_long(&self.dir, &self.place)?);
        Ok(())
    }

    /// Copies the next piece of what was hashed from the basis.
    pub(super) fn recopy(&mut self, len: u32) -> Result<(), FsError> {
        let (Some(basis), Some((file, _))) = (&self.basis, &self.file) else { return Err(out_of_order()) };
        let end = self.recopied + u64::from(len);
        if copy_between(basis, self.recopied, file, len)? {
            self.recopied = end;
            return Ok(());
        }
        let mut buf = Vec::new();
        while self.recopied < end {
            let piece = (end - self.recopied).min(u64::from(MAX_WORK)) as u32;
            read(Some(basis), self.recopied, piece, &mut buf).map_err(changed)?;
            if buf.is_empty() {
                return Err(shorter());
            }
            (&**file).write_all(&buf).map_err(|e| io("write", &e))?;
            self.recopied += buf.len() as u64;
        }
        Ok(())
    }

    /// New bytes.
    pub(super) fn append(&mut self, data: Vec<u8>) -> Result<(), FsError> {
        if let Some(mut short) = self.short.take() {
            if short.is_empty() && data.len() <= SHORT {
                self.short = Some(data);
                return Ok(());
            }
            if short.len() + data.len() <= SHORT {
                short.extend_from_slice(&data);
                self.short = Some(short);
                return Ok(());
            }
            self.file = Some(create_long(&self.dir, &self.place)?);
            if !short.is_empty() {
                self.put(short)?;
            }
        }
        self.put(data)
    }

    fn put(&mut self, data: Vec<u8>) -> Result<(), FsError> {
        let (file, _) = self.file.as_ref().ok_or_else(out_of_order)?;
        (&**file).write_all(&data).map_err(|e| io("write", &e))?;
        self.digest.update(data);
        Ok(())
    }

    /// Bytes of the basis.
    pub(super) fn copy(&mut self, from: u64, len: u32) -> Result<(), FsError> {
        // In the kernel, where the thread that hashes can read what was written: so that is what is hashed.
        if let (Some(basis), Some((file, _)), true) = (&self.basis, &self.file, self.digest.is_apart())
            && copy_between(basis, from, file, len)?
        {
            self.digest.written(file, len);
            return Ok(());
        }
        let mut data = self.digest.buffer();
        read(self.basis.as_ref(), from, len, &mut data).map_err(changed)?;
        if data.len() < len as usize {
            return Err(shorter());
        }
        match self.file {
            Some(_) => self.append(data)?,
            None => self.digest.update(data),
        }
        Ok(())
    }

    /// BLAKE3 of all bytes so far.
    pub(super) fn hash(&mut self) -> Result<[u8; 32], FsError> {
        if let Some(short) = &self.short {
            return Ok(*blake3::hash(short).as_bytes());
        }
        self.digest.finish().map_err(|e| io("read what was written", &e))
    }

    /// Puts it in its place.
    pub(super) fn commit(
        mut self,
        mode: u32,
        perms: bool,
        mtime: Option<Mtime>,
        fsync: bool,
    ) -> Result<FsReply, FsError> {
        let set = |file: &File, mode: Option<u32>| {
            if let Some(mode) = mode {
                fchmod(file, Mode::from_bits_truncate(mode & 0o777))
                    .map_err(|e| sys("set the permissions", e))?;
            }
            match mtime.map(time) {
                Some(t) => futimens(file, &t, &t).map_err(|e| sys("set the time", e)),
                None => Ok(()),
            }
        };
        if let Some(short) = self.short.take() {
            let (file, own) = create(&self.dir)?;
            (&*file).write_all(&short).map_err(|e| io("write", &e))?;
            self.file = Some((file, own));
        }
        let Some((file, own)) = self.file.take() else {
            let file = self.basis.take().ok_or_else(out_of_order)?;
            set(&file, perms.then_some(mode))?;
            return Ok(FsReply::Unchanged);
        };
        let mode = if perms { mode } else { self.usual_mode(mode)? };
        set(&file, Some(mode))?;
        if fsync {
            file.sync_all().map_err(|e| io("write", &e))?;
        }
        own.rename(&self.place)?;
        Ok(FsReply::Done)
    }

    /// The bits of the file that is replaced, or what the umask leaves of the source's.
    fn usual_mode(&self, source: u32) -> Result<u32, FsError> {
        let there = stat(&self.dir, &self.place)?.map(|s| meta(&s).mode);
        Ok(there.unwrap_or(source & !umask()))
    }
}

/// A name that is ours until it is renamed, and is removed else.
#[derive(Debug)]
pub(super) struct OwnTemp {
    dir: Arc<OwnedFd>,
    name: Option<String>,
}

impl OwnTemp {
    /// Takes over what was made.
    pub(super) fn new(dir: &Arc<OwnedFd>, name: String) -> OwnTemp {
        OwnTemp { dir: Arc::clone(dir), name: Some(name) }
    }

    /// Unique on this host; hidden, so that it does not surprise whoever lists the directory meanwhile.
    pub(super) fn name() -> String {
        let random = std::collections::hash_map::RandomState::new().build_hasher().finish();
        format!("{PREFIX}{}-{random:016x}.tmp", std::process::id())
    }

    /// Makes it the part of a file.
    fn into_part(mut self, place: &str) -> Option<Part> {
        let part = Part::keep(Arc::clone(&self.dir), self.name.as_deref()?, place)?;
        self.name = None;
        Some(part)
    }

    /// Puts it in its place.
    pub(super) fn rename(mut self, place: &str) -> Result<(), FsError> {
        let name = self.name.as_deref().unwrap_or_default();
        renameat(&self.dir, name, &self.dir, &*raw(place)).map_err(|e| sys("put it in its place", e))?;
        self.name = None;
        Ok(())
    }
}

impl Drop for OwnTemp {
    fn drop(&mut self) {
        if let Some(name) = &self.name {
            // Nothing can be done about a failure here.
            let _ = unlinkat(&self.dir, name.as_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// The process's umask; reading it otherwise would set it for a moment.
fn umask() -> u32 {
    static UMASK: OnceLock<u32> = OnceLock::new();
    *UMASK.get_or_init(|| {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let told = status.lines().find_map(|l| l.strip_prefix("Umask:"));
        told.and_then(|m| u32::from_str_radix(m.trim(), 8).ok()).unwrap_or(0o022)
    })
}

/// A file that takes its time: the next run finds it if this one is killed ([`part`]).
fn create_long(dir: &Arc<OwnedFd>, place: &str) -> Result<(Arc<File>, OwnTemp), FsError> {
    part::clear(dir, place);
    let name = part::temp_name(place);
    if let Ok(fd) = open_below(dir, name.as_str(), MAKE, Mode::from_bits_truncate(0o600)) {
        let file = File::from(fd);
        if part::lock(dir, &name, &file) {
            return Ok((Arc::new(file), OwnTemp::new(dir, name)));
        }
    }
    // Another run writes the same file at this moment, or there is more wrong, of which the next attempt tells.
    create(dir)
}

fn create(dir: &Arc<OwnedFd>) -> Result<(Arc<File>, OwnTemp), FsError> {
    let mut tries = 0;
    loop {
        let name = OwnTemp::name();
        match open_below(dir, name.as_str(), MAKE, Mode::from_bits_truncate(0o600)) {
            Ok(fd) => return Ok((Arc::new(File::from(fd)), OwnTemp::new(dir, name))),
            Err(Errno::EEXIST) if tries < 10 => tries += 1,
            Err(e) => return Err(sys("make a temporary file", e)),
        }
    }
}

/// Copies within the kernel, to the end of `to`; false, and nothing is copied, where it can't.
fn copy_between(basis: &File, from: u64, to: &File, len: u32) -> Result<bool, FsError> {
    let (mut at, mut left) = (from as i64, len as usize);
    while left > 0 {
        match copy_file_range(basis.as_fd(), Some(&mut at), to.as_fd(), None, left) {
            Ok(0) => return Err(shorter()),
            Ok(n) => left -= n,
            Err(Errno::EINTR) => {}
            // Not between these two file systems, or not in this kernel.
            Err(Errno::EXDEV | Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP | Errno::EPERM)
                if left == len as usize =>
            {
                return Ok(false);
            }
            Err(e) => return Err(sys("write", e)),
        }
    }
    Ok(true)
}

fn shorter() -> FsError {
    FsError::new(FsErrorKind::Changed, "the destination's file became shorter while it was synced")
}

/// A failure of the basis: the file may still come whole.
fn changed(e: FsError) -> FsError {
    FsError { kind: FsErrorKind::Changed, ..e }
}
