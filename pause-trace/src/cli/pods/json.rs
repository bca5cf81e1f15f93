//! `ls` and `inspect` for programs.
//!
//! Schema 1, as of the other reports: every line has `schema` (1) and `type`; fields may be added, none is renamed or removed
//! within a schema. Times are RFC 3339 UTC beside `ktime_ns`, ns of `CLOCK_BOOTTIME`. What a pod chose is escaped (`\u{1b}`,
//! `\xff`, `\\`) before it becomes a JSON string. Fields of which nothing is known are left out.
//!
//! | `type` | when | fields |
//! |---|---|---|
//! | `pod` | `ls`, one a pause | `time`, `ktime_ns`, `ebpf` (whether the kernel program ran), `unknown`: [what nobody can say without it], `pod`, `sandbox` (id; none where the pause is gone or the runtime has none), `pause` (a process), `namespaces`: {name: inode} of the pause, `host`: [names of those that are the host's], `misfits`: [{`container`, `namespace`, `asked`, `is`}], `containers` (how many), `members` (processes beside the pause that live), `zombies`, `pss_bytes` (the pause's), `memory_bytes` (what the cgroups are charged with), `addresses`, `verdicts`: {`worst` (`pass`, `inconclusive`, `fail`), `severity`, `rules`: [ids of the worst], `pass`, `inconclusive`, `fail`} |
//! | `inspect` | `inspect`, once | `time`, `ktime_ns`, `ebpf`, `unknown`, `gaps`: [sentences: what else is not known and why], `pod`, `host`: {name: inode}, `containers`, `networks`, `signals`, `verdicts`: [as `finding` in the reports, passes included] |
//!
//! `pod` is {`namespace`, `name`, `uid`}. A process is {`pid`, `start_ns`, `age_ns`, `ns_pid`, `parent`, `comm`, `state`}; `state` is a letter of
//! proc_pid_stat(5). A container is {`id`, `name`, `kind` (`sandbox`, `app`, `ephemeral`), `sandbox`, `source` (who said what was asked
//! for: `cri`, `bundle`), `pid`, `memory_bytes`, `stop_signal`, `pause` {`pss_bytes`, `threads`, `descriptors`, `uid`, `oom_score_adj`},
//! `namespaces`: {name: {`inode`, `is`, `of` (the id of the container it belongs to, for `other`), `asked`, `fits`}}, `processes`, `left_out` (how many more
//! processes it has)}. `is` compares with the pause and the host: `same` as the pause's, its `own`, the `host`'s, an`other` container's,
//! `unknown`. `asked` is CRI's mode: `pod`, `container`, `node`, {`target`: id}. A network is {`inode`, `containers`: [ids],
//! `interfaces`: [{`name`, `up`}], `addresses`, `ways_out`: [{`interface`, `gateway`}], `listening`: [{`protocol`, `address`, `port`}], `ready`}. A
//! signal is {`time`, `ktime_ns`, `signal`, `to` (a pid), `comm`, `container`, `from` {`pid`, `comm`} (none: the kernel), `result`, `handled`, `count`}.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Serialize;

use super::{Seen, badness};
use crate::{
    event::{ContainerKind, Ktime, Mode, NamespaceKind, SignalResult, Source, Text, signal_name},
    node::{
        network::{Network, Protocol},
        procfs::NS_PER_TICK,
        survey::process::{self, Link},
    },
    pods::{Compared, ContainerView, PodView, SandboxView, SignalSeen, Whose},
    report::Finding,
    verdict::{Outcome, Severity},
};

const SCHEMA: u32 = 1;

/// How many processes of a container are listed.
const MOST_PROCESSES: usize = 1024;

/// What `ls` writes: a line a pause.
pub(in crate::cli) fn list(seen: &Seen) -> serde_json::Result<String> {
    let mut text = String::new();
    for pod in &seen.sight.pods {
        for sandbox in pod.sandboxes() {
            text.push_str(&serde_json::to_string(&Listed::new(seen, pod, &sandbox))?);
            text.push('\n');
        }
    }
    Ok(text)
}

