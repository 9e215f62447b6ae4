//! Lays captures and logs on top of each other: one clock, one numbering of flows and of bytes.

use super::clock::{self, Clock, Sighting};
use super::input::{BuildInputs, CaptureInput};
use super::stream::Stream;
use super::thin::Whole;
use super::{hull, place, same, shift, sight};
use crate::model::app::ClockOffset;
use crate::model::tcp::TapPosition;
use crate::model::{AppLog, AppOp, Dir, FlowId, Ns, PerDir, RelSeq, Side, Span};
use crate::report::{ClockFit, Input, InputKind, PairedBy, Quality, Severity};
use crate::tcp::Connection;
use std::collections::HashMap;
use std::net::SocketAddr;

/// All evidence, on the clock of the first input.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// As the report lists them: captures, then logs.
    pub inputs: Vec<Input>,
    /// In order of number.
    pub flows: Vec<Flow>,
    /// Faults of the evidence.
    pub quality: Vec<Quality>,
    /// First to last event.
    pub span: Span,
    /// How the second capture lies on the first, where there are two.
    pub laid: Option<Laid>,
}

/// Two captures laid on each other.
#[derive(Clone, Debug, Default)]
pub struct Laid {
    /// Near whose end the first was taken, compared with the second.
    pub near: Option<Side>,
    /// The second's clock.
    pub clock: Option<ClockFit>,
    /// When each ran, on the clock of the first.
    pub spans: [Span; 2],
}

/// One connection, with everything that is known about it.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Its number.
    pub id: FlowId,
    /// Who connected.
    pub client: SocketAddr,
    /// Who listened.
    pub server: SocketAddr,
    /// As each capture saw it, in order of input.
    pub taps: Vec<TapView>,
    /// The client's log, if any.
    pub client_log: Option<LogView>,
    /// The server's.
    pub server_log: Option<LogView>,
    /// Shortest time on the path, measured between two taps or estimated from round trips.
    pub transit: PerDir<Option<Ns>>,
    /// For each direction: byte 0 of the applications' streams is known to be sequence number 1.
    pub offsets: PerDir<bool>,
    /// Why the second tap's connection is this one, and what the path added to its sequence numbers.
    pub same: Option<(PairedBy, PerDir<u32>)>,
}

/// A connection as one capture saw it.
#[derive(Clone, Debug)]
pub struct TapView {
    /// Index into the report's inputs.
    pub input: u16,
    /// Near whose end the capture was taken.
    pub side: Option<Side>,
    /// Times on the report's clock, sequence numbers on the flow's base.
    pub conn: Connection,
}

/// One application's log.
#[derive(Clone, Debug)]
pub struct LogView {
    /// Index into the report's inputs.
    pub input: u16,
    /// Times on the report's clock.
    pub log: AppLog,
    /// How many reads it had before it was thinned.
    pub reads: u64,
}

impl Flow {
    /// The log of one end.
    pub fn log(&self, side: Side) -> Option<&LogView> {
        match side {
            Side::Client => self.client_log.as_ref(),
            Side::Server => self.server_log.as_ref(),
        }
    }

    /// The tap near one end.
    pub fn tap(&self, side: Side) -> Option<&TapView> {
        self.taps.iter().find(|t| t.side == Some(side))
    }

    /// The tap near the sender of a direction; a single one somewhere between stands in for it, since
    /// what passed it had been sent.
    pub fn sender_tap(&self, dir: Dir) -> Option<&TapView> {
        self.tap(sender(dir)).or(match self.taps.as_slice() {
            [only] if only.side.is_none() => Some(only),
            _ => None,
        })
    }

    /// The tap near the receiver of a direction.
    pub fn receiver_tap(&self, dir: Dir) -> Option<&TapView> {
        self.tap(sender(dir).flip())
    }
}

/// Who sends this way.
pub fn sender(dir: Dir) -> Side {
    match dir {
        Dir::C2s => Side::Client,
        Dir::S2c => Side::Server,
    }
}

