//! The formats in which the metrics can be written, and which of them a client accepts.

use prometheus_client::{
    encoding::{prometheus_protobuf, prometheus_text, text},
    registry::Registry,
};

/// A format of the metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The protobuf format of Prometheus, the only one with native histograms.
    Protobuf,
    /// OpenMetrics 1.0, as text.
    OpenMetrics,
    /// The text format of Prometheus, 0.0.4.
    Text,
}

impl Format {
    /// The format that a client likes best; the text format if it names none of these.
    pub(super) fn of(accept: &str) -> Self {
        let mut best = (0.0, Self::Text);
        for range in accept.split(',') {
            let (quality, format) = read(range);
            if let Some(format) = format
                && quality > best.0
            {
                best = (quality, format);
            }
        }
        best.1
    }

    /// The value of `Content-Type`.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => prometheus_text::CONTENT_TYPE,
        }
    }

    pub(super) fn encode(self, registry: &Registry) -> Result<Vec<u8>, String> {
        let mut written = String::new();
        let result = match self {
            Self::Protobuf => {
                let encoded = prometheus_protobuf::encode_to_vec(registry);
                return encoded.map_err(|error| error.to_string());
            }
            Self::OpenMetrics => text::encode(&mut written, registry),
            Self::Text => prometheus_text::encode(&mut written, registry),
        };
        result.map_err(|error| error.to_string())?;
        Ok(written.into_bytes())
    }
}

/// The weight of a media range of `Accept`, and the format that it stands for.
fn read(range: &str) -> (f32, Option<Format>) {
    let mut parts = range.split(';').map(str::trim);
    let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut quality, mut version, mut proto, mut encoding) = (1.0, None, None, None);
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim_matches('"');
        match name.trim() {
            "q" => quality = value.parse().unwrap_or_default(),
            "version" => version = Some(value),
            "proto" => proto = Some(value),
            "encoding" => encoding = Some(value),
            _ => {}
        }
    }
    let is_prometheus = proto == Some("io.prometheus.client.MetricFamily");
    let format = match &*kind {
        "application/vnd.google.protobuf" if is_prometheus && encoding == Some("delimited") => {
            Some(Format::Protobuf)
        }
        "application/openmetrics-text" if matches!(version, None | Some("1.0.0")) => {
            Some(Format::OpenMetrics)
        }
        "text/plain" if matches!(version, None | Some("0.0.4")) => Some(Format::Text),
        "text/*" | "*/*" => Some(Format::Text),
        _ => None,
    };
    (quality, format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_chooses_the_format() {
        // What Prometheus 2.42 sends, without and with native histograms.
        let two = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                   text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                      application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (two, Format::OpenMetrics),
            (native, Format::Protobuf),
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html,application/xhtml+xml,*/*;q=0.8", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            (
                "application/openmetrics-text; version=\"1.0.0\"; q=0.2, text/plain; q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0.2,text/plain",
                Format::Text,
            ),
            (
                "application/openmetrics-text;version=1.0.0;q=0",
                Format::Text,
            ),
            ("application/openmetrics-text;version=2.0.0", Format::Text),
            ("application/vnd.google.protobuf", Format::Text),
            ("application/openmetrics-text;q=x", Format::Text),
            (";;==,,", Format::Text),
        ] {
            assert_eq!(Format::of(accept), format, "{accept}");
        }
    }
}
