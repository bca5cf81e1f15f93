//! `ls` and `inspect` as JSON lines, of the types in [`wire`](crate::report::wire).

use super::{NodeSnapshot, badness};
use crate::{
    event::{Ktime, Mode, NamespaceKind, Text, signal_name},
    node::{
        network,
        procfs::NS_PER_TICK,
        survey::process::{self, Link},
    },
    pods::{Compared, ContainerView, NamespaceOwner, ObservedSignal, PodView, SandboxView},
    report::wire::{
        Body, ComparedNamespace, Container, Finding, Head, Inspect, InspectedContainer, Interface,
        Line, ListedPod, Listening, Misfit, Namespaces, Network, Pause, Pod, Port, Process, Route,
        RunningProcess, Sender, Signal, VerdictCounts, When,
    },
    stop_outlook::StopOutlook,
    verdict::Outcome,
};

/// The processes of a container that are listed.
const MAX_PROCESSES: usize = 1024;

/// The output of `ls`: one line per pause.
pub(in crate::cli) fn list(node: &NodeSnapshot) -> serde_json::Result<String> {
    let mut text = String::new();
    for pod in &node.snapshot.pods {
        for sandbox in pod.sandboxes() {
            let listed = Body::Listed(Box::new(listed(node, pod, &sandbox)));
            text.push_str(&Line::new(listed).text()?);
        }
    }
    Ok(text)
}

/// The output of `inspect`: one line.
pub(in crate::cli) fn inspected(node: &NodeSnapshot, pod: &PodView) -> serde_json::Result<String> {
    Line::new(Body::Inspect(Box::new(inspect(node, pod)))).text()
}

fn head(node: &NodeSnapshot) -> Head {
    Head::new(node.clock, node.now, node.judged.is_some(), node.unknown())
}

pub(in crate::cli) fn named(pod: &PodView) -> Pod {
    Pod {
        namespace: pod.namespace.as_ref().map(Text::to_string),
        name: pod.name.as_ref().map(Text::to_string),
        uid: Text::new(&pod.id).to_string(),
    }
}

fn listed(node: &NodeSnapshot, pod: &PodView, sandbox: &SandboxView<'_>) -> ListedPod {
    let pause = sandbox.sandbox;
    let compared = || pause.into_iter().flat_map(|pause| &pause.namespaces);
    let all = sandbox.members.iter().copied().chain(pause);
    let misfits = all.flat_map(|container| {
        let wrong = container
            .namespaces
            .iter()
            .filter(|found| found.fits == Some(false));
        wrong.map(|found| Misfit {
            container: container.title(),
            namespace: found.kind,
            asked: found.asked.clone(),
            is: found.whose.name(),
        })
    });
    let network = pause
        .and_then(|pause| pause.inode(NamespaceKind::Net))
        .and_then(|net| pod.networks.get(&net));
    ListedPod {
        head: head(node),
        pod: named(pod),
        sandbox: pause.map(|pause| pause.id.to_string()),
        pause: pause
            .and_then(ContainerView::entrypoint)
            .map(|process| running(process, node.now)),
        namespaces: compared().filter_map(inode).collect(),
        host: compared()
            .filter(|found| found.whose == NamespaceOwner::Host)
            .map(|found| found.kind)
            .collect(),
        misfits: misfits.collect(),
        containers: sandbox.members.len(),
        members: sandbox.members(),
        zombies: sandbox.zombies(),
        pss_bytes: pause.and_then(|pause| Some(pause.status.as_ref()?.pss_bytes)),
        memory_bytes: sandbox.memory(),
        addresses: network.map_or_else(Vec::new, |network| {
            network.outer_addresses().copied().collect()
        }),
        slow_stops: sandbox.slow_stops().map(ContainerView::title).collect(),
        ports: {
            let all = sandbox.members.iter().copied().chain(pause);
            all.flat_map(ports).collect()
        },
        verdicts: counted(node, pod),
    }
}

fn inode(compared: &Compared) -> Option<(NamespaceKind, u32)> {
    match compared.link {
        Link::Inode(inode) => Some((compared.kind, inode)),
        Link::Gone | Link::Unknown => None,
    }
}

/// The counts of a pod's verdicts and the rules of the worst ones.
fn counted(node: &NodeSnapshot, pod: &PodView) -> Option<VerdictCounts> {
    node.judged.as_ref()?;
    let mut short = VerdictCounts::default();
    for verdict in node.verdicts(&pod.id) {
        short.counts.count(verdict.outcome, 1);
    }
    let worst = node
        .verdicts(&pod.id)
        .max_by_key(|verdict| badness(verdict));
    if let Some(worst) = worst {
        short.worst = Some(worst.outcome);
        short.severity = (worst.outcome == Outcome::Fail).then(|| worst.severity());
        let alike = node
            .verdicts(&pod.id)
            .filter(|verdict| badness(verdict) == badness(worst));
        short.rules = alike
            .filter(|verdict| verdict.outcome != Outcome::Pass)
            .map(|verdict| verdict.rule.id)
            .collect();
        short.rules.sort_unstable();
        short.rules.dedup();
    }
    Some(short)
}

