//! Facts as words of the page.

use std::collections::BTreeMap;

use crate::{
    event::{NamespaceKind, Namespaces, SignalResult, escape},
    report::wire,
    state::Role,
    verdict::Values,
};

pub(super) fn called(process: &wire::Process) -> String {
    format!("{} (pid {})", process.comm, process.pid)
}

pub(super) fn named(namespaces: &Namespaces) -> wire::Namespaces {
    let kinds = NamespaceKind::ALL.into_iter();
    kinds.map(|kind| (kind, namespaces.get(kind))).collect()
}

pub(super) fn shown(values: &Values) -> BTreeMap<&'static str, String> {
    let shown = |(name, value): &(&'static str, _)| (*name, ToString::to_string(value));
    values.iter().map(shown).collect()
}

pub(super) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Stranger => "stranger",
        Role::Runtime => "runtime",
        Role::Pause => "pause",
        Role::Init => "init",
        Role::Session => "session",
        Role::Member => "member",
    }
}

pub(super) fn result_name(result: SignalResult) -> &'static str {
    match result {
        SignalResult::Delivered => "queued",
        SignalResult::Ignored => "ignored",
        SignalResult::AlreadyPending => "pending already",
        SignalResult::OverflowFail => "lost: the queue was full",
        SignalResult::LoseInfo => "queued without its information",
        SignalResult::Unknown => "unknown",
    }
}

pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let _ = escape(text.as_bytes(), &mut escaped);
    escaped
}
