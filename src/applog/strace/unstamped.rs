//! A trace without time stamps cannot be joined to packets, but select's time-outs still tell how
//! long the program waited. People paste such traces, so the error says what they show.

use super::args;
use super::line::{self, What};
use crate::model::Ns;
use std::collections::BTreeMap;

/// One descriptor's wait that has not ended.
#[derive(Clone, Copy, Default)]
struct Waited {
    calls: u32,
    timed_out: u32,
    time: Ns,
}

/// In words: the longest wait for one descriptor that select tells, and what it ended with. Empty
/// where it tells nothing.
pub(super) fn told(text: &str) -> String {
    let mut open: BTreeMap<u32, Waited> = BTreeMap::new();
    let mut worst: Option<(u32, Waited, String)> = None;
    let mut keep = |fd: u32, w: Waited, how: String| {
        if w.time > worst.as_ref().map_or(Ns::ZERO, |x| x.1.time) {
            worst = Some((fd, w, how));
        }
    };
    let mut broken: Option<(&str, &str)> = None;
    for text in text.lines() {
        let what = line::parse(text).map(|l| l.what);
        let (name, args, result) = match what {
            Some(What::Call { name, args, result }) => (name, args, result),
            Some(What::Begin { name, args, .. }) => {
                broken = Some((name, args));
                continue;
            }
            Some(What::Rest { result }) => match broken.take() {
                Some((name, args)) => (name, args, result),
                None => continue,
            },
            _ => match broken.zip(line::rest_of_call(text)) {
                Some(((name, args), result)) => {
                    broken = None;
                    (name, args, result)
                }
                None => continue,
            },
        };
        let list = args::split(args);
        match name {
            "select" | "_newselect" | "pselect6" => {
                let Some(limit) = list.get(4).and_then(|t| args::timeval(t)) else { continue };
                let left = result.text.split_once("left ").and_then(|(_, t)| args::timeval(t));
                let time = if result.value == Some(0) { limit } else { limit - left.unwrap_or(limit) };
                for (fd, _) in list.get(1).map_or(Vec::new(), |a| args::set(a)) {
                    let w = open.entry(fd).or_default();
                    w.calls += 1;
                    w.timed_out += u32::from(result.value == Some(0));
                    w.time += time;
                }
            }
            "read" | "recv" | "recvfrom" | "recvmsg" | "readv" if !result.is("EAGAIN") => {
                if let Some((fd, w)) = list
                    .first()
                    .and_then(|a| args::descriptor(a))
                    .and_then(|(fd, _)| Some((fd, open.remove(&fd)?)))
                {
                    let how = match result.value {
                        Some(0) => "then read the end of the stream".to_owned(),
                        Some(n) if n > 0 => format!("then read {n} bytes"),
                        _ => format!("then {name} failed: {}", super::shown(result.text)),
                    };
                    keep(fd, w, how);
                }
            }
            _ => {}
        }
    }
    for (fd, w) in open {
        keep(fd, w, "and read nothing".to_owned());
    }
    match worst {
        Some((fd, w, how)) => format!(
            "\n  what it shows without them: {} calls of select waited {} for descriptor {fd}, {} of them until \
             they timed out, {how}",
            w.calls, w.time, w.timed_out
        ),
        None => String::new(),
    }
}
