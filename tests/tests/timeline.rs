//! `pause-trace timeline` on the start of a real pod.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    lab::{Containerd, Node, Version, image},
    pause_trace, run, scratch,
    watch::Watch,
    wire::objects,
};
use serde_json::Value;

/// A grace period longer than any container here takes.
const GRACE: Duration = Duration::from_secs(30);

/// Starts it on a node, and waits until it prints that it is waiting for the pod. It ends by itself
/// if no pod starts.
fn start(node: &Node, pod: &str, more: &[&str]) -> Child {
    let mut child = node.spawn(
        Command::new(pause_trace())
            .args(["timeline", pod, "--for", "90s"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    );
    let mut errors = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let mut stderr = String::new();
    while !stderr.contains("waiting for") {
        let count = errors.read_line(&mut stderr).expect("it is text");
        assert_ne!(count, 0, "it ended before it waited: {stderr}");
    }
    child.stderr = Some(errors.into_inner());
    child
}

/// Its exit code and its stdout.
fn end(mut child: Child) -> (Option<i32>, String) {
    let mut text = String::new();
    let output = child.stdout.as_mut().expect("it is a pipe");
    output.read_to_string(&mut text).expect("it is text");
    (
        child.wait().expect("it is a child of this process").code(),
        text,
    )
}

/// The time of the first object that matches.
#[track_caller]
fn at(objects: &[Value], what: &str, is_it: impl Fn(&Value) -> bool) -> u64 {
    let found = objects
        .iter()
        .filter(|object| object["what"] == what && is_it(object));
    let first = found.filter_map(|object| object["ktime_ns"].as_u64()).min();
    first.unwrap_or_else(|| panic!("no object matches: {what}\n{objects:#?}"))
}

fn of(name: &str) -> impl Fn(&Value) -> bool {
    move |object| object["container"]["name"] == name
}

#[test]
fn the_timeline_of_a_containerd_pod_is_complete() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let child = start(
        lab.node(),
        "timed",
        &["--format", "json", "--follow", "--until", "removed"],
    );

    // Another pod starts at the same time.
    std::thread::scope(|scope| {
        scope.spawn(|| lab.pod("beside").run().remove());
        let pod = lab.pod("timed").run();
        let one = pod.serve("one");
        let two = pod.serve("two");
        assert_eq!(one.exec(["/workload", "true"]).exit_code, 0);
        for container in [two, one] {
            container.stop(GRACE);
            assert_eq!(container.exit_code(), Some(0));
            container.remove();
        }
        pod.remove();
    });

    let (code, text) = end(child);
    assert_eq!(code, Some(0), "{text}");
    let objects = objects(&text);
    let any = |_: &Value| true;
    let file = |name: &'static str| {
        move |object: &Value| {
            object["file"]
                .as_str()
                .is_some_and(|file| file.ends_with(name))
        }
    };
    let order = [
        (
            "net made",
            at(&objects, "made", |object| {
                object["namespaces"]["net"].is_u64()
            }),
        ),
        ("CNI", at(&objects, "cni", file("/bridge"))),
        ("sandbox", at(&objects, "create", any)),
        ("its cgroup", at(&objects, "cgroup_made", any)),
        ("entered", at(&objects, "cgroup_entered", any)),
        ("joined", at(&objects, "joined", any)),
        ("pause", at(&objects, "run", file("/pause"))),
        ("one", at(&objects, "create", of("one"))),
        ("one's cgroup", at(&objects, "cgroup_made", of("one"))),
        ("one joins", at(&objects, "joined", of("one"))),
        ("one's own", at(&objects, "made", of("one"))),
        ("one runs", at(&objects, "run", of("one"))),
        ("two", at(&objects, "create", of("two"))),
        ("two runs", at(&objects, "run", of("two"))),
        ("session", at(&objects, "session", of("one"))),
        (
            "stopped",
            at(&objects, "signal", |object| {
                of("two")(object) && object["signal"] == "SIGTERM"
            }),
        ),
        ("ended", at(&objects, "exited", of("two"))),
        ("reaped", at(&objects, "reaped", of("two"))),
    ];
    assert!(order.is_sorted_by_key(|(_, time)| *time), "{order:#?}");

    // The container joins the pause's namespaces in the order of runc's setns calls: ipc, uts, net.
    let joins = objects
        .iter()
        .filter(|object| object["what"] == "joined" && of("one")(object));
    let of_init = joins.filter(|object| object["ktime_ns"].as_u64() < Some(order[11].1));
    let kinds: Vec<&str> = of_init
        .inspect(|object| assert_eq!(object["whose"], "pod", "{object}"))
        .filter_map(|object| {
            object["namespaces"]
                .as_object()?
                .keys()
                .next()
                .map(String::as_str)
        })
        .collect();
    assert_eq!(kinds, ["ipc", "uts", "net"]);

    // This network was made by one call of bridge and one of loopback, although two pods started.
    let plugins = objects
        .iter()
        .filter(|object| object["what"] == "cni" && object["delegated"] == false);
    let mut before = plugins
        .filter(|object| object["ktime_ns"].as_u64() < Some(order[6].1))
        .map(|object| &object["file"]);
    let bridges = before
        .clone()
        .filter(|file| file.as_str().is_some_and(|file| file.ends_with("/bridge")))
        .count();
    assert_eq!(bridges, 1, "{text}");
    assert!(before.all(|file| file.is_string()));

    let sum = objects.last().expect("it has an end");
    assert_eq!(
        (&sum["type"], &sum["pod"]["name"]),
        (&"timeline".into(), &"timed".into())
    );
    let path = sum["path"].as_array().expect("a list");
    let took: u64 = path
        .iter()
        .filter_map(|step| step["duration_ns"].as_u64())
        .sum();
    assert_eq!(sum["up_ns"].as_u64(), Some(took));
    assert_eq!(
        Some(took),
        order[13].1.checked_sub(order[0].1),
        "from the first to the last container's exec"
    );
    assert!(path.iter().any(|step| step["what"] == "cni"), "{sum}");
}