fn running(process: &process::Process, now: Ktime) -> RunningProcess {
    let start = process.start_ticks * NS_PER_TICK;
    RunningProcess {
        process: Process {
            pid: process.pid,
            start_ns: start,
            ns_pid: process.ns_pid,
            comm: process.comm.to_string(),
        },
        age_ns: now.saturating_sub(start),
        parent: process.parent,
        state: process.state.into(),
    }
}

fn inspect<'a>(node: &'a NodeSnapshot, pod: &'a PodView) -> Inspect<'a> {
    let judged = node.judged.as_ref();
    let hosts: Namespaces = NamespaceKind::ALL
        .into_iter()
        .zip(pod.host())
        .filter_map(|(kind, link)| match link {
            Link::Inode(inode) => Some((kind, inode)),
            Link::Gone | Link::Unknown => None,
        })
        .collect();
    Inspect {
        head: head(node),
        gaps: &node.snapshot.gaps,
        pod: named(pod),
        host: hosts,
        containers: pod
            .containers
            .iter()
            .map(|view| container(view, node.now))
            .collect(),
        networks: pod
            .networks
            .iter()
            .map(|(inode, found)| network(pod, *inode, found))
            .collect(),
        signals: judged.map(|judged| {
            let of_pod = judged.signals.iter().filter(|signal| signal.pod == pod.id);
            of_pod.map(|sent| signal(node, sent)).collect()
        }),
        history: node
            .told
            .as_ref()
            .map(|told| told.json(&pod.id, node.clock)),
        verdicts: judged.map(|judged| {
            node.verdicts(&pod.id)
                .map(|verdict| Finding::new(verdict, &judged.names, node.clock))
                .collect()
        }),
    }
}

fn container(view: &ContainerView, now: Ktime) -> InspectedContainer {
    let asked = view.asked.as_ref();
    let processes = view.tree().into_iter().take(MAX_PROCESSES);
    InspectedContainer {
        container: Container {
            name: view.name.as_ref().map(Text::to_string),
            id: view.id.to_string(),
            run: None,
        },
        kind: view.kind(),
        sandbox: view.sandbox.as_deref().map(str::to_owned),
        source: asked.map(|asked| asked.source),
        pid: view.first,
        memory_bytes: view.memory,
        stop_signal: asked
            .filter(|asked| asked.stop_signal != 0)
            .map(|asked| signal_name(asked.stop_signal)),
        stop: view.stop.map(StopOutlook::name),
        pause: view.status.as_ref().map(|status| Pause {
            pss_bytes: status.pss_bytes,
            threads: status.threads,
            descriptors: status.descriptors,
            uid: status.uid,
            oom_score_adj: status.oom_score_adj,
        }),
        namespaces: view
            .namespaces
            .iter()
            .map(|found| (found.kind.name(), compared(found)))
            .collect(),
        ports: ports(view).collect(),
        processes: processes
            .map(|(_, process)| running(process, now))
            .collect(),
        left_out: view.processes.len().saturating_sub(MAX_PROCESSES),
    }
}

fn compared(found: &Compared) -> ComparedNamespace {
    ComparedNamespace {
        inode: inode(found).map(|(_, inode)| inode),
        is: found.whose.name(),
        of: match &found.whose {
            NamespaceOwner::Other(owner) => Some(owner.to_string()),
            _ => None,
        },
        asked: Some(&found.asked)
            .filter(|asked| **asked != Mode::Unknown)
            .cloned(),
        fits: found.fits,
    }
}

fn network(pod: &PodView, inode: u32, network: &network::Network) -> Network {
    let inside = pod
        .containers
        .iter()
        .filter(|container| container.inode(NamespaceKind::Net) == Some(inode));
    Network {
        inode,
        containers: inside.map(|container| container.id.to_string()).collect(),
        interfaces: network
            .interfaces
            .iter()
            .map(|interface| Interface {
                name: interface.name.to_string(),
                up: interface.is_up,
            })
            .collect(),
        addresses: network.addresses.iter().copied().collect(),
        ways_out: network
            .ways_out
            .iter()
            .map(|way| Route {
                interface: way.interface.to_string(),
                gateway: way.gateway,
            })
            .collect(),
        listening: network.listening.iter().map(socket).collect(),
        ready: network.is_ready(),
    }
}

fn socket(listening: &network::Listening) -> Listening {
    Listening {
        protocol: listening.protocol.name(),
        address: listening.address,
        port: listening.port,
    }
}

fn ports(view: &ContainerView) -> impl Iterator<Item = Port> {
    view.ports.iter().map(|port| Port {
        container: view.title(),
        socket: socket(&port.listening),
        pid: port.pid,
        comm: port.comm.to_string(),
    })
}

