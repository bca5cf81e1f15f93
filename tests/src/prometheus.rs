//! A real Prometheus, and promtool.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    lab::{Node, installed, places},
    scratch,
};

/// How long Prometheus may take to start, and to have scraped what happened.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a test asks it again: it reports nothing by itself.
const AGAIN: Duration = Duration::from_millis(200);

/// Which Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edition {
    /// 2.x, of the oldest Debian that is tested.
    V2,
    /// 3.x.
    V3,
    /// 3.x, which asks for native histograms.
    V3Native,
}

impl Edition {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V3Native];

    fn bundle(self) -> &'static str {
        match self {
            Self::V2 => places::PROMETHEUS_2,
            Self::V3 | Self::V3Native => places::PROMETHEUS_3,
        }
    }

    /// Those that run at the same time need different ports.
    fn port(self) -> u16 {
        19_090 + self as u16
    }
}

/// Runs promtool, which reads `input`.
///
/// # Panics
/// When it can't be run.
#[must_use]
pub fn promtool(edition: Edition, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(installed(edition.bundle()).join("usr/bin/promtool"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool can be started");
    let mut stdin = child.stdin.take().expect("it is a pipe");
    thread::scope(|scope| {
        scope.spawn(move || {
            // It may refuse the rest.
            let _ = stdin.write_all(input.as_bytes());
        });
        child.wait_with_output().expect("it was started")
    })
}

/// A Prometheus that scrapes one address on a node once a second. Dropping it kills it.
#[derive(Debug)]
pub struct Prometheus<'lab> {
    node: &'lab Node,
    edition: Edition,
    child: Child,
}

impl<'lab> Prometheus<'lab> {
    /// Starts it, and waits until it has scraped `target`. It evaluates the rules in `rules`.
    ///
    /// # Panics
    /// When it does not start, or cannot scrape.
    #[must_use]
    #[track_caller]
    pub fn start(node: &'lab Node, edition: Edition, target: &str, rules: &Path) -> Self {
        let directory = scratch(&format!("prometheus-{}-{edition:?}", std::process::id()));
        let config = directory.join("prometheus.yml");
        let text = format!(
            "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n\
             rule_files:\n  - {}\n\
             scrape_configs:\n  - job_name: pause-trace\n    static_configs:\n      - targets: ['{target}']\n",
            rules.display()
        );
        fs::write(&config, text).expect("it can be written");
        let mut command = Command::new(installed(edition.bundle()).join("usr/bin/prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                directory.join("data").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{}", edition.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if edition == Edition::V3Native {
            command.arg("--enable-feature=native-histograms");
        }
        let child = node.spawn(&mut command);
        let prometheus = Self {
            node,
            edition,
            child,
        };
        prometheus.await_data("up == 1");
        prometheus
    }

    /// The series that a query returns, or why it was refused.
    pub fn query(&self, query: &str) -> Result<Vec<Value>, String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"))?;
        match (&answer["status"], &answer["data"]["result"]) {
            (Value::String(status), Value::Array(series)) if status == "success" => {
                Ok(series.clone())
            }
            _ => Err(answer.to_string()),
        }
    }

    /// Waits until a query returns series, and returns them.
    ///
    /// # Panics
    /// When it does not.
    #[track_caller]
    pub fn await_data(&self, query: &str) -> Vec<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.query(query);
            if let Ok(series) = &answer
                && !series.is_empty()
            {
                return series.clone();
            }
            assert!(
                Instant::now() < until,
                "{:?}: no data for {query}: {answer:?}",
                self.edition
            );
            thread::sleep(AGAIN);
        }
    }

    /// The answer of its API to a request.
    pub fn get(&self, path: &str) -> Result<Value, String> {
        let address = format!("127.0.0.1:{}", self.edition.port());
        let answer =
            request(self.node, &address, path, "*/*").map_err(|error| error.to_string())?;
        serde_json::from_str(&answer.body).map_err(|error| format!("{error}: {}", answer.body))
    }
}

impl Drop for Prometheus<'_> {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let directory = scratch(&format!(
            "prometheus-{}-{:?}",
            std::process::id(),
            self.edition
        ));
        let _ = fs::remove_dir_all(directory);
    }
}

/// What an HTTP server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub code: u16,
    /// The head, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

/// Sends a GET from a node.
///
/// # Errors
/// When the server does not answer.
pub fn request(node: &Node, address: &str, path: &str, accept: &str) -> std::io::Result<Answer> {
    node.enter(|| request_here(address, path, accept))
}

/// The same from the machine.
///
/// # Errors
/// When the server does not answer.
pub fn request_here(address: &str, path: &str, accept: &str) -> std::io::Result<Answer> {
    // An answer of HTTP/1.0 has no chunks and ends with the connection.
    let text = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(text.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let answer = String::from_utf8_lossy(&bytes);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        code: code.unwrap_or_default(),
        head: head.to_ascii_lowercase(),
        body: body.to_owned(),
    })
}
