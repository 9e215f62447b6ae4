//! The others.

use super::table::{Mark, Table};
use copia::{CopiaSync, Sync};
use fast_rsync::{Signature, SignatureOptions};
use std::fs;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

/// The crate fast_rsync, with 16 bytes of MD4.
pub struct FastRsync {
    options: SignatureOptions,
    signature: Signature,
    delta: Vec<u8>,
}

impl FastRsync {
    pub fn new(base: &[u8], size: u32) -> FastRsync {
        let options = SignatureOptions { block_size: size, crypto_hash_size: 16 };
        FastRsync { options, signature: Signature::calculate(base, options), delta: Vec::new() }
    }

    pub fn signature(&mut self, base: &[u8]) {
        self.signature = Signature::calculate(black_box(base), self.options);
    }

    pub fn delta(&mut self, source: &[u8]) {
        self.delta.clear();
        fast_rsync::diff(&self.signature.index(), black_box(source), &mut self.delta).unwrap();
    }

    pub fn patch(&mut self, base: &[u8]) {
        let mut out = Vec::with_capacity(base.len() + 4096);
        fast_rsync::apply(base, &self.delta, &mut out).unwrap();
        black_box(out);
    }
}

/// The crate copia. It wants blocks of a power of 2.
pub struct Copia {
    sync: CopiaSync,
    signature: copia::Signature,
}

impl Copia {
    pub fn new(base: &[u8], size: u32) -> Copia {
        let sync = CopiaSync::with_block_size(size.next_power_of_two() as usize);
        let signature = sync.signature(base).unwrap();
        Copia { sync, signature }
    }

    pub fn signature(&mut self, base: &[u8]) {
        self.signature = self.sync.signature(black_box(base)).unwrap();
    }

    pub fn delta(&mut self, source: &[u8]) {
        black_box(self.sync.delta(black_box(source), &self.signature).unwrap());
    }
}

/// Where files of the programs lie: in memory if possible.
fn scratch() -> PathBuf {
    let shm = Path::new("/dev/shm");
    let dir = if shm.is_dir() { shm.to_owned() } else { std::env::temp_dir() };
    dir.join(format!("syncscope-bench-{}", std::process::id()))
}

/// Seconds that it took.
fn run(program: &str, args: &[&str], dir: &Path) -> f64 {
    let began = Instant::now();
    let out = Command::new(program).args(args).current_dir(dir).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    began.elapsed().as_secs_f64()
}

/// rdiff and a local rsync, if they are installed.
pub fn programs(table: &mut Table, base: &[u8], pages: &[u8], other: &[u8], rounds: usize) {
    let there = |p: &str| Command::new(p).arg("--version").output().is_ok_and(|o| o.status.success());
    let dir = scratch();
    fs::create_dir_all(&dir).unwrap();
    for (name, data) in [("base", base), ("same", base), ("pages", pages), ("other", other)] {
        fs::write(dir.join(name), data).unwrap();
    }
    if there("rdiff") {
        let mut cases = vec![("rdiff signature", vec!["-f", "-b", "4096", "signature", "base", "sig"])];
        for (name, source) in [("rdiff delta: identical", "same"), ("rdiff delta: 1 % of pages", "pages")] {
            cases.push((name, vec!["-f", "delta", "sig", source, "delta"]));
        }
        cases.push(("rdiff patch: 1 % of pages", vec!["-f", "patch", "base", "delta", "new"]));
        cases.push(("rdiff delta: all different", vec!["-f", "delta", "sig", "other", "delta"]));
        for (name, args) in cases {
            let times = timed(rounds, || run("rdiff", &args, &dir));
            table.program(name, base.len(), &times);
        }
    } else {
        table.fact("rdiff is not installed (make peers)", 0.0, Mark::None);
    }
    if there("rsync") {
        for (name, source) in [
            ("rsync local: identical", "same"),
            ("rsync local: 1 % of pages", "pages"),
            ("rsync local: all different", "other"),
        ] {
            let times = timed(rounds, || {
                // The basis is made anew outside of the time.
                fs::copy(dir.join("base"), dir.join("to")).unwrap();
                run("rsync", &["-I", "--no-whole-file", source, "to"], &dir)
            });
            table.program(name, base.len(), &times);
        }
    } else {
        table.fact("rsync is not installed (make peers)", 0.0, Mark::None);
    }
    let _ = fs::remove_dir_all(dir);
}

/// Times by the clock, of as many rounds as are worth it.
fn timed(rounds: usize, mut f: impl FnMut() -> f64) -> Vec<f64> {
    let mut times = Vec::new();
    while times.len() < rounds && times.iter().all(|&t| t < super::SLOW) {
        times.push(f());
    }
    times
}
