//! Many files and folders as one capture.

use super::*;
use serde_json::Value;

/// The report without what names files.
fn bare(mut v: Value) -> Value {
    v["meta"]["title"] = Value::Null;
    for i in v["inputs"].as_array_mut().unwrap() {
        for k in ["name", "files"] {
            i.as_object_mut().unwrap().remove(k);
        }
    }
    v
}

fn analyze(args: &[&str]) -> Value {
    json(&run(&[&["analyze", "--format", "json"], args].concat()))
}

/// The capture cut into three files, of three kinds.
fn pieces(dir: &Path) -> [PathBuf; 3] {
    let all = frames(STRACED);
    assert!(all.len() > 9, "{} frames", all.len());
    let (a, b) = (all.len() / 3, all.len() / 3 * 2);
    [
        put(dir, "x.pcap0", &pcap(&all[..a])),
        put(dir, "x.pcap1.gz", &gz(&pcapng(&all[a..b]))),
        put(dir, "x.pcap2.zst", &zstd::encode_all(&pcap(&all[b..])[..], 1).unwrap()),
    ]
}

#[test]
fn pieces_of_a_rotating_capture_give_the_report_of_the_whole() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = pieces(dir.path());
    let whole = bare(analyze(&[STRACED]));
    // in any order, and as a folder
    assert_eq!(bare(analyze(&[text(&a), text(&b), text(&c)])), whole);
    assert_eq!(bare(analyze(&[text(&c), text(&a), text(&b)])), whole);
    let folder = analyze(&[text(dir.path())]);
    assert_eq!(bare(folder.clone()), whole);
    let files = folder["inputs"][0]["files"].as_array().unwrap();
    assert_eq!(files.len(), 3);
    let n = files[0]["frames"].as_u64().unwrap();
    assert_eq!(files[0]["first_frame"], 1);
    assert_eq!(files[1]["first_frame"], n + 1);
}

#[test]
fn pieces_that_overlap_in_time_are_merged_frame_by_frame() {
    let dir = tempfile::tempdir().unwrap();
    let all = frames(STRACED);
    let every = |k: usize| all.iter().skip(k).step_by(2).cloned().collect::<Vec<_>>();
    put(dir.path(), "even.pcap", &pcap(&every(0)));
    put(dir.path(), "odd.pcapng", &pcapng(&every(1)));
    let joined = analyze(&[text(dir.path())]);
    assert_eq!(bare(joined.clone()), bare(analyze(&[STRACED])));
    assert_eq!(joined["inputs"][0]["files"][0]["first_frame"], Value::Null);
}

#[test]
fn two_files_that_count_on_in_name_and_time_are_one_capture_and_others_are_two_places() {
    let dir = tempfile::tempdir().unwrap();
    let all = frames(STRACED);
    let half = all.len() / 2;
    let a = put(dir.path(), "t.pcap", &pcap(&all[..half]));
    let b = put(dir.path(), "t.pcap1", &pcap(&all[half..]));
    let out = run(&["analyze", "--format", "json", text(&a), text(&b)]);
    assert!(stderr(&out).contains("read as one capture"), "{}", stderr(&out));
    assert_eq!(bare(json(&out)), bare(analyze(&[STRACED])));
    let other = put(dir.path(), "other.pcap", &pcap(&all[half..]));
    assert_eq!(analyze(&[text(&a), text(&other)])["inputs"].as_array().unwrap().len(), 2);
    assert_eq!(bare(analyze(&["--join", text(&a), text(&other)])), bare(analyze(&[STRACED])));
}

#[test]
fn what_is_no_capture_is_passed_over_in_a_folder_and_an_error_when_named() {
    let dir = tempfile::tempdir().unwrap();
    pieces(dir.path());
    let notes = put(dir.path(), "sub/notes.txt", b"call the \x1b[31mprovider");
    put(dir.path(), "sub/empty.pcap", b"");
    let r = analyze(&[text(dir.path())]);
    let q: Vec<&Value> =
        r["quality"].as_array().unwrap().iter().filter(|q| q["code"] == "passed-over").collect();
    assert_eq!(q.len(), 1);
    assert_eq!(q[0]["count"], 2);
    let said = q[0]["message"].as_str().unwrap();
    assert!(said.contains("notes.txt") && said.contains("empty.pcap"), "{said}");

    let out = run(&["analyze", STRACED, text(&notes), RECEIVER]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("not a capture file"), "{}", stderr(&out));
    let out = run(&["analyze", text(&dir.path().join("sub"))]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("none of the 2 files in this folder is a capture"), "{}", stderr(&out));
    let nothing = dir.path().join("nothing");
    std::fs::create_dir(&nothing).unwrap();
    let out = run(&["analyze", text(&nothing)]);
    assert!(stderr(&out).contains("the folder is empty"), "{}", stderr(&out));
}

#[test]
fn a_piece_that_is_cut_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let [_, b, _] = pieces(dir.path());
    let bytes = pcapng(&frames(STRACED)[3..6]);
    std::fs::write(&b, gz(&bytes[..bytes.len() - 5])).unwrap();
    let r = analyze(&[text(dir.path())]);
    let cut = r["quality"].as_array().unwrap().iter().find(|q| q["code"] == "cut-file").unwrap();
    assert!(cut["message"].as_str().unwrap().contains("x.pcap1.gz ends inside a record"), "{cut}");
}

#[test]
fn standard_input_is_a_piece_like_others_and_only_once() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b, c] = pieces(dir.path());
    let out = run_with_stdin(&["analyze", "--format", "json", "-", text(&c), text(&a)], &b);
    assert_eq!(bare(json(&out)), bare(analyze(&[STRACED])));
    for args in [&["analyze", "-", "-"][..], &["analyze", "-", "--app-log", "-"], &["compare", "-", "-"]] {
        let out = run(args);
        assert_eq!(out.status.code(), Some(2), "{args:?}");
        assert!(stderr(&out).contains("can be read once"), "{}", stderr(&out));
    }
}

#[test]
fn a_run_record_is_no_folder_of_pieces() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "client.pcapng", &pcapng(&frames(SENDER)));
    put(dir.path(), "report.json", b"{}");
    let out = run(&["analyze", text(dir.path())]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("syncscope view"), "{}", stderr(&out));
}
