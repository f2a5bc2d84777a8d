//! The catalog, as the other roles call it: one process, or several of which one rules.
//!
//! Of several, a call goes to the one that [rules](crate::rulers), and ends when another one does,
//! for the caller to try again there. Which one that is, is asked all the time of each.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::LocalBoxFuture;

use crate::roles::{Role, Roles};
use crate::runtime::Runtime;
use crate::transport::{CallError, LARGEST_MESSAGE, Peer, Unreachable};
use crate::wire::calls::{Asker, Call, TermQuery};
use crate::wire::term::CatalogId;
use crate::wire::timing::TimingNote;
use crate::wire::trace::RequestOrigin;

/// How often each of several catalogs is asked whether it rules.
const WATCH_INTERVAL: Duration = Duration::from_millis(100);
/// How long it may take to answer, from memory.
const WATCH_LIMIT: Duration = Duration::from_millis(250);
/// A term that follows so soon does so since no front-end reaches a catalog, which is not news.
const OFTEN: Duration = Duration::from_secs(10);

/// One thread's connections to the catalog.
#[derive(Clone)]
pub enum Catalogs {
    /// The store has one.
    One(Peer),
    /// Several share a database.
    Several(Vec<(CatalogId, Peer)>),
}

impl Catalogs {
    /// Connections, made by `connect`, to all catalogs of `roles`.
    #[must_use]
    pub fn new(roles: &Roles, connect: impl Fn(Role) -> Peer) -> Self {
        let several = roles.catalog.roles().into_iter().filter_map(|role| match role {
            Role::CatalogProcess(id) => Some((id, connect(role))),
            Role::Catalog | Role::Order(_) | Role::Frontend(_) => None,
        });
        let several: Vec<_> = several.collect();
        if several.is_empty() { Self::One(connect(Role::Catalog)) } else { Self::Several(several) }
    }

    /// Makes a call to the catalog that rules.
    ///
    /// # Errors
    ///
    /// If no answer came within `time_limit`, none rules as far as it is known, another one began
    /// to rule meanwhile, or the catalog refused.
    pub async fn call<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
    ) -> Result<C::Answer, CallError> {
        self.call_up_to(call, time_limit, LARGEST_MESSAGE).await
    }

    /// Makes a call whose answer has up to `largest_bytes` bytes.
    ///
    /// # Errors
    ///
    /// As [`Catalogs::call`].
    pub async fn call_up_to<C: Call>(
        &self,
        call: &C,
        time_limit: Duration,
        largest_bytes: usize,
    ) -> Result<C::Answer, CallError> {
        let several = match self {
            Self::One(peer) => return peer.call_up_to(call, time_limit, largest_bytes).await,
            Self::Several(several) => several,
        };
        let rulers = self.first().own().rulers();
        let Some((term, id)) = rulers.ruler() else {
            return Err(CallError::broken("no catalog rules at present"));
        };
        let Some((_, peer)) = several.iter().find(|(one, _)| *one == id) else {
            let why = format!("catalog-{id} rules, which roles.toml does not have");
            return Err(CallError::broken(why));
        };
        let answer = tokio::select! {
            biased;
            answer = peer.call_up_to(call, time_limit, largest_bytes) => answer,
            () = rulers.superseded(term) => Err(CallError::broken("another catalog rules now")),
        };
        if let Err(CallError::Unreachable(Unreachable::NotRuling(who_rules))) = &answer {
            rulers.told(*who_rules);
        }
        answer
    }

    /// Returns the catalog that runs `role`.
    #[must_use]
    pub fn process(&self, role: Role) -> Option<&Peer> {
        match (self, role) {
            (Self::One(peer), Role::Catalog) => Some(peer),
            (Self::Several(several), Role::CatalogProcess(id)) => {
                several.iter().find(|(one, _)| *one == id).map(|(_, peer)| peer)
            }
            (Self::One(_) | Self::Several(_), _) => None,
        }
    }

    /// The same connections, for a client's request, whose calls' time goes into `timing`.
    #[must_use]
    pub fn on_behalf_of(&self, origin: &Rc<RequestOrigin>, timing: &TimingNote) -> Self {
        let own = |peer: &Peer| peer.on_behalf_of(origin, timing);
        match self {
            Self::One(peer) => Self::One(own(peer)),
            Self::Several(several) => {
                Self::Several(several.iter().map(|(id, peer)| (*id, own(peer))).collect())
            }
        }
    }

    /// Returns the client's request that calls are made for.
    #[must_use]
    pub fn origin(&self) -> &RequestOrigin {
        self.first().origin()
    }

    /// Returns tasks that ask each of several catalogs, for ever, whether it rules.
    #[must_use]
    pub fn watchers(&self, runtime: &Arc<dyn Runtime>) -> Vec<LocalBoxFuture<'static, ()>> {
        let Self::Several(several) = self else { return Vec::new() };
        let watch = |(id, peer): &(CatalogId, Peer)| -> LocalBoxFuture<'static, ()> {
            Box::pin(watch(*id, peer.clone(), Arc::clone(runtime)))
        };
        several.iter().map(watch).collect()
    }

    fn first(&self) -> &Peer {
        match self {
            Self::One(peer) => peer,
            Self::Several(several) => &several.first().expect("roles.toml has a catalog").1,
        }
    }
}

async fn watch(id: CatalogId, peer: Peer, runtime: Arc<dyn Runtime>) {
    let asker = match peer.own().role() {
        Role::Frontend(_) => Asker::Frontend,
        Role::Order(_) | Role::Catalog | Role::CatalogProcess(_) => Asker::Replica,
    };
    let mut was_answered = false;
    let mut last_ruled = None;
    loop {
        let answer = peer.call(&TermQuery { asker, was_answered }, WATCH_LIMIT).await;
        was_answered = answer.is_ok();
        match answer {
            Ok(report) => {
                if peer.own().rulers().heard(&report, runtime.now()) {
                    // Without front-ends, a term follows the other every few seconds.
                    let now = runtime.now();
                    let is_news = last_ruled.is_none_or(|last| now >= last + OFTEN);
                    let level = if is_news { log::Level::Info } else { log::Level::Debug };
                    log::log!(level, "catalog-{} rules, term {}", report.id, report.term);
                    last_ruled = Some(now);
                }
            }
            Err(_) => peer.own().rulers().unheard(id),
        }
        runtime.rest(WATCH_INTERVAL).await;
    }
}
