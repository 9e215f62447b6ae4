//! One plain sentence, with numbers, for each incident.

use crate::correlate::incident::Group;
use crate::correlate::join::Joined;
use crate::correlate::sender;
use crate::model::tcp::{Hole, Loss, LossWhere, Stall, StallCause};
use crate::model::units::{bytes, count};
use crate::model::{Dir, Ns, Span, Ts};

/// What sentences are made from.
pub(super) struct Facts<'a> {
    /// Time zero of the report.
    pub zero: Ts,
    /// Of the report.
    pub losses: &'a [Loss],
    /// Of the report.
    pub holes: &'a [Hole],
    /// Of the report.
    pub stalls: &'a [Stall],
    /// Of the report.
    pub reads: &'a [Joined],
}

/// A moment, as seconds since the report's begin.
pub(super) fn at(t: Ts, zero: Ts) -> String {
    format!("+{:.3} s", t.since(zero).as_secs_f64())
}

fn plural(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{} {one}s", count(n as u64)) }
}

/// `the client` or `the server`, by what it does in the direction of the group.
struct Ends {
    from: &'static str,
    to: &'static str,
}

fn ends(dir: Option<Dir>) -> Ends {
    let from = sender(dir.unwrap_or(Dir::C2s));
    Ends { from: from.as_str(), to: from.flip().as_str() }
}

const NOT_REPAIRED: &str = "not repaired by the end of the capture";
const NO_ANSWER: &str = "never answered";

/// The sentence of a group.
pub(super) fn sentence(g: &Group, f: &Facts<'_>) -> String {
    use StallCause::*;
    let cause = g.cause.unwrap_or(Unknown);
    let mut s = match cause {
        LossFast | LossTail | LossRto | LostRetransmission | BurstLoss | PathMtu | HostDrop => {
            loss(g, f, cause)
        }
        BlackHole | MtuBlackHole | HandshakeLoss | PeerSilent => dead(g, f, cause),
        Reordering => reordering(g, f),
        ZeroWindow | SmallWindow | StuckWindow | Deadlock => window(g, f, cause),
        NoData => no_data(g, f),
        _ => other(g, f, cause),
    };
    s.push_str(&reads(g, f));
    let said = s.contains(NOT_REPAIRED) || s.contains(NO_ANSWER);
    if g.open && !said {
        let what = if crate::correlate::repair::is_loss(cause) { "its effect" } else { "it" };
        s.push_str(&format!("; {what} had not ended when the evidence did"));
    }
    s.push('.');
    s
}

fn length(g: &Group) -> Ns {
    g.span.len()
}

/// The longest stall of a group, of its own cause where it has one.
fn stall<'a>(g: &Group, f: &Facts<'a>) -> Option<&'a Stall> {
    let all = || g.stalls.iter().filter_map(|&n| f.stalls.get(n as usize));
    let len = |s: &&Stall| s.end.unwrap_or(g.span.end).since(s.start);
    all().filter(|s| Some(s.cause) == g.cause).max_by_key(len).or_else(|| all().max_by_key(len))
}

fn place(l: LossWhere) -> &'static str {
    match l {
        LossWhere::Upstream => "before they reached the tap",
        LossWhere::Downstream => "after the tap",
        LossWhere::Network => "in the network",
        LossWhere::ReceivingHost => "inside the receiving host, after its tap had seen them",
        LossWhere::Capture => "by the capture",
    }
}

fn mechanism(g: &Group, f: &Facts<'_>, cause: StallCause) -> String {
    // The sender's tap saw every copy, the receiver's only what got through.
    let stalls = || g.stalls.iter().filter_map(|&n| f.stalls.get(n as usize));
    let timeouts = g.timeouts.max(stalls().filter_map(|s| s.detail.timeouts).max().unwrap_or(0));
    let backoffs = stalls().filter_map(|s| s.detail.backoffs).max().unwrap_or(timeouts.saturating_sub(1));
    match cause {
        StallCause::LossFast => "by a fast retransmission".to_owned(),
        StallCause::LossTail if waiting(g, f) > 0 => "by a tail loss probe".to_owned(),
        StallCause::LossTail => {
            "by a tail loss probe, since nothing came after them that could have shown the gap".to_owned()
        }
        StallCause::LostRetransmission => "only after the retransmission was lost too".to_owned(),
        StallCause::LossRto | StallCause::BurstLoss | StallCause::HostDrop if timeouts > 0 => {
            let doubled = match backoffs {
                0 => String::new(),
                n => format!(", doubled {}", plural(n as usize, "time")),
            };
            format!("only after {}{doubled}", plural(timeouts as usize, "retransmission time-out"))
        }
        StallCause::LossRto => "only by the retransmission time-out".to_owned(),
        StallCause::PathMtu => "in shorter segments: they had been too long for the path".to_owned(),
        _ => "by retransmission".to_owned(),
    }
}

