//! The delta engine beside memcpy, the crates fast_rsync and copia, and the programs rdiff and rsync.
//!
//! `cargo bench --bench delta -- [--mib N] [--rounds N] [--check]`. Each case runs everybody in turn, round by
//! round; printed are medians, their ratio to memcpy of the same round (median of the ratios), and whether the
//! mark is met. `--check` fails below a mark. One thread each, measured in processor time, because other work on
//! the machine would decide otherwise; 256 MiB takes about two minutes.
//!
//! What is timed of ours: a signature from bytes to sums; a delta from sums to literals and copies, the index
//! included, in pieces of 256 KiB as a session gets them; a patch from these to bytes. Peers get the whole file
//! at once, as their interfaces want it, at the same block size. Programs are timed by the clock, with reading and
//! writing their files on tmpfs, where there is one.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "delta/data.rs"]
mod data;
#[path = "noise.rs"]
mod noise;
#[path = "delta/peers.rs"]
mod peers;
#[path = "delta/table.rs"]
mod table;

use nix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use syncscope::sync::delta::{Op, Search, Sink, apply};
use syncscope::sync::index::Index;
use syncscope::sync::signature::{BlockSum, Layout, Strong, default_block_size, sums};
use table::{Mark, Table};

const SEED: Strong = Strong::Xxh3(0x5eed_5eed_5eed_5eed);
/// What a session reads at once.
const PIECE: usize = 256 * 1024;
/// Peers slower than this are run only once.
const SLOW: f64 = 1.0;

/// Takes what a search finds as a session does: literals are copied once.
#[derive(Default)]
struct Out {
    buf: Vec<u8>,
    literal: u64,
    copies: u64,
}

impl Sink for Out {
    fn literal(&mut self, bytes: &[u8]) {
        if self.buf.len() > 1 << 20 {
            self.buf.clear();
        }
        self.buf.extend_from_slice(bytes);
        self.literal += bytes.len() as u64;
    }

    fn copy(&mut self, _: u32, _: u32) {
        self.copies += 1;
    }
}

/// Somebody else's name, and what they do.
type Peer<'a> = (&'a str, &'a mut dyn FnMut(&Bench));

/// Processor time of this thread: on a shared machine the time it waits for a core says nothing.
fn seconds(f: impl FnOnce()) -> f64 {
    let now = || {
        let t = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9
    };
    let began = now();
    f();
    now() - began
}

fn signature(data: &[u8], size: u32) -> Vec<BlockSum> {
    let step = PIECE / size as usize * size as usize;
    let mut all = Vec::with_capacity(data.len().div_ceil(size as usize));
    for piece in data.chunks(step) {
        all.extend(sums(piece, size, SEED));
    }
    all
}

/// Literal bytes and bytes of memory.
fn search(layout: Layout, sums: &[BlockSum], source: &[u8], full: bool) -> (Out, usize) {
    let mut index = Index::new(layout, SEED);
    index.extend(sums.iter().copied());
    let mut search = Search::new(index).full(full);
    let mut out = Out::default();
    let mut memory = 0;
    for piece in source.chunks(PIECE) {
        search.push(piece, &mut out);
        memory = memory.max(search.bytes());
    }
    search.finish(&mut out);
    (out, memory)
}

struct Bench {
    base: Vec<u8>,
    copy: Vec<u8>,
    layout: Layout,
    sums: Vec<BlockSum>,
    rounds: usize,
    table: Table,
}

impl Bench {
    fn memcpy(&mut self) -> f64 {
        seconds(|| {
            self.copy.copy_from_slice(black_box(&self.base));
            black_box(&self.copy);
        })
    }

