//! `-o`: a file that is whole or not there.

use super::*;
use std::os::unix::fs::symlink;

#[test]
fn the_form_follows_the_name_and_the_content_is_that_of_stdout() {
    let dir = tempfile::tempdir().unwrap();
    for (name, format) in [("r.json", "json"), ("r.ndjson", "ndjson"), ("r.txt", "text"), ("r", "text")] {
        let path = dir.path().join(name);
        let out = run(&["analyze", SENDER, "-o", text(&path)]);
        assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
        assert_eq!(stdout(&out), "");
        let printed = run(&["analyze", SENDER, "--format", format, "-o", "-"]);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), stdout(&printed), "{name}");
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "no part of a file stays: {left:?}");
}

#[test]
fn a_stored_report_is_written_in_another_form() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a.json"), dir.path().join("b.ndjson"));
    run(&["analyze", SENDER, "-o", text(&a)]);
    assert_eq!(run(&["view", text(&a), "-o", text(&b)]).status.code(), Some(0));
    assert_eq!(
        std::fs::read_to_string(&b).unwrap(),
        stdout(&run(&["analyze", SENDER, "--format", "ndjson"]))
    );
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("no/such/r.json");
    let out = run(&["analyze", "/nowhere.pcap", "-o", text(&missing)]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("there is no folder"), "{}", stderr(&out));
    assert!(stderr(&out).contains("mkdir -p"), "{}", stderr(&out));
    let out = run(&["analyze", "/nowhere.pcap", "-o", text(dir.path())]);
    assert!(stderr(&out).contains("it is a folder"), "{}", stderr(&out));
}

#[test]
fn a_failure_leaves_the_old_file_and_a_link_stays_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let real = put(dir.path(), "real.json", b"old");
    let link = dir.path().join("link.json");
    symlink(&real, &link).unwrap();
    assert_eq!(run(&["analyze", "/nowhere.pcap", "-o", text(&link)]).status.code(), Some(2));
    assert_eq!(std::fs::read(&real).unwrap(), b"old");
    run(&["analyze", SENDER, "-o", text(&link)]);
    assert!(link.symlink_metadata().unwrap().file_type().is_symlink());
    assert!(std::fs::read_to_string(&real).unwrap().starts_with("{\"meta\""));
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let out = run(&["analyze", SENDER, "--format", "json", "-o", "/dev/stdout"]);
    assert_eq!(json(&out)["meta"]["schema"], "syncscope.report/1");
    assert!(std::fs::metadata("/dev/null").is_ok());
    assert_eq!(run(&["analyze", SENDER, "-o", "/dev/null"]).status.code(), Some(1));
    use std::os::unix::fs::FileTypeExt;
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn errors_show_no_control_bytes_of_file_names() {
    let out = run(&["analyze", "/nowhere\x1b]0;owned\x07\u{202e}.pcap"]);
    assert_eq!(out.status.code(), Some(2));
    let said = stderr(&out);
    assert!(said.chars().all(|c| c == '\n' || (!c.is_control() && c != '\u{202e}')), "{said:?}");
}
