//! Writes a timeline, at once or while it grows.

use std::collections::HashSet;

use anyhow::Result;

use super::{Args, MAX_NAMED};
use crate::{
    cli::{Exit, Usage, output::StateFormat, print},
    event::{Ktime, PodId, ProcessId, Text},
    report::Clock,
    text::TextStyle,
    timeline::{self, Called, Element, Journal, Timeline},
};

/// Identifies an element that was reported.
type ElementKey = (Ktime, &'static str, ProcessId);

/// Writes a timeline, and remembers which elements were written.
pub(super) struct Writer<'a> {
    pub(super) args: &'a Args,
    pub(super) text_style: TextStyle,
    pub(super) clock: Clock,
    pub(super) written: HashSet<ElementKey>,
    /// The wanted pod, once it has started.
    pub(super) pod: Option<PodId>,
}

impl Writer<'_> {
    /// Searches for the wanted pod among those whose start was observed.
    pub(super) fn find(&mut self, journal: &Journal) -> Result<(), Usage> {
        if self.pod.is_some() {
            return Ok(());
        }
        let Called { pods, is_whole } = journal.called(&self.args.pod);
        let began = |pod: PodId| Some((Timeline::of(journal, &pod)?.began?, pod));
        let mut meant: Vec<_> = pods.into_iter().filter_map(began).collect();
        meant.sort_unstable();
        // Of the pods whose names begin so, the first one that starts.
        if let Some((_, pod)) = meant.first().filter(|_| meant.len() == 1 || !is_whole) {
            self.pod = Some(pod.clone());
        } else if !meant.is_empty() {
            let uids: Vec<_> = meant
                .iter()
                .take(MAX_NAMED)
                .map(|(_, pod)| Text::new(pod).to_string())
                .collect();
            return Err(Usage(format!(
                "\"{}\" matches {} pods that start: uid {}",
                self.args.pod.escape_debug(),
                meant.len(),
                uids.join(", ")
            )));
        }
        Ok(())
    }

    pub(super) fn read(&self, journal: &Journal) -> Option<Timeline> {
        Timeline::of(journal, self.pod.as_ref()?)
    }

    /// Writes the elements that have ended since the last call.
    pub(super) fn news(&mut self, timeline: &Timeline) -> Result<()> {
        let mut text = String::new();
        for element in timeline
            .elements
            .iter()
            .filter(|element| element.end().is_some())
        {
            if self.written.insert(identity(element)) {
                text += &match self.args.format.chosen {
                    StateFormat::Text => timeline::line(self.text_style, timeline, element),
                    StateFormat::Json => timeline::element_line(timeline, element, self.clock)?,
                };
            }
        }
        if !text.is_empty() {
            print(&text)?;
        }
        Ok(())
    }

    /// Writes the rest.
    pub(super) fn finish(&mut self, timeline: &Timeline) -> Result<Exit> {
        match self.args.format.chosen {
            StateFormat::Text if self.written.is_empty() => {
                print(&timeline::shown(self.text_style, timeline))
            }
            StateFormat::Text => {
                print(&format!("\n{}", timeline::shown(self.text_style, timeline)))
            }
            StateFormat::Json => {
                let is_unwritten = |element: &Element| !self.written.contains(&identity(element));
                print(&timeline::lines(timeline, self.clock, is_unwritten)?)
            }
        }
    }
}

fn identity(element: &Element) -> ElementKey {
    (
        element.time,
        element.what.name(),
        element
            .process
            .map_or_else(ProcessId::default, |process| process.id),
    )
}
