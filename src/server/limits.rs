//! How long each stage of a connection may take, and which connection loses its place when
//! there are too many.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;

use super::socket::{Ending, Stage};
use super::unserved::Unserved;

/// How often the clock ticks. Deadlines are as exact as that, but for connections at
/// [rest](super::tick_clock).
pub(super) const TICK_MS: u32 = 200;
/// How long a client may be silent or slow, if others wait for its place; a dispatcher's client is
/// parked after it.
pub(super) const SLOW_AFTER: u32 = ticks(1_000);
/// How long a client may take to send a head.
const HEAD: u32 = ticks(5_000);
/// How long it may take to send a body: a second more than a service waits for one, so that the
/// service's answer is sent first.
const BODY: u32 = ticks(6_000);
/// How long it may take to read what is written at once, which is a piece of a large answer.
const UNREAD: u32 = ticks(10_000);
/// How long a request may wait for a turn: half of a front-end's deadline.
const QUEUED: u32 = ticks(5_000);
/// How long it may rest between two requests: longer than any client here keeps an idle connection
/// (15 s, `transport/http.rs`) and than common load balancers do (60 s), so that it is the client
/// who closes.
const KEEP_ALIVE: u32 = ticks(75_000);
/// How long it may take to read the last answer.
const CLOSING: u32 = ticks(1_000);
/// Sockets that are ended at once: making room costs a look at all of them.
pub(super) const BATCH: usize = 32;

/// A machine or, for IPv6, the network of 2^64 addresses that one customer of a provider has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PeerHost(IpAddr);

/// A socket that may be ended for another.
pub(super) struct Occupant<T> {
    pub(super) host: PeerHost,
    pub(super) stage: Stage,
    pub(super) age: u32,
    pub(super) socket: T,
}

/// Ticks in that many milliseconds.
const fn ticks(milliseconds: u32) -> u32 {
    milliseconds / TICK_MS
}

/// How many ticks a stage may take, and how it ends then. A service has limits of its own. A server
/// that stops does not wait for clients that neither send nor read.
pub(super) fn deadline(stage: Stage, stops: bool) -> Option<(u32, Ending)> {
    let late = Ending::Answer(Unserved::Late);
    Some(match stage {
        Stage::New | Stage::Head => (HEAD, late),
        Stage::Body | Stage::Unread | Stage::Closing if stops => (1, Ending::Close),
        Stage::Body => (BODY, Ending::Close),
        Stage::Unread => (UNREAD, Ending::Close),
        Stage::Queued => (QUEUED, Ending::Answer(Unserved::Busy)),
        Stage::Idle => (KEEP_ALIVE, Ending::Close),
        Stage::Closing => (CLOSING, Ending::Close),
        Stage::Served => return None,
    })
}

/// Whether a dispatcher has nothing to do for a socket that it could not do later. A head that came
/// in part is held in the socket.
pub(super) fn may_park(stage: Stage, age: u32) -> bool {
    stage == Stage::Head || stage == Stage::Idle && age >= SLOW_AFTER
}

/// Chooses whom to end for one of `newcomer`, out of the `occupants` that `may_end`.
pub(super) fn choose<T>(
    occupants: Vec<Occupant<T>>,
    newcomer: PeerHost,
    may_end: impl Fn(&Occupant<T>) -> bool,
) -> Vec<Occupant<T>> {
    let mut shares: HashMap<PeerHost, usize> = HashMap::new();
    for occupant in &occupants {
        *shares.entry(occupant.host).or_default() += 1;
    }
    let share = |host: PeerHost| shares.get(&host).copied().unwrap_or_default();
    let (slow, quick): (Vec<_>, Vec<_>) =
        occupants.into_iter().filter(may_end).partition(|one| one.age >= SLOW_AFTER);
    let greediest = |of: &[Occupant<T>]| of.iter().map(|one| one.host).max_by_key(|h| share(*h));
    let (mut chosen, host, most) = if let Some(host) = greediest(&slow) {
        (slow, host, BATCH)
    } else if let Some(host) = greediest(&quick)
        && share(host) > share(newcomer) + 1
    {
        (quick, host, (share(host) - share(newcomer)) / 2)
    } else {
        return Vec::new();
    };
    chosen.retain(|one| one.host == host);
    chosen.sort_by_key(|one| (one.stage, Reverse(one.age)));
    chosen.truncate(most.min(BATCH));
    chosen
}

