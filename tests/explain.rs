//! `syncscope explain`: every code has its story, a misspelt one gets a hint.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::{Command, Output};
use syncscope::model::tcp::StallCause;

fn explain(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_syncscope")).arg("explain").args(args).output().unwrap()
}

#[test]
fn it_lists_every_code_with_its_owner() {
    let out = explain(&[]);
    assert_eq!(out.status.code(), Some(0));
    let text = String::from_utf8(out.stdout).unwrap();
    assert_eq!(text.lines().count(), StallCause::ALL.len());
    for c in StallCause::ALL {
        assert!(text.lines().any(|l| l.split_whitespace().next() == Some(c.as_str())), "{c}");
    }
}

#[test]
fn it_tells_what_how_and_what_next() {
    let out = explain(&["mtu-black-hole"]);
    assert_eq!((out.status.code(), out.stderr.len()), (Some(0), 0));
    let text = String::from_utf8(out.stdout).unwrap();
    for part in ["What it is", "How we know", "How to prove it", "tcp_mtu_probing", "owner: network"] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_misspelt_code_is_an_error_with_a_hint_and_harmless_to_the_terminal() {
    let out = explain(&["los-rto"]);
    assert_eq!((out.status.code(), out.stdout.len()), (Some(2), 0));
    let text = String::from_utf8(out.stderr).unwrap();
    assert!(text.contains("did you mean loss-rto"), "{text}");
    let nasty = explain(&["\u{1b}[31mx"]);
    assert_eq!(nasty.status.code(), Some(2));
    assert!(!nasty.stderr.contains(&0x1b));
}
