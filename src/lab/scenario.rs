//! What an emulated link shall do, as a TOML file.
//!
//! ```toml
//! name = "one lost segment"
//! seed = 7
//! mtu  = 1500
//!
//! [c2s]                     # each way on its own; [s2c] the same
//! delay = "20ms"
//! loss  = 0.01
//!
//! [[rule]]                  # a scripted fault; the first rule that fits a packet has it
//! dir = "s2c"
//! carried = "200kB"
//! after = "2.5s"
//! count = 1
//! action = "drop"
//! ```
//!
//! A scenario with a `[talk]` (see [`super::talk`]) is complete in itself: `lab --record` plays it, and each
//! `[[truth]]` names a stall that a right report tells of.
//!
//! **Time 0** of a scenario is the first TCP, UDP or ICMP packet on the link; with `[run] port`, the
//! first TCP or UDP packet from or to that port (`zero = "start"`: the moment the link came up). Every
//! `at`, `after`, `before` and `until` counts from there, so that a slow start of the programs does
//! not shift the faults against the transfer.

use super::endpoint::Endpoint;
use super::talk::{Family, Talk};
use super::units::{Dur, Rate, Share, Size};
use crate::model::tcp::{Owner, StallCause};
use crate::model::{Dir, Ns, PerDir, Side};
use serde::Deserialize;

/// A whole scenario.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// For people and for the report.
    pub name: String,
    /// What it shows, in a sentence.
    #[serde(default)]
    pub about: String,
    /// Every random decision follows from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// MTU of the two devices.
    #[serde(default = "mtu")]
    pub mtu: u16,
    /// What starts the scenario's clock.
    #[serde(default)]
    pub zero: Zero,
    /// Client to server.
    #[serde(default)]
    pub c2s: Link,
    /// Server to client.
    #[serde(default)]
    pub s2c: Link,
    /// Scripted faults, in order: the first that fits a packet has it.
    #[serde(default, rename = "rule")]
    pub rules: Vec<Rule>,
    /// How the two kernels are set.
    #[serde(default)]
    pub endpoint: Endpoint,
    /// What a test sync over this link shall do. The link itself reads `port` only.
    #[serde(default)]
    pub run: Run,
    /// Scripted applications at both ends.
    pub talk: Option<Talk>,
    /// What a right report says of the talk's connection; nothing else is right.
    #[serde(default)]
    pub truth: Vec<Truth>,
    /// What else the report is held against.
    pub score: Option<Score>,
    /// Finding codes that the scenario injects.
    #[serde(default)]
    pub expect: Vec<String>,
}

/// What starts the scenario's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zero {
    /// The first packet (of `[run] port`, if given).
    #[default]
    FirstPacket,
    /// The start of the link.
    Start,
}

/// One stall that a right report names.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// Direction of the data that does not move.
    pub dir: Dir,
    /// Who owed the next move.
    pub owner: Owner,
    /// Any of these is right.
    pub cause: Vec<StallCause>,
    /// It is as right not to name it: too short to be a stall, or nothing that anybody waits for.
    #[serde(default)]
    pub optional: bool,
    /// Only this end's capture can tell; none: each of them, and both together.
    pub tap: Option<Side>,
    /// Around when, after time 0.
    pub at: Option<Dur>,
    /// About how long.
    #[serde(rename = "for")]
    pub lasts: Option<Dur>,
    /// Finding codes that the report of both captures must have.
    #[serde(default)]
    pub findings: Vec<String>,
}

/// What a report is held against besides [`Truth`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// The stalls depend on chance: their causes follow from the fates of the packets.
    Fates,
}

