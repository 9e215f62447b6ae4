//! One test run, from the client's side.
//!
//! Once the data connection may be opened nothing fails the run any more: how it ended is part of the
//! record, because a run that broke is the one somebody wants to look at.

use super::alive::Vitals;
use super::clock::{Clock, over_run};
use super::connect::{Bound, Welcomed, bind_beside, connect, name_token, open_control, refusal, shake_hands};
use super::control::{
    Answer, Ask, Clocks, Ended, Pause, Prepare, beat_every, from_hex, message_from_hex, random, to_hex,
};
use super::engine::{Item, SessionEngine};
use super::error::DriveError;
use super::files::Disk;
use super::journal::Journal;
use super::options::{Busy, SyncOptions};
use super::pump::{Engine, PumpOptions, Tick, pump};
use super::record::{CaptureState, RUN, RunEnd, RunRecord, write_json};
use super::recorder::{LiveRun, Position, Recorder};
use super::seal::{self, Bond, Sealed};
use super::sealed::SealedEngine;
use super::secret::Secret;
use super::tap::{self, Tap};
use super::tcp_info::{self, forget_on_close, give_up_after};
use super::wire::{Channel, Kind, Stop, Token, WireError, preamble};
use crate::model::app::ClockOffset;
use crate::model::units::printable;
use crate::model::{Ns, Phase, Side, Ts};
use crate::report::{SyncStats, record};
use crate::sync::{Config, Session};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Longest wait for an answer beside the data, however long the run's own time-out is.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is left for the server's half of the record after the user has said stop.
const LAST_WORD: Duration = Duration::from_millis(600);
/// How long a server that has given up may still talk on the data connection.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is left after a cut for what had arrived.
pub(super) const SALVAGE: Duration = Duration::from_millis(300);
/// Largest server log and capture that are fetched.
const MAX_BLOB: u64 = 8 << 30;
/// A step of the system clock that is worth telling.
const NOTABLE_STEP: Ns = Ns::from_millis(1);

/// How far a run is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Since the data connection was opened.
    pub elapsed: Ns,
    /// Bytes read from the data connection.
    pub read: u64,
    /// Bytes written to it.
    pub written: u64,
    /// What the client is doing.
    pub phase: Phase,
    /// The file it is at: index and name.
    pub file: Option<(u32, String)>,
    /// Files known so far.
    pub files: u32,
    /// Bytes of files that are sent or taken from a basis, and of all files.
    pub moved: (u64, u64),
    /// What the peer is busy with, or how long nothing is heard of it; none: it gets on.
    pub peer: Option<String>,
}

/// Who watches a run. `()` does not.
pub trait Observer {
    /// Whether the log is looked at while it grows. Else only its newest part stays in memory.
    fn looks(&self) -> bool {
        true
    }

    /// The data connection is open; `live` is the client's log as it grows.
    fn started(&mut self, live: &Arc<LiveRun>) {
        let _ = live;
    }

    /// What was changed, once the run is over; only if that was asked for.
    fn items(&mut self, items: Vec<Item>) {
        let _ = items;
    }

    /// Called about ten times a second, from the thread that moves the bytes: be quick.
    fn progress(&mut self, progress: &Progress) {
        let _ = progress;
    }
}

impl Observer for () {
    fn looks(&self) -> bool {
        false
    }
}

