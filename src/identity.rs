//! Who this process is, and whom it takes calls for.
//!
//! A process is one role of one store. It knows its role from its start; a catalog knows its store
//! from its database, a replica from its own or, if that is empty, from the catalog, and a
//! front-end from the catalog. [`Guarded`] endpoints refuse calls that are meant for another
//! process, and a [`Peer`](crate::transport::Peer) says with each call whom it is meant for. Both
//! record the call's ends.

use std::collections::BTreeMap;
use std::future::ready;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::Either;

use crate::events::EventRecorder;
use crate::roles::Role;
use crate::rulers::Rulers;
use crate::wire::calls::{Call, Caller, Endpoints, GetRoles, Refusal};
use crate::wire::identity::{Addressee, ListedRole, StoreId};
use crate::wire::recording::{ChangesQuery, EventsQuery};

/// What stands in a refusal between who refuses and for whom the call was meant.
const MEANT_FOR: &str = ", and the call is meant for ";

/// This process's role and store, shared by all of its threads.
#[derive(Debug)]
pub struct Identity {
    role: Role,
    /// The role's name, which each call says.
    name: String,
    /// The store's number; 0 while it is not known.
    store: AtomicU64,
    /// What the processes at the addresses of these roles say they are, for those that are others.
    strangers: Mutex<BTreeMap<String, String>>,
    has_strangers: AtomicBool,
    /// What this process's `roles.toml` says.
    listed: OnceLock<Vec<ListedRole>>,
    /// Which of several catalogs rules.
    rulers: Rulers,
    recorder: EventRecorder,
}

impl Identity {
    /// A process that runs `role`, of `store` if that is known already, and records no events.
    #[must_use]
    pub fn new(role: Role, store: Option<StoreId>) -> Arc<Self> {
        Self::recording(role, store, EventRecorder::off())
    }

    /// The same, with a recorder of its events.
    #[must_use]
    pub fn recording(role: Role, store: Option<StoreId>, recorder: EventRecorder) -> Arc<Self> {
        Arc::new(Self {
            role,
            name: role.to_string(),
            store: AtomicU64::new(store.map_or(0, StoreId::get)),
            strangers: Mutex::default(),
            has_strangers: AtomicBool::new(false),
            listed: OnceLock::new(),
            rulers: Rulers::default(),
            recorder,
        })
    }

    /// Returns what records the process's events.
    #[must_use]
    pub fn recorder(&self) -> &EventRecorder {
        &self.recorder
    }

    /// Returns what this process has heard of several catalogs.
    #[must_use]
    pub fn rulers(&self) -> &Rulers {
        &self.rulers
    }

    /// Returns the role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the store, if it is known.
    #[must_use]
    pub fn store(&self) -> Option<StoreId> {
        StoreId::new(self.store.load(Ordering::Relaxed))
    }

    /// Takes a store for this process's own, if it knew none. Returns whether `store` is its own.
    pub fn adopt(&self, store: StoreId) -> bool {
        let ours =
            self.store.compare_exchange(0, store.get(), Ordering::Relaxed, Ordering::Relaxed);
        match ours {
            Ok(_none) => true,
            Err(known) => known == store.get(),
        }
    }

    /// Notes what this process's `roles.toml` says. The first note counts.
    pub fn set_listed(&self, listed: Vec<ListedRole>) {
        let _known = self.listed.set(listed);
    }

    /// Returns what this process's `roles.toml` says, if that was noted.
    #[must_use]
    pub fn listed(&self) -> Vec<ListedRole> {
        self.listed.get().cloned().unwrap_or_default()
    }

    /// Returns whom a call to `role` is meant for.
    #[must_use]
    pub fn addressee(&self, role: Role) -> Addressee {
        Addressee { role: role.to_string(), store: self.store() }
    }

    /// Checks that a call is meant for this process. A call that names no role, such as one that a
    /// person makes with `curl`, is meant for the process that it reaches.
    ///
    /// # Errors
    ///
    /// If it is meant for another role or another store.
    pub fn check(&self, caller: &Caller) -> Result<(), Refusal> {
        let Some(meant) = &caller.meant_for else { return Ok(()) };
        let is_other_store =
            self.store().zip(meant.store).is_some_and(|(ours, theirs)| ours != theirs);
        if meant.role == self.name && !is_other_store {
            return Ok(());
        }
        let own = self.addressee(self.role);
        Err(Refusal::Misdirected(format!("this is {own}{MEANT_FOR}{meant}")))
    }

    /// Notes what the process at `role`'s address says when it refuses a call as not meant for it.
    /// Returns whether that is news.
    pub fn note_stranger(&self, role: Role, says: &str) -> bool {
        self.has_strangers.store(true, Ordering::Relaxed);
        // Whom the call was meant for is known here, and may be told more exactly later.
        let who = says.split_once(MEANT_FOR).map_or(says, |(who, _)| who);
        let before = self.lock().insert(role.to_string(), who.to_owned());
        // So may be who it is: its store, once it knows it.
        before.is_none_or(|before| !who.starts_with(&before) && !before.starts_with(who))
    }

