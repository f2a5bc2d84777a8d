// Faults: kill, stop, resume and start roles, disturb links, and put load on the store.
//
// The processes belong to the supervisor of `toystore up --lab`. It serves this view on an address
// of its own, with a token that it prints; both come in this view's address. The view asks for
// fixed verbs only.

import { count, h, say } from "./dom.js";
import { linksPanel } from "./faults-links.js";

const STATE_MS = 500;
const ANSWER_LIMIT_MS = 20_000;
// How often the plot is drawn for a person who asked for less motion.
const STILL_PLOT_MS = 5_000;
const REMEMBERED = "toystore.lab";
const STATES = { running: "runs", stopped: "is stopped", down: "does not run" };
// Which verbs make sense in which state.
const VERBS = [
  { name: "kill", label: "Kill", from: ["running", "stopped"], hint: "SIGKILL: it ends at once" },
  { name: "stop", label: "Stop", from: ["running"], hint: "SIGSTOP: it hangs and keeps its connections" },
  { name: "continue", label: "Continue", from: ["stopped"], hint: "SIGCONT" },
  { name: "start", label: "Start", from: ["down"], hint: "as a new process" },
];
const shapeOf = (role) => (role.startsWith("frontend") ? "frontend" : role.startsWith("catalog") ? "catalog" : "order");

export function mount(root, context) {
  const lab = labOf(context);
  const head = h("div", { class: "view-head" }, h("h1", {}, "Faults"));
  root.append(head);
  if (!lab) {
    root.append(explanation());
    return () => {};
  }
  const roles = rolesPanel(act);
  const links = linksPanel(act);
  const load = loadPanel(lab, context);
  const told = h("p", { class: "told lab-told", role: "status" });
  head.append(told);
  // What is there is known with the first answer; nothing moves when it comes.
  const panels = h("div", { class: "lab", hidden: true }, roles.element, links.element, load.element);
  root.append(panels);
  tell("waiting", "Asking the laboratory …");
  let timer = null;
  let isOver = false;

  function tell(kind, text) {
    told.dataset.kind = kind;
    say(told, text);
  }

  /** Does one thing after the other, which together are what a person asked for. */
  async function act(text, ...calls) {
    tell("waiting", `${text} \u2026`);
    try {
      for (const { path, body } of calls) await lab.call("POST", path, body);
      tell("done", `${text}: done`);
    } catch (error) {
      tell("error", `${text}: ${error.message}`);
    }
    refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const state = await lab.call("GET", "/lab");
      if (isOver) return;
      roles.show(state.roles ?? []);
      links.show(state.links ?? []);
      if (panels.hidden || told.dataset.kind === "lost") tell("", "");
      panels.hidden = false;
    } catch (error) {
      if (isOver) return;
      tell("lost", error.message);
    }
    if (!isOver) timer = setTimeout(refresh, STATE_MS);
  }

  refresh();
  return () => {
    isOver = true;
    clearTimeout(timer);
    load.end();
  };
}

/** The laboratory that the address names, or that it named earlier in this tab. */
function labOf(context) {
  let known = null;
  try {
    known = JSON.parse(sessionStorage.getItem(REMEMBERED) ?? "null");
  } catch {
    // A browser that keeps nothing needs the whole address each time.
  }
  const address = context.query.get("lab") ?? known?.address;
  const token = context.query.get("token") ?? known?.token;
  if (!address || !token || !/^[\w.:[\]-]+$/.test(address)) return null;
  try {
    sessionStorage.setItem(REMEMBERED, JSON.stringify({ address, token }));
  } catch {
    // As above.
  }
  return {
    async call(method, path, body) {
      let response, answer;
      try {
        response = await fetch(`http://${address}${path}`, {
          method,
          headers: { "X-Toystore-Lab": token, ...(body ? { "Content-Type": "application/json" } : {}) },
          body: body ? JSON.stringify(body) : undefined,
          signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
        });
        answer = await response.json();
      } catch {
        throw new Error(`The laboratory at ${address} does not answer. Is \u201ctoystore up --lab\u201d still running?`);
      }
      if (!response.ok) throw new Error(answer?.error?.message ?? `status ${response.status}`);
      return answer.data;
    },
  };
}

function explanation() {
  return h("section", { class: "block-panel lab-off" },
    h("h2", {}, "Faults are turned off"),
    h("p", {}, "A store that was started with a laboratory lets this page kill, stop and start its roles, cut and slow the links between them, and put load on it. Stop this store, and type:"),
    h("pre", {}, h("code", {}, "./run.sh up --lab")),
    h("p", {}, "It prints an address that opens this view. The laboratory listens on this machine only, and wants the token that is in that address."),
    h("p", {}, "Without it, another terminal does the same, and the Cluster view shows what follows:"),
    h("pre", {}, h("code", {}, "./run.sh kill order-3\n./run.sh start order-3")),
    h("p", {}, h("a", { class: "block plain", href: "#/cluster" }, "Watch the cluster")),
  );
}

