//! One text for both taps: each line is a packet at its sender's tap, 20 ms from the other one.
//!
//! ```text
//! 0.101 s 1001:2001 lost          never reaches the other tap
//! 0.101 s 1001:2001 late 0.060    takes 60 ms longer
//!
//! client read 0.060 0.120 @0 +1000      who, what, begin, end, stream offset, bytes; !0.119: then poll said so
//! server work 0.120 0.900 delta         what it worked on
//! ```

use crate::script::{T0, connections};
use syncscope::correlate::{BuildInputs, CaptureInput, LogInput};
use syncscope::diagnose::build;
use syncscope::model::app::ClockOffset;
use syncscope::model::{AppEvent, AppLog, AppOp, Ns, Phase, Side, Span};
use syncscope::report::Report;
use syncscope::tcp::Connection;

/// Both taps' handshake; MSS 1000, SACK.
pub const HELLO: &str = "
    0.000 c S mss 1000 sack wscale 0
    0.020 s S mss 1000 sack wscale 0
    0.040 c . ack 1";

const TRANSIT: f64 = 0.020;

pub struct Case {
    packets: String,
    logs: String,
    slow: Ns,
    server_clock: Ns,
    control: Option<ClockOffset>,
    sides: Vec<Side>,
    more: f64,
}

impl Case {
    pub fn new(rest: &str) -> Case {
        Case {
            packets: format!("{HELLO}\n{rest}"),
            logs: String::new(),
            slow: Ns::from_millis(40),
            server_clock: Ns::ZERO,
            control: None,
            sides: vec![Side::Client, Side::Server],
            more: 0.0,
        }
    }

    pub fn logs(mut self, text: &str) -> Case {
        self.logs = text.to_owned();
        self
    }

    pub fn slow(mut self, slow: Ns) -> Case {
        self.slow = slow;
        self
    }

    pub fn server_clock(mut self, ahead: Ns) -> Case {
        self.server_clock = ahead;
        self
    }

    pub fn control(mut self, c: ClockOffset) -> Case {
        self.control = Some(c);
        self
    }

    pub fn only(mut self, side: Side) -> Case {
        self.sides = vec![side];
        self
    }

    pub fn no_captures(mut self) -> Case {
        self.sides.clear();
        self
    }

    pub fn only_hello(mut self) -> Case {
        self.packets = HELLO.to_owned();
        self
    }

    pub fn more(mut self, seconds: f64) -> Case {
        self.more = seconds;
        self
    }

    pub fn report(self) -> Report {
        let captures = self.sides.iter().map(|&s| self.capture(s)).collect();
        let logs = [Side::Client, Side::Server].into_iter().filter_map(|s| self.log(s)).collect();
        let r = build(BuildInputs {
            title: "case".to_owned(),
            slow_read: self.slow,
            captures,
            logs,
            clock: self.control,
            ..BuildInputs::default()
        });
        for read in &r.reads {
            assert_eq!(read.budget.total(), read.end.since(read.start), "{read:?}");
            let steps: Ns = read.steps.iter().map(|s| s.span.len()).sum();
            assert_eq!(steps, read.budget.total());
        }
        r
    }

    fn capture(&self, side: Side) -> CaptureInput {
        let conns = connections(&self.at_tap(side), self.more, 1_000, 2_000);
        let ahead = if side == Side::Server { self.server_clock } else { Ns::ZERO };
        let connections: Vec<Connection> = conns.into_iter().map(|c| later(c, ahead)).collect();
        let span = connections
            .iter()
            .map(|c| c.span)
            .reduce(|a, b| Span { start: a.start.min(b.start), end: a.end.max(b.end) });
        let end = Ns((self.more * 1e9) as i64);
        CaptureInput {
            name: format!("{}.pcapng", side.as_str()),
            side: Some(side),
            frames: connections.iter().map(|c| c.segments.len() as u64).sum(),
            span: span.map(|s| Span { end: s.end + end, ..s }),
            connections,
            ..CaptureInput::default()
        }
    }