/// Most bytes that had to wait behind a gap.
fn waiting(g: &Group, f: &Facts<'_>) -> u64 {
    let holes = g.holes.iter().filter_map(|&n| f.holes.get(n as usize));
    holes.map(|h| h.queued_behind).max().unwrap_or(0)
}

fn loss(g: &Group, f: &Facts<'_>, cause: StallCause) -> String {
    let e = ends(g.dir);
    let mut lost: Vec<&Loss> = g.losses.iter().filter_map(|&n| f.losses.get(n as usize)).collect();
    let other = lost.iter().filter(|l| Some(l.dir) != g.dir).count();
    lost.retain(|l| Some(l.dir) == g.dir);
    lost.sort_by_key(|l| (l.sent, l.range));
    let how = mechanism(g, f, cause);
    let tries = if g.resent == 0 { "no resend seen".to_owned() } else { plural(g.resent as usize, "resend") };
    let never = format!("{NOT_REPAIRED} ({tries})");
    let mut s = match lost.as_slice() {
        [] => {
            let which = g.bytes.map_or_else(|| "bytes".to_owned(), |b| format!("bytes {b}"));
            let first = at(g.span.start, f.zero);
            let repaired = if g.open { never } else { format!("repaired {how}") };
            format!("{which} from the {} were missing from {first} and {repaired}", e.from)
        }
        [l] => {
            let left = match (l.sent, l.sent_frame) {
                (Some(t), Some(n)) => format!(" left the {} at {} (frame {n}) and", e.from, at(t, f.zero)),
                (Some(t), None) => format!(" left the {} at {} and", e.from, at(t, f.zero)),
                _ => format!(" from the {}", e.from),
            };
            let what = format!("{} {}", bytes(l.range.len()), l.range);
            let lost = format!("{what}{left} were lost {}", place(l.location));
            match (l.repaired, l.sent) {
                (Some(r), Some(t)) => format!(
                    "{lost}; sent again {} later{} {how}",
                    r.since(t),
                    l.repair_frame.map_or_else(String::new, |n| format!(" (frame {n})")),
                ),
                (Some(r), None) => format!("{lost}; repaired at {} {how}", at(r, f.zero)),
                _ if g.open => format!("{lost} and {never}"),
                _ => format!("{lost} and never got through"),
            }
        }
        all => {
            let total: u64 = all.iter().map(|l| l.range.len()).sum();
            let spots: std::collections::BTreeSet<&str> = all.iter().map(|l| place(l.location)).collect();
            let spots: Vec<&str> = spots.into_iter().collect();
            let open = all.iter().filter(|l| l.repaired.is_none()).count();
            let first = all.iter().map(|l| l.range.start).min().unwrap_or_default();
            let last = all.iter().map(|l| l.range.end).max().unwrap_or_default();
            let repaired = match open {
                n if n == all.len() && g.open => never,
                n if n > 0 && g.open => format!("{n} of them {never}, the others repaired {how}"),
                _ => format!("repaired {how}"),
            };
            format!(
                "{} ({}) within {first}:{last} from the {} were lost {} from {} on; {repaired}",
                plural(all.len(), "piece"),
                bytes(total),
                e.from,
                spots.join(" or "),
                at(g.span.start, f.zero),
            )
        }
    };
    if let Some(done) = arrival(g, f) {
        s.push_str(&format!("; all were there at {}", at(done, f.zero)));
    }
    if g.both && other > 0 {
        s.push_str(&format!("; the other way {} got lost too", plural(other, "piece")));
    }
    let q = waiting(g, f);
    if q > 0 {
        let then = if s.contains(NOT_REPAIRED) { "still wait" } else { "had to wait and came up at once" };
        s.push_str(&format!("; up to {} behind the gap {then}", bytes(q)));
    }
    s
}

/// When the last hole of the receiver was filled.
fn arrival(g: &Group, f: &Facts<'_>) -> Option<Ts> {
    let from_reads =
        g.reads.iter().filter_map(|&n| f.reads.get(n as usize)).filter_map(|j| {
            j.read.steps.iter().rev().find(|s| s.part == "loss-recovery").map(|s| s.span.end)
        });
    from_reads.max()
}

