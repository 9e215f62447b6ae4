//! `analyze --follow`: a capture is explained while it is written.

use super::reading::{interrupt, when_caught};
use super::*;
use std::io::{BufRead, BufReader, Write};
use std::time::Duration;

fn follow(args: &[&str], stdin: Stdio) -> std::process::Child {
    let child = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["analyze", "--follow"])
        .args(args)
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    when_caught(&child);
    child
}

/// Waits for a report of so many frames in a file that is written again and again.
fn until(path: &Path, frames: u64) -> serde_json::Value {
    for _ in 0..6000 {
        let report =
            std::fs::read(path).ok().and_then(|b| serde_json::from_slice::<serde_json::Value>(&b).ok());
        if let Some(r) = report.filter(|r| r["inputs"][0]["frames"] == frames) {
            return r;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("no report of {frames} frames");
}

fn append(path: &Path, bytes: &[u8]) {
    std::fs::File::options().append(true).open(path).unwrap().write_all(bytes).unwrap();
}

/// The file has no header at first, then ends in the middle of a record; the report is that of the whole in the end.
#[test]
fn a_file_that_is_written_is_explained_as_far_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let all = frames(STRACED);
    let bytes = pcap(&all);
    let half = all[..all.len() / 2].len() as u64;
    let at = pcap(&all[..all.len() / 2]).len();
    let (file, out) = (put(dir.path(), "grows.pcap", &bytes[..10]), dir.path().join("out.json"));
    let mut child = follow(&[text(&file), "-o", text(&out)], Stdio::null());
    append(&file, &bytes[10..at + 20]);
    let report = until(&out, half);
    assert_eq!(report["meta"]["live"], true);
    append(&file, &bytes[at + 20..]);
    until(&out, all.len() as u64);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let (mut last, mut whole) =
        (until(&out, all.len() as u64), json(&run(&["analyze", text(&file), "--format", "json"])));
    assert!(last["meta"].get("live").is_none());
    for r in [&mut last, &mut whole] {
        r["meta"]["title"].take();
    }
    assert_eq!(last, whole);
}

/// `tcpdump -C` and `-G` begin another file; in a folder it is found, and frames are numbered through.
#[test]
fn a_rotating_capture_is_followed_from_file_to_file() {
    let dir = tempfile::tempdir().unwrap();
    let all = frames(STRACED);
    let (first, rest) = all.split_at(all.len() / 3);
    let folder = dir.path().join("rotating");
    let shorter = pcap(&first[..first.len() - 1]);
    put(&folder, "a.pcap", &shorter);
    put(&folder, "notes.txt", b"not a capture, but long enough to be looked at");
    // the report itself is no successor of the capture
    let out = folder.join("out.json");
    let mut child = follow(&[text(&folder), "-o", text(&out)], Stdio::null());
    until(&out, first.len() as u64 - 1);
    append(&folder.join("a.pcap"), &pcap(first)[shorter.len()..]);
    until(&out, first.len() as u64);
    put(&folder, "b.pcap", &pcap(rest));
    let report = until(&out, all.len() as u64);
    assert_eq!(report["inputs"][0]["files"][1]["first_frame"], first.len() as u64 + 1);
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// A pipe ends with its writer: no interruption, and the news before the report are no part of it.
#[test]
fn a_pipe_is_followed_to_its_end_and_its_news_are_told_as_they_come() {
    let dir = tempfile::tempdir().unwrap();
    let all = pcap(&frames(SENDER));
    let mut child = follow(&["-", "--format", "ndjson", "--fail-on", "never"], Stdio::piped());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&all).unwrap();
    stdin.flush().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("\"meta\"") && first.contains("\"live\":true"), "{first}");
    drop(stdin);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let news = rest.iter().position(|l| l.contains("\"type\":\"meta\"")).unwrap();
    assert!(rest[..news].iter().any(|l| l.contains("\"type\":\"finding\"")), "{rest:#?}");
    let stored = put(dir.path(), "told.ndjson", [vec![first], rest].concat().join("\n").as_bytes());
    let loaded = json(&run(&["view", text(&stored), "--format", "json"]));
    let whole = json(&run(&["analyze", SENDER, "--format", "json"]));
    assert_eq!(loaded["inputs"][0]["name"], "standard input");
    assert_eq!((&loaded["findings"], &loaded["verdict"]), (&whole["findings"], &whole["verdict"]));
}

#[test]
fn what_cannot_be_followed_is_said_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let packed = put(dir.path(), "a.pcap.gz", &gz(&pcap(&frames(STRACED))));
    let out = dir.path().join("x.pcapng");
    for (args, why) in [
        (vec![text(&packed)], "only pcap and pcapng files can be followed, and this is pcap.gz"),
        (vec![STRACED, "--annotate", text(&out)], "without --annotate and --redact"),
        (vec!["/no/such/file"], "/no/such/file: No such file"),
    ] {
        let said = run(&[vec!["analyze", "--follow"], args].concat());
        assert_eq!(said.status.code(), Some(2));
        assert!(stderr(&said).contains(why), "{}", stderr(&said));
    }
}
