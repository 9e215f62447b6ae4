//! What both ends of a sync know and nobody else: read from a file that only its owner can read.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Fewest bytes: whoever sees a handshake can try guesses at home, so it must be no word.
pub const SHORTEST: usize = 16;
/// Most bytes of a secret file.
const LONGEST: u64 = 4096;

/// A shared secret. Comparing two takes the same time whether or not they are equal.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret(blake3::Hash);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// From the content of a secret file; white space around it does not count.
    pub fn new(words: &[u8]) -> Option<Secret> {
        let words = words.trim_ascii();
        (words.len() >= SHORTEST).then(|| Secret::of(words))
    }

    /// From random bytes, each of which counts.
    pub fn random(bytes: [u8; SHORTEST]) -> Secret {
        Secret::of(&bytes)
    }

    fn of(bytes: &[u8]) -> Secret {
        Secret(blake3::Hash::from_bytes(blake3::derive_key("syncscope shared secret 1", bytes)))
    }

    /// Reads a secret file, if it is one that nobody else can read. In words why not, else.
    pub fn read(path: &Path) -> Result<Secret, String> {
        let named = |what: String| format!("secret file {}: {what}", path.display());
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = open(path, flags, Mode::empty()).map_err(|e| match e {
            Errno::ELOOP => {
                named("it is a symlink, which could be turned to another file; name the file".into())
            }
            Errno::ENOENT => named(format!(
                "there is none; make one with: (umask 077; syncscope generate secret > {})",
                path.display()
            )),
            e => named(e.desc().to_owned()),
        })?;
        let stat = fstat(&fd).map_err(|e| named(e.desc().to_owned()))?;
        if stat.st_mode & SFlag::S_IFMT.bits() != SFlag::S_IFREG.bits() {
            return Err(named("it is no regular file".to_owned()));
        }
        if stat.st_mode & 0o077 != 0 {
            let mode = stat.st_mode & 0o777;
            return Err(named(format!(
                "its mode is {mode:04o}, so that others can read or change it; chmod 600 {}",
                path.display()
            )));
        }
        let me = nix::unistd::geteuid().as_raw();
        if stat.st_uid != me && stat.st_uid != 0 {
            return Err(named(format!("it belongs to user {}, and this is user {me}", stat.st_uid)));
        }
        let mut words = Vec::new();
        File::from(fd).take(LONGEST).read_to_end(&mut words).map_err(|e| named(e.to_string()))?;
        Secret::new(&words).ok_or_else(|| {
            named(format!(
                "fewer than {SHORTEST} bytes can be guessed; `syncscope generate secret` prints a good one"
            ))
        })
    }

    pub(super) fn key(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    /// Their ends were cut off, and one server in 25 did not start: its secret was too short.
    #[test]
    fn random_bytes_that_look_like_white_space_count() {
        let [a, b] = [*b" 123456789abcde\n", *b"\t123456789abcde\n"].map(Secret::random);
        assert_ne!(a, b);
        assert_eq!(Secret::new(b" 123456789abcde\n"), None);
    }

    #[test]
    fn only_a_file_of_ones_own_that_nobody_else_reads_is_a_secret() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mode = |m| fs::set_permissions(&path, fs::Permissions::from_mode(m)).unwrap();
        let refused = |path: &Path, why: &str| {
            let said = Secret::read(path).unwrap_err();
            assert!(said.contains(why), "{said}");
        };
        refused(&path, "generate secret >");
        fs::write(&path, "0123456789abcdef\n").unwrap();
        for open in [0o640, 0o604, 0o620, 0o666] {
            mode(open);
            refused(&path, "chmod 600");
        }
        mode(0o600);
        let secret = Secret::read(&path).unwrap();
        assert_eq!(Some(secret), Secret::new(b" 0123456789abcdef"));
        assert_ne!(Some(secret), Secret::new(b"0123456789abcdeF"));
        assert_eq!(format!("{secret:?}"), "Secret");
        let link = dir.path().join("l");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        refused(&link, "symlink");
        refused(dir.path(), "no regular file");
        fs::write(&path, "short\n          \n").unwrap();
        refused(&path, "guessed");
        if nix::unistd::geteuid().is_root() {
            nix::unistd::chown(&path, Some(nix::unistd::Uid::from_raw(4242)), None).unwrap();
            refused(&path, "belongs to user 4242");
        }
    }
}
