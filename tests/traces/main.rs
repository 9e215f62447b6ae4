//! What the analysis says about hand-written traces: one trap of the field each.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod hygiene;
mod limits;
mod loss;
mod path_mtu;
mod script;
mod stalls;
mod traps;
mod unseen;
mod waits;

use script::trace;
use syncscope::model::tcp::{Cause, SegmentClass};
use syncscope::model::{Dir, StreamRange};
use syncscope::tcp::Connection;

/// Handshake at the client: 40 ms round trip, MSS 1000, SACK.
pub const HELLO: &str = "
    0.000 c S mss 1000 sack wscale 0
    0.040 s S mss 1000 sack wscale 0
    0.0401 c . ack 1
";
/// The same at the server's tap.
pub const HELLO_AT_SERVER: &str = "
    0.000 c S mss 1000 sack wscale 0
    0.0001 s S mss 1000 sack wscale 0
    0.040 c . ack 1
";

pub fn with(hello: &str, rest: &str) -> String {
    format!("{hello}{rest}")
}

pub fn classes(c: &Connection) -> Vec<(u64, SegmentClass)> {
    let odd = |r: &&syncscope::model::tcp::SegmentRecord| r.class != SegmentClass::New;
    c.segments.iter().filter(odd).map(|r| (r.frame.0, r.class)).collect()
}

pub fn causes(c: &Connection) -> Vec<(u64, Cause, u16)> {
    c.segments.iter().filter_map(|r| Some((r.frame.0, r.cause?, r.resend?))).collect()
}

pub fn range(a: i64, b: i64) -> StreamRange {
    StreamRange::new(syncscope::model::RelSeq(a), syncscope::model::RelSeq(b))
}

#[test]
fn a_clean_transfer_says_nothing() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.042 c 1001:2001
         0.081 s ack 2001
         0.082 c F 2001:2501
         0.122 s F ack 2502
         0.123 c ack 2",
    ));
    assert_eq!(classes(&c), []);
    assert!(c.losses.is_empty() && c.holes.is_empty() && c.stalls.is_empty(), "{c:#?}");
    assert_eq!((c.handshake, c.ended), (true, "fin"));
    assert_eq!(c.halves[Dir::C2s].bytes, 2500);
    assert_eq!(c.irtt.map(|n| n.0), Some(40_100_000));
}
