//! Which of many spans are near a moment: asked for each of many others, without looking at all.

use crate::model::{Span, Ts};

/// Spans by their start. A span may grow.
pub(super) struct Timeline {
    /// Index of each span, by start.
    order: Vec<usize>,
    /// Where each span is in `order`.
    place: Vec<usize>,
    /// The earliest start of this and all behind it.
    starts: Vec<Ts>,
    /// The latest end of this and all before it.
    ends: Vec<Ts>,
}

impl Timeline {
    pub(super) fn new(spans: impl Iterator<Item = Span>) -> Timeline {
        let spans: Vec<Span> = spans.collect();
        let mut order: Vec<usize> = (0..spans.len()).collect();
        order.sort_by_key(|&i| spans[i].start);
        let mut place = vec![0; spans.len()];
        order.iter().enumerate().for_each(|(p, &i)| place[i] = p);
        let starts = order.iter().map(|&i| spans[i].start).collect();
        let latest = |max: &mut Ts, &i: &usize| {
            *max = spans[i].end.max(*max);
            Some(*max)
        };
        let ends = order.iter().scan(Ts::MIN, latest).collect();
        Timeline { order, place, starts, ends }
    }

    /// Every span that touches `[from, to]`, by index, and maybe some that do not.
    pub(super) fn near(&self, from: Ts, to: Ts) -> Vec<usize> {
        let first = self.ends.partition_point(|&e| e < from);
        let last = self.starts.partition_point(|&s| s <= to);
        let mut out = self.order.get(first..last).unwrap_or(&[]).to_vec();
        out.sort_unstable();
        out
    }

    /// Span `i` has become this long.
    pub(super) fn grow(&mut self, i: usize, span: Span) {
        let Some(&p) = self.place.get(i) else { return };
        self.ends[p..].iter_mut().take_while(|e| **e < span.end).for_each(|e| *e = span.end);
        self.starts[..=p].iter_mut().rev().take_while(|s| **s > span.start).for_each(|s| *s = span.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(a: i64, b: i64) -> Span {
        Span::new(Ts(a), Ts(b))
    }

    #[test]
    fn a_span_is_found_where_it_is_and_where_it_grew() {
        let mut t = Timeline::new([span(50, 60), span(10, 20), span(30, 40)].into_iter());
        assert_eq!(t.near(Ts(15), Ts(30)), [1, 2]);
        assert_eq!(t.near(Ts(21), Ts(29)), [] as [usize; 0]);
        t.grow(1, span(10, 55));
        assert_eq!(t.near(Ts(41), Ts(41)), [1, 2]);
        t.grow(0, span(5, 60));
        assert!(t.near(Ts(6), Ts(7)).contains(&0));
    }
}
