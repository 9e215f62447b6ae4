//! What every real capture is told to be, in a few lines each, held as a snapshot: a change of any answer shows as a
//! diff, and is looked at before it is taken over with `INSTA_UPDATE=always cargo test --test answers`.
//!
//! The captures lie beside the project; `corpus.tsv` there says what is in each, as tshark and tcptrace see it. And
//! each of them, redacted, gives the same report.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod real;

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use syncscope::capture::{CaptureError, FrameSource, SourceNotes, file};
use syncscope::cli::reading::{Reading, read_capture};
use syncscope::correlate::{BuildInputs, CaptureInput};
use syncscope::decode::redact::{Mask, redact};
use syncscope::decode::{Decoded, decode};
use syncscope::diagnose::build;
use syncscope::model::tcp::{Loss, Stall};
use syncscope::model::{Dir, Frame, Ns};
use syncscope::report::{Report, Severity};
use syncscope::tcp::Keep;

fn report_of(source: &mut dyn FrameSource) -> Result<Report, CaptureError> {
    let read = read_capture(source, None, Reading { keep: Keep::Evidence, jobs: 1 })?;
    let capture = CaptureInput { name: "a.pcap".to_owned(), ..read };
    Ok(build(BuildInputs {
        title: "a.pcap".to_owned(),
        slow_read: Ns::from_millis(100),
        captures: vec![capture],
        ..BuildInputs::default()
    }))
}

/// `fast 7, rto 2`; what is nought is left out.
fn sum<K: Display + Ord>(counts: impl IntoIterator<Item = (K, u64)>) -> String {
    let mut sums = BTreeMap::new();
    for (k, n) in counts {
        *sums.entry(k).or_insert(0) += n;
    }
    let all: Vec<String> = sums.iter().filter(|(_, n)| **n > 0).map(|(k, n)| format!("{k} {n}")).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

fn stalls<'a>(all: impl Iterator<Item = &'a Stall> + Clone) -> String {
    let name = |s: &Stall| format!("{} {}{}", s.owner, s.cause, if s.end.is_none() { " (open)" } else { "" });
    let time = |s: &Stall| s.end.map_or(0, |e| u64::try_from(e.since(s.start).0).unwrap_or(0));
    let mut sums: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for s in all {
        let e = sums.entry(name(s)).or_default();
        (e.0, e.1) = (e.0 + 1, e.1.saturating_add(time(s)));
    }
    let one = |(what, (n, ns)): (&String, &(u64, u64))| format!("{what} {n} × {} ms", ns / 1_000_000);
    let words: Vec<String> = sums.iter().map(one).collect();
    words.join(", ")
}

fn losses(all: &[Loss]) -> String {
    let place =
        |l: &Loss| format!("{}{}", l.location, if l.repaired.is_none() { " (not repaired)" } else { "" });
    let bytes = sum(all.iter().map(|l| (place(l), l.range.len())));
    format!("{} ({bytes} bytes)", sum(all.iter().map(|l| (place(l), 1))))
}

