//! A test that what is committed was drawn: every summary and figure comes out of the data beside
//! it, byte for byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::Problem;

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is in the system's folder for such things.
        fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn the_figures_of_the_cache_are_drawn_from_its_data() {
    is_drawn("cache", crate::cache::draw);
}

#[test]
fn the_figures_of_the_sweep_are_drawn_from_its_data() {
    is_drawn("sweep", crate::sweep::draw);
}

#[test]
fn the_figures_of_the_faults_are_drawn_from_their_data() {
    is_drawn("faults", crate::faults::draw);
}

#[test]
fn the_tables_of_the_comparison_are_made_from_its_data() {
    let record = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/data");
    let scratch = Scratch(std::env::temp_dir().join(format!("plots-{}", std::process::id())));
    copy_data(&record, &scratch.0);
    crate::bench::draw(&scratch.0, &scratch.0).expect("the data can be drawn");
    assert_same(&record.join("summary.md"), &scratch.0.join("summary.md"));
}

fn is_drawn(experiment: &str, draw: fn(&Path, &Path) -> Result<(), Problem>) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (record, committed) =
        (repository.join("eval").join(experiment).join("data"), repository.join("docs/figures"));
    let name = format!("plots-{experiment}-{}", std::process::id());
    let scratch = Scratch(std::env::temp_dir().join(name));
    let (data, figures) = (scratch.0.join("data"), scratch.0.join("figures"));
    copy_data(&record, &data);
    fs::create_dir_all(&figures).expect("a folder can be made");
    draw(&data, &figures).expect("the data can be drawn");

    assert_same(&record.join("summary.md"), &data.join("summary.md"));
    let (committed, drawn) = (figures_of(&committed, experiment), figures_of(&figures, experiment));
    assert!(!drawn.is_empty(), "nothing was drawn");
    assert!(
        committed.keys().eq(drawn.keys()),
        "docs/figures has {:?}, and the data give {:?}; eval/{experiment}/run.sh draw draws anew",
        committed.keys(),
        drawn.keys()
    );
    for (name, path) in &committed {
        assert_same(path, &drawn[name]);
    }
}

/// What was measured, without what was made of it.
fn copy_data(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("there are data") {
        let path = entry.expect("a folder can be read").path();
        let target = to.join(path.file_name().expect("a file has a name"));
        if path.is_dir() {
            copy_data(&path, &target);
        } else if path.extension().is_some_and(|extension| extension != "md") {
            fs::copy(&path, &target).expect("data can be copied");
        }
    }
}

/// The figures of an experiment by their names, which begin with its own.
fn figures_of(folder: &Path, experiment: &str) -> BTreeMap<String, PathBuf> {
    let mut figures = BTreeMap::new();
    for entry in fs::read_dir(folder).expect("a folder can be read") {
        let path = entry.expect("a folder can be read").path();
        let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
        if name.starts_with(&format!("{experiment}-")) {
            figures.insert(name, path);
        }
    }
    figures
}

fn assert_same(committed: &Path, drawn: &Path) {
    let read = |path: &Path| fs::read_to_string(path).expect("a summary or figure is text");
    let (is, should) = (read(committed), read(drawn));
    let differs = is.lines().zip(should.lines()).find(|(is, should)| is != should);
    let what = differs.map_or(String::new(), |(is, should)| {
        format!("\n  it has:       {is}\n  the data say: {should}")
    });
    let path = committed.display();
    assert!(is == should, "{path} is not what its data give; draw it anew{what}");
}
