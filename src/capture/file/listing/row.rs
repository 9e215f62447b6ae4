//! One line of a listing, taken apart.

use crate::model::Ts;
use crate::model::calendar::{self, DAY, SECOND};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// The time at the begin of a line, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stamp {
    /// `-tt`: since 1970.
    Epoch(i64),
    /// `-tttt`: date and time in the lister's time zone.
    Local(i64),
    /// Since midnight in the lister's time zone.
    OfDay(i64),
    /// `-ttt`, `-ttttt`: since another line.
    Since(i64),
    /// None.
    Missing,
}

/// What stands before the addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub at: Stamp,
    pub v6: bool,
    pub ip: Option<IpHeader>,
}

/// What `-v` tells of the IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IpHeader {
    pub ttl: u8,
    pub id: u16,
    pub dont_fragment: bool,
    pub tos: u8,
}

/// One end of a packet: as printed, and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub host: String,
    pub port: String,
    pub address: SocketAddr,
}

/// Options that the analysis uses, in the listed order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opt {
    Nop,
    Mss(u16),
    Scale(u8),
    SackOk,
    Sack(u32, u32),
    Times(u32, u32),
}

/// A listed TCP packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub line: u64,
    pub frame: u64,
    pub at: Stamp,
    pub ts: Ts,
    pub v6: bool,
    pub ip: Option<IpHeader>,
    pub src: End,
    pub dst: End,
    pub flags: u16,
    /// As listed, until the listing is numbered.
    pub seq: Option<u32>,
    pub ack: Option<u32>,
    pub window: u16,
    pub urgent: u16,
    pub options: Vec<Opt>,
    pub len: u32,
    /// A checksum that tcpdump found wrong.
    pub bad_sum: Option<u16>,
}

/// True for a line that begins a packet's listing, of whatever protocol.
pub(super) fn looks_like(line: &str) -> bool {
    let (at, rest) = stamp(line);
    if at == Stamp::Missing && line.starts_with(char::is_whitespace) {
        return false;
    }
    let begin: String = rest.chars().take(200).collect();
    let kind = |w: &str| {
        matches!(
            w,
            "IP" | "IP6" | "ip:" | "ip6:" | "ARP," | "LLDP," | "STP" | "ethertype" | "CDPv2," | "[|llc]"
        )
    };
    let ip = begin.split_whitespace().take(8).any(kind);
    if at == Stamp::Missing { ip && line.contains(" > ") && line.contains("Flags [") } else { ip }
}

/// True for the second line of a packet that `-v` lists in two.
pub(super) fn continues(line: &str) -> bool {
    line.starts_with("    ") && !line.trim_start().starts_with("0x") && line.contains(" > ")
}

/// The time, and what follows it.
fn stamp(line: &str) -> (Stamp, &str) {
    let space = line.starts_with(' ');
    let rest = line.trim_start();
    let (first, after) = rest.split_once(' ').unwrap_or((rest, ""));
    if line.starts_with("  ") || line.starts_with('\t') {
        return (Stamp::Missing, line);
    }
    if let Some(day) = calendar::parse_date(first) {
        let (time, after) = after.split_once(' ').unwrap_or((after, ""));
        return match of_day(time) {
            Some(ns) => (Stamp::Local(day.saturating_mul(DAY).saturating_add(ns)), after),
            None => (Stamp::Missing, line),
        };
    }
    if let Some(ns) = of_day(first) {
        return (if space { Stamp::Since(ns) } else { Stamp::OfDay(ns) }, after);
    }
    match first.split_once('.') {
        Some((s, fraction)) if s.len() >= 9 => match (digits(s, 11), nanos(fraction)) {
            (Some(s), Some(f)) => (Stamp::Epoch(s.saturating_mul(SECOND).saturating_add(f)), after),
            _ => (Stamp::Missing, line),
        },
        // old versions list -ttt as seconds
        Some((s, fraction)) => match (digits(s, 8), nanos(fraction)) {
            (Some(s), Some(f)) => (Stamp::Since(s * SECOND + f), after),
            _ => (Stamp::Missing, line),
        },
        None => (Stamp::Missing, line),
    }
}

/// `15:18:45.643425` or with nanoseconds.
fn of_day(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, ':');
    let (h, m, rest) = (digits(parts.next()?, 2)?, digits(parts.next()?, 2)?, parts.next()?);
    let (s, fraction) = rest.split_once('.').unwrap_or((rest, "0"));
    let s = digits(s, 2)?;
    (h < 24 && m < 60 && s < 61).then_some(())?;
    Some((h * 3600 + m * 60 + s) * SECOND + nanos(fraction)?)
}

