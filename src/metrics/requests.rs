//! The requests that a server answers: how many, with which status, and how long they took, by
//! route.
//!
//! A request that is answered from memory takes some microseconds, so that counting must take a
//! small part of one. Each worker thread counts for itself, so that the threads do not take the
//! counters from one another's caches; the sum is made at a scrape.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Histogram, LabelPair, Metric, MetricFamily, MetricType};

use super::SECONDS;

const TOTAL: &str = "toystore_http_requests_total";
const TOTAL_HELP: &str = "Requests that were answered, by route and HTTP status.";
const SECONDS_NAME: &str = "toystore_http_request_duration_seconds";
const SECONDS_HELP: &str = "Time from a request's head to its answer's, by route.";

/// The route of requests that match none.
const OTHER: &str = "other";
/// The statuses that the store answers; all further ones count as the last, 0.
const STATUSES: [u16; 17] =
    [200, 204, 304, 400, 401, 403, 404, 405, 408, 409, 413, 421, 422, 429, 431, 503, 0];

/// The requests of all worker threads. Clones count for the same server.
#[derive(Clone)]
pub struct Requests {
    templates: Vec<&'static str>,
    threads: Arc<Mutex<Vec<Arc<RequestsOfThread>>>>,
    descriptions: [Desc; 2],
}

/// The requests of one worker thread.
pub struct RequestsOfThread {
    /// The last one is for all requests that match no other.
    routes: Vec<Route>,
}

/// The requests of one route.
#[derive(Default)]
struct Route {
    /// Such as `/products/{name}`.
    template: &'static str,
    statuses: [AtomicU64; STATUSES.len()],
    /// By bucket, not cumulative; the last one is beyond all bounds.
    buckets: [AtomicU64; SECONDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What all threads counted of a route.
#[derive(Default)]
struct Sum {
    statuses: [u64; STATUSES.len()],
    buckets: [u64; SECONDS.len() + 1],
    nanoseconds: u64,
}

impl Requests {
    /// No request yet. The routes have these templates.
    ///
    /// # Panics
    ///
    /// Never: the names are valid.
    #[must_use]
    pub(super) fn new(templates: &[&'static str]) -> Self {
        let description = |name: &str, help: &str, labels: &[&str]| {
            let labels = labels.iter().map(ToString::to_string).collect();
            Desc::new(name.to_owned(), help.to_owned(), labels, std::collections::HashMap::new())
                .expect("the name is valid")
        };
        let total = description(TOTAL, TOTAL_HELP, &["route", "code"]);
        let seconds = description(SECONDS_NAME, SECONDS_HELP, &["route"]);
        let templates = templates.iter().copied().chain([OTHER]).collect();
        Self { templates, threads: Arc::default(), descriptions: [total, seconds] }
    }

    /// Adds a worker thread.
    pub fn of_thread(&self) -> Arc<RequestsOfThread> {
        let route = |template: &&'static str| Route { template, ..Route::default() };
        let routes = self.templates.iter().map(route).collect();
        let thread = Arc::new(RequestsOfThread { routes });
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&thread));
        thread
    }

    fn sums(&self) -> BTreeMap<&'static str, Sum> {
        let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
        for thread in self.threads.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            for route in &thread.routes {
                let sum = sums.entry(route.template).or_default();
                let counted = sum.statuses.iter_mut().zip(&route.statuses);
                let timed = sum.buckets.iter_mut().zip(&route.buckets);
                for (sum, count) in counted.chain(timed) {
                    *sum += count.load(Ordering::Relaxed);
                }
                sum.nanoseconds += route.nanoseconds.load(Ordering::Relaxed);
            }
        }
        // Of the calls between roles, a role answers some.
        let is_shown = |template: &str, sum: &Sum| {
            !template.starts_with("/internal/") || sum.buckets.iter().any(|count| *count > 0)
        };
        sums.retain(|template, sum| is_shown(template, sum));
        sums
    }
}

impl RequestsOfThread {
    /// Returns which route a request's path has, as [`RequestsOfThread::answered`] takes it.
    #[must_use]
    pub fn route_of(&self, path: &str) -> usize {
        let others = self.routes.len() - 1;
        self.routes[..others].iter().position(|route| fits(route.template, path)).unwrap_or(others)
    }