fn dead(g: &Group, f: &Facts<'_>, cause: StallCause) -> String {
    let e = ends(g.dir);
    let d = stall(g, f).map(|s| s.detail.clone()).unwrap_or_default();
    let tries = d.resends.or(d.timeouts).unwrap_or(g.resent);
    let since = at(g.span.start, f.zero);
    let len = length(g);
    match cause {
        StallCause::HandshakeLoss if g.open => format!(
            "the connection request was sent {} from {since} on, over {len}, and {NO_ANSWER}: the host is down, \
             its port is filtered, or the answers got lost",
            plural(tries as usize + 1, "time")
        ),
        StallCause::HandshakeLoss if g.dir == Some(Dir::S2c) => {
            format!(
                "the server's answer to the connection request (SYN-ACK) was not acknowledged at {since}: sent again {} over {len}",
                plural(tries as usize, "time")
            )
        }
        StallCause::HandshakeLoss => {
            format!(
                "the connection request got no answer at {since}: {} sent again over {len}",
                plural(tries as usize, "SYN")
            )
        }
        StallCause::MtuBlackHole => format!(
            "from {since} on, for {len}, only large segments from the {} do not come through ({}); small ones pass",
            e.from,
            plural(tries as usize, "resend")
        ),
        StallCause::PeerSilent => {
            format!("the {} has said nothing since {since}, for {len}, although it was asked", e.to)
        }
        _ => {
            let which = match d.path.as_deref() {
                Some("data") => format!("data from the {} does not arrive", e.from),
                Some("ack") => {
                    format!("data from the {} arrives, its acknowledgements do not come back", e.from)
                }
                _ => format!(
                    "data from the {} is not acknowledged; whether the data or the acknowledgements are lost, a capture at the {} would tell",
                    e.from, e.to
                ),
            };
            format!(
                "from {since} on, for {len}, nothing comes through: {which} ({})",
                plural(tries as usize, "resend")
            )
        }
    }
}

fn reordering(g: &Group, f: &Facts<'_>) -> String {
    let e = ends(g.dir);
    let longest = g
        .holes
        .iter()
        .filter_map(|&n| f.holes.get(n as usize))
        .filter_map(|h| h.death.map(|d| d.since(h.birth)))
        .max();
    let late = (g.late as usize).max(g.holes.len().min(1));
    let mut s = format!(
        "{} from the {} came late from {} on",
        plural(late, "segment"),
        e.from,
        at(g.span.start, f.zero)
    );
    if g.late == 0 && g.holes.is_empty() && g.spurious == 0 {
        s = format!(
            "bytes from the {} waited from {} for {} for earlier ones, which came without being sent again",
            e.from,
            at(g.span.start, f.zero),
            length(g)
        );
    } else if g.late == 0 && g.spurious > 0 {
        s = format!("the {} took late segments for lost ones at {}", e.from, at(g.span.start, f.zero));
    }
    if let Some(l) = longest {
        s.push_str(&format!(", the latest {l} after bytes that were sent after it"));
    }
    if g.spurious > 0 {
        s.push_str(&format!("; {} sent again without need", plural(g.spurious as usize, "segment")));
    }
    s
}

fn window(g: &Group, f: &Facts<'_>, cause: StallCause) -> String {
    let e = ends(g.dir);
    let since = at(g.span.start, f.zero);
    let len = length(g);
    let d = stall(g, f).map(|s| s.detail.clone()).unwrap_or_default();
    let probes = d
        .probes
        .filter(|&p| p > 0)
        .map_or_else(String::new, |p| format!("; the {} probed {}", e.from, plural(p as usize, "time")));
    let busy = d.busy_with.map_or_else(String::new, |b| format!(" (it was {})", doing(&b)));
    match cause {
        StallCause::Deadlock => {
            format!(
                "both receive windows were closed from {since} for {len}: each application writes and neither reads{probes}"
            )
        }
        StallCause::StuckWindow => {
            format!(
                "the {} reopened its window, but the {} still only probed, from {since} for {len}{probes}",
                e.to, e.from
            )
        }
        StallCause::SmallWindow => format!(
            "the receive window of the {}{} was too small to go on from {since} for {len}",
            e.to,
            d.window.map_or_else(String::new, |w| format!(" ({})", bytes(w)))
        ),
        _ => format!(
            "the receive window of the {} was closed from {since} for {len}: its application did not read{busy}{probes}",
            e.to
        ),
    }
}

