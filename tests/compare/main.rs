//! Two taps on an emulated link, whose log says what became of every packet: what `compare` says must be that.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clocks;
mod command;
mod tap;
mod tcp;

#[path = "../real/mod.rs"]
mod real;

use syncscope::lab::scenario::Scenario;
use syncscope::model::tcp::{LossWhere, SegmentClass};
use syncscope::model::{Dir, Ns, PerDir, Ts};
use syncscope::report::{Comparison, LossProof, MissingWhy, PairedBy, Report};
use tap::{Chance, compare, gso, nat, renumber};
use tcp::{Pair, Talk, talk};

pub const START: Ts = Ts(1_700_000_000_000_000_000);

pub fn scenario(seed: u64, text: &str) -> Scenario {
    Scenario { seed, ..Scenario::parse("test", &format!("name = \"test\"\n{text}")).unwrap() }
}

const BAD: &str = "
    [c2s]\ndelay = \"20ms\"\njitter = \"3ms\"\nloss = 0.03\nduplicate = 0.01\n
    [s2c]\ndelay = \"35ms\"\njitter = \"2ms\"\nloss = 0.03\nduplicate = 0.01\n";

fn bad_link(seed: u64, t: Talk) -> Pair {
    talk(&scenario(seed, BAD), t, START)
}

fn three(seed: u64) -> Talk {
    Talk { connections: 3, stamps: seed.is_multiple_of(2), ..Talk::default() }
}

/// Way, client's port, bytes: one entry a lost copy, sorted.
type Lost = Vec<(Dir, u16, i64, i64)>;

fn truth(p: &Pair) -> Lost {
    let mut all: Lost = p.dropped().into_iter().map(|(d, port, _, a, b)| (d, port, a, b)).collect();
    all.sort_unstable();
    all
}

pub fn section(r: &Report) -> &Comparison {
    r.comparison.as_ref().expect("two captures")
}

/// The client's port as the client itself knows it.
fn port(c: &Comparison, flow: syncscope::model::FlowId) -> u16 {
    let p = c.paired.iter().find(|p| p.flow == flow).unwrap();
    let own = |e: &syncscope::report::Ends| e.client.ip().to_string() == "192.0.2.1";
    if own(&p.a) { p.a.client.port() } else { p.b.client.port() }
}

fn said(r: &Report) -> Lost {
    let c = section(r);
    let all = c.losses.iter().map(|l| (l.dir, port(c, l.flow), l.range.start.0, l.range.end.0));
    let mut all: Lost = all.collect();
    all.sort_unstable();
    all
}

fn exact(r: &Report, p: &Pair, what: &str) {
    assert_eq!(said(r), truth(p), "{what}");
    assert_eq!(section(r).missing, [], "{what}");
    let network = r.losses.iter().filter(|l| l.location == LossWhere::Network).count();
    // a copy that nobody needed is no byte that did not arrive
    let needed = section(r).losses.iter().filter(|l| l.proof != LossProof::NotSeen).count();
    assert_eq!(network, needed, "{what}: one list of losses, told in two places");
}

#[test]
fn what_is_lost_is_what_the_link_dropped_in_either_order() {
    for seed in 0..20 {
        let p = bad_link(seed, three(seed));
        assert!(p.dropped().len() > 10, "seed {seed}");
        let there = compare(&p.client, &p.server);
        exact(&there, &p, &format!("seed {seed}"));
        exact(&compare(&p.server, &p.client), &p, &format!("seed {seed}, B first"));
        assert!(section(&there).paired.iter().all(|x| x.by == PairedBy::Addresses));
        acks_agree(&there, &p, seed);
    }
}

/// Pure acknowledgements that the link dropped are those that the other tap misses.
fn acks_agree(r: &Report, p: &Pair, seed: u64) {
    for dir in Dir::BOTH {
        let gone = || {
            let all = p.fates.iter().filter(|f| f.dir == dir && f.arrivals == 0 && f.len == 0);
            all.filter(|f| f.flags.unwrap() & 3 == 0)
        };
        let said: u64 = section(r).paired.iter().map(|x| x.dirs[dir].acks_missing).sum();
        // the last of them may have been on their way when the captures ended
        let sure = gone().filter(|f| f.t + Ns::from_millis(60) < p.client.last().unwrap().ts).count() as u64;
        assert!((sure..=gone().count() as u64).contains(&said), "seed {seed} {dir}: {said}, {sure} at least");
    }
}

