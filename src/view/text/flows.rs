//! The connections: a paragraph each where they are few, a row each where they are many.

use super::more;
use super::page::{Column, Page, Table};
use crate::model::Dir;
use crate::model::tcp::HalfStats;
use crate::model::units::{bits_per_second, bytes, count};
use crate::report::{FlowReport, InputKind, Report};
use crate::view::words::{Tone, flow_ids, flow_name, input_name, percent};
use std::io::{self, Write};

const MAX_FLOWS: usize = 12;
/// More connections than this get a row each instead of a paragraph.
const FULL_FLOWS: usize = 3;

pub(super) fn write<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    if report.flows.is_empty() {
        page.heading("FLOWS", "  no TCP connection was seen")?;
        return Ok(());
    }
    let mut shown: Vec<&FlowReport> = report.flows.iter().collect();
    let connections = flow_ids(report).len();
    page.heading(
        "FLOWS",
        &if connections > 1 { format!("  {connections} connections") } else { String::new() },
    )?;
    if shown.len() > MAX_FLOWS {
        shown.sort_by_key(|f| std::cmp::Reverse(f.dirs.c2s.bytes.saturating_add(f.dirs.s2c.bytes)));
        shown.truncate(MAX_FLOWS);
        shown.sort_by_key(|f| (f.flow, f.input));
    }
    let several = report.inputs.iter().filter(|i| i.kind == InputKind::Capture).count() > 1;
    if connections > FULL_FLOWS {
        flow_table(report, &shown, several, page)?;
    } else {
        let mut last = None;
        for f in &shown {
            if last != Some(f.flow) {
                flow_head(report, f, page)?;
                last = Some(f.flow);
            }
            flow(report, f, several, page)?;
        }
    }
    more(page, report.flows.len() - shown.len(), "flows")
}

/// Many connections: a row each.
fn flow_table<W: Write>(
    report: &Report,
    shown: &[&FlowReport],
    several: bool,
    page: &mut Page<'_, W>,
) -> io::Result<()> {
    let resent = |f: &FlowReport| match f.dirs.c2s.bytes_resent.saturating_add(f.dirs.s2c.bytes_resent) {
        0 => "–".to_owned(),
        n => bytes(n),
    };
    let rtt = |f: &FlowReport| {
        // The longer one: the other is between the tap and its own host.
        let longer = f.dirs.c2s.rtt_p50.max(f.dirs.s2c.rtt_p50);
        longer.map_or_else(|| "–".to_owned(), |ns| ns.to_string())
    };
    let table = Table {
        columns: vec![
            Column::new("flow", true, 0),
            Column::new("client → server", false, 0),
            Column::new("capture", false, if several { 3 } else { 9 }),
            Column::new("c2s", true, 0),
            Column::new("s2c", true, 0),
            Column::new("resent", true, 1),
            Column::new("RTT", true, 2),
            Column::new("lasted", true, 4),
            Column::new("ended", false, 5),
        ],
        rows: shown
            .iter()
            .map(|f| {
                vec![
                    (Tone::Dim, f.flow.0.to_string()),
                    (Tone::Plain, flow_name(report, f.flow)),
                    (Tone::Dim, if several { input_name(report, f.input) } else { String::new() }),
                    (Tone::Plain, bytes(f.dirs.c2s.bytes)),
                    (Tone::Plain, bytes(f.dirs.s2c.bytes)),
                    (Tone::Warn, resent(f)),
                    (Tone::Plain, rtt(f)),
                    (Tone::Dim, f.span.len().to_string()),
                    (Tone::Dim, f.ended.clone()),
                ]
            })
            .collect(),
    };
    table.write(page, 2)
}

fn flow_head<W: Write>(report: &Report, f: &FlowReport, page: &mut Page<'_, W>) -> io::Result<()> {
    let mut facts = format!("{}, {}, ended: {}", flow_name(report, f.flow), f.span.len(), f.ended);
    if !f.handshake {
        facts.push_str(", handshake not seen");
    }
    if let Some(rtt) = f.irtt {
        facts.push_str(&format!(", handshake RTT {rtt}"));
    }
    page.paragraph(2, &format!("{} ", f.flow.0), Tone::Plain, &facts)
}

fn flow<W: Write>(report: &Report, f: &FlowReport, several: bool, page: &mut Page<'_, W>) -> io::Result<()> {
    let mut tap = format!("tap {}", f.tap.position);
    if several {
        tap = format!("{}: {tap}", input_name(report, f.input));
    }
    if !f.tap.because.is_empty() {
        tap.push_str(&format!(" ({})", f.tap.because));
    }
    page.paragraph(4, "", Tone::Dim, &tap)?;
    for dir in Dir::BOTH {
        let d = &f.dirs[dir];
        let mut text = format!(
            "{}, {} packets, {}",
            bytes(d.bytes),
            count(d.packets),
            bits_per_second(d.bytes, f.span.len().0)
        );
        if d.bytes_resent > 0 {
            text.push_str(&format!(
                "; resent {} ({} MSS, {})",
                bytes(d.bytes_resent),
                count(d.resent_mss),
                percent(d.bytes_resent.min(i64::MAX as u64) as i64, d.bytes.min(i64::MAX as u64) as i64)
            ));
        }
        if let Some(p50) = d.rtt_p50 {
            let low = d.rtt_min.unwrap_or(p50);
            let high = d.rtt_p99.unwrap_or(p50);
            text.push_str(&format!("; RTT {low} / {p50} / {high} (min/median/99 %)"));
        }
        if d.zero_windows > 0 {
            text.push_str(&format!("; window closed ×{}", count(d.zero_windows)));
        }
        if d.dup_acks > 0 {
            text.push_str(&format!("; {} duplicate ACKs", count(d.dup_acks)));
        }
        if let Some(paced) = paced_by(d) {
            text.push_str(&format!("; paced by {paced}"));
        }
        page.paragraph(4, &format!("{dir}  "), Tone::Plain, &text)?;
    }
    let mut counts: Vec<String> = Vec::new();
    let again = f.segments.of("retransmission");
    if again > 0 {
        let causes: Vec<String> =
            f.retransmissions.iter().filter(|(_, n)| *n > 0).map(|(c, n)| format!("{c} {n}")).collect();
        counts.push(format!("{again} retransmissions ({})", causes.join(", ")));
    }
    if f.spurious > 0 {
        counts.push(format!("{} spurious", f.spurious));
    }
    for (c, n) in f.segments.iter() {
        if n > 0 && c != "new" && c != "retransmission" {
            counts.push(format!("{n} {c}"));
        }
    }
    page.paragraph(4, "", Tone::Plain, &counts.join("; "))
}

/// What its sender waited for, the largest part first; parts below 5 % are left out.
fn paced_by(d: &HalfStats) -> Option<String> {
    let limits = d.limits.as_deref()?;
    let total = limits.total();
    let mut parts = limits.parts();
    parts.sort_by_key(|p| std::cmp::Reverse(p.1));
    let large = parts.iter().filter(|p| p.1.0 > 0 && p.1.scaled(20, 1) >= total);
    let said: Vec<String> = large
        .map(|(name, t)| {
            let name = match *name {
                "application" => "the application",
                "receive-window" => "the receive window",
                "recovery" => "repairs",
                "congestion-window" => "the congestion window",
                "send-buffer" => "the send buffer",
                "path-rate" => "the rate of the path",
                _ => "not decided",
            };
            format!("{name} {}", percent(t.0, total.0))
        })
        .collect();
    (!said.is_empty()).then(|| said.join(", "))
}
