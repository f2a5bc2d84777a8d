//! Who may connect, who is served, and when a connection ends: one thread's share of both.
//!
//! Two things are scarce: open files, of which each socket is one, and memory, most of which is the
//! dispatchers'. (How the thread's time is shared is in [`lines`](super::lines).) So a thread has a
//! number of places for sockets, and a smaller one of turns for dispatchers. While there are
//! enough, everyone has what it asks for, however much that is. Otherwise,
//!
//! - a socket that has kept the server waiting for a second loses its place, slow heads first; it
//!   belongs to the host that has most places among those that have such a socket;
//! - without such a socket, the host that has most places loses some of them to one that has fewer;
//! - a newcomer from the host that has most is answered 503;
//! - turns go round among the hosts that wait for one.
//!
//! A socket on which the store's secret has come keeps its place. So that another role can show it,
//! one request of a newcomer is read even if there is no place, and some turns are set aside for
//! paths between roles, where a caller without the secret is refused at once.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};

use super::answer::count_rests;
use super::limits::{BATCH, Occupant, PeerHost, SLOW_AFTER, choose, deadline, may_park};
use super::queue::Queue;
use super::socket::{Ending, Holder, Load, PeerKind, Socket, Stage};
use super::stream::Stream;
use super::tick_clock::Pace;
use super::unserved::Unserved;

/// Bytes held for all clients but the one for which most is held, beyond which sockets that make no
/// progress are closed.
const SOFT_LIMIT: usize = 2 << 20;
/// Bytes beyond which any socket may be.
pub(super) const HARD_LIMIT: usize = 6 << 20;
/// What is held for a socket that is worth closing.
const LEAST_WORTH_CLOSING: usize = 4 << 10;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(super) struct Supply {
    /// Places of sockets.
    pub(super) places: usize,
    /// Newcomers without a place of whom one request is read.
    pub(super) surplus: usize,
    /// Turns.
    pub(super) turns: usize,
    /// Turns that are set aside for paths between roles.
    pub(super) set_aside: usize,
}

/// The sockets of one thread.
pub(super) struct Slots {
    supply: Supply,
    pub(super) load: Rc<Load>,
    sockets: RefCell<Vec<Rc<Socket>>>,
    surplus: RefCell<VecDeque<Weak<Socket>>>,
    /// For whom no room could be made, and when.
    in_vain: Cell<Option<(PeerHost, u32)>>,
    turns: Cell<usize>,
    queue: RefCell<Queue<Weak<Socket>>>,
}

impl Supply {
    /// The supply of a thread that accepts at most `connections` and that is one of `workers`.
    pub(super) fn new(connections: usize, workers: usize) -> Self {
        /// Dispatchers of a process, each with 20 to 40 KiB: half as many again as the purchases
        /// and queries that a front-end has under way.
        const MOST_TURNS: usize = 1_536;
        /// With many threads, each has this many nevertheless.
        const LEAST_TURNS: usize = 512;
        // As many again are between being told to end and being closed.
        let surplus = (connections / 8).clamp(4, BATCH).min(connections / 4).max(1);
        let places = connections.saturating_sub(2 * surplus).max(1);
        let turns = (MOST_TURNS / workers).max(LEAST_TURNS);
        Self { places, surplus, turns, set_aside: turns / 8 }
    }
}

impl Slots {
    pub(super) fn new(supply: Supply) -> Self {
        Self {
            supply,
            load: Rc::new(Load { most: Cell::new(HARD_LIMIT), ..Load::default() }),
            sockets: RefCell::default(),
            surplus: RefCell::default(),
            in_vain: Cell::new(None),
            turns: Cell::new(0),
            queue: RefCell::default(),
        }
    }

    /// Takes an accepted socket in, and ends others for it if need be.
    pub(super) fn admit(&self, stream: Stream, host: PeerHost) -> Rc<Socket> {
        self.load.clock.rouse();
        let socket = Rc::new(Socket::new(stream, host, Rc::clone(&self.load)));
        if self.load.places.get() < self.supply.places || self.make_room(host) {
            self.load.places.set(self.load.places.get() + 1);
        } else {
            socket.peer_kind.set(PeerKind::Surplus);
            self.add_surplus(&socket);
        }
        let mut sockets = self.sockets.borrow_mut();
        socket.index.set(sockets.len());
        sockets.push(Rc::clone(&socket));
        if self.load.clock.is_stopping() {
            socket.end(Ending::Close);
        }
        drop(sockets);
        socket
    }

