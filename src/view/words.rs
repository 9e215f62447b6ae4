//! How the report's words look to people: letters, tones, names. Text and screens share them, so
//! that the same thing never has two signs.

use super::layout;
use crate::model::tcp::{Cause, Owner, SegmentClass, SegmentRecord};
use crate::model::units::printable;
use crate::model::{FlowId, FrameNo, Ts};
use crate::report::{Budget, Evidence, FlowReport, InputFile, Report, Severity, VerdictKind};

/// What a piece of text deserves. A tone is never the only sign: a letter or word says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Ordinary.
    Plain,
    /// To be read first.
    Strong,
    /// To be read last.
    Dim,
    /// As it should be.
    Good,
    /// Costs time.
    Warn,
    /// Broken, or the worst.
    Bad,
    /// Of the network.
    Net,
    /// Of an application.
    App,
    /// A quantity that is neither good nor bad: a busy path is no fault.
    Data,
}

/// Tone of a verdict.
pub fn verdict_tone(kind: VerdictKind) -> Tone {
    match kind {
        VerdictKind::Healthy => Tone::Good,
        VerdictKind::Degraded => Tone::Warn,
        VerdictKind::Failed => Tone::Bad,
        VerdictKind::Inconclusive => Tone::Strong,
    }
}

/// Letter of a severity: `E`, `W`, `I`.
pub fn severity_letter(s: Severity) -> &'static str {
    match s {
        Severity::Info => "I",
        Severity::Warning => "W",
        Severity::Error => "E",
    }
}

/// Tone of a severity.
pub fn severity_tone(s: Severity) -> Tone {
    match s {
        Severity::Info => Tone::Dim,
        Severity::Warning => Tone::Warn,
        Severity::Error => Tone::Bad,
    }
}

/// Tone of an owner: the path, an application, or neither.
pub fn owner_tone(o: Owner) -> Tone {
    match o {
        Owner::Network => Tone::Net,
        Owner::SenderApp | Owner::ReceiverApp => Tone::App,
        Owner::SenderTcp | Owner::ReceiverHost | Owner::Both => Tone::Warn,
        Owner::Capture | Owner::Unknown => Tone::Dim,
    }
}

/// Letter of an owner, for lanes without reads.
pub fn owner_letter(o: Owner) -> char {
    match o {
        Owner::SenderApp => 'A',
        Owner::SenderTcp => 'T',
        Owner::Network => 'N',
        Owner::ReceiverApp => 'R',
        Owner::ReceiverHost => 'H',
        Owner::Both => 'B',
        Owner::Capture => 'C',
        Owner::Unknown => '?',
    }
}

/// Letter of a part of a read's budget, used in bars.
pub fn part_letter(part: &str) -> char {
    match part {
        "peer-app" => 'A',
        "send-queue" => 'Q',
        "window" => 'W',
        "transit" => 't',
        "loss-recovery" => 'L',
        "reordering" => 'R',
        "local-delivery" => 'd',
        _ => '?',
    }
}

/// Tone of a part of a read's budget.
pub fn part_tone(part: &str) -> Tone {
    match part {
        "peer-app" => Tone::App,
        "loss-recovery" | "reordering" => Tone::Net,
        "send-queue" | "window" => Tone::Warn,
        "transit" | "local-delivery" => Tone::Good,
        _ => Tone::Dim,
    }
}

/// A budget as runs of cells, `width` in all: the parts in the order of [`Budget::parts`], by
/// largest remainder. Empty where the budget is.
pub fn bar(budget: &Budget, width: usize) -> Vec<(&'static str, usize)> {
    let parts: Vec<(&'static str, u128)> =
        budget.parts().iter().map(|(p, ns)| (*p, ns.0.max(0) as u128)).collect();
    let total: u128 = parts.iter().map(|p| p.1).sum();
    if total == 0 || width == 0 {
        return Vec::new();
    }
    let w = width as u128;
    let mut cells: Vec<usize> = parts.iter().map(|p| (p.1 * w / total) as usize).collect();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(parts[i].1 * w % total));
    let missing = width - cells.iter().sum::<usize>();
    for &i in order.iter().take(missing) {
        cells[i] += 1;
    }
    parts.iter().zip(cells).filter(|(_, n)| *n > 0).map(|((p, _), n)| (*p, n)).collect()
}

/// The same as letters: `AAAAALLLLLLLt`.
pub fn bar_letters(budget: &Budget, width: usize) -> String {
    bar(budget, width).into_iter().flat_map(|(p, n)| std::iter::repeat_n(part_letter(p), n)).collect()
}

/// `part` of `whole` in per cent, for people: `98 %`, `<1 %`.
pub fn percent(part: i64, whole: i64) -> String {
    if whole <= 0 {
        return "–".to_owned();
    }
    let p = part as f64 * 100.0 / whole as f64;
    if part > 0 && p < 0.95 {
        "<1 %".to_owned()
    } else if part < whole && p > 99.0 {
        ">99 %".to_owned()
    } else {
        format!("{p:.0} %")
    }
}

/// Time since the beginning of the report, to the millisecond: `+3.412 s`.
pub fn since(report: &Report, ts: Ts) -> String {
    let s = ts.since(report.span.start).as_secs_f64();
    format!("{s:+.3} s")
}

/// File name of an input without its folders, or `input N`.
pub fn input_name(report: &Report, input: u16) -> String {
    match report.inputs.get(usize::from(input)) {
        Some(i) => file_name(&i.name),
        None => format!("input {input}"),
    }
}

