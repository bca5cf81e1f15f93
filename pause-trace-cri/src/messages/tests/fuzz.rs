//! Fuzzes the decoding of a runtime's answers.

use pause_trace_fuzz::{Random, Target};

use super::{CONTAINER, SANDBOX};
use crate::{Info, messages::*};

/// Decodes an input as one kind of message. What is decoded, encoded and decoded again is the same.
fn again<M: Message + Default + PartialEq + std::fmt::Debug>(input: &[u8]) -> usize {
    let Ok(message) = M::decode(input) else {
        return 0;
    };
    let encoded = message.encode_to_vec();
    assert_eq!(encoded.len(), message.encoded_len());
    let decoded = M::decode(&*encoded).expect("it was just encoded");
    assert!(decoded == message, "{message:?} became {decoded:?}");
    assert_eq!(decoded.encode_to_vec(), encoded);
    1 + encoded.len().min(64) / 8
}

/// What holds for every input.
fn judge(input: &[u8]) -> [usize; 12] {
    let details = ContainerStatusResponse::decode(input);
    let details = details.ok().map(|answer| answer.info());
    let text = String::from_utf8_lossy(input).into_owned();
    let alone = Info::read(&[("info".to_owned(), text)].into());
    let mut shape = 0;
    for info in details.into_iter().chain([alone]).flatten().flatten() {
        assert_ne!(info.pid, Some(0));
        let namespaces = info.spec_namespaces();
        let paths = namespaces.iter().flatten().filter_map(|(_, path)| *path);
        assert!(paths.into_iter().all(|path| !path.is_empty()));
        assert!(info.image_stop_signal() != Some(""));
        shape = 1 + info.args().len().min(3) + 4 * usize::from(info.namespace_options().is_some());
    }
    [
        shape,
        again::<Version>(input),
        again::<StatusResponse>(input),
        again::<ListPodSandboxResponse>(input),
        again::<PodSandboxStatusResponse>(input),
        again::<RunPodSandboxResponse>(input),
        again::<ListContainersResponse>(input),
        again::<ContainerStatusResponse>(input),
        again::<CreateContainerResponse>(input),
        again::<ExecOutput>(input),
        again::<ListImagesResponse>(input),
        again::<ImageStatusResponse>(input),
    ]
}

/// Fields with small tags, some of which are messages with such fields.
fn generate(random: &mut Random) -> Vec<u8> {
    fn fields(random: &mut Random, depth: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for _ in 0..random.below(6) {
            let tag = 1 + random.below(15) as u8;
            if random.once_in(3) {
                bytes.push(tag << 3);
                prost::encoding::encode_varint(random.awkward(), &mut bytes);
            } else {
                let inner = match random.below(3) {
                    0 if depth < 6 => fields(random, depth + 1),
                    1 => b"k8s_pod".to_vec(),
                    _ => random.bytes(8),
                };
                bytes.push(tag << 3 | 2);
                prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
                bytes.extend(inner);
            }
        }
        bytes
    }
    fields(random, 0)
}

#[test]
fn messages() {
    let details =
        br#"{"pid":7,"config":{"linux":{"security_context":{"namespace_options":{"pid":3}}}}}"#;
    Target::new("messages")
        .seeds([SANDBOX.to_vec(), CONTAINER.to_vec(), details.to_vec()])
        .files_of("pause-trace/src/node/cri/fixtures")
        .generator(generate)
        .dictionary(&[
            "\x0a\x02",
            "\x12\x00",
            "\u{80}",
            "info",
            "{",
            "[",
            "\"pid\":",
            "\"args\":[",
        ])
        // An empty message of a list takes two bytes, and the fields that it lacks.
        .memory(256 << 10, 1 << 10)
        .inputs(4_000)
        .run(judge);
}
