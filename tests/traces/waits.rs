//! Waits that a repair explains which does not lie in them.

use super::script::trace;
use super::{HELLO, HELLO_AT_SERVER, with};
use syncscope::model::Dir;
use syncscope::model::tcp::{Owner, Stall, StallCause};
use syncscope::tcp::Connection;

fn only(c: &Connection) -> &Stall {
    let [s] = c.stalls.as_slice() else { panic!("{:#?}", c.stalls) };
    s
}

/// A flight without its first segment, and the SACKs for the rest.
const FLIGHT: &str = "
    0.041 c 1:1001
    0.081 s ack 1001
    0.082 c 1001:2001
    0.0821 c 2001:3001
    0.0822 c 3001:4001
    0.0823 c 4001:5001
    0.122 s ack 1001 sack 2001:3001
    0.1221 s ack 1001 sack 2001:4001
    0.1222 s ack 1001 sack 2001:5001
";

/// The repair went out, its ACK was lost, and the delayed ACK of one more segment brought the news.
#[test]
fn a_lost_ack_of_a_repair_was_called_reordering() {
    let c = trace(&with(
        HELLO,
        &(FLIGHT.to_owned()
            + "0.1223 c 1001:2001
               0.1224 c 5001:6001
               0.1625 s ack 1001 sack 2001:6001
               0.1626 c 6001:7001
               0.2626 s ack 7001"),
    ));
    assert_eq!((only(&c).owner, only(&c).cause), (Owner::Network, StallCause::LossFast));
}

/// The only ACK of a flight was lost; a probe with new data called for another, which shows a gap.
#[test]
fn a_probe_with_new_data_that_showed_a_gap_was_of_unknown_cause() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         0.082 c 1001:2001
         0.0821 c 2001:3001
         0.0822 c 3001:4001
         0.182 c 4001:5001
         0.222 s ack 2001 sack 3001:5001
         0.2221 c 2001:3001
         0.2621 s ack 5001",
    ));
    assert_eq!((only(&c).owner, only(&c).cause), (Owner::Network, StallCause::LossTail));
}

/// The only ACK of a flight was lost, and the one that a probe with new data called for acknowledges all of it.
#[test]
fn a_probe_with_new_data_that_brought_a_lost_ack_again_was_of_unknown_cause() {
    let case = |flight: &str| {
        let text = format!(
            "0.041 c 1:1001
             0.081 s ack 1001
             {flight}
             0.182 c 4001:5001
             0.270 s ack 5001"
        );
        let c = trace(&with(HELLO, &text));
        (only(&c).owner, only(&c).cause)
    };
    let flight = "0.082 c 1001:2001\n0.0821 c 2001:3001\n0.0822 c 3001:4001\n";
    assert_eq!(case(flight), (Owner::Network, StallCause::LossTail));
    // After a short segment the application may have written again.
    let short = "0.082 c 1001:2001\n0.0821 c 2001:3001\n0.0822 c 3001:3501\n0.0823 c 3501:4001\n";
    assert_eq!(case(short), (Owner::Unknown, StallCause::Unknown));
}

