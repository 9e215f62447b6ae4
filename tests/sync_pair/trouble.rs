//! What goes wrong on an honest machine: one file fails, the rest goes on.

use super::rig::{agree, assert_clean, noise, pair, picture, put, run, sync};
use super::{BOTH, dirs};
use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::rc::Rc;
use syncscope::sync::signature::{Strong, sums};
use syncscope::sync::{
    Config, FsError, FsErrorKind, FsOp, FsReply, FsRequest, Mode, Session, SessionEvent, SyncError,
};

fn failed(kind: FsErrorKind, message: &str) -> Option<FsReply> {
    Some(FsReply::Failed(FsError::new(kind, message)))
}

#[test]
fn a_file_that_vanishes_fails_alone() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        for name in ["a", "b", "c"] {
            put(source.join(name), name.as_bytes(), 0);
        }
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        let sender = if mode == Mode::Push { &mut c } else { &mut s };
        let victim = source.join("b");
        sender.hook = Box::new(move |r: &FsRequest| {
            if matches!(&r.op, FsOp::OpenSource { path } if path == "b") {
                fs::remove_file(&victim).unwrap();
            }
            None
        });
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        assert_eq!((stats.changed, stats.failed), (2, 1));
        let want = ("b".to_owned(), "it vanished after it was listed".to_owned());
        assert_eq!(c.failures(), [want]);
        assert!(!dest.join("b").exists());
        assert_eq!(fs::read(dest.join("c")).unwrap(), b"c");
        assert_clean(&dest);
    }
}

#[test]
fn a_full_disk_or_a_forbidden_place_fails_one_file_and_leaves_nothing() {
    type Case = (&'static str, fn(&FsOp) -> bool);
    let cases: [Case; 5] = [
        ("temporary", |op| matches!(op, FsOp::Keep { path } if path == "b")),
        ("write", |op| matches!(op, FsOp::Write { data } if data.len() > 30_000)),
        ("copy", |op| matches!(op, FsOp::Copy { .. })),
        ("commit", |op| matches!(op, FsOp::Commit { mode: 0o640, .. })),
        ("stat", |op| matches!(op, FsOp::Stat { path } if path == "b")),
    ];
    for (what, hit) in cases {
        for mode in BOTH {
            let (_dir, source, dest) = dirs();
            let old = noise(2, 400_000);
            put(source.join("a"), b"a", 0);
            put(source.join("b"), &[&noise(3, 500_000)[..], &old].concat(), 0);
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(source.join("b"), fs::Permissions::from_mode(0o640)).unwrap();
            put(source.join("c"), &noise(4, 20_000), 0);
            put(dest.join("b"), &old, 50);
            let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
            let receiver = if mode == Mode::Pull { &mut c } else { &mut s };
            receiver.hook =
                Box::new(move |r| hit(&r.op).then(|| failed(FsErrorKind::NoSpace, "full")).flatten());
            run(&mut c, &mut s).unwrap();
            let stats = agree(&c, &s);
            assert_eq!((stats.changed, stats.failed), (2, 1), "{what}");
            assert_eq!(c.failures(), [("b".to_owned(), "full".to_owned())], "{what}");
            assert_eq!(fs::read(dest.join("b")).unwrap(), old, "{what}: the old file is untouched");
            assert_clean(&dest);
        }
    }
}

#[test]
fn of_many_short_files_that_are_put_in_place_together_one_fails_alone() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        for i in 0..200u64 {
            put(source.join(format!("d/{i:03}")), &noise(i, i as usize * 100), 0);
        }
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        let receiver = if mode == Mode::Pull { &mut c } else { &mut s };
        let (place, mut committed, mut settled) = (dest.join("d/100"), 0, 0);
        let seen = Rc::new(Cell::new((0, 0)));
        let told = Rc::clone(&seen);
        receiver.hook = Box::new(move |r: &FsRequest| {
            match r.op {
                FsOp::Commit { .. } => {
                    committed += 1;
                    if committed == 101 {
                        fs::create_dir(&place).unwrap();
                    }
                }
                FsOp::Settle { .. } => settled += 1,
                _ => {}
            }
            told.set((committed, settled));
            None
        });
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        assert_eq!((stats.changed, stats.failed), (199, 1));
        assert!(matches!(seen.get(), (200, 1..)), "{:?}", seen.get());
        let [(path, why)] = &c.failures()[..] else { panic!("{:?}", c.failures()) };
        assert_eq!(path, "d/100");
        assert!(why.contains("put it in its place"), "{why}");
        for i in (0..200u64).filter(|i| *i != 100) {
            assert_eq!(fs::read(dest.join(format!("d/{i:03}"))).unwrap(), noise(i, i as usize * 100));
        }
        assert_clean(&dest);
    }
}

