//! Lengths, counts and indices that lie. The session is asked directly: it must refuse before it does anything.

use crate::dirs;
use crate::rig::{noise, pair, put, run};
use syncscope::sync::index::Index;
use syncscope::sync::signature::{BlockSum, Layout, Strong};
use syncscope::sync::wire::{Frame, Have, decode, preamble};
use syncscope::sync::{
    Change, Config, Entry, FsOp, FsReply, Kind, Limits, Meta, Mode, Mtime, PROTOCOL, PeerFault, Session,
    SyncError,
};

const FILE: Meta = Meta { kind: Kind::File, size: 5000, mode: 0o644, mtime: Mtime { secs: 1, nanos: 0 } };

fn bytes(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = preamble(PROTOCOL).to_vec();
    frames.iter().for_each(|f| f.encode(&mut out));
    out
}

/// One end that sends two files, after its list.
fn sender() -> Session {
    let mut s = Session::client(Mode::Push, "", Config::new(1));
    while let Some(r) = s.poll_request() {
        let entry =
            |path: &str| Entry { path: path.to_owned(), meta: FILE, target: String::new(), inode: None };
        let reply = match r.op {
            FsOp::List => {
                FsReply::Listed { entries: vec![entry("a"), entry("b")], faults: vec![], last: true }
            }
            _ => FsReply::Done,
        };
        s.handle_reply(r.id, reply).unwrap();
    }
    s
}

fn sender_says(frames: &[Frame<'_>]) -> SyncError {
    sender().handle_input(&bytes(frames)).unwrap_err()
}

fn receiver_says(frames: &[Frame<'_>]) -> SyncError {
    Session::client(Mode::Pull, "", Config::new(1)).handle_input(&bytes(frames)).unwrap_err()
}

fn field(e: &SyncError) -> &'static str {
    match e {
        SyncError::Peer(PeerFault::OutOfRange { field, .. }) => field,
        other => panic!("{other}"),
    }
}

fn request(block_size: u32, len: u64, strong_len: u8) -> Frame<'static> {
    Frame::Request { file: 0, block_size, len, strong: Strong::Xxh3(1), strong_len, have: Have::default() }
}

/// A sum's length was the peer's, and larger than the room for it.
#[test]
fn cve_2024_12084_a_sum_is_as_long_as_there_is_room_for() {
    for strong_len in (0..4).chain(9..=255) {
        assert_eq!(field(&sender_says(&[request(700, 1000, strong_len)])), "length of strong sums");
    }
    // Counts and sizes whose product overflows.
    for (block_size, len) in [(64, u64::MAX), (262_144, u64::MAX), (700, (700u64 << 19) + 1), (u32::MAX, 1)] {
        assert!(
            ["basis length", "block size"].contains(&field(&sender_says(&[request(block_size, len, 8)])))
        );
    }
    // More sums than blocks.
    let mut sums = bytes(&[request(700, 1000, 8)]);
    syncscope::sync::wire::encode_sums(&[BlockSum::default(); 3], 8, &mut sums);
    assert_eq!(sender().handle_input(&sums), Err(PeerFault::TooMany("block sums").into()));
}

/// Sums of which a part was never sent were compared with what lay in memory.
#[test]
fn cve_2024_12085_no_byte_of_a_sum_is_compared_that_was_not_sent() {
    for cut in 1..12 {
        let mut sums = Vec::new();
        syncscope::sync::wire::encode_sums(&[BlockSum::default(); 2], 8, &mut sums);
        sums.truncate(sums.len() - cut);
        let len = (sums.len() - 5) as u32;
        sums[1..5].copy_from_slice(&len.to_le_bytes());
        let said = sender().handle_input(&[bytes(&[request(700, 1000, 8)]), sums].concat());
        assert_eq!(said, Err(PeerFault::Malformed("sums").into()), "{cut} bytes missing");
    }
    // A signature that is not complete is not searched with: nothing is read for it.
    let mut some = bytes(&[request(700, 5000, 8)]);
    syncscope::sync::wire::encode_sums(&[BlockSum::default(); 3], 8, &mut some);
    let mut s = sender();
    s.handle_input(&some).unwrap();
    assert!(s.poll_request().is_none());
}

