//! A clean capture and a scenario → what the taps at both ends of such a link would have seen.
//!
//! The frames are taken as what the two ends sent, when they sent it. The client's tap then sees the
//! client's packets at once and the server's when they come off the link, if they do; the server's tap
//! the other way round. Nobody reacts: a segment that is dropped here is not sent again. That is enough to
//! give an analysis a hole, a duplicate or a late packet at a known place, on any machine, bit for bit the same.

use super::fate::Fate;
use super::machine::Machine;
use super::packet::{Header, ip_offset};
use super::scenario::Scenario;
use crate::model::{Dir, Frame, LinkType, PerDir, Ts};
use std::net::IpAddr;

/// A frame as a tap sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapFrame {
    /// When.
    pub ts: Ts,
    /// How to read `data`.
    pub link: LinkType,
    /// Length on the wire.
    pub orig_len: u32,
    /// What was captured.
    pub data: Vec<u8>,
    /// Which way it goes.
    pub dir: Dir,
}

/// Both taps, and the truth.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taps {
    /// What the client's tap sees, in order of time.
    pub client: Vec<TapFrame>,
    /// What the server's tap sees.
    pub server: Vec<TapFrame>,
    /// Fate of every packet.
    pub fates: Vec<Fate>,
    /// Frames that were left out: not IP, or before the frame before them in time.
    pub skipped: u64,
}

/// What surrounds the IP packet in its frame.
struct Wrap {
    link: LinkType,
    head: Vec<u8>,
    missing: u32,
}

/// Feeds frames through the link one after the other, then [`Transform::finish`].
pub struct Transform {
    machine: Option<Machine>,
    scenario: Scenario,
    client: IpAddr,
    now: Ts,
    wraps: PerDir<Vec<Option<Wrap>>>,
    taps: Taps,
}

/// Who sent the first SYN (without one: the first packet) of these frames.
pub fn client_of<'a>(frames: impl IntoIterator<Item = Frame<'a>>) -> Option<IpAddr> {
    let mut first = None;
    for frame in frames {
        let Some(h) = ip_offset(frame.link, frame.data).and_then(|at| Header::read(&frame.data[at..])) else {
            continue;
        };
        first = first.or(Some(h.src));
        if h.tcp.is_some_and(|t| t.flags.syn() && !t.flags.ack()) {
            return Some(h.src);
        }
    }
    first
}

impl Transform {
    /// `client`: the address whose packets go client to server; everybody else is behind the server.
    pub fn new(scenario: &Scenario, client: IpAddr) -> Transform {
        Transform {
            machine: None,
            scenario: scenario.clone(),
            client,
            now: Ts::MIN,
            wraps: PerDir { c2s: Vec::new(), s2c: Vec::new() },
            taps: Taps::default(),
        }
    }

    /// The next frame of the capture.
    pub fn frame(&mut self, frame: Frame<'_>) {
        let Some(at) = ip_offset(frame.link, frame.data) else {
            self.taps.skipped += 1;
            return;
        };
        let (head, packet) = frame.data.split_at(at);
        let Some(header) = Header::read(packet).filter(|_| frame.ts >= self.now) else {
            self.taps.skipped += 1;
            return;
        };
        self.now = frame.ts;
        self.drain(frame.ts);
        let dir = if header.src == self.client { Dir::C2s } else { Dir::S2c };
        let own = TapFrame {
            ts: frame.ts,
            link: frame.link,
            orig_len: frame.orig_len,
            data: frame.data.to_vec(),
            dir,
        };
        self.tap(dir).push(own);
        let missing = frame.orig_len.saturating_sub(frame.data.len() as u32);
        self.wraps[dir].push(Some(Wrap { link: frame.link, head: head.to_vec(), missing }));
        let scenario = &self.scenario;
        let machine = self.machine.get_or_insert_with(|| Machine::new(scenario, frame.ts));
        machine.push(frame.ts, dir, packet.to_vec());
    }

    /// The end of the capture: whatever is still on the link comes off it.
    pub fn finish(mut self) -> Taps {
        self.drain(Ts::MAX);
        let mut taps = self.taps;
        if let Some(mut machine) = self.machine {
            machine.stop();
            taps.fates = std::iter::from_fn(|| machine.next_fate()).collect();
        }
        // A tap has its own packets and those off the link; sorting is stable, so ties keep that order.
        taps.client.sort_by_key(|f| f.ts);
        taps.server.sort_by_key(|f| f.ts);
        taps
    }

    /// The tap at which packets of this way enter the link.
    fn tap(&mut self, dir: Dir) -> &mut Vec<TapFrame> {
        match dir {
            Dir::C2s => &mut self.taps.client,
            Dir::S2c => &mut self.taps.server,
        }
    }