/// The direction that an end sends in.
pub fn dir_of(sender: Side) -> Dir {
    match sender {
        Side::Client => Dir::C2s,
        Side::Server => Dir::S2c,
    }
}

/// Joins the inputs.
pub fn align(b: &mut BuildInputs) -> World {
    let mut w = World::default();
    let mut sides: Vec<Option<Side>> = Vec::new();
    let mut clocks: Vec<Option<Clock>> = Vec::new();
    let mut told_sides: Vec<Option<Side>> = Vec::new();
    let mut nearer = HashMap::new();
    let (mut laid, mut spans) = (None::<Laid>, [Span::default(); 2]);
    let captures = std::mem::take(&mut b.captures);
    let pairs_needed = captures.len() > 1;
    for (i, mut c) in captures.into_iter().enumerate() {
        let input = u16::try_from(i).unwrap_or(u16::MAX);
        let connections = std::mem::take(&mut c.connections);
        told_sides.push(c.side);
        let mut side = c.side.or_else(|| side_by_position(&connections));
        if side.is_none() && !pairs_needed && b.logs.len() == 1 {
            side = b.logs.first().map(|l| l.log.side);
        }
        let (mut placed, seen) = place(&mut w.flows, connections);
        let mut clock = (i == 0).then(Clock::default);
        let mut guess = None;
        if i > 0 {
            let first_side = sides.first().copied().flatten();
            let told = told_sides[0].or(c.side.map(Side::flip));
            let Found { fit, one_way, near, each } =
                between(&seen, told, first_side.or(side.map(Side::flip)));
            let estimate = fit.as_ref().map(hull::line);
            if let Some(near) = near {
                // which of two taps is nearer to whom is seen; where each stands is a guess
                sides[0] = Some(near);
                side = Some(near.flip());
            }
            let told = control(b.clock, sides.first().copied().flatten(), side);
            check_clocks(&mut w.quality, estimate.map(|e| e.told()), told, input);
            clock = match (estimate, told) {
                (Some(e), Some(t)) if t.bound < e.bound => {
                    Some(Clock { offset: t.offset, bound: t.bound, ..e })
                }
                (e, t) => e.or(t.map(Clock::from)),
            };
            if clock.is_none() {
                w.quality.push(clock_unknown(input, &c.name));
            }
            laid = Some(Laid { near, clock: fit, spans });
            nearer = each;
            guess = one_way;
        }
        let by = clock.or(guess).unwrap_or_default();
        for (flow, conn) in &mut placed {
            shift::connection(conn, &by, PerDir::default());
            number(conn, *flow, input);
        }
        let ran = c.span.map(|s| shift::span(s, &by)).unwrap_or_default();
        match (i, &mut laid) {
            (0, _) => spans[0] = ran,
            (_, Some(l)) => l.spans[1] = ran,
            _ => {}
        }
        for (flow, conn) in placed {
            let view = TapView { input, side, conn };
            if let Some(f) = w.flows.get_mut(flow.0 as usize) {
                // One, and not the four that a list begins with.
                f.taps.reserve_exact(1);
                f.taps.push(view);
            }
        }
        sides.push(side);
        clocks.push(clock);
        describe(&mut w, &c, side, if i == 0 { None } else { clock }, &by);
    }
    w.laid = laid;
    // the first capture may have learnt its side only from the second
    for f in &mut w.flows {
        for t in &mut f.taps {
            t.side = t.side.or(sides.get(usize::from(t.input)).copied().flatten());
            if let Some(&near) = nearer.get(&f.id) {
                t.side = Some(if t.input == 0 { near } else { near.flip() });
            }
        }
    }
    for (input, side) in w.inputs.iter_mut().zip(&sides) {
        input.side = *side;
    }
    w.quality.append(&mut b.quality);
    logs(b, &mut w, &sides, &clocks);
    for f in &mut w.flows {
        let placed = [Side::Client, Side::Server].map(|side| place::log(f, side));
        for dir in Dir::BOTH {
            f.transit[dir] = sight::transit(f, dir);
            let by_capture = f.taps.iter().all(|t| t.conn.offsets_known) || placed[index(sender(dir).flip())];
            f.offsets[dir] = by_capture || number_by_log(f, dir);
        }
    }
    w
}

