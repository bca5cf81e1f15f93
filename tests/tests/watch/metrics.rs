//! The metrics of `watch --metrics`, scraped by real Prometheuses from a node with broken pods.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::{
    libc,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pause_trace_tests::{
    chromium,
    confined::{Files, assert_confined},
    lab::{Containerd, Node, Version, image},
    pause_trace,
    prometheus::{Edition, Prometheus, promtool, request, request_here},
    scratch,
    watch::Watch,
};
use serde_json::Value;

/// How long a page may take to say what it should.
const PATIENCE: Duration = Duration::from_secs(120);
const AGAIN: Duration = Duration::from_millis(100);
const SHORT: Duration = Duration::from_secs(2);

/// Ends a label, a line, and the exposition, and clears a terminal.
const HOSTILE: &str = "a\u{1b}[2J\"} 1\n# EOF\\";

fn deployed(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../deploy")
        .join(path)
}

/// The address of the metrics, which is said on stderr.
fn address_of(watch: &Watch) -> String {
    let line = watch.await_error("metrics at http://");
    let (_, rest) = line.split_once("http://").expect("an address");
    rest.trim_end_matches("/metrics").to_owned()
}

fn await_code(node: &Node, address: &str, path: &str, code: u16) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = request(node, address, path, "*/*").expect("it listens");
        if answer.code == code {
            return answer.body;
        }
        assert!(Instant::now() < until, "{path}: {answer:?}");
        thread::sleep(AGAIN);
    }
}

#[test]
fn prometheus_scrapes_what_happens_to_pods() {
    let lab = Containerd::start(Version::V1);
    lab.import(&image::workload());
    let watch = Watch::start_with(lab.node(), ["--metrics", "0", "--metrics-pods", "1000"]);
    let (node, address) = (lab.node(), address_of(&watch));
    assert_eq!(await_code(node, &address, "/readyz", 200), "ok\n");
    assert_eq!(await_code(node, &address, "/healthz", 200), "ok\n");
    assert_confined(watch.pid(), Files::Read);
    let rules = deployed("prometheus/alerts.yaml");
    let scrapers = Edition::ALL.map(|edition| Prometheus::start(node, edition, &address, &rules));
    for prometheus in &scrapers {
        prometheus.await_data("pause_trace_ready == 1");
    }

    // A healthy pod that listens, with a name that would end a label.
    let healthy = lab.pod(HOSTILE).namespace(HOSTILE).shared_pid().run();
    let app = healthy
        .container("app")
        .workload(["listen-late", "8080"])
        .start();
    let app = app.settled_in(libc::SYS_rt_sigtimedwait);
    kill(Pid::from_raw(app.pid()), Signal::SIGUSR1).expect("it runs");
    assert_eq!(app.exec(["/workload", "orphan", "1"]).exit_code, 0);
    // A process that the OOM killer kills, a container that reaps a child, and one that ends on its
    // stop signal.
    let fed = lab.pod("fed").run();
    let script = "trap 'exit 0' TERM; sleep 0; sleep 1000 & while :; do wait; done";
    let shell = fed.container("shell").command(["sh", "-c", script]).start();
    let shell = shell.settled_in(libc::SYS_rt_sigsuspend);
    let hungry = fed.serve("hungry");
    hungry.limit_memory(64 << 20);
    assert_eq!(
        hungry.exec(["/workload", "eat-memory", "256"]).exit_code,
        128 + libc::SIGKILL
    );
    hungry.end();
    shell.end();
    // A container that ignores its stop signal.
    let deaf = lab.pod("deaf").run();
    let container = deaf.container("deaf").workload(["ignore-term"]).start();
    let container = container.settled_in(libc::SYS_ppoll);
    container.stop(SHORT);
    watch.await_finding(deaf.uid(), "PT302");
    // A pause that leaves a zombie.
    lab.use_pause("no-reap");
    let broken = lab.pod("scraped").shared_pid().run();
    let orphaned = broken.serve("app");
    assert_eq!(orphaned.exec(["/workload", "orphan", "1"]).exit_code, 0);
    watch.await_finding(broken.uid(), "PT402");

    for prometheus in &scrapers {
        holds_what_happened(prometheus);
        has_evaluated_the_alerts(prometheus);
    }
    for prometheus in &scrapers[..2] {
        answers_the_dashboard(prometheus);
    }
    let native = "histogram_count(pause_trace_reap_latency_seconds{reaper=\"pause\"}) > 0";
    scrapers[2].await_data(native);

    shows_the_report(node, &address);

    // What promtool says of the exposition while it has the hostile name.
    let text = request(node, &address, "/metrics", "text/plain").expect("it answers");
    assert!(
        text.head
            .contains("content-type: text/plain; version=0.0.4"),
        "{}",
        text.head
    );
    assert!(text.body.contains("pod=\"a\\\\u{1b}[2J"), "{}", text.body);
    for edition in [Edition::V2, Edition::V3] {
        let checked = promtool(edition, &["check", "metrics"], &text.body);
        let output = [checked.stdout, checked.stderr].concat();
        let said = String::from_utf8_lossy(&output);
        assert!(
            checked.status.success() && said.is_empty(),
            "{edition:?}: {said}"
        );
    }

    // The series of a pod end with it.
    orphaned.end();
    let uid = broken.uid().to_owned();
    broken.remove();
    watch.verified(&uid).assert_broken(["PT402"]);
    let text = request(node, &address, "/metrics", "text/plain").expect("it answers");
    assert!(!text.body.contains("pod=\"scraped\""), "{}", text.body);
    // The counter stays. It also has the findings about pods of other tests.
    let counted = "pause_trace_findings_total{rule=\"PT402\",severity=\"error\"} ";
    let counted = text
        .body
        .lines()
        .find_map(|line| line.strip_prefix(counted));
    assert!(counted.is_some_and(|count| count != "0"), "{}", text.body);
    drop(scrapers);
    app.end();
    healthy.remove();
    let _ = watch.terminate(1);
    assert!(request(node, &address, "/metrics", "*/*").is_err());
}

