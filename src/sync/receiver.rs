//! The side that has the basis: decides what it needs, asks for it, rebuilds it.
//!
//! Two lanes of work share the disk in turns. *Prepare* walks the list: quick check, signature,
//! request. *Rebuild* ([`super::patch`]) turns arriving frames into a temporary file and never
//! waits for output, so input always drains.

use super::error::{PeerFault, SyncError};
use super::fs::{FsError, FsOp, FsReply, Kind, MAX_WORK, Meta};
use super::last::Last;
use super::limits::Limits;
use super::output::About;
use super::patch::{Outcome, Patch};
use super::session::{Ask, Config, Core, SessionEvent, safe_path, safe_target};
use super::signature::{BlockSum, Layout, STRONG_LEN, Strong, block_size};
use super::wire::{self, Frame, Have};
use super::wish::{Change, Flags};
use crate::model::Phase;
use std::collections::BTreeMap;

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
    /// How what lies there differs.
    pub(super) change: Change,
}

/// What is said of a file that somebody wrote while it was read.
const TORN: &str =
    "it changed in the source while it was read: the copy may be of no single moment; sync again";

#[derive(Clone, Copy, Debug)]
enum Prepare {
    Idle,
    Dir(u32),
    Link(u32),
    Stat(u32),
    Attr(u32, Change),
    /// A part that a run left which was cut; then the basis, if there is one.
    Part(u32, bool, Change),
    /// Sums of that part up to this offset, and its length.
    PartSums(u32, bool, Change, u64, u64),
    Basis(u32, Strong, Change),
    /// Signature up to this offset.
    Sums(u32, Strong, Layout, u64),
}

/// Whose request is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lane {
    Prepare,
    Rebuild,
    /// Once all files are in place.
    Last,
}

#[derive(Debug)]
pub(super) struct Receiver {
    limits: Limits,
    block_size: Option<u32>,
    seed: u64,
    flags: Flags,
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
    redo: Vec<(u32, Change)>,
    patch: Patch,
    last: Last,
    finish_sent: bool,
    finished: bool,
}