    /// Lets a socket go that has ended.
    pub(super) fn leave(&self, socket: &Socket) {
        socket.end(Ending::Close);
        let mut sockets = self.sockets.borrow_mut();
        let index = socket.index.get();
        sockets.swap_remove(index);
        if let Some(moved) = sockets.get(index) {
            moved.index.set(index);
        }
    }

    /// Gives a socket a place, if it has none and there is one. Returns whether it has one.
    pub(super) fn take_place(&self, socket: &Socket) -> bool {
        if !socket.is_surplus() {
            return true;
        }
        let is_free = self.load.places.get() < self.supply.places;
        if is_free {
            self.load.places.set(self.load.places.get() + 1);
            socket.peer_kind.set(PeerKind::Stranger);
        }
        is_free
    }

    fn add_surplus(&self, socket: &Rc<Socket>) {
        let mut surplus = self.surplus.borrow_mut();
        surplus.retain(|other| other.upgrade().is_some_and(|other| other.is_surplus()));
        surplus.push_back(Rc::downgrade(socket));
        if surplus.len() > self.supply.surplus
            && let Some(oldest) = surplus.pop_front().and_then(|oldest| oldest.upgrade())
        {
            oldest.end(Ending::Answer(Unserved::Busy));
        }
    }

    /// Ends sockets so that one of `newcomer` has a place.
    fn make_room(&self, newcomer: PeerHost) -> bool {
        let this_time = Some((newcomer, self.load.clock.now()));
        if self.in_vain.get() == this_time {
            return false;
        }
        let found = self.end_for(newcomer, |socket, stage| {
            socket.peer_kind.get() == PeerKind::Stranger && stage < Stage::Served
        });
        if !found {
            self.in_vain.set(this_time);
        }
        found
    }

    /// Ends some of those that `may_end` for one of `newcomer`.
    fn end_for(&self, newcomer: PeerHost, may_end: impl Fn(&Socket, Stage) -> bool) -> bool {
        let sockets = self.sockets.borrow();
        let live = sockets.iter().filter(|socket| socket.ending().is_none());
        let occupants = live.map(|socket| Occupant {
            host: socket.host,
            stage: socket.stage(),
            age: socket.age(),
            socket,
        });
        let chosen = choose(occupants.collect(), newcomer, |one| may_end(one.socket, one.stage));
        for one in &chosen {
            one.socket.end(Ending::Close);
        }
        !chosen.is_empty()
    }

    /// Asks for a turn. Returns whether there is one; else the socket is in the queue, and woken
    /// when it has one.
    pub(super) fn ask_for_turn(&self, socket: &Rc<Socket>, is_between_roles: bool) -> bool {
        let is_between_roles = is_between_roles || socket.peer_kind.get() == PeerKind::Role;
        let set_aside = if is_between_roles { self.supply.set_aside } else { 0 };
        if self.turns.get() < self.supply.turns + set_aside {
            self.turns.set(self.turns.get() + 1);
            socket.holder.set(Holder::Dispatcher);
            return true;
        }
        socket.holder.set(Holder::Queue);
        let waiting = Rc::downgrade(socket);
        let is_first = if is_between_roles {
            self.queue.borrow_mut().push_role(waiting);
            true
        } else {
            self.queue.borrow_mut().push(socket.host, waiting)
        };
        let queued = self.load.queued.get() + 1;
        self.load.queued.set(queued);
        if is_first || queued.is_multiple_of(BATCH) {
            self.free_turns(socket.host);
        }
        false
    }

    /// Takes turns from those that do not use them.
    fn free_turns(&self, newcomer: PeerHost) {
        for socket in &*self.sockets.borrow() {
            if socket.holder.get() == Holder::Dispatcher && socket.stage() == Stage::Idle {
                socket.park();
            }
        }
        self.end_for(newcomer, |socket, stage| {
            let is_slow = matches!(stage, Stage::Body | Stage::Unread);
            is_slow && socket.peer_kind.get() != PeerKind::Role
        });
    }

