//! What the report says of each frame, in sentences: the packet comments of annotated captures.

use super::words::{file_name, since};
use crate::model::tcp::{Filler, SegmentClass, SegmentRecord};
use crate::model::units::{bytes, printable};
use crate::model::{FrameNo, Ns};
use crate::report::{Evidence, Finding, Report};
use std::collections::{BTreeMap, BTreeSet};

/// Comments by frame of one input; a frame that nothing is said of has none.
pub type Comments = BTreeMap<FrameNo, Vec<String>>;

/// Everything that is known of the frames of one input.
pub fn comments(report: &Report, input: u16) -> Comments {
    let mut out = Comments::new();
    for s in report.segments.iter().filter(|s| s.input == input && s.class != SegmentClass::New) {
        say(&mut out, s.frame, segment(s));
    }
    losses(report, input, &mut out);
    holes(report, input, &mut out);
    for s in report.stalls.iter().filter(|s| s.input == input) {
        let lasts =
            s.end.map_or_else(|| "still open at the end".to_owned(), |e| e.since(s.start).to_string());
        let text =
            format!("{} stall ({}) of {} from {}: {lasts}", s.cause, s.owner, s.dir, since(report, s.start));
        s.evidence.iter().for_each(|f| say(&mut out, *f, text.clone()));
    }
    for r in &report.reads {
        let wait = r.end - r.start;
        let (part, ns) = r.budget.largest();
        let text = format!(
            "slow read of the {}, {wait} from {}: {ns} {part}",
            r.side.as_str(),
            since(report, r.start)
        );
        of_input(&r.evidence, input).for_each(|f| say(&mut out, f, text.clone()));
    }
    for f in &report.findings {
        let text = format!("finding {} ({}, {}): {}", f.code, f.severity, f.owner, f.message);
        of_input(&f.evidence, input).for_each(|frame| say(&mut out, frame, text.clone()));
    }
    out
}

/// The frames that show one finding: its own evidence and that of its incidents.
pub fn slice(report: &Report, finding: &Finding) -> BTreeSet<Evidence> {
    let incidents = finding.incidents.iter().filter_map(|i| report.incidents.get(*i as usize));
    finding.evidence.iter().chain(incidents.flat_map(|i| &i.evidence)).copied().collect()
}

/// Where a frame of an excerpt comes from.
pub fn origin(report: &Report, e: Evidence) -> String {
    let name = report.inputs.get(usize::from(e.input)).map_or("", |i| i.name.as_str());
    format!("frame {} of {}", e.frame, file_name(name))
}

fn of_input(evidence: &[Evidence], input: u16) -> impl Iterator<Item = FrameNo> {
    evidence.iter().filter(move |e| e.input == input).map(|e| e.frame)
}

/// Each sentence once.
fn say(out: &mut Comments, frame: FrameNo, text: String) {
    let text = printable(&text);
    let all = out.entry(frame).or_default();
    if !all.contains(&text) {
        all.push(text);
    }
}

/// `retransmission (fast), of frame 3; not needed (dsack in frame 9)`.
fn segment(s: &SegmentRecord) -> String {
    let mut text = s.class.to_string();
    if let Some(c) = s.cause {
        text.push_str(&format!(" ({c})"));
    }
    if let Some(n) = s.resend.filter(|n| *n > 1) {
        text.push_str(&format!(", resend {n}"));
    }
    if let Some(of) = s.of {
        text.push_str(&format!(", of frame {of}"));
    }
    if let Some(spurious) = s.spurious {
        let shown = spurious.frame.map_or_else(String::new, |f| format!(" in frame {f}"));
        text.push_str(&format!("; not needed ({}{shown})", spurious.proof));
    }
    text
}

fn losses(report: &Report, input: u16, out: &mut Comments) {
    for l in report.losses.iter().filter(|l| l.input == input) {
        let what = format!("{} {} {}", l.dir, bytes(l.range.len()), l.range);
        if let Some(sent) = l.sent_frame {
            let by = l
                .repair_frame
                .map_or_else(|| "never repaired".to_owned(), |f| format!("repaired by frame {f}"));
            say(out, sent, format!("lost ({}): {what}; {by}", l.location));
        }
        if let Some(repair) = l.repair_frame {
            let sent = l.sent_frame.map_or_else(String::new, |f| format!(", lost as frame {f}"));
            say(out, repair, format!("repairs {what}{sent}"));
        }
    }
}

fn holes(report: &Report, input: u16, out: &mut Comments) {
    for h in report.holes.iter().filter(|h| h.input == input) {
        say(out, h.birth_frame, format!("shows a hole in {}: {}", h.dir, h.range));
        if let (Some(filler), Some(death)) = (h.filler_frame, h.death) {
            let lasted: Ns = death.since(h.birth);
            let by = match h.filler {
                Some(Filler::Reordered) => ", late",
                _ => "",
            };
            let behind = bytes(h.queued_behind);
            say(
                out,
                filler,
                format!("fills the hole {} after {lasted}{by}; {behind} waited behind it", h.range),
            );
        }
    }
}
