//! Whether compressing what waits to be sent pays, by what was measured so far: it does where the path needs
//! longer for the bytes that compressing saves than this processor needs to save them.

use crate::model::{Ns, Ts};
use crate::sync::Compress;

/// Of so many pieces that were not worth it one is tried all the same.
const TRY: u32 = 32;
/// What is taken for granted before anything is measured, bytes per second.
const USUAL_SPEED: f64 = 400e6;
/// Both ends' work, and what is not known well, count this much.
const MARGIN: f64 = 1.5;

/// What is known of path, processor and bytes.
#[derive(Debug)]
pub(super) struct Squeeze {
    /// Bytes per second that the peer acknowledged while there was more to send.
    path: Option<f64>,
    /// Bytes per second that are compressed.
    speed: f64,
    /// What is left of a byte.
    ratio: f64,
    skipped: u32,
    last: Option<(Ts, u64)>,
}

impl Default for Squeeze {
    fn default() -> Squeeze {
        Squeeze { path: None, speed: USUAL_SPEED, ratio: 0.5, skipped: 0, last: None }
    }
}

impl Squeeze {
    /// So many bytes were acknowledged by now; more were waiting all the time since the last call, or not.
    pub(super) fn acknowledged(&mut self, now: Ts, bytes: u64, waiting: bool) {
        if let Some((then, before)) = self.last
            && waiting
            && now > then
            && bytes > before
        {
            self.path = Some((bytes - before) as f64 / (now - then).0 as f64 * 1e9);
        }
        self.last = Some((now, bytes));
    }

    /// Whether to compress the next piece, given what the user wants.
    pub(super) fn pays(&mut self, wish: Compress) -> bool {
        match wish {
            Compress::Always => return true,
            Compress::Never => return false,
            Compress::WhereItPays => {}
        }
        let Some(path) = self.path else { return false };
        if (1.0 - self.ratio) / path > MARGIN / self.speed {
            return true;
        }
        // What follows may be another kind of bytes; on a path this fast nothing would pay.
        self.skipped += 1;
        self.skipped.is_multiple_of(TRY) && path * MARGIN < self.speed
    }

    /// A piece was compressed: from, to, in this time.
    pub(super) fn done(&mut self, from: usize, to: usize, took: Ns) {
        if from == 0 {
            return;
        }
        let mix = |old: f64, new: f64| old * 0.75 + new * 0.25;
        self.ratio = mix(self.ratio, to as f64 / from as f64);
        self.speed = mix(self.speed, from as f64 / (took.0.max(1) as f64) * 1e9);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(path: u64, ratio: f64) -> Squeeze {
        let mut s = Squeeze::default();
        assert!(!s.pays(Compress::WhereItPays), "nothing is known");
        s.acknowledged(Ts(0), 0, true);
        s.acknowledged(Ts(100_000_000), path / 10, true);
        for _ in 0..40 {
            s.done(100_000, (100_000.0 * ratio) as usize, Ns(250_000));
        }
        s
    }

    #[test]
    fn slow_paths_and_bytes_that_shrink_pay_and_others_do_not() {
        assert!(after(1_000_000, 0.4).pays(Compress::WhereItPays), "8 Mbit/s");
        assert!(after(100_000_000, 0.4).pays(Compress::WhereItPays), "800 Mbit/s");
        assert!(!after(2_000_000_000, 0.4).pays(Compress::WhereItPays), "loopback");
        assert!(!after(1_000_000, 1.0).pays(Compress::WhereItPays), "noise");
    }

    #[test]
    fn noise_is_tried_again_now_and_then() {
        let mut s = after(1_000_000, 1.0);
        let tried = (0..320).filter(|_| s.pays(Compress::WhereItPays)).count();
        assert_eq!(tried, 10);
    }

    #[test]
    fn a_path_that_waited_for_us_tells_nothing_and_the_user_decides() {
        let mut s = Squeeze::default();
        s.acknowledged(Ts(0), 0, true);
        s.acknowledged(Ts(100_000_000), 1000, false);
        assert!(!s.pays(Compress::WhereItPays));
        assert!(s.pays(Compress::Always) && !s.pays(Compress::Never));
    }
}
