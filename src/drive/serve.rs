//! The other end of a test sync: serves a folder to any number of runs, one after the other or at once.
//!
//! With secrets, only who shows one comes as far as a question ([`super::seal`]); without, whoever can
//! connect can read and write. A stranger costs a seat and a thread for at most the handshake's
//! deadline, and usually less: the first wrong byte ends it.
//!
//! ```text
//! accept → gate: address, rate, seats
//!         ├─ 'S' control behind a seal, 'C' control: clocks, Prepare → a Job in the table, capture on … Finish
//!         └─ 'D' data: token → takes its Job out of the table, pumps at once, leaves the outcome in it
//! ```
//! Behind a seal Prepare may ride in the first message of the handshake, which anybody can repeat who heard it. For it
//! there is a [`Promise`]: a Job of a few kilobytes that lives no longer than the connection, and an answer that only
//! the one who said it first can read. No seat of a run, no folder, no capture, and a data connection waits, until the
//! client's first record was opened.

use super::clock::Clock;
use super::connect::name_token;
use super::control::{Answer, Ask, Ended, Prepare, random};
use super::engine::SessionEngine;
use super::error::DriveError;
use super::files::Disk;
use super::gate::{Access, Turnstile};
use super::job::{Job, Outcome};
use super::journal::Journal;
use super::promise::{self, Admitted, Jobs, Promise, welcome};
use super::pump::{PumpOptions, pump};
use super::record::{CaptureState, RunEnd, write_json};
use super::recorder::{LiveRun, Recorder};
use super::run::SALVAGE;
use super::scratch::Scratch;
use super::seal::{Bond, FIRST, Heard, Opening};
use super::sealed::SealedEngine;
use super::secret::Secret;
use super::share::{self, Share};
use super::tap::{self, Tap};
use super::tcp_info::{forget_on_close, give_up_after};
use super::wire::{self, BadPreamble, Channel, Frame, Kind, PREAMBLE, Stop, WireError, framed, wait_for};
use crate::model::units::printable;
use crate::model::{Ns, Side, Ts};
use crate::report::record;
use crate::sync::{Config, Session};
use nix::errno::Errno;
use nix::poll::PollFlags;
use socket2::SockRef;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Where the server says what happens: one line a call.
pub type Notice = Arc<dyn Fn(&str) + Send + Sync>;

/// How to serve.
#[derive(Clone)]
pub struct ServeOptions {
    /// Connections at once, of both kinds; half of them may be runs.
    pub max_connections: usize,
    /// Of them from one address (IPv6: one /64).
    pub max_per_address: usize,
    /// Connections a minute from one address.
    pub max_rate: u32,
    /// Who may connect.
    pub access: Access,
    /// Users and their secrets; the one without a name is for clients that name none. With any, nobody
    /// comes in without one.
    pub secrets: Vec<(String, Secret)>,
    /// Clients with a secret may send the data plainly.
    pub plain_data: bool,
    /// What is served, by name, instead of the one folder.
    pub modules: Vec<Share>,
    /// A connection must say what it wants, and who it is, within this.
    pub handshake: Duration,
    /// Give up after this long without a sign of life from a client; one that asks for less gets less.
    pub timeout: Duration,
    /// Capture when a client asks for it.
    pub capture: bool,
    /// Interface to capture on; none: found by the address.
    pub device: Option<String>,
    /// Leave the server's half of the record of the latest run here (for one client at a time).
    pub keep: Option<PathBuf>,
    /// Where captures lie until they are fetched; none: the system's folder for temporary files.
    pub scratch: Option<PathBuf>,
    /// What happens, in words.
    pub notice: Notice,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            max_connections: 16,
            max_per_address: 16,
            max_rate: 600,
            access: Access::default(),
            secrets: Vec::new(),
            plain_data: false,
            modules: Vec::new(),
            handshake: Duration::from_secs(5),
            timeout: Duration::from_secs(30),
            capture: true,
            device: None,
            keep: None,
            scratch: None,
            notice: Arc::new(|_| {}),
        }
    }
}

