//! Other programs' logs: what is recognised, what it becomes, and what is said where it cannot be.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::path::PathBuf;
use std::process::{Command, Output};
use syncscope::applog::{AppLogError, Pattern, Recognised, read};

fn seed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/seed004").join(name)
}

fn syncscope(args: &[&str]) -> Output {
    let mut c = Command::new(env!("CARGO_BIN_EXE_syncscope"));
    for a in args {
        match a.strip_prefix('@') {
            Some(name) => c.arg(seed(name)),
            None => c.arg(a),
        };
    }
    c.output().unwrap()
}

fn json(args: &[&str]) -> serde_json::Value {
    let out = syncscope(args);
    let said = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{said}");
    serde_json::from_slice(&out.stdout).unwrap()
}

const PAIR: [&str; 6] =
    ["analyze", "@sender.pcapng", "@receiver.pcapng", "--slow-read=50ms", "--format=json", "--app-log"];

#[test]
fn a_log_by_its_pattern_gives_the_report_of_the_events_file() {
    let mut own = json(&[&PAIR[..], &["@receiver.events.json"]].concat());
    let mut log =
        json(&[&PAIR[..], &["@receiver.log", "--app-log-pattern", "@receiver.pattern.toml"]].concat());
    for r in [&mut own, &mut log] {
        r["inputs"][2]["name"].take();
    }
    assert_eq!(own, log);
    assert_eq!(own["reads"][0]["budget"]["local-delivery"], 106_000);
}

#[test]
fn two_listings_and_a_text_log_give_the_findings_of_the_capture_files() {
    let names =
        ["--name=lin-21-34-202=172.21.34.202", "--name=lin-21-3-92=172.21.3.92", "--name=bmc-grx=6300"];
    let log = ["--app-log", "@receiver.log", "--app-log-pattern", "@receiver.pattern.toml"];
    let ask = ["--slow-read=50ms", "--format=json", "--fail-on=warning"];
    let files = json(&[&["analyze", "@sender.pcapng", "@receiver.pcapng"], &ask[..], &log].concat());
    let lists =
        json(&[&["analyze", "@sender.listing", "@receiver.listing"], &ask[..], &log, &names].concat());
    for part in ["findings", "reads", "incidents", "losses", "holes", "stalls", "segments", "verdict", "span"]
    {
        assert_eq!(files[part], lists[part], "{part}");
    }
    assert_eq!(files["findings"].as_array().unwrap().len(), 1);
    let said: Vec<_> =
        lists["quality"].as_array().unwrap().iter().map(|q| q["code"].as_str().unwrap()).collect();
    assert_eq!(said.iter().filter(|c| **c == "listing").count(), 2, "{said:?}");
    // without the log, neither the day nor the time zone is known
    let bare = json(&[&["analyze", "@sender.listing", "@receiver.listing"], &ask[..], &names].concat());
    let said = bare["quality"].to_string();
    assert!(said.contains("listing-no-date") && said.contains("listing-no-zone"), "{said}");
}

#[test]
fn a_log_without_offsets_takes_them_from_the_capture() {
    let dir = tempfile::tempdir().unwrap();
    let pattern = std::fs::read_to_string(seed("receiver.pattern.toml")).unwrap();
    let keep = |l: &&str| !["first", "step", "bytes"].iter().any(|k| l.starts_with(k));
    let bare: String = pattern.lines().filter(keep).map(|l| format!("{l}\n")).collect();
    let path = dir.path().join("bare.toml");
    std::fs::write(&path, bare).unwrap();
    let log = ["@receiver.log", "--app-log-pattern", path.to_str().unwrap()];
    let r = json(&[&PAIR[..], &log].concat());
    let told = json(&[&PAIR[..], &["@receiver.log", "--app-log-pattern", "@receiver.pattern.toml"]].concat());
    assert_eq!(r["reads"][0]["budget"], told["reads"][0]["budget"]);
    assert_eq!(r["findings"][0]["code"], "loss-fast");
}

const TIME: &str = "time = '%T%.f'\n";

fn parse(pattern: &str, log: &str) -> Result<syncscope::applog::Parsed, AppLogError> {
    let p = Pattern::new(&format!("{TIME}{pattern}")).unwrap();
    match read(log.as_bytes(), Some(&p))? {
        Recognised::Other(p) => Ok(p),
        Recognised::Own(_) => panic!("not ours"),
    }
}

