//! Valid inputs, drawn from the whole of what is allowed.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use toystore::wire::count::LARGEST;
use toystore::wire::lease::{Fill, FillReply, FillRequest, Invalidation, SessionId, Version};
use toystore::wire::order::{Chain, Order, OrderNumber, Position, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, IdempotencyKey, Purchase, PurchaseBody, Verdict,
};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{
    Acquisition, AppendReply, AppendRequest, CatalogStatus, Epoch, Fitness, Leadership, ReplicaId,
    ReplicaState, ReplicaStatus, Unwritable,
};
use toystore::wire::toy::{Price, Toy, ToyName};
use toystore::wire::trace::{RequestOrigin, Sampling, TraceContext};

/// Small counts, the largest one, and some in between.
pub(crate) fn count() -> impl Strategy<Value = u64> + Clone {
    prop_oneof![4 => 0..10_u64, 1 => 0..=LARGEST, 1 => Just(LARGEST)]
}

pub(crate) fn name() -> impl Strategy<Value = ToyName> {
    prop_oneof![
        2 => Just("Tux".to_owned()),
        2 => any::<String>(),
        1 => "[ -~]{0,20}",
        1 => "\\PC{0,8}",
    ]
    .prop_map(ToyName::from)
}

pub(crate) fn quantity() -> impl Strategy<Value = Quantity> {
    prop_oneof![4 => 1..5_u64, 1 => 1..=u64::MAX, 1 => Just(Quantity::MAX)]
        .prop_map(|count| Quantity::new(count).expect("at least 1"))
}

pub(crate) fn price() -> impl Strategy<Value = Price> {
    prop_oneof![1..5_000_u64, 1..=100_000_000_u64].prop_map(Price::from_cents)
}

pub(crate) fn toy() -> impl Strategy<Value = Toy> {
    (name(), price(), any::<u64>()).prop_map(|(name, price, quantity)| Toy {
        name,
        price,
        quantity,
    })
}

pub(crate) fn session() -> impl Strategy<Value = SessionId> {
    let boot = prop_oneof![0..10_u64, 0..=u64::MAX >> 1];
    (boot, count()).prop_map(|(boot, serial)| SessionId { boot, serial })
}

pub(crate) fn leadership() -> impl Strategy<Value = Leadership> {
    (count(), option::of(any::<u32>())).prop_map(|(epoch, leader)| Leadership {
        epoch: Epoch(epoch),
        leader: leader.map(ReplicaId),
    })
}

pub(crate) fn position() -> impl Strategy<Value = Position> {
    let chain = any::<[u8; 16]>().prop_map(|bytes| Chain::from_bytes(&bytes).expect("16 bytes"));
    let anywhere = (count(), chain).prop_map(|(length, chain)| Position { length, chain });
    prop_oneof![Just(Position::START), anywhere]
}

pub(crate) fn catalog_status() -> impl Strategy<Value = CatalogStatus> {
    (leadership(), position())
        .prop_map(|(leadership, journal)| CatalogStatus { leadership, journal })
}

pub(crate) fn order() -> impl Strategy<Value = Order> {
    let key = proptest::option::of(key());
    (count(), name(), quantity(), key).prop_map(|(number, name, quantity, key)| Order {
        number: OrderNumber(number),
        name,
        quantity,
        key,
    })
}

/// Rows that are numbered as they should be, mostly.
pub(crate) fn rows() -> impl Strategy<Value = Rows> {
    (position(), vec(order(), 0..4), any::<bool>()).prop_map(|(after, mut orders, numbered)| {
        if numbered && after.length < LARGEST - 4 {
            for (order, number) in orders.iter_mut().zip(after.length..) {
                order.number = OrderNumber(number);
            }
        }
        Rows { after, orders }
    })
}

pub(crate) fn key() -> impl Strategy<Value = IdempotencyKey> {
    prop_oneof![
        any::<u128>().prop_map(IdempotencyKey::from_random),
        "[!-~]{1,255}".prop_map(|key| IdempotencyKey::from_client(key.as_bytes()).expect("a key")),
    ]
}

pub(crate) fn purchase_body() -> impl Strategy<Value = PurchaseBody> {
    (name(), quantity()).prop_map(|(name, quantity)| PurchaseBody { name, quantity })
}

pub(crate) fn purchase() -> impl Strategy<Value = Purchase> {
    (key(), purchase_body(), origin()).prop_map(|(key, body, origin)| Purchase {
        key,
        name: body.name,
        quantity: body.quantity,
        origin,
        boot: None,
    })
}

