// The diagram of the roles and their links.
//
// A front-end is a circle, a catalog a square, a replica a triangle. What answers is filled, what
// is catching up or stands by is striped, what does not answer is hollow and crossed out. A link that
// carries purchases or orders is thick, one that only checks is thin; one that is cut off is dashed.
// Of several catalogs that share a database, the others' links end at the one that rules.

import { s, say } from "./dom.js";

const WIDE = { width: 720, height: 500 };
const TALL = { width: 360, height: 560 };
// Below this many pixels the diagram is drawn tall.
const NARROW = 560;
const RADIUS = 30;

const STATES = { leader: "leads", follower: "follows", syncing: "catching up", down: "no answer", up: "answers", active: "rules", standby: "stands by", own: "this page's", unasked: "" };

/** Spreads `count` places evenly between two ends. */
const spread = (count, from, to) =>
  Array.from({ length: count }, (_, place) => (count === 1 ? (from + to) / 2 : from + ((to - from) * place) / (count - 1)));

/** The catalogs: the processes that share a database, or the only one. `rules` tells which rules. */
const catalogsOf = ({ catalog }) =>
  catalog.processes?.length
    ? catalog.processes.map(({ id, state }) => ({ role: `catalog-${id}`, state, rules: state === "active" }))
    : [{ role: "catalog", state: catalog.state, rules: true }];

/** Several catalogs, in words: who rules, in which term. */
const catalogInWords = ({ term }, { state }) => (state === "active" && term ? `rules, term ${term}` : STATES[state]);

function places(view, isTall) {
  const { frontends, replicas, catalogs } = view;
  const at = new Map();
  if (isTall) {
    const { width } = TALL;
    const xs = frontends.length === 1 ? [width / 2] : spread(frontends.length, 75, width - 75);
    frontends.forEach(({ role }, place) => at.set(role, { x: xs[place], y: 60 }));
    const ids = spread(replicas.length, 62, width - 62);
    [...replicas].reverse().forEach(({ id }, place) => at.set(`order-${id}`, { x: ids[place], y: 285 }));
    const ends = spread(catalogs.length, 62, width - 62);
    catalogs.forEach(({ role }, place) => at.set(role, { x: ends[place], y: 465 }));
  } else {
    const { width, height } = WIDE;
    const ys = frontends.length === 1 ? [height / 2 - 20] : spread(frontends.length, 120, height - 170);
    frontends.forEach(({ role }, place) => at.set(role, { x: 80, y: ys[place] }));
    const ids = spread(replicas.length, 80, height - 105);
    replicas.forEach(({ id }, place) => at.set(`order-${id}`, { x: width / 2, y: ids[place] }));
    const ends = catalogs.length === 1 ? [height / 2 - 20] : catalogs.length === 2 ? spread(2, 120, height - 170) : spread(catalogs.length, 80, height - 105);
    catalogs.forEach(({ role }, place) => at.set(role, { x: width - 75, y: ends[place] }));
  }
  return at;
}

