//! The few system calls for which nobody has a safe wrapper: TUN devices, interface addresses, and a
//! child that dies with its parent.
#![allow(unsafe_code, reason = "interface ioctls and pre_exec have no safe wrapper in nix or socket2")]

use libc::{c_char, c_short, ifreq, in6_ifreq};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// The device through which user space makes interfaces.
pub const TUN: &str = "/dev/net/tun";

/// Opens the TUN control device; the interface that is made with it will live in the calling thread's namespace.
pub fn open_tun() -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(TUN)
}

/// An interface of the calling thread's network namespace.
pub struct Interface {
    name: [c_char; libc::IFNAMSIZ],
    control: UdpSocket,
}

impl Interface {
    /// Makes a TUN interface; it goes away with `tun`. With `offload` the kernel hands over and takes large
    /// segments, and each packet has a header (see [`crate::lab::offload`]).
    pub fn create(tun: &File, name: &str, offload: bool) -> io::Result<Interface> {
        let interface = Interface::named(name)?;
        let mut req = interface.request();
        let header = if offload { libc::IFF_VNET_HDR } else { 0 };
        req.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI | header) as c_short;
        // SAFETY: TUNSETIFF reads and writes one ifreq, which `req` is, for the length of the call.
        check(unsafe { libc::ioctl(tun.as_raw_fd(), libc::TUNSETIFF as _, &raw mut req) })?;
        if offload {
            let what = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
            // SAFETY: TUNSETOFFLOAD takes a number, no pointer.
            check(unsafe {
                libc::ioctl(tun.as_raw_fd(), libc::TUNSETOFFLOAD as _, libc::c_ulong::from(what))
            })?;
        }
        Ok(interface)
    }

    /// An interface that is there already.
    pub fn named(name: &str) -> io::Result<Interface> {
        let mut chars = [0 as c_char; libc::IFNAMSIZ];
        for (to, from) in chars.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
            *to = from as c_char;
        }
        // Any datagram socket will do as a handle for interface requests.
        Ok(Interface { name: chars, control: UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))? })
    }

    fn request(&self) -> ifreq {
        // SAFETY: ifreq is plain old data; all zeroes are a valid value.
        let mut req: ifreq = unsafe { std::mem::zeroed() };
        req.ifr_name = self.name;
        req
    }

    fn ioctl(&self, what: libc::c_ulong, req: &mut ifreq) -> io::Result<()> {
        // SAFETY: every request used here reads and writes one ifreq, which `req` is.
        check(unsafe { libc::ioctl(self.control.as_raw_fd(), what as _, std::ptr::from_mut(req)) })
    }

    /// Sets address and prefix.
    pub fn set_ipv4(&self, address: Ipv4Addr, mask: Ipv4Addr) -> io::Result<()> {
        for (what, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, mask)] {
            let mut req = self.request();
            req.ifr_ifru.ifru_addr = sockaddr_v4(value);
            self.ioctl(what as libc::c_ulong, &mut req)?;
        }
        Ok(())
    }

    /// Adds an IPv6 address.
    pub fn add_ipv6(&self, address: Ipv6Addr, prefix: u32) -> io::Result<()> {
        let req = in6_ifreq {
            ifr6_addr: libc::in6_addr { s6_addr: address.octets() },
            ifr6_prefixlen: prefix,
            ifr6_ifindex: self.index()?,
        };
        let control = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
        // SAFETY: on an IPv6 socket SIOCSIFADDR reads one in6_ifreq, which `req` is.
        check(unsafe { libc::ioctl(control.as_raw_fd(), libc::SIOCSIFADDR as _, &raw const req) })?;
        // A worker of the kernel puts it to use, on a busy machine a little later.
        let deadline = Instant::now() + Duration::from_secs(5);
        let unused =
            || UdpSocket::bind((address, 0)).is_err_and(|e| e.kind() == io::ErrorKind::AddrNotAvailable);
        while unused() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Sets the MTU.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        let mut req = self.request();
        req.ifr_ifru.ifru_mtu = i32::from(mtu);
        self.ioctl(libc::SIOCSIFMTU as libc::c_ulong, &mut req)
    }

    /// Sets how many packets may wait for the device. By netlink: the ioctl for it asks for CAP_NET_ADMIN
    /// on the host even inside a namespace.
    pub fn set_queue_length(&self, packets: u32) -> io::Result<()> {
        const LEN: u16 = 40;
        const RTM_SETLINK: u16 = 19;
        const REQUEST_AND_ACK: u16 = 0x0001 | 0x0004;
        const IFLA_TXQLEN: u16 = 13;
        let mut m = Vec::with_capacity(usize::from(LEN));
        m.extend(u32::from(LEN).to_ne_bytes());
        m.extend(RTM_SETLINK.to_ne_bytes());
        m.extend(REQUEST_AND_ACK.to_ne_bytes());
        m.extend([0; 8]); // sequence number and port: ours to choose
        m.extend([0; 4]); // family and hardware type: any
        m.extend(self.index()?.to_ne_bytes());
        m.extend([0; 8]); // flags: none changed
        m.extend(8u16.to_ne_bytes());
        m.extend(IFLA_TXQLEN.to_ne_bytes());
        m.extend(packets.to_ne_bytes());
        let socket = Socket::new(
            Domain::from(libc::AF_NETLINK),
            Type::RAW,
            Some(Protocol::from(libc::NETLINK_ROUTE)),
        )?;
        socket.send(&m)?;
        let mut answer = [0u8; 64];
        let n = (&socket).read(&mut answer)?;
        // struct nlmsgerr begins with a negative errno, 0 for an acknowledgment.
        match answer.get(16..20).filter(|_| n >= 20).and_then(|e| e.try_into().ok()).map(i32::from_ne_bytes) {
            Some(0) => Ok(()),
            Some(e) => Err(io::Error::from_raw_os_error(-e)),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn index(&self) -> io::Result<libc::c_int> {
        let mut req = self.request();
        self.ioctl(libc::SIOCGIFINDEX as libc::c_ulong, &mut req)?;
        // SAFETY: SIOCGIFINDEX has written this member of the union.
        Ok(unsafe { req.ifr_ifru.ifru_ifindex })
    }

    /// Brings it up.
    pub fn up(&self) -> io::Result<()> {
        let mut req = self.request();
        self.ioctl(libc::SIOCGIFFLAGS as libc::c_ulong, &mut req)?;
        // SAFETY: SIOCGIFFLAGS has written this member of the union.
        let flags = unsafe { req.ifr_ifru.ifru_flags };
        req.ifr_ifru.ifru_flags = flags | (libc::IFF_UP | libc::IFF_RUNNING) as c_short;
        self.ioctl(libc::SIOCSIFFLAGS as libc::c_ulong, &mut req)
    }
}

fn sockaddr_v4(address: Ipv4Addr) -> libc::sockaddr {
    let mut data = [0 as c_char; 14];
    for (to, from) in data[2..6].iter_mut().zip(address.octets()) {
        *to = from as c_char;
    }
    libc::sockaddr { sa_family: libc::AF_INET as libc::sa_family_t, sa_data: data }
}

/// The child is killed when the thread that starts it ends, however it ends.
pub fn die_with_parent(command: &mut Command) {
    // SAFETY: the closure runs between fork and exec and makes one async-signal-safe system call.
    unsafe {
        command.pre_exec(|| {
            nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL).map_err(io::Error::from)
        });
    }
}

/// Puts the calling thread before all ordinary ones, where that is allowed: a packet that is due must not
/// wait for whatever else the machine does. Says whether it was.
pub fn go_first() -> bool {
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: reads `param` during the call; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const param) == 0
    }
}

/// Opens a file for reading that never makes the caller wait.
pub fn open_nonblocking(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path)
}

/// Closes a TCP socket without a word to the peer: no FIN, no RST, no timer goes on. It needs CAP_NET_ADMIN in
/// the socket's namespace; without it this is an ordinary close.
pub fn forget(socket: impl AsRawFd) {
    let on: libc::c_int = 1;
    // SAFETY: reads one int during the call; the descriptor belongs to a live socket.
    let _ = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
}

fn check(ret: libc::c_int) -> io::Result<()> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
