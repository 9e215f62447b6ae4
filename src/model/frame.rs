//! One captured frame, before anybody has looked inside.

use super::time::Ts;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A frame's number in its capture, from 1, as Wireshark numbers them.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(transparent)]
pub struct FrameNo(pub u64);

impl fmt::Display for FrameNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A link type as in the capture file (`LINKTYPE_*` of the tcpdump group's registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback: 4-byte address family in the byte order of the capturing host.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// Raw IP.
    pub const RAW: LinkType = LinkType(101);
    /// OpenBSD loopback: as NULL, in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked capture, version 1.
    pub const SLL: LinkType = LinkType(113);
    /// Linux cooked capture, version 2.
    pub const SLL2: LinkType = LinkType(276);
}

/// A frame as a source hands it out; `data` is valid until the source is asked for the next one.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number in this capture, from 1.
    pub no: FrameNo,
    /// When the tap saw it.
    pub ts: Ts,
    /// How to read `data`.
    pub link: LinkType,
    /// Interface index within the capture (0 in classic pcap).
    pub interface: u32,
    /// Length on the wire in bytes, `>= data.len()` in an honest file.
    pub orig_len: u32,
    /// What was captured.
    pub data: &'a [u8],
}
