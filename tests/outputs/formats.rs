//! The forms of a report, read back by those who would read them.

use super::*;
use std::collections::BTreeMap;

fn report(format: &str, more: &[&str]) -> String {
    let out = run(&[&["analyze", SENDER, "--format", format], more].concat());
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    stdout(&out)
}

/// RFC 4180, strictly.
fn table(csv: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut cell) = (Vec::new(), Vec::new(), String::new());
    let mut chars = csv.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                assert!(cell.is_empty());
                loop {
                    match chars.next().unwrap() {
                        '"' if chars.peek() == Some(&'"') => cell.push(chars.next().unwrap()),
                        '"' => break,
                        c => cell.push(c),
                    }
                }
                assert!(matches!(chars.peek(), Some(',' | '\r')));
            }
            ',' => row.push(std::mem::take(&mut cell)),
            '\r' => {
                assert_eq!(chars.next(), Some('\n'));
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    assert!(row.is_empty() && cell.is_empty(), "the last line has its end");
    rows
}

#[test]
fn every_table_has_as_many_cells_in_each_row_and_a_row_for_each_thing() {
    let whole = json(&run(&["analyze", SENDER, "--format", "json"]));
    for rows in ["flows", "findings", "reads", "stalls", "losses", "segments"] {
        let t = table(&report("csv", &["--table", rows]));
        assert_eq!(t.len() - 1, whole[rows].as_array().unwrap().len(), "{rows}");
        assert!(t.iter().all(|r| r.len() == t[0].len()), "{rows}: {t:?}");
        let names: std::collections::BTreeSet<_> = t[0].iter().collect();
        assert_eq!(names.len(), t[0].len(), "{rows}: a name twice");
    }
    let flows = table(&report("csv", &[]));
    let cell = |name: &str| flows[1][flows[0].iter().position(|h| h == name).unwrap()].clone();
    assert_eq!(cell("client"), "172.21.3.92");
    assert_eq!(cell("s2c_bytes"), whole["flows"][0]["dirs"]["s2c"]["bytes"].to_string());
    assert!(cell("start").ends_with('Z'), "{}", cell("start"));
}

#[test]
fn markdown_says_what_the_text_says() {
    let md = report("md", &[]);
    let whole = json(&run(&["analyze", SENDER, "--format", "json"]));
    assert!(md.starts_with("## DEGRADED: "), "{md}");
    for f in whole["findings"].as_array().unwrap() {
        assert!(md.contains(&format!("**`{}`**", f["code"].as_str().unwrap())), "{md}");
    }
    for part in ["### Findings", "### Connections", "| `172.21.3.92:", "### Inputs", "frame "] {
        assert!(md.contains(part), "{part} is not in\n{md}");
    }
    // each table row has as many cells as its head
    let mut cells = 0;
    for line in md.lines() {
        let n = line.replace("\\|", "").matches('|').count();
        assert!(n == 0 || cells == 0 || n == cells, "{line}");
        cells = n;
    }
}

/// Name, labels and value of each sample; checks what promtool checks.
fn samples(text: &str) -> Vec<(String, String, f64)> {
    let mut family = String::new();
    let mut seen: BTreeMap<String, bool> = BTreeMap::new();
    let mut out = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split(' ').next().unwrap().to_owned();
            assert!(seen.insert(family.clone(), true).is_none(), "{family} twice");
            assert_eq!(lines.next().unwrap(), format!("# TYPE {family} gauge"));
            continue;
        }
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        assert_eq!(name, family);
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{name}");
        assert!(!name.ends_with("_total"), "{name} counts nothing on");
        assert!(labels.ends_with('}'));
        out.push((name.to_owned(), labels.trim_end_matches('}').to_owned(), value.parse().unwrap()));
    }
    let series: std::collections::BTreeSet<_> = out.iter().map(|(n, l, _)| (n, l)).collect();
    assert_eq!(series.len(), out.len(), "a series twice");
    out
}

