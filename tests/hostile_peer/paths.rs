//! Names and links that lead out of the tree, there from the beginning or planted while a sync runs.

use crate::dirs;
use crate::rig::{End, noise, pair, picture, put, run};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use syncscope::drive::files::Disk;
use syncscope::sync::{
    Config, Entry, Flags, FsErrorKind, FsOp, FsReply, FsRequest, Kind, Meta, Mode, Mtime, Pick, Session,
    SyncError,
};

const FILE: Meta = Meta { kind: Kind::File, size: 4, mode: 0o644, mtime: Mtime { secs: 1, nanos: 0 } };

/// A tree, an older version of it, and beside them what must stay as it is.
struct Scene {
    _dir: tempfile::TempDir,
    source: PathBuf,
    dest: PathBuf,
    outside: PathBuf,
}

impl Scene {
    fn new() -> Scene {
        let (dir, source, dest) = dirs();
        let outside = dir.path().join("outside");
        for (root, old) in [(&source, 0), (&dest, 1), (&outside, 2)] {
            put(root.join("d/sub/changed"), &noise(old, 9000), 10 * old);
            put(root.join("d/sub/touched"), b"same", 10 * old);
            fs::create_dir_all(root.join("d/sub/e")).unwrap();
            put(root.join("d/sub/extra"), b"extra", 10 * old);
        }
        fs::remove_file(source.join("d/sub/extra")).unwrap();
        put(source.join("d/sub/new"), &noise(7, 3000), 0);
        put(source.join("d/sub/e/deep/new"), b"new", 0);
        symlink("changed", source.join("d/sub/link")).unwrap();
        put(source.join("zz"), b"last", 0);
        Scene { _dir: dir, source, dest, outside }
    }
}

/// What a local attacker does: the folder goes aside, a symlink to another one takes its place.
fn swap(folder: &Path, outside: &Path) {
    let aside = folder.with_file_name("aside");
    if !aside.exists() && folder.is_dir() && fs::rename(folder, &aside).is_ok() {
        symlink(outside, folder).unwrap();
    }
}

/// Swaps `folder` before each request of one end in turn; nothing outside may change or be read.
fn raced(receiver: bool, folder: &str, only: fn(&FsOp) -> bool) -> usize {
    raced_with(&Config::new(1), receiver, folder, only)
}

