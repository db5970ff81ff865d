//! Aligned columns that fit the terminal.

use super::text::{cut, width};

/// Blank columns between two columns.
const GAP: usize = 2;

/// How a column behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Never cut.
    Whole,
    /// Never cut, and its cells end at the right.
    Right,
    /// May be cut down to this many columns when the line is too long; the widest of them first.
    Shrinks(usize),
    /// The same, but only when the columns that shrink before are at their least.
    ShrinksLast(usize),
}

/// How wide the columns of a table are that is printed in parts: no part makes them narrower.
#[derive(Debug, Default)]
pub struct Widths(Vec<usize>);

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Fit)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(columns: &[(&'static str, Fit)]) -> Self {
        Self { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Appends a row with a cell for each column; cells must be free of control characters.
    pub fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.columns.len());
        self.rows.push(cells);
    }

    /// The lines, the headings first, each at most `columns` wide as far as shrinking allows. `paint` may colour
    /// a cell once it is padded; it is given the row's index, the column's and the padded cell.
    pub fn lines(&self, columns: usize, paint: impl Fn(usize, usize, String) -> String) -> Vec<String> {
        self.lines_below(&mut Widths::default(), columns, paint)
    }

    /// The same as a further part of a table: without headings, and as wide as what stands above it.
    pub fn lines_below(
        &self,
        above: &mut Widths,
        columns: usize,
        paint: impl Fn(usize, usize, String) -> String,
    ) -> Vec<String> {
        let is_first = above.0.is_empty();
        let mut widths = self.widths();
        above.0.resize(widths.len(), 0);
        widths.iter_mut().zip(&above.0).for_each(|(width, above)| *width = (*width).max(*above));
        above.0.clone_from(&widths);
        self.shrink(&mut widths, columns);
        let headings: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let heading = is_first.then(|| self.line(&headings, &widths, |_, cell| cell));
        let rows = self.rows.iter().enumerate();
        let rows =
            rows.map(|(row, cells)| self.line(cells, &widths, |column, cell| paint(row, column, cell)));
        heading.into_iter().chain(rows).collect()
    }

    fn line(&self, cells: &[String], widths: &[usize], paint: impl Fn(usize, String) -> String) -> String {
        let mut line = String::new();
        let last = cells.iter().rposition(|cell| !cell.is_empty()).unwrap_or(0);
        for (at, (cell, (_, fit))) in cells.iter().zip(&self.columns).enumerate().take(last + 1) {
            let shown = cut(cell, widths[at]);
            let pad = " ".repeat(widths[at].saturating_sub(width(&shown)));
            if at > 0 {
                line.push_str(&" ".repeat(GAP));
            }
            match fit {
                Fit::Right => line.push_str(&(pad + &paint(at, shown.into_owned()))),
                // No blanks at the end of a line.
                _ if at == last => line.push_str(&paint(at, shown.into_owned())),
                _ => line.push_str(&(paint(at, shown.into_owned()) + &pad)),
            }
        }
        line
    }

    /// The widest cell of each column.
    fn widths(&self) -> Vec<usize> {
        let names = self.columns.iter().enumerate();
        names
            .map(|(at, (name, _))| {
                self.rows.iter().map(|row| width(&row[at])).chain([width(name)]).max().unwrap_or(0)
            })
            .collect()
    }

    /// Narrows the widest shrinking column until the line fits.
    fn shrink(&self, widths: &mut [usize], columns: usize) {
        let gaps = GAP * self.columns.len().saturating_sub(1);
        while widths.iter().sum::<usize>() + gaps > columns {
            let widest = self.columns.iter().enumerate().filter_map(|(at, (_, fit))| match fit {
                Fit::Shrinks(least) if widths[at] > *least => Some((true, widths[at], at)),
                Fit::ShrinksLast(least) if widths[at] > *least => Some((false, widths[at], at)),
                _ => None,
            });
            let Some((_, _, at)) = widest.max() else { break };
            widths[at] -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Table {
        let mut table = Table::new(&[
            ("ID", Fit::Whole),
            ("NOTE", Fit::Shrinks(6)),
            ("TASKS", Fit::Right),
            ("ERROR", Fit::Shrinks(6)),
        ]);
        table.row(vec!["a-1".into(), "short".into(), "1/4".into(), String::new()]);
        table.row(vec![
            "b-200".into(),
            "a rather long note".into(),
            "12/12".into(),
            "exit code 1, no more".into(),
        ]);
        table
    }

    fn plain(table: &Table, columns: usize) -> Vec<String> {
        table.lines(columns, |_, _, cell| cell)
    }

    #[test]
    fn columns_are_aligned_and_lines_end_without_blanks() {
        assert_eq!(
            plain(&sample(), 80),
            [
                "ID     NOTE                TASKS  ERROR",
                "a-1    short                 1/4",
                "b-200  a rather long note  12/12  exit code 1, no more",
            ]
        );
    }

    #[test]
    fn the_widest_columns_give_way_until_the_line_fits() {
        let lines = plain(&sample(), 40);
        assert_eq!(lines[2], "b-200  a rather lo…  12/12  exit code 1…");
        assert!(lines.iter().all(|line| width(line) <= 40), "{lines:#?}");
    }

    #[test]
    fn what_must_stay_whole_stays_whole_on_a_narrow_terminal() {
        let lines = plain(&sample(), 10);
        assert_eq!(lines[2], "b-200  a rat…  12/12  exit …");
    }

    #[test]
    fn wide_characters_count_as_two_columns() {
        let mut table = Table::new(&[("NAME", Fit::Whole), ("N", Fit::Right)]);
        table.row(vec!["漢字".into(), "1".into()]);
        table.row(vec!["abcde".into(), "2".into()]);
        assert_eq!(plain(&table, 80), ["NAME   N", "漢字   1", "abcde  2"]);
    }

    #[test]
    fn a_further_part_has_no_headings_and_stands_below_the_first() {
        let mut widths = Widths::default();
        let first = sample().lines_below(&mut widths, 80, |_, _, cell| cell);
        let mut more = Table::new(&sample().columns);
        more.row(vec!["c".into(), "x".into(), "2/2".into(), "e".into()]);
        assert_eq!(
            more.lines_below(&mut widths, 80, |_, _, cell| cell),
            ["c      x                     2/2  e"]
        );
        assert_eq!(first, plain(&sample(), 80));
    }

    #[test]
    fn colour_does_not_disturb_the_alignment() {
        let lines =
            sample().lines(80, |_, column, cell| if column == 0 { format!("<{cell}>") } else { cell });
        assert_eq!(lines[1], "<a-1>    short                 1/4");
    }
}
