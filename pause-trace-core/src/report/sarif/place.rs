//! Where a result is, and what identifies it from one run to the next.

use std::fmt::Write as _;

use foldhash::HashMap;

use crate::{
    report::Names,
    verdict::{Subject, Verdict},
};

/// The relative URI of a pod: `pods/default/web`, or `pods/uid/UID` for a pod without a name. What
/// concerns no pod is at `node`.
pub(super) fn uri(subject: &Subject, names: &Names) -> String {
    let Some(pod) = &subject.pod else {
        return "node".to_owned();
    };
    let pod = names.pod(pod);
    match (&pod.namespace, &pod.name) {
        (Some(namespace), Some(name)) => format!("pods/{}/{}", segment(namespace), segment(name)),
        _ => format!("pods/uid/{}", segment(&pod.uid)),
    }
}

/// A segment of a path (RFC 3986, §3.3): everything but unreserved characters is percent-encoded. A
/// segment of dots alone would change the path, so its dots are encoded, too.
fn segment(text: &str) -> String {
    let is_dots = text.bytes().all(|byte| byte == b'.');
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' if is_dots => segment.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                segment.push(char::from(byte));
            }
            _ => _ = write!(segment, "%{byte:02X}"),
        }
    }
    segment
}

/// The results so far, by what identifies them.
#[derive(Default)]
pub(super) struct FingerprintCounts(HashMap<u64, u32>);

impl FingerprintCounts {
    /// The fingerprint of a result: a hash of the rule, the pod, the container and the program, and
    /// the number of the result among those with the same hash. Pids, inode numbers and times are
    /// others in each run, so they are not part of it.
    pub(super) fn fingerprint(&mut self, verdict: &Verdict, names: &Names) -> String {
        let Verdict { rule, subject, .. } = verdict;
        let container = subject.container.as_ref().map(|id| {
            let container = names.container(id);
            container.name.unwrap_or(container.id)
        });
        let program = subject.process.map(|process| process.comm.to_string());
        let place = uri(subject, names);
        let hash = hash([
            rule.id,
            &place,
            container.as_deref().unwrap_or_default(),
            program.as_deref().unwrap_or_default(),
        ]);
        let number = self.0.entry(hash).or_default();
        *number += 1;
        format!("{hash:016x}:{number}")
    }
}

/// FNV-1a with 64 bits. The same text has the same hash in every version of pause-trace.
fn hash<'a>(parts: impl IntoIterator<Item = &'a str>) -> u64 {
    let bytes = parts.into_iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{event::ProcessId, report::testing};

    #[test]
    fn a_pod_is_a_relative_uri_whatever_its_name() {
        let names = testing::names();
        let of = |pod: Option<&str>| {
            let pod = pod.map(Into::into);
            uri(
                &Subject {
                    pod,
                    ..Subject::default()
                },
                &names,
            )
        };
        assert_eq!(of(Some("uid-1")), "pods/default/web");
        assert_eq!(of(Some("../x")), "pods/uid/..%2Fx");
        assert_eq!(of(Some("..")), "pods/uid/%2E%2E");
        assert_eq!(of(None), "node");
        let hostile = of(Some("uid-2"));
        assert!(
            hostile.bytes().all(|byte| byte.is_ascii_graphic()),
            "{hostile}"
        );
        assert_eq!(hostile.matches('/').count(), 2, "{hostile}");
    }

    #[test]
    fn a_fingerprint_is_that_of_the_next_run_and_of_no_other_result() {
        let names = testing::names();
        let first = FingerprintCounts::default().fingerprint(&testing::failed(), &names);
        assert_eq!(first, "a5fffd4db72ffdb7:1");
        let mut later = testing::failed();
        later.time += 1_000_000_000;
        if let Some(process) = &mut later.subject.process {
            process.id = ProcessId {
                pid: 5000,
                start: 1,
            };
        }
        let mut seen = FingerprintCounts::default();
        assert_eq!(seen.fingerprint(&later, &names), first);
        // The same program again, and another container.
        assert_eq!(seen.fingerprint(&later, &names), first.replace(":1", ":2"));
        let other = seen.fingerprint(&testing::hostile(), &names);
        assert_ne!(other.split(':').next(), first.split(':').next());
    }
}