fn raced_with(config: &Config, receiver: bool, folder: &str, only: fn(&FsOp) -> bool) -> usize {
    let mut hits = 0;
    for nth in 0.. {
        let s = Scene::new();
        // A sender keeps the directories open that it listed last; here those are others.
        (0..if receiver { 0 } else { 20 })
            .for_each(|i| fs::create_dir_all(s.source.join(format!("y/{i}/x"))).unwrap());
        let before = picture(&s.outside);
        let secret = fs::read(s.outside.join("d/sub/changed")).unwrap();
        let (mut c, mut end) = pair(Mode::Push, &s.source, &s.dest, config);
        let (root, side): (_, &mut End<'_>) =
            if receiver { (&s.dest, &mut end) } else { (&s.source, &mut c) };
        let (at, to) = (root.join(folder), s.outside.join(folder));
        let (mut seen, reached) = (0, std::rc::Rc::new(std::cell::Cell::new(false)));
        let told = std::rc::Rc::clone(&reached);
        side.hook = Box::new(move |r| {
            if only(&r.op) {
                if seen == nth {
                    told.set(true);
                    swap(&at, &to);
                }
                seen += 1;
            }
            None
        });
        // It may end in failed files, never outside.
        let _ = run(&mut c, &mut end);
        assert_eq!(picture(&s.outside), before, "request {nth}: something outside was changed");
        for file in picture(&s.dest).iter().filter(|f| f.0 != "aside") {
            assert!(file.2 != secret, "request {nth}: {} holds what lies outside", file.0);
        }
        if !reached.get() {
            break;
        }
        hits += 1;
    }
    hits
}

/// The receiver wrote through a symlink that the sender had it make before.
#[test]
fn cve_2024_12087_a_link_made_by_the_sender_is_never_written_through() {
    let (dir, source, dest) = dirs();
    for kept in ["inner/f", "inner/d/f"] {
        put(dest.join(kept), b"kept", 0);
    }
    put(dir.path().join("outside/f"), b"kept", 0);
    put(dir.path().join("outside/d/f"), b"kept", 0);
    for (target, mode) in [("inner", Mode::Push), ("../outside", Mode::Push), ("inner", Mode::Pull)] {
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        let sender = if mode == Mode::Push { &mut c } else { &mut s };
        let entry = |path: &str, meta, target: &str| Entry {
            path: path.into(),
            meta,
            target: target.into(),
            inode: None,
        };
        let link = entry("x", Meta { kind: Kind::Symlink, ..FILE }, target);
        let entries = vec![link, entry("x/f", FILE, ""), entry("x/d/f", FILE, "")];
        sender.hook = Box::new(move |r| match r.op {
            FsOp::List => Some(FsReply::Listed { entries: entries.clone(), faults: Vec::new(), last: true }),
            FsOp::OpenSource { .. } => Some(FsReply::Opened(FILE)),
            FsOp::ReadSource { .. } => Some(FsReply::Data(b"evil".to_vec())),
            _ => None,
        });
        run(&mut c, &mut s).unwrap();
        for f in ["f", "d/f"] {
            assert!(c.failures().iter().any(|(path, _)| *path == format!("x/{f}")), "{:?}", c.failures());
            for root in [dest.join("inner"), dir.path().join("outside")] {
                assert_eq!(fs::read(root.join(f)).unwrap(), b"kept");
            }
        }
        let _ = fs::remove_file(dest.join("x"));
    }
}

/// A server named files outside of the destination, which the client then read as a basis and told of.
#[test]
fn cve_2024_12086_a_basis_outside_of_the_tree_is_never_read() {
    let (dir, _, dest) = dirs();
    put(dir.path().join("secret"), b"secret", 0);
    symlink(dir.path(), dest.join("up")).unwrap();
    let mut disk = Disk::new(&dest);
    let mut ask =
        |op| disk.execute(FsRequest { id: 1, phase: Default::default(), file: None, block: None, op });
    assert_eq!(ask(FsOp::Enter { path: String::new(), create: true, pick: Pick::default() }), FsReply::Done);
    let absolute = dir.path().join("secret").to_str().unwrap().to_owned();
    for path in
        ["../secret", "up/secret", "x/../../secret", "./../secret", &absolute, "up", ".", "", "..", "a\0"]
    {
        for op in [
            FsOp::OpenBasis { path: path.to_owned() },
            FsOp::OpenSource { path: path.to_owned() },
            FsOp::Keep { path: path.to_owned() },
        ] {
            let said = format!("{op:?}");
            assert!(matches!(ask(op), FsReply::Failed(_)), "{said}");
        }
    }
    assert_eq!(picture(&dest).len(), 1, "nothing was made");
}

/// --safe-links judged a link by its words, and a link within the link led out.
#[test]
fn cve_2024_12088_a_link_through_another_link_does_not_lead_out() {
    let (dir, source, dest) = dirs();
    put(source.join("a/b/c/f"), b"f", 0);
    symlink("../../..", source.join("a/b/c/up")).unwrap();
    symlink("a/b/c/up/..", source.join("out")).unwrap();
    symlink("a/b/c/up/../../etc", source.join("further")).unwrap();
    put(dir.path().join("secret"), b"secret", 0);
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    run(&mut c, &mut s).unwrap();
    let mut failed: Vec<String> = c.failures().into_iter().map(|f| f.0).collect();
    failed.sort();
    assert_eq!(failed, ["further", "out"]);
    // What was made stays within the tree, as the kernel resolves it.
    let real = fs::canonicalize(dest.join("a/b/c/up")).unwrap();
    assert!(real.starts_with(fs::canonicalize(&dest).unwrap()), "{}", real.display());
}

/// A symlink race before a single system call; here before every one of the receiver's.
#[test]
fn cve_2024_12747_a_folder_swapped_for_a_link_before_any_request_changes_nothing_outside() {
    assert!(raced(true, "d", |_| true) > 15);
}

/// The same for what path-based calls touch: modes, times, renames, folders, links.
#[test]
fn cve_2026_43619_attributes_and_renames_stay_inside_when_a_folder_is_swapped() {
    let touches = |op: &FsOp| {
        matches!(
            op,
            FsOp::SetAttr { .. }
                | FsOp::Commit { .. }
                | FsOp::MakeDir { .. }
                | FsOp::Symlink { .. }
                | FsOp::Stat { .. }
        )
    };
    assert!(raced(true, "d/sub", touches) > 8);
}

/// Check, then use: the file was another one when it was used.
#[test]
fn cve_2026_29518_what_is_checked_is_what_is_written() {
    assert!(
        raced(true, "d/sub", |op| matches!(
            op,
            FsOp::OpenTemp { .. } | FsOp::Keep { .. } | FsOp::Fork | FsOp::OpenBasis { .. }
        )) > 3
    );
}

/// The sender opened its files by path after the list was made.
#[test]
fn cve_2026_53797_the_sender_reads_nothing_through_a_folder_swapped_after_the_list() {
    assert!(raced(false, "d", |op| matches!(op, FsOp::OpenSource { .. } | FsOp::ReadSource { .. })) > 3);
}

/// The sender's scan of a directory followed a parent that had become a link.
#[test]
fn cve_2026_53801_the_list_never_leaves_the_tree() {
    assert!(raced(false, "d", |op| matches!(op, FsOp::List)) >= 1);
    // Swapped between two parts of the list: a folder that is to come, and one in whose middle the list stands. What
    // holds: a link is not looked through, a directory stays open while it is listed, and `openat2`.
    for folder in ["z", "a"] {
        let (dir, source, dest) = dirs();
        (0..300).for_each(|i| put(source.join(format!("a/{i:03}")), b"", 0));
        put(source.join("z/mine"), b"", 0);
        for theirs in ["theirs", "299"] {
            put(dir.path().join("outside").join(theirs), b"secret", 0);
        }
        let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
        let (at, to, mut lists) = (source.join(folder), dir.path().join("outside"), 0);
        c.hook = Box::new(move |r| {
            if r.op == FsOp::List {
                lists += 1;
                if lists == 2 {
                    swap(&at, &to);
                }
            }
            None
        });
        let _ = run(&mut c, &mut s);
        assert!(c.session.file_names().iter().any(|n| n == folder), "{folder}");
        assert!(c.session.file_names().iter().all(|n| !n.contains("theirs")), "{folder}");
        assert!(picture(&dest).iter().all(|f| f.2 != b"secret"), "{folder}: what lies outside was sent");
    }
}

/// Parents that a path implies were made through a planted link. Two things hold: `openat2`, and that each is entered
/// by its own name, without following it.
#[test]
fn cve_2026_53785_folders_on_the_way_are_not_made_through_a_link() {
    let (dir, source, dest) = dirs();
    put(source.join("f"), b"f", 0);
    let outside = dir.path().join("outside");
    fs::create_dir_all(&outside).unwrap();
    symlink(&outside, dest.join("way")).unwrap();
    for path in ["way/new", "way/new/er", "way"] {
        let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
        c.session = Session::client(Mode::Push, path, Config::new(1));
        let (_, e) = run(&mut c, &mut s).unwrap_err();
        let SyncError::Root { error, .. } = &e else { panic!("{path}: {e}") };
        assert!(matches!(error.kind, FsErrorKind::Unsafe | FsErrorKind::InTheWay), "{path}: {e}");
    }
    assert_eq!(picture(&outside), []);
}

/// A link within a module led to its neighbour.
#[test]
fn cve_2026_53793_a_part_of_a_module_is_not_entered_through_a_link_to_its_neighbour() {
    let (_dir, root, dest) = dirs();
    put(root.join("neighbour/inside/secret"), b"secret", 0);
    fs::create_dir(root.join("inner")).unwrap();
    symlink("../neighbour", root.join("inner/link")).unwrap();
    for path in ["inner/link", "inner/link/inside", "inner/link/inside/secret"] {
        let (mut c, mut s) = pair(Mode::Pull, &root, &dest, &Config::new(1));
        c.session = Session::client(Mode::Pull, path, Config::new(1));
        let (_, e) = run(&mut c, &mut s).unwrap_err();
        assert!(matches!(&e, SyncError::Root { .. }), "{path}: {e}");
    }
    assert_eq!(picture(&dest), []);
}

/// The rename of a finished file followed a parent swapped in the middle of the transfer.
#[test]
fn cve_2026_53795_a_file_is_renamed_in_the_folder_where_it_was_begun() {
    assert!(
        raced(true, "d/sub", |op| matches!(op, FsOp::Write { .. } | FsOp::Hash | FsOp::Commit { .. })) > 3
    );
}

/// The destination itself was swapped once the receiver had looked at it.
#[test]
fn cve_2026_53796_the_destination_is_the_folder_that_was_opened() {
    let s = Scene::new();
    let (at, to) = (s.dest.clone(), s.outside.clone());
    let before = picture(&s.outside);
    let (mut c, mut end) = pair(Mode::Push, &s.source, &s.dest, &Config::new(1));
    end.hook = Box::new(move |r| {
        if matches!(r.op, FsOp::MakeDir { .. }) {
            swap(&at, &to);
        }
        None
    });
    run(&mut c, &mut end).unwrap();
    assert_eq!(picture(&s.outside), before);
    assert_eq!(fs::read(s.dest.with_file_name("aside").join("d/sub/e/deep/new")).unwrap(), b"new");
}

/// A module's own folder was swapped between two connections.
#[test]
fn cve_2026_53784_a_module_is_the_folder_that_was_opened_at_the_start() {
    let s = Scene::new();
    let root = Arc::new(fs::File::open(&s.source).unwrap().into());
    swap(&s.source, &s.outside);
    let mut disk = Disk::new(&s.source).opened(root);
    let mut ask =
        |op| disk.execute(FsRequest { id: 1, phase: Default::default(), file: None, block: None, op });
    assert_eq!(ask(FsOp::Enter { path: String::new(), create: false, pick: Pick::default() }), FsReply::Done);
    let FsReply::Listed { entries, .. } = ask(FsOp::List) else { panic!("no list") };
    assert!(entries.iter().any(|e| e.path == "zz"), "{entries:?}");
}

/// A sender made the receiver delete where it was not asked to.
#[test]
fn cve_2026_53789_only_the_user_decides_that_something_is_deleted_and_only_in_the_tree() {
    for delete in [false, true] {
        let (dir, source, dest) = dirs();
        put(dest.join("old/f"), b"old", 0);
        put(dir.path().join("outside/f"), b"kept", 0);
        symlink(dir.path().join("outside"), dest.join("out")).unwrap();
        let flags = Flags { delete, ..Flags::default() };
        let config = Config { flags, ..Config::new(1) };
        let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &config);
        run(&mut c, &mut s).unwrap();
        assert_eq!(picture(&dest).is_empty(), delete);
        assert_eq!(fs::read(dir.path().join("outside/f")).unwrap(), b"kept");
    }
    let flags = Flags { delete: true, ..Flags::default() };
    let config = Config { flags, ..Config::new(1) };
    assert!(raced_with(&config, true, "d", |op| matches!(op, FsOp::Prune { .. })) > 3);
    assert!(raced_with(&config, true, "d/sub", |op| matches!(op, FsOp::Prune { .. })) > 3);
}

