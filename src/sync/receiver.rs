//! The side that has the basis: decides what it needs, asks for it, rebuilds it.
//!
//! Two lanes of work share the disk in turns. *Prepare* walks the list: quick check, signature,
//! request. *Rebuild* ([`super::patch`]) turns arriving frames into a temporary file and never
//! waits for output, so input always drains.

use super::error::{PeerFault, SyncError};
use super::fs::{FsError, FsOp, FsReply, Kind, MAX_WORK, Meta};
use super::output::About;
use super::patch::{Outcome, Patch};
use super::session::{Ask, Config, Core, SessionEvent, safe_path, safe_target};
use super::signature::{BlockSum, Layout, STRONG_LEN, Strong, block_size};
use super::wire::{self, Frame, Have};
use crate::model::Phase;
use std::collections::BTreeMap;

/// Most entries of a list.
const MAX_ENTRIES: usize = 1 << 20;
/// Most bytes of names in a list.
const MAX_NAMES: usize = 128 << 20;
/// Files asked for and not yet complete.
const WINDOW: usize = 4096;
/// Only of files that are larger is a part kept when the connection is cut: less than this is sent again, bytes.
pub const PART: u64 = 1 << 20;

/// A file that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// How its basis is cut; none: it comes whole.
    pub(super) basis: Option<Layout>,
    /// The strong hash of its signature, if there is one.
    pub(super) strong: Strong,
    /// Its first frame has come.
    pub(super) begun: bool,
    /// Bytes that are there already.
    pub(super) have: u64,
}

/// What is said of a file that somebody wrote while it was read.
const TORN: &str = "it changed while it was read: the copy may be of no single moment; sync again";

#[derive(Clone, Copy, Debug)]
enum Prepare {
    Idle,
    Dir(u32),
    Link(u32),
    Stat(u32),
    Attr(u32),
    /// A part that a run left which was cut; then the basis, if there is one.
    Part(u32, bool),
    /// Sums of that part up to this offset, and its length.
    PartSums(u32, bool, u64, u64),
    Basis(u32, Strong),
    /// Signature up to this offset.
    Sums(u32, Strong, Layout, u64),
}

/// Whose request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Prepare,
    Rebuild,
    Dirs,
}

#[derive(Debug)]
pub(super) struct Receiver {
    block_size: Option<u32>,
    seed: u64,
    whole_file: bool,
    entered: bool,
    list_ended: bool,
    names: usize,
    faults: usize,
    /// Next entry to look at.
    next: usize,
    prepare: Prepare,
    /// What is there of the file that is asked for next.
    have: Have,
    waiting: Option<Lane>,
    turn: Lane,
    asked: BTreeMap<u32, Asked>,
    /// Files that did not verify and wait for a signature with safer sums.
    redo: Vec<u32>,
    patch: Patch,
    /// Directories whose attributes are set in the end, parents first.
    dirs: Vec<u32>,
    finish_sent: bool,
    finished: bool,
}

