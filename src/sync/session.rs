//! One end of a sync: bytes, replies and requests in and out. What is the same on both sides of a
//! transfer is here; the rest is in `sender` and `receiver`.

use super::PROTOCOL;
use super::error::{PeerFault, SyncError};
use super::fs::{FsError, FsErrorKind, FsOp, FsReply, FsRequest, Kind, Meta, Pick};
use super::limits::Limits;
use super::output::{About, Output};
use super::pack::Packer;
use super::receiver::Receiver;
use super::sender::Sender;
use super::signature::{MAX_BLOCK, MIN_BLOCK};
use super::wire::{self, Frame};
use super::wish::{Change, Compress, Flags};
use crate::model::units::printable;
use crate::model::{Phase, name};
use std::collections::VecDeque;

/// Input is not wanted while this much of it waits, bytes.
const INPUT_HIGH: usize = 256 * 1024;

/// Which way the files go, as the client says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// From the server to the client.
    Pull,
    /// From the client to the server.
    Push,
}

/// What the user may choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Block size (`-B`), held within 64 B to 256 KiB; none: from each file's size. The client's choice counts.
    pub block_size: Option<u32>,
    /// Random seed of the strong block hash. The receiver's counts; the peer learns it.
    pub seed: u64,
    /// What is synced, and how. The client's choice counts.
    pub flags: Flags,
    /// What is left out, in the syntax of `.gitignore`. The client's choice counts.
    pub rules: Vec<String>,
    /// How much the peer may send, where this side receives; of a server's own tree, how many entries a pull may
    /// have listed.
    pub limits: Limits,
    /// A server that takes no files.
    pub read_only: bool,
}

impl Config {
    /// Defaults with this random seed.
    pub fn new(seed: u64) -> Config {
        Config {
            block_size: None,
            seed,
            flags: Flags::default(),
            rules: Vec::new(),
            limits: Limits::default(),
            read_only: false,
        }
    }

    fn pick(&self, entries: usize) -> Pick {
        let Flags { recurse, links, hard_links, dry_run, .. } = self.flags;
        Pick { recurse, links, hard_links, dry_run, rules: self.rules.clone(), entries }
    }
}

/// What happened, for progress and results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// The list is complete.
    Listed {
        /// Regular files in it.
        files: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// Data of this file begins to flow.
    Started {
        /// Index into [`Session::file_names`].
        file: u32,
    },
    /// This entry was changed or made and is in place; or would be, where nothing is to be changed.
    Done {
        /// Index into [`Session::file_names`].
        file: u32,
        /// What it is.
        kind: Kind,
        /// How it differed.
        change: Change,
    },
    /// This was removed, because the source does not have it; or would be.
    Gone {
        /// Its path.
        path: String,
        /// It is a directory.
        dir: bool,
    },
    /// This file did not verify and is sent again.
    Redo {
        /// Index into [`Session::file_names`].
        file: u32,
    },
    /// This one failed or was skipped; the others go on.
    Failed {
        /// Its path, safe to print.
        path: String,
        /// Why, safe to print.
        reason: String,
        /// It failed at the other end, which says so.
        there: bool,
    },
    /// All is done; some files may have failed.
    Finished(Stats),
}

/// Counts of a session; in the end both sides have the same ones, but for the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Regular files looked at.
    pub files: u64,
    /// Files and symlinks changed or made.
    pub changed: u64,
    /// Entries made where nothing of their kind lay.
    pub created: u64,
    /// Files, directories and others removed.
    pub deleted: u64,
    /// Entries that failed or were skipped with a reason.
    pub failed: u64,
    /// Files sent again because they did not verify.
    pub redone: u64,
    /// Bytes of the source's regular files.
    pub bytes: u64,
    /// Bytes taken from a basis.
    pub matched: u64,
    /// Bytes sent as literals.
    pub literal: u64,
    /// Bytes handed to the peer.
    pub wire_out: u64,
    /// Bytes taken from the peer.
    pub wire_in: u64,
}

/// One line of the list, without its path.
#[derive(Debug)]
pub(super) struct Item {
    pub(super) meta: Meta,
    /// It is another name of this earlier one.
    pub(super) same_as: Option<u32>,
    pub(super) target: String,
}

/// What sender and receiver share with the session around them.
#[derive(Debug, Default)]
pub(super) struct Core {
    pub(super) out: Output,
    pub(super) events: VecDeque<SessionEvent>,
    pub(super) names: Vec<String>,
    pub(super) items: Vec<Item>,
    pub(super) stats: Stats,
}