    fn drain(&mut self, now: Ts) {
        loop {
            let Some(machine) = &mut self.machine else { return };
            let Some(due) = machine.next_due().filter(|due| *due <= now) else { return };
            let Some(d) = machine.pop(due) else { continue };
            let wrap = usize::try_from(d.index).ok().and_then(|i| self.wraps[d.dir].get_mut(i)?.take());
            let Some(wrap) = wrap else { continue };
            let mut data = wrap.head;
            data.extend_from_slice(&d.packet);
            let orig_len = data.len() as u32 + wrap.missing;
            let frame = TapFrame { ts: d.due, link: wrap.link, orig_len, data, dir: d.dir };
            let far = self.tap(d.dir.flip());
            (0..d.times).for_each(|_| far.push(frame.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fate::What;
    use super::super::packet::build;
    use super::*;
    use crate::model::FrameNo;

    const MS: i64 = 1_000_000;

    fn ethernet(packet: &[u8]) -> Vec<u8> {
        let mut f = vec![0xaa; 12];
        f.extend_from_slice(&[0x08, 0x00]);
        f.extend_from_slice(packet);
        f
    }

    fn frame(no: u64, ms: i64, data: &[u8]) -> Frame<'_> {
        Frame {
            no: FrameNo(no),
            ts: Ts(ms * MS),
            link: LinkType::ETHERNET,
            interface: 0,
            orig_len: data.len() as u32,
            data,
        }
    }

    /// Ten segments to the client, each acknowledged.
    fn capture() -> Vec<(i64, Vec<u8>)> {
        let mut all = vec![(0, ethernet(&build::tcp((1, 5000), (2, 80), 0, 0, 0, 2, &[])))];
        for i in 0..10u32 {
            let data = build::tcp((2, 80), (1, 5000), i as u16, 1 + i * 10, 1, 0x10, &[i as u8; 10]);
            let ack = build::tcp((1, 5000), (2, 80), i as u16, 1, 11 + i * 10, 0x10, &[]);
            all.push((10 + i64::from(i) * 10, ethernet(&data)));
            all.push((12 + i64::from(i) * 10, ethernet(&ack)));
        }
        all
    }

    fn transform(text: &str) -> Taps {
        let scenario = Scenario::parse("x", &format!("name = \"x\"\n{text}")).unwrap();
        let frames = capture();
        let client = client_of(frames.iter().map(|(ms, d)| frame(1, *ms, d))).unwrap();
        let mut t = Transform::new(&scenario, client);
        for (i, (ms, data)) in frames.iter().enumerate() {
            t.frame(frame(i as u64 + 1, *ms, data));
        }
        t.finish()
    }

    #[test]
    fn a_link_that_does_nothing_changes_no_bit() {
        let taps = transform("");
        let sent: Vec<(Ts, Vec<u8>)> = capture().into_iter().map(|(ms, d)| (Ts(ms * MS), d)).collect();
        let seen = |tap: &[TapFrame]| tap.iter().map(|f| (f.ts, f.data.clone())).collect::<Vec<_>>();
        assert_eq!(seen(&taps.client), sent);
        assert_eq!(seen(&taps.server), sent);
        assert_eq!(taps.fates.len(), sent.len());
    }

    #[test]
    fn each_tap_sees_its_own_packets_at_once_and_the_others_late_or_not_at_all() {
        let taps = transform(
            "[s2c]\ndelay = \"5ms\"\n[c2s]\ndelay = \"7ms\"\n[[rule]]\nbytes = [30, 31]\naction = \"drop\"\n[[rule]]\nbytes = [50, 51]\naction = \"duplicate\"\n",
        );
        let data = |tap: &[TapFrame]| {
            let only = tap.iter().filter(|f| f.dir == Dir::S2c);
            only.map(|f| (f.ts.0 / MS, f.data[54])).collect::<Vec<_>>()
        };
        let sent: Vec<(i64, u8)> = (0..10).map(|i| (10 + i * 10, i as u8)).collect();
        let mut arrived: Vec<(i64, u8)> =
            sent.iter().map(|(t, i)| (t + 5, *i)).filter(|(_, i)| *i != 3).collect();
        arrived.insert(5, (65, 5));
        assert_eq!(data(&taps.server), sent);
        assert_eq!(data(&taps.client), arrived);
        assert_eq!(taps.fates.iter().filter(|f| f.fate == What::Dropped).count(), 1);
        assert!(taps.client.windows(2).all(|w| w[0].ts <= w[1].ts));
    }

    #[test]
    fn the_same_seed_gives_the_same_bits() {
        let text = "seed = 4\n[s2c]\ndelay = \"5ms\"\njitter = \"3ms\"\nloss = 0.2\ncorrupt = 0.3\n";
        assert_eq!(transform(text), transform(text));
        assert_ne!(transform(text).client, transform(&text.replace("4", "6")).client);
    }

    #[test]
    fn frames_without_ip_are_counted_and_left_out() {
        let scenario = Scenario::parse("x", "name = \"x\"\n").unwrap();
        let mut t = Transform::new(&scenario, IpAddr::from([10, 0, 0, 1]));
        for data in [&[][..], &[0; 5], &[0; 60], &[0xff; 60]] {
            t.frame(frame(1, 0, data));
        }
        assert_eq!(t.finish().skipped, 4);
    }
}
