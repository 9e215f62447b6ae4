//! The evidence of one incident: the sentence, its worst read with the budget step by step, the
//! holes, losses and stalls under it, the frames to look up, and what to do next.

use super::help::part_meaning;
use super::screen::Line;
use super::state::State;
use crate::model::tcp::{Loss, StallDetail};
use crate::model::units::{bytes, count, printable};
use crate::model::{Ns, Ts};
use crate::report::{Incident, InputKind, ReadReport, Report};
use crate::view::layout;
use crate::view::words::{
    Tone, bar, flow_name, frame_place, input_name, owner_tone, part_letter, part_tone, percent,
    severity_letter, severity_tone, since,
};
use std::collections::BTreeMap;

/// The lines, for a page `width` columns wide.
pub fn lines(state: &State, width: usize) -> Vec<Line> {
    let Some(i) = state.incident() else { return Vec::new() };
    let mut page = Page { state, width: width.max(20), out: Vec::new() };
    page.top(i);
    page.read(i);
    page.below(i);
    page.frames(i);
    page.findings(i);
    page.out
}

struct Page<'a> {
    state: &'a State,
    width: usize,
    out: Vec<Line>,
}

impl Page<'_> {
    fn line(&mut self, pieces: &[(Tone, String)]) {
        let t = self.state.theme;
        self.out.push(pieces.iter().map(|(tone, s)| (t.style(*tone), s.clone())).collect());
    }

    fn heading(&mut self, text: &str, rest: &str) {
        self.out.push(Vec::new());
        self.line(&[(Tone::Strong, format!(" {text}")), (Tone::Dim, format!("  {rest}"))]);
    }

    fn paragraph(&mut self, indent: usize, label: &str, tone: Tone, text: &str) {
        let lead = indent + layout::width(label);
        let room = self.width.saturating_sub(lead + 1);
        for (n, l) in layout::wrap(&printable(text), room).into_iter().enumerate() {
            let label = if n == 0 { label.to_owned() } else { String::new() };
            let label = format!("{}{}", " ".repeat(indent), layout::pad_right(&label, lead - indent));
            self.line(&[(Tone::Dim, label), (tone, l)]);
        }
    }

    fn report(&self) -> &Report {
        self.state.report()
    }

    fn top(&mut self, i: &Incident) {
        let n = self.report().incidents.len();
        self.line(&[
            (Tone::Strong, format!(" {} of {n}  {}  ", self.state.selected() + 1, i.cause)),
            (owner_tone(i.owner), i.owner.to_string()),
            (Tone::Dim, format!("  {}  {}", since(self.report(), i.span.start), i.span.len())),
        ]);
        self.paragraph(1, "", Tone::Plain, &i.sentence);
        let mut facts = format!("{} of {}", i.dir, flow_name(self.report(), i.flow));
        if let Some(b) = i.bytes {
            facts.push_str(&format!(", bytes {b} ({})", bytes(b.len())));
        }
        if i.waited > Ns::ZERO {
            let n = i.reads.len();
            facts.push_str(&format!("; {n} slow read{} waited {}", if n == 1 { "" } else { "s" }, i.waited));
        }
        self.paragraph(1, "", Tone::Dim, &facts);
    }

    fn read(&mut self, i: &Incident) {
        let reads = i.reads.iter().filter_map(|&n| self.report().reads.get(n as usize));
        let Some(worst) = reads.max_by_key(|r| r.end - r.start).cloned() else { return };
        let wait = worst.end - worst.start;
        let title = if i.reads.len() > 1 { "Worst read" } else { "Read" };
        let mut what = format!(
            "{} of the {}, {}",
            bytes(u64::from(worst.len)),
            worst.side.as_str(),
            worst.phase.as_str()
        );
        if let Some(f) = &worst.file {
            what.push_str(&format!(", {}", printable(f)));
        }
        self.heading(title, &format!("waited {wait} for {what}"));
        let room = self.width.saturating_sub(3).min(100);
        let cells: Vec<(Tone, String)> = std::iter::once((Tone::Plain, " ".to_owned()))
            .chain(
                bar(&worst.budget, room)
                    .into_iter()
                    .map(|(p, n)| (part_tone(p), part_letter(p).to_string().repeat(n))),
            )
            .collect();
        self.line(&cells);
        for (part, ns) in worst.budget.parts().into_iter().filter(|p| p.1 > Ns::ZERO) {
            self.line(&[
                (part_tone(part), format!("  {} ", part_letter(part))),
                (Tone::Plain, layout::pad_right(part, 15)),
                (Tone::Strong, layout::pad_left(&ns.to_string(), 9)),
                (Tone::Dim, layout::pad_left(&percent(ns.0, wait.0), 7)),
                (Tone::Dim, format!("  {}", part_meaning(part))),
            ]);
        }
        self.steps(&worst);
    }

    fn steps(&mut self, r: &ReadReport) {
        if r.steps.is_empty() {
            return;
        }
        self.heading("Step by step", "");
        // A step begins where the one before it ended: the time is said once, and so is the event,
        // unless it is told in other words.
        let mut last: Option<(Ts, &str)> = None;
        for s in &r.steps {
            match last {
                Some((at, text)) if at == s.span.start && text == s.from => {}
                Some((at, _)) if at == s.span.start => self.event(None, &s.from),
                _ => self.event(Some(s.span.start), &s.from),
            }
            self.line(&[
                (part_tone(&s.part), format!("      │ {} {}", part_letter(&s.part), s.part)),
                (Tone::Strong, format!("  {}", s.span.len())),
            ]);
            self.event(Some(s.span.end), &s.to);
            last = Some((s.span.end, &s.to));
        }
    }

    fn event(&mut self, at: Option<Ts>, text: &str) {
        // Three digits more than elsewhere: steps can be microseconds long.
        let start = self.report().span.start;
        let time = at.map_or_else(String::new, |t| format!("{:+.6} s", t.since(start).as_secs_f64()));
        self.paragraph(1, &format!("{time:>13}  "), Tone::Plain, text);
    }

    fn below(&mut self, i: &Incident) {
        let r = self.report();
        let several = r.inputs.iter().filter(|i| i.kind == InputKind::Capture).count() > 1;
        let seen = |input: u16| {
            if several { format!(", seen in {}", input_name(r, input)) } else { String::new() }
        };
        let mut rows: Vec<(&str, String)> = Vec::new();
        for s in i.stalls.iter().filter_map(|&n| r.stalls.get(n as usize)).take(MAX_ROWS) {
            let end = s.end.map_or_else(|| "still open".to_owned(), |e| e.since(s.start).to_string());
            let sure = if s.confidence < 0.95 {
                format!(", confidence {:.0} %", s.confidence * 100.0)
            } else {
                String::new()
            };
            rows.push((
                "stall",
                format!(
                    "{}  {end}  {} {}{}{sure}{}",
                    since(r, s.start),
                    s.owner,
                    s.cause,
                    detail(&s.detail),
                    seen(s.input)
                ),
            ));
        }
        for h in i.holes.iter().filter_map(|&n| r.holes.get(n as usize)).take(MAX_ROWS) {
            let open =
                h.death.map_or_else(|| "never filled".to_owned(), |d| format!("open {}", d.since(h.birth)));
            let filler = h.filler.map_or_else(String::new, |f| format!(", filled by {f}"));
            let frame = h.filler_frame.map_or_else(String::new, |f| format!(" #{f}"));
            rows.push((
                "hole",
                format!(
                    "{}  {}  {open}{filler}{frame}; {} queued behind it{}",
                    since(r, h.birth),
                    h.range,
                    bytes(h.queued_behind),
                    seen(h.input)
                ),
            ));
        }
        let losses = joined(i.losses.iter().filter_map(|&n| r.losses.get(n as usize)));
        for (l, pieces) in losses.iter().take(MAX_ROWS) {
            let sent = l.sent.map_or_else(|| "not seen".to_owned(), |t| since(r, t));
            let repaired = l
                .repaired
                .map_or_else(|| "never repaired".to_owned(), |t| format!("through at {}", since(r, t)));
            let (many, all) = if *pieces > 1 {
                (format!(" in {pieces} pieces, the first"), "all ")
            } else {
                (String::new(), "")
            };
            rows.push((
                "loss",
                format!("{}{many} sent {sent}, {all}{repaired}; lost: {}", l.range, l.location),
            ));
        }
        let hidden = [i.stalls.len(), i.holes.len(), losses.len()]
            .iter()
            .map(|n| n.saturating_sub(MAX_ROWS))
            .sum::<usize>();
        if rows.is_empty() {
            return;
        }
        self.heading("On the wire", "");
        for (label, text) in rows {
            self.paragraph(2, &format!("{label:<6}"), Tone::Plain, &text);
        }
        if hidden > 0 {
            self.paragraph(2, "", Tone::Dim, &format!("… and {hidden} more (--format json has all)"));
        }
    }

    fn frames(&mut self, i: &Incident) {
        if i.evidence.is_empty() {
            return;
        }
        self.heading("Frames", "as Wireshark numbers them");
        let mut of_file: BTreeMap<(u16, String), Vec<String>> = BTreeMap::new();
        for e in &i.evidence {
            let (file, frame) = frame_place(self.report(), *e);
            of_file.entry((e.input, file)).or_default().push(format!("#{frame}"));
        }
        for ((_, file), of) in of_file {
            let more = of.len().saturating_sub(MAX_FRAMES);
            let mut text = of[..of.len().min(MAX_FRAMES)].join(" ");
            if more > 0 {
                text.push_str(&format!(" … and {more} more"));
            }
            self.paragraph(2, &format!("{file}  "), Tone::Plain, &text);
        }
    }

    fn findings(&mut self, i: &Incident) {
        let me = self.report().incidents.iter().position(|x| x == i).map(|n| n as u32);
        let about: Vec<_> = self
            .report()
            .findings
            .iter()
            .filter(|f| me.is_some_and(|me| f.incidents.contains(&me)))
            .take(MAX_ROWS)
            .cloned()
            .collect();
        for f in about {
            self.out.push(Vec::new());
            self.line(&[
                (severity_tone(f.severity), format!(" {} ", severity_letter(f.severity))),
                (Tone::Strong, f.code.clone()),
                (Tone::Dim, if f.count > 1 { format!("  ×{}", count(f.count)) } else { String::new() }),
            ]);
            self.paragraph(3, "", Tone::Plain, &f.message);
            if !f.next.is_empty() {
                self.paragraph(3, "next  ", Tone::Plain, &f.next);
            }
        }
    }
}

