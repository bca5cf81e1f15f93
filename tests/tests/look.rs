//! `pause-trace ls` and `pause-trace inspect` on pods of a real containerd, with and without eBPF.

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use nix::libc;
use pause_trace_tests::{
    Run, c_program,
    lab::{Containerd, Version, image},
    pause_trace, scratch,
    watch::Watch,
};
use serde_json::{Value, json};

fn look(lab: &Containerd, args: &[&str]) -> Run {
    let mut command = Command::new(pause_trace());
    let run: Run = lab
        .node()
        .output(command.args(args).stdin(Stdio::null()))
        .into();
    assert_eq!(run.code, Some(0), "{args:?}: {run:?}");
    run
}

/// The line of a pod.
#[track_caller]
fn of<'a>(lines: &'a [Value], uid: &str) -> &'a Value {
    let line = lines.iter().find(|line| line["pod"]["uid"] == uid);
    line.unwrap_or_else(|| panic!("no {uid}: {lines:?}"))
}

#[test]
fn pods_are_listed_and_inspected() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let web = lab.pod("web").run();
    let app = web.container("app").workload(["serve", "--port", "8080"]);
    let app = app.start().settled_in(libc::SYS_accept4);
    let app_pid = app.pid();
    let side = web.container("side").workload(["no-reap"]);
    let side = side.start().settled_in(libc::SYS_ppoll);
    assert_eq!(side.exec(["/workload", "orphan", "2"]).exit_code, 0);
    let host = lab.pod("host").host_network().run();
    let agent = host.serve("agent");
    let hostile = "\u{1b}[31m\u{202e}";
    let odd = lab.pod("odd").annotation("note", hostile).run();

    for more in [&[][..], &["--no-ebpf"]] {
        let listed = look(&lab, &[&["ls", "--format", "json"], more].concat()).objects();
        let line = of(&listed, web.uid());
        assert_eq!(line["sandbox"], web.id(), "{line}");
        assert_eq!(line["pause"]["pid"], web.pause_pid(), "{line}");
        assert_eq!(line["containers"], 2, "{line}");
        // The entrypoints, one of which has two zombies.
        assert_eq!(
            (&line["members"], &line["zombies"]),
            (&json!(2), &json!(2)),
            "{line}"
        );
        assert_eq!(line["misfits"], json!([]), "{line}");
        assert_eq!(line["ebpf"], more.is_empty(), "{line}");
        let line = of(&listed, host.uid());
        assert!(
            line["host"]
                .as_array()
                .is_some_and(|host| host.contains(&"net".into())),
            "{line}"
        );
        let line = of(&listed, odd.uid());
        assert_eq!(line["containers"], 0, "{line}");

        let inspected = look(
            &lab,
            &[&["inspect", "default/web", "--format", "json"], more].concat(),
        );
        let inspected = &inspected.objects()[0];
        let containers = inspected["containers"].as_array().expect("a list");
        let app = containers
            .iter()
            .find(|container| container["name"] == "app");
        let app = app.unwrap_or_else(|| panic!("no app: {inspected}"));
        for (kind, is) in [
            ("net", "same"),
            ("ipc", "same"),
            ("uts", "same"),
            ("pid", "own"),
        ] {
            let namespace = &app["namespaces"][kind];
            assert_eq!(
                (&namespace["is"], &namespace["fits"]),
                (&json!(is), &json!(true)),
                "{inspected}"
            );
        }
        let listening = &inspected["networks"][0]["listening"];
        let ports: Vec<_> = listening
            .as_array()
            .into_iter()
            .flatten()
            .map(|on| &on["port"])
            .collect();
        assert_eq!(ports, [8080], "{inspected}");
        // Whose it is: also in the list, and of no other container.
        let named = |containers: &[Value], name: &str| -> Vec<Value> {
            let its = containers.iter().filter(|one| one["name"] == name);
            its.flat_map(|one| one["ports"].as_array().cloned().unwrap_or_default())
                .collect()
        };
        let port = json!({
            "container": "app", "protocol": "tcp", "address": "0.0.0.0", "port": 8080,
            "pid": app_pid, "comm": "workload",
        });
        assert_eq!(named(containers, "app"), vec![port.clone()], "{inspected}");
        assert!(named(containers, "side").is_empty(), "{inspected}");
        let line = of(&listed, web.uid());
        assert_eq!(line["ports"], json!([port]), "{line}");
        let states: Vec<_> = containers
            .iter()
            .filter(|container| container["name"] == "side")
            .flat_map(|side| side["processes"].as_array().into_iter().flatten())
            .filter(|process| process["state"] == "Z")
            .collect();
        assert_eq!(states.len(), 2, "{inspected}");

        // The text format shows the same.
        let text = look(&lab, &[&["ls"], more].concat()).stdout;
        assert!(
            text.contains("default/web") && text.contains("default/host"),
            "{text}"
        );
        let text = look(&lab, &[&["inspect", web.uid()], more].concat()).stdout;
        assert!(text.contains("app") && text.contains("8080"), "{text}");
        let port = format!("tcp 0.0.0.0:8080  workload (pid {app_pid})");
        assert!(text.contains(&port), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }

    let none = lab
        .node()
        .output(Command::new(pause_trace()).args(["inspect", "default/nobody"]));
    let none = Run::from(none);
    assert_eq!(none.code, Some(3), "{none:?}");
    assert!(none.stderr.contains("default/nobody"), "{none:?}");

    [app, side, agent]
        .into_iter()
        .for_each(pause_trace_tests::lab::Container::end);
    [web, host, odd]
        .into_iter()
        .for_each(pause_trace_tests::lab::Pod::remove);
}

