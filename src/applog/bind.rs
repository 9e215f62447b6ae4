//! Which connection a log is about, on which day, in which time zone.

use super::{AppLogError, Note, Open, Parsed, Stream};
use crate::model::calendar::{DAY, SECOND};
use crate::model::{AppEvent, AppLog, AppOp, Dir, Ns, PerDir, Phase, Side, Span, Ts};
use std::net::SocketAddr;

/// A connection that the captures show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// First to last packet.
    pub span: Span,
    /// Near whose end the capture was taken.
    pub near: Option<Side>,
    /// When data of each direction was last acknowledged anew.
    pub moved: PerDir<Option<Ts>>,
}

/// What the user said about logs that do not say it themselves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The log's own address and its peer's.
    pub flow: Option<(SocketAddr, SocketAddr)>,
    /// The descriptor that is the connection.
    pub fd: Option<u32>,
    /// Seconds east of Greenwich of times that name no zone.
    pub zone: Option<i64>,
    /// Day number (since 1970-01-01) of times without a date.
    pub day: Option<i64>,
}

/// The result.
#[derive(Clone, Debug, PartialEq)]
pub struct Bound {
    /// One a connection.
    pub logs: Vec<AppLog>,
    /// What had to be assumed or left out.
    pub notes: Vec<Note>,
}

/// Ties each stream of a log to a connection of the captures, and its times to their clock.
pub fn bind(mut p: Parsed, wanted: &Wanted, flows: &[Candidate]) -> Result<Bound, AppLogError> {
    let mut notes = std::mem::take(&mut p.notes);
    let by = shift(&p, wanted, flows, &mut notes);
    choose_fd(&mut p.streams, wanted)?;
    let mut logs = Vec::new();
    let mut elsewhere = 0;
    let many = p.streams.len() > 1;
    for mut s in p.streams {
        for e in &mut s.events {
            (e.start, e.end) = (e.start + by, e.end + by);
            e.ready = e.ready.map(|r| r + by);
        }
        if let Some(o) = &mut s.open {
            (o.start, o.seen) = (o.start + by, o.seen + by);
        }
        match place(&s, wanted, flows, &mut notes) {
            Ok(found) => join(&mut logs, finish(s, found, flows, &mut notes)),
            Err(Lost::Elsewhere(_)) if many && s.peer.is_some() => elsewhere += 1,
            Err(Lost::Elsewhere(e) | Lost::Unclear(e)) => return Err(e),
        }
    }
    if logs.is_empty() {
        let message =
            format!("none of its {elsewhere} connections is in the capture, which has {}", list(flows));
        return Err(AppLogError::WhichFlow { message });
    }
    if elsewhere > 0 {
        notes.push(Note {
            code: "log-other-connections",
            count: elsewhere,
            message: "connections of the log are in no capture, and are left out".to_owned(),
        });
    }
    Ok(Bound { logs, notes })
}

/// What to add to the log's times.
fn shift(p: &Parsed, wanted: &Wanted, flows: &[Candidate], notes: &mut Vec<Note>) -> Ns {
    let mut by = 0i64;
    let mut note = |code, message: &str| notes.push(Note { code, count: 1, message: message.to_owned() });
    if !p.zoned {
        match wanted.zone {
            Some(east) => by -= east * SECOND,
            None => note(
                "log-no-zone",
                "the log names no time zone: its times are taken as UTC (--time-zone tells)",
            ),
        }
    }
    if !p.dated {
        let first = p.streams.iter().flat_map(|s| {
            let events = s.events.first().map(|e| e.start);
            events.into_iter().chain(s.open.map(|o| o.start))
        });
        let first = first.min().unwrap_or_default() + Ns(by);
        let captured = flows.iter().map(|f| f.span.start).min();
        match (wanted.day, captured) {
            (Some(day), _) => by += day * DAY,
            (None, Some(at)) => {
                // the day that brings the two begins closest to each other
                by += (at.since(first).0.saturating_add(DAY / 2)).div_euclid(DAY) * DAY;
                note("log-no-date", "the log has no date: the capture's is taken (--date tells)");
            }
            (None, None) => note("log-no-date", "the log has no date: 1970-01-01 is taken (--date tells)"),
        }
    }
    Ns(by)
}

