//! By which mechanism lost bytes were repaired: the word that names the loss.

use crate::model::Ns;
use crate::model::tcp::{Cause, Hole, SegmentClass, SegmentRecord, Stall, StallCause};

/// Names a loss by the copies sent again (`resent`, in order of time, the first copy left out),
/// the copy that got through, its hole, and the stalls around it. `probed`: what showed the hole
/// came so late, or was itself sent again, that nothing new can have followed the lost bytes.
pub fn mechanism(
    resent: &[&SegmentRecord],
    through: Option<&SegmentRecord>,
    hole: Option<&Hole>,
    stalls: &[&Stall],
    rtt: Option<Ns>,
    probed: bool,
) -> StallCause {
    if probed && resent.is_empty() {
        return StallCause::LossTail;
    }
    let until = through.map(|t| t.ts);
    let counted = resent.iter().filter(|s| until.is_none_or(|u| s.ts <= u) && s.spurious.is_none());
    let causes: Vec<Cause> = counted.filter_map(|s| s.cause).collect();
    let relost = causes.len() > 1 || through.and_then(|t| t.resend).is_some_and(|r| r > 1);
    let own = through.filter(|t| t.class == SegmentClass::Retransmission).and_then(|t| t.cause);
    if let Some(c) = by_causes(&causes, own, relost) {
        return c;
    }
    let at = through.map(|t| t.ts).or(hole.and_then(|h| h.death));
    if let Some(at) = at
        && let Some(s) = stalls
            .iter()
            .find(|s| is_loss(s.cause) && s.start <= at && s.end.is_none_or(|e| e + Ns::from_millis(5) >= at))
    {
        return s.cause;
    }
    by_shape(hole, rtt)
}

/// From the triggers of the retransmissions, in order of time; `own` is that of the copy that got
/// through, `relost`: the same bytes had to be sent again more than once.
pub fn by_causes(causes: &[Cause], own: Option<Cause>, relost: bool) -> Option<StallCause> {
    let is = |c: Cause| causes.contains(&c) || own == Some(c);
    if is(Cause::Rto) || is(Cause::RtoRecovery) {
        return Some(StallCause::LossRto);
    }
    if is(Cause::Syn) {
        return Some(StallCause::HandshakeLoss);
    }
    match causes.first().copied().or(own)? {
        Cause::Tlp | Cause::Fin => Some(StallCause::LossTail),
        Cause::PathMtu => Some(StallCause::PathMtu),
        Cause::Fast | Cause::PartialAck if relost => Some(StallCause::LostRetransmission),
        Cause::Fast | Cause::PartialAck => Some(StallCause::LossFast),
        _ => None,
    }
}

/// Without a trigger: bytes behind a hole that was mended within a few round trips were the trigger.
fn by_shape(hole: Option<&Hole>, rtt: Option<Ns>) -> StallCause {
    let quick = Ns(rtt.unwrap_or(Ns::ZERO).0.saturating_mul(3)).max(Ns::from_millis(200));
    match hole {
        Some(h) if h.death.is_some_and(|d| d.since(h.birth) < quick) => StallCause::LossFast,
        Some(_) => StallCause::LossRto,
        None => StallCause::LossTail,
    }
}

/// True for the names of losses.
pub fn is_loss(c: StallCause) -> bool {
    use StallCause::*;
    matches!(
        c,
        LossFast
            | LossTail
            | LossRto
            | LostRetransmission
            | BurstLoss
            | HandshakeLoss
            | BlackHole
            | MtuBlackHole
            | PathMtu
            | HostDrop
    )
}
