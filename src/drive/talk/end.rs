//! One end of a talk, in its namespace: socket, capture, counters, script.

use super::super::clock::Clock;
use super::super::connect::connect;
use super::super::error::DriveError;
use super::super::record::CaptureState;
use super::super::recorder::{LiveRun, Recorder};
use super::super::tap::{self, Tap};
use super::super::tcp_info;
use super::super::wire::wait_for;
use super::actor::{Actor, Halt};
use super::{EndRecord, Ending, Finished};
use crate::lab::endpoint::{HostDrop, OneEnd};
use crate::lab::kernel::{moved, parse_counters};
use crate::lab::live::{DEVICE, forget};
use crate::lab::talk::App;
use crate::model::Side;
use crate::report::record;
use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt::TcpCongestion};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What the conductor asks for, in this order.
pub(super) enum Cmd {
    /// Who the other end is.
    Peer(SocketAddr),
    /// Begin.
    Go,
    /// Both scripts are over.
    StopTap,
    /// Both captures are.
    Vanish,
}

/// What an end answers.
pub(super) enum Said {
    /// To nothing: its address.
    Bound(SocketAddr),
    /// To [`Cmd::Peer`], [`Cmd::Go`] and [`Cmd::StopTap`]: done.
    Ready,
    /// It cannot take part.
    Failed(DriveError),
}

/// Bytes kept of each packet.
const SNAPLEN: u32 = 160;

/// One end.
pub(super) struct End {
    pub(super) side: Side,
    pub(super) addr: SocketAddr,
    pub(super) app: App,
    pub(super) set: OneEnd,
    pub(super) lasts: Duration,
    pub(super) dir: PathBuf,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) cmds: mpsc::Receiver<Cmd>,
    pub(super) says: mpsc::Sender<Said>,
}

impl End {
    /// Plays it to the end.
    pub(super) fn run(self) -> Result<Finished, DriveError> {
        let told = |e: DriveError| {
            let _ = self.says.send(Said::Failed(e.clone()));
            e
        };
        let socket = self
            .bind()
            .map_err(|e| told(DriveError::local(format!("cannot open a socket at {}", self.addr), e)))?;
        let local = socket.local_addr().ok().and_then(|a| a.as_socket());
        let local = local.ok_or_else(|| told(DriveError::local("cannot bind", "not an IP socket")))?;
        self.say(Said::Bound(local));
        let Ok(Cmd::Peer(peer)) = self.cmds.recv() else { return Err(lost()) };

        let tap = self.tap(local, peer);
        let clock = Clock::new();
        let live = LiveRun::new(self.side, local, peer);
        let before = counters();
        self.say(Said::Ready);
        let Ok(Cmd::Go) = self.cmds.recv() else { return Err(lost()) };

        let recorder = Recorder::new(clock, &live);
        let disk = self.dir.join(format!("{}.disk.part", self.side.as_str()));
        let mut actor = Actor::new(recorder, Instant::now() + self.lasts, Arc::clone(&self.stop), disk);
        let mut ending = Ending::Done;
        let mut dropper = None;
        match self.open(socket, peer, &actor) {
            Ok(stream) => {
                dropper = self.set.drop.map(|d| drop_in_host(&stream, d, actor.left(), &self.stop));
                actor.socket = Some(stream);
                for (i, step) in self.app.steps.iter().enumerate() {
                    if let Err(halt) = actor.step(*step) {
                        ending = halt.in_step(i + 1);
                        break;
                    }
                }
                actor.settle(local.port());
            }
            Err(halt) => ending = halt.in_step(0),
        }
        self.say(Said::Ready);
        let Ok(Cmd::StopTap) = self.cmds.recv() else { return Err(lost()) };
        let socket = actor.finish();
        let dropped = dropper.map(|d| d.join().unwrap_or_else(|_| Err("its thread died".to_owned())));
        let log = live.take().log;
        let capture = match tap {
            Ok(tap) => tap.stop(Some(&log), false),
            Err(why) => CaptureState { problem: Some(why), ..CaptureState::default() },
        };
        self.say(Said::Ready);
        let Ok(Cmd::Vanish) = self.cmds.recv() else { return Err(lost()) };
        // Before the socket goes: its end counts as a reset.
        let mut counted = moved(&before, &counters());
        if let Some(socket) = socket {
            forget(socket);
        }
        match dropped {
            Some(Ok(n)) => counted.dropped_in_host = Some(n),
            Some(Err(why)) => return Err(DriveError::local("cannot drop in the host", why)),
            None => {}
        }
        Ok(Finished { record: EndRecord { addr: local, ending, capture }, log, counted })
    }