/// The same, but what came was sooner than any answer to the probe: it had been under way, and nothing was lost.
#[test]
fn an_answer_that_came_before_that_of_the_probe_was_called_a_tail_loss() {
    let case = |probe: &str| {
        let text = format!(
            "0.041 c 1:1001
             0.081 s ack 1001
             0.082 c 1001:2001
             0.0821 c 2001:3001
             0.0822 c 3001:4001
             {probe} c 4001:5001
             0.234 s ack 4001
             0.270 s ack 5001"
        );
        let c = trace(&with(HELLO, &text));
        let first = c.stalls.first().unwrap();
        (first.owner, first.cause)
    };
    assert_eq!(case("0.204"), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(case("0.190"), (Owner::Network, StallCause::LossTail));
}

/// The flight filled the receive buffer. A host without room waits with its ACK, which came after the probe, as fast
/// as ever, and closed the window.
#[test]
fn an_ack_that_a_full_receiver_held_back_was_called_a_delay_spike() {
    let case = |window: u32, sent: u32| {
        let text = format!(
            "0.000 c S mss 1000 sack ts 10,0
             0.040 s S mss 1000 sack ts 500,10
             0.0401 c . ack 1 ts 50,500
             0.500 c 1:1001 ts 510,500
             0.540 s ack 1001 win 3000 ts 1000,510
             0.541 c 1001:2001 ts 551,1000
             0.5411 c 2001:3001 ts 551,1000
             0.5412 c 3001:4001 ts 551,1000
             0.626 c 3001:4001 ts 636,1000
             0.627 s ack 4001 win {window} ts {sent},551
             0.667 s ack 4001 win {window} sack 3001:4001 ts 1127,636
             0.9 s ack 4001 win 8000 ts 1360,636"
        );
        let c = trace(&text);
        let first = c.stalls.get(1).unwrap();
        (first.owner, first.cause)
    };
    assert_eq!(case(0, 1087), (Owner::ReceiverApp, StallCause::ZeroWindow));
    // It has room, or its ACK left long before.
    assert_eq!(case(3000, 1087), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(case(0, 1021), (Owner::Network, StallCause::DelaySpike));
}

/// Without time stamps, at the receiver's tap: the path held a segment and its resend, and let both go at once.
#[test]
fn data_that_came_together_with_its_resend_was_called_a_pause_of_the_application() {
    let case = |again: &str| {
        let text = format!(
            "0.061 c 1:1001
             0.0611 s ack 1001
             0.900 c 1001:2001
             0.9001 c 2001:3001
             0.9002 s ack 3001
             {again}"
        );
        let c = trace(&with(HELLO_AT_SERVER, &text));
        (only(&c).owner, only(&c).cause)
    };
    let both = "0.925 c 2001:3001\n0.9251 s ack 3001 sack 2001:3001\n";
    assert_eq!(case(both), (Owner::Network, StallCause::DelaySpike));
    assert_eq!(case(""), (Owner::SenderApp, StallCause::NoData));
}

/// The same at the receiver's tap: it knows the gap at once, and waits for the probe.
#[test]
fn a_gap_that_waited_for_a_probe_was_called_reordering() {
    let c = trace(&with(
        HELLO_AT_SERVER,
        "0.061 c 1:1001
         0.0611 s ack 1001
         0.102 c 1001:2001
         0.1022 c 3001:4001
         0.1023 s ack 2001 sack 3001:4001
         0.202 c 4001:5001
         0.2021 s ack 2001 sack 3001:5001
         0.2421 c 2001:3001
         0.2422 s ack 5001",
    ));
    let s = c.stalls.first().unwrap();
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::LossFast), "{:#?}", c.stalls);
}

/// A FIN that got lost was sent again by a timer, and nothing came after it.
#[test]
fn a_lost_fin_was_called_a_fast_retransmission() {
    let c = trace(&with(
        HELLO,
        "0.041 c 1:1001
         0.081 s ack 1001
         0.082 c F 1001:1001
         0.330 c F 1001:1001
         0.370 s F ack 1002
         0.371 c ack 2",
    ));
    let s = c.stalls.first().unwrap();
    assert_eq!((s.owner, s.cause), (Owner::Network, StallCause::LossTail), "{:#?}", c.stalls);
}

/// A real one: the client's last words and its FIN, and four minutes later the server's.
#[test]
fn a_server_that_closed_long_after_its_client_was_called_slow() {
    let case = |asked: &str| {
        let c = trace(&with(
            HELLO,
            &format!(
                "{asked}
                 1.041 c 101:132
                 1.042 c F 132:132
                 1.082 s ack 133
                 240.0 s F 1001:1032
                 240.04 c ack 1033"
            ),
        ));
        c.stalls.iter().filter(|s| s.dir == Dir::S2c).map(|s| s.cause).collect::<Vec<_>>()
    };
    // Asked and closed at once (`nc -N`): it owes the answer.
    assert_eq!(case("0.041 c 1:101"), [StallCause::NoData]);
    let answered = "0.041 c 1:101
                    0.081 s 1:1001 ack 101
                    0.0811 c ack 1001";
    assert_eq!(case(answered), [StallCause::WaitingForPeer]);
}
