//! Offsets, drifts and delays against those that were put in.

use crate::tap::{Chance, clock, compare};
use crate::tcp::{Talk, talk};
use crate::{START, scenario, section};
use syncscope::model::{Dir, Ns};
use syncscope::report::ClockFit;

/// The offset that was put in, at the moment that the fit names (a moment of A's clock).
fn put_in(fit: &ClockFit, ahead: Ns, ppm: f64) -> Ns {
    ahead + Ns((fit.at.since(START).0 as f64 * ppm / 1e6).round() as i64)
}

/// A talk long enough to see rates, over a link with these delays each way.
fn link(seed: u64, there: &str, back: &str, jitter: &str, pace: i64) -> crate::tcp::Pair {
    let text = format!(
        "[c2s]\ndelay = \"{there}\"\njitter = \"{jitter}\"\nloss = 0.01\n[s2c]\ndelay = \"{back}\"\njitter = \"{jitter}\"\nloss = 0.01\n"
    );
    let t = Talk { up: 300_000, down: 300_000, pace: Ns::from_millis(pace), ..Talk::default() };
    talk(&scenario(seed, &text), t, START)
}

const DELAYS: [(&str, &str, i64); 5] = [
    ("20ms", "20ms", 0),
    ("1ms", "60ms", -29_500_000),
    ("45ms", "5ms", 20_000_000),
    ("200us", "200us", 0),
    ("150ms", "20ms", 65_000_000),
];

#[test]
fn the_offset_lies_within_its_bound_whatever_the_path() {
    let mut chance = Chance::new(4);
    for (i, (there, back, skew)) in DELAYS.into_iter().enumerate() {
        let p = link(i as u64, there, back, "0ms", 30);
        for n in 0..12 {
            let ahead = Ns(chance.between(-5_000_000_000, 5_000_000_000));
            let ppm = [0.0, 12.5, -40.0, 100.0][n % 4];
            let b = clock(&p.server, ahead, ppm);
            let r = compare(&p.client, &b);
            let fit = section(&r).clock.clone().unwrap_or_else(|| panic!("{there} {back} {ahead} {ppm}"));
            let real = put_in(&fit, ahead, ppm);
            let what = format!("{there} there, {back} back, {ahead} ahead, {ppm} ppm: {real} in {fit:?}");
            assert!(fit.low <= real && real <= fit.high, "{what}");
            assert!((fit.offset - real).0.abs() <= fit.bound().0, "{what}");
            // on an uneven path the estimate is off by half of what one way is longer, and cannot know it
            let off = (fit.offset - real).0 - skew;
            assert!(off.abs() <= 50_000, "{what}: off by {off} ns");
            let shortest = (fit.round_trip.0 - fit.high.0 + fit.low.0).abs();
            assert!(shortest <= 2_100_000, "the bound is half the round trip, as the rates allow: {what}");
            match fit.drift {
                Some(d) => assert!((d.ppm - ppm).abs() <= d.error.max(1.0), "{what}"),
                None => panic!("a long overlap shows a rate: {what}"),
            }
        }
    }
}

#[test]
fn queues_do_not_pass_for_clocks() {
    for seed in 0..10 {
        let p = link(seed, "20ms", "20ms", "8ms", 20);
        for ppm in [0.0, 60.0] {
            let b = clock(&p.server, Ns::from_secs(3_600), ppm);
            let fit = section(&compare(&p.client, &b)).clock.clone().unwrap();
            let real = put_in(&fit, Ns::from_secs(3_600), ppm);
            assert!(fit.low <= real && real <= fit.high, "seed {seed}, {ppm} ppm: {real} in {fit:?}");
            assert!((fit.offset - real).0.abs() <= fit.symmetric.0.max(500_000), "{real} in {fit:?}");
        }
    }
}

#[test]
fn the_other_order_says_the_same_the_other_way_round() {
    let p = link(7, "12ms", "30ms", "1ms", 10);
    let b = clock(&p.server, Ns::from_millis(777), 0.0);
    let (ab, ba) = (compare(&p.client, &b), compare(&b, &p.client));
    let (x, y) = (section(&ab), section(&ba));
    let (fx, fy) = (x.clock.clone().unwrap(), y.clock.clone().unwrap());
    assert!((fx.offset + fy.offset).0.abs() <= 1_000, "{fx:?} {fy:?}");
    assert_eq!(x.a_near.map(|s| s.flip()), y.a_near);
    assert_eq!(x.losses.len(), y.losses.len());
    for dir in Dir::BOTH {
        let (d, e) = (x.paired[0].dirs[dir].delay.unwrap(), y.paired[0].dirs[dir].delay.unwrap());
        assert_eq!(d.samples, e.samples);
        assert!((d.median - e.median).0.abs() <= 1_000, "{d:?} {e:?}");
    }
}

#[test]
fn delays_there_and_back_add_up_to_the_round_trip() {
    let p = link(1, "30ms", "10ms", "0ms", 5);
    let r = compare(&p.client, &clock(&p.server, Ns::from_millis(-250), 0.0));
    let dirs = &section(&r).paired[0].dirs;
    let (there, back) = (dirs.c2s.delay.unwrap(), dirs.s2c.delay.unwrap());
    assert_eq!((there.min + back.min).0 / 1_000, 40_000);
    assert!(there.median >= there.min && there.p99 >= there.median && there.max >= there.p99);
}

/// Two taps on one host once agreed on 21 µs ± 0 ns, though nothing was wrong with any clock.
#[test]
fn the_bound_of_two_taps_at_one_place_leaves_room_for_their_time_stamps() {
    let p = link(1, "0ms", "0ms", "0ms", 1);
    for late in [0, 21_000, -21_000] {
        let b = clock(&p.server, Ns(late), 0.0);
        let r = compare(&p.client, &b);
        let fit = section(&r).clock.clone().unwrap();
        assert!(fit.bound() >= Ns::from_micros(50), "{fit:?}");
        assert!(fit.low <= Ns::ZERO && Ns::ZERO <= fit.high, "stamps that are late are no clock: {fit:?}");
        assert!(r.inputs[1].clock.unwrap().bound >= Ns::from_micros(50));
        assert_eq!(section(&r).a_near, None, "neither tap is nearer to anybody");
        assert_eq!(section(&r).losses.len(), p.dropped().len());
    }
}

#[test]
fn one_direction_alone_gives_no_clock_and_no_delays_and_still_every_loss() {
    let p = link(2, "20ms", "20ms", "0ms", 5);
    let up = |all: &[crate::tap::Seen]| all.iter().filter(|s| s.dir == Dir::C2s).cloned().collect::<Vec<_>>();
    let r = compare(&up(&p.client), &clock(&up(&p.server), Ns::from_secs(-40), 0.0));
    let c = section(&r);
    assert_eq!(c.clock, None);
    assert_eq!(c.paired[0].dirs.c2s.delay, None);
    let lost = p.dropped().into_iter().filter(|l| l.0 == Dir::C2s).count();
    assert_eq!(c.losses.iter().filter(|l| l.dir == Dir::C2s).count(), lost);
    assert!(r.quality.iter().any(|q| q.code == "clock-unknown"));
}
