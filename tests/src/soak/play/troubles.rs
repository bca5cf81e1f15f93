//! What disturbs the watch.

use std::sync::PoisonError;

use nix::libc;

use super::{GRACE, Play};
use crate::soak::{
    plan::{PodPlan, Runtime, Trouble},
    plants::Signs,
};

/// How many exec sessions come with an exec storm.
const SESSIONS: usize = 15;

impl Play<'_> {
    pub(super) fn trouble(&self, index: u64, what: Trouble) {
        self.files.note(&format!("disturbance: {what:?}"));
        let now = self.monitor.now();
        match what {
            Trouble::HeldUp(long) => {
                self.monitor.oracle(|oracle| oracle.disturbed(now));
                self.monitor.hold_up(long);
            }
            Trouble::ForkStorm(count) => {
                self.storm(index, |play, pod| {
                    let host = play.serve(pod, "host");
                    let count = count.to_string();
                    let storm = play.ask(|_| host.exec(["/workload", "fork-loop", &count]));
                    assert_eq!(storm.exit_code, 0, "{storm:?}");
                    play.end(host);
                });
            }
            Trouble::ExecStorm(count) => {
                self.storm(index, |play, pod| {
                    let host = play.ask(|_| {
                        let shell = ["sh", "-c", super::healthy::SHELL];
                        let host = pod.container("host").command(shell).start();
                        host.settled_in(libc::SYS_rt_sigsuspend)
                    });
                    play.monitor.contains(pod.uid(), host.id());
                    let script = format!(
                        "i=0; while [ $i -lt {count} ]; do /bin/busybox true; i=$((i+1)); done"
                    );
                    let storm = play.ask(|_| host.exec(["sh", "-c", &script]));
                    assert_eq!(storm.exit_code, 0, "{storm:?}");
                    for _ in 0..SESSIONS {
                        play.ask(|_| host.exec(["/bin/busybox", "true"]));
                    }
                    play.ask(|_| {
                        host.stop(GRACE);
                        host.await_end();
                        host.remove();
                    });
                });
            }
            Trouble::RuntimeKilled => {
                let gate = &self.runtimes.gate;
                let _gate = gate.write().unwrap_or_else(PoisonError::into_inner);
                let now = self.monitor.now();
                self.monitor.oracle(|oracle| oracle.disturbed(now));
                self.runtimes.containerd.kill();
                self.runtimes.containerd.restart();
            }
        }
        let now = self.monitor.now();
        self.monitor.oracle(|oracle| oracle.calm(now));
        self.files.note("the disturbance is over");
    }

    /// Makes a pod with nothing wrong in it but its noise.
    fn storm(&self, index: u64, noise: impl FnOnce(&Self, &crate::lab::Pod<'_>)) {
        let plan = PodPlan {
            name: format!("s{index}-storm"),
            runtime: Runtime::Containerd,
            shares_pids: false,
            host_network: false,
            containers: Vec::new(),
            linger: std::time::Duration::ZERO,
            plant: None,
        };
        let pod = self.sandbox(&plan, &plan.name, Signs::default());
        let now = self.monitor.now();
        self.monitor.oracle(|oracle| oracle.disturbed(now));
        noise(self, &pod);
        self.remove(pod);
    }
}
