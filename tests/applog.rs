//! Other programs' logs: what is recognised, what it becomes, and what is said where it cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::PathBuf;
use std::process::{Command, Output};
use syncscope::applog::{AppLogError, Pattern, Recognised, read};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/seed004").join(name)
}

fn syncscope(args: &[&str]) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    for a in args {
        match a.strip_prefix('@') {
            Some(name) => c.arg(seed(name)),
            None => c.arg(a),
        };
    }
    c.output().unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    let out = syncscope(args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    serde_json::from_slice(&out.stdout).unwrap()
}

const PAIR: [&str; 6] =
    ["analyze", "@sender.pcapng", "@receiver.pcapng", "--slow-read=50ms", "--format=json", "--app-log"];

#[test]
fn a_log_by_its_pattern_gives_the_report_of_the_events_file() {
    let mut own = json(&[&PAIR[..], &["@receiver.events.json"]].concat());
    let mut log =
        json(&[&PAIR[..], &["@receiver.log", "--app-log-pattern", "@receiver.pattern.toml"]].concat());
    for r in [&mut own, &mut log] {
        r["inputs"][2]["name"].take();
    }
    assert_eq!(own, log);
    assert_eq!(own["reads"][0]["budget"]["local-delivery"], 106_000);
}

const TIME: &str = "time = '%T%.f'\n";

fn parse(pattern: &str, log: &str) -> Result<syncscope::applog::Parsed, AppLogError> {
    let p = Pattern::new(&format!("{TIME}{pattern}")).unwrap();
    match read(log.as_bytes(), Some(&p))? {
        Recognised::Other(p) => Ok(p),
        Recognised::Own(_) => panic!("not ours"),
    }
}

const MS: i64 = 1_000_000;

#[test]
fn one_line_with_a_duration_is_written_when_the_read_ends() {
    let p = parse(
        "[read]\nline = 'got (?<bytes>\\d+) B after (?<ms>[0-9.]+) ms'",
        "00:00:01.5 got 12 B after 250.5 ms\n",
    )
    .unwrap();
    let e = p.streams[0].events[0];
    assert_eq!((e.start.0, e.end.0, e.len), (1_249_500_000, 1_500 * MS, 12));
}

#[test]
fn two_reads_at_once_are_paired_by_their_id() {
    let p = parse(
        "[read]\nstart = '(?<id>\\w+) begin'\nend = '(?<id>\\w+) end'",
        "00:00:00.1 a begin\n00:00:00.2 b begin\n00:00:00.3 a end\n00:00:00.5 b end\n",
    )
    .unwrap();
    let spans: Vec<_> = p.streams[0].events.iter().map(|e| (e.start.0 / MS, e.end.0 / MS)).collect();
    assert_eq!(spans, [(100, 300), (200, 500)]);
}

#[test]
fn a_clock_without_a_date_passes_midnight() {
    let p = parse("[read]\nstart = 'S'\nend = 'E'", "23:59:59.9 S\n00:00:00.1 E\n").unwrap();
    let e = p.streams[0].events[0];
    assert_eq!(e.end.since(e.start).0, 200 * MS);
}

#[test]
fn a_read_that_begins_and_does_not_end_is_open() {
    let p = parse("[read]\nstart = 'S'\nend = 'E'", "00:00:00.1 S\n").unwrap();
    assert_eq!(p.streams[0].open.unwrap().start.0, 100 * MS);
}

#[test]
fn faults_of_a_log_name_the_line_and_the_reason() {
    let pattern = "[read]\nstart = 'S'\nend = 'E (?<bytes>.*)'";
    let at = |log: &str| parse(pattern, log).unwrap_err().to_string();
    assert!(at("\nhello\nworld\n").contains("line 2: `hello`"));
    assert!(at("00:00:01 S\nyesterday E 5\n").contains("line 2: the pattern fits, but there is no time"));
    assert!(at("00:00:01 S\n00:00:02 E many\n").contains("line 2: `many` is no number of bytes"));
    assert_eq!(parse(pattern, " \n").unwrap_err(), AppLogError::Empty);
    assert_eq!(read(b"a\nb\0c", None).unwrap_err(), AppLogError::NotText { line: 2 });
    assert_eq!(read(b"a\n\n\xff", None).unwrap_err(), AppLogError::NotText { line: 3 });
    assert!(read(b"{\"a\":1}", None).unwrap_err().to_string().contains("missing field"));
    assert!(read(b"10:00 read\n", None).unwrap_err().to_string().contains("--app-log-pattern"));
}

#[test]
fn faults_of_a_pattern_name_the_key() {
    let cases = [
        ("", "[read]: missing"),
        ("[read]\nstart = 'a'", "[read] end: missing"),
        ("[read]\nline = 'a'", "[read] line: needs a group"),
        ("[read]\nline = '('", "[read] line: "),
        ("[write]\nline = 'a'\nend = 'b'", "[write] line: excludes"),
        ("[read]\nstart='a'\nend='b'\nbytes='c'", "[read] bytes: needs a group"),
        ("peer = 'host'\n[read]\nstart='a'\nend='b'", "peer: `host` is no address"),
        ("zone = 'CEST'\n[read]\nstart='a'\nend='b'", "zone: `CEST`"),
        ("colour = 1", "unknown field `colour`"),
    ];
    for (pattern, want) in cases {
        let said = Pattern::new(&format!("{TIME}{pattern}")).unwrap_err().to_string();
        assert!(said.contains(want), "{pattern}: {said}");
    }
    assert!(
        Pattern::new("time = '%H'\n[read]\nstart='a'\nend='b'")
            .unwrap_err()
            .to_string()
            .starts_with("time: ")
    );
}
