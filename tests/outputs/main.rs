//! What goes in and what comes out of `analyze`, as a user sees it: the real program on real files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod evidence;
mod filter;
mod follow;
mod formats;
mod generate;
mod many;
mod reading;
#[path = "../real/mod.rs"]
mod real;
#[path = "../sample/mod.rs"]
mod sample;
mod settings;
mod to_file;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use syncscope::capture::file;
use syncscope::capture::writer::PcapngWriter;
use syncscope::model::{Frame, FrameNo, LinkType, Ts};

/// A capture with a lost segment, its repair, and a slow read.
const SENDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/seed004/sender.pcapng");
const RECEIVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/seed004/receiver.pcapng");
const STRACED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/strace/client.pcap");

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_syncscope")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn run_with_stdin(args: &[&str], file: &Path) -> Output {
    let stdin = std::fs::File::open(file).unwrap();
    Command::new(env!("CARGO_BIN_EXE_syncscope")).args(args).stdin(stdin).output().unwrap()
}

fn stderr(o: &Output) -> String {
    String::from_utf8(o.stderr.clone()).unwrap()
}

fn stdout(o: &Output) -> String {
    String::from_utf8(o.stdout.clone()).unwrap()
}

fn json(o: &Output) -> serde_json::Value {
    serde_json::from_slice(&o.stdout).unwrap_or_else(|e| panic!("{e}: {}", stderr(o)))
}

/// A frame on its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Packet {
    ts: Ts,
    link: LinkType,
    interface: u32,
    orig_len: u32,
    data: Vec<u8>,
}

fn frames(path: impl AsRef<Path>) -> Vec<Packet> {
    let mut source = file::open(path).unwrap();
    let mut out = Vec::new();
    while let Some(f) = source.next_frame().unwrap() {
        out.push(Packet {
            ts: f.ts,
            link: f.link,
            interface: f.interface,
            orig_len: f.orig_len,
            data: f.data.to_vec(),
        });
    }
    out
}

fn pcapng(packets: &[Packet]) -> Vec<u8> {
    let mut w = PcapngWriter::new(Vec::new(), "").unwrap();
    for (i, p) in packets.iter().enumerate() {
        let (ts, link, interface, orig_len) = (p.ts, p.link, p.interface, p.orig_len);
        let no = FrameNo(i as u64 + 1);
        w.write(&Frame { no, ts, link, interface, orig_len, data: &p.data }).unwrap();
    }
    w.into_inner().unwrap()
}

/// Classic pcap with nanoseconds.
fn pcap(packets: &[Packet]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    let link = u32::from(packets[0].link.0);
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, link] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for p in packets {
        let (s, ns) = (p.ts.0.div_euclid(1_000_000_000) as u32, p.ts.0.rem_euclid(1_000_000_000) as u32);
        for word in [s, ns, p.data.len() as u32, p.orig_len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&p.data);
    }
    out
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    e.write_all(bytes).unwrap();
    e.finish().unwrap()
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, bytes).unwrap();
    path
}

fn text(p: &Path) -> &str {
    p.to_str().unwrap()
}
