// The cluster, live: who leads, how far each replica is, what each cache holds, and what changed.

import { count, h, say } from "./dom.js";
import { diagram } from "./diagram.js";

// Events that a screen reader says. The feed has them all.
const SPOKEN = ["selection", "catalog.silent", "catalog.answers", "term.begin", "sales.stopped", "sales.resumed"];
// The full scale of the lease's gauge. The catalog grants about a second.
const LEASE_SCALE_MS = 1_000;
// Whether the person asked for less motion: then gauges do not count down.
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

const STATES = {
  leader: "leads",
  follower: "follows",
  syncing: "is catching up",
  down: "does not answer",
};
const CATALOGS = { active: "rules", standby: "stands by", down: "does not answer" };
const FRONTENDS = { own: "this page's", up: "answers", down: "does not answer", unasked: "not asked yet" };

export function mount(root, context) {
  let frozen = null;
  let said = context.live.state.arrivals;
  const openedAt = Date.now();
  const pause = h("button", { type: "button", class: "block plain pause", "aria-pressed": "false", click: togglePause }, "Pause");
  const facts = factsPanel();
  const drawing = diagram();
  const shapes = legend();
  const replicas = replicasPanel();
  const caches = cachesPanel();
  const feed = feedPanel();
  root.append(
    h("div", { class: "view-head" }, h("h1", {}, "Cluster"), pause),
    facts.element,
    h("div", { class: "cluster" },
      h("section", { class: "block-panel drawing", "aria-label": "Roles and links" }, drawing.element, shapes.element),
      feed.element,
      replicas.element,
      caches.element,
    ),
  );

  function togglePause() {
    frozen = frozen ? null : context.live.state;
    pause.setAttribute("aria-pressed", String(frozen !== null));
    context.say(frozen ? "Paused. The store goes on, and so does its record." : "Live again.");
    show();
  }

  function show() {
    const { state } = context.live;
    const shown = frozen ?? state;
    const missed = frozen ? state.arrivals - frozen.arrivals : 0;
    say(pause, frozen ? `Go on${missed > 0 ? ` (${missed} new)` : ""}` : "Pause");
    root.classList.toggle("is-frozen", frozen !== null);
    root.classList.toggle("is-lost", !frozen && state.mode === "lost");
    speak(state);
    if (!shown.cluster) return;
    const view = { ...shown.cluster, isKnown: frozen !== null || state.mode !== "lost" };
    facts.show(view);
    drawing.show(view);
    shapes.show(view);
    replicas.show(view);
    caches.show(view);
    feed.show(shown);
    showLeases();
  }

  function showLeases() {
    const shown = frozen ?? context.live.state;
    const { cluster, clusterAt } = shown;
    if (!cluster) return;
    const passed = frozen ? 0 : Date.now() - clusterAt;
    caches.showLeases(cluster, passed);
  }

  /** Has a screen reader say who leads and who is gone. What was before the page opened is past. */
  function speak({ feed: events, arrivals }) {
    if (arrivals === said) return;
    const fresh = events.filter(({ arrival, name, at_ms: at }) => arrival > said && SPOKEN.includes(name) && at > openedAt);
    const told = fresh.map(({ text }) => text);
    if (told.length > 0) context.say(told.reverse().join(". "));
    said = arrivals;
  }

  const stop = context.live.subscribe(show);
  const timer = setInterval(showLeases, 100);
  const observer = new ResizeObserver(([entry]) => drawing.fit(entry.contentRect.width));
  observer.observe(drawing.element);
  return () => {
    stop();
    clearInterval(timer);
    observer.disconnect();
  };
}

function factsPanel() {
  const fact = (label) => {
    const value = h("dd", {}, "\u2013");
    return { value, element: h("div", { class: "fact" }, h("dt", {}, label), value) };
  };
  const [leader, epoch, orders, sales] = ["Leader", "Epoch", "Orders", "Sales"].map(fact);
  const element = h("dl", { class: "facts" }, leader.element, epoch.element, orders.element, sales.element);
  return {
    element,
    show({ leader: id, epoch: number, catalog, replicas, stopped, isKnown }) {
      say(leader.value, id === null ? "none" : `order-${id}`);
      say(epoch.value, String(number));
      const lasts = [catalog.last_order, ...replicas.map((replica) => replica.last_order)];
      say(orders.value, String(Math.max(-1, ...lasts.filter((last) => last !== null)) + 1));
      const cannot = stopped ?? (catalog.state === "down" ? "no catalog" : id === null ? "no leader" : null);
      say(sales.value, !isKnown ? "not known" : (cannot ?? "open"));
      sales.value.classList.toggle("is-long", (cannot ?? "").length > 14);
      sales.element.dataset.state = isKnown && !cannot ? "good" : "bad";
      leader.element.dataset.state = id === null ? "bad" : "good";
    },
  };
}