const MS: i64 = 1_000_000;

#[test]
fn one_line_with_a_duration_is_written_when_the_read_ends() {
    let p = parse(
        "[read]\nline = 'got (?<bytes>\\d+) B after (?<ms>[0-9.]+) ms'",
        "00:00:01.5 got 12 B after 250.5 ms\n",
    )
    .unwrap();
    let e = p.streams[0].events[0];
    assert_eq!((e.start.0, e.end.0, e.len), (1_249_500_000, 1_500 * MS, 12));
}

#[test]
fn a_log_in_json_lines_or_in_another_encoding_is_read_by_its_pattern() {
    let line = "{\"t\":\"00:00:01.5\",\"took_ms\":250.5,\"n\":12}\n";
    let p = parse("[read]\nline = 'took_ms\":(?<ms>[0-9.]+),\"n\":(?<bytes>\\d+)'", line).unwrap();
    assert_eq!(p.streams[0].events[0].len, 12);
    let pattern = Pattern::new(&format!("{TIME}[read]\nstart = 'S'\nend = 'E'")).unwrap();
    let Recognised::Other(p) = read(b"00:00:01 S \xc4\xe3\n00:00:02 E\n", Some(&pattern)).unwrap() else {
        panic!("not ours")
    };
    assert_eq!(p.streams[0].events.len(), 1);
}

#[test]
fn a_write_needs_no_duration() {
    let p = parse("[write]\nline = 'send (?<bytes>\\d+)'", "00:00:01 send 7\n").unwrap();
    let e = p.streams[0].events[0];
    assert_eq!((e.op, e.len, e.end.since(e.start).0), (syncscope::model::AppOp::Write, 7, 0));
}

#[test]
fn two_reads_at_once_are_paired_by_their_id() {
    let p = parse(
        "[read]\nstart = '(?<id>\\w+) begin'\nend = '(?<id>\\w+) end'",
        "00:00:00.1 a begin\n00:00:00.2 b begin\n00:00:00.3 a end\n00:00:00.5 b end\n",
    )
    .unwrap();
    let spans: Vec<_> = p.streams[0].events.iter().map(|e| (e.start.0 / MS, e.end.0 / MS)).collect();
    assert_eq!(spans, [(100, 300), (200, 500)]);
}

#[test]
fn a_clock_without_a_date_passes_midnight() {
    let p = parse("[read]\nstart = 'S'\nend = 'E'", "23:59:59.9 S\n00:00:00.1 E\n").unwrap();
    let e = p.streams[0].events[0];
    assert_eq!(e.end.since(e.start).0, 200 * MS);
}

#[test]
fn a_read_that_begins_and_does_not_end_is_open() {
    let p = parse("[read]\nstart = 'S'\nend = 'E'", "00:00:00.1 S\n").unwrap();
    assert_eq!(p.streams[0].open.unwrap().start.0, 100 * MS);
}

#[test]
fn faults_of_a_log_name_the_line_and_the_reason() {
    let pattern = "[read]\nstart = 'S'\nend = 'E (?<bytes>.*)'";
    let at = |log: &str| parse(pattern, log).unwrap_err().to_string();
    assert!(at("\nhello\nworld\n").contains("line 2: `hello`"));
    assert!(at("00:00:01 S\nyesterday E 5\n").contains("line 2: the pattern fits, but there is no time"));
    assert!(at("00:00:01 S\n00:00:02 E many\n").contains("line 2: `many` is no number of bytes"));
    assert_eq!(parse(pattern, " \n").unwrap_err(), AppLogError::Empty);
    assert_eq!(read(b"a\nb\0c", None).unwrap_err(), AppLogError::NotText { line: 2 });
    let other = read(b"\xc4\xe3\n", None).unwrap_err();
    assert!(matches!(other, AppLogError::Unknown { .. }), "{other}");
    assert!(read(b"{\"a\":1}", None).unwrap_err().to_string().contains("missing field"));
    assert!(read(b"10:00 read\n", None).unwrap_err().to_string().contains("--app-log-pattern"));
}

