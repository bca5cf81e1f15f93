//! Registers the metrics, and lists what the documentation says of each.

use std::sync::atomic::Ordering;

use prometheus_client::{
    encoding::EncodeMetric,
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Metric, Registry, Unit},
};

/// The beginning of the names of all metrics that are about pods.
const PREFIX: &str = "pause_trace";

/// What the documentation says of a metric.
#[derive(Debug)]
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "a test makes the documentation of it")
)]
pub(super) struct Listed {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) unit: Option<String>,
    pub(super) labels: &'static str,
    /// The most series.
    pub(super) bound: String,
    pub(super) help: &'static str,
}

/// The registry and the list.
#[derive(Default)]
pub(super) struct Catalog {
    registry: Registry,
    listed: Vec<Listed>,
}

impl Catalog {
    /// Registers a metric without a unit.
    pub(super) fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: &'static str,
        bound: impl Into<String>,
        metric: impl Metric,
    ) {
        let full = format!("{PREFIX}_{name}");
        self.list(full.clone(), None, help, (labels, bound.into()), &metric);
        self.registry.register(full, help, metric);
    }

    /// Registers a metric with a unit, which becomes the end of its name.
    pub(super) fn add_with_unit(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &'static str,
        bound: impl Into<String>,
        metric: impl Metric,
    ) {
        let full = format!("{PREFIX}_{name}");
        let labels = (labels, bound.into());
        self.list(full.clone(), Some(&unit), help, labels, &metric);
        self.registry.register_with_unit(full, help, unit, metric);
    }

    /// Registers a metric of the process, whose name is the one that all exporters use.
    pub(super) fn add_own(
        &mut self,
        name: &'static str,
        unit: Option<Unit>,
        help: &'static str,
        metric: impl Metric,
    ) {
        let labels = ("", "1".to_owned());
        self.list(name.to_owned(), unit.as_ref(), help, labels, &metric);
        match unit {
            Some(unit) => self.registry.register_with_unit(name, help, unit, metric),
            None => self.registry.register(name, help, metric),
        }
    }

    /// A gauge without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str) -> Gauge {
        let gauge = Gauge::default();
        self.add(name, help, "", "1", gauge.clone());
        gauge
    }

    /// A counter without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        self.add(name, help, "", "1", counter.clone());
        counter
    }

    fn list(
        &mut self,
        mut name: String,
        unit: Option<&Unit>,
        help: &'static str,
        (labels, bound): (&'static str, String),
        metric: &impl EncodeMetric,
    ) {
        let kind = metric.metric_type().as_str().to_owned();
        let unit = unit.map(|unit| unit.as_str().to_owned());
        if let Some(unit) = &unit {
            name = format!("{name}_{unit}");
        }
        if kind == "counter" {
            name.push_str("_total");
        }
        self.listed.push(Listed {
            name,
            kind,
            unit,
            labels,
            bound,
            help,
        });
    }

    pub(super) fn finish(self) -> (Registry, Vec<Listed>) {
        (self.registry, self.listed)
    }
}

/// Sets a counter to a count that the kernel keeps.
pub(super) fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}