#[test]
fn a_basis_that_changes_under_our_hands_is_noticed_and_the_file_sent_whole() {
    // Changed, cut, removed, or replaced by a symlink, after its signature was taken.
    for how in 0..4 {
        for mode in BOTH {
            let (_dir, source, dest) = dirs();
            let old = noise(2, 900_000);
            let new = [b"first", &old[..]].concat();
            put(source.join("f"), &new, 0);
            put(source.join("g"), b"g", 0);
            put(dest.join("f"), &old, 50);
            let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
            let place = dest.join("f");
            let receiver = if mode == Mode::Pull { &mut c } else { &mut s };
            receiver.hook = Box::new(move |r| {
                if matches!(r.op, FsOp::Keep { .. }) {
                    match how {
                        0 => put(&place, &noise(77, 900_000), 3),
                        1 => put(&place, &old[..400_000], 3),
                        _ => fs::remove_file(&place).unwrap(),
                    }
                    if how == 3 {
                        symlink("/etc/passwd", &place).unwrap();
                    }
                }
                None
            });
            run(&mut c, &mut s).unwrap();
            let stats = agree(&c, &s);
            assert_eq!((stats.changed, stats.redone, stats.failed), (2, 1, 0), "case {how}");
            for end in [&c, &s] {
                assert_eq!(end.events.iter().filter(|e| **e == SessionEvent::Redo { file: 0 }).count(), 1);
            }
            assert_eq!(picture(&dest), picture(&source));
            assert_clean(&dest);
        }
    }
}

#[test]
fn blocks_that_pass_for_others_are_found_out_and_told_apart_by_safer_sums() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        let (old, mut new) = (noise(2, 900_000), noise(2, 900_000));
        new[500_000..510_000].copy_from_slice(&noise(3, 10_000));
        put(source.join("f"), &new, 0);
        put(dest.join("f"), &old, 50);
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        let receiver = if mode == Mode::Pull { &mut c } else { &mut s };
        receiver.hook = Box::new(move |r| match r.op {
            // As if all blocks of both files had the same fast sums.
            FsOp::Sums { offset, len, block_size, strong: strong @ Strong::Xxh3(_) } => {
                let piece = &new[offset as usize..][..len as usize];
                Some(FsReply::Sums(sums(piece, block_size, strong)))
            }
            _ => None,
        });
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        assert_eq!((stats.changed, stats.redone, stats.failed), (1, 1, 0));
        assert!(stats.literal > 10_000 && stats.literal < 13_000, "{} bytes were sent", stats.literal);
        assert_eq!(picture(&dest), picture(&source));
        assert_clean(&dest);
    }
}

#[test]
fn a_result_that_never_verifies_is_never_renamed() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        let old = noise(2, 50_000);
        put(source.join("f"), &noise(3, 50_000), 0);
        put(source.join("g"), b"g", 0);
        put(dest.join("f"), &old, 50);
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        let hashes = Cell::new(0);
        let receiver = if mode == Mode::Pull { &mut c } else { &mut s };
        receiver.hook = Box::new(|r| {
            let wrong = matches!(r.op, FsOp::Hash) && r.file == Some(0);
            hashes.set(hashes.get() + usize::from(wrong));
            wrong.then_some(FsReply::Hash([0; 32]))
        });
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        assert_eq!((stats.changed, stats.redone, stats.failed), (1, 2, 1));
        let why = "what arrived is not what was sent, though it was sent whole: its BLAKE3 hash differs";
        assert_eq!(c.failures()[0].1, why);
        drop((c, s));
        assert_eq!(hashes.get(), 3);
        assert_eq!(fs::read(dest.join("f")).unwrap(), old);
        assert_clean(&dest);
    }
}