#[test]
fn faults_of_a_pattern_name_the_key() {
    let cases = [
        ("", "[read]: missing"),
        ("[read]\nstart = 'a'", "[read] end: missing"),
        ("[read]\nline = 'a'", "[read] line: needs a group"),
        ("[read]\nline = '('", "[read] line: "),
        ("[write]\nline = 'a'\nend = 'b'", "[write] line: excludes"),
        ("[read]\nstart='a'\nend='b'\nbytes='c'", "[read] bytes: needs a group"),
        ("peer = 'host'\n[read]\nstart='a'\nend='b'", "peer: `host` is no address"),
        ("zone = 'CEST'\n[read]\nstart='a'\nend='b'", "zone: `CEST`"),
        ("colour = 1", "unknown field `colour`"),
    ];
    for (pattern, want) in cases {
        let said = Pattern::new(&format!("{TIME}{pattern}")).unwrap_err().to_string();
        assert!(said.contains(want), "{pattern}: {said}");
    }
    assert!(
        Pattern::new("time = '%H'\n[read]\nstart='a'\nend='b'")
            .unwrap_err()
            .to_string()
            .starts_with("time: ")
    );
}

mod strace {
    use super::*;
    use syncscope::applog::{Candidate, Parsed, Stream, Wanted, bind};
    use syncscope::model::{AppOp, Ns, PerDir, Span, Ts};

    fn parsed(text: &str) -> Parsed {
        match read(text.as_bytes(), None).unwrap() {
            Recognised::Other(p) => p,
            Recognised::Own(_) => panic!("not ours"),
        }
    }

    /// Milliseconds after second 1000000000, milliseconds, bytes.
    fn reads(s: &Stream) -> Vec<(i64, i64, u32)> {
        let ms = |t: Ts| t.0 / MS - 1_000_000_000_000;
        let reads = s.events.iter().filter(|e| e.op == AppOp::Read);
        reads.map(|e| (ms(e.start), e.end.since(e.start).0 / MS, e.len)).collect()
    }

    const SOCK: &str = "4<TCP:[10.0.0.2:40112->10.0.0.1:873]>";

    /// `@` stands for the socket, and the lines begin with milliseconds.
    fn trace(lines: &str) -> Parsed {
        let line = |l: &str| {
            let (ms, rest) = l.trim().split_once(' ').unwrap();
            let (pid, ms) = ms.split_once('/').unwrap_or(("7", ms));
            let ms: i64 = ms.parse().unwrap();
            format!("{pid} {}.{:03}000 {}\n", 1_000_000_000 + ms / 1000, ms % 1000, rest.replace('@', SOCK))
        };
        parsed(&lines.lines().filter(|l| !l.trim().is_empty()).map(line).collect::<String>())
    }

    fn only(p: &Parsed) -> &Stream {
        assert_eq!(p.streams.len(), 1, "{:?}", p.streams);
        &p.streams[0]
    }

    #[test]
    fn a_blocking_read_lasts_as_long_as_its_call() {
        let p = trace(
            r#"
            0 read(@, "\0\0", 8184) = 2 <0.250000>
            300 write(@, "abc", 3) = 3 <0.000010>
            400 read(@, "", 8184) = 0 <0.100000>
            "#,
        );
        let s = only(&p);
        assert_eq!(reads(s), [(0, 250, 2), (400, 100, 0)]);
        assert_eq!((s.local, s.peer), ("10.0.0.2:40112".parse().ok(), "10.0.0.1:873".parse().ok()));
        assert_eq!(s.events.iter().map(|e| e.offset).collect::<Vec<_>>(), [0, 0, 2]);
        assert!(!s.offsets_known, "it may have read before");
    }

    #[test]
    fn waits_belong_to_the_read_that_follows() {
        for (wait, none, some) in [
            (
                "select(5, [@], [], NULL, {tv_sec=30, tv_usec=0})",
                "= 0 (Timeout)",
                "= 1 (in [4], left {tv_sec=9, tv_usec=0})",
            ),
            ("poll([{fd=@, events=POLLIN}], 1, 30000)", "= 0 (Timeout)", "= 1 ([{fd=4, revents=POLLIN}])"),
        ] {
            let p = trace(&format!(
                "0 {wait} {none} <30.000000>\n30000 {wait} {none} <30.000000>\n60000 {wait} {some} <1.000000>\n\
                 61002 read(@, \"x\", 9) = 1 <0.001000>\n61100 read(@, \"x\", 9) = 1 <0.001000>"
            ));
            let s = only(&p);
            assert_eq!(reads(s), [(0, 61_003, 1), (61_100, 1, 1)]);
            assert_eq!(s.events[0].ready, Some(Ts(1_000_000_061_000 * MS)));
        }
    }