/// One way of the link.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, try_from = "LinkText")]
pub struct Link {
    /// Added to every packet.
    pub delay: Dur,
    /// Up to this much more, evenly spread; order is kept.
    pub jitter: Dur,
    /// Line rate. Packet lengths count from the IP header.
    pub rate: Option<Rate>,
    /// Bytes that may wait for the line; what does not fit is dropped. Default: 100 ms of `rate`, at least ten full packets.
    pub queue: Option<Size>,
    /// Independent loss.
    pub loss: Share,
    /// Loss in bursts.
    pub burst: Option<Burst>,
    /// Late packets.
    pub reorder: Option<Reorder>,
    /// Share of packets that arrive twice.
    pub duplicate: Share,
    /// Share of packets in which one bit behind the IP header is flipped.
    pub corrupt: Share,
    /// Longer packets vanish without a word: an MTU black hole.
    pub mtu: Option<u16>,
    /// They do not vanish without a word: their sender is told by ICMP (RFC 1191, RFC 8201).
    pub icmp: bool,
    /// What comes faster is dropped, and nothing waits.
    pub policer: Option<Policer>,
    /// Times in which nothing passes.
    pub blackout: Vec<Window>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LinkText {
    delay: Dur,
    jitter: Dur,
    rate: Option<Rate>,
    queue: Option<Size>,
    loss: Share,
    burst: Option<Burst>,
    reorder: Option<Reorder>,
    duplicate: Share,
    corrupt: Share,
    mtu: Option<u16>,
    icmp: bool,
    policer: Option<Policer>,
    blackout: Vec<Window>,
}

impl TryFrom<LinkText> for Link {
    type Error = &'static str;
    fn try_from(t: LinkText) -> Result<Link, &'static str> {
        if t.queue.is_some() && t.rate.is_none() {
            return Err("`queue` needs a `rate`: without one nothing ever waits");
        }
        if t.icmp && t.mtu.is_none() {
            return Err("`icmp` needs an `mtu`: it tells of packets that are longer");
        }
        Ok(Link {
            delay: t.delay,
            jitter: t.jitter,
            rate: t.rate,
            queue: t.queue,
            loss: t.loss,
            burst: t.burst,
            reorder: t.reorder,
            duplicate: t.duplicate,
            corrupt: t.corrupt,
            mtu: t.mtu,
            icmp: t.icmp,
            policer: t.policer,
            blackout: t.blackout,
        })
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policer {
    /// How fast it fills. Packet lengths count from the IP header.
    pub rate: Rate,
    /// How much it holds.
    pub burst: Size,
}

/// Gilbert–Elliott: two states, each with a loss share (Elliott 1963).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Burst {
    /// Chance per packet to go from good to bad.
    pub p: Share,
    /// Chance per packet to go back.
    pub r: Share,
    /// Loss in the good state.
    #[serde(default)]
    pub good: Share,
    /// Loss in the bad state.
    #[serde(default = "all")]
    pub bad: Share,
}

/// Some packets come late and are overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// Share of packets.
    pub share: Share,
    /// How much later.
    pub extra: Dur,
}

/// A stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// From here.
    pub at: Dur,
    /// For so long; without it: for ever.
    #[serde(default, rename = "for")]
    pub lasts: Option<Dur>,
}

impl Window {
    /// Whether `t` after time 0 lies within.
    pub fn holds(&self, t: Ns) -> bool {
        t >= self.at.0 && self.lasts.is_none_or(|d| t < self.at.0 + d.0)
    }
}

/// A scripted fault: selectors that must all fit, and what to do then.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "RuleText")]
pub struct Rule {
    /// For the truth log, as `rule:NAME`.
    pub name: String,
    /// Only this way.
    pub dir: Option<Dir>,
    /// Only TCP or UDP from or to this port.
    pub port: Option<u16>,
    /// Only the n-th connection, from 1, in the order of first packets (with `port`: of those on this port).
    pub connection: Option<u32>,
    /// Only a connection that has carried so many payload bytes before this packet, both ways together:
    /// tells the bulk data from a control connection on the same port.
    pub carried: Option<u64>,
    /// Only segments that touch these bytes of the stream, `[from, to)`; byte 0 is the first after the SYN.
    pub bytes: Option<(u64, u64)>,
    /// Only the n-th time that these bytes are sent, from 1.
    pub copy: Option<u32>,
    /// Only segments with this flag.
    pub flag: Option<Flag>,
    /// Only from this time on.
    pub after: Option<Ns>,
    /// Only before this time.
    pub before: Option<Ns>,
    /// Only with so much payload.
    pub min_payload: u32,
    /// Only the last segments before a pause.
    pub tail: Option<Tail>,
    /// Skip the first n−1 packets that fit.
    pub nth: u64,
    /// At most so many packets (with `tail`: so many tails).
    pub count: Option<u64>,
    /// What happens.
    pub action: Action,
}

/// The last segments that carry new data before the sender pauses.
///
/// Whether a segment is one of them is known only afterwards. So the link keeps a segment that fits
/// until `segments` more have followed it, or until nothing new has followed for `pause`; what has
/// been sent before is not new. As long as `pause` is not above the link's delay, and the segments come
/// closer together than the delay, nobody can tell: packets are on their way for so long anyhow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tail {
    /// A pause is a time without new data that is at least so long.
    pub pause: Dur,
    /// How many segments belong to the tail. With a single one the tail loss probe comes no sooner
    /// than the retransmission time-out would (it waits for a delayed ACK); with two it comes after 2·SRTT.
    #[serde(default = "two")]
    pub segments: usize,
}

