//! One table: what was measured, beside the mark.

/// What is asked of a row.
#[derive(Clone, Copy)]
pub enum Mark {
    None,
    /// At least this share of the speed of memcpy.
    OfMemcpy(f64),
    /// At most this many seconds.
    Time(f64),
    /// At most this.
    Most(f64),
}

#[derive(Default)]
pub struct Table {
    missed: Vec<String>,
    last: f64,
}

pub fn median(v: &[f64]) -> f64 {
    let mut v = v.to_vec();
    v.sort_by(f64::total_cmp);
    v.get(v.len() / 2).copied().unwrap_or(f64::NAN)
}

pub fn percent(part: u64, of: u64) -> String {
    format!("{:.3} %", part as f64 * 100.0 / of.max(1) as f64)
}

impl Table {
    pub fn head(&self) {
        println!(
            "{:<28} {:>8} {:>9} {:>10}  {:<14} {:<6} others",
            "", "GB/s", "ms", "of memcpy", "mark", "met"
        );
    }

    /// `times`: of memcpy, ours, then of the others.
    pub fn row(&mut self, name: &str, bytes: usize, mark: Mark, times: &[Vec<f64>], others: &[&str]) {
        let ours = median(&times[1]);
        let ratios: Vec<f64> = times[0].iter().zip(&times[1]).map(|(m, o)| m / o).collect();
        let ratio = median(&ratios);
        self.last = ours;
        let (asked, met) = match mark {
            Mark::OfMemcpy(least) => (format!("≥ {least}"), Some(ratio >= least)),
            Mark::Time(most) => (format!("≤ {:.1} ms", most * 1e3), Some(ours <= most)),
            Mark::Most(_) | Mark::None => (String::new(), None),
        };
        let speed = |t: f64| bytes as f64 / t / 1e9;
        let others: Vec<String> = std::iter::once(&"memcpy")
            .chain(others)
            .zip(times.iter().take(1).chain(&times[2..]))
            .map(|(name, t)| format!("{name} {:.2}", speed(median(t))))
            .collect();
        println!(
            "{name:<28} {:>8.2} {:>9.1} {ratio:>10.3}  {asked:<14} {:<6} {}",
            speed(ours),
            ours * 1e3,
            self.judge(name, met),
            others.join(", "),
        );
    }

    /// A program's times, with no mark.
    pub fn program(&mut self, name: &str, bytes: usize, times: &[f64]) {
        let t = median(times);
        println!("{name:<28} {:>8.2} {:>9.1}", bytes as f64 / t / 1e9, t * 1e3);
    }

    /// One number that is no speed.
    pub fn fact(&mut self, name: &str, value: f64, mark: Mark) {
        let (asked, met) = match mark {
            Mark::Most(most) => (format!("≤ {most}"), Some(value <= most)),
            _ => (String::new(), None),
        };
        println!("  {name:<44} {value:>12.4}  {asked:<14} {}", self.judge(name, met));
    }

    pub fn note(&self, text: &str) {
        println!("  {text}");
    }

    fn judge(&mut self, name: &str, met: Option<bool>) -> &'static str {
        match met {
            Some(true) => "yes",
            Some(false) => {
                self.missed.push(name.to_owned());
                "NO"
            }
            None => "",
        }
    }

    /// Seconds of the last row.
    pub fn last_time(&self) -> f64 {
        self.last
    }

    /// Says which marks are missed; true if none is.
    pub fn end(&self) -> bool {
        match self.missed.len() {
            0 => println!("all marks are met"),
            n => println!("{n} marks are missed: {}", self.missed.join("; ")),
        }
        self.missed.is_empty()
    }
}
