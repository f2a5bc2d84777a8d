//! Not yet.
use std::path::Path;

use crate::Problem;

pub fn draw(_data: &Path, _figures: &Path) -> Result<(), Problem> {
    Err("not yet".into())
}