/// Leaves the descriptor that the user named, or that alone can be meant.
fn choose_fd(streams: &mut Vec<Stream>, wanted: &Wanted) -> Result<(), AppLogError> {
    if let Some(fd) = wanted.fd {
        let known: Vec<String> = streams.iter().map(|s| s.label.clone()).collect();
        streams.retain(|s| s.fd == Some(fd));
        if streams.is_empty() {
            let message = format!("--app-log-fd {fd}: the log shows only {}", known.join(", "));
            return Err(AppLogError::WhichFlow { message });
        }
        return Ok(());
    }
    if streams.iter().any(|s| s.peer.is_some()) {
        streams.retain(|s| s.peer.is_some());
    }
    if streams.len() > 1 && streams.iter().all(|s| s.peer.is_none()) {
        let mut message =
            "several descriptors may be the connection, and nothing tells which; choose one with --app-log-fd N \
             (or record with `strace -yy`, which names the connections):"
                .to_owned();
        for s in streams.iter().take(12) {
            message.push_str(&format!("\n  {}: {}", s.label, told(s)));
        }
        return Err(AppLogError::WhichFlow { message });
    }
    Ok(())
}

/// What a stream holds, for people who must choose.
fn told(s: &Stream) -> String {
    let sum = |op: AppOp| {
        let of = s.events.iter().filter(|e| e.op == op);
        (of.clone().count(), of.map(|e| u64::from(e.len)).sum::<u64>())
    };
    let ((reads, read), (writes, written)) = (sum(AppOp::Read), sum(AppOp::Write));
    let slowest = s.events.iter().filter(|e| e.op == AppOp::Read).map(|e| e.end.since(e.start)).max();
    let slowest = slowest.map_or(String::new(), |w| format!(", the slowest read {w}"));
    format!("{reads} reads ({read} bytes), {writes} writes ({written} bytes){slowest}")
}

/// Why a stream has no place.
enum Lost {
    /// The captures do not show its connection.
    Elsewhere(AppLogError),
    /// Several would do.
    Unclear(AppLogError),
}

/// Adds a log; what two processes did with one connection is one log.
fn join(logs: &mut Vec<AppLog>, log: AppLog) {
    let same = |l: &&mut AppLog| (l.side, l.local, l.peer) == (log.side, log.local, log.peer);
    match logs.iter_mut().find(same) {
        Some(l) => {
            l.events.extend(log.events);
            l.events.sort_by_key(|e| (e.end, e.start));
            l.offsets_known = false;
        }
        None => logs.push(log),
    }
}

/// Side, local and peer address of a stream.
fn place(
    s: &Stream,
    wanted: &Wanted,
    flows: &[Candidate],
    notes: &mut Vec<Note>,
) -> Result<(Side, SocketAddr, SocketAddr), Lost> {
    let (local, peer) = match wanted.flow {
        Some((l, p)) => (Some(l), Some(p)),
        None => (s.local, s.peer),
    };
    let fits = |f: &Candidate, side: Side| {
        let (own, other) = match side {
            Side::Client => (f.client, f.server),
            Side::Server => (f.server, f.client),
        };
        s.side.is_none_or(|x| x == side || wanted.flow.is_some())
            && local.is_none_or(|l| same(l, own))
            && peer.is_none_or(|p| same(p, other))
    };
    let mut found = Vec::new();
    for f in flows {
        for side in [Side::Client, Side::Server] {
            let ends = match side {
                Side::Client => (side, f.client, f.server),
                Side::Server => (side, f.server, f.client),
            };
            if fits(f, side) && !found.contains(&ends) {
                found.push(ends);
            }
        }
    }
    if found.len() == 2
        && let [.., near] = flows.iter().map(|f| f.near).collect::<Vec<_>>().as_slice()
        && let Some(i) = found.iter().position(|x| Some(x.0) == *near)
        && (found[0].1, found[0].2) == (found[1].2, found[1].1)
    {
        // one connection: who kept a log usually kept the capture, too
        let only = found.swap_remove(i);
        notes.push(Note {
            code: "log-end-assumed",
            count: 1,
            message: format!(
                "nothing tells which end wrote the log: the {}'s is taken, where the capture was made \
                 (--app-log-flow tells)",
                only.0.as_str()
            ),
        });
        return Ok(only);
    }
    match (found.as_slice(), local, peer, s.side) {
        ([only], ..) => Ok(*only),
        // no capture, or one behind a translator: the log's own word
        ([], Some(l), Some(p), Some(side)) => Ok((side, l, p)),
        ([], ..) if flows.is_empty() => {
            Err(Lost::Elsewhere(which(s, "no capture shows a connection", flows)))
        }
        ([], ..) => Err(Lost::Elsewhere(which(s, "no connection of the capture has its addresses", flows))),
        _ => Err(Lost::Unclear(which(s, "nothing tells which connection, or which end of it", flows))),
    }
}

