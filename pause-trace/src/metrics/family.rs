//! Series of one metric that differ in their labels, written in the order of these.
//!
//! The family of the library keeps them in a hash map, so that two answers to the same question
//! would differ in their order.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeMetric, MetricEncoder},
    metrics::{MetricType, TypedMetric},
};

/// Series by their labels.
pub(super) struct Family<S, M> {
    series: Arc<RwLock<BTreeMap<S, M>>>,
    make: fn() -> M,
}

impl<S: Ord + Clone, M: Clone> Family<S, M> {
    /// No series. `make`: makes one.
    pub(super) fn new(make: fn() -> M) -> Self {
        Self {
            series: Arc::default(),
            make,
        }
    }

    /// The series with these labels, which is made if there is none.
    pub(super) fn of(&self, labels: &S) -> M {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let series = series.entry(labels.clone()).or_insert_with(self.make);
        series.clone()
    }

    /// Removes all series.
    pub(super) fn clear(&self) {
        let mut series = self.series.write().unwrap_or_else(PoisonError::into_inner);
        series.clear();
    }
}

impl<S: Ord + Clone, M: Clone + Default> Default for Family<S, M> {
    fn default() -> Self {
        Self::new(M::default)
    }
}

impl<S, M> Clone for Family<S, M> {
    fn clone(&self) -> Self {
        Self {
            series: Arc::clone(&self.series),
            make: self.make,
        }
    }
}

impl<S, M> fmt::Debug for Family<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Family")
    }
}

impl<S: EncodeLabelSet, M: EncodeMetric + TypedMetric> EncodeMetric for Family<S, M> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        for (labels, metric) in series.iter() {
            metric.encode(encoder.encode_family(labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        M::TYPE
    }

    fn is_empty(&self) -> bool {
        let series = self.series.read().unwrap_or_else(PoisonError::into_inner);
        series.is_empty()
    }
}
