//! The start of a pod as bars, for a report: what the waterfall of `timeline` shows, as data.

use serde::Serialize;

use super::{
    critical::{Critical, Named},
    model::{Element, ElementKind, Extent, Timeline},
    words,
};
use crate::event::Ktime;

/// Most bars of a pod. A start with one container has about twenty.
const MAX_BARS: usize = 120;
/// If a pod first listens later than this many times its start took, the bars end with the start,
/// because they would be too short to see.
const LATEST_LISTEN: Ktime = 3;

/// The start of a pod. All times are those of `since`, all text is escaped.
#[derive(Debug, Serialize)]
pub(crate) struct Start {
    /// The range of the bars.
    pub(crate) began: i64,
    pub(crate) until: i64,
    /// When the last of its containers first executed.
    pub(crate) up: Option<i64>,
    pub(crate) first_listen: Option<i64>,
    /// How long it took, and what it waited for.
    pub(crate) sentence: String,
    /// The critical path, without gaps.
    pub(crate) path: Vec<Bar>,
    pub(crate) bars: Vec<Bar>,
    /// The number of elements above the limit.
    pub(crate) omitted: usize,
    /// What is not visible.
    pub(crate) listening: &'static str,
    /// Why it may be incomplete.
    pub(crate) doubts: Vec<String>,
}

/// An element of the start, or a step of the path.
#[derive(Debug, Serialize)]
pub(crate) struct Bar {
    /// As in the JSON of `timeline`.
    pub(crate) kind: &'static str,
    pub(crate) text: String,
    pub(crate) at: i64,
    /// The same time for a moment; `None` if it has not ended.
    pub(crate) end: Option<i64>,
    /// Whether the kernel refused it, or its program failed.
    pub(crate) failed: bool,
}

impl Start {
    /// `None` if the start was not observed. At most `room` bars.
    pub(crate) fn of(
        timeline: &Timeline,
        room: usize,
        since: impl Fn(Ktime) -> i64,
    ) -> Option<Self> {
        let began = timeline.began?;
        let critical = Critical::of(timeline);
        let last = timeline.up.unwrap_or(timeline.now);
        let latest =
            began.saturating_add(last.saturating_sub(began).saturating_mul(1 + LATEST_LISTEN));
        let shown_listen = timeline.first_listen.filter(|first| *first <= latest);
        let until = last.max(shown_listen.unwrap_or(0));
        let is_start = |element: &&Element| {
            let is_first = matches!(element.what, ElementKind::Listens { is_first: true, .. });
            element.time <= last || is_first
        };
        let elements: Vec<_> = timeline.elements.iter().filter(is_start).collect();
        let room = room.min(MAX_BARS);
        let bar = |element: &&Element| Bar {
            kind: element.what.name(),
            text: words::phrase(timeline, element),
            at: since(element.time),
            end: element.end().map(&since),
            failed: has_failed(element),
        };
        let step = |step: &super::critical::Step| Bar {
            kind: step.share.name(),
            text: Named(timeline, &step.share).to_string(),
            at: since(step.begin),
            end: Some(since(step.end)),
            failed: false,
        };
        let path = critical.iter().flat_map(|critical| &critical.steps);
        Some(Self {
            began: since(began),
            until: since(until),
            up: timeline.up.map(&since),
            first_listen: timeline.first_listen.map(&since),
            sentence: match &critical {
                Some(critical) => critical.sentence(timeline),
                None => words::NOT_UP.to_owned(),
            },
            path: path.take(MAX_BARS).map(step).collect(),
            bars: elements.iter().take(room).map(bar).collect(),
            omitted: elements.len().saturating_sub(room),
            listening: words::listening(timeline),
            doubts: words::doubts(timeline),
        })
    }
}

/// Whether the waterfall shows an element as failed.
fn has_failed(element: &Element) -> bool {
    let is_program = matches!(
        element.what,
        ElementKind::Plugin { .. } | ElementKind::Program { .. } | ElementKind::Hook { .. }
    );
    matches!(element.what, ElementKind::Refused { .. })
        || is_program && element.failure().is_some() && element.extent != Extent::Open
}

#[cfg(test)]
mod tests {
    use super::super::testing::{like, only, recorded};
    use super::*;

    fn start(timeline: &Timeline, room: usize) -> Start {
        Start::of(timeline, room, |time| time as i64).expect("its start was recorded")
    }

    #[test]
    fn the_bars_are_the_elements_of_the_waterfall_and_the_path_has_no_gap() {
        let timeline = only(&recorded());
        let start = start(&timeline, MAX_BARS);
        let up = timeline.up.expect("it is up");
        let elements: Vec<_> = timeline
            .elements
            .iter()
            .filter(|element| element.time <= up)
            .map(|element| (element.what.name(), element.time as i64))
            .collect();
        let bars: Vec<_> = start.bars.iter().map(|bar| (bar.kind, bar.at)).collect();
        assert_eq!(bars, elements);
        for kind in ["cni", "create", "run", "program", "joined"] {
            assert!(bars.iter().any(|(of, _)| *of == kind), "{kind}: {bars:?}");
        }
        let ends = start.path.iter().filter_map(|step| step.end);
        let begins = start.path.iter().map(|step| step.at).chain(start.up);
        let joints: Vec<_> = std::iter::once(start.began).chain(ends).collect();
        assert_eq!(joints, begins.collect::<Vec<_>>());
        let whole = Critical::of(&timeline).expect("it is up");
        assert_eq!(start.sentence, whole.sentence(&timeline));
        assert_eq!((start.until, start.omitted), (up as i64, 0));
    }

    #[test]
    fn bars_above_the_room_are_counted() {
        let timeline = only(&recorded());
        let all = start(&timeline, MAX_BARS).bars.len();
        let some = start(&timeline, 3);
        assert_eq!((some.bars.len(), some.omitted), (3, all - 3));
        assert_eq!(start(&timeline, usize::MAX).bars.len(), all.min(MAX_BARS));
    }

    #[test]
    fn a_late_first_listen_does_not_squeeze_the_bars() {
        let mut timeline = only(&recorded());
        let (began, up) = (timeline.began.expect("began"), timeline.up.expect("up"));
        timeline.first_listen = Some(up + (up - began));
        assert_eq!(start(&timeline, 9).until, (up + (up - began)) as i64);
        timeline.first_listen = Some(up + 4 * (up - began));
        assert_eq!(start(&timeline, 9).until, up as i64);
    }

    #[test]
    fn a_plugin_that_failed_is_marked() {
        let mut events = recorded();
        let exit = like(
            |line| {
                line["fact"] == "exit" && line["process"]["pid"] == super::super::testing::BRIDGE
            },
            |line| line["status"] = 0x100.into(),
        );
        let at = events
            .iter()
            .position(|event| event.time == exit.time)
            .expect("the exit is recorded");
        events[at] = exit;
        let start = start(&only(&events), MAX_BARS);
        let plugins = start.bars.iter().filter(|bar| bar.kind == "cni");
        let failed: Vec<_> = plugins
            .map(|bar| (bar.text.trim_end_matches(", exit code 1"), bar.failed))
            .filter(|(_, failed)| *failed)
            .collect();
        assert_eq!(failed, [("CNI bridge", true)]);
    }
}
