//! Text in cells: widths as a terminal counts them, wrapping, cutting. Shared by text and screens.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns that a terminal gives to `s`.
pub fn width(s: &str) -> usize {
    s.width()
}

/// `s`, cut to at most `max` columns; a cut shows as `…`.
pub fn cut(s: &str, max: usize) -> String {
    if width(s) <= max {
        return s.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in s.chars() {
        let w = c.width().unwrap_or(0);
        if used + w + 1 > max {
            break;
        }
        used += w;
        out.push(c);
    }
    if max > 0 {
        out.push('…');
    }
    out
}

/// `s` padded with spaces on the right to `to` columns.
pub fn pad_right(s: &str, to: usize) -> String {
    format!("{s}{}", " ".repeat(to.saturating_sub(width(s))))
}

/// `s` padded with spaces on the left to `to` columns.
pub fn pad_left(s: &str, to: usize) -> String {
    format!("{}{s}", " ".repeat(to.saturating_sub(width(s))))
}

/// Breaks a sentence into lines of at most `max` columns; words longer than a line are split, numbers
/// stay with their units.
pub fn wrap(text: &str, max: usize) -> Vec<String> {
    let max = max.max(4);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in words(text) {
        let gap = usize::from(!line.is_empty());
        if width(&line) + gap + width(&word) <= max {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(&word);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in word.chars() {
            if width(&line) + c.width().unwrap_or(0) > max {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

/// Words, with `17.2 ms` as one.
fn words(text: &str) -> Vec<String> {
    const UNITS: [&str; 17] = [
        "ns", "µs", "ms", "s", "B", "KiB", "MiB", "GiB", "TiB", "%", "bit/s", "kbit/s", "Mbit/s", "Gbit/s",
        "MSS", "packets", "bytes",
    ];
    let mut out: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let unit = UNITS.contains(&word.trim_end_matches([',', ';', '.', ':', ')', '…']));
        match out.last_mut() {
            Some(number) if unit && number.ends_with(|c: char| c.is_ascii_digit()) => {
                number.push(' ');
                number.push_str(word);
            }
            _ => out.push(word.to_owned()),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrapping_counts_columns_not_bytes_and_splits_long_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("日本語 ab", 6), ["日本語", "ab"]);
        assert_eq!(wrap("abcdefghij", 4), ["abcd", "efgh", "ij"]);
        assert_eq!(wrap("waited 17.2 ms, then", 10), ["waited", "17.2 ms,", "then"]);
        assert!(wrap("", 10).is_empty());
    }

    #[test]
    fn cutting_never_exceeds_the_width() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("日本語", 4), "日…");
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abc", 0), "");
    }
}