impl std::fmt::Debug for ServeOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServeOptions").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// A listening server.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    addr: SocketAddr,
    shares: Vec<Share>,
    /// For users that there are not: to find that out takes as long as to find the secret wrong.
    nobody: Secret,
    gate: Turnstile,
    options: ServeOptions,
    jobs: Jobs,
    connections: AtomicUsize,
    runs: AtomicUsize,
}

impl Server {
    /// Listens. The socket belongs to the calling thread's network namespace.
    pub fn bind(addr: SocketAddr, root: &Path, options: ServeOptions) -> Result<Server, DriveError> {
        let given =
            if options.modules.is_empty() { vec![Share::whole(root)] } else { options.modules.clone() };
        let mut shares = Vec::with_capacity(given.len());
        for share in given {
            let name = share.path.display().to_string();
            shares.push(share.open().map_err(|e| {
                let why = match e {
                    Errno::ENOTDIR => "not a folder".to_owned(),
                    Errno::ENOENT => {
                        format!("there is no such folder; make it (mkdir -p '{name}') or name another")
                    }
                    e => e.desc().to_owned(),
                };
                DriveError::local(name, why)
            })?);
        }
        let nobody = random().map(Secret::random).map_err(|e| DriveError::local("/dev/urandom", e))?;
        let listen = || -> std::io::Result<(TcpListener, SocketAddr)> {
            let listener = TcpListener::bind(addr)?;
            listener.set_nonblocking(true)?;
            let addr = listener.local_addr()?;
            Ok((listener, addr))
        };
        let (listener, addr) =
            listen().map_err(|e| DriveError::local(format!("cannot listen on {addr}"), unheard(addr, &e)))?;
        Ok(Server {
            listener,
            addr,
            shares,
            nobody,
            gate: Turnstile::new(options.max_per_address, options.max_rate),
            options,
            jobs: Jobs::default(),
            connections: AtomicUsize::new(0),
            runs: AtomicUsize::new(0),
        })
    }

    /// Where it listens; the port is known also when 0 was asked for.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop`, once; runs that are still going on end within a second. Captures start in the
    /// calling thread's network namespace.
    pub fn run(&self, stop: &AtomicBool) -> Result<(), DriveError> {
        let result = self.accept_until(stop);
        // Whom only the kernel let in so far is reset now, and does not wait for an answer.
        let _ = SockRef::from(&self.listener).shutdown(Shutdown::Both);
        result
    }