#[test]
fn repairs_are_those_of_the_sender() {
    let p = bad_link(3, three(0));
    let r = compare(&p.client, &p.server);
    let c = section(&r);
    for l in c.losses.iter().filter(|l| l.proof == LossProof::Repaired) {
        let (sent, again) = (l.sent, l.repaired.unwrap());
        assert!(again > sent && l.arrived.unwrap() > again, "{l:?}");
    }
    // nothing stays unanswered on a talk that ended well, but a last ACK's repair may be needless
    assert!(c.losses.iter().all(|l| l.proof != LossProof::Unanswered));
}

#[test]
fn behind_nat_and_a_firewall_that_renumbers_the_same_is_lost() {
    for seed in 0..8 {
        let t = Talk { stamps: seed % 2 == 0, ..three(seed) };
        let p = bad_link(seed, t);
        let far = nat(&p.server);
        for (a, b) in [(&p.client, &far), (&far, &p.client)] {
            let r = compare(a, b);
            exact(&r, &p, &format!("nat, seed {seed}"));
            assert!(section(&r).paired.iter().all(|x| x.by == PairedBy::Packets), "seed {seed}");
        }
        let moved = nat(&renumber(&p.server, 0x1234_5678));
        let r = compare(&p.client, &moved);
        exact(&r, &p, &format!("renumbered, seed {seed}"));
        for x in &section(&r).paired {
            assert_eq!((x.by, x.shift), (PairedBy::Content, PerDir { c2s: 0x1234_5678, s2c: 0 }));
        }
    }
}

#[test]
fn without_handshakes_the_same_is_lost_behind_nat() {
    for seed in 0..8 {
        let p = bad_link(seed, three(seed));
        let late = |all: &[tap::Seen]| -> Vec<tap::Seen> {
            all.iter().filter(|s| s.ts > START + Ns::from_millis(300)).cloned().collect()
        };
        let (a, b) = (late(&p.client), nat(&late(&p.server)));
        let r = compare(&a, &b);
        let c = section(&r);
        assert_eq!((c.paired.len(), c.unpaired.len()), (3, 0), "seed {seed}");
        let hard = c.missing.iter().filter(|m| m.why == MissingWhy::CaptureDrop);
        assert_eq!(hard.count(), 0, "seed {seed}: {:?}", c.missing);
        // numbers count from another byte: as many copies, as long
        let begin = START + Ns::from_millis(300 + 90);
        let fates = p.fates.iter().filter(|f| f.arrivals == 0 && f.t > begin);
        let bytes: u64 = fates.map(|f| u64::from(f.len)).sum();
        let told = c.losses.iter().filter(|l| l.sent > begin);
        let fins = told.clone().filter(|l| l.range.len() % 1000 == 1).count() as u64;
        assert_eq!(told.map(|l| l.range.len()).sum::<u64>() - fins, bytes, "seed {seed}");
    }
}

#[test]
fn offload_at_either_end_changes_no_byte() {
    for seed in 0..10 {
        let p = bad_link(seed, Talk { stamps: seed % 2 == 0, window: 32, burst: 4, ..Talk::default() });
        let wide = |all: &[tap::Seen]| {
            let merged = gso(all);
            assert!(merged.len() + 20 < all.len(), "{} of {}", merged.len(), all.len());
            merged
        };
        // a large segment loses each packet on its own, but what lies together is told as one
        let (a, b) = (wide(&p.client), wide(&p.server));
        for (what, r) in [
            ("client", compare(&a, &p.server)),
            ("server", compare(&p.client, &b)),
            ("both", compare(&a, &b)),
        ] {
            assert_eq!(bytes(&said(&r)), bytes(&truth(&p)), "{what}, seed {seed}");
            assert_eq!(section(&r).missing, [], "{what}, seed {seed}");
        }
    }
}

/// How often each byte was lost.
fn bytes(all: &Lost) -> std::collections::BTreeMap<(Dir, u16, i64), u32> {
    let mut out = std::collections::BTreeMap::new();
    for &(d, p, a, b) in all {
        (a..b).for_each(|x| *out.entry((d, p, x)).or_insert(0) += 1);
    }
    out
}

