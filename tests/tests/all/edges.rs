//! What the peer port does with what it cannot attribute, and with what is too large, too much or too slow: it is cut off
//! at the limits that docs/protocol.md gives, leaves nothing in the evidence, and keeps nobody else waiting.

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use proto::exchange::v1::Verdict;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};
use tonic::Code;

use crate::support::{
    MARRIED, Place, marital_status,
    peer::{HandMadePeer, connector, envelope_in},
    verdict,
};

/// A second on top of each limit for a busy machine, and more: what must not happen is that it never ends.
const MARGIN: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn the_peer_port_holds_off_what_it_cannot_attribute_and_what_is_too_much() {
    let place = Place::civil_affairs_and_housing().await;
    // Who reads nothing is waited for, for half a minute; meanwhile everybody else is served, and may do his worst.
    let others = async {
        Box::pin(garbage_is_not_answered_and_not_recorded(&place)).await;
        Box::pin(a_message_that_is_too_large_gets_a_bare_status(&place)).await;
        Box::pin(a_flood_of_half_open_connections_keeps_nobody_waiting(&place)).await;
        Box::pin(rubbish_over_a_good_connection_is_limited_in_its_rate(&place)).await;
    };
    tokio::join!(Box::pin(a_slow_reader_is_cut_off(&place)), Box::pin(others));
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
}

async fn garbage_is_not_answered_and_not_recorded(place: &Place) {
    let address = place.town.node("civil-affairs").peer_address();
    let before = place.evidence_size("civil-affairs").await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: node\r\n\r\n"[..], &[0; 4096], &[0x16, 3, 1, 0xff, 0xff, 1, 2, 3]] {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // An alert at most; or the connection is reset.
        let read = tokio::time::timeout(Duration::from_secs(5) + MARGIN, stream.read_to_end(&mut answer)).await;
        read.expect("the connection is closed").ok();
        assert!(answer.len() < 64, "{answer:?}");
    }
    assert_eq!(place.evidence_size("civil-affairs").await, before);
}

async fn a_flood_of_half_open_connections_keeps_nobody_waiting(place: &Place) {
    let address = place.town.node("civil-affairs").peer_address();
    let mut silent = Vec::new();
    // More than may be half open at once, and from several addresses, for there is a limit for each of them as well.
    for number in 0..400_u32 {
        let socket = TcpSocket::new_v4().unwrap();
        let from = Ipv4Addr::new(127, 0, 0, if number % 2 == 0 { 2 } else { 3 });
        socket.bind((from, 0).into()).unwrap();
        silent.push(socket.connect(address.parse().unwrap()).await.unwrap());
    }
    let started = Instant::now();
    // A new connection among them, from the peer that has none yet.
    assert_eq!(verdict(&place.ask(marital_status(&MARRIED, "married")).await).verdict(), Verdict::Match);
    // Each of the silent ones is cut off after the 5 seconds that a handshake may take.
    for mut stream in silent {
        let read = tokio::time::timeout(Duration::from_secs(5) + MARGIN, stream.read(&mut [0; 16])).await;
        assert!(matches!(read.expect("a silent connection is cut off"), Ok(0) | Err(_)));
    }
    assert!(started.elapsed() < Duration::from_secs(5) + MARGIN);
}

async fn a_message_that_is_too_large_gets_a_bare_status(place: &Place) {
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let before = place.evidence_size("civil-affairs").await;
    let mut request = peer.question(&MARRIED);
    request.case_number = "x".repeat(100_000);
    let status = peer.send(peer.seal(&request)).await.unwrap_err();
    assert!(matches!(status.code(), Code::OutOfRange | Code::ResourceExhausted), "{status:?}");
    assert_eq!(place.evidence_size("civil-affairs").await, before);
    peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
}

async fn rubbish_over_a_good_connection_is_limited_in_its_rate(place: &Place) {
    let peer = HandMadePeer::new(&place.town, "housing", "civil-affairs").await;
    let before = place.evidence_size("civil-affairs").await;
    let started = Instant::now();
    let (mut refused, mut bare) = (0, 0);
    for _ in 0..60 {
        let mut rubbish = peer.seal(&peer.question(&MARRIED));
        envelope_in(&mut rubbish).signatures[0].sig = vec![1; 64];
        match peer.send(rubbish).await {
            Ok(_) => refused += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                bare += 1;
            }
        }
    }
    // 10 a second of them get a signed refusal, and a place in the evidence.
    let most = 10 * (started.elapsed().as_secs() + 2);
    assert!(bare > 0 && refused > 0 && refused <= most, "{refused} refused, {bare} bare");
    assert_eq!(place.evidence_size("civil-affairs").await, before + 2 * refused);
    // Good questions are not counted among them.
    let answer = peer.answer_to(peer.seal(&peer.question(&MARRIED))).await;
    assert!(matches!(answer.outcome, Some(proto::exchange::v1::answer::Outcome::Verdicts(_))));
}

/// A peer that asks and asks and never reads what it gets: once nothing moves any more, it is cut off.
async fn a_slow_reader_is_cut_off(place: &Place) {
    let node = place.town.node("civil-affairs");
    let keys = exchange_node::keys::NodeKeys::read(place.town.node("housing").dir()).unwrap();
    let mut stream = connector(node, Some(&keys.tls)).connect().await.unwrap();
    // HTTP/2 by hand: the preface, empty settings, and then pings, each of which must be answered.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00").await.unwrap();
    let pings = b"\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678".repeat(512);
    let started = Instant::now();
    let mut written = 0;
    let ended = tokio::time::timeout(Duration::from_secs(45) + MARGIN, async {
        while stream.write_all(&pings).await.is_ok() && stream.flush().await.is_ok() {
            written += pings.len();
        }
    })
    .await;
    println!("{written} bytes of pings in {:?}", started.elapsed());
    ended.expect("a peer that reads nothing is cut off");
}
