//! Evidence in, report out: align, join, group, judge.

use super::{flows, verdict};
use crate::correlate::{self, BuildInputs, World};
use crate::model::tcp::SegmentClass;
use crate::report::{Meta, Quality, Report, SCHEMA, Severity};
use std::collections::BTreeMap;

/// Makes the report. Pure: the same inputs give the same report.
pub fn build(mut b: BuildInputs) -> Report {
    let mut w = correlate::align(&mut b);
    let mut quality = std::mem::take(&mut w.quality);
    quality.extend(connection_faults(&w));
    let segments = w
        .flows
        .iter()
        .flat_map(|f| &f.taps)
        .flat_map(|t| &t.conn.segments)
        .filter(|s| b.all_segments || s.class != SegmentClass::New)
        .copied()
        .collect();
    let stalls = w.flows.iter().flat_map(|f| &f.taps).flat_map(|t| &t.conn.stalls).cloned().collect();
    let holes = w.flows.iter().flat_map(|f| &f.taps).flat_map(|t| &t.conn.holes).copied().collect();
    let losses = w.flows.iter().flat_map(|f| &f.taps).flat_map(|t| &t.conn.losses).copied().collect();
    let mut report = Report {
        meta: Meta {
            schema: SCHEMA.to_owned(),
            tool: concat!("syncscope ", env!("CARGO_PKG_VERSION")).to_owned(),
            title: b.title,
            slow_read: b.slow_read,
            live: b.live,
        },
        inputs: w.inputs.clone(),
        span: w.span,
        quality,
        flows: flows::reports(&w),
        segments,
        losses,
        holes,
        stalls,
        reads: Vec::new(),
        incidents: Vec::new(),
        findings: Vec::new(),
        verdict: verdict::nothing(),
        series: correlate::series::series(&w),
        run: b.run,
    };
    report.verdict = verdict::judge(&report);
    report
}

/// The faults that single connections show, summed by capture and kind.
fn connection_faults(w: &World) -> Vec<Quality> {
    let mut sums: BTreeMap<(u16, &'static str), (u64, u64, String)> = BTreeMap::new();
    for t in w.flows.iter().flat_map(|f| &f.taps) {
        for q in &t.conn.quality {
            let e = sums.entry((t.input, q.code)).or_insert_with(|| (0, 0, q.message.clone()));
            e.0 += q.count;
            e.1 += 1;
        }
    }
    let quality =
        |((input, code), (count, connections, message)): ((u16, &str), (u64, u64, String))| Quality {
            input: Some(input),
            code: code.to_owned(),
            severity: if code == "capture-drops" { Severity::Warning } else { Severity::Info },
            count,
            message: if connections > 1 {
                format!("{message} (so on {connections} connections)")
            } else {
                message
            },
        };
    sums.into_iter().map(quality).collect()
}
