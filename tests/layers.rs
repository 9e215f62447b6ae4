//! Holds the direction of the data: a room imports only rooms to its left, and the middle is pure.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Left to right, as in `src/lib.rs`. `report` is split by file: its types stand here, what fills
/// them in (`diagnose::build`) stands further right.
const ORDER: [&str; 15] = [
    "model",
    "capture",
    "decode",
    "flow",
    "tcp",
    "sync",
    "report",
    "applog",
    "correlate",
    "diagnose",
    "view",
    "lab",
    "drive",
    "tui",
    "cli",
];

/// Rooms where bytes and time stamps go in and values come out.
const PURE: [&str; 9] =
    ["model", "decode", "flow", "tcp", "sync", "report", "applog", "correlate", "diagnose"];

/// Parts of other rooms that must be pure, too: the link's machine, the scoring, the views.
const PURE_TOO: [&str; 8] = [
    "lab/machine",
    "lab/machine.rs",
    "lab/forge.rs",
    "lab/offload.rs",
    "lab/kernel.rs",
    "lab/talk.rs",
    "lab/score",
    "view",
];

/// Only this file may know the terminal.
const TERMINAL: &str = "tui/run.rs";

/// What touches the world.
const WORLD: [&str; 17] = [
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os::",
    "Instant::now",
    "SystemTime::now",
    "Utc::now",
    "Local::now",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "File::open",
    "File::create",
    "socket2::",
    "nix::",
    "println!",
];

fn sources() -> BTreeMap<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut out = BTreeMap::new();
    let mut todo = vec![root.clone()];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                out.insert(path.strip_prefix(&root).unwrap().to_owned(), text);
            }
        }
    }
    assert!(out.len() > 40, "only {} sources found", out.len());
    out
}

/// The room a file belongs to, if it is in one.
fn room(path: &Path) -> Option<&str> {
    path.components().next()?.as_os_str().to_str().filter(|c| !c.ends_with(".rs"))
}

/// Code without comments and without test modules, line by line with numbers.
fn code(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((i, line)) = lines.next() {
        if line.trim() == "#[cfg(test)]" {
            // A test module is the rest of its file, or one line that names another file.
            match lines.peek() {
                Some((_, next)) if next.trim_end().ends_with(';') => {
                    lines.next();
                    continue;
                }
                _ => break,
            }
        }
        let bare = line.split("//").next().unwrap_or_default();
        if !bare.trim().is_empty() {
            out.push((i + 1, bare.to_owned()));
        }
    }
    out
}

/// True for a file that is only compiled for tests.
fn only_tests(path: &Path) -> bool {
    path.file_stem().is_some_and(|s| s == "tests" || s == "testing")
        || path.components().any(|c| c.as_os_str() == "tests")
}

#[test]
fn a_room_imports_only_rooms_to_its_left() {
    let rank = |room: &str| ORDER.iter().position(|r| *r == room);
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(me) = room(&path) else { continue };
        let my_rank = rank(me).unwrap_or_else(|| panic!("{}: not in the house's order", path.display()));
        if only_tests(&path) {
            continue;
        }
        for (n, line) in code(&text) {
            for part in line.split("crate::").skip(1) {
                let other: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                if rank(&other).is_some_and(|r| r > my_rank) {
                    wrong.push(format!("{}:{n}: {me} imports {other}: {}", path.display(), line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_middle_is_pure() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        let Some(me) = room(&path) else { continue };
        let pure = PURE.contains(&me) || PURE_TOO.iter().any(|p| path.starts_with(p));
        if !pure || only_tests(&path) {
            continue;
        }
        for (n, line) in code(&text) {
            for w in WORLD.iter().filter(|w| line.contains(**w)) {
                wrong.push(format!("{}:{n}: {w}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn one_file_knows_the_terminal() {
    let mut wrong = Vec::new();
    for (path, text) in sources() {
        if path == Path::new(TERMINAL) {
            continue;
        }
        for (n, line) in code(&text) {
            if line.contains("crossterm") {
                wrong.push(format!("{}:{n}: {}", path.display(), line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn files_stay_readable() {
    for (path, text) in sources() {
        assert!(text.lines().count() <= 800, "{} has {} lines", path.display(), text.lines().count());
        assert!(
            only_tests(&path) || text.starts_with("//!"),
            "{} does not say why it exists",
            path.display()
        );
    }
}

#[test]
fn the_test_itself_sees_what_it_looks_for() {
    let text = "use std::fs;\n// std::net\n#[cfg(test)]\nmod tests {\n use std::thread;\n}\n";
    let seen: Vec<_> = code(text).into_iter().map(|l| l.1).collect();
    assert_eq!(seen, ["use std::fs;"]);
}
