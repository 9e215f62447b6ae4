//! Rebuilds files from arriving frames: temporary file, literals and copies, hash, rename.
//!
//! ```text
//!  frame() ─ checked against the request ─► queue ─► ask() ─► OpenTemp (Write | Copy)… Hash Commit
//!                                                        │      └─ any failure ─► Discard
//!                                    with a basis └─► Keep Copy… Hash Commit          it is the same: no byte is written
//!                                                          └─► Fork Recopy… (Write | Copy)… Hash Commit
//! ```
//! A disk may put files in their places later, while the next ones are rebuilt; Settle asks how that went.
//! What fails here fails for one file; its remaining frames are swallowed.

use super::error::{PeerFault, SyncError};
use super::fs::{FsError, FsErrorKind, FsOp, FsReply, Kind, MAX_RECOPY, MAX_WORK, Meta};
use super::limits::Limits;
use super::output::About;
use super::receiver::Asked;
use super::session::{Ask, Core, SessionEvent};
use super::signature::{Layout, default_block_size};
use super::wire::{self, Frame};
use super::wish::Flags;
use crate::model::Phase;
use std::collections::{BTreeMap, VecDeque};

/// No more frames are taken while this many bytes wait for the disk.
const QUEUE_HIGH: usize = 1 << 20;
/// So many files at most are on their way to their places.
const BEHIND: usize = 64;
/// What a step in the queue costs beside its data, bytes.
const STEP: usize = 64;

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is in place.
    Done,
    /// It was in place before.
    Kept,
    /// It would become another file.
    Differs,
    /// It is in place, and is what was read of a source that changed meanwhile.
    Torn,
    /// The result is wrong.
    Wrong,
    /// The basis is not what it was.
    Changed,
    /// This side could not.
    Failed(FsError),
    /// The sender could not.
    SenderFailed(String),
}

#[derive(Debug)]
enum Step {
    Begin { file: u32, meta: Meta, basis: Option<u64>, block: u32, from: u64 },
    Write(Vec<u8>),
    Copy { from: u64, len: u64 },
    End { hash: [u8; 32], torn: bool },
    Failed { file: u32, reason: String },
}

/// The file whose frames arrive.
#[derive(Debug)]
struct Arriving {
    file: u32,
    basis: Option<Layout>,
    size: u64,
    got: u64,
    block: u32,
}

/// The file that is being rebuilt.
#[derive(Debug)]
struct Current {
    file: u32,
    meta: Meta,
    block: u32,
    /// Length of the basis.
    basis: u64,
    written: u64,
    /// The disk has something open for it.
    temp: bool,
    /// So much of the basis is the file so far, and nothing is written.
    kept: Option<u64>,
    /// Bytes of the basis that are hashed and have to be copied yet.
    recopy: u64,
    /// All of its frames are dealt with.
    ended: bool,
    /// Its hash is right.
    verified: bool,
    /// The source changed while it was read.
    torn: bool,
    /// It will not be kept, and why.
    spoiled: Option<Outcome>,
}

/// What the request that is out will do.
#[derive(Debug)]
enum Doing {
    OpenTemp { from: u64 },
    Fork,
    Recopy(u64),
    Append { len: u64, copied: bool },
    Hash([u8; 32]),
    Commit,
    Settle,
    Discard,
}

#[derive(Debug, Default)]
pub(super) struct Patch {
    flags: Flags,
    limits: Limits,
    /// Bytes of all files that began.
    bytes: u64,
    arriving: Option<Arriving>,
    queue: VecDeque<Step>,
    queued: usize,
    current: Option<Current>,
    doing: Option<Doing>,
    /// Files that are put in their places later, in this order, and whether their source changed meanwhile.
    behind: VecDeque<(u32, bool)>,
    outcomes: VecDeque<(u32, Outcome)>,
}

impl Patch {
    pub(super) fn new(flags: Flags, limits: Limits) -> Patch {
        Patch { flags, limits, ..Patch::default() }
    }

    pub(super) fn has_room(&self) -> bool {
        self.queued < QUEUE_HIGH
    }

    pub(super) fn is_idle(&self) -> bool {
        self.arriving.is_none()
            && self.queue.is_empty()
            && self.current.is_none()
            && self.doing.is_none()
            && self.behind.is_empty()
            && self.outcomes.is_empty()
    }

