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
/// So many are handed over at once: for each one the thread would have to be woken.
const BATCH: usize = 8;
/// While so many are on their way, the next ones are done here: then both threads are busy.
const MANY: usize = 32;

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

/// See the module. What has not begun when this is dropped is not done. Whoever takes on more than he settles bounds
/// that himself.
#[derive(Debug, Default)]
pub(super) struct Behind {
    taken: usize,
    /// To be handed over.
    batch: Vec<Commit>,
    /// Handed over, and nothing is heard of it.
    open: usize,
    /// How others went.
    results: Vec<Placed>,
    apart: Option<Apart>,
}

type Placed = Result<(), FsError>;

#[derive(Debug)]
struct Apart {
    commits: Option<Sender<Vec<Commit>>>,
    done: Receiver<Vec<Placed>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Behind {
    /// Takes it on, or does it at once where that is better.
    pub(super) fn take(&mut self, commit: Commit) -> Result<FsReply, FsError> {
        self.taken += 1;
        if self.apart.is_none() && self.taken > FEW {
            self.apart = Apart::start();
        }
        while let Some(results) = self.apart.as_ref().and_then(|a| a.done.try_recv().ok()) {
            self.heard(results);
        }
        if self.apart.is_none() || self.open >= MANY {
            return commit.run();
        }
        self.batch.push(commit);
        if self.batch.len() >= BATCH {
            self.hand_over();
        }
        Ok(FsReply::Later)
    }

    /// Waits until at most `left` are not done; how the others went, in the order in which they were taken on.
    pub(super) fn settle(&mut self, left: usize) -> Vec<Placed> {
        self.hand_over();
        while self.open > left {
            match self.apart.as_ref().map(|a| a.done.recv()) {
                Some(Ok(results)) => self.heard(results),
                Some(Err(_)) | None => {
                    let lost = "internal error: the thread that puts files in their places is gone; please report it";
                    let lost = FsError::new(FsErrorKind::Other, lost);
                    self.results.extend(std::iter::repeat_n(Err(lost), self.open));
                    self.open = 0;
                }
            }
        }
        std::mem::take(&mut self.results)
    }

    fn heard(&mut self, results: Vec<Placed>) {
        self.open -= results.len().min(self.open);
        self.results.extend(results);
    }

    fn hand_over(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.open += batch.len();
        if let Some(commits) = self.apart.as_ref().and_then(|a| a.commits.as_ref()) {
            // If the thread is gone, `settle` says so.
            let _ = commits.send(batch);
        }
    }
}

impl Apart {
    fn start() -> Option<Apart> {
        let (commits, taken) = channel::<Vec<Commit>>();
        let (told, done) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let work = move || {
            for batch in taken {
                let goes_on = |_: &Commit| !stop.load(Ordering::Relaxed);
                let placed = batch.into_iter().take_while(goes_on).map(|c| c.run().map(drop));
                if told.send(placed.collect()).is_err() {
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
        let replies: Vec<_> = (0..100u32).map(|i| behind.take(commit(&fd, &i.to_string()))).collect();
        assert!(replies.iter().take(FEW).all(|r| *r == Ok(FsReply::Done)), "at first none is handed over");
        assert!(replies.iter().skip(FEW).take(MANY).all(|r| *r == Ok(FsReply::Later)));
        let mut results = behind.settle(10);
        let later = replies.iter().filter(|r| **r == Ok(FsReply::Later)).count();
        assert!(results.len() + 10 >= later, "{} of {later}", results.len());
        results.extend(behind.settle(0));
        assert_eq!(results.len(), later);
        let mut results = results.into_iter();
        for (i, reply) in replies.into_iter().enumerate() {
            let result = if reply == Ok(FsReply::Later) { results.next().unwrap() } else { reply.map(drop) };
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
