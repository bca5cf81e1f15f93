//! Uses the shared namespaces from inside: one container creates something, another one finds it.

use std::net::{IpAddr, Ipv4Addr};

use nix::errno::Errno;

use crate::{
    event::Observed,
    playing::PlayError,
    reference::{
        pod::PodError,
        protocol::{Answer, Request},
        scenario::Script,
        stage::{Play, PodKind, ReferencePod, Started},
    },
    scenario::Scenario,
};

pub(super) const SCRIPTS: &[Script] = &[
    Script {
        scenario: Scenario {
            name: "localhost",
            title: "one container reaches another over 127.0.0.1",
            proves: &["PT101"],
            finds: &[],
        },
        play: |play| Box::pin(localhost(play)),
    },
    Script {
        scenario: Scenario {
            name: "port-space",
            title: "a port is taken once for the whole pod, and free in the next pod",
            proves: &["PT101"],
            finds: &[],
        },
        play: |play| Box::pin(port_space(play)),
    },
    Script {
        scenario: Scenario {
            name: "addresses",
            title: "all containers have the pod's addresses",
            proves: &["PT101"],
            finds: &[],
        },
        play: |play| Box::pin(addresses(play)),
    },
    Script {
        scenario: Scenario {
            name: "shared-memory",
            title: "System V shared memory of one container is read by another, and not by the next pod",
            proves: &["PT102"],
            finds: &[],
        },
        play: |play| Box::pin(shared_memory(play)),
    },
    Script {
        scenario: Scenario {
            name: "message-queue",
            title: "a POSIX message queue of one container is read by another, and not by the next pod",
            proves: &["PT102"],
            finds: &[],
        },
        play: |play| Box::pin(message_queue(play)),
    },
    Script {
        scenario: Scenario {
            name: "hostname",
            title: "all containers have the pod's name as host name",
            proves: &["PT103"],
            finds: &[],
        },
        play: |play| Box::pin(hostname(play)),
    },
];

/// The result of an experiment, in a few words: `Ok` if the promise was kept.
type Trial = Result<String, String>;

async fn localhost(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app, sidecar) = pair(play).await?;
    let port = listen(&app, 0).await?;
    let nonce = pod.id.to_string();
    let request = Request::Connect {
        address: Ipv4Addr::LOCALHOST,
        port,
        nonce: nonce.clone(),
    };
    let trial = match sidecar.container.ask(request).await {
        Ok(Answer::Text(echo)) if echo == nonce => {
            Ok(format!("127.0.0.1:{port} echoed {} bytes", echo.len()))
        }
        other => Err(unexpected(other)),
    };
    proven(pod, &sidecar, Observed::Localhost, trial).await
}

async fn port_space(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app, sidecar) = pair(play).await?;
    let port = listen(&app, 0).await?;
    let request = Request::Listen {
        address: Ipv4Addr::UNSPECIFIED,
        port,
    };
    let trial = match sidecar.container.ask(request.clone()).await {
        Err(error) if error.errno() == Some(Errno::EADDRINUSE) => {
            Ok(format!("port {port}: EADDRINUSE"))
        }
        other => Err(unexpected(other)),
    };
    let mut next = play.pod(PodKind::Plain).await?;
    let stranger = next.container("app").await?;
    let free = match stranger.container.ask(request).await {
        Ok(Answer::Port(_)) => Ok("free in the next pod"),
        other => Err(unexpected(other)),
    };
    separate(
        next,
        free,
        proven(pod, &sidecar, Observed::PortSpace, trial),
    )
    .await
}

async fn addresses(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app, sidecar) = pair(play).await?;
    let trial = match (addresses_of(&app).await, addresses_of(&sidecar).await) {
        (Ok(first), Ok(second))
            if first == second && first.iter().any(|address| !address.is_loopback()) =>
        {
            Ok(first
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", "))
        }
        (first, second) => Err(format!("{first:?}, and in the other container {second:?}")),
    };
    proven(pod, &sidecar, Observed::Addresses, trial).await
}

async fn shared_memory(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app, sidecar) = pair(play).await?;
    let key = play.unique as i32;
    let bytes = pod.id.as_bytes().to_vec();
    app.ask(Request::ShmPut {
        key,
        bytes: bytes.clone(),
    })
    .await?;
    let found = sidecar.container.ask(Request::ShmGet { key }).await;
    let trial = same_bytes(
        found,
        &bytes,
        format!("{} bytes under key {key:#x}", bytes.len()),
    );
    let (next, absent) = absent_in_next(play, Request::ShmGet { key }).await?;
    separate(
        next,
        absent,
        proven(pod, &sidecar, Observed::SharedMemory, trial),
    )
    .await
}

