//! Two sessions joined by pipes in memory, over real trees on disk.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

#[path = "sync_pair/cut.rs"]
mod cut;
#[path = "sync_pair/everyday.rs"]
mod everyday;
#[path = "sync_pair/hostile.rs"]
mod hostile;
#[path = "sync_pair/rig.rs"]
mod rig;
#[path = "sync_pair/trouble.rs"]
mod trouble;
#[path = "sync_pair/turns.rs"]
mod turns;

use proptest::prelude::*;
use rig::{agree, assert_clean, flights, noise, pair, picture, put, run, run_chopped, sync};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use syncscope::drive::tree::{BIG, TreeSpec, make_tree};
use syncscope::model::Phase;
use syncscope::sync::{Change, Config, Flags, Kind, Mode, SessionEvent};

pub const BOTH: [Mode; 2] = [Mode::Push, Mode::Pull];

/// A temporary directory with a source and a destination.
pub fn dirs() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (s, d) = (dir.path().join("source"), dir.path().join("dest"));
    fs::create_dir_all(&s).unwrap();
    fs::create_dir_all(&d).unwrap();
    (dir, s, d)
}

/// A tree with some of everything.
fn motley(source: &Path) {
    put(source.join("empty"), b"", 5);
    put(source.join("a/b/c.txt"), b"hello", 10);
    put(source.join("with space/ünï – 東京.bin"), &noise(1, 70_000), 20);
    put(source.join("a/script.sh"), b"#!/bin/sh\n", 30);
    fs::set_permissions(source.join("a/script.sh"), fs::Permissions::from_mode(0o750)).unwrap();
    fs::create_dir_all(source.join("a/nothing in here")).unwrap();
    symlink("b/c.txt", source.join("a/link")).unwrap();
    for i in 0..40 {
        put(source.join(format!("many/{i}.dat")), &noise(i, 100 * i as usize), i);
    }
    fs::set_permissions(source.join("many"), fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn a_new_tree_arrives_with_times_modes_and_links() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        motley(&source);
        let stats = sync(mode, &source, &dest);
        assert_eq!(picture(&dest), picture(&source));
        assert_eq!((stats.files, stats.changed, stats.failed, stats.matched), (44, 45, 0, 0));
        assert_eq!(stats.literal, stats.bytes);
        assert_clean(&dest);
    }
}

#[test]
fn an_identical_tree_costs_nothing_but_its_list() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        motley(&source);
        sync(mode, &source, &dest);
        let before = fs::metadata(dest.join("empty")).unwrap();
        let stats = sync(mode, &source, &dest);
        assert_eq!((stats.files, stats.changed, stats.matched, stats.literal), (44, 0, 0, 0));
        use std::os::unix::fs::MetadataExt;
        assert_eq!(fs::metadata(dest.join("empty")).unwrap().ino(), before.ino());
    }
}

#[test]
fn round_trips_do_not_grow_with_the_number_of_files() {
    let trips = |mode: Mode, files: u64, what: &str| {
        let (_dir, source, dest) = dirs();
        for i in 0..files {
            put(source.join(format!("{i}")), &noise(i, 2000), 0);
            match what {
                "same" => put(dest.join(format!("{i}")), &noise(i, 2000), 0),
                "older" => put(dest.join(format!("{i}")), &noise(i, 1990), 9),
                _ => {}
            }
        }
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        flights(&mut c, &mut s)
    };
    // One flight is half a round trip; the last one only says goodbye.
    for files in [1, 300] {
        assert_eq!(trips(Mode::Push, files, "same"), 3, "hello + list → finish → goodbye");
        assert_eq!(trips(Mode::Pull, files, "same"), 4, "hello → list → finish → goodbye");
        for what in ["new", "older"] {
            // The server greets while it waits for the first files' data to be asked for.
            assert_eq!(trips(Mode::Push, files, what), 5, "… list → requests → data → finish → goodbye");
            assert_eq!(
                trips(Mode::Pull, files, what),
                6,
                "hello → list → requests → data → finish → goodbye"
            );
        }
    }
}

/// What one changed file costs: (matched, literal).
fn one_file(mode: Mode, old: &[u8], new: &[u8]) -> (u64, u64) {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), new, 0);
    put(dest.join("f"), old, 100);
    let stats = sync(mode, &source, &dest);
    assert_eq!(fs::read(dest.join("f")).unwrap(), new);
    assert_eq!(picture(&dest), picture(&source));
    assert_clean(&dest);
    assert_eq!((stats.changed, stats.redone, stats.failed), (u64::from(old != new), 0, 0));
    (stats.matched, stats.literal)
}