#[test]
fn a_chained_plugin_belongs_to_its_pod_and_its_time_is_that_of_the_network() {
    for version in [Version::V1, Version::V2] {
        let lab = Containerd::start(version);
        lab.import(&image::workload());
        lab.chain_portmap("[ $CNI_COMMAND = ADD ] && sleep 1");
        let child = start(lab.node(), "chained", &["--format", "json"]);
        let pod = lab.pod("chained").run();
        let app = pod.serve("app");
        let (code, text) = end(child);
        assert_eq!(code, Some(0), "{text}");
        let objects = objects(&text);
        let plugins = objects.iter().filter(|object| object["what"] == "cni");
        let plugins: Vec<_> = plugins
            .map(|plugin| {
                assert_eq!(plugin["command"], "ADD", "{plugin}");
                assert_eq!(plugin["status"], "exit code 0", "{plugin}");
                let file = plugin["file"].as_str().expect("a file");
                let name = file.rsplit('/').next().expect("a name");
                (
                    name,
                    plugin["interface"] == "eth0",
                    plugin["delegated"] == true,
                )
            })
            .collect();
        for plugin in [
            ("bridge", true, false),
            ("host-local", true, true),
            ("portmap", true, false),
        ] {
            assert!(plugins.contains(&plugin), "no {plugin:?}: {plugins:?}");
        }
        // What the script of the plugin executes inherits its environment, and is no plugin.
        assert!(
            plugins.iter().all(|(name, ..)| *name != "sleep"),
            "{plugins:?}"
        );
        let sum = objects.last().expect("it has an end");
        let steps = sum["path"].as_array().expect("a list").iter();
        let cni = steps.filter(|step| step["what"] == "cni");
        let took: u64 = cni.filter_map(|step| step["duration_ns"].as_u64()).sum();
        assert!(took >= 1_000_000_000, "{sum}");
        drop(app);
    }
}

#[test]
fn a_pod_whose_network_fails_has_a_timeline() {
    let lab = Containerd::start(Version::V1);
    lab.chain_portmap("[ $CNI_COMMAND = ADD ] && exit 7");
    let recording = scratch("timeline").join("failed.ptrec");
    let _ = std::fs::remove_file(&recording);
    let path = recording.to_string_lossy();
    let watch = Watch::start_with(lab.node(), ["--record", &*path]);
    let uid = lab.pod("failed").refused();
    watch.await_finding(&uid, "PT212");
    watch.stop();
    let run = run(["timeline", "failed", "--recording", &*path]);
    for shown in [
        "default/failed",
        "CNI bridge ADD eth0",
        "CNI portmap ADD eth0, exit code 7",
    ] {
        assert!(run.stdout.contains(shown), "no {shown}: {run:#?}");
    }
}