impl Receiver {
    pub(super) fn new(config: &Config) -> Receiver {
        Receiver {
            block_size: config.block_size,
            seed: config.seed,
            whole_file: config.whole_file,
            entered: false,
            list_ended: false,
            names: 0,
            faults: 0,
            next: 0,
            prepare: Prepare::Idle,
            have: Have::default(),
            waiting: None,
            turn: Lane::Rebuild,
            asked: BTreeMap::new(),
            redo: Vec::new(),
            patch: Patch::default(),
            dirs: Vec::new(),
            finish_sent: false,
            finished: false,
        }
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    pub(super) fn accepts(&self) -> bool {
        self.patch.has_room()
    }

    pub(super) fn awaits(&self) -> About {
        if let Some(about) = self.patch.about() {
            return about;
        }
        match self.asked.iter().find(|a| !a.1.begun) {
            _ if !self.list_ended => (Phase::List, None, None),
            Some((&file, _)) => (Phase::Data, Some(file), Some(0)),
            None if self.finish_sent => (Phase::Done, None, None),
            None => (Phase::Data, None, None),
        }
    }

    /// The root is there.
    pub(super) fn entered(&mut self, core: &mut Core) {
        self.entered = true;
        self.settle(core);
    }

    pub(super) fn frame(&mut self, core: &mut Core, frame: Frame<'_>) -> Result<(), SyncError> {
        let name = frame.name();
        match frame {
            Frame::Entry { path, meta, target } if !self.list_ended => {
                self.entry(core, path, meta, target)?;
            }
            Frame::ListFault { path, reason } if !self.list_ended => {
                self.faults += 1;
                if self.faults > MAX_ENTRIES {
                    return Err(PeerFault::TooMany("list entries").into());
                }
                core.failed(path, reason);
            }
            Frame::ListEnd { entries } if !self.list_ended => {
                if entries as usize != core.names.len() {
                    let range = "the number of entries sent";
                    return Err(wire::out_of_range("length of the list", u64::from(entries), range).into());
                }
                self.list_ended = true;
                core.listed();
            }
            Frame::Goodbye if self.finish_sent && !self.finished => {
                core.events.push_back(SessionEvent::Finished(core.stats));
                self.finished = true;
            }
            f if !self.finish_sent => self.patch.frame(core, &mut self.asked, f, self.list_ended)?,
            _ => return Err(PeerFault::Unexpected { frame: name, during: Phase::Done.as_str() }.into()),
        }
        self.settle(core);
        Ok(())
    }

    fn entry(&mut self, core: &mut Core, path: &str, meta: Meta, target: &str) -> Result<(), SyncError> {
        self.names += path.len() + target.len();
        if core.names.len() >= MAX_ENTRIES || self.names > MAX_NAMES {
            return Err(PeerFault::TooMany("list entries").into());
        }
        if !safe_path(path) {
            return Err(PeerFault::Path(path.chars().take(80).collect()).into());
        }
        core.add(path, meta, target);
        Ok(())
    }

    pub(super) fn ask(&mut self, core: &mut Core) -> Option<Ask> {
        let first = self.turn;
        let order = if first == Lane::Rebuild {
            [Lane::Rebuild, Lane::Prepare, Lane::Dirs]
        } else {
            [Lane::Prepare, Lane::Rebuild, Lane::Dirs]
        };
        for lane in order {
            let ask = match lane {
                Lane::Rebuild => self.patch.ask(core),
                Lane::Prepare => self.ask_prepare(core),
                Lane::Dirs => self.ask_dirs(core),
            };
            if ask.is_some() {
                self.waiting = Some(lane);
                self.turn = if lane == Lane::Rebuild { Lane::Prepare } else { Lane::Rebuild };
                return ask;
            }
        }
        None
    }

    /// What is left to do with what has arrived.
    pub(super) fn remains(&mut self, core: &Core) -> Option<Ask> {
        self.patch.ask(core)
    }

    pub(super) fn remained(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        self.patch.reply(core, reply)?;
        while let Some((file, outcome)) = self.patch.outcome() {
            if matches!(outcome, Outcome::Done | Outcome::Torn) {
                self.asked.remove(&file);
                core.stats.changed += 1;
                core.events.push_back(SessionEvent::Done { file });
            }
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        match self.waiting.take() {
            Some(Lane::Rebuild) => {
                self.patch.reply(core, reply)?;
            }
            Some(Lane::Prepare) => self.prepared(core, reply)?,
            Some(Lane::Dirs) => {
                if let (Some(file), FsReply::Failed(e)) = (self.dirs.pop(), reply) {
                    self.fail(core, file, &e);
                }
            }
            None => return Err(SyncError::Bug("a reply to a receiver that asked nothing")),
        }
        self.settle(core);
        Ok(())
    }

    /// All that can be prepared is.
    fn prepared_all(&self, core: &Core) -> bool {
        self.list_ended && self.next == core.items.len() && matches!(self.prepare, Prepare::Idle)
    }

    /// Takes what is decided; says goodbye once all is.
    fn settle(&mut self, core: &mut Core) {
        while let Some((file, outcome)) = self.patch.outcome() {
            self.rebuilt(core, file, outcome);
        }
        if !self.finish_sent
            && self.entered
            && self.prepared_all(core)
            && self.asked.is_empty()
            && self.patch.is_idle()
            && self.dirs.is_empty()
        {
            core.out.frame(&Frame::Finish(core.stats), (Phase::Done, None, None));
            self.finish_sent = true;
        }
    }

    fn ask_dirs(&mut self, core: &Core) -> Option<Ask> {
        if !self.prepared_all(core) || !self.asked.is_empty() || !self.patch.is_idle() {
            return None;
        }
        let file = *self.dirs.last()?;
        let meta = core.items.get(file as usize)?.meta;
        let op = FsOp::SetAttr { path: core.name(file).to_owned(), mode: meta.mode, mtime: meta.mtime };
        Some(Ask { about: (Phase::Rename, Some(file), None), op })
    }

    fn ask_prepare(&mut self, core: &mut Core) -> Option<Ask> {
        if !core.out.has_room() || self.asked.len() >= WINDOW {
            return None;
        }
        if matches!(self.prepare, Prepare::Idle) {
            self.prepare = match self.redo.pop() {
                Some(file) => Prepare::Basis(file, Strong::Blake3(self.seed)),
                None => self.next_entry(core)?,
            };
        }
        let path = |file: u32| core.name(file).to_owned();
        let (phase, file, block, op) = match self.prepare {
            Prepare::Idle => return None,
            Prepare::Dir(f) => (Phase::List, f, None, FsOp::MakeDir { path: path(f) }),
            Prepare::Link(f) => {
                let target = core.items.get(f as usize)?.target.clone();
                (Phase::Rename, f, None, FsOp::Symlink { path: path(f), target })
            }
            Prepare::Stat(f) => (Phase::List, f, None, FsOp::Stat { path: path(f) }),
            Prepare::Attr(f) => {
                let meta = core.items.get(f as usize)?.meta;
                (Phase::Rename, f, None, FsOp::SetAttr { path: path(f), mode: meta.mode, mtime: meta.mtime })
            }
            Prepare::Part(f, _) => (Phase::Signature, f, None, FsOp::FindPart { path: path(f) }),
            Prepare::PartSums(f, _, at, len) => {
                let len = (len - at).min(u64::from(MAX_WORK)) as u32;
                (Phase::Signature, f, None, FsOp::SumPart { len })
            }
            Prepare::Basis(f, _) => (Phase::Signature, f, Some(0), FsOp::OpenBasis { path: path(f) }),
            Prepare::Sums(f, strong, layout, at) => {
                let op = FsOp::Sums { offset: at, len: piece(layout, at), block_size: layout.size, strong };
                (Phase::Signature, f, Some((at / u64::from(layout.size)) as u32), op)
            }
        };
        Some(Ask { about: (phase, Some(file), block), op })
    }

    /// What the next entry needs first; entries that need nothing from the disk are dealt with.
    fn next_entry(&mut self, core: &mut Core) -> Option<Prepare> {
        loop {
            let file = self.next as u32;
            let item = core.items.get(self.next)?;
            self.next += 1;
            match item.meta.kind {
                Kind::File => return Some(Prepare::Stat(file)),
                Kind::Dir => return Some(Prepare::Dir(file)),
                Kind::Symlink | Kind::Other => {
                    if safe_target(core.name(file), &item.target) {
                        return Some(Prepare::Link(file));
                    }
                    let message =
                        format!("skipped: a symlink that leads out of the tree, to {:?}", item.target);
                    self.fail(core, file, &FsError::new(super::FsErrorKind::Unsafe, message));
                    self.settle(core);
                }
            }
        }
    }

    fn prepared(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        let state = std::mem::replace(&mut self.prepare, Prepare::Idle);
        match (state, reply) {
            (Prepare::Dir(f), FsReply::Done | FsReply::Unchanged) => self.dirs.push(f),
            (Prepare::Link(_) | Prepare::Attr(_), FsReply::Unchanged) => {}
            (Prepare::Attr(_), FsReply::Done) => {}
            (Prepare::Link(f), FsReply::Done) => self.done(core, f),
            (Prepare::Stat(f), FsReply::Stat(there)) => self.quick_check(core, f, there),
            (Prepare::Part(f, basis), FsReply::Part(len)) if len > 0 => {
                let size = core.items.get(f as usize).map_or(0, |i| i.meta.size);
                // What is longer than the file is no beginning of it.
                if len <= size {
                    self.prepare = Prepare::PartSums(f, basis, 0, len);
                } else {
                    self.want(core, f, basis);
                }
            }
            (Prepare::PartSums(f, basis, at, len), FsReply::Hash(hash)) => {
                let at = (at + u64::from(MAX_WORK)).min(len);
                if at < len {
                    self.prepare = Prepare::PartSums(f, basis, at, len);
                } else {
                    self.have = Have { len, hash };
                    self.want(core, f, basis);
                }
            }
            // A part that can't be read is none.
            (Prepare::Part(f, basis), FsReply::Part(_) | FsReply::Failed(_))
            | (Prepare::PartSums(f, basis, ..), FsReply::Failed(_)) => self.want(core, f, basis),
            (Prepare::Basis(f, strong), FsReply::Opened(meta)) => {
                let layout = Layout::new(meta.size, block_size(meta.size, self.block_size));
                if layout.len == 0 {
                    self.request(core, f, None);
                } else {
                    self.request(core, f, Some((layout, strong)));
                    self.prepare = Prepare::Sums(f, strong, layout, 0);
                }
            }
            // A basis that can't be read is no basis.
            (Prepare::Basis(f, _), FsReply::Failed(_)) => self.request(core, f, None),
            (Prepare::Sums(f, strong, layout, at), reply @ (FsReply::Sums(_) | FsReply::Failed(_))) => {
                // It was promised; a basis that fails now is caught when the file is verified.
                let sums = if let FsReply::Sums(sums) = reply { sums } else { Vec::new() };
                let end = self.signed(core, f, (strong, layout), at, sums);
                self.prepare =
                    if end < layout.len { Prepare::Sums(f, strong, layout, end) } else { Prepare::Idle };
            }
            (
                Prepare::Dir(f) | Prepare::Link(f) | Prepare::Stat(f) | Prepare::Attr(f),
                FsReply::Failed(e),
            ) => self.fail(core, f, &e),
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        }
        Ok(())
    }

    /// Same size and time: the same file. Else it is needed, as a delta if there is a basis.
    fn quick_check(&mut self, core: &mut Core, file: u32, there: Option<Meta>) {
        let Some(want) = core.items.get(file as usize).map(|i| i.meta) else { return };
        match there {
            Some(m) if m.kind == Kind::File && m.size == want.size && m.mtime == want.mtime => {
                if m.mode != want.mode {
                    self.prepare = Prepare::Attr(file);
                }
            }
            Some(m) if m.kind == Kind::Dir || m.kind == Kind::Other => {
                let what = if m.kind == Kind::Dir { "a directory" } else { "a device, pipe or socket" };
                let e = FsError::new(super::FsErrorKind::InTheWay, format!("{what} is in the way"));
                self.fail(core, file, &e);
            }
            there => {
                let basis = there.is_some_and(|m| m.kind == Kind::File && m.size > 0);
                let basis = basis && want.size > 0 && !self.whole_file;
                match want.size > PART {
                    true => self.prepare = Prepare::Part(file, basis),
                    false => self.want(core, file, basis),
                }
            }
        }
    }

    /// Asks for a file, with its basis or without.
    fn want(&mut self, core: &mut Core, file: u32, basis: bool) {
        match basis {
            true => self.prepare = Prepare::Basis(file, Strong::Xxh3(self.seed)),
            false => self.request(core, file, None),
        }
    }

    fn request(&mut self, core: &mut Core, file: u32, basis: Option<(Layout, Strong)>) {
        let (layout, strong) = basis.unwrap_or((Layout::default(), Strong::Xxh3(0)));
        let about = (Phase::Signature, Some(file), None);
        let (block_size, len, strong_len) = (layout.size, layout.len, strong_len(layout, strong));
        let have = std::mem::take(&mut self.have);
        core.out.frame(&Frame::Request { file, block_size, len, strong, strong_len, have }, about);
        let basis = basis.map(|b| b.0);
        self.asked.insert(file, Asked { basis, strong, begun: false, have: have.len });
    }

    /// Sends the sums of the piece at `at`; where it ends.
    fn signed(
        &mut self,
        core: &mut Core,
        file: u32,
        (strong, layout): (Strong, Layout),
        at: u64,
        mut sums: Vec<BlockSum>,
    ) -> u64 {
        let len = piece(layout, at);
        sums.resize(len.div_ceil(layout.size) as usize, BlockSum::default());
        let mut block = (at / u64::from(layout.size)) as u32;
        for some in sums.chunks(wire::MAX_SUMS) {
            let about = (Phase::Signature, Some(file), Some(block));
            core.out.sums(some, strong_len(layout, strong), about);
            block += some.len() as u32;
        }
        at + u64::from(len)
    }

    fn rebuilt(&mut self, core: &mut Core, file: u32, outcome: Outcome) {
        let asked = self.asked.get(&file).copied();
        match outcome {
            Outcome::Done => {
                self.asked.remove(&file);
                self.done(core, file);
            }
            Outcome::Torn => {
                self.asked.remove(&file);
                self.done(core, file);
                self.fail(core, file, &FsError::new(super::FsErrorKind::Changed, TORN));
            }
            Outcome::Wrong | Outcome::Changed if asked.is_some_and(|a| a.basis.is_some() || a.have > 0) => {
                core.stats.redone += 1;
                core.events.push_back(SessionEvent::Redo { file });
                // By chance or by malice one block passed for another: not with the safer sums.
                if outcome == Outcome::Wrong && asked.is_some_and(|a| matches!(a.strong, Strong::Xxh3(_))) {
                    self.redo.push(file);
                } else {
                    self.request(core, file, None);
                }
            }
            Outcome::Wrong | Outcome::Changed => {
                self.asked.remove(&file);
                let message =
                    "what arrived is not what was sent, though it was sent whole: its BLAKE3 hash differs";
                self.fail(core, file, &FsError::new(super::FsErrorKind::Other, message));
            }
            Outcome::Failed(e) => {
                self.asked.remove(&file);
                self.fail(core, file, &e);
            }
            Outcome::SenderFailed(reason) => {
                self.asked.remove(&file);
                let path = core.name(file).to_owned();
                core.failed(&path, &reason);
            }
        }
    }

    fn done(&mut self, core: &mut Core, file: u32) {
        core.stats.changed += 1;
        core.out.frame(&Frame::Result { file, reason: "" }, (Phase::Rename, Some(file), None));
        core.events.push_back(SessionEvent::Done { file });
    }

    /// One entry failed on this side.
    fn fail(&mut self, core: &mut Core, file: u32, e: &FsError) {
        let reason = if e.message.is_empty() { "unknown error" } else { &e.message };
        core.out.frame(&Frame::Result { file, reason }, (Phase::Rename, Some(file), None));
        let path = core.name(file).to_owned();
        core.failed(&path, reason);
    }
}

/// Bytes of each strong sum: all of the safer ones.
fn strong_len(layout: Layout, strong: Strong) -> u8 {
    match strong {
        Strong::Xxh3(_) => layout.strong_len(),
        Strong::Blake3(_) => STRONG_LEN.1,
    }
}

/// Bytes of the signature's next request: whole blocks.
fn piece(layout: Layout, at: u64) -> u32 {
    let most = (MAX_WORK / layout.size.max(1)).max(1) * layout.size;
    layout.len.saturating_sub(at).min(u64::from(most)) as u32
}
