//! The answer in one sentence: why is it slow or hung, and whose fault is it?

use crate::model::Ns;
use crate::model::tcp::Owner;
use crate::model::units::bytes;
use crate::report::{Finding, InputKind, Report, RunHow, RunInfo, Severity, Verdict, VerdictKind};

/// Below this, a finding alone does not carry a verdict.
const SURE: f64 = 0.4;
/// A capture that missed more than this share of its frames says nothing about losses.
const DROPPED: f64 = 0.05;

/// Before anything was judged.
pub(super) fn nothing() -> Verdict {
    inconclusive("There is no TCP connection in this evidence.".to_owned())
}

/// Why nothing was found, where most frames could not be read for one reason.
fn unreadable(r: &Report) -> Option<String> {
    let some = r.quality.iter().any(|q| q.code == "filtered");
    let filtered = some.then(|| "The filter leaves no TCP connection of this evidence.".to_owned());
    let skipped = r.inputs.iter().flat_map(|i| &i.skipped);
    let Some((reason, n)) = skipped.max_by_key(|(_, n)| **n) else { return filtered };
    let frames = r.inputs.iter().map(|i| i.frames).sum::<u64>();
    let why = match (reason.strip_prefix("link-type-"), reason.as_str()) {
        (Some(number), _) => {
            format!("are of link type {number} (tcpdump.org/linktypes.html), which is not read")
        }
        (_, "too-short") => {
            "are cut before the end of a TCP header: capture again with a longer snap length (tcpdump -s 128)"
                .to_owned()
        }
        _ => return filtered,
    };
    (n.saturating_mul(2) > frames).then(|| format!("{n} of {frames} frames {why}.")).or(filtered)
}

fn inconclusive(sentence: String) -> Verdict {
    Verdict { kind: VerdictKind::Inconclusive, owner: None, sentence }
}

/// Judges the findings; what a run itself says about its end stands above them.
pub(super) fn judge(r: &Report, reads: u64) -> Verdict {
    let mut verdict = evidence(r, reads);
    if let Some(run) = r.run.as_ref().filter(|run| run.unfinished()) {
        verdict = unfinished(r, run, verdict);
    }
    if r.quality.iter().any(|q| matches!(q.code.as_str(), "cut-file" | "broken-file")) {
        let whole = verdict.sentence.trim_end_matches('.').len();
        verdict.sentence.truncate(whole);
        verdict.sentence.push_str("; the file is cut, what comes after is unknown.");
    }
    verdict
}

/// The verdict of a run that did not do what it should.
fn unfinished(r: &Report, run: &RunInfo, packets: Verdict) -> Verdict {
    let how = run.ended.as_ref().map_or(RunHow::Done, |e| e.how);
    let message = run.ended.as_ref().map_or("", |e| e.message.trim_end_matches('.'));
    let explained = r.findings.iter().any(|f| sure(&f));
    let why = if explained { format!(" {}", packets.sentence) } else { String::new() };
    match how {
        RunHow::Interrupted if explained => {
            Verdict { sentence: format!("Interrupted by you. Until then:{why}"), ..packets }
        }
        RunHow::Interrupted => inconclusive(format!(
            "Interrupted by you after {}; nothing had held the transfer up until then.",
            run.sync.map_or(r.span.len(), |s| s.duration)
        )),
        RunHow::Done => {
            let (failed, files) = run.sync.map_or((0, 0), |s| (s.failed, s.files));
            let sentence = format!("{failed} of {files} files could not be synchronised: {message}.{why}");
            Verdict { kind: VerdictKind::Failed, owner: packets.owner, sentence }
        }
        // a refusal or a file is nobody's network
        RunHow::Failed => Verdict {
            kind: VerdictKind::Failed,
            owner: None,
            sentence: format!("The sync could not be done: {message}."),
        },
        RunHow::TimedOut | RunHow::Broken => Verdict {
            kind: VerdictKind::Failed,
            owner: packets.owner.filter(|_| explained),
            sentence: format!("The {} did not finish: {message}.{why}", what(run)),
        },
    }
}

