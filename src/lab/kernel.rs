//! What the two kernels say they did: `kernel.json` of a talk's record.

use crate::model::{Side, Ts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Both kernels' word.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kernel {
    /// The client's.
    pub client: Counted,
    /// The server's.
    pub server: Counted,
    /// Every retransmission, as the kernel's trace events tell them; none: they could not be read.
    pub resends: Option<Vec<Resend>>,
    /// Why not; also what is missing from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resends_why_not: Option<String>,
}

impl Kernel {
    /// One side's.
    pub fn of(&self, side: Side) -> &Counted {
        match side {
            Side::Client => &self.client,
            Side::Server => &self.server,
        }
    }
}

/// One kernel's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// By how much each counter moved during the talk, by the name that `nstat` prints
    /// (`TcpRetransSegs`, `TcpExtTCPLossProbes`); those that did not are left out.
    pub counters: BTreeMap<String, i64>,
    /// Packets that the host dropped between its capture and its TCP, as the scenario's `drop` asks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_in_host: Option<u32>,
}

impl Counted {
    /// What a counter moved by; 0 for one that is not there.
    pub fn of(&self, name: &str) -> i64 {
        self.counters.get(name).copied().unwrap_or(0)
    }
}

/// One call of the kernel to send a segment again. With segmentation offload it may be several packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resend {
    /// Whose kernel.
    pub side: Side,
    /// When, to the microsecond.
    pub t: Ts,
    /// Source port.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// The sender's congestion state.
    pub ca: Congestion,
    /// First sequence number on the wire, where the kernel tells it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u32>,
    /// IP version.
    pub family: u8,
}

/// State of Linux' congestion control (`enum tcp_ca_state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Congestion {
    /// Nothing unusual; a tail loss probe is sent in it.
    #[default]
    Open,
    /// SACKs or duplicate ACKs, not yet enough of them.
    Disorder,
    /// The window is being reduced.
    Cwr,
    /// Fast recovery.
    Recovery,
    /// After a time-out.
    Loss,
}

impl Congestion {
    /// By the kernel's number.
    pub fn from_number(n: u32) -> Option<Congestion> {
        use Congestion::{Cwr, Disorder, Loss, Open, Recovery};
        [Open, Disorder, Cwr, Recovery, Loss].get(n as usize).copied()
    }
}

/// Reads tables like `/proc/net/netstat`: lines in pairs, names and numbers, each pair behind its prefix.
pub fn parse_counters(text: &str) -> BTreeMap<String, i64> {
    let mut out = BTreeMap::new();
    let mut lines = text.lines();
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (Some((prefix, names)), Some((_, values))) = (names.split_once(':'), values.split_once(':'))
        else {
            continue;
        };
        for (name, value) in names.split_whitespace().zip(values.split_whitespace()) {
            if let Ok(value) = value.parse() {
                out.insert(format!("{prefix}{name}"), value);
            }
        }
    }
    out
}

/// What moved from one reading to the next.
pub fn moved(before: &BTreeMap<String, i64>, after: &BTreeMap<String, i64>) -> Counted {
    let delta = |(name, now): (&String, &i64)| {
        let by = now.saturating_sub(before.get(name).copied().unwrap_or(0));
        (by != 0).then(|| (name.clone(), by))
    };
    Counted { counters: after.iter().filter_map(delta).collect(), dropped_in_host: None }
}

/// One line of a trace of `tcp:tcp_retransmit_skb`, `tcp:tcp_retransmit_synack` and `tcp:tcp_cong_state_set`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// On the trace's clock, microseconds.
    pub at_us: i64,
    /// Name of the event.
    pub event: String,
    fields: BTreeMap<String, String>,
}