#[test]
fn only_what_changed_is_sent() {
    let old = noise(3, 1_000_000); // 1000 blocks of 1000 B
    for mode in BOTH {
        assert_eq!(one_file(mode, &old, &old), (1_000_000, 0), "touched");
        assert_eq!(one_file(mode, &old, &[b"x", &old[..]].concat()), (1_000_000, 1), "one byte before it");
        let mid = [&old[..500_500], b"x", &old[500_500..]].concat();
        assert_eq!(one_file(mode, &old, &mid), (999_000, 1001), "one byte inside a block");
        assert_eq!(one_file(mode, &old, &[&old[..], b"tail"].concat()), (1_000_000, 4), "appended");
        assert_eq!(one_file(mode, &old, &old[..700_000]), (700_000, 0), "cut between blocks");
        assert_eq!(one_file(mode, &old, &old[..700_300]), (700_000, 300), "cut inside a block");
        assert_eq!(one_file(mode, &old, b""), (0, 0), "emptied");
        assert_eq!(one_file(mode, b"", &old), (0, 1_000_000), "no longer empty");
        assert_eq!(one_file(mode, &old, &noise(4, 900_000)), (0, 900_000), "nothing in common");
        let moved = [&old[600_000..], &old[..600_000]].concat();
        assert_eq!(one_file(mode, &old, &moved), (1_000_000, 0), "two halves swapped");
    }
}

#[test]
fn one_percent_of_the_pages_costs_about_one_percent() {
    let (_dir, source, dest) = dirs();
    let spec = TreeSpec::default();
    let t = std::time::Instant::now();
    make_tree(&spec, &source, &dest).unwrap();
    println!("make_tree took {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let stats = sync(Mode::Push, &source, &dest);
    println!("the sync took {:?}: {stats:?}", t.elapsed());
    assert_eq!(picture(&dest), picture(&source));
    assert_eq!((stats.files, stats.changed), (301, 301));
    assert_eq!(stats.bytes, spec.bytes + spec.big);
    // 62 pages of 4096 B; each touches at most two blocks of 5016 B.
    let of_big = stats.literal - spec.bytes;
    assert!((62 * 4096..=62 * 2 * 5016).contains(&of_big), "literal bytes of the big file: {of_big}");
    assert_eq!(stats.matched + of_big, spec.big);
    let signature = spec.big / 5016 * 12;
    let wire = stats.wire_in + stats.wire_out;
    assert!(wire < stats.literal + signature + 301 * 300, "on the wire: {wire}");

    // The same pull finds the big file, and all others, in place.
    assert_eq!(sync(Mode::Pull, &source, &dest).changed, 0);
    // Sent whole when asked to.
    make_tree(&TreeSpec { files: 0, bytes: 0, ..spec.clone() }, &source, &dest).unwrap();
    let config = Config { flags: Flags { whole_file: true, ..Flags::default() }, ..Config::new(1) };
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &config);
    run(&mut c, &mut s).unwrap();
    let stats = agree(&c, &s);
    assert_eq!((stats.changed, stats.matched, stats.literal), (1, 0, spec.big));
    assert_eq!(fs::read(dest.join(BIG)).unwrap(), fs::read(source.join(BIG)).unwrap());
}

#[test]
fn the_clients_block_size_counts_on_both_sides() {
    let old = noise(3, 100_000);
    let mut new = old.clone();
    new[50_000] ^= 1;
    for mode in BOTH {
        for (asked, used) in [(Some(4096), 4096), (Some(1), 64), (Some(u32::MAX), 100_000), (None, 700)] {
            let (_dir, source, dest) = dirs();
            put(source.join("f"), &new, 0);
            put(dest.join("f"), &old, 100);
            let (mut c, mut s) = pair(mode, &source, &dest, &Config { block_size: asked, ..Config::new(1) });
            run(&mut c, &mut s).unwrap();
            assert_eq!(agree(&c, &s).literal, used, "-B {asked:?}");
        }
    }
}

#[test]
fn a_path_below_the_servers_root_is_served_and_made() {
    let (_dir, source, dest) = dirs();
    put(source.join("sub/dir/f"), b"x", 0);
    for (mode, want) in [(Mode::Pull, "f"), (Mode::Push, "sub/dir/sub/dir/f")] {
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        c.session = syncscope::sync::Session::client(mode, "sub/dir", Config::new(1));
        run(&mut c, &mut s).unwrap();
        assert_eq!(fs::read(dest.join(want)).unwrap(), b"x");
    }
}

#[test]
fn a_single_file_can_be_the_source() {
    let (_dir, source, dest) = dirs();
    put(source.join("a"), b"one", 0);
    put(source.join("b"), b"two", 0);
    let stats = sync(Mode::Push, &source.join("a"), &dest);
    assert_eq!((stats.files, stats.changed), (1, 1));
    assert_eq!(picture(&dest).iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["a"]);

    put(source.join("d/c"), b"three", 0);
    let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &Config::new(1));
    c.session = syncscope::sync::Session::client(Mode::Pull, "d/c", Config::new(1));
    run(&mut c, &mut s).unwrap();
    assert_eq!(picture(&dest).iter().map(|f| f.0.as_str()).collect::<Vec<_>>(), ["a", "c"]);
}

