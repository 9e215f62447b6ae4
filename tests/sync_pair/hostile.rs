//! A peer that lies: every answer is an error that names it, never a panic, never memory on its word.

use super::rig::{agree, noise, pair, put, run};
use super::{BOTH, dirs};
use std::collections::BTreeSet;
use std::fs;
use syncscope::sync::signature::{Strong, sums};
use syncscope::sync::wire::{Frame, Have, preamble};
use syncscope::sync::{
    Change, Config, Entry, FsOp, FsReply, FsRequest, Kind, Meta, Mode, Mtime, PeerFault, Pick, Session,
    SyncError,
};

const FILE: Meta = Meta { kind: Kind::File, size: 5000, mode: 0o644, mtime: Mtime { secs: 1, nanos: 0 } };

/// A disk made of answers: a tree of two files, of which one has a basis.
fn answers(r: &FsRequest) -> FsReply {
    let entry = |path: &str| Entry { path: path.to_owned(), meta: FILE, target: String::new(), inode: None };
    match &r.op {
        FsOp::List => FsReply::Listed { entries: vec![entry("a"), entry("b")], faults: vec![], last: true },
        FsOp::Stat { path } if path == "a" => FsReply::Stat(None),
        FsOp::Stat { .. } => FsReply::Stat(Some(Meta { size: 2000, ..FILE })),
        FsOp::FindPart { .. } => FsReply::Part(0),
        FsOp::OpenSource { .. } => FsReply::Opened(FILE),
        FsOp::OpenBasis { .. } => FsReply::Opened(Meta { size: 2000, ..FILE }),
        FsOp::ReadSource { offset, len, .. } => {
            FsReply::Data(noise(9, 5000)[*offset as usize..*offset as usize + *len as usize].to_vec())
        }
        FsOp::Sums { block_size, strong, .. } => FsReply::Sums(sums(&noise(9, 2000), *block_size, *strong)),
        FsOp::Hash => FsReply::Hash(*blake3::hash(&noise(9, 5000)).as_bytes()),
        _ => FsReply::Done,
    }
}

fn work(s: &mut Session) -> Result<(), SyncError> {
    while let Some(r) = s.poll_request() {
        s.handle_reply(r.id, answers(&r))?;
    }
    while s.poll_event().is_some() {}
    Ok(())
}

/// Feeds a whole conversation to one end, as one read, then the end of the stream.
fn listen(mut s: Session, bytes: &[u8]) -> Result<(), SyncError> {
    // Small pieces: an honest peer says goodbye only after this side's work is done.
    for piece in bytes.chunks(4) {
        work(&mut s)?;
        s.handle_input(piece)?;
        let n = s.poll_output(usize::MAX).len();
        s.consume_output(n);
    }
    work(&mut s)?;
    s.handle_eof()
}

/// An honest conversation: who, how another listener is made, and what it heard.
type Conversation = (&'static str, Box<dyn Fn() -> Session>, Vec<u8>);

fn conversations() -> Vec<Conversation> {
    let mut all: Vec<Conversation> = Vec::new();
    for (mode, names) in
        BOTH.into_iter().zip([["push client", "push server"], ["pull client", "pull server"]])
    {
        let nowhere = std::path::Path::new("/nowhere");
        let (mut c, mut s) = pair(mode, nowhere, nowhere, &Config::new(1));
        c.hook = Box::new(|r| Some(answers(r)));
        s.hook = Box::new(|r| Some(answers(r)));
        run(&mut c, &mut s).unwrap();
        assert_eq!(c.session.stats().changed, 2);
        all.push((names[0], Box::new(move || Session::client(mode, "", Config::new(1))), s.written));
        all.push((names[1], Box::new(|| Session::server(Config::new(1))), c.written));
    }
    all
}

#[test]
fn every_truncated_conversation_is_an_error() {
    for (who, listener, heard) in conversations() {
        assert_eq!(listen(listener(), &heard), Ok(()), "{who}: the honest one");
        for n in 0..heard.len() {
            let e = listen(listener(), &heard[..n]).expect_err(who);
            assert!(matches!(e, SyncError::Closed { .. }), "{who}, cut at {n}: {e}");
        }
    }
}

#[test]
fn no_garbled_byte_makes_a_panic_or_takes_memory() {
    let mut kinds = BTreeSet::new();
    for (who, listener, heard) in conversations() {
        for at in 0..heard.len() {
            // Inside of a literal only its hash can tell; a few of those bytes are enough.
            if heard.len() > 3000 && at % 7 != 0 && at > 300 && at < heard.len() - 300 {
                continue;
            }
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = heard.clone();
                bytes[at] ^= flip;
                alloc::reset();
                let result = listen(listener(), &bytes);
                let largest = alloc::largest();
                assert!(largest <= 1 << 20, "{who}, byte {at}: {largest} bytes at once, {result:?}");
                if let Err(e) = result {
                    kinds.insert(format!("{:?}", std::mem::discriminant(&e)));
                    let text = e.to_string();
                    assert!(!text.contains("internal error"), "{who}, byte {at}: {text}");
                }
            }
        }
    }
    assert!(kinds.len() >= 3, "{kinds:?}");
}

