//! The commands of docs/deployment.md that run the image of a release without Kubernetes.

use std::{fs, process::Command};

use pause_trace_tests::{
    dist,
    lab::{Containerd, Engine, Sharing, Version, image},
};
use xtask_support::places;

/// A command of the page: the lines of the block that begins so, as words.
fn recipe(beginning: &str) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/deployment.md");
    let page = fs::read_to_string(page).expect("it is in the repository");
    let blocks = page.split("```").skip(1).step_by(2);
    let mut blocks = blocks.map(|block| block.trim_start_matches("sh").trim());
    let block = blocks
        .find(|block| block.starts_with(beginning))
        .unwrap_or_else(|| panic!("docs/deployment.md has no block that begins with {beginning}"));
    let block = block
        .replace("\\\n", " ")
        .replace("$$", &std::process::id().to_string());
    block.split_whitespace().map(str::to_owned).collect()
}

/// The arguments behind the name of the program, which end with a watch of one pod.
fn of_pod(beginning: &str, pod: &str) -> Vec<String> {
    let mut words = recipe(beginning).split_off(1);
    assert_eq!(words.last().map(String::as_str), Some("watch"), "{words:?}");
    words.extend(["--once", "--pod", pod].map(str::to_owned));
    words
}

/// A run that does not see the pod ends with 3, and one that finds a violation with 1.
#[test]
fn docker_and_podman_run_it_beside_the_pods_that_it_verifies() {
    for (beginning, engine) in [
        ("docker run", Engine::docker()),
        ("podman run", Engine::podman()),
    ] {
        engine.import(&dist::file(".oci.tar"));
        engine.import(&image::workload());
        let pod = engine.pod(Sharing::Plain);
        let app = pod.workload(&["serve"]);
        let words = of_pod(beginning, app.id());
        // In a cgroup namespace of its own, too, as the pods of cgroup v2 have.
        for namespace in ["--cgroupns=host", "--cgroupns=private"] {
            let words = words.iter().map(|word| match word.as_str() {
                "--cgroupns=host" => namespace,
                other => other,
            });
            let words: Vec<_> = words.collect();
            assert!(words.contains(&namespace), "{words:?}");
            let said = engine.command(&words);
            assert!(said.contains("1 pod"), "{words:?}: {said}");
        }
        app.remove();
        pod.remove();
    }
}

#[test]
fn ctr_runs_it_beside_the_pods_that_it_verifies() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    lab.import(&dist::file(".oci.tar"));
    let pod = lab.pod("web").run();
    let app = pod.serve("app");
    let ctr = places::directory(places::CONTAINERD_1).join("usr/bin/ctr");
    let mut words = of_pod("ctr ", "default/web");
    // On this node runc is not on the PATH of containerd.
    let run = words
        .iter()
        .position(|word| word == "run")
        .expect("it runs an image");
    let runc = places::directory(places::OCI).join("usr/sbin/runc");
    words.insert(run + 1, format!("--runc-binary={}", runc.display()));
    let mut command = Command::new(ctr);
    command.args(words);
    let said = lab.node().run(&mut command);
    assert!(said.contains("1 pod"), "{said}");
    app.end();
    pod.remove();
}
