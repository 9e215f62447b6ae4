//! The seven errors of a field report, which rsync tells as `error in rsync protocol data stream (code 12)` and the like:
//! each says here what is wrong and what to do.

use crate::door::{impostor, options, ready, run, scene, secret, serving, syncscope, with_secret};
use crate::rig::noise;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use syncscope::drive::control::{Answer, Ask};
use syncscope::drive::gate::{Access, network};
use syncscope::drive::{Mode, Observer, Progress, RunEnd, ServeOptions, SyncOptions, run_sync};

fn says(said: &str, all: &[&str]) {
    for words in all {
        assert!(said.contains(words), "no {words:?} in: {said}");
    }
}

#[test]
fn error_1_a_wrong_password() {
    let (dir, source, dest) = scene();
    serving(&source, with_secret("right"), |addr, _| {
        let wrong =
            SyncOptions { secret: Some(secret("wrong")), ..options(addr, Mode::Pull, &dest, dir.path()) };
        says(&run(&wrong).unwrap_err().to_string(), &["the same secret"]);
        let none = options(addr, Mode::Pull, &dest, dir.path());
        says(&run(&none).unwrap_err().to_string(), &["asks for a secret", "--secret-file FILE"]);
    });
}

#[test]
fn error_2_a_password_file_that_others_can_read() {
    let (dir, ..) = scene();
    let file = dir.path().join("secret");
    fs::write(&file, "a secret of enough bytes").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let file = file.to_str().unwrap();
    let out = syncscope(&["sync", "--secret-file", file, dir.path().to_str().unwrap(), "127.0.0.1:1:"]);
    assert_eq!(out.0, Some(2));
    says(&out.1, &["its mode is 0644", &format!("chmod 600 {file}")]);
}

#[test]
fn error_3_the_folder_that_is_to_be_served_is_not_there() {
    let (dir, source, _) = scene();
    let missing = dir.path().join("missing");
    let missing = missing.to_str().unwrap();
    let out = syncscope(&["serve", "--listen", "127.0.0.1:0", missing]);
    assert_eq!(out.0, Some(2));
    says(&out.1, &["there is no such folder", &format!("mkdir -p '{missing}'")]);
    let out = syncscope(&["serve", "--listen", "127.0.0.1:0", source.join("c").to_str().unwrap()]);
    says(&out.1, &["not a folder"]);
}

/// The other ways not to reach a host are told apart in `src/drive/error.rs`.
#[test]
fn error_4_nobody_is_reached() {
    let (dir, source, _) = scene();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let e = run(&options(free, Mode::Push, &source, dir.path())).unwrap_err().to_string();
    says(&e, &["nobody listens on that port", &format!("syncscope serve --listen {free}")]);
}

#[test]
fn error_5_an_address_that_is_not_admitted() {
    let (dir, source, dest) = scene();
    let access = Access { allow: vec![network("10.0.0.0/8").unwrap()], deny: vec![] };
    serving(&source, ServeOptions { access, ..ServeOptions::default() }, |addr, said| {
        let e = run(&options(addr, Mode::Pull, &dest, dir.path())).unwrap_err().to_string();
        says(&e, &["does not admit this host's address", "--allow"]);
        says(&said.lock().unwrap().join("; "), &["127.0.0.1", "its address is not admitted"]);
    });
}

/// Stops a server once its run has begun.
struct Stopper<'a>(&'a AtomicBool);

impl Observer for Stopper<'_> {
    fn progress(&mut self, _: &Progress) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn error_6_the_server_is_stopped_meanwhile() {
    let (dir, source, dest) = scene();
    fs::write(source.join("large"), noise(4, 3_000_000)).unwrap();
    let server =
        syncscope::drive::Server::bind("127.0.0.1:0".parse().unwrap(), &source, ServeOptions::default())
            .unwrap();
    let stop = AtomicBool::new(false);
    let record = std::thread::scope(|s| {
        s.spawn(|| server.run(&stop));
        let slow = SyncOptions {
            bwlimit: Some(200_000),
            timeout: Duration::from_secs(20),
            ..options(server.addr(), Mode::Pull, &dest, dir.path())
        };
        let record = run_sync(&slow, &AtomicBool::new(false), &mut Stopper(&stop)).unwrap();
        stop.store(true, Ordering::Relaxed);
        record
    });
    assert!(matches!(record.end, RunEnd::Broken(_) | RunEnd::Failed(_)), "{:?}", record.end);
    let said = format!("{} {}", record.end.sentence(), record.errors.join("; "));
    says(&said, &["the server was stopped", "start it again"]);
}

/// The client waited for its whole time-out where the server had not yet taken the data connection.
#[test]
fn error_6_a_server_that_says_that_it_gives_up_is_believed_before_the_data_connection_is_taken() {
    let (dir, source, _) = scene();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let record = std::thread::scope(|s| {
        s.spawn(|| {
            impostor(&listener, None, |ask| match ask {
                Ask::Prepare(wish) => ready(wish.timeout),
                _ => Answer::Refused { message: "the server was stopped there".to_owned() },
            });
        });
        let patient = SyncOptions {
            timeout: Duration::from_secs(60),
            ..options(addr, Mode::Push, &source, dir.path())
        };
        run(&patient).unwrap()
    });
    let RunEnd::Broken(why) = &record.end else { panic!("{:?}", record.end) };
    says(why, &["the server gave up: the server was stopped there"]);
}

#[test]
fn error_7_there_is_nothing_in_the_source() {
    let (dir, source, dest) = scene();
    serving(&source, ServeOptions::default(), |addr, _| {
        let pull =
            SyncOptions { remote_path: "no/such".to_owned(), ..options(addr, Mode::Pull, &dest, dir.path()) };
        let record = run(&pull).unwrap();
        says(&record.end.sentence(), &["no/such", "No such file or directory"]);
        let empty = dir.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let record = dir.path().join("second");
        let out = syncscope(&[
            "sync",
            "--no-capture",
            "--format",
            "text",
            "--record",
            record.to_str().unwrap(),
            empty.to_str().unwrap(),
            &format!("{addr}:"),
        ]);
        says(&out.1, &["the source has no files: is it the right folder"]);
    });
}
