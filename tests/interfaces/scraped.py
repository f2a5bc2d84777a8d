"""Watches a running store with a real Prometheus: reads the dashboard's questions and the rules'
alerts. Called by observe.sh; prints a line per test and exits 1 if one failed."""

import json
import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

# What catalogs on PostgreSQL have; tests/store looks for it in theirs.
ON_POSTGRESQL = {"toystore_database_standbys", "toystore_database_standbys_required"}
# An idle machine needs some seconds of each; a busy one is given time.
LIMIT = 90


def ask(base, path, **parameters):
    url = f"{base}{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def eventually(what, done):
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        try:
            found = done()
            if found:
                return found
        except (urllib.error.URLError, ConnectionError, json.JSONDecodeError):
            pass  # It is not up yet.
        time.sleep(0.2)
    raise AssertionError(f"not within {LIMIT} s: {what}")


def questions(dashboard):
    """The PromQL of all panels; $__rate_interval is Grafana's."""
    with open(dashboard) as file:
        panels = json.load(file)["panels"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", [])]
    return [(title, expr.replace("$__rate_interval", "30s")) for title, expr in found]


def alerts(base):
    return {
        (alert["labels"]["alertname"], alert["labels"].get("role", alert["labels"].get("replica")))
        for alert in ask(base, "/api/v1/alerts")["data"]["alerts"]
        if alert["state"] == "firing"
    }


def is_up(base):
    targets = ask(base, "/api/v1/targets")["data"]["activeTargets"]
    unhealthy = [t["labels"]["role"] for t in targets if t["health"] != "up"]
    return len(targets) == 5 and not unhealthy


def every_role_is_scraped(base, _):
    eventually("all targets are up", lambda: is_up(base))


def every_panel_of_the_dashboard_shows_something(base, store):
    asked = questions(os.environ["DASHBOARD"])
    assert len(asked) > 40, f"{len(asked)} questions"

    def empty():
        missing = []
        for title, expr in asked:
            answer = ask(base, "/api/v1/query", query=expr)
            assert answer["status"] == "success", f"{title}: {expr}: {answer}"
            if not answer["data"]["result"]:
                missing.append(f"{title}: {expr}")
        return missing

    end = time.monotonic() + LIMIT
    while missing := empty():
        assert time.monotonic() < end, "no series for " + "; ".join(missing)
        # A purchase and queries, so that there is something to show.
        store.shop()
        time.sleep(0.5)


def every_metric_that_files_name_exists(base, _):
    names = set(ask(base, "/api/v1/label/__name__/values")["data"])
    for file in (os.environ["DASHBOARD"], os.environ["RULES"]):
        with open(file) as text:
            for name in set(re.findall(r"\b(?:toystore|process)_[a-z_]+", text.read())) - ON_POSTGRESQL:
                assert name in names, f"{file} names {name}, which no role has"


def no_alert_fires_while_all_is_well(base, _):
    eventually("rules are evaluated", lambda: all(
        rule["health"] == "ok"
        for group in ask(base, "/api/v1/rules")["data"]["groups"]
        for rule in group["rules"]
    ))
    eventually("no alert fires", lambda: not alerts(base))


def an_alert_fires_for_a_replica_that_is_killed_and_ends_when_it_is_back(base, store):
    store.run("kill", "order-1")
    expected = {("ToystoreRoleDown", "order-1"), ("ToystoreReplicaDown", "1")}
    eventually(f"{expected} fire", lambda: expected <= alerts(base))
    store.run("start", "order-1")
    eventually("the alerts end", lambda: not alerts(base) & expected)


class Store:
    def __init__(self, executable, config, frontend):
        self.executable, self.config, self.frontend = executable, config, frontend

    def run(self, *verb):
        subprocess.run([self.executable, *verb, "--config", self.config], check=True, timeout=120)

    def shop(self):
        subprocess.run(
            [self.executable, "client", "-c", "2", "-n", "10", "-p", "0.5", "--frontend", self.frontend],
            check=True, timeout=120, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )


def main():
    base, executable, config, frontend = sys.argv[1:]
    store = Store(executable, config, frontend)
    failed = 0
    for test in (
        every_role_is_scraped,
        every_panel_of_the_dashboard_shows_something,
        every_metric_that_files_name_exists,
        no_alert_fires_while_all_is_well,
        an_alert_fires_for_a_replica_that_is_killed_and_ends_when_it_is_back,
    ):
        name = test.__name__.replace("_", " ")
        try:
            test(base, store)
            print(f"ok      {name}", flush=True)
        except Exception as error:  # the next test runs all the same
            print(f"FAILED  {name}\n    {type(error).__name__}: {error}", flush=True)
            failed += 1
    sys.exit(failed > 0)


main()