    /// The packets in the order in which one tap saw them.
    fn at_tap(&self, side: Side) -> String {
        let mut lines: Vec<(f64, String)> = Vec::new();
        let (mut ids, mut acks, mut wins) = ([100, 30_000], [None, None], [8000, 8000]);
        for line in self.packets.lines().map(str::trim).filter(|l| !l.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let at: f64 = words[0].parse().expect("time");
            let who = usize::from(words[1] == "s");
            ids[who] += 1;
            let value = |name| words.iter().position(|w| *w == name).and_then(|i| words.get(i + 1));
            acks[who] = value("ack").map(|w| (*w).to_owned()).or(acks[who].take());
            if let Some(w) = value("win") {
                wins[who] = w.parse().expect("window");
            }
            let late: f64 = value("late").map_or(0.0, |w| w.parse().expect("late"));
            let mine = (who == 0) == (side == Side::Client);
            if !mine && words.contains(&"lost") {
                continue;
            }
            let t = if mine { at } else { at + TRANSIT + late };
            let rest = line.split_once(words[1]).expect("who").1;
            let rest = rest.split(" lost").next().unwrap_or(rest);
            let rest = rest.split(" late").next().unwrap_or(rest);
            let mut text = format!("{t:.6} {}{rest} id {} win {}", words[1], ids[who], wins[who]);
            if let (Some(a), None) = (&acks[who], value("ack")) {
                text.push_str(&format!(" ack {a}"));
            }
            lines.push((t, text));
        }
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        lines.into_iter().map(|l| l.1 + "\n").collect()
    }

    fn log(&self, side: Side) -> Option<LogInput> {
        let ahead = if side == Side::Server { self.server_clock } else { Ns::ZERO };
        let at = |w: &str| T0 + ahead + Ns((w.parse::<f64>().expect("time") * 1e9).round() as i64);
        let mut events: Vec<AppEvent> = Vec::new();
        for line in self.logs.lines().map(str::trim).filter(|l| l.starts_with(side.as_str())) {
            let w: Vec<&str> = line.split_whitespace().collect();
            let op = match w[1] {
                "read" => AppOp::Read,
                "write" => AppOp::Write,
                _ => AppOp::Work,
            };
            let number =
                |p: char| w.iter().find_map(|w| w.strip_prefix(p)).map_or(0, |n| n.parse().expect("n"));
            let phase = match w.get(4) {
                Some(&"delta") => Phase::Delta,
                Some(&"pace") => Phase::Pace,
                Some(&"patch") => Phase::Patch,
                Some(&"busy") => Phase::Busy,
                _ => Phase::Data,
            };
            events.push(AppEvent {
                op,
                start: at(w[2]),
                ready: w.iter().find_map(|w| w.strip_prefix('!')).map(at),
                end: at(w[3]),
                offset: number('@'),
                len: number('+') as u32,
                queued: None,
                phase,
                file: None,
                block: None,
            });
        }
        events.sort_by_key(|e| e.end);
        let (client, server) = ("192.0.2.1:40000".parse().ok()?, "192.0.2.2:873".parse().ok()?);
        let (local, peer) = if side == Side::Client { (client, server) } else { (server, client) };
        let log = AppLog { side, local, peer, events, files: vec![], samples: vec![], offsets_known: true };
        (!log.events.is_empty()).then(|| LogInput {
            name: format!("{}.events.json", side.as_str()),
            log,
            whole: None,
        })
    }
}

/// The same connection by a clock that is ahead.
fn later(mut c: Connection, by: Ns) -> Connection {
    c.span = Span { start: c.span.start + by, end: c.span.end + by };
    c.segments.iter_mut().for_each(|s| s.ts += by);
    for l in &mut c.losses {
        l.sent = l.sent.map(|t| t + by);
        l.repaired = l.repaired.map(|t| t + by);
    }
    for h in &mut c.holes {
        h.birth += by;
        h.death = h.death.map(|t| t + by);
    }
    for s in &mut c.stalls {
        s.start += by;
        s.end = s.end.map(|t| t + by);
    }
    for dir in syncscope::model::Dir::BOTH {
        c.acks[dir].iter_mut().for_each(|a| a.ts += by);
        c.rtt[dir].iter_mut().for_each(|r| r.ts += by);
        c.packets[dir].iter_mut().for_each(|p| p.ts += by);
    }
    c
}
