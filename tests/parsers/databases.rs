//! Databases that were damaged or tampered with: they open as a journal that holds, or are refused.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rusqlite::types::Value;
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

fn toys() -> Vec<ToyRole> {
    let shipped = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/roles.toml"));
    Roles::read(shipped).expect("it is right").catalog.toys
}
