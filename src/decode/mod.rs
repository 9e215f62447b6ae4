//! Frame → one [`Segment`] value. Pure. Lax on cut packets: what is there is used.
//!
//! ```text
//! link (Ethernet VLAN QinQ PPPoE SLL SLL2 RAW NULL LOOP) → IPv4 / IPv6 (+ extensions) → TCP, or ICMP about TCP
//! ```

pub mod segment;

pub use segment::{Decoded, IcmpError, SackBlocks, Segment, Skip, TcpFlags, TcpOptions};
