//! One numbering for a listing's sequence numbers.
//!
//! tcpdump prints the first packet of a conversation that has an ACK (and any SYN, and what has no ACK)
//! with absolute numbers, and what follows relative to it; with `-S` all are absolute; an excerpt has
//! only relative ones. It prints none at all for segments without data, SYN or FIN. Which of these a conversation is shows in its next packet: the
//! number that is expected there is close by in one numbering, and far away in the other.

use super::row::{Opt, Row};
use std::collections::HashMap;
use std::net::SocketAddr;

const FIN: u16 = 0x01;
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbering {
    /// Some conversation has relative numbers.
    pub relative: bool,
    /// Segments listed without a sequence number.
    pub omitted: u64,
}

/// How a conversation's numbers (after its first packet) relate to the packet's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// They are what they are.
    Same,
    /// They count from the first packet's.
    Relative,
}

type Ends = (SocketAddr, SocketAddr);

/// What is known of one sender while its rows are numbered.
#[derive(Clone, Copy, Debug, Default)]
struct Sender {
    /// What relative numbers count from.
    base: u32,
    /// The number after the highest one sent.
    next: Option<u32>,
}

/// Replaces listed numbers by numbers that fit each other, and fills in what was omitted.
pub(super) fn number(rows: &mut [Row]) -> Numbering {
    let mut out = Numbering::default();
    let mut conversations: HashMap<Ends, Vec<usize>> = HashMap::new();
    let mut order: Vec<Ends> = Vec::new();
    for (i, r) in rows.iter().enumerate() {
        let (a, b) = (r.src.address, r.dst.address);
        let key = if a < b { (a, b) } else { (b, a) };
        let list = conversations.entry(key).or_insert_with(|| {
            order.push(key);
            Vec::new()
        });
        list.push(i);
    }
    for key in order {
        if let Some(list) = conversations.get(&key) {
            conversation(rows, list, &mut out);
        }
    }
    out
}

fn conversation(rows: &mut [Row], list: &[usize], out: &mut Numbering) {
    let mut senders: HashMap<SocketAddr, Sender> = HashMap::new();
    let mut mode = None;
    for (at, &i) in list.iter().enumerate() {
        let (src, dst) = (rows[i].src.address, rows[i].dst.address);
        let (syn, has_ack) = (rows[i].flags & SYN != 0, rows[i].flags & ACK != 0);
        if syn {
            senders.entry(src).or_default().next = None;
        }
        let begins = has_ack && (syn || mode.is_none());
        if begins {
            let found = mode_after(rows, list, at);
            mode = Some(found);
            let (seq, ack) = (rows[i].seq, rows[i].ack);
            if found == Mode::Relative {
                out.relative = true;
                let own = senders.entry(src).or_default();
                own.base = seq.or(own.next).unwrap_or(0);
                senders.entry(dst).or_default().base = ack.unwrap_or(0).wrapping_sub(1);
            } else if !syn {
                out.relative |= seq.or(ack).is_some_and(|n| n < 1 << 20);
            }
        }
        let own = senders.get(&src).copied().unwrap_or_default();
        let other = senders.get(&dst).copied().unwrap_or_default();
        let r = &mut rows[i];
        if mode == Some(Mode::Relative) && has_ack {
            if !begins {
                r.seq = r.seq.map(|s| s.wrapping_add(own.base));
                r.ack = r.ack.map(|a| a.wrapping_add(other.base));
            }
            for o in &mut r.options {
                if let Opt::Sack(left, right) = o {
                    (*left, *right) = (left.wrapping_add(other.base), right.wrapping_add(other.base));
                }
            }
        }
        if let (Some(s), Some(next)) = (r.seq, own.next)
            && !syn
            && !has_ack
            && distance(s, next) > 1 << 24
        {
            // absolute, in an excerpt whose other numbers are not
            r.seq = Some(next);
        }
        let (ack, seq) = (r.ack, r.seq);
        if seq.is_none() {
            out.omitted += 1;
            r.seq = own.next;
        }
        if let Some(s) = seq {
            let used = r.len.wrapping_add(u32::from(r.flags & FIN != 0) + u32::from(syn));
            let end = s.wrapping_add(used);
            let own = senders.entry(src).or_default();
            if own.next.is_none_or(|n| (end.wrapping_sub(n) as i32) > 0) {
                own.next = Some(end);
            }
        }
        // what is acknowledged has been sent
        if let Some(a) = ack {
            let other = senders.entry(dst).or_default();
            other.next = other.next.or(Some(a));
        }
    }
    // the first segments of a sender may be listed before anything tells its numbers
    let mut later: HashMap<SocketAddr, u32> = HashMap::new();
    for &i in list.iter().rev() {
        let src = rows[i].src.address;
        match rows[i].seq {
            Some(s) => {
                later.insert(src, s);
            }
            None => rows[i].seq = Some(later.get(&src).copied().unwrap_or(1)),
        }
    }
}

/// How far two numbers are apart, either way around.
fn distance(a: u32, b: u32) -> u32 {
    (a.wrapping_sub(b) as i32).unsigned_abs()
}

/// Looks at the first later packet that tells: is its number near the one expected after packet
/// `at` in the same numbering, or in one that begins with it?
fn mode_after(rows: &[Row], list: &[usize], at: usize) -> Mode {
    /// Packets looked at: one of them has data or acknowledges some.
    const REACH: usize = 64;
    let first = &rows[list[at]];
    let syn = first.flags & SYN != 0;
    let used = first.len.wrapping_add(u32::from(first.flags & (SYN | FIN) != 0));
    let closer = |n: u32, same: u32, relative: u32| {
        if distance(n, relative) < distance(n, same) { Mode::Relative } else { Mode::Same }
    };
    for &i in list.iter().skip(at + 1).take(REACH) {
        let r = &rows[i];
        if r.flags & SYN != 0 || r.flags & ACK == 0 {
            // these numbers are always absolute
            continue;
        }
        let forth = r.src.address == first.src.address;
        // numbers of the first packet's sender
        let own = if forth { r.seq } else { r.ack };
        if let (Some(n), Some(s)) = (own, first.seq) {
            let end = s.wrapping_add(used);
            return closer(n, end, end.wrapping_sub(s));
        }
        // numbers of the other end
        let other = if forth { r.ack } else { r.seq };
        if let (Some(n), Some(a)) = (other, first.ack) {
            return closer(n, a, 1);
        }
    }
    if syn { Mode::Relative } else { Mode::Same }
}
