//! Captures that nobody would send on purpose: every byte, time stamp and sequence number may lie, and
//! `analyze` still gives a report or a clear error, in time and memory that grow with the input.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod found;
mod growth;
mod mutate;
mod packets;
#[path = "../real/mod.rs"]
mod real;
mod run;
mod seeds;
mod text;

use mutate::Rng;
use run::Case;

/// Cases of each kind; more of them with `SYNCSCOPE_HOSTILE_CASES`.
fn cases(usual: u64) -> u64 {
    std::env::var("SYNCSCOPE_HOSTILE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(usual)
}

fn first() -> u64 {
    std::env::var("SYNCSCOPE_HOSTILE_FIRST").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

fn survive(kind: &str, count: u64, mut make: impl FnMut(&mut Rng) -> Case) {
    let mut broken = std::collections::BTreeMap::<String, (u64, u64)>::new();
    for n in first()..first() + cases(count) {
        let case = make(&mut Rng::new(n));
        if let Err(why) = run::survives(case) {
            broken.entry(why).or_insert((0, n)).0 += 1;
        }
    }
    assert!(broken.is_empty(), "{kind}: (times, first case) by what broke: {broken:#?}");
}

#[test]
fn damaged_files_never_break_the_reader() {
    let files = seeds::files();
    survive("files", 1500, |rng| Case::File(mutate::bytes(rng, &files)));
}

#[test]
fn lying_packets_never_break_the_analysis() {
    let traces = seeds::traces();
    survive("packets", 900, |rng| Case::Frames(vec![mutate::frames(rng, &traces)], Vec::new()));
}

#[test]
fn two_lying_captures_and_their_logs_never_break_the_join() {
    let (traces, logs) = seeds::pair();
    survive("pairs", 900, |rng| {
        let captures = traces.iter().map(|t| mutate::frames(rng, std::slice::from_ref(t))).collect();
        Case::Frames(captures, mutate::logs(rng, &logs))
    });
}

#[test]
fn segments_of_pure_chance_never_break_the_analysis() {
    survive("chance", 600, |rng| Case::Segments(packets::chance(rng)));
}
