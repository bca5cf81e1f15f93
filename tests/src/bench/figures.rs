//! What the benchmark computes from its samples, and how it shows them. No clock and no files.

use std::fmt;

use serde_json::{Value, json};

/// The samples of one benchmark beside one tracer, one of each round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds the sample of the next round.
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    /// The middle one; the mean of the two in the middle if their number is even.
    #[must_use]
    pub fn median(&self) -> Option<f64> {
        self.percentile_pair(0.5)
            .map(|(low, high)| f64::midpoint(low, high))
    }

    /// The smallest sample that a share of all samples does not exceed.
    #[must_use]
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let sorted = self.sorted();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The smallest and the largest one.
    #[must_use]
    pub fn spread(&self) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        Some((*sorted.first()?, *sorted.last()?))
    }

    /// The median of the ratios to the samples of the same rounds. A machine that becomes slower
    /// from round to round changes the samples of a round alike, and so no ratio.
    #[must_use]
    pub fn ratio_to(&self, base: &Self) -> Option<f64> {
        let pairs = self.0.iter().zip(&base.0);
        let pairs = pairs.filter(|(_, base)| **base > 0.0);
        let ratios = pairs.map(|(own, base)| own / base);
        Self(ratios.collect()).median()
    }

    fn sorted(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted
    }

    fn percentile_pair(&self, share: f64) -> Option<(f64, f64)> {
        let sorted = self.sorted();
        let last = sorted.len().checked_sub(1)?;
        let at = share * last as f64;
        let get = |at: f64| sorted.get(at as usize).copied();
        Some((get(at.floor())?, get(at.ceil())?))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Self {
        Self(samples.into_iter().collect())
    }
}

/// A line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// What was measured: a tracer, a number of pods, a program.
    pub name: String,
    /// The samples, or why there are none.
    pub figure: Result<Samples, String>,
}

/// One benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// The name on the command line.
    pub benchmark: &'static str,
    /// What was measured.
    pub title: String,
    /// The unit of the samples.
    pub unit: &'static str,
    /// Whether the other lines are compared with the first one.
    pub compares: bool,
    /// The lines.
    pub lines: Vec<Line>,
}

impl Table {
    /// The ratio of a line to the first one; `None` for the first one.
    fn ratio(&self, index: usize) -> Option<f64> {
        let base = self.lines.first()?.figure.as_ref().ok()?;
        let own = self.lines.get(index)?.figure.as_ref().ok()?;
        (self.compares && index > 0)
            .then(|| own.ratio_to(base))
            .flatten()
    }

    /// The table as a JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let line = |(index, line): (usize, &Line)| match &line.figure {
            Ok(samples) => json!({
                "name": line.name,
                "median": samples.median(),
                "spread": samples.spread(),
                "ratio": self.ratio(index),
                "samples": samples.0,
            }),
            Err(reason) => json!({"name": line.name, "reason": reason}),
        };
        let lines: Vec<_> = self.lines.iter().enumerate().map(line).collect();
        json!({
            "benchmark": self.benchmark, "title": self.title, "unit": self.unit, "lines": lines,
        })
    }

    /// The lines that have no sample, although nothing says why.
    #[must_use]
    pub fn empty_lines(&self) -> Vec<&str> {
        let is_empty = |line: &&Line| match &line.figure {
            Ok(samples) => samples.median().is_none(),
            Err(_) => false,
        };
        let empty = self.lines.iter().filter(is_empty);
        empty.map(|line| line.name.as_str()).collect()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}, {}", self.benchmark, self.title, self.unit)?;
        let name = self.lines.iter().map(|line| line.name.chars().count());
        let width = name.max().unwrap_or(0);
        for (index, line) in self.lines.iter().enumerate() {
            write!(f, "  {:<width$}", line.name)?;
            match &line.figure {
                Err(reason) => write!(f, "  {reason}")?,
                Ok(samples) => {
                    let (median, spread) = (samples.median(), samples.spread());
                    let (Some(median), Some((least, most))) = (median, spread) else {
                        writeln!(f, "  no sample")?;
                        continue;
                    };
                    let spread = format!("{}–{}", number(least), number(most));
                    write!(f, "  {:>10}  {spread:>21}", number(median))?;
                    if let Some(ratio) = self.ratio(index) {
                        write!(f, "  ×{ratio:.2}")?;
                    }
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// A number with about three digits that mean something, and commas between thousands.
fn number(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(samples: &[f64]) -> Samples {
        samples.iter().copied().collect()
    }

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(samples(&[]).median(), None);
        assert_eq!(samples(&[7.0]).median(), Some(7.0));
        assert_eq!(samples(&[9.0, 1.0, 2.0]).median(), Some(2.0));
        assert_eq!(samples(&[9.0, 1.0, 2.0, 4.0]).median(), Some(3.0));
    }

    #[test]
    fn a_percentile_is_a_sample() {
        let hundred: Samples = (1..=100).rev().map(f64::from).collect();
        assert_eq!(hundred.percentile(0.99), Some(99.0));
        assert_eq!(hundred.percentile(0.5), Some(50.0));
        assert_eq!(samples(&[3.0, 1.0]).percentile(0.99), Some(3.0));
        assert_eq!(samples(&[]).percentile(0.5), None);
    }

    #[test]
    fn the_spread_is_from_the_least_to_the_most() {
        assert_eq!(samples(&[3.0, 1.0, 2.0]).spread(), Some((1.0, 3.0)));
        assert_eq!(samples(&[]).spread(), None);
    }

    #[test]
    fn a_ratio_compares_the_samples_of_a_round() {
        // The machine becomes ten times slower after the second round.
        let base = samples(&[100.0, 100.0, 1000.0]);
        let own = samples(&[120.0, 121.0, 1200.0]);
        assert_eq!(own.ratio_to(&base), Some(1.2));
        assert_eq!(own.ratio_to(&samples(&[0.0])), None);
    }

    fn table() -> Table {
        let line = |name: &str, figure| Line {
            name: name.into(),
            figure,
        };
        Table {
            benchmark: "kill-self",
            title: "kill of itself".into(),
            unit: "ns",
            compares: true,
            lines: vec![
                line("no tracer", Ok(samples(&[1000.0, 1500.0, 2000.0]))),
                line("pause-trace", Ok(samples(&[1100.0, 1650.0, 2200.0]))),
                line("sysdig", Err("no such engine".into())),
                line("strace", Ok(samples(&[]))),
            ],
        }
    }

    #[test]
    fn a_table_shows_medians_spread_ratios_and_reasons() {
        assert_eq!(
            table().to_string(),
            "kill-self: kill of itself, ns\n  \
               no tracer         1,500            1,000–2,000\n  \
               pause-trace       1,650            1,100–2,200  ×1.10\n  \
               sysdig       no such engine\n  \
               strace       no sample\n"
        );
        assert_eq!(table().empty_lines(), ["strace"]);
    }

    #[test]
    fn the_json_has_what_the_table_has() {
        let json = table().json();
        assert_eq!(json["benchmark"], "kill-self");
        assert_eq!(json["lines"][0]["ratio"], Value::Null);
        assert_eq!(json["lines"][1]["ratio"], 1.1);
        assert_eq!(json["lines"][1]["spread"], json!([1100.0, 2200.0]));
        assert_eq!(json["lines"][1]["samples"], json!([1100.0, 1650.0, 2200.0]));
        assert_eq!(json["lines"][2]["reason"], "no such engine");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(number(2.345_6), "2.35");
        assert_eq!(number(123.4), "123");
        assert_eq!(number(1_234_567.8), "1,234,568");
    }
}