#[test]
fn the_time_of_a_hook_is_the_start_of_its_container() {
    for (version, stage) in [
        (Version::V1, "createContainer"),
        (Version::V1, "startContainer"),
        (Version::V2, "createRuntime"),
        (Version::V2, "prestart"),
    ] {
        let lab = Containerd::start(version);
        let hook =
            format!(r#""hooks":{{"{stage}":[{{"path":"/bin/sleep","args":["sleep","4"]}}]}},"#);
        lab.replace_runc(&format!(
            r#"case " $* " in *" create "*) grep -q 'cri.container-name":"app"' config.json &&
    sed -i '0,/"process":/s|"process":|{hook}"process":|' config.json ;; esac"#
        ));
        let child = start(lab.node(), "hooked", &["--format", "json"]);
        let pod = lab.pod("hooked").run();
        let run = |name| pod.container(name).command(["sleep", "1000000"]).start();
        let (before, app) = (run("before"), run("app"));
        let (code, text) = end(child);
        assert_eq!(code, Some(0), "{stage}: {text}");
        let objects = objects(&text);
        let create = objects
            .iter()
            .find(|object| object["what"] == "create" && object["container"]["name"] == "app");
        let create = create.unwrap_or_else(|| panic!("{stage}: app is not created: {text}"));
        let took = create["duration_ns"].as_u64();
        assert!(took >= Some(4_000_000_000), "{stage}: {create}");
        let sum = objects.last().expect("it has an end");
        assert!(sum["up_ns"].as_u64() >= took, "{stage}: {sum}");
        let hook = objects.iter().find(|object| object["what"] == "hook");
        assert!(
            hook.is_some_and(
                |hook| hook["container"]["name"] == "app" && hook["file"] == "/bin/sleep"
            ),
            "{stage}: {text}"
        );
        drop((before, app));
    }
}

#[test]
fn a_trace_is_written_when_the_pod_is_up() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let path = scratch("timeline").join("trace.json");
    let _ = std::fs::remove_file(&path);
    let child = start(
        lab.node(),
        "default/traced",
        &["--perfetto", &path.to_string_lossy()],
    );
    let pod = lab.pod("traced").run();
    let app = pod.serve("app").settled_in(libc::SYS_ppoll);
    let (code, text) = end(child);
    assert_eq!(code, Some(0), "{text}");
    for shown in [
        "default/traced",
        "up after",
        "CNI bridge",
        "app · runs",
        "No process has listened on a TCP port.",
    ] {
        assert!(text.contains(shown), "no {shown}: {text}");
    }
    let trace: Value =
        serde_json::from_slice(&std::fs::read(&path).expect("it was written")).expect("it is JSON");
    assert!(
        trace["traceEvents"]
            .as_array()
            .is_some_and(|events| events.len() > 20)
    );
    drop(app);
}

#[test]
fn a_timeline_lasts_until_the_pod_listens() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let arguments = ["--until", "listening", "--follow", "--format", "json"];
    let mut child = start(lab.node(), "late", &arguments);
    let pod = lab.pod("late").run();
    let app = pod.container("app").workload(["listen-late", "8080"]);
    let app = app.start().settled_in(libc::SYS_rt_sigtimedwait);
    // The pod is up and does not listen: the network was ready before that.
    let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe"));
    let mut text = String::new();
    while !text.contains(r#""what":"joined""#) || !text.contains(r#""what":"create""#) {
        assert_ne!(lines.read_line(&mut text).expect("it is text"), 0, "{text}");
    }
    assert!(child.try_wait().expect("it is a child").is_none());
    kill(Pid::from_raw(app.pid()), Signal::SIGUSR1).expect("it runs");
    lines.read_to_string(&mut text).expect("it is text");
    assert_eq!(
        child.wait().expect("it is a child").code(),
        Some(0),
        "{text}"
    );

    let objects = objects(&text);
    let listens = at(&objects, "listens", |object| {
        of("app")(object)
            && object["port"] == 8080
            && object["address"] == "0.0.0.0"
            && object["first"] == true
    });
    let sum = objects.last().expect("it has an end");
    let began = sum["ktime_ns"].as_u64().expect("the start was observed");
    assert_eq!(sum["first_listen_ns"], listens - began, "{sum}");
    let message = sum["message"].as_str().expect("it is up");
    assert!(message.contains("; first listen after "), "{message}");
    assert!(message.contains(": app ran for "), "{message}");
    assert!(at(&objects, "run", of("app")) < listens, "{text}");
    drop(app);
}

#[test]
fn wrong_arguments_are_refused_before_it_waits() {
    for (args, message) in [
        (&["timeline"][..], "POD"),
        (&["timeline", ""], "POD is empty"),
        (
            &["timeline", "x", "--perfetto", "/proc/nowhere/x"],
            "there is no directory /proc/nowhere",
        ),
        (
            &["timeline", "x", "--perfetto", "/etc/passwd"],
            "--force replaces it",
        ),
        (
            &["timeline", "x", "--recording", "/etc/passwd"],
            "not a pause-trace recording",
        ),
        (
            &["timeline", "x", "--recording", "/dev/null"],
            "the file is empty",
        ),
        (&["timeline", "x", "--for", "5 s"], "is not a unit of time"),
    ] {
        let run = run(args);
        assert_eq!(run.code, Some(2), "{args:?}: {run:#?}");
        assert!(run.stderr.contains(message), "{args:?}: {run:#?}");
    }
}

#[test]
fn a_pod_that_never_starts_is_a_failure() {
    let run = run(["timeline", "nowhere/no-such-pod", "--for", "1s"]);
    assert_eq!(run.code, Some(3), "{run:#?}");
    assert!(
        run.stderr
            .contains("no pod \"nowhere/no-such-pod\" started in this time"),
        "{run:#?}"
    );
}
