//! The report for people: the verdict first, then why, then the evidence.
//!
//! ```text
//! DEGRADED  Reads waited 5.8 s …                   the answer
//! demo: sync over an emulated link
//!
//! COMPARISON                                       two captures only: clocks, delays, losses between
//! FINDINGS                                         what, whose fault, how bad, what to do
//! SLOW READS                                       where the time went, read by read
//! FLOWS                                            numbers per direction
//! QUALITY                                          how far the evidence carries
//! INPUTS, RUN
//! ```

mod comparison;
mod flows;
mod page;

use crate::model::Ns;
use crate::model::units::{bytes, count};
use crate::report::{Finding, ReadReport, Report, Severity};
use crate::view::layout;
use crate::view::words::{
    Tone, bar_letters, frames, input_name, owner_tone, part_letter, part_tone, percent, severity_letter,
    severity_tone, since, verdict_tone,
};
use page::{Column, Page, Table};
use std::io::{self, Write};

/// How to write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// With colour escapes.
    pub color: bool,
    /// Columns; kept between 40 and 160.
    pub width: usize,
    /// With what two captures say of each other, if there are two.
    pub comparison: bool,
}

impl Default for TextOptions {
    /// For a file or pipe: no colour, 100 columns.
    fn default() -> TextOptions {
        TextOptions { color: false, width: 100, comparison: false }
    }
}

/// A longer list ends in `… and N more`.
const MAX_FINDINGS: usize = 12;
const MAX_READS: usize = 15;
const MAX_NOTES: usize = 12;
const MAX_FRAMES: usize = 6;

/// Writes the report.
pub fn write(report: &Report, out: &mut impl Write, options: TextOptions) -> io::Result<()> {
    let mut page = Page::new(out, options.color, options.width.clamp(40, 160));
    verdict(report, &mut page)?;
    if options.comparison {
        comparison::write(report, &mut page)?;
    }
    findings(report, &mut page)?;
    reads(report, &mut page)?;
    flows::write(report, &mut page)?;
    quality(report, &mut page)?;
    inputs(report, &mut page)?;
    run(report, &mut page)
}

fn verdict<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    let v = &report.verdict;
    let word = v.kind.as_str().to_uppercase();
    let label = format!("{word}  ");
    let room = page.width.saturating_sub(layout::width(&label));
    let sentence = crate::model::units::printable(&v.sentence);
    for (i, l) in layout::wrap(&sentence, room).iter().enumerate() {
        let lead = if i == 0 { label.clone() } else { " ".repeat(layout::width(&label)) };
        page.line(&[(verdict_tone(v.kind), &lead), (Tone::Plain, l)])?;
    }
    if sentence.is_empty() {
        page.line(&[(verdict_tone(v.kind), &word)])?;
    }
    let live = if report.meta.live { "  (still running)" } else { "" };
    page.line(&[
        (Tone::Dim, &report.meta.title),
        (Tone::Dim, &format!("  {}", report.span.len())),
        (Tone::Strong, live),
    ])
}

fn more<W: Write>(page: &mut Page<'_, W>, hidden: usize, what: &str) -> io::Result<()> {
    if hidden > 0 {
        page.line(&[(Tone::Dim, &format!("  … and {hidden} more {what} (--format json has all)"))])?;
    }
    Ok(())
}

fn findings<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    if report.findings.is_empty() {
        page.heading("FINDINGS", "  none")?;
        return Ok(());
    }
    page.heading("FINDINGS", "  `syncscope explain CODE` tells more")?;
    let mut advice: Vec<&str> = Vec::new();
    for f in report.findings.iter().take(MAX_FINDINGS) {
        // The same advice is given once.
        let new = !advice.contains(&f.next.as_str());
        advice.push(&f.next);
        finding(report, f, new, page)?;
    }
    more(page, report.findings.len().saturating_sub(MAX_FINDINGS), "findings")
}

