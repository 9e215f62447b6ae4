//! The report as one JSON object a line: the contract that other programs build on.
//!
//! ```text
//! {"type":"meta","schema":"syncscope.report/1",…,"span":{…}}     always first
//! {"type":"input",…} {"type":"quality",…} {"type":"flow",…}
//! {"type":"segment",…} {"type":"loss","id":0,…} {"type":"hole","id":0,…} {"type":"stall","id":0,…}
//! {"type":"read","id":0,…} {"type":"incident","id":0,…} {"type":"finding",…}
//! {"type":"comparison",…} {"type":"crossing",…} {"type":"crossing-loss",…} {"type":"missing",…} {"type":"unpaired",…}
//! {"type":"series",…} {"type":"run",…}
//! {"type":"end","verdict":{"kind":…,"owner":…,"sentence":…}}     always last
//! ```
//!
//! Before it there may be news of a capture that was followed ([`News`]): a `meta` line with `"live":true`, then what
//! became known.
//!
//! The fields are those of the JSON report. Lines that others refer to by index (`"hole":3`) say
//! their own index as `id`. A reader must skip types that it does not know; this one does.

use super::{LoadError, check_schema, json};
use crate::model::Span;
use crate::model::tcp::{Hole, Loss, SegmentRecord, Stall};
use crate::report::{
    Comparison, CrossingLoss, Finding, FlowReport, Incident, Input, Meta, Missing, PairedFlow, Quality,
    ReadReport, Report, RunInfo, Series, UnpairedFlow, Verdict,
};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::io::{self, Write};

#[derive(Serialize)]
struct Tagged<'a, T> {
    #[serde(rename = "type")]
    tag: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<usize>,
    #[serde(flatten)]
    body: &'a T,
}

#[derive(Serialize, Deserialize)]
struct MetaLine {
    #[serde(flatten)]
    meta: Meta,
    span: Span,
}

#[derive(Serialize, Deserialize)]
struct EndLine {
    verdict: Verdict,
}

/// Writes the report, meta first and the verdict last.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    line(out, "meta", None, &MetaLine { meta: report.meta.clone(), span: report.span })?;
    lines(out, "input", false, &report.inputs)?;
    lines(out, "quality", false, &report.quality)?;
    lines(out, "flow", false, &report.flows)?;
    lines(out, "segment", false, &report.segments)?;
    lines(out, "loss", true, &report.losses)?;
    lines(out, "hole", true, &report.holes)?;
    lines(out, "stall", true, &report.stalls)?;
    lines(out, "read", true, &report.reads)?;
    lines(out, "incident", true, &report.incidents)?;
    lines(out, "finding", false, &report.findings)?;
    if let Some(c) = &report.comparison {
        let head = Comparison {
            paired: Vec::new(),
            unpaired: Vec::new(),
            losses: Vec::new(),
            missing: Vec::new(),
            ..c.clone()
        };
        line(out, "comparison", None, &head)?;
        lines(out, "crossing", false, &c.paired)?;
        lines(out, "crossing-loss", false, &c.losses)?;
        lines(out, "missing", false, &c.missing)?;
        lines(out, "unpaired", false, &c.unpaired)?;
    }
    lines(out, "series", false, &report.series)?;
    if let Some(run) = &report.run {
        line(out, "run", None, run)?;
    }
    line(out, "end", None, &EndLine { verdict: report.verdict.clone() })
}

fn lines<T: Serialize>(out: &mut impl Write, tag: &'static str, ids: bool, all: &[T]) -> io::Result<()> {
    for (i, one) in all.iter().enumerate() {
        line(out, tag, ids.then_some(i), one)?;
    }
    Ok(())
}

fn line<T: Serialize>(
    out: &mut impl Write,
    tag: &'static str,
    id: Option<usize>,
    body: &T,
) -> io::Result<()> {
    json::value(&Tagged { tag, id, body }, out)?;
    out.write_all(b"\n")
}

/// What of a report that goes on has been told already.
#[derive(Clone, Debug, Default)]
pub struct News {
    begun: bool,
    /// Hashes of lines.
    told: HashSet<u64>,
}

