//! What clients get from the server, over real connections.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream as Client,
    thread,
};

use super::*;

/// How long a client waits. Longer than all limits of the server.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a server until `clients`, on a thread of its own, is done. `answer` answers what the
/// command is asked.
fn serve<T: Send + 'static>(
    stage: Stage,
    answer: Option<Health>,
    clients: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let make = || Ok("<!doctype html>".to_owned());
    serve_with(stage, answer, Some(Box::new(make)), clients)
}

/// The same. `make` makes the report.
fn serve_with<T: Send + 'static>(
    stage: Stage,
    answer: Option<Health>,
    make: Option<Box<MakeReport>>,
    clients: impl FnOnce(SocketAddr) -> T + Send + 'static,
) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("an event loop");
    runtime.block_on(async {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = Server::bind(any).expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (server, mut asked) = Server::start(listener, Metrics::new(0)).expect("it starts");
        server.set(stage);
        if let Some(make) = make {
            server.report(make);
        }
        let answering = async {
            while let Some(ask) = asked.recv().await {
                match &answer {
                    Some(health) => _ = ask.answer.send(health.clone()),
                    None => std::mem::forget(ask),
                }
            }
        };
        let clients = tokio::task::spawn_blocking(move || clients(address));
        let done = tokio::select! {
            done = clients => done.expect("no client panics"),
            () = answering => unreachable!("the server asks"),
        };
        server.close().await;
        done
    })
}

fn connect(address: SocketAddr) -> Client {
    let client = Client::connect(address).expect("it listens");
    client
        .set_read_timeout(Some(PATIENCE))
        .expect("it can be set");
    client
}

/// Everything that the server answers to these bytes until it closes the connection.
fn answer_to(address: SocketAddr, bytes: &[u8]) -> String {
    let mut client = connect(address);
    // The server may have refused it before its end.
    let _ = client.write_all(bytes);
    let mut answer = Vec::new();
    let _ = client.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    answer_to(address, request.as_bytes())
}

#[test]
fn only_get_and_head_of_known_pages_are_answered() {
    serve(Stage::Ready, Some(Ok(())), |address| {
        let request = |method: &str, path: &str| {
            let request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            answer_to(address, request.as_bytes())
        };
        for (path, ..) in PAGES {
            let whole = request("GET", path);
            assert!(whole.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {whole}");
            let head = request("HEAD", path);
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{path}: {head}");
            assert!(
                head.ends_with("\r\n\r\n") && head.contains("content-length: "),
                "{head}"
            );
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
                let refused = request(method, path);
                assert!(
                    refused.starts_with("HTTP/1.1 405 "),
                    "{method} {path}: {refused}"
                );
                assert!(refused.contains("allow: GET, HEAD\r\n"), "{refused}");
            }
        }
        assert!(get(address, "/metrics?x=y").starts_with("HTTP/1.1 200 "));
        for path in ["/metrics/", "/nothing", "//", "/../etc/passwd", "/METRICS"] {
            assert!(get(address, path).starts_with("HTTP/1.1 404 "), "{path}");
        }
        let index = get(address, "/");
        assert!(index.contains("/readyz"), "{index}");
    });
}

#[test]
fn a_report_is_a_page_for_browsers_and_needs_a_history() {
    let report = |make: Option<Box<MakeReport>>| {
        serve_with(Stage::Ready, None, make, |address| get(address, "/report"))
    };
    let page = report(Some(Box::new(|| Ok("<p>".to_owned()))));
    assert!(
        page.starts_with("HTTP/1.1 200 ") && page.ends_with("<p>"),
        "{page}"
    );
    assert!(
        page.contains("content-security-policy: default-src 'none'"),
        "{page}"
    );
    let none = report(None);
    assert!(
        none.starts_with("HTTP/1.1 404 ") && none.contains("no history"),
        "{none}"
    );
    let failed = report(Some(Box::new(|| Err("it is damaged".to_owned()))));
    assert!(
        failed.starts_with("HTTP/1.1 503 ") && failed.contains("it is damaged"),
        "{failed}"
    );
}

#[test]
fn all_addresses_of_a_node_without_ipv6_are_those_of_ipv4() {
    let none = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
    let used = io::Error::from_raw_os_error(libc::EADDRINUSE);
    for (address, error, other) in [
        ("[::]:9753", &none, Some("0.0.0.0:9753")),
        ("[::]:9753", &used, None),
        ("[::1]:9753", &none, None),
        ("0.0.0.0:9753", &none, None),
    ] {
        let address = address.parse().expect("an address");
        let found = without_ipv6(address, error).map(|other| other.to_string());
        assert_eq!(found.as_deref(), other, "{address} {error}");
    }
}

#[test]
fn a_report_is_for_clients_that_name_this_machine() {
    serve(Stage::Ready, None, |address| {
        for (host, code) in [
            ("Host: localhost:9753\r\n", "200"),
            ("Host: 127.0.0.1\r\n", "200"),
            ("Host: [::1]:9753\r\n", "200"),
            ("Host: evil.example:9753\r\n", "403"),
            ("Host: \r\n", "403"),
            ("", "403"),
            ("Host: localhost\r\nHost: evil.example\r\n", "403"),
        ] {
            let request = format!("GET /report HTTP/1.0\r\n{host}\r\n");
            let answer = answer_to(address, request.as_bytes());
            assert_eq!(answer.split(' ').nth(1), Some(code), "{host}: {answer}");
        }
        let request = b"GET http://evil.example/report HTTP/1.0\r\nHost: localhost\r\n\r\n";
        let answer = answer_to(address, request);
        assert!(answer.starts_with("HTTP/1.0 403 "), "{answer}");
    });
}