/// Same port, and same address unless one is the wildcard (a listening socket's).
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port()
        && (a.ip().to_canonical() == b.ip().to_canonical()
            || a.ip().is_unspecified()
            || b.ip().is_unspecified())
}

fn which(s: &Stream, why: &str, flows: &[Candidate]) -> AppLogError {
    let own = match (s.local, s.peer) {
        (Some(l), Some(p)) => format!(" ({l} to {p})"),
        (None, Some(p)) => format!(" (peer {p})"),
        (Some(l), None) => format!(" (own address {l})"),
        (None, None) => String::new(),
    };
    let message = format!(
        "{}{own}: {why}; the capture has {}\n  choose with --app-log-flow LOCAL,PEER, the log's own end first: \
         for example --app-log-flow {}",
        s.label,
        list(flows),
        flows
            .first()
            .map_or("10.0.0.2:40112,10.0.0.1:873".to_owned(), |f| format!("{},{}", f.client, f.server))
    );
    AppLogError::WhichFlow { message }
}

fn list(flows: &[Candidate]) -> String {
    const SHOWN: usize = 8;
    if flows.is_empty() {
        return "no connection".to_owned();
    }
    let mut names: Vec<String> =
        flows.iter().take(SHOWN).map(|f| format!("{} → {}", f.client, f.server)).collect();
    if flows.len() > SHOWN {
        names.push(format!("{} more", flows.len() - SHOWN));
    }
    names.join(", ")
}

fn finish(
    mut s: Stream,
    (side, local, peer): (Side, SocketAddr, SocketAddr),
    flows: &[Candidate],
    notes: &mut Vec<Note>,
) -> AppLog {
    if let Some(open) = s.open {
        let dir = if (side == Side::Client) == (open.op == AppOp::Write) { Dir::C2s } else { Dir::S2c };
        let (client, server) = if side == Side::Client { (local, peer) } else { (peer, local) };
        let own = || flows.iter().filter(|f| (f.client, f.server) == (client, server));
        // the log of a process that hangs ends when it began to; the capture may know it longer,
        // unless data moved on: then only the log ends there, and not the call
        let moved = own().filter_map(|f| f.moved[dir]).max().is_some_and(|m| m > open.start);
        let longer = own().filter(|_| !open.ended && !moved).map(|f| f.span.end).max();
        let end = longer.unwrap_or(open.seen).max(open.seen);
        if end > open.start {
            hung(&mut s, open, end, notes);
        }
    }
    AppLog {
        side,
        local,
        peer,
        events: s.events,
        files: Vec::new(),
        samples: Vec::new(),
        offsets_known: s.offsets_known,
    }
}

/// Adds the event of a call that got nothing.
fn hung(s: &mut Stream, open: Open, end: Ts, notes: &mut Vec<Note>) {
    let same = s.events.iter().filter(|e| e.op == open.op);
    let event = AppEvent {
        op: open.op,
        start: open.start,
        ready: None,
        end,
        offset: same.map(|e| e.offset.saturating_add(u64::from(e.len))).max().unwrap_or(0),
        len: 0,
        queued: None,
        phase: Phase::Other,
        file: None,
        block: None,
    };
    let what = if open.op == AppOp::Write { "write" } else { "read" };
    let until = match (open.ended, end == open.seen) {
        (true, _) => "its process",
        (_, true) => "the log",
        _ => "the capture",
    };
    notes.push(Note {
        code: "log-open-call",
        count: 1,
        message: format!(
            "{}: the last {what} got nothing; it is counted until {until} ends, {} after it began",
            s.label,
            end.since(open.start)
        ),
    });
    let at = s.events.partition_point(|e| e.end <= end);
    s.events.insert(at, event);
}
