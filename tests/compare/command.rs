//! The command itself: files in, formats out, errors that help.

use crate::tap::{Seen, nat};
use crate::tcp::{Talk, talk};
use crate::{START, real, scenario};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use syncscope::lab::transform::{Transform, client_of};
use syncscope::model::{Frame, FrameNo, LinkType, Ns, Ts};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_syncscope")).args(args).output().unwrap()
}

/// A classic pcap with nanoseconds; `cut` bytes of each packet at most.
fn pcap(path: &Path, link: u32, frames: impl Iterator<Item = (Ts, Vec<u8>)>) {
    let mut out: Vec<u8> = Vec::new();
    for word in [0xa1b2_3c4d_u32, 0x0004_0002, 0, 0, 262_144, link] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for (ts, data) in frames {
        let len = data.len() as u32;
        let (s, ns) = (ts.0.div_euclid(1_000_000_000) as u32, ts.0.rem_euclid(1_000_000_000) as u32);
        for word in [s, ns, len, len] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&data);
    }
    std::fs::write(path, out).unwrap();
}

fn files(dir: &Path) -> (String, String) {
    let text = "[c2s]\ndelay = \"20ms\"\n[s2c]\ndelay = \"20ms\"\nloss = 0.04\n";
    let p = talk(&scenario(5, text), Talk::default(), START);
    let write = |name: &str, all: &[Seen]| {
        let path = dir.join(name);
        pcap(&path, 101, all.iter().map(|s| (s.ts, s.data.clone())));
        path.to_str().unwrap().to_owned()
    };
    (write("inside.pcap", &p.client), write("outside.pcap", &nat(&p.server)))
}

#[test]
fn every_format_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = files(dir.path());
    let json: Value = serde_json::from_slice(&run(&["compare", "--format", "json", &a, &b]).stdout).unwrap();
    let lost = json["comparison"]["losses"].as_array().unwrap().len();
    assert!(lost > 3);
    let lines = run(&["compare", "--format", "ndjson", &a, &b]);
    let lines = String::from_utf8(lines.stdout).unwrap();
    let of = |tag: &str| {
        let all = lines.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        all.filter(|v| v["type"] == tag).collect::<Vec<_>>()
    };
    assert_eq!(of("comparison")[0]["clock"], json["comparison"]["clock"]);
    assert_eq!((of("comparison").len(), of("crossing").len(), of("crossing-loss").len()), (1, 1, lost));
    let again = syncscope::view::load(&lines).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), json, "ndjson read back is the json");

    let text = String::from_utf8(run(&["compare", &a, &b]).stdout).unwrap();
    for part in ["COMPARISON", "LOST BETWEEN A AND B", "addresses differ (NAT)", "inside.pcap", "proven ±"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let analyze: Value =
        serde_json::from_slice(&run(&["analyze", "--format", "json", &a, &b]).stdout).unwrap();
    assert_eq!(analyze, json, "one path");
}

#[test]
fn findings_make_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = files(dir.path());
    let code = |args: &[&str]| run(&[&["compare", &a, &b], args].concat()).status.code();
    assert_eq!(code(&["--fail-on", "info"]), Some(1));
    assert_eq!(code(&["--fail-on", "never"]), Some(0));
}

#[test]
fn captures_of_other_things_are_an_error_that_says_what_each_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (a, _) = files(dir.path());
    let other =
        talk(&scenario(1, ""), Talk { down: 5_000, up: 10, ..Talk::default() }, START + Ns::from_secs(99));
    let b = dir.path().join("other.pcap");
    // another host, other numbers
    let moved = crate::tap::renumber(&nat(&other.client), 999).into_iter().map(|mut s| {
        s.data[12..16].copy_from_slice(&[10, 9, 8, 7]);
        (s.ts, s.data)
    });
    pcap(&b, 101, moved.filter(|(_, d)| d.len() <= 60));
    let out = run(&["compare", &a, b.to_str().unwrap()]);
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(2), "{said}");
    for part in [
        "no connection in common",
        "192.0.2.1:40000 → 198.51.100.2:873",
        "10.9.8.7",
        "inside.pcap",
        "2023-11-14",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
}

#[test]
fn a_folder_is_one_of_the_two() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = files(dir.path());
    let pieces = dir.path().join("pieces");
    std::fs::create_dir(&pieces).unwrap();
    std::fs::copy(&a, pieces.join("inside.pcap")).unwrap();
    let lost = |a: &str| {
        let out = run(&["compare", "--format", "json", a, &b]).stdout;
        serde_json::from_slice::<Value>(&out).unwrap()["comparison"]["losses"].clone()
    };
    assert_eq!(lost(pieces.to_str().unwrap()), lost(&a));
}

/// Real captures, sent through a link that only delays: all is found again and nothing is lost.
#[test]
fn real_captures_lose_nothing_on_a_clean_link() {
    let Some(folder) = real::captures("compare on real captures") else { return };
    // nobody reacts to the link: more delay, and answers would come before their questions
    let link = scenario(1, "[s2c]\ndelay = \"40us\"\n");
    let dir = tempfile::tempdir().unwrap();
    let mut done = 0;
    for row in real::rows(&folder).iter().filter(|r| r["size"].parse::<u64>().is_ok_and(|s| s < 200_000)) {
        let path: PathBuf = folder.join(&row["path"]);
        let Ok(mut source) = syncscope::capture::file::open(&path) else { continue };
        let mut frames: Vec<(Ts, LinkType, u32, Vec<u8>)> = Vec::new();
        while let Ok(Some(f)) = source.next_frame() {
            frames.push((f.ts, f.link, f.orig_len, f.data.to_vec()));
        }
        let view = |i: usize| {
            let (ts, link, orig_len, data) = &frames[i];
            Frame { no: FrameNo(i as u64 + 1), ts: *ts, link: *link, interface: 0, orig_len: *orig_len, data }
        };
        let Some(client) = client_of((0..frames.len()).map(view)) else { continue };
        let mut t = Transform::new(&link, client);
        (0..frames.len()).for_each(|i| t.frame(view(i)));
        let taps = t.finish();
        let Some(first) = taps.client.first().map(|f| f.link) else { continue };
        let names = ["a.pcap", "b.pcap"].map(|n| dir.path().join(n));
        for (name, tap) in names.iter().zip([&taps.client, &taps.server]) {
            pcap(name, u32::from(first.0), tap.iter().map(|f| (f.ts, f.data.clone())));
        }
        let [a, b] = names.each_ref().map(|n| n.to_str().unwrap());
        let out = run(&["compare", "--format", "json", "--fail-on", "never", a, b]);
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        if said.contains("no connection in common") {
            continue;
        }
        let v: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{path:?}: {e} {said}"));
        let c = &v["comparison"];
        let none = Vec::new();
        let losses = c["losses"].as_array().unwrap_or(&none);
        assert!(losses.is_empty(), "{}: {} losses, first {}", path.display(), losses.len(), losses[0]);
        if let Some(clock) = c["clock"].as_object() {
            let (low, high) = (clock["low"].as_i64().unwrap(), clock["high"].as_i64().unwrap());
            assert!(low <= 0 && 0 <= high, "{}: {clock:?}", path.display());
        }
        done += 1;
    }
    assert!(done > 10, "only {done} captures");
}