function replicasPanel() {
  const body = h("tbody", {});
  const element = h("section", { class: "block-panel replicas", "aria-labelledby": "replicas-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "replicas-title" }, "Roles")),
    h("div", { class: "scroller", tabindex: 0, role: "group", "aria-label": "Table of roles" },
      h("table", { "aria-labelledby": "replicas-title" },
        h("thead", {}, h("tr", {}, ["Role", "State", "Last order", "Behind", "Address"].map((text) => h("th", { scope: "col" }, text)))),
        body,
      ),
    ),
  );
  const rows = new Map();
  function row(name) {
    if (!rows.has(name)) {
      const cells = Array.from({ length: 4 }, () => h("td", {}));
      const mark = h("span", { class: "role-mark", "aria-hidden": "true" });
      const element = h("tr", {}, h("th", { scope: "row" }, mark, name), cells);
      body.append(element);
      rows.set(name, { mark, cells, element });
    }
    return rows.get(name);
  }
  return {
    element,
    show({ catalog, replicas, frontends }) {
      const journal = catalog.last_order;
      const set = (name, shape, state, texts) => {
        const { mark, cells, element: line } = row(name);
        mark.dataset.shape = shape;
        line.dataset.state = state;
        texts.forEach((text, place) => say(cells[place], text));
      };
      for (const frontend of frontends ?? []) {
        set(frontend.role, "frontend", frontend.state, [FRONTENDS[frontend.state], "", "", frontend.address]);
      }
      for (const { id, state, address } of catalog.processes ?? []) {
        const last = state === "active" ? text(journal) : "";
        set(`catalog-${id}`, "catalog", state === "down" ? "down" : "up", [CATALOGS[state], last, "", address]);
      }
      if (!catalog.processes?.length) set("catalog", "catalog", catalog.state, [catalog.state === "up" ? "answers" : "does not answer", text(journal), "", catalog.address]);
      for (const { id, address, state, last_order: last } of replicas) {
        const behind = state === "down" || journal === null ? "" : String(Math.max(0, journal - (last ?? -1)));
        set(`order-${id}`, "order", state, [STATES[state], state === "down" ? "" : text(last), behind, address]);
      }
    },
  };
}

const text = (number) => (number === null || number === undefined ? "\u2013" : String(number));

/** All front-ends; only this one, if it names no others. */
function all(frontends, frontend, cache) {
  return frontends?.length ? frontends : [{ role: frontend, state: "own", cache }];
}

function leaseInWords(cache, ms) {
  if (!cache) return "\u00a0";
  if (!cache.enabled) return "Without a cache there is no lease.";
  if (ms === 0) return "No lease: it answers nothing from its cache";
  return isStill.matches ? "Lease: it runs, and is renewed all the time" : `Lease: ${(ms / 1000).toFixed(1)} s, if it were not renewed`;
}

function cachesPanel() {
  const list = h("ul", { class: "caches" });
  const element = h("section", { class: "block-panel caches-panel", "aria-labelledby": "caches-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "caches-title" }, "Caches")),
    list,
  );
  const cards = new Map();
  function card(role) {
    if (!cards.has(role)) {
      const parts = {
        title: h("h3", {}, h("span", { class: "role-mark", "data-shape": "frontend", "aria-hidden": "true" }), role),
        note: h("span", { class: "cache-note" }),
        counts: h("p", { class: "cache-counts" }),
        ratio: h("div", { class: "ratio", "aria-hidden": "true" }, h("span", {})),
        items: h("ul", { class: "chips", "aria-label": `Cached at ${role}` }),
        lease: h("div", { class: "lease-bar", "aria-hidden": "true" }, h("span", {})),
        leaseText: h("p", { class: "lease-text" }, "\u00a0"),
      };
      parts.element = h("li", { class: "cache" }, h("div", { class: "cache-head" }, parts.title, parts.note),
        parts.leaseText, parts.lease, parts.counts, parts.ratio, parts.items);
      list.append(parts.element);
      cards.set(role, parts);
    }
    return cards.get(role);
  }
  return {
    element,
    show({ frontends, frontend, cache }) {
      for (const { role, state, cache: others } of all(frontends, frontend, cache)) {
        const its = state === "own" ? cache : others;
        const parts = card(role);
        parts.element.dataset.state = state;
        say(parts.note, FRONTENDS[state]);
        if (!its) {
          say(parts.counts, state === "down" ? "Its cache went with it." : "Not known.");
          parts.items.replaceChildren();
          parts.ratio.style.setProperty("--fill", 0);
          continue;
        }
        const { hits, misses, invalidations, entries, capacity, items, enabled } = its;
        const asked = hits + misses;
        const share = asked === 0 ? "" : ` (${Math.round((100 * hits) / asked)} %)`;
        say(parts.counts, enabled
          ? `${count(hits, "hit")}${share} · ${misses} ${misses === 1 ? "miss" : "misses"} · ${count(invalidations, "invalidation")} · holds ${entries} of ${capacity}`
          : "The cache is turned off.");
        parts.ratio.style.setProperty("--fill", asked === 0 ? 0 : hits / asked);
        const names = items.slice(0, 24);
        const key = names.join("\n");
        if (parts.items.dataset.key !== key) {
          parts.items.dataset.key = key;
          const more = entries - names.length;
          parts.items.replaceChildren(...names.map((name) => h("li", {}, name)), ...(more > 0 ? [h("li", { class: "more" }, `and ${more} more`)] : []));
        }
      }
    },
    showLeases({ frontends, frontend, cache }, passed) {
      for (const { role, state, cache: others } of all(frontends, frontend, cache)) {
        const its = state === "own" ? cache : others;
        const { lease, leaseText } = card(role);
        const ms = Math.max(0, (its?.lease_ms ?? 0) - passed);
        const fill = String(isStill.matches ? Math.sign(ms) : Math.min(1, ms / LEASE_SCALE_MS));
        if (lease.style.getPropertyValue("--fill") !== fill) lease.style.setProperty("--fill", fill);
        say(leaseText, leaseInWords(its, ms));
      }
    },
  };
}

function feedPanel() {
  const list = h("ol", { class: "feed", tabindex: 0, "aria-label": "Events, newest first" });
  const last = h("li", { class: "feed-end" });
  const rows = new Map();
  const element = h("section", { class: "block-panel feed-panel", "aria-labelledby": "feed-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "feed-title" }, "What happened")),
    list,
  );
  list.append(last);
  return {
    element,
    show({ feed, unkept, isRecorded }) {
      const keys = new Set(feed.map(({ key }) => key));
      for (const [key, old] of rows) {
        if (!keys.has(key)) {
          old.remove();
          rows.delete(key);
        }
      }
      feed.forEach((event, place) => {
        if (!rows.has(event.key)) rows.set(event.key, row(event));
        const item = rows.get(event.key);
        if (list.children[place] !== item) list.insertBefore(item, list.children[place]);
      });
      say(last, lastWords(feed.length, unkept, isRecorded));
      last.hidden = last.textContent === "";
    },
  };
}

/** What the feed ends with: what it does not have, and why. */
function lastWords(shown, unkept, isRecorded) {
  if (!isRecorded) return "Nothing is recorded: roles.toml has events = 0 in [trace].";
  if (unkept > 0) return `${count(unkept, "earlier event")} ${unkept === 1 ? "is" : "are"} not kept any more`;
  return shown === 0 ? "Nothing has changed yet." : "";
}

function row({ at_ms: at, name, role, text: told, dropped }) {
  const date = new Date(at);
  const time = `${date.toLocaleTimeString("en-GB")}.${String(date.getMilliseconds()).padStart(3, "0")}`;
  const shape = /^[a-z]+/.exec(role)[0];
  return h("li", { "data-name": name, "data-dropped": dropped ?? null },
    h("time", { datetime: date.toISOString() }, time),
    h("span", { class: "feed-role" }, h("span", { class: "role-mark", "data-shape": shape, "aria-hidden": "true" }), role),
    h("span", { class: "feed-text" }, told.replace(/^./, (letter) => letter.toUpperCase())),
  );
}

function legend() {
  const entry = (shape, state, label) =>
    h("li", {}, h("span", { class: "role-mark", "data-shape": shape, "data-state": state, "aria-hidden": "true" }), label);
  const standby = entry("catalog", "standby", "stands by");
  standby.hidden = true;
  const element = h("ul", { class: "legend", "aria-label": "Shapes" },
    entry("frontend", "up", "front-end"), entry("catalog", "up", "catalog"), standby, entry("order", "follower", "replica"),
    entry("order", "syncing", "catching up"), entry("order", "down", "no answer"));
  return {
    element,
    show({ catalog }) {
      standby.hidden = !catalog.processes?.length;
    },
  };
}
