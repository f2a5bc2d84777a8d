//! Transcripts: what the roles say to each other in a few situations, as golden files in
//! `transcripts/` that read like a conversation. The documents quote them.
//!
//! A transcript runs the production's services in a steady world: a message takes 0.1 ms, a read of
//! a database 0.05 ms, a sync 1 ms, and nothing happens by chance. Heartbeats, health checks and
//! renewals of leases are left out. `UPDATE_GOLDENFILES=1 cargo test --test simulator transcript`
//! writes the files anew; read the difference before you commit it.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::time::Duration;

use toystore::catalog::core::stock::{Change, RecordedDecision};
use toystore::transport::{CallError, Message};
use toystore::wire::calls::{Buy, GetJournal, GetOrder, GetRows, GetStatus, LogReport};
use toystore::wire::lease::{
    FillReply, FillRequest, Invalidation, Registered, Registration, Renewal, RenewalReply,
};
use toystore::wire::order::{Order, Position, Rows};
use toystore::wire::purchase::{
    CommitReply, CommitRequest, Decision, Purchase, PurchaseReply, Verdict,
};
use toystore::wire::replication::{
    Acquisition, AcquisitionReply, AppendReply, AppendRequest, Leadership, Nomination,
    NominationReply, OrderReply,
};

use super::conversation::Conversation;
use super::message::{Node, PlaceOrder, ShowOrder, ShowToy, Shown};
use super::world::{Env, World};

#[cfg(test)]
#[path = "scripts.rs"]
mod scripts;

/// The lines of a conversation; none unless [begun](Transcript::begin).
#[derive(Default)]
pub(crate) struct Transcript {
    lines: RefCell<Option<String>>,
    begun: Cell<Duration>,
    conversation: RefCell<Conversation>,
}

impl Transcript {
    /// Records from now on; times count from here.
    fn begin(&self, world: &World) {
        self.begun.set(world.time());
        *self.lines.borrow_mut() = Some(String::new());
    }