fn answers(r: &Report) -> String {
    let mut out = String::new();
    let i = &r.inputs[0];
    let counted =
        |k: &dyn Fn(&syncscope::report::FlowReport) -> String| sum(r.flows.iter().map(|f| (k(f), 1)));
    writeln!(out, "  frames {}, tcp {}, flows {}", i.frames, i.tcp, r.flows.len()).unwrap();
    if !i.skipped.is_empty() {
        writeln!(out, "  skipped {}", sum(i.skipped.clone())).unwrap();
    }
    if !r.flows.is_empty() {
        let classes = r.flows.iter().flat_map(|f| f.segments.iter());
        writeln!(out, "  segments {}", sum(classes)).unwrap();
        let bytes = |d: Dir| r.flows.iter().map(|f| f.dirs[d].bytes).sum::<u64>();
        let whole = counted(&|f| if f.handshake { "handshake" } else { "no handshake" }.to_owned());
        let (up, down) = (bytes(Dir::C2s), bytes(Dir::S2c));
        writeln!(out, "  bytes c2s {up}, s2c {down}; {whole}, {}", counted(&|f| f.ended.clone())).unwrap();
        writeln!(out, "  tap {}", counted(&|f| f.tap.position.to_string())).unwrap();
    }
    let causes: Vec<_> = r.flows.iter().flat_map(|f| f.retransmissions.iter()).collect();
    if causes.iter().any(|c| c.1 > 0) {
        let spurious = r.flows.iter().map(|f| f.spurious).sum::<u64>();
        writeln!(out, "  sent again {}; spurious {spurious}", sum(causes)).unwrap();
    }
    if !r.losses.is_empty() {
        writeln!(out, "  losses {}", losses(&r.losses)).unwrap();
    }
    if !r.stalls.is_empty() {
        writeln!(out, "  stalls {}", stalls(r.stalls.iter())).unwrap();
    }
    for q in r.quality.iter().filter(|q| q.code != "no-handshake") {
        writeln!(out, "  {} {} {}: {}", q.severity, q.code, q.count, q.message).unwrap();
    }
    for f in r.findings.iter().filter(|f| f.severity > Severity::Info) {
        let flow = f.flow.map_or(String::new(), |f| format!(" flow {}", f.0));
        writeln!(out, "  {} {}, {}{flow}: {}", f.severity, f.code, f.owner, f.message).unwrap();
    }
    let lesser = r.findings.iter().filter(|f| f.severity == Severity::Info);
    let lesser = sum(lesser.map(|f| (format!("{} {}", f.owner, f.code), 1)));
    if lesser != "none" {
        writeln!(out, "  info {lesser}").unwrap();
    }
    writeln!(out, "  {}: {}", r.verdict.kind, r.verdict.sentence).unwrap();
    out
}

#[test]
fn real_captures_give_the_answers_that_were_looked_at() {
    let Some(dir) = real::captures("real_captures_give_the_answers_that_were_looked_at") else { return };
    let mut all = String::new();
    for row in real::rows(&dir) {
        let path = dir.join(&row["path"]);
        writeln!(all, "{}", row["path"]).unwrap();
        match file::open(&path).and_then(|mut s| report_of(&mut *s)) {
            Ok(r) => all.push_str(&answers(&r)),
            Err(e) => {
                let said = e.to_string().replace(path.to_str().unwrap(), "it");
                writeln!(all, "  {said}").unwrap();
            }
        }
    }
    insta::assert_snapshot!("real_captures", all);
}

/// A capture as `--redact` hands it on.
struct Redacted {
    source: Box<dyn FrameSource>,
    mask: Mask,
    kept: Vec<u8>,
    /// Data whose checksum was wrong: nobody can see that any more once it is gone.
    damaged: u64,
}

impl FrameSource for Redacted {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(f) = self.source.next_frame()? else { return Ok(None) };
        if let Decoded::Tcp(s) = decode(&f) {
            self.damaged += u64::from(s.checksum_ok == Some(false) && s.len > 0);
        }
        redact(&f, &mut self.mask, &mut self.kept);
        let orig_len = f.orig_len.max(f.data.len() as u32);
        Ok(Some(Frame { data: &self.kept, orig_len, ..f }))
    }

    fn notes(&self) -> SourceNotes {
        self.source.notes()
    }
}

#[test]
fn real_captures_give_the_same_report_when_they_are_redacted() {
    let Some(dir) = real::captures("real_captures_give_the_same_report_when_they_are_redacted") else {
        return;
    };
    let (mut compared, mut damaged, mut other) = (0, 0, Vec::new());
    for row in real::rows(&dir) {
        let path = dir.join(&row["path"]);
        let Ok(Ok(mut was)) = file::open(&path).map(|mut s| report_of(&mut *s)) else { continue };
        let source = file::open(&path).unwrap();
        let mut source = Redacted { source, mask: Mask::new(b"k"), kept: Vec::new(), damaged: 0 };
        let is = report_of(&mut source).unwrap();
        if source.damaged > 0 {
            damaged += 1;
            continue;
        }
        let mut mask = source.mask;
        was.flows
            .iter_mut()
            .for_each(|f| (f.client, f.server) = (mask.socket(f.client), mask.socket(f.server)));
        compared += 1;
        if was != is {
            other.push(row["path"].clone());
        }
    }
    assert!(other.is_empty(), "another report: {other:#?}");
    assert!(compared >= 50 && damaged <= 12, "{compared} compared, {damaged} with damaged data");
}
