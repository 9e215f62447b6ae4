//! The kernel's own view of one connection: `TCP_INFO` and the lengths of its two queues.
//!
//! The layout is that of Linux' `struct tcp_info` (include/uapi/linux/tcp.h), which only ever grows at
//! its end; the kernel copies as much as it knows. Fields are read by offset and are zero where the
//! kernel's structure was shorter.
#![allow(
    unsafe_code,
    reason = "getsockopt(TCP_INFO) of the kernel's length and two ioctls; no safe wrapper exists"
)]

use crate::model::units::bytes;
use crate::model::{Ns, TcpSample, Ts};
use socket2::SockRef;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// One reading, with what [`TcpSample`] does not keep.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// The part that goes into the record.
    pub sample: TcpSample,
    /// Unanswered window or keep-alive probes.
    pub probes: u8,
    /// Since the last segment with data arrived.
    pub last_data_recv: Ns,
    /// Since the last ACK arrived.
    pub last_ack_recv: Ns,
}

impl TcpInfo {
    /// Established, and not closed by this end.
    pub fn is_open(&self) -> bool {
        matches!(self.sample.state, TCP_ESTABLISHED | TCP_CLOSE_WAIT)
    }
}

/// Asks the kernel.
pub fn read(socket: &impl AsFd, now: Ts) -> io::Result<TcpInfo> {
    let mut buf = [0u8; 512];
    let mut len = buf.len() as libc::socklen_t;
    // SAFETY: the descriptor is borrowed from a live socket; `buf` and `len` outlive the call and
    // `len` says how much of `buf` may be written.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            buf.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if rc != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(parse(buf.get(..len as usize).unwrap_or(&buf), now))
}

fn parse(raw: &[u8], now: Ts) -> TcpInfo {
    let u8_at = |at: usize| raw.get(at).copied().unwrap_or(0);
    let u32_at =
        |at: usize| raw.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_ne_bytes);
    let u64_at =
        |at: usize| raw.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_ne_bytes);
    let sample = TcpSample {
        ts: now,
        state: u8_at(0),
        ca_state: u8_at(1),
        retransmits: u8_at(2),
        backoff: u8_at(4),
        rto_us: u32_at(8),
        snd_mss: u32_at(16),
        unacked: u32_at(24),
        sacked: u32_at(28),
        lost: u32_at(32),
        retrans: u32_at(36),
        rtt_us: u32_at(68),
        rttvar_us: u32_at(72),
        snd_cwnd: u32_at(80),
        total_retrans: u32_at(100),
        bytes_acked: u64_at(120),
        bytes_received: u64_at(128),
        notsent_bytes: u32_at(144),
        min_rtt_us: u32_at(148),
        delivery_rate: u64_at(160),
        busy_us: u64_at(168),
        rwnd_limited_us: u64_at(176),
        sndbuf_limited_us: u64_at(184),
        bytes_retrans: u64_at(208),
        dsack_dups: u32_at(216),
        reord_seen: u32_at(220),
        snd_wnd: u32_at(228),
        rcv_wnd: u32_at(232),
    };
    TcpInfo {
        sample,
        probes: u8_at(3),
        last_data_recv: Ns::from_millis(i64::from(u32_at(52))),
        last_ack_recv: Ns::from_millis(i64::from(u32_at(56))),
    }
}

/// Bytes that arrived and were not read yet (`SIOCINQ`).
pub fn unread(socket: &impl AsFd) -> Option<u32> {
    queue(socket, libc::FIONREAD)
}

/// Bytes that were written and not acknowledged yet (`SIOCOUTQ`).
pub fn unacknowledged(socket: &impl AsFd) -> Option<u32> {
    queue(socket, libc::TIOCOUTQ)
}

/// Packets for this socket that its kernel dropped after receiving them (`SO_MEMINFO`).
pub fn drops(socket: &impl AsFd) -> io::Result<u32> {
    // Nine numbers; the last is SK_MEMINFO_DROPS (include/uapi/linux/sock_diag.h).
    let mut raw = [0u32; 9];
    let mut len = size_of_val(&raw) as libc::socklen_t;
    // SAFETY: `raw` and `len` outlive the call and `len` says how much of `raw` may be written.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            SO_MEMINFO,
            raw.as_mut_ptr().cast(),
            &mut len,
        )
    };
    if rc == 0 { Ok(raw[8]) } else { Err(io::Error::last_os_error()) }
}

/// As in include/uapi/asm-generic/socket.h; libc knows it on some architectures only.
const SO_MEMINFO: libc::c_int = 55;

fn queue(socket: &impl AsFd, request: libc::Ioctl) -> Option<u32> {
    let mut n: libc::c_int = 0;
    // SAFETY: both requests write one int through the pointer; the descriptor is borrowed from a live socket.
    let rc = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), request, &mut n as *mut libc::c_int) };
    (rc == 0).then(|| u32::try_from(n).unwrap_or(0))
}

