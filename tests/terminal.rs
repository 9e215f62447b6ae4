//! The real program in a real (pseudo) terminal: keys, resizing, and the terminal afterwards.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod sample;

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use syncscope::tui::LiveUpdate;
use syncscope::view;

const PATIENCE: Duration = Duration::from_secs(20);

struct Term {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keys: Box<dyn Write + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
    bytes: Arc<Mutex<Vec<u8>>>,
}

fn size(cols: u16, rows: u16) -> PtySize {
    PtySize { rows, cols, pixel_width: 0, pixel_height: 0 }
}

fn some(n: u16) -> std::num::NonZero<u16> {
    std::num::NonZero::new(n).unwrap()
}

impl Term {
    fn start(args: &[&str], env: &[(&str, &str)], cols: u16, rows: u16) -> Term {
        Term::start_program(env!("CARGO_BIN_EXE_syncscope"), args, env, cols, rows)
    }

    fn start_program(program: &str, args: &[&str], env: &[(&str, &str)], cols: u16, rows: u16) -> Term {
        let pair = native_pty_system().openpty(size(cols, rows)).unwrap();
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.env("TERM", "xterm-256color");
        command.env_remove("NO_COLOR");
        command.env_remove("SYNCSCOPE_COLOR");
        for (k, v) in env {
            command.env(k, v);
        }
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let screen = Arc::new(Mutex::new(vt100::Parser::new(some(rows), some(cols), 0)));
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (s, b) = (Arc::clone(&screen), Arc::clone(&bytes));
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n) = reader.read(&mut chunk) {
                if n == 0 {
                    break;
                }
                s.lock().unwrap().process(&chunk[..n]);
                b.lock().unwrap().extend_from_slice(&chunk[..n]);
            }
        });
        let keys = pair.master.take_writer().unwrap();
        Term { master: pair.master, child, keys, screen, bytes }
    }

    fn contents(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&vt100::Screen) -> bool) {
        let begun = Instant::now();
        while !holds(self.screen.lock().unwrap().screen()) {
            assert!(begun.elapsed() < PATIENCE, "never saw {what}; the screen is:\n{}", self.contents());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn wait_text(&self, text: &str) {
        self.wait_for(text, |s| s.contents().contains(text));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    fn resize(&mut self, cols: u16, rows: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(some(rows), some(cols));
        self.master.resize(size(cols, rows)).unwrap();
    }

    fn raw(&self) -> bool {
        // In raw mode the line discipline neither echoes nor collects lines.
        let t = format!("{:?}", self.master.get_termios().unwrap().local_flags);
        !t.contains("ICANON")
    }

    fn exit(&mut self) -> u32 {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.exit_code();
            }
            if begun.elapsed() > PATIENCE {
                self.child.kill().unwrap();
                panic!("it does not end; the screen is:\n{}", self.contents());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The terminal is as it was before.
    fn restored(&self) {
        self.wait_for("the main screen again", |s| !s.alternate_screen() && !s.hide_cursor());
        assert!(!self.raw(), "raw mode is still on");
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        let _ = self.child.kill();
    }
}

/// A run record with only its report.
fn record() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("report.json");
    view::json::write(&sample::report(), &mut std::fs::File::create(&file).unwrap()).unwrap();
    (dir, file)
}

#[test]
fn view_in_a_terminal_from_first_screen_to_quit() {
    let (dir, _) = record();
    let mut t = Term::start(&["view", dir.path().to_str().unwrap()], &[], 80, 24);
    t.wait_text("incident 3 of 4");
    t.wait_text("DEGRADED");
    assert!(t.screen.lock().unwrap().screen().alternate_screen());
    assert!(t.raw());
    t.press("\r");
    t.wait_text("Step by step");
    t.press("?");
    t.wait_text("this help");
    t.press("?");
    t.wait_text("Step by step");
    t.press("\x7f");
    t.wait_text("incident 3 of 4");
    t.press("n");
    t.wait_text("incident 4 of 4");
    // Nobody can continue a process without a shell, so the kernel does not stop it: it is back at once.
    t.press("\x1ap");
    t.wait_text("incident 3 of 4");
    assert_eq!(t.bytes.lock().unwrap().windows(8).filter(|w| *w == b"\x1b[?1049h").count(), 2);
    t.press("n");
    t.resize(120, 40);
    t.wait_for("the wider screen", |s| {
        s.contents().lines().any(|l| l.contains("a tail loss probe brought it"))
    });
    t.resize(40, 12);
    t.wait_text("incid.");
    t.resize(10, 3);
    t.wait_text("degraded");
    t.resize(80, 24);
    t.wait_text("q quit");
    t.press("q");
    assert_eq!(t.exit(), 0);
    t.restored();
}

#[test]
fn ctrl_c_and_termination_give_the_terminal_back() {
    let (_dir, file) = record();
    let file = file.to_str().unwrap();
    let mut t = Term::start(&["view", file], &[], 80, 24);
    t.wait_text("incident 3 of 4");
    t.press("\x03");
    assert_eq!(t.exit(), 0);
    t.restored();

    let mut t = Term::start(&["view", file], &[], 80, 24);
    t.wait_text("incident 3 of 4");
    let pid = nix::unistd::Pid::from_raw(t.child.process_id().unwrap() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    t.exit();
    t.restored();
}

/// Not a test of its own: what [`live_run`] starts in a terminal, in a process of its own.
#[test]
fn live_child() {
    let Ok(script) = std::env::var("SYNCSCOPE_TEST_LIVE") else { return };
    let (tx, rx) = std::sync::mpsc::channel();
    let go_on = script != "quit";
    let run = std::thread::spawn(move || {
        tx.send(LiveUpdate::Progress("file 1 of 64".to_owned())).unwrap();
        let mut part = sample::report();
        part.incidents.truncate(1);
        tx.send(LiveUpdate::Report(Box::new(part))).unwrap();
        if script == "panic" {
            std::thread::sleep(Duration::from_millis(300));
            panic!("the run fell over");
        }
        std::thread::sleep(Duration::from_millis(300));
        if go_on {
            tx.send(LiveUpdate::Done(Box::new(sample::report()))).unwrap();
        } else {
            // Held open: the run has not ended.
            std::thread::sleep(PATIENCE);
        }
        drop(tx);
    });
    let exit = syncscope::tui::run::live(rx).unwrap();
    println!("left as {exit:?}");
    if go_on {
        let _ = run.join();
    }
    std::process::exit(7);
}

fn live_run(script: &str) -> Term {
    let me = std::env::current_exe().unwrap();
    let args = ["live_child", "--exact", "--nocapture"];
    Term::start_program(me.to_str().unwrap(), &args, &[("SYNCSCOPE_TEST_LIVE", script)], 80, 24)
}

#[test]
fn a_live_run_can_be_browsed_after_its_end_and_left_before_it() {
    let mut t = live_run("done");
    t.wait_text("LIVE");
    t.wait_text("file 1 of 64");
    t.wait_text("incident 1 of 1");
    t.wait_text("DONE");
    t.wait_text("incident 3 of 4");
    t.press("n");
    t.wait_text("incident 4 of 4");
    t.press("q");
    assert_eq!(t.exit(), 7);
    t.restored();
    t.wait_text("left as Done");

    let mut t = live_run("quit");
    t.wait_text("incident 1 of 1");
    t.press(" ");
    t.wait_text("FROZEN");
    t.press("q");
    assert_eq!(t.exit(), 7);
    t.restored();
    t.wait_text("left as Quit");
}

#[test]
fn a_panic_in_the_run_gives_the_terminal_back_before_it_is_told() {
    let mut t = live_run("panic");
    t.wait_text("incident 1 of 1");
    assert_eq!(t.exit(), 7);
    t.restored();
    t.wait_text("the run fell over");
}

#[test]
fn no_color_means_no_colour_escapes() {
    let (_dir, file) = record();
    for (env, args, colored) in [
        (vec![("NO_COLOR", "1")], vec!["view"], false),
        (vec![], vec!["--color", "never", "view"], false),
        (vec![], vec!["view"], true),
    ] {
        let mut args = args;
        args.push(file.to_str().unwrap());
        let mut t = Term::start(&args, &env, 80, 24);
        t.wait_text("incident 3 of 4");
        t.press("q");
        assert_eq!(t.exit(), 0);
        t.restored();
        let cells = {
            let bytes = t.bytes.lock().unwrap();
            let mut p = vt100::Parser::new(some(24), some(80), 0);
            // Up to where the alternate screen is left again.
            let end = bytes.windows(8).position(|w| w == b"\x1b[?1049l").unwrap();
            p.process(&bytes[..end]);
            let s = p.screen();
            (0..24)
                .flat_map(|r| (0..80).map(move |c| (r, c)))
                .filter(|(r, c)| s.cell(*r, *c).is_some_and(|x| x.fgcolor() != vt100::Color::Default))
                .count()
        };
        assert_eq!(cells > 0, colored, "{args:?} {env:?}");
    }
}

#[test]
fn off_a_terminal_the_text_is_printed() {
    let (dir, file) = record();
    let run = |args: &[&str]| {
        std::process::Command::new(env!("CARGO_BIN_EXE_syncscope")).args(args).output().unwrap()
    };
    let out = run(&["view", dir.path().to_str().unwrap()]);
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8(out.stdout).unwrap();
    assert!(text.starts_with("DEGRADED  4 reads waited"));
    assert!(!text.contains('\x1b'));
    let file = file.to_str().unwrap();
    for (severity, code) in [("never", 0), ("error", 1), ("warning", 1), ("info", 1)] {
        assert_eq!(run(&["view", "--fail-on", severity, file]).status.code(), Some(code), "{severity}");
    }
    let ndjson = run(&["view", "--format", "ndjson", file]).stdout;
    assert_eq!(view::load(&String::from_utf8(ndjson).unwrap()).unwrap(), sample::report());
}

#[test]
fn what_cannot_be_shown_is_said_on_stderr_with_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let future = {
        let mut out = Vec::new();
        view::json::write(&sample::report(), &mut out).unwrap();
        String::from_utf8(out).unwrap().replacen("report/1", "report/9", 1)
    };
    let cases = [
        (write("later.json", future.as_bytes()), "report/9"),
        (write("x.pcapng", b"\x0a\x0d\x0d\x0a0000"), "syncscope analyze"),
        (write("x.txt", b"hello"), "not a syncscope report"),
        (dir.path().join("missing").to_str().unwrap().to_owned(), "No such file"),
        (dir.path().to_str().unwrap().to_owned(), "without report.json"),
    ];
    for (path, want) in cases {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_syncscope"))
            .args(["view", &path])
            .output()
            .unwrap();
        let said = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{said}");
        assert!(said.contains(want), "{said}");
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn a_dumb_terminal_gets_text() {
    let (_dir, file) = record();
    let mut t = Term::start(&["view", file.to_str().unwrap()], &[("TERM", "dumb")], 80, 24);
    t.wait_text("unexpected  none");
    assert_eq!(t.exit(), 0);
    assert!(!t.bytes.lock().unwrap().windows(8).any(|w| w == b"\x1b[?1049h"));
}
