//! What each system call does to descriptors and connections.

use super::args::{self, Kind};
use super::machine::{Call, Machine, Slot, first, length};
use super::waits::Chain;
use crate::model::{AppOp, Side};

impl Machine {
    /// A call that returned.
    pub(super) fn apply(&mut self, pid: u32, call: &Call) {
        match call.name.as_str() {
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => self.read(pid, call),
            "write" | "writev" | "send" | "sendto" | "sendmsg" | "sendfile" | "sendfile64" => {
                self.write(pid, call, 0)
            }
            "splice" => {
                self.read(pid, call);
                self.write(pid, call, 2);
            }
            "select" | "_newselect" | "pselect6" | "pselect6_time64" | "poll" | "ppoll" | "ppoll_time64"
            | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => self.wait(pid, call, None),
            "epoll_ctl" if call.value == Some(0) => self.epoll_ctl(pid, call),
            "socket" => self.socket(pid, call),
            "bind" | "getsockname" | "getpeername" if call.value == Some(0) => self.names(pid, call),
            "connect" => self.connect(pid, call),
            "accept" | "accept4" => self.accept(pid, call),
            "close" if call.value == Some(0) => self.close(pid, call),
            "dup" | "dup2" | "dup3" | "fcntl" | "fcntl64" => self.dup(pid, call),
            "clone" | "clone3" | "fork" | "vfork" => {
                if let Some(child) = call.value.filter(|v| *v > 0).and_then(|v| u32::try_from(v).ok()) {
                    self.table(pid);
                    self.child(pid, child, &call.args);
                }
            }
            "open" | "openat" | "openat2" | "creat" | "epoll_create" | "epoll_create1" | "eventfd"
            | "eventfd2" | "timerfd_create" | "signalfd" | "signalfd4" | "memfd_create" | "inotify_init"
            | "inotify_init1" | "pidfd_open" => self.other(pid, call.value),
            "pipe" | "pipe2" | "socketpair" => {
                let list = call.args.rsplit_once('[').map_or("", |(_, l)| l).split(']').next().unwrap_or("");
                for fd in list.split(',').filter_map(|t| args::descriptor(t.trim())) {
                    self.other(pid, Some(i64::from(fd.0)));
                }
            }
            _ => {}
        }
    }

    /// A call that never returned.
    pub(super) fn hung(&mut self, pid: u32, call: &Call, ended: bool) {
        let op = match call.name.as_str() {
            "read" | "readv" | "recv" | "recvfrom" | "recvmsg" => AppOp::Read,
            "write" | "writev" | "send" | "sendto" | "sendmsg" => AppOp::Write,
            "select" | "_newselect" | "pselect6" | "pselect6_time64" | "poll" | "ppoll" | "ppoll_time64"
            | "epoll_wait" | "epoll_pwait" | "epoll_pwait2" => return self.wait(pid, call, Some(ended)),
            _ => return,
        };
        let args = args::split(&call.args);
        let Some(i) = first(&args).and_then(|(fd, kind)| self.conn(pid, fd, kind)) else { return };
        let table = self.table(pid);
        let start = if op == AppOp::Read { self.waited(i, (table, pid), call).0 } else { call.start };
        self.conns[i].hang(op, start, call.end, ended);
    }

    fn read(&mut self, pid: u32, call: &Call) {
        let args = args::split(&call.args);
        let Some(i) = first(&args).and_then(|(fd, kind)| self.conn(pid, fd, kind)) else { return };
        let table = self.table(pid);
        let Some(value) = call.value.filter(|v| *v >= 0 || !(call.would_block || call.interrupted)) else {
            let tried = call.would_block;
            let new = Chain { start: call.start, ready: None, last: call.end, tried, table };
            let chain = self.conns[i].chain.get_or_insert(new);
            chain.last = chain.last.max(call.end);
            if !tried {
                // interrupted: it goes on in the next call
                chain.tried = false;
            }
            return;
        };
        if call.args.contains("MSG_PEEK") {
            let c = &mut self.conns[i];
            let new = Chain { start: call.start, ready: None, last: call.end, tried: false, table };
            let chain = c.chain.get_or_insert(new);
            (chain.ready, chain.last, chain.tried) = (Some(call.end), call.end, false);
            return;
        }
        let (start, ready) = self.waited(i, (table, pid), call);
        self.event(i, AppOp::Read, start, ready, call.end, length(value));
        self.conns[i].since.insert(table, call.end);
    }

    /// `at` is the argument that names the descriptor.
    fn write(&mut self, pid: u32, call: &Call, at: usize) {
        let Some(value) = call.value.filter(|v| *v > 0) else { return };
        let args = args::split(&call.args);
        let target = args.get(at).and_then(|a| args::descriptor(a));
        let Some(i) = target.and_then(|(fd, kind)| self.conn(pid, fd, kind)) else { return };
        let table = self.table(pid);
        self.event(i, AppOp::Write, call.start, None, call.end, length(value));
        self.conns[i].wrote(table, call.end);
    }

