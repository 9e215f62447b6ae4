//! What a run that was cut had of a file: kept beside the file's place, found again by its name.
//!
//! A part is only ever a beginning of some version of the file. The next run sums it, and the sender says whether its
//! file begins with the same bytes; so nothing in it has to be believed. It is taken up only if it is this user's
//! own regular file with one name: nobody else can have it open for writing under another.
//!
//! Who is killed cannot keep a part. What he was writing stays as a temporary file, whose name is known, too, and on
//! which he had a lock (F_OFD_SETLK, fcntl(2)) that went with him: so the next run can tell it from one that is still written.
//! Whoever has the lock, and finds the same file under the name still, is the only one who may take that name away.

use super::confine::open_below;
use super::digest::Digest;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FcntlArg, OFlag, RenameFlags, fcntl, renameat, renameat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use xxhash_rust::xxh3::xxh3_64;

/// Less than this is not kept, bytes: it is sent again sooner than it is looked for.
pub const LEAST: u64 = 32 * 1024;
/// What the names of temporary files and parts begin with.
pub const PREFIX: &str = ".syncscope-";

/// Whether a name is one of a temporary file or a part, which are never synced.
pub fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) && (name.ends_with(".part") || name.ends_with(".tmp"))
}

/// The name of the part of a file: of the same length, however long the file's is.
fn part_name(place: &str) -> String {
    format!("{PREFIX}{:016x}.part", xxh3_64(place.as_bytes()))
}

/// The name of the temporary file of a long file, as long as nobody else has it.
pub fn temp_name(place: &str) -> String {
    format!("{PREFIX}{:016x}.tmp", xxh3_64(place.as_bytes()))
}

/// Nobody leaves a short file's temporary file alone for so long, unless he was killed.
const ABANDONED: Duration = Duration::from_secs(3600);

