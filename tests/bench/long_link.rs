//! 1,000 small files over the emulated link: 100 ms there and back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder in memory that goes with its owner.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Seconds of a client's command over the link; none where the link cannot be made.
fn over_the_link(dir: &Path, loss: f64, seed: usize, server: &str, client: &str) -> Option<f64> {
    let scenario = dir.join("link.toml");
    let way = format!("delay = \"50ms\"\nloss = {loss}\n");
    fs::write(
        &scenario,
        format!(
            "name = \"link\"\nabout = \"a long way\"\nseed = {seed}\nmtu = 1500\n[c2s]\n{way}[s2c]\n{way}"
        ),
    )
    .unwrap();
    let times = dir.join("times");
    let timed = format!(
        "date +%s.%N >{0}; {client} >/dev/null 2>{1}; date +%s.%N >>{0}",
        times.display(),
        dir.join("said").display()
    );
    let out = Command::new(env!("CARGO_BIN_EXE_syncscope"))
        .args(["lab", "--scenario"])
        .arg(&scenario)
        .args(["--server", server, "--", "sh", "-c", &timed])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let moments: Vec<f64> = fs::read_to_string(&times).ok()?.lines().map(|l| l.parse().unwrap()).collect();
    if moments.len() != 2 {
        println!("SKIPPED: {}", String::from_utf8_lossy(&out.stderr));
        return None;
    }
    Some(moments[1] - moments[0])
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// The table.
pub fn run(rounds: usize) {
    let dir = PathBuf::from("/dev/shm").join(format!("syncscope-link-{}", std::process::id()));
    fs::create_dir_all(dir.join("dest")).unwrap();
    let scratch = Scratch(dir);
    let dir = &scratch.0;
    for i in 0..1000usize {
        let sub = dir.join("tree").join(format!("{}", i / 100));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join(format!("{i}.dat")), super::noise::noise(i as u64, 200 + i)).unwrap();
    }
    let config = dir.join("rsyncd.conf");
    let dest = dir.join("dest");
    fs::write(
        &config,
        format!(
            "port = 8731\nuse chroot = no\nuid = 0\ngid = 0\n[m]\npath = {}\nread only = no\n",
            dest.display()
        ),
    )
    .unwrap();
    let program = env!("CARGO_BIN_EXE_syncscope");
    let (tree, to) = (dir.join("tree").display().to_string(), dest.display().to_string());
    let theirs = (
        format!("exec rsync --daemon --no-detach --config {}", config.display()),
        format!("rsync -a {tree}/ rsync://$SYNCSCOPE_SERVER_ADDR:8731/m/"),
    );
    let record = dir.join("record").display().to_string();
    // Beyond loopback nothing is served without one, so that ours also shakes hands and encrypts.
    let secret = dir.join("secret");
    fs::write(&secret, "thirty-two bytes, none of them random").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let secret = secret.display();
    let ours = (
        format!(
            "exec {program} serve --no-capture --secret-file {secret} --listen $SYNCSCOPE_SERVER_ADDR:8730 {to}"
        ),
        format!(
            "rm -rf {record}; {program} sync --no-capture --fail-on never --format json --secret-file {secret} --record {record} {tree} \
             $SYNCSCOPE_SERVER_ADDR:8730:"
        ),
    );
    println!(
        "1,000 files of 0.2 to 1.2 kB over 100 ms there and back; {rounds} rounds; seconds of the whole command"
    );
    println!("{:<34} {:>8} {:>8}  {:>7}  round trips: rsync, ours", "", "rsync", "ours", "ratio");
    for (what, loss, fresh) in [
        ("push", 0.0, true),
        ("nothing to do", 0.0, false),
        ("push, 1 % loss each way", 0.01, true),
        ("nothing to do, 1 % loss each way", 0.01, false),
    ] {
        let mut seconds = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            for (side, (server, client)) in [&theirs, &ours].into_iter().enumerate() {
                if fresh {
                    fs::remove_dir_all(&dest).unwrap();
                    fs::create_dir_all(&dest).unwrap();
                }
                let Some(s) = over_the_link(dir, loss, round + 1, server, client) else { return };
                assert_eq!(
                    walkdir::WalkDir::new(&dest).into_iter().count(),
                    1011,
                    "{}",
                    fs::read_to_string(dir.join("said")).unwrap()
                );
                seconds[side].push(s);
            }
        }
        let [theirs, ours] = seconds.map(median);
        let trips =
            if loss == 0.0 { format!("{:.1}, {:.1}", theirs / 0.1, ours / 0.1) } else { String::new() };
        println!("{what:<34} {theirs:>8.2} {ours:>8.2}  {:>7.2}  {trips}", ours / theirs);
    }
}
