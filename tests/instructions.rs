//! How many instructions a packet costs, so that a slip of the hot path is seen on any machine, however busy: valgrind
//! counts them. The times are in `make bench`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod skip;
#[path = "bench/traffic.rs"]
mod traffic;

use std::path::Path;
use std::process::Command;
use traffic::Traffic;

/// Losses of 10,000 segments, and the most instructions a packet: of the profile that tests are built with, and of
/// the release build: at least a tenth more than what was measured.
const MARKS: [(u64, u64, u64); 2] = [(0, 5_900, 2_700), (50, 7_300, 4_000)];

/// Packets of the shorter file; the longer one has so many more, and both the same rest.
const SHORT: u64 = 16_000;
const MORE: u64 = 24_000;

/// Instructions of a whole run; none where they cannot be counted.
fn instructions(file: &Path) -> Option<u64> {
    let ran = Command::new("valgrind")
        .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
        .arg(env!("CARGO_BIN_EXE_syncscope"))
        .args(["analyze", "--fail-on", "never", "--jobs", "1", "--format", "csv", "-o", "/dev/null"])
        .arg(file)
        .output()
        .ok()?;
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{told}");
    let (_, count) = told.lines().find_map(|l| l.split_once("refs:")).expect(&told);
    Some(count.chars().filter(char::is_ascii_digit).collect::<String>().parse().expect(count))
}

#[test]
fn a_packet_costs_no_more_instructions_than_it_did() {
    let test = "a_packet_costs_no_more_instructions_than_it_did";
    if option_env!("CARGO_PROFILE_DEV_OPT_LEVEL").is_some()
        || option_env!("CARGO_PROFILE_TEST_OPT_LEVEL").is_some()
    {
        return skip::tell(test, "it is built with another optimization than its marks are for");
    }
    if cfg!(not(target_arch = "x86_64")) {
        return skip::tell(test, "the marks are for x86-64");
    }
    let dir = tempfile::tempdir().unwrap();
    for (loss, tests, release) in MARKS {
        let counted = |packets: u64| {
            let path = dir.path().join(format!("{loss}-{packets}.pcap"));
            let t = Traffic { flows: 2, packets, loss, snaplen: 96, each: 0 };
            traffic::write(t, &mut std::fs::File::create(&path).unwrap()).unwrap();
            instructions(&path)
        };
        let Some((short, long)) = counted(SHORT).zip(counted(SHORT + MORE)) else {
            return skip::skip(
                test,
                "valgrind, which counts instructions, is not here: apt-get install valgrind",
            );
        };
        let each = (long - short) / MORE;
        let most = if cfg!(debug_assertions) { tests } else { release };
        eprintln!("{loss} of 10,000 lost: {each} instructions a packet, at most {most}");
        assert!(each <= most, "{loss} of 10,000 lost: {each} instructions a packet, and {most} are allowed");
    }
}
