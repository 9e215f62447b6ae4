use super::super::packet::build;
use super::*;
use crate::lab::scenario::Scenario;
use proptest::prelude::*;

const MS: i64 = 1_000_000;

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test", &format!("name = \"test\"\n{text}")).unwrap()
}

/// A segment of the server with `len` bytes at stream offset `offset`; ISN 1000.
fn data(offset: u32, len: usize) -> Vec<u8> {
    build::tcp((2, 80), (1, 5000), offset as u16, 1001 + offset, 1, 0x10, &vec![7; len])
}

fn syn_ack() -> Vec<u8> {
    build::tcp((2, 80), (1, 5000), 0, 1000, 1, 0x12, &[])
}

/// Runs packets through; every fate, in the order in which it was decided.
fn run(scenario: &Scenario, packets: &[(i64, Dir, Vec<u8>)]) -> (Vec<Delivery>, Vec<Fate>) {
    let mut m = Machine::new(scenario, Ts(0));
    let mut out = Vec::new();
    for (t, dir, p) in packets {
        while let Some(due) = m.next_due().filter(|due| due.0 <= *t) {
            out.extend(std::iter::from_fn(|| m.pop(due)));
        }
        m.push(Ts(*t), *dir, p.clone());
    }
    while let Some(due) = m.next_due() {
        out.extend(std::iter::from_fn(|| m.pop(due)));
    }
    (out, std::iter::from_fn(|| m.next_fate()).collect())
}

fn dropped(fates: &[Fate]) -> Vec<(u64, String)> {
    fates.iter().filter(|f| f.fate == What::Dropped).map(|f| (f.index, f.cause.to_string())).collect()
}

/// `n` full segments, one each `gap`.
fn stream(n: u32, gap: i64) -> Vec<(i64, Dir, Vec<u8>)> {
    (0..n).map(|i| (i64::from(i) * gap, Dir::S2c, data(i * 1000, 1000))).collect()
}

#[test]
fn a_clean_link_only_delays() {
    let s = scenario("[s2c]\ndelay = \"20ms\"\n");
    let (out, fates) = run(&s, &stream(3, MS));
    let dues: Vec<i64> = out.iter().map(|d| d.due.0 / MS).collect();
    assert_eq!(dues, [20, 21, 22]);
    assert!(fates.iter().all(|f| f.fate == What::Passed && f.arrivals == 1));
    assert_eq!(out[2].packet, data(2000, 1000));
}

#[test]
fn the_line_serialises_and_its_queue_is_bounded() {
    // 1040 B at 8.32 Mbit/s are 1 ms; 3000 B of queue hold two more.
    let s = scenario("[s2c]\nrate = \"8.32Mbit\"\nqueue = 3000\n");
    let packets: Vec<_> = (0..5).map(|i| (0, Dir::S2c, data(i * 1000, 1000))).collect();
    let (out, fates) = run(&s, &packets);
    let dues: Vec<i64> = out.iter().map(|d| d.due.0).collect();
    assert_eq!(dues, [MS, 2 * MS]);
    assert_eq!(dropped(&fates), [(2, "queue".into()), (3, "queue".into()), (4, "queue".into())]);
}

#[test]
fn jitter_keeps_the_order() {
    let s = scenario("[s2c]\ndelay = \"20ms\"\njitter = \"10ms\"\n");
    let (out, _) = run(&s, &stream(200, MS / 10));
    let order: Vec<u64> = out.iter().map(|d| d.index).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
    assert!(out.windows(2).all(|w| w[0].due <= w[1].due));
}

#[test]
fn reordered_packets_are_overtaken_and_said_to_be() {
    let s = scenario("[s2c]\ndelay = \"20ms\"\nreorder = { share = 0.1, extra = \"5ms\" }\n");
    let (out, fates) = run(&s, &stream(500, MS));
    let order: Vec<u64> = out.iter().map(|d| d.index).collect();
    let mut late = 0;
    for f in &fates {
        let want = if f.fate == What::Reordered { 25 } else { 20 };
        late += u32::from(f.fate == What::Reordered);
        assert_eq!(f.due.unwrap().0 - f.t.0, want * MS, "packet {}", f.index);
    }
    assert!((30..=70).contains(&late), "{late} of 500 at 10 %");
    assert!(order.windows(2).any(|w| w[0] > w[1]));
}