fn finding<W: Write>(report: &Report, f: &Finding, advise: bool, page: &mut Page<'_, W>) -> io::Result<()> {
    let tone = severity_tone(f.severity);
    let mut facts = String::new();
    if f.count > 1 {
        facts.push_str(&format!("  ×{}", count(f.count)));
    }
    if f.cost > Ns::ZERO {
        facts.push_str(&format!("  cost {}", f.cost));
    }
    if f.confidence < 0.95 {
        facts.push_str(&format!("  confidence {:.0} %", f.confidence * 100.0));
    }
    if report.flows.iter().any(|o| f.flow.is_some_and(|mine| o.flow != mine))
        && let Some(id) = f.flow
    {
        facts.push_str(&format!("  flow {}", id.0));
    }
    if let Some(d) = f.dir {
        facts.push_str(&format!("  {d}"));
    }
    let owner = format!("  {}", f.owner);
    page.line(&[
        (tone, severity_letter(f.severity)),
        (Tone::Plain, " "),
        (if f.severity == Severity::Info { Tone::Plain } else { Tone::Strong }, &f.code),
        (owner_tone(f.owner), &owner),
        (Tone::Dim, &facts),
    ])?;
    page.paragraph(4, "", Tone::Plain, &f.message)?;
    let when = if f.count > 1 {
        format!("{} to {}", since(report, f.span.start), since(report, f.span.end))
    } else {
        since(report, f.span.start)
    };
    let shown = frames(report, &f.evidence, MAX_FRAMES);
    let evidence = if shown.is_empty() { when } else { format!("{when}, {shown}") };
    page.paragraph(4, "evidence  ", Tone::Dim, &evidence)?;
    if advise && !f.next.is_empty() {
        page.paragraph(4, "next      ", Tone::Plain, &f.next)?;
    }
    Ok(())
}

fn reads<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    if report.reads.is_empty() {
        let joined = report.inputs.iter().any(|i| i.kind == crate::report::InputKind::AppLog);
        if joined {
            page.heading("SLOW READS", &format!("  none took {} or longer", report.meta.slow_read))?;
        }
        return Ok(());
    }
    let total: Ns = report.reads.iter().map(|r| r.end - r.start).sum();
    page.heading(
        "SLOW READS",
        &format!("  {} took {} or longer, {total} together", report.reads.len(), report.meta.slow_read),
    )?;
    // The longest are shown, in the order in which they happened.
    let mut longest: Vec<&ReadReport> = report.reads.iter().collect();
    longest.sort_by_key(|r| std::cmp::Reverse(r.end - r.start));
    longest.truncate(MAX_READS);
    longest.sort_by_key(|r| (r.start, r.end));
    let bar_width = if page.width >= 110 { 20 } else { 14 };
    let table = Table {
        columns: vec![
            Column::new("when", true, 0),
            Column::new("waited", true, 0),
            Column::new("where it went", false, 2),
            Column::new("mostly", false, 0),
            Column::new("why", false, 0),
            Column::new("reader", false, 4),
            Column::new("hole", false, 5),
            Column::new("frames", false, 3),
        ],
        rows: longest.iter().map(|r| read_row(report, r, bar_width)).collect(),
    };
    table.write(page, 2)?;
    more(page, report.reads.len() - longest.len(), "shorter ones")?;
    let used: Vec<(&str, Ns)> = {
        let mut sums: Vec<(&str, Ns)> = Vec::new();
        for r in &longest {
            for (p, ns) in r.budget.parts() {
                match sums.iter_mut().find(|s| s.0 == p) {
                    Some(s) => s.1 += ns,
                    None => sums.push((p, ns)),
                }
            }
        }
        sums.into_iter().filter(|s| s.1 > Ns::ZERO).collect()
    };
    let legend: Vec<String> = used.iter().map(|(p, _)| format!("{} {p}", part_letter(p))).collect();
    page.paragraph(2, "", Tone::Dim, &legend.join("  "))
}

fn read_row(report: &Report, r: &ReadReport, bar_width: usize) -> Vec<(Tone, String)> {
    let wait = r.end - r.start;
    let (part, ns) = r.budget.largest();
    let hole =
        r.hole.and_then(|h| report.holes.get(h as usize)).map_or_else(String::new, |h| h.range.to_string());
    vec![
        (Tone::Plain, since(report, r.start)),
        (Tone::Strong, wait.to_string()),
        (part_tone(part), bar_letters(&r.budget, bar_width)),
        (part_tone(part), format!("{part} {}", percent(ns.0, wait.0))),
        (Tone::Plain, r.cause.to_string()),
        (Tone::Dim, format!("{} {}", r.side.as_str(), r.phase.as_str())),
        (Tone::Dim, hole),
        (Tone::Dim, frames(report, first_frames(r), 2)),
    ]
}

/// The first two, where they are of one capture: a table has no room for the whole story.
fn first_frames(r: &ReadReport) -> &[crate::report::Evidence] {
    let n = r.evidence.iter().take(2).take_while(|e| e.input == r.evidence[0].input).count();
    &r.evidence[..n]
}

