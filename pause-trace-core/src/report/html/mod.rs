//! An HTML page to attach to a ticket: one file that loads nothing from the network.
//!
//! The page contains the collected data as JSON, and a script that draws it. Names that pods choose
//! are text in the JSON and in the page: the script creates DOM nodes, and never markup from
//! strings.

mod gather;
mod listeners;
mod model;
mod spans;
mod starts;
mod words;

pub use gather::PageBuilder;
pub use model::Page;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("page.js");

/// The complete page.
pub fn render(page: &Page) -> serde_json::Result<String> {
    let data = page.to_json()?;
    // The placeholders are replaced in order, so that inserted content is not searched for
    // placeholders.
    let mut rest = PAGE;
    let mut whole = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + data.len());
    for (place, content) in [
        ("{{style}}", STYLE),
        ("{{data}}", &data),
        ("{{script}}", SCRIPT),
    ] {
        let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
        whole.push_str(before);
        whole.push_str(content);
        rest = after;
    }
    whole.push_str(rest);
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Event, Fact, Modes, PodFact, Source, Text},
        report::{Clock, Summary, testing},
        state::{Limits, State},
        timeline::{Journal, testing as starts},
    };

    /// The page of these events.
    fn gathered(events: &[Event]) -> Page {
        let (mut journal, mut state) = (Journal::default(), State::new(Limits::NODE));
        let mut builder = PageBuilder::new(Clock::new(0, 0));
        builder.begin(events[0].time);
        for event in events {
            builder.save_starts(&journal);
            journal.take(event);
            state.apply(event, &mut Vec::new());
            builder.see(event, &state);
        }
        builder.end_part(&journal);
        builder.into_page(&Summary::default())
    }

    #[test]
    fn a_pod_has_the_bars_of_its_start() {
        let page = gathered(&starts::recorded());
        let [pod] = &page.pods[..] else {
            panic!("one pod was recorded");
        };
        let start = pod.start.as_ref().expect("its start was recorded");
        let timeline = starts::only(&starts::recorded());
        let up = timeline
            .up
            .zip(timeline.began)
            .map(|(up, began)| up - began);
        assert_eq!(start.up.map(|up| (up - start.began) as u64), up);
        assert!(start.bars.iter().any(|bar| bar.kind == "cni"));
    }

    #[test]
    fn the_start_of_a_removed_pod_that_the_journal_forgot_is_kept() {
        let mut events = starts::recorded();
        let (pod, last) = (
            starts::only(&events).pod,
            events.last().map(|last| last.time),
        );
        let fact = Fact::PodRemoved { pod };
        events.push(Event {
            time: last.unwrap_or_default() + 1,
            fact,
        });
        // As many pods as the journal keeps, so that it forgets the first.
        for number in 0_u64..300 {
            let pod: crate::event::PodId = format!("uid-{number}").into();
            let fact = PodFact {
                pod: pod.clone(),
                namespace: Text::new("default"),
                name: Text::new("later"),
                modes: Modes::plain(),
                source: Source::Cri,
            };
            let time = last.unwrap_or_default() + 2 + number;
            events.push(Event {
                time,
                fact: Fact::Pod(fact),
            });
            events.push(Event {
                time,
                fact: Fact::PodRemoved { pod },
            });
        }
        let page = gathered(&events);
        let pod = page.pods.first().expect("it is the first");
        assert!(pod.start.is_some());
        assert!(
            pod.processes
                .iter()
                .all(|it| it.state != model::ProcessState::Runs)
        );
    }

    #[test]
    fn a_process_whose_end_was_not_recorded_is_not_said_to_run() {
        let mut events = starts::recorded();
        let is_exit = |event: &Event| matches!(event.fact, Fact::Exit { .. });
        events.retain(|event| !is_exit(event));
        let page = gathered(&events);
        let states: Vec<_> = page.pods[0]
            .processes
            .iter()
            .map(|it| (it.reaped.is_some(), it.state))
            .collect();
        assert!(
            states.contains(&(true, model::ProcessState::Ended)),
            "{states:?}"
        );
        let of_reaped = states.iter().filter(|(is_reaped, _)| *is_reaped);
        assert!(
            of_reaped
                .clone()
                .all(|(_, state)| *state == model::ProcessState::Ended)
        );
        assert!(page.pods[0].zombies.iter().all(|(_, count)| *count == 0));
    }

    #[test]
    fn the_page_loads_no_other_file() {
        for part in [PAGE, STYLE, SCRIPT] {
            for way in [
                "src=",
                "href=",
                "@import",
                "url(",
                "fetch(",
                "innerHTML",
                "insertAdjacent",
            ] {
                assert!(!part.contains(way), "{way}");
            }
        }
        for place in ["{{style}}", "{{data}}", "{{script}}"] {
            assert_eq!(PAGE.matches(place).count(), 1, "{place}");
        }
    }

    #[test]
    fn names_cannot_escape_from_the_json() {
        let mut state = State::new(Limits::NODE);
        let mut gathered = PageBuilder::new(Clock::new(0, 0));
        gathered.begin(5);
        let event = Event {
            time: 9,
            fact: Fact::Pod(PodFact {
                pod: "uid-1".into(),
                namespace: Text::new("</script><!--<script>{{script}}"),
                name: Text::new("\u{2028}&lt;\u{202e}"),
                modes: Modes::plain(),
                source: Source::Cri,
            }),
        };
        state.apply(&event, &mut Vec::new());
        gathered.see(&event, &state);
        gathered.verdict(&testing::failed(), &testing::names(), false);
        let page = gathered.into_page(&Summary::default());
        let whole = render(&page).expect("it is JSON");
        assert_eq!(
            whole.matches("</script>").count(),
            2,
            "the data's and the script's"
        );
        let (_, data) = whole.split_once("id=\"data\">").expect("it is there");
        let (data, _) = data.split_once("</script>").expect("it ends");
        assert!(!data.contains(['<', '>', '&', '\u{2028}']));
        let read: serde_json::Value = serde_json::from_str(data).expect("it is JSON");
        assert_eq!(
            read["pods"][0]["namespace"],
            "</script><!--<script>{{script}}"
        );
        assert_eq!(read["pods"][0]["name"], "\\u{2028}&lt;\\u{202e}");
        assert_eq!(read["pods"][0]["since"], 4);
    }
}