/// What a busy application did, from its log's phase and file.
fn doing(busy_with: &str) -> String {
    let (phase, file) = busy_with.split_once(" of ").unwrap_or((busy_with, ""));
    let of = if file.is_empty() { "files" } else { file };
    match phase {
        "busy" => "held up on purpose, by the test".to_owned(),
        "pace" => "held back by its own rate limit".to_owned(),
        "signature" => format!("computing the signature of {of}"),
        "delta" => format!("searching {of} for matching blocks"),
        "list" => "making the file list".to_owned(),
        _ => format!("busy with {busy_with}"),
    }
}

fn no_data(g: &Group, f: &Facts<'_>) -> String {
    let e = ends(g.dir);
    let since = at(g.span.start, f.zero);
    match &g.busy {
        Some(b) => format!(
            "the application of the {} sent nothing from {since} for {}: it was {}",
            e.from,
            length(g),
            doing(b)
        ),
        None => format!(
            "the application of the {} had nothing to send from {since} for {}, although TCP could have sent",
            e.from,
            length(g)
        ),
    }
}

fn other(g: &Group, f: &Facts<'_>, cause: StallCause) -> String {
    use StallCause::*;
    let e = ends(g.dir);
    let since = at(g.span.start, f.zero);
    let len = length(g);
    let s = stall(g, f);
    let d = s.map(|s| s.detail.clone()).unwrap_or_default();
    match cause {
        DelaySpike if d.path.as_deref() == Some("data") && g.spurious == 0 => {
            format!(
                "bytes from the {} stood on the path: those which came after {since} had left up to {len} before",
                e.from
            )
        }
        DelaySpike if g.spurious == 0 && s.is_some() && d.resends.is_none() => format!(
            "acknowledgements for the {} came late at {since}: nothing was lost, and for {len} nothing was answered",
            e.from
        ),
        DelaySpike => format!(
            "acknowledgements for the {} came so late at {since} that its time-out fired without need ({} sent again, nothing was lost)",
            e.from,
            plural((g.spurious as usize).max(d.resends.unwrap_or(0) as usize).max(1), "segment")
        ),
        Queueing => {
            format!("bytes from the {} stood in a long queue on the path from {since} for {len}", e.from)
        }
        RateLimit => format!(
            "something on the path limits the rate of what the {} sends, from {since} for {len}",
            e.from
        ),
        Reset => match d.sent_by.as_deref() {
            Some("middlebox") => {
                format!("a middlebox, none of the two ends, reset the connection at {since}")
            }
            _ => format!(
                "the connection was reset at {since}{}",
                match d.outstanding.unwrap_or(0) {
                    0 => ", when nothing was outstanding".to_owned(),
                    n => format!(" with {} not yet acknowledged", bytes(n)),
                }
            ),
        },
        NagleDelayedAck => format!(
            "a short segment of the {} waited {len} at {since} for the delayed acknowledgement of the one before",
            e.from
        ),
        CwndLimited => {
            format!("the congestion window of the {} held its data back from {since} for {len}", e.from)
        }
        SendBuffer => format!("the send buffer of the {} was too small from {since} for {len}", e.from),
        Gap => format!("the capture has a gap from {since} for {len}: no verdict is possible there"),
        _ => {
            let needs = d.needs.map_or_else(String::new, |n| format!("; {n} would tell"));
            format!(
                "nothing moved from the {} from {since} for {len} and the evidence does not tell why{needs}",
                e.from
            )
        }
    }
}

fn reads(g: &Group, f: &Facts<'_>) -> String {
    let mut all: Vec<&Joined> = g.reads.iter().filter_map(|&n| f.reads.get(n as usize)).collect();
    all.sort_by_key(|j| std::cmp::Reverse(j.read.end.since(j.read.start)));
    let Some(worst) = all.first() else { return String::new() };
    let wait = Span::new(worst.read.start, worst.read.end).len();
    let who = worst.read.side.as_str();
    let local = worst.read.budget.local_delivery;
    let part = match worst.read.budget.largest() {
        ("local-delivery", _) => String::new(),
        (part, t) => format!(", {t} of it {}", part_words(part)),
    };
    let after = match local {
        Ns(0) => String::new(),
        l => format!(" and {l} after the bytes were there"),
    };
    match all.len() {
        1 => format!("; the read of the {who} that waited for it took {wait}{part}{after}"),
        n => format!("; {n} reads waited, the longest of the {who} for {wait}{part}{after}"),
    }
}

fn part_words(part: &str) -> &'static str {
    match part {
        "peer-app" => "before the peer wrote",
        "send-queue" => "in the sender's queue",
        "window" => "for the receive window",
        "transit" => "on the path",
        "loss-recovery" => "for the repair",
        "reordering" => "for the late original",
        _ => "for an unknown reason",
    }
}
