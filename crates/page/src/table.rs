use maud::{Markup, Render, html};

use crate::format::{clean, count, number};

/// A column of a [`Table`].
#[derive(Clone, Debug)]
pub struct Column {
    name: String,
    is_number: bool,
}

impl Column {
    /// A left-aligned column.
    pub fn text(name: impl Into<String>) -> Self {
        Column { name: name.into(), is_number: false }
    }

    /// A right-aligned column with digits of equal width.
    pub fn number(name: impl Into<String>) -> Self {
        Column { name: name.into(), is_number: true }
    }
}

/// A cell: its text, and optionally a smaller remark such as an interval.
#[derive(Clone, Debug, Default)]
pub struct TableCell {
    text: String,
    remark: Option<String>,
    is_code: bool,
}

impl TableCell {
    /// A cell with this text.
    pub fn new(text: impl Into<String>) -> Self {
        TableCell { text: text.into(), remark: None, is_code: false }
    }

    /// Text from a file, in a fixed-width font.
    pub fn code(text: impl Into<String>) -> Self {
        TableCell { text: text.into(), remark: None, is_code: true }
    }

    /// Adds a smaller remark behind the text.
    pub fn remark(mut self, remark: impl Into<String>) -> Self {
        self.remark = Some(remark.into());
        self
    }
}

impl From<&str> for TableCell {
    fn from(text: &str) -> Self {
        TableCell::new(text)
    }
}

impl From<String> for TableCell {
    fn from(text: String) -> Self {
        TableCell::new(text)
    }
}

impl From<u64> for TableCell {
    fn from(value: u64) -> Self {
        TableCell::new(count(value))
    }
}

impl From<f64> for TableCell {
    fn from(value: f64) -> Self {
        TableCell::new(number(value))
    }
}

/// A table. On narrow screens it scrolls horizontally; in print its header row repeats.
#[derive(Clone, Debug, Default)]
pub struct Table {
    caption: Option<String>,
    columns: Vec<Column>,
    rows: Vec<Vec<TableCell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Table { caption: None, columns: columns.into_iter().collect(), rows: Vec::new() }
    }

    /// A sentence above the table.
    pub fn caption(mut self, caption: impl Into<String>) -> Self {
        self.caption = Some(caption.into());
        self
    }

    /// Adds a row; it should have a cell for each column.
    pub fn row<C: Into<TableCell>>(mut self, cells: impl IntoIterator<Item = C>) -> Self {
        self.push(cells);
        self
    }

    /// Adds a row in place.
    pub fn push<C: Into<TableCell>>(&mut self, cells: impl IntoIterator<Item = C>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// Whether it has no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl Render for Table {
    fn render(&self) -> Markup {
        let class = |i: usize| {
            if self.columns.get(i).is_some_and(|column| column.is_number) {
                "number"
            } else {
                "text"
            }
        };
        html! {
            div.table-frame tabindex="0" {
                table {
                    @if let Some(caption) = &self.caption { caption { (clean(caption)) } }
                    thead { tr { @for (i, column) in self.columns.iter().enumerate() { th
                        scope="col" class=(class(i)) { (clean(&column.name)) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (i, cell) in row.iter().enumerate() {
                                    td class=(class(i)) {
                                        @if cell.is_code { code { (clean(&cell.text)) } } @else {
                                            (clean(&cell.text)) }
                                        @if let Some(remark) = &cell.remark { " " small {
                                            (clean(remark)) } }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
