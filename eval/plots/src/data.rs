//! CSV files by the names of their columns.

use std::collections::HashMap;
use std::path::Path;

use crate::Problem;

/// A line of a CSV file.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    fields: HashMap<String, String>,
}

/// Reads a CSV file with a header.
pub(crate) fn read(path: &Path) -> Result<Vec<Row>, Problem> {
    let problem = |error: csv::Error| format!("{}: {error}", path.display());
    let mut reader = csv::Reader::from_path(path).map_err(problem)?;
    let mut rows = Vec::new();
    for fields in reader.deserialize() {
        rows.push(Row { fields: fields.map_err(problem)? });
    }
    if rows.is_empty() {
        return Err(format!("{} has no rows", path.display()).into());
    }
    Ok(rows)
}

impl Row {
    /// A field as text.
    pub(crate) fn text(&self, column: &str) -> Result<&str, Problem> {
        let field = self.fields.get(column);
        Ok(field.ok_or_else(|| format!("there is no column {column}"))?)
    }

    /// A field as a number. `None` if it is empty.
    pub(crate) fn figure(&self, column: &str) -> Result<Option<f64>, Problem> {
        match self.text(column)? {
            "" => Ok(None),
            text => {
                let number = text.parse().map_err(|_| format!("{column} is '{text}'"))?;
                Ok(Some(number))
            }
        }
    }

    /// A field as a number that has to be there.
    pub(crate) fn number(&self, column: &str) -> Result<f64, Problem> {
        Ok(self.figure(column)?.ok_or_else(|| format!("{column} is empty"))?)
    }
}

/// The different values of a column, the least first.
pub(crate) fn values(rows: &[Row], column: &str) -> Result<Vec<f64>, Problem> {
    let mut values = rows.iter().map(|row| row.number(column)).collect::<Result<Vec<_>, _>>()?;
    values.sort_by(f64::total_cmp);
    values.dedup();
    Ok(values)
}
