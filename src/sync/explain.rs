//! The delta of two short texts, step by step, in the words of rsync's own debugging output.

use super::delta::{Op, delta};
use super::index::Index;
use super::signature::{Layout, Strong};

/// How `source` is rebuilt from `basis` with blocks of `block` bytes, one line a step:
/// `chunk[i] of size n at (offset in the basis) offset=(offset in the source)` for a copy,
/// `data receive n at (offset in the source)` for a literal.
pub fn explain_delta(source: &[u8], basis: &[u8], block: usize) -> Vec<String> {
    let size = u32::try_from(block).unwrap_or(u32::MAX).max(1);
    let layout = Layout::new(basis.len() as u64, size);
    let mut lines = Vec::new();
    let mut at = 0u64;
    for op in delta(source, Index::of(basis, size, Strong::Xxh3(0))) {
        match op {
            Op::Literal(l) => {
                lines.push(format!("data receive {} at {at}", l.len()));
                at += l.len() as u64;
            }
            Op::Copy { first, count } => {
                for i in first..first + count {
                    let (from, len) = layout.range(i, 1).unwrap_or_default();
                    lines.push(format!("chunk[{i}] of size {len} at {from} offset={at}"));
                    at += len;
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_textbook_example_gives_its_five_lines() {
        assert_eq!(
            explain_delta(b"ashxx123_zoe", b"ash123zoey", 3),
            [
                "chunk[0] of size 3 at 0 offset=0",
                "data receive 2 at 3",
                "chunk[1] of size 3 at 3 offset=5",
                "data receive 1 at 8",
                "chunk[2] of size 3 at 6 offset=9",
            ]
        );
    }

    #[test]
    fn nothing_in_common_is_one_literal_and_nothing_at_all_no_line() {
        assert_eq!(explain_delta(b"abc", b"", 3), ["data receive 3 at 0"]);
        assert_eq!(explain_delta(b"", b"abc", 3), [""; 0]);
        assert_eq!(explain_delta(b"xyabcd", b"abcd", 0).len(), 5); // a block size of 0 is taken as 1
    }
}
