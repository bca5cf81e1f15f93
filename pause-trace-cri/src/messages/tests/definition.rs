//! The published definition of the interface, which `cargo xtask runtimes` downloads.

use std::fs;

use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey,
    MessageDescriptor, Value,
};
use xtask_support::places;

use crate::channel::Api;

/// All messages and enumerations of one version of the interface.
pub(super) struct Definition {
    pub(super) api: Api,
    pub(super) pool: DescriptorPool,
}

impl Definition {
    #[track_caller]
    pub(super) fn read(api: Api) -> Self {
        let (bundle, below) = match api {
            Api::V1 => (places::CRI_V1, "k8s.io"),
            Api::V1Alpha2 => (
                places::CRI_V1ALPHA2,
                "github.com/containerd/containerd/third_party/k8s.io",
            ),
        };
        let package = api.package();
        let path = places::directory(bundle)
            .join("usr/share/gocode/src")
            .join(below)
            .join("cri-api/pkg/apis")
            .join(package.replace('.', "/"))
            .join("api.proto");
        let text = fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "failed to read {}: {error}: run `cargo xtask runtimes`",
                path.display()
            )
        });
        let file = protox_parse::parse("api.proto", &text)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(file.package(), package, "{}", path.display());
        let mut pool = DescriptorPool::new();
        pool.add_file_descriptor_proto(file)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { api, pool }
    }

    pub(super) fn message(&self, name: &str) -> Option<MessageDescriptor> {
        let name = format!("{}.{name}", self.api.package());
        self.pool.get_message_by_name(&name)
    }

    pub(super) fn enumeration(&self, name: &str) -> Option<EnumDescriptor> {
        let name = format!("{}.{name}", self.api.package());
        self.pool.get_enum_by_name(&name)
    }
}

/// Messages for the definition's encoder: one with all fields, one for each field with that field
/// alone, and one without fields. No field has its default value, because the encoder omits such a
/// field.
pub(super) fn samples(message: &MessageDescriptor) -> Vec<DynamicMessage> {
    let alone = |field: FieldDescriptor| {
        let mut alone = DynamicMessage::new(message.clone());
        alone.set_field(&field, value(&field));
        alone
    };
    let mut samples: Vec<_> = message.fields().map(alone).collect();
    samples.push(filled(message));
    samples.push(DynamicMessage::new(message.clone()));
    samples
}

fn filled(message: &MessageDescriptor) -> DynamicMessage {
    let mut filled = DynamicMessage::new(message.clone());
    for field in message.fields() {
        filled.set_field(&field, value(&field));
    }
    filled
}

fn value(field: &FieldDescriptor) -> Value {
    if field.is_list() {
        return Value::List(vec![item(field), item(field)]);
    }
    match field.kind() {
        Kind::Message(entry) if field.is_map() => {
            let value = item(&entry.map_entry_value_field());
            let key = |number: u8| MapKey::String(format!("{} {number}", field.name()));
            Value::Map([(key(1), value.clone()), (key(2), value)].into())
        }
        _ => item(field),
    }
}

/// The numbers are values that no other type of number has.
fn item(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::Bool => Value::Bool(true),
        Kind::Int32 => Value::I32(i32::MIN),
        Kind::Int64 => Value::I64(i64::MIN),
        Kind::Uint32 => Value::U32(u32::MAX),
        Kind::Uint64 => Value::U64(u64::MAX),
        Kind::Double => Value::F64(0.5),
        Kind::String => Value::String(field.name().into()),
        Kind::Bytes => Value::Bytes(field.name().to_owned().into()),
        Kind::Enum(values) => {
            let last = values.values().map(|value| value.number()).max();
            Value::EnumNumber(last.expect("an enumeration has values"))
        }
        Kind::Message(message) => Value::Message(filled(&message)),
        other => panic!(
            "{} is a {other:?}, for which this test has no value",
            field.full_name()
        ),
    }
}
