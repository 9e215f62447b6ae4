//! Numbers for people: bytes and rates. Durations print themselves ([`super::Ns`]).

use super::name;

/// Bytes with a binary unit: `21 B`, `4.0 KiB`, `24.0 MiB`.
pub fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1024 {
        return format!("{n} B");
    }
    let mut v = n as f64 / 1024.0;
    let mut unit = 0;
    while v >= 1023.95 && unit + 1 < UNITS.len() {
        v /= 1024.0;
        unit += 1;
    }
    format!("{v:.1} {}", UNITS[unit])
}

/// Bits per second with a decimal unit: `960 bit/s`, `9.6 Mbit/s`.
pub fn bits_per_second(bytes: u64, ns: i64) -> String {
    if ns <= 0 {
        return "–".to_owned();
    }
    let v = bytes as f64 * 8e9 / ns as f64;
    match v {
        v if v < 1e3 => format!("{v:.0} bit/s"),
        v if v < 1e6 => format!("{:.1} kbit/s", v / 1e3),
        v if v < 1e9 => format!("{:.1} Mbit/s", v / 1e6),
        v => format!("{:.2} Gbit/s", v / 1e9),
    }
}

/// A count with thin grouping for people: `12 345`.
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Replaces what a terminal could act on (control characters, bidirectional overrides, zero-width
/// characters) by `�`, so that names from files and peers can be shown. Bytes of names that are no text
/// are told as numbers.
pub fn printable(s: &str) -> String {
    let mut shown = String::with_capacity(s.len());
    for c in s.chars() {
        match name::byte_of(c) {
            Some(b) => shown.push_str(&format!("\\x{b:02x}")),
            None => shown.push(if acts_on_terminal(c) { '\u{fffd}' } else { c }),
        }
    }
    shown
}

/// Whether a terminal might do something else than show it.
pub fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2069}'
                | '\u{feff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(bytes(21), "21 B");
        assert_eq!(bytes(24 << 20), "24.0 MiB");
        assert_eq!(bytes((1 << 20) - 1), "1.0 MiB");
        assert_eq!(bits_per_second(1_200_000, 1_000_000_000), "9.6 Mbit/s");
        assert_eq!(count(1_234_567), "1 234 567");
        assert_eq!(printable("a\x1b[31m\u{202e}b"), "a\u{fffd}[31m\u{fffd}b");
        assert_eq!(printable(&name::from_bytes(b"gr\xfcn")), "gr\\xfcn");
    }
}