/// Blocks of no length, and more than none of them.
#[test]
fn cve_2026_53792_a_block_has_a_length() {
    assert_eq!(field(&sender_says(&[request(0, 1000, 8)])), "basis length");
    assert_eq!(field(&sender_says(&[request(1, 1000, 8)])), "block size");
    let e = Session::server(Config::new(1)).handle_input(&hello(&[(4, 1)])).unwrap_err();
    assert_eq!(field(&e), "block size");
}

/// A client's greeting with some of its payload's bytes set.
fn hello(set: &[(usize, u8)]) -> Vec<u8> {
    let client = Session::client(Mode::Push, "", Config::new(1));
    let mut out = client.poll_output(4096).to_vec();
    for (at, value) in set {
        out[8 + 5 + at] = *value;
    }
    out
}

/// What was announced was believed, and memory taken for it.
#[test]
fn cve_2026_53794_no_memory_on_a_peers_word() {
    for kind in 1..=15 {
        let e = decode(&[kind, 0xff, 0xff, 0xff, 0xff]).unwrap_err();
        assert!(matches!(e, PeerFault::TooLong { max, .. } if max <= 65_536), "{e}");
    }
    // Half a million blocks announced in 33 bytes: room for the first few only.
    let index = Index::new(Layout::new(u64::MAX, 64), Strong::Xxh3(1));
    assert_eq!(index.layout().count(), 1 << 19);
    assert!(index.bytes() <= 1 << 20, "{} bytes", index.bytes());
    // A file of 2^62 bytes: only what arrives is written.
    let huge = Meta { size: 1 << 62, ..FILE };
    let mut s = Session::client(Mode::Pull, "", Config::new(1));
    let list =
        [Frame::Entry { path: "a", meta: huge, same_as: None, target: "" }, Frame::ListEnd { entries: 1 }];
    s.handle_input(&bytes(&list)).unwrap();
    let beyond = Meta { size: 1 << 63, ..FILE };
    assert_eq!(
        field(&receiver_says(&[Frame::Entry { path: "a", meta: beyond, same_as: None, target: "" }])),
        "file size"
    );
}

/// A counter of tokens wrapped around; here it is a run of blocks.
#[test]
fn cve_2026_43618_a_run_of_blocks_does_not_wrap_around() {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), &noise(1, 5000), 0);
    put(dest.join("f"), &noise(2, 5000), 9);
    for (first, count) in [(0, 0), (0, 9), (8, 1), (1, u32::MAX), (u32::MAX, 1), (u32::MAX, u32::MAX)] {
        let (mut c, _) = pair(Mode::Pull, &source, &dest, &Config::new(1));
        let list = [
            Frame::Entry { path: "f", meta: FILE, same_as: None, target: "" },
            Frame::ListEnd { entries: 1 },
        ];
        c.session.handle_input(&bytes(&list)).unwrap();
        c.work(100).unwrap();
        let mut lie = Vec::new();
        Frame::Begin { file: 0, meta: FILE, from: 0 }.encode(&mut lie);
        Frame::Copy { first, count }.encode(&mut lie);
        let e = c.session.handle_input(&lie).unwrap_err();
        assert_eq!(field(&e), "block to copy", "{first} + {count}");
    }
}

/// An index before the beginning of the list.
#[test]
fn cve_2026_43620_an_index_points_into_the_list() {
    let end = Frame::ListEnd { entries: 0 };
    for file in [0, 1, i32::MAX as u32, u32::MAX] {
        assert_eq!(field(&receiver_says(&[Frame::Begin { file, meta: FILE, from: 0 }])), "file that begins");
        assert_eq!(
            field(&receiver_says(&[end, Frame::Begin { file, meta: FILE, from: 0 }])),
            "file that begins"
        );
        assert_eq!(field(&receiver_says(&[end, Frame::Failed { file, reason: "" }])), "file that failed");
        if file > 1 {
            let request = Frame::Request {
                file,
                block_size: 0,
                len: 0,
                strong: Strong::Xxh3(1),
                strong_len: 8,
                have: Have::default(),
            };
            assert_eq!(field(&sender_says(&[request])), "requested file");
            assert_eq!(
                field(&sender_says(&[Frame::Result { file, change: Change::default(), reason: "" }])),
                "file of a result"
            );
        }
    }
}

