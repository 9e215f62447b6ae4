//! Two captures of the same traffic: clocks, delays, what was lost between them, what only one has.
//!
//! ```text
//! COMPARISON  A client.pcapng (nearer the client), B server.pcapng
//!   clock    B is 3.21 ms ahead of A: ± 20.1 ms proven, whatever the path; ± 61 µs if the fastest packet takes …
//!   drift    B runs 12.3 ± 0.4 ppm faster
//!   overlap  12.4 s of A's 12.5 s and B's 12.4 s
//!   delays   each may be wrong by the clock's error; there and back together are exact
//!   way  segments  lost  bytes lost  ACKs unseen  delay min  median  99 %
//!
//! LOST BETWEEN A AND B  21 segments, 30.4 kB
//! ONLY IN ONE CAPTURE, AND NOT LOST BY THE NETWORK
//! ```

use super::page::{Column, Page, Table};
use super::{MAX_NOTES, more};
use crate::model::units::{bytes, count};
use crate::model::{Dir, FrameNo, Ns, Span, StreamRange};
use crate::report::{
    ClockFit, Comparison, CrossingLoss, LossProof, Missing, MissingWhy, PairedBy, PairedFlow, Report,
};
use crate::view::words::{Tone, input_name, since};
use std::io::{self, Write};

const MAX_LOSSES: usize = 20;
const MAX_FLOWS: usize = 12;
/// Connections behind NAT that are named.
const MAX_NAMES: usize = 4;

pub(super) fn write<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    let Some(c) = &report.comparison else { return Ok(()) };
    let place = |near| match c.a_near {
        Some(side) => format!(" (nearer the {})", if near { side } else { side.flip() }.as_str()),
        None => String::new(),
    };
    page.heading("COMPARISON", "")?;
    page.paragraph(2, "A        ", Tone::Plain, &format!("{}{}", input_name(report, 0), place(true)))?;
    page.paragraph(2, "B        ", Tone::Plain, &format!("{}{}", input_name(report, 1), place(false)))?;
    page.paragraph(2, "clock    ", Tone::Plain, &clock(c))?;
    if let Some(text) = drift(c) {
        page.paragraph(2, "drift    ", Tone::Plain, &text)?;
    }
    page.paragraph(2, "overlap  ", Tone::Plain, &overlap(report, c))?;
    page.paragraph(2, "same     ", Tone::Plain, &paired(c))?;
    let moved = || c.paired.iter().filter(|p| p.by != PairedBy::Addresses && p.a != p.b);
    for p in moved().take(MAX_NAMES) {
        let text = format!("{} → {} in A is {} → {} in B", p.a.client, p.a.server, p.b.client, p.b.server);
        page.paragraph(11, "", Tone::Dim, &text)?;
    }
    more(page, moved().count().saturating_sub(MAX_NAMES), "such connections")?;
    crossings(c, page)?;
    losses(report, c, page)?;
    missing(report, c, page)
}

fn clock(c: &Comparison) -> String {
    let Some(fit) = &c.clock else {
        return "unknown: no packet of one direction is in both captures, so delays cannot be told"
            .to_owned();
    };
    let way = if fit.offset < Ns::ZERO { "behind" } else { "ahead of" };
    let size = if fit.offset < Ns::ZERO { -fit.offset } else { fit.offset };
    let told = match exact(size).as_str() {
        "0 µs" => "B agrees with A".to_owned(),
        size => format!("B is {size} {way} A"),
    };
    format!(
        "{told}; proven ± {} (the fastest way from tap to tap and back takes {}), ± {} if both ways are \
         equally fast",
        fit.bound(),
        fit.round_trip,
        fit.symmetric.min(fit.bound())
    )
}

/// An offset to the microsecond, however large.
fn exact(ns: Ns) -> String {
    let us = ns.0 as f64 / 1e3;
    match us {
        u if u < 1e3 => format!("{u:.0} µs"),
        u if u < 1e6 => format!("{:.3} ms", u / 1e3),
        u => format!("{:.6} s", u / 1e6),
    }
}

