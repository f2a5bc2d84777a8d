//! Databases that were damaged or tampered with: they open as a journal that holds, or are refused.

use std::collections::BTreeMap;
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::types::Value;
use toystore::catalog::core::stock::{Change, RecordedDecision};
use toystore::catalog::journal::Journal;
use toystore::order::order_log::OrderLog;
use toystore::roles::{Roles, ToyRole};
use toystore::storage::StorageError;
use toystore::wire::order::{Order, OrderNumber, Position};
use toystore::wire::purchase::IdempotencyKey;
use toystore::wire::quantity::Quantity;

fn cell() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::Integer),
        (-2..6_i64).prop_map(Value::Integer),
        any::<f64>().prop_map(Value::Real),
        any::<String>().prop_map(Value::Text),
        vec(any::<u8>(), 0..20).prop_map(Value::Blob),
    ]
}

fn orders() -> Vec<Order> {
    let order = |number| Order {
        number: OrderNumber(number),
        name: "Tux".into(),
        quantity: Quantity::new(number + 1).expect("at least 1"),
        key: (number > 2).then(|| IdempotencyKey::from_random(number.into())),
    };
    (0..5).map(order).collect()
}

/// A log with five orders, all of it in one file.
fn write_log(path: &Path) {
    actix_web::rt::System::new().block_on(async {
        let (log, start) = OrderLog::open(path).expect("it is new");
        log.append(start, orders()).await.expect("there is room");
        log.checkpoint().await.expect("as before");
    });
}

fn is_a_prefix_or_refused(opened: Result<Position, StorageError>) {
    let all = orders();
    match opened {
        Ok(end) => {
            let known = usize::try_from(end.length).expect("a few");
            let expected = all.iter().take(known).fold(Position::START, Position::continued_by);
            assert_eq!(end, expected, "a log that was never written");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_log_with_another_value_somewhere_is_a_prefix_or_refused(
        column in proptest::sample::select(vec!["number", "name", "quantity", "chain", "key"]),
        number in 0..5_i64,
        value in cell(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("order-1.db");
        write_log(&path);
        let connection = rusqlite::Connection::open(&path).expect("it opens");
        // The table's own types refuse some of it.
        let sql = format!("UPDATE log SET {column} = ?1 WHERE number = ?2");
        let _refused = connection.execute(&sql, (value, number));
        drop(connection);
        is_a_prefix_or_refused(OrderLog::open(&path).map(|(_log, end)| end));
    }

    #[test]
    fn a_log_with_other_bytes_somewhere_is_a_prefix_or_refused(
        changes in vec((any::<Index>(), any::<u8>()), 1..20),
        cut in proptest::option::of(any::<Index>()),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("order-1.db");
        write_log(&path);
        let mut bytes = std::fs::read(&path).expect("it is there");
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        std::fs::write(&path, bytes).expect("it can be written");
        is_a_prefix_or_refused(OrderLog::open(&path).map(|(_log, end)| end));
    }

    #[test]
    fn a_catalog_s_database_with_another_value_somewhere_opens_or_is_refused(
        (table, column) in proptest::sample::select(vec![
            ("stock", "quantity"), ("stock", "stocked"), ("stock", "sold"), ("stock", "version"),
            ("stock", "name"), ("stock", "position"), ("cluster", "epoch"), ("cluster", "leader"),
            ("sessions", "boot"), ("sessions", "serial"),
        ]),
        value in cell(),
    ) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("catalog.db");
        let toys = toys();
        drop(Journal::open(&path, &toys, 100).expect("it is new"));
        let connection = rusqlite::Connection::open(&path).expect("it opens");
        connection.execute("INSERT INTO sessions VALUES (7, 1)", []).expect("a row");
        let sql = format!("UPDATE {table} SET {column} = ?1");
        let _refused = connection.execute(&sql, [value]);
        drop(connection);
        match Journal::open(&path, &toys, 100) {
            Ok((_journal, loaded)) => {
                prop_assert_eq!(loaded.journal, Position::START);
                prop_assert_eq!(loaded.shelves.len(), toys.len());
            }
            Err(error) => prop_assert!(!error.to_string().is_empty()),
        }
    }
}

/// A closed catalog's database with twenty orders and ten refusals, in one file. Returns what each
/// key must be answered.
fn write_catalog(path: &Path, toys: &[ToyRole]) -> BTreeMap<IdempotencyKey, Option<u64>> {
    let (journal, loaded) = Journal::open(path, toys, 100).expect("it is new");
    let mut truth = BTreeMap::new();
    actix_web::rt::System::new().block_on(async {
        let mut shelf = loaded.shelves[0].clone();
        let mut end = loaded.journal;
        for turn in 0..30_u64 {
            // In no order, as keys come.
            let key = IdempotencyKey::from_client(format!("key-{}", turn * 7 % 30).as_bytes());
            let key = key.expect("a key");
            let is_granted = turn % 3 != 2;
            let (name, quantity) = (shelf.toy.name.clone(), Quantity::ONE);
            let number = OrderNumber(end.length);
            let order = Order { number, name: name.clone(), quantity, key: Some(key.clone()) };
            let mut change = Change {
                shelves: Vec::new(),
                after: end,
                orders: Vec::new(),
                decisions: Vec::new(),
            };
            if is_granted {
                shelf.toy.quantity -= 1;
                shelf.sold += 1;
                shelf.version = shelf.version.next();
                change.shelves.push(shelf.clone());
                end = end.continued_by(&order);
                change.orders.push(order);
            }
            let number = is_granted.then_some(number);
            change.decisions.push((key.clone(), RecordedDecision { name, quantity, number }));
            truth.insert(key, number.map(|number| number.0));
            journal.commit(change).await.expect("there is room");
        }
        journal.checkpoint().await.expect("as before");
    });
    truth
}

/// The decision on a key is its owner's purchase: a wrong answer would be a second sale, a refusal
/// of what was granted, or the same of what was refused.
#[test]
fn a_bit_that_flips_in_a_catalog_s_database_is_no_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let toys = toys();
    let truth = write_catalog(&path, &toys);
    let whole = std::fs::read(&path).expect("it is there");
    let system = actix_web::rt::System::new();
    let (mut answered, mut refused) = (0, 0);
    // A prime, so that all parts of all pages have their turn, and all bits.
    for (place, bit) in (0..whole.len()).step_by(23).zip((0..8).cycle()) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << bit;
        for beside in ["db-wal", "db-shm", "marker"] {
            let _none = std::fs::remove_file(path.with_extension(beside));
        }
        std::fs::write(&path, bytes).expect("it can be written");
        let Ok((journal, loaded)) = Journal::open(&path, &toys, 100) else {
            refused += 1;
            continue;
        };
        assert_eq!(loaded.shelves[0].toy.quantity, 80, "byte {place}, bit {bit}");
        let mut is_seen = false;
        for (key, number) in &truth {
            match system.block_on(journal.recorded(vec![key.clone()])) {
                Ok(found) => {
                    let found = found.get(key).map(|one| one.number.map(|number| number.0));
                    assert_eq!(found, Some(*number), "{key}: byte {place}, bit {bit}");
                }
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    is_seen = true;
                }
            }
        }
        if is_seen { refused += 1 } else { answered += 1 }
    }
    assert!(refused > 50 && answered > 50, "{refused} flips were seen, {answered} did no harm");
}

fn toys() -> Vec<ToyRole> {
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/roles.toml"));
    Roles::read(shipped).expect("it is right").catalog.toys
}