#[test]
fn a_source_that_changes_while_it_is_read_arrives_as_it_was_read_and_is_told() {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), &noise(2, 900_000), 0);
    put(source.join("g"), &noise(3, 900_000), 0);
    put(source.join("h"), b"goes on", 0);
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    let root = source.clone();
    c.hook = Box::new(move |r| {
        match (r.file, &r.op) {
            (Some(0), FsOp::ReadSource { offset: 262_144, .. }) => {
                put(root.join("f"), &noise(2, 300_000), 0);
            }
            (Some(1), FsOp::ReadSource { offset: 262_144, .. }) => {
                put(root.join("g"), &noise(3, 1_000_000), 0);
            }
            _ => {}
        }
        None
    });
    run(&mut c, &mut s).unwrap();
    let stats = agree(&c, &s);
    assert_eq!((stats.changed, stats.failed), (3, 2));
    let why = "it changed in the source while it was read: the copy may be of no single moment; sync again";
    assert_eq!(c.failures(), ["f", "g"].map(|f| (f.to_owned(), why.to_owned())));
    assert_eq!(fs::read(dest.join("f")).unwrap(), noise(2, 300_000));
    assert_eq!(fs::read(dest.join("g")).unwrap(), noise(3, 900_000));
    // The next sync sees that the second one has changed since.
    assert_eq!(sync(Mode::Push, &source, &dest).changed, 1);
    assert_eq!(picture(&dest), picture(&source));
}

#[test]
fn things_in_the_way_and_things_that_are_no_files_are_reported() {
    for mode in BOTH {
        let (dir, source, dest) = dirs();
        put(source.join("file"), b"f", 0);
        put(source.join("dir/inside"), b"i", 0);
        put(source.join("ok"), b"ok", 0);
        put(source.join("replaced"), b"r", 0);
        symlink("/etc", source.join("absolute")).unwrap();
        symlink("../../outside", source.join("dir/upwards")).unwrap();
        let fifo = source.join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::from_bits_truncate(0o600)).unwrap();
        std::os::unix::fs::symlink("ok", source.join("link")).unwrap();

        fs::create_dir(dest.join("file")).unwrap();
        put(dest.join("dir"), b"a file", 0);
        fs::create_dir(dest.join("link")).unwrap();
        put(dir.path().join("elsewhere"), b"untouched", 0);
        symlink(dir.path().join("elsewhere"), dest.join("replaced")).unwrap();

        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        let mut failures = c.failures();
        failures.sort();
        let text: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.0, f.1)).collect();
        assert_eq!(
            text,
            [
                "absolute: skipped: a symlink that leads out of the tree, to \"/etc\"",
                "dir: something that is no directory is in the way",
                "dir/inside: \"dir\" in its path is a symlink or a file, and is not followed",
                "dir/upwards: skipped: a symlink that leads out of the tree, to \"../../outside\"",
                "fifo: skipped: neither a file, a directory nor a symlink",
                "file: a directory is in the way",
                "link: something else is in the way",
            ]
        );
        assert_eq!((stats.changed, stats.failed), (2, 7));
        assert_eq!(fs::read(dest.join("ok")).unwrap(), b"ok");
        assert_eq!(fs::read(dest.join("replaced")).unwrap(), b"r");
        assert_eq!(fs::read(dir.path().join("elsewhere")).unwrap(), b"untouched");
        assert_clean(&dest);
    }
}

#[test]
fn a_planted_symlink_is_never_written_through() {
    let (dir, source, dest) = dirs();
    put(source.join("d/e/f"), b"evil", 0);
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("e")).unwrap();
    symlink(&outside, dest.join("d")).unwrap();
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    run(&mut c, &mut s).unwrap();
    assert_eq!(agree(&c, &s).failed, 3);
    assert_eq!(picture(&outside).len(), 1, "nothing was written outside");

    // Planted between the making of the directory and the file's arrival.
    fs::remove_file(dest.join("d")).unwrap();
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    let (at, to) = (dest.join("d/e"), outside.join("e"));
    s.hook = Box::new(move |r| {
        if matches!(r.op, FsOp::OpenTemp { .. }) {
            fs::remove_dir(&at).unwrap();
            symlink(&to, &at).unwrap();
        }
        None
    });
    run(&mut c, &mut s).unwrap();
    assert!(agree(&c, &s).failed >= 1);
    assert_eq!(picture(&outside).len(), 1, "nothing was written outside");
}