impl Traced {
    /// Reads `  task-1  [000] ..s2.  12.345678: tcp_retransmit_skb: sport=9000 dport=…`.
    pub fn parse(line: &str) -> Option<Traced> {
        let (head, rest) = line.split_once(": tcp_")?;
        let (event, fields) = rest.split_once(": ")?;
        let (seconds, micros) = head.split_whitespace().last()?.split_once('.')?;
        let at_us = seconds.parse::<i64>().ok()?.checked_mul(1_000_000)?;
        let at_us = at_us.checked_add(micros.parse().ok().filter(|_| micros.len() == 6)?)?;
        let pair = |f: &str| f.split_once('=').map(|(k, v)| (k.to_owned(), v.to_owned()));
        let fields = fields.split_whitespace().filter_map(pair).collect();
        Some(Traced { at_us, event: format!("tcp_{event}"), fields })
    }

    fn number<T: std::str::FromStr>(&self, name: &str) -> Option<T> {
        self.fields.get(name)?.parse().ok()
    }
}

/// The retransmissions of a trace in order of time; `base`: wall clock at 0 of the trace's clock. A kernel that
/// does not say `err` has counted what it said.
pub fn resends(lines: &[Traced], server_port: u16, base: Ts) -> Vec<Resend> {
    let mut state = BTreeMap::<u16, Congestion>::new();
    let mut out = Vec::new();
    for line in lines {
        let (Some(sport), Some(dport)) = (line.number("sport"), line.number("dport")) else { continue };
        if line.event == "tcp_cong_state_set" {
            let to = line.number("cong_state").and_then(Congestion::from_number);
            state.insert(sport, to.unwrap_or_default());
            continue;
        }
        if line.number("err").is_some_and(|e: i32| e != 0) {
            continue;
        }
        let family = if line.fields.get("family").is_some_and(|f| f == "AF_INET6") { 6 } else { 4 };
        out.push(Resend {
            side: if sport == server_port { Side::Server } else { Side::Client },
            t: base + crate::model::Ns::from_micros(line.at_us),
            sport,
            dport,
            ca: state.get(&sport).copied().unwrap_or_default(),
            seq: None,
            family,
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_the_names_of_nstat() {
        let before = parse_counters("Tcp: RtoMin RetransSegs\nTcp: 200 3\nTcpExt: A B\nTcpExt: 1 2\n");
        let after = parse_counters("Tcp: RtoMin RetransSegs\nTcp: 200 7\nTcpExt: A B\nTcpExt: 1 0\nodd\n");
        let counted = moved(&before, &after);
        assert_eq!(counted.of("TcpRetransSegs"), 4);
        assert_eq!(counted.of("TcpExtB"), -2);
        assert_eq!(counted.counters.len(), 2, "{counted:?}");
    }

    #[test]
    fn a_resend_has_the_state_that_its_sender_was_in() {
        let text = "\
          <idle>-0       [001] ..s2.    12.000001: tcp_cong_state_set: family=AF_INET sport=4000 dport=9000 cong_state=3
          <idle>-0       [001] ..s2.    12.000009: tcp_retransmit_skb: skaddr=0 family=AF_INET sport=4000 dport=9000 state=TCP_ESTABLISHED err=0
 x y: z-7 [000] ..s2.    13.500000: tcp_retransmit_skb: family=AF_INET sport=9000 dport=4000
          <idle>-0       [001] ..s2.    13.600000: tcp_retransmit_skb: family=AF_INET sport=4000 dport=9000 err=-11
CPU:0 [LOST 3 EVENTS]";
        let lines: Vec<Traced> = text.lines().filter_map(Traced::parse).collect();
        assert_eq!(lines.len(), 4);
        let got = resends(&lines, 9000, Ts(1_000));
        let short = |r: &Resend| (r.side, r.t.0, r.ca);
        assert_eq!(
            got.iter().map(short).collect::<Vec<_>>(),
            [
                (Side::Client, 12_000_010_000, Congestion::Recovery),
                (Side::Server, 13_500_001_000, Congestion::Open)
            ]
        );
    }
}
