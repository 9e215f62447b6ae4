//! Follows processes, their descriptors and their connections through the calls.

use super::args::{self, Kind};
use super::line::{Line, Returned, What};
use super::waits::{ByTable, Chain, Waits};
use crate::applog::{Open, Stream};
use crate::model::{AppEvent, AppOp, Phase, Side, Ts};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

/// A call with its times.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub name: String,
    pub args: String,
    pub value: Option<i64>,
    pub text: String,
    pub would_block: bool,
    pub interrupted: bool,
    pub start: Ts,
    pub end: Ts,
}

/// A call whose return has not been seen.
#[derive(Clone, Debug)]
struct Begun {
    name: String,
    args: String,
    start: Ts,
    /// The line broke off without saying so.
    broken: bool,
}

/// What a descriptor of a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A socket that is not connected, with the address it is bound to.
    Fresh(Option<SocketAddr>),
    /// A connection.
    Conn(usize),
    /// Something else.
    Other,
}

/// Descriptors that processes share.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pub slots: HashMap<u32, Slot>,
    pub waits: Waits,
}

/// One connection, or a descriptor that may be one.
#[derive(Clone, Debug)]
pub(super) struct Conn {
    pub label: String,
    pub fd: u32,
    pub local: Option<SocketAddr>,
    pub peer: Option<SocketAddr>,
    pub side: Option<Side>,
    /// The trace shows how it began.
    pub whole: bool,
    pub events: Vec<AppEvent>,
    /// The wait that the next read will end.
    pub chain: Option<Chain>,
    /// End of the last read or write, by table.
    pub since: ByTable,
    /// The epoll set that it is in and since when, by table.
    pub registered: BTreeMap<usize, (u32, Ts)>,
    /// Descriptors that refer to it, over all tables.
    pub references: usize,
    pub open: Option<Open>,
}

/// Everything.
#[derive(Default)]
pub(super) struct Machine {
    pub tables: Vec<Table>,
    pub conns: Vec<Conn>,
    pub by_ends: HashMap<(SocketAddr, SocketAddr), usize>,
    /// Which table a process uses.
    processes: BTreeMap<u32, usize>,
    /// Processes that are inside of a call that makes another.
    forking: BTreeSet<u32>,
    /// Descriptors copied to new processes so far.
    copied: usize,
    begun: HashMap<u32, Begun>,
    /// A call without a duration waits for its process's next line.
    unended: HashMap<u32, Call>,
    any_exited: bool,
    now: Ts,
    last_broken: Option<u32>,
    no_durations: u64,
}

impl Machine {
    /// The time of the last line.
    pub fn now(&self) -> Ts {
        self.now
    }

    /// The line before broke off inside a call.
    pub fn broken_off(&self) -> bool {
        self.last_broken.is_some()
    }

    /// Calls whose end had to be guessed.
    pub fn durations_missing(&self) -> u64 {
        self.no_durations
    }

    /// The rest of a call that the program's own output broke in two.
    pub fn rest(&mut self, result: Returned<'_>) {
        if let Some(pid) = self.last_broken.take() {
            // when it returned, only its process's next line tells
            self.resume(pid, "", result, None);
        }
    }

    /// Takes one line.
    pub fn line(&mut self, line: Line<'_>, ts: Ts) {
        self.now = self.now.max(ts);
        let pid =
            line.pid.or(self.last_broken.filter(|_| matches!(line.what, What::Rest { .. }))).unwrap_or(0);
        self.settle(pid, ts);
        match line.what {
            What::Call { name, args, result } => {
                self.last_broken = None;
                self.forget_begun(pid);
                let begun = Begun { name: name.to_owned(), args: args.to_owned(), start: ts, broken: false };
                self.done(pid, begun, result, None);
            }
            What::Begin { name, args, broken } => {
                self.last_broken = broken.then_some(pid);
                if makes_process(name) {
                    self.table(pid);
                    self.forking.insert(pid);
                }
                self.begun
                    .insert(pid, Begun { name: name.to_owned(), args: args.to_owned(), start: ts, broken });
            }
            What::Resumed { args, result, .. } => self.resume(pid, args, result, Some(ts)),
            What::Rest { result } => self.rest(result),
            What::Signal => {}
            What::Exit => {
                self.abandon(pid, ts, true);
                self.processes.remove(&pid);
                self.any_exited = true;
            }
        }
    }

