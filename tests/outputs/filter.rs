//! `--filter`: what tcpdump would let pass, and our own words.

use super::*;
use serde_json::Value;

fn analyze(args: &[&str]) -> Value {
    json(&run(&[&["analyze", "--format", "json", "--fail-on", "never"], args].concat()))
}

/// The report without names, and without the word about the filter.
fn bare(mut v: Value) -> Value {
    v["meta"]["title"] = Value::Null;
    v["inputs"][0]["name"] = Value::Null;
    v["quality"].as_array_mut().unwrap().retain(|q| q["code"] != "filtered");
    v
}

/// Two conversations in one file: the other one has other ports, and comes later.
fn two(dir: &Path) -> PathBuf {
    let mut all = frames(STRACED);
    let mut other = all.clone();
    for p in &mut other {
        p.ts += syncscope::model::Ns::from_secs(10);
        // 8730 becomes 8731; wrong checksums there do not matter
        assert_eq!(p.link, LinkType::SLL2);
        for at in [40, 42] {
            if p.data[at..at + 2] == 8730u16.to_be_bytes() {
                p.data[at + 1] += 1;
            }
        }
    }
    all.extend(other);
    put(dir, "two.pcap", &pcap(&all))
}

#[test]
fn a_port_leaves_the_report_of_that_connection_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = two(dir.path());
    let whole = analyze(&[text(&path)]);
    assert_eq!(whole["flows"].as_array().unwrap().len(), 2);
    let alone = bare(analyze(&[STRACED]));
    assert_eq!(bare(analyze(&[text(&path), "--filter", "tcp port 8730"])), alone);
    assert_eq!(bare(analyze(&[text(&path), "--filter", "time ..+5s"])), alone);
    let said = analyze(&[text(&path), "--filter", "tcp port 8730 and not port 1"]);
    let q = said["quality"].as_array().unwrap().iter().find(|q| q["code"] == "filtered").unwrap();
    assert!(q["message"].as_str().unwrap().starts_with("93 of 186 frames pass"), "{q}");
}

#[test]
fn a_connection_is_picked_by_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let path = two(dir.path());
    let second = analyze(&[text(&path), "--filter", "flow 1"]);
    assert_eq!(second["flows"].as_array().unwrap().len(), 1);
    assert!(second["flows"][0]["server"].as_str().unwrap().ends_with(":8731"));
    let out = dir.path().join("one.pcapng");
    analyze(&[text(&path), "--filter", "flow 1", "--annotate-all", "--annotate", text(&out)]);
    assert_eq!(frames(&out), frames(&path)[93..]);
    let none = analyze(&[text(&path), "--filter", "flow 9"]);
    let q = none["quality"].as_array().unwrap().iter().find(|q| q["code"] == "filtered").unwrap();
    assert!(q["message"].as_str().unwrap().contains("the capture has 2, numbered from 0"), "{q}");
}

/// The same frames as tcpdump, on each link type of the real captures.
#[test]
fn tcpdump_lets_the_same_frames_pass() {
    let dir = tempfile::tempdir().unwrap();
    let mut inputs = vec![PathBuf::from(SENDER), PathBuf::from(STRACED)];
    inputs.extend(evidence::real_ones().into_iter().step_by(5).take(20));
    let mut compared = 0;
    for input in inputs {
        for filter in ["tcp[tcpflags] & tcp-syn != 0", "ip6 or port 80", "not tcp and greater 100"] {
            let Ok(theirs) = Command::new("tcpdump").args(["-r", text(&input), "-w", "-", filter]).output()
            else {
                eprintln!("skipped: there is no tcpdump");
                return;
            };
            // some link types it reads and cannot filter
            if !theirs.status.success() {
                continue;
            }
            let theirs = frames(put(dir.path(), "theirs.pcap", &theirs.stdout)).len();
            let mut ours =
                syncscope::capture::filter::Filter::parse(filter).unwrap().on(file::open(&input).unwrap());
            let mut n = 0;
            while let Ok(Some(_)) = ours.next_frame() {
                n += 1;
            }
            assert_eq!(n, theirs, "{} {filter}", input.display());
            compared += 1;
        }
    }
    assert!(compared >= 6);
}

#[test]
fn a_wrong_expression_is_an_error_that_points_at_the_place() {
    let out = run(&["analyze", SENDER, "--filter", "tcp port 80 andd host 10.0.0.1"]);
    assert_eq!(out.status.code(), Some(2));
    let said = stderr(&out);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[1], "  tcp port 80 andd host 10.0.0.1", "{said}");
    assert_eq!(lines[2], "              ^", "{said}");
}
