//! Bodies: a valid one is read as it was written; any other is refused with a clear error, or means
//! what it says.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use toystore::health::Health;
use toystore::wire::lease::{Registered, Registration, Renewal, RenewalReply};
use toystore::wire::order::OrderNumber;
use toystore::wire::parse_error::in_plain_words;
use toystore::wire::purchase::{PurchaseBody, PurchaseReply};
use toystore::wire::replication::{
    AcquisitionReply, Epoch, Nomination, NominationReply, OrderReply, ReplicaStatus,
};
use toystore::wire::reply::{Data, Failure, Problem, Receipt};

use crate::changes::{JsonChange, change, changed, json_changes, text_changes};
use crate::inputs::{
    acquisition, append_reply, append_request, catalog_status, commit_reply, commit_request, count,
    decision, fill_reply, fill_request, invalidation, leadership, name, order, position, purchase,
    purchase_body, rows, session, status, toy,
};
use crate::properties::bodies::{self, means_what_it_says, survives};
use crate::properties::{is_clear, is_plain};

/// Words that mean something in bodies.
const WORDS: [&str; 12] = [
    "\"name\":",
    "\"quantity\":",
    "\"name\":\"Tux\",",
    "null",
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "1e9",
    "\\u0000",
];

/// For each kind of body, a module with its tests.
macro_rules! bodies {
    ($($kind:ident: $body:expr;)*) => { $(
        mod $kind {
            use super::*;

            proptest! {
                #[test]
                fn that_is_printed_is_read_as_it_was(body in $body) {
                    survives(&body);
                }

                #[test]
                fn that_is_changed_is_refused_or_means_what_it_says(
                    body in $body,
                    changes in json_changes(),
                ) {
                    let mut json = serde_json::to_value(&body).expect("it can be printed");
                    change(&mut json, &changes);
                    read_as_the_same_kind(&body, &json);
                }
            }
        }
    )* };
}

fn read_as_the_same_kind<T: bodies::Body>(_kind: &T, json: &serde_json::Value) {
    means_what_it_says::<T>(json);
}

bodies! {
    a_client_s_purchase: purchase_body();
    a_purchase: purchase();
    a_batch: commit_request();
    a_batch_s_answer: commit_reply().prop_map(|data| Data { data });
    a_purchase_s_answer: prop_oneof![
        decision().prop_map(PurchaseReply::Decided),
        leadership().prop_map(PurchaseReply::NotLeader),
    ];
    an_acquisition: acquisition();
    an_acquisition_s_answer: prop_oneof![
        (leadership(), position())
            .prop_map(|(leadership, journal)| AcquisitionReply::Won { leadership, journal }),
        catalog_status().prop_map(AcquisitionReply::Lost),
        position().prop_map(|journal| AcquisitionReply::Foreign { journal }),
    ];
    a_nomination: count().prop_map(|epoch| Nomination { seen: Epoch(epoch) });
    a_nomination_s_answer: prop_oneof![
        leadership().prop_map(NominationReply::Won),
        leadership().prop_map(NominationReply::Lost),
        any::<String>().prop_map(NominationReply::Unable),
    ];
    a_leadership: leadership();
    a_catalog_status: catalog_status();
    an_append: append_request();
    an_append_s_answer: append_reply();
    a_status: status();
    some_rows: rows();
    an_order_s_answer: prop_oneof![order().prop_map(OrderReply::Found), Just(OrderReply::Unknown)];
    a_registration: (any::<u32>(), option::of(session()))
        .prop_map(|(frontend, previous)| Registration { frontend, previous });
    a_registration_s_answer: (session(), any::<u64>(), vec(name(), 0..4))
        .prop_map(|(session, lease_ms, toys)| Registered { session, lease_ms, toys });
    a_renewal: session().prop_map(|session| Renewal { session });
    a_renewal_s_answer: prop_oneof![
        any::<u64>().prop_map(|lease_ms| RenewalReply::Renewed { lease_ms }),
        Just(RenewalReply::Expired),
    ];
    a_question_for_a_toy: fill_request();
    a_toy_s_answer: fill_reply();
    an_invalidation: invalidation();
    a_list_of_toys: vec(toy(), 0..4).prop_map(|data| Data { data });
    a_receipt: count().prop_map(|number| Receipt { order_number: OrderNumber(number) });
    an_error: (any::<u16>(), any::<String>())
        .prop_map(|(code, message)| Failure { error: Problem { code, message, who_rules: None } });
    a_word_of_health: (any::<String>(), any::<u32>())
        .prop_map(|(role, pid)| Health { role, pid, database: None });
}

fn value_of_some_kind() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(vec!["null", "{}", "[]", "-1", "1.5", "true", "\"Tux\"", "4294967296"])
}

proptest! {
    #[test]
    fn a_purchase_is_accepted_exactly_if_it_is_what_the_contract_says(
        body in purchase_body(),
        changes in json_changes(),
    ) {
        let mut json = serde_json::to_value(&body).expect("it can be printed");
        bodies::purchase(json.to_string().as_bytes());
        change(&mut json, &changes);
        bodies::purchase(json.to_string().as_bytes());
    }

    #[test]
    fn a_purchase_s_text_that_is_changed_is_refused_or_means_what_it_says(
        body in purchase_body(),
        changes in text_changes(&WORDS),
    ) {
        let text = serde_json::to_string(&body).expect("it can be printed");
        bodies::bytes(changed(&text, &changes).as_bytes());
    }

    #[test]
    fn a_quantity_of_any_number_of_digits_is_taken(digits in "[1-9][0-9]{0,60}") {
        let body = format!(r#"{{"name":"Tux","quantity":{digits}}}"#);
        bodies::purchase(body.as_bytes());
        prop_assert!(serde_json::from_str::<PurchaseBody>(&body).is_ok());
    }

    #[test]
    fn a_batch_s_text_that_is_changed_is_refused_or_means_what_it_says(
        batch in commit_request(),
        changes in text_changes(&WORDS),
    ) {
        let text = serde_json::to_string(&batch).expect("it can be printed");
        bodies::bytes(changed(&text, &changes).as_bytes());
    }

    #[test]
    fn any_bytes_are_refused_or_mean_what_they_say(bytes in vec(any::<u8>(), 0..200)) {
        bodies::bytes(&bytes);
    }

    #[test]
    fn parse_errors_are_in_plain_words(
        value in value_of_some_kind(),
        field in prop_oneof![Just("\"Tux\""), Just("1")],
    ) {
        let changed = r#"{"name":"Tux","quantity":1}"#.replacen(field, value, 1);
        if let Err(error) = serde_json::from_str::<PurchaseBody>(&changed) {
            is_plain(&in_plain_words(&error, "an object"));
        }
    }

    #[test]
    fn parse_errors_between_roles_are_in_plain_words(
        status in status(),
        value in value_of_some_kind(),
        place in any::<proptest::sample::Index>(),
    ) {
        let mut json = serde_json::to_value(status).expect("it can be printed");
        let value = serde_json::from_str(value).expect("a value");
        change(&mut json, &[JsonChange::Replace(place, value)]);
        let read = serde_json::from_str::<ReplicaStatus>(&json.to_string());
        if let Err(error) = read {
            is_plain(&in_plain_words(&error, "an object"));
        }
    }

    #[test]
    fn a_parse_error_is_one_line_whatever_the_input_was(text in any::<String>()) {
        let parse_error = in_plain_words(&format!("it says {text}, expected u64"), "an object");
        is_clear(&parse_error);
    }
}