/// Waits until the series say what the test did.
fn holds_what_happened(prometheus: &Prometheus<'_>) {
    for query in [
        "pause_trace_findings_total{rule=\"PT402\",severity=\"error\"} >= 1",
        "pause_trace_findings_total{rule=\"PT302\"} >= 1",
        "pause_trace_verdicts_total{rule=\"PT402\",outcome=\"fail\"} >= 1",
        "pause_trace_pod_findings{pod=\"scraped\",rule=\"PT402\"} == 1",
        "pause_trace_pod_zombies{pod=\"scraped\"} >= 1",
        "pause_trace_zombies >= 1",
        "pause_trace_zombies_overdue >= 1",
        "pause_trace_pods >= 4",
        "pause_trace_pauses >= 4",
        "pause_trace_containers >= 2",
        "pause_trace_oom_kills_total >= 1",
        "pause_trace_pod_events_total{event=\"oom_killed\"} >= 1",
        "pause_trace_pod_events_total{event=\"started\"} >= 8",
        "pause_trace_signals_total{result=\"ignored\"} >= 1",
        "pause_trace_events_total{kind=\"exec\"} > 10",
        "pause_trace_lost_records_total{kind=\"fork\"}",
        "pause_trace_hook_attached{hook=\"sched_process_fork\"} == 1",
        "pause_trace_hook_missed_runs_total{program=\"fork\"}",
        "process_resident_memory_bytes > 1e6",
        "pause_trace_build_info == 1",
    ] {
        prometheus.await_data(query);
    }
    // Native histograms have no series of their own for the count.
    let of = |series: &str, labels: &str| {
        let classic = format!("{series}_count{{{labels}}} > 0");
        let native = format!("histogram_count({series}{{{labels}}}) > 0");
        prometheus.await_data(&format!("({classic}) or ({native})"));
    };
    for phase in ["cni", "sandbox", "create", "start", "first_listen"] {
        of(
            "pause_trace_start_phase_seconds",
            &format!("phase=\"{phase}\""),
        );
    }
    for end in ["itself", "killed"] {
        of("pause_trace_grace_used_seconds", &format!("end=\"{end}\""));
    }
    for reaper in ["pause", "container", "outside"] {
        of(
            "pause_trace_reap_latency_seconds",
            &format!("reaper=\"{reaper}\""),
        );
    }
}