fn drift(c: &Comparison) -> Option<String> {
    let d = c.clock.as_ref()?.drift?;
    Some(if d.ppm.abs() > d.error {
        let way = if d.ppm > 0.0 { "faster" } else { "slower" };
        format!("B runs {:.2} ± {:.2} ppm {way}; times are corrected for it", d.ppm.abs(), d.error)
    } else {
        format!("none seen (less than {:.2} ppm)", d.error.max(0.01))
    })
}

fn overlap(report: &Report, c: &Comparison) -> String {
    let of = |i: usize| report.inputs.get(i).and_then(|x| x.span).map_or(Ns::ZERO, Span::len);
    match c.overlap {
        Some(o) => format!("{} of A's {} and B's {}", o.len(), of(0), of(1)),
        None => format!("none: A covers {}, B covers {}, at different times", of(0), of(1)),
    }
}

fn paired(c: &Comparison) -> String {
    let by = |by: PairedBy| c.paired.iter().filter(|p| p.by == by).count() as u64;
    let ways: Vec<(u64, &str)> = [
        (by(PairedBy::Addresses), "by address"),
        (by(PairedBy::Packets), "by packets, addresses differ (NAT)"),
        (by(PairedBy::Content), "by content, sequence numbers are moved on the way"),
    ]
    .into_iter()
    .filter(|w| w.0 > 0)
    .collect();
    let all = connections(c.paired.len() as u64);
    let mut text = match ways.as_slice() {
        [(_, one)] => format!("{all}, {one}"),
        several => {
            let parts: Vec<String> = several.iter().map(|(n, w)| format!("{} {w}", count(*n))).collect();
            format!("{all}: {}", parts.join(", "))
        }
    };
    for input in [0, 1] {
        let only = c.unpaired.iter().filter(|u| u.input == input).count() as u64;
        if only > 0 {
            text.push_str(&format!("; {} only in {}", count(only), tap(input)));
        }
    }
    text
}

fn connections(n: u64) -> String {
    format!("{} connection{}", count(n), if n == 1 { "" } else { "s" })
}

fn segments(n: u64) -> String {
    format!("{} segment{}", count(n), if n == 1 { "" } else { "s" })
}

/// One connection needs no number.
fn plain(table: Table, c: &Comparison) -> Table {
    if c.paired.len() > 1 { table } else { table.without("flow") }
}

fn crossings<W: Write>(c: &Comparison, page: &mut Page<'_, W>) -> io::Result<()> {
    let mut shown: Vec<&PairedFlow> = c.paired.iter().collect();
    let volume = |p: &&PairedFlow| p.dirs.c2s.bytes.saturating_add(p.dirs.s2c.bytes);
    shown.sort_by_key(|p| std::cmp::Reverse(volume(p)));
    shown.truncate(MAX_FLOWS);
    shown.sort_by_key(|p| p.flow);
    let table = Table {
        columns: vec![
            Column::new("flow", true, 0),
            Column::new("way", false, 0),
            Column::new("segments", true, 0),
            Column::new("lost", true, 0),
            Column::new("bytes lost", true, 2),
            Column::new("ACKs unseen", true, 3),
            Column::new("delay min", true, 0),
            Column::new("median", true, 1),
            Column::new("99 %", true, 0),
        ],
        rows: shown.iter().flat_map(|p| Dir::BOTH.map(|d| row(p, d))).collect(),
    };
    page.blank()?;
    plain(table, c).write(page, 2)?;
    more(page, c.paired.len() - shown.len(), "connections")?;
    if let Some(fit) = c
        .clock
        .as_ref()
        .filter(|_| shown.iter().any(|p| Dir::BOTH.iter().any(|&d| p.dirs[d].delay.is_some())))
    {
        page.paragraph(2, "", Tone::Dim, &delays_are(fit))?;
    }
    Ok(())
}