#[test]
fn what_lies_outside_the_overlap_is_no_loss() {
    for seed in 0..12 {
        let p = bad_link(seed, three(seed));
        let end = p.client.last().unwrap().ts;
        let at = |part: i64| START + end.since(START).scaled(part, 100);
        let cut = |all: &[tap::Seen], from: Ts, to: Ts| -> Vec<tap::Seen> {
            all.iter().filter(|s| from <= s.ts && s.ts <= to).cloned().collect()
        };
        let (a, b) = (cut(&p.client, START, at(70)), cut(&p.server, at(25), end));
        for (x, y) in [(&a, &b), (&b, &a)] {
            let r = compare(x, y);
            let c = section(&r);
            let told = said(&r);
            let sure = |f: &&syncscope::lab::fate::Fate| {
                let margin = Ns::from_millis(80);
                f.arrivals == 0 && f.t > at(25) + margin && f.t + margin < at(70)
            };
            let all = truth(&p);
            assert!(told.iter().all(|l| all.contains(l)), "seed {seed}: more than was lost");
            let inside = p.fates.iter().filter(sure).filter(|f| f.len > 0 || f.flags.unwrap() & 3 > 0);
            let inside = inside.count();
            let close = c.losses.iter().filter(|l| l.sent > at(25) && l.sent < at(70)).count();
            assert!(inside > 0 && close >= inside, "seed {seed}: {close} of at least {inside}");
            assert!(
                c.missing.iter().all(|m| m.why != MissingWhy::CaptureDrop),
                "seed {seed}: {:?}",
                c.missing
            );
            assert!(c.missing.iter().any(|m| m.why == MissingWhy::BeforeStart));
            assert!(c.missing.iter().any(|m| m.why == MissingWhy::AfterEnd));
        }
    }
}

#[test]
fn what_a_capture_missed_is_no_loss_of_the_network() {
    for seed in 0..20 {
        let p = bad_link(seed, three(seed));
        let mut chance = Chance::new(seed);
        let mut gone = Vec::new();
        // both captures miss one data packet in 50
        let mut missing = |all: &[tap::Seen]| -> Vec<tap::Seen> {
            let keep = |s: &&tap::Seen| {
                let miss = s.payload() > 0 && chance.one_in(50);
                if let (true, Some(i)) = (miss, s.index) {
                    gone.push((s.dir, i));
                }
                !miss
            };
            all.iter().filter(keep).cloned().collect()
        };
        let (a, b) = (missing(&p.client), missing(&p.server));
        let r = compare(&a, &b);
        let mut want: Lost = p
            .dropped()
            .into_iter()
            .filter(|(d, _, i, _, _)| !gone.contains(&(*d, *i)))
            .map(|(d, port, _, a, b)| (d, port, a, b))
            .collect();
        want.sort_unstable();
        let c = section(&r);
        let proven: Lost = {
            let sure = c.losses.iter().filter(|l| l.proof != LossProof::NotSeen);
            let mut all: Lost =
                sure.map(|l| (l.dir, port(c, l.flow), l.range.start.0, l.range.end.0)).collect();
            all.sort_unstable();
            all
        };
        let extra: Lost = proven.iter().filter(|l| !want.contains(l)).copied().collect();
        assert_eq!(extra, [], "seed {seed}: called lost, and only a capture missed it");
        let told = said(&r);
        let unsaid: Lost = want.iter().filter(|l| !told.contains(l)).copied().collect();
        assert_eq!(unsaid, [], "seed {seed}: lost, and not said");
        assert!(c.missing.iter().any(|m| m.input == 0) && c.missing.iter().any(|m| m.input == 1));
    }
}

/// Without IP IDs and time stamps: the path held segments and their resends and let all go at once. What came first was
/// taken for the resend, and the first copies for lost.
#[test]
fn what_the_path_held_together_with_its_resends_was_called_lost() {
    let spike = "[c2s]\ndelay = \"20ms\"\n[s2c]\ndelay = \"20ms\"\n
        [[rule]]\nname = \"spike\"\ndir = \"s2c\"\nafter = \"150ms\"\nbefore = \"900ms\"\naction = \"hold\"\nuntil = \"900ms\"\n";
    let p = talk(&scenario(1, spike), Talk { stamps: false, ..Talk::default() }, START);
    let twice = p.fates.iter().filter(|f| f.dir == Dir::S2c && f.len > 0 && f.copy > 1).count();
    assert!(twice > 0 && p.dropped().is_empty());
    let bare = |all: &[tap::Seen]| tap::edit(all, |s| s.data[18..20].fill(0));
    let r = compare(&bare(&p.client), &bare(&p.server));
    assert_eq!(said(&r), []);
    let again = |input| {
        let all = r.segments.iter().filter(|s| s.input == input && s.class == SegmentClass::Retransmission);
        all.count()
    };
    assert_eq!((again(0), again(1)), (twice, twice));
}

