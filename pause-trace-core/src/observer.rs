//! Observers of a pipeline: names, counts, news, journals, and anything else that is derived from
//! its events.

use std::{cell::RefCell, rc::Rc};

use crate::{
    event::{Event, Ktime},
    rules::Ledger,
    state::{Change, State},
};

/// Receives events and the changes that follow from them. An observer changes only its own data,
/// and must not call the pipeline that calls it.
pub trait Observer {
    /// Called before an event is judged. `state` is the state before it.
    fn event(&mut self, event: &Event, state: &State) {
        let _ = (event, state);
    }

    /// Called after the rules have judged a change. `state` and `ledger` include the change.
    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        let _ = (time, change, state, ledger);
    }
}

/// An observer that the pipeline shares with its owner.
impl<O: Observer + ?Sized> Observer for Rc<RefCell<O>> {
    fn event(&mut self, event: &Event, state: &State) {
        self.borrow_mut().event(event, state);
    }

    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        self.borrow_mut().change(time, change, state, ledger);
    }
}
