//! Finds the pods that the user names.

use super::journal::{Journal, Pod};
use crate::event::PodId;

/// The pods that a name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Called {
    /// Their uids, sorted.
    pub pods: Vec<PodId>,
    /// Whether they are called exactly so. Otherwise their names begin so.
    pub is_whole: bool,
}

impl Journal {
    /// The pods that are meant by `NAMESPACE/NAME`, a name, a uid or the id of a container, as
    /// reports escape it or raw: those that are called exactly so, else those for which one of them
    /// begins so.
    pub fn called(&self, wanted: &str) -> Called {
        let whole = self.called_so(|name| name == wanted.as_bytes());
        if !whole.is_empty() {
            return Called {
                pods: whole,
                is_whole: true,
            };
        }
        // The beginning of a namespace alone names no pod.
        let has_namespace = wanted.contains('/');
        let begins = |name: &[u8]| {
            name.starts_with(wanted.as_bytes()) && (has_namespace || !name.contains(&b'/'))
        };
        let pods = match wanted {
            "" => Vec::new(),
            _ => self.called_so(begins),
        };
        Called {
            pods,
            is_whole: false,
        }
    }

    fn called_so(&self, is_it: impl Fn(&[u8]) -> bool) -> Vec<PodId> {
        let is_called = |id: &PodId, pod: &Pod| {
            is_it(id.as_bytes())
                || is_it(&pod.name.0)
                || is_it(&[&pod.namespace.0[..], b"/", &pod.name.0].concat())
                || is_it(format!("{}/{}", pod.namespace, pod.name).as_bytes())
        };
        let pods = self.pods.iter();
        let by_name = pods
            .filter(|(id, pod)| is_called(id, pod))
            .map(|(id, _)| id);
        let containers = self.containers.iter();
        let by_container = containers
            .filter(|(id, _)| is_it(id.as_bytes()))
            .map(|(_, container)| &container.fact.pod);
        let mut called: Vec<_> = by_name.chain(by_container).cloned().collect();
        called.sort_unstable();
        called.dedup();
        called
    }
}