#[test]
fn duplicates_arrive_twice_and_corrupted_ones_differ_in_one_bit() {
    let s = scenario("[s2c]\nduplicate = 0.2\ncorrupt = 0.2\n");
    let (out, fates) = run(&s, &stream(300, MS));
    let arrivals: u32 = out.iter().map(|d| u32::from(d.times)).sum();
    assert_eq!(arrivals, fates.iter().map(|f| u32::from(f.arrivals)).sum::<u32>());
    assert!(fates.iter().any(|f| f.fate == What::Duplicated && f.arrivals == 2));
    for (d, f) in out.iter().zip(&fates) {
        let sent = data(u32::try_from(d.index).unwrap() * 1000, 1000);
        let bits: u32 = d.packet.iter().zip(&sent).map(|(a, b)| (a ^ b).count_ones()).sum();
        assert_eq!(bits, u32::from(f.fate == What::Corrupted));
        assert_eq!(d.packet[..20], sent[..20], "the IP header stays");
    }
}

#[test]
fn a_packet_with_nothing_behind_its_ip_header_is_not_called_corrupted() {
    let s = scenario("[s2c]\ncorrupt = 1.0\n");
    let bare = data(0, 0)[..20].to_vec();
    let (out, fates) = run(&s, &[(0, Dir::S2c, bare.clone())]);
    assert_eq!((&out[0].packet, fates[0].fate), (&bare, What::Passed));
}

#[test]
fn loss_comes_in_the_asked_share_and_in_bursts() {
    let s = scenario("[s2c]\nloss = 0.03\n");
    let n = dropped(&run(&s, &stream(5000, MS)).1).len();
    assert!((100..=200).contains(&n), "{n} of 5000 at 3 %");

    let s = scenario("[s2c]\nburst = { p = 0.02, r = 0.25 }\n");
    let lost: Vec<u64> = dropped(&run(&s, &stream(5000, MS)).1).into_iter().map(|d| d.0).collect();
    let bursts = 1 + lost.windows(2).filter(|w| w[1] != w[0] + 1).count();
    let mean = lost.len() as f64 / bursts as f64;
    assert!((3.0..5.0).contains(&mean), "mean burst {mean}, 1/r = 4");
}

#[test]
fn black_outs_and_mtu_take_what_they_should() {
    let s = scenario(
        "[s2c]\nmtu = 1039\nblackout = [{ at = \"5ms\", for = \"2ms\" }]\n[c2s]\nblackout = [{ at = \"1s\" }]\n",
    );
    let mut packets: Vec<_> =
        (0..10).map(|i| (100 * MS + i * MS, Dir::S2c, data(i as u32 * 999, 999))).collect();
    packets.push((110 * MS, Dir::S2c, data(0, 1000)));
    packets.push((1_099 * MS, Dir::C2s, data(0, 1)));
    packets.push((1_100 * MS, Dir::C2s, data(0, 1)));
    let (_, fates) = run(&s, &packets);
    let want = [(5, "blackout"), (6, "blackout"), (10, "mtu"), (1, "blackout")];
    assert_eq!(dropped(&fates), want.map(|(i, c)| (i, c.to_owned())));
}

#[test]
fn a_rule_hits_the_nth_copy_of_a_byte_range() {
    let s = scenario("[[rule]]\nname = \"second\"\nbytes = [1500, 1501]\ncopy = 2\naction = \"drop\"\n");
    let mut packets = vec![(0, Dir::S2c, syn_ack())];
    packets.extend(stream(3, MS));
    packets.extend((10..13).map(|i| (i * MS, Dir::S2c, data(1000, 1000))));
    let (_, fates) = run(&s, &packets);
    assert_eq!(dropped(&fates), [(4, "rule:second".to_owned())]);
    assert_eq!(fates.iter().map(|f| f.copy).collect::<Vec<_>>(), [1, 1, 1, 1, 2, 3, 4]);
}

