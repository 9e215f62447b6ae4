//! What became of a packet: one record each, one line each in `truth.ndjson`.

use super::packet::Header;
use crate::model::{Dir, Ts};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::sync::Arc;

/// The fate of one packet. Every packet that enters the link gets exactly one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fate {
    /// When it entered the link: read from the sender's device.
    pub t: Ts,
    /// Which way it went.
    pub dir: Dir,
    /// Its number among the packets of this way, from 0.
    pub index: u64,
    /// IPv4 identification.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<u16>,
    /// Source port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sport: Option<u16>,
    /// Destination port.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dport: Option<u16>,
    /// Connection number, from 1, in order of first packets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conn: Option<u32>,
    /// Sequence number as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// Acknowledgment number as on the wire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack: Option<u32>,
    /// TCP flags.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<u16>,
    /// TCP window as on the wire, not scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub win: Option<u16>,
    /// SACK blocks, `[from, to)`, sequence numbers as on the wire, in the order of the header.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sack: Vec<(u32, u32)>,
    /// Payload bytes of TCP or UDP.
    pub len: u32,
    /// Bytes from the IP header on.
    pub size: u32,
    /// How often these bytes have been sent, this time included; 0 where it carries no sequence numbers.
    pub copy: u32,
    /// What happened.
    pub fate: What,
    /// Why; empty where it passed untouched.
    pub cause: Cause,
    /// When it had to leave the link at the other end; none: never.
    pub due: Option<Ts>,
    /// When it really did: a busy host is late. None: never, or the link is pure and takes no time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Ts>,
    /// How often it arrived.
    pub arrivals: u8,
}

/// What happened to a packet. Where more than one thing did, the one that comes first here is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// Nothing.
    Passed,
    /// A box on the path made it: it never entered. It has the number of the packet that it is an answer to.
    Forged,
    /// It arrived twice.
    Duplicated,
    /// It came late and may have been overtaken.
    Reordered,
    /// A rule kept it.
    Held,
    /// A bit was flipped.
    Corrupted,
    /// It never arrived.
    Dropped,
}

/// Why it happened. A word in the log; `rule:NAME` for a scripted fault.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// Nothing happened.
    None,
    /// Inside a black-out.
    Blackout,
    /// Longer than the path allows.
    Mtu,
    /// Independent loss.
    Loss,
    /// Loss in a burst.
    Burst,
    /// Above the rate that a policer lets through.
    Policer,
    /// The queue before the line was full.
    Queue,
    /// Random reordering.
    Reorder,
    /// Random duplication.
    Duplicate,
    /// Random corruption.
    Corrupt,
    /// Still on its way when the link went down.
    Stopped,
    /// The device at the far end did not take it.
    Device,
    /// A scripted fault.
    Rule(Arc<str>),
}

const WORDS: &[(&str, Cause)] = &[
    ("", Cause::None),
    ("blackout", Cause::Blackout),
    ("mtu", Cause::Mtu),
    ("loss", Cause::Loss),
    ("burst", Cause::Burst),
    ("policer", Cause::Policer),
    ("queue", Cause::Queue),
    ("reorder", Cause::Reorder),
    ("duplicate", Cause::Duplicate),
    ("corrupt", Cause::Corrupt),
    ("stopped", Cause::Stopped),
    ("device", Cause::Device),
];

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cause::Rule(name) => write!(f, "rule:{name}"),
            other => f.write_str(WORDS.iter().find(|(_, c)| c == other).map_or("", |(w, _)| w)),
        }
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Cause {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Cause, D::Error> {
        let word = String::deserialize(d)?;
        if let Some(name) = word.strip_prefix("rule:") {
            return Ok(Cause::Rule(name.into()));
        }
        let known = WORDS.iter().find(|(w, _)| *w == word).map(|(_, c)| c.clone());
        known.ok_or_else(|| serde::de::Error::custom(format!("unknown cause `{word}`")))
    }
}

impl Fate {
    /// A packet that has just entered the link.
    pub fn entered(t: Ts, dir: Dir, index: u64, header: Option<&Header>, size: usize) -> Fate {
        let tcp = header.and_then(|h| h.tcp);
        let ports = header.and_then(|h| h.ports);
        Fate {
            t,
            dir,
            index,
            id: header.and_then(|h| h.id),
            sport: ports.map(|p| p.0),
            dport: ports.map(|p| p.1),
            conn: None,
            seq: tcp.map(|x| x.seq.0),
            ack: tcp.filter(|x| x.flags.ack()).map(|x| x.ack.0),
            flags: tcp.map(|x| x.flags.0),
            win: tcp.map(|x| x.window),
            sack: tcp.iter().flat_map(|x| x.sack()).map(|(a, b)| (a.0, b.0)).collect(),
            len: header.map_or(0, |h| h.payload),
            size: u32::try_from(size).unwrap_or(u32::MAX),
            copy: 0,
            fate: What::Passed,
            cause: Cause::None,
            due: None,
            left: None,
            arrivals: 1,
        }
    }

    /// When it came out at the other end; none: it did not.
    pub fn arrived(&self) -> Option<Ts> {
        self.left.or(self.due).filter(|_| self.fate != What::Dropped)
    }

    /// Notes that something happened, unless something worse has.
    pub fn suffer(&mut self, what: What, cause: Cause) {
        if what > self.fate {
            (self.fate, self.cause) = (what, cause);
        }
        if what == What::Dropped {
            (self.due, self.left, self.arrivals) = (None, None, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_the_way_through_json() {
        let mut fate = Fate::entered(Ts(5), Dir::S2c, 3, None, 40);
        for cause in WORDS.iter().map(|w| w.1.clone()).chain([Cause::Rule("tail".into())]) {
            fate.cause = cause;
            let line = serde_json::to_string(&fate).unwrap();
            assert_eq!(serde_json::from_str::<Fate>(&line).unwrap(), fate, "{line}");
        }
        assert!(serde_json::to_string(&fate).unwrap().contains(r#""cause":"rule:tail""#));
    }

    #[test]
    fn the_worst_that_happened_is_told() {
        let mut fate = Fate::entered(Ts(5), Dir::S2c, 3, None, 40);
        fate.suffer(What::Reordered, Cause::Reorder);
        fate.suffer(What::Duplicated, Cause::Duplicate);
        assert_eq!(fate.cause, Cause::Reorder);
        (fate.due, fate.left) = (Some(Ts(7)), Some(Ts(9)));
        assert_eq!(fate.arrived(), Some(Ts(9)));
        fate.suffer(What::Dropped, Cause::Queue);
        assert_eq!((fate.cause.clone(), fate.arrived(), fate.arrivals), (Cause::Queue, None, 0));
    }
}
