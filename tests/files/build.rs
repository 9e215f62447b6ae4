//! Files made byte by byte.

use std::io::Write;

pub const LE: bool = false;
pub const BE: bool = true;

pub fn w16(out: &mut Vec<u8>, big: bool, v: u16) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

pub fn w32(out: &mut Vec<u8>, big: bool, v: u32) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

pub fn w64(out: &mut Vec<u8>, big: bool, v: u64) {
    out.extend(if big { v.to_be_bytes() } else { v.to_le_bytes() });
}

pub fn pcap_header(big: bool, magic: u32, minor: u16, link: u32) -> Vec<u8> {
    let mut out = Vec::new();
    w32(&mut out, big, magic);
    w16(&mut out, big, 2);
    w16(&mut out, big, minor);
    for v in [0, 0, 65_535, link] {
        w32(&mut out, big, v);
    }
    out
}

pub fn pcap_record(big: bool, secs: u32, fraction: u32, orig: u32, extra: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for v in [secs, fraction, data.len() as u32, orig] {
        w32(&mut out, big, v);
    }
    out.extend(extra);
    out.extend(data);
    out
}

/// A pcapng block of any kind.
pub fn block(big: bool, kind: u32, body: &[u8]) -> Vec<u8> {
    let len = 12 + body.len().next_multiple_of(4);
    let mut out = Vec::new();
    w32(&mut out, big, kind);
    w32(&mut out, big, len as u32);
    out.extend(body);
    out.resize(len - 4, 0);
    w32(&mut out, big, len as u32);
    out
}

pub fn option(big: bool, code: u16, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    w16(&mut out, big, code);
    w16(&mut out, big, value.len() as u16);
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

pub fn section(big: bool) -> Vec<u8> {
    let mut body = Vec::new();
    w32(&mut body, big, 0x1a2b_3c4d);
    w16(&mut body, big, 1);
    w16(&mut body, big, 0);
    w64(&mut body, big, u64::MAX);
    block(big, 0x0a0d_0d0a, &body)
}

pub fn interface(big: bool, link: u16, snaplen: u32, options: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    w16(&mut body, big, link);
    w16(&mut body, big, 0);
    w32(&mut body, big, snaplen);
    body.extend(options.concat());
    block(big, 1, &body)
}

pub fn packet(big: bool, interface: u32, units: u64, orig: u32, data: &[u8], options: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::new();
    for v in [interface, (units >> 32) as u32, units as u32, data.len() as u32, orig] {
        w32(&mut body, big, v);
    }
    body.extend(data);
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(options.concat());
    block(big, 6, &body)
}

/// Two sections of different byte order, clocks of five kinds, all packet blocks, and things to step over.
pub fn rich_pcapng() -> Vec<u8> {
    let tick = |big, n: u8| option(big, 9, &[n]);
    let mut f = section(LE);
    f.extend(interface(LE, 1, 96, &[]));
    f.extend(interface(LE, 101, 200, &[tick(LE, 9), option(LE, 2, b"tun0")]));
    f.extend(interface(LE, 113, 0, &[tick(LE, 0x80 | 20), option(LE, 14, &100i64.to_le_bytes())]));
    f.extend(packet(LE, 0, 5_000_000, 60, b"microseconds", &[]));
    f.extend(packet(
        LE,
        1,
        6_000_000_001,
        70,
        b"nano",
        &[option(LE, 1, b"a comment"), option(LE, 4, &2u64.to_le_bytes())],
    ));
    f.extend(packet(LE, 2, 3 << 19, 80, b"two to the -20", &[]));
    f.extend(block(LE, 4, b"names"));
    f.extend(block(LE, 10, b"secrets"));
    f.extend(block(LE, 0x7777, b"what is this"));
    let mut isb = vec![0; 12];
    isb.extend(option(LE, 5, &3u64.to_le_bytes()));
    isb.extend(option(LE, 7, &4u64.to_le_bytes()));
    f.extend(block(LE, 5, &isb));

    f.extend(section(BE));
    f.extend(interface(BE, 228, 4, &[tick(BE, 12), option(BE, 14, &(-1i64).to_be_bytes())]));
    f.extend(packet(BE, 0, 2_000_000_003_000, 90, b"pico", &[]));
    let mut simple = Vec::new();
    w32(&mut simple, BE, 1000);
    simple.extend(b"simp");
    f.extend(block(BE, 3, &simple));
    let mut old = Vec::new();
    w16(&mut old, BE, 0);
    w16(&mut old, BE, 5);
    for v in [0, 0, 3, 100] {
        w32(&mut old, BE, v);
    }
    old.extend(b"old");
    f.extend(block(BE, 2, &old));
    f
}

pub fn small_pcap() -> Vec<u8> {
    let mut f = pcap_header(LE, 0xa1b2_c3d4, 4, 1);
    for n in 0..5u32 {
        f.extend(pcap_record(LE, n, n, 60 + n, &[], &vec![n as u8; 10 + n as usize]));
    }
    f
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

pub fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::encode_all(bytes, 1).unwrap()
}
