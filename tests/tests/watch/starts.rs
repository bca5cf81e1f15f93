//! `pause-trace watch` on pods that do not start.

use std::{fs::File, path::Path};

use nix::libc;
use pause_trace_core::record::{Next, Recording, Segment};
use pause_trace_cri::messages::KeyValue;
use pause_trace_tests::{
    lab::{Containerd, Version, image},
    scratch,
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

/// The environment of a network plugin is dropped where it is read, but for the variables that name
/// a pod. Those of a container, and the arguments of its processes, are not read at all.
#[test]
fn no_secret_of_a_plugin_or_a_container_reaches_a_recording_or_a_report() {
    const SECRET: &str = "kq7Rz-planted-0xV";
    let lab = Containerd::start(Version::V2);
    lab.import(&image::workload());
    // The plugins are children of the shells that export it, before and behind the variables of
    // CNI.
    lab.chain_portmap(&format!(
        "export AAA_TOKEN={SECRET} ZZZ_TOKEN={SECRET} CNI_ARGS=\"$CNI_ARGS;TOKEN={SECRET}\""
    ));
    let path = scratch("secret").join("secret.ptrec");
    let watch = Watch::start_with(lab.node(), [Path::new("--record"), &path]);
    let pod = lab.pod("secret").run();
    let app = pod.container("app").workload(["serve"]);
    let app = app.configure(|config| {
        config.envs.push(KeyValue {
            key: "TOKEN".to_owned(),
            value: SECRET.into(),
        });
    });
    let app = app.start().settled_in(libc::SYS_ppoll);
    app.exec(["/workload", "true", SECRET]);
    app.end();
    let uid = pod.uid().to_owned();
    pod.remove();
    watch.verified(&uid).assert_broken([]);
    let output = watch.stop_with_text();
    assert!(!output.contains(SECRET), "{output}");

    let file = File::open(&path).expect("watch has recorded");
    let segment = Segment::new(file).expect("a recording");
    let mut recording = Recording::new(segment, || None);
    let mut calls = 0;
    while let Next::Entry(entry) = recording.next_entry().expect("a readable file") {
        let entry = format!("{entry:?}");
        calls += usize::from(entry.contains("portmap"));
        assert!(!entry.contains(SECRET), "{entry}");
    }
    assert!(calls > 0, "the plugin is in the recording");
    std::fs::remove_file(path).expect("this test made the file");
}
