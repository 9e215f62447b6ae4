//! Dates of the proleptic Gregorian calendar as day numbers, for logs and listings that print them.

use chrono::NaiveDate;

/// Nanoseconds in a second.
pub const SECOND: i64 = 1_000_000_000;
/// Nanoseconds in a day.
pub const DAY: i64 = 86_400 * SECOND;

/// Days since 1970-01-01; none where there is no such date from 1600 to 2300.
pub fn day_number(year: i64, month: u32, day: u32) -> Option<i64> {
    let year = i32::try_from(year).ok().filter(|y| (1600..=2300).contains(y))?;
    let date = NaiveDate::from_ymd_opt(year, month, day)?;
    Some((date - NaiveDate::default()).num_days())
}

/// The day number of `2019-08-14`.
pub fn parse_date(text: &str) -> Option<i64> {
    let mut parts = text.splitn(3, '-');
    let mut number = |width: usize| parts.next().filter(|p| p.len() == width && digits(p));
    let (y, m, d) = (number(4)?, number(2)?, number(2)?);
    day_number(y.parse().ok()?, m.parse().ok()?, d.parse().ok()?)
}

/// Seconds east of Greenwich, from `+08:00`, `-0330`, `+08`, `Z` or `UTC`.
pub fn parse_zone(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z" | "UTC" | "GMT") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let plain: String = text.get(1..)?.chars().filter(|c| *c != ':').collect();
    if !digits(&plain) || !matches!(plain.len(), 2 | 4) {
        return None;
    }
    let hours: i64 = plain[..2].parse().ok()?;
    let minutes: i64 = if plain.len() == 4 { plain[2..].parse().ok()? } else { 0 };
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_day_numbers() {
        assert_eq!(day_number(1970, 1, 1), Some(0));
        assert_eq!(day_number(2000, 2, 29), Some(11_016));
        assert_eq!(parse_date("2019-08-14"), Some(1_565_740_800 / 86_400));
        for bad in ["2019-02-29", "2019-13-01", "19-08-14", "2019-08", "2019/08/14", "+019-08-14"] {
            assert_eq!(parse_date(bad), None, "{bad}");
        }
    }

    #[test]
    fn zones_are_seconds_east() {
        assert_eq!(parse_zone("+08:00"), Some(28_800));
        assert_eq!(parse_zone("-0330"), Some(-12_600));
        assert_eq!(parse_zone("Z"), Some(0));
        for bad in ["8", "+8", "+25:00", "+é8", "CEST", ""] {
            assert_eq!(parse_zone(bad), None, "{bad}");
        }
    }
}
