// Draws the nodes of a lesson and what goes between them in one step: `topology(lesson)` returns
// {svg, show(run, position)}.
//
// The shapes are the page's: a front-end is a circle, the catalog a square, a replica a triangle, a
// person a rounded box, a database a cylinder. What is under way stays on its line as an envelope.

import { s } from "./dom.js";

/** Between two columns; less on a narrow screen, so that letters stay as large as elsewhere. */
const COLUMN = { wide: 220, narrow: 118 };
const NARROW = "(max-width: 44rem)";
const ROW = 84;
const SIZE = 19;

/** Kinds of nodes, by the beginnings of names, each with its column; those who ask are at the left. */
const KINDS = [
  { kind: "person", column: 0, names: ["reader", "client", "buyer", "person"] },
  { kind: "frontend", column: 1, names: ["frontend"] },
  { kind: "order", column: 2, names: ["order"] },
  { kind: "catalog", column: 3, names: ["catalog"] },
  { kind: "database", column: 4, names: ["database", "standby"] },
];

/** Letters of a label beside an arrow that goes up or down: half a column. */
const STEEP_LETTERS = 15;

/** The fact that is drawn at a node: the first that it has. */
const MAIN = ["cache", "shows", "journal", "stock", "disk", "log", "was told", "purchase", "leader", "reaches", "duty", "row"];

export function topology(lesson) {
  const isNarrow = window.matchMedia(NARROW).matches;
  const places = layOut(lesson.nodes.map(([node]) => node), isNarrow ? COLUMN.narrow : COLUMN.wide);
  const letters = isNarrow ? 13 : 20;
  const layers = { lines: s("g", { class: "topo-lines" }), nodes: s("g"), messages: s("g", { class: "topo-messages" }) };
  const svg = s(
    "svg",
    { class: "topo", viewBox: `0 0 ${places.width} ${places.height}`, "aria-hidden": "true" },
    layers.lines, layers.nodes, layers.messages,
  );
  layers.lines.append(...linesOf(lesson, places));
  const nodes = new Map(lesson.nodes.map(([node, name]) => [node, drawNode(places.at.get(node), name)]));
  layers.nodes.append(...[...nodes.values()].map((node) => node.group));
  const byName = new Map(lesson.nodes.map(([node, name]) => [name, node]));
  return {
    svg,
    show(run, position) {
      const step = position === 0 ? run.start : run.steps[Math.min(position, run.steps.length) - 1];
      const isOver = position > run.steps.length;
      const events = isOver ? [] : run.log.events.slice(step.from, step.to);
      const active = new Set(events.map((event) => byName.get(event.node)));
      for (const [node, drawn] of nodes) {
        drawn.group.classList.toggle("is-active", active.has(node));
        const fact = MAIN.find((name) => step.known.get(`${node}/${name}`));
        const value = fact ? step.known.get(`${node}/${fact}`) : "";
        drawn.fact.textContent = short(value, letters + 2);
        drawn.fact.classList.toggle("is-changed", !isOver && step.changed.has(`${node}/${fact}`));
        const event = events.find((one) => byName.get(one.node) === node && one.kind === "crash");
        drawn.group.classList.toggle("is-crashed", Boolean(event));
      }
      const shown = passing(run.log.events, step, isOver);
      layers.messages.replaceChildren(...drawMessages(shown, places, byName, letters));
    },
  };
}

function layOut(nodes, apart) {
  const columns = [[], [], [], [], []];
  const hasMoreColumns = nodes.some((node) => node.startsWith("order") || node === "database");
  for (const node of nodes) {
    const { kind, column } = KINDS.find(({ names }) => names.some((name) => node.startsWith(name)));
    // Where replicas or a database take part, a front-end stands with those who ask.
    columns[kind === "frontend" && hasMoreColumns ? 0 : column].push({ node, kind });
  }
  const used = columns.filter((column) => column.length > 0);
  const rows = Math.max(...used.map((column) => column.length), 2);
  const height = rows * ROW + 4;
  const at = new Map();
  used.forEach((column, place) => {
    // Beside readers and a buyer, a front-end stands with the readers.
    const share = column[0].kind === "frontend" && nodes.includes("buyer") ? (rows - 1) / rows : 1;
    column.forEach(({ node, kind }, row) => {
      at.set(node, { x: (place + 0.5) * apart, y: ((row + 0.5) * height * share) / column.length, kind });
    });
  });
  return { at, width: used.length * apart, height };
}

/** A line between each two nodes that ever speak to each other. */
function linesOf(lesson, places) {
  const pairs = new Set();
  for (const run of Object.values(lesson.runs)) {
    for (const event of run.log.events.filter((one) => one.kind === "send")) {
      pairs.add([event.from, event.to].sort().join("|"));
    }
  }
  const byName = new Map(lesson.nodes.map(([node, name]) => [name, node]));
  return [...pairs].map((pair) => {
    const [one, other] = pair.split("|").map((name) => places.at.get(byName.get(name)));
    return s("line", { x1: one.x, y1: one.y, x2: other.x, y2: other.y });
  });
}

