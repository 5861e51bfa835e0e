//! Medians, ratios and the table that is printed.

use std::fmt::Write;

use crate::load::Report;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// At most this many times the base's figure.
    Ratio(f64),
    /// At most this.
    Value(f64),
}

/// A further figure of a case.
#[derive(Debug, Clone, Copy)]
pub struct Note {
    /// What it is, with its unit.
    pub label: &'static str,
    /// Its name in the report.
    pub figure: &'static str,
    /// What it is divided by.
    pub scale: f64,
    /// The most it should be.
    pub most: Option<f64>,
}

/// What one contestant of a case has reached.
#[derive(Debug)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// A report for each round that went well.
    pub reports: Vec<Report>,
    /// Why the last round that failed did.
    pub failure: Option<String>,
    /// What it should reach.
    pub goal: Option<Goal>,
}

impl Row {
    /// The median of a figure over the rounds.
    pub fn median(&self, figure: &str) -> Option<f64> {
        let mut values: Vec<f64> = self
            .reports
            .iter()
            .filter_map(|report| report.get(figure))
            .collect();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        match values.len() {
            0 => None,
            odd if odd % 2 == 1 => Some(values[middle]),
            _ => Some((values[middle - 1] + values[middle]) / 2.0),
        }
    }

    /// A note with its value; none where no report has it.
    fn note(&self, note: &Note) -> Option<String> {
        let value = self.median(note.figure)? / note.scale;
        let goal = goal(note.most.map(Goal::Value), value, None);
        let shown = format!("{} {} {goal}", note.label, number(value));
        Some(shown.trim_end().to_owned())
    }
}

/// Notes that fit beside each other.
const NOTES_PER_LINE: usize = 4;

/// What is written above the columns.
pub fn head() -> String {
    format!(
        "{:<51} {:<20} {:>9} {:>6}  {:<13} {:>10} {:>9} {:>9}\n{}\n",
        "case",
        "server",
        "median",
        "ratio",
        "goal",
        "thousand/s",
        "p50 ms",
        "p99 ms",
        "-".repeat(135)
    )
}

/// The rows of one case; the first is the base of the ratios. `figure` is shown divided by `scale`, and `notes` below
/// each row.
pub fn section(title: &str, figure: &str, scale: f64, rows: &[Row], notes: &[Note]) -> String {
    let base = rows.first().and_then(|row| row.median(figure));
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let title = if at == 0 { title } else { "" };
        let _ = write!(text, "{title:<51} {:<20} ", row.name);
        let Some(value) = row.median(figure) else {
            let _ = writeln!(
                text,
                "failed: {}",
                row.failure.as_deref().unwrap_or("no figure")
            );
            continue;
        };
        let ratio = base.filter(|base| *base > 0.0).map(|base| value / base);
        let shown = ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let goal = goal(row.goal, value / scale, ratio);
        let _ = write!(text, "{:>9} {shown:>6}  {goal:<13}", number(value / scale));
        for (figure, scale) in [
            ("messages_per_second", 1e3),
            ("p50_us", 1e3),
            ("p99_us", 1e3),
        ] {
            let width = if figure == "messages_per_second" {
                10
            } else {
                9
            };
            let shown = row
                .median(figure)
                .filter(|value| *value > 0.0)
                .map(|value| number(value / scale));
            let _ = write!(text, " {:>width$}", shown.unwrap_or_default());
        }
        if let Some(failure) = &row.failure {
            let _ = write!(text, "  (a round failed: {failure})");
        }
        text.push('\n');
        for line in notes.chunks(NOTES_PER_LINE) {
            let shown: Vec<String> = line.iter().filter_map(|note| row.note(note)).collect();
            if !shown.is_empty() {
                let _ = writeln!(text, "{:<51} {}", "", shown.join("; "));
            }
        }
    }
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn goal(goal: Option<Goal>, value: f64, ratio: Option<f64>) -> String {
    let (reached, most) = match goal {
        None => return String::new(),
        Some(Goal::Value(most)) => (Some(value), most),
        Some(Goal::Ratio(most)) => (ratio, most),
    };
    let mark = match reached {
        None => "unknown",
        Some(reached) if reached <= most => "ok",
        Some(_) => "above",
    };
    format!("<= {most} {mark}")
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value if value >= 1.0 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        value => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, values: &[f64], goal: Option<Goal>) -> Row {
        let report = |value: &f64| Report::parse(&format!("cost={value}"));
        Row {
            name: name.into(),
            reports: values.iter().filter_map(report).collect(),
            failure: None,
            goal,
        }
    }

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_two() {
        assert_eq!(row("", &[9.0, 1.0, 2.0], None).median("cost"), Some(2.0));
        assert_eq!(
            row("", &[9.0, 1.0, 2.0, 4.0], None).median("cost"),
            Some(3.0)
        );
        assert_eq!(row("", &[], None).median("cost"), None);
    }

    #[test]
    fn goals_are_marked_by_ratio_to_the_first_row_or_by_value() {
        let rows = [
            row("bare", &[10.0], None),
            row("close", &[11.0], Some(Goal::Ratio(1.15))),
            row("far", &[12.0], Some(Goal::Ratio(1.15))),
            row("small", &[12.0], Some(Goal::Value(12.0))),
            row("none", &[], None),
        ];
        let text = section("a case", "cost", 1.0, &rows, &[]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("a case") && lines[0].contains("10.0   1.00"));
        assert!(lines[1].contains("1.10  <= 1.15 ok"));
        assert!(lines[2].contains("1.20  <= 1.15 above"));
        assert!(lines[3].contains("<= 12 ok"));
        assert!(lines[4].contains("failed: no figure"));
    }

    #[test]
    fn notes_stand_below_the_rows_that_have_them() {
        let note = |label, figure, most| Note {
            label,
            figure,
            scale: 10.0,
            most,
        };
        let notes = [
            note("cost in tens", "cost", None),
            note("the same", "cost", Some(1.0)),
            note("unknown", "other", Some(1.0)),
        ];
        let rows = [row("one", &[20.0], None), row("none", &[], None)];
        let text = section("a case", "cost", 1.0, &rows, &notes);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3);
        assert_eq!(
            lines[1].trim(),
            "cost in tens 2.00; the same 2.00 <= 1 above"
        );
    }
}