impl News {
    /// Writes what is new: losses and holes once they are mended, stalls once they are over, and findings, again
    /// whenever they have changed. The `meta` line comes first, once, and says `"live":true`. They have no `id`: other
    /// lines refer to those of the whole report, which follows in the end and begins with its own `meta` line.
    pub fn write(&mut self, report: &Report, out: &mut impl Write) -> io::Result<()> {
        if !std::mem::replace(&mut self.begun, true) {
            line(out, "meta", None, &MetaLine { meta: report.meta.clone(), span: report.span })?;
        }
        let mut lines = Vec::new();
        report
            .losses
            .iter()
            .filter(|l| l.repaired.is_some())
            .try_for_each(|l| line(&mut lines, "loss", None, l))?;
        report
            .holes
            .iter()
            .filter(|h| h.death.is_some())
            .try_for_each(|h| line(&mut lines, "hole", None, h))?;
        report
            .stalls
            .iter()
            .filter(|s| s.end.is_some())
            .try_for_each(|s| line(&mut lines, "stall", None, s))?;
        report.findings.iter().try_for_each(|f| line(&mut lines, "finding", None, f))?;
        for l in lines.split_inclusive(|b| *b == b'\n') {
            let mut hash = std::collections::hash_map::DefaultHasher::new();
            l.hash(&mut hash);
            if self.told.insert(hash.finish()) {
                out.write_all(l)?;
            }
        }
        Ok(())
    }
}

/// Reads what [`write`] wrote; of a run that was followed, the report at its end.
pub fn read(text: &str) -> Result<Report, LoadError> {
    #[derive(Deserialize)]
    struct Tag {
        #[serde(rename = "type")]
        tag: String,
        schema: Option<String>,
    }
    let mut numbered = text.lines().enumerate().filter(|(_, l)| !l.trim().is_empty());
    let Some((_, first)) = numbered.next() else {
        return Err(LoadError::NotAReport("it is empty".to_owned()));
    };
    let tag: Tag = serde_json::from_str(first).map_err(|e| LoadError::NotAReport(e.to_string()))?;
    if tag.tag != "meta" {
        return Err(LoadError::NotAReport("the first line is not of type `meta`".to_owned()));
    }
    check_schema(tag.schema.as_deref().unwrap_or("no schema"))?;
    let meta: MetaLine = parse(0, first)?;
    let mut report = empty(meta);
    for (i, l) in numbered {
        let tag: Tag = parse(i, l)?;
        match tag.tag.as_str() {
            "input" => report.inputs.push(parse::<Input>(i, l)?),
            "quality" => report.quality.push(parse::<Quality>(i, l)?),
            "flow" => report.flows.push(parse::<FlowReport>(i, l)?),
            "segment" => report.segments.push(parse::<SegmentRecord>(i, l)?),
            "loss" => report.losses.push(parse::<Loss>(i, l)?),
            "hole" => report.holes.push(parse::<Hole>(i, l)?),
            "stall" => report.stalls.push(parse::<Stall>(i, l)?),
            "read" => report.reads.push(parse::<ReadReport>(i, l)?),
            "incident" => report.incidents.push(parse::<Incident>(i, l)?),
            "finding" => report.findings.push(parse::<Finding>(i, l)?),
            "comparison" => report.comparison = Some(parse::<Comparison>(i, l)?),
            "crossing" => of(&mut report).paired.push(parse::<PairedFlow>(i, l)?),
            "crossing-loss" => of(&mut report).losses.push(parse::<CrossingLoss>(i, l)?),
            "missing" => of(&mut report).missing.push(parse::<Missing>(i, l)?),
            "unpaired" => of(&mut report).unpaired.push(parse::<UnpairedFlow>(i, l)?),
            "series" => report.series.push(parse::<Series>(i, l)?),
            "run" => report.run = Some(parse::<RunInfo>(i, l)?),
            // the news are over, and the report begins
            "meta" => report = empty(parse(i, l)?),
            "end" => {
                report.verdict = parse::<EndLine>(i, l)?.verdict;
                return Ok(report);
            }
            _ => {}
        }
    }
    Err(LoadError::Cut)
}

fn of(report: &mut Report) -> &mut Comparison {
    report.comparison.get_or_insert_default()
}

fn parse<'a, T: Deserialize<'a>>(index: usize, line: &'a str) -> Result<T, LoadError> {
    serde_json::from_str(line).map_err(|e| LoadError::Line { line: index + 1, reason: e.to_string() })
}

fn empty(meta: MetaLine) -> Report {
    Report {
        meta: meta.meta,
        inputs: Vec::new(),
        span: meta.span,
        quality: Vec::new(),
        flows: Vec::new(),
        segments: Vec::new(),
        losses: Vec::new(),
        holes: Vec::new(),
        stalls: Vec::new(),
        reads: Vec::new(),
        incidents: Vec::new(),
        findings: Vec::new(),
        verdict: Verdict {
            kind: crate::report::VerdictKind::Inconclusive,
            owner: None,
            sentence: String::new(),
        },
        series: Vec::new(),
        run: None,
        comparison: None,
    }
}