/// Runs one sync against a [`super::serve`] and writes its record.
///
/// What goes wrong once the data connection is being opened does not fail the run: it is told by
/// [`RunRecord::end`] and [`RunRecord::errors`], because the record is what is wanted then.
/// Captures are made in the calling thread's network namespace.
pub fn run_sync(
    options: &SyncOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunRecord, DriveError> {
    let missing = |p: &&Path| !p.as_os_str().is_empty() && !p.exists();
    let made: Vec<&Path> = options.record.ancestors().take_while(missing).collect();
    std::fs::create_dir_all(&options.record)
        .map_err(|e| DriveError::local(format!("run record {}", options.record.display()), e))?;
    let result = recorded(options, stop, observer);
    if result.is_err() {
        // There is nothing to record; a folder with something in it stays.
        let _ = made.iter().try_for_each(std::fs::remove_dir);
    }
    result
}

fn recorded(
    options: &SyncOptions,
    stop: &AtomicBool,
    observer: &mut dyn Observer,
) -> Result<RunRecord, DriveError> {
    let stopped = || stop.load(Ordering::Relaxed);
    let run =
        Client { options, clock: Clock::new(), patience: options.timeout.min(PATIENCE), stop: &stopped };
    let secret = match &options.secret {
        Some(secret) => Some((
            secret,
            name_token(&options.user).ok_or_else(|| {
                DriveError::local(format!("the user {:?}", options.user), "names have at most 16 bytes")
            })?,
        )),
        None => None,
    };
    let mut channel = open_control(options.server, secret.is_some(), run.patience, &stopped)?;
    let data =
        bind_beside(channel.stream()).map_err(|e| DriveError::local("a port for the data connection", e))?;
    let seed = match options.seed {
        Some(seed) => seed,
        None => random()
            .map_err(|e| DriveError::local("/dev/urandom", e))
            .map(|r| u128::from_ne_bytes(r) as u64)?,
    };
    let ask = Ask::Prepare(run.wish(&data, seed, secret.is_some()));
    let (ready, mut clocks) = match secret {
        Some(secret) => run.announce_sealed(&mut channel, secret, ask, &data),
        None => channel
            .send_raw(&preamble(Kind::Control, Token::default()), run.patience, &stopped)
            .and_then(|()| run.announce(&mut channel, &ask, &data)),
    }
    .map_err(|e| run.refusal(e))?;
    let before = clocks.offset().map_err(|e| run.refusal(e))?;
    let (server_without, server_timeout) = (ready.no_capture.clone(), ready.timeout);
    give_up_after(channel.stream(), options.timeout);

    let (mut tap, mut client_capture) = (None, None);
    if options.capture {
        match run.start_tap(data.addr) {
            Ok(t) => tap = Some(t),
            Err(why) => {
                client_capture = Some(CaptureState { problem: Some(why), ..CaptureState::default() });
            }
        }
    }
    let every = beat_every(options.timeout.min(server_timeout));
    let pulse = Pulse::new(run.clock.now(), every, channel.stream().try_clone().ok());
    let (moved, beats) = std::thread::scope(|scope| {
        let beats = scope.spawn(|| -> Result<_, WireError> {
            run.beat(&mut channel, &mut clocks, &pulse)?;
            // While the data connection still waits for the peer's FIN: that would be one round trip more.
            let done = pulse.done.load(Ordering::Relaxed);
            done.then(|| run.wind_up(&mut channel, &mut clocks, &RunEnd::Done)).transpose()
        });
        let beating = beats.thread().clone();
        let done = || {
            pulse.done.store(true, Ordering::Relaxed);
            pulse.over.store(true, Ordering::Relaxed);
            beating.unpark();
        };
        let moved = run.transfer(data, ready, seed, &pulse, &done, observer);
        // This may take its time, and the server wants to hear that somebody is there.
        if let Some(t) = tap {
            let hurry = matches!(moved.end, RunEnd::TimedOut(_) | RunEnd::Interrupted);
            client_capture = Some(t.stop(Some(&moved.log.log), hurry));
        }
        pulse.over.store(true, Ordering::Relaxed);
        beats.thread().unpark();
        (moved, beats.join().unwrap_or(Ok(None)))
    });

    let mut errors = moved.errors;
    let silent = pulse.silent(run.clock.now());
    let over = matches!(moved.end, RunEnd::TimedOut(_) | RunEnd::Interrupted);
    let gone = over && !pulse.answers(run.clock.now());
    let ended = match gone {
        // It would only take the same time once more.
        true => Err(WireError::Silent(silent.to_std())),
        false => beats.and_then(|ended| match ended {
            Some(ended) => Ok(ended),
            None => run.wind_up(&mut channel, &mut clocks, &moved.end),
        }),
    };
    if matches!(ended, Err(WireError::Silent(_))) {
        forget_on_close(channel.stream());
    }
    let (clock, server) = match ended {
        Ok((clock, ended)) => (clock, Some(ended)),
        Err(e) => {
            errors.push(format!("the server's half of the record is missing: {e}"));
            (before, None)
        }
    };
    write_json(&options.record.join(record::CLIENT_EVENTS), &moved.log)?;
    let record = RunRecord {
        dir: options.record.clone(),
        mode: options.mode,
        server: options.server,
        client: moved.log.log.local,
        end: moved.end,
        stats: moved.stats,
        clock: Some(clock),
        client_capture,
        server_capture: match &server {
            Some(ended) => ended.capture.clone(),
            None => server_without.map(|why| CaptureState { problem: Some(why), ..CaptureState::default() }),
        },
        client_clock_step: run.clock.stepped(),
        server_clock_step: server.as_ref().map_or(Ns::ZERO, |e| e.clock_step),
        errors,
    };
    let record = with_remarks(record, server);
    record.save()?;
    Ok(record)
}

/// Removes what an earlier run left in the same folder: half of the one and half of the other would
/// be taken for one record.
fn clear_old(dir: &Path) {
    use record::{CLIENT_CAPTURE, CLIENT_EVENTS, REPORT, SERVER_CAPTURE, SERVER_EVENTS};
    for name in [CLIENT_CAPTURE, CLIENT_EVENTS, SERVER_CAPTURE, SERVER_EVENTS, REPORT, RUN] {
        let _ = std::fs::remove_file(dir.join(name));
    }
}

/// What both ends have to say beside their numbers.
fn with_remarks(mut record: RunRecord, server: Option<Ended>) -> RunRecord {
    if let Some(ended) = server {
        let how = match ended.end {
            Some(RunEnd::Done) => None,
            Some(end) if record.end != RunEnd::Done => Some(end.sentence()),
            Some(_) => None,
            None => Some("no data connection arrived".to_owned()),
        };
        for said in how.into_iter().chain(ended.errors).map(|e| format!("server: {}", printable(&e))) {
            // Files that failed there are told of on the way, too.
            if !record.errors.contains(&said) {
                record.errors.push(said);
            }
        }
    }
    for (who, capture) in [("client", &record.client_capture), ("server", &record.server_capture)] {
        let Some(capture) = capture else { continue };
        record.errors.extend(capture.remarks().map(|r| format!("{who}'s capture: {r}")));
    }
    for (who, step) in [("client", record.client_clock_step), ("server", record.server_clock_step)] {
        if Ns(step.0.saturating_abs()) >= NOTABLE_STEP {
            record.errors.push(format!(
                "the {who}'s system clock was stepped by {step} during the run; packets and events there are on \
                 different clocks from then on"
            ));
        }
    }
    record
}

/// What the data connection and the control connection know of each other while a run goes on.
struct Pulse {
    vitals: Vitals,
    /// How often this end says what it does.
    every: Duration,
    /// When the control connection was last answered, ns.
    answered: AtomicI64,
    /// The control connection, to ask its TCP.
    control: Option<TcpStream>,
    over: AtomicBool,
    /// All is sent and received.
    done: AtomicBool,
    /// What the server said when it gave up, and when.
    refused: OnceLock<(Instant, String)>,
}

impl Pulse {
    fn new(now: Ts, every: Duration, control: Option<TcpStream>) -> Pulse {
        Pulse {
            vitals: Vitals::default(),
            every,
            answered: AtomicI64::new(now.0),
            control,
            over: AtomicBool::new(false),
            done: AtomicBool::new(false),
            refused: OnceLock::new(),
        }
    }

    /// The server gave up, and has had its time to say so on the data connection, too.
    fn is_refused(&self) -> bool {
        self.refused.get().is_some_and(|(at, _)| at.elapsed() >= FAREWELL)
    }

    /// How long the control connection has not been answered.
    fn silent(&self, now: Ts) -> Ns {
        now - Ts(self.answered.load(Ordering::Relaxed))
    }

    /// Whether the latest heartbeat was answered, or the one before.
    fn answers(&self, now: Ts) -> bool {
        self.silent(now).to_std() < self.every * 5 / 2
    }

    /// Whether the peer still answers beside the data: that tells a stuck program, or a path that only
    /// drops some packets, from a dead host or path.
    fn in_words(&self, now: Ts) -> String {
        let ago = self.silent(now);
        if self.answers(now) {
            return format!(
                "the control connection beside it was answered {ago} ago, so the peer's host and the path are alive"
            );
        }
        let tcp = self.control.as_ref().and_then(|c| {
            let queue = |n: Option<u32>| n.unwrap_or(0);
            let (unread, unacked) = (queue(tcp_info::unread(c)), queue(tcp_info::unacknowledged(c)));
            let info = tcp_info::read(c, now).ok()?;
            // The last question arrived there, or it would still be in the queue.
            if info.is_open() && unacked == 0 {
                return Some(
                    "but its TCP has acknowledged the question, so the host and the path are alive: \
                     the program there is stopped or hangs"
                        .to_owned(),
                );
            }
            Some(tcp_info::in_words(&info, unread, unacked))
        });
        let tcp = tcp.map_or_else(String::new, |words| format!(": {words}"));
        format!("the control connection beside it has not been answered for {ago} either{tcp}")
    }
}

struct Client<'a> {
    options: &'a SyncOptions,
    clock: Clock,
    patience: Duration,
    stop: Stop<'a>,
}

