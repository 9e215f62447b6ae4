//! The report for a ticket: Markdown as GitHub, GitLab and Jira's importers take it.
//!
//! Names come from files and peers, so nothing in them is taken for markup, and no frame number looks like the
//! number of an issue (`#12`).

use crate::model::units::{bytes, count, printable};
use crate::model::{Dir, Ns};
use crate::report::{Evidence, Finding, InputKind, Report};
use crate::view::words::{flow_ids, flow_of, frame_place, percent, since};
use std::io::{self, Write};

/// Longer lists end in `… and N more`.
const MAX_FINDINGS: usize = 12;
const MAX_READS: usize = 10;
const MAX_FLOWS: usize = 20;
const MAX_NOTES: usize = 12;
const MAX_FRAMES: usize = 8;

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let v = &report.verdict;
    writeln!(out, "## {}: {}\n", v.kind.as_str().to_uppercase(), plain(&report.meta.title))?;
    if !v.sentence.is_empty() {
        writeln!(out, "**{}**\n", plain(&v.sentence))?;
    }
    findings(report, out)?;
    reads(report, out)?;
    flows(report, out)?;
    quality(report, out)?;
    inputs(report, out)
}

fn findings(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "### Findings\n")?;
    if report.findings.is_empty() {
        return writeln!(out, "None.\n");
    }
    let mut advice: Vec<&str> = Vec::new();
    for f in report.findings.iter().take(MAX_FINDINGS) {
        writeln!(out, "- {}", headline(report, f))?;
        writeln!(out, "  {}", plain(&f.message))?;
        let shown = frames(report, &f.evidence);
        if !shown.is_empty() {
            writeln!(out, "  Evidence: {shown}.")?;
        }
        // The same advice is given once.
        if !f.next.is_empty() && !advice.contains(&f.next.as_str()) {
            advice.push(&f.next);
            writeln!(out, "  *Next:* {}", plain(&f.next))?;
        }
    }
    writeln!(out)?;
    more(out, report.findings.len(), MAX_FINDINGS)
}

/// What, how bad, whose, when; a line break after it.
fn headline(report: &Report, f: &Finding) -> String {
    let mut line = format!("**{}** ({}, {}", code(&f.code), f.severity, f.owner);
    if f.count > 1 {
        line.push_str(&format!(", {} times", count(f.count)));
    }
    if f.cost > Ns::ZERO {
        line.push_str(&format!(", cost {}", f.cost));
    }
    if f.confidence < 0.95 {
        line.push_str(&format!(", confidence {:.0} %", f.confidence * 100.0));
    }
    let (from, to) = (since(report, f.span.start), since(report, f.span.end));
    line.push_str(&if f.count > 1 { format!(") {from} to {to}\\") } else { format!(") {from}\\") });
    line
}

fn reads(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.reads.is_empty() {
        return Ok(());
    }
    let total: Ns = report.reads.iter().map(|r| r.end - r.start).sum();
    writeln!(out, "### Slow reads\n")?;
    writeln!(
        out,
        "{} took {} or longer, {total} together; the longest:\n",
        count(report.reads.len() as u64),
        report.meta.slow_read
    )?;
    writeln!(
        out,
        "| when | waited | mostly | why | owner | reader |\n| ---: | ---: | --- | --- | --- | --- |"
    )?;
    let mut longest: Vec<_> = report.reads.iter().collect();
    longest.sort_by_key(|r| (std::cmp::Reverse(r.end - r.start), r.start));
    for r in longest.iter().take(MAX_READS) {
        let wait = r.end - r.start;
        let (part, ns) = r.budget.largest();
        writeln!(
            out,
            "| {} | {wait} | {part} {} | {} | {} | {} |",
            since(report, r.start),
            percent(ns.0, wait.0),
            r.cause,
            r.owner,
            r.side.as_str()
        )?;
    }
    writeln!(out)?;
    more(out, report.reads.len(), MAX_READS)
}