fn side_by_position(connections: &[Connection]) -> Option<Side> {
    let (mut client, mut server) = (0.0, 0.0);
    for c in connections {
        let weight = c.tap.confidence * (c.segments.len() as f64 + 1.0);
        match c.tap.position {
            TapPosition::ClientHost | TapPosition::NearClient => client += weight,
            TapPosition::ServerHost | TapPosition::NearServer => server += weight,
            TapPosition::Middle | TapPosition::Unknown => {}
        }
    }
    if client > server * 2.0 && client > 0.0 {
        Some(Side::Client)
    } else if server > client * 2.0 && server > 0.0 {
        Some(Side::Server)
    } else {
        None
    }
}

/// Things of one flow that both of two taps saw, per direction: `near` is the clock of the first tap.
struct Seen {
    flow: FlowId,
    dirs: PerDir<Vec<Sighting>>,
    /// Which tap has more packets of each direction: on the way they only get fewer.
    more: PerDir<std::cmp::Ordering>,
}

impl Seen {
    /// Near whose end the first tap was: packets do not arrive before they are sent.
    fn near(&self) -> Option<Side> {
        let ahead = |d: Dir| self.dirs[d].iter().map(|s| s.far.since(s.near).0);
        let round = |near: Side| {
            let (there, back) = (ahead(dir_of(near)).min()?, ahead(dir_of(near.flip())).max()?);
            Some(there.saturating_sub(back))
        };
        let (client, server) = (round(Side::Client)?, round(Side::Server)?);
        match client.cmp(&server) {
            std::cmp::Ordering::Greater => Some(Side::Client),
            std::cmp::Ordering::Less => Some(Side::Server),
            std::cmp::Ordering::Equal => None,
        }
    }

    /// The same, where only one direction was seen twice.
    fn nearer_by_count(&self) -> Option<Side> {
        let dir = Dir::BOTH.into_iter().find(|&d| !self.dirs[d].is_empty())?;
        match self.more[dir] {
            std::cmp::Ordering::Greater => Some(sender(dir)),
            std::cmp::Ordering::Less => Some(sender(dir).flip()),
            std::cmp::Ordering::Equal => None,
        }
    }
}

/// Finds each connection's flow, or makes a new one; lays its bytes on the flow's base.
fn place(flows: &mut Vec<Flow>, connections: Vec<Connection>) -> (Vec<(FlowId, Connection)>, Vec<Seen>) {
    let mut out = Vec::with_capacity(connections.len());
    let mut seen = Vec::new();
    let found = same::find(flows, &connections);
    if flows.is_empty() {
        flows.reserve_exact(connections.len());
    }
    for (mut conn, found) in connections.into_iter().zip(found) {
        let flow = if let Some((m, f)) = found.and_then(|m| Some((m, flows.get_mut(m.flow)?))) {
            if m.turned {
                shift::turn(&mut conn);
            }
            f.same = Some((m.by, m.shift));
            if let Some(first) = f.taps.first_mut() {
                for dir in Dir::BOTH {
                    conn.isn[dir].0 = conn.isn[dir].0.wrapping_sub(m.shift[dir]);
                }
                rebase(&mut first.conn, &mut conn);
                let mut dirs = PerDir::<Vec<Sighting>>::default();
                for dir in Dir::BOTH {
                    sight::sightings(&first.conn, &conn, dir, &mut dirs[dir]);
                }
                let count = |d: Dir| first.conn.packets[d].len().cmp(&conn.packets[d].len());
                let more = PerDir { c2s: count(Dir::C2s), s2c: count(Dir::S2c) };
                seen.push(Seen { flow: f.id, dirs, more });
            }
            f.id
        } else {
            let id = FlowId(u32::try_from(flows.len()).unwrap_or(u32::MAX));
            flows.push(Flow {
                id,
                client: conn.client,
                server: conn.server,
                taps: Vec::new(),
                client_log: None,
                server_log: None,
                transit: PerDir::default(),
                offsets: PerDir::default(),
                same: None,
            });
            id
        };
        out.push((flow, conn));
    }
    (out, seen)
}