fn delays_are(fit: &ClockFit) -> String {
    format!(
        "Delays run from tap to tap. Each way is known to ± {}: what one way is less, the other is more.",
        fit.bound()
    )
}

fn row(p: &PairedFlow, d: Dir) -> Vec<(Tone, String)> {
    let s = &p.dirs[d];
    let delay =
        |f: fn(&crate::report::Delay) -> Ns| s.delay.as_ref().map_or("–".to_owned(), |d| f(d).to_string());
    let lost = if s.lost > 0 { Tone::Bad } else { Tone::Plain };
    let acks = match (s.acks, s.acks_missing) {
        (0, _) => "–".to_owned(),
        (_, 0) => "0".to_owned(),
        (all, some) => format!("{} of {}", count(some), count(all)),
    };
    vec![
        (Tone::Dim, p.flow.0.to_string()),
        (Tone::Plain, d.to_string()),
        (Tone::Plain, count(s.sent)),
        (lost, count(s.lost)),
        (lost, bytes(s.bytes_lost)),
        (if s.acks_missing > 0 { Tone::Warn } else { Tone::Dim }, acks),
        (Tone::Plain, delay(|d| d.min)),
        (Tone::Plain, delay(|d| d.median)),
        (Tone::Plain, delay(|d| d.p99)),
    ]
}

fn losses<W: Write>(report: &Report, c: &Comparison, page: &mut Page<'_, W>) -> io::Result<()> {
    if c.losses.is_empty() {
        return page.heading("LOST BETWEEN A AND B", "  nothing");
    }
    let all: u64 = c.losses.iter().map(|l| l.range.len()).sum();
    page.heading("LOST BETWEEN A AND B", &format!("  {}, {}", segments(c.losses.len() as u64), bytes(all)))?;
    let runs = runs(&c.losses);
    let table = Table {
        columns: vec![
            Column::new("sent", true, 0),
            Column::new("flow", true, 3),
            Column::new("way", false, 0),
            Column::new("bytes", true, 0),
            Column::new("segments", true, 4),
            Column::new("frames", false, 0),
            Column::new("copy", true, 5),
            Column::new("repaired", true, 0),
            Column::new("by", false, 2),
        ],
        rows: runs.iter().take(MAX_LOSSES).map(|r| loss_row(report, r)).collect(),
    };
    plain(table, c).write(page, 2)?;
    more(page, runs.len().saturating_sub(MAX_LOSSES), "losses")
}

/// Neighbours that were lost one after the other, a row each: a flight of segments is one thing to look at.
fn runs(losses: &[CrossingLoss]) -> Vec<Vec<&CrossingLoss>> {
    let mut out: Vec<Vec<&CrossingLoss>> = Vec::new();
    for l in losses {
        let fits = |last: &CrossingLoss| {
            let same = |x: &CrossingLoss| (x.flow, x.dir, x.copies_before, x.proof, x.repaired.is_some());
            same(last) == same(l) && last.range.end == l.range.start
        };
        match out.last_mut().filter(|run| run.last().is_some_and(|last| fits(last))) {
            Some(run) => run.push(l),
            None => out.push(vec![l]),
        }
    }
    out
}

