//! Arguments of system calls as strace prints them: descriptors, addresses, sets, time-outs.

use crate::model::Ns;
use std::net::{IpAddr, SocketAddr};

/// What a descriptor is said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// strace did not say.
    Unknown,
    /// A TCP connection: own end, other end.
    Tcp(SocketAddr, SocketAddr),
    /// A TCP socket without a peer: listening, fresh, or closed.
    Idle(Option<SocketAddr>),
    /// Something else.
    Other,
}

/// The bytes of `text` that are in no string, quotes left out, each with its place.
pub(super) fn unquoted(text: &str) -> impl Iterator<Item = (usize, u8)> {
    let mut quoted = false;
    let mut bytes = text.bytes().enumerate();
    std::iter::from_fn(move || {
        loop {
            let (i, b) = bytes.next()?;
            match b {
                b'\\' if quoted => {
                    bytes.next();
                }
                b'"' => quoted = !quoted,
                _ if quoted => {}
                _ => return Some((i, b)),
            }
        }
    })
}

/// Splits at the commas that are in no string and no bracket.
pub(super) fn split(args: &str) -> Vec<&str> {
    /// More than any call has.
    const MOST: usize = 16;
    let mut out = Vec::new();
    let (mut from, mut depth) = (0, 0i32);
    for (i, b) in unquoted(args) {
        match b {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth -= 1,
            b',' if depth == 0 => {
                out.push(args[from..i].trim());
                from = i + 1;
                if out.len() == MOST {
                    return out;
                }
            }
            _ => {}
        }
    }
    out.push(args[from..].trim());
    out
}

/// `4` or `4<TCP:[10.0.0.2:40112->10.0.0.1:873]>`.
pub(super) fn descriptor(text: &str) -> Option<(u32, Kind)> {
    let n = text.bytes().take_while(u8::is_ascii_digit).count();
    let fd = text[..n].parse().ok()?;
    let Some(inside) = text[n..].strip_prefix('<') else { return Some((fd, Kind::Unknown)) };
    Some((fd, kind(inside)))
}

fn kind(inside: &str) -> Kind {
    let tcp = inside.strip_prefix("TCPv6:[").or(inside.strip_prefix("TCP:["));
    let Some(ends) = tcp else {
        return if inside.starts_with("socket:[") { Kind::Unknown } else { Kind::Other };
    };
    let ends = ends.split("]>").next().unwrap_or(ends);
    match ends.split_once("->") {
        Some((local, peer)) => match (address(local), address(peer)) {
            (Some(l), Some(p)) => Kind::Tcp(l, p),
            _ => Kind::Idle(None),
        },
        None => Kind::Idle(address(ends)),
    }
}

/// `10.0.0.1:873`, `[::1]:873`, and `::1:873` of old versions.
fn address(text: &str) -> Option<SocketAddr> {
    if let Ok(a) = text.parse() {
        return Some(a);
    }
    let (ip, port) = text.rsplit_once(':')?;
    Some(SocketAddr::new(ip.trim_matches(['[', ']']).parse().ok()?, port.parse().ok()?))
}

/// `{sa_family=AF_INET, sin_port=htons(873), sin_addr=inet_addr("10.0.0.1")}` and its IPv6 sister.
pub(super) fn sockaddr(text: &str) -> Option<SocketAddr> {
    let port = text.split_once("htons(")?.1.split(')').next()?.parse().ok()?;
    let after = ["inet_addr(\"", "inet_pton(AF_INET6, \""].iter().find_map(|m| text.split_once(m));
    let ip: IpAddr = after?.1.split('"').next()?.parse().ok()?;
    Some(SocketAddr::new(ip, port))
}

/// The descriptors of a `[4 5<TCP:[…]>]` of select, with the last one's kind.
pub(super) fn set(text: &str) -> Vec<(u32, Kind)> {
    let Some(inside) = text.strip_prefix('[') else { return Vec::new() };
    let inside = inside.strip_suffix(']').unwrap_or(inside);
    inside.split_whitespace().filter_map(descriptor).collect()
}