/// A scripted talk has no numbers of a sync.
fn what(run: &RunInfo) -> &'static str {
    if run.sync.is_some() { "sync" } else { "transfer" }
}

fn sure(f: &&Finding) -> bool {
    f.confidence >= SURE && f.severity > Severity::Info
}

/// What the packets and logs say.
fn evidence(r: &Report, reads: u64) -> Verdict {
    if r.flows.is_empty() && reads == 0 {
        return unreadable(r).map_or_else(nothing, inconclusive);
    }
    if let Some((name, missed, of)) = leaky(r) {
        let mut sentence = format!(
            "The capture {} missed {missed} of about {of} packets; what it did not see cannot be judged.",
            crate::model::units::printable(name)
        );
        if let Some(worst) = r.findings.iter().find(sure) {
            sentence.push_str(&format!(" Likeliest: {}", worst.message));
        }
        return inconclusive(sentence);
    }
    if let Some(worst) = r.findings.iter().find(sure) {
        return guilty(r, worst);
    }
    if let Some(f) = r.findings.iter().find(|f| f.severity > Severity::Info) {
        return inconclusive(format!("The evidence does not decide. Likeliest: {}", f.message));
    }
    let carried = carried(r);
    if carried == 0 && reads == 0 {
        return inconclusive("No data was transferred, so there is nothing to judge.".to_owned());
    }
    if reads == 0 && !answered(r) {
        return inconclusive(
            "Too little to judge: no acknowledgement of any data is in this evidence.".to_owned(),
        );
    }
    let notes = r.findings.len();
    let mut sentence = match reads {
        0 => format!("Nothing held this transfer up: {} in {}", bytes(carried), r.span.len()),
        n => format!(
            "Nothing held this transfer up: {} in {}, {n} reads, {}",
            bytes(carried),
            r.span.len(),
            if r.reads.is_empty() {
                format!("none slower than {}", r.meta.slow_read)
            } else {
                format!("{} slower than {} for an ordinary reason", r.reads.len(), r.meta.slow_read)
            }
        ),
    };
    if let Some(f) = r.findings.first() {
        sentence.push_str(&format!(
            ", although {notes} thing{} worth knowing: {}",
            if notes == 1 { " is" } else { "s are" },
            lower(&f.message)
        ));
    } else {
        sentence.push('.');
    }
    Verdict { kind: VerdictKind::Healthy, owner: None, sentence }
}

/// A capture that missed too much: its name, how many packets, of how many. Drops that the capture
/// program owned up to, or bytes that were acknowledged and never seen.
fn leaky(r: &Report) -> Option<(&str, u64, u64)> {
    r.inputs.iter().enumerate().filter(|(_, i)| i.kind == InputKind::Capture).find_map(|(n, i)| {
        let seen =
            |q: &&crate::report::Quality| q.code == "capture-drops" && q.input.map(usize::from) == Some(n);
        let missed =
            r.quality.iter().filter(seen).map(|q| q.count).max().unwrap_or(0).max(i.dropped.unwrap_or(0));
        let of = i.frames + missed;
        (missed as f64 > DROPPED * of as f64).then_some((i.name.as_str(), missed, of))
    })
}

fn guilty(r: &Report, f: &Finding) -> Verdict {
    let (kind, word) = match f.severity {
        Severity::Error => (VerdictKind::Failed, if broke(f) { "Broken" } else { "Hung" }),
        _ => (VerdictKind::Degraded, "Slow"),
    };
    let owner = owner_words(f);
    let base = time_base(r, f);
    let share = if f.cost > Ns::ZERO && base > Ns::ZERO {
        let percent = (f.cost.0 as f64 / base.0 as f64 * 100.0).min(100.0);
        format!(", for {} of {base} ({percent:.0} %)", f.cost.min(base))
    } else {
        String::new()
    };
    let more = r.findings.iter().filter(|o| o.severity > Severity::Info).count().saturating_sub(1);
    let what = match (more, f.count) {
        (0, 1) => in_short(&lower(&f.message)),
        _ => format!("{} ({})", title(&f.code), f.code),
    };
    let more = match more {
        0 => String::new(),
        1 => "; 1 more finding".to_owned(),
        n => format!("; {n} more findings"),
    };
    Verdict {
        kind,
        owner: Some(f.owner),
        sentence: format!("{word} because of {owner}{share}: {what}{more}."),
    }
}

