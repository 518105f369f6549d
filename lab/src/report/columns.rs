//! Rows of text in aligned columns; colours take no room. Pure.

/// Each column as wide as its widest cell, two blanks between them, none at the end of a line.
pub fn columns(rows: &[Vec<String>]) -> String {
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |at: usize| {
        rows.iter()
            .filter_map(move |row| row.get(at))
            .map(|it| shown(it))
    };
    let widths: Vec<usize> = (0..count).map(|at| width(at).max().unwrap_or(0)).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line += cell;
            line += &" ".repeat(width - shown(cell) + 2);
        }
        out += line.trim_end();
        out.push('\n');
    }
    out
}

/// Characters of a cell that a terminal shows.
fn shown(cell: &str) -> usize {
    let stripped = anstream::adapter::strip_str(cell).to_string();
    stripped.chars().count()
}
