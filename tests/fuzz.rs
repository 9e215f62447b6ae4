//! What the fuzzers found and what they began with, through the same targets again: `tests/fuzz/README.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, dead_code, missing_docs)]

#[path = "fuzz/src/targets.rs"]
mod targets;

use std::path::Path;

#[test]
fn the_corpus_of_every_target_replays_clean() {
    for (name, target) in targets::ALL {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
        let mut files: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{}", dir.display());
        for path in files {
            let bytes = std::fs::read(&path).unwrap();
            // a target that panics is told by the name of the file
            println!("{}", path.display());
            target(&bytes);
        }
    }
}
