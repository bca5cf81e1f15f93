//! The name of an image.

use std::{fmt, str::FromStr};

use clap::ValueEnum;

use super::Pause;

/// A name that every runtime interprets in the same way: `REGISTRY/PATH:TAG`. Without a registry,
/// programs add `docker.io`, `localhost` or nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    whole: String,
    tag: String,
}

/// Why a name is invalid.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum BadName {
    #[error("it has no registry, such as localhost/")]
    NoRegistry,
    #[error("it has no tag, such as :1")]
    NoTag,
    #[error("it has an empty part, or a character other than a-z, 0-9, '.', '_' and '-' in a part")]
    Characters,
    #[error("it is longer than {MAX_BYTES} bytes")]
    Long,
}

const MAX_BYTES: usize = 255;

impl FromStr for Name {
    type Err = BadName;

    /// Accepts the [grammar of references], except for digests, upper-case hosts and IPv6
    /// addresses.
    ///
    /// [grammar of references]: https://github.com/distribution/reference/blob/v0.6.0/reference.go
    fn from_str(text: &str) -> Result<Self, BadName> {
        let (registry, rest) = text.split_once('/').ok_or(BadName::NoRegistry)?;
        let (host, port) = registry.split_once(':').unwrap_or((registry, "0"));
        if host != "localhost" && !registry.contains(['.', ':']) {
            return Err(BadName::NoRegistry);
        }
        let (path, tag) = rest.split_once(':').ok_or(BadName::NoTag)?;
        let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let in_tag = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let is_tag = (1..=128).contains(&tag.len())
            && !tag.starts_with(['.', '-'])
            && tag.bytes().all(in_tag);
        let are_parts = host.split('.').chain(path.split('/')).all(is_part);
        if !(is_port && is_tag && are_parts) {
            return Err(BadName::Characters);
        }
        if text.len() > MAX_BYTES {
            return Err(BadName::Long);
        }
        Ok(Self {
            whole: text.to_owned(),
            tag: tag.to_owned(),
        })
    }
}

/// Whether a text is a component of a host or path: words with separators between them.
fn is_part(part: &str) -> bool {
    let in_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separates =
        |text: &str| matches!(text, "." | "_" | "__") || text.bytes().all(|b| b == b'-');
    part.starts_with(in_word) && part.ends_with(in_word) && part.split(in_word).all(separates)
}

impl Name {
    pub(super) fn whole(&self) -> &str {
        &self.whole
    }

    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The default name of the image of pause-trace itself.
    pub(crate) fn of_program() -> Self {
        let tag = env!("CARGO_PKG_VERSION").to_owned();
        Self {
            whole: format!("localhost/pause-trace-node:{tag}"),
            tag,
        }
    }

    /// The default name of an image of a pause.
    pub(crate) fn of(pause: Pause) -> Self {
        let version = env!("CARGO_PKG_VERSION");
        let tag = match pause.to_possible_value() {
            Some(kind) if pause != Pause::Good => format!("{version}-{}", kind.get_name()),
            _ => version.to_owned(),
        };
        Self {
            whole: format!("localhost/pause-trace:{tag}"),
            tag,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ambiguous_and_invalid_names_are_refused() {
        let error = |name: &str| name.parse::<Name>().expect_err(name);
        for name in ["pause:1", "pause-trace/pause:1", "a/b"] {
            assert_eq!(error(name), BadName::NoRegistry, "{name}");
        }
        for name in ["localhost/pause", "registry.example/pause@sha256"] {
            assert_eq!(error(name), BadName::NoTag, "{name}");
        }
        let long_tag = format!("localhost/a:{}", "t".repeat(129));
        for name in [
            "localhost/Pause:1",
            "localhost/a//b:1",
            "localhost/:1",
            "localhost/a:",
            "localhost/a:b:c",
            "localhost/a:-1",
            "localhost/a:\u{1b}[2J",
            "localhost/a b:1",
            "localhost/ä:1",
            "localhost/-a:1",
            "localhost/a..b:1",
            "localhost:x/a:1",
            "localhost:/a:1",
            ".local/a:1",
            "localhost/a@b:1",
            &long_tag,
        ] {
            assert_eq!(error(name), BadName::Characters, "{name}");
        }
        let long = format!("localhost/{}:1", "a".repeat(MAX_BYTES));
        assert_eq!(error(&long), BadName::Long);
        for name in [
            "localhost/a:1",
            "registry.example:5000/a/b__c/d--e.f:V_1.x-y",
            "localhost:1/a:_",
        ] {
            assert_eq!(
                name.parse::<Name>().map(|name| name.to_string()),
                Ok(name.to_owned())
            );
        }
    }
}