    #[test]
    fn a_read_that_would_block_is_no_read_and_epoll_begins_the_wait() {
        let p = trace(
            r#"
            0 epoll_ctl(6, EPOLL_CTL_ADD, @, {events=EPOLLIN, data={u32=4, u64=4}}) = 0 <0.000001>
            1 read(@, 0x7ff, 9) = -1 EAGAIN (Resource temporarily unavailable) <0.000001>
            50 epoll_wait(6, [{events=EPOLLIN, data={u32=4, u64=4}}], 8, -1) = 1 <0.100000>
            151 read(@, "x", 9) = 1 <0.000001>
            152 read(@, 0x7ff, 9) = -1 EAGAIN (Resource temporarily unavailable) <0.000001>
            "#,
        );
        assert_eq!(reads(only(&p)), [(50, 101, 1)]);
        assert_eq!(only(&p).open, None);
    }

    #[test]
    fn what_was_waited_before_the_own_request_is_no_wait_for_the_answer() {
        let p = trace(
            r#"
            0 epoll_ctl(6, EPOLL_CTL_ADD, @, {events=EPOLLIN, data={u32=4, u64=4}}) = 0 <0.000001>
            10 epoll_wait(6, [], 8, 5000) = 0 <5.000000>
            5011 write(@, "ask", 3) = 3 <0.000001>
            5012 epoll_wait(6, [{events=EPOLLIN, data={u32=4, u64=4}}], 8, 5000) = 1 <0.020000>
            5033 read(@, "x", 9) = 1 <0.000001>
            "#,
        );
        assert_eq!(reads(only(&p)), [(5012, 21, 1)]);
    }

    #[test]
    fn own_work_between_two_waits_is_no_wait() {
        let wait = "select(5, [@], [3], NULL, {tv_sec=30, tv_usec=0})";
        let p = trace(&format!(
            "0 {wait} = 1 (out [3], left {{tv_sec=29, tv_usec=0}}) <0.001000>\n8000 {wait} = 1 (in [4], left \
             {{tv_sec=29, tv_usec=0}}) <0.020000>\n8021 read(@, \"x\", 9) = 1 <0.000001>"
        ));
        assert_eq!(reads(only(&p)), [(8000, 21, 1)]);
    }

    #[test]
    fn halves_of_calls_of_several_processes_are_joined() {
        let p = trace(
            r#"
            7/0 read(@,  <unfinished ...>
            8/5 write(@, "abc", 3 <unfinished ...>
            8/6 <... write resumed>) = 3 <0.001000>
            7/250 <... read resumed>"xy", 9) = 2 <0.249000>
            "#,
        );
        assert_eq!(reads(only(&p)), [(0, 249, 2)]);
        assert_eq!(only(&p).events.len(), 2);
    }

