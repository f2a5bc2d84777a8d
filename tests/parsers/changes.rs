//! Near misses: valid inputs with a change or two.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// A change to a JSON text.
#[derive(Clone, Debug)]
pub(crate) enum JsonChange {
    /// Another value stands at some place.
    Replace(Index, Value),
    /// A field is missing.
    Remove(Index),
    /// There is a field too many.
    Add(Index, String, Value),
}

/// A change to any text.
#[derive(Clone, Debug)]
pub(crate) enum TextChange {
    Insert(Index, String),
    Cut(Index, Index),
    Repeat(Index, Index),
    Overwrite(Index, char),
}

pub(crate) fn json_changes() -> impl Strategy<Value = Vec<JsonChange>> {
    let place = any::<Index>;
    let change = prop_oneof![
        3 => (place(), value()).prop_map(|(place, value)| JsonChange::Replace(place, value)),
        1 => place().prop_map(JsonChange::Remove),
        1 => (place(), "[a-z_]{0,8}", value())
            .prop_map(|(place, key, value)| JsonChange::Add(place, key, value)),
    ];
    vec(change, 1..3)
}

/// Values that some parser may stumble over.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<u64>().prop_map(|number| json!(number)),
        any::<i64>().prop_map(|number| json!(number)),
        any::<f64>().prop_map(|number| json!(number)),
        any::<String>().prop_map(|text| json!(text)),
        "[0-9a-fA-F+-]{0,33}".prop_map(|digits| json!(digits)),
        prop_oneof![
            Just(Value::Null),
            Just(json!(true)),
            Just(json!(0)),
            Just(json!(-1)),
            Just(json!(1.0)),
            Just(json!(u64::MAX)),
            Just(json!(1u64 << 63)),
            Just(json!(1u64 << 62)),
            Just(json!([])),
            Just(json!({})),
            Just(json!("leader")),
            Just(json!("unknown")),
            Just(json!({"wait": null})),
        ],
    ]
}

/// Makes changes to a value.
pub(crate) fn change(json: &mut Value, changes: &[JsonChange]) {
    for change in changes {
        change.make(json);
    }
}

impl JsonChange {
    fn make(&self, json: &mut Value) {
        match self {
            Self::Replace(place, value) => *pick(json, *place) = value.clone(),
            Self::Remove(place) => {
                if let Value::Object(fields) = pick(json, *place)
                    && !fields.is_empty()
                {
                    let key = fields.keys().nth(place.index(fields.len())).cloned();
                    fields.remove(&key.expect("there is one"));
                }
            }
            Self::Add(place, key, value) => {
                if let Value::Object(fields) = pick(json, *place) {
                    fields.insert(key.clone(), value.clone());
                }
            }
        }
    }
}

/// One of all the values in a value, itself included.
fn pick(json: &mut Value, place: Index) -> &mut Value {
    let steps = place.index(size(json));
    walk(json, &mut { steps }).expect("it is one of them")
}

fn size(json: &Value) -> usize {
    1 + match json {
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(fields) => fields.values().map(size).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn walk<'a>(json: &'a mut Value, steps: &mut usize) -> Option<&'a mut Value> {
    if *steps == 0 {
        return Some(json);
    }
    *steps -= 1;
    match json {
        Value::Array(values) => values.iter_mut().find_map(|value| walk(value, steps)),
        Value::Object(fields) => fields.values_mut().find_map(|value| walk(value, steps)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// Changes to a text in which these words mean something.
pub(crate) fn text_changes(
    words: &'static [&'static str],
) -> impl Strategy<Value = Vec<TextChange>> {
    let place = any::<Index>;
    let inserted = prop_oneof![
        proptest::sample::select(words).prop_map(str::to_owned),
        any::<char>().prop_map(String::from),
        "[ -~]{1,4}",
    ];
    let change = prop_oneof![
        (place(), inserted).prop_map(|(place, text)| TextChange::Insert(place, text)),
        (place(), place()).prop_map(|(from, length)| TextChange::Cut(from, length)),
        (place(), place()).prop_map(|(from, length)| TextChange::Repeat(from, length)),
        (place(), any::<char>()).prop_map(|(place, letter)| TextChange::Overwrite(place, letter)),
        (place(), proptest::char::range(' ', '~'))
            .prop_map(|(place, letter)| TextChange::Overwrite(place, letter)),
    ];
    vec(change, 1..4)
}

/// A text with changes made to it.
pub(crate) fn changed(text: &str, changes: &[TextChange]) -> String {
    let mut letters: Vec<char> = text.chars().collect();
    for change in changes {
        let length = letters.len();
        // Most changes are small.
        let stretch = |from: &Index, size: &Index| {
            let from = from.index(length + 1);
            from..(from + size.index(12)).min(length)
        };
        match change {
            TextChange::Insert(place, text) => {
                let place = place.index(length + 1);
                letters.splice(place..place, text.chars());
            }
            TextChange::Cut(from, size) => {
                letters.drain(stretch(from, size));
            }
            TextChange::Repeat(from, size) => {
                let range = stretch(from, size);
                let again = letters[range.clone()].to_vec();
                letters.splice(range.start..range.start, again);
            }
            TextChange::Overwrite(place, letter) if length > 0 => {
                letters[place.index(length)] = *letter;
            }
            TextChange::Overwrite(..) => {}
        }
    }
    letters.into_iter().collect()
}