    /// Runs memcpy, ours and the others in turn.
    fn row(&mut self, name: &str, mark: Mark, ours: &mut dyn FnMut(&Bench), others: &mut [Peer<'_>]) {
        let mut times = vec![Vec::new(); 2 + others.len()];
        for round in 0..self.rounds {
            times[0].push(self.memcpy());
            times[1].push(seconds(|| ours(self)));
            for (peer, t) in others.iter_mut().zip(&mut times[2..]) {
                if round == 0 || t.iter().all(|&t: &f64| t < SLOW) {
                    t.push(seconds(|| (peer.1)(self)));
                }
            }
        }
        let names: Vec<&str> = others.iter().map(|o| o.0).collect();
        self.table.row(name, self.base.len(), mark, &times, &names);
    }

    /// One case of a delta, with the peers that are asked for.
    fn delta(&mut self, name: &str, source: &[u8], mark: Mark, peers: bool, full: bool) -> Out {
        let (layout, sums) = (self.layout, self.sums.clone());
        let mut last = None;
        let mut fast = peers::FastRsync::new(&self.base, layout.size);
        let mut copia = peers::Copia::new(&self.base, layout.size);
        let mut ours = |_: &Bench| last = Some(search(layout, &sums, black_box(source), full));
        let mut by_fast = |_: &Bench| fast.delta(source);
        let mut by_copia = |_: &Bench| copia.delta(source);
        let all: &mut [Peer<'_>] = &mut [("fast_rsync", &mut by_fast), ("copia", &mut by_copia)];
        self.row(name, mark, &mut ours, if peers { all } else { &mut [] });
        let (out, memory) = last.expect("ran");
        let literal = table::percent(out.literal, source.len() as u64);
        self.table.note(&format!(
            "literal {literal}, {} copies, {} KiB of memory",
            out.copies,
            memory / 1024
        ));
        if full || name == "delta: all different" {
            let per_block = memory as f64 / f64::from(layout.count().max(1));
            self.table.fact("index and held bytes a block", per_block, Mark::Most(32.0));
        }
        out
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |flag: &str, or: usize| {
        let value = args.iter().position(|a| a == flag).and_then(|i| args.get(i + 1));
        value.map_or(or, |v| v.parse().unwrap_or_else(|_| panic!("{flag} takes a number, not {v}")))
    };
    let (mib, rounds) = (number("--mib", 256), number("--rounds", 5));
    let len = mib << 20;
    let size = default_block_size(len as u64);
    let base = noise::noise(1, len);
    let layout = Layout::new(len as u64, size);
    let sums = signature(&base, size);
    println!("{mib} MiB, blocks of {size} B, {rounds} rounds; GB/s = 1e9 bytes of source a second");
    let mut b = Bench { copy: vec![0; len], base, layout, sums, rounds, table: Table::default() };
    b.table.head();
    b.memcpy();

    let (mut fast, mut copia) = (peers::FastRsync::new(&[], size), peers::Copia::new(&[], size));
    b.row(
        "signature",
        Mark::OfMemcpy(0.8),
        &mut |b| drop(black_box(signature(&b.base, size))),
        &mut [("fast_rsync", &mut |b| fast.signature(&b.base)), ("copia", &mut |b| copia.signature(&b.base))],
    );

    let same = b.base.clone();
    b.delta("delta: identical", &same, Mark::OfMemcpy(0.9), true, false);
    b.delta("delta: one byte before", &data::inserted(&same), Mark::OfMemcpy(0.9), true, false);
    let pages = noise::pages(&same, 0.01, 2);
    let literal = b.delta("delta: 1 % of pages", &pages, Mark::OfMemcpy(0.45), true, false).literal;
    let wire = f64::from(layout.count()) * f64::from(4 + layout.strong_len());
    b.table.fact("wire of 1 %: sums and literals, MB", (wire + literal as f64) / 1e6, Mark::None);
    b.table.fact("wire of identical, % of the file", wire / len as f64 * 100.0, Mark::Most(0.2));

    let other = noise::noise(99, len);
    b.delta("delta: all different", &other, Mark::OfMemcpy(0.2), true, false);
    let random = b.table.last_time();
    b.delta("delta: … every offset", &other, Mark::OfMemcpy(0.035), false, true);

    for (name, mixed) in [("half moved", data::half(&same, 98)), ("64 KiB a MiB", data::sparse(&same, 97))] {
        let quick = b.delta(&format!("delta: {name}"), &mixed, Mark::None, false, false);
        let full = search(layout, &b.sums, &mixed, true).0;
        let growth = (quick.literal as f64 / full.literal as f64 - 1.0) * 100.0;
        b.table.fact(&format!("literal growth, {name}, %"), growth, Mark::Most(1.0));
    }

    b.base = vec![0; len];
    b.sums = signature(&b.base, size);
    b.delta("hostile: zeros on zeros", &vec![0; len], Mark::Time(4.0 * random), false, false);
    b.delta("hostile: noise on zeros", &other, Mark::Time(4.0 * random), false, false);
    b.delta("hostile: nearly zeros", &data::nearly_zeros(len, size), Mark::Time(4.0 * random), false, false);
    b.base = data::equal_sums(len, size);
    b.sums = signature(&b.base, size);
    b.delta("hostile: equal weak sums", &vec![1; len], Mark::Time(4.0 * random), false, false);
    let whole = b.table.last_time();
    let ones = vec![1; len / 2];
    b.row(
        "hostile: … half as long",
        Mark::Time(0.65 * whole),
        &mut |b| drop(search(layout, &b.sums, &ones, false)),
        &mut [],
    );
    let rows = data::periodic(len, 1 << 16);
    b.base = rows.clone();
    b.sums = signature(&b.base, size);
    b.delta("repetitive: shifted period", &rows[777..], Mark::Time(4.0 * random), false, false);

    b.base = same;
    b.sums = signature(&b.base, size);
    let ops = {
        let mut index = Index::new(layout, SEED);
        index.extend(b.sums.iter().copied());
        let (mut search, mut ops) = (Search::new(index), Vec::<Op>::new());
        search.push(&pages, &mut ops);
        search.finish(&mut ops);
        ops
    };
    assert!(apply(&ops, layout, &b.base).as_deref() == Some(&pages[..]));
    let mut fast = peers::FastRsync::new(&b.base, size);
    fast.delta(&pages);
    b.row(
        "patch: 1 % of pages",
        Mark::None,
        &mut |b| drop(black_box(apply(&ops, layout, &b.base))),
        &mut [("fast_rsync", &mut |b| fast.patch(&b.base))],
    );
    peers::programs(&mut b.table, &b.base, &pages, &other, rounds.min(3));
    if !b.table.end() && args.iter().any(|a| a == "--check") {
        std::process::exit(1);
    }
}
