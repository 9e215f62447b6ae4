//! The printed views of one report: text for people, JSON and NDJSON for programs.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sample;

use serde_json::Value;
use syncscope::report::{Report, SCHEMA};
use syncscope::view::csv::Rows;
use syncscope::view::{self, LoadError, TextOptions};

fn text(r: &Report, color: bool, width: usize) -> String {
    let mut out = Vec::new();
    view::text::write(r, &mut out, TextOptions { color, width, ..TextOptions::default() }).unwrap();
    String::from_utf8(out).unwrap()
}

fn ndjson(r: &Report) -> String {
    let mut out = Vec::new();
    view::ndjson::write(r, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn other(r: &Report, write: impl Fn(&Report, &mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(r, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn no_name_is_a_formula_or_markup() {
    let mut r = sample::report();
    let evil = "=HYPERLINK(\"http://x\") <img src=x> | [a](b) `c`";
    for f in &mut r.findings {
        f.message = evil.to_owned();
    }
    let t = other(&r, |r, out| view::csv::write(r, Rows::Findings, out));
    assert!(t.contains("\"'=HYPERLINK(\"\"http://x\"\")"), "{t}");
    let t = other(&r, view::md::write);
    assert!(t.contains("\\<img src=x\\> \\| \\[a\\](b) \\`c\\`"), "{t}");
}

#[test]
fn markdown_for_a_ticket() {
    insta::assert_snapshot!(other(&sample::report(), view::md::write));
}

#[test]
fn sums_for_prometheus() {
    insta::assert_snapshot!(other(&sample::report(), view::prom::write));
}

fn json(r: &Report) -> String {
    let mut out = Vec::new();
    view::json::write(r, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_sample_holds_together() {
    sample::check(&sample::report());
    sample::check(&sample::several_flows());
    sample::check(&sample::empty());
}

#[test]
fn text_at_100_columns() {
    insta::assert_snapshot!(text(&sample::report(), false, 100));
}

#[test]
fn text_at_60_columns() {
    insta::assert_snapshot!(text(&sample::report(), false, 60));
}

#[test]
fn text_of_many_connections() {
    let mut r = sample::report();
    for n in 1..40u32 {
        let mut f = r.flows[0].clone();
        f.flow = syncscope::model::FlowId(n);
        f.dirs.s2c.bytes = u64::from(n) * 100_000;
        f.dirs.c2s.bytes_resent = 0;
        r.flows.push(f);
    }
    let t = text(&r, false, 100);
    let at = t.find("FLOWS").unwrap();
    insta::assert_snapshot!(t[at..t.find("QUALITY").unwrap()].to_owned());
}

#[test]
fn text_of_an_empty_capture() {
    insta::assert_snapshot!(text(&sample::empty(), false, 100));
}

#[test]
fn text_keeps_to_its_width_and_without_colour_has_no_escapes() {
    for r in [sample::report(), sample::several_flows(), sample::empty()] {
        for width in [40, 60, 80, 100, 160] {
            let t = text(&r, false, width);
            assert!(!t.contains('\x1b'));
            for l in t.lines() {
                assert!(view::layout::width(l) <= width, "{width}: {l}");
                assert_eq!(l, l.trim_end(), "trailing space at {width}");
            }
        }
    }
}

#[test]
fn colour_adds_escapes_and_nothing_else() {
    let plain = text(&sample::report(), false, 100);
    let colored = text(&sample::report(), true, 100);
    assert!(colored.contains("\x1b[33mDEGRADED"));
    let mut stripped = String::new();
    let mut rest = colored.as_str();
    while let Some(at) = rest.find("\x1b[") {
        stripped.push_str(&rest[..at]);
        rest = &rest[at + rest[at..].find('m').unwrap() + 1..];
    }
    stripped.push_str(rest);
    assert_eq!(stripped, plain);
}

#[test]
fn long_lists_end_with_what_was_left_out() {
    let mut r = sample::report();
    let f = r.findings[0].clone();
    r.findings = vec![f; 500];
    let x = r.reads[0].clone();
    r.reads = vec![x; 300];
    let t = text(&r, false, 100);
    assert!(t.contains("… and 488 more findings (--format json has all)"));
    assert!(t.contains("… and 285 more shorter ones (--format json has all)"));
    assert!(t.lines().count() < 150);
}

/// Names come from files and peers; none may reach a terminal raw.
#[test]
fn hostile_names_reach_no_terminal() {
    let evil = "a\x1b[2J\x1b]0;owned\x07\u{202e}b\nc\r\u{9b}31m";
    let mut r = sample::report();
    r.meta.title = evil.to_owned();
    r.verdict.sentence = evil.to_owned();
    for i in &mut r.inputs {
        i.name = evil.to_owned();
        i.skipped.insert(evil.to_owned(), 3);
    }
    for q in &mut r.quality {
        q.message = evil.to_owned();
        q.code = evil.to_owned();
    }
    for f in &mut r.findings {
        f.message = evil.to_owned();
        f.next = evil.to_owned();
        f.code = evil.to_owned();
    }
    for i in &mut r.incidents {
        i.sentence = evil.to_owned();
    }
    for f in &mut r.flows {
        f.tap.because = evil.to_owned();
        f.ended = evil.to_owned();
    }
    let run = r.run.as_mut().unwrap();
    run.scenario = evil.to_owned();
    run.record = Some(evil.to_owned());
    run.injected = vec![evil.to_owned()];
    for d in &mut r.reads {
        d.file = Some(evil.to_owned());
    }
    for t in [text(&r, false, 100), other(&r, view::md::write), other(&r, view::prom::write)] {
        for c in t.chars() {
            assert!(c == '\n' || !c.is_control(), "{c:?} reached\n{t}");
            assert_ne!(c, '\u{202e}');
        }
    }
    for rows in Rows::ALL {
        let t = other(&r, |r, out| view::csv::write(r, *rows, out));
        let bad = |c: char| (c.is_control() && c != '\r' && c != '\n') || c == '\u{202e}';
        assert!(!t.contains(bad), "{t}");
        assert_eq!(t.matches('\r').count(), t.matches("\r\n").count());
        assert_eq!(t.matches('\n').count(), t.matches("\r\n").count(), "no name breaks a line");
    }
    for out in [ndjson(&r), json(&r)] {
        let acts = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
        assert!(!out.contains(acts), "JSON escapes what acts on terminals");
        assert_eq!(view::load(&out).unwrap(), r);
    }
}

#[test]
fn json_and_ndjson_bring_the_same_report_back() {
    for r in [sample::report(), sample::several_flows(), sample::empty()] {
        assert_eq!(view::load(&json(&r)).unwrap(), r);
        assert_eq!(view::load(&ndjson(&r)).unwrap(), r);
    }
}

#[test]
fn ndjson_lines_have_types_in_order_meta_first_and_end_last() {
    const ORDER: [&str; 14] = [
        "meta", "input", "quality", "flow", "segment", "loss", "hole", "stall", "read", "incident",
        "finding", "series", "run", "end",
    ];
    let out = ndjson(&sample::report());
    let types: Vec<String> = out
        .lines()
        .map(|l| serde_json::from_str::<Value>(l).unwrap()["type"].as_str().unwrap().to_owned())
        .collect();
    let places: Vec<usize> = types.iter().map(|t| ORDER.iter().position(|o| o == t).expect(t)).collect();
    assert!(places.is_sorted());
    for t in ORDER {
        assert!(types.iter().any(|x| x == t), "no line of type {t}");
    }
    assert!(out.starts_with(&format!("{{\"type\":\"meta\",\"schema\":\"{SCHEMA}\"")));
    assert_eq!(types.iter().filter(|t| *t == "meta" || *t == "end").count(), 2);
    assert_eq!(types.last().unwrap(), "end");
}

#[test]
fn ndjson_fields_are_those_of_the_contract() {
    let out = ndjson(&sample::report());
    let lines: Vec<Value> = out.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let first = |t: &str| lines.iter().find(|l| l["type"] == t).unwrap();
    let has = |t: &str, keys: &[&str]| {
        let l = first(t);
        for k in keys {
            assert!(l.get(k).is_some(), "{t} has no {k}: {l}");
        }
    };
    has("meta", &["schema", "tool", "title", "slow_read", "span"]);
    has("flow", &["flow", "client", "server", "tap", "segments", "retransmissions", "spurious", "dirs"]);
    has("segment", &["frame", "flow", "dir", "ts", "seq", "len", "class", "cause", "resend", "spurious"]);
    has("loss", &["id", "flow", "dir", "range", "sent", "repaired", "repair_frame", "where"]);
    has("hole", &["id", "flow", "dir", "range", "birth", "death", "filler", "queued_behind"]);
    has(
        "stall",
        &["id", "flow", "dir", "start", "end", "owner", "cause", "detail", "evidence", "confidence"],
    );
    has("read", &["id", "flow", "dir", "start", "end", "offset", "len", "budget", "hole"]);
    has("finding", &["code", "severity", "confidence", "owner", "span", "evidence", "message", "next"]);
    assert_eq!(first("end")["verdict"]["kind"], "degraded");
    assert_eq!(first("segment")["dir"], "c2s");
    for read in lines.iter().filter(|l| l["type"] == "read") {
        let parts = read["budget"].as_object().unwrap();
        assert_eq!(parts.len(), 8);
        let sum: i64 = parts.values().map(|v| v.as_i64().unwrap()).sum();
        assert_eq!(sum, read["end"].as_i64().unwrap() - read["start"].as_i64().unwrap());
    }
}

#[test]
fn a_report_of_another_version_is_named_as_such() {
    let later = json(&sample::report()).replacen(SCHEMA, "syncscope.report/2", 1);
    assert_eq!(view::load(&later), Err(LoadError::Schema("syncscope.report/2".to_owned())));
    let later = ndjson(&sample::report()).replacen(SCHEMA, "syncscope.report/2", 1);
    let error = view::load(&later).unwrap_err();
    assert_eq!(error, LoadError::Schema("syncscope.report/2".to_owned()));
    assert!(error.to_string().contains("syncscope.report/1"));
}

#[test]
fn what_is_no_report_gives_an_error_and_not_a_panic() {
    for bad in ["", "{}", "[]", "null", "hello", "{\"meta\":1}", "{\"type\":\"end\"}", "{\"type\":\"meta\"}"]
    {
        assert!(view::load(bad).is_err(), "{bad:?} was taken for a report");
    }
    let whole = ndjson(&sample::report());
    let cut: String = whole.lines().take(9).map(|l| format!("{l}\n")).collect();
    assert_eq!(view::load(&cut), Err(LoadError::Cut));
    let broken = whole.replacen("\"class\":\"retransmission\"", "\"class\":\"x\"", 1);
    assert!(matches!(view::load(&broken).unwrap_err(), LoadError::Line { line: 9, .. }));
}

#[test]
fn ndjson_lines_of_unknown_types_are_skipped() {
    let whole = ndjson(&sample::report());
    let at = whole.find('\n').unwrap() + 1;
    let grown = format!("{}{{\"type\":\"weather\",\"rain\":true}}\n\n{}", &whole[..at], &whole[at..]);
    assert_eq!(view::load(&grown).unwrap(), sample::report());
}