/// A folder for parts of files was a planted link.
#[test]
fn cve_2026_70460_a_part_of_a_file_is_neither_left_nor_found_through_a_link() {
    let (dir, source, dest) = dirs();
    // Large enough for a part to be looked for, and the victim is a beginning of it.
    let all = noise(1, 1_200_000);
    put(source.join("f"), &all, 0);
    put(dir.path().join("victim"), &all[..100_000], 0);
    let part = format!(".syncscope-{:016x}.part", xxhash_rust::xxh3::xxh3_64(b"f"));
    let victim = fs::read(dir.path().join("victim")).unwrap();
    for link in [true, false] {
        let _ = fs::remove_file(dest.join(&part));
        let _ = fs::remove_file(dest.join("f"));
        match link {
            true => symlink("../victim", dest.join(&part)).unwrap(),
            false => fs::hard_link(dir.path().join("victim"), dest.join(&part)).unwrap(),
        }
        let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
        run(&mut c, &mut s).unwrap();
        assert!(fs::read(dest.join("f")).unwrap() == all, "link: {link}");
        assert!(fs::read(dir.path().join("victim")).unwrap() == victim, "link: {link}");
    }
}

/// A trailing backslash was not counted when a name was copied.
#[test]
fn cve_2026_70461_names_with_backslashes_and_quotes_are_taken_as_they_are() {
    let (_dir, source, dest) = dirs();
    for name in ["a\\", "\\", "b\\\\", "c\"'", "*", "[x", "new\nline", "-n", "~", "$(touch x)"] {
        put(source.join(name), name.as_bytes(), 0);
    }
    let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &Config::new(1));
    run(&mut c, &mut s).unwrap();
    assert_eq!((picture(&dest), c.failures()), (picture(&source), Vec::new()));
}

