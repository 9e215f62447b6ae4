//! The side that has the source: lists it, then serves requests one file after the other.

use super::delta::{Index, LITERAL, Op, Search};
use super::error::{PeerFault, SyncError};
use super::fs::{FsOp, FsReply, Kind, MAX_WORK, Meta};
use super::output::About;
use super::session::{Ask, Core, SessionEvent};
use super::signature::{BlockSum, Layout, default_block_size};
use super::wire::{self, Frame};
use crate::model::Phase;
use std::collections::{HashMap, VecDeque};

/// Requests that are complete and wait, in sums; above, no input is taken.
const QUEUED_SUMS: usize = 64 * 1024;
/// The same, in requests.
const QUEUED_JOBS: usize = 8192;
/// A file is sent at most this often: as delta, then whole.
const ATTEMPTS: u8 = 2;

#[derive(Debug)]
struct Job {
    file: u32,
    /// None: send it whole.
    basis: Option<(Layout, u64)>,
    sums: Vec<BlockSum>,
}

impl Job {
    fn complete(&self) -> bool {
        self.basis.is_none_or(|(layout, _)| self.sums.len() == layout.count() as usize)
    }
}

#[derive(Debug)]
struct Active {
    job: Job,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    Opening,
    Sending(Box<Sending>),
}

#[derive(Debug)]
struct Sending {
    search: Option<Search>,
    hash: blake3::Hasher,
    /// Bytes read.
    read: u64,
    /// Bytes sent as literal or copy.
    sent: u64,
    size: u64,
    block: u32,
    asked: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum List {
    Open,
    Asked,
    Ended,
}

#[derive(Debug)]
pub(super) struct Sender {
    list: List,
    queue: VecDeque<Job>,
    queued_sums: usize,
    /// A request whose sums are not all there.
    partial: Option<Job>,
    active: Option<Active>,
    attempts: HashMap<u32, u8>,
    results: usize,
    finished: bool,
}

impl Sender {
    pub(super) fn new() -> Sender {
        Sender {
            list: List::Open,
            queue: VecDeque::new(),
            queued_sums: 0,
            partial: None,
            active: None,
            attempts: HashMap::new(),
            results: 0,
            finished: false,
        }
    }

    pub(super) fn finished(&self) -> bool {
        self.finished
    }

    pub(super) fn accepts(&self) -> bool {
        self.queued_sums < QUEUED_SUMS && self.queue.len() < QUEUED_JOBS
    }

    pub(super) fn awaits(&self) -> About {
        match &self.partial {
            Some(p) => (Phase::Signature, Some(p.file), Some(p.sums.len() as u32)),
            None if self.finished => (Phase::Done, None, None),
            None => (Phase::Signature, None, None),
        }
    }

    pub(super) fn frame(&mut self, core: &mut Core, frame: Frame<'_>) -> Result<(), SyncError> {
        let name = frame.name();
        match frame {
            Frame::Request { file, block_size, len, seed } if self.partial.is_none() && !self.finished => {
                self.request(core, file, (block_size > 0).then(|| (Layout::new(len, block_size), seed)))?;
            }
            Frame::Sums(sums) => {
                let Some(job) = &mut self.partial else { return Err(self.unexpected(name)) };
                let want = job.basis.map_or(0, |b| b.0.count()) as usize;
                if job.sums.len() + sums.count() > want {
                    return Err(PeerFault::TooMany("block sums").into());
                }
                job.sums.extend(sums.iter());
                self.enqueue_complete();
            }
            Frame::Result { file, reason } if !self.finished => {
                self.known_file(core, file, "file of a result")?;
                self.results += 1;
                // A directory may fail when it is made and when its attributes are set.
                if self.results > 2 * core.items.len() {
                    return Err(PeerFault::TooMany("results").into());
                }
                if reason.is_empty() {
                    core.stats.changed += 1;
                    core.events.push_back(SessionEvent::Done { file });
                } else {
                    let path = core.name(file).to_owned();
                    core.failed(&path, reason);
                }
            }
            Frame::Finish(stats) if self.idle() => {
                core.settle(stats);
                core.out.frame(&Frame::Goodbye, (Phase::Done, None, None));
                core.events.push_back(SessionEvent::Finished(core.stats));
                self.finished = true;
            }
            _ => return Err(self.unexpected(name)),
        }
        Ok(())
    }

