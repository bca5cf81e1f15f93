//! The names of pods and containers.

use std::collections::VecDeque;

use foldhash::HashMap;

use super::wire::{Container, Pod};
use crate::{
    event::{Called, ContainerFact, ContainerId, Event, Fact, PodFact, PodId, Request, escape},
    observer::Observer,
    state::State,
    verdict::{ProcessRef, Subject},
};

/// Most removed pods whose names are kept: the last verdicts on a pod come some time after its
/// removal.
const MAX_REMOVED: usize = 1024;

/// Names by id. They come from the same events as the state, but are separate from it, because the
/// state forgets a pod before the last verdicts on it are reported.
#[derive(Clone, Debug, Default)]
pub struct Names {
    pods: HashMap<PodId, (String, String)>,
    containers: HashMap<ContainerId, (PodId, String)>,
    removed: VecDeque<PodId>,
    /// The pods that only a network plugin was asked about so far, the latest last.
    expected: VecDeque<PodId>,
}

impl Observer for Names {
    fn event(&mut self, event: &Event, _: &State) {
        self.learn(&event.fact);
    }
}

impl Names {
    /// Adds the names in a fact. It must be called before the event is judged.
    pub(crate) fn learn(&mut self, fact: &Fact) {
        match fact {
            Fact::Pod(PodFact {
                pod,
                namespace,
                name,
                ..
            }) => {
                self.pods
                    .insert(pod.clone(), (namespace.to_string(), name.to_string()));
                self.expected.retain(|expected| expected != pod);
            }
            Fact::Called(Called {
                request: Request::Cni(request),
                ..
            }) => {
                let Some(pod) = request.pod().filter(|pod| !self.pods.contains_key(pod)) else {
                    return;
                };
                let (namespace, name) = (&request.namespace, &request.name);
                self.pods
                    .insert(pod.clone(), (namespace.to_string(), name.to_string()));
                self.expected.push_back(pod);
                if self.expected.len() > MAX_REMOVED
                    && let Some(oldest) = self.expected.pop_front()
                {
                    self.pods.remove(&oldest);
                }
            }
            Fact::Container(ContainerFact {
                container,
                pod,
                name,
                ..
            }) => {
                self.containers
                    .insert(container.clone(), (pod.clone(), name.to_string()));
            }
            Fact::PodRemoved { pod } => {
                self.removed.push_back(pod.clone());
                if self.removed.len() > MAX_REMOVED
                    && let Some(oldest) = self.removed.pop_front()
                {
                    self.pods.remove(&oldest);
                    self.containers.retain(|_, (pod, _)| *pod != oldest);
                }
            }
            _ => {}
        }
    }

    pub(crate) fn pod(&self, id: &PodId) -> Pod {
        let (namespace, name) = self.pods.get(id).cloned().unzip();
        Pod {
            namespace,
            name,
            uid: escaped(id),
        }
    }

    /// The Kubernetes namespace and the name of a pod, as far as they are known.
    pub fn of_pod(&self, id: &PodId) -> (Option<&str>, Option<&str>) {
        let known = self.pods.get(id);
        known.map_or((None, None), |(namespace, name)| {
            (Some(namespace), Some(name))
        })
    }

    /// The name of a container, if it is known.
    pub fn of_container(&self, id: &ContainerId) -> Option<&str> {
        self.containers.get(id).map(|(_, name)| name.as_str())
    }

    /// Whether a pod is meant by `NAMESPACE/NAME`, its name alone, its uid, or the id of one of its
    /// containers. If no known pod is called exactly so, each pod is meant for which one of them
    /// begins so: `web` means all pods of the Deployment `web`.
    pub fn matches(&self, id: &PodId, wanted: &str) -> bool {
        !wanted.is_empty()
            && (self.is_called(id, |name| name == wanted)
                || self.begins(id, wanted) && !self.is_whole(wanted))
    }

    /// Whether a pod is called so.
    fn is_called(&self, id: &PodId, is_it: impl Fn(&str) -> bool) -> bool {
        let mut containers = self.containers.iter();
        self.is_named(id, &is_it)
            || containers.any(|(container, (pod, _))| pod == id && is_it(container))
    }

    /// The same without its containers.
    fn is_named(&self, id: &PodId, is_it: impl Fn(&str) -> bool) -> bool {
        let is_name = |(namespace, name): &(String, String)| {
            is_it(name) || is_it(&format!("{namespace}/{name}"))
        };
        is_it(id) || self.pods.get(id).is_some_and(is_name)
    }

    /// Whether a name of a pod begins so. The beginning of a namespace alone names no pod.
    fn begins(&self, id: &PodId, wanted: &str) -> bool {
        let has_namespace = wanted.contains('/');
        self.is_called(id, |name| {
            name.starts_with(wanted) && (has_namespace || !name.contains('/'))
        })
    }

    /// Whether a known pod is called exactly so.
    fn is_whole(&self, wanted: &str) -> bool {
        let mut pods = self.pods.keys();
        pods.any(|pod| self.is_named(pod, |name| name == wanted))
            || self.containers.keys().any(|id| **id == *wanted)
    }

    pub(crate) fn container(&self, id: &ContainerId) -> Container {
        Container::of_run(id, self.containers.get(id).map(|(_, name)| name.clone()))
    }