#[test]
fn selectors_must_all_fit_and_rules_count() {
    let s = scenario(
        r#"
        [[rule]]
        name = "big-on-second"
        dir = "s2c"
        port = 80
        connection = 2
        min_payload = 500
        nth = 2
        count = 1
        action = "drop"
        [[rule]]
        name = "bulk"
        carried = "2kB"
        after = "3ms"
        before = "5ms"
        action = "drop"
        [[rule]]
        name = "syn"
        flag = "syn"
        count = 1
        action = "drop"
        "#,
    );
    let on = |port: u16, offset: u32, len: usize| {
        build::tcp((2, 80), (1, port), 0, 1001 + offset, 1, 0x10, &vec![7; len])
    };
    let packets = vec![
        (0, Dir::C2s, build::tcp((1, 1), (2, 80), 0, 0, 0, 2, &[])), // dropped: the first SYN
        (0, Dir::C2s, build::tcp((1, 2), (2, 80), 0, 0, 0, 2, &[])),
        (MS, Dir::S2c, on(1, 0, 1000)),
        (MS, Dir::S2c, on(1, 1000, 1000)),
        (MS, Dir::S2c, on(2, 0, 100)),        // too small
        (2 * MS, Dir::S2c, on(2, 100, 1000)), // the first that fits
        (2 * MS, Dir::S2c, on(2, 1100, 500)), // the second: dropped
        (2 * MS, Dir::S2c, on(2, 1600, 400)),
        (3 * MS, Dir::S2c, on(1, 2000, 10)), // dropped: connection 1 has carried 2 kB
        (3 * MS, Dir::S2c, on(2, 2000, 10)), // dropped: so has connection 2 by now
        (5 * MS, Dir::S2c, on(1, 2010, 10)),
    ];
    let (_, fates) = run(&s, &packets);
    let got: Vec<(Dir, u64, String)> = fates
        .iter()
        .filter(|f| f.fate == What::Dropped)
        .map(|f| (f.dir, f.index, f.cause.to_string()))
        .collect();
    let want = [
        (Dir::C2s, 0, "rule:syn"),
        (Dir::S2c, 4, "rule:big-on-second"),
        (Dir::S2c, 6, "rule:bulk"),
        (Dir::S2c, 7, "rule:bulk"),
    ];
    assert_eq!(got, want.map(|(d, i, c)| (d, i, c.to_owned())));
}

#[test]
fn held_packets_come_when_the_rule_says() {
    let s = scenario(
        "[s2c]\ndelay = \"20ms\"\n[[rule]]\nbytes = [1000, 2000]\naction = \"hold\"\nfor = \"50ms\"\n[[rule]]\nafter = \"4ms\"\nbefore = \"6ms\"\naction = \"hold\"\nuntil = \"100ms\"\n",
    );
    let (out, fates) = run(&s, &stream(8, MS));
    let order: Vec<(u64, i64)> = out.iter().map(|d| (d.index, d.due.0 / MS)).collect();
    assert_eq!(order, [(0, 20), (2, 22), (3, 23), (6, 26), (7, 27), (1, 71), (4, 100), (5, 100)]);
    assert_eq!(fates.iter().filter(|f| f.fate == What::Held).count(), 3);
}

const TAIL: &str = "[s2c]\ndelay = \"20ms\"\n[[rule]]\nname = \"tail\"\ntail = { pause = \"15ms\", segments = 2 }\ncount = 1\nafter = \"5ms\"\naction = \"drop\"\n";