/// What `inspect` writes: one line.
pub(in crate::cli) fn inspected(seen: &Seen, pod: &PodView) -> serde_json::Result<String> {
    Ok(serde_json::to_string(&Inspected::new(seen, pod))? + "\n")
}

/// What each line begins with.
#[derive(Serialize)]
struct Head {
    schema: u32,
    r#type: &'static str,
    time: String,
    ktime_ns: Ktime,
    ebpf: bool,
    unknown: &'static [&'static str],
}

impl Head {
    fn new(seen: &Seen, r#type: &'static str) -> Self {
        Self {
            schema: SCHEMA,
            r#type,
            time: seen.clock.utc(seen.now),
            ktime_ns: seen.now,
            ebpf: seen.judged.is_some(),
            unknown: seen.unknown(),
        }
    }
}

#[derive(Serialize)]
struct Pod<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Text>,
    uid: String,
}

impl<'a> Pod<'a> {
    fn new(pod: &'a PodView) -> Self {
        Self {
            namespace: pod.namespace.as_ref(),
            name: pod.name.as_ref(),
            uid: Text::new(&pod.id).to_string(),
        }
    }
}

#[derive(Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    head: Head,
    pod: Pod<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Process>,
    namespaces: BTreeMap<&'static str, u32>,
    host: Vec<&'static str>,
    misfits: Vec<Misfit<'a>>,
    containers: usize,
    members: usize,
    zombies: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pss_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    addresses: Vec<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Verdicts>,
}

#[derive(Serialize)]
struct Misfit<'a> {
    container: String,
    namespace: &'static str,
    asked: &'a Mode,
    is: &'static str,
}

impl<'a> Listed<'a> {
    fn new(seen: &Seen, pod: &'a PodView, sandbox: &SandboxView<'a>) -> Self {
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
                namespace: found.kind.name(),
                asked: &found.asked,
                is: found.whose.name(),
            })
        });
        let network = pause
            .and_then(|pause| pause.inode(NamespaceKind::Net))
            .and_then(|net| pod.networks.get(&net));
        Self {
            head: Head::new(seen, "pod"),
            pod: Pod::new(pod),
            sandbox: pause.map(|pause| &*pause.id),
            pause: pause
                .and_then(ContainerView::entrypoint)
                .map(|process| Process::new(process, seen.now)),
            namespaces: compared().filter_map(inode).collect(),
            host: compared()
                .filter(|found| found.whose == Whose::Host)
                .map(|found| found.kind.name())
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
            verdicts: Verdicts::new(seen, pod),
        }
    }
}

fn inode(compared: &Compared) -> Option<(&'static str, u32)> {
    match compared.link {
        Link::Inode(inode) => Some((compared.kind.name(), inode)),
        Link::Gone | Link::Unknown => None,
    }
}

/// All verdicts on a pod in short.
#[derive(Default, Serialize)]
struct Verdicts {
    #[serde(skip_serializing_if = "Option::is_none")]
    worst: Option<Outcome>,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<Severity>,
    rules: Vec<&'static str>,
    pass: u64,
    inconclusive: u64,
    fail: u64,
}