#[test]
fn pipes_devices_and_names_that_are_too_long_are_refused_and_reported() {
    let (_dir, source, dest) = dirs();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o600);
    nix::unistd::mkfifo(&dest.join("pipe"), mode).unwrap();
    std::os::unix::net::UnixListener::bind(dest.join("socket")).unwrap();
    let root = nix::unistd::geteuid().is_root();
    if root {
        let null = nix::sys::stat::makedev(1, 3);
        nix::sys::stat::mknod(&dest.join("device"), nix::sys::stat::SFlag::S_IFCHR, mode, null).unwrap();
    }
    let mut disk = Disk::new(&dest);
    let mut ask =
        |op| disk.execute(FsRequest { id: 1, phase: Default::default(), file: None, block: None, op });
    assert_eq!(ask(FsOp::Enter { path: String::new(), create: true, pick: Pick::default() }), FsReply::Done);
    for name in ["pipe", "socket", "device"].into_iter().take(if root { 3 } else { 2 }) {
        for op in [
            FsOp::OpenSource { path: name.to_owned() },
            FsOp::OpenBasis { path: name.to_owned() },
            FsOp::Keep { path: name.to_owned() },
            FsOp::MakeDir { path: name.to_owned() },
            FsOp::Symlink { path: name.to_owned(), target: "x".to_owned() },
            FsOp::SetAttr { path: name.to_owned(), mode: Some(0o777), mtime: Some(Mtime::default()) },
        ] {
            let said = format!("{op:?}");
            assert!(matches!(ask(op), FsReply::Failed(_)), "{said}");
        }
    }
    let long = "x".repeat(256);
    for path in [long.clone(), format!("{long}/f"), "d/".repeat(3000) + "f"] {
        for op in [
            FsOp::MakeDir { path: path.clone() },
            FsOp::Stat { path: path.clone() },
            FsOp::OpenBasis { path: path.clone() },
        ] {
            assert!(matches!(ask(op), FsReply::Failed(_)), "{} bytes", path.len());
        }
    }
    // A session says which.
    for name in ["pipe", "socket"] {
        put(source.join(name), b"file", 0);
    }
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    run(&mut c, &mut s).unwrap();
    let failed = c.failures();
    assert!(
        failed.len() == 2 && failed.iter().all(|f| f.1.contains("pipe or socket is in the way")),
        "{failed:?}"
    );
}
