//! The side that has the source: lists it, then serves requests one file after the other.

use super::delta::{Search, Sink};
use super::error::{PeerFault, SyncError};
use super::fs::{FsOp, FsReply, Kind, MAX_WORK, Meta};
use super::index::Index;
use super::output::About;
use super::session::{Ask, Config, Core, SessionEvent, safe_path};
use super::signature::{Layout, default_block_size};
use super::wire::{self, Frame, Have};
use crate::model::Phase;
use std::collections::{HashMap, VecDeque};

/// Requests that are complete and wait, in sums; above, no input is taken.
const QUEUED_SUMS: usize = 64 * 1024;
/// The same, in requests.
const QUEUED_JOBS: usize = 8192;
/// A file is sent at most this often: as delta, as delta with safer sums, then whole.
const ATTEMPTS: u8 = 3;

#[derive(Debug)]
struct Job {
    file: u32,
    /// None: send it whole.
    basis: Option<Index>,
    /// Bytes of each strong sum.
    strong_len: u8,
    /// What the receiver has of it.
    have: Have,
}

impl Job {
    fn sums(&self) -> usize {
        self.basis.as_ref().map_or(0, |b| b.known() as usize)
    }

    fn missing(&self) -> usize {
        self.basis.as_ref().map_or(0, |b| b.layout().count() as usize) - self.sums()
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
    /// Is what the receiver has the beginning of this file?
    Proving(Box<Proving>),
    Sending(Box<Sending>),
}

#[derive(Debug)]
struct Proving {
    meta: Meta,
    hash: blake3::Hasher,
    /// Bytes read.
    read: u64,
    asked: u32,
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
    /// It changed while it was read.
    torn: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum List {
    Open,
    Asked,
    Ended,
}

#[derive(Debug)]
pub(super) struct Sender {
    /// Where the tree lies, as the client said it.
    root: String,
    full_search: bool,
    delete: bool,
    list: List,
    queue: VecDeque<Job>,
    queued_sums: usize,
    /// A request whose sums are not all there.
    partial: Option<Job>,
    active: Option<Active>,
    attempts: HashMap<u32, u8>,
    results: usize,
    finished: bool,
    /// The first entry of each file with several names.
    first_names: HashMap<(u64, u64), u32>,
}

impl Sender {
    pub(super) fn new(config: &Config, root: &str) -> Sender {
        Sender {
            root: root.to_owned(),
            full_search: config.flags.full_search,
            delete: config.flags.delete,
            list: List::Open,
            queue: VecDeque::new(),
            queued_sums: 0,
            partial: None,
            active: None,
            attempts: HashMap::new(),
            results: 0,
            finished: false,
            first_names: HashMap::new(),
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
            Some(p) => (Phase::Signature, Some(p.file), Some(p.sums() as u32)),
            None if self.finished => (Phase::Done, None, None),
            None => (Phase::Signature, None, None),
        }
    }

