//! `kubectl pause-trace`: asks the pause-trace that runs on the node of a pod.
//!
//! kubectl runs a program of `PATH` that is called `kubectl-pause_trace` as its plugin
//! `pause-trace`. A link of that name to this program is that plugin. It needs nothing but kubectl:
//! which cluster and which user is kubectl's affair.

use std::{
    convert::Infallible,
    ffi::OsStr,
    io::{self, IsTerminal as _, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{self, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, ValueEnum};

use super::{
    Usage,
    exit::{Exit, Missing},
};

/// The name of the plugin's file.
const NAME: &str = "kubectl-pause_trace";

/// What the pods of the DaemonSet are labelled with, in the chart and in the kustomization.
const LABEL: &str = "app.kubernetes.io/name=pause-trace";

/// The program in the image.
const PROGRAM: &str = "/pause-trace";

/// Ask the pause-trace of the DaemonSet that runs on a pod's node
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-pause_trace",
    bin_name = "kubectl pause-trace",
    version,
    after_help = AFTER_HELP
)]
struct Plugin {
    /// The command that runs on the node
    #[arg(value_enum)]
    command: Command,
    /// The pod: NAME or NAMESPACE/NAME; `ls` takes --node instead
    #[arg(value_name = "POD", required_unless_present = "node")]
    pod: Option<String>,
    /// The namespace of the pod; the default is that of kubectl's context
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Ask this node, and not the API server where the pod runs: for a pod that it has removed
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// kubectl's context
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// kubectl's configuration file
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<String>,
    /// Arguments for the command on the node
    #[arg(last = true, value_name = "ARGUMENT")]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Command {
    /// Say why a pod is slow, stuck or dead.
    Why,
    /// Show how a pod starts, as a waterfall.
    Timeline,
    /// Show a pod and its processes.
    Inspect,
    /// List the pods of a node.
    Ls,
}

const AFTER_HELP: &str = "\
Examples:
  kubectl pause-trace why web-7d4b9c6f5d-x2x7k
  kubectl pause-trace why default/web --node worker-3        a pod that was removed from that node
  kubectl pause-trace inspect web -n shop -- --format json
  kubectl pause-trace ls --node worker-3

Exit codes: those of the command on the node; 3 if no pause-trace runs there; 4 if kubectl failed, see its message.";

/// Whether this program was started under the name of the plugin.
pub(crate) fn is_plugin(name: Option<&OsStr>) -> bool {
    name.and_then(|name| Path::new(name).file_name()) == Some(OsStr::new(NAME))
}

/// Runs the plugin with the arguments of the process.
pub(crate) fn main() -> ExitCode {
    let error = match Plugin::try_parse() {
        Ok(plugin) => match plugin.run() {
            Ok(never) => match never {},
            Err(error) => error,
        },
        Err(error) => error.exit(),
    };
    // A closed stderr is no error: the exit code still reports the failure.
    let _ = writeln!(io::stderr(), "kubectl pause-trace: {error:#}");
    Exit::of(&error).into()
}

impl Plugin {
    /// Executes `kubectl exec` in place of this process, so that signals, the terminal and the exit
    /// code pass through.
    fn run(&self) -> Result<Infallible> {
        let pod = self.pod.as_deref().map(|pod| self.named(pod)).transpose()?;
        if (self.command == Command::Ls) != pod.is_none() {
            let error = match self.command {
                Command::Ls => "ls lists all pods of a node: name it with --node, and no pod",
                _ => "expected a pod: NAME or NAMESPACE/NAME",
            };
            bail!(Usage(error.to_owned()));
        }
        let (node, pod) = match (&self.node, pod) {
            (Some(node), Some((namespace, name))) => {
                let pod = namespace.map_or(name.clone(), |namespace| format!("{namespace}/{name}"));
                (node.clone(), Some(pod))
            }
            (Some(node), None) => (node.clone(), None),
            (None, Some((namespace, name))) => {
                let (node, pod) = self.place(namespace, &name)?;
                (node, Some(pod))
            }
            (None, None) => bail!(Usage("expected a pod or --node".to_owned())),
        };
        let (namespace, agent) = self.agent(&node)?;
        let mut exec = self.kubectl();
        exec.args(["exec", "--namespace", &namespace, &agent]);
        if io::stdin().is_terminal() && io::stdout().is_terminal() {
            exec.args(["--stdin", "--tty"]);
        }
        exec.args(["--", PROGRAM, self.command.name()])
            .args(pod)
            .args(&self.arguments);
        Err(exec.exec()).context("failed to start kubectl")
    }