    fn accept_until(&self, stop: &AtomicBool) -> Result<(), DriveError> {
        let stopped = || stop.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            while !stopped() {
                match self.listener.accept() {
                    Ok((stream, peer)) => {
                        if !self.options.access.admits(peer.ip()) {
                            self.say(&format!("{peer}: turned away, its address is not admitted"));
                            continue;
                        }
                        let entered = match self.gate.enter(peer.ip(), Instant::now()) {
                            Ok(e) => e,
                            Err(why) => {
                                self.say(&format!("{peer}: turned away, {why}"));
                                continue;
                            }
                        };
                        let Some(seat) = Seat::take(&self.connections, self.options.max_connections) else {
                            self.say(&format!(
                                "{peer}: turned away, {} connections are open",
                                self.options.max_connections
                            ));
                            continue;
                        };
                        let serve = move || {
                            let _seats = (seat, entered);
                            self.connection(stream, peer, &stopped);
                        };
                        if let Err(e) = std::thread::Builder::new().spawn_scoped(scope, serve) {
                            self.say(&format!("{peer}: turned away: {e}"));
                        }
                    }
                    Err(e) if e.kind() == ErrorKind::WouldBlock => {
                        wait_for(&self.listener, PollFlags::POLLIN, Duration::from_millis(100))
                            .map_err(|e| DriveError::local("cannot wait for connections", e))?;
                    }
                    Err(e) if matches!(e.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                        return Err(DriveError::local("cannot accept connections", e));
                    }
                    // Of the connection that was being accepted, not of the listener (accept(2)).
                    Err(_) => {}
                }
            }
            Ok(())
        })
    }

    fn say(&self, line: &str) {
        (self.options.notice)(line);
    }

    fn connection(&self, mut stream: TcpStream, peer: SocketAddr, stop: Stop<'_>) {
        let accepted = Instant::now();
        let (greeting, raw) = match read_greeting(
            &mut stream,
            accepted + self.options.handshake.min(self.options.timeout),
            stop,
        ) {
            Ok(g) => g,
            Err(why) => return self.say(&format!("{peer}: {why}")),
        };
        match wire::parse_preamble(&raw) {
            Ok((Kind::Control | Kind::Secured, _)) => {
                let Ok(mut channel) = Channel::new(stream) else { return };
                channel.until(Some(accepted + self.options.handshake));
                let clock = Clock::new();
                match self.admit(&mut channel, peer, &raw, clock, stop) {
                    Ok(admitted) => self.control(channel, peer, admitted, clock, stop),
                    Err(WireError::Refused(message)) => {
                        self.say(&format!("{peer}: {message}"));
                        let _ = channel.send(&Answer::Refused { message }, self.options.handshake, stop);
                    }
                    Err(e) => self.say(&format!("{peer}: {e}")),
                }
            }
            Ok((Kind::Data, token)) => match promise::take(&self.jobs, &token) {
                Some(job) => self.data(&job, stream, accepted, &greeting, stop),
                None => self.say(&format!("{peer}: a data connection that nobody announced")),
            },
            Err(BadPreamble::Stranger) => self.say(&format!("{peer}: does not speak this protocol")),
            Err(BadPreamble::Version(v)) => {
                let ours = wire::VERSION;
                let message =
                    format!("control protocol {v} there, {ours} here; install the same version on both");
                self.say(&format!("{peer}: {message}"));
                if let Ok(mut channel) = Channel::new(stream) {
                    let _ = channel.send(&Answer::Refused { message }, self.options.handshake, stop);
                }
            }
        }
    }

    /// Finds out who it is. The user's name, and what he announces, is his word until his first record could be opened.
    fn admit(
        &self,
        channel: &mut Channel,
        peer: SocketAddr,
        preamble: &[u8; PREAMBLE],
        clock: Clock,
        stop: Stop<'_>,
    ) -> Result<Admitted<'_>, WireError> {
        let patience = self.options.handshake;
        let secured = matches!(wire::parse_preamble(preamble), Ok((Kind::Secured, _)));
        match (secured, self.options.secrets.is_empty()) {
            (false, true) => return Ok(Admitted::default()),
            (false, false) => {
                let message = "this server asks for a secret: syncscope sync --secret-file FILE";
                return Err(WireError::Refused(message.to_owned()));
            }
            (true, _) => {}
        }
        let first = channel.receive_framed(FIRST, patience, stop)?;
        let t1 = clock.now();
        if self.options.secrets.is_empty() {
            channel.send_raw(&[1], patience, stop)?;
            let message = "this server has no secret, so it cannot show that it is the right one; give it the \
                           same --secret-file";
            return Err(WireError::Refused(message.to_owned()));
        }
        let named = |name: &str| name_token(name).is_some_and(|t| preamble.ends_with(&t));
        let known = self.options.secrets.iter().find(|(name, _)| named(name));
        let secret = known.map_or(&self.nobody, |(_, s)| s);
        let Ok((heard, payload)) = Heard::new(Bond::Secret(secret, preamble), &first) else {
            self.gate.wrong(peer.ip());
            channel.send_raw(&[1], patience, stop)?;
            let message = "this end does not have the same secret as the server, or the user's name is wrong; check \
                           --secret-file and --user";
            return Err(WireError::Refused(message.to_owned()));
        };
        let user = known.map(|(name, _)| name.clone()).unwrap_or_default();
        let (promise, answer) = match payload.is_empty() {
            true => (None, Vec::new()),
            false => match self.promise_early(&payload, (peer, &user), heard.hash(), clock) {
                Ok(promise) => {
                    let answer = welcome(promise.ready(None), t1, &clock)?;
                    (Some(promise), answer)
                }
                Err(e) => {
                    self.say(&format!("{peer}: {e}"));
                    (None, welcome(Answer::Refused { message: e.to_string() }, t1, &clock)?)
                }
            },
        };
        let (sealed, second) = heard.answer(&answer)?;
        channel.send_raw(&[&[0], &framed(&second)[..]].concat(), patience, stop)?;
        channel.secure(sealed)?;
        Ok(Admitted { user, promise })
    }

    /// What can be answered to an announcement that may be a recording.
    fn promise_early(
        &self,
        announced: &[u8],
        who: (SocketAddr, &str),
        hash: &[u8],
        clock: Clock,
    ) -> Result<Promise<'_>, WireError> {
        if self.runs.load(Ordering::Acquire) >= self.max_runs() {
            return Err(WireError::Refused(FULL.to_owned()));
        }
        match Frame::Message(announced.to_owned()).message()? {
            // A capture would be begun before it is known whether anybody is there.
            Ask::Prepare(wish) if !wish.capture => self.promise(wish, who, Some(hash), clock),
            _ => Err(WireError::Garbage("no announcement in the handshake".to_owned())),
        }
    }

    /// Finds what is wanted, and has a [`Job`] ready for its data connection.
    fn promise(
        &self,
        wish: Prepare,
        (peer, user): (SocketAddr, &str),
        hash: Option<&[u8]>,
        clock: Clock,
    ) -> Result<Promise<'_>, WireError> {
        let (share, path) =
            share::find(&self.shares, &wish.path, user, peer.ip()).map_err(WireError::Refused)?;
        let path = path.to_owned();
        let opening = match hash {
            None => None,
            Some(_) if !wish.sealed && self.options.plain_data => None,
            Some(_) if !wish.sealed => {
                return Err(WireError::Refused(
                    "this server sends and takes no plain data; it would with --plain-data".to_owned(),
                ));
            }
            Some(hash) => Some(Opening::new(Bond::Within(hash), &[])?),
        };
        let own = Ns(i64::try_from(self.options.timeout.as_nanos()).unwrap_or(i64::MAX));
        let job = Job::new(wish, own, clock, share.clone());
        Ok(Promise::new(&self.jobs, random()?, job, path, opening))
    }

    fn max_runs(&self) -> usize {
        (self.options.max_connections / 2).max(1)
    }

    /// Runs the sync of one announced data connection.
    fn data(
        &self,
        job: &Job,
        stream: TcpStream,
        accepted: Instant,
        greeting: &[(Instant, Instant, u32)],
        stop: Stop<'_>,
    ) {
        let (Ok(local), Ok(peer)) = (stream.local_addr(), stream.peer_addr()) else { return job.abandon() };
        // Its first word is on the other connection, and may still be on its way.
        if !job.is_begun(accepted + self.options.handshake, &|| stop()) {
            return job.abandon();
        }
        let scratch = job.scratch.get().filter(|_| !job.wish.capture);
        let spilling = scratch.and_then(|folder| LiveRun::spilling(Side::Server, local, peer, folder).ok());
        let live = spilling.unwrap_or_else(|| LiveRun::new(Side::Server, local, peer));
        let clock = job.clock;
        let mut recorder = Recorder::new(clock, &live);
        for (start, end, len) in greeting {
            recorder.greeting(clock.at(*start), clock.at(*end), *len);
        }
        let mut config = Config::new(job.wish.seed);
        config.block_size = job.wish.block;
        config.limits = job.share.limits;
        config.read_only = job.share.read_only;
        let disk = Disk::new(&job.share.path);
        let disk = match &job.share.root {
            Some(root) => disk.opened(Arc::clone(root)),
            None => disk,
        };
        let mut engine = SessionEngine::new(Session::server(config), disk);
        let options = PumpOptions {
            done: &|| {},
            opened: clock.at(accepted),
            bwlimit: job.wish.bwlimit,
            busy: Job::pauses(&job.wish.busy),
            hold: Job::pauses(&job.wish.hold),
            timeout: job.wish.timeout,
            stop: &|| stop() || job.stop.load(Ordering::Relaxed),
            vitals: &job.vitals,
            tick: &mut |_| {},
        };
        let end = match job.take_seal() {
            Some(seal) => pump(&stream, &mut SealedEngine::new(&mut engine, seal), &mut recorder, options),
            None => pump(&stream, &mut engine, &mut recorder, options),
        };
        let part = match end {
            RunEnd::TimedOut(_) | RunEnd::Broken(_) => engine.salvage(SALVAGE),
            _ => None,
        };
        let stats =
            engine.stats(recorder.bytes_read(), recorder.bytes_written(), clock.now() - clock.at(accepted));
        let mut errors = engine.failures_here();
        if recorder.lost() > 0 {
            errors.push(format!("the log is full: {} events at its end are missing", recorder.lost()));
        }
        drop(recorder);
        job.finish(Outcome { end, stats, log: live.take(), errors, part });
    }

    /// Serves one client's control connection.
    fn control(
        &self,
        mut channel: Channel,
        peer: SocketAddr,
        Admitted { user, mut promise }: Admitted<'_>,
        clock: Clock,
        stop: Stop<'_>,
    ) {
        let patience = self.options.handshake.min(self.options.timeout);
        give_up_after(channel.stream(), self.options.timeout);
        // Behind a seal, only the first record shows that the handshake was no recording.
        let mut first = match channel.receive(&clock, patience, stop) {
            Ok(f) => Some(f),
            Err(e) => {
                match e {
                    WireError::Seal(_) => self.gate.wrong(peer.ip()),
                    WireError::Garbage(_) => {
                        let message = e.to_string();
                        let _ = channel.send(&Answer::Refused { message }, patience, stop);
                    }
                    _ => {}
                }
                return self.say(&format!("{peer}: {e}"));
            }
        };
        channel.until(Some(Instant::now() + patience + PREPARE));
        let Some(_seat) = Seat::take(&self.runs, self.max_runs()) else {
            let _ = channel.send(&Answer::Refused { message: FULL.to_owned() }, patience, stop);
            return;
        };
        let result = loop {
            if let Some(promise) = promise.take() {
                channel.until(None);
                break self.host(&mut channel, (peer, &user), (promise, first), clock, stop);
            }
            let next = first.take().map_or_else(|| channel.receive(&clock, patience, stop), Ok);
            let (frame, t1) = match next {
                Ok(f) => f,
                Err(e) => break Err(e),
            };
            match frame.message() {
                Ok(Ask::Ping) => {
                    if let Err(e) = channel.send(&Answer::Pong { t1, t2: clock.now() }, patience, stop) {
                        break Err(e);
                    }
                }
                Ok(Ask::Prepare(wish)) => {
                    let hash = channel.seal().map(|s| s.hash().to_vec());
                    match self.promise(wish, (peer, &user), hash.as_deref(), clock) {
                        Ok(made) => promise = Some(made),
                        Err(e) => break Err(e),
                    }
                }
                Ok(_) => break Err(WireError::Garbage("nothing was prepared".to_owned())),
                Err(e) => break Err(e),
            }
        };
        if let Err(e) = result {
            match e {
                WireError::Silent(_) => forget_on_close(channel.stream()),
                _ => {
                    let message = match e {
                        WireError::Stopped => STOPPED.to_owned(),
                        _ => e.to_string(),
                    };
                    let _ = channel.send(&Answer::Refused { message }, Duration::from_millis(100), &|| false);
                }
            }
            self.say(&format!("{peer}: {e}"));
        }
    }

    /// One run, from its announcement to the handing over of the record. `first` is the record that was opened, where
    /// the announcement came with the handshake; else it is still to be answered.
    fn host(
        &self,
        channel: &mut Channel,
        (peer, user): (SocketAddr, &str),
        (mut promise, first): (Promise<'_>, Option<(Frame, Ts)>),
        clock: Clock,
        stop: Stop<'_>,
    ) -> Result<(), WireError> {
        let local = channel.stream().local_addr()?;
        let scratch = match (&self.options.keep, &self.options.scratch) {
            (None, Some(folder)) => Scratch::below(folder)?,
            (keep, _) => Scratch::new(keep.as_deref())?,
        };
        for old in [record::SERVER_CAPTURE, record::SERVER_EVENTS] {
            let _ = std::fs::remove_file(scratch.path().join(old));
        }
        let job = Arc::clone(&promise.job);
        let _ = job.scratch.set(scratch.path().to_owned());
        give_up_after(channel.stream(), job.wish.timeout.to_std());
        let client = SocketAddr::new(peer.ip(), job.wish.data_port);
        let mut tap = None;
        let mut no_capture = None;
        if job.wish.capture {
            let started = match self.options.capture {
                true => Tap::start(
                    Side::Server,
                    self.options.device.clone(),
                    (local.ip(), peer.ip()),
                    tap::filter(client, local),
                    job.wish.snaplen,
                    &scratch.path().join(record::SERVER_CAPTURE),
                ),
                false => Err("this server does not capture".to_owned()),
            };
            match started {
                Ok(t) => tap = Some(t),
                Err(why) => {
                    self.say(&format!("{client}: no packets of this run: {why}"));
                    no_capture = Some(why);
                }
            }
        }
        let who = if user.is_empty() { String::new() } else { format!(" of {}", printable(user)) };
        self.say(&format!("{client}: a run{who} begins"));
        let told = match first {
            Some(_) => Ok(()),
            None => channel.send(&promise.ready(no_capture.clone()), self.options.handshake, stop),
        };
        if channel.seal().is_none() {
            job.begin(None);
        }
        let finished = told.and_then(|()| self.accompany(channel, &mut promise, first, &clock, stop));
        let began = promise.is_taken();
        let afterglow = job.afterglow(finished.as_ref().err());
        let mut outcome = if began { job.wait(afterglow, &|| stop()) } else { None };
        if let (Some(part), Ok((true, _))) = (outcome.as_mut().and_then(|o| o.part.take()), &finished) {
            part.discard();
        }
        let capture = match (tap, no_capture) {
            (Some(t), _) => Some(t.stop(outcome.as_ref().map(|o| &o.log.log), stop() || finished.is_err())),
            (None, Some(why)) => Some(CaptureState { problem: Some(why), ..CaptureState::default() }),
            (None, None) => None,
        };
        let (ended, log) = summary(outcome, capture, &clock);
        let mut how =
            ended.end.as_ref().map_or_else(|| "no data connection came".to_owned(), RunEnd::sentence);
        if let Some((first, more)) = ended.errors.split_first() {
            how = format!("{how}; {first}");
            if !more.is_empty() {
                how = format!("{how}; and {} more failures here", more.len());
            }
        }
        self.say(&format!("{client}: {how}"));
        let log_file = scratch.path().join(record::SERVER_EVENTS);
        if let Some(log) = log {
            write_json(&log_file, &log).map_err(|e| WireError::Garbage(e.to_string()))?;
        }
        let (_, fetch) = finished?;
        let capture_file = scratch.path().join(record::SERVER_CAPTURE);
        let ended = Ended {
            log_follows: fetch && log_file.is_file() && ended.end.is_some(),
            capture_follows: fetch && ended.capture.as_ref().is_some_and(|c| c.problem.is_none()),
            ..ended
        };
        hand_over(channel, ended, &log_file, &capture_file, job.patience(), stop)
    }

    /// Answers the client while its run goes on; returns whether its user ended it, and whether it wants to have
    /// log and capture.
    fn accompany(
        &self,
        channel: &mut Channel,
        promise: &mut Promise<'_>,
        mut first: Option<(Frame, Ts)>,
        clock: &Clock,
        stop: Stop<'_>,
    ) -> Result<(bool, bool), WireError> {
        let job = Arc::clone(&promise.job);
        let patience = job.patience();
        loop {
            let (frame, t1) = first.take().map_or_else(|| channel.receive(clock, patience, stop), Ok)?;
            match frame.message()? {
                Ask::Ping => channel.send(&Answer::Pong { t1, t2: clock.now() }, patience, stop)?,
                Ask::Beat(beat) => {
                    job.vitals.hear(t1, beat);
                    channel.send(&Answer::Beat(job.vitals.mine()), patience, stop)?;
                }
                Ask::Begin { hello } => promise.keep(hello.as_deref())?,
                Ask::Finish { stopped, fetch } => return Ok((stopped, fetch)),
                Ask::Prepare(_) => return Err(WireError::Garbage("one run at a time".to_owned())),
            }
        }
    }
}