impl Core {
    /// Adds a line to the list; its index.
    pub(super) fn add(&mut self, path: &str, meta: Meta, same_as: Option<u32>, target: &str) -> u32 {
        if meta.kind == Kind::File {
            self.stats.files += 1;
            self.stats.bytes = self.stats.bytes.saturating_add(meta.size);
        }
        self.names.push(path.to_owned());
        self.items.push(Item { meta, same_as, target: target.to_owned() });
        (self.names.len() - 1) as u32
    }

    pub(super) fn listed(&mut self) {
        self.events.push_back(SessionEvent::Listed { files: self.stats.files, bytes: self.stats.bytes });
    }

    pub(super) fn name(&self, file: u32) -> &str {
        self.names.get(file as usize).map_or("", String::as_str)
    }

    /// Notes a failure on this side.
    pub(super) fn failed(&mut self, path: &str, reason: &str) {
        self.failure(path, reason, false);
    }

    /// Notes a failure that the peer tells of.
    pub(super) fn failed_there(&mut self, path: &str, reason: &str) {
        self.failure(path, reason, true);
    }

    /// Names and reasons may be the peer's: they are made safe to print.
    fn failure(&mut self, path: &str, reason: &str, there: bool) {
        self.stats.failed += 1;
        let (path, reason) = (printable(path), printable(reason));
        self.events.push_back(SessionEvent::Failed { path, reason, there });
    }

    /// Notes an entry that is in place now.
    pub(super) fn done(&mut self, file: u32, change: Change) {
        let kind = self.items.get(file as usize).map_or(Kind::Other, |i| i.meta.kind);
        self.stats.changed += u64::from(kind != Kind::Dir && (change.content || change.link));
        self.stats.created += u64::from(change.new);
        self.events.push_back(SessionEvent::Done { file, kind, change });
    }

    /// Notes something that was removed, or could not be, here or there.
    pub(super) fn gone(&mut self, path: &str, dir: bool, reason: &str, there: bool) {
        if reason.is_empty() {
            self.stats.deleted += 1;
            self.events.push_back(SessionEvent::Gone { path: path.to_owned(), dir });
        } else {
            self.failure(path, reason, there);
        }
    }

    /// Takes the receiver's counts, which cover what only it can know.
    pub(super) fn settle(&mut self, theirs: Stats) {
        let Stats { wire_in, wire_out, .. } = self.stats;
        self.stats = Stats { wire_in, wire_out, ..theirs };
    }
}

/// One piece of work, before it has its id.
pub(super) struct Ask {
    pub(super) about: About,
    pub(super) op: FsOp,
}

#[derive(Debug)]
enum Role {
    /// A server that waits for the client's wish.
    Unknown,
    Sender(Sender),
    Receiver(Receiver),
}

/// Where the root is on its way.
#[derive(Debug, PartialEq, Eq)]
enum Entering {
    No,
    Wanted { path: String, create: bool, entries: usize },
    Asked { path: String },
    Inside,
}

/// One end of a sync. See the [module](super) for how to drive it.
#[derive(Debug)]
pub struct Session {
    config: Config,
    core: Core,
    role: Role,
    entering: Entering,
    greeted: bool,
    input: Vec<u8>,
    /// Bytes at the front of `input` that are dealt with.
    taken: usize,
    /// What came compressed, and how much of it is dealt with.
    unpacked: Vec<u8>,
    used: usize,
    packer: Packer,
    next_id: u64,
    /// The request that is out.
    out_id: Option<u64>,
    last: About,
    error: Option<SyncError>,
}

impl Session {
    /// The end that connects: pulls from or pushes to `remote_path`, which is relative to what the
    /// server exports; empty: all of it.
    pub fn client(mode: Mode, remote_path: &str, config: Config) -> Session {
        let mut s = Session::new(config);
        let hello = Frame::Hello {
            mode,
            block_size: s.config.block_size.unwrap_or(0),
            flags: s.config.flags,
            path: remote_path,
            rules: &s.config.rules.join("\n"),
        };
        s.core.out.frame(&hello, (Phase::Handshake, None, None));
        // What is its user's own is listed, however much it is.
        s.begin(mode == Mode::Push, String::new(), usize::MAX);
        s
    }

    /// The end that listens.
    pub fn server(config: Config) -> Session {
        Session::new(config)
    }