/// The descriptors of poll's `[{fd=3, events=POLLIN}, …]` whose events have one of `wanted`.
pub(super) fn polled(text: &str, wanted: &[&str]) -> Vec<(u32, Kind)> {
    let each = text.split("{fd=").skip(1);
    let of = each.filter(|e| {
        let events = e.split_once("events=").map_or("", |(_, ev)| ev.split(['}', ',']).next().unwrap_or(""));
        events.split('|').any(|x| wanted.contains(&x))
    });
    of.filter_map(descriptor).collect()
}

/// `in [4 5]` of what select returned.
pub(super) fn selected(result: &str) -> Vec<u32> {
    let Some((_, after)) = result.split_once("(in [") else { return Vec::new() };
    let list = format!("[{}", after.split("],").next().unwrap_or(after).trim_end_matches(')'));
    set(&list).into_iter().map(|(fd, _)| fd).collect()
}

/// `{30, 0}` or `{tv_sec=30, tv_usec=0}`.
pub(super) fn timeval(text: &str) -> Option<Ns> {
    let inside = text.split_once('{')?.1.split('}').next()?;
    let (s, fraction) = inside.split_once(',')?;
    let unit = if fraction.contains("nsec") { 1 } else { 1_000 };
    let number = |t: &str| t.rsplit('=').next()?.trim().parse::<i64>().ok();
    let ns = number(fraction)?.checked_mul(unit)?;
    Some(Ns(number(s)?.checked_mul(1_000_000_000)?.checked_add(ns)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_say_what_they_are() {
        let tcp = |l: &str, p: &str| Kind::Tcp(l.parse().unwrap(), p.parse().unwrap());
        let cases = [
            ("4", 4, Kind::Unknown),
            ("4<socket:[9]>", 4, Kind::Unknown),
            ("4<pipe:[9]>", 4, Kind::Other),
            ("4</tmp/a>", 4, Kind::Other),
            ("4<TCP:[10.0.0.2:40112->10.0.0.1:873]>", 4, tcp("10.0.0.2:40112", "10.0.0.1:873")),
            ("4<TCPv6:[[::1]:40112->[::1]:873]>", 4, tcp("[::1]:40112", "[::1]:873")),
            ("4<TCPv6:[::1:40112->::1:873]>", 4, tcp("[::1]:40112", "[::1]:873")),
            ("4<TCP:[81234]>", 4, Kind::Idle(None)),
            ("4<TCP:[0.0.0.0:80]>", 4, Kind::Idle("0.0.0.0:80".parse().ok())),
        ];
        for (text, fd, kind) in cases {
            assert_eq!(descriptor(text), Some((fd, kind)), "{text}");
        }
        assert_eq!(descriptor("-1"), None);
    }

    #[test]
    fn addresses_and_sets_are_read() {
        let v4 = "{sa_family=AF_INET, sin_port=htons(873), sin_addr=inet_addr(\"10.0.0.1\")}";
        let v6 = "{sa_family=AF_INET6, sin6_port=htons(873), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}";
        assert_eq!(sockaddr(v4), "10.0.0.1:873".parse().ok());
        assert_eq!(sockaddr(v6), "[::1]:873".parse().ok());
        assert_eq!(set("[4 7<TCP:[9]>]").iter().map(|x| x.0).collect::<Vec<_>>(), [4, 7]);
        let poll = "[{fd=3, events=POLLIN|POLLRDNORM}, {fd=5, events=POLLOUT}]";
        assert_eq!(polled(poll, &["POLLIN"]), [(3, Kind::Unknown)]);
        assert_eq!(selected("2 (in [4 5], out [3], left {29, 999998})"), [4, 5]);
        assert_eq!(timeval("{30, 500000}"), Some(Ns(30_500_000_000)));
        assert_eq!(timeval("{tv_sec=30, tv_nsec=5}"), Some(Ns(30_000_000_005)));
        assert_eq!(split("5, {a=1, b=[2, 3]}, \"x, \\\"y\""), ["5", "{a=1, b=[2, 3]}", "\"x, \\\"y\""]);
    }
}
