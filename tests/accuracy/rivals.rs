//! What tshark and tcptrace say of the same file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use syncscope::cli::score::Known;
use syncscope::lab::score::{labelled, tally::Confusion};
use syncscope::model::tcp::SegmentClass;
use syncscope::report::Report;

/// Segments that are something else than `new`, or are said to be.
#[derive(Clone, Debug, Default)]
pub struct Rivals {
    /// Ours, on the same segments.
    pub ours: Confusion,
    /// tshark's labels; none: it is not installed.
    pub tshark: Option<Confusion>,
    /// tcptrace's counts; none: it is not installed.
    pub tcptrace: Option<Counts>,
}

/// tcptrace counts, it does not label.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Segments sent again: the truth at this tap, and its answer.
    pub resent: (u64, u64),
    /// Late originals.
    pub late: (u64, u64),
}

pub fn ask(file: &Path, known: &Known, report: &Report) -> Option<Rivals> {
    let labels = labelled(known.truth(), report).ok()?;
    let mut out = Rivals::default();
    let odd = |a: SegmentClass, b: &str| a != SegmentClass::New || b != SegmentClass::New.as_str();
    for l in &labels {
        if odd(l.truth, l.said.as_str()) {
            out.ours.add(l.truth.as_str(), l.said.as_str(), 1);
        }
    }
    if let Some(said) = tshark(file) {
        let mut table = Confusion::default();
        for l in &labels {
            let word = said.get(&l.frame.0).copied().unwrap_or(SegmentClass::New.as_str());
            // A duplicate on the way is a spurious retransmission in its words.
            if odd(l.truth, word) {
                table.add(l.truth.as_str(), word, 1);
            }
        }
        out.tshark = Some(table);
    }
    let truth = |c: SegmentClass| labels.iter().filter(|l| l.truth == c && l.len > 0).count() as u64;
    out.tcptrace = tcptrace(file).map(|(resent, late)| Counts {
        resent: (truth(SegmentClass::Retransmission), resent),
        late: (truth(SegmentClass::Reordered), late),
    });
    Some(out)
}

fn output(program: &str, args: &[&str], file: &Path) -> Option<String> {
    let out = Command::new(program).args(args).arg(file).stdin(Stdio::null()).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Frame → our word for its label.
fn tshark(file: &Path) -> Option<BTreeMap<u64, &'static str>> {
    const FIELDS: [(&str, SegmentClass); 4] = [
        ("tcp.analysis.keep_alive", SegmentClass::KeepAlive),
        ("tcp.analysis.zero_window_probe", SegmentClass::WindowProbe),
        ("tcp.analysis.out_of_order", SegmentClass::Reordered),
        // Also set where it says fast or spurious.
        ("tcp.analysis.retransmission", SegmentClass::Retransmission),
    ];
    let mut args = vec!["-n", "-T", "fields", "-E", "separator=;", "-e", "frame.number"];
    for (field, _) in FIELDS {
        args.extend(["-e", field]);
    }
    args.push("-r");
    let text = output("tshark", &args, file)?;
    let row = |line: &str| {
        let mut cells = line.split(';');
        let frame = cells.next()?.parse().ok()?;
        let said = FIELDS.iter().zip(cells).find(|(_, cell)| !cell.is_empty());
        said.map(|((_, class), _)| (frame, class.as_str()))
    };
    Some(text.lines().filter_map(row).collect())
}

/// Segments it calls resent, and out of order; both ways together.
fn tcptrace(file: &Path) -> Option<(u64, u64)> {
    let text = output("tcptrace", &["-l", "-n"], file)?;
    let sum = |name: &str| {
        let lines = text.lines().filter(|l| l.contains(name));
        let numbers = lines
            .flat_map(|l| l.split(name).skip(1))
            .filter_map(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok());
        numbers.sum()
    };
    Some((sum("rexmt data pkts"), sum("outoforder pkts")))
}