    /// The namespace, if one is named, and the name of a pod.
    fn named(&self, pod: &str) -> Result<(Option<String>, String), Usage> {
        let pod = pod.strip_prefix("pod/").unwrap_or(pod);
        let (namespace, name) = match pod.split_once('/') {
            Some((namespace, name)) => (Some(namespace.to_owned()), name),
            None => (self.namespace.clone(), pod),
        };
        if self
            .namespace
            .as_ref()
            .is_some_and(|named| Some(named) != namespace.as_ref())
        {
            return Err(Usage(format!(
                "{pod} names another namespace than --namespace"
            )));
        }
        let is_name = |text: &str| {
            let is_allowed = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
            !text.is_empty() && !text.starts_with('-') && text.chars().all(is_allowed)
        };
        if !is_name(name) || namespace.as_deref().is_some_and(|name| !is_name(name)) {
            return Err(Usage(format!(
                "{pod:?} is no pod: expected NAME or NAMESPACE/NAME"
            )));
        }
        Ok((namespace, name.to_owned()))
    }

    /// The node of a pod, and `NAMESPACE/NAME`.
    fn place(&self, namespace: Option<String>, name: &str) -> Result<(String, String)> {
        let mut get = self.kubectl();
        get.args(["get", "pod", name, "--output"])
            .arg("jsonpath={.metadata.namespace}{\" \"}{.spec.nodeName}")
            .args(namespace.map(|namespace| format!("--namespace={namespace}")));
        let written = output(&mut get).with_context(|| {
            format!(
                "kubectl does not find the pod {name}; name the node of a removed pod with --node"
            )
        })?;
        match *written.split(' ').collect::<Vec<_>>() {
            [namespace, node] if !node.is_empty() => {
                Ok((node.to_owned(), format!("{namespace}/{name}")))
            }
            _ => bail!(Missing(format!(
                "the pod {name} is on no node yet: the scheduler has not placed it; kubectl describe pod says why"
            ))),
        }
    }

    /// The namespace and the name of the pod of pause-trace on a node.
    fn agent(&self, node: &str) -> Result<(String, String)> {
        let mut get = self.kubectl();
        get.args(["get", "pods", "--all-namespaces", "--selector", LABEL])
            .arg(format!(
                "--field-selector=spec.nodeName={node},status.phase=Running"
            ))
            .args([
                "--output",
                "jsonpath={range .items[*]}{.metadata.namespace} {.metadata.name}{\"\\n\"}{end}",
            ]);
        let written = output(&mut get)?;
        let agent = written.lines().find_map(|line| line.split_once(' '));
        let (namespace, name) = agent.with_context(|| {
            Missing(format!(
                "no pod of pause-trace runs on the node {node}; docs/deployment.md says how to install the DaemonSet"
            ))
        })?;
        Ok((namespace.to_owned(), name.to_owned()))
    }

    fn kubectl(&self) -> process::Command {
        let mut kubectl = process::Command::new("kubectl");
        let options = [("context", &self.context), ("kubeconfig", &self.kubeconfig)];
        for (option, value) in options {
            kubectl.args(value.iter().map(|value| format!("--{option}={value}")));
        }
        kubectl
    }
}

impl Command {
    fn name(self) -> &'static str {
        match self {
            Self::Why => "why",
            Self::Timeline => "timeline",
            Self::Inspect => "inspect",
            Self::Ls => "ls",
        }
    }
}

/// What kubectl writes to stdout. Its errors go to the terminal.
fn output(kubectl: &mut process::Command) -> Result<String> {
    let output = kubectl.stderr(Stdio::inherit()).output();
    let output = output.context("failed to start kubectl, which must be in PATH")?;
    if !output.status.success() {
        bail!("kubectl failed ({})", output.status);
    }
    let text =
        String::from_utf8(output.stdout).context("kubectl wrote something else than text")?;
    Ok(text.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn plugin(words: &[&str]) -> Plugin {
        Plugin::try_parse_from([NAME].iter().chain(words)).expect("it parses")
    }

    #[test]
    fn the_command_is_well_formed() {
        Plugin::command().debug_assert();
    }

    #[test]
    fn only_a_file_of_this_name_is_the_plugin() {
        let is = |name: &str| is_plugin(Some(OsStr::new(name)));
        assert!(is("kubectl-pause_trace") && is("/usr/local/bin/kubectl-pause_trace"));
        assert!(!is("pause-trace") && !is("kubectl") && !is_plugin(None));
    }

    #[test]
    fn a_pod_has_one_namespace() {
        let named = |words: &[&str]| {
            let plugin = plugin(words);
            let pod = plugin.pod.clone().expect("a pod");
            plugin.named(&pod).map_err(|error| error.to_string())
        };
        let shop = Some("shop".to_owned());
        assert_eq!(named(&["why", "web"]), Ok((None, "web".to_owned())));
        assert_eq!(
            named(&["why", "shop/web"]),
            Ok((shop.clone(), "web".to_owned()))
        );
        assert_eq!(
            named(&["why", "pod/web", "-n", "shop"]),
            Ok((shop, "web".to_owned()))
        );
        assert!(named(&["why", "shop/web", "-n", "other"]).is_err());
        for wrong in ["", "a/b/c", "web;id", "shop/", "/web", "we b"] {
            assert!(named(&["why", wrong]).is_err(), "{wrong}");
        }
        assert!(Plugin::try_parse_from([NAME, "why"]).is_err(), "no pod");
    }
}