    fn resume(&mut self, pid: u32, args: &str, result: Returned<'_>, seen: Option<Ts>) {
        let Some(mut begun) = self.forget_begun(pid) else { return };
        if !begun.broken || !args.is_empty() {
            begun.args.push_str(args);
        }
        self.done(pid, begun, result, seen);
    }

    fn forget_begun(&mut self, pid: u32) -> Option<Begun> {
        self.forking.remove(&pid);
        self.begun.remove(&pid)
    }

    /// A call has returned; `seen` is when its second half was printed.
    fn done(&mut self, pid: u32, b: Begun, result: Returned<'_>, seen: Option<Ts>) {
        let end = result.took.map(|d| b.start + d).or(seen);
        let call = Call {
            name: b.name,
            args: b.args,
            value: result.value,
            text: result.text.to_owned(),
            would_block: result.is("EAGAIN") || result.is("EWOULDBLOCK"),
            interrupted: result.interrupted(),
            start: b.start,
            end: end.unwrap_or(b.start),
        };
        if end.is_none() && !call.name.starts_with("exit") {
            self.unended.insert(pid, call);
        } else {
            self.apply(pid, &call);
        }
    }

    /// Ends a call without a duration at its process's next line.
    fn settle(&mut self, pid: u32, at: Ts) {
        if let Some(call) = self.unended.remove(&pid) {
            self.no_durations += 1;
            self.apply(pid, &Call { end: at.max(call.start), ..call });
        }
    }

    /// The table of a process; a new process takes that of one that is about to make it.
    pub fn table(&mut self, pid: u32) -> usize {
        if let Some(&t) = self.processes.get(&pid) {
            return t;
        }
        let parent = self.forking.first().copied();
        let how = parent.and_then(|p| self.begun.get(&p)).map(|b| b.args.clone());
        match (parent, how, self.processes.first_key_value()) {
            (Some(parent), Some(how), _) => self.child(parent, pid, &how),
            (_, _, Some((_, &table))) => {
                self.processes.insert(pid, table);
            }
            _ => {
                self.tables.push(Table::default());
                self.processes.insert(pid, self.tables.len() - 1);
            }
        }
        self.processes.get(&pid).copied().unwrap_or(0)
    }

    /// A process begins with its parent's descriptors: the same table, or a copy.
    pub fn child(&mut self, parent: u32, pid: u32, how: &str) {
        /// Copies beyond this are shared instead: memory stays in proportion to the file.
        const COPIES: usize = 1 << 20;
        let Some(&table) = self.processes.get(&parent) else { return };
        if self.processes.contains_key(&pid) {
            return;
        }
        let slots = &self.tables[table].slots;
        if how.contains("CLONE_FILES") || self.copied + slots.len() > COPIES {
            self.processes.insert(pid, table);
            return;
        }
        self.copied += slots.len() + 1;
        let slots = slots.clone();
        for s in slots.values() {
            if let Slot::Conn(i) = s {
                self.conns[*i].references += 1;
            }
        }
        self.tables.push(Table { slots, waits: Waits::default() });
        self.processes.insert(pid, self.tables.len() - 1);
    }

    /// Makes a descriptor mean something.
    pub fn set(&mut self, table: usize, fd: u32, slot: Slot) {
        if let Slot::Conn(i) = slot {
            self.conns[i].references += 1;
        }
        if let Some(Slot::Conn(i)) = self.tables[table].slots.insert(fd, slot) {
            self.conns[i].references = self.conns[i].references.saturating_sub(1);
        }
    }

    /// The connection behind a descriptor, if it is or may be one.
    pub fn conn(&mut self, pid: u32, fd: u32, kind: Kind) -> Option<usize> {
        let table = self.table(pid);
        match kind {
            Kind::Other => {
                self.set(table, fd, Slot::Other);
                None
            }
            Kind::Tcp(local, peer) => {
                if let Some(Slot::Conn(i)) = self.tables[table].slots.get(&fd).copied()
                    && self.conns[i].peer.is_none_or(|p| p == peer)
                {
                    let c = &mut self.conns[i];
                    (c.local, c.peer) = (Some(local), Some(peer));
                    self.by_ends.insert((local, peer), i);
                    return Some(i);
                }
                let i = match self.by_ends.get(&(local, peer)) {
                    Some(&i) => i,
                    None => self.new_conn(pid, fd),
                };
                let c = &mut self.conns[i];
                (c.local, c.peer) = (Some(local), Some(peer));
                self.by_ends.insert((local, peer), i);
                self.set(table, fd, Slot::Conn(i));
                Some(i)
            }
            Kind::Idle(_) | Kind::Unknown => match self.tables[table].slots.get(&fd) {
                Some(Slot::Conn(i)) => Some(*i),
                Some(_) => None,
                // a terminal, or what inetd hands over; nothing says
                None if fd <= 2 || kind != Kind::Unknown => None,
                None => {
                    let i = self.new_conn(pid, fd);
                    self.set(table, fd, Slot::Conn(i));
                    Some(i)
                }
            },
        }
    }