#[test]
fn a_root_that_is_not_there_is_told_to_the_client() {
    let (dir, source, dest) = dirs();
    put(source.join("f"), b"f", 0);
    let (mut c, mut s) = pair(Mode::Pull, &dir.path().join("nowhere"), &dest, &Config::new(1));
    let (who, e) = run(&mut c, &mut s).unwrap_err();
    assert_eq!(who, "server");
    assert!(matches!(e, SyncError::Root { .. }));
    // The farewell is still to be written.
    assert!(s.write_to(&mut c.inbox, 1 << 20, 1 << 20));
    let e = c.read(1 << 20).unwrap_err();
    assert!(matches!(&e, SyncError::PeerAborted(why) if why.contains("nowhere: No such file")), "{e}");
    assert_eq!(c.session.handle_input(b"x"), Err(e), "it stays over");
    assert!(!c.session.wants_input() && c.session.poll_request().is_none() && !c.session.is_done());

    let mut c = Session::client(Mode::Pull, "../etc", Config::new(1));
    let mut s = Session::server(Config::new(1));
    let e = s.handle_input(c.poll_output(1000)).unwrap_err();
    assert_eq!(e.to_string(), "cannot use \"../etc\": it leads out of the exported tree");
    c.consume_output(1000);
}

#[test]
fn a_connection_that_ends_early_is_not_a_success() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("f"), &noise(1, 3_000_000), 0);
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        for _ in 0..40 {
            c.work(1).unwrap();
            c.write_to(&mut s.inbox, 30_000, 30_000);
            s.read(30_000).unwrap();
            s.work(1).unwrap();
            s.write_to(&mut c.inbox, 30_000, 30_000);
            c.read(30_000).unwrap();
        }
        assert!(dest.read_dir().unwrap().count() == 1, "a temporary file is being written");
        let (e, f) = (c.session.handle_eof().unwrap_err(), s.session.handle_eof().unwrap_err());
        assert!(matches!((&e, &f), (SyncError::Closed { .. }, SyncError::Closed { .. })), "{e} {f}");
        assert!(!c.session.is_done() && !s.session.is_done());
        drop((c, s));
        assert_eq!(picture(&dest), [], "{mode:?}: nothing is left of it");
    }
}

#[test]
fn files_in_a_read_only_directory_are_updated_by_whoever_owns_it() {
    // Root may write anywhere, so the file system takes this thread for somebody else.
    use nix::unistd::{Uid, setfsuid};
    let (dir, source, dest) = dirs();
    put(source.join("closed/f"), b"old", 9);
    for path in [dir.path(), &source, &dest, &source.join("closed"), &source.join("closed/f")] {
        let owner = if nix::unistd::geteuid().is_root() { Some(65_534) } else { None };
        std::os::unix::fs::chown(path, owner, None).unwrap();
    }
    use std::os::unix::fs::PermissionsExt;
    let done = std::thread::spawn(move || {
        if nix::unistd::geteuid().is_root() {
            setfsuid(Uid::from_raw(65_534));
        }
        let close =
            |mode| fs::set_permissions(source.join("closed"), fs::Permissions::from_mode(mode)).unwrap();
        close(0o555);
        assert!(fs::write(source.join("closed/g"), b"").is_err(), "this thread is still root");
        assert_eq!(sync(Mode::Push, &source, &dest).changed, 1);
        close(0o755);
        put(source.join("closed/f"), b"newer", 5);
        close(0o555);
        let stats = sync(Mode::Push, &source, &dest);
        assert_eq!((stats.changed, stats.failed), (1, 0));
        assert_eq!(picture(&dest), picture(&source));
    });
    done.join().unwrap();
}