/// A root "." that is no directory.
#[test]
fn cve_2026_70459_the_root_is_no_entry_and_a_parent_is_a_directory() {
    for path in [".", "", "./a", "a/.", "/"] {
        let e = receiver_says(&[Frame::Entry { path, meta: FILE, same_as: None, target: "" }]);
        assert!(matches!(e, SyncError::Peer(PeerFault::Path(_))), "{path:?}: {e}");
    }
    // A file as the parent of another one: that one fails alone.
    let (_dir, source, dest) = dirs();
    put(source.join("a"), b"file", 0);
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    let entry = |path: &str| Entry {
        path: path.to_owned(),
        meta: Meta { size: 4, ..FILE },
        target: String::new(),
        inode: None,
    };
    let entries = vec![entry("a"), entry("a/b")];
    c.hook = Box::new(move |r| match r.op {
        FsOp::List => Some(FsReply::Listed { entries: entries.clone(), faults: vec![], last: true }),
        _ => None,
    });
    run(&mut c, &mut s).unwrap();
    let failed = c.failures();
    assert!(failed.len() == 1 && failed[0].0 == "a/b", "{failed:?}");
    assert_eq!(std::fs::read(dest.join("a")).unwrap(), b"file");
}

/// An entry that used a feature which was not agreed on.
#[test]
fn cve_2026_70458_flags_that_nobody_agreed_on_are_refused() {
    assert!(Session::server(Config::new(1)).handle_input(&hello(&[])).is_ok());
    for bad in [(1, 2), (2, 2), (2, 0xff), (3, 1), (0, 2), (9, 0x10), (11, 1)] {
        let said = Session::server(Config::new(1)).handle_input(&hello(&[bad]));
        assert!(matches!(said, Err(SyncError::Peer(_))), "byte {} is {}: {said:?}", bad.0, bad.1);
    }
    // The bytes of an entry that mean nothing are no place for something.
    let mut entry = bytes(&[Frame::Entry { path: "a", meta: FILE, same_as: None, target: "" }]);
    for at in 1..4 {
        entry[8 + 5 + at] = 1;
        let said = Session::client(Mode::Pull, "", Config::new(1)).handle_input(&entry);
        assert!(matches!(said, Err(SyncError::Peer(_))), "{said:?}");
        entry[8 + 5 + at] = 0;
    }
    entry[8 + 5] = 3;
    assert!(Session::client(Mode::Pull, "", Config::new(1)).handle_input(&entry).is_err(), "a device");
}