impl From<IpAddr> for PeerHost {
    fn from(address: IpAddr) -> Self {
        /// The part of an IPv6 address that names a network.
        const NETWORK: u128 = !0 << 64;
        Self(match address.to_canonical() {
            IpAddr::V6(address) => IpAddr::V6((u128::from(address) & NETWORK).into()),
            v4 @ IpAddr::V4(_) => v4,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn host(number: u8) -> PeerHost {
        PeerHost::from(std::net::IpAddr::from(Ipv4Addr::new(10, 0, 0, number)))
    }

    fn occupant(host_number: u8, stage: Stage, age: u32, name: usize) -> Occupant<usize> {
        Occupant { host: host(host_number), stage, age, socket: name }
    }

    fn chosen(occupants: Vec<Occupant<usize>>, newcomer: u8) -> Vec<usize> {
        let chosen = choose(occupants, host(newcomer), |one| one.stage < Stage::Served);
        chosen.into_iter().map(|one| one.socket).collect()
    }

    #[test]
    fn the_slow_of_the_greediest_go_first_and_heads_before_the_idle() {
        let occupants = vec![
            occupant(1, Stage::Idle, 90, 0),
            occupant(1, Stage::Head, SLOW_AFTER, 1),
            occupant(1, Stage::Head, SLOW_AFTER + 1, 2),
            occupant(1, Stage::Served, 90, 3),
            occupant(1, Stage::Head, SLOW_AFTER - 1, 4),
            occupant(2, Stage::Head, 90, 5),
        ];
        assert_eq!(chosen(occupants, 1), [2, 1, 0]);
    }

    #[test]
    fn where_all_are_quick_a_host_with_fewer_takes_from_the_one_with_most() {
        let quick = || (0..8).map(|name| occupant(1, Stage::Idle, 0, name)).collect::<Vec<_>>();
        assert_eq!(chosen(quick(), 2).len(), 4, "each has half then");
        assert!(chosen(quick(), 1).is_empty(), "its own connections are kept");
        let one_each = (1..8).map(|number| occupant(number, Stage::Idle, 0, 0)).collect();
        assert!(chosen(one_each, 9).is_empty(), "none has more than its share");
    }

    #[test]
    fn what_is_served_is_never_ended() {
        let served = (0..8).map(|name| occupant(1, Stage::Served, 90, name)).collect();
        assert!(chosen(served, 2).is_empty());
    }

    #[test]
    fn every_stage_but_the_service_has_a_deadline() {
        for stage in [
            Stage::New,
            Stage::Head,
            Stage::Body,
            Stage::Unread,
            Stage::Queued,
            Stage::Idle,
            Stage::Closing,
        ] {
            let (usual, _) = deadline(stage, false).unwrap();
            let (short, _) = deadline(stage, true).unwrap();
            assert!((1..=KEEP_ALIVE).contains(&usual) && short <= usual, "{stage:?}");
        }
        assert_eq!(deadline(Stage::Served, true), None);
    }

    #[test]
    fn a_host_is_an_address_or_a_network_of_ipv6() {
        let host = |text: &str| PeerHost::from(text.parse::<std::net::IpAddr>().unwrap());
        assert_eq!(host("10.0.0.1"), host("::ffff:10.0.0.1"));
        assert_ne!(host("10.0.0.1"), host("10.0.0.2"));
        assert_eq!(host("2001:db8::1"), host("2001:db8::ffff:2"));
        assert_ne!(host("2001:db8::1"), host("2001:db8:0:1::1"));
    }
}