#[test]
fn prometheus_gets_sums_in_base_units_and_no_addresses() {
    let text = report("prom", &[]);
    let all = samples(&text);
    let whole = json(&run(&["analyze", SENDER, "--format", "json"]));
    let value = |name: &str, labels: &str| {
        all.iter().find(|s| s.0 == format!("syncscope_{name}") && s.1 == labels).map(|s| s.2)
    };
    assert_eq!(value("verdict", "verdict=\"degraded\""), Some(1.0));
    assert_eq!(value("verdict", "verdict=\"healthy\""), Some(0.0));
    assert_eq!(value("connections", ""), Some(1.0));
    assert_eq!(value("payload_bytes", "dir=\"s2c\""), whole["flows"][0]["dirs"]["s2c"]["bytes"].as_f64());
    let cost: f64 = all.iter().filter(|s| s.0 == "syncscope_finding_cost_seconds").map(|s| s.2).sum();
    let told: f64 =
        whole["findings"].as_array().unwrap().iter().map(|f| f["cost"].as_f64().unwrap() / 1e9).sum();
    assert!((cost - told).abs() < 1e-6 && told > 0.0, "{cost} {told}");
    assert!(!text.contains("172.21."), "{text}");
}

#[test]
fn xplot_draws_each_direction_as_tcptrace_does() {
    let dir = tempfile::tempdir().unwrap();
    let prefix = dir.path().join("hang");
    let out = run(&["analyze", SENDER, "--format", "xplot", "-o", text(&prefix)]);
    assert_eq!(out.status.code(), Some(1), "{}", stderr(&out));
    let drawn = std::fs::read_to_string(dir.path().join("hang-flow0-s2c.xpl")).unwrap();
    let mut lines = drawn.lines();
    assert_eq!(lines.next(), Some("timeval unsigned"));
    assert_eq!((lines.next(), lines.next().is_some_and(|l| l.contains("_==>_"))), (Some("title"), true));
    assert_eq!(drawn.lines().last(), Some("go"));
    // every command has its points, and times are those of a timeval
    let colors = ["white", "red", "green", "yellow", "orange", "pink", "blue", "purple", "magenta"];
    let mut after_text = false;
    for line in drawn.lines().skip(7).filter(|l| *l != "go") {
        let words: Vec<&str> = line.split(' ').collect();
        let points = match words[0] {
            _ if std::mem::take(&mut after_text) => continue,
            "line" => 2,
            "darrow" | "uarrow" => 1,
            "atext" => {
                after_text = true;
                1
            }
            c => {
                assert!(colors.contains(&c), "{line}");
                0
            }
        };
        assert_eq!(words.len(), 1 + points * 2, "{line}");
        for p in words[1..].chunks(2) {
            let (s, us) = p[0].split_once('.').unwrap();
            assert!(s.parse::<u32>().is_ok() && us.len() == 6 && p[1].parse::<u32>().is_ok(), "{line}");
        }
    }
    assert!(drawn.contains("\nred\n"), "the repair is drawn");

    let out = run(&["analyze", SENDER, "--format", "xplot"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("-o FOLDER/"), "{}", stderr(&out));
    let json = put(dir.path(), "r.json", report("json", &[]).as_bytes());
    let out = run(&["view", text(&json), "--format", "xplot"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("syncscope analyze CAPTURE"), "{}", stderr(&out));
}

/// It said that there was no TCP connection in the evidence, and left it to a line below to say why.
#[test]
fn frames_that_cannot_be_read_are_the_verdict() {
    let dir = tempfile::tempdir().unwrap();
    let with = |change: &dyn Fn(&mut Packet)| {
        let mut all = frames(STRACED);
        all.iter_mut().for_each(change);
        let path = put(dir.path(), "odd.pcap", &pcap(&all));
        run(&["analyze", text(&path), "--format", "json"])
    };
    let strange = with(&|p| p.link = LinkType(195));
    assert_eq!(strange.status.code(), Some(2));
    assert!(
        stderr(&strange).contains("its frames are of link type 195 (IEEE 802.15.4"),
        "{}",
        stderr(&strange)
    );
    let short = json(&with(&|p| p.data.truncate(40)));
    let short = short["verdict"]["sentence"].as_str().unwrap();
    assert!(short.starts_with("93 of 93 frames are cut before the end of a TCP header"), "{short}");
    for filter in ["flow 7", "udp", "time +5s.."] {
        let said = json(&run(&["analyze", STRACED, "--format", "json", "--filter", filter]));
        assert_eq!(said["verdict"]["sentence"], "The filter leaves no TCP connection of this evidence.");
    }
}
