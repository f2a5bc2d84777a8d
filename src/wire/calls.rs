//! The internal calls: who asks whom for what, under which path, and with which answer.
//!
//! Each call is declared once, in the list below. A service's `routes` answer it, the callers'
//! `remote` sends it, and the simulator carries it, all by the same type. Over HTTP a call to
//! `/internal/commit` is `POST` with the call as its JSON body; a `GET` call has its fields in the
//! path, so that a person can make it with `curl`.

use std::fmt;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::bounds;
use super::cluster::CacheView;
use super::identity::{Addressee, ListedRole};
use super::lease::{
    FillReply, FillRequest, Invalidation, Registered, Registration, Renewal, RenewalReply,
    SessionId,
};
use super::order::{Position, Rows};
use super::purchase::{CommitReply, CommitRequest, IdempotencyKey, Purchase, PurchaseReply};
use super::quantity::Quantity;
use super::recording::{ChangesQuery, EventsQuery, RoleChanges, RoleEvents};
use super::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogReport, Leadership, LogEnd,
    Nomination, NominationReply, OrderReply, ReplicaId, ReplicaStatus,
};
use super::term::{TermReport, WhoRules};
use super::timing::TimingNote;
use super::toy::{Toy, ToyName};
use super::trace::{RequestOrigin, TraceId};

/// A call from one role to another.
pub trait Call: Clone + fmt::Debug + Serialize + DeserializeOwned + 'static {
    /// What the other role answers.
    type Answer: Clone + fmt::Debug + Serialize + DeserializeOwned + 'static;
    /// The HTTP method.
    const METHOD: Method;
    /// The path below `/internal`, in which `{field}` stands for the call's field.
    const PATH: &'static str;

    /// Returns the path below `/internal` with the call's fields filled in.
    fn path(&self) -> String {
        Self::PATH.to_owned()
    }

    /// Returns what the call is for, among the events that are recorded.
    fn purpose(&self) -> Purpose {
        Purpose::Work
    }

    /// Returns the traces of the clients' requests that the call carries, if it carries several.
    fn traces(&self) -> Vec<TraceId> {
        Vec::new()
    }
}

/// What a call is for, which decides in which [ring](crate::events) it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Clients' requests.
    Work,
    /// Something that changes who does what, for no request in particular.
    Change,
    /// To see that the other role lives, again and again.
    Heartbeat,
    /// To read what was recorded, which is not recorded itself.
    Unrecorded,
}

/// What a call says of itself, so that what its receiver records fits what its sender recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageTag {
    /// The sender's role.
    pub from: String,
    /// The call's id, which its sender drew.
    pub id: u64,
}

/// The HTTP method of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The call asks and changes nothing; its fields are in the path.
    Get,
    /// The call is the body.
    Post,
}

/// The answer to a call that is not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The other role cannot carry it out at present: HTTP status 503 with this message.
    Unavailable(String),
    /// The call is meant for another process: HTTP status 421 with this message.
    Misdirected(String),
    /// It is one of several catalogs, and another one rules: HTTP status 421, with who does.
    NotRuling(WhoRules),
}

/// Where a service registers how it answers calls: an HTTP server, or a simulated network.
pub trait Endpoints {
    /// From now on `answer` answers calls of type `C`; it is given `state` with each.
    fn on<C: Call, S, F>(
        &mut self,
        state: &S,
        answer: impl Fn(S, C, Caller) -> F + Clone + 'static,
    ) where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static;
}

/// What comes with a call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The client's request that the call belongs to.
    pub origin: RequestOrigin,
    /// Whom the call is meant for, if it says so.
    pub meant_for: Option<Addressee>,
    /// Where the time of the call goes.
    pub timing: TimingNote,
    /// What the call says of itself, if its sender records events.
    pub message: Option<MessageTag>,
}

/// Asks a process which roles its `roles.toml` has, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRoles {}

/// Asks the catalog for all toys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetToys {}

/// Asks the catalog for its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCatalogStatus {}

/// Asks one of several catalogs whether it rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TermQuery {
    /// Who asks.
    pub asker: Asker,
    /// Whether it was answered the last time that it asked.
    pub was_answered: bool,
}

/// A role that asks a catalog whether it rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asker {
    /// A front-end, without which a catalog sells nothing.
    Frontend,
    /// An order replica.
    Replica,
}

