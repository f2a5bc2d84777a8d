//! Writes a catalog's database with many orders, by the catalog's own decisions and storage.

use std::collections::HashMap;
use std::path::Path;

use toystore::catalog::core::stock::Stock;
use toystore::catalog::journal::Journal;
use toystore::roles::{Roles, ToyRole};
use toystore::wire::order::Position;
use toystore::wire::purchase::{CommitRequest, IdempotencyKey, MOST_IN_BATCH, Purchase};
use toystore::wire::quantity::Quantity;
use toystore::wire::replication::{Epoch, Leadership, ReplicaId};
use toystore::wire::trace::RequestOrigin;

use crate::Problem;

/// Who bought all this.
const LEADER: Leadership = Leadership { epoch: Epoch(1), leader: Some(ReplicaId(3)) };

/// Writes `orders` orders of the toys in `roles` to the new file `database`.
pub(crate) fn write(database: &Path, orders: u64, roles: &Path) -> Result<(), Problem> {
    let roles = Roles::read(roles)?;
    let toys = &roles.catalog.toys;
    // None is sold out by so many orders of one.
    let (journal, loaded) = Journal::open(database, toys, orders.max(1))?;
    let mut stock = Stock::new(loaded.shelves, orders.max(1), loaded.journal, LEADER);
    let toy_index = stock.toy_index();
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    runtime.block_on(async {
        journal.set_leadership(LEADER).await?;
        let mut number = 0;
        while number < orders {
            let end = orders.min(number + MOST_IN_BATCH as u64);
            let request = CommitRequest {
                leader: ReplicaId(3),
                epoch: Epoch(1),
                log: Position::START,
                purchases: (number..end).map(|number| purchase(number, toys)).collect(),
            };
            let plan = stock
                .plan_batch(&toy_index, &request, &HashMap::new(), |_| true)
                .map_err(|other| format!("another leads: {other:?}"))?;
            journal.commit(plan.change.clone()).await?;
            stock.apply(&toy_index, &plan.change);
            number = end;
        }
        journal.checkpoint().await?;
        Ok(())
    })
}

/// The purchase that becomes order `number`. Its key begins with the time, as a front-end's would
/// if it sold one toy each millisecond.
fn purchase(number: u64, toys: &[ToyRole]) -> Purchase {
    let toy = usize::try_from(number).unwrap_or_default() % toys.len();
    Purchase {
        key: IdempotencyKey::from_random(u128::from(number) << 80 | u128::from(scattered(number))),
        name: toys[toy].name.clone(),
        quantity: Quantity::ONE,
        origin: RequestOrigin::default(),
        boot: None,
    }
}

/// A number whose bits look drawn (the last step of the generator `SplitMix64`).
fn scattered(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
