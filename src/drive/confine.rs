//! Opening what lies below one directory. The kernel judges what that is, at the moment of opening:
//! `openat2` with `RESOLVE_BENEATH` and without symlinks. So neither a name nor what somebody plants
//! while a sync runs leads out of the tree; there is no check of words that a race could outrun.

use crate::model::name;
use crate::sync::{FsError, FsErrorKind};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::stat::Mode;
use std::borrow::Cow;
use std::os::fd::{AsFd, OwnedFd};

/// A directory on the way, only to be passed through.
pub(super) const PASS: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY);
/// A file to read; not waiting for a writer if it turns out to be a pipe.
pub(super) const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NONBLOCK);
/// A new file to write, and to read again what was written.
pub(super) const MAKE: OFlag = OFlag::O_RDWR.union(OFlag::O_CREAT).union(OFlag::O_EXCL);
/// Nothing outside of the directory, no symlink on the way, none of /proc's.
const BENEATH: ResolveFlag = ResolveFlag::RESOLVE_BENEATH
    .union(ResolveFlag::RESOLVE_NO_SYMLINKS)
    .union(ResolveFlag::RESOLVE_NO_MAGICLINKS);
/// A rename anywhere on this host at the same moment makes the kernel unsure (EAGAIN, openat2(2)).
const TRIES: usize = 100;

/// Opens `path` below `dir`; `mode` counts for a new file.
pub(super) fn open_below(dir: &impl AsFd, path: &str, flags: OFlag, mode: Mode) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).mode(mode).resolve(BENEATH);
    let mut result = Err(Errno::EAGAIN);
    for _ in 0..TRIES {
        result = openat2(dir.as_fd(), &*raw(path), how);
        if !matches!(result, Err(Errno::EAGAIN | Errno::EINTR)) {
            break;
        }
    }
    result
}

/// A name as the system knows it.
pub(super) fn raw(text: &str) -> Cow<'_, [u8]> {
    name::to_bytes(text)
}

/// Walks into the directory `path` below `dir`.
pub(super) fn pass(dir: &impl AsFd, path: &str) -> Result<OwnedFd, FsError> {
    open_below(dir, path, PASS, Mode::empty()).map_err(|e| match e {
        Errno::ENOTDIR | Errno::ELOOP => FsError::new(
            FsErrorKind::Unsafe,
            format!("{path:?} in its path is a symlink or a file, and is not followed"),
        ),
        e => sys("open the directory", e),
    })
}

/// The directories of `path`, and its last component: one plain name, so that it stays in its directory.
pub(super) fn split(path: &str) -> Result<(&str, &str), FsError> {
    let (dirs, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "" | "." | ".." => Err(leads_out()),
        name if path.starts_with('/') || name.contains('\0') => Err(leads_out()),
        name => Ok((dirs, name)),
    }
}

/// The error in words.
pub(super) fn sys(what: &str, e: Errno) -> FsError {
    match e {
        Errno::EXDEV => leads_out(),
        Errno::ENOSYS => FsError::new(
            FsErrorKind::Other,
            format!("cannot {what}: this kernel, or a container's filter, has no openat2 (Linux 5.6 has)"),
        ),
        e => FsError::new(kind_of(e), format!("cannot {what}: {}", why(e))),
    }
}

/// What it means to whoever owns the disk.
fn why(e: Errno) -> String {
    let meaning = match e {
        Errno::ENOSPC => "the disk is full",
        Errno::EDQUOT => "this user's quota is used up",
        Errno::EROFS => "it is mounted read-only",
        Errno::EIO => "the disk fails; the kernel's log says more",
        Errno::EFBIG => "it is larger than the file system or the limit of this process allows",
        Errno::ESTALE => "the network file system has lost it",
        e => return e.desc().to_owned(),
    };
    format!("{meaning} ({})", e.desc())
}

/// The error in words.
pub(super) fn io(what: &str, e: &std::io::Error) -> FsError {
    match e.raw_os_error() {
        Some(n) => sys(what, Errno::from_raw(n)),
        None => FsError::new(FsErrorKind::Other, format!("cannot {what}: {e}")),
    }
}

/// The name points outside.
pub(super) fn leads_out() -> FsError {
    FsError::new(FsErrorKind::Unsafe, "it leads out of the tree")
}

fn kind_of(e: Errno) -> FsErrorKind {
    match e {
        Errno::ENOENT => FsErrorKind::NotFound,
        Errno::EACCES | Errno::EPERM | Errno::EROFS => FsErrorKind::Denied,
        Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG => FsErrorKind::NoSpace,
        Errno::ELOOP => FsErrorKind::Unsafe,
        Errno::EISDIR | Errno::ENOTDIR | Errno::ENOTEMPTY => FsErrorKind::InTheWay,
        _ => FsErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_trouble_with_a_disk_has_words_of_its_own() {
        let all = [
            Errno::ENOSPC,
            Errno::EDQUOT,
            Errno::EROFS,
            Errno::EIO,
            Errno::EFBIG,
            Errno::ESTALE,
            Errno::EACCES,
        ];
        let mut said: Vec<String> = all.iter().map(|e| sys("write", *e).message).collect();
        assert_eq!(said[0], "cannot write: the disk is full (No space left on device)");
        assert_eq!(said[2], "cannot write: it is mounted read-only (Read-only file system)");
        assert_eq!(said[6], "cannot write: Permission denied");
        said.sort();
        said.dedup();
        assert_eq!(said.len(), all.len());
    }
}
