//! Scripted talks, whole: what the record holds, and that the link, the captures and the kernels say the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod program;
mod skip;

use program::{able, syncscope};
use serde_json::Value;
use std::path::{Path, PathBuf};

struct Record {
    dir: PathBuf,
    _keep: tempfile::TempDir,
}

fn talk(scenario: &str) -> Record {
    let keep = tempfile::tempdir().unwrap();
    let dir = keep.path().join("record");
    let file = format!("captures/scenarios/accuracy/{scenario}.toml");
    let out = syncscope(&["lab", "--scenario", &file, "--record", dir.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(0), "{scenario}: {said}");
    Record { dir, _keep: keep }
}

impl Record {
    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&std::fs::read(self.dir.join(name)).unwrap()).unwrap()
    }

    fn fates(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.dir.join("truth.ndjson")).unwrap();
        text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
    }

    fn counter(&self, side: &str, name: &str) -> u64 {
        self.json("kernel.json")[side]["counters"][name].as_u64().unwrap_or(0)
    }

    /// Packets that the link has seen sent again.
    fn resent(&self, way: &str) -> Vec<Value> {
        let again = |f: &Value| f["dir"] == way && f["copy"].as_u64() > Some(1);
        self.fates().into_iter().filter(again).collect()
    }
}

fn number(v: &Value) -> u64 {
    v.as_u64().unwrap()
}

/// The files of a record, and that everybody counts the same.
fn everybody_agrees(r: &Record) {
    nothing_left_early(r);
    for name in ["scenario.toml", "report.json", "client.events.json", "server.events.json", "talk.json"] {
        assert!(r.dir.join(name).is_file(), "{name}");
    }
    for (way, side) in [("c2s", "client"), ("s2c", "server")] {
        let fates = r.fates();
        let mine: Vec<_> = fates.iter().filter(|f| f["dir"] == way).collect();
        assert_eq!(r.resent(way).len() as u64, r.counter(side, "TcpRetransSegs"), "{way}: sent again");
        assert!(mine.iter().filter(|f| f["flags"].is_u64()).all(|f| f["win"].is_u64()));
        let capture = &r.json("talk.json")[side]["capture"];
        let sent = mine.len() as u64;
        let arrived: u64 = fates.iter().filter(|f| f["dir"] != way).map(|f| number(&f["arrivals"])).sum();
        assert_eq!(number(&capture["frames"]), sent + arrived, "{side}: frames at its tap");
        assert_eq!(capture["complete"], true, "{side}: {capture}");
    }
    let report = r.json("report.json");
    let view = syncscope(&["view", "--format", "json", r.dir.to_str().unwrap()]);
    assert_eq!(serde_json::from_slice::<Value>(&view.stdout).unwrap(), report);
}

/// The log has the moment at which each packet was really handed over, never before it was due.
fn nothing_left_early(r: &Record) {
    for f in r.fates() {
        assert!(f["left"].as_i64() >= f["due"].as_i64(), "{f}");
        assert_eq!(f["left"].is_i64(), f["arrivals"] != 0, "{f}");
    }
}

/// The kernel's trace against the link's log: the same retransmissions in the same order, each no later
/// at the link than a moment after the kernel made it. Where the kernel lets nobody trace, it says why.
fn the_trace_agrees(r: &Record, states: &[&str]) {
    let kernel = r.json("kernel.json");
    let Some(resends) = kernel["resends"].as_array() else {
        let why = kernel["resends_why_not"].as_str().unwrap();
        skip::tell("the trace of retransmissions", why);
        return;
    };
    let seen: Vec<_> = resends.iter().map(|e| e["ca"].as_str().unwrap()).collect();
    assert_eq!(seen, states, "{resends:?}");
    for (event, fate) in resends.iter().zip(r.resent("c2s")) {
        let late = fate["t"].as_i64().unwrap() - event["t"].as_i64().unwrap();
        assert!((-1_000_000..1_000_000_000).contains(&late), "{event} {fate}: {late} ns");
        assert_eq!((&event["side"], &event["sport"]), (&Value::from("client"), &fate["sport"]));
    }
}

#[test]
fn a_lost_tail_is_in_the_log_of_the_link_and_in_the_kernels_counters() {
    if !able("a talk") {
        return;
    }
    let r = talk("tail-loss");
    everybody_agrees(&r);
    assert_eq!(r.resent("c2s").len(), 2);
    assert_eq!(r.counter("client", "TcpExtTCPLossProbes"), 1);
    the_trace_agrees(&r, &["open", "recovery"]);
    let sacks = r.fates().iter().filter(|f| f["sack"].is_array()).count();
    assert!(sacks > 0, "the probe is SACKed before the hole is filled");
}

#[test]
fn five_lost_copies_are_four_time_outs_in_a_row() {
    if !able("a talk") {
        return;
    }
    let r = talk("lost-five-times");
    everybody_agrees(&r);
    assert_eq!(r.counter("client", "TcpExtTCPTimeouts"), 4);
    the_trace_agrees(&r, &["open", "loss", "loss", "loss", "loss"]);
}

/// The link cuts what the sender's kernel hands over, and merges what it hands to the receiver's.
#[test]
fn with_offload_the_captures_show_large_segments_and_the_link_packets() {
    if !able("a talk") {
        return;
    }
    let r = talk("offload");
    nothing_left_early(&r);
    let fates = r.fates();
    assert!(fates.iter().all(|f| number(&f["size"]) <= 1500));
    for (way, side) in [("c2s", "client"), ("s2c", "server")] {
        assert_eq!(r.resent(way).len() as u64, r.counter(side, "TcpRetransSegs"), "{way}: sent again");
        let frames = number(&r.json("talk.json")[side]["capture"]["frames"]);
        assert!(frames * 3 < fates.len() as u64 * 2, "{side}: {frames} frames of {} packets", fates.len());
    }
    let arrived: u64 = fates.iter().filter(|f| f["dir"] == "c2s").map(|f| number(&f["arrivals"])).sum();
    let taken = r.counter("server", "TcpInSegs");
    // Three in one on a quiet host; what arrives together is fewer where the sender is starved.
    assert!(taken * 10 < arrived * 9, "{taken} of {arrived}: the server's kernel got them merged");
}

fn refused(text: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, text).unwrap();
    let record = dir.path().join("record");
    let out = syncscope(&["lab", "--scenario", path(&file), "--record", path(&record)]);
    assert_eq!(out.status.code(), Some(2));
    assert!(!record.exists(), "nothing is left of what was refused");
    String::from_utf8(out.stderr).unwrap()
}

fn path(p: &Path) -> &str {
    p.to_str().unwrap()
}

#[test]
fn a_talk_that_cannot_be_says_where_and_what_would_do() {
    let said = refused(
        "name = \"x\"\n[talk]\nfor = \"1s\"\n[talk.client]\nsteps = [\"wrote 1kB\"]\n[talk.server]\n",
    );
    assert!(said.contains("bad.toml:5") && said.contains("`wrote 1kB` is no step of a talk"), "{said}");
    assert!(said.contains("`write SIZE by SIZE every TIME`"), "{said}");
    let said = refused("name = \"x\"\n");
    assert!(said.contains("bad.toml has no [talk]") && said.contains("after `--`"), "{said}");
    let out = syncscope(&["lab", "--scenario", "captures/scenarios/accuracy/clean.toml"]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert!(out.status.code() == Some(2) && said.contains("its own [talk] with `--record FOLDER`"), "{said}");
    let said = refused("name = \"x\"\n[endpoint.server]\ndrop = { at = \"1s\", for = \"1s\" }\n");
    assert!(said.contains("needs a [talk]"), "{said}");
}