    #[test]
    fn connections_follow_their_descriptors_through_fork_and_dup() {
        let p = parsed(
            r#"7 1000000000.000000 socket(AF_INET, SOCK_STREAM, IPPROTO_TCP) = 3 <0.000001>
7 1000000000.000001 connect(3, {sa_family=AF_INET, sin_port=htons(873), sin_addr=inet_addr("10.0.0.1")}, 16) = 0 <0.010000>
7 1000000000.100000 getsockname(3, {sa_family=AF_INET, sin_port=htons(40112), sin_addr=inet_addr("10.0.0.2")}, [16]) = 0 <0.000001>
7 1000000000.200000 clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLD) = 8 <0.000100>
8 1000000000.300000 dup2(3, 0) = 0 <0.000001>
7 1000000000.310000 close(3) = 0 <0.000001>
8 1000000000.400000 read(0, "hello", 9) = 5 <0.050000>
"#,
        );
        let s = only(&p);
        assert_eq!((s.local, s.peer), ("10.0.0.2:40112".parse().ok(), "10.0.0.1:873".parse().ok()));
        assert_eq!(reads(s), [(400, 50, 5)]);
        assert!(s.offsets_known, "the trace shows how it began");
    }

    #[test]
    fn a_read_that_never_returned_is_open_until_its_process_ends() {
        let open = |text: &str| only(&trace(text)).open.unwrap();
        let o = open("0 read(@,  <unfinished ...>\n9000 +++ killed by SIGKILL +++");
        assert_eq!((o.op, o.seen.since(o.start), o.ended), (AppOp::Read, Ns::from_secs(9), true));
        let o = open("0 read(@, \"x\", 9) = 1 <0.000001>\n5 read(@, ");
        assert_eq!((o.seen.since(o.start), o.ended), (Ns(0), false));
        let o = open(
            "0 read(@, 0x7ff, 9) = ? ERESTARTSYS (To be restarted) <3.000000>\n3001 --- SIGINT {} ---\n3001 +++ killed by SIGINT +++",
        );
        assert_eq!(o.seen.since(o.start), Ns::from_secs(3));
        let o = open(
            "0 select(5, [@], [], NULL, {tv_sec=30, tv_usec=0}) = 0 (Timeout) <30.000000>\n30001 exit_group(30) = ?\n30001 +++ exited with 30 +++",
        );
        assert_eq!(o.seen.since(o.start), Ns::from_secs(30));
    }

    #[test]
    fn a_hang_that_the_capture_knows_longer_lasts_until_its_end() {
        let p = trace("0 read(@,  <unfinished ...>");
        let span = Span::new(Ts(999_999_999 * 1000 * MS), Ts(1_000_000_060 * 1000 * MS));
        let flow = Candidate {
            client: "10.0.0.2:40112".parse().unwrap(),
            server: "10.0.0.1:873".parse().unwrap(),
            span,
            near: None,
            moved: PerDir::default(),
        };
        let b = bind(p, &Wanted::default(), &[flow]).unwrap();
        assert_eq!(b.logs[0].events[0].end.since(b.logs[0].events[0].start), Ns::from_secs(60));
        assert!(
            b.notes.iter().any(|n| n.message.contains("until the capture ends, 60.0 s after")),
            "{:?}",
            b.notes
        );
    }

    #[test]
    fn without_durations_a_call_ends_at_the_next_one_and_the_report_says_so() {
        let p = trace("0 read(@, \"x\", 9) = 1\n250 getpid() = 7");
        assert_eq!(reads(only(&p)), [(0, 250, 1)]);
        assert!(p.notes.iter().any(|n| n.code == "log-no-durations"));
    }

    /// The field report's trace: no time stamps, and the program's own output in the middle of lines.
    const UNSTAMPED: &str = r#"lstat("pkg.jar", 0x7fff7d6e0000) = -1 ENOENT (No such file or directory)