/// The server waits for the data connection.
struct Ready {
    token: Token,
    path: String,
    /// The first message of the data connection's handshake.
    hello: Option<String>,
    seal: Option<Sealed>,
    no_capture: Option<String>,
    timeout: Duration,
}

/// What moving the bytes came to.
struct Moved {
    end: RunEnd,
    stats: SyncStats,
    log: Journal,
    errors: Vec<String>,
}

impl Client<'_> {
    fn refusal(&self, e: WireError) -> DriveError {
        refusal(self.options.server, e)
    }

    /// What is wanted of the server.
    fn wish(&self, data: &Bound, seed: u64, secured: bool) -> Prepare {
        let o = self.options;
        let servers = |all: &[Busy]| {
            let mine = all.iter().filter(|b| b.side == Side::Server);
            mine.map(|b| Pause { at: b.at, lasts: b.lasts }).collect()
        };
        Prepare {
            data_port: data.port,
            bwlimit: o.bwlimit,
            busy: servers(&o.busy),
            hold: servers(&o.hold),
            timeout: Ns(i64::try_from(o.timeout.as_nanos()).unwrap_or(i64::MAX)),
            capture: o.capture,
            snaplen: o.snaplen,
            block: o.block,
            seed,
            path: o.remote_path.clone(),
            sealed: secured && !o.plain_data,
        }
    }

    /// Shows that this end has the secret, and announces the run with the same message; unless packets are captured:
    /// the server's capture begins with the announcement, and nothing begins before it knows that this is no recording.
    fn announce_sealed(
        &self,
        channel: &mut Channel,
        secret: (&Secret, Token),
        ask: Ask,
        data: &Bound,
    ) -> Result<(Ready, Clocks), WireError> {
        let early = Some(&ask).filter(|_| !self.options.capture);
        let sent = || {
            if early.is_some() {
                data.set_out(self.options.server);
            }
        };
        let within = (self.patience, self.stop);
        let (ready, clocks, hash) = match shake_hands(channel, secret, early, &self.clock, &sent, within)? {
            Some(Welcomed { answer, hash, times }) => {
                clear_old(&self.options.record);
                (self.ready(answer)?, Clocks::compared(times), hash)
            }
            None => {
                let (ready, clocks) = self.announce(channel, &ask, data)?;
                let none = || WireError::Garbage("no seal".to_owned());
                (ready, clocks, channel.seal().ok_or_else(none)?.hash().to_vec())
            }
        };
        let sealed = match (self.options.plain_data, ready.hello.as_deref().and_then(message_from_hex)) {
            (true, _) => None,
            (false, Some(first)) => Some(seal::Heard::new(Bond::Within(&hash), &first)?.0.answer(&[])?),
            // Never plainly because somebody left the answer out.
            (false, None) => {
                return Err(WireError::Garbage("no handshake for the data connection".to_owned()));
            }
        };
        let (seal, second) = sealed.unzip();
        let begin = Ask::Begin { hello: second.as_deref().map(to_hex) };
        channel.send(&begin, self.patience, self.stop)?;
        Ok((Ready { seal, ..ready }, clocks))
    }

    /// Compares the clocks and announces the run.
    fn announce(&self, channel: &mut Channel, ask: &Ask, data: &Bound) -> Result<(Ready, Clocks), WireError> {
        let mut clocks = Clocks::default();
        clocks.ask(channel, &self.clock, self.patience, self.stop)?;
        // Before the server begins its half: it may keep that in the same folder.
        clear_old(&self.options.record);
        channel.send(ask, self.patience, self.stop)?;
        // Without captures nobody has to see its SYN: that spares a round trip.
        if !self.options.capture {
            data.set_out(self.options.server);
        }
        let answer = clocks.next(channel, &self.clock, self.patience, self.stop)?;
        Ok((self.ready(answer)?, clocks))
    }

    /// Takes the answer to the announcement; its seal is still to come.
    fn ready(&self, answer: Answer) -> Result<Ready, WireError> {
        let garbage = |what: &str| WireError::Garbage(what.to_owned());
        match answer {
            Answer::Ready { token, timeout, path, hello, no_capture } => {
                let token = from_hex(&token).ok_or_else(|| garbage("a token that is none"))?;
                let no_capture = no_capture.map(|why| printable(&why));
                Ok(Ready { token, path, hello, seal: None, no_capture, timeout: timeout.to_std() })
            }
            Answer::Refused { message } => Err(WireError::Refused(printable(&message))),
            _ => Err(garbage("no answer to the announcement of a run")),
        }
    }

    fn start_tap(&self, local: SocketAddr) -> Result<Tap, String> {
        let o = self.options;
        let path = o.record.join(record::CLIENT_CAPTURE);
        let filter = tap::filter(local, o.server);
        Tap::start(Side::Client, o.device.clone(), (local.ip(), o.server.ip()), filter, o.snaplen, &path)
    }

    /// Tells the server what this end does, and hears the same, until the run is over.
    fn beat(&self, channel: &mut Channel, clocks: &mut Clocks, pulse: &Pulse) -> Result<(), WireError> {
        let is_over = || pulse.over.load(Ordering::Relaxed);
        if clocks.is_rough() {
            match clocks.ask(channel, &self.clock, self.options.timeout, &is_over) {
                Ok(()) | Err(WireError::Stopped) => {}
                Err(e) => return Err(self.gave_up(e, pulse)),
            }
        }
        while !is_over() {
            let next = Instant::now() + pulse.every;
            let heard = channel
                .send(&Ask::Beat(pulse.vitals.mine()), self.options.timeout, &is_over)
                .and_then(|()| clocks.next_beat(channel, &self.clock, self.options.timeout, &is_over));
            match heard {
                Ok(beat) => {
                    let now = self.clock.now();
                    pulse.vitals.hear(now, beat);
                    pulse.answered.store(now.0, Ordering::Relaxed);
                }
                Err(WireError::Stopped) => break,
                Err(e) => return Err(self.gave_up(e, pulse)),
            }
            while !is_over() && Instant::now() < next {
                std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
            }
        }
        Ok(())
    }

    /// The server said that it has given up, if that is it.
    fn gave_up(&self, e: WireError, pulse: &Pulse) -> WireError {
        if let WireError::Refused(message) = &e {
            let _ = pulse.refused.set((Instant::now(), message.clone()));
        }
        e
    }

    /// Opens the data connection and moves everything over it.
    fn transfer(
        &self,
        data: Bound,
        ready: Ready,
        seed: u64,
        pulse: &Pulse,
        done: &dyn Fn(),
        observer: &mut dyn Observer,
    ) -> Moved {
        let o = self.options;
        let local = data.addr;
        let live = Arc::new(match observer.looks() || o.capture {
            true => LiveRun::new(Side::Client, local, o.server),
            false => LiveRun::spilling(Side::Client, local, o.server, &o.record)
                .unwrap_or_else(|_| LiveRun::new(Side::Client, local, o.server)),
        });
        let mut recorder = Recorder::new(self.clock, &live);
        let began = self.clock.now();
        let mut config = Config::new(seed);
        config.block_size = o.block;
        config.flags = o.flags;
        config.rules.clone_from(&o.rules);
        let session = Session::client(o.mode.into(), &ready.path, config);
        let mut engine = SessionEngine::new(session, Disk::new(&o.local)).itemize(o.itemize);
        let stop = || (self.stop)() || pulse.is_refused();
        let end = match connect(data.socket, o.server, o.timeout, &stop).and_then(|s| {
            greet(&s, ready.token, &mut recorder)?;
            Ok(s)
        }) {
            Ok(stream) => {
                observer.started(&live);
                let tick = &mut |t: Tick<'_>| observer.progress(&progress(t));
                let own = |all: &[Busy]| all.iter().copied().filter(|b| b.side == Side::Client).collect();
                let options = PumpOptions {
                    opened: self.clock.now(),
                    bwlimit: o.bwlimit,
                    busy: own(&o.busy),
                    hold: own(&o.hold),
                    timeout: Ns(i64::try_from(o.timeout.as_nanos()).unwrap_or(i64::MAX)),
                    stop: &stop,
                    vitals: &pulse.vitals,
                    done,
                    tick,
                };
                let end = match ready.seal {
                    Some(seal) => {
                        pump(&stream, &mut SealedEngine::new(&mut engine, seal), &mut recorder, options)
                    }
                    None => pump(&stream, &mut engine, &mut recorder, options),
                };
                match end {
                    RunEnd::TimedOut(why) => {
                        RunEnd::TimedOut(format!("{why}; {}", pulse.in_words(self.clock.now())))
                    }
                    end => end,
                }
            }
            Err(_) if stop() => RunEnd::Interrupted,
            Err(e) => RunEnd::Broken(format!("the data connection could not be opened: {e}")),
        };
        let end = match (end, pulse.refused.get()) {
            (RunEnd::Interrupted, Some((_, why))) if !(self.stop)() => {
                RunEnd::Broken(format!("the server gave up: {why}"))
            }
            (end, _) => end,
        };
        if matches!(end, RunEnd::TimedOut(_) | RunEnd::Broken(_)) {
            engine.salvage(SALVAGE);
        }
        let stats = engine.stats(recorder.bytes_written(), recorder.bytes_read(), self.clock.now() - began);
        if o.itemize {
            observer.items(engine.items());
        }
        let mut errors = engine.failures("server");
        if recorder.lost() > 0 {
            errors.push(format!("the log is full: {} events at its end are missing", recorder.lost()));
        }
        recorder.finish(engine.files());
        // Whoever looks at it goes on for a moment.
        let log = if observer.looks() { Journal::of(live.snapshot()) } else { live.take() };
        Moved { end, stats, log, errors }
    }

    /// Compares the clocks again and fetches the server's half of the record.
    fn wind_up(
        &self,
        channel: &mut Channel,
        clocks: &mut Clocks,
        end: &RunEnd,
    ) -> Result<(ClockOffset, Ended), WireError> {
        // Once the user has said stop, `stop` stays set: what is left is a little time.
        let since = Instant::now();
        let hurried = *end == RunEnd::Interrupted;
        let stop = || if hurried { since.elapsed() > LAST_WORD } else { (self.stop)() };
        // The server waits a moment for its own end of the data connection.
        let patience = match end {
            RunEnd::Interrupted => LAST_WORD,
            RunEnd::TimedOut(_) | RunEnd::Broken(_) => self.patience.min(Duration::from_secs(4)),
            RunEnd::Done | RunEnd::Failed(_) => self.patience + Duration::from_secs(2),
        };
        // Over a long path that takes too long for somebody who has said stop.
        let before = clocks.offset()?;
        if !hurried {
            clocks.anew();
            clocks.ask(channel, &self.clock, patience, &stop)?;
        }
        let wish = Ask::Finish { stopped: hurried, fetch: self.options.fetch };
        channel.send(&wish, patience, &stop)?;
        let Answer::Ended(ended) = clocks.next(channel, &self.clock, patience, &stop)? else {
            return Err(WireError::Garbage("no account of the run".to_owned()));
        };
        let (ended, after) = (*ended, if hurried { before } else { clocks.offset()? });
        let files =
            [(ended.log_follows, record::SERVER_EVENTS), (ended.capture_follows, record::SERVER_CAPTURE)];
        for (_, name) in files.iter().filter(|f| f.0) {
            let path = self.options.record.join(name);
            let part = path.with_extension("part");
            let fetched = fetch(channel, &part, &self.clock, patience, &stop);
            if let Err(e) = fetched {
                let _ = std::fs::remove_file(&part);
                return Err(e);
            }
            std::fs::rename(&part, &path)?;
        }
        Ok((over_run(before, after), ended))
    }
}

fn fetch(
    channel: &mut Channel,
    path: &Path,
    clock: &Clock,
    patience: Duration,
    stop: Stop<'_>,
) -> Result<(), WireError> {
    let mut file = BufWriter::new(File::create(path)?);
    channel.receive_blob(&mut file, MAX_BLOB, clock, patience, stop)?;
    file.flush()?;
    Ok(())
}

/// The first bytes of the data connection; they are part of its stream, so they are recorded.
fn greet(stream: &TcpStream, token: Token, recorder: &mut Recorder<'_>) -> std::io::Result<()> {
    let start = recorder.now();
    let bytes = preamble(Kind::Data, token);
    (&*stream).write_all(&bytes)?;
    recorder.write(start, None, bytes.len() as u32, None, Position::default());
    Ok(())
}

fn progress(t: Tick<'_>) -> Progress {
    let name = |i: u32| t.files.get(i as usize).cloned().unwrap_or_default();
    Progress {
        elapsed: t.elapsed,
        read: t.read,
        written: t.written,
        phase: t.position.phase,
        file: t.position.file.map(|i| (i, name(i))),
        files: u32::try_from(t.files.len()).unwrap_or(u32::MAX),
        moved: t.moved,
        peer: t.peer,
    }
}
