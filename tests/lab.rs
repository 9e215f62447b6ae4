//! The emulated link with the kernel's own TCP and UDP on it: what it says it did is what happened.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod skip;

use skip::skip;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};
use syncscope::lab::fate::{Fate, What};
use syncscope::lab::live::{Lab, LabError, prepare};
use syncscope::lab::scenario::Scenario;
use syncscope::model::{Dir, Ns, Side};

/// One lab at a time: they share two CPUs, and the time they keep is what is tested.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn scenario(text: &str) -> Scenario {
    Scenario::parse("test", &format!("name = \"test\"\n[endpoint]\ncc = \"reno\"\n{text}")).unwrap()
}

/// A running lab with a truth log, or none where this machine allows no lab.
fn lab(name: &str, text: &str, truth: &Path) -> Option<Lab> {
    match prepare().and_then(|_| Lab::start(&scenario(text), Some(truth))) {
        Ok(lab) => Some(lab),
        Err(LabError::NotAllowed { what, message, .. }) => {
            skip(name, &format!("not allowed to {what}: {message}"));
            None
        }
        Err(e) => panic!("{e}"),
    }
}

fn fates(path: &Path) -> Vec<Fate> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

fn arrived(fates: &[Fate], dir: Dir) -> u64 {
    fates.iter().filter(|f| f.dir == dir).map(|f| u64::from(f.arrivals)).sum()
}

/// Packets that the device in the calling thread's namespace has handed to the kernel.
fn device_received() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    let line = text.lines().find(|l| l.trim_start().starts_with("link0:")).unwrap();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

