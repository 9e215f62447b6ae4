//! Nothing in the README is untested: its picture is a snapshot of the screens, its commands run,
//! and what it shows of their output is what they print.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn readme() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// Fenced blocks with their language.
fn blocks(text: &str) -> Vec<(String, Vec<String>)> {
    let mut out: Vec<(String, Vec<String>)> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(lang), false) => {
                out.push((lang.to_owned(), Vec::new()));
                inside = true;
            }
            (Some(_), true) => inside = false,
            (None, true) => out.last_mut().unwrap().1.push(line.to_owned()),
            (None, false) => {}
        }
    }
    assert!(!inside, "a block is not closed");
    out
}

fn run(args: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(args)
        .current_dir(root())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    (out.status.code().unwrap(), String::from_utf8(out.stdout).unwrap())
}

#[test]
fn the_picture_is_a_snapshot_of_the_screens() {
    let snapshot = std::fs::read_to_string(root().join("tests/snapshots/screens__main_80x24.snap")).unwrap();
    let drawn: Vec<&str> =
        snapshot.lines().filter_map(|l| l.strip_prefix('"')?.strip_suffix('"')).map(str::trim_end).collect();
    assert_eq!(drawn.len(), 24);
    let all = blocks(&readme());
    let shown = all.iter().find(|b| b.0 == "text" && b.1.iter().any(|l| l.contains("incidents"))).unwrap();
    let shown: Vec<&str> = shown.1.iter().map(|l| l.trim_end()).collect();
    assert_eq!(shown, drawn);
}

#[test]
fn the_answer_to_the_field_report_is_what_analyze_prints() {
    let all = blocks(&readme());
    let shown = &all.iter().find(|b| b.1.iter().any(|l| l.starts_with("DEGRADED"))).unwrap().1;
    let command = shown[0].strip_prefix("$ syncscope ").unwrap();
    let mut command = command.to_owned();
    let mut rest = &shown[1..];
    while command.ends_with('\\') {
        command.pop();
        command.push_str(rest[0].trim());
        rest = &rest[1..];
    }
    let args: Vec<&str> = command.split_whitespace().collect();
    let (code, out) = run(&args);
    assert_eq!(code, 1, "findings make exit 1");
    let printed: Vec<&str> = out.lines().collect();
    assert_eq!(rest.iter().map(String::as_str).collect::<Vec<_>>(), printed[..rest.len()]);
}

/// Every `syncscope …` line of the shell blocks names a command and flags that exist.
#[test]
fn every_command_line_is_understood() {
    let mut seen = 0;
    for (_, lines) in blocks(&readme()).into_iter().filter(|b| b.0 == "sh") {
        for line in lines.iter().filter(|l| l.contains("syncscope ")) {
            let line = line.split('#').next().unwrap().split(" -- ").next().unwrap();
            let words: Vec<&str> = line.split("syncscope ").nth(1).unwrap().split_whitespace().collect();
            let (code, help) = run(&[words[0], "--help"]);
            assert_eq!(code, 0, "{line}");
            for flag in words.iter().filter(|w| w.starts_with("--")) {
                assert!(help.contains(flag), "{flag} in `{line}`");
            }
            seen += 1;
        }
    }
    assert!(seen >= 6, "only {seen} command lines");
}

#[test]
fn the_recipe_for_two_hosts_works() {
    let dir = tempfile::tempdir().unwrap();
    let (photos, copy, record) =
        (dir.path().join("photos"), dir.path().join("copy"), dir.path().join("record"));
    std::fs::create_dir(&photos).unwrap();
    std::fs::write(photos.join("a.jpg"), vec![7; 300_000]).unwrap();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = format!("127.0.0.1:{port}");
    let mut serve = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["serve", "--listen", &listen])
        .arg(&photos)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..200 {
        if std::net::TcpStream::connect(&listen).is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = |p: &Path| p.to_str().unwrap().to_owned();
    let (code, out) =
        run(&["sync", &format!("{listen}:"), &text(&copy), "--record", &text(&record), "--format", "text"]);
    serve.kill().unwrap();
    serve.wait().unwrap();
    assert_eq!(code, 0, "{out}");
    assert!(out.starts_with("HEALTHY"), "{out}");
    assert_eq!(std::fs::read(copy.join("a.jpg")).unwrap(), vec![7; 300_000]);
    assert_eq!(run(&["view", &text(&record)]).1, out);
}