pub(crate) fn trace_context() -> impl Strategy<Value = TraceContext> {
    (any::<u128>(), any::<u64>(), any::<bool>()).prop_map(|(trace, span, is_sampled)| {
        let sampling = if is_sampled { Sampling::Sampled } else { Sampling::NotSampled };
        TraceContext { sampling, ..TraceContext::from_random(trace, span) }
    })
}

fn origin() -> impl Strategy<Value = RequestOrigin> {
    let id = option::of(("[ -~]{1,255}", any::<bool>()));
    (id, option::of(trace_context())).prop_map(|(id, trace)| RequestOrigin {
        is_named_by_client: id.as_ref().is_some_and(|(_, is_named)| *is_named),
        request_id: id.map(|(id, _)| id),
        trace,
    })
}

pub(crate) fn decision() -> impl Strategy<Value = Decision> {
    prop_oneof![
        count().prop_map(|number| Decision::Granted(OrderNumber(number))),
        Just(Decision::OutOfStock),
        Just(Decision::UnknownToy),
        Just(Decision::KeyReused),
    ]
}

pub(crate) fn commit_request() -> impl Strategy<Value = CommitRequest> {
    (any::<u32>(), count(), position(), vec(purchase(), 0..4)).prop_map(
        |(leader, epoch, log, purchases)| CommitRequest {
            leader: ReplicaId(leader),
            epoch: Epoch(epoch),
            log,
            purchases,
        },
    )
}

pub(crate) fn commit_reply() -> impl Strategy<Value = CommitReply> {
    let verdict = prop_oneof![decision().prop_map(Verdict::Decided), Just(Verdict::Wait)];
    let decided = (vec(verdict, 0..4), rows());
    prop_oneof![
        decided.prop_map(|(verdicts, rows)| CommitReply::Decided { verdicts, rows }),
        leadership().prop_map(CommitReply::Deposed),
    ]
}

pub(crate) fn acquisition() -> impl Strategy<Value = Acquisition> {
    (any::<u32>(), count(), position()).prop_map(|(nominee, seen, log)| Acquisition {
        nominee: ReplicaId(nominee),
        seen: Epoch(seen),
        log,
    })
}

pub(crate) fn append_request() -> impl Strategy<Value = AppendRequest> {
    (leadership(), rows(), count(), vec(origin(), 0..3)).prop_map(
        |(leadership, rows, leader_length, origins)| AppendRequest {
            leadership,
            rows,
            leader_length,
            origins,
        },
    )
}

pub(crate) fn append_reply() -> impl Strategy<Value = AppendReply> {
    prop_oneof![
        count().prop_map(|length| AppendReply::Synced { length }),
        count().prop_map(|length| AppendReply::Gap { length }),
        leadership().prop_map(AppendReply::Stale),
        Just(AppendReply::Diverged),
    ]
}

pub(crate) fn status() -> impl Strategy<Value = ReplicaStatus> {
    use ReplicaState::{Follower, Leader, Syncing};
    let state = prop_oneof![Just(Leader), Just(Follower), Just(Syncing)];
    let fitness = prop_oneof![
        Just(Fitness::Ready),
        Just(Fitness::Unfit),
        Just(Fitness::CannotWrite(Unwritable::Full)),
        Just(Fitness::CannotWrite(Unwritable::ReadOnly)),
    ];
    let heard_ms = any::<Option<u64>>();
    (any::<u32>(), state, fitness, heard_ms, leadership(), any::<bool>(), position()).prop_map(
        |(id, state, fitness, heard_ms, leadership, awaits_nomination, log)| ReplicaStatus {
            id: ReplicaId(id),
            state,
            fitness,
            heard_ms,
            leadership,
            awaits_nomination,
            log,
        },
    )
}

pub(crate) fn fill_request() -> impl Strategy<Value = FillRequest> {
    (name(), option::of(session())).prop_map(|(name, session)| FillRequest { name, session })
}

pub(crate) fn fill_reply() -> impl Strategy<Value = FillReply> {
    let fill = (toy(), count(), option::of(session())).prop_map(|(toy, version, session)| Fill {
        toy,
        version: Version(version),
        cacheable_under: session,
    });
    prop_oneof![fill.prop_map(FillReply::Found), Just(FillReply::Unknown)]
}

pub(crate) fn invalidation() -> impl Strategy<Value = Invalidation> {
    let toys = vec((name(), count().prop_map(Version)), 0..4);
    (session(), toys, vec(origin(), 0..3)).prop_map(|(session, toys, origins)| Invalidation {
        session,
        toys,
        origins,
    })
}