    fn idle(&self) -> bool {
        self.list == List::Ended
            && self.queue.is_empty()
            && self.partial.is_none()
            && self.active.is_none()
            && !self.finished
    }

    fn unexpected(&self, frame: &'static str) -> SyncError {
        PeerFault::Unexpected { frame, during: self.awaits().0.as_str() }.into()
    }

    fn known_file(&self, core: &Core, file: u32, field: &'static str) -> Result<Meta, SyncError> {
        match core.items.get(file as usize) {
            Some(item) => Ok(item.meta),
            None => Err(wire::out_of_range(field, u64::from(file), "an index of the list").into()),
        }
    }

    fn request(&mut self, core: &mut Core, file: u32, basis: Option<(Layout, u64)>) -> Result<(), SyncError> {
        if self.known_file(core, file, "requested file")?.kind != Kind::File {
            return Err(wire::out_of_range("requested file", u64::from(file), "a regular file").into());
        }
        let attempts = self.attempts.entry(file).or_default();
        *attempts += 1;
        if *attempts > ATTEMPTS {
            return Err(PeerFault::TooMany("requests for one file").into());
        }
        if *attempts > 1 {
            core.stats.redone += 1;
            core.events.push_back(SessionEvent::Redo { file });
        }
        self.partial = Some(Job { file, basis, sums: Vec::new() });
        self.enqueue_complete();
        Ok(())
    }

    fn enqueue_complete(&mut self) {
        if let Some(job) = self.partial.take_if(|j| j.complete()) {
            self.queued_sums += job.sums.len();
            self.queue.push_back(job);
        }
    }

    pub(super) fn ask(&mut self, core: &mut Core) -> Option<Ask> {
        if !core.out.has_room() {
            return None;
        }
        if self.list == List::Open {
            self.list = List::Asked;
            return Some(Ask { about: (Phase::List, None, None), op: FsOp::List });
        }
        if self.active.is_none() {
            let job = self.queue.pop_front()?;
            self.queued_sums -= job.sums.len();
            self.active = Some(Active { job, state: State::Open });
        }
        let active = self.active.as_mut()?;
        let file = active.job.file;
        let phase = if active.job.basis.is_some() { Phase::Delta } else { Phase::Data };
        match &mut active.state {
            State::Open => {
                active.state = State::Opening;
                let path = core.name(file).to_owned();
                Some(Ask { about: (phase, Some(file), None), op: FsOp::OpenSource { path } })
            }
            State::Sending(s) => {
                let len = (s.size - s.read).min(u64::from(MAX_WORK)) as u32;
                s.asked = len;
                let about = (phase, Some(file), Some((s.read / u64::from(s.block)) as u32));
                Some(Ask { about, op: FsOp::ReadSource { offset: s.read, len } })
            }
            State::Opening => None,
        }
    }

    pub(super) fn reply(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        if self.list == List::Asked {
            return self.listed(core, reply);
        }
        let Some(mut active) = self.active.take() else {
            return Err(SyncError::Bug("a reply to a sender that asked nothing"));
        };
        match (active.state, reply) {
            (_, FsReply::Failed(e)) => {
                let file = active.job.file;
                core.out.frame(&Frame::Failed { file, reason: &e.message }, (Phase::Data, Some(file), None));
                let path = core.name(file).to_owned();
                core.failed(&path, &e.message);
            }
            (State::Opening, FsReply::Opened(meta)) => {
                let sending = Sender::begin(core, &mut active.job, meta);
                self.go_on(core, active.job, sending);
            }
            (State::Sending(mut sending), FsReply::Data(data)) => {
                if data.len() > sending.asked as usize {
                    return Err(SyncError::Bug("more data than was asked for"));
                }
                sending.take(core, active.job.file, &data);
                if data.len() < sending.asked as usize {
                    sending.size = sending.read; // it shrank
                }
                self.go_on(core, active.job, sending);
            }
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        }
        Ok(())
    }

