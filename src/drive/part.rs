//! What a run that was cut had of a file: kept beside the file's place, found again by its name.
//!
//! A part is only ever a beginning of some version of the file. The next run sums it, and the sender says whether its
//! file begins with the same bytes; so nothing in it has to be believed. It is taken up only if it is this user's
//! own regular file with one name: nobody else can have it open for writing under another.

use super::confine::open_below;
use super::digest::Digest;
use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::sync::Arc;
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
    let fd = open_below(&dir, &name, OFlag::O_RDWR | OFlag::O_NONBLOCK, Mode::empty()).ok()?;
    let stat = fstat(&fd).ok()?;
    let regular = SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFREG;
    let mine = stat.st_uid == geteuid().as_raw() && stat.st_nlink == 1;
    let len = u64::try_from(stat.st_size).ok().filter(|len| *len > 0)?;
    let (file, hasher) = (File::from(fd), blake3::Hasher::new());
    (regular && mine).then(|| Found { part: Part { dir, name }, file, len, hasher, summed: 0 })
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

    /// Makes it the temporary file `temp`, to be written on.
    pub fn adopt(mut self, temp: &str) -> Result<(File, Digest), Errno> {
        let errno = |e: std::io::Error| Errno::from_raw(e.raw_os_error().unwrap_or(libc::EIO));
        self.file.set_len(self.len).map_err(errno)?;
        self.file.seek(SeekFrom::Start(self.len)).map_err(errno)?;
        renameat(&self.part.dir, self.part.name.as_str(), &self.part.dir, temp)?;
        Ok((self.file, Digest::behind(self.hasher, self.len)))
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
        let (mut file, mut digest) = found.adopt("u").unwrap();
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
}
