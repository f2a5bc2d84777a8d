//! The bodies of requests and replies.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use toystore::health::Health;
use toystore::wire::calls::Buy;
use toystore::wire::cluster::ClusterView;
use toystore::wire::lease::{
    FillReply, FillRequest, Invalidation, Registered, Registration, Renewal, RenewalReply,
};
use toystore::wire::order::{Order, Rows};
use toystore::wire::parse_error::in_plain_words;
use toystore::wire::purchase::{CommitReply, CommitRequest, Purchase, PurchaseBody, PurchaseReply};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, CatalogStatus, Leadership,
    Nomination, NominationReply, OrderReply, ReplicaStatus,
};
use toystore::wire::reply::{Data, Failure, Receipt};
use toystore::wire::toy::Toy;

use super::is_clear;

/// What crosses a socket.
pub(crate) trait Body: DeserializeOwned + Serialize + PartialEq + Debug {}

impl<T: DeserializeOwned + Serialize + PartialEq + Debug> Body for T {}

/// Bytes read as every body there is.
pub(crate) fn bytes(bytes: &[u8]) {
    purchase(bytes);
    body::<Purchase>(bytes);
    body::<Buy>(bytes);
    body::<CommitRequest>(bytes);
    body::<Data<CommitReply>>(bytes);
    body::<Data<PurchaseReply>>(bytes);
    body::<Acquisition>(bytes);
    body::<Data<AcquisitionReply>>(bytes);
    body::<Nomination>(bytes);
    body::<Data<NominationReply>>(bytes);
    body::<Leadership>(bytes);
    body::<AppendRequest>(bytes);
    body::<Data<AppendReply>>(bytes);
    body::<Data<ReplicaStatus>>(bytes);
    body::<Data<CatalogStatus>>(bytes);
    body::<Data<OrderReply>>(bytes);
    body::<Data<Rows>>(bytes);
    body::<Registration>(bytes);
    body::<Data<Registered>>(bytes);
    body::<Renewal>(bytes);
    body::<Data<RenewalReply>>(bytes);
    body::<FillRequest>(bytes);
    body::<Data<FillReply>>(bytes);
    body::<Invalidation>(bytes);
    body::<Data<Vec<Toy>>>(bytes);
    body::<Data<Order>>(bytes);
    body::<Data<Receipt>>(bytes);
    body::<Data<ClusterView>>(bytes);
    body::<Data<Health>>(bytes);
    body::<Failure>(bytes);
    if let Ok(rows) = serde_json::from_slice::<Rows>(bytes) {
        let in_order = rows.are_numbered();
        let end = rows.end_length();
        if in_order && !rows.orders.is_empty() {
            assert_eq!(rows.orders.last().map(|order| order.number.0 + 1), Some(end));
        }
    }
}

/// Bytes read as one kind of body.
pub(crate) fn body<T: Body>(bytes: &[u8]) -> Option<T> {
    match serde_json::from_slice::<T>(bytes) {
        Ok(body) => {
            survives(&body);
            Some(body)
        }
        Err(error) => {
            is_clear(&in_plain_words(&error, "an object"));
            None
        }
    }
}

/// What is printed is read as what it was, and printed as before.
pub(crate) fn survives<T: Body>(body: &T) {
    let printed = serde_json::to_string(body).expect("a body can be printed");
    let read: T = serde_json::from_str(&printed).unwrap_or_else(|error| {
        unreachable!("{printed} was printed and cannot be read: {error}");
    });
    assert_eq!(read, *body, "{printed}");
    assert_eq!(serde_json::to_string(&read).expect("as before"), printed);
}

/// Bytes read as a client's purchase: accepted exactly if they are what the contract says.
pub(crate) fn purchase(bytes: &[u8]) {
    let read = body::<PurchaseBody>(bytes);
    // An independent reader, which does not see a field that stands twice.
    let Ok(Value::Object(given)) = serde_json::from_slice(bytes) else { return };
    let name = given.get("name").and_then(Value::as_str);
    // Of a quantity beyond every integer it keeps the nearest double.
    let quantity = given.get("quantity").and_then(|quantity| {
        let endless = quantity.as_f64().filter(|double| *double >= 18_446_744_073_709_551_616.0);
        quantity.as_u64().or(endless.map(|_| u64::MAX))
    });
    if let Some(read) = read {
        assert_eq!(given.len(), 2, "only a name and a quantity are taken");
        assert_eq!(Some(read.name.as_str()), name);
        let quantity = quantity.expect("a quantity was read");
        if quantity > Quantity::MAX {
            // Something stands in for it that is never in stock.
            assert!((1 << 62..=Quantity::MAX).contains(&read.quantity.get()));
        } else {
            assert_eq!(read.quantity.get(), quantity);
        }
        assert!(read.quantity.get() >= 1);
    } else if let (2, Some(_), Some(1..)) = (given.len(), name, quantity.filter(|q| *q < u64::MAX))
    {
        // It may have been refused for a field that stood twice; without that it must not be.
        let once = serde_json::to_vec(&given).expect("it was read");
        assert!(body::<PurchaseBody>(&once).is_some(), "{given:?} was refused");
    }
}

/// A body that was changed is refused, or means what it says: of whatever it is read as, each part
/// stands in it.
pub(crate) fn means_what_it_says<T: Body>(given: &Value) {
    let text = given.to_string();
    let Some(read) = body::<T>(text.as_bytes()) else { return };
    let printed = serde_json::to_value(&read).expect("a body can be printed");
    assert!(says(given, &printed), "{given} was read as {printed}");
}

fn says(given: &Value, printed: &Value) -> bool {
    match (given, printed) {
        (Value::Object(given), Value::Object(printed)) => printed.iter().all(|(key, printed)| {
            given.get(key).map_or(printed.is_null(), |given| says(given, printed))
        }),
        (Value::Array(given), Value::Array(printed)) => {
            given.len() == printed.len() && given.iter().zip(printed).all(|(g, p)| says(g, p))
        }
        // Between roles, an array of its fields does for an object; there is no order to compare.
        (Value::Array(given), Value::Object(printed)) => given.len() >= printed.len(),
        (Value::Number(given), Value::Number(printed)) => {
            let stands_in = printed.as_u64().is_some_and(|printed| printed >= 1 << 62)
                && given.as_f64() >= printed.as_f64();
            given == printed || given.as_f64() == printed.as_f64() || stands_in
        }
        // A variant without contents may be written as an object with nothing in it.
        (Value::Object(given), Value::String(printed)) => given.contains_key(printed),
        _ => given == printed,
    }
}
