//! Who follows a pipeline: names, counts, news, journals, whatever else is made of the same events.

use std::{cell::RefCell, rc::Rc};

use crate::{
    event::{Event, Ktime},
    rules::Ledger,
    state::{Change, State},
};

/// Follows events and what they change. An observer keeps what is its own and changes nothing that others see; it must not
/// call the pipeline that calls it.
pub trait Observer {
    /// An event is about to be judged. `state` is what was known before it.
    fn event(&mut self, event: &Event, state: &State) {
        let _ = (event, state);
    }

    /// The event had this consequence, and the rules have judged it. `state` and `ledger` are as they are then.
    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        let _ = (time, change, state, ledger);
    }
}

/// An observer that its owner and the pipeline share.
impl<O: Observer + ?Sized> Observer for Rc<RefCell<O>> {
    fn event(&mut self, event: &Event, state: &State) {
        self.borrow_mut().event(event, state);
    }

    fn change(&mut self, time: Ktime, change: &Change, state: &State, ledger: &Ledger) {
        self.borrow_mut().change(time, change, state, ledger);
    }
}
