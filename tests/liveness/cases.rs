//! What happens to a run, ours and rsync's, when its link or its peer goes.

use super::world::{Cut, PORT, World, code, leftovers};
use crate::program::BINARY;
use nix::sys::signal::Signal;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};
use syncscope::drive::{Busy, Mode, RunEnd, RunRecord, ServeOptions, Server, SyncOptions, run_sync};
use syncscope::model::{Ns, Side};

/// Longer than the transfer, so that none ends before the link does.
const FOR_EVER: &str = "3600s";

/// What one case came to.
pub struct Outcome {
    /// For the table.
    pub text: String,
    /// What should not have been, if this is ours.
    pub wrong: Vec<String>,
}

/// Who syncs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Ours,
    Rsync,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// The link goes; both ends have a time-out.
    BlackHole(Mode),
    /// The link goes; nobody has a time-out, and after a while the client gets a SIGTERM.
    Terminated(Mode),
    /// The link and the client's host go; what is left of it on the server.
    HalfOpen(Mode),
    /// The link is healthy, the peer is busy.
    Busy,
    /// The link goes and comes back.
    Back,
}

impl Case {
    pub const ALL: [Case; 8] = [
        Case::BlackHole(Mode::Pull),
        Case::BlackHole(Mode::Push),
        Case::Terminated(Mode::Pull),
        Case::Terminated(Mode::Push),
        Case::HalfOpen(Mode::Pull),
        Case::HalfOpen(Mode::Push),
        Case::Busy,
        Case::Back,
    ];

    pub fn title(self, t: Duration) -> String {
        let way = |m: Mode| if m == Mode::Pull { "pull" } else { "push" };
        let t = t.as_secs();
        match self {
            Case::BlackHole(m) => format!("{}, black hole, time-out {t} s: client ends after", way(m)),
            Case::Terminated(m) => format!("{}, black hole, no time-out: SIGTERM ends it after", way(m)),
            Case::HalfOpen(m) => {
                format!("{}, client's host gone, time-out {t} s: server's connections gone after", way(m))
            }
            Case::Busy => "healthy link, busy peer".to_owned(),
            Case::Back => "pull of 16 MiB, the link comes back, `--retry`".to_owned(),
        }
    }
}

/// Plays one case. `slack` is what ours may need beyond the time-out; `cap` bounds how long it is watched.
pub fn play(who: Who, case: Case, t: Duration, slack: Duration, cap: Duration) -> Result<Outcome, String> {
    match (who, case) {
        (Who::Ours, Case::Busy) => busy(t),
        (Who::Rsync, Case::Busy) => rsync_busy(t),
        (Who::Ours, Case::Back) => back(t),
        (Who::Rsync, Case::Back) => Ok(Outcome { text: "no such option".to_owned(), wrong: Vec::new() }),
        _ => {
            let begun = |o: &Result<Outcome, String>| o.as_ref().err().is_none_or(|e| e != EARLY);
            let mut tries = (0..TRIES).map(|_| cut(who, case, t, slack, cap));
            tries.find(begun).unwrap_or_else(|| Err(EARLY.to_owned()))
        }
    }
}

/// How often a case is played where the host was too busy to begin in time.
const TRIES: usize = 3;
const EARLY: &str = "the link was cut before the run had begun";

fn world(cut: Cut) -> Result<World, String> {
    World::new(cut).map_err(|e| e.to_string())
}

fn seconds(d: Duration) -> String {
    format!("{:.1} s", d.as_secs_f64())
}

