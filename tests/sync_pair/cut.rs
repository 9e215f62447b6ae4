//! A connection that is cut, and the run after it: what had arrived is not sent again.

use super::rig::{assert_clean, noise, pair, picture, put, sync};
use super::{BOTH, dirs};
use std::fs;
use std::path::Path;
use syncscope::sync::{Config, Mode};

/// Plays a run until this many bytes of the sender's have arrived, then cuts it; the bytes of literals that the
/// receiver had taken, and whether it kept a part.
fn cut_after(mode: Mode, source: &Path, dest: &Path, bytes: usize) -> (u64, bool) {
    let (mut c, mut s) = pair(mode, source, dest, &Config::new(5));
    loop {
        let (sender, receiver) = if mode == Mode::Push { (&mut c, &mut s) } else { (&mut s, &mut c) };
        sender.work(4).unwrap();
        let left = bytes.saturating_sub(sender.written.len());
        sender.write_to(&mut receiver.inbox, left.min(30_000), 60_000);
        receiver.read(60_000).unwrap();
        receiver.work(2).unwrap();
        receiver.write_to(&mut sender.inbox, 30_000, 60_000);
        sender.read(60_000).unwrap();
        if sender.written.len() >= bytes {
            while receiver.read(60_000).unwrap() {}
            let kept = receiver.cut();
            assert!(!sender.cut(), "a sender has no parts");
            return (receiver.session.stats().literal, kept);
        }
        assert!(!c.session.is_done(), "it was over before it was cut");
    }
}

fn parts(root: &Path) -> usize {
    let all = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    all.filter(|e| e.file_name().to_str().unwrap().ends_with(".part")).count()
}

#[test]
fn after_a_cut_nothing_that_arrived_of_a_large_file_is_sent_again() {
    let big = noise(1, 6_000_000);
    for mode in BOTH {
        for bytes in [90_000, 700_000, 1_500_000, 4_000_000, 5_999_000] {
            let (_dir, source, dest) = dirs();
            put(source.join("a/big"), &big, 0);
            let (arrived, kept) = cut_after(mode, &source, &dest, bytes);
            assert!(kept && arrived + 70_000 > bytes as u64, "{arrived} of {bytes}");
            assert!(!dest.join("a/big").exists(), "never a part of a file in its place");
            assert_eq!(parts(&dest), 1);
            let stats = sync(mode, &source, &dest);
            assert_eq!((stats.changed, stats.failed, stats.redone), (1, 0, 0));
            assert_eq!((stats.matched, stats.literal), (arrived, 6_000_000 - arrived), "cut after {bytes}");
            assert!(picture(&dest) == picture(&source));
            assert_clean(&dest);
        }
    }
}

#[test]
fn after_a_cut_the_old_file_still_serves_for_the_rest() {
    let old = noise(2, 5_000_000);
    let mut new = old.clone();
    for at in [100_000, 2_000_000, 4_500_000] {
        new[at..at + 300_000].copy_from_slice(&noise(at as u64, 300_000));
    }
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("f"), &new, 0);
        put(dest.join("f"), &old, 50);
        let (arrived, kept) = cut_after(mode, &source, &dest, 450_000);
        assert!(kept && arrived > 300_000 && arrived < 460_000, "{arrived}");
        assert_eq!(fs::read(dest.join("f")).unwrap(), old, "the old file is untouched");
        let stats = sync(mode, &source, &dest);
        assert!(stats.literal < 900_000 + 20_000 - arrived, "{} after {arrived}", stats.literal);
        assert!(picture(&dest) == picture(&source));
        assert_clean(&dest);
    }
}

#[test]
fn a_source_that_changed_since_the_cut_is_sent_as_it_is_now() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("f"), &noise(1, 3_000_000), 0);
        cut_after(mode, &source, &dest, 1_500_000);
        put(source.join("f"), &noise(9, 3_000_000), 3);
        let stats = sync(mode, &source, &dest);
        assert_eq!((stats.matched, stats.literal, stats.redone), (0, 3_000_000, 0));
        assert!(picture(&dest) == picture(&source));
        assert_clean(&dest);
        // Only its end: what arrived is its beginning still.
        fs::remove_file(dest.join("f")).unwrap();
        let (arrived, _) = cut_after(mode, &source, &dest, 1_500_000);
        put(source.join("f"), &[&noise(9, 2_900_000)[..], b"another end"].concat(), 4);
        assert_eq!(sync(mode, &source, &dest).matched, arrived);
        assert!(picture(&dest) == picture(&source));
        // Shorter than what arrived.
        fs::remove_file(dest.join("f")).unwrap();
        cut_after(mode, &source, &dest, 1_500_000);
        put(source.join("f"), &noise(9, 1_200_000), 5);
        assert_eq!(sync(mode, &source, &dest).literal, 1_200_000);
        assert!(picture(&dest) == picture(&source));
    }
}

#[test]
fn several_cuts_and_many_small_files() {
    let (_dir, source, dest) = dirs();
    for i in 0..200 {
        put(source.join(format!("small/{i}")), &noise(i, 9000), 0);
    }
    put(source.join("zbig"), &noise(1, 4_000_000), 0);
    let mut sent = 0;
    for bytes in [500_000, 1_000_000, 1_000_000, 1_200_000] {
        sent += cut_after(Mode::Pull, &source, &dest, bytes).0;
    }
    let stats = sync(Mode::Pull, &source, &dest);
    sent += stats.literal;
    let all = 200 * 9000 + 4_000_000;
    assert!(sent < all + 4 * 20_000, "{sent} bytes were sent for {all}");
    assert!(picture(&dest) == picture(&source));
    assert_clean(&dest);
}

#[test]
fn parts_and_temporary_files_are_no_files_of_the_tree() {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), b"f", 0);
    put(source.join(".syncscope-0123456789abcdef.part"), b"p", 0);
    put(source.join(".syncscope-7-0123456789abcdef.tmp"), b"t", 0);
    assert_eq!(sync(Mode::Push, &source, &dest).files, 1);
}
