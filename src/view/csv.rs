//! The report as tables for spreadsheets (RFC 4180), one table a file.
//!
//! Times are UTC as text, for a spreadsheet's numbers are too short for nanoseconds; durations are seconds. A cell
//! that a spreadsheet would take for a formula begins with an apostrophe: names come from files and peers.

use crate::model::tcp::{HalfStats, Stall, words};
use crate::model::units::printable;
use crate::model::{Dir, FlowId, Ns, Ts};
use crate::report::{Finding, FlowReport, ReadReport, Report};
use crate::view::words::{frames, input_name};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};

words! {
    /// What a table has a row for.
    Rows {
        /// A connection, as one capture saw it.
        Flows = "flows",
        /// A finding.
        Findings = "findings",
        /// A slow read.
        Reads = "reads",
        /// A time without progress.
        Stalls = "stalls",
        /// Bytes that did not arrive.
        Losses = "losses",
        /// A segment that is not `new`, or any segment.
        Segments = "segments",
    }
}

/// Writes one table with its head.
pub fn write(report: &Report, rows: Rows, out: &mut impl Write) -> io::Result<()> {
    match rows {
        Rows::Flows => flows(report, out),
        Rows::Findings => findings(report, out),
        Rows::Reads => reads(report, out),
        Rows::Stalls => stalls(report, out),
        Rows::Losses => losses(report, out),
        Rows::Segments => segments(report, out),
    }
}

fn flows(report: &Report, out: &mut impl Write) -> io::Result<()> {
    const WHO: [&str; 12] = [
        "flow",
        "capture",
        "client",
        "client_port",
        "server",
        "server_port",
        "start",
        "seconds",
        "handshake",
        "ended",
        "tap",
        "handshake_rtt_s",
    ];
    const WAY: [&str; 10] = [
        "packets",
        "bytes",
        "bytes_resent",
        "resent_mss",
        "rtt_min_s",
        "rtt_median_s",
        "rtt_p99_s",
        "zero_windows",
        "window_max",
        "dup_acks",
    ];
    const ALL: [&str; 4] = ["retransmissions", "spurious", "stalls", "stalled_s"];
    let ways = ["c2s", "s2c"].into_iter().flat_map(|d| WAY.map(|w| format!("{d}_{w}")));
    let head = WHO.into_iter().map(str::to_owned).chain(ways).chain(ALL.map(str::to_owned));
    row(out, head)?;
    let mut stalls: BTreeMap<(FlowId, u16), Vec<&Stall>> = BTreeMap::new();
    for s in &report.stalls {
        stalls.entry((s.flow, s.input)).or_default().push(s);
    }
    for f in &report.flows {
        let own = stalls.get(&(f.flow, f.input)).map_or(&[][..], Vec::as_slice);
        let stalled: Ns = own.iter().map(|s| s.end.unwrap_or(f.span.end).since(s.start)).sum();
        let rest = [
            number(f.retransmissions.iter().map(|(_, n)| n).sum::<u64>()),
            number(f.spurious),
            number(own.len()),
            seconds(stalled),
        ];
        row(
            out,
            who(report, f).into_iter().chain(Dir::BOTH.into_iter().flat_map(|d| way(&f.dirs[d]))).chain(rest),
        )?;
    }
    Ok(())
}

fn who(report: &Report, f: &FlowReport) -> [String; 12] {
    [
        number(f.flow.0),
        text(&input_name(report, f.input)),
        text(&f.client.ip().to_string()),
        number(f.client.port()),
        text(&f.server.ip().to_string()),
        number(f.server.port()),
        utc(f.span.start),
        seconds(f.span.len()),
        f.handshake.to_string(),
        text(&f.ended),
        f.tap.position.to_string(),
        maybe(f.irtt, seconds),
    ]
}

fn way(h: &HalfStats) -> [String; 10] {
    [
        number(h.packets),
        number(h.bytes),
        number(h.bytes_resent),
        number(h.resent_mss),
        maybe(h.rtt_min, seconds),
        maybe(h.rtt_p50, seconds),
        maybe(h.rtt_p99, seconds),
        number(h.zero_windows),
        maybe(h.window_max, number),
        number(h.dup_acks),
    ]
}

fn findings(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let head = [
        "code",
        "severity",
        "confidence",
        "owner",
        "flow",
        "dir",
        "start",
        "end",
        "count",
        "cost_s",
        "message",
        "evidence",
        "next",
    ];
    row(out, head.map(str::to_owned))?;
    for f in &report.findings {
        row(out, finding(report, f))?;
    }
    Ok(())
}

fn finding(report: &Report, f: &Finding) -> [String; 13] {
    [
        text(&f.code),
        f.severity.to_string(),
        format!("{:.2}", f.confidence),
        f.owner.to_string(),
        maybe(f.flow, |f| number(f.0)),
        maybe(f.dir, |d| d.to_string()),
        utc(f.span.start),
        utc(f.span.end),
        number(f.count),
        seconds(f.cost),
        text(&f.message),
        text(&frames(report, &f.evidence, 32)),
        text(&f.next),
    ]
}

