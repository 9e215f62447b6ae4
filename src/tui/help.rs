//! The help: the keymap, and what the letters mean. Made from the same tables as the rest.

use super::keymap::KEYS;
use super::screen::Line;
use super::state::State;
use crate::model::tcp::Owner;
use crate::report::Budget;
use crate::view::layout;
use crate::view::words::{SEGMENT_LEGEND, Tone, owner_letter, owner_tone, part_letter, part_tone};

/// The lines of the help.
pub fn lines(state: &State) -> Vec<Line> {
    let t = state.theme;
    let head = |text: &str| vec![(t.style(Tone::Strong), format!(" {text}"))];
    let mut out = vec![head("Keys")];
    for b in KEYS {
        out.push(vec![
            (t.style(Tone::Strong), format!("  {}", layout::pad_right(b.shown, 10))),
            (t.style(Tone::Plain), b.help.to_owned()),
        ]);
    }
    out.push(Vec::new());
    out.push(head("Reads: what took most of the wait"));
    for (part, _) in Budget::default().parts() {
        out.push(vec![
            (t.style(part_tone(part)), format!("  {}  ", part_letter(part))),
            (t.style(Tone::Plain), format!("{}{}", layout::pad_right(part, 16), part_meaning(part))),
        ]);
    }
    out.push(vec![
        (t.style(Tone::Bad), format!("  {}  ", super::lanes::STILL_OPEN)),
        (t.style(Tone::Plain), "still waiting at the end".to_owned()),
    ]);
    out.push(vec![(
        t.style(Tone::Dim),
        "  The lowest row is not slow; above it the scale is logarithmic.".to_owned(),
    )]);
    out.push(Vec::new());
    out.push(head("Resent: what was sent again"));
    for (letter, text) in SEGMENT_LEGEND {
        out.push(vec![
            (t.style(Tone::Strong), format!("  {letter}  ")),
            (t.style(Tone::Plain), (*text).to_owned()),
        ]);
    }
    out.push(Vec::new());
    out.push(head("Delays (captures without an application log): whose move it was"));
    for o in Owner::ALL {
        out.push(vec![
            (t.style(owner_tone(*o)), format!("  {}  ", owner_letter(*o))),
            (t.style(Tone::Plain), o.to_string()),
        ]);
    }
    out
}

/// What a part of a budget means, in a few words.
pub fn part_meaning(part: &str) -> &'static str {
    match part {
        "peer-app" => "the peer had not written the bytes",
        "send-queue" => "written, held by the sender's TCP",
        "window" => "held by the receive window",
        "transit" => "on the path",
        "loss-recovery" => "lost, until the repair arrived",
        "reordering" => "the original came late",
        "local-delivery" => "arrived, not yet read",
        _ => "not known",
    }
}