fn loss_row(report: &Report, run: &[&CrossingLoss]) -> Vec<(Tone, String)> {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Vec::new() };
    let tap = tap(first.frame.input);
    let longest = run.iter().filter_map(|l| Some(l.repaired?.since(l.sent))).max();
    let repaired = match (longest, first.proof) {
        (Some(t), _) => format!("after {t}"),
        (None, LossProof::NotSeen) => "needless".to_owned(),
        // the first capture has no such copy, the second has
        (None, LossProof::Repaired) => "unseen".to_owned(),
        (None, LossProof::Unanswered) => "never".to_owned(),
    };
    let frames = |a: FrameNo, b: FrameNo| if a == b { format!("#{a}") } else { format!("#{a}–{b}") };
    let repairs = || run.iter().filter_map(|l| l.repair_frame);
    let by = repairs().min().zip(repairs().max()).map_or(String::new(), |(a, b)| frames(a, b));
    let tone = if first.proof == LossProof::Unanswered { Tone::Bad } else { Tone::Plain };
    let range = StreamRange::new(first.range.start, last.range.end);
    vec![
        (Tone::Plain, since(report, first.sent)),
        (Tone::Dim, first.flow.0.to_string()),
        (Tone::Plain, first.dir.to_string()),
        (Tone::Strong, range.to_string()),
        (Tone::Plain, count(run.len() as u64)),
        (Tone::Plain, format!("{tap} {}", frames(first.frame.frame, last.frame.frame))),
        (Tone::Dim, (first.copies_before + 1).to_string()),
        (tone, repaired),
        (Tone::Dim, by),
    ]
}

fn missing<W: Write>(report: &Report, c: &Comparison, page: &mut Page<'_, W>) -> io::Result<()> {
    if c.missing.is_empty() && c.unpaired.is_empty() {
        return Ok(());
    }
    page.heading("ONLY IN ONE CAPTURE", "  not lost by the network")?;
    // what the captures do not share in time comes first: it is much and says little
    let mut shown: Vec<&Missing> = c.missing.iter().collect();
    shown.sort_by_key(|m| m.why == MissingWhy::CaptureDrop);
    let table = Table {
        columns: vec![
            Column::new("in", false, 0),
            Column::new("flow", true, 3),
            Column::new("way", false, 0),
            Column::new("segments", true, 4),
            Column::new("bytes", true, 0),
            Column::new("when", true, 0),
            Column::new("frames", false, 2),
            Column::new("why", false, 0),
        ],
        rows: shown.iter().take(MAX_NOTES).map(|m| missing_row(report, m)).collect(),
    };
    if !shown.is_empty() {
        plain(table, c).write(page, 2)?;
    }
    more(page, shown.len().saturating_sub(MAX_NOTES), "entries")?;
    for u in c.unpaired.iter().take(MAX_NOTES) {
        let why =
            if u.outside { format!(", {} was not running then", other(u.input)) } else { String::new() };
        let text = format!(
            "{} → {}, {} packets from {} on{why}",
            u.client,
            u.server,
            count(u.packets),
            since(report, u.span.start)
        );
        page.paragraph(2, &format!("{}  ", tap(u.input)), Tone::Plain, &text)?;
    }
    more(page, c.unpaired.len().saturating_sub(MAX_NOTES), "connections")
}

fn missing_row(report: &Report, m: &Missing) -> Vec<(Tone, String)> {
    let frames = if m.first_frame == m.last_frame {
        format!("#{}", m.first_frame)
    } else {
        format!("#{}–{}", m.first_frame, m.last_frame)
    };
    let why = match m.why {
        MissingWhy::BeforeStart => format!("{} had not begun", other(m.input)),
        MissingWhy::AfterEnd => format!("{} had ended", other(m.input)),
        MissingWhy::CaptureDrop => format!("{} missed it", other(m.input)),
    };
    vec![
        (Tone::Strong, tap(m.input).to_owned()),
        (Tone::Dim, m.flow.0.to_string()),
        (Tone::Plain, m.dir.to_string()),
        (Tone::Plain, count(m.segments)),
        (Tone::Plain, m.range.to_string()),
        (Tone::Plain, since(report, m.span.start)),
        (Tone::Dim, frames),
        (Tone::Plain, why),
    ]
}

fn tap(input: u16) -> &'static str {
    if input == 0 { "A" } else { "B" }
}

fn other(input: u16) -> &'static str {
    tap(u16::from(input == 0))
}