    /// What the next frame is about, in the middle of a file.
    pub(super) fn about(&self) -> Option<About> {
        let a = self.arriving.as_ref()?;
        Some((Phase::Data, Some(a.file), Some((a.got / u64::from(a.block)) as u32)))
    }

    /// A file that is decided, one after the other.
    pub(super) fn outcome(&mut self) -> Option<(u32, Outcome)> {
        self.outcomes.pop_front()
    }

    fn push(&mut self, step: Step) {
        self.queued += cost(&step);
        self.queue.push_back(step);
        self.advance();
    }

    /// Takes one frame of file data. Nothing is done with it before it is checked.
    pub(super) fn frame(
        &mut self,
        core: &mut Core,
        asked: &mut BTreeMap<u32, Asked>,
        frame: Frame<'_>,
        list_ended: bool,
    ) -> Result<(), SyncError> {
        let during = if list_ended { Phase::Data.as_str() } else { Phase::List.as_str() };
        let unexpected = PeerFault::Unexpected { frame: frame.name(), during };
        match (frame, &mut self.arriving) {
            (Frame::Begin { file, meta, from }, None) => {
                let Some(a) = asked.get_mut(&file).filter(|a| !a.begun) else {
                    let range = "a file that was asked for";
                    return Err(wire::out_of_range("file that begins", u64::from(file), range).into());
                };
                if meta.kind != Kind::File {
                    return Err(unexpected.into());
                }
                if from != 0 && from != a.have {
                    let range = "what is there of it, or 0";
                    return Err(wire::out_of_range("beginning of a file", from, range).into());
                }
                // It may have grown since the list was made.
                if meta.size > self.limits.file {
                    let range = "at most what this side takes";
                    return Err(wire::out_of_range("size of a file that begins", meta.size, range).into());
                }
                self.bytes = self.bytes.saturating_add(meta.size);
                self.limits.check(0, self.bytes)?;
                a.begun = true;
                let block = a.basis.map_or_else(|| default_block_size(meta.size), |l| l.size);
                self.arriving = Some(Arriving { file, basis: a.basis, size: meta.size, got: from, block });
                let basis = a.basis.map(|l| l.len);
                core.events.push_back(SessionEvent::Started { file });
                self.push(Step::Begin { file, meta, basis, block, from });
            }
            (Frame::Literal(bytes), Some(a)) => {
                a.grow(bytes.len() as u64)?;
                self.push(Step::Write(bytes.to_vec()));
            }
            (Frame::Copy { first, count }, Some(a)) => {
                let Some((from, len)) = a.basis.and_then(|l| l.range(first, count)) else {
                    let range = "within the basis";
                    return Err(wire::out_of_range("block to copy", u64::from(first), range).into());
                };
                a.grow(len)?;
                self.push(Step::Copy { from, len });
            }
            (Frame::End { len, hash, torn }, Some(a)) => {
                if len != a.got {
                    return Err(wire::out_of_range("length of a file", len, "what was sent of it").into());
                }
                self.arriving = None;
                self.push(Step::End { hash, torn });
            }
            (Frame::Failed { file, reason }, arriving) => {
                let begun = arriving.as_ref().map(|a| a.file);
                let known = asked.get_mut(&file).filter(|a| begun == Some(file) || !a.begun);
                let Some(a) = known.filter(|_| begun.is_none_or(|b| b == file)) else {
                    let range = "a file that was asked for";
                    return Err(wire::out_of_range("file that failed", u64::from(file), range).into());
                };
                a.begun = true;
                *arriving = None;
                self.push(Step::Failed { file, reason: reason.to_owned() });
            }
            _ => return Err(unexpected.into()),
        }
        Ok(())
    }

