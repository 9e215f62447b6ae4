//! Times as logs write them, by a format in the words of `strftime`.

use crate::model::Ts;
use crate::model::calendar::{self, DAY, SECOND};

/// What a log's time says. Without a date, `ns` counts from midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Nanoseconds since 1970-01-01 or since midnight, in the log's own time zone.
    pub ns: i64,
    /// It has a date.
    pub dated: bool,
    /// It names its time zone, and `ns` is in UTC.
    pub zoned: bool,
}

/// A time format, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat(Vec<Item>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Item {
    Literal(char),
    Space,
    Field(char),
    /// `%.f`: a point or comma and a fraction, or nothing.
    DotFraction,
}

/// Fields that a format can name.
const FIELDS: &str = "YmdbHMSfzs";

impl TimeFormat {
    /// Reads `%Y/%m/%d %H:%M:%S%.f` and the like.
    pub fn new(text: &str) -> Result<TimeFormat, String> {
        let mut items = Vec::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c.is_whitespace() {
                items.push(Item::Space);
            } else if c != '%' {
                items.push(Item::Literal(c));
            } else {
                match chars.next() {
                    Some('%') => items.push(Item::Literal('%')),
                    Some('e') => items.extend([Item::Space, Item::Field('d')]),
                    Some('F') => items.extend("Y-m-d".chars().map(field_or_literal)),
                    Some('T') => items.extend("H:M:S".chars().map(field_or_literal)),
                    Some('.') if chars.next() == Some('f') => items.push(Item::DotFraction),
                    Some(f) if FIELDS.contains(f) => items.push(Item::Field(f)),
                    other => {
                        let what = other.map_or("%".to_owned(), |c| format!("%{c}"));
                        return Err(format!(
                            "`{what}` is not known; %Y %m %d %e %b %F %H %M %S %T %f %.f %z %s are"
                        ));
                    }
                }
            }
        }
        let has = |f: char| items.contains(&Item::Field(f));
        let date = has('d') && (has('m') || has('b'));
        let clock = has('H') && has('M') && has('S');
        if !has('s') && !clock {
            return Err("needs %H, %M and %S, or %s for seconds since 1970".to_owned());
        }
        if (has('Y') || has('m') || has('b') || has('d')) && !(date && has('Y')) {
            return Err(
                "a date needs %Y, %m (or %b) and %d; leave all three out if the log has no year".to_owned()
            );
        }
        Ok(TimeFormat(items))
    }

    /// The time at the begin of `text`.
    pub fn read(&self, text: &str) -> Option<Stamp> {
        let mut rest = text;
        let (mut year, mut month, mut day) = (None, None, None);
        let (mut clock, mut fraction, mut epoch, mut zone) = (0i64, 0i64, None, None);
        for item in &self.0 {
            match item {
                Item::Space => rest = rest.trim_start(),
                Item::Literal(c) => rest = rest.strip_prefix(*c)?,
                Item::DotFraction => {
                    if let Some(after) = rest.strip_prefix(['.', ',']) {
                        fraction = take_fraction(after, &mut rest)?;
                    }
                }
                Item::Field('f') => fraction = take_fraction(rest, &mut rest)?,
                Item::Field('z') => {
                    let end =
                        rest.bytes().take_while(|b| b.is_ascii_alphanumeric() || b"+-:".contains(b)).count();
                    zone = Some(calendar::parse_zone(&rest[..end])?);
                    rest = &rest[end..];
                }
                Item::Field('b') => {
                    month = Some(month_by_name(rest)?);
                    rest = rest.get(3..)?;
                }
                Item::Field('s') => epoch = Some(number(&mut rest, 1, 11)?),
                Item::Field('Y') => year = Some(number(&mut rest, 4, 4)?),
                Item::Field('m') => month = Some(number(&mut rest, 1, 2)?),
                Item::Field('d') => day = Some(number(&mut rest, 1, 2)?),
                Item::Field('H') => clock += below(number(&mut rest, 1, 2)?, 24)? * 3600,
                Item::Field('M') => clock += below(number(&mut rest, 1, 2)?, 60)? * 60,
                // 60 is a leap second
                Item::Field(_) => clock += below(number(&mut rest, 1, 2)?, 61)?,
            }
        }
        if let Some(s) = epoch {
            return Some(Stamp {
                ns: s.checked_mul(SECOND)?.checked_add(fraction)?,
                dated: true,
                zoned: true,
            });
        }
        let days = match (year, month, day) {
            (Some(y), Some(m), Some(d)) => {
                Some(calendar::day_number(y, u32::try_from(m).ok()?, u32::try_from(d).ok()?)?)
            }
            _ => None,
        };
        let east = zone.unwrap_or(0);
        let ns = days.unwrap_or(0).checked_mul(DAY)?.checked_add((clock - east) * SECOND + fraction)?;
        Some(Stamp { ns, dated: days.is_some(), zoned: zone.is_some() })
    }

    /// The first time in the line that begins a word, within its first characters.
    pub fn find(&self, line: &str) -> Option<Stamp> {
        const REACH: usize = 200;
        let mut begins = true;
        for (at, c) in line.char_indices().take(REACH) {
            if begins && let Some(s) = self.read(&line[at..]) {
                return Some(s);
            }
            begins = !c.is_alphanumeric();
        }
        None
    }
}