    fn new(mut config: Config) -> Session {
        config.block_size = config.block_size.map(|b| b.clamp(MIN_BLOCK, MAX_BLOCK));
        let mut core = Core::default();
        core.out.raw(&wire::preamble(PROTOCOL), (Phase::Handshake, None, None));
        Session {
            config,
            core,
            role: Role::Unknown,
            entering: Entering::No,
            greeted: false,
            input: Vec::new(),
            taken: 0,
            unpacked: Vec::new(),
            used: 0,
            packer: Packer::default(),
            next_id: 1,
            out_id: None,
            last: (Phase::Handshake, None, None),
            error: None,
        }
    }

    fn begin(&mut self, send: bool, path: String, entries: usize) {
        self.role = if send {
            Role::Sender(Sender::new(&self.config, &path))
        } else {
            Role::Receiver(Receiver::new(&self.config))
        };
        self.entering = Entering::Wanted { path, create: !send, entries };
    }

    /// Takes what was read from the peer. Any amount is taken, but memory stays bounded only when
    /// [`Session::wants_input`] is asked before each read.
    pub fn handle_input(&mut self, bytes: &[u8]) -> Result<(), SyncError> {
        self.check()?;
        self.last = self.input_phase();
        self.core.stats.wire_in += bytes.len() as u64;
        let mut bytes = bytes;
        // Of what has begun, no more than that needs: what comes whole is not copied.
        while self.taken < self.input.len() {
            let (more, later) = bytes.split_at(self.missing().min(bytes.len()));
            if more.is_empty() {
                break;
            }
            self.input.extend_from_slice(more);
            self.parse()?;
            bytes = later;
        }
        if self.taken == self.input.len() {
            let n = self.parse_all(bytes)?;
            bytes = bytes.get(n..).unwrap_or_default();
        }
        self.input.extend_from_slice(bytes);
        Ok(())
    }

    /// The peer closed its end.
    pub fn handle_eof(&mut self) -> Result<(), SyncError> {
        self.check()?;
        if self.finished() {
            return Ok(());
        }
        let e = SyncError::Closed { during: self.input_phase().0.as_str() };
        self.error = Some(e.clone());
        Err(e)
    }

    /// False while there is more to do than should be held in memory.
    pub fn wants_input(&self) -> bool {
        self.error.is_none() && self.input.len() - self.taken < INPUT_HIGH && self.accepts()
    }

    /// The next piece of work for the file system; none while one is out.
    pub fn poll_request(&mut self) -> Option<FsRequest> {
        if self.error.is_some() || self.out_id.is_some() {
            return None;
        }
        let ask = match std::mem::replace(&mut self.entering, Entering::No) {
            Entering::Wanted { path, create, entries } => {
                self.entering = Entering::Asked { path: path.clone() };
                let op = FsOp::Enter { path, create, pick: self.config.pick(entries) };
                Some(Ask { about: (Phase::Handshake, None, None), op })
            }
            Entering::Inside => {
                self.entering = Entering::Inside;
                match &mut self.role {
                    Role::Unknown => None,
                    Role::Sender(s) => s.ask(&mut self.core),
                    Role::Receiver(r) => r.ask(&mut self.core),
                }
            }
            other => {
                self.entering = other;
                None
            }
        }?;
        let id = self.next_id;
        self.next_id += 1;
        self.out_id = Some(id);
        let (phase, file, block) = ask.about;
        Some(FsRequest { id, phase, file, block, op: ask.op })
    }

    /// Takes the answer to the request with this id.
    pub fn handle_reply(&mut self, id: u64, reply: FsReply) -> Result<(), SyncError> {
        self.check()?;
        if self.out_id.take() != Some(id) {
            return self.fail(SyncError::Bug("a reply without its request"));
        }
        let result = match std::mem::replace(&mut self.entering, Entering::Inside) {
            Entering::Asked { path } => match reply {
                FsReply::Done => {
                    if let Role::Receiver(r) = &mut self.role {
                        r.entered(&mut self.core);
                    }
                    Ok(())
                }
                FsReply::Failed(error) => Err(SyncError::root(&path, error)),
                _ => Err(SyncError::Bug("a reply of the wrong kind")),
            },
            _ => match &mut self.role {
                Role::Unknown => Err(SyncError::Bug("a reply before the handshake")),
                Role::Sender(s) => s.reply(&mut self.core, reply),
                Role::Receiver(r) => r.reply(&mut self.core, reply),
            },
        };
        match result {
            Ok(()) => self.parse(),
            Err(e) => self.fail(e),
        }
    }