fn reads(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let head =
        ["flow", "dir", "reader", "start", "seconds", "offset", "bytes", "phase", "file", "owner", "cause"];
    let parts = crate::report::Budget::default().parts().map(|(p, _)| format!("{}_s", p.replace('-', "_")));
    row(out, head.map(str::to_owned).into_iter().chain(parts))?;
    for r in &report.reads {
        row(out, read(r).into_iter().chain(r.budget.parts().map(|(_, ns)| seconds(ns))))?;
    }
    Ok(())
}

fn read(r: &ReadReport) -> [String; 11] {
    [
        number(r.flow.0),
        r.dir.to_string(),
        r.side.as_str().to_owned(),
        utc(r.start),
        seconds(r.end - r.start),
        number(r.offset),
        number(r.len),
        r.phase.as_str().to_owned(),
        text(r.file.as_deref().unwrap_or_default()),
        r.owner.to_string(),
        r.cause.to_string(),
    ]
}

fn stalls(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let head = [
        "capture",
        "flow",
        "dir",
        "start",
        "end",
        "seconds",
        "owner",
        "cause",
        "confidence",
        "timeouts",
        "resends",
        "outstanding",
        "frames",
    ];
    row(out, head.map(str::to_owned))?;
    for s in &report.stalls {
        let frames: Vec<String> = s.evidence.iter().map(ToString::to_string).collect();
        row(
            out,
            [
                text(&input_name(report, s.input)),
                number(s.flow.0),
                s.dir.to_string(),
                utc(s.start),
                maybe(s.end, utc),
                seconds(s.end.unwrap_or(report.span.end).since(s.start)),
                s.owner.to_string(),
                s.cause.to_string(),
                format!("{:.2}", s.confidence),
                maybe(s.detail.timeouts, number),
                maybe(s.detail.resends, number),
                maybe(s.detail.outstanding, number),
                text(&frames.join(" ")),
            ],
        )?;
    }
    Ok(())
}

fn losses(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let head = [
        "capture",
        "flow",
        "dir",
        "first_byte",
        "bytes",
        "where",
        "sent",
        "sent_frame",
        "repaired",
        "repair_frame",
    ];
    row(out, head.map(str::to_owned))?;
    for l in &report.losses {
        row(
            out,
            [
                text(&input_name(report, l.input)),
                number(l.flow.0),
                l.dir.to_string(),
                number(l.range.start.0),
                number(l.range.len()),
                l.location.to_string(),
                maybe(l.sent, utc),
                maybe(l.sent_frame, number),
                maybe(l.repaired, utc),
                maybe(l.repair_frame, number),
            ],
        )?;
    }
    Ok(())
}

fn segments(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let head = [
        "capture", "frame", "flow", "dir", "time", "seq", "bytes", "class", "cause", "resend", "spurious",
        "of",
    ];
    row(out, head.map(str::to_owned))?;
    for s in &report.segments {
        row(
            out,
            [
                text(&input_name(report, s.input)),
                number(s.frame),
                number(s.flow.0),
                s.dir.to_string(),
                utc(s.ts),
                number(s.seq.0),
                number(s.len),
                s.class.to_string(),
                maybe(s.cause, |c| c.to_string()),
                maybe(s.resend, number),
                maybe(s.spurious, |s| s.proof.to_string()),
                maybe(s.of, number),
            ],
        )?;
    }
    Ok(())
}

/// Every cell comes from one of the functions below, so nothing else needs quotes.
fn row(out: &mut impl Write, cells: impl IntoIterator<Item = String>) -> io::Result<()> {
    let cells: Vec<String> = cells.into_iter().collect();
    write!(out, "{}\r\n", cells.join(","))
}

/// A cell with words.
fn text(s: &str) -> String {
    let s = printable(s);
    // full-width signs count as well, and blanks before them do not
    let formula = s.trim_start().starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠']);
    let s = if formula { format!("'{s}") } else { s };
    if s.contains(['"', ',', ';', '\t']) { format!("\"{}\"", s.replace('"', "\"\"")) } else { s }
}

fn number(n: impl ToString) -> String {
    n.to_string()
}

/// Exact, to the nanosecond.
fn seconds(n: Ns) -> String {
    let sign = if n.0 < 0 { "-" } else { "" };
    let ns = n.0.unsigned_abs();
    format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

/// `2026-11-21T12:38:17.000000001Z`.
fn utc(ts: Ts) -> String {
    chrono::DateTime::from_timestamp_nanos(ts.0).format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
}

fn maybe<T>(value: Option<T>, show: impl FnOnce(T) -> String) -> String {
    value.map(show).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        assert_eq!(text("a, \"b\""), "\"a, \"\"b\"\"\"");
        assert_eq!(text("=1+1"), "'=1+1");
        assert_eq!(text("  @SUM(A1)"), "'  @SUM(A1)");
        assert_eq!(text("－1"), "'－1");
        assert_eq!(text("a\r\n=b"), "a\u{fffd}\u{fffd}=b");
        assert_eq!(seconds(Ns(-1_500_000_001)), "-1.500000001");
        assert_eq!(utc(Ts(1_795_264_697_000_000_001)), "2026-11-21T12:38:17.000000001Z");
    }
}