/// Locks a temporary file against others who would tidy up; false: somebody else has it, or its name is gone or
/// another file's by now.
pub fn lock(dir: &OwnedFd, name: &str, file: &File) -> bool {
    let whole = libc::flock {
        l_type: libc::F_WRLCK as _,
        l_whence: libc::SEEK_SET as _,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    fcntl(file, FcntlArg::F_OFD_SETLK(&whole)).is_ok() && is_still(dir, name, file)
}

/// Whether the name is this very file's.
fn is_still(dir: &OwnedFd, name: &str, file: &File) -> bool {
    let there = fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    there.is_ok_and(|there| {
        fstat(file).is_ok_and(|own| (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
    })
}

/// A file of this user's own that has only this name, to read and write; and what it is.
fn open_own(dir: &OwnedFd, name: &str) -> Option<(File, FileStat)> {
    let fd = open_below(dir, name, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let regular = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
    let mine = stat.st_uid == geteuid().as_raw() && stat.st_nlink == 1;
    (regular && mine).then(|| (File::from(fd), stat))
}

/// What whoever was killed left of a file becomes its part, if there is none yet.
fn inherit(dir: &OwnedFd, place: &str) {
    let name = temp_name(place);
    if let Some((file, _)) = open_own(dir, &name)
        && lock(dir, &name, &file)
    {
        // One that is there may be taken up by somebody at this moment.
        let _ = renameat2(dir, name.as_str(), dir, part_name(place).as_str(), RenameFlags::RENAME_NOREPLACE);
    }
}

/// Removes the temporary file that whoever was killed left of a file that is made anew.
pub fn clear(dir: &OwnedFd, place: &str) {
    remove_abandoned(dir, &temp_name(place), Duration::ZERO);
}

/// Removes a temporary file that nobody writes any more. Parts stay.
pub fn tidy(dir: &OwnedFd, name: &str) {
    if name.ends_with(".tmp") {
        remove_abandoned(dir, name, ABANDONED);
    }
}

/// One without a lock may be a short file's, whose writer needs no more than a moment.
fn remove_abandoned(dir: &OwnedFd, name: &str, least: Duration) {
    let Some((file, _)) = open_own(dir, name) else { return };
    let written = file.metadata().and_then(|m| m.modified()).unwrap_or(SystemTime::now());
    if written.elapsed().unwrap_or_default() >= least && lock(dir, name, &file) {
        let _ = unlinkat(dir, name, UnlinkatFlags::NoRemoveDir);
    }
}

/// A part that was left.
#[derive(Debug)]
pub struct Part {
    dir: Arc<OwnedFd>,
    name: String,
}

impl Part {
    /// Makes the temporary file `temp` the part of `place`, both in `dir`.
    pub fn keep(dir: Arc<OwnedFd>, temp: &str, place: &str) -> Option<Part> {
        let name = part_name(place);
        renameat(&dir, temp, &dir, name.as_str()).ok()?;
        Some(Part { dir, name })
    }

    /// It is not wanted after all.
    pub fn discard(self) {
        // Nothing can be done about a failure here.
        let _ = unlinkat(&self.dir, self.name.as_str(), UnlinkatFlags::NoRemoveDir);
    }
}

/// A part that an earlier run left.
#[derive(Debug)]
pub struct Found {
    part: Part,
    file: File,
    len: u64,
    hasher: blake3::Hasher,
    summed: u64,
}

/// The part of `place`, if there is one that may be taken up.
pub fn find(dir: Arc<OwnedFd>, place: &str) -> Option<Found> {
    let name = part_name(place);
    let found = open_own(&dir, &name).or_else(|| {
        inherit(&dir, place);
        open_own(&dir, &name)
    });
    let (file, stat) = found?;
    let len = u64::try_from(stat.st_size).ok().filter(|len| *len > 0)?;
    Some(Found { part: Part { dir, name }, file, len, hasher: blake3::Hasher::new(), summed: 0 })
}

impl Found {
    /// Its length, bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether all of it is summed.
    pub fn is_summed(&self) -> bool {
        self.summed == self.len
    }

    /// Sums the next `len` bytes; BLAKE3 of all so far.
    pub fn sum(&mut self, len: u32, buf: &mut Vec<u8>) -> std::io::Result<[u8; 32]> {
        let len = u64::from(len).min(self.len - self.summed);
        buf.resize(len as usize, 0);
        self.file.read_exact(buf)?;
        self.hasher.update(buf);
        self.summed += len;
        Ok(*self.hasher.finalize().as_bytes())
    }

    /// Makes it the temporary file `temp`, or `other` if there is one of that name, to be written on: which one. An
    /// error where somebody else has taken it up.
    pub fn adopt(mut self, temp: String, other: String) -> Result<(File, Digest, String), Errno> {
        let errno = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        let Part { dir, name } = &self.part;
        if !lock(dir, name, &self.file) {
            return Err(Errno::EBUSY);
        }
        self.file.set_len(self.len).map_err(errno)?;
        self.file.seek(SeekFrom::Start(self.len)).map_err(errno)?;
        let named = match renameat2(dir, name.as_str(), dir, temp.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Ok(()) => temp,
            // Or this file system does not know how not to replace one.
            Err(Errno::EEXIST | Errno::EINVAL | Errno::ENOSYS) => {
                renameat(dir, name.as_str(), dir, other.as_str())?;
                other
            }
            Err(e) => return Err(e),
        };
        Ok((self.file, Digest::behind(self.hasher, self.len), named))
    }

    /// The sender's file begins with something else.
    pub fn discard(self) {
        self.part.discard();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn open(path: &std::path::Path) -> Arc<OwnedFd> {
        Arc::new(File::open(path).unwrap().into())
    }

    #[test]
    fn a_part_is_found_summed_and_written_on() {
        let dir = tempfile::tempdir().unwrap();
        let at = open(dir.path());
        fs::write(dir.path().join("t"), b"begin").unwrap();
        assert!(find(Arc::clone(&at), "f").is_none());
        Part::keep(Arc::clone(&at), "t", "f").unwrap();
        let mut found = find(Arc::clone(&at), "f").unwrap();
        assert!(is_ours(&found.part.name) && !is_ours(".syncscope-notes"));
        let mut buf = Vec::new();
        assert_eq!(found.sum(3, &mut buf).unwrap(), *blake3::hash(b"beg").as_bytes());
        assert_eq!(found.sum(300, &mut buf).unwrap(), *blake3::hash(b"begin").as_bytes());
        assert!(found.is_summed() && found.len() == 5);
        let (mut file, mut digest, name) = found.adopt("u".to_owned(), "v".to_owned()).unwrap();
        assert_eq!(name, "u");
        std::io::Write::write_all(&mut file, b"ning").unwrap();
        digest.update(b"ning".to_vec());
        assert_eq!(digest.finish().unwrap(), *blake3::hash(b"beginning").as_bytes());
        assert_eq!(fs::read(dir.path().join("u")).unwrap(), b"beginning");
        assert!(find(at, "f").is_none());
    }

    #[test]
    fn what_others_could_write_into_is_no_part() {
        let dir = tempfile::tempdir().unwrap();
        let at = open(dir.path());
        let name = dir.path().join(part_name("f"));
        fs::write(dir.path().join("other"), b"x").unwrap();
        symlink("other", &name).unwrap();
        assert!(find(Arc::clone(&at), "f").is_none(), "a symlink");
        fs::remove_file(&name).unwrap();
        fs::hard_link(dir.path().join("other"), &name).unwrap();
        assert!(find(Arc::clone(&at), "f").is_none(), "two names");
        fs::remove_file(&name).unwrap();
        nix::unistd::mkfifo(&name, Mode::from_bits_truncate(0o600)).unwrap();
        assert!(find(Arc::clone(&at), "f").is_none(), "a pipe");
        fs::remove_file(&name).unwrap();
        fs::write(&name, b"").unwrap();
        assert!(find(at, "f").is_none(), "nothing in it");
    }

    /// What a run leaves that was killed: a temporary file, and no lock on it.
    #[test]
    fn the_temporary_file_of_a_run_that_was_killed_is_a_part() {
        let dir = tempfile::tempdir().unwrap();
        let (at, path) = (open(dir.path()), dir.path().join(temp_name("f")));
        fs::write(&path, b"begin").unwrap();
        let writes = File::options().write(true).open(&path).unwrap();
        assert!(lock(&at, &temp_name("f"), &writes));
        assert!(find(Arc::clone(&at), "f").is_none(), "somebody writes it");
        clear(&at, "f");
        assert!(path.exists());
        drop(writes);
        assert_eq!(find(Arc::clone(&at), "f").unwrap().len(), 5);
        assert!(!path.exists());
        // Where there is a part, that one is taken up, and what was left is removed before the next one is written.
        fs::write(&path, b"something else").unwrap();
        assert_eq!(find(Arc::clone(&at), "f").unwrap().len(), 5);
        clear(&at, "f");
        assert!(!path.exists());
    }

    #[test]
    fn a_temporary_file_that_is_another_one_by_now_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let (at, path) = (open(dir.path()), dir.path().join(temp_name("f")));
        fs::write(&path, b"one").unwrap();
        let one = File::options().write(true).open(&path).unwrap();
        // Its writer put it in its place, and the next one has begun.
        fs::rename(&path, dir.path().join("f")).unwrap();
        assert!(!lock(&at, &temp_name("f"), &one), "no name");
        fs::write(&path, b"two").unwrap();
        assert!(!lock(&at, &temp_name("f"), &one), "another one's name");
        drop(one);
        // Nor is what could be somebody else's.
        let name = dir.path().join(temp_name("g"));
        symlink("f", &name).unwrap();
        clear(&at, "g");
        fs::hard_link(dir.path().join("f"), dir.path().join(temp_name("h"))).unwrap();
        clear(&at, "h");
        assert!(name.is_symlink() && dir.path().join(temp_name("h")).exists());
    }

    #[test]
    fn two_that_found_the_same_part_do_not_both_write_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = open(dir.path());
        fs::write(dir.path().join("t"), b"begin").unwrap();
        Part::keep(Arc::clone(&at), "t", "f").unwrap();
        let (mut a, mut b) = (find(Arc::clone(&at), "f").unwrap(), find(Arc::clone(&at), "f").unwrap());
        let mut buf = Vec::new();
        a.sum(9, &mut buf).unwrap();
        b.sum(9, &mut buf).unwrap();
        let _writes = a.adopt("u".to_owned(), "v".to_owned()).unwrap();
        assert_eq!(b.adopt("x".to_owned(), "y".to_owned()).unwrap_err(), Errno::EBUSY);
        // A part that another run has put there since.
        fs::write(dir.path().join("t"), b"begin").unwrap();
        Part::keep(Arc::clone(&at), "t", "f").unwrap();
        let c = find(Arc::clone(&at), "f").unwrap();
        fs::write(dir.path().join("t"), b"other").unwrap();
        Part::keep(Arc::clone(&at), "t", "f").unwrap();
        assert_eq!(c.adopt("x".to_owned(), "y".to_owned()).unwrap_err(), Errno::EBUSY);
        assert!(!dir.path().join("x").exists() && !dir.path().join("y").exists());
    }

    #[test]
    fn old_temporary_files_are_tidied_up_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let at = open(dir.path());
        let old = SystemTime::now() - ABANDONED * 2;
        for (name, age, stays) in [
            (".syncscope-1-0123456789abcdef.tmp", old, false),
            (".syncscope-2-0123456789abcdef.tmp", SystemTime::now(), true),
            (".syncscope-0123456789abcdef.part", old, true),
        ] {
            fs::write(dir.path().join(name), b"x").unwrap();
            File::options().write(true).open(dir.path().join(name)).unwrap().set_modified(age).unwrap();
            tidy(&at, name);
            assert_eq!(dir.path().join(name).exists(), stays, "{name}");
        }
    }
}
