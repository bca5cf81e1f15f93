//! The capabilities of a thread.

use caps::{CapSet, Capability, CapsHashSet};

pub(crate) type Set = CapsHashSet;

/// The permitted capabilities of this thread.
pub(crate) fn held() -> Set {
    caps::read(None, CapSet::Permitted).unwrap_or_default()
}

/// `CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH`, sorted; `none`.
pub(crate) fn named(set: &Set) -> String {
    let mut names: Vec<_> = set.iter().map(ToString::to_string).collect();
    names.sort_unstable();
    match names.is_empty() {
        true => "none".to_owned(),
        false => names.join(", "),
    }
}

/// Calls `f` with these effective capabilities, as far as this thread has them, and no other.
pub(crate) fn with<T>(set: &Set, f: impl FnOnce() -> T) -> T {
    let before = caps::read(None, CapSet::Effective);
    // A thread whose capabilities cannot be changed keeps them, and the call is allowed.
    let _ = caps::set(None, CapSet::Effective, &(set & &held()));
    let result = f();
    if let Ok(before) = before {
        let _ = caps::set(None, CapSet::Effective, &before);
    }
    result
}

/// Removes all other capabilities from every set of this thread, for ever.
pub(super) fn keep_only(keep: &Set) -> Result<(), String> {
    let keep = &(keep & &held());
    // A bounding set limits what a later exec can gain. Without CAP_SETPCAP it stays as it is, and
    // matters to nobody: the filter refuses each exec, and no_new_privs takes effect in each.
    let may_bound = caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP);
    if may_bound.unwrap_or(false) {
        for capability in caps::all().difference(keep) {
            // A kernel that is older than the list does not know each of them.
            let _ = caps::drop(None, CapSet::Bounding, *capability);
        }
    }
    let text = |error: caps::errors::CapsError| error.to_string();
    // Before Linux 4.3 there are no ambient capabilities.
    let _ = caps::clear(None, CapSet::Ambient);
    caps::set(None, CapSet::Inheritable, &Set::new()).map_err(text)?;
    caps::set(None, CapSet::Effective, keep).map_err(text)?;
    caps::set(None, CapSet::Permitted, keep).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_keeps_what_it_names_and_no_more() {
        if held().is_empty() {
            return; // not root
        }
        let inner = std::thread::spawn(|| {
            let keep = Set::from([Capability::CAP_SYS_PTRACE]);
            assert!(with(&Set::new(), || {
                caps::read(None, CapSet::Effective).is_ok_and(|set| set.is_empty())
            }));
            assert!(caps::read(None, CapSet::Effective).is_ok_and(|set| set.len() > 1));
            keep_only(&keep).expect("capabilities can always be given up");
            for set in [CapSet::Effective, CapSet::Permitted, CapSet::Bounding] {
                assert_eq!(caps::read(None, set).ok().as_ref(), Some(&keep), "{set:?}");
            }
            for set in [CapSet::Inheritable, CapSet::Ambient] {
                assert_eq!(caps::read(None, set).ok(), Some(Set::new()), "{set:?}");
            }
        });
        inner.join().expect("it does not panic");
    }

    #[test]
    fn names_are_sorted() {
        let set = Set::from([Capability::CAP_SYS_PTRACE, Capability::CAP_BPF]);
        assert_eq!(named(&set), "CAP_BPF, CAP_SYS_PTRACE");
        assert_eq!(named(&Set::new()), "none");
    }
}