/// A TCP flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Flag {
    /// SYN, also with ACK.
    Syn,
    /// FIN.
    Fin,
    /// RST.
    Rst,
}

/// What a rule does with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// It never arrives.
    Drop,
    /// It arrives this much later; others overtake it.
    HoldFor(Ns),
    /// It arrives at this time, or when it would have arrived if that is later.
    HoldUntil(Ns),
    /// It arrives twice.
    Duplicate,
    /// One bit behind the IP header is flipped.
    Corrupt,
    /// A box on the path ends the connection: the packet is dropped, and a RST is forged.
    Reset(ResetTo),
}

/// Who gets a forged RST.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResetTo {
    /// Both ends.
    #[default]
    Both,
    /// Only who sent the packet.
    Sender,
    /// Only whom it was for.
    Receiver,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    name: Option<String>,
    dir: Option<Dir>,
    port: Option<u16>,
    connection: Option<u32>,
    carried: Option<Size>,
    bytes: Option<(u64, u64)>,
    copy: Option<u32>,
    flag: Option<Flag>,
    after: Option<Dur>,
    before: Option<Dur>,
    #[serde(default)]
    min_payload: u32,
    tail: Option<Tail>,
    nth: Option<u64>,
    count: Option<u64>,
    action: ActionText,
    #[serde(rename = "for")]
    hold_for: Option<Dur>,
    until: Option<Dur>,
    to: Option<ResetTo>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ActionText {
    Drop,
    Hold,
    Duplicate,
    Corrupt,
    Reset,
}

impl TryFrom<RuleText> for Rule {
    type Error = String;
    fn try_from(t: RuleText) -> Result<Rule, String> {
        let action = match (t.action, t.hold_for, t.until) {
            (ActionText::Hold, Some(d), None) => Action::HoldFor(d.0),
            (ActionText::Hold, None, Some(d)) => Action::HoldUntil(d.0),
            (ActionText::Hold, _, _) => {
                return Err("`action = \"hold\"` needs either `for` or `until`".to_owned());
            }
            (_, None, None) => match t.action {
                ActionText::Duplicate => Action::Duplicate,
                ActionText::Reset => Action::Reset(t.to.unwrap_or_default()),
                ActionText::Corrupt => Action::Corrupt,
                _ => Action::Drop,
            },
            _ => return Err("`for` and `until` belong to `action = \"hold\"`".to_owned()),
        };
        if t.to.is_some() && t.action != ActionText::Reset {
            return Err("`to` belongs to `action = \"reset\"`".to_owned());
        }
        for (word, n) in [
            ("copy", t.copy.map(u64::from)),
            ("connection", t.connection.map(u64::from)),
            ("nth", t.nth),
            ("count", t.count),
        ] {
            if n == Some(0) {
                return Err(format!("`{word}` counts from 1"));
            }
        }
        if let Some(tail) = t.tail {
            if action != Action::Drop {
                return Err("`tail` goes with `action = \"drop\"` only".to_owned());
            }
            if !(1..=64).contains(&tail.segments) {
                return Err("`tail` takes from 1 to 64 `segments`".to_owned());
            }
            if tail.pause.0 <= Ns::ZERO {
                return Err("`tail` needs a `pause` above 0".to_owned());
            }
        }
        if t.bytes.is_some_and(|(from, to)| from >= to) {
            return Err("`bytes = [from, to]` needs from < to".to_owned());
        }
        if let (Some(a), Some(b)) = (t.after, t.before)
            && a >= b
        {
            return Err("`after` must lie before `before`".to_owned());
        }
        Ok(Rule {
            name: t.name.unwrap_or_default(),
            dir: t.dir,
            port: t.port,
            connection: t.connection,
            carried: t.carried.map(|s| s.0),
            bytes: t.bytes,
            copy: t.copy,
            flag: t.flag,
            after: t.after.map(|d| d.0),
            before: t.before.map(|d| d.0),
            min_payload: t.min_payload,
            tail: t.tail,
            nth: t.nth.unwrap_or(1),
            count: t.count,
            action,
        })
    }
}