const SHAPES = {
  person: () => s("rect", { x: -SIZE, y: -SIZE * 0.7, width: 2 * SIZE, height: SIZE * 1.4, rx: SIZE * 0.7 }),
  frontend: () => s("circle", { r: SIZE }),
  order: () => s("path", { d: `M0 ${-SIZE}L${SIZE * 1.1} ${SIZE * 0.85}H${-SIZE * 1.1}Z` }),
  database: () => s("path", { d: `M${-SIZE} ${-SIZE * 0.7}V${SIZE * 0.7}A${SIZE} ${SIZE * 0.35} 0 0 0 ${SIZE} ${SIZE * 0.7}V${-SIZE * 0.7}A${SIZE} ${SIZE * 0.35} 0 0 0 ${-SIZE} ${-SIZE * 0.7}Z` }),
  catalog: () => s("rect", { x: -SIZE, y: -SIZE, width: 2 * SIZE, height: 2 * SIZE }),
};

function drawNode({ x, y, kind }, name) {
  const fact = s("text", { class: "topo-fact", y: SIZE + 16, "text-anchor": "middle" });
  const group = s(
    "g",
    { class: `topo-node topo-${kind}`, transform: `translate(${x} ${y})` },
    s("circle", { class: "topo-ring", r: SIZE + 5 }),
    SHAPES[kind](),
    s("path", { class: "topo-cross", d: `M${-SIZE} ${-SIZE}L${SIZE} ${SIZE}M${SIZE} ${-SIZE}L${-SIZE} ${SIZE}` }),
    s("text", { class: "topo-name", y: -SIZE - 6, "text-anchor": "middle" }, name),
    fact,
  );
  return { group, fact };
}

/** The messages of a step: those that arrive, those that leave and stay under way, those lost. */
function passing(events, step, isOver) {
  const messages = new Map();
  for (const event of events.slice(0, step.to)) {
    if (!event.message) continue;
    const known = messages.get(event.message) ?? { ...event, arrived: false, lost: false };
    if (event.kind === "recv") known.arrived = event.seq;
    if (event.kind === "drop") known.lost = event.seq;
    messages.set(event.message, known);
  }
  const isNow = (seq) => seq !== false && seq >= step.from && !isOver;
  return [...messages.values()].flatMap((message) => {
    if (isNow(message.arrived)) return [{ ...message, fate: "arrives" }];
    if (isNow(message.lost)) return [{ ...message, fate: "lost" }];
    return message.arrived === false && message.lost === false ? [{ ...message, fate: "under-way" }] : [];
  });
}

function drawMessages(messages, places, byName, letters) {
  const between = new Map();
  return messages.flatMap((message) => {
    const from = places.at.get(byName.get(message.from));
    const to = places.at.get(byName.get(message.to));
    const pair = [message.from, message.to].sort().join("|");
    const before = between.get(pair) ?? 0;
    between.set(pair, before + 1);
    return drawMessage(message, from, to, { before, letters });
  });
}

/** An arrow, bent to the right of its way, so that there and back do not cover each other. */
function drawMessage(message, from, to, { before, letters }) {
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const length = Math.hypot(dx, dy);
  const [ux, uy] = [dx / length, dy / length];
  const bend = 16 + 12 * Math.floor(before / 2);
  const [mx, my] = [(from.x + to.x) / 2 + uy * bend, (from.y + to.y) / 2 - ux * bend];
  const [sx, sy] = [from.x + ux * (SIZE + 4) + uy * 5, from.y + uy * (SIZE + 4) - ux * 5];
  const [ex, ey] = [to.x - ux * (SIZE + 5) + uy * 5, to.y - uy * (SIZE + 5) - ux * 5];
  // Beside an arrow that goes up or down, else above or below it.
  const isSteep = Math.abs(ux) < 0.3;
  const label = s(
    "text",
    { class: "topo-label", x: mx, y: my + (isSteep ? 4 : ux > 0 ? -1 : 9), "text-anchor": isSteep ? (uy > 0 ? "start" : "end") : "middle" },
    short(message.name, isSteep ? Math.min(letters, STEEP_LETTERS) : letters),
  );
  if (message.fate === "arrives") {
    return [s("path", { class: "topo-arrow", d: `M${sx} ${sy}Q${mx} ${my} ${ex} ${ey}${head(mx, my, ex, ey)}` }), label];
  }
  const [cx, cy] = [(sx + 2 * mx + ex) / 4, (sy + 2 * my + ey) / 4];
  const half = s("path", { class: "topo-arrow topo-half", d: `M${sx} ${sy}Q${(sx + mx) / 2} ${(sy + my) / 2} ${cx} ${cy}` });
  const mark = message.fate === "lost"
    ? s("path", { class: "topo-lost", d: `M${cx - 6} ${cy - 6}l12 12m0 -12l-12 12` })
    : s("path", { class: "topo-envelope", d: `M${cx - 8} ${cy - 5.5}h16v11h-16zl8 6l8 -6` });
  return [half, mark, label];
}

function head(x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const barb = (turn) => `${(x2 - 9 * Math.cos(angle + turn)).toFixed(1)} ${(y2 - 9 * Math.sin(angle + turn)).toFixed(1)}`;
  return `M${barb(0.45)}L${x2.toFixed(1)} ${y2.toFixed(1)}L${barb(-0.45)}`;
}

function short(text, letters) {
  return text.length <= letters ? text : `${text.slice(0, letters - 1)}…`;
}