fn title(code: &str) -> &'static str {
    super::RULES.iter().find(|r| r.code.as_str() == code).map_or("see below", |r| r.title)
}

/// Of an incident's sentence what happened first and how long a read waited; the finding has the rest.
fn in_short(sentence: &str) -> String {
    let mut parts = sentence.trim_end_matches('.').split("; ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    if let Some(read) = parts.find(|p| p.starts_with("the read of ") || p.contains(" reads waited, ")) {
        let upto = read.match_indices(", ").map(|m| m.0);
        let keep = if read.starts_with("the read of ") { 0 } else { 1 };
        let end = upto.clone().nth(keep).unwrap_or(read.len());
        out.push_str("; ");
        out.push_str(&read[..end]);
    }
    out
}

/// What a cost is a share of: the life of the connections concerned. A file may hold several captures,
/// years apart.
fn time_base(r: &Report, f: &Finding) -> Ns {
    let mine = r.flows.iter().filter(|x| f.flow.is_none_or(|id| id == x.flow));
    super::findings::union(mine.map(|x| x.span))
}

fn broke(f: &Finding) -> bool {
    f.code == "reset"
}

fn owner_words(f: &Finding) -> String {
    use crate::correlate::sender;
    let from = f.dir.map(|d| format!(" ({})", sender(d).as_str())).unwrap_or_default();
    let to = f.dir.map(|d| format!(" ({})", sender(d).flip().as_str())).unwrap_or_default();
    match f.owner {
        Owner::SenderApp => format!("the sending application{from}"),
        Owner::SenderTcp => format!("the sender's TCP{from}"),
        Owner::Network => "the network".to_owned(),
        Owner::ReceiverApp => format!("the receiving application{to}"),
        Owner::ReceiverHost => format!("the receiving host{to}"),
        Owner::Both => "both applications".to_owned(),
        Owner::Capture => "the capture".to_owned(),
        Owner::Unknown => "something that this evidence does not show".to_owned(),
    }
}

fn lower(s: &str) -> String {
    let mut c = s.chars();
    match c.next() {
        Some(first) => first.to_lowercase().chain(c).collect(),
        None => String::new(),
    }
}

/// Some data was acknowledged, or at least answered.
fn answered(r: &Report) -> bool {
    r.flows.iter().map(|f| (&f.dirs.c2s, &f.dirs.s2c)).any(|(a, b)| {
        [(a, b), (b, a)].iter().any(|(d, back)| d.bytes > 0 && (d.rtt_min.is_some() || back.packets > 1))
    })
}

/// Payload bytes of all connections, each counted at one tap.
fn carried(r: &Report) -> u64 {
    let mut best = std::collections::BTreeMap::new();
    for f in &r.flows {
        let b = f.dirs.c2s.bytes.saturating_add(f.dirs.s2c.bytes);
        let e = best.entry(f.flow).or_insert(0);
        *e = b.max(*e);
    }
    best.values().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_headline_keeps_what_happened_and_how_long_a_read_waited() {
        let one = "21 B 546:567 were lost; sent again; the read of the client that waited for it took 240 ms, 184 ms of it for the repair.";
        assert_eq!(
            in_short(one),
            "21 B 546:567 were lost; the read of the client that waited for it took 240 ms"
        );
        let many =
            "bytes were lost; 3 reads waited, the longest of the client for 2 s, 1 s of it on the path.";
        assert_eq!(in_short(many), "bytes were lost; 3 reads waited, the longest of the client for 2 s");
        assert_eq!(in_short("nothing came."), "nothing came");
    }
}
