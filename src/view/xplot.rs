//! The time-sequence graph of one direction as xplot and jPlotter read it, drawn as tcptrace draws it.
//!
//! ```text
//!  sequence   ┌────── yellow: how far the receive window reaches
//!  number     │   ↕  white: a segment, from its first to its last byte; red and a letter where it is no new data
//!             └────── green: what the receiver has acknowledged
//!              time
//! ```

use crate::model::tcp::SegmentClass;
use crate::model::units::printable;
use crate::model::{Dir, Ts};
use crate::tcp::{AckPoint, Connection};
use crate::view::words::segment_letter;
use std::io::{self, Write};

/// Writes one graph.
pub fn write(c: &Connection, dir: Dir, out: &mut impl Write) -> io::Result<()> {
    let (from, to) = match dir {
        Dir::C2s => (c.client, c.server),
        Dir::S2c => (c.server, c.client),
    };
    let highest = c.segments.iter().filter(|s| s.dir == dir).map(|s| s.range().end.0).max().unwrap_or(0);
    // xplot's own numbers end at 2^32
    let kind = if highest > i64::from(u32::MAX) / 2 { "double" } else { "unsigned" };
    let title = printable(&format!("{from}_==>_{to} (time sequence graph)"));
    writeln!(out, "timeval {kind}\ntitle\n{title}\nxlabel\ntime\nylabel\nsequence number")?;
    segments(c, dir, out)?;
    staircase(&c.acks[dir], "green", |a| Some(a.ack.0), out)?;
    staircase(&c.acks[dir], "yellow", |a| Some(a.ack.0.saturating_add(i64::try_from(a.window?).ok()?)), out)?;
    for a in c.acks[dir].iter().filter(|a| a.window == Some(0)) {
        writeln!(out, "purple\natext {} {}\nZ", time(a.ts), y(a.ack.0))?;
    }
    writeln!(out, "go")
}

fn segments(c: &Connection, dir: Dir, out: &mut impl Write) -> io::Result<()> {
    for s in c.segments.iter().filter(|s| s.dir == dir) {
        let range = s.range();
        let (t, first, end) = (time(s.ts), y(range.start.0), y(range.end.0));
        let color = match s.class {
            SegmentClass::New if s.syn || s.fin => "orange",
            SegmentClass::New => "white",
            SegmentClass::Retransmission => "red",
            SegmentClass::Reordered => "pink",
            SegmentClass::NetworkDuplicate | SegmentClass::CaptureDuplicate => "blue",
            SegmentClass::KeepAlive | SegmentClass::WindowProbe => "purple",
            SegmentClass::Undecided => "magenta",
        };
        writeln!(out, "{color}\ndarrow {t} {first}\nuarrow {t} {end}\nline {t} {first} {t} {end}")?;
        let mark = match (s.syn, s.fin, segment_letter(s)) {
            (_, _, Some((letter, _))) => letter.to_string(),
            (true, _, None) => "SYN".to_owned(),
            (_, true, None) => "FIN".to_owned(),
            _ => continue,
        };
        writeln!(out, "atext {t} {end}\n{mark}")?;
    }
    Ok(())
}

/// A line that keeps its height until the next point.
fn staircase(
    points: &[AckPoint],
    color: &str,
    height: impl Fn(&AckPoint) -> Option<i64>,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut before: Option<(Ts, i64)> = None;
    for (ts, h) in points.iter().filter_map(|p| Some((p.ts, height(p)?))) {
        if let Some((t0, h0)) = before {
            let (t0, t1, h0, h1) = (time(t0), time(ts), y(h0), y(h));
            writeln!(out, "{color}\nline {t0} {h0} {t1} {h0}\nline {t1} {h0} {t1} {h1}")?;
        }
        before = Some((ts, h));
    }
    Ok(())
}

/// Seconds and microseconds, as `struct timeval`.
fn time(ts: Ts) -> String {
    let us = ts.0.max(0) / 1_000;
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}

/// A sequence number; what comes before the first byte known has no place on the graph.
fn y(seq: i64) -> i64 {
    seq.max(0)
}
