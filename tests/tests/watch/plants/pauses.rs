//! Pauses that stop, start or run in the wrong way.

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    c_pause,
    lab::{Containerd, Version},
};

use super::faulty;

/// What the faulty runc does: a sandbox runs as root, or runs another program.
const FAULTS: &str = r#"
"create runs-as-root/")
    sed -i 's#"user":{"uid":65535,"gid":65535#"user":{"uid":0,"gid":0#' config.json ;;
"create runs-another-program/")
    sed -i 's#"args":\["/pause"\]#"args":["/workload","serve"]#' config.json ;;
"#;

#[test]
fn pauses_that_stop_start_or_run_in_the_wrong_way_are_found() {
    let lab = Containerd::start_with_pause(Version::V1, &c_pause("executes_again"));
    let scene = faulty(lab, FAULTS);
    let pod = |name| scene.lab.pod(name).run();
    let executes_again = pod("executes-again");
    scene.lab.use_pause("block-term");
    let blocks_term = pod("blocks-term");
    scene.lab.use_pause("exit-1");
    let exits_with_1 = pod("exits-with-1");
    scene.lab.use_pause("good");
    let pods = [
        (executes_again, Some("PT502")),
        (blocks_term, Some("PT306")),
        (exits_with_1, Some("PT306")),
        (pod("runs-as-root"), Some("PT503")),
        (pod("runs-another-program"), Some("PT502")),
        (pod("is-healthy"), None),
    ];
    for (pod, rule) in &pods {
        pod.serve("app").end();
        if *rule == Some("PT306") {
            kill(Pid::from_raw(pod.pause_pid()), Signal::SIGTERM).expect("it runs");
        }
    }
    for (pod, rule) in &pods {
        if let Some(rule) = rule {
            scene.watch.await_finding(pod.uid(), rule);
        }
    }
    // Each verification takes a while after the removal.
    let removed = pods.map(|(pod, rule)| {
        let uid = pod.uid().to_owned();
        pod.remove();
        (uid, rule)
    });
    for (uid, rule) in removed {
        let outcome = scene.watch.verified(&uid);
        outcome.assert_broken(rule);
        outcome.assert_placed(["app"]);
    }
    scene.watch.stop();
}