function rolesPanel(act) {
  const list = h("ul", { class: "lab-roles" });
  const cards = new Map();
  const element = h("section", { class: "block-panel", "aria-labelledby": "lab-roles-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "lab-roles-title" }, "Roles")), list);

  function card(role) {
    const state = h("p", { class: "lab-state" });
    const buttons = VERBS.map(({ name, label, hint }) =>
      h("button", {
        type: "button", class: "block plain", title: hint, "data-verb": name, "aria-label": `${label} ${role}`,
        click: ({ currentTarget }) => {
          if (currentTarget.getAttribute("aria-disabled") === "true") return;
          act(`${label} ${role}`, { path: `/lab/roles/${encodeURIComponent(role)}/${name}` });
        },
      }, label));
    const item = h("li", { class: "lab-role" },
      h("div", { class: "lab-role-head" },
        h("span", { class: "role-mark", "data-shape": shapeOf(role), "aria-hidden": "true" }), h("h3", {}, role), state),
      h("div", { class: "lab-verbs" }, buttons));
    list.append(item);
    return { item, state, buttons };
  }

  return {
    element,
    show(roles) {
      for (const { role, state, pid } of roles) {
        if (!cards.has(role)) cards.set(role, card(role));
        const parts = cards.get(role);
        parts.item.dataset.state = state;
        parts.item.querySelector(".role-mark").dataset.state = state === "running" ? "up" : state === "stopped" ? "syncing" : "down";
        say(parts.state, `${STATES[state] ?? state}${pid ? `, process ${pid}` : ""}`);
        VERBS.forEach(({ from }, place) => {
          const button = parts.buttons[place];
          // A button that has the focus keeps it, so that the keyboard is not lost.
          button.setAttribute("aria-disabled", String(!from.includes(state)));
        });
      }
    },
  };
}

function loadPanel(lab, context) {
  const field = (id, label, attributes) => {
    const input = h("input", { id, class: "field", ...attributes });
    return { input, element: h("p", { class: "lab-field" }, h("label", { for: id }, label), input) };
  };
  const probability = field("load-p", "p, the probability of an order", { type: "number", min: 0, max: 1, step: 0.05, value: 0.2 });
  const rate = field("load-rate", "Queries in a second", { type: "number", min: 1, max: 2000, step: 1, value: 50 });
  const seed = field("load-seed", "Seed", { type: "number", min: 0, step: 1, value: 7 });
  const start = h("button", { type: "submit", class: "block" }, "Start the load");
  const stop = h("button", { type: "button", class: "block plain", click: () => isRunning && change("DELETE") }, "End it");
  const told = h("p", { class: "told", role: "status" });
  const counts = h("dl", { class: "lab-counts" });
  const figures = ["Queries", "Purchases", "Refused", "Failed"].map((label) => {
    const value = h("dd", {}, "0");
    counts.append(h("div", {}, h("dt", {}, label), value));
    return value;
  });
  const plot = plotPanel();
  const element = h("section", { class: "block-panel lab-load", "aria-labelledby": "lab-load-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "lab-load-title" }, "Load")),
    h("form", { class: "lab-form", novalidate: true, submit },
      probability.element, rate.element, seed.element, h("div", { class: "lab-buttons" }, start, stop)),
    told, counts, plot.element);
  let timer = null;
  let isOver = false;
  let samples = [];
  let queries = 0;
  let isRunning = false;

  function submit(event) {
    event.preventDefault();
    const body = { probability: Number(probability.input.value), rate: Number(rate.input.value), seed: Number(seed.input.value) };
    const isValid = body.probability >= 0 && body.probability <= 1 && body.rate > 0 && Number.isSafeInteger(body.seed) && body.seed >= 0;
    if (!isValid) {
      told.dataset.kind = "error";
      say(told, "p is from 0 to 1, the rate above 0, and the seed a whole number from 0 on.");
      return;
    }
    samples = [];
    change("POST", body);
  }

  async function change(method, body) {
    try {
      await lab.call(method, "/lab/load", body);
      told.dataset.kind = "";
      context.say(method === "POST" ? "The load begins." : "The load ends.");
    } catch (error) {
      told.dataset.kind = "error";
      say(told, error.message);
    }
    refresh();
  }

  async function refresh() {
    clearTimeout(timer);
    try {
      const after = samples.at(-1)?.at_ms ?? 0;
      const load = await lab.call("GET", `/lab/load?after=${after}`);
      if (isOver) return;
      if (load) show(load);
    } catch {
      // The list of roles says that the laboratory does not answer.
    }
    if (!isOver) timer = setTimeout(refresh, STATE_MS);
  }

  function show(load) {
    // Another page may have begun a load of its own.
    if (load.queries < queries) samples = [];
    queries = load.queries;
    samples = [...samples.filter(({ at_ms: at }) => !load.samples.some((fresh) => fresh.at_ms === at)), ...load.samples]
      .sort((one, other) => one.at_ms - other.at_ms).slice(-600);
    [load.queries, load.purchases, load.refused, load.failed].forEach((number, place) => say(figures[place], String(number ?? 0)));
    isRunning = load.running;
    stop.setAttribute("aria-disabled", String(!isRunning));
    if (load.problem) {
      told.dataset.kind = "error";
      say(told, `The load ended: ${load.problem}`);
    } else if (told.dataset.kind !== "error") {
      say(told, load.running ? `Running: p = ${load.probability}, ${count(load.rate, "query")} in a second, seed ${load.seed}`.replace("querys", "queries") : "No load.");
    }
    plot.show(samples);
  }

  refresh();
  return {
    element,
    end() {
      isOver = true;
      clearTimeout(timer);
      plot.end();
    },
  };
}

/** Latencies as they come. */
function plotPanel() {
  const place = h("div", { class: "plot", role: "img", "aria-label": "Latencies in milliseconds", "aria-describedby": "plot-words" });
  const words = h("p", { class: "plot-words", id: "plot-words" }, "\u00a0");
  const element = h("figure", { class: "plot-figure", "aria-labelledby": "plot-caption" }, h("figcaption", { id: "plot-caption" }, "Latency as the clients see it, in milliseconds"), place, words);
  const isStill = matchMedia("(prefers-reduced-motion: reduce)");
  let plot = null;
  let latest = [];
  let drawnAt = -Infinity;
  let isOver = false;

  const colour = (name) => {
    // The tokens differ between light and dark, so that the colour is taken from an element.
    const probe = h("span", {});
    probe.style.color = `var(${name})`;
    place.append(probe);
    const { color } = getComputedStyle(probe);
    probe.remove();
    return color;
  };

  function data() {
    const column = (name) => latest.map((sample) => sample[name] ?? null);
    return [latest.map(({ at_ms: at }) => at / 1000), ...["query_p50_ms", "query_p99_ms", "purchase_p50_ms", "purchase_p99_ms"].map(column)];
  }

  async function draw() {
    await library();
    if (isOver || !window.uPlot) return;
    plot?.destroy();
    const ink = colour("--ink-2");
    const grid = { stroke: colour("--line"), width: 1 };
    const axis = { stroke: ink, grid, ticks: grid, font: "12px system-ui, sans-serif" };
    const line = (label, stroke, dash) => ({ label, stroke, dash, width: 2, spanGaps: false, points: { show: false }, value: (_plot, value) => (value === null ? "\u2013" : `${value.toFixed(1)} ms`) });
    plot = new window.uPlot({
      width: Math.max(240, place.clientWidth), height: 260,
      // Latencies differ by a thousand times while a leader is replaced.
      scales: { x: { time: false }, y: { distr: 3 } },
      axes: [
        { ...axis, values: (_plot, ticks) => ticks.map((tick) => `${tick} s`) },
        { ...axis, size: 76, values: (_plot, ticks) => ticks.map((tick) => (tick === null ? null : `${tick} ms`)) },
      ],
      series: [
        { label: "after", value: (_plot, value) => (value === null ? "\u2013" : `${value.toFixed(1)} s`) },
        line("query, median", colour("--blue")), line("query, 99 %", colour("--blue"), [5, 4]),
        line("purchase, median", colour("--red")), line("purchase, 99 %", colour("--red"), [5, 4]),
      ],
    }, data(), place);
    // What it draws is told in words beside it.
    plot.root.setAttribute("aria-hidden", "true");
  }

  const observer = new ResizeObserver(() => plot?.setSize({ width: Math.max(240, place.clientWidth), height: 260 }));
  observer.observe(place);
  const colours = new MutationObserver(draw);
  colours.observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  scheme.addEventListener("change", draw);
  draw();

  return {
    element,
    show(samples) {
      latest = samples;
      if (!isStill.matches || samples.length === 0 || performance.now() - drawnAt >= STILL_PLOT_MS) {
        plot?.setData(data());
        drawnAt = performance.now();
      }
      const last = samples.at(-1);
      const ms = (value) => (value === null || value === undefined ? "\u2013" : `${value.toFixed(1)} ms`);
      say(words, last ? `Last: queries ${ms(last.query_p50_ms)} (99 %: ${ms(last.query_p99_ms)}), purchases ${ms(last.purchase_p50_ms)} (99 %: ${ms(last.purchase_p99_ms)})` : "\u00a0");
    },
    end() {
      isOver = true;
      observer.disconnect();
      colours.disconnect();
      scheme.removeEventListener("change", draw);
      plot?.destroy();
    },
  };
}

/** Loads uPlot when it is first needed. */
function library() {
  if (window.uPlot) return Promise.resolve();
  return new Promise((resolve) => {
    const script = h("script", { src: "/page/vendor/uPlot.js", load: resolve, error: resolve });
    const style = h("link", { rel: "stylesheet", href: "/page/vendor/uPlot.css" });
    document.head.append(style, script);
  });
}