/// The cases in which the link is cut in the middle of a file.
fn cut(who: Who, case: Case, t: Duration, slack: Duration, cap: Duration) -> Result<Outcome, String> {
    let w = world(Cut::ForGood)?;
    w.trees(16);
    let (Case::BlackHole(mode) | Case::Terminated(mode) | Case::HalfOpen(mode)) = case else {
        return Err("not a case of this kind".to_owned());
    };
    let timeout = (!matches!(case, Case::Terminated(_))).then_some(t);
    let (source, dest) = (w.path("source"), w.path("dest"));
    let served = if mode == Mode::Pull { &source } else { &dest };
    let mut server = match who {
        Who::Ours => {
            let addr = w.server().to_string();
            let long = timeout.map_or(FOR_EVER.to_owned(), |t| format!("{}ms", t.as_millis()));
            w.start(Side::Server, BINARY, &["serve", "--listen", &addr, "--timeout", &long, &text(served)])
        }
        Who::Rsync => {
            let conf = w.path("rsyncd.conf");
            let limit = timeout.map_or(String::new(), |t| format!("timeout = {}\n", t.as_secs()));
            let module = format!("[m]\npath = {}\nread only = no\nuse chroot = no\n{limit}", text(served));
            fs::write(&conf, format!("log file = {}\n{module}", text(&w.path("log"))))
                .map_err(|e| e.to_string())?;
            let (port, ip) = (format!("--port={PORT}"), format!("--address={}", w.server_ip()));
            let conf = format!("--config={}", text(&conf));
            w.start(Side::Server, "rsync", &["--daemon", "--no-detach", &port, &ip, &conf])
        }
    };
    w.wait_for_listener();
    let mut args: Vec<String> = Vec::new();
    let local = if mode == Mode::Pull { &dest } else { &source };
    let remote = match who {
        Who::Ours => {
            args.extend(["sync", "--format", "json", "--timeout"].map(str::to_owned));
            args.push(timeout.map_or(FOR_EVER.to_owned(), |t| format!("{}ms", t.as_millis())));
            args.extend(["--record".to_owned(), text(&w.path("record"))]);
            format!("{}:", w.server())
        }
        Who::Rsync => {
            args.push("-r".to_owned());
            args.extend(timeout.map(|t| format!("--timeout={}", t.as_secs())));
            format!("rsync://{}/m/", w.server())
        }
    };
    let local = format!("{}/", text(local));
    args.extend(if mode == Mode::Pull { [remote, local] } else { [local, remote] });
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let program = if who == Who::Ours { BINARY } else { "rsync" };
    let mut client = w.start(Side::Client, program, &args);

    w.until_after_cut(Duration::ZERO);
    let mut from = w.cut_at();
    match case {
        Case::HalfOpen(_) => client.signal(Signal::SIGKILL),
        Case::Terminated(_) => {
            w.until_after_cut(t);
            from = SystemTime::now();
            client.signal(Signal::SIGTERM);
        }
        _ => {}
    }
    let until = from + cap;
    let gone = w.connections_gone(until);
    let ended = client.ended(until);
    let gone = gone.join().map_err(|_| "the watcher died")?;
    let after = |at: SystemTime| at.duration_since(from).unwrap_or_default();
    let not = || format!("not after {} s", cap.as_secs());
    let server_text = gone.map_or_else(not, |at| seconds(after(at)));
    let client_text = ended.map_or_else(not, |(at, s)| format!("{}, exit {}", seconds(after(at)), code(s)));
    let text = match case {
        Case::BlackHole(_) => format!("{client_text}; server's connections gone: {server_text}"),
        Case::Terminated(_) => client_text.clone(),
        _ => server_text.clone(),
    };
    if who == Who::Rsync {
        return Ok(Outcome { text, wrong: Vec::new() });
    }
    if client.said().contains("could not be opened") || ended.is_some_and(|e| code(e.1) == 2) {
        return Err(EARLY.to_owned());
    }
    let mut wrong = Vec::new();
    let mut must = |ok: bool, what: String| {
        if !ok {
            wrong.push(what);
        }
    };
    let said = client.said();
    let most = match case {
        Case::Terminated(_) => slack,
        _ => t + slack,
    };
    let in_time = |at: Option<SystemTime>| at.is_some_and(|at| after(at) <= most);
    must(in_time(ended.map(|e| e.0)), format!("the client ended late: {client_text}; it said: {said}"));
    let code = ended.map(|e| code(e.1));
    match case {
        Case::BlackHole(_) => {
            must(code == Some(1), format!("exit {code:?}"));
            let words = said.contains("no sign of life from the peer for")
                && (said.contains("without an answer") || said.contains("unacknowledged"));
            must(words, format!("not the reason: {said}"));
            must(in_time(gone), format!("the server's connections: {server_text}; {}", server.said()));
            must(server.said().contains("no sign of life"), format!("the server: {}", server.said()));
        }
        Case::Terminated(_) => {
            must(code == Some(130), format!("exit {code:?}: {said}"));
            must(w.path("record/report.json").is_file(), "no partial report".to_owned());
            must(w.path("record/client.events.json").is_file(), "no partial record".to_owned());
        }
        _ => must(in_time(gone), format!("the server's connections: {server_text}; {}", server.said())),
    }
    // The server has no peer any more, or waits for one that is gone; it ends all the same.
    let asked = SystemTime::now();
    server.signal(Signal::SIGTERM);
    let stopped = server.ended(asked + slack).and_then(|(_, s)| s.code());
    must(stopped == Some(0), format!("the server, told to stop: {stopped:?}; {}", server.said()));
    must(!dest.join("big").exists(), "a partial file is in place".to_owned());
    if matches!((case, mode), (Case::Terminated(_), Mode::Pull)) {
        must(leftovers(&dest).is_empty(), format!("left: {:?}", leftovers(&dest)));
    }
    Ok(Outcome { text, wrong })
}