/// Blocks with equal weak sums made the search quadratic.
#[test]
fn cve_2026_70453_equal_weak_sums_cost_no_more_than_their_number() {
    let cpu = || {
        let t = nix::time::clock_gettime(nix::time::ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap();
        t.tv_sec() as f64 + t.tv_nsec() as f64 / 1e9
    };
    // Zeros have the weak sum of each of these, and the strong sum of none. The source is short: later the search
    // skips ahead, and that would hide it.
    let search = |blocks: usize| {
        let weak = BlockSum::of(&[0; 512], Strong::Xxh3(1)).weak;
        let mut index = Index::new(Layout::new(512 * blocks as u64, 512), Strong::Xxh3(1));
        index.extend((0..blocks as u64).map(|i| BlockSum { weak, strong: i }));
        let source = vec![0; 400_000];
        let began = cpu();
        let ops = syncscope::sync::delta::delta(&source, index);
        assert!(!ops.is_empty());
        cpu() - began
    };
    search(200);
    let (few, many) = (search(200), search(16_000));
    // With a look at each of them it would be 80 times as much.
    assert!(many < 12.0 * few.max(0.001), "{few} s and {many} s");
}

#[test]
fn a_list_beyond_the_limits_of_this_side_is_refused_or_skipped() {
    let says = |limits: Limits, frames: &[Frame<'_>]| {
        let client = Session::client(Mode::Push, "", Config::new(1));
        let mut server = Session::server(Config { limits, ..Config::new(1) });
        server.handle_input(client.poll_output(4096)).unwrap();
        let mut frames_only = Vec::new();
        frames.iter().for_each(|f| f.encode(&mut frames_only));
        server.handle_input(&frames_only)
    };
    let file = |path| Frame::Entry { path, meta: FILE, same_as: None, target: "" };
    let few = Limits { entries: 2, ..Limits::default() };
    assert_eq!(says(few, &[file("a"), file("b")]), Ok(()));
    let too_many = |what| Err(SyncError::from(PeerFault::TooMany(what)));
    assert_eq!(says(few, &[file("a"), file("b"), file("c")]), too_many("list entries"));
    let fault = Frame::ListFault { path: "a", reason: "" };
    assert_eq!(says(few, &[fault, fault, fault]), too_many("list entries"));
    let little = Limits { bytes: 10_000, ..Limits::default() };
    assert_eq!(says(little, &[file("a"), file("b")]), Ok(()));
    assert_eq!(says(little, &[file("a"), file("b"), file("c")]), too_many("bytes of files"));

    // A large or deep one is skipped, the others go on.
    let (_dir, source, dest) = dirs();
    put(source.join("large"), &noise(1, 5001), 0);
    put(source.join("d/e/f/deep"), b"x", 0);
    put(source.join("fits"), &noise(2, 5000), 0);
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config::new(1));
    let limits = Limits { file: 5000, depth: 3, ..Limits::default() };
    s.session = Session::server(Config { limits, ..Config::new(2) });
    run(&mut c, &mut s).unwrap();
    let mut failed = c.failures();
    failed.sort();
    let said: Vec<String> = failed.into_iter().map(|f| format!("{}: {}", f.0, f.1)).collect();
    assert_eq!(
        said,
        [
            "d/e/f/deep: skipped: 4 levels deep, at most 3 are taken here",
            "large: skipped: 5001 bytes, at most 5000 are taken here",
        ]
    );
    assert_eq!(std::fs::read(dest.join("fits")).unwrap(), noise(2, 5000));
}

/// Any number was listed for whoever asked.
#[test]
fn a_server_lists_no_more_for_a_pull_than_it_takes_in_a_push() {
    let (_dir, source, dest) = dirs();
    (0..6).for_each(|i| put(source.join(format!("many/{i}")), b"x", 0));
    put(source.join("few/f"), b"x", 0);
    // "many", "few", and what is in them; the folder itself is none.
    for (entries, path, listed) in [(9, "", true), (8, "", false), (6, "many", true), (5, "many", false)] {
        let limits = Limits { entries, ..Limits::default() };
        let (mut c, mut s) = pair(Mode::Pull, &source, &dest, &Config::new(1));
        c.session = Session::client(Mode::Pull, path, Config::new(1));
        s.session = Session::server(Config { limits, ..Config::new(2) });
        match run(&mut c, &mut s) {
            Ok(()) => assert!(listed, "{entries} {path:?}"),
            Err((who, e)) => {
                assert!(!listed && who == "server", "{who}: {e}");
                let name = if path.is_empty() { "." } else { path };
                let said = e.to_string();
                for words in [
                    &format!("{name:?}"),
                    &format!("more than {entries} entries"),
                    "pull a folder of it",
                    "--max-files",
                ] {
                    assert!(said.contains(words), "{words}: {said}");
                }
            }
        }
    }
    // A client lists its own, however much.
    let own = Limits { entries: 1, ..Limits::default() };
    let (mut c, mut s) = pair(Mode::Push, &source, &dest, &Config { limits: own, ..Config::new(1) });
    run(&mut c, &mut s).unwrap();
}

#[test]
fn nothing_is_pushed_to_what_is_served_read_only() {
    let (_dir, source, dest) = dirs();
    put(source.join("f"), b"f", 0);
    for (mode, refused) in [(Mode::Push, true), (Mode::Pull, false)] {
        let (mut c, mut s) = pair(mode, &source, &dest, &Config::new(1));
        s.session = Session::server(Config { read_only: true, ..Config::new(2) });
        let result = run(&mut c, &mut s);
        assert_eq!(result.is_err(), refused, "{mode:?}: {result:?}");
        assert_eq!(dest.join("f").exists(), !refused);
    }
}
