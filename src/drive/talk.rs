//! A scripted talk over the emulated link: two applications, one connection, everything recorded.
//!
//! ```text
//!   end “client”  ─┐  bound   ┌─ end “server”      each a thread in its namespace
//!                  ├──────────┤
//!                  │  go      │   captures on, counters read, kernel trace on
//!    its steps     │          │   its steps
//!                  │  done    │   or the time is over
//!                  │ captures off, then both sockets vanish without a word, counters read
//! ```

mod actor;
mod end;

use super::error::DriveError;
use super::record::{CaptureState, write_json};
use crate::lab::endpoint::Endpoint;
use crate::lab::kernel::{Counted, Kernel};
use crate::lab::live::Lab;
use crate::lab::live::trace::Tracer;
use crate::lab::scenario::Scenario;
use crate::lab::talk::{Family, Talk};
use crate::model::{AppLog, Ns, Side};
use crate::report::{RunEnded, RunHow, record};
use end::{Cmd, End, Said};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How one end's script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "how")]
pub enum Ending {
    /// All steps were done.
    Done,
    /// The time was over in this step, from 1.
    TimeOver {
        /// Which.
        step: usize,
    },
    /// The connection broke in this step, from 1; 0: before the first.
    Broken {
        /// Which.
        step: usize,
        /// In the system's words.
        message: String,
    },
}

/// One end of a talk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndRecord {
    /// Its address.
    pub addr: SocketAddr,
    /// How its script ended.
    pub ending: Ending,
    /// Its capture.
    pub capture: CaptureState,
}

/// A talk that is over; `talk.json` in its record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TalkRecord {
    /// Who connected.
    pub client: EndRecord,
    /// Who listened.
    pub server: EndRecord,
    /// Somebody stopped it.
    pub interrupted: bool,
}

impl TalkRecord {
    /// How it ended, for the report.
    pub fn ended(&self) -> RunEnded {
        let ends = [("client", &self.client.ending), ("server", &self.server.ending)];
        let mut how = RunHow::Done;
        let mut words = Vec::new();
        for (who, ending) in ends {
            match ending {
                Ending::Done => {}
                Ending::TimeOver { step } => {
                    if how == RunHow::Done {
                        how = RunHow::TimedOut;
                    }
                    words.push(format!("the time was over in step {step} of the {who}"));
                }
                Ending::Broken { step, message } => {
                    how = RunHow::Broken;
                    words.push(format!("{who}, step {step}: {message}"));
                }
            }
        }
        if self.interrupted {
            how = RunHow::Interrupted;
        }
        RunEnded { how, message: words.join("; ") }
    }
}

/// Longest that an end may take for anything that is not its script.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs the talk of a scenario over its link and leaves its files in `dir`; `stop` ends it early.
pub fn run_talk(
    lab: &Lab,
    scenario: &Scenario,
    talk: &Talk,
    dir: &Path,
    stop: &Arc<AtomicBool>,
) -> Result<TalkRecord, DriveError> {
    let script = (talk, &scenario.endpoint);
    let server = Handle::start(lab, Side::Server, script, dir, stop)?;
    let client = Handle::start(lab, Side::Client, script, dir, stop)?;
    let both = [&client, &server];
    let (client_addr, server_addr) = (client.bound()?, server.bound()?);
    client.tell(Cmd::Peer(server_addr));
    server.tell(Cmd::Peer(client_addr));
    for end in both {
        end.expect_ready()?;
    }
    let tracer = Tracer::start(client_addr.port(), server_addr.port());
    // The listener first: it is there already, but its clock should not run behind.
    server.tell(Cmd::Go);
    client.tell(Cmd::Go);
    let longest = talk.lasts.0.to_std() + PATIENCE;
    for end in both {
        end.hear(longest)?;
    }
    // What is on its way may still arrive: an ACK, a window update.
    let way = [&scenario.c2s, &scenario.s2c].map(|l| l.delay.0 + l.jitter.0);
    if !stop.load(Ordering::Acquire) {
        std::thread::sleep((way[0] + way[1] + Ns::from_millis(60)).to_std());
    }
    both.iter().for_each(|end| end.tell(Cmd::StopTap));
    for end in both {
        end.hear(PATIENCE)?;
    }
    both.iter().for_each(|end| end.tell(Cmd::Vanish));
    let interrupted = stop.load(Ordering::Acquire);
    let (client, server) = (client.join()?, server.join()?);
    let (resends, resends_why_not) = match tracer.and_then(Tracer::finish) {
        Ok(c) => (Some(c.resends), c.missing),
        Err(why) => (None, Some(why)),
    };
    let counted = |end: &Finished| end.counted.clone();
    let kernel = Kernel { client: counted(&client), server: counted(&server), resends, resends_why_not };
    write_json(&dir.join(record::KERNEL), &kernel)?;
    write_json(&dir.join(record::CLIENT_EVENTS), &client.log)?;
    write_json(&dir.join(record::SERVER_EVENTS), &server.log)?;
    let talked = TalkRecord { client: client.record, server: server.record, interrupted };
    write_json(&dir.join(record::TALK), &talked)?;
    Ok(talked)
}

