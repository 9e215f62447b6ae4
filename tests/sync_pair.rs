//! Two sessions joined by pipes in memory, over real trees on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use syncscope::drive::files::Disk;
use syncscope::sync::{Config, FsReply, FsRequest, Mode, Session, SessionEvent, Stats, SyncError};

type Hook<'a> = Box<dyn FnMut(&FsRequest) -> Option<FsReply> + 'a>;

/// One end with its disk and what is on its way to it.
struct End<'a> {
    session: Session,
    disk: Disk,
    inbox: VecDeque<u8>,
    hook: Hook<'a>,
    events: Vec<SessionEvent>,
    requests: usize,
    highest_inbox: usize,
}

impl<'a> End<'a> {
    fn new(session: Session, root: &Path) -> End<'a> {
        End {
            session,
            disk: Disk::new(root),
            inbox: VecDeque::new(),
            hook: Box::new(|_| None),
            events: Vec::new(),
            requests: 0,
            highest_inbox: 0,
        }
    }

    /// Does at most this many pieces of disk work.
    fn work(&mut self, most: usize) -> Result<bool, SyncError> {
        let mut any = false;
        for _ in 0..most {
            let Some(r) = self.session.poll_request() else { break };
            any = true;
            self.requests += 1;
            let id = r.id;
            let reply = (self.hook)(&r).unwrap_or_else(|| self.disk.execute(r));
            self.session.handle_reply(id, reply)?;
        }
        while let Some(e) = self.session.poll_event() {
            self.events.push(e);
        }
        Ok(any)
    }

    fn read(&mut self, most: usize) -> Result<bool, SyncError> {
        if !self.session.wants_input() || self.inbox.is_empty() {
            return Ok(false);
        }
        let n = most.min(self.inbox.len()).max(1);
        let bytes: Vec<u8> = self.inbox.drain(..n).collect();
        self.session.handle_input(&bytes)?;
        Ok(true)
    }

    fn write_to(&mut self, inbox: &mut VecDeque<u8>, most: usize, pipe: usize) -> bool {
        let n = most.min(pipe.saturating_sub(inbox.len()));
        let n = {
            let out = self.session.poll_output(n);
            inbox.extend(out);
            out.len()
        };
        self.session.consume_output(n);
        n > 0
    }
}

/// Runs until both are done, everything at once.
fn run(c: &mut End<'_>, s: &mut End<'_>) -> Result<(), (&'static str, SyncError)> {
    run_chopped(c, s, &mut |_| usize::MAX, 1 << 20)
}

/// Runs with each move's size chosen by `chop`; pipes hold at most `pipe` bytes.
fn run_chopped(
    c: &mut End<'_>,
    s: &mut End<'_>,
    chop: &mut dyn FnMut(usize) -> usize,
    pipe: usize,
) -> Result<(), (&'static str, SyncError)> {
    let mut idle = 0;
    let mut step = 0;
    while !(c.session.is_done() && s.session.is_done()) {
        let mut any = false;
        for k in 0..6 {
            step += 1;
            let n = chop(step);
            if n == 0 {
                continue; // this one is stalled for once
            }
            any |= match k {
                0 => c.work(n.min(50)).map_err(|e| ("client", e))?,
                1 => c.write_to(&mut s.inbox, n, pipe),
                2 => s.read(n).map_err(|e| ("server", e))?,
                3 => s.work(n.min(50)).map_err(|e| ("server", e))?,
                4 => s.write_to(&mut c.inbox, n, pipe),
                _ => c.read(n).map_err(|e| ("client", e))?,
            };
            c.highest_inbox = c.highest_inbox.max(c.inbox.len());
            s.highest_inbox = s.highest_inbox.max(s.inbox.len());
        }
        idle = if any { 0 } else { idle + 1 };
        assert!(idle < 1000, "deadlock: client {:?}, server {:?}", c.session, s.session);
    }
    Ok(())
}

fn pair<'a>(mode: Mode, source: &Path, dest: &Path, config: Config) -> (End<'a>, End<'a>) {
    let (client_root, server_root) = match mode {
        Mode::Push => (source, dest),
        Mode::Pull => (dest, source),
    };
    let client = End::new(Session::client(mode, "", config.clone()), client_root);
    (client, End::new(Session::server(Config::new(config.seed + 1)), server_root))
}

fn sync(mode: Mode, source: &Path, dest: &Path) -> Stats {
    let (mut c, mut s) = pair(mode, source, dest, Config::new(7));
    run(&mut c, &mut s).unwrap();
    let strip = |s: Stats| Stats { wire_in: 0, wire_out: 0, ..s };
    assert_eq!(strip(c.session.stats()), strip(s.session.stats()), "both ends count the same");
    assert_eq!(c.session.stats().wire_out, s.session.stats().wire_in);
    assert_eq!(c.session.stats().wire_in, s.session.stats().wire_out);
    c.session.stats()
}

#[test]
fn a_new_tree_arrives() {
    let dir = tempfile::tempdir().unwrap();
    let (source, dest) = (dir.path().join("s"), dir.path().join("d"));
    fs::create_dir_all(source.join("a/b")).unwrap();
    fs::write(source.join("a/b/c.txt"), b"hello").unwrap();
    for mode in [Mode::Push, Mode::Pull] {
        let _ = fs::remove_dir_all(&dest);
        let stats = sync(mode, &source, &dest);
        assert_eq!((stats.files, stats.changed, stats.literal), (1, 1, 5));
        assert_eq!(fs::read(dest.join("a/b/c.txt")).unwrap(), b"hello");
    }
}