/// Turns stamps into times; a clock without a date that jumps back by half a day has passed midnight.
#[derive(Default)]
pub(super) struct Clock {
    /// The last stamp had a date.
    pub dated: bool,
    /// The last stamp was in UTC.
    pub zoned: bool,
    before: Option<i64>,
    days: i64,
}

impl Clock {
    /// The next one; `east` seconds of Greenwich unless it says so itself.
    pub fn next(&mut self, s: Stamp, east: i64) -> Ts {
        (self.dated, self.zoned) = (s.dated, s.zoned);
        if !s.dated {
            if self.before.is_some_and(|b| b.saturating_sub(s.ns) > DAY / 2) {
                self.days += 1;
            }
            self.before = Some(s.ns);
        }
        Ts(s.ns.saturating_add(self.days.saturating_mul(DAY)).saturating_sub(east * SECOND))
    }
}

fn field_or_literal(c: char) -> Item {
    if c.is_ascii_alphabetic() { Item::Field(c) } else { Item::Literal(c) }
}

fn below(n: i64, limit: i64) -> Option<i64> {
    (n < limit).then_some(n)
}

fn number(rest: &mut &str, least: usize, most: usize) -> Option<i64> {
    let n = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if n < least {
        return None;
    }
    let value = rest[..n].parse().ok()?;
    *rest = &rest[n..];
    Some(value)
}

/// One to nine digits as nanoseconds; further digits are skipped.
fn take_fraction<'a>(text: &'a str, rest: &mut &'a str) -> Option<i64> {
    let n = text.bytes().take_while(u8::is_ascii_digit).count();
    let used = n.min(9);
    let mut ns: i64 = text.get(..used).filter(|t| !t.is_empty())?.parse().ok()?;
    for _ in used..9 {
        ns *= 10;
    }
    *rest = &text[n..];
    Some(ns)
}

fn month_by_name(text: &str) -> Option<i64> {
    const NAMES: [&str; 12] =
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = text.get(..3)?.to_ascii_lowercase();
    NAMES.iter().position(|n| *n == name).map(|i| i as i64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: &str, text: &str) -> Option<(i64, bool, bool)> {
        TimeFormat::new(format).unwrap().find(text).map(|s| (s.ns, s.dated, s.zoned))
    }

    #[test]
    fn times_are_read_by_their_format() {
        let at = 1_565_795_925_655_477_000;
        let cases = [
            ("%Y/%m/%d %H:%M:%S%.f", "2019/08/14 15:18:45.655477 x", (at, true, false)),
            ("%F %T,%f", "[2019-08-14 15:18:45,655477]", (at, true, false)),
            ("%FT%T%.f%z", "level=info time=2019-08-14T23:18:45.655477+08:00", (at, true, true)),
            ("%d %b %Y %T%.f", "14 Aug 2019 15:18:45.655477", (at, true, false)),
            ("%s%.f", "1565795925.655477 read", (at, true, true)),
            ("%T%.f", "15:18:45", ((15 * 3600 + 18 * 60 + 45) * SECOND, false, false)),
        ];
        for (format, text, want) in cases {
            assert_eq!(read(format, text), Some(want), "{format}");
        }
        for (format, text) in [("%T", "25:00:00"), ("%F %T", "2019-02-30 00:00:00"), ("%T", "é"), ("%s", "x")]
        {
            assert_eq!(read(format, text), None, "{text}");
        }
    }

    #[test]
    fn a_format_that_cannot_tell_a_time_is_refused() {
        for bad in ["%H:%M", "%Q", "%", "%b %d %T", "", "%.x"] {
            assert!(TimeFormat::new(bad).is_err(), "{bad}");
        }
    }
}