    /// Notes that the process at `role`'s address answers. Returns whether another was there.
    pub fn note_found(&self, role: Role) -> bool {
        self.has_strangers.load(Ordering::Relaxed)
            && self.lock().remove(&role.to_string()).is_some()
    }

    /// Returns which processes answer where a catalog should, as part of an error, if any do.
    #[must_use]
    pub fn strangers_as_catalogs(&self) -> Option<String> {
        let strangers = self.lock();
        let at_catalogs = strangers.iter().filter_map(|(role, says)| {
            let name = if role == "catalog" { "the catalog" } else { role };
            role.starts_with("catalog")
                .then(|| format!("another process answers as {name}: {says}"))
        });
        let told: Vec<String> = at_catalogs.collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

    /// Returns what the process at `role`'s address says it is, if it is another.
    #[must_use]
    pub fn stranger_at(&self, role: Role) -> Option<String> {
        if !self.has_strangers.load(Ordering::Relaxed) {
            return None;
        }
        self.lock().get(&role.to_string()).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Endpoints that answer only calls that are meant for this process.
pub struct Guarded<'a, E> {
    endpoints: &'a mut E,
    identity: Arc<Identity>,
}

impl<'a, E: Endpoints> Guarded<'a, E> {
    /// Guards `endpoints` for the process that is `identity`. Each role answers with what its
    /// `roles.toml` says, and with what it has recorded.
    pub fn new(endpoints: &'a mut E, identity: &Arc<Identity>) -> Self {
        let mut guarded = Self { endpoints, identity: Arc::clone(identity) };
        guarded.on(identity, async |identity, GetRoles {}, _| Ok(identity.listed()));
        guarded.on(identity, async |identity, call: EventsQuery, _| {
            Ok(identity.recorder().events(&call))
        });
        guarded.on(identity, async |identity, call: ChangesQuery, _| {
            Ok(identity.recorder().changes(&call))
        });
        guarded
    }
}

impl<E: Endpoints> Endpoints for Guarded<'_, E> {
    fn on<C: Call, S, F>(&mut self, state: &S, answer: impl Fn(S, C, Caller) -> F + Clone + 'static)
    where
        S: Clone + 'static,
        F: Future<Output = Result<C::Answer, Refusal>> + 'static,
    {
        let identity = Arc::clone(&self.identity);
        self.endpoints.on(state, move |state, call: C, caller| {
            // Also one that is meant for another process, which is told so.
            let exchange = identity.recorder().receives(&call, &caller);
            let answered = match identity.check(&caller) {
                Ok(()) => Either::Left(answer(state, call, caller)),
                Err(refusal) => Either::Right(ready(Err(refusal))),
            };
            let identity = Arc::clone(&identity);
            // No async block, which would keep that future twice.
            answered.inspect(move |answer| {
                if let Some(exchange) = exchange {
                    let refusal = answer.as_ref().err().map(ToString::to_string);
                    identity.recorder().answers(&exchange, refusal.as_deref());
                }
            })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::replication::ReplicaId;

    fn call_for(role: &str, store: Option<u64>) -> Caller {
        let store = store.and_then(StoreId::new);
        let meant_for = Some(Addressee { role: role.to_owned(), store });
        Caller { meant_for, ..Caller::default() }
    }

    #[test]
    fn a_call_for_another_role_or_another_store_is_refused() {
        let identity = Identity::new(Role::Order(ReplicaId(2)), StoreId::new(7));
        assert_eq!(identity.check(&call_for("order-2", Some(7))), Ok(()));
        assert_eq!(identity.check(&call_for("order-2", None)), Ok(()));
        assert_eq!(identity.check(&Caller::default()), Ok(()), "curl names no role");
        for (role, store) in [("order-3", Some(7)), ("order-3", None), ("order-2", Some(8))] {
            let refused = identity.check(&call_for(role, store));
            assert!(matches!(refused, Err(Refusal::Misdirected(_))), "{role} {store:?}");
        }
    }

    #[test]
    fn a_process_that_knows_no_store_takes_the_first_one_for_its_own() {
        let (one, other) = (StoreId::new(7).unwrap(), StoreId::new(8).unwrap());
        let identity = Identity::new(Role::Frontend(1), None);
        assert!(identity.adopt(one) && identity.adopt(one));
        assert!(!identity.adopt(other));
        assert_eq!(identity.store(), Some(one));
    }

    #[test]
    fn a_stranger_is_news_once() {
        let identity = Identity::new(Role::Catalog, None);
        let role = Role::Order(ReplicaId(1));
        assert!(identity.note_stranger(role, "this is order-2"));
        assert!(!identity.note_stranger(role, "this is order-2"));
        assert!(identity.note_stranger(role, "this is order-3"));
        let more = "this is order-3 of store 7, and the call is meant for order-1 of store 7";
        assert!(!identity.note_stranger(role, more));
        assert_eq!(identity.stranger_at(role).as_deref(), Some("this is order-3 of store 7"));
        assert!(identity.note_found(role));
        assert!(!identity.note_found(role));
    }
}
