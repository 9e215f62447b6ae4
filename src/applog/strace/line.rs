//! One line of strace's output, taken apart.
//!
//! ```text
//! [pid  812] 1565767125.655477 read(4<TCP:[10.0.0.2:40112->10.0.0.1:873]>, "\0\0"..., 8184) = 4 <0.000021>
//!       pid  stamp              name args                                                   ret  took
//! ```

use super::args::unquoted;
use crate::applog::time::{Stamp, TimeFormat};
use crate::model::Ns;
use std::sync::LazyLock;

/// `-tt` and `-ttt`.
static CLOCK: LazyLock<Option<TimeFormat>> = LazyLock::new(|| TimeFormat::new("%T%.f").ok());
static EPOCH: LazyLock<Option<TimeFormat>> = LazyLock::new(|| TimeFormat::new("%s%.f").ok());

/// What the stamp at the begin of a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// `-ttt` or `-tt`.
    At(Stamp),
    /// `-t`: whole seconds.
    Coarse,
    /// `-r`: since the line before.
    Relative,
    /// None.
    Missing,
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    pub pid: Option<u32>,
    pub when: When,
    pub what: What<'a>,
}

/// What it tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// A call that returned.
    Call { name: &'a str, args: &'a str, result: Returned<'a> },
    /// The begin of a call; the rest comes later, or never. `broken`: the line just stops.
    Begin { name: &'a str, args: &'a str, broken: bool },
    /// The rest of one.
    Resumed { name: &'a str, args: &'a str, result: Returned<'a> },
    /// The rest of one whose line the program's own output broke in two.
    Rest { result: Returned<'a> },
    /// The process ended.
    Exit,
    /// A signal.
    Signal,
}

/// What stands behind the equals sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Returned<'a> {
    /// The value; none for `?`.
    pub value: Option<i64>,
    /// All of it, as `-1 EAGAIN (Resource temporarily unavailable)`.
    pub text: &'a str,
    /// `-T`.
    pub took: Option<Ns>,
}

impl Returned<'_> {
    /// The call failed with this error.
    pub fn is(&self, error: &str) -> bool {
        self.text.split_whitespace().nth(1) == Some(error)
    }

    /// It was interrupted, and the program (or the kernel) will begin it again.
    pub fn interrupted(&self) -> bool {
        let error = self.text.split_whitespace().nth(1).unwrap_or("");
        error == "EINTR" || error.starts_with("ERESTART")
    }
}

/// Takes a line apart; none where strace did not write it.
pub(super) fn parse(line: &str) -> Option<Line<'_>> {
    let (pid, rest) = pid(line);
    let (when, rest) = when(rest.trim_start());
    let rest = rest.trim_start();
    let what = what(rest.trim_end())?;
    Some(Line { pid, when, what })
}

/// `[pid 812] ` (on a terminal) or `812 ` (in a file).
fn pid(line: &str) -> (Option<u32>, &str) {
    if let Some(after) = line.strip_prefix("[pid")
        && let Some((number, rest)) = after.split_once(']')
        && let Ok(pid) = number.trim().parse()
    {
        return (Some(pid), rest);
    }
    let n = line.bytes().take_while(u8::is_ascii_digit).count();
    // process numbers have at most seven digits; longer ones are seconds since 1970
    if (1..=7).contains(&n)
        && line.as_bytes().get(n) == Some(&b' ')
        && let Ok(pid) = line[..n].parse()
    {
        return (Some(pid), &line[n..]);
    }
    (None, line)
}

fn when(text: &str) -> (When, &str) {
    let n = text.bytes().take_while(|b| b.is_ascii_digit() || matches!(b, b'.' | b':')).count();
    let (word, rest) = text.split_at(n);
    if n == 0 || !rest.starts_with([' ', '\t']) {
        return (When::Missing, text);
    }
    let read = |f: &Option<TimeFormat>| f.as_ref().and_then(|f| f.read(word));
    let when = match (word.contains(':'), word.split_once('.')) {
        (true, Some(_)) => read(&CLOCK).map(When::At),
        (true, None) => Some(When::Coarse),
        (false, Some((seconds, _))) if seconds.len() >= 9 => read(&EPOCH).map(When::At),
        (false, Some(_)) => Some(When::Relative),
        (false, None) => Some(When::Coarse),
    };
    when.map_or((When::Missing, text), |w| (w, rest))
}

fn what(text: &str) -> Option<What<'_>> {
    if text.starts_with("+++ ") {
        return Some(What::Exit);
    }
    if text.starts_with("--- ") {
        return Some(What::Signal);
    }
    if let Some(after) = text.strip_prefix("<... ") {
        let (name, rest) = after.split_once(" resumed>")?;
        let (args, result) = arguments(rest)?;
        return Some(What::Resumed { name, args, result });
    }
    if text.starts_with(')') {
        return rest_of_call(text).map(|result| What::Rest { result });
    }
    let n = text.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
    let (name, rest) = text.split_at(n);
    let rest = rest.strip_prefix('(')?;
    if !name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_') {
        return None;
    }
    for cut in ["<unfinished ...>", "<detached ...>"] {
        if let Some(args) = rest.strip_suffix(cut) {
            return Some(What::Begin { name, args, broken: false });
        }
    }
    Some(match arguments(rest) {
        Some((args, result)) => What::Call { name, args, result },
        None => What::Begin { name, args: rest, broken: true },
    })
}

