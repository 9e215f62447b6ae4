//! The report's numbers as Prometheus reads them, for the textfile collector of node_exporter: base units, one
//! family after the other, each with HELP and TYPE.
//!
//! Numbers are sums over connections. Addresses are no labels: every connection would make series that nobody
//! deletes. Of a connection in two captures the first one counts.

use crate::model::tcp::Owner;
use crate::model::units::printable;
use crate::model::{Dir, FlowId, Ns, Ts};
use crate::report::{Counts, FlowReport, InputKind, Report, Severity, VerdictKind};
use crate::view::words::{flow_ids, flow_of};
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Writes all families.
pub fn write(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let mut w = Families { out };
    about(report, &mut w)?;
    findings(report, &mut w)?;
    traffic(report, &mut w)?;
    waits(report, &mut w)
}

fn about<W: Write>(r: &Report, w: &mut Families<'_, W>) -> io::Result<()> {
    let info = [("schema", r.meta.schema.as_str()), ("tool", r.meta.tool.as_str())];
    w.family("report_info", "What made this report.", [(labels(&info), 1.0)])?;
    let is = |k: &VerdictKind| f64::from(u8::from(*k == r.verdict.kind));
    let verdicts = VerdictKind::ALL.iter().map(|k| (labels(&[("verdict", k.as_str())]), is(k)));
    w.family("verdict", "The answer: 1 for the verdict that holds.", verdicts)?;
    w.one("analysis_start_timestamp_seconds", "First event of any input, Unix time.", at(r.span.start))?;
    w.one("analysis_end_timestamp_seconds", "Last event of any input, Unix time.", at(r.span.end))?;
    let captures = || r.inputs.iter().filter(|i| i.kind == InputKind::Capture);
    w.one("capture_frames", "Frames read from captures.", sum(captures().map(|i| i.frames)))?;
    let dropped = sum(captures().filter_map(|i| i.dropped));
    w.one("capture_dropped_frames", "Frames that the capturing kernels dropped.", dropped)?;
    let mut faults: BTreeMap<Severity, u64> = Severity::ALL.iter().map(|s| (*s, 0)).collect();
    r.quality.iter().for_each(|q| *faults.entry(q.severity).or_default() += 1);
    let faults = faults.into_iter().map(|(s, n)| (labels(&[("severity", s.as_str())]), n as f64));
    w.family("evidence_faults", "Faults of the captures and logs themselves.", faults)
}

fn findings<W: Write>(r: &Report, w: &mut Families<'_, W>) -> io::Result<()> {
    let of = |s: &Severity| r.findings.iter().filter(|f| f.severity == *s).count() as f64;
    let by = Severity::ALL.iter().map(|s| (labels(&[("severity", s.as_str())]), of(s)));
    w.family("findings", "Findings.", by)?;
    let mut sums: BTreeMap<(String, Owner, Severity), (u64, Ns)> = BTreeMap::new();
    for f in &r.findings {
        let sum = sums.entry((f.code.clone(), f.owner, f.severity)).or_default();
        *sum = (sum.0.saturating_add(f.count), sum.1 + f.cost);
    }
    let label = |(code, owner, severity): &(String, Owner, Severity)| {
        labels(&[("code", code.as_str()), ("owner", owner.as_str()), ("severity", severity.as_str())])
    };
    let times = sums.iter().map(|(k, v)| (label(k), v.0 as f64));
    w.family("finding_occurrences", "How often each finding occurred.", times)?;
    let costs = sums.iter().map(|(k, v)| (label(k), v.1.as_secs_f64()));
    w.family("finding_cost_seconds", "Time that each finding cost.", costs)
}

