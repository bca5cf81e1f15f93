//! PT1xx: the namespaces of a pod's processes.

mod doors;
mod escape;
mod exec_session;
mod foreign_join;
mod host_leak;
mod ipc_shared;
mod join_failed;
mod late_join;
mod membership;
mod mount_private;
mod net_shared;
mod network_lost;
mod network_ready;
mod pid_mode;
mod user_owned;
mod uts_shared;

use super::Check;

/// The family, in the order of ids.
pub(super) const CHECKS: &[Check] = &[
    net_shared::CHECK,
    ipc_shared::CHECK,
    uts_shared::CHECK,
    pid_mode::CHECK,
    host_leak::CHECK,
    user_owned::CHECK,
    mount_private::CHECK,
    late_join::CHECK,
    escape::CHECK,
    foreign_join::CHECK,
    join_failed::CHECK,
    exec_session::CHECK,
    network_ready::CHECK,
    network_lost::CHECK,
];

#[cfg(test)]
mod tests {
    use crate::{
        event::*,
        rules::{Ledger, testing::*},
        state::{Limits, State},
        verdict::{Outcome, Severity, Verdict},
    };

    const NET: u64 = NamespaceKind::Net.flag();

    /// The failures that all rules together report for a scene.
    fn failures(scene: &Scene) -> Vec<Verdict> {
        let mut state = State::new(Limits::REFERENCE);
        let mut ledger = Ledger::new(|_| true);
        scene
            .events
            .iter()
            .for_each(|event| ledger.judge(&mut state, event, |_, _, _| ()));
        let mut verdicts = ledger.take();
        verdicts.retain(|verdict| verdict.outcome == Outcome::Fail);
        verdicts
    }

    fn host_network() -> Modes {
        Modes {
            net: Mode::Node,
            uts: Mode::Node,
            ..Modes::plain()
        }
    }

    fn user_namespaced() -> Modes {
        Modes {
            user: Mode::Pod,
            ..Modes::plain()
        }
    }

    /// Plants one fault in a healthy scene.
    type Fault = fn(&mut Scene);