/// Splits `a, b) = 4 <0.000021>` at its closing parenthesis.
fn arguments(text: &str) -> Option<(&str, Returned<'_>)> {
    let mut depth = 0u32;
    for (i, b) in unquoted(text) {
        match b {
            b'(' => depth += 1,
            b')' if depth == 0 => return result(&text[i + 1..]).map(|r| (&text[..i], r)),
            b')' => depth -= 1,
            _ => {}
        }
    }
    // a name with an odd quote or parenthesis in it
    let at = text.rfind(") ")?;
    result(&text[at + 1..]).map(|r| (&text[..at], r))
}

/// Finds `)  = 0` in a line that begins with something else.
pub(super) fn rest_of_call(text: &str) -> Option<Returned<'_>> {
    text.rmatch_indices(") ").find_map(|(at, _)| result(&text[at + 1..]))
}

fn result(text: &str) -> Option<Returned<'_>> {
    let text = text.trim_start().strip_prefix("= ")?.trim();
    let n =
        text.bytes().enumerate().take_while(|(i, b)| b.is_ascii_digit() || (*i == 0 && *b == b'-')).count();
    let value = text[..n].parse().ok();
    if value.is_none() && !text.starts_with('?') {
        return None;
    }
    let took = text.strip_suffix('>').and_then(|t| t.rsplit_once('<')).and_then(|(_, d)| seconds(d));
    Some(Returned { value, text, took })
}

/// `0.000021` as time, exactly.
fn seconds(text: &str) -> Option<Ns> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let unit = 10i64.pow(9 - fraction.len() as u32);
    let ns = fraction.parse::<i64>().ok()?.checked_mul(unit)?;
    Some(Ns(whole.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(ns)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call<'a>(
        name: &'a str,
        args: &'a str,
        text: &'a str,
        value: Option<i64>,
        took: Option<i64>,
    ) -> What<'a> {
        What::Call { name, args, result: Returned { value, text, took: took.map(Ns) } }
    }

    #[test]
    fn a_line_comes_apart() {
        let l = parse(
            "[pid  812] 1565767125.655477 read(4<TCP:[10.0.0.2:40112->10.0.0.1:873]>, \") = 9\"..., 8184) = 4 <0.000021>",
        );
        let l = l.unwrap();
        assert_eq!(l.pid, Some(812));
        assert_eq!(l.when, When::At(Stamp { ns: 1_565_767_125_655_477_000, dated: true, zoned: true }));
        let args = "4<TCP:[10.0.0.2:40112->10.0.0.1:873]>, \") = 9\"..., 8184";
        assert_eq!(l.what, call("read", args, "4 <0.000021>", Some(4), Some(21_000)));
    }

    #[test]
    fn stamps_of_every_option_are_told_apart() {
        let when = |l: &str| parse(l).unwrap().when;
        assert_eq!(when("812 15:18:45 close(3) = 0"), When::Coarse);
        assert_eq!(when("1565767125 close(3) = 0"), When::Coarse);
        assert_eq!(when("812      0.000053 close(3) = 0"), When::Relative);
        assert_eq!(when("812 close(3) = 0"), When::Missing);
        assert!(matches!(when("15:18:45.655477 close(3) = 0"), When::At(Stamp { dated: false, .. })));
    }

    #[test]
    fn halves_of_calls_are_recognised() {
        let what = |l| parse(l).map(|l| l.what);
        assert_eq!(
            what("read(3,  <unfinished ...>"),
            Some(What::Begin { name: "read", args: "3,  ", broken: false })
        );
        assert_eq!(what("read(3, "), Some(What::Begin { name: "read", args: "3,", broken: true }));
        assert_eq!(
            what("<... read resumed>\"a\", 10) = 1"),
            Some(What::Resumed {
                name: "read",
                args: "\"a\", 10",
                result: Returned { value: Some(1), text: "1", took: None }
            })
        );
        assert!(
            matches!(what(")       = 0 (Timeout)8.79MB/s"), Some(What::Rest { result }) if result.value == Some(0))
        );
        assert!(
            matches!(what("read(4, 0x7ff, 5) = ? ERESTARTSYS (To be restarted)"), Some(What::Call { result, .. }) if result.interrupted())
        );
        assert_eq!(what("+++ exited with 12 +++"), Some(What::Exit));
        for other in [
            "./",
            "rsync error: timeout (code 30) at io.c(140)",
            "",
            "strace: Process 9 attached",
            "Foo(1) = 2",
        ] {
            assert_eq!(what(other), None, "{other}");
        }
    }
}