async fn message_queue(play: &Play<'_>) -> Result<String, PlayError> {
    let (pod, app, sidecar) = pair(play).await?;
    let name = format!("/pause-trace-{}", play.unique);
    let bytes = pod.id.as_bytes().to_vec();
    app.ask(Request::MqPut {
        name: name.clone(),
        bytes: bytes.clone(),
    })
    .await?;
    // The next pod is asked first. It must not find the queue, and reading the message would leave
    // the queue empty.
    let (next, absent) = absent_in_next(play, Request::MqGet { name: name.clone() }).await?;
    let found = sidecar
        .container
        .ask(Request::MqGet { name: name.clone() })
        .await;
    let trial = same_bytes(
        found,
        &bytes,
        format!("{} bytes through {name}", bytes.len()),
    );
    separate(
        next,
        absent,
        proven(pod, &sidecar, Observed::MessageQueue, trial),
    )
    .await
}

async fn hostname(play: &Play<'_>) -> Result<String, PlayError> {
    let (mut pod, app, sidecar) = pair(play).await?;
    let expected = pod.inner().name().to_owned();
    let mut trial = Ok(format!("{expected} in both"));
    for container in [&app, &sidecar] {
        match container.container.ask(Request::Hostname).await {
            Ok(Answer::Text(name)) if name == expected => {}
            other => trial = Err(format!("{}, expected {expected}", unexpected(other))),
        }
    }
    let node = nix::unistd::gethostname().unwrap_or_default();
    let trial = trial.map(|words| format!("{words}, the node is {}", node.to_string_lossy()));
    proven(pod, &sidecar, Observed::Hostname, trial).await
}

/// Creates a pod with two containers.
async fn pair<'a>(play: &Play<'a>) -> Result<(ReferencePod<'a>, Started, Started), PlayError> {
    let mut pod = play.pod(PodKind::Plain).await?;
    let app = pod.container("app").await?;
    let sidecar = pod.container("sidecar").await?;
    Ok((pod, app, sidecar))
}

async fn listen(container: &Started, port: u16) -> Result<u16, PlayError> {
    match container
        .ask(Request::Listen {
            address: Ipv4Addr::UNSPECIFIED,
            port,
        })
        .await?
    {
        Answer::Port(port) => Ok(port),
        other => Err(PlayError::Unexpected(format!(
            "unexpected answer to listen: {other:?}"
        ))),
    }
}

async fn addresses_of(container: &Started) -> Result<Vec<IpAddr>, String> {
    match container.container.ask(Request::Addresses).await {
        Ok(Answer::Addresses(mut addresses)) => {
            addresses.sort();
            Ok(addresses)
        }
        other => Err(unexpected(other)),
    }
}

fn same_bytes(found: Result<Answer, PodError>, put: &[u8], words: String) -> Trial {
    match found {
        Ok(Answer::Bytes(bytes)) if bytes == put => Ok(words),
        Ok(Answer::Bytes(bytes)) => Err(format!("{} other bytes", bytes.len())),
        other => Err(unexpected(other)),
    }
}

/// Creates another pod, in which `request` must find nothing.
async fn absent_in_next<'a>(
    play: &Play<'a>,
    request: Request,
) -> Result<(ReferencePod<'a>, Result<&'static str, String>), PlayError> {
    let mut next = play.pod(PodKind::Plain).await?;
    let stranger = next.container("app").await?;
    let absent = match stranger.container.ask(request).await {
        Err(error) if error.errno() == Some(Errno::ENOENT) => Ok("ENOENT in the next pod"),
        other => Err(unexpected(other)),
    };
    Ok((next, absent))
}

fn unexpected(answer: Result<Answer, PodError>) -> String {
    match answer {
        Ok(answer) => format!("unexpected answer: {answer:?}"),
        Err(error) => error.to_string(),
    }
}

/// Reports the trial to the verifier, and ends the pod.
async fn proven(
    pod: ReferencePod<'_>,
    container: &Started,
    what: Observed,
    trial: Trial,
) -> Result<String, PlayError> {
    let (Ok(detail) | Err(detail)) = &trial;
    pod.observe(container, what, trial.is_ok(), detail);
    pod.finish().await?;
    trial.map_err(PlayError::Unexpected)
}

/// Ends the next pod too, which must share nothing with the first.
async fn separate(
    next: ReferencePod<'_>,
    separation: Result<&'static str, String>,
    first: impl Future<Output = Result<String, PlayError>>,
) -> Result<String, PlayError> {
    let (proof, ()) = tokio::try_join!(first, next.finish())?;
    let separation = separation.map_err(|why| {
        PlayError::Unexpected(format!("the next pod is not isolated from it: {why}"))
    })?;
    Ok(format!("{proof}, {separation}"))
}