impl Verdicts {
    fn new(seen: &Seen, pod: &PodView) -> Option<Self> {
        seen.judged.as_ref()?;
        let mut short = Self::default();
        for verdict in seen.verdicts(&pod.id) {
            *match verdict.outcome {
                Outcome::Pass => &mut short.pass,
                Outcome::Inconclusive => &mut short.inconclusive,
                Outcome::Fail => &mut short.fail,
            } += 1;
        }
        let worst = seen
            .verdicts(&pod.id)
            .max_by_key(|verdict| badness(verdict));
        if let Some(worst) = worst {
            short.worst = Some(worst.outcome);
            short.severity = (worst.outcome == Outcome::Fail).then(|| worst.severity());
            let alike = seen
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
}

#[derive(Serialize)]
struct Process {
    pid: u32,
    start_ns: Ktime,
    age_ns: Ktime,
    ns_pid: u32,
    parent: u32,
    comm: String,
    state: char,
}

impl Process {
    fn new(process: &process::Process, now: Ktime) -> Self {
        let start = process.start_ticks * NS_PER_TICK;
        Self {
            pid: process.pid,
            start_ns: start,
            age_ns: now.saturating_sub(start),
            ns_pid: process.ns_pid,
            parent: process.parent,
            comm: process.comm.to_string(),
            state: process.state.into(),
        }
    }
}

#[derive(Serialize)]
struct Inspected<'a> {
    #[serde(flatten)]
    head: Head,
    gaps: &'a [String],
    pod: Pod<'a>,
    host: BTreeMap<&'static str, u32>,
    containers: Vec<Container<'a>>,
    networks: Vec<Net<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signals: Option<Vec<Signal>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdicts: Option<Vec<Finding<'a>>>,
}

impl<'a> Inspected<'a> {
    fn new(seen: &'a Seen, pod: &'a PodView) -> Self {
        let judged = seen.judged.as_ref();
        let host = seen.sight.host.as_ref();
        let hosts = NamespaceKind::ALL
            .into_iter()
            .filter_map(|kind| match host?.namespace(kind) {
                Link::Inode(inode) => Some((kind.name(), inode)),
                Link::Gone | Link::Unknown => None,
            });
        Self {
            head: Head::new(seen, "inspect"),
            gaps: &seen.sight.gaps,
            pod: Pod::new(pod),
            host: hosts.collect(),
            containers: pod
                .containers
                .iter()
                .map(|container| Container::new(container, seen.now))
                .collect(),
            networks: pod
                .networks
                .iter()
                .map(|(inode, network)| Net::new(pod, *inode, network))
                .collect(),
            signals: judged.map(|judged| {
                let of_pod = judged.signals.iter().filter(|signal| signal.pod == pod.id);
                of_pod.map(|signal| Signal::new(seen, signal)).collect()
            }),
            verdicts: judged.map(|judged| {
                seen.verdicts(&pod.id)
                    .map(|verdict| Finding::new(verdict, &judged.names, seen.clock))
                    .collect()
            }),
        }
    }
}

#[derive(Serialize)]
struct Container<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<ContainerKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sandbox: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<Source>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop_signal: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<Pause>,
    namespaces: BTreeMap<&'static str, Namespace<'a>>,
    processes: Vec<Process>,
    left_out: usize,
}

#[derive(Serialize)]
struct Pause {
    pss_bytes: u64,
    threads: u32,
    descriptors: u32,
    uid: u32,
    oom_score_adj: i32,
}

#[derive(Serialize)]
struct Namespace<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    inode: Option<u32>,
    is: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    asked: Option<&'a Mode>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fits: Option<bool>,
}

impl<'a> Container<'a> {
    fn new(container: &'a ContainerView, now: Ktime) -> Self {
        let asked = container.asked.as_ref();
        let processes = container.tree().into_iter().take(MOST_PROCESSES);
        Self {
            id: &container.id,
            name: container.name.as_ref(),
            kind: container.kind(),
            sandbox: container.sandbox.as_deref(),
            source: asked.map(|asked| asked.source),
            pid: container.first,
            memory_bytes: container.memory,
            stop_signal: asked.map(|asked| signal_name(asked.stop_signal)),
            pause: container.status.as_ref().map(|status| Pause {
                pss_bytes: status.pss_bytes,
                threads: status.threads,
                descriptors: status.descriptors,
                uid: status.uid,
                oom_score_adj: status.oom_score_adj,
            }),
            namespaces: container
                .namespaces
                .iter()
                .map(|found| (found.kind.name(), Namespace::new(found)))
                .collect(),
            processes: processes
                .map(|(_, process)| Process::new(process, now))
                .collect(),
            left_out: container.processes.len().saturating_sub(MOST_PROCESSES),
        }
    }
}

impl<'a> Namespace<'a> {
    fn new(found: &'a Compared) -> Self {
        Self {
            inode: inode(found).map(|(_, inode)| inode),
            is: found.whose.name(),
            of: match &found.whose {
                Whose::Other(owner) => Some(owner),
                _ => None,
            },
            asked: Some(&found.asked).filter(|asked| **asked != Mode::Unknown),
            fits: found.fits,
        }
    }
}