/// Of each kind of evidence at most so many rows are shown.
const MAX_ROWS: usize = 8;
const MAX_FRAMES: usize = 40;

/// Losses that follow on one another in the stream and share their fate, as one: with how many they
/// were, when the first was sent and when the last was through.
fn joined<'a>(losses: impl Iterator<Item = &'a Loss>) -> Vec<(Loss, usize)> {
    let mut out: Vec<(Loss, usize)> = Vec::new();
    for l in losses {
        match out.last_mut() {
            Some((before, n))
                if before.range.end == l.range.start
                    && (before.location, before.dir, before.input) == (l.location, l.dir, l.input)
                    && before.repaired.is_some() == l.repaired.is_some() =>
            {
                before.range.end = l.range.end;
                before.sent = before.sent.min(l.sent);
                before.repaired = before.repaired.max(l.repaired);
                *n += 1;
            }
            _ => out.push((*l, 1)),
        }
    }
    out
}

/// The numbers of a stall, as far as it has them.
fn detail(d: &StallDetail) -> String {
    let mut out = String::new();
    let mut add = |text: String| out.push_str(&format!("; {text}"));
    let plural = |n: u32, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    if let Some(n) = d.timeouts {
        add(plural(n, "time-out"));
    }
    if let Some(n) = d.backoffs {
        add(plural(n, "back-off"));
    }
    if let Some(n) = d.resends {
        add(plural(n, "resend"));
    }
    if let Some(n) = d.probes {
        add(plural(n, "probe"));
    }
    if let Some(n) = d.outstanding {
        add(format!("{} outstanding", bytes(n)));
    }
    if let Some(n) = d.window {
        add(format!("window {}", bytes(n)));
    }
    if let Some(p) = &d.path {
        add(format!("dead: {p} path"));
    }
    if let Some(p) = &d.sent_by {
        add(format!("reset by {p}"));
    }
    if let Some(p) = &d.busy_with {
        add(format!("busy with {p}"));
    }
    if let Some(p) = &d.needs {
        add(format!("to decide: {p}"));
    }
    out
}