    fn other(&mut self, pid: u32, fd: Option<i64>) {
        if let Some(fd) = fd.and_then(|v| u32::try_from(v).ok()) {
            let table = self.table(pid);
            self.set(table, fd, Slot::Other);
        }
    }

    fn socket(&mut self, pid: u32, call: &Call) {
        let Some(fd) = call.value.and_then(|v| u32::try_from(v).ok()) else { return };
        let tcp = call.args.contains("AF_INET") && call.args.contains("SOCK_STREAM");
        let table = self.table(pid);
        self.set(table, fd, if tcp { Slot::Fresh(None) } else { Slot::Other });
    }

    /// bind, getsockname and getpeername tell addresses.
    fn names(&mut self, pid: u32, call: &Call) {
        let args = args::split(&call.args);
        let (Some((fd, kind)), Some(address)) = (first(&args), args.get(1).and_then(|a| args::sockaddr(a)))
        else {
            return;
        };
        let table = self.table(pid);
        if let Some(Slot::Fresh(bound)) = self.tables[table].slots.get_mut(&fd) {
            if call.name != "getpeername" {
                *bound = Some(address);
            }
            return;
        }
        // an unknown descriptor may be of another protocol; only its reads make it a candidate
        let known = self.tables[table].slots.contains_key(&fd) || matches!(kind, Kind::Tcp(..));
        if call.name != "bind"
            && (known || kind == Kind::Unknown)
            && let Some(i) = self.conn(pid, fd, kind)
        {
            let c = &mut self.conns[i];
            let end = if call.name == "getpeername" { &mut c.peer } else { &mut c.local };
            *end = end.or(Some(address));
        }
    }

    fn connect(&mut self, pid: u32, call: &Call) {
        let args = args::split(&call.args);
        let (Some((fd, kind)), Some(peer)) = (first(&args), args.get(1).and_then(|a| args::sockaddr(a)))
        else {
            return;
        };
        let under_way = call.value == Some(0) || call.text.contains("EINPROGRESS") || call.interrupted;
        let table = self.table(pid);
        let slot = self.tables[table].slots.get(&fd).copied();
        let local = match slot {
            Some(Slot::Other) => return,
            Some(Slot::Conn(i)) if self.conns[i].peer == Some(peer) => return,
            Some(Slot::Fresh(bound)) => bound,
            _ => None,
        };
        if !under_way || kind == Kind::Other {
            return;
        }
        let i = self.new_conn(pid, fd);
        let c = &mut self.conns[i];
        (c.peer, c.local, c.side, c.whole) =
            (Some(peer), local.filter(|l| l.port() != 0), Some(Side::Client), true);
        self.set(table, fd, Slot::Conn(i));
    }

    fn accept(&mut self, pid: u32, call: &Call) {
        let Some((fd, kind)) = args::descriptor(&call.text) else { return };
        let args = args::split(&call.args);
        let peer = args.get(1).and_then(|a| args::sockaddr(a));
        let table = self.table(pid);
        let listening = first(&args).and_then(|(l, kind)| match (kind, self.tables[table].slots.get(&l)) {
            (Kind::Idle(a), _) if a.is_some() => a,
            (_, Some(Slot::Fresh(a))) => *a,
            _ => None,
        });
        let unix = first(&args).is_some_and(|(l, _)| self.tables[table].slots.get(&l) == Some(&Slot::Other));
        if unix
            || kind == Kind::Other
            || (peer.is_none() && args.get(1).is_some_and(|a| a.contains("sa_family")))
        {
            self.set(table, fd, Slot::Other);
            return;
        }
        let i = self.new_conn(pid, fd);
        let c = &mut self.conns[i];
        (c.peer, c.local, c.side, c.whole) = (peer, listening, Some(Side::Server), true);
        if let Kind::Tcp(local, peer) = kind {
            (c.local, c.peer) = (Some(local), Some(peer));
            self.by_ends.insert((local, peer), i);
        }
        self.set(table, fd, Slot::Conn(i));
    }

    fn close(&mut self, pid: u32, call: &Call) {
        let Some((fd, _)) = first(&args::split(&call.args)) else { return };
        let table = self.table(pid);
        let Some(Slot::Conn(i)) = self.tables[table].slots.remove(&fd) else { return };
        let c = &mut self.conns[i];
        c.references = c.references.saturating_sub(1);
        if c.references > 0 {
            return;
        }
        c.give_up(call.start, true);
        if let (Some(l), Some(p)) = (c.local, c.peer)
            && self.by_ends.get(&(l, p)) == Some(&i)
        {
            self.by_ends.remove(&(l, p));
        }
    }

    fn dup(&mut self, pid: u32, call: &Call) {
        let args = args::split(&call.args);
        if call.name.starts_with("fcntl") && !args.get(1).is_some_and(|a| a.starts_with("F_DUPFD")) {
            return;
        }
        let (Some((old, kind)), Some((new, _))) = (first(&args), args::descriptor(&call.text)) else {
            return;
        };
        let table = self.table(pid);
        let slot = self.tables[table].slots.get(&old).copied();
        let slot = slot.or_else(|| self.conn(pid, old, kind).map(Slot::Conn)).unwrap_or(Slot::Other);
        self.set(table, new, slot);
    }
}