fn digits(text: &str, most: usize) -> Option<i64> {
    let plain = !text.is_empty() && text.len() <= most && text.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

fn nanos(text: &str) -> Option<i64> {
    let n = digits(text, 9)?;
    Some(n * 10i64.pow(9 - text.len() as u32))
}

/// Time, IP version and `-v`'s IP header of a packet's first line.
pub(super) fn head(line: &str) -> Option<Head> {
    let (at, rest) = stamp(line);
    let words: String = rest.chars().take(200).collect();
    let v6 = words.split_whitespace().any(|w| matches!(w, "IP6" | "IPv6" | "ip6:"));
    let ip = rest.find('(').filter(|_| rest.contains("ttl ") || rest.contains("hlim ")).map(|from| {
        let inside = &rest[from..];
        let word = |key: &str| {
            let value = inside.split_once(key)?.1;
            Some(value.split([',', ' ', ')']).next().unwrap_or(""))
        };
        let number = |key: &str| word(key).and_then(|v| v.parse().ok());
        let tos = word("tos 0x").or(word("class 0x")).and_then(|v| u8::from_str_radix(v, 16).ok());
        IpHeader {
            ttl: number("ttl ").or(number("hlim ")).unwrap_or(0),
            id: word(" id ").and_then(|v| v.parse().ok()).unwrap_or(0),
            dont_fragment: inside.contains("flags [DF]"),
            tos: tos.unwrap_or(0),
        }
    });
    Some(Head { at, v6, ip })
}

/// Reads the TCP part: from the addresses on.
pub(super) fn parse(line: &str, head: Head) -> Result<Row, String> {
    let (addresses, tcp) = line.split_once(": Flags [").ok_or("no addresses before the flags")?;
    let (before, dst) = addresses.rsplit_once(" > ").ok_or("no ` > ` between two addresses")?;
    let src = before.rsplit(' ').next().unwrap_or(before);
    let (flags, rest) = tcp.split_once(']').ok_or("the flags have no end")?;
    let flags = tcp_flags(flags).ok_or_else(|| format!("the flags `{}` are unknown", shown(flags)))?;
    let (fields, options) = match rest.split_once(", options [") {
        Some((before, after)) => {
            let (options, after) = after.split_once(']').ok_or("the options have no end")?;
            (format!("{before}{after}"), options)
        }
        None => (rest.to_owned(), ""),
    };
    let mut r = Row {
        line: 0,
        frame: 0,
        at: head.at,
        ts: Ts(0),
        v6: head.v6,
        ip: head.ip,
        src: end(src)?,
        dst: end(dst)?,
        flags,
        seq: None,
        ack: None,
        window: 0,
        urgent: 0,
        options: Vec::new(),
        len: 0,
        bad_sum: None,
    };
    let mut length = None;
    let mut window = None;
    for field in fields.split(',').map(str::trim) {
        let (key, value) = field.split_once(' ').unwrap_or((field, ""));
        let number = |v: &str| v.parse::<u32>().map_err(|_| format!("`{}` is no {key}", shown(v)));
        match key {
            // the rest is what the payload says
            _ if length.is_some() => break,
            "seq" => r.seq = Some(number(value.split(':').next().unwrap_or(value))?),
            "ack" => r.ack = Some(number(value)?),
            "win" => window = Some(u16::try_from(number(value)?).map_err(|_| "a window above 65535")?),
            "urg" => r.urgent = u16::try_from(number(value)?).unwrap_or(u16::MAX),
            "length" => length = Some(number(value.split(':').next().unwrap_or(value))?),
            "cksum" if value.contains("(incorrect") => {
                r.bad_sum = value.get(2..6).and_then(|v| u16::from_str_radix(v, 16).ok());
            }
            _ => {}
        }
    }
    r.len = length.ok_or("no `length`; is the line cut?")?;
    r.window = window.ok_or("no `win`")?;
    r.options = options.split(',').flat_map(option).collect();
    if r.flags & 0x10 != 0 && r.ack.is_none() {
        return Err("the flags say ACK, and there is no `ack`".to_owned());
    }
    Ok(r)
}

fn end(text: &str) -> Result<End, String> {
    let (host, port) =
        text.rsplit_once('.').ok_or_else(|| format!("`{}` is no address and port", shown(text)))?;
    let address = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
    Ok(End { host: host.to_owned(), port: port.to_owned(), address })
}

fn tcp_flags(text: &str) -> Option<u16> {
    if text == "none" {
        return Some(0);
    }
    text.chars()
        .map(|c| match c {
            'F' => Some(0x01),
            'S' => Some(0x02),
            'R' => Some(0x04),
            'P' => Some(0x08),
            '.' => Some(0x10),
            'U' => Some(0x20),
            'E' => Some(0x40),
            'W' => Some(0x80),
            'e' => Some(0x100),
            _ => None,
        })
        .try_fold(0, |all, f| Some(all | f?))
}

/// One option; those that the analysis does not use are left out.
fn option(text: &str) -> Vec<Opt> {
    let words: Vec<&str> = text.trim().splitn(4, ' ').collect();
    let number = |i: usize| words.get(i).and_then(|w| w.parse::<u32>().ok());
    let one = match words.first().copied() {
        Some("nop") => Some(Opt::Nop),
        Some("mss") => number(1).and_then(|v| u16::try_from(v).ok()).map(Opt::Mss),
        Some("wscale") => number(1).and_then(|v| u8::try_from(v).ok()).map(Opt::Scale),
        Some("sackOK") => Some(Opt::SackOk),
        Some("TS") => {
            let rest = text.trim().strip_prefix("TS val ").and_then(|t| t.split_once(" ecr "));
            rest.and_then(|(v, e)| Some(Opt::Times(v.parse().ok()?, e.parse().ok()?)))
        }
        Some("sack") => {
            let blocks = text.split('{').skip(1).take(4).filter_map(|b| {
                let (l, r) = b.split('}').next()?.split_once(':')?;
                Some(Opt::Sack(l.parse().ok()?, r.parse().ok()?))
            });
            return blocks.collect();
        }
        _ => None,
    };
    one.into_iter().collect()
}

/// The begin of a text, fit for a message.
pub(super) fn shown(text: &str) -> String {
    let begin: String = text.trim().chars().take(100).collect();
    crate::model::units::printable(&begin)
}
