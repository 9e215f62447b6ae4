//! A peer that can't be trusted, at either end. One test for each of rsync's CVEs of 2024 to 2026 that has a
//! counterpart here, named after it; what the CVE was is told in one line. Those without:
//!
//! | CVE | rsync's feature | here |
//! | --- | --- | --- |
//! | 2026-43618 | counters of compressed tokens | what is packed has a bound; a run of blocks has the same danger and is tested |
//! | 2026-53783 | rrsync | a module is the restriction, kept by the kernel |
//! | 2026-53786, -53803 | merge files, log, lock and batch files named by a peer or in the tree | none is |
//! | 2026-53788, -53798, -53799 | name converter, ACLs, extended attributes | neither owners nor attributes are kept |
//! | 2026-53790 | shells and hooks with a peer's words in them | no program is started |
//! | 2026-53800 | --remove-source-files | no source file is ever removed |
//! | 2026-70455 | threads that a peer asks for | a connection is one thread; connections are counted |
//! | 2026-70456, -70457 | arguments sent to the daemon | one JSON message of bounded size |
//!
//! 2026-70462 (a time-out that the peer asks for) is tested where it is bounded, in `src/drive/job.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod door;
mod early;
mod paths;
#[allow(dead_code)]
#[path = "../sync_pair/rig.rs"]
mod rig;
mod seed003;
mod wire;

use std::fs;
use std::path::PathBuf;

/// A temporary directory with a source and a destination in it.
fn dirs() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (s, d) = (dir.path().join("source"), dir.path().join("dest"));
    fs::create_dir_all(&s).unwrap();
    fs::create_dir_all(&d).unwrap();
    (dir, s, d)
}
