//! An HTML page to attach to a ticket: one file that loads nothing from the network.
//!
//! The page contains the collected data as JSON, and a script that draws it. Names that pods choose
//! are text in the JSON and in the page: the script creates DOM nodes, and never markup from
//! strings.

mod gather;
mod listeners;
mod model;

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
    };

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