#[test]
fn a_changed_mode_or_link_is_set_without_sending_the_file() {
    let (_dir, source, dest) = dirs();
    motley(&source);
    sync(Mode::Push, &source, &dest);
    fs::set_permissions(source.join("a/b/c.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::remove_file(source.join("a/link")).unwrap();
    symlink("../empty", source.join("a/link")).unwrap();
    let stats = sync(Mode::Push, &source, &dest);
    assert_eq!((stats.changed, stats.literal), (1, 0));
    assert_eq!(picture(&dest), picture(&source));
}

#[test]
fn phases_tell_what_the_bytes_are_about() {
    let (_dir, source, dest) = dirs();
    let old = noise(3, 3_000_000);
    put(source.join("big"), &[b"x", &old[..]].concat(), 0);
    put(source.join("new"), &noise(5, 200_000), 0);
    put(dest.join("big"), &old, 100);
    let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &Config::new(1));
    let mut seen = Vec::new();
    while !c.session.is_done() {
        c.work(1).unwrap();
        s.work(1).unwrap();
        if c.write_to(&mut s.inbox, 1000, 4000) {
            seen.push(("out", c.session.phase()));
        }
        s.read(1000).unwrap();
        s.write_to(&mut c.inbox, 1000, 4000);
        let awaited = c.session.input_phase();
        if c.read(1000).unwrap() {
            assert_eq!(c.session.phase(), awaited);
            seen.push(("in", c.session.phase()));
        }
    }
    let blocks = seen.iter().filter_map(|s| s.1.2).max();
    assert!(blocks > Some(1), "block numbers move");
    seen.dedup_by_key(|s| (s.0, s.1.0, s.1.1));
    let has = |way, phase, name: Option<&str>| {
        let file = name.map(|n| c.session.file_names().iter().position(|f| f == n).unwrap() as u32);
        assert!(
            seen.iter().any(|s| s.0 == way && s.1.0 == phase && s.1.1 == file),
            "{way} {phase:?} {name:?}: {seen:?}"
        );
    };
    has("out", Phase::Handshake, None);
    has("out", Phase::Signature, Some("big"));
    has("in", Phase::Handshake, None);
    has("in", Phase::Data, Some("big"));
    has("in", Phase::Data, Some("new"));
    has("in", Phase::Done, None);
}

#[test]
fn events_come_in_order() {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), b"new", 0);
    put(source.join("g"), b"same", 0);
    put(dest.join("g"), b"same", 0);
    let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &Config::new(1));
    run(&mut c, &mut s).unwrap();
    let want = [
        SessionEvent::Listed { files: 2, bytes: 7 },
        SessionEvent::Started { file: 0 },
        SessionEvent::Done {
            file: 0,
            kind: Kind::File,
            change: Change { new: true, content: true, ..Change::default() },
        },
        SessionEvent::Finished(c.session.stats()),
    ];
    // When the last event was made, the goodbye's own bytes were counted already.
    assert_eq!(c.events, want);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn any_chopping_and_any_stalls_give_the_same_tree(
        chops in proptest::collection::vec(prop_oneof![
            2 => Just(0usize), 2 => Just(1), 2 => 2usize..40, 2 => 40usize..5000, 2 => 5000usize..200_000
        ], 1..40),
        pipe in prop_oneof![Just(64usize), Just(1000), Just(100_000)],
        push in any::<bool>(),
        edits in proptest::collection::vec((0usize..60_000, 0usize..900, any::<bool>()), 0..6),
    ) {
        prop_assume!(chops.iter().any(|&c| c > 0));
        // Six moves take turns: with a length that shares no factor with 6 each gets every size.
        let mut chops = chops;
        while chops.len() % 2 == 0 || chops.len() % 3 == 0 {
            chops.push(700);
        }
        let (_dir, source, dest) = dirs();
        let old = noise(8, 60_000);
        let mut new = old.clone();
        for (at, len, insert) in edits {
            let at = at.min(new.len());
            if insert {
                new.splice(at..at, noise(at as u64, len));
            } else {
                new.drain(at..(at + len).min(new.len()));
            }
        }
        put(source.join("d/edited"), &new, 0);
        put(dest.join("d/edited"), &old, 100);
        put(source.join("d/new"), &noise(9, 40_000), 0);
        put(source.join("empty"), b"", 0);
        put(source.join("same"), b"same", 0);
        put(dest.join("same"), b"same", 0);
        let mode = if push { Mode::Push } else { Mode::Pull };
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(3));
        run_chopped(&mut c, &mut s, &mut |i| chops[i % chops.len()], pipe).unwrap();
        agree(&c, &s);
        prop_assert_eq!(picture(&dest), picture(&source));
    }
}

#[test]
fn input_may_be_split_at_every_byte() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("f"), &noise(1, 3000), 0);
        put(dest.join("f"), &noise(1, 2000), 9);
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(3));
        run_chopped(&mut c, &mut s, &mut |_| 1, 1 << 20).unwrap();
        agree(&c, &s);
        assert_eq!(picture(&dest), picture(&source));
    }
}