/** Makes the diagram: `element`, `show(view)` and `fit(width)`. */
export function diagram() {
  const links = s("g", {});
  const nodes = s("g", {});
  const stripes = ["stripes", "stripes-catalog"].map((id) =>
    s("pattern", { id, width: 9, height: 9, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
      s("rect", { class: "stripe-ground", width: 9, height: 9 }), s("rect", { class: "stripe", width: 4.5, height: 9 })));
  const title = s("title", {});
  const element = s("svg", { class: "diagram", role: "img" }, title, s("defs", {}, stripes), links, nodes);
  let isTall = false;
  let last = null;
  let drawn = "";
  const parts = new Map();
  const lines = new Map();

  function build(view) {
    const frame = isTall ? TALL : WIDE;
    element.setAttribute("viewBox", `0 0 ${frame.width} ${frame.height}`);
    nodes.replaceChildren();
    links.replaceChildren();
    parts.clear();
    lines.clear();
    const at = places(view, isTall);
    const replicas = view.replicas.map(({ id }) => `order-${id}`);
    for (const { role } of view.frontends) {
      for (const replica of replicas) line(`${role}>${replica}`, at.get(role), at.get(replica));
      for (const { role: catalog } of view.catalogs) line(`${role}>${catalog}`, at.get(role), at.get(catalog), true);
    }
    for (const replica of replicas) {
      for (const { role: catalog } of view.catalogs) line(`${replica}>${catalog}`, at.get(replica), at.get(catalog));
    }
    replicas.forEach((one, place) =>
      replicas.slice(place + 1).forEach((other) => line(`${one}>${other}`, at.get(one), at.get(other), !isTall || replicas.indexOf(other) - place > 1)));
    for (const { role } of view.frontends) node(role, "frontend", at.get(role));
    for (const replica of replicas) node(replica, "order", at.get(replica));
    for (const { role } of view.catalogs) node(role, "catalog", at.get(role));
  }

  function line(name, from, to, isBent = false) {
    const path = s("path", { class: "link", d: isBent ? bend(from, to) : `M${from.x} ${from.y}L${to.x} ${to.y}` });
    lines.set(name, path);
    links.append(path);
  }

  /** A link that goes around what stands between its ends. */
  function bend(from, to) {
    if (isTall) {
      const isLevel = from.y === to.y;
      // To one of several catalogs it comes from above, on its side, past those beside it.
      const isAmong = to.x !== TALL.width / 2;
      const x = (isAmong ? to.x : from.x) > TALL.width / 2 ? TALL.width + 40 : -40;
      return isLevel
        ? `M${from.x} ${from.y}Q${(from.x + to.x) / 2} ${from.y - 120} ${to.x} ${to.y}`
        : `M${from.x} ${from.y}C${x} ${from.y + 130} ${x} ${to.y} ${to.x} ${to.y}`;
    }
    if (from.x === to.x) {
      return `M${from.x} ${from.y}Q${from.x - 50 - Math.abs(from.y - to.y) * 0.3} ${(from.y + to.y) / 2} ${to.x} ${to.y}`;
    }
    const middle = WIDE.height / 2 - 20;
    const y = to.y < middle || (to.y === middle && from.y <= to.y) ? -45 : WIDE.height + 45;
    return `M${from.x} ${from.y}C${from.x + 110} ${y} ${to.x - 110} ${y} ${to.x} ${to.y}`;
  }

  function node(name, shape, { x, y }) {
    const figure = {
      frontend: () => s("circle", { class: "shape", r: RADIUS }),
      catalog: () => s("rect", { class: "shape", x: -RADIUS, y: -RADIUS, width: 2 * RADIUS, height: 2 * RADIUS }),
      order: () => s("path", { class: "shape", d: "M0-34 35 26h-70z" }),
    }[shape]();
    const crown = s("path", { class: "crown", d: "M-17-40v-15l9 7 8-12 8 12 9-7v15z" });
    const cross = s("path", { class: "cross", d: shape === "order" ? "M-9 0 9 18M9 0-9 18" : "M-13-13 13 13M13-13-13 13" });
    const label = s("text", { class: "node-name", y: 50 }, name);
    const state = s("text", { class: "node-state", y: 69 });
    const detail = s("text", { class: "node-state", y: 87 });
    const group = s("g", { class: `node node-${shape}`, transform: `translate(${x} ${y})` },
      s("rect", { class: "node-plate", x: -58, y: 36, width: 116, height: 56 }), figure, shape === "order" ? crown : [], cross, label, state, detail);
    parts.set(name, { group, state, detail });
    nodes.append(group);
  }

  function set(name, state, words, detail = "") {
    const part = parts.get(name);
    part.group.dataset.state = state;
    say(part.state, words);
    say(part.detail, detail);
  }

  function link(name, kind, isCut) {
    const path = lines.get(name) ?? lines.get(name.split(">").reverse().join(">"));
    path.dataset.kind = kind;
    path.dataset.state = isCut ? "cut" : "up";
  }

  function show(view) {
    const catalogs = catalogsOf(view);
    last = { ...view, catalogs, frontends: view.frontends?.length ? view.frontends : [{ role: "frontend", state: "own" }] };
    const { frontends, replicas, catalog, leader, epoch, isKnown } = last;
    const structure = JSON.stringify([isTall, [...frontends, ...catalogs].map(({ role }) => role), replicas.map(({ id }) => id)]);
    if (structure !== drawn) {
      build(last);
      drawn = structure;
    }
    element.classList.toggle("unknown", !isKnown);
    const isGone = {};
    for (const one of catalogs) {
      isGone[one.role] = catalog.state === "down" || one.state === "down";
      const end = !one.rules || one.state === "down" || catalog.last_order === null ? "" : `order ${catalog.last_order}`;
      set(one.role, one.state, catalogInWords(catalog, one), end);
    }
    for (const { role, state } of frontends) {
      isGone[role] = state === "down";
      set(role, state, STATES[state]);
    }
    for (const { id, state, last_order: order } of replicas) {
      isGone[`order-${id}`] = state === "down";
      const words = state === "leader" ? `leads, epoch ${epoch}` : STATES[state];
      const behind = catalog.last_order === null || state === "down" ? 0 : Math.max(0, catalog.last_order - (order ?? -1));
      set(`order-${id}`, state, words, state === "down" ? "" : order === null ? "no orders" : `order ${order}${behind > 0 ? `, \u2212${behind}` : ""}`);
    }
    const leads = leader === null ? null : `order-${leader}`;
    for (const name of lines.keys()) {
      const [from, to] = name.split(">");
      const ends = [from, to];
      const carries = leads !== null && ends.includes(leads) && !isGone[leads];
      const reads = to.startsWith("catalog") && from.startsWith("frontend");
      const isBetween = from.startsWith("order") && to.startsWith("order");
      const standsBy = catalogs.some(({ role, rules }) => role === to && !rules);
      if (standsBy || (isBetween && !carries)) link(name, "none", false);
      else link(name, carries ? "carries" : reads ? "reads" : "checks", isGone[from] || isGone[to]);
    }
    say(title, summary(last));
  }

  return {
    element,
    show,
    fit(width) {
      const wasTall = isTall;
      isTall = width < NARROW;
      if (isTall !== wasTall && last) show(last);
    },
  };
}

/** The diagram in words. */
function summary({ leader, epoch, replicas, catalog, catalogs, frontends }) {
  const who = leader === null ? "No replica leads" : `order-${leader} leads, epoch ${epoch}`;
  const others = replicas.filter(({ id }) => id !== leader).map(({ id, state }) => `order-${id} ${STATES[state]}`);
  const gone = frontends.filter(({ state }) => state === "down").map(({ role }) => `${role} no answer`);
  const none = catalogs.some(({ rules }) => rules) ? [] : ["no catalog rules"];
  const states = catalogs.map((one) => `${one.role} ${catalogInWords(catalog, one)}`);
  return [who, ...others, ...none, ...states, ...gone].join("; ");
}