    /// A connection of which nothing is known yet.
    pub fn new_conn(&mut self, pid: u32, fd: u32) -> usize {
        let label = match pid {
            0 => format!("descriptor {fd}"),
            pid => format!("descriptor {fd} of process {pid}"),
        };
        self.conns.push(Conn {
            label,
            fd,
            local: None,
            peer: None,
            side: None,
            whole: false,
            events: Vec::new(),
            chain: None,
            since: ByTable::new(),
            registered: BTreeMap::new(),
            references: 0,
            open: None,
        });
        self.conns.len() - 1
    }

    /// Adds a read or write.
    pub fn event(&mut self, i: usize, op: AppOp, start: Ts, ready: Option<Ts>, end: Ts, len: u32) {
        let end = end.max(start);
        self.conns[i].events.push(AppEvent {
            op,
            start,
            ready: ready.filter(|r| *r >= start && *r <= end),
            end,
            offset: 0,
            len,
            queued: None,
            phase: Phase::Other,
            file: None,
            block: None,
        });
    }

    /// The call that a process was in when it, or the trace, ended.
    fn abandon(&mut self, pid: u32, seen: Ts, ended: bool) {
        self.settle(pid, seen);
        if let Some(b) = self.forget_begun(pid) {
            let call = Call {
                name: b.name,
                args: b.args,
                value: None,
                text: String::new(),
                would_block: false,
                interrupted: false,
                start: b.start,
                end: seen,
            };
            self.hung(pid, &call, ended);
        }
    }

    /// Everything the trace shows, one stream a connection.
    pub fn finish(mut self) -> Vec<Stream> {
        let now = self.now;
        let mut left: Vec<u32> = self.begun.keys().chain(self.unended.keys()).copied().collect();
        left.sort_unstable();
        for pid in left {
            self.abandon(pid, now, false);
        }
        let all_ended = self.any_exited && self.processes.is_empty();
        for c in &mut self.conns {
            c.give_up(now, all_ended);
        }
        let used = |c: &Conn| !c.events.is_empty() || c.open.is_some();
        self.conns.into_iter().filter(used).map(Conn::stream).collect()
    }
}

impl Conn {
    /// A wait that no read followed was a read all the same, and got nothing.
    pub fn give_up(&mut self, now: Ts, ended: bool) {
        if let Some(c) = self.chain.take()
            && !c.tried
            && self.open.is_none()
        {
            let seen = if ended { c.last } else { now.max(c.last) };
            self.open = Some(Open { op: AppOp::Read, start: c.start, seen, ended });
        }
    }

    fn stream(mut self) -> Stream {
        self.events.sort_by_key(|e| (e.end, e.start));
        let (mut read, mut written) = (0u64, 0u64);
        for e in &mut self.events {
            let at = if e.op == AppOp::Read { &mut read } else { &mut written };
            e.offset = *at;
            *at = at.saturating_add(u64::from(e.len));
        }
        Stream {
            label: self.label,
            local: self.local,
            peer: self.peer,
            side: self.side,
            fd: Some(self.fd),
            events: self.events,
            offsets_known: self.whole,
            open: self.open,
        }
    }
}

/// Calls that make a process or a thread.
fn makes_process(name: &str) -> bool {
    matches!(name, "clone" | "clone3" | "fork" | "vfork")
}

/// `len` as an event has it.
pub(super) fn length(value: i64) -> u32 {
    u32::try_from(value.max(0)).unwrap_or(u32::MAX)
}

/// The first argument's descriptor.
pub(super) fn first(args: &[&str]) -> Option<(u32, Kind)> {
    args.first().and_then(|a| args::descriptor(a))
}