#[test]
fn a_tail_is_the_last_segments_before_a_pause_and_nobody_else_is_delayed() {
    // Segments 0..=9 a millisecond apart, a pause of 30 ms, then more; old data in the pause is no news.
    let s = scenario(TAIL);
    let mut packets = stream(10, MS);
    packets.push((12 * MS, Dir::S2c, data(3000, 1000)));
    packets.extend((10..20).map(|i| (30 * MS + i64::from(i) * MS, Dir::S2c, data(i * 1000, 1000))));
    packets.extend((0..5).map(|i| (100 * MS + i64::from(i) * MS, Dir::S2c, data(20_000 + i * 1000, 1000))));
    let (_, fates) = run(&s, &packets);
    assert_eq!(dropped(&fates), [(8, "rule:tail".to_owned()), (9, "rule:tail".to_owned())]);
    for f in fates.iter().filter(|f| f.fate == What::Passed) {
        assert_eq!(f.due.unwrap().0 - f.t.0, 20 * MS, "packet {}", f.index);
    }
}

#[test]
fn a_tail_keeps_packets_in_order_even_if_it_must_wait_longer_than_the_delay() {
    let s = scenario(&TAIL.replace("15ms", "60ms"));
    // A gap of 40 ms is no pause; the two before it are known to be no tail when the next two come.
    let mut packets = stream(8, MS);
    packets.push((8 * MS, Dir::S2c, build::tcp((2, 80), (1, 5000), 0, 9001, 1, 0x10, &[]))); // a bare ACK behind them
    packets.extend((8..12).map(|i| (40 * MS + i64::from(i) * MS, Dir::S2c, data(i * 1000, 1000))));
    let (out, fates) = run(&s, &packets);
    assert_eq!(dropped(&fates), [(11, "rule:tail".to_owned()), (12, "rule:tail".to_owned())]);
    let order: Vec<(u64, i64)> = out.iter().map(|d| (d.index, d.due.0 / MS)).collect();
    assert_eq!(
        order,
        [(0, 20), (1, 21), (2, 22), (3, 23), (4, 24), (5, 25), (6, 48), (7, 49), (8, 49), (9, 68), (10, 69)]
    );
}

#[test]
fn when_the_link_stops_what_is_on_its_way_is_recorded() {
    let s = scenario("[s2c]\ndelay = \"20ms\"\nreorder = { share = 0.5, extra = \"5ms\" }\n");
    let mut m = Machine::new(&s, Ts(0));
    for (t, dir, p) in stream(10, MS) {
        m.push(Ts(t), dir, p);
    }
    assert_eq!(m.in_flight(), 10);
    m.stop();
    let fates: Vec<Fate> = std::iter::from_fn(|| m.next_fate()).collect();
    assert_eq!(fates.len(), 10);
    assert!(fates.iter().all(|f| f.cause == Cause::Stopped && f.arrivals == 0));
    assert_eq!(m.next_due(), None);
}