/// The runtime is in a network namespace of its own, as on a node that is a container. Its host
/// network is that of its pods, wherever pause-trace runs.
/// Of a container whose first process would not take its stop signal, `ls` and `inspect` say so
/// before anyone stops it; and of one that would take it, they say nothing.
#[test]
fn a_stop_that_will_take_the_whole_grace_period_is_shown_before_it_happens() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    // First the near misses, which are old enough when the others are.
    let fine = lab.pod("fine").run();
    let traps = "trap 'exit 0' TERM; while :; do sleep 1; done";
    let shell = fine.container("shell").command(["sh", "-c", traps]);
    let _shell = shell.start();
    // It blocks the signal and has a handler: whether it will take the signal is not known.
    let blocks = fine.container("blocks").workload(["block-term"]);
    let _blocks = blocks.start().settled_in(libc::SYS_ppoll);
    let slow = lab.pod("slow").run();
    let sleeps = slow.container("sleeps").command(["sleep", "1000000"]);
    let _sleeps = sleeps.start();
    let inherits = "trap '' TERM; exec sleep 1000000";
    let ignores = slow.container("ignores").command(["sh", "-c", inherits]);
    let _ignores = ignores.start();

    let is_shown = |line: &Value| {
        line["slow_stops"]
            .as_array()
            .is_some_and(|all| all.len() == 2)
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    let listed = loop {
        let listed = look(&lab, &["ls", "--no-ebpf", "--format", "json"]).objects();
        if is_shown(of(&listed, slow.uid())) {
            break listed;
        }
        assert!(Instant::now() < deadline, "{}", of(&listed, slow.uid()));
    };
    let line = of(&listed, fine.uid());
    assert_eq!(line["slow_stops"], json!([]), "{line}");
    let text = look(&lab, &["inspect", slow.uid(), "--no-ebpf"]).stdout;
    for expected in [
        "a stop of sleeps will take the whole grace period: sleep (pid ",
        "is pid 1 of its pid namespace and has no handler for SIGTERM, so the kernel drops it",
        "a stop of ignores will take the whole grace period: sleep (pid ",
        "ignores SIGTERM",
    ] {
        assert!(text.contains(expected), "no {expected}: {text}");
    }
    assert_eq!(text.matches("whole grace period").count(), 2, "{text}");
    let inspect = |uid| {
        let run = look(&lab, &["inspect", uid, "--no-ebpf", "--format", "json"]);
        let containers = run.objects()[0]["containers"].clone();
        let containers = containers.as_array().expect("a list").clone();
        let of = |one: Value| (one["name"].clone(), one["stop"].clone());
        containers.into_iter().map(of).collect::<Vec<_>>()
    };
    let of_slow = inspect(slow.uid());
    for one in [("sleeps", "drops"), ("ignores", "ignores")] {
        let one = (json!(one.0), json!(one.1));
        assert!(of_slow.contains(&one), "{of_slow:?}");
    }
    let of_fine = inspect(fine.uid());
    for one in [("shell", "stops"), ("blocks", "later")] {
        let one = (json!(one.0), json!(one.1));
        assert!(of_fine.contains(&one), "{of_fine:?}");
    }
}