/// Bytes that depend on their place, so that a wrong order or a hole shows.
fn pattern(n: usize) -> Vec<u8> {
    (0..n as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

/// Sends `blocks` from server to client, pausing before each as told; what the client got.
fn transfer(lab: &Lab, blocks: Vec<(Duration, Vec<u8>)>) -> Vec<u8> {
    let at = SocketAddr::new(lab.addr(Side::Server), 8730);
    let (ready, listening) = std::sync::mpsc::channel();
    let server = lab
        .spawn_thread(Side::Server, "server", move || {
            let listener = TcpListener::bind(at).unwrap();
            ready.send(()).unwrap();
            let (mut stream, _) = listener.accept().unwrap();
            for (pause, block) in blocks {
                std::thread::sleep(pause);
                stream.write_all(&block).unwrap();
            }
        })
        .unwrap();
    listening.recv().unwrap();
    let client = lab
        .spawn_thread(Side::Client, "client", move || {
            let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(20)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got
        })
        .unwrap();
    server.join().unwrap();
    client.join().unwrap()
}

#[test]
fn tcp_gets_through_a_bad_link_and_the_truth_log_counts_every_packet() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("truth.ndjson");
    let text = "[c2s]\ndelay = \"3ms\"\nloss = 0.01\n[s2c]\ndelay = \"3ms\"\nloss = 0.02\nduplicate = 0.01\nreorder = { share = 0.01, extra = \"2ms\" }\n";
    let Some(lab) = lab("tcp_gets_through_a_bad_link", text, &truth) else { return };
    let sent = pattern(600_000);
    let got = transfer(&lab, vec![(Duration::ZERO, sent.clone())]);
    assert!(got == sent, "{} of {} bytes arrived, or not the same", got.len(), sent.len());
    // What is still on its way will be there after one delay.
    std::thread::sleep(Duration::from_millis(50));
    let count = |side| lab.spawn_thread(side, "count", device_received).unwrap().join().unwrap();
    let (at_server, at_client) = (count(Side::Server), count(Side::Client));
    assert!(lab.time_zero().is_some());
    let stats = lab.finish().unwrap();
    let fates = fates(&truth);

    assert_eq!(arrived(&fates, Dir::C2s), at_server, "packets that the server's device received");
    assert_eq!(arrived(&fates, Dir::S2c), at_client, "packets that the client's device received");
    assert_eq!(stats.unread, (0, 0));
    for dir in Dir::BOTH {
        let mut indexes: Vec<u64> = fates.iter().filter(|f| f.dir == dir).map(|f| f.index).collect();
        indexes.sort_unstable();
        assert!(
            indexes.iter().copied().eq(0..stats.link.ways[dir].entered),
            "one fate for each packet {dir}"
        );
    }
    // Every data segment that was dropped was sent again.
    let dropped: Vec<&Fate> = fates.iter().filter(|f| f.fate == What::Dropped && f.len > 0).collect();
    assert!(dropped.len() >= 3, "{} of 600 kB at 2 %", dropped.len());
    for d in dropped {
        assert!(
            fates.iter().any(|f| f.dir == d.dir && f.arrivals > 0 && f.t > d.t && f.copy > d.copy),
            "nothing repaired {d:?}"
        );
    }
}

#[test]
fn each_datagram_arrives_as_often_as_the_truth_log_says() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("truth.ndjson");
    let text = "[c2s]\ndelay = \"5ms\"\nburst = { p = 0.02, r = 0.3 }\nduplicate = 0.03\ncorrupt = 0.02\n";
    let Some(lab) = lab("each_datagram_arrives", text, &truth) else { return };
    let at = SocketAddr::new(lab.addr(Side::Server), 9000);
    let (ready, bound) = std::sync::mpsc::channel();
    let receiver = lab
        .spawn_thread(Side::Server, "receiver", move || {
            let socket = UdpSocket::bind(at).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
            ready.send(()).unwrap();
            let mut counts = BTreeMap::<u64, u8>::new();
            let mut number = [0u8; 8];
            while socket.recv(&mut number).is_ok() {
                *counts.entry(u64::from_be_bytes(number)).or_default() += 1;
            }
            counts
        })
        .unwrap();
    bound.recv().unwrap();
    let from = SocketAddr::new(lab.addr(Side::Client), 0);
    lab.spawn_thread(Side::Client, "sender", move || {
        let socket = UdpSocket::bind(from).unwrap();
        for i in 0..1000u64 {
            socket.send_to(&i.to_be_bytes(), at).unwrap();
            std::thread::sleep(Duration::from_micros(200));
        }
    })
    .unwrap()
    .join()
    .unwrap();
    let got = receiver.join().unwrap();
    lab.finish().unwrap();
    let want: BTreeMap<u64, u8> = fates(&truth)
        .iter()
        // The checksum of a corrupted one is wrong, so the kernel drops it; a flipped checksum bit too.
        .filter(|f| f.dir == Dir::C2s && f.arrivals > 0 && f.fate != What::Corrupted)
        .map(|f| (f.index, f.arrivals))
        .collect();
    assert!(want.len() < 1000 && want.values().any(|n| *n == 2));
    assert_eq!(got, want);
}

#[test]
fn the_link_adds_little_to_the_delay_that_was_asked_for() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("truth.ndjson");
    let text = "[s2c]\ndelay = \"20ms\"\n[c2s]\ndelay = \"20ms\"\n";
    let Some(lab) = lab("the_link_adds_little", text, &truth) else { return };
    let blocks = (0..100).map(|i| (Duration::from_millis(5), vec![i as u8; 1000])).collect();
    assert_eq!(transfer(&lab, blocks).len(), 100_000);
    let late = lab.finish().unwrap().link.lateness;
    println!(
        "added delay: p50 {}, p99 {}, max {}, n {}",
        late.quantile(0.5),
        late.quantile(0.99),
        late.max(),
        late.count()
    );
    assert!(late.count() > 100);
    // Loose: this is a debug build on a machine that does other things too. `lab --measure` is the real test.
    assert!(late.quantile(0.5) < Ns::from_millis(5), "p50 {}", late.quantile(0.5));
    for f in fates(&truth) {
        assert!(f.due.is_none_or(|due| due - f.t == Ns::from_millis(20)), "{f:?}");
    }
}

