//! Opening the two connections of a run: the data connection's port is bound before it connects, so
//! that both captures can be on before its SYN.

use super::clock::{Clock, Exchange};
use super::control::{Answer, Ask, Welcome};
use super::error::DriveError;
use super::seal::{Bond, FIRST, MESSAGE, Opening};
use super::secret::Secret;
use super::wire::{Channel, Frame, Kind, Stop, Token, WireError, framed, preamble, wait_for};
use crate::model::units::printable;
use nix::poll::PollFlags;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A socket with a port and without a peer.
#[derive(Debug)]
pub struct Bound {
    /// The socket.
    pub socket: Socket,
    /// Its address.
    pub addr: SocketAddr,
    /// Its port.
    pub port: u16,
}

impl Bound {
    /// Sends the SYN and waits for nothing; whatever goes wrong, [`connect`] says.
    pub fn set_out(&self, to: SocketAddr) {
        let _ = self.socket.set_nonblocking(true).and_then(|()| self.socket.connect(&to.into()));
    }
}

/// A socket on the same local address as `control`, and another port.
pub fn bind_beside(control: &TcpStream) -> io::Result<Bound> {
    let mut addr = control.local_addr()?;
    addr.set_port(0);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&addr.into())?;
    let addr = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
    Ok(Bound { socket, addr, port: addr.port() })
}

/// Connects, within `patience`, or until `stop`, also where that has begun. Non-blocking afterwards.
pub fn connect(socket: Socket, to: SocketAddr, patience: Duration, stop: Stop<'_>) -> io::Result<TcpStream> {
    socket.set_nonblocking(true)?;
    let began = Instant::now();
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EISCONN) => {}
        Err(e) if matches!(e.raw_os_error(), Some(libc::EINPROGRESS | libc::EALREADY)) => loop {
            if stop() {
                return Err(ErrorKind::Interrupted.into());
            }
            let left = patience.saturating_sub(began.elapsed());
            if left.is_zero() {
                let words = format!("no answer to the connection's SYN for {:.1} s", patience.as_secs_f64());
                return Err(io::Error::new(ErrorKind::TimedOut, words));
            }
            if !wait_for(&socket, PollFlags::POLLOUT, left.min(Duration::from_millis(100)))?.is_empty() {
                break;
            }
        },
        Err(e) => return Err(e),
    }
    if let Some(e) = socket.take_error()? {
        return Err(e);
    }
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A user's name as the token of a control connection; none: too long, or with a zero in it.
pub fn name_token(user: &str) -> Option<Token> {
    let mut token = Token::default();
    token.get_mut(..user.len())?.copy_from_slice(user.as_bytes());
    (!user.contains('\0')).then_some(token)
}

/// Opens the control connection; nothing is said on it yet.
pub fn open_control(
    server: SocketAddr,
    secured: bool,
    patience: Duration,
    stop: Stop<'_>,
) -> Result<Channel, DriveError> {
    let unreachable = |e: io::Error| match e.kind() {
        ErrorKind::Interrupted => DriveError::Interrupted,
        _ => DriveError::unreachable(server, secured, &e),
    };
    let socket =
        Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP)).map_err(unreachable)?;
    let stream = connect(socket, server, patience, stop).map_err(unreachable)?;
    Channel::new(stream).map_err(unreachable)
}

/// A server says no more than this to whom it does not let in.
const CLOSED_AT_ONCE: &str = "it closed the connection at once. Either it does not admit this host's address (its --allow and --deny, \
    or those of the module), or too many connections are open; what it printed says which. Or it is no syncscope";

/// What went wrong before the run began.
pub(super) fn refusal(server: SocketAddr, e: WireError) -> DriveError {
    let message = e.to_string();
    match e {
        WireError::Refused(message) => DriveError::Refused { server, message },
        WireError::Seal(_) => DriveError::Refused { server, message },
        e if e.is_close() => DriveError::Refused { server, message: CLOSED_AT_ONCE.to_owned() },
        WireError::Garbage(message) => DriveError::Protocol { peer: server, message },
        WireError::Stopped => DriveError::Interrupted,
        WireError::Late | WireError::Silent(_) => DriveError::Network {
            peer: server,
            message: format!(
                "{message}\n  the port is open, and no syncscope answers: either the server there hangs, or another \
                 program listens; see which: ss -ltnp 'sport = :{}'",
                server.port()
            ),
        },
        WireError::Closed | WireError::Io(_) => DriveError::Network { peer: server, message },
    }
}

