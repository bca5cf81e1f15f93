//! `pause-trace watch` on pods that do not start.

use pause_trace_tests::{
    lab::{Containerd, Version, image},
    watch::Watch,
};

#[test]
fn a_plugin_that_fails_is_found_and_belongs_to_its_pod() {
    for version in [Version::V1, Version::V2] {
        let lab = Containerd::start(version);
        // It fails only when it is to add an interface.
        lab.chain_portmap("[ $CNI_COMMAND = ADD ] && exit 7");
        let watch = Watch::start(lab.node());
        let uid = lab.pod("without-network").refused();
        let finding = watch.await_finding(&uid, "PT212");
        assert_eq!(finding["pod"]["name"], "without-network", "{finding}");
        assert_eq!(finding["severity"], "warning", "{finding}");
        let said = finding["message"].as_str().expect("a message");
        assert!(
            said.starts_with("portmap ADD failed: exit code 7 after "),
            "{said}"
        );
        assert_eq!(finding["observed"]["interface"], "eth0", "{finding}");
        let news = watch.await_event(&uid, "start_failed");
        assert_eq!(news["step"], "portmap ADD", "{news}");
        assert_eq!(news["status"], "exit code 7", "{news}");
        let findings = watch.stop();
        let of_start = findings.iter().filter(|line| {
            line["type"] == "finding" && line["rule"] == "PT212" && line["pod"]["uid"] == *uid
        });
        assert_eq!(of_start.count(), 1, "bridge succeeded, and DEL is no start");
    }
}

#[test]
fn a_command_that_cannot_be_executed_is_its_containers_finding() {
    for version in [Version::V1, Version::V2] {
        let lab = Containerd::start(version);
        lab.import(&image::workload());
        let watch = Watch::start(lab.node());
        let pod = lab.pod("of-bad").run();
        let fine = pod.serve("fine");
        let bad = pod.container("bad").command(["/no/such/program"]).create();
        bad.refused();
        let finding = watch.await_finding(pod.uid(), "PT212");
        let said = finding["message"].as_str().expect("a message");
        assert!(
            said.starts_with("runc create failed: exit code 1 after "),
            "{said}"
        );
        let news = watch.await_event(pod.uid(), "start_failed");
        assert_eq!(news["step"], "runc create", "{news}");
        // runc fails to execute it, too, but nothing was to start.
        fine.refused_exec("/no/such/program");
        fine.end();
        bad.remove();
        let uid = pod.uid().to_owned();
        pod.remove();
        watch.verified(&uid).assert_broken(["PT212"]);
        watch.stop();
    }
}

#[test]
fn a_container_that_starts_again_says_how_often_it_did() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start(lab.node());
    let pod = lab.pod("again").run();
    for attempt in 0..3 {
        let app = pod.container("app").workload(["true"]).attempt(attempt);
        let app = app.start();
        let started = watch.await_container(app.id(), "started");
        let restarts = started["restart"].as_u64();
        assert_eq!(
            restarts,
            Some(u64::from(attempt)).filter(|_| attempt > 0),
            "{started}"
        );
        assert_eq!(
            started["after_last_end_ns"].is_u64(),
            attempt > 0,
            "{started}"
        );
        watch.await_container(app.id(), "ended");
        app.await_end();
        app.remove();
    }
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_broken([]);
    watch.stop();
}
