//! Frame → one [`Segment`] value. Pure. Lax on cut packets: what is there is used.
//!
//! ```text
//! link (Ethernet VLAN QinQ PPPoE SLL SLL2 RAW NULL LOOP) → IPv4 / IPv6 (+ extensions) → TCP, or ICMP about TCP
//! ```
//!
//! The walk is done by hand and not by a general dissector for two reasons: strict parsers reject what a
//! snap length has cut, and the lengths that matter here are those on the wire (IP total length, jumbo
//! payload, original frame length where offload left a zero), not those of the bytes at hand.

mod bytes;
pub mod checksum;
mod icmp;
mod ip;
mod link;
pub mod redact;
pub mod segment;
mod tcp;

pub use segment::{Decoded, IcmpError, SackBlocks, Segment, Skip, TcpFlags, TcpOptions};

use crate::model::Frame;

/// Decodes one frame. Never fails: what is not a TCP segment (or an ICMP error about one) is a
/// [`Skip`] with its reason.
pub fn decode(frame: &Frame<'_>) -> Decoded {
    read(frame, tcp::segment)
}

/// As [`decode`], where nothing is looked for in another capture: [`Segment::head`] is left out.
pub fn decode_alone(frame: &Frame<'_>) -> Decoded {
    read(frame, tcp::headless)
}

#[inline(always)]
fn read(frame: &Frame<'_>, tcp: impl Fn(&Frame<'_>, u64, &ip::Ip<'_>) -> Decoded) -> Decoded {
    match link::strip(frame) {
        // Apart, so that the compiler knows the version in what follows.
        Ok((packet, key)) if ip::is_v4(packet) => inside(frame, key, ip::v4(packet, true), tcp),
        Ok((packet, key)) => inside(frame, key, ip::parse(packet), tcp),
        Err(why) => Decoded::Skip(why),
    }
}

#[inline(always)]
fn inside(
    frame: &Frame<'_>,
    link_key: u64,
    ip: Result<ip::Ip<'_>, Skip>,
    tcp: impl Fn(&Frame<'_>, u64, &ip::Ip<'_>) -> Decoded,
) -> Decoded {
    let ip = match ip {
        Ok(ip) => ip,
        Err(why) => return Decoded::Skip(why),
    };
    match ip.protocol {
        ip::TCP => tcp(frame, link_key, &ip),
        ip::ICMP | ip::ICMPV6 => icmp::error(frame, &ip).map_or_else(Decoded::Skip, Decoded::Icmp),
        _ => Decoded::Skip(Skip::NotTcp),
    }
}

#[cfg(test)]
mod tests;
