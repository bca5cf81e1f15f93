//! What the program of a runtime is asked to do, from its environment or its arguments. Whatever
//! else these contain is dropped here: nothing of it becomes an event.

use pause_trace_common::{COMM_LEN, CallPart};

use crate::{
    event::{CniCommand, CniRequest, OciCommand, OciRequest, Request, Text},
    runtimes,
};

/// The request in a part of what a program was called with. `whole` is the length of the part, of
/// which `bytes` are the beginning of the arguments or the end of the environment.
pub(super) fn request(
    part: u32,
    comm: &[u8; COMM_LEN],
    bytes: &[u8],
    whole: usize,
) -> Option<Request> {
    let is_cut = bytes.len() < whole;
    if part == CallPart::Environment as u32 {
        cni(bytes, is_cut).map(Request::Cni)
    } else if part == CallPart::Arguments as u32 {
        let comm = comm.split(|byte| *byte == 0).next().unwrap_or_default();
        oci(comm, bytes, is_cut).map(Request::Oci)
    } else {
        None
    }
}

/// What a CNI plugin is asked to do (CNI specification, "Parameters"). `None` if it is no plugin,
/// or one that is asked for something that concerns no pod.
pub(crate) fn cni(environment: &[u8], is_cut: bool) -> Option<CniRequest> {
    let mut variables = environment.split(|byte| *byte == 0);
    if is_cut {
        // It is the end of a longer one, whose name is unknown.
        variables.next();
    }
    let (mut command, mut request) = (None, CniRequest::default());
    let mut infra = Text::default();
    for variable in variables {
        let Some((name, value)) = split(variable, b'=') else {
            continue;
        };
        match name {
            b"CNI_COMMAND" => {
                let is_it = |command: &CniCommand| command.name().as_bytes() == value;
                command = Some(CniCommand::ALL.into_iter().find(is_it)?);
            }
            b"CNI_CONTAINERID" => request.sandbox = kept(value),
            b"CNI_NETNS" => request.netns = kept(value),
            b"CNI_IFNAME" => request.interface = kept(value),
            b"CNI_ARGS" => {
                for pair in value.split(|byte| *byte == b';') {
                    let Some((key, value)) = split(pair, b'=') else {
                        continue;
                    };
                    match key {
                        b"K8S_POD_NAMESPACE" => request.namespace = kept(value),
                        b"K8S_POD_NAME" => request.name = kept(value),
                        b"K8S_POD_UID" => request.uid = kept(value),
                        b"K8S_POD_INFRA_CONTAINER_ID" => infra = kept(value),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    if request.sandbox.0.is_empty() {
        request.sandbox = infra;
    }
    request.command = command?;
    Some(request)
}

/// What an OCI runtime or a shim is asked to do. The arguments of other programs, such as Podman's,
/// may contain anything.
pub(crate) fn oci(comm: &[u8], arguments: &[u8], is_cut: bool) -> Option<OciRequest> {
    let mut arguments: Vec<_> = arguments.split(|byte| *byte == 0).collect();
    // What follows the last NUL is nothing, or the beginning of a longer argument.
    arguments.pop();
    if runtimes::is_shim(comm) {
        let value = |option: &[u8]| {
            let at = arguments.iter().position(|it| without_dash(it) == option);
            let value = at.and_then(|at| arguments.get(at + 1));
            value.map_or_else(Text::default, |value| id(value))
        };
        let commands = [OciCommand::Start, OciCommand::Delete];
        let last = arguments.last().copied().unwrap_or_default();
        let is_it = |command: &OciCommand| command.name().as_bytes() == last;
        return Some(OciRequest {
            command: commands
                .into_iter()
                .find(is_it)
                .unwrap_or(OciCommand::Serve),
            container: value(b"id"),
            namespace: value(b"namespace"),
        });
    }
    if !runtimes::is_oci(comm) {
        return None;
    }
    let command = arguments.iter().find_map(|argument| {
        let is_it = |command: &OciCommand| {
            !command.name().is_empty() && command.name().as_bytes() == *argument
        };
        OciCommand::ALL.into_iter().find(is_it)
    })?;
    // The id is the last argument, unless more may follow it.
    let container = match (command, arguments.last()) {
        (
            OciCommand::Create | OciCommand::Start | OciCommand::Delete | OciCommand::State,
            Some(last),
        ) if !is_cut => id(last),
        _ => Text::default(),
    };
    Some(OciRequest {
        command,
        container,
        namespace: Text::default(),
    })
}

fn without_dash(argument: &[u8]) -> &[u8] {
    let argument = argument.strip_prefix(b"-").unwrap_or(argument);
    argument.strip_prefix(b"-").unwrap_or(argument)
}

fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == at)?;
    Some((&text[..at], &text[at + 1..]))
}

/// A value, without the memory of the record, and not longer than such values are.
fn kept(value: &[u8]) -> Text {
    let value = &value[..value.len().min(CniRequest::MAX_VALUE)];
    Text(bytes::Bytes::copy_from_slice(value))
}

/// An id or a name of a runtime; empty if it cannot be one.
fn id(value: &[u8]) -> Text {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.+-".contains(byte);
    match value.iter().all(is_part) && !value.starts_with(b"-") {
        true => kept(value),
        false => Text::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libcni passes, between variables of containerd: the order of all of them is random.
    const ENVIRONMENT: &[u8] = b"PATH=/bin\0TOKEN=s3cret\0CNI_CONTAINERID=0123abcd\0CNI_PATH=/opt/cni/bin\0\
CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=web;K8S_POD_INFRA_CONTAINER_ID=ffff;K8S_POD_UID=u-1;SECRET=s3cret\0\
CNI_NETNS=/var/run/netns/cni-1\0CNI_COMMAND=ADD\0CNI_IFNAME=eth0\0HTTPS_PROXY=http://u:s3cret@p\0";

    fn of_environment(bytes: &[u8]) -> Option<CniRequest> {
        let comm = name("bridge");
        match request(CallPart::Environment as u32, &comm, bytes, bytes.len())? {
            Request::Cni(request) => Some(request),
            Request::Oci(_) => panic!("an environment"),
        }
    }

    fn of_arguments(comm: &str, arguments: &[&str]) -> Option<OciRequest> {
        let bytes: String = arguments.iter().map(|it| format!("{it}\0")).collect();
        let part = CallPart::Arguments as u32;
        match request(part, &name(comm), bytes.as_bytes(), bytes.len())? {
            Request::Oci(request) => Some(request),
            Request::Cni(_) => panic!("arguments"),
        }
    }

    fn name(comm: &str) -> [u8; COMM_LEN] {
        crate::event::Comm::new(comm).0
    }

    #[test]
    fn only_the_variables_that_say_which_pod_it_is_for_are_kept() {
        let request = of_environment(ENVIRONMENT).expect("a plugin");
        assert_eq!(
            request,
            CniRequest {
                command: CniCommand::Add,
                sandbox: Text::new("0123abcd"),
                netns: Text::new("/var/run/netns/cni-1"),
                interface: Text::new("eth0"),
                namespace: Text::new("default"),
                name: Text::new("web"),
                uid: Text::new("u-1"),
            }
        );
        assert!(!format!("{request:?}").contains("s3cret"));
    }

    #[test]
    fn the_end_of_a_long_environment_does_not_begin_with_a_variable() {
        let part = CallPart::Environment as u32;
        let cut = b"CNI_IFNAME=x\0CNI_COMMAND=DEL\0";
        let Some(Request::Cni(request)) = request(part, &name("x"), cut, 9_000) else {
            panic!("a plugin");
        };
        assert_eq!(
            (request.command, &*request.interface.0),
            (CniCommand::Del, &b""[..])
        );
    }

    #[test]
    fn an_environment_without_a_command_of_cni_for_a_pod_says_nothing() {
        for environment in [
            &b""[..],
            b"\0\0",
            b"PATH=/bin\0CNI_CONTAINERID=0123\0",
            b"XCNI_COMMAND=ADD\0",
            b"CNI_COMMAND=VERSION\0CNI_CONTAINERID=0123\0",
            b"CNI_COMMAND=GC\0",
            b"CNI_COMMAND=add\0",
            b"CNI_COMMAND\0",
        ] {
            assert_eq!(of_environment(environment), None, "{environment:?}");
        }
    }

    #[test]
    fn the_infra_container_stands_in_for_the_sandbox() {
        let request =
            of_environment(b"CNI_COMMAND=ADD\0CNI_ARGS=K8S_POD_INFRA_CONTAINER_ID=ff;;x\0");
        assert_eq!(request.expect("a plugin").sandbox, Text::new("ff"));
    }

    #[test]
    fn hostile_values_are_bounded_and_escaped() {
        let long = [
            b"CNI_COMMAND=ADD\0CNI_ARGS=K8S_POD_NAME=\x1b[2J",
            &[b'x'; 2_000][..],
        ]
        .concat();
        let name = of_environment(&long).expect("a plugin").name;
        assert_eq!(name.0.len(), CniRequest::MAX_VALUE);
        assert!(name.to_string().starts_with(r"\u{1b}[2Jx"), "{name}");
    }

    #[test]
    fn an_oci_runtime_is_asked_by_its_arguments() {
        let log = ["runc", "--root", "/run/x", "--log-format", "json"];
        let with = |more: &[&str]| of_arguments("runc", &[&log[..], more].concat());
        let create = with(&[
            "create",
            "--bundle",
            "/b",
            "--pid-file",
            "/b/init.pid",
            "0123",
        ]);
        assert_eq!(
            create,
            Some(OciRequest {
                command: OciCommand::Create,
                container: Text::new("0123"),
                namespace: Text::default(),
            })
        );
        let exec = with(&["exec", "-e", "TOKEN=s3cret", "0123", "sh", "s3cret"]);
        let exec = exec.expect("a command");
        assert_eq!(
            (exec.command, &*exec.container.0),
            (OciCommand::Exec, &b""[..])
        );
        assert_eq!(with(&["--version"]), None);
        assert_eq!(with(&["features"]), None);
        let wrapped = of_arguments("runc", &["/bin/sh", "/run/runc", "start", "0123"]);
        assert_eq!(wrapped.expect("a command").command, OciCommand::Start);
        let odd = with(&["create", "a b"]).expect("a command");
        assert_eq!(odd.container, Text::default());
    }

    #[test]
    fn arguments_that_are_cut_name_no_container() {
        let bytes = b"runc\0create\0--bundle\0/very/lo";
        let part = CallPart::Arguments as u32;
        let Some(Request::Oci(request)) = request(part, &name("runc"), bytes, 5_000) else {
            panic!("a command");
        };
        assert_eq!(request.container, Text::default());
    }

    #[test]
    fn a_shim_names_its_sandbox() {
        let shim = [
            "/bin/containerd-shim-runc-v2",
            "-namespace",
            "k8s.io",
            "-id",
            "0123",
        ];
        let start = of_arguments("containerd-shim", &[&shim[..], &["start"]].concat());
        let start = start.expect("a shim");
        assert_eq!(start.command, OciCommand::Start);
        assert_eq!(
            (&*start.container.0, &*start.namespace.0),
            (&b"0123"[..], &b"k8s.io"[..])
        );
        let serve = of_arguments("containerd-shim", &shim).expect("a shim");
        assert_eq!(serve.command, OciCommand::Serve);
    }

    #[test]
    fn the_arguments_of_other_programs_are_not_kept() {
        for comm in ["podman", "kubelet", "dockerd", "containerd", "conmon", "sh"] {
            assert_eq!(
                of_arguments(comm, &[comm, "create", "image", "s3cret"]),
                None
            );
        }
    }
}