    /// After the connection was cut, with or without an error: the next piece of work that what had arrived still
    /// asks for. Nothing else is begun.
    pub fn poll_remains(&mut self) -> Option<FsRequest> {
        let Role::Receiver(r) = &mut self.role else { return None };
        let ask = r.remains(&self.core)?;
        let id = self.next_id;
        self.next_id += 1;
        let (phase, file, block) = ask.about;
        Some(FsRequest { id, phase, file, block, op: ask.op })
    }

    /// The answer to it.
    pub fn handle_remains(&mut self, reply: FsReply) {
        let Role::Receiver(r) = &mut self.role else { return };
        // Whom should it be told to? What arrived is done with as far as it goes.
        if r.remained(&mut self.core, reply).is_ok() {
            let _ = self.parse();
        }
    }

    /// At most `max` bytes for the peer; empty: nothing to write now.
    pub fn poll_output(&self, max: usize) -> &[u8] {
        self.core.out.peek(max)
    }

    /// The first `n` bytes of [`Session::poll_output`] are written.
    pub fn consume_output(&mut self, n: usize) {
        self.last = self.output_phase();
        self.core.stats.wire_out += self.core.out.consume(n) as u64;
    }

    /// Compresses what is to be written next, where that makes it smaller: from how many bytes to how many. None:
    /// there is nothing that could be.
    pub fn pack(&mut self) -> Option<(usize, usize)> {
        self.core.out.pack()
    }

    /// Whether to compress, as the client wants it.
    pub fn compress(&self) -> Compress {
        self.config.flags.compress
    }

    /// What happened since the last call.
    pub fn poll_event(&mut self) -> Option<SessionEvent> {
        self.core.events.pop_front()
    }

    /// What the last bytes moved, either way, were about: phase, file index, block. Where they
    /// were about several things: the first.
    pub fn phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        self.last
    }

    /// What the next bytes to be read are about, as far as can be told before they are there.
    pub fn input_phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        match &self.role {
            _ if !self.greeted => (Phase::Handshake, None, None),
            Role::Unknown => (Phase::Handshake, None, None),
            Role::Sender(s) => s.awaits(),
            Role::Receiver(r) => r.awaits(),
        }
    }

    /// What the next bytes to be written are about; with none waiting, what the last ones were about.
    pub fn output_phase(&self) -> (Phase, Option<u32>, Option<u32>) {
        self.core.out.about().unwrap_or(self.last)
    }

    /// True when nothing is left to read, write or do.
    pub fn is_done(&self) -> bool {
        self.finished() && self.core.out.pending() == 0
    }

    /// Paths of the list so far; indices of events and phases point into it.
    pub fn file_names(&self) -> &[String] {
        &self.core.names
    }

    /// Counts so far.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    fn finished(&self) -> bool {
        self.error.is_none()
            && match &self.role {
                Role::Unknown => false,
                Role::Sender(s) => s.finished(),
                Role::Receiver(r) => r.finished(),
            }
    }

    fn check(&self) -> Result<(), SyncError> {
        self.error.clone().map_or(Ok(()), Err)
    }

    /// Ends the session and leaves the farewell in the output.
    fn fail(&mut self, e: SyncError) -> Result<(), SyncError> {
        if !matches!(e, SyncError::PeerAborted(_) | SyncError::NotSyncscope { .. }) {
            let reason = e.to_string();
            self.core.out.frame(&Frame::Abort { reason: &reason }, (Phase::Done, None, None));
        }
        self.error = Some(e.clone());
        Err(e)
    }

    fn accepts(&self) -> bool {
        match &self.role {
            Role::Unknown => true,
            Role::Sender(s) => s.accepts(),
            Role::Receiver(r) => r.accepts(),
        }
    }

    /// Bytes that what has begun to come lacks, as far as that is known; 0: it is there.
    fn missing(&self) -> usize {
        let begun = self.input.get(self.taken..).unwrap_or_default();
        if self.greeted { wire::missing(begun) } else { wire::PREAMBLE.saturating_sub(begun.len()) }
    }

    /// Deals with what waits, as long as there is room for its work.
    fn parse(&mut self) -> Result<(), SyncError> {
        let input = std::mem::take(&mut self.input);
        let done = self.parse_all(input.get(self.taken..).unwrap_or_default());
        self.input = input;
        self.taken += done?;
        if self.taken == self.input.len() {
            self.input.clear();
            self.taken = 0;
        } else if self.taken >= INPUT_HIGH / 4 && self.taken >= self.input.len() / 2 {
            self.input.drain(..self.taken);
            self.taken = 0;
        }
        Ok(())
    }

    /// Deals with the frames that are complete, as long as there is room for their work; how many bytes of `input`
    /// that took.
    fn parse_all(&mut self, input: &[u8]) -> Result<usize, SyncError> {
        let mut at = 0;
        while self.accepts() {
            match self.parse_one(input.get(at..).unwrap_or_default()) {
                Ok(None) => break,
                Ok(Some(n)) => at += n,
                Err(e) => return self.fail(e).map(|()| at),
            }
        }
        Ok(at)
    }

    /// Deals with one frame, of what came compressed if there is more of that; how many bytes of `input` that takes.
    /// None: none is complete.
    fn parse_one(&mut self, input: &[u8]) -> Result<Option<usize>, SyncError> {
        let packed = self.used < self.unpacked.len();
        let bytes = if packed { self.unpacked.get(self.used..).unwrap_or_default() } else { input };
        if !self.greeted {
            self.greeted = wire::check_preamble(bytes, PROTOCOL)?;
            return Ok(self.greeted.then_some(wire::PREAMBLE));
        }
        let Some((frame, n)) = wire::decode(bytes)? else {
            return if packed { Err(PeerFault::Malformed("packed").into()) } else { Ok(None) };
        };
        match (&mut self.role, frame) {
            (_, Frame::Packed(_)) if packed => return Err(PeerFault::Malformed("packed").into()),
            (_, Frame::Packed(bytes)) => {
                self.unpacked = self.packer.unpack(bytes)?;
                self.used = 0;
                return Ok(Some(n));
            }
            (_, Frame::Abort { reason }) => return Err(SyncError::PeerAborted(printable(reason))),
            (Role::Sender(s), f) => s.frame(&mut self.core, f)?,
            (Role::Receiver(r), f) => r.frame(&mut self.core, f)?,
            (Role::Unknown, Frame::Hello { mode, block_size, flags, path, rules }) => {
                let refuse = |kind, why: &str| {
                    Err(SyncError::Root { path: path.to_owned(), error: FsError::new(kind, why) })
                };
                if !path.is_empty() && !safe_path(path) {
                    return refuse(FsErrorKind::Unsafe, "it leads out of the exported tree");
                }
                if mode == Mode::Push && self.config.read_only {
                    return refuse(FsErrorKind::Denied, "it is served read-only; nothing can be pushed");
                }
                self.config.block_size = (block_size != 0).then_some(block_size);
                self.config.flags = flags;
                self.config.rules = rules.lines().map(str::to_owned).collect();
                let path = path.to_owned();
                self.begin(mode == Mode::Pull, path, self.config.limits.entries);
            }
            (Role::Unknown, f) => {
                return Err(PeerFault::Unexpected { frame: f.name(), during: "handshake" }.into());
            }
        }
        if packed {
            self.used += n;
            return Ok(Some(0));
        }
        Ok(Some(n))
    }
}