#[test]
fn time_zero_can_be_the_start_of_the_link() {
    let s = scenario("zero = \"start\"\n[s2c]\nblackout = [{ at = \"10ms\", for = \"5ms\" }]\n");
    let packets: Vec<_> = [9, 10, 14, 15].map(|t| (t * MS, Dir::S2c, data(t as u32, 1))).to_vec();
    assert_eq!(dropped(&run(&s, &packets).1).iter().map(|d| d.0).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn time_zero_is_the_first_packet_on_the_port() {
    let s = scenario("[run]\nport = 80\n[s2c]\nblackout = [{ at = \"0s\", for = \"5ms\" }]\n");
    let other = build::tcp((2, 22), (1, 5000), 0, 1, 1, 0x10, &[1]);
    let (_, fates) =
        run(&s, &[(0, Dir::S2c, other), (50 * MS, Dir::S2c, data(0, 1)), (55 * MS, Dir::S2c, data(1, 1))]);
    assert_eq!(dropped(&fates), [(1, "blackout".to_owned())]);
}

const EVERYTHING: &str = r#"
[c2s]
delay = "3ms"
jitter = "4ms"
loss = 0.05
duplicate = 0.05
[s2c]
delay = "20ms"
jitter = "2ms"
rate = "20Mbit"
queue = 8000
loss = 0.05
burst = { p = 0.05, r = 0.3 }
corrupt = 0.05
mtu = 1200
blackout = [{ at = "100ms", for = "20ms" }]
[[rule]]
tail = { pause = "25ms" }
dir = "s2c"
action = "drop"
[[rule]]
nth = 5
count = 2
min_payload = 1
action = "duplicate"
"#;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Without reordering asked for: every packet has exactly one fate, what arrives arrives in order,
    /// and no earlier than the delay; moving everything in time moves the fates and changes none.
    #[test]
    fn nothing_is_lost_late_or_reordered_without_a_record(
        seed in any::<u64>(),
        shift in 0i64..1_000_000_000_000,
        steps in proptest::collection::vec((0i64..8, any::<bool>(), 0u32..40, 1usize..1400), 1..200),
    ) {
        let s = Scenario { seed, ..scenario(EVERYTHING) };
        let mut t = 0;
        let packets: Vec<(i64, Dir, Vec<u8>)> = steps.iter().map(|(gap, up, block, len)| {
            t += gap * gap * MS / 4;
            if *up {
                (t, Dir::C2s, build::tcp((1, 5000), (2, 80), 1, 1 + block * 100, 1, 0x10, &vec![1; *len]))
            } else {
                (t, Dir::S2c, data(block * 1000, *len))
            }
        }).collect();
        let (out, fates) = run(&s, &packets);

        prop_assert_eq!(fates.len(), packets.len());
        for dir in Dir::BOTH {
            let mut indexes: Vec<u64> = fates.iter().filter(|f| f.dir == dir).map(|f| f.index).collect();
            indexes.sort_unstable();
            prop_assert!(indexes.iter().copied().eq(0..indexes.len() as u64));
            let arrived: Vec<u64> = out.iter().filter(|d| d.dir == dir).map(|d| d.index).collect();
            prop_assert!(arrived.windows(2).all(|w| w[0] < w[1]));
        }
        for f in &fates {
            let delay = s.link(f.dir).delay.0;
            prop_assert_eq!(f.due.is_none(), f.fate == What::Dropped);
            prop_assert_eq!(f.arrivals == 0, f.fate == What::Dropped);
            prop_assert!(f.due.is_none_or(|d| d - f.t >= delay));
            prop_assert_eq!(f.cause == Cause::None, f.fate == What::Passed);
        }

        let moved: Vec<_> = packets.iter().map(|(t, d, p)| (t + shift, *d, p.clone())).collect();
        let again: Vec<Fate> = run(&s, &moved).1.into_iter().map(|mut f| {
            f.t = f.t - Ns(shift);
            f.due = f.due.map(|d| d - Ns(shift));
            f
        }).collect();
        prop_assert_eq!(again, fates);
    }

    /// Whatever the bytes are: one fate each, and what passes untouched is the same bytes.
    #[test]
    fn garbage_is_carried_like_anything_else(
        packets in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..80), 0usize..3), 1..60)
    ) {
        let s = scenario(EVERYTHING);
        let packets: Vec<(i64, Dir, Vec<u8>)> = packets.into_iter().enumerate().map(|(i, (up, mut bytes, kind))| {
            if let Some(first) = bytes.first_mut() {
                *first = [*first, 0x45, 0x60][kind];
            }
            (i as i64 * MS, if up { Dir::C2s } else { Dir::S2c }, bytes)
        }).collect();
        let (out, fates) = run(&s, &packets);
        prop_assert_eq!(fates.len(), packets.len());
        for d in out {
            let fate = fates.iter().find(|f| f.dir == d.dir && f.index == d.index).unwrap();
            let sent = &packets.iter().filter(|p| p.1 == d.dir).nth(d.index as usize).unwrap().2;
            prop_assert_eq!(&d.packet == sent, fate.fate != What::Corrupted);
        }
    }

    /// The same seed and packets give the same fates; another seed other ones.
    #[test]
    fn a_seed_decides(seed in any::<u64>()) {
        let packets = stream(400, MS);
        let with = |seed| run(&Scenario { seed, ..scenario("[s2c]\nloss = 0.2\n") }, &packets);
        prop_assert_eq!(with(seed), with(seed));
        prop_assert_ne!(dropped(&with(seed).1), dropped(&with(seed ^ 1).1));
    }

    /// Adding an impairment does not shift the dice of another.
    #[test]
    fn impairments_do_not_disturb_each_other(seed in any::<u64>()) {
        let packets = stream(300, MS);
        let lost = |text: &str| {
            let s = Scenario { seed, ..scenario(text) };
            let mut all = dropped(&run(&s, &packets).1);
            all.retain(|d| d.1 == "loss");
            all
        };
        let alone = lost("[s2c]\nloss = 0.1\n");
        let among = lost("[s2c]\nloss = 0.1\ncorrupt = 0.3\njitter = \"5ms\"\nduplicate = 0.3\n");
        prop_assert_eq!(alone, among);
    }
}

