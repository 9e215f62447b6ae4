//! Settings: flag, then variable, then file, then default.

use super::*;

fn slow_read(dir: &Path, settings: &str, args: &[&str], variable: Option<&str>) -> Result<i64, String> {
    let file = put(dir, "home/syncscope/config.toml", settings.as_bytes());
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    command.args(["analyze", SENDER, "--format", "json"]).args(args);
    command.env("XDG_CONFIG_HOME", file.parent().unwrap().parent().unwrap()).env_remove("SYNCSCOPE_CONFIG");
    match variable {
        Some(v) => command.env("SYNCSCOPE_SLOW_READ", v),
        None => command.env_remove("SYNCSCOPE_SLOW_READ"),
    };
    let out = command.output().unwrap();
    if out.status.code() == Some(2) {
        return Err(stderr(&out));
    }
    Ok(json(&out)["meta"]["slow_read"].as_i64().unwrap())
}

#[test]
fn a_flag_wins_over_a_variable_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let of = |settings: &str, args: &[&str], variable| slow_read(dir.path(), settings, args, variable);
    assert_eq!(of("", &[], None), Ok(100_000_000));
    let file = "[analyze]\nslow-read = \"7ms\"\nall-segments = true\n";
    assert_eq!(of(file, &[], None), Ok(7_000_000));
    assert_eq!(of("slow-read = \"8ms\"", &[], None), Ok(8_000_000));
    assert_eq!(of(file, &[], Some("5ms")), Ok(5_000_000));
    assert_eq!(of(file, &["--slow-read", "3ms"], Some("5ms")), Ok(3_000_000));
    assert_eq!(of(file, &["--no-config"], None), Ok(100_000_000));
    let other = put(dir.path(), "other.toml", b"[analyze]\nslow-read = \"9ms\"");
    assert_eq!(of(file, &["--config", text(&other)], None), Ok(9_000_000));
}

#[test]
fn what_is_wrong_in_the_file_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let said = |settings: &str| slow_read(dir.path(), settings, &[], None).unwrap_err();
    for (settings, part) in [
        ("slow-raed = 1", "no command has an option `slow-raed`"),
        ("[analyze]\nslow = 1", "`analyze` has no option `slow`; it has "),
        ("[analize]\nx = 1", "there is no command `analize`; there are demo, analyze"),
        ("[analyze]\nall-segments = 3", "analyze.all-segments: it is on or off"),
        ("[analyze]\nslow-read = true", "analyze.slow-read: `true` is no value for it"),
        ("[analyze]\nslow-read = \"7\"", "is no duration"),
        ("slow-read = ", "config.toml"),
    ] {
        let said = said(settings);
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let out = run(&["analyze", SENDER, "--config", "/nowhere.toml"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(stderr(&out).contains("/nowhere.toml"), "{}", stderr(&out));
}

#[test]
fn the_template_lists_every_option_and_is_a_settings_file() {
    let dir = tempfile::tempdir().unwrap();
    let template = stdout(&run(&["generate", "config"]));
    for line in
        ["#color = \"auto\"", "[analyze]", "#slow-read = \"100ms\"", "#all-segments = false", "[sync]"]
    {
        assert!(template.lines().any(|l| l == line), "{line} is not in\n{template}");
    }
    assert_eq!(slow_read(dir.path(), &template, &[], None), Ok(100_000_000));
    // with every default given it says the same
    let given: String = template
        .lines()
        .map(|l| l.strip_prefix('#').filter(|l| !l.starts_with(' ') && !l.contains('…')).unwrap_or(l))
        .map(|l| format!("{l}\n"))
        .collect();
    assert_eq!(slow_read(dir.path(), &given, &[], None), Ok(100_000_000));
}
