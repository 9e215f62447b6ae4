//! Reading what may have nothing to say for long: a pipe, or a file that is being written. Who waits can give up.

use super::Hints;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How long a silent pipe is waited for before the user is asked again, ms.
const PATIENCE: u16 = 100;

/// Shorter captures have not even a header: what it is cannot be told.
pub(super) const HEADER: u64 = 24;

/// A file or pipe.
pub(super) struct Waiting {
    file: File,
    stop: Option<Arc<AtomicBool>>,
    grows: bool,
    /// No pipe: there is always an answer at once.
    regular: bool,
    done: u64,
}

impl Waiting {
    pub fn new(file: File, hints: &Hints) -> Waiting {
        let regular = file.metadata().is_ok_and(|m| m.is_file());
        Waiting { file, stop: hints.stop.clone(), grows: hints.grows, regular, done: 0 }
    }

    fn stopped(&self) -> bool {
        self.stop.as_ref().is_some_and(|s| s.load(Ordering::Relaxed))
    }

    /// True when there is something to read, or the end; an error where more may come and has not.
    fn ready(&self) -> io::Result<bool> {
        loop {
            if self.stopped() {
                return Ok(false);
            }
            let mut fds = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut fds, PollTimeout::from(PATIENCE)) {
                Ok(0) if self.grows && self.done >= HEADER => return Err(io::ErrorKind::WouldBlock.into()),
                Ok(0) | Err(nix::errno::Errno::EINTR) => {}
                Ok(_) => return Ok(true),
                Err(e) => return Err(e.into()),
            }
        }
    }
}

/// Standard input without the buffer of the standard library: what lies there is not seen by `poll`.
pub(super) fn standard_input(hints: &Hints) -> io::Result<Waiting> {
    Ok(Waiting::new(io::stdin().as_fd().try_clone_to_owned()?.into(), hints))
}

impl Read for Waiting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if !self.regular && !self.ready()? {
            return Ok(0);
        }
        let n = self.file.read(out)?;
        self.done += n as u64;
        if n > 0 || !self.grows || !self.regular || self.stopped() {
            return Ok(n);
        }
        if self.file.metadata()?.len() < self.done {
            return Err(io::Error::other(
                "it became shorter while it was followed: another program writes it anew",
            ));
        }
        Err(io::ErrorKind::WouldBlock.into())
    }
}
