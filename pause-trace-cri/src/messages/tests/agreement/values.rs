//! The values of the fields of our messages, and their comparison with the definition's values.

use std::{collections::BTreeMap, fmt::Debug};

use prost_reflect::{MapKey, Value};

use super::Described;

/// The value of a field of one of our messages.
pub(super) trait Field: Debug + Default + PartialEq {
    /// A value that is not the default; for a number, one that no other type of number has.
    fn filled(name: &str) -> Self;

    /// Whether the definition's value has the same type and is equal.
    fn is(&self, theirs: &Value) -> bool;
}

macro_rules! numbers {
    ($($number:ty = $value:expr, $($theirs:ident)|+;)+) => {
        $(impl Field for $number {
            fn filled(_: &str) -> Self {
                $value
            }

            fn is(&self, theirs: &Value) -> bool {
                matches!(theirs, $(Value::$theirs(number))|+ if number == self)
            }
        })+
    };
}

numbers! {
    bool = true, Bool;
    i32 = i32::MIN, I32 | EnumNumber;
    i64 = i64::MIN, I64;
    u32 = u32::MAX, U32;
    u64 = u64::MAX, U64;
}

impl Field for String {
    fn filled(name: &str) -> Self {
        name.into()
    }

    fn is(&self, theirs: &Value) -> bool {
        theirs.as_str() == Some(self)
    }
}

/// The definition's `bytes`. Our bytes also accept a `string`, because v1 changed one field
/// (`KeyValue.value`) from `string` to `bytes`. Our strings do not accept `bytes`.
impl Field for Vec<u8> {
    fn filled(name: &str) -> Self {
        name.into()
    }

    fn is(&self, theirs: &Value) -> bool {
        match theirs {
            Value::Bytes(theirs) => theirs == self,
            Value::String(theirs) => theirs.as_bytes() == self,
            _ => false,
        }
    }
}

impl<M: Described + Field> Field for Option<M> {
    fn filled(name: &str) -> Self {
        Some(M::filled(name))
    }

    fn is(&self, theirs: &Value) -> bool {
        self.as_ref().is_some_and(|ours| ours.is(theirs))
    }
}

impl Field for Vec<String> {
    fn filled(name: &str) -> Self {
        vec![name.into(), String::new()]
    }

    fn is(&self, theirs: &Value) -> bool {
        are(self, theirs)
    }
}

impl<M: Described + Field> Field for Vec<M> {
    fn filled(name: &str) -> Self {
        vec![M::filled(name), M::default()]
    }

    fn is(&self, theirs: &Value) -> bool {
        are(self, theirs)
    }
}

fn are<F: Field>(ours: &[F], theirs: &Value) -> bool {
    theirs.as_list().is_some_and(|theirs| {
        theirs.len() == ours.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(ours, theirs)| ours.is(theirs))
    })
}

impl Field for BTreeMap<String, String> {
    fn filled(name: &str) -> Self {
        [(name.into(), "value".into()), ("key".into(), name.into())].into()
    }

    fn is(&self, theirs: &Value) -> bool {
        theirs.as_map().is_some_and(|theirs| {
            let same = |(key, value): (&String, &String)| {
                let theirs = theirs.get(&MapKey::String(key.clone()));
                theirs.is_some_and(|theirs| value.is(theirs))
            };
            theirs.len() == self.len() && self.iter().all(same)
        })
    }
}
