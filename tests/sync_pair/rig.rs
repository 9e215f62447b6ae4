//! Two sessions joined by pipes in memory, over real trees on disk or over a disk made of answers.

use std::collections::VecDeque;
use std::fs;
use std::path::Path;
use syncscope::drive::files::Disk;
use syncscope::sync::{Compress, Config, FsReply, FsRequest, Mode, Session, SessionEvent, Stats, SyncError};

/// May answer a request in the disk's place, or do something to the disk before it does.
pub type Hook<'a> = Box<dyn FnMut(&FsRequest) -> Option<FsReply> + 'a>;

/// One end with its disk and what is on its way to it.
pub struct End<'a> {
    pub session: Session,
    disk: Disk,
    pub inbox: VecDeque<u8>,
    pub hook: Hook<'a>,
    pub events: Vec<SessionEvent>,
    /// All that it wrote.
    pub written: Vec<u8>,
}

impl<'a> End<'a> {
    pub fn new(session: Session, root: &Path) -> End<'a> {
        End {
            session,
            disk: Disk::new(root),
            inbox: VecDeque::new(),
            hook: Box::new(|_| None),
            events: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Does at most this many pieces of disk work.
    pub fn work(&mut self, most: usize) -> Result<bool, SyncError> {
        let mut any = false;
        for _ in 0..most {
            let Some(r) = self.session.poll_request() else { break };
            any = true;
            let id = r.id;
            let reply = (self.hook)(&r).unwrap_or_else(|| self.disk.execute(r));
            self.session.handle_reply(id, reply)?;
        }
        while let Some(e) = self.session.poll_event() {
            self.events.push(e);
        }
        Ok(any)
    }

    pub fn read(&mut self, most: usize) -> Result<bool, SyncError> {
        if !self.session.wants_input() || self.inbox.is_empty() {
            return Ok(false);
        }
        let n = most.clamp(1, self.inbox.len());
        let bytes: Vec<u8> = self.inbox.drain(..n).collect();
        self.session.handle_input(&bytes)?;
        Ok(true)
    }

    pub fn write_to(&mut self, inbox: &mut VecDeque<u8>, most: usize, pipe: usize) -> bool {
        if self.session.compress() == Compress::Always {
            self.session.pack();
        }
        let out = self.session.poll_output(most.min(pipe.saturating_sub(inbox.len())));
        inbox.extend(out);
        self.written.extend(out);
        let n = out.len();
        self.session.consume_output(n);
        n > 0
    }

    /// The connection is gone: does what is left to do, and keeps the part of a file, if there is one.
    pub fn cut(&mut self) -> bool {
        let _ = self.session.handle_eof();
        while let Some(r) = self.session.poll_remains() {
            let reply = (self.hook)(&r).unwrap_or_else(|| self.disk.execute(r));
            self.session.handle_remains(reply);
        }
        self.disk.keep_part().is_some()
    }

    /// Works and reads until nothing moves any more.
    fn settle(&mut self) {
        while self.work(usize::MAX).unwrap() | self.read(256 * 1024).unwrap() {}
    }

    pub fn failures(&self) -> Vec<(String, String)> {
        let failed = |e: &SessionEvent| match e {
            SessionEvent::Failed { path, reason, .. } => Some((path.clone(), reason.clone())),
            _ => None,
        };
        self.events.iter().filter_map(failed).collect()
    }
}

/// Runs until both are done.
pub fn run(c: &mut End<'_>, s: &mut End<'_>) -> Result<(), (&'static str, SyncError)> {
    run_chopped(c, s, &mut |_| 256 * 1024, 1 << 20)
}

/// Runs with the size of each move chosen by `chop` (0: stalled this time); a pipe holds at most `pipe` bytes.
pub fn run_chopped(
    c: &mut End<'_>,
    s: &mut End<'_>,
    chop: &mut dyn FnMut(usize) -> usize,
    pipe: usize,
) -> Result<(), (&'static str, SyncError)> {
    let (mut idle, mut step) = (0, 0);
    while !(c.session.is_done() && s.session.is_done()) {
        let mut any = false;
        for k in 0..6 {
            step += 1;
            let n = chop(step);
            if n == 0 {
                continue;
            }
            any |= match k {
                0 => c.work(n.min(64)).map_err(|e| ("client", e))?,
                1 => c.write_to(&mut s.inbox, n, pipe),
                2 => s.read(n).map_err(|e| ("server", e))?,
                3 => s.work(n.min(64)).map_err(|e| ("server", e))?,
                4 => s.write_to(&mut c.inbox, n, pipe),
                _ => c.read(n).map_err(|e| ("client", e))?,
            };
        }
        idle = if any { 0 } else { idle + 1 };
        assert!(idle < 200, "both wait: client {:?}, server {:?}", c.session.phase(), s.session.phase());
    }
    c.work(0).map_err(|e| ("client", e))?;
    s.work(0).map_err(|e| ("server", e))?;
    Ok(())
}

/// Flights over the wire, one way each: either end does all it can, then all it wrote arrives.
pub fn flights(c: &mut End<'_>, s: &mut End<'_>) -> usize {
    let mut n = 0;
    loop {
        c.settle();
        let sent = c.write_to(&mut s.inbox, usize::MAX, usize::MAX);
        s.settle();
        let answered = s.write_to(&mut c.inbox, usize::MAX, usize::MAX);
        n += usize::from(sent) + usize::from(answered);
        if !sent && !answered {
            assert!(c.session.is_done() && s.session.is_done(), "not done after {n} flights");
            return n;
        }
        assert!(n < 10_000, "no end");
    }
}

pub fn pair<'a>(mode: Mode, source: &Path, dest: &Path, config: &Config) -> (End<'a>, End<'a>) {
    let (client_root, server_root) = match mode {
        Mode::Push => (source, dest),
        Mode::Pull => (dest, source),
    };
    let client = End::new(Session::client(mode, "", config.clone()), client_root);
    (client, End::new(Session::server(Config::new(config.seed ^ 0x55)), server_root))
}