/// What a test sync over this link shall do.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Port of the server.
    pub port: Option<u16>,
    /// The sender paces itself to this rate.
    pub bwlimit: Option<Rate>,
    /// The tree that is synced.
    pub tree: Option<Tree>,
    /// Times in which one side's application does something else (declared as work).
    pub busy: Vec<Busy>,
    /// Times in which the sender's pacing lets nothing through: quiet gaps, at which tails can be hit.
    pub pause: Vec<Window>,
    /// A read that waits longer is slow.
    pub slow_read: Option<Dur>,
    /// The run is given up after so long.
    pub timeout: Option<Dur>,
}

/// A generated tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tree {
    /// How many files.
    pub files: u32,
    /// Bytes in all.
    pub bytes: Size,
}

/// One side's application is busy with something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Busy {
    /// Whose.
    pub side: Side,
    /// From here.
    pub at: Dur,
    /// For so long.
    #[serde(rename = "for")]
    pub lasts: Dur,
}

fn one() -> u64 {
    1
}
fn two() -> usize {
    2
}
fn mtu() -> u16 {
    1500
}
fn all() -> Share {
    Share(1.0)
}

/// A scenario that cannot be used, and where it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ScenarioError {
    /// File name, or name of the built-in.
    pub file: String,
    /// Line, from 1, where known.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            None => write!(f, "{}: {}", self.file, self.message),
        }
    }
}

impl Scenario {
    /// Reads a scenario; `file` is for messages.
    pub fn parse(file: &str, text: &str) -> Result<Scenario, ScenarioError> {
        let fail = |line, message: String| ScenarioError { file: file.to_owned(), line, message };
        let scenario: Scenario = toml::from_str(text).map_err(|e| {
            let line = e.span().map(|s| {
                1 + text.as_bytes()[..s.start.min(text.len())].iter().filter(|b| **b == b'\n').count()
            });
            fail(line, e.message().to_owned())
        })?;
        if scenario.talk.is_none()
            && [Side::Client, Side::Server].iter().any(|s| scenario.endpoint.of(*s).drop.is_some())
        {
            return Err(fail(
                None,
                "`drop` of an [endpoint] needs a [talk]: it is set on its sockets".to_owned(),
            ));
        }
        if let Some(talk) = &scenario.talk {
            if talk.family == Family::V6 && scenario.mtu < 1280 {
                return Err(fail(
                    None,
                    "`family = 6` needs an `mtu` of at least 1280 (RFC 8200 §5)".to_owned(),
                ));
            }
            if talk.port == 0 || talk.lasts.0 <= Ns::ZERO {
                return Err(fail(None, "`[talk]` needs a `port` and a `for` above 0".to_owned()));
            }
        }
        if !(576..=65_000).contains(&scenario.mtu) {
            return Err(fail(None, format!("`mtu` is {}, but must lie between 576 and 65000", scenario.mtu)));
        }
        for code in &scenario.expect {
            if code.is_empty()
                || !code.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            {
                return Err(fail(None, format!("`expect` holds `{code}`, which is no finding code")));
            }
        }
        Ok(scenario)
    }

    /// One way of the link.
    pub fn link(&self, dir: Dir) -> &Link {
        match dir {
            Dir::C2s => &self.c2s,
            Dir::S2c => &self.s2c,
        }
    }

    /// Both ways.
    pub fn links(&self) -> PerDir<&Link> {
        PerDir { c2s: &self.c2s, s2c: &self.s2c }
    }
}

/// Names of the scenarios that are compiled in.
pub const BUILTIN: &[&str] = &["clean", "demo"];