/// The second capture missed a data packet and its ACK in a row. The first had that ACK; it was taken for a forged one,
/// and the packet for lost.
#[test]
fn a_packet_that_a_capture_missed_together_with_its_ack_was_called_lost() {
    let clean = "[c2s]\ndelay = \"20ms\"\n[s2c]\ndelay = \"20ms\"\n";
    let p = talk(&scenario(1, clean), Talk::default(), START);
    let last = p.server.iter().rposition(|s| s.dir == Dir::C2s && s.payload() > 0).unwrap();
    // nothing that the server's capture has says that this packet came
    let upto = p.server[last].word(24).wrapping_add(p.server[last].payload() as u32);
    let says = |s: &tap::Seen| s.dir == Dir::S2c && s.word(28).wrapping_sub(upto) < 1 << 31;
    let kept = p.server.iter().enumerate().filter(|(i, s)| *i != last && !says(s));
    let server: Vec<tap::Seen> = kept.map(|(_, s)| s.clone()).collect();
    let r = compare(&p.client, &server);
    assert_eq!(said(&r), []);
    assert!(section(&r).missing.iter().any(|m| m.dir == Dir::C2s && m.why == MissingWhy::CaptureDrop));
}

/// A packet that a file has twice was none that two taps could tell from others: nothing that the sender's tap knew of it
/// was believed, and the clocks rested on other evidence.
#[test]
fn two_captures_with_every_frame_twice_say_what_they_say_with_each_once() {
    let twice = |all: &[tap::Seen]| all.iter().flat_map(|s| [s.clone(), s.clone()]).collect::<Vec<_>>();
    for seed in 0..6 {
        let t = Talk { stamps: seed % 2 == 0, ..Talk::default() };
        let p = talk(&scenario(seed, &BAD.replace("duplicate = 0.01", "")), t, START);
        let labels = |r: &Report| {
            let real = r.segments.iter().filter(|s| s.class != SegmentClass::CaptureDuplicate);
            real.map(|s| (s.input, s.ts, s.range(), s.class)).collect::<Vec<_>>()
        };
        let (once, again) = (compare(&p.client, &p.server), compare(&twice(&p.client), &twice(&p.server)));
        assert!(labels(&once).len() > 10, "seed {seed}");
        assert_eq!(labels(&once), labels(&again), "seed {seed}");
        assert_eq!(said(&once), said(&again), "seed {seed}");
    }
}

/// A packet that was seen to take long made every loss as long before the end a matter of where the capture ends,
/// although the repair was there.
#[test]
fn a_loss_near_the_end_of_a_slow_path_is_one_where_its_repair_arrived() {
    let text = "[c2s]\ndelay = \"20ms\"\n[s2c]\ndelay = \"35ms\"\nloss = 0.03\n
        [[rule]]\nname = \"slow\"\ndir = \"s2c\"\nbytes = [20000, 20001]\ncopy = 1\naction = \"hold\"\nfor = \"2s\"\n";
    for seed in 0..6 {
        let p = talk(&scenario(seed, text), Talk::default(), START);
        let arrived: Vec<_> = p.fates.iter().filter(|f| f.arrivals > 0).filter_map(|f| f.seq).collect();
        let r = compare(&p.client, &p.server);
        let told = said(&r);
        let mut repaired = p.dropped();
        repaired.retain(|l| arrived.contains(&tcp::isn(l.0, l.1).wrapping_add(l.3 as u32)));
        assert!(repaired.len() > 3, "seed {seed}");
        for (dir, port, _, from, to) in repaired {
            assert!(told.contains(&(dir, port, from, to)), "seed {seed}: {dir} {from}:{to}");
        }
    }
}

