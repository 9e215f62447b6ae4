//! Two endpoints and the link between them in virtual time: no clock, no threads, no kernel. The same
//! endpoints, scenario and seed always give the same run, to the nanosecond.

use super::fate::Fate;
use super::machine::Machine;
use super::scenario::Scenario;
use crate::model::{Dir, Ts};

/// One end of the link.
pub trait Endpoint {
    /// A packet has arrived.
    fn receive(&mut self, now: Ts, packet: &[u8]);
    /// The next packet it wants to send now.
    fn poll_send(&mut self, now: Ts) -> Option<Vec<u8>>;
    /// When it wants to be woken, if nothing arrives before.
    fn next_timeout(&self) -> Option<Ts>;
    /// It is woken; the time-out must not stay in the past.
    fn timeout(&mut self, now: Ts);
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub at: Ts,
    /// Why.
    pub how: How,
    /// Fate of every packet.
    pub fates: Vec<Fate>,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Nobody wanted anything any more.
    Quiet,
    /// It came to its time limit.
    TimeUp,
    /// An endpoint does not let time go on: it sends, or wants to be woken, again and again at one instant.
    Livelock,
}

/// What may happen at one instant before it counts as a livelock.
const AT_ONE_INSTANT: u32 = 100_000;

/// Runs both from `start` until nobody wants anything, at most until `limit`.
pub fn run<'a>(
    scenario: &Scenario,
    client: &mut (dyn Endpoint + 'a),
    server: &mut (dyn Endpoint + 'a),
    start: Ts,
    limit: Ts,
) -> Ended {
    let mut link = Machine::new(scenario, start);
    let mut now = start;
    let mut steps = 0;
    let how = loop {
        let mut moved = 0;
        for (dir, end) in [(Dir::C2s, &mut *client), (Dir::S2c, &mut *server)] {
            while moved < AT_ONE_INSTANT
                && let Some(packet) = end.poll_send(now)
            {
                link.push(now, dir, packet);
                moved += 1;
            }
        }
        while let Some(d) = link.pop(now) {
            let to = if d.dir == Dir::C2s { &mut *server } else { &mut *client };
            (0..d.times).for_each(|_| to.receive(now, &d.packet));
            moved += 1;
        }
        for end in [&mut *client, &mut *server] {
            if end.next_timeout().is_some_and(|t| t <= now) {
                end.timeout(now);
                moved += 1;
            }
        }
        if moved > 0 {
            steps += moved;
            if steps >= AT_ONE_INSTANT {
                break How::Livelock;
            }
            continue;
        }
        steps = 0;
        match [link.next_due(), client.next_timeout(), server.next_timeout()].into_iter().flatten().min() {
            None => break How::Quiet,
            Some(next) if next > limit => {
                now = limit;
                break How::TimeUp;
            }
            Some(next) => now = next.max(now),
        }
    };
    link.stop();
    Ended { at: now, how, fates: std::iter::from_fn(|| link.next_fate()).collect() }
}

#[cfg(test)]
mod tests {
    use super::super::fate::What;
    use super::super::packet::{Header, build};
    use super::*;
    use crate::model::Ns;

    /// Sends numbered blocks, one at a time, and each again after 100 ms until it is answered.
    struct StopAndWait {
        block: u32,
        blocks: u32,
        send_now: bool,
        again_at: Option<Ts>,
        sends: u32,
    }

    impl Endpoint for StopAndWait {
        fn receive(&mut self, _: Ts, packet: &[u8]) {
            let ack = Header::read(packet).and_then(|h| h.tcp).map(|t| t.ack.0);
            if ack == Some(self.block + 1) {
                self.block += 1;
                self.send_now = self.block < self.blocks;
                self.again_at = None;
            }
        }
        fn poll_send(&mut self, now: Ts) -> Option<Vec<u8>> {
            if !std::mem::take(&mut self.send_now) {
                return None;
            }
            self.sends += 1;
            self.again_at = Some(now + Ns::from_millis(100));
            Some(build::tcp((1, 5000), (2, 80), 0, self.block, 0, 0x10, &[0; 1]))
        }
        fn next_timeout(&self) -> Option<Ts> {
            self.again_at
        }
        fn timeout(&mut self, _: Ts) {
            self.again_at = None;
            self.send_now = true;
        }
    }

    #[derive(Default)]
    struct Answer {
        got: Vec<u32>,
        owed: Vec<u32>,
    }

    impl Endpoint for Answer {
        fn receive(&mut self, _: Ts, packet: &[u8]) {
            let Some(tcp) = Header::read(packet).and_then(|h| h.tcp) else { return };
            if !self.got.contains(&tcp.seq.0) {
                self.got.push(tcp.seq.0);
            }
            self.owed.push(tcp.seq.0 + 1);
        }
        fn poll_send(&mut self, _: Ts) -> Option<Vec<u8>> {
            let ack = self.owed.pop()?;
            Some(build::tcp((2, 80), (1, 5000), 0, 0, ack, 0x10, &[]))
        }
        fn next_timeout(&self) -> Option<Ts> {
            None
        }
        fn timeout(&mut self, _: Ts) {}
    }

    fn sender(blocks: u32) -> StopAndWait {
        StopAndWait { block: 0, blocks, send_now: true, again_at: None, sends: 0 }
    }

    fn lossy(seed: u64) -> Scenario {
        let text = "name = \"x\"\n[c2s]\ndelay = \"10ms\"\nloss = 0.2\n[s2c]\ndelay = \"10ms\"\nloss = 0.2\nduplicate = 0.1\n";
        Scenario { seed, ..Scenario::parse("x", text).unwrap() }
    }

    #[test]
    fn a_retransmitting_sender_gets_through_and_every_time_is_accounted_for() {
        for seed in 0..50 {
            let (mut a, mut b) = (sender(20), Answer::default());
            let ended = run(&lossy(seed), &mut a, &mut b, Ts(0), Ts(60_000_000_000));
            assert_eq!(ended.how, How::Quiet);
            assert_eq!(b.got, (0..20).collect::<Vec<_>>());
            // 20 ms for each block, 100 ms for each time it was sent in vain; the last event may be a late duplicate.
            let useful = 20 * 20_000_000;
            let vain = i64::from(a.sends - 20) * 100_000_000;
            assert_eq!(ended.at.0, useful + vain, "seed {seed}");
            let lost = ended.fates.iter().filter(|f| f.fate == What::Dropped).count();
            assert!(lost >= (a.sends - 20) as usize);
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let go = |seed| run(&lossy(seed), &mut sender(20), &mut Answer::default(), Ts(5), Ts(60_000_000_000));
        assert_eq!(go(7), go(7));
        assert_ne!(go(7).fates, go(8).fates);
    }

    #[test]
    fn a_dead_link_ends_at_the_limit_and_a_livelock_is_noticed() {
        let text = "name = \"x\"\n[c2s]\nloss = 1.0\n";
        let dead = Scenario::parse("x", text).unwrap();
        let ended = run(&dead, &mut sender(1), &mut Answer::default(), Ts(0), Ts(1_050_000_000));
        assert_eq!((ended.how, ended.at, ended.fates.len()), (How::TimeUp, Ts(1_050_000_000), 11));

        struct Chatter;
        impl Endpoint for Chatter {
            fn receive(&mut self, _: Ts, _: &[u8]) {}
            fn poll_send(&mut self, _: Ts) -> Option<Vec<u8>> {
                Some(vec![0x45])
            }
            fn next_timeout(&self) -> Option<Ts> {
                None
            }
            fn timeout(&mut self, _: Ts) {}
        }
        let clean = Scenario::parse("x", "name = \"x\"\n").unwrap();
        let ended = run(&clean, &mut Chatter, &mut Answer::default(), Ts(0), Ts(1));
        assert_eq!(ended.how, How::Livelock);
    }
}