fn traffic<W: Write>(r: &Report, w: &mut Families<'_, W>) -> io::Result<()> {
    let flows: Vec<&FlowReport> = flow_ids(r).into_iter().filter_map(|id| flow_of(r, id)).collect();
    w.one("connections", "Connections.", flows.len() as f64)?;
    let add = |of: fn(&FlowReport) -> &Counts, key: &'static str| {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (k, n) in flows.iter().flat_map(|f| of(f).iter()) {
            *all.entry(k).or_default() += n;
        }
        all.into_iter().map(|(k, n)| (labels(&[(key, k)]), n as f64)).collect::<Vec<_>>()
    };
    w.family("segments", "Segments by class.", add(|f| &f.segments, "class"))?;
    w.family("retransmissions", "Segments sent again, by cause.", add(|f| &f.retransmissions, "cause"))?;
    let spurious = sum(flows.iter().map(|f| f.spurious));
    w.one("spurious_retransmissions", "Segments sent again that were not needed, proven.", spurious)?;
    let both = |of: fn(&FlowReport, Dir) -> Option<f64>, fold: fn(f64, f64) -> f64| {
        let way =
            |d: Dir| Some((labels(&[("dir", dir(d))]), flows.iter().filter_map(|f| of(f, d)).reduce(fold)?));
        Dir::BOTH.into_iter().filter_map(way).collect::<Vec<_>>()
    };
    let plus = |a: f64, b: f64| a + b;
    w.family(
        "payload_bytes",
        "Payload, each byte counted once.",
        both(|f, d| Some(f.dirs[d].bytes as f64), plus),
    )?;
    let resent = both(|f, d| Some(f.dirs[d].bytes_resent as f64), plus);
    w.family("resent_bytes", "Payload sent again.", resent)?;
    let lowest = both(|f, d| f.dirs[d].rtt_min.map(Ns::as_secs_f64), f64::min);
    w.family("rtt_min_seconds", "Lowest round trip from the tap to the receiver and back.", lowest)?;
    let highest = both(|f, d| f.dirs[d].rtt_p99.map(Ns::as_secs_f64), f64::max);
    w.family("rtt_p99_max_seconds", "Highest 99th percentile of a connection's round trips.", highest)
}

fn waits<W: Write>(r: &Report, w: &mut Families<'_, W>) -> io::Result<()> {
    let first = |flow: FlowId| flow_of(r, flow).map(|f| f.input);
    let mut lost: BTreeMap<&str, u64> = BTreeMap::new();
    for l in &r.losses {
        *lost.entry(l.location.as_str()).or_default() += l.range.len();
    }
    let lost = lost.into_iter().map(|(k, n)| (labels(&[("where", k)]), n as f64));
    w.family("lost_bytes", "Bytes of copies that did not arrive.", lost)?;
    let mut stalls: BTreeMap<(Owner, &str), (u64, Ns)> = BTreeMap::new();
    for s in r.stalls.iter().filter(|s| first(s.flow) == Some(s.input)) {
        let sum = stalls.entry((s.owner, s.cause.as_str())).or_default();
        *sum = (sum.0 + 1, sum.1 + s.end.unwrap_or(r.span.end).since(s.start));
    }
    let label = |k: &(Owner, &str)| labels(&[("owner", k.0.as_str()), ("cause", k.1)]);
    w.family("stalls", "Times without progress.", stalls.iter().map(|(k, v)| (label(k), v.0 as f64)))?;
    let long = stalls.iter().map(|(k, v)| (label(k), v.1.as_secs_f64()));
    w.family("stall_seconds", "Their duration.", long)?;
    w.one(
        "slow_read_threshold_seconds",
        "From which wait on a read is slow.",
        r.meta.slow_read.as_secs_f64(),
    )?;
    w.one("slow_reads", "Slow reads of applications.", r.reads.len() as f64)?;
    let parts = crate::report::Budget::default().parts().map(|p| p.0);
    let of = |i: usize| r.reads.iter().map(|x| x.budget.parts()[i].1).sum::<Ns>().as_secs_f64();
    let parts = parts.into_iter().enumerate().map(|(i, p)| (labels(&[("part", p)]), of(i)));
    w.family("slow_read_wait_seconds", "Where the time of slow reads went.", parts)
}

struct Families<'a, W: Write> {
    out: &'a mut W,
}

impl<W: Write> Families<'_, W> {
    /// A family of gauges: a report is a state, it counts nothing on. None where it has no member.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, f64)>,
    ) -> io::Result<()> {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return Ok(());
        }
        writeln!(self.out, "# HELP syncscope_{name} {help}\n# TYPE syncscope_{name} gauge")?;
        for (labels, value) in samples {
            writeln!(self.out, "syncscope_{name}{labels} {value}")?;
        }
        Ok(())
    }

    fn one(&mut self, name: &str, help: &str, value: f64) -> io::Result<()> {
        self.family(name, help, [(String::new(), value)])
    }
}

fn labels(of: &[(&str, &str)]) -> String {
    let value = |v: &str| printable(v).replace('\\', "\\\\").replace('"', "\\\"");
    let all: Vec<String> = of.iter().map(|(k, v)| format!("{k}=\"{}\"", value(v))).collect();
    format!("{{{}}}", all.join(","))
}

fn dir(d: Dir) -> &'static str {
    match d {
        Dir::C2s => "c2s",
        Dir::S2c => "s2c",
    }
}

fn at(ts: Ts) -> f64 {
    ts.0 as f64 / 1e9
}

fn sum(all: impl Iterator<Item = u64>) -> f64 {
    all.fold(0u64, u64::saturating_add) as f64
}
