//! Packets written down as a trace, one a line, and analysed at two initial sequence numbers: the
//! second wraps in mid-stream and must give the same result.
//!
//! ```text
//! 0.000 c S  mss 1000 sack wscale 7      time, who (c or s), flags: S F R P . (ACK is implied)
//! 0.040 s S  mss 1000 sack wscale 7
//! 0.081 c 1:1001 id 17 ts 81,40          bytes, IP ID, TSval,TSecr
//! 0.121 s ack 1001 sack 2001:3001 win 0  cumulative ACK, SACK blocks, raw window
//! 0.122 c 1001:2001 bad noid             wrong checksum, IP ID 0 (`v6`: no ID at all)
//! ```
//! An ACK number holds until the next one; IP IDs count up by themselves.

use std::net::SocketAddr;
use syncscope::decode::{Decoded, IcmpError, SackBlocks, Segment, TcpFlags, TcpOptions};
use syncscope::flow::Table;
use syncscope::model::{FrameNo, Ns, PerDir, Seq, Ts};
use syncscope::tcp::{Connection, Keep, Tracker, analyze};

pub const T0: Ts = Ts(1_700_000_000_000_000_000);

#[derive(Clone, Copy)]
struct Host {
    addr: SocketAddr,
    isn: u32,
    id: u16,
    ack: Option<u32>,
    window: u16,
    ttl: u8,
    next: u32,
}

/// Analyses a trace; the capture ends `more` seconds after its last packet.
pub fn trace_until(text: &str, more: f64) -> Connection {
    let plain = one(text, more, 1_000, 2_000);
    let wrapped = one(text, more, u32::MAX - 2_500, u32::MAX - 700);
    assert_eq!(strip(plain.clone()), strip(wrapped), "another initial sequence number, another result");
    plain
}

/// Analyses a trace; the capture ends with its last packet.
pub fn trace(text: &str) -> Connection {
    trace_until(text, 0.0)
}

fn strip(mut c: Connection) -> Connection {
    c.isn = PerDir::default();
    c.packets = PerDir::default();
    c
}

fn one(text: &str, more: f64, c_isn: u32, s_isn: u32) -> Connection {
    let mut conns = connections(text, more, c_isn, s_isn);
    assert_eq!(conns.len(), 1, "one connection expected");
    conns.remove(0)
}

pub fn connections(text: &str, more: f64, c_isn: u32, s_isn: u32) -> Vec<Connection> {
    let host = |addr: &str, isn, id| Host {
        addr: addr.parse().expect("address"),
        isn,
        id,
        ack: None,
        window: 8000,
        ttl: 64,
        next: 0,
    };
    let mut c = host("192.0.2.1:40000", c_isn, 100);
    let mut s = host("192.0.2.2:873", s_isn, 30_000);
    let mut table = Table::new();
    let mut end = T0;
    for (i, line) in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).enumerate()
    {
        let mut words = line.split_whitespace();
        let at: f64 = words.next().and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("time: {line}"));
        let ts = T0 + Ns((at * 1e9).round() as i64);
        end = end.max(ts);
        let (me, peer) = match words.next() {
            Some("c") => (&mut c, s),
            Some("s") => (&mut s, c),
            other => panic!("who: {other:?} in {line}"),
        };
        let decoded = packet(me, &peer, words, FrameNo(i as u64 + 1), ts, line);
        table.push(decoded);
    }
    let end = end + Ns((more * 1e9) as i64);
    let all = table.finish();
    let told = all.iter().map(|inc| {
        let mut slowly = Tracker::new(inc, Keep::Everything).one_by_one();
        slowly.take(inc.clone());
        let c = analyze(inc, end);
        assert_eq!(c, slowly.finish(end), "as if looked at one by one");
        c
    });
    told.collect()
}

fn packet<'a>(
    me: &mut Host,
    peer: &Host,
    mut words: impl Iterator<Item = &'a str>,
    frame: FrameNo,
    ts: Ts,
    line: &str,
) -> Decoded {
    let mut flags = 0u16;
    let mut options = TcpOptions::default();
    let mut range = None;
    let mut checksum_ok = true;
    let (mut ttl, mut link_key) = (me.ttl, 0);
    me.id = me.id.wrapping_add(1);
    let mut id = Some(me.id);
    let number = |w: Option<&str>| -> u32 {
        w.and_then(|w| w.parse().ok()).unwrap_or_else(|| panic!("number in {line}"))
    };
    let pair = |w: &str, at: char| -> (u32, u32) {
        let (a, b) = w.split_once(at).unwrap_or_else(|| panic!("pair in {line}"));
        (a.parse().expect("first"), b.parse().expect("second"))
    };
    while let Some(w) = words.next() {
        match w {
            "ack" => me.ack = Some(number(words.next())),
            "win" => me.window = number(words.next()) as u16,
            "mss" => options.mss = Some(number(words.next()) as u16),
            "wscale" => options.wscale = Some(number(words.next()) as u8),
            "ttl" => ttl = number(words.next()) as u8,
            "link" => link_key = u64::from(number(words.next())),
            "noid" => id = Some(0),
            "bad" => checksum_ok = false,
            "v6" => id = None,
            "id" => {
                me.id = number(words.next()) as u16;
                id = Some(me.id);
            }
            "ts" => options.timestamps = words.next().map(|w| pair(w, ',')),
            "icmp" => {
                let mtu = Some(number(words.next()));
                let seq = Seq(peer.isn);
                return Decoded::Icmp(IcmpError {
                    frame,
                    ts,
                    src: peer.addr,
                    dst: me.addr,
                    kind: (3, 4),
                    mtu,
                    seq,
                });
            }
            "sack" => {
                let mut blocks = SackBlocks::default();
                if flags & 2 != 0 {
                    options.sack_permitted = true;
                } else {
                    for b in words.next().unwrap_or_default().split(',') {
                        let (l, r) = pair(b, ':');
                        blocks.push(Seq(peer.isn.wrapping_add(l)), Seq(peer.isn.wrapping_add(r)));
                    }
                    options.sack = blocks;
                }
            }
            w if w.contains(':') => range = Some(pair(w, ':')),
            w => {
                for f in w.chars() {
                    flags |= match f {
                        'S' => 2,
                        'F' => 1,
                        'R' => 4,
                        'P' => 8,
                        '.' => 0x10,
                        _ => panic!("`{w}` in {line}"),
                    };
                }
            }
        }
    }
    // The server's SYN acknowledges, the client's never does, however often it is sent.
    if flags & 2 != 0 && me.ack.is_none() && peer.next > 0 && me.addr.port() < peer.addr.port() {
        me.ack = Some(1);
    }
    if me.ack.is_some() {
        flags |= 0x10;
    }
    let (a, b) = match range {
        Some(r) => r,
        None if flags & 2 != 0 => (0, 0),
        None => (me.next, me.next),
    };
    let used = (b - a) + u32::from(flags & 2 != 0) + u32::from(flags & 1 != 0);
    me.next = me.next.max(a + used);
    Decoded::Tcp(Segment {
        frame,
        ts,
        interface: 0,
        src: me.addr,
        dst: peer.addr,
        link_key,
        ttl,
        ip_id: id,
        dont_fragment: true,
        ecn: 0,
        seq: Seq(me.isn.wrapping_add(a)),
        ack: Seq(peer.isn.wrapping_add(me.ack.unwrap_or(0))),
        flags: TcpFlags(flags),
        window: me.window,
        len: b - a,
        options,
        checksum: a as u16 ^ (b as u16).rotate_left(5),
        checksum_ok: Some(checksum_ok),
        cut: false,
        head: None,
    })
}
