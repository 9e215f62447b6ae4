//! What the program says of itself, held against what it does.

use super::*;
use serde_json::{Value, json};

fn schema(args: &[&str]) -> Value {
    json(&run(&[&["generate", "schema"], args].concat()))
}

fn validator(schema: &Value) -> jsonschema::Validator {
    jsonschema::draft202012::meta::validate(schema).map_err(|e| e.to_string()).expect("a schema");
    jsonschema::draft202012::new(schema).map_err(|e| e.to_string()).unwrap()
}

fn check(v: &jsonschema::Validator, value: &Value, what: &str) {
    let wrong: Vec<String> = v.iter_errors(value).take(3).map(|e| e.to_string()).collect();
    assert!(wrong.is_empty(), "{what}: {wrong:?}");
}

/// One capture, two, with logs, with lists of everything.
fn reports() -> Vec<(String, Vec<&'static str>)> {
    let strace: &'static str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/strace/client.strace");
    let events: &'static str = concat!(env!("CARGO_MANIFEST_DIR"), "/captures/seed004/receiver.events.json");
    vec![
        ("one".to_owned(), vec![SENDER, "--all-segments"]),
        ("two".to_owned(), vec![SENDER, RECEIVER, "--app-log", events, "--slow-read", "50ms"]),
        ("strace".to_owned(), vec![STRACED, "--app-log", strace, "--slow-read", "1ms"]),
    ]
}

#[test]
fn reports_keep_to_the_schema() {
    let of = validator(&schema(&[]));
    for (what, args) in reports() {
        let report = json(&run(&[&["analyze", "--format", "json"], &args[..]].concat()));
        check(&of, &report, &what);
        // and it is no schema that takes everything
        for (path, wrong) in [
            ("/verdict/kind", json!("fine")),
            ("/flows/0/client", json!(7)),
            ("/span/start", json!("yesterday")),
            ("/inputs/0/frames", json!(-1)),
        ] {
            let mut report = report.clone();
            *report.pointer_mut(path).unwrap() = wrong;
            assert!(!of.is_valid(&report), "{what} {path}");
        }
        let mut report = report.clone();
        report.as_object_mut().unwrap().remove("findings");
        assert!(!of.is_valid(&report), "{what}: no findings");
    }
    for r in [sample::report(), sample::several_flows(), sample::empty()] {
        check(&of, &serde_json::to_value(&r).unwrap(), &r.meta.title);
    }
}

#[test]
fn lines_keep_to_theirs() {
    let of = validator(&schema(&["--ndjson"]));
    let mut types = std::collections::BTreeSet::new();
    let mut check_all = |text: &str, what: &str| {
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            types.insert(line["type"].as_str().unwrap().to_owned());
            check(&of, &line, what);
        }
    };
    for (what, args) in reports() {
        check_all(&stdout(&run(&[&["analyze", "--format", "ndjson"], &args[..]].concat())), &what);
    }
    let mut whole = Vec::new();
    syncscope::view::ndjson::write(&sample::report(), &mut whole).unwrap();
    check_all(&String::from_utf8(whole).unwrap(), "the sample");
    for t in
        ["meta", "flow", "segment", "loss", "hole", "stall", "read", "finding", "comparison", "run", "end"]
    {
        assert!(types.contains(t), "no line of type {t} was checked");
    }
    assert!(!of.is_valid(&json!({"type": "end"})));
    assert!(!of.is_valid(&json!({"type": "weather"})));
}

#[test]
fn manual_pages_and_completions_know_every_option() {
    let dir = tempfile::tempdir().unwrap();
    let out = run(&["generate", "man", "-o", text(dir.path())]);
    assert_eq!(out.status.code(), Some(0), "{}", stderr(&out));
    let page = std::fs::read_to_string(dir.path().join("syncscope-analyze.1")).unwrap();
    assert_eq!(stdout(&run(&["generate", "man", "analyze"])), page);
    let help = stdout(&run(&["analyze", "--help"]));
    let options: Vec<&str> = help.split_whitespace().filter(|w| w.starts_with("--") && w.len() > 3).collect();
    let options: Vec<&str> =
        options.iter().map(|o| o.trim_end_matches(|c: char| !c.is_ascii_lowercase())).collect();
    let bash = stdout(&run(&["generate", "completions", "bash"]));
    for o in ["--annotate", "--filter", "--slow-read", "--format"] {
        assert!(options.contains(&o));
        assert!(page.replace('\\', "").contains(o), "{o} is not in the manual");
        assert!(bash.contains(o), "{o} is not completed");
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(stdout(&run(&["generate", "completions", shell])).contains("syncscope"), "{shell}");
    }
    if let Ok(mut child) = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn() {
        use std::io::Write;
        child.stdin.take().unwrap().write_all(bash.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "bash takes it");
    }
    let out = run(&["generate", "man", "nothing"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("there are demo, analyze"), "{}", stderr(&out));
}