#[test]
fn the_hosts_network_is_that_of_the_runtime_for_every_command() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let host = lab.pod("host").host_network().run();
    let agent = host.serve("agent");
    let uid = host.uid();
    let run = |is_inside: bool, args: &[&str]| -> Run {
        let mut command = Command::new(pause_trace());
        command.args(args).stdin(Stdio::null());
        match is_inside {
            true => lab.node().output(&mut command).into(),
            false => command.output().expect("it starts").into(),
        }
    };
    for is_inside in [true, false] {
        for more in [&[][..], &["--no-ebpf"]] {
            let listed = run(is_inside, &[&["ls", "--format", "json"], more].concat());
            let listed = listed.objects();
            let line = of(&listed, uid);
            let hosts = line["host"].as_array().expect("a list");
            assert!(hosts.contains(&"net".into()), "{is_inside} {more:?} {line}");
            assert_eq!(line["misfits"], json!([]), "{is_inside} {more:?}");

            let args = [&["inspect", uid, "--format", "json"], more].concat();
            let inspected = run(is_inside, &args).objects();
            let pod = &inspected[0];
            for container in pod["containers"].as_array().expect("a list") {
                let net = &container["namespaces"]["net"];
                assert_eq!(net["is"], "host", "{is_inside} {more:?} {pod}");
                assert_eq!(net["fits"], true, "{is_inside} {more:?} {pod}");
                assert_eq!(
                    net["inode"], pod["host"]["net"],
                    "{is_inside} {more:?} {pod}"
                );
            }
        }
        let watch = run(is_inside, &["watch", "--once", "--format", "json"]);
        let mut findings = watch.of_type("finding");
        findings.retain(|finding| finding["pod"]["uid"] == uid);
        assert!(findings.is_empty(), "{is_inside} {findings:?}");
        let lines = watch.objects();
        let mut started = lines
            .iter()
            .filter(|line| line["event"] == "started" && line["pod"]["uid"] == uid);
        let is_hosts = |line: &Value| {
            let hosts = line["host"].as_array();
            hosts.is_some_and(|hosts| hosts.contains(&"net".into()))
        };
        assert!(started.all(is_hosts), "{is_inside} {lines:?}");
    }

    let recording = scratch("hosts-network").join("outside.ptrec");
    let watch = Watch::start_outside_with([Path::new("--record"), &recording]);
    let late = host.serve("late");
    watch.await_container(late.id(), "started");
    watch.stop();
    let recording = recording.to_str().expect("it is text");
    let timeline = run(
        false,
        &[
            "timeline",
            uid,
            "--recording",
            recording,
            "--format",
            "json",
        ],
    );
    let elements = timeline.objects();
    let mut joined = elements
        .iter()
        .filter(|element| element["whose"] == "host" && element["namespaces"]["net"].is_u64());
    assert!(joined.next().is_some(), "{timeline:?}");
    agent.end();
    late.end();
    host.remove();
}