    fn listed(&mut self, core: &mut Core, reply: FsReply) -> Result<(), SyncError> {
        let about = (Phase::List, None, None);
        let (entries, faults, last) = match reply {
            FsReply::Listed { entries, faults, last } => (entries, faults, last),
            FsReply::Failed(e) => return Err(SyncError::Root { path: ".".to_owned(), error: e }),
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        };
        for e in entries {
            core.out.frame(&Frame::Entry { path: &e.path, meta: e.meta, target: &e.target }, about);
            core.add(&e.path, e.meta, &e.target);
        }
        for (path, e) in faults {
            core.out.frame(&Frame::ListFault { path: &path, reason: &e.message }, about);
            core.failed(&path, &e.message);
        }
        self.list = if last { List::Ended } else { List::Open };
        if last {
            core.out.frame(&Frame::ListEnd { entries: core.names.len() as u32 }, about);
            core.listed();
        }
        Ok(())
    }

    fn begin(core: &mut Core, job: &mut Job, meta: Meta) -> Box<Sending> {
        let file = job.file;
        core.out.frame(&Frame::Begin { file, meta }, (Phase::Data, Some(file), Some(0)));
        core.events.push_back(SessionEvent::Started { file });
        let sums = std::mem::take(&mut job.sums);
        Box::new(Sending {
            search: job.basis.map(|(layout, seed)| Search::new(Index::new(layout, seed, sums))),
            hash: blake3::Hasher::new(),
            read: 0,
            sent: 0,
            size: meta.size,
            block: job.basis.map_or_else(|| default_block_size(meta.size), |b| b.0.size),
            asked: 0,
        })
    }

    /// Keeps on sending, or ends the file.
    fn go_on(&mut self, core: &mut Core, job: Job, mut sending: Box<Sending>) {
        if sending.read < sending.size {
            self.active = Some(Active { job, state: State::Sending(sending) });
            return;
        }
        sending.finish(core, job.file);
    }
}

impl Sending {
    fn take(&mut self, core: &mut Core, file: u32, data: &[u8]) {
        self.hash.update(data);
        self.read += data.len() as u64;
        match &mut self.search {
            Some(search) => {
                let mut ops = Vec::new();
                search.push(data, &mut ops);
                self.ops(core, file, &ops);
            }
            None => {
                for piece in data.chunks(LITERAL) {
                    self.literal(core, file, piece);
                }
            }
        }
    }

    fn about(&self, file: u32) -> About {
        (Phase::Data, Some(file), Some((self.sent / u64::from(self.block)) as u32))
    }

    fn literal(&mut self, core: &mut Core, file: u32, bytes: &[u8]) {
        core.out.frame(&Frame::Literal(bytes), self.about(file));
        core.stats.literal += bytes.len() as u64;
        self.sent += bytes.len() as u64;
    }

    fn ops(&mut self, core: &mut Core, file: u32, ops: &[Op]) {
        for op in ops {
            match op {
                Op::Literal(bytes) => self.literal(core, file, bytes),
                Op::Copy { first, count } => {
                    let layout = self.search.as_ref().map(Search::layout).unwrap_or_default();
                    let (_, len) = layout.range(*first, *count).unwrap_or_default();
                    core.out.frame(&Frame::Copy { first: *first, count: *count }, self.about(file));
                    core.stats.matched += len;
                    self.sent += len;
                }
            }
        }
    }

    fn finish(&mut self, core: &mut Core, file: u32) {
        if let Some(search) = &mut self.search {
            let mut ops = Vec::new();
            search.finish(&mut ops);
            self.ops(core, file, &ops);
        }
        let hash = *self.hash.finalize().as_bytes();
        core.out.frame(&Frame::End { len: self.read, hash }, (Phase::Verify, Some(file), None));
    }
}
