//! Renders what a ring keeps, for those who ask: names, bodies without secrets, a few words each.

use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::slot::{MessageEnd, OtherEnd, Part, Slot};
use crate::clock;
use crate::wire::calls::{MessageTag, Purpose};
use crate::wire::event::EventKind;
use crate::wire::recording::{RecordedEvent, RecordedMessage};

/// The name of a lane for clients.
pub(super) const CLIENT: &str = "client";

/// An event at `time_us`.
pub(super) fn event(time_us: u64, purpose: Purpose, slot: &Slot<'_>) -> RecordedEvent {
    let entry = &slot.entry;
    let is_answer = entry.message.is_some_and(|message| message.part == Part::Answer);
    let name = name_of(entry.name, is_answer, entry.kind);
    let mut detail = Map::new();
    let body = entry.body.map(shown).filter(|body| !body.is_null());
    let said = entry.text.filter(|text| !text.is_empty()).map(str::to_owned);
    if let Some(text) = said.or_else(|| words(&name, body.as_ref()?)) {
        detail.insert("text".into(), text.into());
    }
    if purpose == Purpose::Heartbeat {
        detail.insert("heartbeat".into(), true.into());
    }
    if let Some(took) = entry.took {
        let took = clock::micros(took);
        detail.insert("took_us".into(), took.into());
    }
    if let Some(status) = entry.status {
        detail.insert("status".into(), status.into());
    }
    if let Some(caller) = entry.caller {
        detail.insert("parent".into(), caller.to_string().into());
    }
    if let Some(body) = body {
        detail.insert("body".into(), body);
    }
    RecordedEvent {
        time_us,
        kind: entry.kind,
        name,
        message: entry.message.map(recorded),
        traces: entry.traces.ids().to_vec(),
        span: entry.span.map(|span| span.to_string()),
        detail: (!detail.is_empty()).then_some(detail),
    }
}

fn recorded(message: MessageEnd) -> RecordedMessage {
    let peer = match message.peer {
        OtherEnd::Role(role) => role.to_string(),
        OtherEnd::Client => CLIENT.to_owned(),
        OtherEnd::Unknown => String::new(),
    };
    let answer = if message.part == Part::Answer { ".answer" } else { "" };
    RecordedMessage { id: format!("{}{answer}", MessageTag::id_text(message.id)), peer }
}

/// `/journal/{from}` is `journal`, and its answer `journal.answer`; a call that got none within its
/// time is `journal.timeout`.
fn name_of(name: &str, is_answer: bool, kind: EventKind) -> String {
    let name = name.strip_prefix('/').unwrap_or(name);
    let name = name.split("/{").next().unwrap_or(name);
    match (is_answer, kind) {
        (true, EventKind::Timer) => format!("{name}.timeout"),
        (true, _) => format!("{name}.answer"),
        (false, _) => name.to_owned(),
    }
}

/// A body as it is shown: without request ids, and with a hash in the place of each idempotency
/// key, which is its buyer's alone.
fn shown(body: &str) -> Value {
    let mut value = serde_json::from_str(body).unwrap_or(Value::Null);
    if let Some(data) = value.get_mut("data") {
        value = data.take();
    }
    hide(&mut value);
    value
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| name != "origin" && name != "origins");
            for (name, field) in fields.iter_mut() {
                if let (Value::String(key), "key") = (&*field, name.as_str()) {
                    *field = hash_of(key).into();
                } else {
                    hide(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Eight digits by which keys that are equal can be told, and none can be used.
fn hash_of(key: &str) -> String {
    let hash = Sha256::digest(key);
    format!("{:08x}", u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]))
}

/// A message in a few words, for the arrow of a diagram.
fn words(name: &str, body: &Value) -> Option<String> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let number = |name: &str| body.get(name).and_then(Value::as_u64);
    Some(match name {
        "purchase" => format!("{} {}", number("quantity")?, text("name")?),
        "purchase.answer" | "commit.answer" if body.get("decided").is_some() => decided(body)?,
        "purchase.answer" | "commit.answer" => "not the leader".into(),
        "commit" => match body.get("purchases")?.as_array()?.as_slice() {
            [one] => format!("{} {}", one.get("quantity")?.as_u64()?, one.get("name")?.as_str()?),
            many => format!("{} purchases", many.len()),
        },
        "append" | "rows.answer" | "journal.answer" => rows(body.get("rows").unwrap_or(body))?,
        "append.answer" => match body.get("synced") {
            Some(synced) => format!("{} on disk", synced.get("length")?),
            None => "not taken".into(),
        },
        "toy" => text("name")?.to_owned(),
        "toy.answer" => {
            let toy = body.get("found")?.get("toy")?;
            format!("{} {} left", toy.get("quantity")?, toy.get("name")?.as_str()?)
        }
        "invalidate" => {
            let toys = body.get("toys")?.as_array()?;
            let names: Vec<&str> = toys.iter().filter_map(|toy| toy.get(0)?.as_str()).collect();
            names.join(", ")
        }
        "nominate" | "acquire" => format!("end epoch {}", number("seen")?),
        "acquire.answer" | "nominate.answer" if body.get("won").is_some() => "won".into(),
        "acquire.answer" | "nominate.answer" => "not won".into(),
        "leader" => format!("{} leads, epoch {}", body.get("leader")?, number("epoch")?),
        _ => return None,
    })
}