/// What one end leaves.
struct Finished {
    record: EndRecord,
    log: AppLog,
    counted: Counted,
}

/// One end, as its conductor sees it.
struct Handle {
    side: Side,
    cmds: mpsc::Sender<Cmd>,
    says: mpsc::Receiver<Said>,
    thread: JoinHandle<Result<Finished, DriveError>>,
}

impl Handle {
    fn start(
        lab: &Lab,
        side: Side,
        (talk, set): (&Talk, &Endpoint),
        dir: &Path,
        stop: &Arc<AtomicBool>,
    ) -> Result<Handle, DriveError> {
        let ip = match talk.family {
            Family::V4 => lab.addr(side),
            Family::V6 => lab.addr6(side),
        };
        let (cmds, inbox) = mpsc::channel();
        let (outbox, says) = mpsc::channel();
        let (app, port) = match side {
            Side::Client => (&talk.client, 0),
            Side::Server => (&talk.server, talk.port),
        };
        let end = End {
            side,
            addr: SocketAddr::new(ip, port),
            app: app.clone(),
            set: set.of(side),
            lasts: talk.lasts.0.to_std(),
            dir: dir.to_owned(),
            stop: Arc::clone(stop),
            cmds: inbox,
            says: outbox,
        };
        let name = format!("talk-{}", side.as_str());
        let thread = lab
            .spawn_thread(side, &name, move || end.run())
            .map_err(|e| DriveError::local("cannot start an end of the talk", e))?;
        Ok(Handle { side, cmds, says, thread })
    }

    fn tell(&self, cmd: Cmd) {
        // One that is gone has left its error for `join`.
        let _ = self.cmds.send(cmd);
    }

    fn hear(&self, patience: Duration) -> Result<Said, DriveError> {
        let gone =
            || DriveError::local(format!("the {}'s end of the talk", self.side.as_str()), "it gave up");
        self.says.recv_timeout(patience).map_err(|_| gone())
    }

    fn bound(&self) -> Result<SocketAddr, DriveError> {
        match self.hear(PATIENCE)? {
            Said::Bound(addr) => Ok(addr),
            Said::Failed(e) => Err(e),
            Said::Ready => Err(DriveError::local("the talk", "out of step")),
        }
    }

    fn expect_ready(&self) -> Result<(), DriveError> {
        match self.hear(PATIENCE)? {
            Said::Failed(e) => Err(e),
            _ => Ok(()),
        }
    }

    fn join(self) -> Result<Finished, DriveError> {
        drop(self.cmds);
        let died =
            || Err(DriveError::local(format!("the {}'s end of the talk", self.side.as_str()), "it died"));
        self.thread.join().unwrap_or_else(|_| died())
    }
}
