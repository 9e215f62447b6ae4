//! Lines on a page: the one place where text leaves for a terminal, and so the one place where it
//! is made printable, cut to the width and coloured.

use crate::model::units::printable;
use crate::view::layout;
use crate::view::words::Tone;
use std::io::{self, Write};

pub(super) struct Page<'a, W: Write> {
    out: &'a mut W,
    color: bool,
    pub(super) width: usize,
}

impl<'a, W: Write> Page<'a, W> {
    pub(super) fn new(out: &'a mut W, color: bool, width: usize) -> Page<'a, W> {
        Page { out, color, width }
    }

    /// One line of pieces, cut at the page's width.
    pub(super) fn line(&mut self, pieces: &[(Tone, &str)]) -> io::Result<()> {
        let mut left = self.width;
        let last = pieces.iter().rposition(|(_, t)| !t.trim_end().is_empty());
        for (i, (tone, text)) in pieces.iter().enumerate() {
            if last.is_none_or(|l| i > l) {
                break;
            }
            let mut text = layout::cut(&printable(text), left);
            if Some(i) == last {
                text.truncate(text.trim_end().len());
            }
            left -= layout::width(&text);
            self.piece(*tone, &text)?;
        }
        self.out.write_all(b"\n")
    }

    fn piece(&mut self, tone: Tone, text: &str) -> io::Result<()> {
        match sgr(tone) {
            Some(code) if self.color && !text.is_empty() => {
                write!(self.out, "\x1b[{code}m{text}\x1b[0m")
            }
            _ => self.out.write_all(text.as_bytes()),
        }
    }

    pub(super) fn blank(&mut self) -> io::Result<()> {
        self.out.write_all(b"\n")
    }

    pub(super) fn heading(&mut self, title: &str, rest: &str) -> io::Result<()> {
        self.blank()?;
        self.line(&[(Tone::Strong, title), (Tone::Dim, rest)])
    }

    /// A paragraph: `label` once, the text wrapped beside it.
    pub(super) fn paragraph(&mut self, indent: usize, label: &str, tone: Tone, text: &str) -> io::Result<()> {
        let label_width = layout::width(label);
        let room = self.width.saturating_sub(indent + label_width);
        for (i, l) in layout::wrap(&printable(text), room).iter().enumerate() {
            let head = " ".repeat(indent);
            let label = if i == 0 { label.to_owned() } else { " ".repeat(label_width) };
            self.line(&[(Tone::Plain, &head), (Tone::Dim, &label), (tone, l)])?;
        }
        Ok(())
    }
}

fn sgr(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Strong => Some("1"),
        Tone::Dim => Some("2"),
        Tone::Good => Some("32"),
        Tone::Warn => Some("33"),
        Tone::Bad => Some("1;31"),
        Tone::Net => Some("35"),
        Tone::App => Some("36"),
        Tone::Data => Some("34"),
    }
}

/// A column of a table.
pub(super) struct Column {
    head: &'static str,
    /// Its cells keep to the right.
    right: bool,
    /// Columns with the highest number go first when the page is too narrow; 0 stays.
    drop: u8,
}

impl Column {
    pub(super) fn new(head: &'static str, right: bool, drop: u8) -> Column {
        Column { head, right, drop }
    }
}

/// Rows under a head; columns are as wide as their widest cell.
pub(super) struct Table {
    pub(super) columns: Vec<Column>,
    pub(super) rows: Vec<Vec<(Tone, String)>>,
}

impl Table {
    /// Without the column of this head, where it would say the same in every row.
    pub(super) fn without(mut self, head: &str) -> Table {
        if let Some(at) = self.columns.iter().position(|c| c.head == head) {
            self.columns.remove(at);
            self.rows.iter_mut().filter(|r| at < r.len()).for_each(|r| drop(r.remove(at)));
        }
        self
    }

    pub(super) fn write<W: Write>(&self, page: &mut Page<'_, W>, indent: usize) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|c| {
                let cells = self.rows.iter().filter_map(|r| r.get(c)).map(|(_, t)| layout::width(t));
                cells.chain([layout::width(self.columns[c].head)]).max().unwrap_or(0)
            })
            .collect();
        let mut shown: Vec<usize> = (0..self.columns.len()).collect();
        let total = |shown: &[usize]| indent + shown.iter().map(|&c| widths[c] + 2).sum::<usize>();
        while total(&shown) > page.width + 2 {
            let Some(at) = (0..shown.len()).max_by_key(|&i| self.columns[shown[i]].drop) else { break };
            if self.columns[shown[at]].drop == 0 {
                break;
            }
            shown.remove(at);
        }
        let place = |c: usize, text: &str| {
            if self.columns[c].right {
                layout::pad_left(text, widths[c])
            } else {
                layout::pad_right(text, widths[c])
            }
        };
        let lead = " ".repeat(indent);
        let mut head = lead.clone();
        for &c in &shown {
            head.push_str(&place(c, self.columns[c].head));
            head.push_str("  ");
        }
        page.line(&[(Tone::Dim, head.trim_end())])?;
        for row in &self.rows {
            let cells: Vec<(Tone, String)> = shown
                .iter()
                .filter_map(|&c| row.get(c).map(|(tone, text)| (*tone, place(c, text))))
                .collect();
            let mut pieces: Vec<(Tone, &str)> = vec![(Tone::Plain, &lead)];
            for (tone, text) in &cells {
                pieces.push((*tone, text));
                pieces.push((Tone::Plain, "  "));
            }
            page.line(&pieces)?;
        }
        Ok(())
    }
}