/// What the server answered within its handshake.
#[derive(Debug)]
pub(super) struct Welcomed {
    pub(super) answer: Answer,
    /// What the data connection's handshake is bound to.
    pub(super) hash: Vec<u8>,
    /// When both messages were sent and received.
    pub(super) times: Exchange,
}

/// Both show each other that they have the secret. An announcement rides in the first message, if there is one and it
/// is not too long; then its answer comes with the second. `sent` is called in between.
pub(super) fn shake_hands(
    channel: &mut Channel,
    (secret, user): (&Secret, Token),
    announced: Option<&Ask>,
    clock: &Clock,
    sent: &dyn Fn(),
    (patience, stop): (Duration, Stop<'_>),
) -> Result<Option<Welcomed>, WireError> {
    // Whoever trickles does not hold the client up either.
    channel.until(Some(Instant::now() + patience));
    let preamble = preamble(Kind::Secured, user);
    let payload = announced.map(serde_json::to_vec).transpose().map_err(io::Error::from)?;
    let payload = payload.filter(|p| p.len() + MESSAGE <= FIRST).unwrap_or_default();
    let (opening, first) = Opening::new(Bond::Secret(secret, &preamble), &payload)?;
    let hash = opening.hash().to_vec();
    let t0 = clock.now();
    channel.send_raw(&[&preamble[..], &framed(&first)].concat(), patience, stop)?;
    sent();
    if channel.receive_raw(1, patience, stop)? != [0] {
        let (frame, _) = channel.receive(clock, patience, stop)?;
        return Err(match frame {
            Frame::Message(_) => match frame.message()? {
                Answer::Refused { message } => WireError::Refused(printable(&message)),
                _ => WireError::Garbage("no answer to the handshake".to_owned()),
            },
            Frame::Chunk(_) => WireError::Garbage("no answer to the handshake".to_owned()),
        });
    }
    let second = channel.receive_framed(usize::from(u16::MAX), patience, stop)?;
    let t3 = clock.now();
    let (sealed, said) = opening.finish(&second)?;
    channel.secure(sealed)?;
    channel.until(None);
    if payload.is_empty() || said.is_empty() {
        return Ok(None);
    }
    let Welcome { t1, t2, answer } = Frame::Message(said).message()?;
    Ok(Some(Welcomed { answer, hash, times: Exchange { t0, t1, t2, t3 } }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_port_is_known_before_the_connection() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        let control = TcpStream::connect(to).unwrap();
        l.accept().unwrap();
        let bound = bind_beside(&control).unwrap();
        let announced = bound.addr;
        let _open = connect(bound.socket, to, Duration::from_secs(1), &|| false).unwrap();
        assert_eq!(l.accept().unwrap().1, announced);
    }

    #[test]
    fn a_port_that_another_program_has_says_how_to_see_which() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        let (secret, short) = (Secret::new(b"a secret of some length").unwrap(), Duration::from_millis(50));
        let mut channel = open_control(to, true, short, &|| false).unwrap();
        let clock = Clock::new();
        let e =
            shake_hands(&mut channel, (&secret, Token::default()), None, &clock, &|| {}, (short, &|| false));
        let e = refusal(to, e.unwrap_err());
        assert!(e.to_string().contains(&format!("ss -ltnp 'sport = :{}'", to.port())), "{e}");
    }

    #[test]
    fn a_connection_that_was_begun_is_the_one_that_is_used() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        let control = TcpStream::connect(to).unwrap();
        l.accept().unwrap();
        let bound = bind_beside(&control).unwrap();
        let announced = bound.addr;
        bound.set_out(to);
        assert_eq!(l.accept().unwrap().1, announced, "before anybody waits for it");
        let open = connect(bound.socket, to, Duration::from_secs(1), &|| false).unwrap();
        assert_eq!((open.local_addr().unwrap(), open.peer_addr().unwrap()), (announced, to));
    }

    #[test]
    fn a_connection_that_was_begun_in_vain_says_why() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        let control = TcpStream::connect(to).unwrap();
        let bound = bind_beside(&control).unwrap();
        drop(l);
        bound.set_out(to);
        let e = connect(bound.socket, to, Duration::from_secs(1), &|| false).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::ConnectionRefused);
    }

    #[test]
    fn nobody_there_says_how_to_start_one() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        drop(l);
        let e = open_control(to, false, Duration::from_secs(1), &|| false).unwrap_err();
        assert!(e.to_string().contains(&format!("syncscope serve --listen {to}")), "{e}");
    }
}