    /// The parts of a subject, from the whole to the part: `default/web`, `app`, `pid 4711
    /// (nginx)`. A part without a name is given by its id.
    pub(crate) fn parts(&self, subject: &Subject) -> Vec<String> {
        let pod = subject.pod.as_ref().map(|id| match self.pod(id) {
            Pod {
                namespace: Some(namespace),
                name: Some(name),
                ..
            } => format!("{namespace}/{name}"),
            Pod { uid, .. } => format!("pod {uid}"),
        });
        let container = subject.container.as_ref().map(|id| {
            let Container { name, id, run } = self.container(id);
            let short = || format!("container {}", id.chars().take(12).collect::<String>());
            let name = name.unwrap_or_else(short);
            run.map_or(name.clone(), |run| format!("{name} (run {run})"))
        });
        let process = subject
            .process
            .map(|ProcessRef { id, comm, .. }| format!("pid {} ({comm})", id.pid));
        [pod, container, process].into_iter().flatten().collect()
    }

    /// The pod and the container of a subject, as a path: `default/web/app`.
    pub(crate) fn place(&self, subject: &Subject) -> String {
        let place = Subject {
            process: None,
            ..subject.clone()
        };
        match &self.parts(&place)[..] {
            [] => "node".to_owned(),
            parts => parts.join("/"),
        }
    }

    /// The subject as a phrase: `default/web · app · pid 4711 (nginx)`.
    pub fn subject(&self, subject: &Subject) -> String {
        let parts = self.parts(subject);
        if parts.is_empty() {
            "node".to_owned()
        } else {
            parts.join(" · ")
        }
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let _ = escape(text.as_bytes(), &mut escaped);
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Modes, Source, Text},
        report::testing,
    };

    #[test]
    fn a_subject_without_a_name_is_shown_by_its_id() {
        let names = testing::names();
        let subject = Subject {
            pod: Some("uid-x".into()),
            container: Some("0123456789abcdef".into()),
            ..Subject::default()
        };
        assert_eq!(
            names.subject(&subject),
            "pod uid-x · container 0123456789ab"
        );
        assert_eq!(
            names.subject(&testing::failed().subject),
            "default/web · app · pid 4711 (nginx)"
        );
        assert_eq!(names.subject(&Subject::default()), "node");
    }

    #[test]
    fn a_prefix_means_all_pods_that_begin_so_unless_one_is_called_so() {
        let mut names = Names::default();
        let mut learn = |uid: &str, name: &str| {
            names.learn(&Fact::Pod(PodFact {
                pod: uid.into(),
                namespace: Text::new("default"),
                name: Text::new(name),
                modes: Modes::plain(),
                source: Source::Reference,
            }));
            names.clone()
        };
        learn("1", "web-7d-a");
        let names = learn("2", "web-7d-b");
        let meant = |names: &Names, wanted| {
            let mut uids = ["1", "2", "3"].to_vec();
            uids.retain(|uid| names.matches(&(*uid).into(), wanted));
            uids
        };
        for wanted in ["web", "web-7d-", "default/web"] {
            assert_eq!(meant(&names, wanted), ["1", "2"], "{wanted}");
        }
        assert_eq!(meant(&names, "web-7d-a"), ["1"]);
        for wanted in ["", "def", "default", "eb-7d", "kube-system/web"] {
            assert_eq!(meant(&names, wanted), [""; 0], "{wanted}");
        }
        let names = learn("3", "web");
        assert_eq!(meant(&names, "web"), ["3"]);
        assert_eq!(meant(&names, "default/web"), ["3"]);
        assert_eq!(meant(&names, "web-"), ["1", "2"]);
    }

    #[test]
    fn a_later_run_of_a_container_is_named_with_its_number() {
        let mut names = testing::names();
        let subject = Subject {
            container: Some("c7@2".into()),
            ..Subject::default()
        };
        assert_eq!(names.subject(&subject), "container c7 (run 2)");
        let container = names.container(&"c7@2".into());
        assert_eq!((&*container.id, container.run), ("c7", Some(2)));
        names.learn(&Fact::PodRemoved { pod: "p".into() });
        assert_eq!(names.container(&"c7".into()).run, None);
    }

    #[test]
    fn a_pod_is_called_by_its_name_its_uid_or_a_containers_id() {
        let names = testing::names();
        let matches = |wanted| names.matches(&"uid-1".into(), wanted);
        for wanted in ["default/web", "web", "uid-1", "uid-", "c1"] {
            assert!(matches(wanted), "{wanted}");
        }
        for wanted in [
            "",
            "default/wep",
            "eb",
            "default",
            "other/web",
            "c2",
            "id-1",
        ] {
            assert!(!matches(wanted), "{wanted}");
        }
    }

    #[test]
    fn names_of_removed_pods_are_kept_up_to_a_limit() {
        let mut names = testing::names();
        let gone = |pod: &str| Fact::PodRemoved { pod: pod.into() };
        names.learn(&gone("uid-1"));
        assert_eq!(names.pod(&"uid-1".into()).name.as_deref(), Some("web"));
        for other in 0..MAX_REMOVED {
            names.learn(&gone(&format!("other-{other}")));
        }
        assert_eq!(names.pod(&"uid-1".into()).name, None);
        assert_eq!(names.container(&"c1".into()).name, None);
    }
}