/// Tells the catalog how long the logs of replicas are, and asks for its status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogReport {
    /// Where the caller's own log ends, if it is a replica.
    #[serde(default)]
    pub own: Option<(ReplicaId, Position)>,
    /// Where logs ended when a front-end's health checks asked. They may have grown since, so that
    /// they are evidence of a longer log, and tell of no replica that it holds no more.
    #[serde(default, deserialize_with = "bounds::list::<MOST_LOGS, _, _>")]
    pub relayed: Vec<(ReplicaId, Position)>,
}

/// The most logs in a report: more replicas than any store has.
const MOST_LOGS: u64 = 1_000;

/// Ends the session of a front-end that shuts down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndSession {
    /// The session.
    pub session: SessionId,
}

/// Asks the catalog for the journal's rows from number `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetJournal {
    /// The first row's number.
    pub from: u64,
}

/// Asks a replica for its log's rows from number `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetRows {
    /// The first row's number.
    pub from: u64,
}

/// Asks a replica or the catalog for one order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetOrder {
    /// The order's number. Any number may be asked for, also one that no order can have.
    pub number: u64,
}

/// Asks a replica for its status: the front-ends' health check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetStatus {}

/// A front-end whose page is watched asks another one about its cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetCacheView {}

/// Asks a replica where its log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetLog {}

/// A front-end asks the leader to sell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BuyAsRead")]
pub struct Buy {
    /// The purchase. If its origin is unknown, it is that of the call.
    #[serde(flatten)]
    pub purchase: Purchase,
    /// How long the front-end waits for this attempt, in milliseconds. The leader holds the
    /// purchase for as long, and no longer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_ms: Option<u64>,
}

/// [`Buy`] as one object. Serde would read a flattened field into a form of its own first, which
/// takes longer than the rest of the message.
#[derive(Deserialize)]
struct BuyAsRead {
    key: IdempotencyKey,
    #[serde(deserialize_with = "bounds::name")]
    name: ToyName,
    quantity: Quantity,
    #[serde(default)]
    origin: RequestOrigin,
    #[serde(default)]
    boot: Option<u64>,
    #[serde(default)]
    within_ms: Option<u64>,
}

impl From<BuyAsRead> for Buy {
    fn from(read: BuyAsRead) -> Self {
        let BuyAsRead { key, name, quantity, origin, boot, within_ms } = read;
        Self { purchase: Purchase { key, name, quantity, origin, boot }, within_ms }
    }
}

/// Says what a call is for, where that is not [`Purpose::Work`].
macro_rules! purpose {
    ($purpose:ident) => {
        fn purpose(&self) -> Purpose {
            Purpose::$purpose
        }
    };
}

/// Declares calls: method, path, call, answer, and the field that fills the path if there is one.
macro_rules! calls {
    ($($method:ident $path:literal $call:ty => $answer:ty
        $(, $field:ident)? $({ $($items:tt)* })?;)*) => {
        /// The paths of all calls.
        pub const PATHS: &[&str] = &[$(concat!("/internal", $path)),*];
    $(
        impl Call for $call {
            type Answer = $answer;
            const METHOD: Method = Method::$method;
            const PATH: &'static str = $path;
            $(fn path(&self) -> String {
                let place = concat!("{", stringify!($field), "}");
                Self::PATH.replace(place, &self.$field.to_string())
            })?
            $($($items)*)?
        }
    )*};
}

