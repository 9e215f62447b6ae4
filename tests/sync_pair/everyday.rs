//! What each flag does, over real trees with names and files as people have them.

use super::rig::{agree, assert_clean, noise, pair, picture, put, run};
use super::{BOTH, dirs};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use syncscope::sync::{Change, Compress, Config, Flags, Kind, Mode, SessionEvent, Stats};

fn name(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// What people have.
fn odd_tree(source: &Path) {
    put(source.join("with space/and\nnewline"), b"1", 1);
    put(source.join(name(b"latin1 gr\xfc\xdfe/\xff\xfe")), b"2", 2);
    put(source.join("private \u{10ff80}"), b"3", 3);
    put(source.join("x".repeat(255)), b"4", 4);
    put(source.join(name(&[0xe9; 255])), b"5", 5);
    put(source.join("-rf *; $(x) `y` \"z\" \\"), b"6", 6);
    put(source.join("empty"), b"", 7);
    put(source.join("forbidden"), b"8", 8);
    if nix::unistd::geteuid().is_root() {
        fs::set_permissions(source.join("forbidden"), fs::Permissions::from_mode(0o000)).unwrap();
    }
    symlink("nowhere", source.join("dangling")).unwrap();
    symlink(name(b"latin1 gr\xfc\xdfe"), source.join(name(b"to \xfc"))).unwrap();
    let sparse = fs::File::create(source.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.set_modified(std::time::UNIX_EPOCH).unwrap();
    put(source.join("first"), &noise(9, 5000), 9);
    fs::hard_link(source.join("first"), source.join("second")).unwrap();
    fs::create_dir(source.join("z")).unwrap();
    fs::hard_link(source.join("first"), source.join("z/third")).unwrap();
}

struct Told {
    stats: Stats,
    done: Vec<(String, Kind, Change)>,
    gone: Vec<(String, bool)>,
}

/// Syncs with these wishes; both ends must tell the same.
fn wish(mode: Mode, source: &Path, dest: &Path, flags: Flags, rules: &[&str]) -> Told {
    let rules = rules.iter().map(|r| (*r).to_owned()).collect();
    let (mut c, mut s) = pair(mode, source, dest, &Config { flags, rules, ..Config::new(3) });
    run(&mut c, &mut s).unwrap();
    let stats = agree(&c, &s);
    let told = |events: &[SessionEvent], names: &[String]| {
        let (mut done, mut gone) = (Vec::new(), Vec::new());
        for e in events {
            match e {
                SessionEvent::Done { file, kind, change } => {
                    done.push((names[*file as usize].clone(), *kind, *change));
                }
                SessionEvent::Gone { path, dir } => gone.push((path.clone(), *dir)),
                _ => {}
            }
        }
        (done, gone)
    };
    let (mut done, gone) = told(&c.events, c.session.file_names());
    assert_eq!((done.clone(), gone.clone()), told(&s.events, s.session.file_names()));
    done.sort_by(|a, b| a.0.cmp(&b.0));
    Told { stats, done, gone }
}

#[test]
fn names_and_files_as_people_have_them_arrive() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        odd_tree(&source);
        let told = wish(mode, &source, &dest, Flags::default(), &[]);
        assert_eq!((told.stats.failed, told.stats.created), (0, 17));
        assert_eq!(picture(&dest), picture(&source));
        let again = wish(mode, &source, &dest, Flags::default(), &[]);
        assert_eq!((again.stats.changed, again.stats.literal, again.done), (0, 0, vec![]));
        assert_clean(&dest);
    }
}

