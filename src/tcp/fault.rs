//! Faults of the capture, as far as a connection shows them.

use crate::flow::trace::Known;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureFault {
    /// `capture-drops`, `capture-duplicates`, `no-handshake`, `one-way`, `offload`, `cut-packets`, `reordered-capture`,
    /// `foreign-sacks`, `damaged-packets`, `stray-numbers`.
    pub code: &'static str,
    /// How often.
    pub count: u64,
    /// Bytes that it is about, where that is known.
    pub bytes: u64,
}

/// Faults of one connection, counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub twins: u64,
    pub missed_bytes: u64,
    pub missed_places: u64,
    pub foreign_sacks: u64,
    pub damaged: u64,
    pub strays: u64,
    pub cut: u64,
    pub late: u64,
    pub oversize: u64,
}

impl Faults {
    /// Those that there are.
    pub fn told(&self, known: &Known) -> Vec<CaptureFault> {
        // A SYN that was never answered is no fault of the capture.
        let unanswered = known.syn.c2s && !known.seen.s2c;
        let whole = known.syn.c2s && known.syn.s2c;
        let all = [
            ("capture-duplicates", self.twins, 0),
            ("capture-drops", self.missed_places, self.missed_bytes),
            ("no-handshake", u64::from(!(whole || unanswered)), 0),
            ("foreign-sacks", self.foreign_sacks, 0),
            ("damaged-packets", self.damaged, 0),
            ("stray-numbers", self.strays, 0),
            ("one-way", u64::from(known.seen.c2s != known.seen.s2c && !unanswered), 0),
            ("cut-packets", self.cut, 0),
            ("reordered-capture", self.late, 0),
            ("offload", self.oversize, 0),
        ];
        let found = all.into_iter().filter(|f| f.1 > 0);
        found.map(|(code, count, bytes)| CaptureFault { code, count, bytes }).collect()
    }
}

impl CaptureFault {
    /// One plain sentence.
    pub fn sentence(&self) -> String {
        let of =
            |one: &str, many: &str| format!("{} {}", self.count, if self.count == 1 { one } else { many });
        match self.code {
            "capture-duplicates" => {
                let what = of("packet is in the file twice", "packets are in the file twice");
                format!("{what}; the copies are not counted")
            }
            "capture-drops" => format!(
                "{} bytes in {} were acknowledged and never captured: the capture lost them, not the network",
                self.bytes,
                of("place", "places")
            ),
            "no-handshake" => {
                "the handshake was not captured: window scale, stream offsets and the first round trip are unknown"
                    .to_owned()
            }
            "foreign-sacks" => format!(
                "{} bytes outside the window: something on the path renumbers the stream and not its SACKs",
                of("SACK block names", "SACK blocks name")
            ),
            "damaged-packets" => format!(
                "{} out of place: damaged on the way, and not believed",
                of("packet has a wrong checksum and numbers", "packets have wrong checksums and numbers")
            ),
            "stray-numbers" => format!(
                "{} where nothing else of the stream is: changed on the way or in the file, and not believed",
                of("packet has a number", "packets have numbers")
            ),
            "one-way" => "only one direction was captured".to_owned(),
            "cut-packets" => format!("{} cut by the snap length", of("TCP header was", "TCP headers were")),
            "reordered-capture" => format!(
                "{} after their own acknowledgment: the capture's order is not the wire's",
                of("segment comes", "segments come")
            ),
            _ => format!(
                "{} larger than the wire carries (TSO, GSO or GRO): bytes count here, not packets",
                of("segment is", "segments are")
            ),
        }
    }
}