    fn say(&self, said: Said) {
        // A conductor that is gone shows at the next command.
        let _ = self.says.send(said);
    }

    /// A socket with its port. The server's listens: what is set on it, those that it accepts inherit.
    fn bind(&self) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.addr), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(size) = self.app.sndbuf {
            socket.set_send_buffer_size(usize::try_from(size.0).unwrap_or(usize::MAX))?;
        }
        if let Some(size) = self.app.rcvbuf {
            socket.set_recv_buffer_size(usize::try_from(size.0).unwrap_or(usize::MAX))?;
        }
        if let Some(cc) = &self.set.cc {
            setsockopt(&socket, TcpCongestion, &cc.into()).map_err(|e| no_congestion_control(cc, e))?;
        }
        socket.set_reuse_address(self.side == Side::Server)?;
        socket.bind(&self.addr.into())?;
        if self.side == Side::Server {
            socket.listen(1)?;
        }
        Ok(socket)
    }

    fn tap(&self, local: SocketAddr, peer: SocketAddr) -> Result<Tap, String> {
        let (name, client, server) = match self.side {
            Side::Client => (record::CLIENT_CAPTURE, local, peer),
            Side::Server => (record::SERVER_CAPTURE, peer, local),
        };
        let filter = tap::filter(client, server);
        let ips = (local.ip(), peer.ip());
        Tap::start(self.side, Some(DEVICE.to_owned()), ips, filter, SNAPLEN, &self.dir.join(name))
    }

    fn open(&self, socket: Socket, peer: SocketAddr, actor: &Actor<'_>) -> Result<TcpStream, Halt> {
        let stream = match self.side {
            Side::Client => {
                let flag = &*self.stop;
                let stop = || flag.load(Ordering::Acquire);
                connect(socket, peer, actor.left(), &stop).map_err(|e| match e.kind() {
                    ErrorKind::Interrupted => Halt::TimeOver,
                    ErrorKind::TimedOut if actor.left().is_zero() => Halt::TimeOver,
                    _ => Halt::Broken(e),
                })?
            }
            Side::Server => {
                socket.set_nonblocking(true).map_err(Halt::Broken)?;
                loop {
                    match socket.accept() {
                        Ok((accepted, _)) => break TcpStream::from(accepted),
                        Err(e) if e.kind() == ErrorKind::WouldBlock => {
                            if actor.is_over() {
                                return Err(Halt::TimeOver);
                            }
                            let nap = actor.left().min(Duration::from_millis(50));
                            wait_for(&socket, PollFlags::POLLIN, nap).map_err(Halt::Broken)?;
                        }
                        Err(e) => return Err(Halt::Broken(e)),
                    }
                }
            }
        };
        let set = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(self.app.nodelay));
        set.map(|()| stream).map_err(Halt::Broken)
    }
}

/// Drops what arrives for a socket, in a while and for a while; how many packets. A socket's filter is asked
/// before TCP sees the packet and after a capture has (tcp_v4_rcv), as a firewall's input rule would be.
fn drop_in_host(
    stream: &TcpStream,
    drop: HostDrop,
    left: Duration,
    stop: &Arc<AtomicBool>,
) -> std::thread::JoinHandle<Result<u32, String>> {
    let socket = stream.try_clone().map(Socket::from);
    let (stop, now) = (Arc::clone(stop), Instant::now());
    let (begins, ends) = (drop.at.0.to_std().min(left), (drop.at.0 + drop.lasts.0).to_std().min(left));
    let until = move |then: Instant| {
        while Instant::now() < then && !stop.load(Ordering::Acquire) {
            std::thread::sleep(then.saturating_duration_since(Instant::now()).min(Duration::from_millis(20)));
        }
    };
    std::thread::spawn(move || {
        let words = |e: io::Error| e.to_string();
        let socket = socket.map_err(words)?;
        until(now + begins);
        let before = tcp_info::drops(&socket).map_err(words)?;
        // BPF: return 0, that is keep nothing of it.
        socket.attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]).map_err(words)?;
        until(now + ends);
        socket.detach_filter().map_err(words)?;
        Ok(tcp_info::drops(&socket).map_err(words)?.saturating_sub(before))
    })
}

fn no_congestion_control(name: &str, e: nix::Error) -> io::Error {
    let mend = format!("is it there? sudo modprobe tcp_{name}");
    io::Error::new(ErrorKind::InvalidInput, format!("congestion control {name}: {}; {mend}", e.desc()))
}

fn lost() -> DriveError {
    DriveError::local("the talk", "it was given up")
}

/// All counters of the calling thread's namespace.
fn counters() -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for table in ["snmp", "netstat"] {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap_or_default();
        all.append(&mut parse_counters(&text));
    }
    all
}