    /// Ends a turn. The next in the queue has it.
    pub(super) fn end_turn(&self, socket: &Socket) {
        socket.holder.set(Holder::Parked);
        self.turns.set(self.turns.get() - 1);
        loop {
            let free = (self.supply.turns + self.supply.set_aside).saturating_sub(self.turns.get());
            let next = self.queue.borrow_mut().pop(free > 0, free > self.supply.set_aside);
            let Some(next) = next else { return };
            self.load.queued.set(self.load.queued.get() - 1);
            if let Some(next) = next.upgrade()
                && next.ending().is_none()
            {
                self.turns.set(self.turns.get() + 1);
                next.holder.set(Holder::Dispatcher);
                next.wake();
            }
        }
    }

    /// Looks at every socket. To be called when a tick is [due](super::tick_clock::TickClock::due).
    pub(super) fn tick(&self) {
        self.load.clock.tick();
        let mut pace = Pace::Still;
        let sockets = self.sockets.borrow();
        for socket in &*sockets {
            let (stage, age) = socket.look();
            let has_dispatcher = socket.holder.get() == Holder::Dispatcher;
            match deadline(stage, self.load.clock.is_stopping()) {
                Some((limit, ending)) if age >= limit => socket.end(ending),
                Some(_) | None if has_dispatcher && may_park(stage, age) => socket.park(),
                Some(_) | None => {}
            }
            if !socket.rests(stage) {
                pace = Pace::Usual;
            } else if pace == Pace::Still {
                pace = Pace::Rest;
            }
        }
        self.load.clock.set_pace(pace);
        count_rests(&sockets);
        drop(sockets);
        self.shed_weight();
    }

    pub(super) fn stops(&self) -> bool {
        self.load.clock.is_stopping()
    }

    /// Ends what waits for requests: the server stops.
    pub(super) fn stop(&self) {
        self.load.clock.set_pace(Pace::Stopping);
        for socket in &*self.sockets.borrow() {
            match (socket.holder.get(), socket.stage()) {
                (Holder::Queue, _) => socket.end(Ending::Answer(Unserved::Busy)),
                (Holder::Parked, stage) if stage != Stage::Closing => socket.end(Ending::Close),
                (Holder::Greeting, _) => socket.end(Ending::Close),
                (Holder::Dispatcher | Holder::Frames, _) => socket.park(),
                (Holder::Parked, _) => {}
            }
        }
    }