fn text(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Ours: each program in turn does nothing for ten time-outs.
fn busy(t: Duration) -> Result<Outcome, String> {
    let w = world(Cut::Never)?;
    w.trees(1);
    let (at, root, stop) = (w.server(), w.path("source"), Arc::new(AtomicBool::new(false)));
    let (dest, record, stopped) = (w.path("dest"), w.path("record"), Arc::clone(&stop));
    let server = w.thread(Side::Server, move || {
        let server = Server::bind(at, &root, ServeOptions::default()).map_err(|e| e.to_string())?;
        server.run(&stopped).map_err(|e| e.to_string())
    });
    w.wait_for_listener();
    let began = SystemTime::now();
    let pause = Ns(i64::try_from(t.as_nanos()).unwrap_or(i64::MAX) * 10);
    let client = w.thread(Side::Client, move || {
        let busy = vec![Busy { side: Side::Server, at: Ns::from_millis(100), lasts: pause }];
        let o = SyncOptions { timeout: t, busy, ..SyncOptions::new(at, Mode::Pull, "", dest, record) };
        run_sync(&o, &AtomicBool::new(false), &mut ()).map_err(|e| e.to_string())
    });
    let run = client.join().map_err(|_| "the client died")??;
    stop.store(true, Ordering::Relaxed);
    server.join().map_err(|_| "the server died")??;
    let took = began.elapsed().unwrap_or_default();
    let done = run.end == RunEnd::Done;
    let text = match done {
        true => format!("peer's program held for {} s, time-out {} s: done", t.as_secs() * 10, t.as_secs()),
        false => format!("given up after {}: {}", seconds(took), run.end.sentence()),
    };
    Ok(Outcome { text: text.clone(), wrong: if done { Vec::new() } else { vec![text] } })
}

/// Ours: the link is dead for longer than the time-out, twice, and the run ends well by itself.
fn back(t: Duration) -> Result<Outcome, String> {
    let w = world(Cut::For(t * 2 + Duration::from_secs(1)))?;
    w.trees(16);
    let (addr, limit) = (w.server().to_string(), format!("{}ms", t.as_millis()));
    let served = text(&w.path("source"));
    let _server = w.start(
        Side::Server,
        BINARY,
        &["serve", "--listen", &addr, "--timeout", &limit, "--no-capture", &served],
    );
    w.wait_for_listener();
    let (remote, dest, record) = (format!("{addr}:"), text(&w.path("dest")), text(&w.path("record")));
    let args = ["sync", "--format", "json", "--timeout", &limit, "--retry", "9", "--fail-on", "never"];
    let places = ["--no-capture", "--record", &record, &remote, &dest];
    let mut client = w.start(Side::Client, BINARY, &[&args[..], &places].concat());
    let ended = client.ended(SystemTime::now() + t * 10 + Duration::from_secs(30));
    let said = client.said();
    let Some((_, status)) = ended else { return Err(format!("it did not end: {said}")) };
    let same = fs::read(w.path("dest/big")).ok() == fs::read(w.path("source/big")).ok();
    let runs = fs::read_dir(w.dir.path()).map_err(|e| e.to_string())?.filter_map(Result::ok);
    let records = runs.filter(|e| e.file_name().to_string_lossy().starts_with("record"));
    let literal: u64 = records.filter_map(|e| RunRecord::open(&e.path()).ok()).map(|r| r.stats.literal).sum();
    let again = literal.saturating_sub(16 << 20);
    let mut wrong = Vec::new();
    if code(status) != 0 || !same || !said.contains("trying again") || !leftovers(&w.path("dest")).is_empty()
    {
        wrong.push(format!(
            "exit {}, same {same}, left {:?}: {said}",
            code(status),
            leftovers(&w.path("dest"))
        ));
    }
    if again > 1 << 20 {
        wrong.push(format!("{again} bytes were sent again"));
    }
    Ok(Outcome { text: format!("done by itself, {} KiB sent again", again >> 10), wrong })
}

/// rsync: a peer that sums a large file.
fn rsync_busy(t: Duration) -> Result<Outcome, String> {
    const GIB: u64 = 6;
    let w = world(Cut::Never)?;
    for side in ["source", "dest"] {
        fs::create_dir(w.path(side)).map_err(|e| e.to_string())?;
        let file = fs::File::create(w.path(side).join("big")).map_err(|e| e.to_string())?;
        file.set_len(GIB << 30).map_err(|e| e.to_string())?;
    }
    let conf = w.path("rsyncd.conf");
    let module = format!("[m]\npath = {}\nuse chroot = no\n", text(&w.path("source")));
    fs::write(&conf, format!("log file = {}\n{module}", text(&w.path("log")))).map_err(|e| e.to_string())?;
    let (port, ip) = (format!("--port={PORT}"), format!("--address={}", w.server_ip()));
    let conf = format!("--config={}", text(&conf));
    let _server = w.start(Side::Server, "rsync", &["--daemon", "--no-detach", &port, &ip, &conf]);
    w.wait_for_listener();
    let (limit, remote) = (format!("--timeout={}", t.as_secs()), format!("rsync://{}/m/", w.server()));
    let dest = text(&w.path("dest"));
    let began = SystemTime::now();
    let mut client =
        w.start(Side::Client, "rsync", &["-r", "--checksum", "--cc=md5", &limit, &remote, &dest]);
    let ended = client.ended(began + Duration::from_secs(120));
    let what = format!("peer sums {GIB} GiB, time-out {} s", t.as_secs());
    let text = match ended {
        Some((at, s)) => {
            let took = seconds(at.duration_since(began).unwrap_or_default());
            match code(s) {
                0 => format!("{what}: done after {took}"),
                n => format!("{what}: given up after {took}, exit {n}"),
            }
        }
        None => format!("{what}: not ended after 120 s"),
    };
    Ok(Outcome { text, wrong: Vec::new() })
}