    #[test]
    fn a_fault_is_one_error_of_its_own_rule() {
        let faults: [(&str, Fault); 16] = [
            ("PT101", |scene| {
                scene.pod("p");
                scene.container_with("p", "a", Modes::plain(), |ns| ns.net = 77);
                scene.observe("p", "a", Observed::NetworkReady, false, "lo is down");
                scene.observe("p", "a", Observed::Addresses, false, "none");
            }),
            ("PT101", |scene| {
                let other = scene.pod("q");
                let net = scene.namespaces(other).net;
                scene.pod("p");
                scene.container_with("p", "a", Modes::plain(), |ns| ns.net = net);
            }),
            ("PT102", |scene| {
                scene.pod("p");
                scene.container_with("p", "a", Modes::plain(), |ns| ns.ipc = HOST.ipc);
                scene.observe("p", "a", Observed::SharedMemory, false, "ENOENT");
            }),
            ("PT103", |scene| {
                scene.pod("p");
                scene.container_with("p", "a", Modes::plain(), |ns| ns.uts = 77);
                scene.observe("p", "a", Observed::Hostname, false, "localhost");
            }),
            ("PT104", |scene| {
                scene.shared_pid_pod("p");
                scene.container_with(
                    "p",
                    "a",
                    Modes {
                        pid: Mode::Pod,
                        ..Modes::plain()
                    },
                    |ns| ns.pid = 77,
                );
            }),
            ("PT104", |scene| {
                let modes = Modes {
                    pid: Mode::Pod,
                    ..Modes::plain()
                };
                scene.pod_with("p", modes, |ns| {
                    (ns.pid, ns.pid_children, ns.pid_level) = (HOST.pid, HOST.pid, 0);
                });
                scene.container("p", "a");
            }),
            ("PT105", |scene| {
                scene.pod_with("p", Modes::plain(), |ns| ns.net = HOST.net);
                scene.container("p", "a");
            }),
            ("PT106", |scene| {
                scene.pod_with("p", user_namespaced(), |ns| ns.net_owner = HOST.user);
                scene.container("p", "a");
            }),
            ("PT106", |scene| {
                scene.pod_with("p", user_namespaced(), |_| {});
                scene.container_with("p", "a", user_namespaced(), |ns| ns.user = HOST.user);
            }),
            ("PT107", |scene| {
                scene.pod("p");
                scene.container_with("p", "a", Modes::plain(), |ns| ns.mnt = HOST.mnt);
            }),
            ("PT107", |scene| {
                scene.pod("p");
                let first = scene.container("p", "a");
                let mnt = scene.namespaces(first).mnt;
                scene.container_with("p", "b", Modes::plain(), |ns| ns.mnt = mnt);
            }),
            ("PT109", |scene| {
                scene.pod("p");
                let init = scene.container("p", "a");
                scene.change_namespaces(init, NamespaceCall::Setns, 0, 0, |ns| ns.mnt = HOST.mnt);
                scene.exec(init);
            }),
            ("PT109", |scene| {
                let other = scene.pod("q");
                let net = scene.namespaces(other).net;
                scene.pod("p");
                let init = scene.container("p", "a");
                scene.change_namespaces(init, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
            }),
            ("PT111", |scene| {
                scene.pod("p");
                let cgroup = scene.declare_container("p", "a", ContainerKind::App, &Modes::plain());
                let middle = scene.enter(scene.runtime, cgroup, HOST, 0, "runc:[1:CHILD]");
                scene.change_namespaces(middle, NamespaceCall::Setns, NET, 22, |_| {});
                scene.end(middle, WaitStatus::exited(1));
                scene.wait_ms(5_000);
            }),
            ("PT112", |scene| {
                scene.pod("p");
                let init = scene.container("p", "a");
                scene.session_with(init, |ns| *ns = HOST);
            }),
            ("PT113", |scene| {
                scene.pod("p");
                scene.container("p", "a");
                scene.observe("p", "a", Observed::NetworkReady, false, "lo is down");
                scene.observe("p", "a", Observed::Localhost, false, "ENETUNREACH");
            }),
        ];
        for (number, (rule, plant)) in faults.into_iter().enumerate() {
            let mut scene = Scene::new();
            plant(&mut scene);
            let verdicts = failures(&scene);
            let mut errors: Vec<_> = verdicts
                .iter()
                .filter(|verdict| verdict.severity() == Severity::Error)
                .map(|verdict| verdict.rule.id)
                .collect();
            errors.dedup();
            assert_eq!(errors, [rule], "fault {number}: {verdicts:#?}");
        }
    }

    #[test]
    fn milder_faults_are_no_errors() {
        let faults: [(&str, Fault); 2] = [
            ("PT108", |scene| {
                scene.pod("p");
                let init = scene.container("p", "a");
                scene.change_namespaces(init, NamespaceCall::Unshare, NET, 0, |ns| ns.net = 77);
                scene.exec(init);
            }),
            ("PT110", |scene| {
                let pause = scene.pod("p");
                let net = scene.namespaces(pause).net;
                let visitor = scene.fork(scene.stranger);
                scene.change_namespaces(visitor, NamespaceCall::Setns, NET, 0, |ns| ns.net = net);
                scene.exec(visitor);
            }),
        ];
        for (rule, plant) in faults {
            let mut scene = Scene::new();
            plant(&mut scene);
            let [verdict] = &failures(&scene)[..] else {
                panic!("{rule}: {:#?}", failures(&scene))
            };
            assert_eq!(verdict.rule.id, rule);
            assert!(verdict.severity() < Severity::Error);
        }
    }

    #[test]
    fn healthy_pods_of_every_kind_have_no_findings() {
        let target = Modes {
            pid: Mode::Target("a".into()),
            ..Modes::plain()
        };
        for modes in [
            Modes::plain(),
            Modes {
                pid: Mode::Pod,
                ..Modes::plain()
            },
            Modes {
                pid: Mode::Node,
                ..Modes::plain()
            },
            Modes {
                ipc: Mode::Node,
                ..Modes::plain()
            },
            host_network(),
            Modes {
                net: Mode::Node,
                ..Modes::plain()
            },
            user_namespaced(),
        ] {
            let mut scene = Scene::new();
            let pause = scene.pod_with("p", modes.clone(), |_| {});
            let init = scene.container("p", "a");
            let debug = Modes {
                pid: target.pid.clone(),
                ..modes.clone()
            };
            let debugger = scene.container_with("p", "debug", debug, |_| {});
            let session = scene.session_with(init, |_| {});
            let member = scene.fork(init);
            scene.exec(member);
            for process in [member, session, debugger, init] {
                scene.end(process, WaitStatus::exited(0));
            }
            // The namespaces of a restarted container may get the inode numbers of the dead one's.
            let again = scene.container_with("p", "a2", modes.clone(), |_| {});
            scene.end(again, WaitStatus::exited(0));
            scene.stop_pod("p", 1_000);
            scene.end(pause, WaitStatus::exited(0));
            scene.remove_pod("p");
            scene.wait_ms(20_000);
            let failures = failures(&scene);
            assert!(failures.is_empty(), "{modes:?}: {failures:#?}");
        }
    }
}