/// Every alert was evaluated without an error, and the violations are among the firing ones.
fn has_evaluated_the_alerts(prometheus: &Prometheus<'_>) {
    prometheus.await_data(
        "ALERTS{alertname=\"PauseTraceViolation\",rule=\"PT402\",name=\"pause-reaps\"}",
    );
    let answer = prometheus.get("/api/v1/rules").expect("it answers");
    let rules = answer["data"]["groups"][0]["rules"]
        .as_array()
        .expect("rules");
    assert!(rules.len() >= 10, "{answer}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}

/// Each query of the dashboard returns a number.
fn answers_the_dashboard(prometheus: &Prometheus<'_>) {
    let queries = dashboard();
    assert!(queries.len() > 20, "{queries:?}");
    for query in queries {
        let query = query
            .replace("$__rate_interval", "5m")
            .replace("$instance", ".*");
        assert!(!query.contains('$'), "an unknown variable: {query}");
        let series = prometheus.await_data(&query);
        let is_number = |series: &Value| {
            let value = series["value"][1]
                .as_str()
                .and_then(|it| it.parse::<f64>().ok());
            value.is_some_and(f64::is_finite)
        };
        assert!(series.iter().any(is_number), "{query}: {series:?}");
    }
}

/// The queries of all panels.
fn dashboard() -> Vec<String> {
    let text = fs::read_to_string(deployed("grafana/pause-trace.json")).expect("it is there");
    let dashboard: Value = serde_json::from_str(&text).expect("it is JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "two panels have one id");
    let targets = panels
        .iter()
        .filter_map(|panel| panel["targets"].as_array());
    let queries = targets.flatten().map(|target| target["expr"].as_str());
    queries
        .map(|query| query.expect("a query").to_owned())
        .collect()
}

#[test]
fn a_run_is_ready_after_its_reference_pod() {
    let mut child = Command::new(pause_trace())
        .args(["run", "--for", "1h", "--metrics", "0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut errors = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
    let line = errors.find_map(|line| line.ok().filter(|line| line.contains("metrics at")));
    let line = line.expect("it says where");
    let address = line.trim_end_matches("/metrics").rsplit('/').next();
    let address = address.expect("an address").to_owned();
    // Nobody else reads the rest.
    let reading = thread::spawn(move || errors.count());
    let get = |path| request_here(&address, path, "*/*").expect("it listens");
    let until = Instant::now() + PATIENCE;
    let mut reasons = BTreeSet::new();
    loop {
        assert_eq!(get("/healthz").code, 200);
        let ready = get("/readyz");
        reasons.insert((ready.code, ready.body));
        if ready.code == 200 {
            break;
        }
        assert!(Instant::now() < until, "{reasons:?}");
        thread::sleep(AGAIN);
    }
    let of_reference = (503, "the reference pod is being verified\n".to_owned());
    assert!(reasons.contains(&of_reference), "{reasons:?}");
    assert_confined(child.id(), Files::Read);
    assert_eq!(get("/metrics").code, 200);
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("it runs");
    let status = child.wait().expect("it is a child of this process");
    assert_eq!(status.code(), Some(130));
    assert!(reading.join().is_ok());
    assert!(request_here(&address, "/readyz", "*/*").is_err());
}

#[test]
fn promtool_accepts_the_alerts_and_their_tests_pass() {
    let (rules, tests) = (
        deployed("prometheus/alerts.yaml"),
        deployed("prometheus/alerts_test.yaml"),
    );
    let [rules, tests] = [rules, tests].map(|path| path.display().to_string());
    for edition in [Edition::V2, Edition::V3] {
        for args in [["check", "rules", &rules], ["test", "rules", &tests]] {
            let output = promtool(edition, &args, "");
            assert!(output.status.success(), "{edition:?} {args:?}: {output:?}");
        }
    }
    // Each alert has a test in which it fires and one in which it does not.
    let read = |path: &str| fs::read_to_string(path).expect("it is there");
    let tested = read(&tests);
    for line in read(&rules).lines() {
        let Some(alert) = line.trim().strip_prefix("- alert: ") else {
            continue;
        };
        let named = format!("alertname: {alert}\n");
        let cases: Vec<_> = tested.split(&named).skip(1).collect();
        let fires = |case: &&str| !case.trim_start().starts_with("exp_alerts: []");
        assert!(cases.iter().any(fires), "{alert} never fires");
        assert!(!cases.iter().all(fires), "{alert} always fires");
    }
}

/// The configurations that the documentation shows.
#[test]
fn promtool_accepts_the_documented_configurations() {
    let page = deployed("../docs/metrics.md");
    let page = fs::read_to_string(page).expect("it is there");
    let blocks: Vec<_> = page.split("```yaml\n").skip(1).collect();
    assert_eq!(blocks.len(), 2);
    for (index, block) in blocks.into_iter().enumerate() {
        let (config, _) = block.split_once("```").expect("it ends");
        let path = scratch("scrape-config").join(format!("{index}.yml"));
        fs::write(&path, config).expect("it can be written");
        let path = path.display().to_string();
        // The 2.x of Debian cannot find the pods of a cluster.
        let output = promtool(Edition::V3, &["check", "config", &path], "");
        assert!(output.status.success(), "{config}{output:?}");
    }
}

/// A browser shows the page about what the history has.
fn shows_the_report(node: &Node, address: &str) {
    let answer = request(node, address, "/report", "text/html").expect("it answers");
    assert_eq!(answer.code, 200, "{answer:?}");
    for field in [
        "content-type: text/html",
        "content-security-policy: default-src 'none'",
    ] {
        assert!(answer.head.contains(field), "{}", answer.head);
    }
    let path = scratch("metrics").join("report.html");
    fs::write(&path, &answer.body).expect("the directory can be written to");
    let shown = chromium::open(&path, "find=deaf");
    assert_eq!(shown.complaints, [""; 0]);
    for expected in [
        "data-state=\"drawn\"",
        "PT302 killed-after-grace",
        "What the start waited for:",
        "Findings by rule",
    ] {
        assert!(shown.dom.contains(expected), "{expected}: {shown:#?}");
    }
    fs::remove_file(path).expect("this test made the file");
}
