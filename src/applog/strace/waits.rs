//! Waiting for a socket to become readable belongs to the read that follows.
//!
//! ```text
//! select(5, [4], …) = 0 (Timeout)      ┐
//! select(5, [4], …) = 1 (in [4])       ├ one read of descriptor 4, from the first select on
//! read(4, …) = 4                       ┘
//! ```

use super::args;
use super::machine::{Call, Conn, Machine, first};
use crate::model::{AppOp, Ns, Ts};
use std::collections::{BTreeMap, HashMap};

/// A wait for one connection, over one or more calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    /// When it began.
    pub start: Ts,
    /// When the socket was last said to be readable.
    pub ready: Option<Ts>,
    /// End of its last call.
    pub last: Ts,
    /// It is only a read that would have blocked; a wait that begins later is the real one.
    pub tried: bool,
    /// By which table's process.
    pub table: usize,
}

impl Chain {
    /// The process did something else for so long before its next wait that it was not waiting.
    fn broken_by(&self, next: Ts) -> bool {
        /// What a program needs between two waits, besides a tenth of the time waited so far.
        const HOUSEKEEPING: Ns = Ns::from_millis(10);
        next.since(self.last) > HOUSEKEEPING + self.last.since(self.start).scaled(1, 10)
    }
}

/// What a table's processes wait for with epoll. These sets are long-lived and may be large, so the
/// waits are kept once, and looked up when a read comes.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// Start and end of each wait of an epoll descriptor, in order of end.
    epoll: HashMap<u32, Vec<Wait>>,
    /// The epoll descriptor that a process last waited for.
    of: HashMap<u32, u32>,
}

type Wait = (Ts, Ts);

impl Waits {
    /// The waits for a connection: of the set that it is in, else of the one that its reader uses.
    fn of(&self, c: &Conn, table: usize, pid: u32) -> &[Wait] {
        let set = match c.registered.get(&table) {
            Some((set, _)) => Some(*set),
            None if c.whole => None,
            None => self.of.get(&pid).copied(),
        };
        set.and_then(|s| self.epoll.get(&s)).map_or(&[], Vec::as_slice)
    }
}

/// Events that make a socket readable.
const READABLE: [&str; 6] = ["POLLIN", "POLLRDNORM", "POLLPRI", "EPOLLIN", "EPOLLRDNORM", "EPOLLRDHUP"];

impl Machine {
    /// select, poll or epoll_wait has returned; or never did (`hung`), until the process ended or not.
    pub(super) fn wait(&mut self, pid: u32, call: &Call, hung: Option<bool>) {
        let args = args::split(&call.args);
        let table = self.table(pid);
        let (asked, ready) = match call.name.as_str() {
            "select" | "_newselect" | "pselect6" | "pselect6_time64" => {
                let asked = args.get(1).map_or(Vec::new(), |a| args::set(a));
                (asked, args::selected(&call.text))
            }
            "poll" | "ppoll" | "ppoll_time64" => {
                let asked = args.first().map_or(Vec::new(), |a| args::polled(a, &READABLE));
                let ready = call.text.split("{fd=").skip(1).filter_map(args::descriptor);
                (asked, ready.map(|(fd, _)| fd).collect())
            }
            _ => {
                let Some((set, _)) = first(&args) else { return };
                let waits = &mut self.tables[table].waits;
                waits.of.insert(pid, set);
                waits.epoll.entry(set).or_default().push((call.start, call.end));
                if let Some(ended) = hung {
                    self.hung_epoll(table, pid, call, ended);
                }
                return;
            }
        };
        for (fd, kind) in asked {
            let Some(i) = self.conn(pid, fd, kind) else { continue };
            let c = &mut self.conns[i];
            let start = c.since.get(&table).map_or(call.start, |s| call.start.max(*s));
            let chain =
                c.chain.get_or_insert(Chain { start, ready: None, last: call.end, tried: true, table });
            if chain.tried || chain.broken_by(start) {
                (chain.start, chain.tried) = (start, false);
            }
            chain.last = chain.last.max(call.end);
            chain.ready = ready.contains(&fd).then_some(call.end);
            if let Some(ended) = hung {
                let begun = chain.start;
                c.hang(AppOp::Read, begun, call.end, ended);
            }
        }
    }

    /// A process that never came back from epoll waits for every connection of its set.
    fn hung_epoll(&mut self, table: usize, pid: u32, call: &Call, ended: bool) {
        let waits = &self.tables[table].waits;
        for c in self.conns.iter_mut().filter(|c| c.references > 0) {
            if let Some((start, _)) = c.epoll(table, waits.of(c, table, pid), call.end) {
                c.hang(AppOp::Read, start, call.end, ended);
            }
        }
    }

    /// Notes what a descriptor is watched for.
    pub(super) fn epoll_ctl(&mut self, pid: u32, call: &Call) {
        let args = args::split(&call.args);
        let (Some((set, _)), Some(how)) = (first(&args), args.get(1)) else { return };
        let Some((fd, kind)) = args.get(2).and_then(|a| args::descriptor(a)) else { return };
        let table = self.table(pid);
        let Some(i) = self.conn(pid, fd, kind) else { return };
        let events = args.get(3).and_then(|e| e.split_once("events=")).map_or("", |(_, e)| e);
        let events = events.split([',', '}']).next().unwrap_or("");
        let reads = events.split('|').any(|e| READABLE.contains(&e));
        if *how == "EPOLL_CTL_DEL" || !reads {
            self.conns[i].registered.remove(&table);
        } else {
            self.conns[i].registered.entry(table).or_insert((set, call.end));
        }
    }

    /// When the read that `call` ends began to wait, and when it was told that there is something.
    pub(super) fn waited(&mut self, i: usize, (table, pid): (usize, u32), call: &Call) -> (Ts, Option<Ts>) {
        let c = &mut self.conns[i];
        let chain = c.chain.take();
        if let Some(x) = chain.filter(|x| !x.tried) {
            return (x.start.min(call.start), x.ready);
        }
        if let Some(waits) = self.tables.get(table).map(|t| t.waits.of(c, table, pid))
            && let Some((start, ready)) = c.epoll(table, waits, call.start)
        {
            return (start, Some(ready));
        }
        (chain.map_or(call.start, |x| x.start.min(call.start)), None)
    }
}

impl Conn {
    /// The epoll waits since the last read or write: begin of the first, end of the last before `until`.
    fn epoll(&self, table: usize, waits: &[Wait], until: Ts) -> Option<Wait> {
        let registered = self.registered.get(&table).map(|r| r.1);
        let since = self.since.get(&table).copied().max(registered).unwrap_or(Ts::MIN);
        let first = waits.partition_point(|w| w.1 <= since);
        let last = waits.partition_point(|w| w.1 <= until);
        let inside = waits.get(first..last)?;
        Some((inside.first()?.0.max(since), inside.last()?.1))
    }

    /// A call that was not seen to return.
    pub(super) fn hang(&mut self, op: AppOp, start: Ts, seen: Ts, ended: bool) {
        if self.open.is_none_or(|o| start < o.start) {
            self.open = Some(crate::applog::Open { op, start, seen, ended });
        }
    }

    /// The process wrote: what it waits for from now on is the answer.
    pub(super) fn wrote(&mut self, table: usize, at: Ts) {
        if self.chain.is_some_and(|c| c.table == table) {
            self.chain = None;
        }
        self.since.insert(table, at);
    }
}

/// A moment for each table.
pub(super) type ByTable = BTreeMap<usize, Ts>;
