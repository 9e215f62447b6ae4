//! What the fuzzers found and what they began with, through the same targets again; and seeded damage to it, for those
//! without a nightly toolchain: `tests/fuzz/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

#[path = "hostile/mutate.rs"]
mod mutate;
#[path = "fuzz/src/targets.rs"]
mod targets;

use mutate::Rng;
use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;
// where `mutate` looks for it
use targets::run;

/// Name and content.
fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{}", dir.display());
    files.iter().map(|p| (p.display().to_string(), std::fs::read(p).unwrap())).collect()
}

#[test]
fn the_corpus_of_every_target_replays_clean() {
    for (name, target) in targets::ALL {
        for (file, bytes) in corpus(name) {
            // a target that panics is told by the name of the file
            println!("{file}");
            target(&bytes);
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// More of them with `SYNCSCOPE_FUZZ_CASES`, from another one on with `SYNCSCOPE_FUZZ_FIRST`.
#[test]
fn damage_to_the_corpus_breaks_no_target() {
    let (cases, first) =
        (number("SYNCSCOPE_FUZZ_CASES").unwrap_or(150), number("SYNCSCOPE_FUZZ_FIRST").unwrap_or(0));
    let only = std::env::var("SYNCSCOPE_FUZZ").unwrap_or_default();
    let mut broken = BTreeMap::<&str, Vec<u64>>::new();
    for (name, target) in targets::ALL.iter().filter(|t| t.0.contains(&only)) {
        let seeds: Vec<Vec<u8>> = corpus(name).into_iter().map(|f| f.1).collect();
        for n in first..first + cases {
            let bytes = mutate::bytes(&mut Rng::new(n), &seeds);
            if catch_unwind(|| target(&bytes)).is_err() {
                let kept = std::env::temp_dir().join(format!("syncscope-fuzz-{name}-{n}"));
                std::fs::write(&kept, &bytes).unwrap();
                println!("{name} case {n} is kept as {}", kept.display());
                broken.entry(name).or_default().push(n);
            }
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}