fn canonical(a: SocketAddr) -> SocketAddr {
    SocketAddr::new(a.ip().to_canonical(), a.port())
}

/// Gives both views the numbering of the one that saw the handshake, else of the earlier bytes.
fn rebase(first: &mut Connection, second: &mut Connection) {
    let mut a = PerDir::default();
    let mut b = PerDir::default();
    for d in Dir::BOTH {
        let diff = i64::from(second.isn[d].diff(first.isn[d]));
        if second.handshake && !first.handshake {
            a[d] = -diff;
        } else {
            b[d] = diff;
        }
    }
    if (a.c2s, a.s2c) != (0, 0) {
        shift::connection(first, &Clock::default(), a);
        first.offsets_known |= second.offsets_known;
    }
    if (b.c2s, b.s2c) != (0, 0) {
        shift::connection(second, &Clock::default(), b);
        second.offsets_known |= first.offsets_known;
    }
}

/// What two captures say of each other.
struct Found {
    fit: Option<ClockFit>,
    one_way: Option<Clock>,
    near: Option<Side>,
    each: HashMap<FlowId, Side>,
}

/// The second capture's clock against the first's, and near whose end the first was taken: as somebody said, or as
/// the packets have it, flow by flow (between two gateways, clients may be on both sides), or as each tap alone looks.
fn between(seen: &[Seen], told: Option<Side>, looks: Option<Side>) -> Found {
    let mut near: HashMap<FlowId, Side> =
        seen.iter().filter_map(|s| Some((s.flow, told.or_else(|| s.near())?))).collect();
    let weight = |side: Side| -> usize {
        let of = seen.iter().filter(|s| near.get(&s.flow) == Some(&side));
        of.map(|s| s.dirs.c2s.len() + s.dirs.s2c.len()).sum()
    };
    let most = match weight(Side::Client).cmp(&weight(Side::Server)) {
        std::cmp::Ordering::Greater => Some(Side::Client),
        std::cmp::Ordering::Less => Some(Side::Server),
        std::cmp::Ordering::Equal => None,
    };
    let usual = told.or(most).or_else(|| seen.iter().find_map(Seen::nearer_by_count)).or(looks);
    let (mut there, mut back) = (Vec::new(), Vec::new());
    for s in seen {
        // taps at one place: either is as good
        let side = near.get(&s.flow).copied().or(usual).unwrap_or(Side::Client);
        if near.is_empty() || near.contains_key(&s.flow) {
            there.extend_from_slice(&s.dirs[dir_of(side)]);
            back.extend_from_slice(&s.dirs[dir_of(side.flip())]);
        }
    }
    let fit = hull::fit(&there, &back);
    // a connection of one direction, among others: the clock says who saw it first
    for s in seen.iter().filter(|_| told.is_none()) {
        if let (Some(f), false) = (&fit, near.contains_key(&s.flow))
            && let Some((dir, one)) = Dir::BOTH.iter().find_map(|&d| Some((d, s.dirs[d].first()?)))
        {
            let first = one.far.since(one.near) >= f.offset;
            near.insert(s.flow, if first { sender(dir) } else { sender(dir).flip() });
        }
    }
    let usual = usual.or_else(|| (!seen.is_empty()).then_some(Side::Client));
    Found { fit, one_way: hull::one_way(&there, &back), near: usual, each: near }
}

/// The control connection's word on the second capture's clock against the first's.
fn control(c: Option<ClockOffset>, first: Option<Side>, second: Option<Side>) -> Option<ClockOffset> {
    match (c, first, second) {
        (Some(c), Some(Side::Client), Some(Side::Server)) => Some(c),
        (Some(c), Some(Side::Server), Some(Side::Client)) => Some(clock::flip(c)),
        (Some(_), Some(a), Some(b)) if a == b => Some(ClockOffset::default()),
        _ => None,
    }
}

