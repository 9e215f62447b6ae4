//! How a scenario writes times, sizes, rates and shares: `"20ms"`, `"64kB"`, `"10Mbit"`, `0.01`.

use crate::model::Ns;
use serde::de::{Deserialize, Deserializer, Error, Visitor};
use std::fmt;

/// A length of time, written `"20ms"`, `"1.5s"`, `"250us"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dur(pub Ns);

/// A number of bytes, written `60000`, `"64kB"` (1000), `"64KiB"` (1024).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// Bits per second, written `"10Mbit"`, `"1.2MB/s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rate(pub u64);

/// A share of all packets, from 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Share(pub f64);

const TIME: &[(&str, f64)] = &[("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("ms", 1e6), ("s", 1e9), ("min", 6e10)];
const SIZE: &[(&str, f64)] = &[
    ("B", 1.0),
    ("kB", 1e3),
    ("MB", 1e6),
    ("GB", 1e9),
    ("KiB", 1024.0),
    ("MiB", 1024.0 * 1024.0),
    ("GiB", 1024.0 * 1024.0 * 1024.0),
];
const RATE: &[(&str, f64)] = &[
    ("bit", 1.0),
    ("kbit", 1e3),
    ("Mbit", 1e6),
    ("Gbit", 1e9),
    ("bit/s", 1.0),
    ("kbit/s", 1e3),
    ("Mbit/s", 1e6),
    ("Gbit/s", 1e9),
    ("B/s", 8.0),
    ("kB/s", 8e3),
    ("MB/s", 8e6),
    ("GB/s", 8e9),
];

/// `"1.5s"` in the smallest unit of `table`; refuses signs, exponents and values past 2^62.
fn quantity(text: &str, table: &[(&str, f64)]) -> Option<i64> {
    let text = text.trim();
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let factor = table.iter().find(|(name, _)| *name == unit.trim_start())?.1;
    let value = (number * factor).round();
    (value < (1u64 << 62) as f64).then_some(value as i64)
}

impl Dur {
    /// Reads `"20ms"`.
    pub fn parse(text: &str) -> Option<Dur> {
        quantity(text, TIME).map(|v| Dur(Ns(v)))
    }
}

impl Size {
    /// Reads `"64kB"`.
    pub fn parse(text: &str) -> Option<Size> {
        quantity(text, SIZE).map(|v| Size(v.unsigned_abs()))
    }
}

impl Rate {
    /// Reads `"10Mbit"`.
    pub fn parse(text: &str) -> Option<Rate> {
        quantity(text, RATE).filter(|v| *v > 0).map(|v| Rate(v.unsigned_abs()))
    }

    /// Whole bytes per second.
    pub fn bytes_per_second(self) -> u64 {
        self.0 / 8
    }

    /// How long `len` bytes occupy the line.
    pub fn time_for(self, len: u64) -> Ns {
        let ns = u128::from(len) * 8 * 1_000_000_000 / u128::from(self.0.max(1));
        Ns(i64::try_from(ns).unwrap_or(i64::MAX))
    }
}

struct Quantity<T> {
    what: &'static str,
    parse: fn(&str) -> Option<T>,
    number: fn(i64) -> Option<T>,
}

impl<T> Visitor<'_> for Quantity<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
    fn visit_str<E: Error>(self, v: &str) -> Result<T, E> {
        (self.parse)(v).ok_or_else(|| E::custom(format!("`{v}` is not {}", self.what)))
    }
    fn visit_i64<E: Error>(self, v: i64) -> Result<T, E> {
        (self.number)(v).ok_or_else(|| E::custom(format!("`{v}` is not {}", self.what)))
    }
}

impl<'de> Deserialize<'de> for Dur {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Dur, D::Error> {
        d.deserialize_any(Quantity {
            what: "a time with a unit, such as \"20ms\" or \"1.5s\"",
            parse: Dur::parse,
            number: |_| None,
        })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Size, D::Error> {
        d.deserialize_any(Quantity {
            what: "a number of bytes, such as 60000 or \"64kB\"",
            parse: Size::parse,
            number: |v| u64::try_from(v).ok().map(Size),
        })
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Rate, D::Error> {
        d.deserialize_any(Quantity {
            what: "a rate above 0 with a unit, such as \"10Mbit\" or \"1.2MB/s\"",
            parse: Rate::parse,
            number: |_| None,
        })
    }
}

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Share, D::Error> {
        let v = f64::deserialize(d)?;
        if (0.0..=1.0).contains(&v) {
            Ok(Share(v))
        } else {
            Err(D::Error::custom(format!("`{v}` is not a share from 0 to 1 (1 % is 0.01)")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_as_people_write_them() {
        assert_eq!(Dur::parse("20ms"), Some(Dur(Ns::from_millis(20))));
        assert_eq!(Dur::parse("1.5s"), Some(Dur(Ns::from_millis(1500))));
        assert_eq!(Dur::parse("250 us"), Some(Dur(Ns::from_micros(250))));
        assert_eq!(Size::parse("64kB"), Some(Size(64_000)));
        assert_eq!(Size::parse("64KiB"), Some(Size(65_536)));
        assert_eq!(Rate::parse("10Mbit"), Some(Rate(10_000_000)));
        assert_eq!(Rate::parse("1.2MB/s"), Some(Rate(9_600_000)));
        assert_eq!(Rate(8_000_000).time_for(1500), Ns::from_micros(1500));
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "20", "ms", "-5ms", "1e3ms", "1.2.3s", "20 parsecs", "99999999999999999999s"] {
            assert_eq!(Dur::parse(bad), None, "{bad}");
        }
        assert_eq!(Rate::parse("0Mbit"), None);
    }
}