#[derive(Serialize)]
struct Net<'a> {
    inode: u32,
    containers: Vec<&'a str>,
    interfaces: Vec<Interface<'a>>,
    addresses: Vec<IpAddr>,
    ways_out: Vec<WayOut<'a>>,
    listening: Vec<Listening>,
    ready: bool,
}

#[derive(Serialize)]
struct Interface<'a> {
    name: &'a Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    up: Option<bool>,
}

#[derive(Serialize)]
struct WayOut<'a> {
    interface: &'a Text,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway: Option<IpAddr>,
}

#[derive(Serialize)]
struct Listening {
    protocol: &'static str,
    address: IpAddr,
    port: u16,
}

impl<'a> Net<'a> {
    fn new(pod: &'a PodView, inode: u32, network: &'a Network) -> Self {
        let inside = pod
            .containers
            .iter()
            .filter(|container| container.inode(NamespaceKind::Net) == Some(inode));
        Self {
            inode,
            containers: inside.map(|container| &*container.id).collect(),
            interfaces: network
                .interfaces
                .iter()
                .map(|interface| Interface {
                    name: &interface.name,
                    up: interface.is_up,
                })
                .collect(),
            addresses: network.addresses.iter().copied().collect(),
            ways_out: network
                .ways_out
                .iter()
                .map(|way| WayOut {
                    interface: &way.interface,
                    gateway: way.gateway,
                })
                .collect(),
            listening: network
                .listening
                .iter()
                .map(|listening| Listening {
                    protocol: match listening.protocol {
                        Protocol::Tcp => "tcp",
                        Protocol::Udp => "udp",
                    },
                    address: listening.address,
                    port: listening.port,
                })
                .collect(),
            ready: network.is_ready(),
        }
    }
}

#[derive(Serialize)]
struct Signal {
    time: String,
    ktime_ns: Ktime,
    signal: String,
    to: u32,
    comm: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<Sender>,
    result: SignalResult,
    handled: bool,
    count: u64,
}

#[derive(Serialize)]
struct Sender {
    pid: u32,
    comm: String,
}

impl Signal {
    fn new(seen: &Seen, signal: &SignalSeen) -> Self {
        Self {
            time: seen.clock.utc(signal.time),
            ktime_ns: signal.time,
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
}

#[cfg(test)]
pub(in crate::cli) mod testing {
    use super::*;
    use crate::{
        event::{Comm, ProcessId},
        pods::{self, Judged, Sight},
        report::testing,
        verdict::ProcessRef,
    };

    /// The pods of [`pods::testing`] at 400 s.
    pub(in crate::cli) fn seen(judged: Option<Judged>) -> Seen {
        Seen {
            now: 400_000_000_000,
            clock: testing::CLOCK,
            sight: Sight {
                pods: pods::testing::pods(),
                host: Some(pods::testing::host()),
                gaps: Vec::new(),
            },
            judged,
        }
    }

    /// A violation, what passed, and a signal, all of `default/web`.
    pub(in crate::cli) fn judged() -> Judged {
        let mut verdicts = vec![testing::passed(), testing::failed()];
        for verdict in &mut verdicts {
            verdict.subject.pod = Some("uid-web".into());
        }
        Judged {
            verdicts,
            names: testing::names(),
            signals: vec![SignalSeen {
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
    fn a_pause_is_an_object_a_line() {
        let text = list(&testing::seen(None)).expect("it is JSON");
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
        assert!(web.get("verdicts").is_none(), "nobody knows");
        assert_eq!(lines[1]["pod"]["name"], "db-\\u{1b}[2J");
    }

    #[test]
    fn verdicts_are_counted_and_the_worst_are_named() {
        let text = list(&testing::seen(Some(testing::judged()))).expect("it is JSON");
        let web = text.lines().map(object).nth(2).expect("it is the third");
        assert_eq!(
            web["verdicts"],
            json!({"worst": "fail", "severity": "error", "rules": ["PT101"], "pass": 1, "inconclusive": 0, "fail": 1})
        );
    }

    #[test]
    fn a_pod_is_shown_in_every_detail() {
        let seen = testing::seen(Some(testing::judged()));
        let text = inspected(&seen, &seen.sight.pods[2]).expect("it is JSON");
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