    fn take(&self) -> String {
        self.lines.borrow_mut().as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A message leaves its sender.
    pub(crate) fn message(&self, world: &World, from: Node, to: Node, message: &dyn Message) {
        if self.lines.borrow().is_some()
            && let Some(text) = say(message)
        {
            self.conversation.borrow_mut().sent(from, to, &text, &text);
            self.line(world, &format!("{from:<11} -> {to:<11}  {text}"));
        }
    }

    /// An answer that was held up goes on.
    pub(crate) fn released(&self, world: &World, from: Node, to: Node, answer: &dyn Message) {
        if self.lines.borrow().is_some()
            && let Some(text) = say(answer)
        {
            self.conversation.borrow_mut().released(from, to, &text);
            self.line(world, &format!("{from:<11} -> {to:<11}  {text}"));
        }
    }

    /// A call arrives.
    pub(crate) fn arrival(&self, from: Node, to: Node, call: &dyn Message) {
        if self.lines.borrow().is_some()
            && let Some(text) = say(call)
        {
            self.conversation.borrow_mut().arrived(from, to, &text);
        }
    }

    /// A caller has the answer to its call.
    pub(crate) fn reply(&self, from: Node, to: Node, call: &dyn Message) {
        if self.lines.borrow().is_some()
            && let Some(text) = say(call)
        {
            self.conversation.borrow_mut().arrived(to, from, &text);
        }
    }

    /// A call is answered.
    pub(crate) fn answer(
        &self,
        world: &World,
        (from, to): (Node, Node),
        call: &dyn Message,
        answer: &dyn Message,
    ) {
        if self.lines.borrow().is_none() {
            return;
        }
        let Some(about) = say(call) else { return };
        let text = if is::<()>(answer) {
            Some(if is::<Invalidation>(call) { "dropped" } else { "noted" }.to_owned())
        } else {
            say(answer)
        };
        if let Some(text) = text {
            self.conversation.borrow_mut().sent(to, from, &about, &text);
            self.line(world, &format!("{to:<11} -> {from:<11}  {text}"));
        }
    }

    /// A call has no answer.
    pub(crate) fn failure(
        &self,
        world: &World,
        (from, to): (Node, Node),
        call: &dyn Message,
        error: &CallError,
    ) {
        if self.lines.borrow().is_some()
            && let Some(about) = say(call)
        {
            self.conversation.borrow_mut().failed(from, to, &about, &error.to_string());
            self.line(world, &format!("{from:<11} x  {to:<11}  {error}"));
        }
    }

    /// Something happens at one machine.
    pub(crate) fn note(&self, world: &World, at: Node, text: impl FnOnce() -> String) {
        if self.lines.borrow().is_some() {
            let text = text();
            self.conversation.borrow_mut().noted(at, &text);
            self.line(world, &format!("{at:<11} :  {text}"));
        }
    }

    /// The catalog's transaction is on disk.
    pub(crate) fn commit(&self, env: &Env, change: &Change) {
        self.note(&env.world, env.node, || {
            let mut parts: Vec<String> = change.orders.iter().map(order).collect();
            let left = |shelf: &toystore::catalog::core::stock::Shelf| {
                format!("{} left of {}", shelf.toy.quantity, shelf.toy.name)
            };
            parts.extend(change.shelves.iter().map(left));
            parts.extend(change.decisions.iter().map(|(key, RecordedDecision { number, .. })| {
                let decision = number.map_or(Decision::OutOfStock, Decision::Granted);
                format!("key {key}: {}", decided(&decision))
            }));
            format!("commits {}", parts.join("; "))
        });
    }

    /// A replica's orders are on disk.
    pub(crate) fn append(&self, env: &Env, after: Position, end: Option<Position>) {
        let Some(end) = end.filter(|end| end.length > after.length) else { return };
        self.note(&env.world, env.node, || format!("writes {}", numbers(after.length, end.length)));
    }

    fn line(&self, world: &World, text: &str) {
        let time = world.time().saturating_sub(self.begun.get());
        let millis = time.as_secs_f64() * 1_000.0;
        if let Some(lines) = &mut *self.lines.borrow_mut() {
            writeln!(lines, "{millis:>8.2} ms  {}", text.trim_end()).expect("memory");
        }
    }
}

/// Says a message in words. `None` for what goes on all the time.
fn say(message: &dyn Message) -> Option<String> {
    if is::<GetStatus>(message) || is::<LogReport>(message) || is::<Renewal>(message) {
        return None;
    }
    if let Some(append) = cast::<AppendRequest>(message) {
        let rows = &append.rows;
        return (!rows.orders.is_empty()).then(|| format!("append {}", say_rows(rows)));
    }
    say_to_clients(message)
        .or_else(|| say_of_the_cache(message))
        .or_else(|| say_of_purchases(message))
        .or_else(|| say_of_leadership(message))
        .or_else(|| Some(format!("{message:?}")))
}

fn say_to_clients(message: &dyn Message) -> Option<String> {
    if let Some(ShowToy(name)) = cast(message) {
        return Some(format!("GET /products/{name}"));
    }
    if let Some(Shown { quantity, is_hit, .. }) = cast(message) {
        let cache = if *is_hit { "hit" } else { "miss" };
        return Some(format!("200: {quantity} left ({cache})"));
    }
    if let Some(PlaceOrder(purchase)) = cast(message) {
        return Some(format!("POST /orders: {}", say_purchase(purchase)));
    }
    if let Some(decision) = cast::<Decision>(message) {
        return Some(match decision {
            Decision::Granted(number) => format!("200: order {number}"),
            Decision::OutOfStock => "409: not enough stock".into(),
            Decision::UnknownToy => "404: product not found".into(),
            Decision::KeyReused => "422: key used for another purchase".into(),
            Decision::OtherCatalog => "503: another catalog sells".into(),
        });
    }
    if let Some(ShowOrder(number)) = cast(message) {
        return Some(format!("GET /orders/{number}"));
    }
    cast::<Option<Order>>(message).map(|found| {
        found.as_ref().map_or("404: order not found".into(), |it| format!("200: {}", order(it)))
    })
}

fn say_of_the_cache(message: &dyn Message) -> Option<String> {
    if let Some(request) = cast::<FillRequest>(message) {
        return Some(format!("toy {}?", request.name));
    }
    if let Some(reply) = cast::<FillReply>(message) {
        return Some(match reply {
            FillReply::Unknown => "no such toy".into(),
            FillReply::Found(fill) => format!(
                "{} left, version {}, {}",
                fill.toy.quantity,
                fill.version.0,
                if fill.cacheable_under.is_some() { "cacheable" } else { "not cacheable" }
            ),
        });
    }
    if let Some(invalidation) = cast::<Invalidation>(message) {
        let toys: Vec<_> = invalidation
            .toys
            .iter()
            .map(|(toy, version)| format!("{toy}, version {} comes", version.0))
            .collect();
        return Some(format!("drop {}", toys.join("; ")));
    }
    if is::<Registration>(message) {
        return Some("register: the cache is empty".into());
    }
    if let Some(registered) = cast::<Registered>(message) {
        return Some(format!("session {}, lease {} ms", registered.session, registered.lease_ms));
    }
    match cast::<RenewalReply>(message)? {
        RenewalReply::Renewed { .. } => None,
        RenewalReply::Expired => Some("the session has ended".into()),
    }
}

fn say_of_purchases(message: &dyn Message) -> Option<String> {
    if let Some(buy) = cast::<Buy>(message) {
        return Some(format!("buy {}", say_purchase(&buy.purchase)));
    }
    if let Some(reply) = cast::<PurchaseReply>(message) {
        return Some(match reply {
            PurchaseReply::Decided(decision) => decided(decision),
            PurchaseReply::NotLeader(leadership) => format!("not the leader: {leadership}"),
        });
    }
    if let Some(batch) = cast::<CommitRequest>(message) {
        let purchases: Vec<_> = batch.purchases.iter().map(say_purchase).collect();
        return Some(format!("commit in epoch {}: {}", batch.epoch, purchases.join("; ")));
    }
    if let Some(reply) = cast::<CommitReply>(message) {
        return Some(match reply {
            CommitReply::Deposed(leadership) => format!("deposed: {leadership}"),
            CommitReply::Decided { verdicts, .. } => {
                let verdicts: Vec<_> = verdicts
                    .iter()
                    .map(|verdict| match verdict {
                        Verdict::Decided(decision) => decided(decision),
                        Verdict::Wait => "wait".to_owned(),
                    })
                    .collect();
                verdicts.join("; ")
            }
        });
    }
    if let Some(reply) = cast::<AppendReply>(message) {
        return Some(match reply {
            AppendReply::Synced { length } => format!("{length} orders are on disk"),
            AppendReply::Gap { length } => format!("a gap: this log has {length} orders"),
            AppendReply::Stale(leadership) => format!("stale: {leadership}"),
            AppendReply::Diverged => "the logs diverge".into(),
        });
    }
    if let Some(from) = rows_wanted(message) {
        return Some(format!("orders from {from} on?"));
    }
    if let Some(rows) = cast::<Rows>(message) {
        return Some(if rows.orders.is_empty() { "no more".into() } else { say_rows(rows) });
    }
    if let Some(GetOrder { number }) = cast(message) {
        return Some(format!("order {number}?"));
    }
    match cast::<OrderReply>(message)? {
        OrderReply::Found(found) => Some(order(found)),
        OrderReply::Unknown => Some("no such order".into()),
    }
}

fn say_of_leadership(message: &dyn Message) -> Option<String> {
    if let Some(nomination) = cast::<Nomination>(message) {
        return Some(format!("lead, and end epoch {}", nomination.seen));
    }
    if let Some(reply) = cast::<NominationReply>(message) {
        return Some(match reply {
            NominationReply::Won(leadership) => format!("won: {leadership}"),
            NominationReply::Lost(leadership) => format!("lost: {leadership}"),
            NominationReply::Unable(why) => format!("unable: {why}"),
        });
    }
    if let Some(acquisition) = cast::<Acquisition>(message) {
        let (seen, length) = (acquisition.seen, acquisition.log.length);
        return Some(format!("acquire, and end epoch {seen}; this log has {length} orders"));
    }
    if let Some(reply) = cast::<AcquisitionReply>(message) {
        return Some(match reply {
            AcquisitionReply::Won { leadership, journal } => {
                format!("won: {leadership}; the journal has {} orders", journal.length)
            }
            AcquisitionReply::Lost(status) => format!("lost: {}", status.leadership),
            AcquisitionReply::Foreign { .. } => "this log is no prefix of the journal".into(),
        });
    }
    cast::<Leadership>(message).map(ToString::to_string)
}

/// The rows that a call asks for, of whichever role.
fn rows_wanted(message: &dyn Message) -> Option<u64> {
    let from = cast::<GetJournal>(message).map(|call| call.from);
    from.or_else(|| cast::<GetRows>(message).map(|call| call.from))
}

fn say_purchase(purchase: &Purchase) -> String {
    format!("{} {}, key {}", purchase.quantity, purchase.name, purchase.key)
}

fn decided(decision: &Decision) -> String {
    match decision {
        Decision::Granted(number) => format!("order {number}"),
        Decision::OutOfStock => "not enough stock".into(),
        Decision::UnknownToy => "no such toy".into(),
        Decision::KeyReused => "the key belongs to another purchase".into(),
        Decision::OtherCatalog => "made under another catalog".into(),
    }
}

fn order(order: &Order) -> String {
    format!("order {}: {} {}", order.number, order.quantity, order.name)
}

fn say_rows(rows: &Rows) -> String {
    numbers(rows.after.length, rows.end_length())
}

fn numbers(from: u64, end: u64) -> String {
    if end == from + 1 { format!("order {from}") } else { format!("orders {from}-{}", end - 1) }
}

fn cast<T: 'static>(message: &dyn Message) -> Option<&T> {
    message.as_any().downcast_ref()
}

fn is<T: 'static>(message: &dyn Message) -> bool {
    message.as_any().is::<T>()
}