/// A file without its folders.
pub fn file_name(path: &str) -> String {
    printable(path.rsplit('/').find(|p| !p.is_empty()).unwrap_or(path))
}

/// Where Wireshark shows a frame: the file's name, and the number there. A frame of a capture in several files is
/// numbered as in its own file, unless the files overlap in time; then as in all of them merged.
pub fn frame_place(report: &Report, e: Evidence) -> (String, FrameNo) {
    let files = report.inputs.get(usize::from(e.input)).map_or(&[][..], |i| &i.files);
    let within = |f: &InputFile| {
        let at = e.frame.0.checked_sub(f.first_frame?.0)?;
        (at < f.frames).then(|| (file_name(&f.name), FrameNo(at + 1)))
    };
    files.iter().find_map(within).unwrap_or_else(|| (input_name(report, e.input), e.frame))
}

/// Frames, grouped by file and in the order of the story: `client.pcapng #12 #15, server.pcapng #11`.
/// At most `max` frames are named.
pub fn frames(report: &Report, evidence: &[Evidence], max: usize) -> String {
    let mut out = String::new();
    let mut last = None;
    for e in evidence.iter().take(max) {
        let (file, frame) = frame_place(report, *e);
        if last.as_ref() != Some(&file) {
            if last.is_some() {
                out.push_str(", ");
            }
            out.push_str(&file);
            last = Some(file);
        }
        out.push_str(&format!(" #{frame}"));
    }
    if evidence.len() > max {
        out.push_str(&format!(" … and {} more", evidence.len() - max));
    }
    out
}

/// The connections of a report, each once, in order.
pub fn flow_ids(report: &Report) -> Vec<FlowId> {
    let mut ids: Vec<FlowId> = Vec::new();
    for f in &report.flows {
        // In order of flow, then capture.
        if ids.last() != Some(&f.flow) {
            ids.push(f.flow);
        }
    }
    ids
}

/// The first capture's view of a connection.
pub fn flow_of(report: &Report, id: FlowId) -> Option<&FlowReport> {
    // In order of flow.
    let first = report.flows.partition_point(|f| f.flow < id);
    report.flows.get(first).filter(|f| f.flow == id)
}

/// `10.0.0.1:40000 → 10.0.0.2:873`.
pub fn flow_name(report: &Report, id: FlowId) -> String {
    match flow_of(report, id) {
        Some(f) => format!("{} → {}", f.client, f.server),
        None => format!("flow {}", id.0),
    }
}

/// One letter for what a segment was, and how much it matters where several share a cell (more wins).
/// None for ordinary segments.
pub fn segment_letter(s: &SegmentRecord) -> Option<(char, u8)> {
    Some(match s.class {
        SegmentClass::New | SegmentClass::CaptureDuplicate => return None,
        SegmentClass::Retransmission if s.spurious.is_some() => ('s', 5),
        SegmentClass::Retransmission => match s.cause {
            Some(Cause::Rto) => ('R', 9),
            Some(Cause::Tlp) => ('T', 8),
            Some(Cause::Syn) => ('S', 8),
            Some(Cause::RtoRecovery) => ('r', 6),
            Some(Cause::Fast) => ('F', 7),
            Some(Cause::PartialAck) => ('P', 6),
            Some(Cause::Fin) => ('N', 6),
            Some(Cause::PathMtu) => ('M', 6),
            Some(Cause::Unknown) | None => ('x', 5),
        },
        SegmentClass::WindowProbe => ('W', 4),
        SegmentClass::KeepAlive => ('K', 3),
        SegmentClass::NetworkDuplicate => ('D', 2),
        SegmentClass::Reordered => ('o', 2),
        SegmentClass::Undecided => ('?', 1),
    })
}

/// What [`segment_letter`]'s letters mean.
pub const SEGMENT_LEGEND: &[(char, &str)] = &[
    ('R', "sent again after a time-out"),
    ('r', "go-back after a time-out"),
    ('T', "tail loss probe"),
    ('F', "fast retransmission"),
    ('P', "partial ACK"),
    ('S', "SYN again"),
    ('N', "FIN again"),
    ('M', "too long for the path, sent again shorter"),
    ('s', "spurious: not needed"),
    ('x', "sent again, trigger not seen"),
    ('W', "window probe"),
    ('K', "keep-alive"),
    ('D', "duplicated on the path"),
    ('o', "late original (reordered)"),
    ('?', "undecided"),
];

/// Rows of `text` for a table cell: printable and cut.
pub fn cell(text: &str, max: usize) -> String {
    layout::cut(&printable(text), max)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Ns;

    #[test]
    fn a_bar_always_has_the_asked_width_and_the_largest_part_shows() {
        let b =
            Budget { transit: Ns(1), loss_recovery: Ns(1000), local_delivery: Ns(7), ..Budget::default() };
        for w in 1..60 {
            assert_eq!(bar_letters(&b, w).chars().count(), w);
            assert!(bar_letters(&b, w).contains('L'));
        }
        assert_eq!(bar_letters(&Budget::default(), 9), "");
    }

    #[test]
    fn percentages_do_not_round_to_nothing_or_to_all() {
        assert_eq!(percent(1, 1000), "<1 %");
        assert_eq!(percent(999, 1000), ">99 %");
        assert_eq!(percent(1000, 1000), "100 %");
        assert_eq!(percent(0, 1000), "0 %");
    }
}