/// What TCP was doing, in words, for somebody whose transfer does not move. `unread` and `unacknowledged`
/// are the lengths of its two queues, bytes.
pub fn in_words(info: &TcpInfo, unread: u32, unacknowledged: u32) -> String {
    let s = &info.sample;
    if !info.is_open() {
        return format!("the connection is no longer open (state {})", state_name(s.state));
    }
    let last_ack = info.last_ack_recv;
    let queued = bytes(u64::from(unacknowledged));
    // Probes of a closed window back off as retransmissions do; with nothing in flight they are probes.
    if s.unacked > 0 && (s.backoff > 0 || s.retransmits > 0) {
        return format!(
            "TCP has sent the same segment again {} times without an answer and waits {} before the next try; \
             {} segments are unacknowledged, the last ACK came {last_ack} ago, {queued} wait in the send queue: \
             the network drops them, or their ACKs, or the peer's host is gone",
            s.retransmits.max(s.backoff),
            Ns::from_micros(i64::from(s.rto_us)),
            s.unacked,
        );
    }
    if info.probes > 0 || (s.snd_wnd == 0 && s.notsent_bytes > 0) {
        return format!(
            "the peer's receive window is closed ({} probes, the last ACK came {last_ack} ago, {} waiting to be \
             sent): the program there does not read",
            info.probes,
            bytes(u64::from(s.notsent_bytes)),
        );
    }
    if s.unacked > 0 {
        return format!(
            "{} segments are on their way and unacknowledged; the last ACK came {last_ack} ago, {queued} wait in \
             the send queue",
            s.unacked
        );
    }
    if unread > 0 {
        return format!("{} have arrived and were not read: this program is busy", bytes(u64::from(unread)));
    }
    format!(
        "TCP is idle: all that was written is acknowledged, the last data came {} ago; \
         the program at the other end has sent nothing since, or what it sends does not arrive",
        info.last_data_recv
    )
}

const TCP_ESTABLISHED: u8 = 1;
const TCP_CLOSE_WAIT: u8 = 8;

fn state_name(state: u8) -> &'static str {
    match state {
        1 => "established",
        2 => "SYN sent",
        3 => "SYN received",
        4 => "FIN-WAIT-1",
        5 => "FIN-WAIT-2",
        6 => "TIME-WAIT",
        7 => "closed",
        8 => "CLOSE-WAIT",
        9 => "LAST-ACK",
        10 => "listening",
        11 => "closing",
        _ => "unknown",
    }
}

/// What is left in the socket's queue when it is closed is tried for this long, not for minutes.
pub fn give_up_after(socket: &TcpStream, patience: Duration) {
    // Where it cannot be set the kernel keeps its own, longer, patience.
    let _ = SockRef::from(socket).set_tcp_user_timeout(Some(patience));
}

/// When closed, the socket is gone at once: nobody is there to say goodbye to.
pub fn forget_on_close(socket: &TcpStream) {
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn the_kernel_counts_what_was_written_and_read() {
        let l = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut a = TcpStream::connect(l.local_addr().unwrap()).unwrap();
        let (mut b, _) = l.accept().unwrap();
        a.write_all(&[7; 1000]).unwrap();
        let mut got = [0; 400];
        b.read_exact(&mut got).unwrap();
        assert_eq!(unread(&b), Some(600));
        assert_eq!(unacknowledged(&a), Some(0), "loopback acknowledges at once");
        let (ia, ib) = (read(&a, Ts(5)).unwrap(), read(&b, Ts(6)).unwrap());
        // bytes_acked counts the SYN's sequence number too (RFC 4898 tcpEStatsAppHCThruOctetsAcked).
        assert_eq!(ia.sample.bytes_acked, 1001);
        assert_eq!(ib.sample.bytes_received, 1000);
        assert_eq!((ia.sample.ts, ia.sample.state), (Ts(5), 1));
        assert!(ia.sample.rto_us >= 200_000 && ia.sample.snd_mss > 500, "{ia:?}");
    }

    #[test]
    fn a_shorter_structure_of_an_older_kernel_reads_as_zero() {
        let mut raw = [0xffu8; 104];
        raw[68..72].copy_from_slice(&40_000u32.to_ne_bytes());
        let t = parse(&raw, Ts(1));
        assert_eq!(t.sample.rtt_us, 40_000);
        assert_eq!((t.sample.bytes_acked, t.sample.rcv_wnd, t.sample.reord_seen), (0, 0, 0));
        assert_eq!(parse(&[], Ts(1)).sample.state, 0);
    }

    #[test]
    fn words_tell_the_four_hangs_apart() {
        let base = TcpSample { state: 1, snd_wnd: 65_535, ..TcpSample::default() };
        let say = |sample, probes, unread| {
            in_words(&TcpInfo { sample, probes, ..TcpInfo::default() }, unread, 9000)
        };
        let lost = TcpSample { retransmits: 6, backoff: 6, rto_us: 12_800_000, unacked: 30, ..base };
        assert!(say(lost, 0, 0).contains("again 6 times without an answer and waits 12.8 s"));
        assert!(
            say(lost, 0, 0)
                .contains("30 segments are unacknowledged, the last ACK came 0 ns ago, 8.8 KiB wait")
        );
        let shut = TcpSample { snd_wnd: 0, notsent_bytes: 4096, ..base };
        assert!(say(shut, 3, 0).contains("window is closed (3 probes, the last ACK came 0 ns ago, 4.0 KiB"));
        assert!(say(base, 0, 10).contains("10 B have arrived and were not read"));
        assert!(say(base, 0, 0).contains("TCP is idle"));
        assert!(say(TcpSample { state: 7, ..base }, 0, 0).contains("closed"));
    }
}
