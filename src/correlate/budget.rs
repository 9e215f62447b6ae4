//! The stop watch of one read: parts handed out from its start to its end, so that they add up to
//! the wait in whole nanoseconds whatever the evidence says.
//!
//! ```text
//!  start                                                              end
//!    ├─ peer-app ─┼ send-queue ┼─ transit ─┼─── loss-recovery ───┼ local ┤
//!  began      written        sent      expected             contiguous returned
//! ```

use crate::model::{Span, Ts};
use crate::report::{Budget, BudgetStep};

/// A part of the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The peer had not written the bytes.
    PeerApp,
    /// Written, held by the sender's TCP.
    SendQueue,
    /// Held by the receive window.
    Window,
    /// On the path.
    Transit,
    /// Lost, until the repair arrived.
    LossRecovery,
    /// The original came late.
    Reordering,
    /// In the receive buffer.
    LocalDelivery,
    /// Not known.
    Unknown,
}

impl Part {
    /// Its name in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Part::PeerApp => "peer-app",
            Part::SendQueue => "send-queue",
            Part::Window => "window",
            Part::Transit => "transit",
            Part::LossRecovery => "loss-recovery",
            Part::Reordering => "reordering",
            Part::LocalDelivery => "local-delivery",
            Part::Unknown => "unknown",
        }
    }

    fn slot(self, b: &mut Budget) -> &mut crate::model::Ns {
        match self {
            Part::PeerApp => &mut b.peer_app,
            Part::SendQueue => &mut b.send_queue,
            Part::Window => &mut b.window,
            Part::Transit => &mut b.transit,
            Part::LossRecovery => &mut b.loss_recovery,
            Part::Reordering => &mut b.reordering,
            Part::LocalDelivery => &mut b.local_delivery,
            Part::Unknown => &mut b.unknown,
        }
    }
}

/// The stop watch. Boundaries that lie before its hand or after its end are clamped.
#[derive(Clone, Debug)]
pub struct StopWatch {
    hand: Ts,
    end: Ts,
    last: String,
    budget: Budget,
    steps: Vec<BudgetStep>,
}

impl StopWatch {
    /// Starts it at the beginning of a read.
    pub fn start(span: Span) -> StopWatch {
        StopWatch {
            hand: span.start,
            end: span.end,
            last: "the read began".to_owned(),
            budget: Budget::default(),
            steps: Vec::new(),
        }
    }

    /// Where its hand stands.
    pub fn hand(&self) -> Ts {
        self.hand
    }

    /// Gives the time up to `at` to `part`; `event` happened then.
    pub fn to(&mut self, part: Part, at: Ts, event: impl Into<String>) {
        let at = at.min(self.end);
        if at <= self.hand {
            return;
        }
        let event = event.into();
        let span = Span { start: self.hand, end: at };
        *part.slot(&mut self.budget) += span.len();
        self.steps.push(BudgetStep {
            part: part.as_str().to_owned(),
            span,
            from: std::mem::replace(&mut self.last, event.clone()),
            to: event,
        });
        self.hand = at;
    }

    /// Gives the rest to `part` and returns the parts.
    pub fn stop(mut self, part: Part) -> (Budget, Vec<BudgetStep>) {
        self.to(part, self.end, "the read returned");
        if let Some(s) = self.steps.last_mut() {
            s.to = "the read returned".to_owned();
        }
        (self.budget, self.steps)
    }
}
