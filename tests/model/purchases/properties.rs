//! What must hold in every state.

use super::*;

pub(super) const ONE_ANSWER: &str = "answers to the same purchase never differ";
pub(super) const ORDERED: &str = "an order says what its client asked for";
pub(super) const DURABLE: &str =
    "an order is in the journal, and on the leader's and live followers' disks, when acknowledged";
pub(super) const FOUND: &str = "an order that exists is found";
pub(super) const CONSERVED: &str = "what was stocked less what was sold is what is left";
pub(super) const SOLD_ONCE: &str = "a purchase is sold at most once";
pub(super) const REFUSED: &str = "a purchase that was refused is not sold";
pub(super) const NUMBERED: &str = "orders are numbered from 0 without a gap or a repeat";
pub(super) const HELD: &str = "a leader has all acknowledged orders on its disk";
pub(super) const PREFIXES: &str = "logs are prefixes of the journal";
pub(super) const ONE_LEADER: &str = "an epoch has one leader";
pub(super) const ANSWERED: &str = "a purchase that waits at a replica is answered or redirected";

/// Some are checked in the state; others while a step is made, which notes what it broke.
pub(super) fn all() -> Vec<Property<Purchases>> {
    vec![
        Property::always(ONE_ANSWER, |_, state: &State| state.broken != Some(ONE_ANSWER)),
        Property::always(ORDERED, |_, state: &State| state.broken != Some(ORDERED)),
        Property::always(DURABLE, |_, state: &State| state.broken != Some(DURABLE)),
        Property::always(FOUND, |_, state: &State| state.broken != Some(FOUND)),
        Property::always(CONSERVED, is_conserved),
        Property::always(SOLD_ONCE, |_, state: &State| {
            let owners = &state.disk.owners;
            owners.iter().enumerate().all(|(place, owner)| !owners[..place].contains(owner))
        }),
        Property::always(REFUSED, |_, state: &State| {
            let was_refused = |one: &Client| one.answers.contains(&Some(Decision::OutOfStock));
            !state.disk.owners.iter().any(|owner| was_refused(&state.clients[*owner]))
        }),
        Property::always(NUMBERED, |_, state: &State| {
            let mut granted: Vec<_> =
                state.disk.decisions.values().filter_map(|one| one.number).collect();
            granted.sort_unstable();
            let differ = granted.windows(2).all(|pair| pair[0] < pair[1]);
            let mut journal = (0..).zip(&state.disk.journal);
            differ && journal.all(|(number, order)| order.number.0 == number)
        }),
        Property::always(HELD, is_held),
        Property::always(PREFIXES, |_, state: &State| {
            let foreign = [Purchases::foreign_order()];
            let is_prefix = |one: &Member| {
                state.disk.journal.starts_with(&one.rows)
                    || (one.rows == foreign && one.core.leads().is_none())
            };
            state.broken != Some(PREFIXES) && state.members.iter().all(is_prefix)
        }),
        Property::always(ONE_LEADER, |_, state: &State| {
            let mut known: Vec<Leadership> =
                state.members.iter().map(|one| one.core.leadership()).collect();
            known.push(state.disk.stock.status().leadership);
            let agrees = |one: &Leadership| {
                let mut same = known.iter().filter(|other| other.epoch == one.epoch);
                same.all(|other| other.leader == one.leader)
            };
            state.broken != Some(ONE_LEADER) && known.iter().all(agrees)
        }),
        Property::always(ANSWERED, is_answered),
    ]
}

fn is_conserved(model: &Purchases, state: &State) -> bool {
    let sold: u64 = state.disk.journal.iter().map(|order| order.quantity.get()).sum();
    // One that the catalog's crash prevented counts for nothing.
    let restocks = u64::from(model.size.left.restocks - state.left.restocks);
    let shelf = &state.disk.stock.shelves()[0];
    state.broken != Some(CONSERVED)
        && shelf.stocked <= model.size.stock * (1 + restocks)
        && shelf.stocked.checked_sub(sold) == Some(shelf.toy.quantity)
}

fn is_held(_: &Purchases, state: &State) -> bool {
    let answers = state.clients.iter().flat_map(|one| one.answers);
    let numbers = answers.filter_map(|answer| match answer {
        Some(Decision::Granted(number)) => Some(number.0),
        Some(
            Decision::OutOfStock
            | Decision::UnknownToy
            | Decision::KeyReused
            | Decision::OtherCatalog,
        )
        | None => None,
    });
    let Some(newest) = numbers.max() else { return true };
    let epoch = state.disk.stock.status().leadership.epoch;
    let mut leaders = state.members.iter().filter(|one| one.core.leads() == Some(epoch));
    leaders.all(|one| one.on_disk as u64 > newest)
}

/// No purchase waits at a replica that has not acquired leadership; and while one waits, the store
/// has a step of its own to make.
fn is_answered(model: &Purchases, state: &State) -> bool {
    let mut waited_at = state.members.iter().filter(|one| !one.waiting.is_empty()).peekable();
    if state.broken.is_some() || waited_at.peek().is_none() {
        return true;
    }
    let mut steps = Vec::new();
    model.actions(state, &mut steps);
    waited_at.all(|one| one.core.has_acquired()) && steps.into_iter().any(Step::goes_on)
}

impl Step {
    /// Whether it brings the store on: neither a fault nor a new purchase.
    pub(super) fn goes_on(self) -> bool {
        match self {
            Self::Sell(_)
            | Self::Decide(_)
            | Self::Settle(_)
            | Self::Write(_)
            | Self::Fetch(_)
            | Self::Replicate { .. }
            | Self::Take { .. }
            | Self::Note { .. }
            | Self::Lose { .. }
            | Self::BecomeLeader(_)
            | Self::Lead(_)
            | Self::Inform(_)
            | Self::FinishWriting => true,
            Self::Ask { .. }
            | Self::Query { .. }
            | Self::AnswerQuery
            | Self::TellToWait(_)
            | Self::ArriveLate(_)
            | Self::Doubt(_)
            | Self::DiskIsFull(_)
            | Self::TakeLate(_)
            | Self::Nominate { .. }
            | Self::Crash(_)
            | Self::CrashCatalog
            | Self::Restock => false,
        }
    }
}