#[test]
fn hard_links_stay_names_of_one_file_only_where_that_is_asked_for() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        odd_tree(&source);
        let inode = |f: &str| fs::metadata(dest.join(f)).unwrap().ino();
        wish(mode, &source, &dest, Flags::default(), &[]);
        assert_ne!(inode("first"), inode("second"));
        let flags = Flags { hard_links: true, ..Flags::default() };
        let told = wish(mode, &source, &dest, flags, &[]);
        assert_eq!((told.stats.changed, told.stats.literal), (2, 0));
        assert!(
            told.done.iter().all(|d| d.2 == Change { link: true, ..Change::default() }),
            "{:?}",
            told.done
        );
        assert_eq!((inode("first"), inode("first")), (inode("second"), inode("z/third")));
        assert!(wish(mode, &source, &dest, flags, &[]).done.is_empty());
        // New content of one is new content of all, sent once.
        put(source.join("new"), &noise(8, 9000), 0);
        fs::rename(source.join("new"), source.join("first")).unwrap();
        fs::remove_file(source.join("second")).unwrap();
        fs::hard_link(source.join("first"), source.join("second")).unwrap();
        let told = wish(mode, &source, &dest, flags, &[]);
        assert_eq!(inode("first"), inode("second"));
        assert_eq!(told.stats.literal + told.stats.matched, 9000);
        assert_eq!(picture(&dest), picture(&source));
        assert_clean(&dest);
    }
}

#[test]
fn delete_removes_what_the_source_does_not_have_and_nothing_else() {
    for mode in BOTH {
        let (dir, source, dest) = dirs();
        put(source.join("keep"), b"k", 0);
        put(source.join("sub/keep"), b"k", 0);
        put(source.join("a.log"), b"the source's own", 0);
        put(dir.path().join("outside/precious"), b"p", 0);
        for gone in ["gone", "sub/gone", "old/deep/er/gone", "old/gone"] {
            put(dest.join(gone), b"g", 0);
        }
        put(dest.join("b.log"), b"left out", 0);
        put(dest.join("old2/c.log"), b"left out", 0);
        put(dest.join(name(b"gr\xfcn")), b"g", 0);
        symlink(dir.path().join("outside"), dest.join("way out")).unwrap();
        let flags = Flags { delete: true, ..Flags::default() };
        let before = picture(&dest);
        let rehearsed = wish(mode, &source, &dest, Flags { dry_run: true, ..flags }, &["*.log"]);
        assert_eq!(picture(&dest), before);
        let told = wish(mode, &source, &dest, flags, &["*.log"]);
        assert_eq!((&told.gone, &told.done), (&rehearsed.gone, &rehearsed.done), "foretold");
        let gone: Vec<&str> = told.gone.iter().map(|g| g.0.as_str()).collect();
        let want = [
            "gone",
            "gr\u{10fffc}n",
            "old/deep/er/gone",
            "old/deep/er",
            "old/deep",
            "old/gone",
            "old",
            "way out",
            "sub/gone",
        ];
        assert_eq!(gone, want);
        assert_eq!(told.gone.iter().filter(|g| g.1).count(), 3, "directories");
        assert_eq!((told.stats.deleted, told.stats.failed), (9, 0));
        let left: Vec<_> = picture(&dest).into_iter().map(|p| p.0).collect();
        assert_eq!(left, ["b.log", "keep", "old2", "old2/c.log", "sub", "sub/keep"]);
        assert!(dir.path().join("outside/precious").exists());
    }
}

#[test]
fn nothing_is_deleted_where_the_source_could_not_be_read() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("dir/a"), b"a", 0);
        put(source.join("b"), b"b", 0);
        put(dest.join("dir/only here"), b"x", 0);
        put(dest.join("pipe"), b"x", 0);
        put(dest.join("gone"), b"x", 0);
        nix::unistd::mkfifo(&source.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let (mut c, mut s) = pair(
            mode,
            &source,
            &dest,
            &Config { flags: Flags { delete: true, ..Flags::default() }, ..Config::new(3) },
        );
        let sender = if mode == Mode::Push { &mut c } else { &mut s };
        // As if the directory were forbidden (root reads everything).
        let mut listed = false;
        let mut disk = syncscope::drive::files::Disk::new(&source);
        sender.hook = Box::new(move |r| {
            let list = matches!(r.op, syncscope::sync::FsOp::List);
            let enter = matches!(r.op, syncscope::sync::FsOp::Enter { .. });
            if !list && !enter {
                return None;
            }
            let mut reply = disk.execute(r.clone());
            if let syncscope::sync::FsReply::Listed { entries, faults, .. } = &mut reply
                && !std::mem::replace(&mut listed, true)
            {
                entries.retain(|e| e.path != "dir/a");
                let denied = syncscope::sync::FsErrorKind::Denied;
                faults.push(("dir".to_owned(), syncscope::sync::FsError::new(denied, "cannot list")));
            }
            if enter { None } else { Some(reply) }
        });
        run(&mut c, &mut s).unwrap();
        let stats = agree(&c, &s);
        assert_eq!((stats.deleted, stats.failed), (1, 2));
        assert!(
            dest.join("dir/only here").exists() && dest.join("pipe").exists() && !dest.join("gone").exists()
        );
    }
}