select(5, [4], [3], [3], {30, 0})       = 2 (in [4], out [3], left {29, 999998})
select(5, [4], [], NULL, {30, 0})       = 1 (in [4], left {29, 999999})
read(4, "\0\0\0\34", 8184)              = 4
write(3, "\26\0\0\7\1\10\0\3\0\240\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 26) = 26
select(5, [4], [], NULL, {30, 0}./
pkg.jar
)       = 0 (Timeout)8.79MB/s    0:00:02
select(5, [4], [], NULL, {30, 0})       = 0 (Timeout)
select(5, [4], [], NULL, {30, 0}
[receiver] io timeout after 60 seconds -- exiting
)       = 1 (in [4], left {28, 559609})
--- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=15649, si_status=30} ---
read(4, "", 8184)                       = 0
write(2, "\n", 1
)                       = 1
exit_group(12)                          = ?
+++ exited with 12 +++
"#;

    #[test]
    fn a_trace_without_time_stamps_is_refused_with_what_it_shows() {
        let said = read(UNSTAMPED.as_bytes(), None).unwrap_err().to_string();
        assert!(said.contains("line 1: no time stamp"), "{said}");
        assert!(said.contains("strace -f -ttt -T -yy"), "{said}");
        let shown = "3 calls of select waited 61.4 s for descriptor 4, 2 of them until they timed out, then read 0 bytes";
        let shown = shown.replace("read 0 bytes", "read the end of the stream");
        assert!(said.contains(&shown), "{said}");
        for (option, stamp) in [("-r", "     0.000100 "), ("-t", "15:18:45 ")] {
            let said =
                read(format!("{stamp}read(4, \"\", 9) = 0\n").as_bytes(), None).unwrap_err().to_string();
            assert!(said.contains(option), "{said}");
        }
    }

    #[test]
    fn the_same_trace_with_time_stamps_is_one_hung_read() {
        let mut ms = 0i64;
        let mut stamped = String::new();
        for l in UNSTAMPED.lines() {
            let calls = ["lstat", "select", "read(", "write(", "exit_", "---", "+++"];
            if calls.iter().any(|c| l.starts_with(c)) {
                stamped.push_str(&format!("{}.{:03}000 ", 1_000_000_000 + ms / 1000, ms % 1000));
                ms += 1;
            }
            stamped.push_str(l);
            stamped.push('\n');
            if l.contains("Timeout") {
                ms += 30_000;
            }
            if l.contains("left {28, 559609}") {
                ms += 1_440;
            }
        }
        let p = parsed(&stamped);
        // descriptor 3 is written only, 4 is read only: which is the connection, the user must say
        let flow = Candidate {
            client: "10.0.0.2:40112".parse().unwrap(),
            server: "10.0.0.1:873".parse().unwrap(),
            span: Span::new(Ts(1_000_000_000_000 * MS), Ts(1_000_000_062_000 * MS)),
            near: None,
            moved: PerDir::default(),
        };
        let said = bind(p.clone(), &Wanted::default(), &[flow]).unwrap_err().to_string();
        for part in [
            "--app-log-fd N",
            "descriptor 4: 2 reads (4 bytes), 0 writes (0 bytes), the slowest read 61.4 s",
            "descriptor 3: 0 reads (0 bytes), 1 writes (26 bytes)",
        ] {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
        let wanted = Wanted { fd: Some(4), flow: Some((flow.client, flow.server)), ..Wanted::default() };
        let log = bind(p, &wanted, &[flow]).unwrap().logs.remove(0);
        let last = log.events.last().unwrap();
        assert_eq!((last.len, last.end.since(last.start).0 / (1000 * MS)), (0, 61));
    }

    #[test]
    fn connections_that_the_capture_does_not_show_are_counted() {
        let p = trace(
            "0 read(@, \"x\", 9) = 1 <0.000001>\n5 read(5<TCP:[10.0.0.2:5->10.0.0.9:9]>, \"x\", 9) = 1 <0.000001>",
        );
        let flow = Candidate {
            client: "10.0.0.2:40112".parse().unwrap(),
            server: "10.0.0.1:873".parse().unwrap(),
            span: Span::default(),
            near: None,
            moved: PerDir::default(),
        };
        let b = bind(p.clone(), &Wanted::default(), &[flow]).unwrap();
        assert_eq!((b.logs.len(), b.notes[0].code), (1, "log-other-connections"));
        let said =
            bind(p, &Wanted::default(), &[Candidate { server: "10.0.0.7:80".parse().unwrap(), ..flow }]);
        assert!(said.unwrap_err().to_string().contains("none of its 2 connections is in the capture"));
    }

    #[test]
    fn hostile_traces_end_in_linear_time() {
        let lines = 60_000;
        let mut forks = String::from("7 1000000000.000000 read(3, \"\", 9) = 0 <0.000001>\n");
        for i in 0..lines {
            forks.push_str(&format!("7 1000000000.000001 clone(child_stack=NULL) = {} <0.000001>\n", i + 8));
            forks.push_str(&format!("{} 1000000000.000002 read({}, \"\", 9) = 0 <0.000001>\n", i + 8, i + 3));
        }
        let begun = std::time::Instant::now();
        assert!(!parsed(&forks).streams.is_empty());
        let deep = format!("1000000000.000001 read(3, \"{}", "\\\"(".repeat(3_000_000));
        assert!(read(deep.as_bytes(), None).is_ok());
        assert!(read("(".repeat(20_000_000).as_bytes(), None).is_err());
        assert!(read("read(".repeat(4_000_000).as_bytes(), None).is_err());
        assert!(begun.elapsed().as_secs() < 60, "{:?}", begun.elapsed());
    }
}

/// A recorded program on a lossy link (`captures/strace`): three packets were dropped.
mod recorded {
    use super::*;

