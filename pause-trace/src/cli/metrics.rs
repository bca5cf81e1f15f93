//! `--metrics` of `watch` and `run`.

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::fd::{AsRawFd as _, RawFd},
    rc::Rc,
};

use anyhow::{Context as _, Result};
use tokio::sync::{Mutex, mpsc};

use super::Usage;
use crate::{
    live::Live,
    measure::{Measure, Now},
    metrics::{Ask, Metrics, SURVEYING, Server, Stage, Wanted},
    observer::Observer,
    probe,
    report::Clock,
};

/// The options.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
#[command(next_help_heading = "Metrics")]
pub(crate) struct MetricsArgs {
    /// Serve /metrics, /healthz, /readyz and /report at this address, without authentication:
    /// ADDR:PORT, or PORT alone for 127.0.0.1. Port 0 chooses a free one, which is said on stderr
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address)]
    pub(crate) metrics: Option<SocketAddr>,
    /// Give the findings and zombies of up to N pods labels with the pod's namespace and name; the
    /// other pods are counted together
    #[arg(long, value_name = "N", default_value_t = 0, requires = "metrics", value_parser = parse_pods)]
    pub(crate) metrics_pods: usize,
}

/// Most pods that may have labels. The kubelet runs 110 pods on a node unless it is told otherwise.
const MOST_PODS: usize = 1_000;

/// `ADDR:PORT`, `:PORT` or `PORT`.
fn parse_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.strip_prefix(':').unwrap_or(text);
    let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if is_number {
        let port = port.parse().map_err(|_| format!("{port} is not a port"))?;
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().map_err(|_| {
        "expected ADDR:PORT with an IP address, or a port: 127.0.0.1:9753, [::1]:9753, 9753"
            .to_owned()
    })
}

fn parse_pods(text: &str) -> Result<usize, String> {
    let pods = text.parse().ok().filter(|pods| *pods <= MOST_PODS);
    pods.ok_or_else(|| format!("not a whole number up to {MOST_PODS}"))
}

impl MetricsArgs {
    /// Binds the address, and says where the metrics are. Called before anything else is done: an
    /// address that is in use is known at once.
    pub(super) fn bind(self, clock: Clock) -> Result<Option<Bound>> {
        let Some(address) = self.metrics else {
            return Ok(None);
        };
        let listener = Server::bind(address)
            .map_err(|error| Usage(format!("failed to listen at --metrics {address}: {error}")))?;
        let address = listener
            .local_addr()
            .context("failed to read the address")?;
        eprintln!("pause-trace: metrics at http://{address}/metrics");
        if !address.ip().is_loopback() {
            eprintln!(
                "pause-trace: everybody who can reach {address} can read them: there is no authentication"
            );
        }
        Ok(Some(Bound {
            listener,
            pods: self.metrics_pods,
            metrics: Metrics::new(clock.unix_ns(probe::now())),
        }))
    }
}

/// A bound address and the metrics that it will serve.
pub(super) struct Bound {
    listener: TcpListener,
    pods: usize,
    metrics: Metrics,
}

impl Bound {
    /// Serves from now on.
    pub(super) fn serve(self) -> Result<Exposed> {
        let Self {
            listener,
            pods,
            metrics,
        } = self;
        let descriptor = listener.as_raw_fd();
        let (server, asked) =
            Server::start(listener, metrics.clone()).context("failed to serve the metrics")?;
        Ok(Exposed {
            measure: Rc::new(RefCell::new(Measure::new(metrics.clone()))),
            metrics,
            descriptor,
            server,
            asked: Mutex::new(asked),
            pods,
        })
    }
}

/// The metrics that are served.
pub(super) struct Exposed {
    pub(super) metrics: Metrics,
    descriptor: RawFd,
    server: Server,
    measure: Rc<RefCell<Measure<Metrics>>>,
    asked: Mutex<mpsc::Receiver<Ask>>,
    pods: usize,
}

impl Exposed {
    /// The socket at which it listens.
    pub(super) fn descriptor(&self) -> RawFd {
        self.descriptor
    }

    /// Serves a report, made by `make`.
    pub(super) fn report(&self, make: impl Fn() -> Result<String, String> + Send + Sync + 'static) {
        self.server.report(make);
    }

    /// What measures the events.
    pub(super) fn observer(&self) -> Box<dyn Observer> {
        Box::new(Rc::clone(&self.measure))
    }

    /// Says what is being done before the pods are observed.
    pub(super) fn before(&self, what: &'static str) {
        self.server.set(Stage::Before(what));
    }

    /// Answers what the server asks, as long as it is polled. `settled` resolves when the pods that
    /// ran at the start are judged.
    pub(super) async fn answer<T>(&self, live: &Live, settled: impl Future<Output = ()>) -> T {
        let hooks = live.hooks.iter();
        self.metrics
            .hooks(hooks.map(|hook| (hook.name, hook.how.is_ok())));
        self.server.set(Stage::Before(SURVEYING));
        let ready = async {
            settled.await;
            self.server.set(Stage::Ready);
            std::future::pending::<()>().await;
        };
        let answering = async {
            let mut asked = self.asked.lock().await;
            while let Some(Ask { wanted, answer }) = asked.recv().await {
                // The client may have left.
                let _ = answer.send(match wanted {
                    Wanted::Refresh => {
                        self.refresh(live);
                        Ok(())
                    }
                    Wanted::Health => live.progress(),
                });
            }
            std::future::pending::<()>().await;
        };
        tokio::join!(ready, answering);
        std::future::pending().await
    }

    fn refresh(&self, live: &Live) {
        self.measure.borrow_mut().settle(live.known_until());
        let now = live.read(|core| Now::of(&core.state, &core.ledger, self.pods));
        self.metrics.refresh(&now);
        self.metrics.missed(live.missed().into_iter());
    }

    /// Ends the server.
    pub(super) async fn close(self) {
        self.server.close().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_on_loopback() {
        for (text, address) in [
            ("9753", "127.0.0.1:9753"),
            (":9753", "127.0.0.1:9753"),
            ("0", "127.0.0.1:0"),
            ("0.0.0.0:1", "0.0.0.0:1"),
            ("[::1]:80", "[::1]:80"),
        ] {
            let parsed = parse_address(text).map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), Ok(address), "{text}");
        }
        for text in [
            "",
            ":",
            "65536",
            "localhost:80",
            "1.2.3.4",
            "::1",
            "-1",
            "a:1",
        ] {
            assert!(parse_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_number_of_labelled_pods_is_bounded() {
        assert_eq!(parse_pods("0"), Ok(0));
        assert_eq!(parse_pods("1000"), Ok(1_000));
        for text in ["1001", "-1", "all", ""] {
            assert!(parse_pods(text).is_err(), "{text}");
        }
    }
}