#[test]
fn a_lost_tail_is_repaired_by_the_kernels_probe_and_a_lost_segment_by_duplicate_acks() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("truth.ndjson");
    let text = r#"
[c2s]
delay = "20ms"
[s2c]
delay = "20ms"
[[rule]]
name = "one"
dir = "s2c"
carried = "50kB"
min_payload = 1000
count = 1
action = "drop"
[[rule]]
name = "tail"
dir = "s2c"
carried = "250kB"
tail = { pause = "60ms", segments = 2 }
count = 1
action = "drop"
"#;
    let Some(lab) = lab("a_lost_tail", text, &truth) else { return };
    let sent = pattern(600_000);
    // 8 kB each 7 ms; before byte 304 000 a pause of half a second.
    let pace = |i: usize| Duration::from_millis(if i == 38 { 500 } else { 7 });
    let blocks = sent.chunks(8000).enumerate().map(|(i, b)| (pace(i), b.to_vec())).collect();
    let got = transfer(&lab, blocks);
    lab.finish().unwrap();
    assert!(got == sent);
    let data: Vec<Fate> = fates(&truth).into_iter().filter(|f| f.dir == Dir::S2c && f.len > 0).collect();
    let by = |rule: &str| -> Vec<&Fate> {
        data.iter().filter(|f| f.cause.to_string() == format!("rule:{rule}")).collect()
    };
    let end = |f: &Fate| f.seq.unwrap().wrapping_add(f.len);
    let repair =
        |f: &Fate| data.iter().filter(|g| g.t > f.t && end(g) == end(f)).min_by_key(|g| g.t).unwrap().clone();

    let one = by("one");
    assert_eq!(one.len(), 1);
    let again = repair(one[0]);
    assert!(again.copy == 2 && (again.t - one[0].t) < Ns::from_millis(200), "{again:?}");
    assert!(
        data.iter().any(|g| g.t > one[0].t && g.t < again.t && g.copy == 1),
        "segments followed the lost one"
    );

    let mut tail = by("tail");
    tail.sort_by_key(|f| f.index);
    assert_eq!(tail.len(), 2);
    assert_eq!(end(tail[0]), tail[1].seq.unwrap(), "two segments in a row");
    let next_new = data.iter().filter(|g| g.t > tail[1].t && g.copy == 1).map(|g| g.t).min().unwrap();
    assert!(next_new - tail[1].t >= Ns::from_millis(60), "nothing new followed for the length of the pause");
    let probe = repair(tail[1]);
    println!("tail lost, probe after {}", probe.t - tail[1].t);
    assert!(probe.t < repair(tail[0]).t, "the probe takes the last segment first (RFC 8985 §7.3)");
    assert!(probe.t < next_new);
}

#[test]
fn nothing_stays_open_behind_a_lab() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("truth.ndjson");
    let open = || {
        let mut links: Vec<PathBuf> = std::fs::read_dir("/proc/self/fd")
            .unwrap()
            .filter_map(|e| std::fs::read_link(e.ok()?.path()).ok())
            .collect();
        links.retain(|l| !l.to_string_lossy().starts_with("/proc/"));
        links.len()
    };
    let threads = || std::fs::read_dir("/proc/self/task").unwrap().count();
    let Some(first) = lab("nothing_stays_open", "", &truth) else { return };
    first.finish().unwrap();
    let (fds, tasks) = (open(), threads());
    for round in 0..10 {
        let lab = lab("nothing_stays_open", "[c2s]\ndelay = \"1ms\"\n", &truth).unwrap();
        if round % 2 == 0 {
            lab.finish().unwrap();
        } else {
            drop(lab);
        }
    }
    assert_eq!(open(), fds, "descriptors");
    assert!(threads() <= tasks, "threads");
}

