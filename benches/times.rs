//! How long each case takes on this machine: `cargo bench -p benches [-- NAME]`.

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for mut case in benches::cases() {
        criterion.bench_function(case.name, |bencher| bencher.iter(|| (case.run)()));
    }
    criterion.final_summary();
}