fn signal(node: &NodeSnapshot, signal: &ObservedSignal) -> Signal {
    Signal {
        when: When::new(node.clock, signal.time),
        signal: signal_name(signal.signal),
        to: signal.target.id.pid,
        comm: signal.target.comm.to_string(),
        container: signal
            .container
            .as_ref()
            .map(|id| Text::new(id).to_string()),
        from: signal.from.map(|(pid, comm)| Sender {
            pid,
            comm: comm.to_string(),
        }),
        result: signal.result,
        handled: signal.handled,
        count: signal.count,
    }
}

#[cfg(test)]
pub(in crate::cli) mod testing {
    use std::collections::HashMap;

    use super::*;
    use crate::{
        event::{Comm, ProcessId, SignalResult},
        pods::{self, Judged, Snapshot},
        report::testing,
        verdict::ProcessRef,
    };

    /// The pods of [`pods::testing`] at 400 s.
    pub(in crate::cli) fn node(judged: Option<Judged>) -> NodeSnapshot {
        NodeSnapshot {
            now: 400_000_000_000,
            clock: testing::CLOCK,
            snapshot: Snapshot {
                pods: pods::testing::pods(),
                gaps: Vec::new(),
            },
            judged,
            told: None,
        }
    }

    /// A pass, a violation and a signal, all of `default/web`.
    pub(in crate::cli) fn judged() -> Judged {
        let mut verdicts = vec![testing::passed(), testing::failed()];
        for verdict in &mut verdicts {
            verdict.subject.pod = Some("uid-web".into());
        }
        Judged {
            verdicts,
            names: testing::names(),
            hosts: HashMap::new(),
            signals: vec![ObservedSignal {
                time: 99_000_000_000,
                pod: "uid-web".into(),
                container: None,
                target: ProcessRef {
                    id: ProcessId {
                        pid: 1500,
                        start: 150_000_000_000,
                    },
                    ns_pid: 1,
                    comm: Comm::new("app"),
                },
                signal: 15,
                result: SignalResult::Ignored,
                from: Some((7, Comm::new("evil\n"))),
                handled: false,
                count: 1,
            }],
            lost: 0,
            is_early: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(line: &str) -> Value {
        serde_json::from_str(line).expect("it is JSON")
    }

    #[test]
    fn each_pause_is_one_object_per_line() {
        let text = list(&testing::node(None)).expect("it is JSON");
        let lines: Vec<Value> = text.lines().map(object).collect();
        assert_eq!(lines.len(), 3);
        let web = &lines[2];
        assert_eq!(web["type"], "pod");
        assert_eq!(
            web["pod"],
            json!({"namespace": "default", "name": "web", "uid": "uid-web"})
        );
        assert_eq!(
            (&web["ebpf"], &web["unknown"]),
            (&json!(false), &json!(["verdicts", "signals"]))
        );
        assert_eq!(web["pause"]["pid"], 1000);
        assert_eq!((&web["members"], &web["zombies"]), (&json!(3), &json!(1)));
        assert_eq!(
            web["misfits"],
            json!([{"container": "side", "namespace": "net", "asked": "pod", "is": "own"}])
        );
        assert!(web.get("verdicts").is_none(), "they are unknown");
        assert_eq!(lines[1]["pod"]["name"], "db-\\u{1b}[2J");
    }

    #[test]
    fn verdicts_are_counted_and_the_worst_are_named() {
        let text = list(&testing::node(Some(testing::judged()))).expect("it is JSON");
        let web = text.lines().map(object).nth(2).expect("it is the third");
        assert_eq!(
            web["verdicts"],
            json!({"worst": "fail", "severity": "error", "rules": ["PT101"], "pass": 1, "inconclusive": 0, "fail": 1})
        );
    }

    #[test]
    fn inspect_lists_every_detail_of_a_pod() {
        let node = testing::node(Some(testing::judged()));
        let text = inspected(&node, &node.snapshot.pods[2]).expect("it is JSON");
        assert_eq!(text.lines().count(), 1);
        let web = object(&text);
        assert_eq!(web["containers"][0]["kind"], "sandbox");
        assert_eq!(
            web["containers"][2]["namespaces"]["net"],
            json!({"inode": 1009, "is": "own", "asked": "pod", "fits": false})
        );
        assert_eq!(
            web["networks"][0]["listening"],
            json!([{"protocol": "tcp", "address": "0.0.0.0", "port": 80}])
        );
        assert_eq!(web["signals"][0]["signal"], "SIGTERM");
        assert_eq!(
            web["signals"][0]["from"],
            json!({"pid": 7, "comm": "evil\\u{a}"})
        );
        assert_eq!(web["verdicts"][1]["rule"], "PT101");
        assert!(web["verdicts"][1]["evidence"].is_array());
    }
}