fn summary(
    outcome: Option<Outcome>,
    capture: Option<CaptureState>,
    clock: &Clock,
) -> (Ended, Option<Journal>) {
    let mut ended = Ended {
        end: None,
        stats: Default::default(),
        capture,
        clock_step: clock.stepped(),
        errors: Vec::new(),
        log_follows: false,
        capture_follows: false,
    };
    let Some(o) = outcome else { return (ended, None) };
    (ended.end, ended.stats, ended.errors) = (Some(o.end), o.stats, o.errors);
    (ended, Some(o.log))
}

fn hand_over(
    channel: &mut Channel,
    ended: Ended,
    log: &Path,
    capture: &Path,
    patience: Duration,
    stop: Stop<'_>,
) -> Result<(), WireError> {
    let files = [(ended.log_follows, log), (ended.capture_follows, capture)];
    channel.send(&Answer::Ended(Box::new(ended)), patience, stop)?;
    for (_, path) in files.iter().filter(|f| f.0) {
        channel.send_blob(&mut BufReader::new(File::open(path)?), patience, stop)?;
    }
    Ok(())
}

/// Why there can be no listening at this address, and what to do.
fn unheard(addr: SocketAddr, e: &std::io::Error) -> String {
    let (ip, port) = (addr.ip(), addr.port());
    match e.kind() {
        ErrorKind::AddrInUse => {
            format!(
                "another program does already; see which: ss -ltnp 'sport = :{port}', or take another port"
            )
        }
        ErrorKind::AddrNotAvailable => {
            format!("{ip} is none of this host's addresses; see those: ip -brief address")
        }
        ErrorKind::PermissionDenied => "only root may, below port 1024; take a higher one".to_owned(),
        _ => e.to_string(),
    }
}