fn syncscope() -> Command {
    Command::new(env!("CARGO_BIN_EXE_syncscope"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Whether the output says that this machine allows no lab.
fn refused(name: &str, out: &Output) -> bool {
    let no = text(&out.stderr).contains("mend it with");
    if no {
        skip(name, text(&out.stderr).trim());
    }
    no
}

#[test]
fn the_lab_command_runs_both_ends_and_answers_as_the_command_does() {
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let truth = dir.path().join("t.ndjson");
    let begin = Instant::now();
    let out = syncscope()
        .args(["lab", "--scenario", "clean", "--seed", "5", "--truth"])
        .arg(&truth)
        // A shell that waits for a process of its own: both must be gone in the end, or this waits for a minute.
        .args(["--server", "sleep 60; true", "--", "sh", "-c"])
        .arg("echo $SYNCSCOPE_CLIENT_ADDR $SYNCSCOPE_SERVER_ADDR; cat /proc/net/dev; exit 7")
        .output()
        .unwrap();
    if refused("the_lab_command_runs", &out) {
        return;
    }
    assert!(begin.elapsed() < Duration::from_secs(30), "somebody held the output open");
    assert_eq!(out.status.code(), Some(7), "{}", text(&out.stderr));
    assert!(text(&out.stdout).starts_with("198.18.0.1 198.18.0.2\n"), "{}", text(&out.stdout));
    assert!(text(&out.stdout).contains("link0:"));
    assert!(text(&out.stderr).contains("link c2s: "), "{}", text(&out.stderr));
    assert!(truth.exists());

    let out = syncscope().args(["lab", "--scenario", "clean", "--", "/no/such/command"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("/no/such/command"));
}

#[test]
fn a_wrong_scenario_is_refused_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.toml");
    std::fs::write(&file, "name = \"bad\"\n[c2s]\ndelay = \"fast\"\n").unwrap();
    let out = syncscope().args(["lab", "--scenario"]).arg(&file).args(["--", "true"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(
        text(&out.stderr).contains("bad.toml:3: `fast` is not a time with a unit"),
        "{}",
        text(&out.stderr)
    );

    let out = syncscope().args(["lab", "--scenario", "nowhere", "--", "true"]).output().unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("`clean` and `demo` are built in"), "{}", text(&out.stderr));
}

/// Whether any thread of the machine is still in this network namespace.
fn namespace_is_used(link: &str) -> bool {
    let dirs = |path: PathBuf| {
        std::fs::read_dir(path).into_iter().flatten().filter_map(|e| e.ok().map(|e| e.path()))
    };
    dirs("/proc".into())
        .filter(|p| p.file_name().is_some_and(|n| n.to_string_lossy().bytes().all(|b| b.is_ascii_digit())))
        .flat_map(|p| dirs(p.join("task")))
        .any(|task| std::fs::read_link(task.join("ns/net")).is_ok_and(|l| l.to_string_lossy() == link))
}

#[test]
fn a_killed_lab_leaves_nothing_behind() {
    let _alone = alone();
    let show = "readlink /proc/self/ns/net; exec sleep 60";
    let mut child = syncscope()
        .args(["lab", "--scenario", "clean", "--server", show, "--", "sh", "-c", show])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (Some(Ok(server)), Some(Ok(client))) = (lines.next(), lines.next()) else {
        let out = child.wait_with_output().unwrap();
        assert!(refused("a_killed_lab", &out), "{}", text(&out.stderr));
        return;
    };
    assert!(
        server.starts_with("net:[") && client.starts_with("net:[") && server != client,
        "{server} {client}"
    );
    assert!(namespace_is_used(&server) && namespace_is_used(&client));
    child.kill().unwrap(); // SIGKILL: nothing can be tidied up by ourselves
    child.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(5);
    while namespace_is_used(&server) || namespace_is_used(&client) {
        assert!(Instant::now() < deadline, "somebody still lives in {server} or {client}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a shell line as nobody. `tun`: with a TUN device that everybody may open, in a mount namespace of its own.
fn as_nobody(line: &str, tun: bool) -> Option<Output> {
    let root =
        std::fs::read_to_string("/proc/self/status").unwrap().lines().any(|l| l.starts_with("Uid:\t0\t"));
    let works =
        |c: &mut Command| c.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    if !root
        || !works(Command::new("setpriv").args(nobody).arg("true"))
        || !works(Command::new("unshare").args(["-m", "true"]))
    {
        return None;
    }
    // A copy that nobody may run, wherever the build directory is.
    let dir = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(dir.path(), open).unwrap();
    let binary = dir.path().join("syncscope");
    std::fs::copy(env!("CARGO_BIN_EXE_syncscope"), &binary).unwrap();
    let device = if tun {
        format!(
            "mknod -m 666 {0}/tun c 10 200 && mount --bind {0}/tun /dev/net/tun && ",
            dir.path().display()
        )
    } else {
        format!(
            "mknod -m 600 {0}/tun c 10 200 && mount --bind {0}/tun /dev/net/tun && ",
            dir.path().display()
        )
    };
    let script = format!("{device}cd {} && exec setpriv {} {line}", dir.path().display(), nobody.join(" "));
    Some(Command::new("unshare").args(["-m", "sh", "-c", &script]).output().unwrap())
}

#[test]
fn an_ordinary_user_gets_a_lab_in_a_user_namespace() {
    let _alone = alone();
    let name = "an_ordinary_user_gets_a_lab";
    let line = "./syncscope lab --scenario clean --server 'sleep 60; true' -- sh -c 'id -u; grep -c link0 /proc/net/dev; cat /proc/sys/net/ipv4/tcp_congestion_control'";
    let Some(out) = as_nobody(line, true) else { return skip(name, "needs root, setpriv and unshare") };
    if refused(name, &out) {
        return;
    }
    assert_eq!(
        (out.status.code(), text(&out.stdout).as_str()),
        (Some(0), "0\n1\nreno\n"),
        "{}",
        text(&out.stderr)
    );
    let out = as_nobody("./syncscope doctor", true).unwrap();
    let said = text(&out.stdout);
    assert_eq!(out.status.code(), Some(0), "{said}{}", text(&out.stderr));
    assert!(said.contains("came up, in a user namespace"), "{said}");
    assert!(
        said.contains("sudo setcap cap_net_raw"),
        "capture on the host is not allowed, and says how: {said}"
    );
}

#[test]
fn a_tun_device_for_root_only_is_named_with_its_remedy() {
    let _alone = alone();
    let name = "a_tun_device_for_root_only";
    let line = "./syncscope lab --scenario clean -- true";
    let Some(out) = as_nobody(line, false) else { return skip(name, "needs root, setpriv and unshare") };
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{said}");
    assert!(said.contains("not allowed to open /dev/net/tun: Permission denied"), "{said}");
    assert!(said.contains("mend it with: sudo chmod 0666 /dev/net/tun"), "{said}");
    let out = as_nobody("./syncscope doctor", false).unwrap();
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stdout).contains("`syncscope demo` cannot run here."), "{}", text(&out.stdout));
}

#[test]
fn a_congestion_control_that_is_not_there_is_refused_with_a_remedy() {
    let _alone = alone();
    let text = "name = \"x\"\n[endpoint]\ncc = \"no-such-control\"\n";
    let scenario = Scenario::parse("x", text).unwrap();
    match prepare().and_then(|_| Lab::start(&scenario, None)) {
        Err(LabError::NotAllowed { what, mend, .. }) if what.contains("congestion control") => {
            assert_eq!(mend, "sudo modprobe tcp_no-such-control");
        }
        Err(e) => skip("a_congestion_control_that_is_not_there", &e.to_string()),
        Ok(_) => panic!("there is no such congestion control"),
    }
}