fn check_clocks(q: &mut Vec<Quality>, a: Option<ClockOffset>, b: Option<ClockOffset>, input: u16) {
    if let (Some(a), Some(b)) = (a, b)
        && !clock::agree(a, b)
    {
        q.push(Quality {
            input: Some(input),
            code: "clock-disagreement".to_owned(),
            severity: Severity::Warning,
            count: 1,
            message: format!(
                "the packets say that the clocks are {} ± {} apart, the control connection says {} ± {}; the \
                 tighter one is used, times between the two hosts may be wrong by the difference",
                a.offset, a.bound, b.offset, b.bound
            ),
        });
    }
}

fn clock_unknown(input: u16, name: &str) -> Quality {
    Quality {
        input: Some(input),
        code: "clock-unknown".to_owned(),
        severity: Severity::Warning,
        count: 1,
        message: format!(
            "nothing tells how far the clock of {} is from that of the first input; it is taken as the same",
            crate::model::units::printable(name)
        ),
    }
}

fn number(conn: &mut Connection, flow: FlowId, input: u16) {
    conn.flow = flow;
    for s in &mut conn.segments {
        (s.flow, s.input) = (flow, input);
    }
    for l in &mut conn.losses {
        (l.flow, l.input) = (flow, input);
    }
    for h in &mut conn.holes {
        (h.flow, h.input) = (flow, input);
    }
    for s in &mut conn.stalls {
        (s.flow, s.input) = (flow, input);
    }
}

fn describe(w: &mut World, c: &CaptureInput, side: Option<Side>, clock: Option<Clock>, by: &Clock) {
    let input = u16::try_from(w.inputs.len()).unwrap_or(u16::MAX);
    if let Some(s) = c.span {
        widen(&mut w.span, shift::span(s, by));
    }
    w.quality.extend(c.quality.iter().cloned().map(|q| Quality { input: Some(input), ..q }));
    w.inputs.push(Input {
        kind: InputKind::Capture,
        name: c.name.clone(),
        side,
        frames: c.frames,
        tcp: c.tcp,
        span: c.span,
        clock: clock.map(|c| c.told()),
        dropped: c.dropped,
        skipped: c.skipped.clone(),
        files: c.files.clone(),
    });
}

fn widen(all: &mut Span, s: Span) {
    if *all == Span::default() {
        *all = s;
    } else {
        *all = Span { start: all.start.min(s.start), end: all.end.max(s.end) };
    }
}

/// Puts each log beside its flow, on the report's clock.
fn logs(b: &mut BuildInputs, w: &mut World, sides: &[Option<Side>], clocks: &[Option<Clock>]) {
    let mut known: [Option<Clock>; 2] = [None, None];
    for (side, clock) in sides.iter().zip(clocks) {
        if let (Some(s), Some(c)) = (side, clock) {
            known[index(*s)] = known[index(*s)].or(Some(*c));
        }
    }
    let inputs = std::mem::take(&mut b.logs);
    if sides.is_empty()
        && let Some(first) = inputs.first()
    {
        known[index(first.log.side)] = Some(Clock::default());
    }
    if let Some(c) = b.clock {
        match known {
            [Some(client), None] => known[1] = Some(add(client, c)),
            [None, Some(server)] => known[0] = Some(add(server, clock::flip(c))),
            [None, None] => known = [Some(Clock::default()), Some(c.into())],
            _ => {}
        }
    }
    for l in inputs {
        let input = u16::try_from(w.inputs.len()).unwrap_or(u16::MAX);
        let mut log = l.log;
        let whole = l.whole.unwrap_or_else(|| Whole::of(&log));
        let span = whole.span;
        let flow = flow_of(&mut w.flows, &log);
        let same_host = known[index(log.side)];
        let clock =
            same_host.or_else(|| w.flows.get(flow).and_then(|f| sight::log_clock(f, &log).map(Clock::from)));
        if clock.is_none() && input > 0 && sides.iter().any(Option::is_some) {
            w.quality.push(clock_unknown(input, &l.name));
        }
        let by = clock.unwrap_or_default();
        shift::log(&mut log, &by);
        if let Some(s) = span {
            widen(&mut w.span, shift::span(s, &by));
        }
        w.inputs.push(Input {
            kind: InputKind::AppLog,
            name: l.name,
            side: Some(log.side),
            frames: whole.events,
            tcp: 0,
            span,
            clock: clock.filter(|_| input > 0).map(|c| c.told()),
            dropped: None,
            skipped: Default::default(),
            files: Vec::new(),
        });
        if let Some(f) = w.flows.get_mut(flow) {
            let side = log.side;
            let view = Some(LogView { input, log, reads: whole.reads });
            match side {
                Side::Client => f.client_log = f.client_log.take().or(view),
                Side::Server => f.server_log = f.server_log.take().or(view),
            }
        }
    }
}