fn rows(rows: &Value) -> Option<String> {
    let orders = rows.get("orders")?.as_array()?;
    let number = |order: &Value| order.get("number").and_then(Value::as_u64);
    Some(match orders.as_slice() {
        [] => "no orders".into(),
        [one] => format!("order {}", number(one)?),
        [first, .., last] => format!("orders {}-{}", number(first)?, number(last)?),
    })
}

/// The answer to a purchase, or to a batch of them.
fn decided(body: &Value) -> Option<String> {
    let decided = body.get("decided")?;
    let Some(verdicts) = decided.get("verdicts").and_then(Value::as_array) else {
        return Some(decision(decided));
    };
    Some(match verdicts.as_slice() {
        [one] => one.get("decided").map_or_else(|| "wait".into(), decision),
        many => format!("{} decisions", many.len()),
    })
}

fn decision(decision: &Value) -> String {
    match decision.get("granted") {
        Some(number) => format!("order {number}"),
        None => decision.as_str().unwrap_or("decided").replace('_', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_shows_no_key_and_no_request_id() {
        let body = r#"{"data":{"purchases":[{"key":"client:secret-key","name":"Tux","quantity":1,
            "origin":{"request_id":"mine","trace":"00-4bf9"}}],"origins":[{"request_id":"me"}]}}"#;
        let shown = shown(body).to_string();
        assert_eq!(shown, r#"{"purchases":[{"key":"a04e581f","name":"Tux","quantity":1}]}"#);
    }

    #[test]
    fn messages_are_told_in_a_few_words() {
        for (name, body, expected) in [
            ("purchase", r#"{"key":"k","name":"Tux","quantity":2}"#, "2 Tux"),
            ("purchase.answer", r#"{"decided":{"granted":5}}"#, "order 5"),
            ("purchase.answer", r#"{"decided":"out_of_stock"}"#, "out of stock"),
            ("purchase.answer", r#"{"not_leader":{"epoch":2,"leader":1}}"#, "not the leader"),
            ("commit", r#"{"purchases":[{"name":"Tux","quantity":1}]}"#, "1 Tux"),
            ("commit", r#"{"purchases":[{},{}]}"#, "2 purchases"),
            (
                "commit.answer",
                r#"{"decided":{"verdicts":[{"decided":{"granted":7}}],"rows":{}}}"#,
                "order 7",
            ),
            ("commit.answer", r#"{"decided":{"verdicts":["wait"],"rows":{}}}"#, "wait"),
            ("append", r#"{"rows":{"orders":[{"number":3},{"number":4}]}}"#, "orders 3-4"),
            ("append.answer", r#"{"synced":{"length":8}}"#, "8 on disk"),
            ("invalidate", r#"{"toys":[["Tux",1],["Uno",4]]}"#, "Tux, Uno"),
            ("toy.answer", r#"{"found":{"toy":{"name":"Tux","quantity":99}}}"#, "99 Tux left"),
            ("leader", r#"{"epoch":2,"leader":3}"#, "3 leads, epoch 2"),
        ] {
            let body = serde_json::from_str(body).unwrap();
            assert_eq!(words(name, &body).as_deref(), Some(expected), "{name} {body}");
        }
        assert_eq!(words("commit", &Value::Null), None);
    }

    #[test]
    fn a_call_is_named_by_its_path() {
        assert_eq!(name_of("/journal/{from}", false, EventKind::Send), "journal");
        assert_eq!(name_of("/append", true, EventKind::Recv), "append.answer");
        assert_eq!(name_of("/append", true, EventKind::Timer), "append.timeout");
        assert_eq!(name_of("GET /products", false, EventKind::Recv), "GET /products");
    }
}