fn flows(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut ids = flow_ids(report);
    if ids.is_empty() {
        return Ok(());
    }
    let volume = |id| {
        let f = flow_of(report, id);
        f.map_or(0, |f| f.dirs.c2s.bytes.saturating_add(f.dirs.s2c.bytes))
    };
    ids.sort_by_key(|id| (std::cmp::Reverse(volume(*id)), *id));
    writeln!(out, "### Connections\n")?;
    writeln!(out, "| flow | client | server | c2s | s2c | resent | RTT | lasted | ended |")?;
    writeln!(out, "| ---: | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |")?;
    for f in ids.iter().take(MAX_FLOWS).filter_map(|id| flow_of(report, *id)) {
        let rtt = Dir::BOTH.iter().filter_map(|d| f.dirs[*d].rtt_min).max();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            f.flow.0,
            code(&f.client.to_string()),
            code(&f.server.to_string()),
            bytes(f.dirs.c2s.bytes),
            bytes(f.dirs.s2c.bytes),
            bytes(f.dirs.c2s.bytes_resent.saturating_add(f.dirs.s2c.bytes_resent)),
            rtt.map_or_else(|| "–".to_owned(), |r| r.to_string()),
            f.span.len(),
            plain(&f.ended)
        )?;
    }
    writeln!(out)?;
    more(out, ids.len(), MAX_FLOWS)
}

fn quality(report: &Report, out: &mut impl Write) -> io::Result<()> {
    if report.quality.is_empty() {
        return Ok(());
    }
    writeln!(out, "### Quality of the evidence\n")?;
    for q in report.quality.iter().take(MAX_NOTES) {
        let times = if q.count > 1 { format!(" ×{}", count(q.count)) } else { String::new() };
        writeln!(out, "- {}{times} ({}): {}", code(&q.code), q.severity, plain(&q.message))?;
    }
    writeln!(out)?;
    more(out, report.quality.len(), MAX_NOTES)
}

fn inputs(report: &Report, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "### Inputs\n")?;
    for i in report.inputs.iter().take(MAX_NOTES) {
        let what = match i.kind {
            InputKind::Capture => format!("{} frames, {} TCP", count(i.frames), count(i.tcp)),
            InputKind::AppLog => format!("{} application events", count(i.frames)),
        };
        let when = i.span.map_or_else(String::new, |s| {
            let from = chrono::DateTime::from_timestamp_nanos(s.start.0).format("%Y-%m-%d %H:%M:%S UTC");
            format!(", {} from {from}", s.len())
        });
        writeln!(out, "- {}: {what}{when}", code(&i.name))?;
    }
    writeln!(out)?;
    more(out, report.inputs.len(), MAX_NOTES)?;
    writeln!(out, "{}", plain(&report.meta.tool))
}

fn more(out: &mut impl Write, all: usize, shown: usize) -> io::Result<()> {
    match all.saturating_sub(shown) {
        0 => Ok(()),
        n => writeln!(out, "… and {n} more.\n"),
    }
}

/// `` frames 12, 15 of `client.pcapng`; 11 of `server.pcapng` ``.
fn frames(report: &Report, evidence: &[Evidence]) -> String {
    let mut of: Vec<(String, Vec<String>)> = Vec::new();
    for e in evidence.iter().take(MAX_FRAMES) {
        let (file, frame) = frame_place(report, *e);
        match of.last_mut() {
            Some((last, frames)) if *last == file => frames.push(frame.to_string()),
            _ => of.push((file, vec![frame.to_string()])),
        }
    }
    let told = of.iter().map(|(file, n)| {
        let frames = if n.len() == 1 { "frame" } else { "frames" };
        format!("{frames} {} of {}", n.join(", "), code(file))
    });
    let told: Vec<String> = told.collect();
    let hidden = evidence.len().saturating_sub(MAX_FRAMES);
    let more = if hidden > 0 { format!("; and {hidden} more") } else { String::new() };
    format!("{}{more}", told.join("; "))
}

/// Words in which nothing is markup.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in printable(text).chars() {
        if matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '#' | '!' | '$') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

/// A name as it is. A table has no other way to show a bar, code none for a backtick.
fn code(text: &str) -> String {
    let inside = printable(text).replace('`', "'").replace('|', "¦");
    if inside.trim().is_empty() { "–".to_owned() } else { format!("`{inside}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(plain("<b>a|b</b> [x](y) #12"), "\\<b\\>a\\|b\\</b\\> \\[x\\](y) \\#12");
        assert_eq!(code("a`b|c\x1b"), "`a'b¦c\u{fffd}`");
    }
}
