//! Short files on the way to their places, in a thread of their own, while the next ones arrive.
//!
//! Making a file, giving it its attributes and its name is more than half of what a short file costs its receiver.
//! What is handed over is whole, and its hash is right; it is put in its place as any other ([`Temp::commit`]).

use super::temp::Temp;
use crate::sync::{FsError, FsErrorKind, FsReply, Mtime};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

/// A thread is worth its start for more files than this.
const FEW: usize = 8;

/// The last step of a file.
#[derive(Debug)]
pub(super) struct Commit {
    pub(super) temp: Temp,
    pub(super) mode: u32,
    pub(super) perms: bool,
    pub(super) mtime: Option<Mtime>,
    pub(super) fsync: bool,
}

impl Commit {
    pub(super) fn run(self) -> Result<FsReply, FsError> {
        self.temp.commit(self.mode, self.perms, self.mtime, self.fsync)
    }
}

/// See the module. What has not begun when this is dropped is not done. Whoever hands over more than he settles
/// bounds that himself.
#[derive(Debug, Default)]
pub(super) struct Behind {
    taken: usize,
    /// Handed over and not settled.
    open: usize,
    apart: Option<Apart>,
}

#[derive(Debug)]
struct Apart {
    commits: Option<Sender<Commit>>,
    done: Receiver<Result<(), FsError>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    /// Hands it over, or does it at once where that is simpler.
    pub(super) fn take(&mut self, commit: Commit) -> Result<FsReply, FsError> {
        self.taken += 1;
        if self.apart.is_none() && self.taken > FEW {
            self.apart = Apart::start();
        }
        let Some(commits) = self.apart.as_ref().and_then(|a| a.commits.as_ref()) else { return commit.run() };
        match commits.send(commit) {
            Ok(()) => {
                self.open += 1;
                Ok(FsReply::Later)
            }
            // The thread never ends before its channel does.
            Err(returned) => returned.0.run(),
        }
    }

    /// Waits until at most `left` are not done; how the others went, in the order in which they were taken.
    pub(super) fn settle(&mut self, left: usize) -> Vec<Result<(), FsError>> {
        let mut results = Vec::new();
        let Some(apart) = &self.apart else { return results };
        while self.open > 0 {
            let result = match self.open > left {
                true => apart.done.recv().map_err(|_| ()),
                false => match apart.done.try_recv() {
                    Ok(result) => Ok(result),
                    Err(_) => break,
                },
            };
            let lost = "internal error: the thread that puts files in their places is gone; please report it";
            results.push(result.unwrap_or_else(|()| Err(FsError::new(FsErrorKind::Other, lost))));
            self.open -= 1;
        }
        results
    }
}

impl Apart {
    fn start() -> Option<Apart> {
        let (commits, taken) = channel::<Commit>();
        let (told, done) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let work = move || {
            for commit in taken {
                if stop.load(Ordering::Relaxed) || told.send(commit.run().map(drop)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("place".to_owned()).spawn(work).ok()?;
        Some(Apart { commits: Some(commits), done, over, thread: Some(thread) })
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.commits = None;
        if let Some(thread) = self.thread.take() {
            // It has told all that it could.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::path::Path;

    fn commit(dir: &Arc<OwnedFd>, name: &str) -> Commit {
        let mut temp = Temp::fresh(Arc::clone(dir), name);
        temp.append(name.as_bytes().to_vec()).unwrap();
        Commit { temp, mode: 0o600, perms: true, mtime: None, fsync: false }
    }

    fn open(dir: &Path) -> Arc<OwnedFd> {
        Arc::new(OwnedFd::from(std::fs::File::open(dir).unwrap()))
    }

    #[test]
    fn the_results_come_in_the_order_of_the_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("30")).unwrap();
        let (fd, mut behind) = (open(dir.path()), Behind::default());
        let replies: Vec<_> = (0..100).map(|i| behind.take(commit(&fd, &i.to_string()))).collect();
        assert_eq!(
            replies.iter().filter(|r| **r == Ok(FsReply::Done)).count(),
            FEW,
            "at first none is handed over"
        );
        assert!(replies.iter().skip(FEW).all(|r| *r == Ok(FsReply::Later)));
        let mut results = behind.settle(50);
        assert!(results.len() >= 100 - FEW - 50, "{}", results.len());
        results.extend(behind.settle(0));
        assert_eq!(results.len(), 100 - FEW);
        for (i, result) in results.iter().enumerate().map(|(at, r)| (at + FEW, r)) {
            assert_eq!(result.is_ok(), i != 30, "{i}: {result:?}");
            let there = std::fs::read(dir.path().join(i.to_string())).ok();
            assert_eq!(there, (i != 30).then(|| i.to_string().into_bytes()));
        }
        assert_eq!(behind.settle(0), []);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 100, "no temporary file stays");
    }

    #[test]
    fn dropped_in_the_middle_it_leaves_whole_files_and_no_temporary_ones() {
        let dir = tempfile::tempdir().unwrap();
        let (fd, mut behind) = (open(dir.path()), Behind::default());
        for i in 0..100 {
            behind.take(commit(&fd, &i.to_string())).unwrap();
        }
        drop(behind);
        for found in std::fs::read_dir(dir.path()).unwrap().map(|f| f.unwrap()) {
            let name = found.file_name().into_string().unwrap();
            assert_eq!(std::fs::read_to_string(found.path()).unwrap(), name);
        }
    }
}
