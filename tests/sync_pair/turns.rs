//! Two sessions in virtual time: a path that can be cut, ends that lose their turns, heartbeats beside it.
//!
//! ```text
//!  session ─► socket ═══ path ═══► inbox ─► session        both ways; the socket and the inbox hold little
//!     └─ heartbeat ······ path ······► Vitals ─► Watch      four in a time-out
//! ```

use super::rig::{End, agree, assert_clean, noise, pair, picture, put};
use super::{BOTH, dirs};
use std::collections::VecDeque;
use std::path::Path;
use syncscope::drive::alive::{Beat, Dead, Facts, Vitals, Watch};
use syncscope::model::{Ns, Ts};
use syncscope::sync::{Config, Mode, wire};

const TICK: Ns = Ns::from_millis(10);
const TIMEOUT: Ns = Ns::from_millis(500);
const TICKS: u64 = 50;
/// Bytes that a socket, and an inbox, hold: less than most frames here.
const SOCKET: usize = 700;
/// No run takes longer, in ticks; a pause is added.
const LONGEST: u64 = 4000;

/// One end, its socket, and what it knows of the other one.
struct Host<'a> {
    end: End<'a>,
    socket: VecDeque<u8>,
    /// Bytes of its socket that the other end has.
    acked: u64,
    arrived: u64,
    beat: Beat,
    vitals: Vitals,
    watch: Watch,
    dead: Option<(u64, Dead)>,
}

