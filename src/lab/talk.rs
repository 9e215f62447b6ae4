//! A scripted conversation over the link: what the application at each end does, step by step.
//!
//! ```toml
//! [talk]
//! port = 9000
//! for  = "12s"              # whatever still hangs then, the talk is over
//! [talk.client]
//! steps = ["write 2MB", "pause 500ms", "write 100kB by 1kB every 10ms", "shutdown", "read all"]
//! [talk.server]
//! steps = ["read all", "close"]
//! ```

use super::units::{Dur, Rate, Size};
use crate::model::Ns;
use serde::Deserialize;

/// Two scripted applications and one TCP connection.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Talk {
    /// Where the server listens.
    #[serde(default = "port")]
    pub port: u16,
    /// IP version.
    #[serde(default)]
    pub family: Family,
    /// It ends at the latest then, counted from the client's SYN.
    #[serde(rename = "for")]
    pub lasts: Dur,
    /// Who connects.
    pub client: App,
    /// Who listens.
    pub server: App,
}

/// IP version of the connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "u8")]
pub enum Family {
    /// 4.
    #[default]
    V4,
    /// 6.
    V6,
}

impl TryFrom<u8> for Family {
    type Error = String;
    fn try_from(n: u8) -> Result<Family, String> {
        match n {
            4 => Ok(Family::V4),
            6 => Ok(Family::V6),
            _ => Err(format!("`family` is {n}, but must be 4 or 6")),
        }
    }
}

/// One end's application and how it sets its socket.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct App {
    /// What it does, in order. After the last step the socket stays open until both ends have done theirs.
    pub steps: Vec<Step>,
    /// SO_SNDBUF; the kernel doubles it and no longer tunes it.
    pub sndbuf: Option<Size>,
    /// SO_RCVBUF; likewise.
    pub rcvbuf: Option<Size>,
    /// TCP_NODELAY.
    pub nodelay: bool,
}

/// One thing that an application does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Step {
    /// Hands over so many bytes, as fast as the socket takes them, or in pieces: so many bytes every so often.
    Write {
        /// In all.
        bytes: u64,
        /// Size of a piece, and from the start of one to the start of the next.
        by: Option<(u64, Ns)>,
    },
    /// Takes bytes, as fast as they come or at most at a rate.
    Read {
        /// How many; none: to the end of the stream.
        bytes: Option<u64>,
        /// At most so fast.
        rate: Option<Rate>,
    },
    /// Sleeps.
    Pause(Ns),
    /// Keeps a CPU busy.
    Spin(Ns),
    /// Writes to the disk, and waits for it (fsync).
    Disk(Ns),
    /// Does nothing any more until the talk is over.
    Hang,
    /// Says that it will write no more (FIN).
    Shutdown,
    /// Closes the socket.
    Close,
    /// Closes it with a RST.
    Reset,
}

impl TryFrom<String> for Step {
    type Error = String;
    fn try_from(text: String) -> Result<Step, String> {
        Step::parse(&text)
    }
}

const FORMS: &str = "`write SIZE`, `write SIZE by SIZE every TIME`, `read SIZE`, `read all` (both also `… at RATE`), \
                     `pause TIME`, `spin TIME`, `disk TIME`, `hang`, `shutdown`, `close` or `reset`";

impl Step {
    /// Reads one step; the error says what it may be.
    pub fn parse(text: &str) -> Result<Step, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let time = |w: &str| Dur::parse(w).map(|d| d.0).filter(|d| *d > Ns::ZERO);
        let size = |w: &str| Size::parse(w).map(|s| s.0).filter(|s| *s > 0);
        let amount = |w: &str| if w == "all" { Some(None) } else { size(w).map(Some) };
        let step = match words[..] {
            ["write", n] => size(n).map(|bytes| Step::Write { bytes, by: None }),
            ["write", n, "by", piece, "every", gap] => {
                size(n).zip(size(piece).zip(time(gap))).map(|(bytes, by)| Step::Write { bytes, by: Some(by) })
            }
            ["read", n] => amount(n).map(|bytes| Step::Read { bytes, rate: None }),
            ["read", n, "at", rate] => amount(n)
                .zip(Rate::parse(rate).filter(|r| r.bytes_per_second() > 0))
                .map(|(bytes, rate)| Step::Read { bytes, rate: Some(rate) }),
            ["pause", t] => time(t).map(Step::Pause),
            ["spin", t] => time(t).map(Step::Spin),
            ["disk", t] => time(t).map(Step::Disk),
            ["hang"] => Some(Step::Hang),
            ["shutdown"] => Some(Step::Shutdown),
            ["close"] => Some(Step::Close),
            ["reset"] => Some(Step::Reset),
            _ => None,
        };
        step.ok_or_else(|| format!("`{text}` is no step of a talk; a step is {FORMS}"))
    }
}

fn port() -> u16 {
    9000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_understood() {
        let ms = Ns::from_millis;
        let cases = [
            ("write 2MB", Step::Write { bytes: 2_000_000, by: None }),
            ("write 4kB by 100B every 5ms", Step::Write { bytes: 4000, by: Some((100, ms(5))) }),
            ("read all", Step::Read { bytes: None, rate: None }),
            ("read 64KiB", Step::Read { bytes: Some(65_536), rate: None }),
            ("read all at 8Mbit", Step::Read { bytes: None, rate: Some(Rate(8_000_000)) }),
            ("read 1kB at 1kB/s", Step::Read { bytes: Some(1000), rate: Some(Rate(8000)) }),
            ("  pause   500ms ", Step::Pause(ms(500))),
            ("spin 1.5s", Step::Spin(ms(1500))),
            ("disk 20ms", Step::Disk(ms(20))),
            ("hang", Step::Hang),
            ("shutdown", Step::Shutdown),
            ("close", Step::Close),
            ("reset", Step::Reset),
        ];
        for (text, want) in cases {
            assert_eq!(Step::parse(text), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_step_is_told_with_what_is() {
        for text in [
            "",
            "write",
            "write 2",
            "write 0B",
            "write all",
            "write 2MB by 1kB",
            "write 2MB every 5ms",
            "pause",
            "pause 5",
            "pause 0s",
            "read all at 5",
            "read all at 1bit",
            "hang 3s",
            "Close",
            "close now",
        ] {
            let e = Step::parse(text).unwrap_err();
            assert!(e.starts_with(&format!("`{text}` is no step")) && e.contains("`read all`"), "{e}");
        }
    }
}