fn bytes(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut out = preamble(syncscope::sync::PROTOCOL).to_vec();
    frames.iter().for_each(|f| f.encode(&mut out));
    out
}

/// What a client that pulls says to these frames of a server.
fn receiver_says(frames: &[Frame<'_>]) -> SyncError {
    Session::client(Mode::Pull, "", Config::new(1)).handle_input(&bytes(frames)).unwrap_err()
}

/// What a client that pushes says to these frames of a server.
fn sender_says(frames: &[Frame<'_>]) -> SyncError {
    let mut s = Session::client(Mode::Push, "", Config::new(1));
    work(&mut s).unwrap();
    s.handle_input(&bytes(frames)).unwrap_err()
}

fn out_of_range(e: &SyncError, want: &str) {
    assert!(matches!(e, SyncError::Peer(PeerFault::OutOfRange { field, .. }) if *field == want), "{e}");
}

#[test]
fn numbers_that_point_nowhere_are_refused() {
    let entry = Frame::Entry { path: "a", meta: FILE, same_as: None, target: "" };
    let dir = Frame::Entry { path: "d", meta: Meta { kind: Kind::Dir, ..FILE }, same_as: None, target: "" };
    let end = Frame::ListEnd { entries: 1 };
    let begin = Frame::Begin { file: 0, meta: FILE, from: 0 };
    out_of_range(&receiver_says(&[entry, Frame::ListEnd { entries: 2 }]), "length of the list");
    out_of_range(
        &receiver_says(&[entry, end, Frame::Begin { file: 1, meta: FILE, from: 0 }]),
        "file that begins",
    );
    out_of_range(&receiver_says(&[dir, end, begin]), "file that begins");
    out_of_range(
        &receiver_says(&[entry, end, Frame::Failed { file: u32::MAX, reason: "" }]),
        "file that failed",
    );

    let unexpected = |e: SyncError, name: &str| {
        assert!(matches!(&e, SyncError::Peer(PeerFault::Unexpected { frame, .. }) if *frame == name), "{e}");
    };
    out_of_range(
        &receiver_says(&[entry, end, Frame::Begin { file: 0, meta: FILE, from: 5001 }]),
        "beginning of a file",
    );
    unexpected(receiver_says(&[entry, end, Frame::Literal(b"x")]), "literal");
    unexpected(receiver_says(&[entry, end, entry]), "entry");
    unexpected(receiver_says(&[entry, end, Frame::Goodbye]), "goodbye");
    unexpected(
        receiver_says(&[Frame::Request {
            file: 0,
            block_size: 0,
            len: 0,
            strong: Strong::Xxh3(0),
            strong_len: 8,
            have: Have::default(),
        }]),
        "request",
    );
    unexpected(sender_says(&[Frame::Finish(Default::default()), Frame::Goodbye]), "goodbye");
    unexpected(sender_says(&[begin]), "begin");

    let whole = |file| Frame::Request {
        file,
        block_size: 0,
        len: 0,
        strong: Strong::Xxh3(0),
        strong_len: 8,
        have: Have::default(),
    };
    out_of_range(&sender_says(&[whole(2)]), "requested file");
    out_of_range(
        &sender_says(&[Frame::Result { file: 9, change: Change::default(), reason: "" }]),
        "file of a result",
    );
    let delta = |block_size, len| Frame::Request {
        file: 0,
        block_size,
        len,
        strong: Strong::Xxh3(0),
        strong_len: 8,
        have: Have::default(),
    };
    out_of_range(&sender_says(&[delta(1, 1000)]), "block size");
    out_of_range(&sender_says(&[delta(1 << 30, 1000)]), "block size");
    out_of_range(&sender_says(&[delta(700, 0)]), "basis length");
    out_of_range(&sender_says(&[delta(700, u64::MAX)]), "basis length");
    let strong_len = |strong_len| Frame::Request {
        file: 0,
        block_size: 700,
        len: 1000,
        strong: Strong::Xxh3(0),
        strong_len,
        have: Have::default(),
    };
    out_of_range(&sender_says(&[strong_len(3)]), "length of strong sums");
    out_of_range(&sender_says(&[strong_len(9)]), "length of strong sums");
    let have = |len| Frame::Request {
        file: 0,
        block_size: 0,
        len: 0,
        strong: Strong::Xxh3(0),
        strong_len: 8,
        have: Have { len, hash: [1; 32] },
    };
    out_of_range(&sender_says(&[have(0)]), "bytes that are there");
    out_of_range(&sender_says(&[have(u64::MAX)]), "bytes that are there");
    unexpected(sender_says(&[delta(700, 1000), whole(1)]), "request");
    let e = sender_says(&[whole(1), whole(1), whole(1), whole(1)]);
    assert_eq!(e, PeerFault::TooMany("requests for one file").into());
    let results = vec![Frame::Result { file: 0, change: Change::default(), reason: "no" }; 5];
    assert_eq!(sender_says(&results), PeerFault::TooMany("results").into());
}

/// A receiver that has asked for "a" (whole) and "b" (basis of 2000 B in blocks of 700).
fn asked() -> Session {
    let mut s = Session::client(Mode::Pull, "", Config::new(1));
    let list = [
        Frame::Entry { path: "a", meta: FILE, same_as: None, target: "" },
        Frame::Entry { path: "b", meta: FILE, same_as: None, target: "" },
        Frame::ListEnd { entries: 2 },
    ];
    s.handle_input(&bytes(&list)).unwrap();
    work(&mut s).unwrap();
    s
}

#[test]
fn data_that_does_not_fit_its_request_is_refused() {
    let says = |frames: &[Frame<'_>]| {
        let mut s = asked();
        let mut out = Vec::new();
        frames.iter().for_each(|f| f.encode(&mut out));
        s.handle_input(&out).unwrap_err()
    };
    let begin = |file| Frame::Begin { file, meta: FILE, from: 0 };
    out_of_range(&says(&[begin(0), Frame::Copy { first: 0, count: 1 }]), "block to copy");
    out_of_range(&says(&[begin(1), Frame::Copy { first: 0, count: 4 }]), "block to copy");
    out_of_range(&says(&[begin(1), Frame::Copy { first: 2, count: u32::MAX }]), "block to copy");
    out_of_range(&says(&[begin(1), Frame::Copy { first: 1, count: 0 }]), "block to copy");
    out_of_range(&says(&[begin(0), Frame::Literal(&[0; 5001])]), "bytes of a file");
    let copy = Frame::Copy { first: 0, count: 3 };
    out_of_range(&says(&[begin(1), copy, copy, copy]), "bytes of a file");
    out_of_range(&says(&[begin(0), Frame::End { len: 7, hash: [0; 32], torn: false }]), "length of a file");
    let whole = [Frame::Literal(&[0; 5000]), Frame::End { len: 5000, hash: [0; 32], torn: false }];
    out_of_range(&says(&[begin(0), whole[0], whole[1], begin(0)]), "file that begins");
    out_of_range(&says(&[begin(0), Frame::Failed { file: 1, reason: "" }]), "file that failed");
}

#[test]
fn names_that_lead_out_of_the_tree_end_the_session() {
    let (dir, _, dest) = dirs();
    for path in ["../x", "/etc/x", "a/../../x", "", ".", "a//b", "a/./b", "nul\0", &"x".repeat(256)] {
        let frames =
            [Frame::Entry { path, meta: FILE, same_as: None, target: "" }, Frame::ListEnd { entries: 1 }];
        let e = receiver_says(&frames);
        assert!(matches!(&e, SyncError::Peer(PeerFault::Path(_))), "{path:?}: {e}");
    }
    // The disk does not rely on the session's check.
    let mut disk = syncscope::drive::files::Disk::new(&dest);
    let mut execute =
        |op| disk.execute(FsRequest { id: 1, phase: Default::default(), file: None, block: None, op });
    let create = true;
    assert_eq!(execute(FsOp::Enter { path: String::new(), create, pick: Pick::default() }), FsReply::Done);
    put(dir.path().join("secret"), b"secret", 0);
    for path in ["../secret", "/etc/passwd", "x/../../secret", "..", "a\0b"] {
        let path = path.to_owned();
        for op in [
            FsOp::OpenSource { path: path.clone() },
            FsOp::OpenBasis { path: path.clone() },
            FsOp::OpenTemp { path: path.clone(), from: 0, basis: false },
            FsOp::Keep { path: path.clone() },
            FsOp::HardLink { path: path.clone(), to: "x".to_owned() },
            FsOp::HardLink { path: "x".to_owned(), to: path.clone() },
            FsOp::Prune { path: path.clone(), keep: Default::default() },
            FsOp::MakeDir { path: path.clone() },
            FsOp::Stat { path: path.clone() },
            FsOp::Symlink { path: path.clone(), target: "x".to_owned() },
            FsOp::SetAttr { path: path.clone(), mode: Some(0o777), mtime: Some(Mtime::default()) },
            FsOp::Enter { path: path.clone(), create, pick: Pick::default() },
        ] {
            let said = format!("{op:?}");
            assert!(matches!(execute(op), FsReply::Failed(_)), "{said}");
        }
    }
    for target in ["/etc/passwd", "../secret", "a/../../secret", ""] {
        let op = FsOp::Symlink { path: "l".to_owned(), target: target.to_owned() };
        assert!(matches!(execute(op), FsReply::Failed(_)), "{target}");
    }
    assert_eq!(fs::read_dir(&dest).unwrap().count(), 0);
}

#[test]
fn a_flood_is_not_wanted_before_the_disk_has_kept_up() {
    // Nobody does the disk's work: how much does the session want to hold?
    let accepted = |mut s: Session, unit: &[u8]| {
        let mut total = 0usize;
        while s.wants_input() {
            s.handle_input(unit).unwrap();
            total += unit.len();
            assert!(total < 64 << 20, "no end");
        }
        total
    };
    let mut literals = Vec::new();
    Frame::Literal(&[7; 32_768]).encode(&mut literals);
    let mut receiver = asked();
    let mut begin = Vec::new();
    Frame::Begin { file: 0, meta: Meta { size: 1 << 40, ..FILE }, from: 0 }.encode(&mut begin);
    receiver.handle_input(&begin).unwrap();
    let held = accepted(receiver, &literals);
    assert!(held <= 2 << 20, "a receiver holds {held} bytes");

    // Requests for deltas, each with a signature of 20 000 blocks.
    let mut s = Session::client(Mode::Push, "", Config::new(1));
    let list = FsReply::Listed {
        entries: (0..500)
            .map(|i| Entry { path: format!("{i}"), meta: FILE, target: String::new(), inode: None })
            .collect(),
        faults: vec![],
        last: true,
    };
    let enter = s.poll_request().unwrap().id;
    s.handle_reply(enter, FsReply::Done).unwrap();
    let id = s.poll_request().unwrap().id;
    s.handle_reply(id, list).unwrap();
    s.handle_input(&preamble(syncscope::sync::PROTOCOL)).unwrap();
    let mut sums = Vec::new();
    let some = vec![Default::default(); 2000];
    (0..10).for_each(|_| syncscope::sync::wire::encode_sums(&some, 8, &mut sums));
    let mut held = 0;
    for file in 0..500 {
        if !s.wants_input() {
            break;
        }
        let mut request = Vec::new();
        Frame::Request {
            file,
            block_size: 700,
            len: 14_000_000,
            strong: Strong::Xxh3(1),
            strong_len: 8,
            have: Have::default(),
        }
        .encode(&mut request);
        request.extend_from_slice(&sums);
        s.handle_input(&request).unwrap();
        held += request.len();
    }
    assert!((1 << 19..2 << 20).contains(&held), "a sender holds {held} bytes");
}

#[test]
fn what_a_peer_says_cannot_steer_the_terminal() {
    let mut s = Session::client(Mode::Pull, "", Config::new(1));
    let evil = "\x1b]0;owned\x07\u{202e}";
    let frames = [Frame::ListFault { path: evil, reason: evil }, Frame::Abort { reason: evil }];
    let e = s.handle_input(&bytes(&frames)).unwrap_err();
    let said = format!("{e} {:?}", s.poll_event().unwrap());
    assert!(said.contains("owned") && !said.contains(['\x1b', '\x07', '\u{202e}']), "{said}");
    assert!(!said.contains("u{1b}"), "{said}");
}

#[test]
fn strangers_and_other_versions_are_told_so() {
    let mut s = Session::server(Config::new(1));
    let e = s.handle_input(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    assert_eq!(
        e.to_string(),
        "the peer is not a syncscope: it began with \"GET / HTTP/1.1..\"; check the address and the port"
    );

    // The server's greeting reaches the client even if the server gives up first.
    let mut server = Session::server(Config::new(1));
    let e = server.handle_input(&preamble(9)).unwrap_err();
    assert_eq!(
        e.to_string(),
        "the peer speaks sync protocol 9, this side 4; install the same syncscope version on both"
    );
    let mut client = Session::client(Mode::Push, "", Config::new(1));
    let e = client.handle_input(server.poll_output(usize::MAX)).unwrap_err();
    assert!(matches!(&e, SyncError::PeerAborted(why) if why.contains("sync protocol 9")), "{e}");
    let mut client = Session::client(Mode::Push, "", Config::new(1));
    let e = client.handle_input(&preamble(1)).unwrap_err();
    assert_eq!(e, SyncError::Version { ours: 4, theirs: 1 });
}

#[test]
fn a_driver_that_answers_wrongly_is_told_that_it_is_our_bug() {
    let mut s = Session::client(Mode::Push, "", Config::new(1));
    let id = s.poll_request().unwrap().id;
    assert!(s.poll_request().is_none(), "one at a time");
    assert!(matches!(s.handle_reply(id + 1, FsReply::Done), Err(SyncError::Bug(_))));
    let mut s = Session::client(Mode::Push, "", Config::new(1));
    let id = s.poll_request().unwrap().id;
    assert!(matches!(s.handle_reply(id, FsReply::Hash([0; 32])), Err(SyncError::Bug(_))));
}

#[test]
fn thirty_thousand_failures_do_not_stop_the_flow() {
    // All of them fail at the sender: frames that need no disk must not pile up.
    let dir = tempfile::tempdir().unwrap();
    let (mut c, mut s) = pair(Mode::Push, dir.path(), dir.path(), &Config::new(1));
    let mut listed = 0;
    c.hook = Box::new(move |r| {
        Some(match &r.op {
            FsOp::List => {
                listed += 1;
                let entries = (0..1000).map(|i| Entry {
                    path: format!("{listed}/{i}"),
                    meta: FILE,
                    inode: None,
                    target: String::new(),
                });
                FsReply::Listed { entries: entries.collect(), faults: vec![], last: listed == 30 }
            }
            FsOp::Enter { .. } => FsReply::Done,
            _ => FsReply::Failed(syncscope::sync::FsError::new(
                syncscope::sync::FsErrorKind::Denied,
                "denied ".repeat(50),
            )),
        })
    });
    s.hook = Box::new(|r| match &r.op {
        FsOp::Stat { .. } => Some(FsReply::Stat(None)),
        _ => None,
    });
    run(&mut c, &mut s).unwrap();
    assert_eq!(agree(&c, &s).failed, 30_000);
}

/// The largest single allocation of this thread.
mod alloc {
    #![allow(unsafe_code, reason = "a global allocator that only watches")]
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::cell::Cell;

    thread_local! {
        static LARGEST: Cell<usize> = const { Cell::new(0) };
    }

    struct Watch;

    #[global_allocator]
    static WATCH: Watch = Watch;

    fn note(n: usize) {
        let _ = LARGEST.try_with(|l| l.set(l.get().max(n)));
    }

    // SAFETY: everything is handed to the system's allocator as it came.
    unsafe impl GlobalAlloc for Watch {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            note(layout.size());
            // SAFETY: the caller's promise is passed on.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
            // SAFETY: the caller's promise is passed on.
            unsafe { System.dealloc(ptr, layout) }
        }

        unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
            note(new_size);
            // SAFETY: the caller's promise is passed on.
            unsafe { System.realloc(ptr, layout, new_size) }
        }
    }

    pub fn reset() {
        LARGEST.with(|l| l.set(0));
    }

    pub fn largest() -> usize {
        LARGEST.with(Cell::get)
    }
}