    /// Ends the oldest sockets of the host that weighs most, if all weigh too much but for the
    /// heaviest, whose client may have any answer.
    pub(super) fn shed_weight(&self) {
        if self.load.weight.get() <= SOFT_LIMIT {
            self.load.most.set(HARD_LIMIT);
            return;
        }
        let sockets = self.sockets.borrow();
        loop {
            let live = || sockets.iter().filter(|socket| socket.ending().is_none());
            let Some(heaviest) = live().max_by_key(|socket| socket.weight()) else { return };
            self.load.most.set(HARD_LIMIT + heaviest.weight());
            let others = || self.load.weight.get().saturating_sub(heaviest.weight());
            if others() <= SOFT_LIMIT {
                return;
            }
            let is_too_much = others() > HARD_LIMIT;
            let enough = if is_too_much { HARD_LIMIT } else { SOFT_LIMIT };
            let heavy = live().filter(|socket| {
                !Rc::ptr_eq(socket, heaviest)
                    && socket.weight() >= LEAST_WORTH_CLOSING
                    && (is_too_much || socket.age() >= SLOW_AFTER)
            });
            let mut heavy: Vec<_> = heavy.collect();
            let mut hosts: HashMap<PeerHost, usize> = HashMap::new();
            for socket in &heavy {
                *hosts.entry(socket.host).or_default() += socket.weight();
            }
            let most = hosts.into_iter().max_by_key(|(_, weight)| *weight);
            let Some((host, _)) = most else { return };
            heavy.retain(|socket| socket.host == host);
            heavy.sort_by_key(|socket| {
                (socket.peer_kind.get() == PeerKind::Role, socket.seen.get().since)
            });
            for socket in heavy.into_iter().take(BATCH) {
                if others() <= enough {
                    break;
                }
                socket.end(Ending::Close);
            }
            // What one of those shared, another one may still hold.
            count_rests(&sockets);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// A socket that was taken in, and its client.
    async fn admitted(slots: &Slots) -> (Rc<Socket>, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, peer) = listener.accept().await.unwrap();
        (slots.admit(Stream::new(stream, None), PeerHost::from(peer.ip())), client)
    }

    #[tokio::test]
    async fn of_clients_that_read_large_answers_slowly_one_is_kept_and_no_other_client_is_ended() {
        const LARGE: usize = HARD_LIMIT + 1;
        let slots = Slots::new(Supply::new(100, 1));
        let mut slow = Vec::new();
        for _ in 0..3 {
            let (socket, client) = admitted(&slots).await;
            socket.moved();
            socket.holder.set(Holder::Dispatcher);
            socket.note_rest(LARGE, slow.len());
            slow.push((socket, client));
        }
        let left = || slow.iter().filter(|(socket, _)| socket.ending().is_none()).count();
        assert_eq!((slots.load.weight.get(), left()), (0, 3), "they may read it soon");
        for _ in 1..SLOW_AFTER {
            slots.tick();
        }
        let (quick, _client) = admitted(&slots).await;
        quick.intake.borrow_mut().held = vec![b'G'; 2 * LEAST_WORTH_CLOSING];
        quick.weigh(&quick.intake.borrow());
        slots.tick();
        slots.tick();
        assert_eq!((slots.load.weight.get(), left()), (LARGE + quick.weight(), 1));
        assert_eq!(quick.ending(), None);
        let (kept, _client) = slow.iter().find(|(socket, _)| socket.ending().is_none()).unwrap();
        kept.note_rest(0, 0);
        assert_eq!(slots.load.weight.get(), quick.weight());
    }

    #[tokio::test]
    async fn what_slow_clients_share_counts_once() {
        const LARGE: usize = 2 * HARD_LIMIT;
        let slots = Slots::new(Supply::new(100, 1));
        let mut slow = Vec::new();
        for left in [LARGE / 2, LARGE, LARGE / 4] {
            let (socket, client) = admitted(&slots).await;
            socket.moved();
            socket.holder.set(Holder::Dispatcher);
            socket.note_rest(left, 1);
            slow.push((socket, client));
        }
        for _ in 0..2 * SLOW_AFTER {
            slots.tick();
        }
        assert!(slow.iter().all(|(socket, _)| socket.ending().is_none()));
        assert_eq!(slots.load.weight.get(), LARGE);
        slots.leave(&slow[1].0);
        slots.tick();
        assert_eq!(slots.load.weight.get(), LARGE / 2, "another holds what is left");
    }

    #[tokio::test]
    async fn what_several_slow_clients_share_is_freed_when_all_of_them_are_closed() {
        const HEAVIEST: usize = 3 * HARD_LIMIT;
        const SHARED: usize = 2 * HARD_LIMIT;
        let slots = Slots::new(Supply::new(100, 1));
        let mut slow = Vec::new();
        for (left, buffer) in [(HEAVIEST, 1), (SHARED, 2), (SHARED, 2), (SHARED / 2, 2)] {
            let (socket, client) = admitted(&slots).await;
            socket.moved();
            socket.holder.set(Holder::Dispatcher);
            socket.note_rest(left, buffer);
            slow.push((socket, client));
        }
        let closed = || slow.iter().map(|(socket, _)| socket.ending().is_some());
        for _ in 0..2 * SLOW_AFTER {
            slots.tick();
            assert!(closed().eq([false; 4]) || closed().eq([false, true, true, true]), "at once");
        }
        assert_eq!((closed().filter(|it| *it).count(), slots.load.weight.get()), (3, HEAVIEST));
    }

    #[tokio::test]
    async fn a_client_that_reads_a_large_answer_quickly_does_not_lose_its_place() {
        let slots = Slots::new(Supply { places: 2, ..Supply::new(100, 1) });
        let (reads, _client) = admitted(&slots).await;
        reads.moved();
        reads.holder.set(Holder::Dispatcher);
        reads.note_rest(1 << 20, 1);
        reads.intake.borrow_mut().unread = 1;
        let (idle, _client) = admitted(&slots).await;
        idle.moved();
        let other = PeerHost::from(std::net::IpAddr::from([10, 0, 0, 1]));
        let found = slots.make_room(other);
        assert_eq!((found, reads.ending(), idle.ending()), (true, None, Some(Ending::Close)));
    }

    #[tokio::test]
    async fn a_client_that_reads_nothing_of_a_large_answer_is_slow_after_a_second() {
        const LARGE: usize = 1 << 20;
        for (read_late, stands_in_line, age) in
            [(0, false, SLOW_AFTER), (1, false, 0), (0, true, 0)]
        {
            let slots = Slots::new(Supply::new(100, 1));
            let (socket, _client) = admitted(&slots).await;
            socket.moved();
            socket.holder.set(Holder::Dispatcher);
            socket.under_way.set(1);
            socket.stands_in_line.set(stands_in_line);
            socket.note_rest(LARGE, 1);
            for tick in 1..=SLOW_AFTER {
                assert_eq!(socket.stage(), Stage::Served, "tick {tick}");
                if tick == SLOW_AFTER {
                    socket.note_rest(LARGE - read_late, 1);
                }
                slots.tick();
            }
            assert_eq!((socket.stage(), socket.age()), (Stage::Unread, age));
        }
    }

    #[tokio::test]
    async fn a_client_has_its_time_for_each_piece_of_a_large_answer() {
        const PIECES: usize = 200;
        let slots = Slots::new(Supply::new(100, 1));
        let (socket, _client) = admitted(&slots).await;
        socket.moved();
        socket.holder.set(Holder::Dispatcher);
        for left in (1..=PIECES).rev() {
            socket.note_rest(left, 0);
            slots.tick();
            assert_eq!(socket.ending(), None, "it reads");
        }
        let unread = (0..PIECES).take_while(|_| {
            slots.tick();
            socket.ending().is_none()
        });
        assert!(unread.count() < PIECES / 2, "it reads no more");
    }

    #[tokio::test]
    async fn a_socket_that_stands_in_line_does_not_grow_old() {
        let slots = Slots::new(Supply::new(100, 1));
        let (socket, _client) = admitted(&slots).await;
        let grown_old = || {
            for _ in 0..SLOW_AFTER {
                slots.tick();
            }
            socket.age() >= SLOW_AFTER
        };
        socket.stands_in_line.set(true);
        assert!(!grown_old(), "the server keeps it waiting");
        socket.stands_in_line.set(false);
        assert!(grown_old());
    }

    #[tokio::test]
    async fn the_clock_rests_while_every_connection_does() {
        let slots = Slots::new(Supply::new(100, 1));
        let pace = || slots.load.clock.pace();
        let ticked = || {
            slots.tick();
            pace()
        };
        assert_eq!(pace(), Pace::Still);

        let (socket, _client) = admitted(&slots).await;
        assert_eq!((pace(), ticked()), (Pace::Usual, Pace::Usual), "its first head is awaited");
        socket.moved();
        assert_eq!(ticked(), Pace::Rest, "it may be idle");
        socket.intake.borrow_mut().held.push(b'G');
        socket.weigh(&socket.intake.borrow());
        assert_eq!((pace(), ticked()), (Pace::Usual, Pace::Usual), "a head has begun");
        socket.intake.borrow_mut().held.clear();
        socket.holder.set(Holder::Dispatcher);
        assert_eq!(ticked(), Pace::Usual, "its dispatcher is to be parked");
        socket.holder.set(Holder::Parked);
        assert_eq!(ticked(), Pace::Rest);
        socket.end(Ending::Answer(Unserved::Busy));
        assert_eq!((pace(), ticked()), (Pace::Usual, Pace::Usual), "its last answer is written");
        slots.leave(&socket);
        assert_eq!(ticked(), Pace::Still);
        slots.stop();
        assert_eq!(ticked(), Pace::Stopping);
    }
}
