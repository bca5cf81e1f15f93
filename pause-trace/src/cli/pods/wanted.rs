//! Finds the pod that the user names.

use anyhow::Result;

use crate::{
    cli::{Missing, Usage, unknown},
    event::Text,
    pods::PodView,
};

/// The pods that are listed when a name is ambiguous.
const MAX_NAMED: usize = 8;

/// A pod that was found.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) enum Found<'a> {
    /// The node has it.
    Here(&'a PodView),
    /// Only a history has it.
    Gone(&'a PodView),
}

/// Finds a pod by `NAMESPACE/NAME`, its name alone, its uid, or the id of its sandbox or of a
/// container. An unambiguous prefix of any of them is enough. A pod of the node takes precedence
/// over those that only a history has (`gone`), unless only one of these has exactly this name.
pub(in crate::cli) fn find<'a>(
    pods: &'a [PodView],
    gone: &'a [PodView],
    wanted: &str,
) -> Result<Found<'a>> {
    let meant = |pods: &'a [PodView], is_meant: fn(&[u8], &[u8]) -> bool| {
        let is_meant = |name: Vec<u8>| is_meant(&name, wanted.as_bytes());
        let pods = pods.iter();
        pods.filter(|pod| names(pod).into_iter().any(is_meant))
            .collect::<Vec<&PodView>>()
    };
    // An empty name is a prefix of every name, and the beginning of a namespace alone names no pod.
    let begins = |name: &[u8], wanted: &[u8]| {
        let is_whole_pod = wanted.contains(&b'/') || !name.contains(&b'/');
        !wanted.is_empty() && name.starts_with(wanted) && is_whole_pod
    };
    for is_meant in [|name: &[u8], wanted: &[u8]| name == wanted, begins] {
        for (pods, found) in [
            (pods, Found::Here as fn(&'a PodView) -> Found<'a>),
            (gone, Found::Gone),
        ] {
            match meant(pods, is_meant)[..] {
                [] => {}
                [pod] => return Ok(found(pod)),
                ref meant => return Err(several(wanted, meant).into()),
            }
        }
    }
    let known: Vec<String> = pods.iter().map(PodView::title).collect();
    let Usage(message) = unknown(
        "pod",
        wanted,
        known.iter().map(String::as_str),
        "pause-trace ls",
    );
    Err(Missing(message).into())
}

/// The names of a pod, raw and as reports escape them.
fn names(pod: &PodView) -> Vec<Vec<u8>> {
    let mut names = vec![pod.id.as_bytes().to_vec()];
    if let (Some(namespace), Some(name)) = (&pod.namespace, &pod.name) {
        names.push([&namespace.0, &b"/"[..], &name.0].concat());
        names.push(name.0.to_vec());
        names.push(pod.title().into_bytes());
    }
    names.extend(
        pod.containers
            .iter()
            .map(|container| container.id.as_bytes().to_vec()),
    );
    names
}

fn several(wanted: &str, meant: &[&PodView]) -> Usage {
    let named: Vec<String> = meant
        .iter()
        .take(MAX_NAMED)
        .map(|pod| format!("{} (uid {})", pod.title(), Text::new(&pod.id)))
        .collect();
    let more = match meant.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Usage(format!(
        "\"{}\" matches {} pods: {}{more}",
        wanted.escape_debug(),
        meant.len(),
        named.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cli::Exit, pods::testing};

    fn found(wanted: &str) -> Result<String, String> {
        found_also(&[], wanted)
    }

    fn found_also(gone: &[PodView], wanted: &str) -> Result<String, String> {
        let pods = testing::pods();
        match find(&pods, gone, wanted) {
            Ok(Found::Here(pod)) => Ok(pod.title()),
            Ok(Found::Gone(pod)) => Ok(format!("gone: {}", pod.title())),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_pod_that_is_gone_is_found_if_no_pod_of_the_node_is_meant() {
        let gone = |uid: &str, name: &str| PodView::unseen(uid, "default", name);
        let pods = [gone("1234-old", "web-0"), gone("5678", "we")];
        let found = |wanted| found_also(&pods, wanted);
        assert_eq!(found("default/web-0").as_deref(), Ok("gone: default/web-0"));
        assert_eq!(found("1234").as_deref(), Ok("gone: default/web-0"));
        // A whole name wins over the beginning of another, and a pod of the node over one that is
        // gone.
        assert_eq!(found("default/we").as_deref(), Ok("gone: default/we"));
        assert_eq!(found("default/web").as_deref(), Ok("default/web"));
        assert_eq!(found("web-").as_deref(), Ok("gone: default/web-0"));
        assert!(found("nobody").is_err_and(|error| error.contains("there is no pod")));
        // Two that are gone had the same name.
        let twice = [gone("new", "web-0"), gone("old", "web-0")];
        assert_eq!(
            found_also(&twice, "web-0"),
            Err(
                "\"web-0\" matches 2 pods: default/web-0 (uid new), default/web-0 (uid old)"
                    .to_owned()
            )
        );
        assert_eq!(
            found_also(&twice, "old").as_deref(),
            Ok("gone: default/web-0")
        );
    }

    #[test]
    fn a_pod_is_found_by_its_name_its_uid_or_an_id() {
        for wanted in [
            "default/web",
            "web",
            "default/we",
            "uid-web",
            "uid-w",
            "a0a0",
            "a1",
        ] {
            assert_eq!(found(wanted).as_deref(), Ok("default/web"), "{wanted}");
        }
        // The whole name of one pod is a prefix of another's.
        assert_eq!(found("uid-db").as_deref(), Ok("default/db"));
    }

    #[test]
    fn an_ambiguous_name_is_a_usage_error_and_an_unknown_one_is_missing() {
        let pods = testing::pods();
        let exit = |wanted| find(&pods, &[], wanted).err().map(|error| Exit::of(&error));
        assert_eq!(exit("uid-"), Some(Exit::Usage));
        assert_eq!(exit("default/wep"), Some(Exit::Inconclusive));
        assert_eq!(
            found("uid-"),
            Err("\"uid-\" matches 3 pods: default/db (uid uid-db), default/db-\\u{1b}[2J (uid uid-db-2), default/web (uid uid-web)".to_owned())
        );
        assert_eq!(
            found("default/wep"),
            Err("there is no pod \"default/wep\"; did you mean \"default/web\"? (pause-trace ls shows all)".to_owned())
        );
        assert!(found("").is_err());
        assert!(found("defaul").is_err_and(|error| error.contains("there is no pod")));
        assert!(find(&[], &[], "web").is_err());
    }

    #[test]
    fn a_hostile_name_is_found_raw_and_escaped() {
        for wanted in ["default/db-\x1b[2J", "default/db-\\u{1b}[2J"] {
            assert_eq!(found(wanted).as_deref(), Ok("default/db-\\u{1b}[2J"));
        }
    }
}
