//! ICMP (RFC 792, 1191) and ICMPv6 (RFC 4443) errors about TCP segments.

use super::bytes::{be16, be32};
use super::ip::{self, Ip};
use super::segment::{IcmpError, Skip};
use super::tcp;
use crate::model::Frame;
use std::net::SocketAddr;

pub(super) fn error(frame: &Frame<'_>, outer: &Ip<'_>) -> Result<IcmpError, Skip> {
    let icmp = outer.payload.data;
    let (Some(&kind), Some(&code)) = (icmp.first(), icmp.get(1)) else { return Err(Skip::TooShort) };
    let mtu = match (outer.protocol, kind, code) {
        (ip::ICMP, 3, 4) => be16(icmp, 6).map(u32::from),
        // Unreachable, source quench, redirect, time exceeded, parameter problem.
        (ip::ICMP, 3 | 4 | 5 | 11 | 12, _) => None,
        (ip::ICMPV6, 2, _) => be32(icmp, 4),
        // Unreachable, time exceeded, parameter problem.
        (ip::ICMPV6, 1 | 3 | 4, _) => None,
        _ => return Err(Skip::NotTcp),
    };
    let inner = ip::parse_quoted(outer.payload.skip(8).ok_or(Skip::TooShort)?)?;
    if inner.protocol != ip::TCP {
        return Err(Skip::NotTcp);
    }
    let (src, dst, seq) = tcp::quoted(inner.payload.data).ok_or(Skip::TooShort)?;
    Ok(IcmpError {
        frame: frame.no,
        ts: frame.ts,
        src: SocketAddr::new(inner.src, src),
        dst: SocketAddr::new(inner.dst, dst),
        kind: (kind, code),
        // Routers older than RFC 1191 leave the field 0.
        mtu: mtu.filter(|m| *m > 0),
        seq,
    })
}
