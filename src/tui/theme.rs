//! What a tone looks like on a screen. Without colour, weight has to do: every tone also has a
//! letter or a word beside it, so nothing is lost.

use crate::view::words::Tone;
use ratatui::style::{Color, Modifier, Style};

/// With or without colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theme {
    /// Colours are used.
    pub color: bool,
}

impl Theme {
    /// How a tone looks. Only the terminal's own sixteen colours are used: they fit its background.
    pub fn style(self, tone: Tone) -> Style {
        let plain = Style::default();
        if !self.color {
            return match tone {
                Tone::Strong | Tone::Bad | Tone::Warn => plain.add_modifier(Modifier::BOLD),
                Tone::Dim => plain.add_modifier(Modifier::DIM),
                _ => plain,
            };
        }
        match tone {
            Tone::Plain => plain,
            Tone::Strong => plain.add_modifier(Modifier::BOLD),
            Tone::Dim => plain.add_modifier(Modifier::DIM),
            Tone::Good => plain.fg(Color::Green),
            Tone::Warn => plain.fg(Color::Yellow),
            Tone::Bad => plain.fg(Color::Red).add_modifier(Modifier::BOLD),
            Tone::Net => plain.fg(Color::Magenta),
            Tone::App => plain.fg(Color::Cyan),
            Tone::Data => plain.fg(Color::Blue),
        }
    }

    /// The selected row.
    pub fn selected(self) -> Style {
        Style::default().add_modifier(Modifier::REVERSED)
    }
}
