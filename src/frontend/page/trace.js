// The trace: what every role did for one request, as a space-time diagram; the last requests, and
// any by its id.
//
// `#/trace` has the list, `#/trace/<request id or trace>` one request, `#/trace?last=20` the last
// ones together; `?event=N` is the selected event, `?axis=time` the other axis. A file of events, as
// `toystore trace` writes it, is shown as well: so can be a run of the simulator.

import { count, h, say } from "./dom.js";
import { renderSpacetime } from "./spacetime.js";

/** How often the list is asked for while it is looked at. */
const LIST_INTERVAL_MS = 2000;
/** How often a request that is under way is asked for again. */
const AGAIN_MS = 1000;
/** How a text ends that is about a query which was answered from the cache. */
const HIT = ", from the cache";
/** How many requests are shown together. */
const TOGETHER = 20;

export function mount(root, context) {
  const list = h("ul", { class: "trace-list", "aria-label": "Last requests" });
  const empty = h("p", { class: "trace-empty" }, "No request has been recorded yet. Buy a toy in the shop, or look one up.");
  const told = h("p", { class: "told trace-told", role: "status" });
  const gap = h("p", { class: "told trace-gap", "data-kind": "error", role: "status", hidden: true });
  const title = h("h2", { class: "trace-title", tabindex: "-1" }, "");
  const diagram = h("div", { class: "trace-diagram" });
  const refresh = h("button", { class: "quiet", type: "button", hidden: true, click: () => open(shown.path, shown.query) }, "Ask again");
  const chosen = h("input", { type: "file", class: "visually-hidden", accept: ".jsonl,.json,.txt", change: openFile });
  const choose = h("label", { class: "quiet trace-file" }, chosen, "Open a file");
  const save = h("a", { class: "quiet", hidden: true, download: "events.jsonl" }, "Save the events");
  const field = h("input", { class: "field", id: "trace-id", type: "text", autocomplete: "off", spellcheck: "false", required: true });
  const form = h(
    "form", { class: "trace-find", submit: (event) => { event.preventDefault(); go([field.value.trim()]); } },
    h("label", { for: "trace-id" }, "Request id"), field, h("button", { class: "block plain", type: "submit" }, "Show"),
  );
  root.append(
    h("h1", { class: "visually-hidden" }, "Trace"),
    h(
      "div", { class: "trace" },
      h(
        "aside", { class: "trace-side block-panel", "aria-label": "Requests" },
        form,
        h("div", { class: "panel-head" }, h("h2", {}, "Last requests"), h("a", { class: "quiet", href: `#/trace?last=${TOGETHER}` }, "All together")),
        empty, list,
      ),
      h(
        "section", { class: "trace-main block-panel", "aria-label": "What the store did" },
        h("div", { class: "panel-head" }, title, h("span", { class: "trace-tools" }, refresh, save, choose)),
        told, gap, diagram,
      ),
    ),
  );

  let view = null;
  let shown = { path: [], query: new URLSearchParams() };
  let turn = 0;
  let timer = null;
  let again = null;
  let file = null;
  let isOver = false;

  function go(path, query = new URLSearchParams()) {
    context.address(path, query, { replace: false });
    open(path, query);
  }

  // ---- the list

  async function ask(path) {
    const response = await fetch(path, { cache: "no-store" });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error?.message ?? `status ${response.status}`);
    return body.data;
  }

  async function updateList() {
    clearTimeout(timer);
    try {
      if (!document.hidden) showList((await ask("/trace")).requests);
    } catch (error) {
      say(empty, `The requests cannot be listed: ${error.message}`);
      empty.hidden = false;
    }
    if (!isOver) timer = setTimeout(updateList, LIST_INTERVAL_MS);
  }

  function showList(requests) {
    empty.hidden = requests.length > 0;
    const kept = new Map([...list.children].map((item) => [item.dataset.trace, item]));
    const items = requests.map((request) => {
      const item = kept.get(request.trace) ?? listItem(request);
      kept.delete(request.trace);
      item.update(request);
      return item;
    });
    for (const item of kept.values()) item.remove();
    items.forEach((item, place) => {
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
    });
    markShown();
  }

  function listItem(request) {
    const result = h("span", { class: "trace-result" });
    const age = h("span", { class: "trace-age figure" });
    const link = h(
      "a", { href: `#/trace/${request.trace}`, class: "trace-link", "data-kind": kindOf(request) },
      h("span", { class: "trace-what" }, request.text.replace(HIT, "") || request.name),
      h("span", { class: "trace-name" }, request.text.endsWith(HIT) ? `${nameOf(request)}${HIT}` : nameOf(request)), result, age,
    );
    const item = h("li", { "data-trace": request.trace }, link);
    item.update = (now) => {
      say(result, now.status === null ? "under way" : `${now.status}${now.took_us === null ? "" : `, ${length(now.took_us)}`}`);
      result.dataset.failed = String(now.status !== null && now.status >= 400);
      say(age, `${ago(now.age_us)} ago`);
    };
    return item;
  }

  function markShown() {
    for (const item of list.children) {
      const link = item.firstChild;
      if (item.dataset.trace === shown.path[0] || item.dataset.trace === shown.trace) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }

  // ---- one request

  async function open(path, query) {
    clearTimeout(again);
    turn += 1;
    const own = turn;
    const isOther = path[0] !== shown.path[0] || query.get("last") !== shown.query.get("last");
    shown = { path, query };
    const asks = addressOf(path, query);
    markShown();
    if (!asks) return close("What did the store do?", "Choose a request, or give the X-Request-Id of one. Shown is what every role did for it: an arrow for each message, and marks for what was decided, written to a disk, cached or tried again.");
    if (isOther) {
      // The id is in the field, so that it can be changed.
      if (path[0]) field.value = path[0];
      say(title, path[0] ? "…" : `The last ${query.get("last")} requests`);
      say(told, "Asking every role for its events.");
    }
    try {
      const log = await ask(asks);
      if (own === turn && !isOver) show(log);
    } catch (error) {
      if (own !== turn || isOver) return;
      // A diagram that is there stays: its events are as true as before.
      if (view && !isOther) say(told, `${sentence(error.message)} Shown is what was known before.`);
      else close(path[0] ? "Not shown" : "", `${sentence(error.message)} A store keeps only its last requests.`);
    }
  }

  /** Shows the events of a file, whichever store or seed they are of. */
  async function openFile() {
    const [named] = chosen.files;
    // The same file can be chosen again.
    const text = await named.text();
    chosen.value = "";
    clearTimeout(again);
    turn += 1;
    go([], new URLSearchParams());
    try {
      show(readEvents(text), named.name);
    } catch (error) {
      close("Not shown", `${named.name} is not a file of events: ${error.message}`);
    }
  }

  function close(heading, text) {
    say(title, heading);
    gap.hidden = true;
    told.dataset.kind = "";
    say(told, text);
    view?.destroy();
    view = null;
    refresh.hidden = !addressOf(shown.path, shown.query);
    save.hidden = true;
  }

  function show(log, name = null) {
    const { events, header } = log;
    const asked = events.find((event) => event.kind === "recv" && event.from === "client");
    const answered = events.some((event) => event.kind === "send" && event.to === "client");
    shown.trace = asked?.trace;
    if (name !== null) say(title, header.seed === null ? name : `Seed ${header.seed} of the ${header.source}`);
    else if (shown.path[0]) say(title, asked ? `${asked.name}${asked.detail?.text ? `: ${asked.detail.text}` : ""}` : "A request");
    say(told, summary(log));
    told.dataset.kind = "";
    say(gap, gaps(header));
    gap.hidden = gap.textContent === "";
    const selected = Number.parseInt(shown.query.get("event") ?? "", 10);
    const options = {
      axis: shown.query.get("axis") === "time" ? "time" : "order",
      selected: Number.isNaN(selected) ? null : selected,
      // Before it there may be changes of no request, as when the store has just been started.
      start: events.find(({ trace }) => trace === shown.trace)?.seq ?? null,
      label: `What the store did: ${title.textContent}`,
      onSelect: (event) => note("event", event === null ? null : String(event.seq)),
      onAxis: (axis) => note("axis", axis === "order" ? null : axis),
    };
    if (view) view.update({ log, ...options });
    else view = renderSpacetime(diagram, log, options);
    refresh.hidden = name !== null;
    offerFile(log);
    markShown();
    if (shown.path[0] && asked && !answered) again = setTimeout(() => open(shown.path, shown.query), AGAIN_MS);
  }

  function note(name, value) {
    if (value === null) shown.query.delete(name);
    else shown.query.set(name, value);
    context.address(shown.path, shown.query, { replace: true });
  }

  function offerFile(log) {
    if (file) URL.revokeObjectURL(file);
    const lines = [log.header, ...log.events].map((line) => `${JSON.stringify(line)}\n`);
    file = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    save.setAttribute("href", file);
    save.hidden = false;
  }

  context.onAddress((path, query) => open(path, query));
  updateList();
  open(context.path, context.query);
  return () => {
    isOver = true;
    clearTimeout(timer);
    clearTimeout(again);
    view?.destroy();
    if (file) URL.revokeObjectURL(file);
  };
}

