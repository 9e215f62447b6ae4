//! The one table of keys. The handler, the help and the footer are made from it.

/// A key as the screens know it; [`super::run`] translates the terminal's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// A character.
    Char(char),
    /// A character with Ctrl.
    Ctrl(char),
    /// Enter.
    Enter,
    /// Escape.
    Esc,
    /// Tab.
    Tab,
    /// Backspace.
    Backspace,
    /// Cursor left.
    Left,
    /// Cursor right.
    Right,
    /// Cursor up.
    Up,
    /// Cursor down.
    Down,
    /// Page up.
    PageUp,
    /// Page down.
    PageDown,
    /// Home.
    Home,
    /// End.
    End,
}

/// What a key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Leave.
    Quit,
    /// Show or hide the help.
    Help,
    /// Show the evidence of the selected incident; there: go back.
    Open,
    /// The whole report as text; there: go back.
    Report,
    /// Close what was opened last.
    Back,
    /// Next incident.
    Next,
    /// Previous incident.
    Previous,
    /// One down: list, lane or page.
    Down,
    /// One up.
    Up,
    /// A screenful down.
    PageDown,
    /// A screenful up.
    PageUp,
    /// First.
    First,
    /// Last.
    Last,
    /// Between the lanes and the list.
    Focus,
    /// See half as much time.
    ZoomIn,
    /// See twice as much.
    ZoomOut,
    /// See all of it.
    ZoomAll,
    /// See the selected incident.
    ZoomTo,
    /// Earlier.
    PanLeft,
    /// Later.
    PanRight,
    /// Keep the newest in sight.
    Follow,
    /// Hold the picture; the run goes on.
    Freeze,
    /// Next connection.
    NextFlow,
    /// Previous connection.
    PreviousFlow,
    /// The shell gets the terminal until `fg`.
    Suspend,
}

/// Keys, what they do, and how the help names both.
#[derive(Clone, Copy, Debug)]
pub struct Binding {
    /// The keys.
    pub keys: &'static [Key],
    /// What they do.
    pub action: Action,
    /// The keys, for people.
    pub shown: &'static str,
    /// One line of help.
    pub help: &'static str,
}

const fn binding(keys: &'static [Key], action: Action, shown: &'static str, help: &'static str) -> Binding {
    Binding { keys, action, shown, help }
}

/// All keys, in the order of the help.
pub const KEYS: &[Binding] = &[
    binding(&[Key::Char('?')], Action::Help, "?", "this help, and away with it"),
    binding(&[Key::Enter], Action::Open, "Enter", "evidence of the selected incident"),
    binding(&[Key::Char('r')], Action::Report, "r", "the whole report as text"),
    binding(&[Key::Esc, Key::Backspace], Action::Back, "Esc", "back"),
    binding(&[Key::Char('n')], Action::Next, "n", "next incident, brought into sight"),
    binding(&[Key::Char('p'), Key::Char('N')], Action::Previous, "p", "previous incident"),
    binding(&[Key::Char('+'), Key::Char('=')], Action::ZoomIn, "+", "zoom in"),
    binding(&[Key::Char('-'), Key::Char('_')], Action::ZoomOut, "-", "zoom out"),
    binding(&[Key::Char('z')], Action::ZoomTo, "z", "zoom to the selected incident"),
    binding(&[Key::Char('0')], Action::ZoomAll, "0", "the whole connection, then the whole time"),
    binding(&[Key::Left, Key::Char('h')], Action::PanLeft, "← h", "earlier"),
    binding(&[Key::Right, Key::Char('l')], Action::PanRight, "→ l", "later"),
    binding(
        &[Key::Char(' ')],
        Action::Freeze,
        "space",
        "freeze the picture, or go on; the run is not held up",
    ),
    binding(&[Key::Char('f')], Action::Follow, "f", "follow the newest, or stay"),
    binding(&[Key::Tab], Action::Focus, "Tab", "lanes or list: ↑ ↓ move there; the chosen lane grows"),
    binding(&[Key::Down, Key::Char('j')], Action::Down, "↓ j", "down"),
    binding(&[Key::Up, Key::Char('k')], Action::Up, "↑ k", "up"),
    binding(&[Key::PageDown], Action::PageDown, "PgDn", "a page down"),
    binding(&[Key::PageUp], Action::PageUp, "PgUp", "a page up"),
    binding(&[Key::Home, Key::Char('g')], Action::First, "Home g", "first"),
    binding(&[Key::End, Key::Char('G')], Action::Last, "End G", "last"),
    binding(&[Key::Char(']')], Action::NextFlow, "]", "next connection"),
    binding(&[Key::Char('[')], Action::PreviousFlow, "[", "previous connection"),
    binding(&[Key::Ctrl('z')], Action::Suspend, "Ctrl-Z", "to the shell; `fg` comes back"),
    binding(&[Key::Char('q'), Key::Ctrl('c')], Action::Quit, "q Ctrl-C", "quit"),
];

/// The footer: what it names, most important first, and in one word.
pub const FOOTER: &[(&[Action], &str)] = &[
    (&[Action::Help], "help"),
    (&[Action::Quit], "quit"),
    (&[Action::Open], "evidence"),
    (&[Action::Next, Action::Previous], "incident"),
    (&[Action::ZoomIn, Action::ZoomOut], "zoom"),
    (&[Action::Report], "report"),
    (&[Action::Freeze], "freeze"),
    (&[Action::PanLeft, Action::PanRight], "pan"),
    (&[Action::Focus], "lanes"),
    (&[Action::ZoomTo], "zoom to it"),
    (&[Action::ZoomAll], "all"),
    (&[Action::NextFlow], "connection"),
];

/// The footer of pages that were opened and can be closed.
pub const FOOTER_OPENED: &[(&[Action], &str)] = &[
    (&[Action::Back], "back"),
    (&[Action::Quit], "quit"),
    (&[Action::Next, Action::Previous], "incident"),
    (&[Action::Down, Action::Up], "scroll"),
    (&[Action::Help], "help"),
];

/// The keys of some actions, the first of each: `n/p`.
pub fn first_keys(actions: &[Action]) -> String {
    let of = |a: &Action| KEYS.iter().find(|b| b.action == *a).and_then(|b| b.shown.split(' ').next());
    actions.iter().filter_map(of).collect::<Vec<_>>().join("/")
}

/// What a key does, if anything.
pub fn action(key: Key) -> Option<Action> {
    KEYS.iter().find(|b| b.keys.contains(&key)).map(|b| b.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_one_meaning() {
        let mut seen = Vec::new();
        for k in KEYS.iter().flat_map(|b| b.keys) {
            assert!(!seen.contains(k), "{k:?} is bound twice");
            seen.push(*k);
        }
        assert_eq!(action(Key::Char('q')), Some(Action::Quit));
        assert_eq!(action(Key::Char('Z')), None);
    }
}
