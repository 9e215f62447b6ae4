//! Nothing that a file, a peer or a log names reaches a terminal as a command to it.

use super::mutate::Rng;
use super::packets::chance;
use super::run::{capture, report, shown};
use syncscope::capture::file;
use syncscope::model::units::printable;
use syncscope::report::{Quality, RunInfo, Severity};

const EVIL: &str = "a\x1b]0;owned\x07\u{9b}31m\u{202e}\u{2066}\u{061c}\u{200f}\u{2028}\r\n\t\x7fz";

#[test]
fn names_in_every_place_are_shown_without_their_control_bytes() {
    let mut r = report(vec![capture(chance(&mut Rng::new(3)))], Vec::new());
    r.meta.title = EVIL.to_owned();
    r.verdict.sentence = EVIL.to_owned();
    for i in &mut r.inputs {
        i.name = EVIL.to_owned();
        i.skipped.insert(EVIL.to_owned(), 1);
    }
    r.quality.push(Quality {
        input: Some(0),
        code: EVIL.to_owned(),
        severity: Severity::Error,
        count: 2,
        message: EVIL.to_owned(),
    });
    r.run = Some(RunInfo {
        scenario: EVIL.to_owned(),
        injected: vec![EVIL.to_owned()],
        unexpected: vec![EVIL.to_owned()],
        record: Some(EVIL.to_owned()),
        ..RunInfo::default()
    });
    for i in &mut r.incidents {
        i.sentence = EVIL.to_owned();
    }
    shown(&r).unwrap();
}

#[test]
fn what_is_no_capture_is_described_without_its_control_bytes() {
    let Err(e) = file::open_reader("plain name", std::io::Cursor::new(EVIL.as_bytes().to_vec())) else {
        panic!("not a capture")
    };
    let said = e.to_string();
    assert_eq!(said, printable(&said));
}