#[test]
fn rules_leave_out_what_they_say_on_either_side() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        for f in ["a.o", "keep.o", "build/x", "deep/build/y", "deep/a.o", "c"] {
            put(source.join(f), f.as_bytes(), 0);
        }
        wish(mode, &source, &dest, Flags::default(), &["*.o", "/build/", "!keep.o"]);
        let there: Vec<_> = picture(&dest).into_iter().map(|p| p.0).collect();
        assert_eq!(there, ["c", "deep", "deep/build", "deep/build/y", "keep.o"]);
        let (mut c, mut s) =
            pair(mode, &source, &dest, &Config { rules: vec!["a{b".to_owned()], ..Config::new(1) });
        let e = run(&mut c, &mut s).unwrap_err().1.to_string();
        assert!(e.contains("the rule `a{b` makes no sense"), "{e}");
    }
}

#[test]
fn a_dry_run_foretells_and_changes_nothing() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        odd_tree(&source);
        put(dest.join("empty"), b"not", 100);
        put(dest.join("first"), &noise(9, 5000), 100);
        put(dest.join("extra"), b"x", 0);
        symlink("elsewhere", dest.join("dangling")).unwrap();
        let flags = Flags { delete: true, hard_links: true, ..Flags::default() };
        let before = picture(&dest);
        let foretold = wish(mode, &source, &dest, Flags { dry_run: true, ..flags }, &[]);
        assert_eq!(picture(&dest), before);
        assert_eq!(foretold.stats.literal, 0);
        let told = wish(mode, &source, &dest, flags, &[]);
        assert_eq!(foretold.gone, told.gone);
        let sorted = |mut d: Vec<(String, Kind, Change)>, kept: bool| {
            // Whether a file that was only touched has other bytes, a dry run does not look for.
            d.iter_mut().filter(|d| d.0 == "first" && kept).for_each(|d| d.2.content = true);
            d
        };
        assert_eq!(sorted(foretold.done, false), sorted(told.done, true));
        assert!(wish(mode, &source, &dest, Flags { dry_run: true, ..flags }, &[]).done.is_empty());
        // A destination that does not exist is not made either.
        let nowhere = dest.join("not yet");
        let told = wish(mode, &source, &nowhere, Flags { dry_run: true, ..flags }, &[]);
        assert_eq!((told.stats.created, nowhere.exists()), (17, false));
    }
}

#[test]
fn a_checksum_finds_what_size_and_time_hide_and_leaves_the_rest_alone() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("same"), &noise(1, 100_000), 0);
        put(dest.join("same"), &noise(1, 100_000), 0);
        put(source.join("touched"), &noise(2, 100_000), 0);
        put(dest.join("touched"), &noise(2, 100_000), 70);
        put(source.join("hidden"), &[&noise(3, 50_000)[..], b"x", &noise(4, 50_000)].concat(), 0);
        put(dest.join("hidden"), &[&noise(3, 50_000)[..], b"y", &noise(4, 50_000)].concat(), 0);
        put(source.join("nothing"), b"", 0);
        put(dest.join("nothing"), b"", 0);
        assert!(wish(mode, &source, &dest, Flags::default(), &[]).done.iter().all(|d| d.0 == "touched"));
        put(dest.join("touched"), &noise(2, 100_000), 70);
        let inodes = ["same", "touched"].map(|f| fs::metadata(dest.join(f)).unwrap().ino());
        let flags = Flags { checksum: true, ..Flags::default() };
        let foretold = wish(mode, &source, &dest, Flags { dry_run: true, ..flags }, &[]);
        assert_eq!(fs::read(dest.join("hidden")).unwrap()[50_000], b'y');
        let told = wish(mode, &source, &dest, flags, &[]);
        let content = Change { content: true, ..Change::default() };
        let time = Change { time: true, ..Change::default() };
        let want = [("hidden".to_owned(), Kind::File, content), ("touched".to_owned(), Kind::File, time)];
        assert_eq!((&told.done[..], &foretold.done[..]), (&want[..], &want[..]));
        assert_eq!((told.stats.changed, told.stats.redone), (1, 0));
        assert!(told.stats.literal < 2000, "{}", told.stats.literal);
        assert_eq!(
            inodes,
            ["same", "touched"].map(|f| fs::metadata(dest.join(f)).unwrap().ino()),
            "not rewritten"
        );
        assert_eq!(picture(&dest), picture(&source));
    }
}