/// A capture that began in mid-stream takes its numbers from the reader's log: a read that had to
/// wait found the buffer empty, so its first byte is the first one that had not arrived yet.
fn number_by_log(f: &mut Flow, dir: Dir) -> bool {
    let side = sender(dir).flip();
    let Some(log) = f.log(side).map(|l| &l.log).filter(|l| l.offsets_known) else { return false };
    let Some(tap) = f.tap(side) else { return false };
    let stream = Stream::new(tap, dir);
    let mut waits: Vec<_> = log.events.iter().filter(|e| e.op == AppOp::Read && e.len > 0).collect();
    waits.sort_by_key(|e| std::cmp::Reverse(e.end.since(e.start)));
    let shifts: Vec<i64> = waits
        .iter()
        .take(5)
        .filter(|e| e.start >= tap.conn.span.start && e.end <= tap.conn.span.end + Ns::from_millis(100))
        .filter_map(|e| {
            let next = stream.frontier_at(e.start)?;
            let arrived = stream.contiguous(next)?;
            let waited = arrived.ts > e.start && arrived.ts <= e.end;
            waited.then(|| RelSeq::from_stream_offset(e.offset).0.saturating_sub(next.0))
        })
        .collect();
    let Some(&first) = shifts.first() else { return false };
    if shifts.iter().any(|&s| s != first) {
        return false;
    }
    let mut by = PerDir::default();
    by[dir] = first;
    for t in &mut f.taps {
        shift::connection(&mut t.conn, &Clock::default(), by);
    }
    true
}

fn index(s: Side) -> usize {
    match s {
        Side::Client => 0,
        Side::Server => 1,
    }
}

fn add(a: Clock, b: ClockOffset) -> Clock {
    Clock { offset: a.offset + b.offset, bound: a.bound + b.bound, ..a }
}

/// The flow that a log belongs to: same addresses, else same ports (NAT), else the only one.
fn flow_of(flows: &mut Vec<Flow>, log: &AppLog) -> usize {
    let (client, server) = match log.side {
        Side::Client => (log.local, log.peer),
        Side::Server => (log.peer, log.local),
    };
    // behind NAT, each tap has its own addresses
    let any = |f: &Flow, same: &dyn Fn(SocketAddr, SocketAddr) -> bool| {
        same(f.client, f.server) || f.taps.iter().any(|t| same(t.conn.client, t.conn.server))
    };
    let same =
        |f: &Flow| any(f, &|c, s| canonical(c) == canonical(client) && canonical(s) == canonical(server));
    let ports = |f: &Flow| any(f, &|c, s| c.port() == client.port() && s.port() == server.port());
    let found = flows.iter().position(|f| same(f) && f.log(log.side).is_none());
    let found = found.or_else(|| flows.iter().position(|f| ports(f) && f.log(log.side).is_none()));
    let found = found.or_else(|| (flows.len() == 1 && flows[0].log(log.side).is_none()).then_some(0));
    found.unwrap_or_else(|| {
        let id = FlowId(u32::try_from(flows.len()).unwrap_or(u32::MAX));
        flows.push(Flow {
            id,
            client,
            server,
            taps: Vec::new(),
            client_log: None,
            server_log: None,
            transit: PerDir::default(),
            offsets: PerDir::default(),
            same: None,
        });
        flows.len() - 1
    })
}