calls! {
    // The catalog, asked by front-ends.
    Get  "/toys"            GetToys          => Vec<Toy>;
    Post "/toy"             FillRequest      => FillReply;
    Post "/register"        Registration     => Registered { purpose!(Change); };
    Post "/renew"           Renewal          => RenewalReply { purpose!(Heartbeat); };
    Post "/end"             EndSession       => () { purpose!(Change); };
    // The catalog, asked by front-ends and replicas.
    Get  "/catalog-status"  GetCatalogStatus => CatalogReport { purpose!(Heartbeat); };
    Post "/term"            TermQuery        => TermReport { purpose!(Heartbeat); };
    Post "/report"          LogReport        => CatalogReport { purpose!(Heartbeat); };
    // The catalog, asked by replicas.
    Post "/commit"          CommitRequest    => CommitReply {
        fn traces(&self) -> Vec<TraceId> {
            self.purchases.iter().filter_map(|purchase| trace_of(&purchase.origin)).collect()
        }
    };
    Post "/acquire"         Acquisition      => AcquisitionReply { purpose!(Change); };
    Get  "/journal/{from}"  GetJournal       => Rows, from { purpose!(Change); };
    // The catalog, asked by replicas; a replica, asked by front-ends.
    Get  "/order/{number}"  GetOrder         => OrderReply, number;
    // A replica, asked by front-ends.
    Get  "/status"          GetStatus        => ReplicaStatus { purpose!(Heartbeat); };
    Post "/nominate"        Nomination       => NominationReply { purpose!(Change); };
    Post "/leader"          Leadership       => () { purpose!(Change); };
    Post "/purchase"        Buy              => PurchaseReply;
    // A replica, asked by the catalog.
    Get  "/log"             GetLog           => LogEnd;
    // A replica, asked by replicas.
    Post "/append"          AppendRequest    => AppendReply {
        fn purpose(&self) -> Purpose {
            if self.rows.orders.is_empty() { Purpose::Heartbeat } else { Purpose::Work }
        }
        fn traces(&self) -> Vec<TraceId> {
            self.origins.iter().filter_map(trace_of).collect()
        }
    };
    Get  "/rows/{from}"     GetRows          => Rows, from { purpose!(Change); };
    // Any role, asked by any other at its start.
    Get  "/roles"           GetRoles         => Vec<ListedRole> { purpose!(Change); };
    // A front-end, asked by the catalog.
    Post "/invalidate"      Invalidation     => () {
        fn traces(&self) -> Vec<TraceId> {
            self.origins.iter().filter_map(trace_of).collect()
        }
    };
    // A front-end, asked by front-ends.
    Get  "/cache-view"      GetCacheView     => CacheView { purpose!(Heartbeat); };
    // Every role, asked by front-ends.
    Post "/events"          EventsQuery      => RoleEvents { purpose!(Unrecorded); };
    Post "/changes"         ChangesQuery     => RoleChanges { purpose!(Unrecorded); };
}

fn trace_of(origin: &RequestOrigin) -> Option<TraceId> {
    origin.trace.map(|context| context.trace)
}

impl MessageTag {
    /// Reads what [`Display`](fmt::Display) wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (from, id) = text.rsplit_once('/')?;
        Some(Self { from: from.to_owned(), id: u64::from_str_radix(id, 16).ok()? })
    }

    /// Returns an id as text.
    #[must_use]
    pub fn id_text(id: u64) -> String {
        format!("{id:016x}")
    }
}

/// As the header that goes along with a call has it: `order-3/00f067aa0ba902b7`.
impl fmt::Display for MessageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.from, self.id)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(why) | Self::Misdirected(why) => f.write_str(why),
            Self::NotRuling(who_rules) => who_rules.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_calls_fields_stand_in_its_path() {
        assert_eq!(GetJournal { from: 7 }.path(), "/journal/7");
        assert_eq!(GetOrder { number: 12 }.path(), "/order/12");
        assert_eq!(GetToys {}.path(), "/toys");
    }

    #[test]
    fn a_purchase_and_how_long_to_wait_for_it_are_one_object() {
        let body = r#"{"key":"client:a","name":"Tux","quantity":1,"within_ms":600}"#;
        let buy: Buy = serde_json::from_str(body).unwrap();
        assert_eq!(buy.within_ms, Some(600));
        assert_eq!(serde_json::to_string(&buy).unwrap(), body);
        let body = r#"{"key":"client:a","name":"Tux","quantity":1}"#;
        assert_eq!(serde_json::from_str::<Buy>(body).unwrap().within_ms, None);
        let body = concat!(
            r#"{"key":"client:a","name":"Tux","quantity":2,"origin":{"request_id":"r"},"#,
            r#""boot":7,"within_ms":600}"#
        );
        let buy: Buy = serde_json::from_str(body).unwrap();
        assert_eq!(serde_json::from_str::<Purchase>(body).unwrap(), buy.purchase);
        assert_eq!(serde_json::to_string(&buy).unwrap(), body);
        let long = body.replace("Tux", &"n".repeat(ToyName::LONGEST + 1));
        assert!(serde_json::from_str::<Buy>(&long).is_err());
    }
}
