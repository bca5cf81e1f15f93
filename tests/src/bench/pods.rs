//! What needs pods: they are real ones, of a containerd on a node of its own.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use nix::{
    time::{ClockId, clock_getcpuclockid, clock_gettime},
    unistd::Pid,
};

use super::{Bench, Line, Samples, Table, tracers::Tracer};
use crate::{
    lab::{Container, Containerd, Pod, Version, image},
    pause_trace,
    process::before_exec,
    watch::Watch,
    workload_binary,
};

/// The loads that run in a container, where each event is one of a pod.
const WATCHED: [&str; 4] = ["null-call", "kill-self", "fork-exit", "exec"];

/// The pods of the larger measurements of memory, and of a node that the kubelet calls full.
const FULL: usize = 110;

/// How long the processor time of a watch at rest is counted.
const REST: Duration = Duration::from_secs(20);

/// How long a line may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// The processes whose way to standard output is timed.
const VIOLATIONS: usize = 60;

impl Bench<'_> {
    /// The benchmarks with pods.
    pub(super) fn pods(&mut self) {
        let names = ["watched", "latency", "churn", "memory", "ls"];
        if !names.iter().any(|name| self.is_wanted(name)) {
            return;
        }
        let lab = Containerd::start(Version::V2);
        lab.import(&image::workload());
        if self.is_wanted("watched") {
            self.watched(&lab);
        }
        if self.is_wanted("latency") {
            self.latency(&lab);
        }
        if self.is_wanted("churn") {
            self.churn(&lab);
        }
        if self.is_wanted("memory") || self.is_wanted("ls") {
            self.full(&lab);
        }
    }

    /// Loads in a container. That of kill is a flood from one pod.
    fn watched(&mut self, lab: &Containerd) {
        let pod = lab.pod("bench").run();
        let app = pod
            .container("app")
            .image(image::WORKLOAD)
            .mount(&self.load, "/load");
        let app = app.command(["/workload", "serve"]).start();
        let tracers = [
            Tracer::None,
            Tracer::Empty,
            Tracer::PauseTrace,
            Tracer::BpftraceAll,
        ];
        let mut figures = vec![vec![Ok(Samples::default()); tracers.len()]; WATCHED.len()];
        for _ in 0..self.options.rounds {
            for (column, tracer) in tracers.iter().enumerate() {
                // The node is where the runtime's sockets and files are.
                let (mut watch, mut other) = (None, None);
                match tracer {
                    Tracer::PauseTrace => watch = Some(Watch::start(lab.node())),
                    _ => other = Some(tracer.start(&self.doctor)),
                }
                let refused = match &other {
                    Some(Err(reason)) => Some(reason.clone()),
                    _ => None,
                };
                for (load, row) in WATCHED.iter().zip(&mut figures) {
                    let cell: &mut Result<Samples, String> = &mut row[column];
                    if let Some(reason) = &refused {
                        *cell = Err(reason.clone());
                        continue;
                    }
                    let output = app.exec(["/load", load, self.sample(), "/workload"]);
                    let text = String::from_utf8_lossy(&output.stdout);
                    if let (Ok(samples), Ok(sample)) = (cell, text.trim().parse()) {
                        samples.push(sample);
                    }
                }
                drop((watch, other));
            }
        }
        app.end();
        pod.remove();
        for (load, row) in WATCHED.iter().zip(figures) {
            let lines = tracers.iter().zip(row).map(|(tracer, figure)| Line {
                name: tracer.name().into(),
                figure,
            });
            let table = Table {
                benchmark: "watched",
                title: format!("{load} in a container"),
                unit: "ns",
                compares: true,
                lines: lines.collect(),
            };
            self.add(table);
        }
    }

    /// From the exec of a process with wrong namespaces in a container to its line: the process is
    /// moved into the cgroup of the container, and its namespaces are those of the node.
    fn latency(&mut self, lab: &Containerd) {
        let lines = Lines::of_watch(lab);
        let mut samples = Samples::default();
        for index in 0..VIOLATIONS {
            let pod = lab.pod(&format!("late-{index}")).run();
            let app = pod.serve("app");
            lines.find(&[app.id(), r#""event":"started""#]);
            if let Some(sample) = self.violation(&lines, &pod, &app) {
                samples.push(sample);
            }
            app.end();
            pod.remove();
        }
        drop(lines);
        let at = |share: f64| samples.percentile(share).into_iter().collect();
        let line = |name: &str, samples| Line {
            name: name.into(),
            figure: Ok(samples),
        };
        let lines = vec![line("all", samples.clone()), line("p99", at(0.99))];
        let table = Table {
            benchmark: "latency",
            title: "from an exec in a foreign namespace to its line".into(),
            unit: "ms",
            compares: false,
            lines,
        };
        self.add(table);
    }

    /// Milliseconds between the two.
    fn violation(&self, lines: &Lines, pod: &Pod<'_>, app: &Container<'_>) -> Option<f64> {
        let cgroup = cgroup_of(app.pid(), &watched_hierarchy(&self.doctor)?)?;
        let members = File::options()
            .write(true)
            .open(format!("{cgroup}/cgroup.procs"))
            .ok()?;
        let mut command = Command::new(workload_binary());
        command.arg("true");
        // "0" is the process that writes.
        before_exec(&mut command, move || {
            Ok(nix::unistd::write(&members, b"0").map(drop)?)
        });
        command.stdin(Stdio::null()).status().ok()?;
        let (arrived, line) = lines.find(&[pod.uid(), r#""type":"finding""#, "PT112"]);
        // When the kernel reported the exec, by the same clock.
        let line: serde_json::Value = serde_json::from_str(&line).ok()?;
        let executed = Duration::from_nanos(line["ktime_ns"].as_u64()?);
        Some(arrived.checked_sub(executed)?.as_secs_f64() * 1e3)
    }

    /// Pods that are made and removed one after the other.
    fn churn(&mut self, lab: &Containerd) {
        const PODS: u32 = 4;
        let names = ["no tracer", "pause-trace"];
        let mut figures = [Samples::default(), Samples::default()];
        for round in 0..self.options.rounds {
            for (column, samples) in figures.iter_mut().enumerate() {
                let watch = (column == 1).then(|| Watch::start(lab.node()));
                let started = Instant::now();
                for index in 0..PODS {
                    let pod = lab.pod(&format!("churn-{round}-{column}-{index}")).run();
                    pod.serve("app").end();
                    pod.remove();
                }
                samples.push(started.elapsed().as_secs_f64() * 1e3 / f64::from(PODS));
                drop(watch);
            }
        }
        let lines = names.into_iter().zip(figures).map(|(name, samples)| Line {
            name: name.into(),
            figure: Ok(samples),
        });
        let table = Table {
            benchmark: "churn",
            title: "a pod of one container on containerd, from its request to its removal".into(),
            unit: "ms",
            compares: true,
            lines: lines.collect(),
        };
        self.add(table);
    }

    /// The memory and the processor time of a watch beside 1 pod and a full node, and the time of a
    /// snapshot of it.
    fn full(&mut self, lab: &Containerd) {
        let (mut memory, mut rest, mut snapshot) = (Vec::new(), Vec::new(), Vec::new());
        let mut pods: Vec<Pod<'_>> = Vec::new();
        let mut apps: Vec<String> = Vec::new();
        for count in [1, FULL] {
            while pods.len() < count {
                let pod = lab.pod(&format!("full-{}", pods.len())).run();
                apps.push(pod.serve("app").id().to_owned());
                pods.push(pod);
            }
            let watch = Watch::start(lab.node());
            for app in &apps {
                watch.await_container(app, "started");
            }
            let before = processor_time(watch.pid());
            // What it does in this time is the figure: nothing is waited for.
            thread::sleep(REST);
            let used = processor_time(watch.pid()) - before;
            let line = |figure: f64| Line {
                name: format!("{count} pods"),
                figure: Ok([figure].into_iter().collect()),
            };
            rest.push(line(used / REST.as_secs_f64() * 100.0));
            memory.push(line(resident(watch.pid())));
            drop(watch);
            let times = (0..self.options.rounds).map(|_| {
                let started = Instant::now();
                let mut ls = Command::new(pause_trace());
                lab.node().output(ls.args(["ls", "--format", "json"]));
                started.elapsed().as_secs_f64() * 1e3
            });
            snapshot.push(Line {
                name: format!("{count} pods"),
                figure: Ok(times.collect()),
            });
        }
        for (benchmark, title, unit, lines) in [
            (
                "memory",
                "resident memory of watch beside pods of one container",
                "MiB",
                memory,
            ),
            (
                "memory",
                "processor time of watch while nothing happens",
                "% of one",
                rest,
            ),
            ("ls", "a snapshot", "ms", snapshot),
        ] {
            self.add(Table {
                benchmark,
                title: title.into(),
                unit,
                compares: false,
                lines,
            });
        }
    }
}

/// The lines of a watch, each with the time at which it arrived. Dropping it kills the watch.
struct Lines {
    child: Child,
    lines: mpsc::Receiver<(Duration, String)>,
}

impl Lines {
    /// Starts it on the node, and waits until it has attached.
    fn of_watch(lab: &Containerd) -> Self {
        let mut command = Command::new(pause_trace());
        command
            .args(["watch", "--format", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = lab.node().spawn(&mut command);
        let output = child.stdout.take().expect("it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every kernel has it");
                if sender.send((time.into(), line)).is_err() {
                    return;
                }
            }
        });
        let lines = Self { child, lines };
        lines.find(&[r#""type":"hello""#]);
        lines
    }

    /// The next line that contains all of these, and when it arrived.
    fn find(&self, parts: &[&str]) -> (Duration, String) {
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let (time, line) = line.unwrap_or_else(|_| panic!("no line has all of {parts:?}"));
            if parts.iter().all(|part| line.contains(part)) {
                return (time, line);
            }
        }
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where `pause-trace doctor` says that cgroups are watched.
fn watched_hierarchy(doctor: &str) -> Option<String> {
    let line = doctor
        .lines()
        .find(|line| line.contains(r#""name":"cgroups""#))?;
    let (_, rest) = line.split_once("watched at ")?;
    Some(rest.split(['"', ' ', ',']).next()?.to_owned())
}

/// The directory of a process's cgroup in a hierarchy.
fn cgroup_of(pid: i32, hierarchy: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let name = hierarchy.rsplit('/').next()?;
    let path = text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let is_unified = number == "0";
        let is_it = match is_unified {
            true => name == "unified" || hierarchy == "/sys/fs/cgroup",
            false => controllers.split(',').any(|controller| controller == name),
        };
        is_it.then_some(path)
    });
    Some(format!("{hierarchy}{}", path?))
}

/// Seconds of processor time that a process has used, also in threads that have ended.
fn processor_time(pid: u32) -> f64 {
    let time = clock_getcpuclockid(Pid::from_raw(pid.cast_signed())).and_then(clock_gettime);
    Duration::from(time.expect("the watch runs")).as_secs_f64()
}

/// MiB of resident memory.
fn resident(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = field.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok());
    number.unwrap_or_default() / 1024.0
}
