//! What makes a thread's dispatchers: built when a request comes, and given up while none does.
//!
//! As long as it is there, actix writes the time of day anew twice a second, for the `Date` of its
//! answers. An idle thread would wake up for this alone:
//!
//! ```text
//! request      GET                                       GET
//! maker        built ───────────────► given up           built ────
//! wakes up     ^    ^    ^    ^    ^                     ^    ^
//! ```

use std::cell::RefCell;
use std::rc::Rc;

/// The maker of one thread's dispatchers.
pub(super) struct Dispatchers<H> {
    build: Box<dyn Fn() -> H>,
    built: RefCell<Option<Rc<H>>>,
}

impl<H> Dispatchers<H> {
    /// They are made by what `build` returns.
    pub(super) fn new(build: impl Fn() -> H + 'static) -> Self {
        Self { build: Box::new(build), built: RefCell::default() }
    }

    /// Returns their maker, which is to be kept as long as the dispatcher.
    pub(super) fn maker(&self) -> Rc<H> {
        Rc::clone(self.built.borrow_mut().get_or_insert_with(|| Rc::new((self.build)())))
    }

    /// Gives the maker up if there is no dispatcher. To be called while all connections rest.
    pub(super) fn rest(&self) {
        self.built.borrow_mut().take_if(|built| Rc::strong_count(built) == 1);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn the_maker_is_built_once_and_stays_while_there_is_a_dispatcher() {
        let count = Rc::new(Cell::new(0));
        let counted = Rc::clone(&count);
        let dispatchers = Dispatchers::new(move || counted.set(counted.get() + 1));
        dispatchers.rest();
        assert_eq!(count.get(), 0, "no request has come");
        let (first, second) = (dispatchers.maker(), dispatchers.maker());
        drop(first);
        dispatchers.rest();
        assert!(Rc::ptr_eq(&second, &dispatchers.maker()), "it is in use");
        assert_eq!(count.get(), 1);
        drop(second);
        dispatchers.rest();
        assert!(dispatchers.built.borrow().is_none(), "it is given up");
        drop(dispatchers.maker());
        assert_eq!(count.get(), 2);
    }
}
