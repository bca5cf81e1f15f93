//! The documentation of rules as a page.

use std::fmt::Write as _;

use super::Rule;

/// A page with the documentation of these rules. `docs/rules.md` is the page of all.
pub fn markdown(rules: impl Iterator<Item = &'static Rule>) -> String {
    let mut text = "# Rules\n".to_owned();
    for Rule {
        id,
        name,
        severity,
        summary,
        doc,
        ..
    } in rules
    {
        let _ = write!(text, "\n## {id} {name}\n\n*{severity}*: {summary}.\n");
        for line in doc.trim().lines() {
            // The headings of a rule are one level below the rule itself, and need blank lines
            // around them.
            match line.strip_prefix("## ") {
                Some(heading) => _ = write!(text, "\n### {heading}\n\n"),
                None => _ = writeln!(text, "{line}"),
            }
        }
    }
    while let Some(at) = text.find("\n\n\n") {
        text.remove(at);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_nested() {
        let text = markdown(crate::rules::find("PT101").into_iter());
        assert!(
            text.starts_with("# Rules\n\n## PT101 net-shared\n\n*error*: a pod"),
            "{text}"
        );
        assert!(text.contains("\n\n### Why it matters\n\n"), "{text}");
        assert!(!text.contains("\n\n\n"));
    }
}