#[test]
fn what_is_not_to_be_kept_stays_as_the_destination_has_it() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        put(source.join("old"), b"new content", 500);
        put(source.join("fresh"), b"f", 500);
        put(source.join("sub/deeper"), b"d", 500);
        symlink("old", source.join("link")).unwrap();
        for f in ["old", "fresh"] {
            fs::set_permissions(source.join(f), fs::Permissions::from_mode(0o777)).unwrap();
        }
        put(dest.join("old"), b"old content!", 900);
        fs::set_permissions(dest.join("old"), fs::Permissions::from_mode(0o640)).unwrap();
        let flags = Flags { recurse: false, links: false, perms: false, times: false, ..Flags::default() };
        let told = wish(mode, &source, &dest, flags, &[]);
        let there: Vec<_> = picture(&dest).into_iter().map(|p| p.0).collect();
        assert_eq!((there, told.stats.failed), (vec!["fresh".to_owned(), "old".to_owned()], 0));
        assert_eq!(fs::read(dest.join("old")).unwrap(), b"new content");
        let meta = |f: &str| fs::metadata(dest.join(f)).unwrap();
        assert_eq!(meta("old").mode() & 0o777, 0o640);
        assert_eq!(meta("fresh").mode() & 0o022, 0, "what the umask leaves of rwxrwxrwx");
        assert!(meta("old").mtime() > 1_700_000_000 && meta("fresh").mtime() > 1_700_000_000);
    }
}

#[test]
fn a_sparse_file_beyond_4_gib_is_compared_and_changed_at_its_end() {
    let (_dir, source, dest) = dirs();
    let at = (4u64 << 30) + 123_456;
    for (root, tail, time) in [(&source, b"new tail", 5), (&dest, b"old tail", 9)] {
        use std::os::unix::fs::FileExt;
        let f = fs::File::create(root.join("big")).unwrap();
        f.write_all_at(tail, at).unwrap();
        f.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(time)).unwrap();
    }
    // Only what is compared first: a rebuilt file would be 4 GiB of zeros on the disk.
    let told = wish(Mode::Push, &source, &dest, Flags { dry_run: true, ..Flags::default() }, &[]);
    assert_eq!((told.stats.changed, told.stats.bytes), (1, at + 8));
    assert_eq!(told.done[0].2, Change { content: true, time: true, ..Change::default() });
}

#[test]
fn what_travels_compressed_arrives_as_it_was() {
    for mode in BOTH {
        let (_dir, source, dest) = dirs();
        odd_tree(&source);
        let text: Vec<u8> = (0..60_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
        put(source.join("text"), &text, 0);
        put(source.join("noise"), &noise(5, 300_000), 0);
        put(dest.join("text"), &text[..200_000], 9);
        let told = wish(mode, &source, &dest, Flags { compress: Compress::Always, ..Flags::default() }, &[]);
        assert_eq!(picture(&dest), picture(&source));
        let moved = told.stats.wire_in + told.stats.wire_out;
        assert!(told.stats.literal > 3_700_000 && moved < 800_000, "{} in {moved}", told.stats.literal);
    }
}
