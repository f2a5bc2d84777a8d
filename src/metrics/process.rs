//! The metrics of the process itself, under the names that Prometheus' client libraries use. What
//! the kernel does not tell is left out.

use std::fs;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntGauge, Opts};
use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::count;

/// The place of a field in `/proc/self/stat` behind the name in brackets, less the two before it
/// (`proc_pid_stat(5)` counts from 1).
const fn field(number: usize) -> usize {
    number - 3
}

/// The process's use of its machine.
pub(super) struct ProcessMetrics {
    cpu_seconds: prometheus::Counter,
    start_time: Gauge,
    threads: IntGauge,
    virtual_bytes: IntGauge,
    resident_bytes: IntGauge,
    open_files: IntGauge,
    most_files: IntGauge,
}

impl ProcessMetrics {
    pub(super) fn new() -> Self {
        let gauge = |name: &str, help: &str| {
            IntGauge::with_opts(Opts::new(name, help)).expect("the names are valid")
        };
        let cpu = Opts::new("process_cpu_seconds_total", "Processor time, in seconds.");
        let start = Opts::new(
            "process_start_time_seconds",
            "When the process started, in seconds since 1970.",
        );
        let metrics = Self {
            cpu_seconds: prometheus::Counter::with_opts(cpu).expect("the names are valid"),
            start_time: Gauge::with_opts(start).expect("the names are valid"),
            threads: gauge("process_threads", "Threads."),
            virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory, in bytes."),
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory, in bytes."),
            open_files: gauge("process_open_fds", "Open files."),
            most_files: gauge("process_max_fds", "Files that may be open at once."),
        };
        metrics.start_time.set(started().unwrap_or_default());
        metrics
    }

    #[expect(clippy::cast_precision_loss, reason = "a process does not run for 2^53 seconds")]
    fn read(&self) {
        let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ProcessCPUTime);
        let spent = tv_sec as f64 + tv_nsec as f64 / 1e9;
        self.cpu_seconds.inc_by((spent - self.cpu_seconds.get()).max(0.0));
        if let Some(fields) = stat() {
            let number = |of| fields.get(field(of)).and_then(|field| field.parse::<u64>().ok());
            self.threads.set(count(number(20).unwrap_or_default()));
            self.virtual_bytes.set(count(number(23).unwrap_or_default()));
            let page = page_size() as u64;
            self.resident_bytes.set(count(number(24).unwrap_or_default().saturating_mul(page)));
        }
        if let Some(files) = open_files() {
            self.open_files.set(count(files));
        }
        if let Some(most) = getrlimit(Resource::Nofile).current {
            self.most_files.set(count(most));
        }
    }

    fn all(&self) -> [&dyn Collector; 7] {
        [
            &self.cpu_seconds,
            &self.start_time,
            &self.threads,
            &self.virtual_bytes,
            &self.resident_bytes,
            &self.open_files,
            &self.most_files,
        ]
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.all().iter().flat_map(|metric| metric.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.all().iter().flat_map(|metric| metric.collect()).collect()
    }
}

/// How many files are open. Linux 6.2 and later give it as the size of their folder. Older ones
/// give 0, and to count a thousand entries takes longer than all other metrics.
fn open_files() -> Option<u64> {
    const FOLDER: &str = "/proc/self/fd";
    match fs::metadata(FOLDER).ok()?.len() {
        // One of them reads the folder.
        0 => Some(fs::read_dir(FOLDER).ok()?.count().saturating_sub(1) as u64),
        files => Some(files),
    }
}

/// The fields of `/proc/self/stat` from the third on. The second one, the name, may hold anything.
fn stat() -> Option<Vec<String>> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    let (_name, rest) = text.rsplit_once(')')?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// When this process started, in seconds since 1970.
fn started() -> Option<f64> {
    let since_boot: u64 = stat()?.get(field(22))?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot = machine.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + ticks(since_boot))
}

#[expect(clippy::cast_precision_loss, reason = "a machine does not run for 2^53 ticks")]
fn ticks(count: u64) -> f64 {
    count as f64 / clock_ticks_per_second() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_threads_files_memory_and_start() {
        let metrics = ProcessMetrics::new();
        metrics.read();
        assert!(metrics.threads.get() >= 1);
        assert!(metrics.open_files.get() >= 3, "{}", metrics.open_files.get());
        let before = metrics.open_files.get();
        let more: Vec<_> = (0..200).map(|_| fs::File::open("/proc/self/stat").unwrap()).collect();
        metrics.read();
        assert!(metrics.open_files.get() >= before + 100, "{}", metrics.open_files.get());
        drop(more);
        assert!(metrics.resident_bytes.get() > 1 << 20);
        assert!(metrics.virtual_bytes.get() > metrics.resident_bytes.get());
        // Later than 2020, when this was not written yet.
        assert!(metrics.start_time.get() > 1.5e9, "{}", metrics.start_time.get());
        let before = metrics.cpu_seconds.get();
        metrics.read();
        assert!(metrics.cpu_seconds.get() >= before);
    }
}