    /// Counts a request that was answered.
    pub fn answered(&self, route: usize, status: u16, took: Duration) {
        let route = &self.routes[route];
        let others = STATUSES.len() - 1;
        let place = STATUSES.iter().position(|known| *known == status).unwrap_or(others);
        route.statuses[place].fetch_add(1, Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        let bucket = SECONDS.iter().position(|bound| seconds <= *bound).unwrap_or(SECONDS.len());
        route.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        route.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }
}

/// Whether a path is one of a route: the same or, for a template with a parameter, one that begins
/// as it does.
fn fits(template: &str, path: &str) -> bool {
    match template.split_once('{') {
        Some((beginning, _)) => path.starts_with(beginning),
        None => path == template,
    }
}

impl Collector for Requests {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut total = family(TOTAL, TOTAL_HELP, MetricType::COUNTER);
        let mut seconds = family(SECONDS_NAME, SECONDS_HELP, MetricType::HISTOGRAM);
        for (template, sum) in self.sums() {
            let route = label("route", template);
            for (status, count) in STATUSES.iter().zip(sum.statuses) {
                // A route that never answers 413 is not shown to have done so no times.
                if count == 0 && *status != 200 {
                    continue;
                }
                let code = if *status == 0 { OTHER.to_owned() } else { status.to_string() };
                let mut counter = Counter::default();
                counter.set_value(as_float(count));
                let mut metric = Metric::from_label(vec![label("code", &code), route.clone()]);
                metric.set_counter(counter);
                total.mut_metric().push(metric);
            }
            let mut metric = Metric::from_label(vec![route]);
            metric.set_histogram(sum.histogram());
            seconds.mut_metric().push(metric);
        }
        vec![total, seconds]
    }
}

impl Sum {
    fn histogram(&self) -> Histogram {
        let mut histogram = Histogram::default();
        let mut count = 0;
        let mut buckets = Vec::new();
        for (bound, in_bucket) in SECONDS.iter().zip(self.buckets) {
            count += in_bucket;
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(count);
            buckets.push(bucket);
        }
        histogram.set_bucket(buckets);
        histogram.set_sample_count(count + self.buckets[SECONDS.len()]);
        histogram.set_sample_sum(Duration::from_nanos(self.nanoseconds).as_secs_f64());
        histogram
    }
}

fn family(name: &str, help: &str, kind: MetricType) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

#[expect(clippy::cast_precision_loss, reason = "2^53 requests are more than any process answers")]
fn as_float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;

    use super::*;

    fn text(requests: &Requests) -> String {
        TextEncoder::new().encode_to_string(&requests.collect()).unwrap()
    }

    #[test]
    fn requests_are_counted_by_route_and_never_by_path() {
        let requests = Requests::new(&["/products", "/products/{name}"]);
        let threads: Vec<_> = (0..2).map(|_| requests.of_thread()).collect();
        for (path, status) in [
            ("/products/Tux", 200),
            ("/products/Uno", 404),
            ("/products/", 404),
            ("/products", 200),
            ("/productsX", 404),
            ("/", 777),
        ] {
            for thread in &threads {
                thread.answered(thread.route_of(path), status, Duration::from_micros(200));
            }
        }
        let text = text(&requests);
        for line in [
            "toystore_http_requests_total{code=\"200\",route=\"/products/{name}\"} 2\n",
            "toystore_http_requests_total{code=\"404\",route=\"/products/{name}\"} 4\n",
            "toystore_http_requests_total{code=\"200\",route=\"/products\"} 2\n",
            "toystore_http_requests_total{code=\"404\",route=\"other\"} 2\n",
            "toystore_http_requests_total{code=\"other\",route=\"other\"} 2\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(!text.contains("Tux"));
    }

    #[test]
    fn durations_are_in_buckets_that_add_up() {
        let requests = Requests::new(&["/cluster"]);
        let thread = requests.of_thread();
        for milliseconds in [1, 1, 2, 60_000] {
            thread.answered(0, 200, Duration::from_millis(milliseconds));
        }
        let text = text(&requests);
        let name = "toystore_http_request_duration_seconds";
        for line in [
            format!("{name}_bucket{{route=\"/cluster\",le=\"0.0005\"}} 0\n"),
            format!("{name}_bucket{{route=\"/cluster\",le=\"0.001\"}} 2\n"),
            format!("{name}_bucket{{route=\"/cluster\",le=\"10\"}} 3\n"),
            format!("{name}_bucket{{route=\"/cluster\",le=\"+Inf\"}} 4\n"),
            format!("{name}_count{{route=\"/cluster\"}} 4\n"),
            format!("{name}_sum{{route=\"/cluster\"}} 60.004\n"),
        ] {
            assert!(text.contains(&line), "{line}{text}");
        }
    }
}