#[test]
fn a_box_on_the_path_resets_both_ends() {
    let s = scenario(
        "[c2s]\ndelay = \"10ms\"\n[s2c]\ndelay = \"20ms\"\n\
         [[rule]]\nname = \"box\"\ncarried = 1000\ncount = 1\naction = \"reset\"\n",
    );
    let (out, fates) = run(&s, &stream(2, MS));
    // Half-way there and half-way back for the sender, all the way for the receiver.
    let got: Vec<_> = out.iter().map(|d| (d.due.0 / MS, d.dir, d.index)).collect();
    assert_eq!(got, [(16, Dir::C2s, 1), (20, Dir::S2c, 0), (21, Dir::S2c, 1)]);
    assert_eq!(dropped(&fates), [(1, "rule:box".into())]);
    let forged: Vec<_> = fates.iter().filter(|f| f.fate == What::Forged).collect();
    assert_eq!(forged.len(), 2);
    for f in forged {
        assert_eq!((f.cause.to_string(), f.arrivals, f.conn), ("rule:box".into(), 1, Some(1)));
        assert!(f.flags.is_some_and(|flags| flags & 4 != 0) && f.due.is_some());
    }
}

#[test]
fn a_policer_lets_a_burst_through_and_then_its_rate() {
    // 1040 B at 8.32 Mbit/s are 1 ms; the bucket holds two of them and not a third.
    let s = scenario("[s2c]\npolicer = { rate = \"8.32Mbit\", burst = 3000 }\n");
    let times = [0, 0, 0, MS / 10, MS, MS + 1];
    let packets: Vec<_> = times.iter().zip(0..).map(|(t, i)| (*t, Dir::S2c, data(i * 1000, 1000))).collect();
    let (out, fates) = run(&s, &packets);
    assert_eq!(out.iter().map(|d| d.due.0).collect::<Vec<_>>(), [0, 0, MS], "nothing waits");
    let lost = [2, 3, 5].map(|i| (i, "policer".to_owned()));
    assert_eq!(dropped(&fates), lost);
}

#[test]
fn the_sender_is_told_of_what_does_not_fit_if_the_link_says_so() {
    let mut big = data(0, 1000);
    big[6] = 0x40;
    for (icmp, want) in [("", 0), ("icmp = true\n", 1)] {
        let s = scenario(&format!("[s2c]\ndelay = \"20ms\"\nmtu = 1000\n{icmp}[c2s]\ndelay = \"4ms\"\n"));
        let (out, fates) = run(&s, &[(0, Dir::S2c, big.clone())]);
        assert_eq!(dropped(&fates), [(0, "mtu".into())]);
        assert_eq!(out.len(), want);
        assert!(out.iter().all(|d| (d.dir, d.due.0) == (Dir::C2s, 12 * MS)));
    }
}