    pub(super) fn frame(&mut self, core: &mut Core, frame: Frame<'_>) -> Result<(), SyncError> {
        let name = frame.name();
        match frame {
            Frame::Request { file, block_size, len, strong, strong_len, have }
                if self.partial.is_none() && !self.finished =>
            {
                let layout = Layout::new(len, block_size);
                let basis = (block_size > 0).then(|| Index::truncated(layout, strong, strong_len));
                self.request(core, Job { file, basis, strong_len, have })?;
            }
            Frame::Sums(sums) => {
                let Some(job) = &mut self.partial else { return Err(self.unexpected(name)) };
                let sums = sums.split(job.strong_len).ok_or(PeerFault::Malformed(name))?;
                if sums.len() > job.missing() {
                    return Err(PeerFault::TooMany("block sums").into());
                }
                if let Some(basis) = &mut job.basis {
                    basis.extend(sums);
                }
                self.enqueue_complete();
            }
            Frame::Result { file, change, reason } if !self.finished => {
                self.known_file(core, file, "file of a result")?;
                self.results += 1;
                // A directory may be made, and fail when its attributes are set.
                if self.results > 2 * core.items.len() {
                    return Err(PeerFault::TooMany("results").into());
                }
                if reason.is_empty() {
                    core.done(file, change);
                } else {
                    let path = core.name(file).to_owned();
                    core.failed_there(&path, reason);
                }
            }
            Frame::Gone { path, dir, reason } if !self.finished && self.delete => {
                if path != "." && !safe_path(path) {
                    return Err(PeerFault::Path(path.chars().take(80).collect()).into());
                }
                core.gone(path, dir, reason, true);
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

    fn request(&mut self, core: &mut Core, job: Job) -> Result<(), SyncError> {
        let file = job.file;
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
        self.partial = Some(job);
        self.enqueue_complete();
        Ok(())
    }

    fn enqueue_complete(&mut self) {
        if let Some(job) = self.partial.take_if(|j| j.missing() == 0) {
            self.queued_sums += job.sums();
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
            self.queued_sums -= job.sums();
            self.active = Some(Active { job, state: State::Open });
        }
        let active = self.active.as_mut()?;
        let file = active.job.file;
        let by_delta = match &active.state {
            State::Sending(s) => s.search.is_some(),
            State::Open | State::Opening | State::Proving(_) => active.job.basis.is_some(),
        };
        let phase = if by_delta { Phase::Delta } else { Phase::Data };
        match &mut active.state {
            State::Open => {
                active.state = State::Opening;
                let path = core.name(file).to_owned();
                Some(Ask { about: (phase, Some(file), None), op: FsOp::OpenSource { path } })
            }
            State::Proving(p) => {
                let len = (active.job.have.len - p.read).min(u64::from(MAX_WORK)) as u32;
                p.asked = len;
                let about = (Phase::Verify, Some(file), None);
                Some(Ask { about, op: FsOp::ReadSource { offset: p.read, len, last: false } })
            }
            State::Sending(s) => {
                let len = (s.size - s.read).min(u64::from(MAX_WORK)) as u32;
                s.asked = len;
                let about = (phase, Some(file), Some((s.read / u64::from(s.block)) as u32));
                let last = s.read + u64::from(len) == s.size;
                Some(Ask { about, op: FsOp::ReadSource { offset: s.read, len, last } })
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
                if (1..=meta.size).contains(&active.job.have.len) {
                    let (hash, read, asked) = (blake3::Hasher::new(), 0, 0);
                    active.state = State::Proving(Box::new(Proving { meta, hash, read, asked }));
                    self.active = Some(active);
                } else {
                    let sending = self.begin(core, &mut active.job, meta, None);
                    self.go_on(core, active.job, sending);
                }
            }
            (State::Proving(mut proving), FsReply::Data(data)) => {
                if data.len() > proving.asked as usize {
                    return Err(SyncError::Bug("more data than was asked for"));
                }
                proving.hash.update(&data);
                proving.read += data.len() as u64;
                let (have, all) = (active.job.have, data.len() == proving.asked as usize);
                if all && proving.read < have.len {
                    active.state = State::Proving(proving);
                    self.active = Some(active);
                } else {
                    let same = all && *proving.hash.finalize().as_bytes() == have.hash;
                    let proved = same.then_some((proving.hash, have.len));
                    let sending = self.begin(core, &mut active.job, proving.meta, proved);
                    self.go_on(core, active.job, sending);
                }
            }
            (State::Sending(mut sending), reply @ (FsReply::Data(_) | FsReply::Torn(_))) => {
                let (torn, data) = match reply {
                    FsReply::Data(data) => (false, data),
                    FsReply::Torn(data) => (true, data),
                    _ => (false, Vec::new()),
                };
                sending.torn |= torn;
                if data.len() > sending.asked as usize {
                    return Err(SyncError::Bug("more data than was asked for"));
                }
                sending.take(core, active.job.file, &data);
                if data.len() < sending.asked as usize {
                    // It shrank.
                    sending.size = sending.read;
                    sending.torn = true;
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
            FsReply::Failed(e) => return Err(SyncError::root(&self.root, e)),
            _ => return Err(SyncError::Bug("a reply of the wrong kind")),
        };
        for e in entries {
            let file = core.names.len() as u32;
            let first = e.inode.map_or(file, |inode| *self.first_names.entry(inode).or_insert(file));
            let same_as = (first != file).then_some(first);
            core.out.frame(&Frame::Entry { path: &e.path, meta: e.meta, same_as, target: &e.target }, about);
            core.add(&e.path, e.meta, same_as, &e.target);
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

    /// `proved`: what the receiver has, summed.
    fn begin(
        &self,
        core: &mut Core,
        job: &mut Job,
        meta: Meta,
        proved: Option<(blake3::Hasher, u64)>,
    ) -> Box<Sending> {
        let file = job.file;
        let (hash, from) = proved.unwrap_or_default();
        core.out.frame(&Frame::Begin { file, meta, from }, (Phase::Data, Some(file), Some(0)));
        core.stats.matched += from;
        core.events.push_back(SessionEvent::Started { file });
        let basis = job.basis.take();
        let block = basis.as_ref().map_or_else(|| default_block_size(meta.size), |b| b.layout().size);
        Box::new(Sending {
            search: basis.map(|index| Search::new(index).full(self.full_search)),
            hash,
            read: from,
            sent: from,
            size: meta.size,
            block,
            asked: 0,
            torn: false,
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
        let (search, mut emit) = self.split(core, file);
        match search {
            Some(search) => search.push(data, &mut emit),
            None => emit.literal(data),
        }
    }

    fn finish(&mut self, core: &mut Core, file: u32) {
        let (search, mut emit) = self.split(core, file);
        if let Some(search) = search {
            search.finish(&mut emit);
        }
        let hash = *self.hash.finalize().as_bytes();
        core.out
            .frame(&Frame::End { len: self.read, hash, torn: self.torn }, (Phase::Verify, Some(file), None));
    }

    fn split<'a>(&'a mut self, core: &'a mut Core, file: u32) -> (Option<&'a mut Search>, Emit<'a>) {
        let layout = self.search.as_ref().map(Search::layout).unwrap_or_default();
        let emit = Emit { core, file, layout, sent: &mut self.sent, block: self.block };
        (self.search.as_mut(), emit)
    }
}

/// Turns what a search finds into frames.
struct Emit<'a> {
    core: &'a mut Core,
    file: u32,
    layout: Layout,
    sent: &'a mut u64,
    block: u32,
}

impl Emit<'_> {
    fn frame(&mut self, frame: &Frame<'_>, len: u64) {
        let block = (*self.sent / u64::from(self.block)) as u32;
        self.core.out.frame(frame, (Phase::Data, Some(self.file), Some(block)));
        *self.sent += len;
    }
}

impl Sink for Emit<'_> {
    fn literal(&mut self, bytes: &[u8]) {
        for piece in bytes.chunks(wire::MAX_LITERAL) {
            self.frame(&Frame::Literal(piece), piece.len() as u64);
            self.core.stats.literal += piece.len() as u64;
        }
    }

    fn copy(&mut self, first: u32, count: u32) {
        let (_, len) = self.layout.range(first, count).unwrap_or_default();
        self.frame(&Frame::Copy { first, count }, len);
        self.core.stats.matched += len;
    }
}