/// A zombie from before the start is overdue when nobody has reaped it for the limit. A look at the
/// node waits for that, and only then.
#[test]
fn a_zombie_that_is_overdue_at_the_start_is_found_by_a_short_look() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let ill = lab.pod("ill").run();
    let app = ill.container("app").workload(["no-reap", "2"]);
    let app = app.start().settled_in(libc::SYS_ppoll);
    let well = lab.pod("well").run();
    let other = well.serve("app");

    let mut watch = Command::new(pause_trace());
    watch.args(["watch", "--once", "--format", "json"]);
    let watch: Run = lab.node().output(watch.stdin(Stdio::null())).into();
    assert_eq!(watch.code, Some(1), "{watch:?}");
    // Other tests have pods on this machine, too.
    let of_pod = |uid: &str| {
        let mut findings = watch.of_type("finding");
        findings.retain(|finding| finding["pod"]["uid"] == uid);
        findings
    };
    assert!(of_pod(well.uid()).is_empty(), "{watch:?}");
    let findings = of_pod(ill.uid());
    assert!(!findings.is_empty(), "{watch:?}");
    for finding in findings {
        let message = finding["message"].as_str().unwrap_or_default();
        assert_eq!(finding["rule"], "PT401", "{finding}");
        assert!(
            message.contains("ended at least 5.") && message.contains("it started"),
            "{finding}"
        );
    }

    let listed = look(&lab, &["ls", "--format", "json"]).objects();
    let verdicts = |uid: &str| of(&listed, uid)["verdicts"].clone();
    assert_eq!(verdicts(ill.uid())["rules"], json!(["PT401"]), "{listed:?}");
    assert_eq!(verdicts(well.uid())["fail"], 0, "{listed:?}");
    let text = look(&lab, &["ls"]).stdout;
    let line = text.lines().find(|line| line.contains("default/ill"));
    assert!(line.is_some_and(|line| line.contains("PT401")), "{text}");

    [app, other]
        .into_iter()
        .for_each(pause_trace_tests::lab::Container::end);
    [ill, well]
        .into_iter()
        .for_each(pause_trace_tests::lab::Pod::remove);
}

/// The kernel shows it in state Z, without namespaces and open files.
#[test]
fn a_process_whose_first_thread_has_exited_runs() {
    let lab = Containerd::start(Version::V1);
    let program = c_program("first-thread-exits");
    let pod = lab.pod("threads").run();
    let app = pod.container("app").mount(&program, "/program");
    let app = app.command(["/program"]).start();
    let stat = format!("/proc/{}/stat", app.pid());
    let until = Instant::now() + Duration::from_secs(60);
    while !std::fs::read_to_string(&stat)
        .expect("it runs")
        .contains(") Z ")
    {
        assert!(Instant::now() < until, "its first thread does not exit");
        std::thread::yield_now();
    }

    let run = look(&lab, &["ls", "--no-ebpf", "--format", "json"]);
    let lines = run.objects();
    let line = of(&lines, pod.uid());
    assert_eq!(
        (&line["members"], &line["zombies"]),
        (&json!(1), &json!(0)),
        "{line}"
    );
    let run = look(
        &lab,
        &["inspect", pod.uid(), "--no-ebpf", "--format", "json"],
    );
    let line = &run.objects()[0];
    let containers = line["containers"].as_array().expect("a list");
    let its = containers.iter().find(|one| one["name"] == "app");
    let its = its.unwrap_or_else(|| panic!("{line}"));
    assert_eq!(its["processes"][0]["state"], "S", "{its}");
    assert_eq!(its["namespaces"]["net"]["is"], "same", "{its}");
    assert_eq!(its["stop"], "stops", "it has a handler: {its}");
    let why = ["why", pod.uid(), "--no-ebpf", "--format", "json"];
    let mut command = Command::new(pause_trace());
    let run: Run = lab
        .node()
        .output(command.args(why).stdin(Stdio::null()))
        .into();
    let line = &run.objects()[0];
    assert_eq!(line["phase"], "running", "{line}");
    let reasons = line["reasons"].as_array().expect("a list");
    let is_bad = |reason: &&Value| reason["is_problem"] == true;
    assert_eq!(reasons.iter().find(is_bad), None, "{line}");

    // The rules take it for no zombie either.
    let args = ["watch", "--once", "--format", "json"];
    let mut command = Command::new(pause_trace());
    let run: Run = lab
        .node()
        .output(command.args(args).stdin(Stdio::null()))
        .into();
    let lines = run.objects();
    let zombies = lines.iter().find(|line| {
        let rule = line["rule"].as_str().unwrap_or_default();
        line["type"] == "finding" && rule.starts_with("PT4")
    });
    assert_eq!(zombies, None, "{run:?}");
}