/// Syncs, checks that both ends tell the same story, and returns it.
pub fn sync(mode: Mode, source: &Path, dest: &Path) -> Stats {
    let (mut c, mut s) = pair(mode, source, dest, &Config::new(7));
    run(&mut c, &mut s).unwrap();
    agree(&c, &s)
}

pub fn agree(c: &End<'_>, s: &End<'_>) -> Stats {
    let (cs, ss) = (c.session.stats(), s.session.stats());
    assert_eq!((cs.wire_out, cs.wire_in), (ss.wire_in, ss.wire_out), "what one writes the other reads");
    let files = |s: Stats| Stats { wire_in: 0, wire_out: 0, ..s };
    assert_eq!(files(cs), files(ss), "both ends count the same");
    let mut failures = (c.failures(), s.failures());
    failures.0.sort();
    failures.1.sort();
    assert_eq!(failures.0, failures.1, "both ends know what failed");
    assert_eq!(c.session.file_names(), s.session.file_names());
    cs
}

/// Everything in a tree: path, kind and mode, contents, time in ns.
pub fn picture(root: &Path) -> Vec<(String, u32, Vec<u8>, i128)> {
    use std::os::unix::fs::MetadataExt;
    walkdir::WalkDir::new(root)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .map(|e| {
            let e = e.unwrap();
            let m = fs::symlink_metadata(e.path()).unwrap();
            let (data, mtime) = if m.is_symlink() {
                (fs::read_link(e.path()).unwrap().into_os_string().into_encoded_bytes(), 0)
            } else {
                let data = if m.is_file() { fs::read(e.path()).unwrap() } else { Vec::new() };
                (data, i128::from(m.mtime()) * 1_000_000_000 + i128::from(m.mtime_nsec()))
            };
            use std::os::unix::ffi::OsStrExt;
            let rel = syncscope::model::name::from_bytes(
                e.path().strip_prefix(root).unwrap().as_os_str().as_bytes(),
            );
            (rel, m.mode(), data, mtime)
        })
        .collect()
}

pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed;
    let mut next = || {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (x >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Writes a file whose time is `age` seconds before a fixed one.
pub fn put(path: impl AsRef<Path>, data: &[u8], age: u64) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, data).unwrap();
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 - age);
    fs::File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

/// No temporary file is left anywhere below.
pub fn assert_clean(root: &Path) {
    for e in walkdir::WalkDir::new(root) {
        let e = e.unwrap();
        assert!(!e.file_name().as_encoded_bytes().starts_with(b".syncscope"), "left: {}", e.path().display());
    }
}