    /// Deals with all that needs no disk, so that frames of a lost file never fill the queue.
    fn advance(&mut self) {
        loop {
            if let Some(c) = self.current.take_if(|c| c.ended && !c.temp && c.spoiled.is_some()) {
                self.outcomes.extend(c.spoiled.map(|o| (c.file, o)));
            }
            if self.doing.is_some() {
                return;
            }
            let spoiled = self.current.as_ref().is_some_and(|c| c.spoiled.is_some());
            match self.queue.front() {
                Some(Step::Write(_) | Step::Copy { .. } | Step::End { .. }) if spoiled => {}
                Some(Step::Failed { file, .. }) if self.current.as_ref().is_none_or(|c| c.file == *file) => {}
                _ => return,
            }
            let Some(step) = self.queue.pop_front() else { return };
            self.queued -= cost(&step);
            match (step, &mut self.current) {
                (Step::Failed { reason, .. }, Some(c)) => {
                    c.ended = true;
                    c.spoiled = Some(Outcome::SenderFailed(reason));
                }
                (Step::Failed { file, reason }, None) => {
                    self.outcomes.push_back((file, Outcome::SenderFailed(reason)));
                }
                (Step::End { .. }, Some(c)) => c.ended = true,
                _ => {}
            }
        }
    }

    /// Files that are put in their places, and whose outcome is not known.
    pub(super) fn on_their_way(&self) -> usize {
        self.behind.len()
    }

    /// The next piece of work for the disk; `more`: others are to come from the peer.
    pub(super) fn ask(&mut self, core: &Core, more: bool) -> Option<Ask> {
        if self.doing.is_some() {
            return None;
        }
        if self.behind.len() >= BEHIND {
            return Some(self.settle(BEHIND / 2));
        }
        if let Some(c) = &mut self.current {
            let about = (Phase::Rename, Some(c.file), None);
            // A spoiled file's space is wanted back at once, not only at its end.
            if c.spoiled.is_some() && c.temp {
                c.temp = false;
                self.doing = Some(Doing::Discard);
                return Some(Ask { about, op: FsOp::Discard });
            }
            if c.verified {
                c.verified = false;
                self.doing = Some(Doing::Commit);
                let (mode, perms) = (c.meta.mode, self.flags.perms);
                let mtime = self.flags.times.then_some(c.meta.mtime);
                return Some(Ask { about, op: FsOp::Commit { mode, perms, mtime } });
            }
            let about = (Phase::Patch, Some(c.file), Some(0));
            if c.recopy > 0 {
                let len = c.recopy.min(u64::from(MAX_RECOPY));
                self.doing = Some(Doing::Recopy(len));
                return Some(Ask { about, op: FsOp::Recopy { len: len as u32 } });
            }
            if let (Some(kept), Some(step)) = (c.kept, self.queue.front()) {
                let goes_on = match step {
                    Step::Copy { from, .. } => *from == kept,
                    Step::End { .. } => kept == c.basis,
                    _ => false,
                };
                if !goes_on && self.flags.dry_run {
                    c.spoiled = Some(Outcome::Differs);
                    c.temp = false;
                    self.doing = Some(Doing::Discard);
                    return Some(Ask { about, op: FsOp::Discard });
                }
                if !goes_on {
                    self.doing = Some(Doing::Fork);
                    return Some(Ask { about, op: FsOp::Fork });
                }
            }
        }
        let Some(step) = self.queue.pop_front() else {
            // While the peer sends, nobody waits for the disk; while it waits for us, it hears how all went.
            return (!more && !self.behind.is_empty()).then(|| self.settle(0));
        };
        self.queued -= cost(&step);
        if let Step::Begin { file, meta, basis, block, from } = step {
            let path = core.name(file).to_owned();
            self.current = Some(Current {
                file,
                meta,
                block,
                written: 0,
                basis: basis.unwrap_or_default(),
                kept: basis.filter(|_| from == 0).map(|_| 0),
                recopy: 0,
                temp: false,
                ended: false,
                verified: false,
                torn: false,
                spoiled: None,
            });
            self.doing = Some(Doing::OpenTemp { from });
            let op = match basis {
                Some(_) if from == 0 => FsOp::Keep { path },
                basis => FsOp::OpenTemp { path, from, basis: basis.is_some() },
            };
            return Some(Ask { about: (Phase::Patch, Some(file), None), op });
        }
        let c = self.current.as_mut()?;
        let about = (Phase::Patch, Some(c.file), Some((c.written / u64::from(c.block)) as u32));
        let (doing, about, op) = match step {
            Step::Write(data) => {
                (Doing::Append { len: data.len() as u64, copied: false }, about, FsOp::Write { data })
            }
            Step::Copy { from, len } => {
                let n = len.min(u64::from(MAX_WORK));
                if n < len {
                    let rest = Step::Copy { from: from + n, len: len - n };
                    self.queued += cost(&rest);
                    self.queue.push_front(rest);
                }
                (Doing::Append { len: n, copied: true }, about, FsOp::Copy { from, len: n as u32 })
            }
            Step::End { hash, torn } => {
                (c.ended, c.torn) = (true, torn);
                (Doing::Hash(hash), (Phase::Verify, Some(c.file), None), FsOp::Hash)
            }
            // Dealt with in `advance` and above.
            Step::Failed { .. } | Step::Begin { .. } => return None,
        };
        self.doing = Some(doing);
        Some(Ask { about, op })
    }

