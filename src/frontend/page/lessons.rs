//! The files of the lessons, which `tests/model` generates (`docs/proof.md` says how), and the
//! sources that they point to.

use super::{CSS, Embedded, JS};

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// What the view of the lessons consists of.
pub(super) const FILES: &[Embedded] = embedded![
    CSS "lessons.css",
    CSS "spacetime.css",
    JS "lesson.js",
    JS "lesson-code.js",
    JS "lesson-runs.js",
    JS "lessons.js",
    JS "spacetime-layout.js",
    JS "spacetime.js",
    JS "topology.js",
    JSON "lessons/index.json",
    JSON "lessons/acknowledged-before-commit.json",
    JSON "lessons/floor-of-fills.json",
    JSON "lessons/drop-before-acknowledgement.json",
    JSON "lessons/holders-only.json",
    JSON "lessons/locked-until-committed.json",
    JSON "lessons/locked-until-published.json",
    JSON "lessons/hits-within-the-lease.json",
    JSON "lessons/lease-from-sending.json",
    JSON "lessons/session-of-fills.json",
    JSON "lessons/restart-waits-for-sessions.json",
    JSON "lessons/session-on-disk-first.json",
    JSON "lessons/on-disk-before-visible.json",
    JSON "lessons/key-looked-up.json",
    JSON "lessons/retry-keeps-its-key.json",
    JSON "lessons/one-transaction.json",
    JSON "lessons/refusal-recorded.json",
    JSON "lessons/body-compared.json",
    JSON "lessons/batch-in-doubt.json",
    JSON "lessons/on-disk-before-acknowledged.json",
    JSON "lessons/live-followers-first.json",
    JSON "lessons/followers-write-first.json",
    JSON "lessons/lost-followers-not-awaited.json",
    JSON "lessons/leaders-behind-fetch.json",
    JSON "lessons/absence-confirmed.json",
    JSON "lessons/epoch-of-batches.json",
    JSON "lessons/nominee-fetches-first.json",
    JSON "lessons/epoch-on-disk-first.json",
    JSON "lessons/deposed-leaders-redirect.json",
    JSON "lessons/misses-are-forgiven.json",
    JSON "lessons/silent-leaders-are-replaced.json",
    JSON "lessons/idle-leaders-are-replaced.json",
    JSON "lessons/replaced-choices-yield.json",
    JSON "lessons/only-the-catalog-is-believed.json",
    JSON "lessons/epochs-grow-by-one.json",
    JSON "lessons/the-record-counts.json",
    JSON "lessons/rows-continue-the-log.json",
    JSON "lessons/foreign-logs-cannot-lead.json",
    JSON "lessons/marker-tells.json",
    JSON "lessons/all-are-heard.json",
    JSON "lessons/evidence-stops.json",
    JSON "lessons/leaders-are-heard.json",
    JSON "lessons/lease-of-reads.json",
    JSON "lessons/claim-after-margin.json",
    JSON "lessons/claim-names-the-beat.json",
    JSON "lessons/fenced-writes.json",
    JSON "lessons/barrier-of-sessions.json",
    JSON "lessons/end-at-doubt.json",
    JSON "lessons/silence-ends-a-term.json",
    JSON "lessons/unanswered-questions-do-not-count.json",
    JSON "lessons/reached-catalogs-go-first.json",
    JSON "lessons/terms-need-an-audience.json",
    JSON "lessons/conversation-1-purchase.json",
    JSON "lessons/conversation-2-cached-read.json",
    JSON "lessons/conversation-3-invalidation.json",
    JSON "lessons/conversation-4-overtaken-fill.json",
    JSON "lessons/conversation-5-retry-under-a-key.json",
    JSON "lessons/conversation-6-leader-killed-in-a-batch.json",
    JSON "lessons/conversation-7-hung-leader.json",
    JSON "lessons/conversation-8-catching-up.json",
];

/// Makes files of the page of files below `src`.
macro_rules! sources {
    ($($path:literal),* $(,)?) => {
        &[$(Embedded {
            name: concat!("src/", $path),
            kind: TEXT,
            content: include_bytes!(concat!("../../", $path)),
        }),*]
    };
}

/// The sources that the lessons point to.
pub(super) const SOURCES: &[Embedded] = sources![
    "catalog/core/batch.rs",
    "catalog/core/history.rs",
    "catalog/core/ruling.rs",
    "catalog/core/sessions.rs",
    "catalog/core/steps.rs",
    "catalog/core/stock.rs",
    "catalog/core/term.rs",
    "catalog/hearings.rs",
    "catalog/journal/marker.rs",
    "catalog/journal/mod.rs",
    "catalog/postgres/statements.rs",
    "catalog/postgres/tenure.rs",
    "catalog/running_term.rs",
    "catalog/service.rs",
    "catalog/tasks.rs",
    "frontend/core/cache.rs",
    "frontend/core/health.rs",
    "frontend/core/selection.rs",
    "frontend/leader.rs",
    "frontend/service.rs",
    "frontend/tasks.rs",
    "order/core/batches.rs",
    "order/core/effects.rs",
    "order/core/followers.rs",
    "order/core/in_flight.rs",
    "order/core/leadership.rs",
    "order/core/log.rs",
    "order/core/mod.rs",
    "order/service.rs",
    "order/tasks.rs",
    "wire/order.rs",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_lesson_is_part_of_the_executable() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/frontend/page/lessons");
        let name = |entry: std::io::Result<fs::DirEntry>| {
            format!("lessons/{}", entry.unwrap().file_name().to_str().unwrap())
        };
        let written: BTreeSet<String> = fs::read_dir(folder).unwrap().map(name).collect();
        let embedded: BTreeSet<String> =
            FILES.iter().filter(|file| file.kind == JSON).map(|file| file.name.into()).collect();
        assert_eq!(written, embedded);
    }

    #[test]
    fn every_source_that_a_lesson_points_to_is_part_of_the_executable() {
        let lessons = FILES.iter().filter(|file| file.kind == JSON && !file.name.contains("index"));
        for file in lessons {
            let lesson: serde_json::Value = serde_json::from_slice(file.content).unwrap();
            for place in lesson["code"].as_array().unwrap() {
                let source = place[0].as_str().unwrap();
                let found = SOURCES.iter().any(|embedded| embedded.name == source);
                assert!(found, "{} points to {source}", file.name);
            }
        }
    }
}
