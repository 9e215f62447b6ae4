//! Opening the two connections of a run: the data connection's port is bound before it connects, so
//! that both captures can be on before its SYN.

use super::error::DriveError;
use super::wire::{Channel, Kind, Stop, WireError, preamble, wait_for};
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

/// A socket on the same local address as `control`, and another port.
pub fn bind_beside(control: &TcpStream) -> io::Result<Bound> {
    let mut addr = control.local_addr()?;
    addr.set_port(0);
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&addr.into())?;
    let addr = socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("not an IP socket"))?;
    Ok(Bound { socket, addr, port: addr.port() })
}

/// Connects, within `patience`, or until `stop`. Non-blocking afterwards.
pub fn connect(socket: Socket, to: SocketAddr, patience: Duration, stop: Stop<'_>) -> io::Result<TcpStream> {
    socket.set_nonblocking(true)?;
    let began = Instant::now();
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(e) if e.raw_os_error() == Some(libc::EINPROGRESS) || e.kind() == ErrorKind::WouldBlock => loop {
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

/// Opens the control connection.
pub fn open_control(server: SocketAddr, patience: Duration, stop: Stop<'_>) -> Result<Channel, DriveError> {
    let unreachable = |e: io::Error| match e.kind() {
        ErrorKind::Interrupted => DriveError::Interrupted,
        _ => DriveError::Connect { server, message: e.to_string() },
    };
    let socket =
        Socket::new(Domain::for_address(server), Type::STREAM, Some(Protocol::TCP)).map_err(unreachable)?;
    let stream = connect(socket, server, patience, stop).map_err(unreachable)?;
    let mut channel = Channel::new(stream).map_err(unreachable)?;
    channel.send_raw(&preamble(Kind::Control, [0; 16]), patience, stop).map_err(|e| match e {
        WireError::Stopped => DriveError::Interrupted,
        e => DriveError::Network { peer: server, message: e.to_string() },
    })?;
    Ok(channel)
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
    fn nobody_there_says_how_to_start_one() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = l.local_addr().unwrap();
        drop(l);
        let e = open_control(to, Duration::from_secs(1), &|| false).unwrap_err();
        assert!(e.to_string().contains(&format!("syncscope serve --listen {to}")), "{e}");
    }
}