/** Reads events as docs/events.md has them: a line for the header, and one for each event. */
function readEvents(text) {
  const [header, ...events] = text.split("\n").filter((line) => line.trim() !== "").map((line) => JSON.parse(line));
  if (header?.toystore !== "events") throw new Error("its first line is no header of events.");
  if (header.format !== 1) throw new Error(`its format is ${header.format}, and this page reads format 1.`);
  return { header, events };
}

function addressOf(path, query) {
  if (path[0]) return `/trace/${encodeURIComponent(path[0])}`;
  const last = query.get("last");
  return last ? `/trace?last=${encodeURIComponent(last)}` : null;
}

function kindOf(request) {
  if (request.name.startsWith("POST")) return "purchase";
  return request.name.endsWith("orders") ? "order" : "query";
}

function nameOf(request) {
  return { purchase: "purchase", order: "order look-up", query: "query" }[kindOf(request)];
}

/** What a log tells in a sentence: how long, how many messages, which retries and syncs. */
function summary({ events }) {
  const own = events.filter((event) => event.detail?.heartbeat !== true);
  const messages = new Set(own.filter((event) => event.kind === "send").map((event) => event.message)).size;
  const named = (test) => own.filter((event) => event.kind === "local" && test(event.name)).length;
  const retries = named((name) => name === "retry");
  const syncs = named((name) => name === "sync" || name.endsWith("commit"));
  const times = own.map((event) => event.time_us);
  const span = times.length > 0 ? Math.max(...times) - Math.min(...times) : 0;
  const parts = [count(messages, "message"), count(syncs, "sync") + " of a disk"];
  if (retries > 0) parts.push(retries === 1 ? "1 retry" : `${retries} retries`);
  return `${parts.join(", ")} in ${length(span)}.`;
}

/** What is missing of a log. */
function gaps(header) {
  const told = [];
  if (header.missing?.length > 0) told.push(`No answer from ${header.missing.join(" and ")}: what happened there is missing. A process that ends takes its record with it.`);
  if (header.dropped > 0) told.push(`${count(header.dropped, "earlier event")} had no more room.`);
  return told.join(" ");
}

function length(us) {
  if (us < 1000) return `${us} µs`;
  return us < 1_000_000 ? `${(us / 1000).toFixed(1)} ms` : `${(us / 1_000_000).toFixed(2)} s`;
}

function ago(us) {
  const seconds = us / 1_000_000;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min` : `${Math.floor(seconds / 3600)} h`;
}

function sentence(text) {
  const trimmed = text.trim();
  return `${trimmed.charAt(0).toUpperCase()}${trimmed.slice(1)}${/[.!?]$/.test(trimmed) ? "" : "."}`;
}