impl<'a> Host<'a> {
    fn new(end: End<'a>) -> Host<'a> {
        Host {
            end,
            socket: VecDeque::new(),
            acked: 0,
            arrived: 0,
            beat: Beat::default(),
            vitals: Vitals::default(),
            watch: Watch::new(at(0), TIMEOUT),
            dead: None,
        }
    }

    fn over(&self) -> bool {
        self.dead.is_some() || self.end.session.is_done()
    }

    /// One turn: at most `write` bytes and `read` bytes move.
    fn turn(&mut self, write: usize, read: usize) {
        let had = self.end.inbox.len();
        let worked = self.end.work(1).unwrap();
        let wrote = self.end.write_to(&mut self.socket, write, SOCKET);
        let took = read > 0 && self.end.read(read).unwrap();
        self.beat.steps += u64::from(worked) + u64::from(took);
        self.beat.read += (had - self.end.inbox.len()) as u64;
        self.beat.written = self.acked + self.socket.len() as u64;
        self.beat.waits = !worked && !wrote && !took && self.end.session.poll_output(1).is_empty();
    }

    fn look(&mut self, tick: u64, other_has_room: bool) {
        let facts = Facts {
            arrived: self.arrived,
            acked: self.acked,
            unacked: u32::from(!self.socket.is_empty()),
            closed: !other_has_room,
            unread: self.end.inbox.len() as u32,
            mine: self.beat,
        };
        if self.dead.is_none() && !self.end.session.is_done() {
            self.dead = self.watch.look(at(tick), facts, self.vitals.heard()).map(|d| (tick, d));
        }
    }
}

fn at(tick: u64) -> Ts {
    Ts(1_000_000_000) + Ns(TICK.0 * tick as i64)
}

/// Bytes from one host's socket to the other one's inbox.
fn carry(from: &mut Host<'_>, to: &mut Host<'_>, most: u64) {
    let room = SOCKET - to.end.inbox.len().min(SOCKET);
    let n = from.socket.len().min(room).min(usize::try_from(most).unwrap_or(usize::MAX));
    to.end.inbox.extend(from.socket.drain(..n));
    from.acked += n as u64;
    to.arrived += n as u64;
}

/// What one host may do in one tick: bytes written and read, and whether it has its turn at all.
type Turn = Option<(usize, usize)>;

/// Plays until both are over; `turn` says what a host may do now, `path` how many bytes may yet pass
/// each way (none: heartbeats neither). The ticks that it took.
fn play(
    hosts: &mut [Host<'_>; 2],
    mut turn: impl FnMut(u64, usize, &Host<'_>) -> Turn,
    mut path: impl FnMut(&[Host<'_>; 2]) -> Option<[u64; 2]>,
    longest: u64,
) -> u64 {
    for tick in 0..longest {
        for (i, host) in hosts.iter_mut().enumerate() {
            if let (false, Some((write, read))) = (host.over(), turn(tick, i, host)) {
                host.turn(write, read);
            }
        }
        let open = path(hosts);
        let [a, b] = hosts;
        if let Some([there, back]) = open {
            carry(a, b, there);
            carry(b, a, back);
            if tick % (TICKS / 4) == 0 {
                a.vitals.hear(at(tick), b.beat);
                b.vitals.hear(at(tick), a.beat);
            }
        }
        let room = [a.end.inbox.len() < SOCKET, b.end.inbox.len() < SOCKET];
        a.look(tick, room[1]);
        b.look(tick, room[0]);
        if a.over() && b.over() {
            return tick;
        }
    }
    let phases = hosts.each_ref().map(|h| (h.end.session.phase(), h.end.session.input_phase()));
    panic!("no end after {longest} ticks: {phases:?}");
}

/// Both directions carry much: sums of old files one way, literals of new ones the other.
fn trees(source: &Path, dest: &Path) {
    for i in 0..4 {
        let old = noise(i, 9000);
        let mut new = old.clone();
        new[4000..4300].copy_from_slice(&noise(77, 300));
        put(source.join(format!("old{i}")), &new, 0);
        put(dest.join(format!("old{i}")), &old, 9);
        put(source.join(format!("new{i}")), &noise(50 + i, 1500), 0);
    }
    put(source.join("dir/empty"), b"", 0);
}

fn hosts<'a>(mode: Mode, source: &Path, dest: &Path) -> [Host<'a>; 2] {
    let (c, s) = pair(mode, source, dest, &Config::new(3));
    [Host::new(c), Host::new(s)]
}

const FREE: Turn = Some((1000, 1000));

fn whole(_: &[Host<'_>; 2]) -> Option<[u64; 2]> {
    Some([u64::MAX; 2])
}

/// Where the frames of what each host writes end, with the bytes before and behind.
fn boundaries(mode: Mode) -> [Vec<u64>; 2] {
    let (_dir, source, dest) = dirs();
    trees(&source, &dest);
    let mut hosts = hosts(mode, &source, &dest);
    play(&mut hosts, |_, _, _| FREE, whole, LONGEST);
    hosts.map(|h| {
        let bytes = &h.end.written;
        let (mut at, mut ends) = (wire::PREAMBLE, vec![0, wire::PREAMBLE as u64]);
        while let Some((_, n)) = wire::decode(&bytes[at..]).unwrap() {
            at += n;
            ends.extend([at as u64 - n as u64 + 1, at as u64]);
        }
        assert_eq!(at, bytes.len(), "frames, and nothing else");
        ends
    })
}

#[test]
fn an_end_that_stands_still_at_any_frame_for_ten_time_outs_goes_on_and_is_never_dead() {
    let mut runs = 0;
    for mode in BOTH {
        for (writer, ends) in boundaries(mode).into_iter().enumerate() {
            for end in ends {
                // Either the writer stands still before it writes on, or the reader before it reads on.
                for stalled in 0..2 {
                    let (_dir, source, dest) = dirs();
                    trees(&source, &dest);
                    let mut hosts = hosts(mode, &source, &dest);
                    let mut since = None;
                    let turn = |tick: u64, i: usize, h: &Host<'_>| {
                        if i != stalled {
                            return FREE;
                        }
                        let (done, here) = match i == writer {
                            true => (h.acked + h.socket.len() as u64, &mut since),
                            false => (h.beat.read, &mut since),
                        };
                        if done == end {
                            let began = *here.get_or_insert(tick);
                            if tick - began < 10 * TICKS {
                                return None;
                            }
                        }
                        let most = if done < end { (end - done) as usize } else { 1000 };
                        Some(if i == writer { (most, 1000) } else { (1000, most) })
                    };
                    play(&mut hosts, turn, whole, LONGEST + 10 * TICKS);
                    let [c, s] = &hosts;
                    assert_eq!((c.dead, s.dead), (None, None), "{mode:?} {writer} {end} {stalled}");
                    agree(&c.end, &s.end);
                    assert_eq!(picture(&dest), picture(&source));
                    runs += 1;
                }
            }
        }
    }
    assert!(runs > 200, "{runs} runs");
}

#[test]
fn a_path_cut_at_any_frame_ends_both_ends_within_the_time_out_and_leaves_no_part_of_a_file() {
    for mode in BOTH {
        for (writer, ends) in boundaries(mode).into_iter().enumerate() {
            for end in ends {
                let (_dir, source, dest) = dirs();
                trees(&source, &dest);
                let before = picture(&dest);
                let mut hosts = hosts(mode, &source, &dest);
                let (mut cut, mut ticks) = (None, 0);
                let path = |h: &[Host<'_>; 2]| {
                    ticks += 1;
                    if h[writer].acked == end {
                        cut.get_or_insert(ticks);
                    }
                    let mut most = [u64::MAX; 2];
                    most[writer] = end - h[writer].acked;
                    cut.is_none().then_some(most)
                };
                play(&mut hosts, |_, _, _| FREE, path, LONGEST);
                let cut = cut.expect("it was cut");
                for h in &hosts {
                    let Some((tick, why)) = h.dead else {
                        assert!(h.end.session.is_done());
                        continue;
                    };
                    assert!(
                        tick <= cut + TICKS,
                        "{mode:?} {writer} {end}: cut at {cut}, dead at {tick}: {why:?}"
                    );
                    assert!(matches!(why, Dead::Silent(_)), "{why:?}");
                }
                let done = hosts.iter().all(|h| h.end.session.is_done());
                assert!(!done || picture(&dest) == picture(&source));
                drop(hosts);
                assert_clean(&dest);
                let (now, want) = (picture(&dest), picture(&source));
                for f in now.iter().filter(|f| !f.2.is_empty()) {
                    let is = |all: &[(String, u32, Vec<u8>, i128)]| {
                        all.iter().any(|g| (&g.0, &g.2) == (&f.0, &f.2))
                    };
                    assert!(is(&before) || is(&want), "{} is neither the old file nor the new one", f.0);
                }
            }
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators).
fn random(x: &mut u64) -> u64 {
    *x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[test]
fn lost_turns_of_any_pattern_only_cost_time() {
    for seed in 0..40 {
        for mode in BOTH {
            let (_dir, source, dest) = dirs();
            trees(&source, &dest);
            let mut hosts = hosts(mode, &source, &dest);
            let (mut x, mut asleep) = (seed, [0u64; 2]);
            let turn = |tick: u64, i: usize, _: &Host<'_>| {
                let r = random(&mut x);
                if tick < asleep[i] {
                    return None;
                }
                if r.is_multiple_of(16) {
                    asleep[i] = tick + (r >> 8) % (3 * TICKS);
                    return None;
                }
                let size = |r: u64| (r % 9).pow(3) as usize;
                Some((size(r >> 16), size(r >> 32)))
            };
            play(&mut hosts, turn, whole, 100 * LONGEST);
            let [c, s] = &hosts;
            assert_eq!((c.dead, s.dead), (None, None), "seed {seed}");
            agree(&c.end, &s.end);
            assert_eq!(picture(&dest), picture(&source));
        }
    }
}

#[test]
fn a_peer_that_only_sends_heartbeats_is_busy_for_ever_and_costs_nothing() {
    let (_dir, source, dest) = dirs();
    trees(&source, &dest);
    let mut hosts = hosts(Mode::Pull, &source, &dest);
    let [c, _] = &mut hosts;
    for tick in 0..100_000 {
        c.turn(1000, 1000);
        // A flood of them, all alike.
        for _ in 0..3 {
            c.vitals.hear(at(tick), Beat { steps: 7, ..Beat::default() });
        }
        let n = c.socket.len();
        c.acked += n as u64;
        c.socket.clear();
        c.look(tick, true);
        assert_eq!(c.dead, None);
    }
    let words = c.vitals.heard().unwrap().in_words(at(100_000));
    assert!(words.contains("at step 7 for 1000"), "{words}");
    assert_eq!(c.end.session.file_names().len(), 0);
}