    fn settle(&mut self, left: usize) -> Ask {
        self.doing = Some(Doing::Settle);
        let file = self.behind.front().map(|b| b.0);
        Ask { about: (Phase::Rename, file, None), op: FsOp::Settle { left } }
    }

    fn settled(&mut self, reply: FsReply) -> Result<(), SyncError> {
        let results = match reply {
            FsReply::Settled(results) if (1..=self.behind.len()).contains(&results.len()) => results,
            FsReply::Failed(e) => vec![Err(e); self.behind.len()],
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        };
        for ((file, torn), result) in self.behind.drain(..results.len()).zip(results) {
            let outcome = match result {
                Ok(()) if torn => Outcome::Torn,
                Ok(()) => Outcome::Done,
                Err(e) => Outcome::Failed(e),
            };
            self.outcomes.push_back((file, outcome));
        }
        Ok(())
    }

    pub(super) fn reply(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        if let Some(Doing::Settle) = self.doing {
            self.doing = None;
            self.settled(reply)?;
            self.advance();
            return Ok(());
        }
        let (Some(doing), Some(c)) = (self.doing.take(), &mut self.current) else {
            return Err(SyncError::Bug("a reply to a rebuild that asked nothing"));
        };
        match (doing, reply) {
            (Doing::OpenTemp { from }, FsReply::Done) => {
                c.temp = true;
                c.written = from;
                core.stats.matched += from;
            }
            (Doing::Fork, FsReply::Done) => c.recopy = c.kept.take().unwrap_or_default(),
            (Doing::Recopy(len), FsReply::Done) => c.recopy = c.recopy.saturating_sub(len),
            (Doing::Append { len, copied }, FsReply::Done) => {
                c.written += len;
                c.kept = c.kept.map(|kept| kept + len);
                if copied {
                    core.stats.matched += len;
                } else {
                    core.stats.literal += len;
                }
            }
            (Doing::Hash(want), FsReply::Hash(got)) => {
                if want == got {
                    c.verified = true;
                } else {
                    c.spoiled = Some(Outcome::Wrong);
                }
            }
            (Doing::Commit, reply @ (FsReply::Done | FsReply::Unchanged)) => {
                let (file, torn) = (c.file, c.torn);
                self.current = None;
                let outcome = match reply {
                    _ if torn => Outcome::Torn,
                    FsReply::Done => Outcome::Done,
                    _ => Outcome::Kept,
                };
                self.outcomes.push_back((file, outcome));
            }
            (Doing::Commit, FsReply::Later) => {
                self.behind.push_back((c.file, c.torn));
                self.current = None;
            }
            (Doing::Discard, FsReply::Done | FsReply::Failed(_)) => {}
            (_, FsReply::Failed(e)) => {
                let changed = e.kind == FsErrorKind::Changed;
                c.spoiled = Some(if changed { Outcome::Changed } else { Outcome::Failed(e) });
            }
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        }
        self.advance();
        Ok(())
    }
}

impl Arriving {
    fn grow(&mut self, len: u64) -> Result<(), PeerFault> {
        self.got += len;
        if self.got > self.size {
            return Err(wire::out_of_range("bytes of a file", self.got, "at most its announced size"));
        }
        Ok(())
    }
}

/// What a step in the queue holds of memory.
fn cost(step: &Step) -> usize {
    STEP + match step {
        Step::Write(data) => data.len(),
        Step::Failed { reason, .. } => reason.len(),
        _ => 0,
    }
}
