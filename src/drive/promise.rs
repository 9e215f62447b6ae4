//! Announced runs: the table in which a data connection finds its own, and what is answered to an announcement
//! before it is known whether anybody is there.

use super::clock::Clock;
use super::control::{Answer, Welcome, message_from_hex, to_hex};
use super::job::Job;
use super::seal::{Opening, Sealed};
use super::wire::{Token, WireError};
use crate::model::Ts;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Runs whose data connection has not come yet.
pub(super) type Jobs = Mutex<HashMap<Token, Arc<Job>>>;

/// Takes out the run of a data connection.
pub(super) fn take(jobs: &Jobs, token: &Token) -> Option<Arc<Job>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(token)
}

/// Whom the handshake let in.
#[derive(Debug, Default)]
pub(super) struct Admitted<'a> {
    /// Who he says he is.
    pub(super) user: String,
    /// The answer to what he announced with it.
    pub(super) promise: Option<Promise<'a>>,
}

/// An announcement that was answered. Nothing stays of it when it is dropped, unless the client has shown that it is
/// there ([`Promise::keep`]).
#[derive(Debug)]
pub(super) struct Promise<'a> {
    jobs: &'a Jobs,
    token: Token,
    pub(super) job: Arc<Job>,
    /// What is wanted, below the module's folder.
    path: String,
    /// The data connection's handshake: its first message, in hexadecimal, and what takes the second one.
    hello: Option<String>,
    opening: Option<Opening>,
}

impl<'a> Promise<'a> {
    /// Puts the run into the table.
    pub(super) fn new(
        jobs: &'a Jobs,
        token: Token,
        job: Job,
        path: String,
        opening: Option<(Opening, Vec<u8>)>,
    ) -> Promise<'a> {
        let job = Arc::new(job);
        jobs.lock().unwrap_or_else(PoisonError::into_inner).insert(token, Arc::clone(&job));
        let (opening, hello) = opening.map(|(opening, first)| (opening, to_hex(&first))).unzip();
        Promise { jobs, token, job, path, hello, opening }
    }

    /// The answer.
    pub(super) fn ready(&self, no_capture: Option<String>) -> Answer {
        Answer::Ready {
            token: to_hex(&self.token),
            timeout: self.job.wish.timeout,
            path: self.path.clone(),
            hello: self.hello.clone(),
            no_capture,
        }
    }

    /// The client is there, and has the data connection's handshake answered.
    pub(super) fn keep(&mut self, hello: Option<&str>) -> Result<(), WireError> {
        let seal = self.seal(hello)?;
        self.job.begin(seal);
        Ok(())
    }

    fn seal(&mut self, hello: Option<&str>) -> Result<Option<Sealed>, WireError> {
        let garbage = || WireError::Garbage("a handshake that is none".to_owned());
        match (self.opening.take(), hello) {
            (Some(opening), Some(hello)) => {
                let second = message_from_hex(hello).ok_or_else(garbage)?;
                Ok(Some(opening.finish(&second)?.0))
            }
            (None, None) if self.hello.is_none() => Ok(None),
            _ => Err(garbage()),
        }
    }

    /// Whether its data connection has come; it can no more, if not.
    pub(super) fn is_taken(&self) -> bool {
        take(self.jobs, &self.token).is_none()
    }
}

impl Drop for Promise<'_> {
    fn drop(&mut self) {
        take(self.jobs, &self.token);
        self.job.withdraw();
    }
}

/// What rides in the second message of a handshake.
pub(super) fn welcome(answer: Answer, t1: Ts, clock: &Clock) -> Result<Vec<u8>, WireError> {
    let welcome = Welcome { t1, t2: clock.now(), answer };
    serde_json::to_vec(&welcome).map_err(|e| WireError::Garbage(e.to_string()))
}