/// Reads the first bytes of a connection, and when each part of them came.
type Greeting = (Vec<(Instant, Instant, u32)>, [u8; PREAMBLE]);

fn read_greeting(stream: &mut TcpStream, deadline: Instant, stop: Stop<'_>) -> Result<Greeting, String> {
    stream.set_nonblocking(true).map_err(|e| e.to_string())?;
    let (mut raw, mut have, mut parts) = ([0; PREAMBLE], 0, Vec::new());
    let mut start = Instant::now();
    while have < PREAMBLE {
        match stream.read(raw.get_mut(have..).unwrap_or(&mut [])) {
            Ok(0) => return Err("closed before it said what it wants".to_owned()),
            Ok(n) => {
                parts.push((start, Instant::now(), n as u32));
                have += n;
                if !wire::may_be_ours(raw.get(..have).unwrap_or(&[])) {
                    return Err("does not speak this protocol".to_owned());
                }
                start = Instant::now();
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() || stop() {
                    return Err("said nothing for too long".to_owned());
                }
                wait_for(stream, PollFlags::POLLIN, left.min(Duration::from_millis(100)))
                    .map_err(|e| e.to_string())?;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(e.to_string()),
        }
    }
    Ok((parts, raw))
}

/// One of a bounded number of seats; given back when dropped.
struct Seat<'a>(&'a AtomicUsize);

impl<'a> Seat<'a> {
    fn take(count: &'a AtomicUsize, max: usize) -> Option<Seat<'a>> {
        let taken = count.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < max).then_some(n + 1));
        taken.ok().map(|_| Seat(count))
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a client may compare clocks before it says what it wants.
const PREPARE: Duration = Duration::from_secs(30);
/// Told to those for whom there is no seat.
const FULL: &str = "no room for another run now; try again later";
/// Told to those whose run goes on.
const STOPPED: &str =
    "the server was stopped there (Ctrl-C or SIGTERM); start it again, and the next sync goes on";

/// Longest time-out that a client may ask for.
pub(super) const LONGEST: Ns = Ns::from_secs(3600);