impl Receiver {
    pub(super) fn new(config: &Config) -> Receiver {
        Receiver {
            limits: config.limits,
            block_size: config.block_size,
            seed: config.seed,
            flags: config.flags,
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
            patch: Patch::new(config.flags, config.limits),
            last: Last::new(config.flags),
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
            Frame::Entry { path, meta, same_as, target } if !self.list_ended => {
                self.entry(core, path, meta, same_as, target)?;
            }
            Frame::ListFault { path, reason } if !self.list_ended => {
                self.faults += 1;
                self.limits.check(self.faults, 0)?;
                self.names += path.len();
                if self.names > MAX_NAMES {
                    return Err(PeerFault::TooMany("list entries").into());
                }
                self.last.spare(path);
                core.failed_there(path, reason);
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

    fn entry(
        &mut self,
        core: &mut Core,
        path: &str,
        meta: Meta,
        same_as: Option<u32>,
        target: &str,
    ) -> Result<(), SyncError> {
        self.names += path.len() + target.len();
        if self.names > MAX_NAMES {
            return Err(PeerFault::TooMany("list entries").into());
        }
        if !safe_path(path) {
            return Err(PeerFault::Path(path.chars().take(80).collect()).into());
        }
        if let Some(first) = same_as {
            let there =
                core.items.get(first as usize).filter(|i| i.meta.kind == Kind::File && i.same_as.is_none());
            if there.is_none() || meta.kind != Kind::File {
                let range = "an earlier file of the list";
                return Err(wire::out_of_range("first name of a file", u64::from(first), range).into());
            }
        }
        core.add(path, meta, same_as, target);
        Ok(self.limits.check(core.names.len(), core.stats.bytes)?)
    }

    pub(super) fn ask(&mut self, core: &mut Core) -> Option<Ask> {
        let first = self.turn;
        let order = if first == Lane::Rebuild {
            [Lane::Rebuild, Lane::Prepare, Lane::Last]
        } else {
            [Lane::Prepare, Lane::Rebuild, Lane::Last]
        };
        for lane in order {
            let ask = match lane {
                Lane::Rebuild => self.patch.ask(core, self.asked.len() > self.patch.on_their_way()),
                Lane::Prepare => self.ask_prepare(core),
                Lane::Last if self.files_in_place(core) => self.last.ask(core),
                Lane::Last => None,
            };
            if ask.is_some() {
                self.waiting = Some(lane);
                self.turn = if lane == Lane::Rebuild { Lane::Prepare } else { Lane::Rebuild };
                return ask;
            }
        }
        // What needed nothing from the disk may have been all that was left.
        self.settle(core);
        None
    }

    /// What is left to do with what has arrived.
    pub(super) fn remains(&mut self, core: &Core) -> Option<Ask> {
        self.patch.ask(core, false)
    }

    pub(super) fn remained(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        self.patch.reply(core, reply)?;
        while let Some((file, outcome)) = self.patch.outcome() {
            if matches!(outcome, Outcome::Done | Outcome::Torn) {
                let change = self.asked.remove(&file).map_or_else(Change::default, |a| a.change);
                core.done(file, Change { content: true, ..change });
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
            Some(Lane::Last) => self.last.reply(core, reply)?,
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
        if !self.finish_sent && self.entered && self.files_in_place(core) && self.last.is_done(core) {
            core.out.frame(&Frame::Finish(core.stats), (Phase::Done, None, None));
            self.finish_sent = true;
        }
    }

    fn files_in_place(&self, core: &Core) -> bool {
        self.prepared_all(core) && self.asked.is_empty() && self.patch.is_idle() && self.redo.is_empty()
    }

    fn ask_prepare(&mut self, core: &mut Core) -> Option<Ask> {
        if !core.out.has_room() || self.asked.len() >= WINDOW {
            return None;
        }
        if matches!(self.prepare, Prepare::Idle) {
            self.prepare = match self.redo.pop() {
                Some((file, change)) => Prepare::Basis(file, Strong::Blake3(self.seed), change),
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
            Prepare::Attr(f, _) => {
                let op = set_attr(path(f), core.items.get(f as usize)?.meta, self.flags);
                (Phase::Rename, f, None, op)
            }
            Prepare::Part(f, ..) => (Phase::Signature, f, None, FsOp::FindPart { path: path(f) }),
            Prepare::PartSums(f, _, _, at, len) => {
                let len = (len - at).min(u64::from(MAX_WORK)) as u32;
                (Phase::Signature, f, None, FsOp::SumPart { len })
            }
            Prepare::Basis(f, ..) => (Phase::Signature, f, Some(0), FsOp::OpenBasis { path: path(f) }),
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
            if let Some(why) = self.limits.skips(core.name(file), item.meta) {
                self.fail(core, file, &FsError::new(super::FsErrorKind::Unsupported, why));
                self.settle(core);
                continue;
            }
            match item.meta.kind {
                Kind::File if item.same_as.is_some() => self.last.links.push(file),
                Kind::File => return Some(Prepare::Stat(file)),
                Kind::Dir => return Some(Prepare::Dir(file)),
                Kind::Symlink | Kind::Other => {
                    if safe_target(core.name(file), &item.target) {
                        return Some(Prepare::Link(file));
                    }
                    let message =
                        format!("skipped: a symlink that leads out of the tree, to {:?}", item.target);
                    self.fail(core, file, &FsError::new(super::FsErrorKind::Unsafe, message));
                }
            }
        }
    }

    fn prepared(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        let state = std::mem::replace(&mut self.prepare, Prepare::Idle);
        match (state, reply) {
            (Prepare::Dir(f), FsReply::Done) => {
                self.last.dirs.push(f);
                done(core, f, Change { new: true, ..Change::default() });
            }
            (Prepare::Dir(f), FsReply::Stat(Some(was))) => {
                self.last.dirs.push(f);
                let change =
                    core.items.get(f as usize).map_or_else(Change::default, |i| self.differs(was, i.meta));
                if change.any() {
                    done(core, f, change);
                }
            }
            (Prepare::Link(_), FsReply::Unchanged) => {}
            (Prepare::Attr(f, change), FsReply::Done) => done(core, f, change),
            (Prepare::Link(f), FsReply::Done) => {
                done(core, f, Change { new: true, content: true, ..Change::default() });
            }
            (Prepare::Link(f), FsReply::Replaced) => {
                done(core, f, Change { content: true, ..Change::default() })
            }
            (Prepare::Stat(f), FsReply::Stat(there)) => self.quick_check(core, f, there),
            (Prepare::Part(f, basis, change), FsReply::Part(len)) if len > 0 => {
                let size = core.items.get(f as usize).map_or(0, |i| i.meta.size);
                // What is longer than the file is no beginning of it.
                if len <= size {
                    self.prepare = Prepare::PartSums(f, basis, change, 0, len);
                } else {
                    self.want(core, f, basis, change);
                }
            }
            (Prepare::PartSums(f, basis, change, at, len), FsReply::Hash(hash)) => {
                let at = (at + u64::from(MAX_WORK)).min(len);
                if at < len {
                    self.prepare = Prepare::PartSums(f, basis, change, at, len);
                } else {
                    self.have = Have { len, hash };
                    self.want(core, f, basis, change);
                }
            }
            // A part that can't be read is none.
            (Prepare::Part(f, basis, change), FsReply::Part(_) | FsReply::Failed(_))
            | (Prepare::PartSums(f, basis, change, ..), FsReply::Failed(_)) => {
                self.want(core, f, basis, change)
            }
            (Prepare::Basis(f, strong, change), FsReply::Opened(meta)) => {
                let layout = Layout::new(meta.size, block_size(meta.size, self.block_size));
                if layout.len == 0 {
                    self.request(core, f, None, change);
                } else {
                    self.request(core, f, Some((layout, strong)), change);
                    self.prepare = Prepare::Sums(f, strong, layout, 0);
                }
            }
            // A basis that can't be read is no basis.
            (Prepare::Basis(f, _, change), FsReply::Failed(_)) => self.request(core, f, None, change),
            (Prepare::Sums(f, strong, layout, at), reply @ (FsReply::Sums(_) | FsReply::Failed(_))) => {
                // It was promised; a basis that fails now is caught when the file is verified.
                let sums = if let FsReply::Sums(sums) = reply { sums } else { Vec::new() };
                let end = self.signed(core, f, (strong, layout), at, sums);
                self.prepare =
                    if end < layout.len { Prepare::Sums(f, strong, layout, end) } else { Prepare::Idle };
            }
            (
                Prepare::Dir(f) | Prepare::Link(f) | Prepare::Stat(f) | Prepare::Attr(f, _),
                FsReply::Failed(e),
            ) => self.fail(core, f, &e),
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        }
        Ok(())
    }

    /// What of the attributes that count is not as it should be.
    fn differs(&self, is: Meta, want: Meta) -> Change {
        Change {
            size: is.size != want.size,
            time: self.flags.times && is.mtime != want.mtime,
            perms: self.flags.perms && is.mode != want.mode,
            ..Change::default()
        }
    }

    /// Same size and time: the same file. Else it is needed, as a delta if there is a basis.
    fn quick_check(&mut self, core: &mut Core, file: u32, there: Option<Meta>) {
        let Some(want) = core.items.get(file as usize).map(|i| i.meta) else { return };
        let new = Change { new: true, ..Change::default() };
        let change = there.filter(|m| m.kind == Kind::File).map_or(new, |m| self.differs(m, want));
        let by_content = self.flags.checksum && want.size > 0;
        match there {
            Some(m)
                if m.kind == Kind::File
                    && m.size == want.size
                    && !by_content
                    && (m.mtime == want.mtime || self.flags.checksum) =>
            {
                if change.any() {
                    self.prepare = Prepare::Attr(file, change);
                }
            }
            Some(m) if m.kind == Kind::Dir || m.kind == Kind::Other => {
                let what = if m.kind == Kind::Dir { "a directory" } else { "a device, pipe or socket" };
                let e = FsError::new(super::FsErrorKind::InTheWay, format!("{what} is in the way"));
                self.fail(core, file, &e);
            }
            Some(m) if by_content && m.kind == Kind::File && m.size == want.size => {
                self.want(core, file, true, change);
            }
            _ if self.flags.dry_run => done(core, file, Change { content: true, ..change }),
            there => {
                let basis = there.is_some_and(|m| m.kind == Kind::File && m.size > 0);
                let basis = basis && want.size > 0 && !self.flags.whole_file;
                match want.size > PART {
                    true => self.prepare = Prepare::Part(file, basis, change),
                    false => self.want(core, file, basis, change),
                }
            }
        }
    }

    /// Asks for a file, with its basis or without.
    fn want(&mut self, core: &mut Core, file: u32, basis: bool, change: Change) {
        match basis {
            true => self.prepare = Prepare::Basis(file, Strong::Xxh3(self.seed), change),
            false => self.request(core, file, None, change),
        }
    }

    fn request(&mut self, core: &mut Core, file: u32, basis: Option<(Layout, Strong)>, change: Change) {
        let (layout, strong) = basis.unwrap_or((Layout::default(), Strong::Xxh3(0)));
        let about = (Phase::Signature, Some(file), None);
        let (block_size, len, strong_len) = (layout.size, layout.len, strong_len(layout, strong));
        let have = std::mem::take(&mut self.have);
        core.out.frame(&Frame::Request { file, block_size, len, strong, strong_len, have }, about);
        let basis = basis.map(|b| b.0);
        self.asked.insert(file, Asked { basis, strong, begun: false, have: have.len, change });
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
        let change = asked.map_or_else(Change::default, |a| a.change);
        match outcome {
            Outcome::Done | Outcome::Differs => {
                self.asked.remove(&file);
                done(core, file, Change { content: true, ..change });
            }
            Outcome::Kept => {
                self.asked.remove(&file);
                if change.any() {
                    done(core, file, change);
                }
            }
            Outcome::Wrong | Outcome::Changed if self.flags.dry_run => {
                self.asked.remove(&file);
                done(core, file, Change { content: true, ..change });
            }
            Outcome::Torn => {
                self.asked.remove(&file);
                done(core, file, Change { content: true, ..change });
                self.fail(core, file, &FsError::new(super::FsErrorKind::Changed, TORN));
            }
            Outcome::Wrong | Outcome::Changed if asked.is_some_and(|a| a.basis.is_some() || a.have > 0) => {
                core.stats.redone += 1;
                core.events.push_back(SessionEvent::Redo { file });
                // By chance or by malice one block passed for another: not with the safer sums.
                if outcome == Outcome::Wrong && asked.is_some_and(|a| matches!(a.strong, Strong::Xxh3(_))) {
                    self.asked.remove(&file);
                    self.redo.push((file, change));
                } else {
                    self.request(core, file, None, change);
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
                self.last.failed(core, file);
                let path = core.name(file).to_owned();
                core.failed_there(&path, &reason);
            }
        }
    }

    fn fail(&mut self, core: &mut Core, file: u32, e: &FsError) {
        self.last.failed(core, file);
        fail(core, file, e);
    }
}

/// An entry is in place.
pub(super) fn done(core: &mut Core, file: u32, change: Change) {
    core.out.frame(&Frame::Result { file, change, reason: "" }, (Phase::Rename, Some(file), None));
    core.done(file, change);
}

/// One entry failed on this side.
pub(super) fn fail(core: &mut Core, file: u32, e: &FsError) {
    let reason = if e.message.is_empty() { "unknown error" } else { &e.message };
    let about = (Phase::Rename, Some(file), None);
    core.out.frame(&Frame::Result { file, change: Change::default(), reason }, about);
    let path = core.name(file).to_owned();
    core.failed(&path, reason);
}

/// The attributes that count.
pub(super) fn set_attr(path: String, meta: Meta, flags: Flags) -> FsOp {
    let (mode, mtime) = (flags.perms.then_some(meta.mode), flags.times.then_some(meta.mtime));
    FsOp::SetAttr { path, mode, mtime }
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
