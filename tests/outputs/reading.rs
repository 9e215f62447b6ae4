//! Reading that takes its time: the line on a terminal, and Ctrl-C.

use super::*;
use std::io::{Read, Write};
use std::process::Child;
use std::time::Duration;

/// The handler is there once the reading has begun.
pub fn when_caught(child: &Child) {
    let status = format!("/proc/{}/status", child.id());
    let caught = |mask: &str| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0;
    while !std::fs::read_to_string(&status)
        .unwrap()
        .lines()
        .any(|l| l.strip_prefix("SigCgt:").is_some_and(caught))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub fn interrupt(child: &Child) {
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
}

/// Begins to analyse what comes through a pipe; the pipe stays open, and silent after these bytes.
fn silent_pipe(args: &[&str], bytes: &[u8]) -> (Child, std::process::ChildStdin) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["analyze", "-"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(bytes).unwrap();
    stdin.flush().unwrap();
    when_caught(&child);
    // It sleeps only where nothing is left in the pipe; while it has work it runs, or wants to.
    let state = format!("/proc/{}/stat", child.id());
    while !std::fs::read_to_string(&state).unwrap().contains(") S ") {
        std::thread::sleep(Duration::from_millis(5));
    }
    (child, stdin)
}

fn report_of(mut child: Child) -> serde_json::Value {
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    serde_json::from_slice(&out).unwrap()
}

/// The user stops it: the report so far, and the code that says so. It waited for the next data of a pipe, or for the
/// end of a record.
#[test]
fn ctrl_c_gives_the_report_so_far() {
    let all = frames(STRACED);
    let bytes = pcap(&all);
    for cut in [0, 7] {
        let (child, stdin) = silent_pipe(&["--format", "json"], &bytes[..bytes.len() - cut]);
        interrupt(&child);
        let report = report_of(child);
        drop(stdin);
        let quality = report["quality"].as_array().unwrap();
        let q = quality.iter().find(|q| q["code"] == "interrupted").unwrap();
        let frames = all.len() - usize::from(cut > 0);
        let said = q["message"].as_str().unwrap();
        assert!(said.contains(&format!("reading was interrupted after {frames} frames")), "{said}");
        assert!(quality.iter().all(|q| q["code"] != "cut-file"), "{quality:?}");
        assert_eq!(report["inputs"][0]["frames"], frames);
    }
}

#[test]
fn ctrl_c_before_anything_came_is_no_broken_file() {
    let (mut child, stdin) = silent_pipe(&[], b"");
    interrupt(&child);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(
        (child.wait().unwrap().code(), said.trim()),
        (Some(130), "syncscope: interrupted before anything was read")
    );
    drop(stdin);
}

/// Evidence needs the packets twice: what came through the pipe was kept, and is written.
#[test]
fn an_interrupted_reading_writes_its_evidence_as_far_as_it_got() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("evidence.pcapng");
    let all = frames(SENDER);
    let (child, stdin) =
        silent_pipe(&["--format", "json", "--annotate-all", "--annotate", text(&out)], &pcap(&all));
    interrupt(&child);
    let report = report_of(child);
    drop(stdin);
    assert!(report["quality"].as_array().unwrap().iter().any(|q| q["code"] == "interrupted"), "{report}");
    assert!(report["findings"].as_array().is_some_and(|f| !f.is_empty()));
    assert_eq!(frames(&out).len(), all.len());
}

#[test]
fn off_a_terminal_nothing_is_said_while_reading() {
    let out = run(&["analyze", SENDER, "--fail-on", "never"]);
    assert_eq!(stderr(&out), "");
}
