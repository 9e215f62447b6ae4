//! What the mutations begin with: the project's own captures, and real ones where they are at hand.

use super::real::{captures, rows};
use super::run::Packet;
use std::io::Read;
use std::path::{Path, PathBuf};
use syncscope::capture::file;
use syncscope::model::AppLog;

/// Frames taken of each capture: enough for a handshake, data and a loss.
const FRAMES: usize = 120;

fn own(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/seed004").join(name)
}

/// The real captures, if they are at hand.
fn real() -> Vec<PathBuf> {
    let Some(dir) = captures("real captures") else { return Vec::new() };
    rows(&dir).iter().map(|r| dir.join(&r["path"])).collect()
}

fn all() -> Vec<PathBuf> {
    [own("sender.pcapng"), own("receiver.pcapng")].into_iter().chain(real()).collect()
}

/// Beginnings of files, as they are (also compressed).
pub fn files() -> Vec<Vec<u8>> {
    let head = |p: PathBuf| {
        let mut bytes = Vec::new();
        std::fs::File::open(p).unwrap().take(12 << 10).read_to_end(&mut bytes).unwrap();
        bytes
    };
    all().into_iter().map(head).collect()
}

/// Beginnings of files, as frames.
pub fn traces() -> Vec<Vec<Packet>> {
    all().iter().map(|p| frames(p)).filter(|f| !f.is_empty()).collect()
}

fn frames(path: &Path) -> Vec<Packet> {
    let mut out = Vec::new();
    let Ok(mut source) = file::open(path) else { return out };
    while let Ok(Some(f)) = source.next_frame() {
        out.push(Packet {
            ts: f.ts,
            link: f.link,
            interface: f.interface,
            orig_len: f.orig_len,
            data: f.data.to_vec(),
        });
        if out.len() == FRAMES {
            break;
        }
    }
    out
}

/// Two captures of one connection and the log of its client.
pub fn pair() -> (Vec<Vec<Packet>>, Vec<AppLog>) {
    let log = std::fs::read(own("receiver.events.json")).unwrap();
    let captures = [own("sender.pcapng"), own("receiver.pcapng")].iter().map(|p| frames(p)).collect();
    (captures, vec![serde_json::from_slice(&log).unwrap()])
}