#[test]
fn a_path_that_dies_loses_what_was_sent_into_it() {
    let text = "[c2s]\ndelay = \"20ms\"\nblackout = [{ at = \"170ms\", for = \"3s\" }]\n[s2c]\ndelay = \"20ms\"\nblackout = [{ at = \"170ms\", for = \"3s\" }]\n";
    let p = talk(&scenario(1, text), Talk { down: 200_000, ..Talk::default() }, START);
    // the captures end before it comes back: the client's has nothing after the last arrival
    let stop = START + Ns::from_millis(2_500);
    let cut = |all: &[tap::Seen]| all.iter().filter(|s| s.ts < stop).cloned().collect::<Vec<_>>();
    let (a, b) = (cut(&p.client), cut(&p.server));
    let r = compare(&a, &b);
    let down = section(&r).losses.iter().filter(|l| l.dir == Dir::S2c);
    let resent = p.fates.iter().filter(|f| f.dir == Dir::S2c && f.arrivals == 0 && f.len > 0);
    let long_ago = resent.filter(|f| f.t < START + Ns::from_millis(1_300)).count();
    let open = down.filter(|l| l.repaired.is_none()).count();
    let told =
        section(&r).losses.iter().filter(|l| l.dir == Dir::S2c && l.sent < START + Ns::from_millis(1_300));
    assert_eq!(told.count(), long_ago, "needless copies die with the path, too");
    assert!(open >= long_ago && long_ago > 10, "{open} of {long_ago}");
}

/// What a box on the path swallowed and acknowledged in the server's name was once taken for a drop of the capture.
#[test]
fn an_acknowledgement_that_only_the_senders_tap_has_proves_nothing() {
    let p = bad_link(2, three(2));
    let drops = p.dropped();
    let (dir, port, index, from, to) = *drops.iter().find(|l| l.0 == Dir::C2s && l.3 > 1).unwrap();
    let sent = p.client.iter().find(|s| s.index == Some(index)).unwrap().ts;
    // the connection ends there, the others go on
    let mine = |s: &tap::Seen| {
        let at = if s.dir == Dir::C2s { 20 } else { 22 };
        u16::from_be_bytes([s.data[at], s.data[at + 1]]) == port
    };
    let cut = |all: &[tap::Seen], to: Ts| -> Vec<tap::Seen> {
        all.iter().filter(|s| s.ts <= to || !mine(s)).cloned().collect()
    };
    let (mut a, b) = (cut(&p.client, sent), cut(&p.server, sent + Ns::from_millis(50)));
    let like = p.client.iter().find(|s| s.dir == Dir::S2c && mine(s)).unwrap();
    a.push(tap::forged_reset(like, sent + Ns::from_millis(1), tcp::isn(dir, port).wrapping_add(to as u32)));
    a.sort_by_key(|s| s.ts);
    let r = compare(&a, &b);
    assert!(said(&r).contains(&(dir, port, from, to)), "{:?}", section(&r).missing);
    let only_a = |m: &syncscope::report::Missing| m.dir == Dir::C2s && m.input == 0;
    assert!(!section(&r).missing.iter().any(only_a), "{:?}", section(&r).missing);
}

#[test]
fn mangled_captures_do_no_harm() {
    for seed in 0..25 {
        let p = bad_link(seed, Talk { down: 60_000, ..three(seed) });
        let mut chance = Chance::new(seed);
        let mut mangle = |all: &[tap::Seen]| -> Vec<tap::Seen> {
            let mut all = all.to_vec();
            for s in &mut all {
                if chance.one_in(5) {
                    let at = chance.between(0, s.data.len().min(60) as i64 - 1) as usize;
                    s.data[at] = chance.next() as u8;
                }
                if chance.one_in(50) {
                    s.ts = Ts(chance.next() as i64);
                }
                if chance.one_in(50) {
                    s.data.truncate(chance.between(0, 50) as usize);
                }
            }
            all
        };
        let (a, b) = (mangle(&p.client), mangle(&p.server));
        let r = compare(&a, &b);
        let mut text = Vec::new();
        let options = syncscope::view::TextOptions { comparison: true, ..Default::default() };
        syncscope::view::text::write(&r, &mut text, options).unwrap();
        let mut lines = Vec::new();
        syncscope::view::ndjson::write(&r, &mut lines).unwrap();
        let again = syncscope::view::load(std::str::from_utf8(&lines).unwrap()).unwrap();
        assert_eq!(again.comparison, r.comparison, "seed {seed}");
    }
}