    fn fixture(name: &str) -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("captures/strace").join(name)
    }

    /// The report with the trace changed like this.
    fn report(change: impl Fn(&str) -> String, more: &[&str]) -> serde_json::Value {
        let text = std::fs::read_to_string(fixture("client.strace")).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let trace = dir.path().join("trace");
        std::fs::write(&trace, change(&text)).unwrap();
        let out = Command::new(env!("CARGO_BIN_EXE_syncscope"))
            .arg("analyze")
            .arg(fixture("client.pcap"))
            .arg("--app-log")
            .arg(trace)
            .args(["--slow-read=60ms", "--format=json", "--fail-on=error"])
            .args(more)
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
        serde_json::from_slice(&out.stdout).unwrap()
    }

    /// Offset, wait in milliseconds, cause, and whether the repair took most of it.
    fn reads(r: &serde_json::Value) -> Vec<(u64, u64, String, bool)> {
        let all = r["reads"].as_array().unwrap().iter().map(|x| {
            let wait = x["end"].as_u64().unwrap() - x["start"].as_u64().unwrap();
            let repair = x["budget"]["loss-recovery"].as_u64().unwrap();
            let cause = x["cause"].as_str().unwrap().to_owned();
            (x["offset"].as_u64().unwrap(), wait / 1_000_000, cause, repair * 5 > wait * 2)
        });
        all.collect()
    }

    #[test]
    fn each_dropped_packet_is_one_slow_read() {
        let whole = reads(&report(str::to_owned, &[]));
        assert_eq!(whole.len(), 3, "{whole:?}");
        for r in &whole {
            assert!((70..90).contains(&r.1) && r.2 == "loss-fast" && r.3, "{whole:?}");
        }
    }

    #[test]
    fn a_trace_without_addresses_is_tied_by_its_connect() {
        let bare = |t: &str| {
            let mut out = String::new();
            for part in t.split('<') {
                match part.strip_prefix("TCP:[").and_then(|p| p.split_once("]>")) {
                    Some((_, rest)) => out.push_str(rest),
                    None if out.is_empty() => out.push_str(part),
                    None => out.push_str(&format!("<{part}")),
                }
            }
            assert!(!out.contains("TCP:["));
            out
        };
        assert_eq!(reads(&report(bare, &[])), reads(&report(str::to_owned, &[])));
    }

    #[test]
    fn a_trace_that_began_later_takes_its_offsets_from_the_capture() {
        let late = |t: &str| t.lines().skip(14).map(|l| format!("{l}\n")).collect::<String>();
        assert_eq!(reads(&report(late, &[])), reads(&report(str::to_owned, &[])));
    }

    #[test]
    fn a_trace_that_is_cut_is_no_hung_read_where_data_came_later() {
        let half = |t: &str| t[..7777].to_owned();
        let r = report(half, &[]);
        assert_eq!(reads(&r), reads(&report(str::to_owned, &[]))[..1]);
        assert!(!r["quality"].to_string().contains("log-open-call"));
    }

    #[test]
    fn a_trace_with_times_of_day_takes_the_captures_date() {
        let of_day = |t: &str| {
            let line = |l: &str| {
                let (pid, rest) = l.split_once("  ").unwrap();
                let (stamp, rest) = rest.split_once(' ').unwrap();
                let (s, us) = stamp.split_once('.').unwrap();
                let s = s.parse::<u64>().unwrap() % 86_400;
                format!("{pid}  {:02}:{:02}:{:02}.{us} {rest}\n", s / 3600, s / 60 % 60, s % 60)
            };
            t.lines().map(line).collect::<String>()
        };
        let r = report(of_day, &[]);
        assert_eq!(reads(&r), reads(&report(str::to_owned, &[])));
        let said = r["quality"].to_string();
        assert!(said.contains("log-no-date") && said.contains("log-no-zone"), "{said}");
        let far = report(of_day, &["--time-zone", "+08:00"]);
        assert_ne!(far["reads"][0]["budget"], r["reads"][0]["budget"]);
    }

    #[test]
    fn a_trace_that_is_attached_to_a_waiting_process_shows_the_hole_it_waits_for() {
        let whole = report(str::to_owned, &[]);
        let slow = &whole["reads"][1];
        let (start, end) = (slow["start"].as_u64().unwrap(), slow["end"].as_u64().unwrap());
        // attached a millisecond after the wait began, and detached when it was over
        let stamp = |ns: u64| format!("{}.{:06}", ns / 1_000_000_000, ns % 1_000_000_000 / 1000);
        let attached = |_: &str| {
            format!(
                "7879  {} pselect6(4, [3], NULL, NULL, {{tv_sec=9, tv_nsec=0}}, NULL <detached ...>\n7879  {} +++ killed by SIGKILL +++\n",
                stamp(start + 1_000_000),
                stamp(end - 1_000_000)
            )
        };
        let r = report(attached, &[]);
        let read = &r["reads"][0];
        assert_eq!(read["offset"], slow["offset"]);
    }
}
