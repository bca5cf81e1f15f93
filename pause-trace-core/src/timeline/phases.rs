//! How long the phases of a pod's start took.

use foldhash::{HashSet, HashSetExt as _};

use super::model::{Element, ElementKind, Timeline};
use crate::event::{CniCommand, ContainerKind, Ktime};

/// How long the phases of a start took, in ns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phases {
    /// All CNI plugins that were to add an interface; `None` if none ran.
    pub cni: Option<Ktime>,
    /// From the beginning to the exec of the pause, which includes the CNI plugins of runtimes that
    /// run them first.
    pub sandbox: Option<Ktime>,
    /// The creation of each container but the sandbox: from the fork of the runtime's process that
    /// creates it to the exec of its entrypoint. Only the first run of a container counts.
    pub create: Vec<Ktime>,
    /// From the beginning to the first exec of the last container.
    pub start: Option<Ktime>,
    /// From the beginning to the first time that a process listened on a TCP port.
    pub first_listen: Option<Ktime>,
}

impl Timeline {
    /// The phases of the start; `None` if its beginning was not observed, or if records that belong
    /// to it may be missing.
    pub fn phases(&self) -> Option<Phases> {
        let began = self.began?;
        if !self.lost.is_empty() || self.is_cut {
            return None;
        }
        let since = |time: Ktime| time.saturating_sub(began);
        let plugins = self.elements.iter().filter(|element| {
            matches!(
                &element.what,
                ElementKind::Plugin { delegated: false, asked, .. }
                    if asked.as_ref().is_none_or(|(command, _)| *command == CniCommand::Add)
            )
        });
        let is_sandbox = |element: &&Element| {
            matches!(element.what, ElementKind::Run { .. })
                && self.kind_of(element) == Some(ContainerKind::Sandbox)
        };
        let mut names = HashSet::new();
        let firsts: HashSet<_> = self
            .containers
            .iter()
            .filter(|lane| lane.kind != ContainerKind::Sandbox && names.insert(&lane.name))
            .map(|lane| &lane.id)
            .collect();
        let creations = self.elements.iter().filter(|element| {
            let container = element.container.as_ref();
            element.what == ElementKind::Create && container.is_some_and(|id| firsts.contains(id))
        });
        Some(Phases {
            cni: plugins
                .filter_map(Element::duration)
                .reduce(Ktime::saturating_add),
            sandbox: self
                .elements
                .iter()
                .find(is_sandbox)
                .map(|pause| since(pause.time)),
            create: creations.filter_map(Element::duration).collect(),
            start: self.up.map(since),
            first_listen: self.listened_after(),
        })
    }

    /// The kind of the container that an element belongs to.
    fn kind_of(&self, element: &Element) -> Option<ContainerKind> {
        let id = element.container.as_ref()?;
        let lane = self.containers.iter().find(|lane| lane.id == *id)?;
        Some(lane.kind)
    }
}