fn quality<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    if report.quality.is_empty() {
        return Ok(());
    }
    page.heading("QUALITY OF THE EVIDENCE", "")?;
    for q in report.quality.iter().take(MAX_NOTES) {
        let mut label = format!("{} {}", severity_letter(q.severity), q.code);
        if q.count > 1 {
            label.push_str(&format!(" ×{}", count(q.count)));
        }
        if let Some(i) = q.input {
            label.push_str(&format!(" {}", input_name(report, i)));
        }
        page.line(&[(Tone::Plain, "  "), (severity_tone(q.severity), &label)])?;
        page.paragraph(6, "", Tone::Plain, &q.message)?;
    }
    more(page, report.quality.len().saturating_sub(MAX_NOTES), "notes")
}

fn inputs<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    page.heading("INPUTS", "")?;
    for (i, input) in report.inputs.iter().enumerate().take(MAX_NOTES) {
        let mut text = match input.kind {
            crate::report::InputKind::Capture => {
                format!("{} frames, {} TCP", count(input.frames), count(input.tcp))
            }
            crate::report::InputKind::AppLog => format!("{} application events", count(input.frames)),
        };
        if input.files.len() > 1 {
            text = format!("{} files, {text}", count(input.files.len() as u64));
        }
        if let Some(side) = input.side {
            text.push_str(&format!(", taken at the {}", side.as_str()));
        }
        if let Some(c) = input.clock {
            text.push_str(&format!(", clock {} ± {}", c.offset, c.bound));
        }
        if let Some(d) = input.dropped {
            text.push_str(&format!(", {} dropped while capturing", count(d)));
        }
        if !input.skipped.is_empty() {
            let skipped: Vec<String> =
                input.skipped.iter().map(|(reason, n)| format!("{} {reason}", count(*n))).collect();
            text.push_str(&format!(", skipped: {}", skipped.join(", ")));
        }
        let label = format!("{}  ", input_name(report, i as u16));
        page.paragraph(2, &label, Tone::Plain, &text)?;
    }
    more(page, report.inputs.len().saturating_sub(MAX_NOTES), "inputs")
}

fn run<W: Write>(report: &Report, page: &mut Page<'_, W>) -> io::Result<()> {
    let Some(r) = &report.run else { return Ok(()) };
    let seed = r.seed.map_or_else(String::new, |s| format!("  seed {s}"));
    page.heading("RUN", &format!("  {}{seed}", r.scenario))?;
    if !r.injected.is_empty() || !r.unexpected.is_empty() {
        page.paragraph(2, "injected    ", Tone::Plain, &list(&r.injected))?;
        page.paragraph(2, "found       ", Tone::Good, &list(&r.found))?;
        if r.interrupted() {
            page.paragraph(2, "missed      ", Tone::Dim, "not judged, the run was interrupted")?;
        } else {
            let missed = if r.missed.is_empty() { Tone::Dim } else { Tone::Bad };
            page.paragraph(2, "missed      ", missed, &list(&r.missed))?;
        }
        let unexpected = if r.unexpected.is_empty() { Tone::Dim } else { Tone::Warn };
        page.paragraph(2, "unexpected  ", unexpected, &list(&r.unexpected))?;
    }
    if let Some(s) = r.sync {
        let saved = s.bytes.saturating_sub(s.literal);
        let failed = match s.failed {
            0 => String::new(),
            n => format!(", {} failed", count(n)),
        };
        let share = percent(saved.min(i64::MAX as u64) as i64, s.bytes.min(i64::MAX as u64) as i64);
        let saved = if r.unfinished() { String::new() } else { format!(" ({share} saved)") };
        let text = format!(
            "{} files, {} changed{failed}; {} of source: {} matched, {} sent as literals{saved}; wire {} out, {} in; {}",
            count(s.files),
            count(s.changed),
            bytes(s.bytes),
            bytes(s.matched),
            bytes(s.literal),
            bytes(s.wire_c2s),
            bytes(s.wire_s2c),
            s.duration
        );
        page.paragraph(2, "sync        ", Tone::Plain, &text)?;
    }
    if let Some(path) = &r.record {
        page.paragraph(
            2,
            "record      ",
            Tone::Plain,
            &format!("{path}  (`syncscope view` opens it again)"),
        )?;
    }
    Ok(())
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}
