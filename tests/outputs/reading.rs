//! Reading that takes its time: the line on a terminal, and Ctrl-C.

use super::*;
use std::io::{Read, Write};
use std::time::Duration;

/// The user stops it: the report so far, and the code that says so.
#[test]
fn ctrl_c_gives_the_report_so_far() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["analyze", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let all = frames(STRACED);
    stdin.write_all(&pcap(&all)).unwrap();
    stdin.flush().unwrap();
    // The handler is there once the reading has begun.
    let status = format!("/proc/{}/status", child.id());
    let caught = |mask: &str| u64::from_str_radix(mask.trim(), 16).unwrap() & 2 != 0;
    while !std::fs::read_to_string(&status)
        .unwrap()
        .lines()
        .any(|l| l.strip_prefix("SigCgt:").is_some_and(caught))
    {
        std::thread::sleep(Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    // It looks up every few thousand frames, whatever they are; the writer may find it gone.
    let more = pcap(&all)[24..].to_vec();
    let writer = std::thread::spawn(move || {
        let _ = (0..2_000).try_for_each(|_| stdin.write_all(&more));
    });
    let mut out = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    writer.join().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let q = report["quality"].as_array().unwrap().iter().find(|q| q["code"] == "interrupted").unwrap();
    assert!(q["message"].as_str().unwrap().contains("reading was interrupted after"), "{q}");
    let frames = report["inputs"][0]["frames"].as_u64().unwrap();
    assert!(frames >= all.len() as u64 && frames < 2_000 * all.len() as u64, "{frames}");
}

#[test]
fn off_a_terminal_nothing_is_said_while_reading() {
    let out = run(&["analyze", SENDER, "--fail-on", "never"]);
    assert_eq!(stderr(&out), "");
}
