//! The lives of pods of containerd that get a fault. Each does what a test in `tests/tests/watch`
//! does to one pod alone.

use std::time::Duration;

use nix::{
    libc::{self, c_long},
    sys::signal::{Signal, kill},
    unistd::Pid as ProcessId,
};
use pause_trace_cri::messages::{Capability, Int64Value, Mount};

use super::{GRACE, Play, SHORT, healthy::SHELL};
use crate::{
    lab::{Container, ContainerSpec, Pod},
    soak::{
        oracle::Stage,
        plan::PodPlan,
        plants::{Plant, Signs},
    },
};

/// The container that the faulty runc treats in a wrong way.
const FAULTY: &str = "faulty";

impl Play<'_> {
    /// Makes and removes a pod with a fault.
    pub(super) fn faulty(&self, plan: &PodPlan, plant: Plant) {
        let signs = plant.signs();
        if plant == Plant::EntersPod {
            return self.enters_pod(plan, plant);
        }
        let pod = self.sandbox(plan, &plan.name, signs);
        let uid = pod.uid().to_owned();
        let await_rules = || self.monitor.await_rules(&uid, signs.must);
        match plant {
            Plant::PauseKilled => {
                let app = self.serve(&pod, "app");
                self.monitor.await_container(app.id(), Stage::Started);
                self.kill_pause(&pod);
                await_rules();
                self.end(app);
            }
            Plant::SandboxReplaced => return self.sandbox_replaced(plan, pod, signs),
            Plant::OwnNetwork
            | Plant::OwnIpc
            | Plant::OwnUts
            | Plant::OwnPids
            | Plant::NodesPids
            | Plant::StartsTooEarly => {
                let faulty = self.serve(&pod, FAULTY);
                await_rules();
                let fine = self.serve(&pod, "fine");
                self.end(faulty);
                self.end(fine);
            }
            Plant::SandboxLeaks
            | Plant::StartsWithoutAddress
            | Plant::PauseListens
            | Plant::PauseIsRoot => {
                let app = self.serve(&pod, "app");
                await_rules();
                self.end(app);
            }
            Plant::EntersNode => {
                // This process is in the node's.
                let ipc = format!("/node-proc/{}/ns/ipc", std::process::id());
                let intruder = self.enters(&pod, &ipc);
                await_rules();
                self.end(intruder);
            }
            Plant::JoinFails => {
                self.join_fails(&pod);
                await_rules();
            }
            Plant::ProbedElsewhere => {
                let app = self.serve(&pod, FAULTY);
                self.ask(|_| app.exec(["/workload", "true"]));
                await_rules();
                self.end(app);
            }
            Plant::LosesAddress => self.loses_address(&pod, signs),
            Plant::NeverStarts => {
                let app = self.ask(|_| pod.container(FAULTY).workload(["serve"]).start());
                self.monitor.contains(&uid, app.id());
                await_rules();
                self.ask(|_| {
                    app.stop(Duration::ZERO);
                    app.await_end();
                    app.remove();
                });
            }
            Plant::SessionsLeaveProcesses => self.sessions_leave_processes(&pod, signs),
            Plant::ShimKilled => {
                let app = self.serve(&pod, "app");
                self.monitor.await_container(app.id(), Stage::Started);
                let shim = self.ask(|_| pod.shim_pid());
                kill(ProcessId::from_raw(shim), Signal::SIGKILL).expect("it runs");
                await_rules();
                self.ask(|_| {
                    app.await_end();
                    app.remove();
                });
            }
            Plant::IgnoresStop => {
                let spec = pod.container("deaf").workload(["ignore-term"]);
                self.stop_in_vain(&pod, spec, libc::SYS_ppoll);
            }
            Plant::StopNotForwarded => {
                let spec = pod.container("shell");
                let spec = spec.workload(["no-forward", "/workload", "serve"]);
                self.stop_in_vain(&pod, spec, libc::SYS_wait4);
            }
            Plant::KilledAtOnce => {
                // The end of this one shows that containers of the pod are to be asked.
                let asked = self.serve(&pod, "asked");
                let killed = self.serve(&pod, FAULTY);
                self.end(asked);
                self.end(killed);
            }
            Plant::StoppedTwice => self.stopped_twice(&pod),
            Plant::PauseStoppedFirst => {
                let app = self.serve(&pod, FAULTY);
                self.end(app);
            }
            Plant::KilledByStranger => {
                let killed = self.serve(&pod, "killed");
                self.monitor.await_container(killed.id(), Stage::Started);
                let pid = self.ask(|_| killed.pid());
                kill(ProcessId::from_raw(pid), Signal::SIGKILL).expect("it runs");
                await_rules();
                self.ask(|_| {
                    killed.await_end();
                    killed.remove();
                });
            }
            Plant::SessionsLeaveZombies | Plant::CollectsZombies => {
                let collects = plant == Plant::CollectsZombies;
                let words: &[&str] = if collects {
                    &["no-reap", "70"]
                } else {
                    &["no-reap"]
                };
                let spec = pod.container("app").workload(words.iter().copied());
                let app = self.settled(&pod, spec, libc::SYS_ppoll);
                if !collects {
                    self.ask(|_| app.exec(["/workload", "orphan", "3"]));
                }
                await_rules();
                self.end(app);
            }
            Plant::PauseDoesNotReap => {
                let app = self.serve(&pod, "app");
                self.ask(|_| app.exec(["/workload", "orphan", "1"]));
                await_rules();
                self.end(app);
            }
            Plant::EntersPod | Plant::WorkersCutOff => {
                unreachable!("{plant:?} is played elsewhere")
            }
        }
        self.remove(pod);
    }

    fn kill_pause(&self, pod: &Pod<'_>) {
        let pause = self.ask(|_| pod.pause_pid());
        kill(ProcessId::from_raw(pause), Signal::SIGKILL).expect("it runs");
    }

    /// Starts a container, and waits until its init blocks in a system call.
    fn settled<'pod>(
        &self,
        pod: &'pod Pod<'pod>,
        spec: ContainerSpec<'pod>,
        call: c_long,
    ) -> Container<'pod> {
        let container = self.ask(|_| spec.start().settled_in(call));
        self.monitor.contains(pod.uid(), container.id());
        container
    }

    fn sandbox_replaced(&self, plan: &PodPlan, pod: Pod<'_>, signs: Signs) {
        let left = self.serve(&pod, "left");
        self.monitor.await_container(left.id(), Stage::Started);
        self.kill_pause(&pod);
        self.monitor.await_container(pod.id(), Stage::Ended);
        let again = self.ask(|lab| lab.pod(&plan.name).again(&pod).run());
        self.monitor.contains(pod.uid(), again.id());
        self.monitor.await_rules(pod.uid(), signs.must);
        let fresh = self.serve(&again, "fresh");
        self.end(left);
        self.ask(|lab| {
            let removed = lab.client().remove_sandbox(pod.id());
            lab.call(removed).expect("it has ended");
        });
        self.end(fresh);
        self.remove(again);
    }

    fn enters_pod(&self, plan: &PodPlan, plant: Plant) {
        let of_victim = plant.signs_of_victim().unwrap_or_default();
        let name = format!("{}-victim", plan.name);
        let victim = self.sandbox(plan, &name, of_victim);
        let app = self.serve(&victim, "app");
        let pod = self.sandbox(plan, &plan.name, plant.signs());
        let pause = self.ask(|_| victim.pause_pid());
        let intruder = self.enters(&pod, &format!("/node-proc/{pause}/ns/net"));
        self.monitor.await_rules(pod.uid(), plant.signs().must);
        self.monitor.await_rules(victim.uid(), of_victim.must);
        self.end(intruder);
        self.end(app);
        self.remove(pod);
        self.remove(victim);
    }

    /// Starts a container that enters the namespace of a file below the node's /proc.
    fn enters<'pod>(&self, pod: &'pod Pod<'pod>, file: &str) -> Container<'pod> {
        let spec = pod.container("intruder").workload(["join", file]);
        let spec = spec.configure(|config| {
            config.mounts.push(Mount {
                container_path: "/node-proc".to_owned(),
                host_path: "/proc".to_owned(),
                readonly: false,
            });
        });
        let spec = spec.security(|security| {
            security.run_as_user = Some(Int64Value { value: 0 });
            security.capabilities = Some(may(&["SYS_ADMIN", "SYS_PTRACE"]));
        });
        self.settled(pod, spec, libc::SYS_ppoll)
    }

    fn join_fails(&self, pod: &Pod<'_>) {
        let app = self.ask(|_| pod.container(FAULTY).workload(["serve"]).create());
        self.monitor.contains(pod.uid(), app.id());
        self.ask(|lab| {
            let started = lab.client().start_container(app.id());
            lab.call(started).expect_err("its network can't be joined");
            app.remove();
        });
    }

    fn loses_address(&self, pod: &Pod<'_>, signs: Signs) {
        let spec = pod.container("careless");
        let spec = spec.command(["/bin/busybox", "sleep", "3600"]);
        let spec = spec.security(|security| security.capabilities = Some(may(&["NET_ADMIN"])));
        let careless = self.ask(|_| spec.start());
        self.monitor.contains(pod.uid(), careless.id());
        self.monitor.await_container(careless.id(), Stage::Started);
        let flush = ["/bin/busybox", "ip", "address", "flush", "dev", "eth0"];
        let flushed = self.ask(|_| careless.exec(flush));
        assert_eq!(flushed.exit_code, 0, "{flushed:?}");
        // The next look is that at a container which starts later.
        let late = self.serve(pod, "late");
        self.monitor.await_rules(pod.uid(), signs.must);
        self.end(late);
        self.ask(|_| {
            careless.stop(Duration::ZERO);
            careless.await_end();
            careless.remove();
        });
    }

    fn sessions_leave_processes(&self, pod: &Pod<'_>, signs: Signs) {
        let spec = pod.container("app").command(["sh", "-c", SHELL]);
        let app = self.settled(pod, spec, libc::SYS_rt_sigsuspend);
        let leave = ["sh", "-c", "sleep 1000 < /dev/null > /dev/null 2>&1 &"];
        for _ in 0..3 {
            self.ask(|_| app.exec(leave));
        }
        // It runs for longer than the age from which a process counts as left.
        self.ask(|_| app.exec(["sleep", "7"]));
        self.monitor.await_rules(pod.uid(), signs.must);
        self.end(app);
    }

    /// Stops a container that has to be killed after its grace period.
    fn stop_in_vain<'pod>(&self, pod: &'pod Pod<'pod>, spec: ContainerSpec<'pod>, call: c_long) {
        let container = self.settled(pod, spec, call);
        self.ask(|_| {
            container.stop(SHORT);
            container.await_end();
            container.remove();
        });
    }

    fn stopped_twice(&self, pod: &Pod<'_>) {
        let script = "trap 'n=$n.; [ $n = .. ] && exit 0' TERM
            sleep 1000 & while :; do wait; done";
        let spec = pod.container("app").command(["sh", "-c", script]);
        let app = self.settled(pod, spec, libc::SYS_rt_sigsuspend);
        let pid = self.ask(|_| app.pid());
        kill(ProcessId::from_raw(pid), Signal::SIGTERM).expect("it runs");
        let app = self.ask(|_| app.settled_in(libc::SYS_rt_sigsuspend));
        self.ask(|_| {
            app.stop(GRACE);
            app.await_end();
            app.remove();
        });
    }
}

/// These capabilities in addition to the usual ones.
fn may(capabilities: &[&str]) -> Capability {
    Capability {
        add_capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
        drop_capabilities: Vec::new(),
    }
}