/// The text of a scenario that is compiled in.
pub fn builtin(name: &str) -> Option<&'static str> {
    match name {
        "clean" => Some(include_str!("../../captures/scenarios/clean.toml")),
        "demo" => Some(include_str!("../../captures/scenarios/demo.toml")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Scenario::parse("x.toml", text).expect_err("must be refused").to_string()
    }

    #[test]
    fn every_word_of_a_scenario_is_understood() {
        let s = Scenario::parse(
            "x.toml",
            r#"
name = "all"
seed = 9
mtu = 1400
zero = "start"
expect = ["loss-fast"]
[c2s]
delay = "20ms"
jitter = "1ms"
rate = "10Mbit"
queue = "60kB"
loss = 0.01
burst = { p = 0.01, r = 0.3, bad = 0.9 }
reorder = { share = 0.05, extra = "5ms" }
duplicate = 0.01
corrupt = 0.01
mtu = 1300
icmp = true
policer = { rate = "10Mbit", burst = "20kB" }
blackout = [{ at = "7s", for = "1.5s" }, { at = "20s" }]
[[rule]]
name = "late"
dir = "s2c"
port = 8730
connection = 2
carried = "200kB"
bytes = [1000, 2000]
copy = 1
flag = "fin"
after = "1s"
before = "2s"
min_payload = 1
nth = 3
count = 1
action = "hold"
for = "100ms"
[[rule]]
tail = { pause = "15ms" }
action = "drop"
[[rule]]
action = "reset"
to = "sender"
[endpoint]
cc = "reno"
[run]
port = 8730
bwlimit = "1.2MB/s"
tree = { files = 3, bytes = "1MB" }
busy = [{ side = "server", at = "4.5s", for = "800ms" }]
pause = [{ at = "10.5s", for = "300ms" }]
slow_read = "60ms"
timeout = "60s"
"#,
        )
        .unwrap();
        assert_eq!(s.rules[0].action, Action::HoldFor(Ns::from_millis(100)));
        assert_eq!(s.rules[2].action, Action::Reset(ResetTo::Sender));
        assert_eq!(s.rules[1].tail.unwrap().segments, 2);
        assert_eq!(s.c2s.burst.unwrap().good, Share(0.0));
        assert!(s.c2s.blackout[0].holds(Ns::from_millis(8499)));
        assert!(!s.c2s.blackout[0].holds(Ns::from_millis(8500)));
        assert!(s.c2s.blackout[1].holds(Ns::from_secs(1 << 20)));
        assert_eq!(s.run.bwlimit.unwrap().bytes_per_second(), 1_200_000);
    }

    #[test]
    fn mistakes_are_told_with_their_line() {
        let cases = [
            ("name = \"x\"\n[c2s]\nlos = 0.1\n", "x.toml:3: unknown field `los`"),
            ("name = \"x\"\n[c2s]\nloss = 1.1\n", "x.toml:3: `1.1` is not a share from 0 to 1 (1 % is 0.01)"),
            ("name = \"x\"\n\n[s2c]\ndelay = 20\n", "x.toml:4: `20` is not a time with a unit"),
            ("name = \"x\"\n[c2s]\nqueue = 1000\n", "x.toml:2: `queue` needs a `rate`"),
            ("name = \"x\"\n[[rule]]\naction = \"hold\"\n", "x.toml:2: `action = \"hold\"` needs either"),
            (
                "name = \"x\"\n[[rule]]\naction = \"drop\"\nto = \"both\"\n",
                "`to` belongs to `action = \"reset\"`",
            ),
            ("name = \"x\"\n[c2s]\nicmp = true\n", "x.toml:2: `icmp` needs an `mtu`"),
            ("name = \"x\"\n[[rule]]\naction = \"drop\"\ncopy = 0\n", "x.toml:2: `copy` counts from 1"),
            ("name = \"x\"\n[[rule]]\naction = \"dorp\"\n", "x.toml:3: unknown variant `dorp`"),
            ("name = \"x\"\nmtu = 100\n", "x.toml: `mtu` is 100"),
            ("seed = 1\n", "missing field `name`"),
            ("name = \"x\"\nexpect = [\"Loss Fast\"]\n", "x.toml: `expect` holds `Loss Fast`"),
        ];
        for (text, want) in cases {
            let got = error(text);
            assert!(got.contains(want), "for {text:?}\n got {got}\nwant {want}");
        }
    }

    #[test]
    fn every_scenario_in_the_tree_is_valid() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/scenarios");
        let mut seen = Vec::new();
        let entries =
            |dir: &str| std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect::<Vec<_>>();
        let accuracy = entries(&format!("{dir}/accuracy"));
        assert!(accuracy.len() >= 3);
        for path in entries(dir).iter().filter(|p| p.is_file()).chain(&accuracy) {
            let text = std::fs::read_to_string(path).unwrap();
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let scenario = Scenario::parse(path.to_str().unwrap(), &text).unwrap();
            assert_eq!(scenario.name, name);
            assert!(!scenario.about.is_empty(), "{name} says what it shows");
            if accuracy.contains(path) {
                let talk = scenario.talk.unwrap_or_else(|| panic!("{name} has no talk"));
                assert!(talk.lasts.0 <= Ns::from_secs(15), "{name} takes too long");
            } else {
                seen.push(name);
            }
        }
        seen.sort();
        assert_eq!(seen, ["blackhole", "clean", "demo", "loss3", "mtu", "reorder"]);
        assert!(BUILTIN.iter().all(|n| builtin(n).is_some()));
        assert_eq!(builtin("loss3"), None);
    }
}
