//! One line of numbers for each connection and capture.

use crate::correlate::World;
use crate::model::tcp::{Cause, SegmentClass};
use crate::report::{Counts, FlowReport};

/// In order of flow, then capture.
pub(super) fn reports(w: &World) -> Vec<FlowReport> {
    let mut all = Vec::with_capacity(w.flows.iter().map(|f| f.taps.len()).sum());
    all.extend(w.flows.iter().flat_map(|f| f.taps.iter().map(move |t| (f, t))).map(report));
    all
}

fn report((f, t): (&crate::correlate::Flow, &crate::correlate::TapView)) -> FlowReport {
    let (mut segments, mut retransmissions) = (Counts::default(), Counts::default());
    let mut spurious = 0;
    if t.conn.ordinary > 0 {
        segments.add(SegmentClass::New.as_str(), t.conn.ordinary);
    }
    for s in &t.conn.segments {
        segments.add(s.class.as_str(), 1);
        if s.class == SegmentClass::Retransmission {
            let cause = s.cause.unwrap_or(Cause::Unknown);
            retransmissions.add(cause.as_str(), 1);
        }
        spurious += u64::from(s.spurious.is_some());
    }
    FlowReport {
        flow: f.id,
        input: t.input,
        client: t.conn.client,
        server: t.conn.server,
        tap: t.conn.tap.clone(),
        span: t.conn.span,
        handshake: t.conn.handshake,
        ended: t.conn.ended.to_owned(),
        irtt: t.conn.irtt,
        segments,
        retransmissions,
        spurious,
        dirs: t.conn.halves.clone(),
    }
}