/// Whether a peer's path stays below the root, word by word: relative, no empty, `.` or `..` component.
pub fn safe_path(path: &str) -> bool {
    path.len() <= wire::MAX_PATH
        && !path.contains('\0')
        && path.split('/').all(|c| !c.is_empty() && c != "." && c != ".." && name::to_bytes(c).len() <= 255)
}

/// Whether a symlink at `path` that points to `target` stays below the root, also where a component of
/// the target is itself such a symlink: a `..` behind a name could climb from wherever that one leads.
pub fn safe_target(path: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') || target.len() > wire::MAX_PATH
    {
        return false;
    }
    let named = || target.split('/').filter(|c| !c.is_empty() && *c != ".");
    let up = named().take_while(|c| *c == "..").count();
    up <= path.matches('/').count() && named().skip(up).all(|c| c != "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_seen() {
        for good in ["a", "a/b c/ünï", "..a", "a/...", &"x".repeat(255)] {
            assert!(safe_path(good), "{good}");
        }
        for bad in ["", "/a", "a/", "a//b", ".", "..", "a/../b", "a\0b", &"x".repeat(256), &"a/".repeat(3000)]
        {
            assert!(!safe_path(bad), "{bad}");
        }
    }

    #[test]
    fn links_that_lead_out_are_seen() {
        assert!(safe_target("l", "a/b"));
        assert!(safe_target("d/l", "../a"));
        assert!(!safe_target("l", "../a"));
        assert!(!safe_target("d/l", "x/../../../a"));
        assert!(!safe_target("l", "a/b/c/up/.."), "up may be a link to the root");
        assert!(!safe_target("l", "/etc/passwd"));
        assert!(!safe_target("l", ""));
    }
}