#[test]
fn one_report_is_made_at_a_time() {
    let (started, starts) = std::sync::mpsc::channel();
    let (end, ends) = std::sync::mpsc::channel();
    let ends = Mutex::new(ends);
    let make = move || {
        started.send(()).expect("the client waits");
        let ends = ends.lock().expect("one at a time");
        ends.recv().expect("the client says when");
        Ok(String::new())
    };
    serve_with(Stage::Ready, None, Some(Box::new(make)), move |address| {
        let first = thread::spawn(move || get(address, "/report"));
        starts.recv().expect("it is asked");
        let second = get(address, "/report");
        assert!(second.starts_with("HTTP/1.1 503 "), "{second}");
        // Others are answered meanwhile.
        assert!(get(address, "/").starts_with("HTTP/1.1 200 "));
        end.send(()).expect("it waits");
        let first = first.join().expect("it does not panic");
        assert!(first.starts_with("HTTP/1.1 200 "), "{first}");
    });
}

#[test]
fn the_format_follows_the_client() {
    serve(Stage::Ready, Some(Ok(())), |address| {
        for (accept, kind, end) in [
            ("*/*", "text/plain; version=0.0.4", "\n"),
            (
                "application/openmetrics-text;version=1.0.0",
                "application/openmetrics-text; version=1.0.0",
                "# EOF\n",
            ),
        ] {
            let request = format!(
                "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
            );
            let answer = answer_to(address, request.as_bytes());
            assert!(
                answer.contains(&format!("content-type: {kind}")),
                "{accept}"
            );
            assert!(answer.ends_with(end), "{accept}");
            assert!(answer.contains("pause_trace_zombies 0\n"), "{accept}");
        }
    });
}

#[test]
fn readiness_says_what_is_missing() {
    for (stage, code, why) in [
        (Stage::Before("x is being made"), "503", "x is being made"),
        (Stage::Before(SURVEYING), "503", SURVEYING),
        (Stage::Ready, "200", "ok"),
        (Stage::Ended, "503", "the run has ended"),
    ] {
        let answer = serve(stage, Some(Ok(())), |address| get(address, "/readyz"));
        assert!(answer.starts_with(&format!("HTTP/1.1 {code} ")), "{answer}");
        assert!(answer.ends_with(&format!("{why}\n")), "{answer}");
    }
}

#[test]
fn health_is_what_the_command_says() {
    let bad = Some(Err("no event was judged".to_owned()));
    for (stage, answer, code) in [
        (Stage::Before("x"), bad.clone(), "200"),
        (Stage::Ready, Some(Ok(())), "200"),
        (Stage::Ready, bad, "503"),
        // It does not answer.
        (Stage::Ready, None, "503"),
        (Stage::Ended, Some(Ok(())), "503"),
    ] {
        let said = serve(stage, answer, |address| get(address, "/healthz"));
        assert!(
            said.starts_with(&format!("HTTP/1.1 {code} ")),
            "{stage:?}: {said}"
        );
    }
}

#[test]
fn silent_slow_and_hostile_clients_hold_nothing_up() {
    serve(Stage::Ready, Some(Ok(())), |address| {
        // As many as there can be, and they send nothing, or half a request.
        let mut idle: Vec<_> = (0..MOST_OF_ONE).map(|_| connect(address)).collect();
        for client in idle.iter_mut().step_by(2) {
            client
                .write_all(b"GET /metrics HTTP/1.1\r\nHo")
                .expect("it is connected");
        }
        // One more of the same client is closed, and others have room.
        assert_eq!(get(address, "/healthz"), "");
        for mut client in idle {
            let mut rest = Vec::new();
            let _ = client.read_to_end(&mut rest);
        }
        // The time of those is over, but the server may still be closing them.
        let until = std::time::Instant::now() + PATIENCE;
        while get(address, "/healthz").is_empty() {
            assert!(std::time::Instant::now() < until, "it answers nobody");
            thread::yield_now();
        }

        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(1 << 20));
        let fields = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(2_000));
        for bytes in [
            long.as_bytes(),
            fields.as_bytes(),
            &[0xa5; 100_000],
            b"\r\n\r\n\r\n",
            b"",
        ] {
            let answer = answer_to(address, bytes);
            assert!(!answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
        // A body that is not asked for.
        let body =
            b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000000\r\n\r\nxxxx";
        let answer = answer_to(address, body);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(get(address, "/readyz").starts_with("HTTP/1.1 200 "));
    });
}

#[test]
fn one_connection_serves_several_requests_and_an_end_does_not_wait_for_it() {
    let client = serve(Stage::Ready, Some(Ok(())), |address| {
        let mut client = connect(address);
        for _ in 0..3 {
            let request = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n";
            client.write_all(request).expect("it is connected");
            let mut answer = Vec::new();
            while !answer.ends_with(b"ok\n") {
                let mut bytes = [0; 512];
                let read = client.read(&mut bytes).expect("it answers");
                assert_ne!(read, 0, "the connection is kept");
                answer.extend_from_slice(&bytes[..read]);
            }
        }
        client
    });
    // The server has ended, and closed the idle connection.
    let mut client = client;
    let mut rest = Vec::new();
    assert_eq!(client.read_to_end(&mut rest).unwrap_or_default(), 0);
    let address = client
        .peer_addr()
        .map(|address| thread::spawn(move || Client::connect(address)));
    if let Ok(connecting) = address {
        assert!(connecting.join().expect("it does not panic").is_err());
    }
}
