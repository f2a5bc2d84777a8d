// Draws events as a space-time diagram: `renderSpacetime(container, log, options)`.
//
// log      {header, events} as docs/events.md has them
// options
//   axis        "order" (default) or "time": what runs from top to bottom
//   selected    the `seq` of the selected event, or null
//   window      {from, to}: indexes of the events in view, `to` not included; null: all, or as many as fit
//   heartbeats  "collapsed" (default) or "shown"
//   start       the `seq` of the event that a diagram without a selected event is scrolled to, or null
//   until       the `seq` of the last event that has happened yet, or null; later ones are drawn faint
//   diverged    the `seq` of the event from which on two runs differ, or null: a line is drawn there
//   follow      true: the selected event is scrolled into view when it changes
//   controls    false: no toolbar
//   detail      false: no panel with the selected event
//   label       the diagram's name, for a screen reader
//   onSelect    called with the event that a person selects, or null
//   onAxis      called with the axis that a person selects
// returns {update({log, ...options}), select(seq), destroy()}
//
// A person moves through the diagram with the pointer or the keyboard: up and down by events, left
// and right to the other end of a message, Home and End. What is selected is said, and the same
// events are there as a table. What is in sight is drawn when it comes into sight; other frames draw
// what is selected and nothing else.

import { h, refill, s, say } from "./dom.js";
import {
  GUTTER, MOST_MESSAGES, ROW, fate, isBefore, isHeartbeat, place, read, rowsOf, sentence, shapeOf, since, visibleRows,
  windowAround,
} from "./spacetime-layout.js";

/** What is drawn at a time: the tiles of this height that are in sight, and one more on each side. */
const TILE = 480;
/** How near the pointer must be to an event, in pixels. */
const NEAR = 14;
/** By how many pixels an arrow ends before a receiver that it does not reach. */
const SHORT = 24;
/** From this many events on there is a minimap. */
const LEAST_FOR_MAP = 150;
const MAP_WIDTH = 56;
const ZOOMS = [1, 2, 4, 8, 16, 32];

const DEFAULTS = {
  axis: "order", selected: null, window: null, heartbeats: "collapsed", start: null, until: null, diverged: null, follow: true,
  controls: true, detail: true, label: "Space-time diagram", onSelect: () => {}, onAxis: () => {},
};

export function renderSpacetime(container, log, options = {}) {
  const view = new Spacetime(container, log, options);
  return {
    update: (change) => view.update(change),
    select: (seq) => view.choose(seq),
    destroy: () => view.destroy(),
  };
}

/** Where an arrow ends that does not arrive: near its receiver, on no lane between. */
function before(from, to) {
  return to - Math.sign(to - from) * Math.min(SHORT, Math.abs(to - from) * 0.4);
}

class Spacetime {
  constructor(container, log, options) {
    this.options = { ...DEFAULTS, ...options };
    this.zoom = 0;
    this.hovered = null;
    this.detailed = null;
    this.build(container);
    this.setLog(log);
    this.begin();
    this.observer = new ResizeObserver(() => this.layOut());
    this.observer.observe(this.scroll);
  }

  build(container) {
    this.container = container;
    this.heads = s("svg", { class: "st-heads", "aria-hidden": "true", height: 30 });
    this.layers = Object.fromEntries(
      ["lanes", "past", "future", "arrows", "marks", "labels", "focus"].map((name) => [name, s("g", { class: `st-${name}` })]),
    );
    this.diagram = s("svg", { class: "st-diagram", "aria-hidden": "true" }, ...Object.values(this.layers));
    this.scroll = h(
      "div",
      {
        class: "st-scroll", tabindex: "0", role: "application", "aria-roledescription": "space-time diagram",
        keydown: (event) => this.onKey(event), scroll: () => this.redraw(),
      },
      h("div", { class: "st-sticky" }, this.heads), this.diagram,
    );
    this.diagram.addEventListener("pointermove", (event) => this.onPointer(event));
    this.diagram.addEventListener("pointerleave", () => this.hover(null));
    this.diagram.addEventListener("click", (event) => this.pick(this.eventNear(event)));
    this.map = h("canvas", { class: "st-map", "aria-hidden": "true", width: MAP_WIDTH });
    this.map.addEventListener("pointerdown", (event) => this.onMap(event));
    this.map.addEventListener("pointermove", (event) => event.buttons === 1 && this.onMap(event));
    this.panel = h("div", { class: "st-detail" });
    this.spoken = h("p", { class: "visually-hidden", "aria-live": "polite" });
    this.table = h("div", { class: "st-table", role: "group", hidden: true, tabindex: "0" });
    this.bar = h("div", { class: "st-bar", role: "toolbar", "aria-label": "Diagram" });
    this.root = h(
      "section",
      { class: "st" },
      this.options.controls ? this.bar : null,
      h("div", { class: "st-main" }, this.scroll, this.map),
      this.options.detail ? this.panel : null,
      this.table, this.spoken,
    );
    container.append(this.root);
    this.name();
  }

  name() {
    const { label } = this.options;
    for (const [part, name] of [[this.root, label], [this.scroll, label], [this.table, `${label}, as a table`]]) part.setAttribute("aria-label", name);
  }

  setLog(log) {
    this.model = read(log);
    this.indexOf = new Map(this.model.events.map((event, index) => [event.seq, index]));
    this.layOut();
  }

  update({ log, ...options }) {
    const before = this.options;
    this.options = { ...this.options, ...options };
    if (before.label !== this.options.label) this.name();
    if (log) this.setLog(log);
    else if (["axis", "heartbeats", "window"].some((name) => before[name] !== this.options[name])) this.layOut();
    else {
      if (["until", "diverged"].some((name) => before[name] !== this.options[name])) this.tiles = null;
      this.redraw();
    }
    if (before.start !== this.options.start) this.begin();
    else if (this.options.follow && before.selected !== this.options.selected) this.reveal(this.selectedIndex());
  }

  destroy() {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.root.remove();
  }

  selectedIndex() {
    return this.indexOf.get(this.options.selected) ?? -1;
  }

  /** Scrolls to what is to be seen first: the selected event, or the one that the log is about. */
  begin() {
    const selected = this.selectedIndex();
    const start = this.indexOf.get(this.options.start) ?? -1;
    if (selected >= 0) {
      if (this.options.follow) this.reveal(selected);
    } else if (start >= 0) {
      this.showIndex(start, 2 * ROW);
    }
  }

  // ---- layout

  layOut() {
    const { axis, heartbeats } = this.options;
    this.window = this.options.window ?? this.wholeOrPart();
    this.rows = rowsOf(this.model, { heartbeats, window: this.window });
    const width = Math.max(this.scroll.clientWidth, 300);
    this.placed = place(this.model, this.rows, { axis, width, zoom: ZOOMS[this.zoom] });
    this.messages = this.messagesInView();
    this.tiles = null;
    for (const svg of [this.diagram, this.heads]) svg.setAttribute("width", this.placed.width);
    this.diagram.setAttribute("height", this.placed.height);
    this.drawHeads();
    this.drawBar();
    this.drawTable();
    this.redraw();
  }

  /** All events or, if there are too many messages, those around the selected one. */
  wholeOrPart() {
    const all = { from: 0, to: this.model.events.length };
    if (this.model.messages.size <= MOST_MESSAGES) return all;
    const middle = this.middle ?? Math.max(this.selectedIndex(), 0);
    return windowAround(this.model, middle);
  }

  messagesInView() {
    const { events, messages, lane } = this.model;
    const collapsed = this.options.heartbeats === "collapsed";
    const inView = [];
    for (const message of messages.values()) {
      const first = message.sent >= 0 ? message.sent : message.received[0];
      if (first === undefined || (collapsed && isHeartbeat(events[first]))) continue;
      const ys = [message.sent, ...message.received, message.lost].map((index) => this.placed.y(index));
      const known = ys.filter((y) => y !== undefined);
      if (known.length === 0) continue;
      inView.push({
        message, fate: fate(message), from: lane.get(message.from) ?? 0, to: lane.get(message.to) ?? 0,
        top: Math.min(...known), bottom: Math.max(...known),
      });
    }
    this.messageOf = new Map(inView.map((shown) => [shown.message.id, shown]));
    return inView.sort((one, other) => one.top - other.top);
  }

  // ---- drawing

  redraw() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { scrollTop, clientHeight } = this.scroll;
    const tiles = [Math.floor(scrollTop / TILE) - 1, Math.floor((scrollTop + clientHeight) / TILE) + 2];
    if (this.tiles?.join() !== tiles.join()) {
      this.tiles = tiles;
      this.drawTiles(tiles[0] * TILE, tiles[1] * TILE);
    }
    this.drawFocus();
    this.drawMap();
    this.drawDetail();
  }

  drawTiles(top, bottom) {
    [this.first, this.last] = visibleRows(this.placed, top, bottom);
    this.drawLanes(top, bottom);
    this.drawArrows(top, bottom);
    this.drawMarks(this.first, this.last);
    this.drawLabels(this.first, this.last);
  }

  drawHeads() {
    const { laneWidth, x } = this.placed;
    const letters = Math.floor(laneWidth / 7.5);
    this.heads.replaceChildren(
      s("text", { class: "st-axis-name", x: 4, y: 19 }, this.options.axis === "time" ? "time" : "order"),
      ...this.model.lanes.map((name, lane) =>
        s("text", { class: "st-head", x: x(lane), y: 19, "text-anchor": "middle" }, short(name, letters)),
      ),
    );
  }

  drawLanes(top, bottom) {
    const { x, height } = this.placed;
    const [from, to] = [Math.max(top, 0), Math.min(bottom, height)];
    const lines = this.model.lanes.map((_, lane) => `M${x(lane)} ${from}V${to}`).join("");
    const shapes = [s("path", { class: "st-lane", d: lines })];
    const until = this.placed.y(this.indexOf.get(this.options.until));
    if (until !== undefined) {
      const y = until + ROW / 2;
      shapes.push(s("rect", { class: "st-future-shade", x: 0, y, width: this.placed.width, height: Math.max(height - y, 0) }));
    }
    const diverged = this.placed.y(this.indexOf.get(this.options.diverged));
    if (diverged !== undefined) {
      const y = diverged - ROW / 2;
      shapes.push(
        s("path", { class: "st-diverged", d: `M0 ${y}H${this.placed.width}` }),
        s("text", { class: "st-diverged-name", x: 4, y: y - 3 }, "the runs differ from here"),
      );
    }
    this.layers.lanes.replaceChildren(...shapes);
  }

  drawArrows(top, bottom) {
    const kinds = { arrived: "", late: "", repeated: "", lost: "", unsent: "", unrecorded: "", future: "", crosses: "" };
    for (const shown of this.messages) {
      if (shown.top > bottom) break;
      if (shown.bottom < top) continue;
      for (const arrow of this.arrowsOf(shown)) {
        kinds[arrow.kind] += arrow.path;
        if (arrow.cross) kinds.crosses += arrow.cross;
      }
    }
    this.layers.arrows.replaceChildren(
      ...Object.entries(kinds).filter(([, d]) => d).map(([kind, d]) => s("path", { class: `st-arrow st-${kind}`, d })),
    );
  }

  /** The arrows of a message: one, two if it came twice, one that ends before its receiver if it was lost. */
  arrowsOf({ message, fate: what, from, to }) {
    const { x, y } = this.placed;
    const sent = y(message.sent);
    const isFuture = this.isFuture(message.sent >= 0 ? message.sent : message.received[0]);
    const kind = isFuture ? "future" : what;
    if (what === "lost") {
      if (sent === undefined) return [];
      const [start, end] = [x(from), before(x(from), x(to))];
      const down = sent + ROW * 0.6;
      return [{ kind, path: `M${start} ${sent}L${end} ${down}`, cross: cross(end, down, 5) }];
    }
    if (what === "unrecorded") {
      if (sent === undefined) return [];
      const [start, end] = [x(from), before(x(from), x(to))];
      return [{ kind, path: `M${start} ${sent}L${end} ${sent + ROW * 0.6}` }];
    }
    return message.received.flatMap((index) => {
      const received = y(index);
      if (received === undefined) return sent === undefined ? [] : [{ kind, path: `M${x(from)} ${sent}L${(x(from) + x(to)) / 2} ${sent + ROW}` }];
      const start = sent ?? received - ROW * 0.6;
      const begin = sent === undefined ? x(to) + (x(from) - x(to)) * 0.4 : x(from);
      return [{ kind, path: `M${begin} ${start}L${x(to)} ${received}${head(begin, start, x(to), received)}` }];
    });
  }

  isFuture(index) {
    const until = this.indexOf.get(this.options.until);
    return until !== undefined && index > until;
  }

  drawMarks(first, last) {
    const paths = new Map();
    const add = (name, d) => paths.set(name, (paths.get(name) ?? "") + d);
    for (let row = first; row < last; row += 1) {
      const { index, beats } = this.rows[row];
      const y = this.placed.yOfRow[row];
      if (beats) {
        for (const beat of new Set(beats.map((one) => this.model.events[one].node))) {
          add("beats", circle(this.placed.x(this.model.lane.get(beat)), y, 2));
        }
        continue;
      }
      const event = this.model.events[index];
      const shape = shapeOf(event);
      const when = this.isFuture(index) ? " st-not-yet" : "";
      add(`${shape}${when}`, SHAPES[shape](this.placed.x(this.model.lane.get(event.node)), y));
    }
    this.layers.marks.replaceChildren(...[...paths].map(([name, d]) => s("path", { class: `st-mark st-${name}`, d })));
  }

  drawLabels(first, last) {
    const labels = [];
    let lowest = -ROW;
    const start = this.model.events[this.window.from]?.time_us ?? 0;
    const { axis, laneWidth } = this.placed;
    for (let row = first; row < last; row += 1) {
      const y = this.placed.yOfRow[row];
      if (axis === "time" && y - lowest < 13) continue;
      lowest = y;
      const { index, beats } = this.rows[row];
      const event = this.model.events[index ?? beats[0]];
      labels.push(s("text", { class: "st-time", x: GUTTER - 14, y: y + 4, "text-anchor": "end" }, since(start, event.time_us)));
      if (beats) {
        labels.push(s("text", { class: "st-beats-name", x: GUTTER + 4, y: y + 4 }, `${beats.length} heartbeat events`));
        continue;
      }
      const text = this.labelOf(event);
      if (!text) continue;
      const isLeft = this.isLabelLeft(event);
      const x = this.placed.x(this.model.lane.get(event.node)) + (isLeft ? -10 : 10);
      const isSend = event.kind === "send";
      const room = isSend ? this.spanOf(event) - 18 : laneWidth * 1.6;
      const when = this.isFuture(index) ? " st-not-yet" : "";
      labels.push(
        s(
          "text",
          // A message's name stands above its arrow, which goes down.
          { class: `st-label st-label-${event.kind}${when}`, x, y: isSend ? y - 4 : y + 4, "text-anchor": isLeft ? "end" : "start" },
          short(text, Math.max(4, Math.floor(room / 6.2))),
        ),
      );
    }
    this.layers.labels.replaceChildren(...labels);
  }

  /** What stands beside a mark. A message's name stands where it was sent. */
  labelOf(event) {
    if (event.kind === "recv") {
      const message = this.model.messages.get(event.message);
      if (message.sent >= 0 && message.received[0] === this.indexOf.get(event.seq)) return "";
      return message.sent < 0 ? event.name : `${event.name}, again`;
    }
    const text = event.detail?.text ?? "";
    return text ? `${event.name}: ${text}` : event.name;
  }

  isLabelLeft(event) {
    if (event.kind === "send") return (this.model.lane.get(event.to) ?? 0) < this.model.lane.get(event.node);
    return this.model.lane.get(event.node) >= this.model.lanes.length - 1 && this.model.lanes.length > 1;
  }

  spanOf(event) {
    const { lane } = this.model;
    return Math.abs((lane.get(event.to) ?? 0) - lane.get(event.node)) * this.placed.laneWidth;
  }

  /** The selected and the hovered event, and how the selected one hangs together with others. */
  drawFocus() {
    const shapes = [];
    const selected = this.selectedIndex();
    this.drawCauses(selected);
    if (selected >= 0) shapes.push(this.ring("st-selected", selected), ...this.highlight(this.model.events[selected]));
    if (this.hovered !== null && this.hovered !== selected) {
      shapes.push(this.ring("st-hovered", this.hovered), ...this.highlight(this.model.events[this.hovered]));
    }
    this.layers.focus.replaceChildren(...shapes.filter(Boolean));
  }

  /** Which events are causes of the selected one, and which follow from it, as far as they are drawn. */
  drawCauses(selected) {
    const of = `${selected} ${this.first} ${this.last}`;
    if (this.causes === of && this.tilesOfCauses === this.tiles) return;
    [this.causes, this.tilesOfCauses] = [of, this.tiles];
    const [past, future] = [[], []];
    const event = this.model.events[selected];
    for (let row = this.first; event && row < this.last; row += 1) {
      const { index } = this.rows[row];
      if (index === undefined || index === selected) continue;
      const other = this.model.events[index];
      const causes = isBefore(other, event) ? past : isBefore(event, other) ? future : null;
      causes?.push(circle(this.placed.x(this.model.lane.get(other.node)), this.placed.yOfRow[row], 9));
    }
    this.layers.past.replaceChildren(s("path", { d: past.join("") }));
    this.layers.future.replaceChildren(s("path", { d: future.join("") }));
  }

  ring(name, index) {
    const y = this.placed.y(index);
    if (y === undefined) return null;
    return s("circle", { class: name, cx: this.placed.x(this.model.lane.get(this.model.events[index].node)), cy: y, r: 10 });
  }

  highlight(event) {
    const shown = event.message ? this.messageOf.get(event.message) : undefined;
    if (!shown) return [];
    return [s("path", { class: "st-arrow st-strong", d: this.arrowsOf(shown).map((arrow) => arrow.path).join("") })];
  }

  // ---- the minimap

  drawMap() {
    const { events } = this.model;
    const isShown = events.length >= LEAST_FOR_MAP;
    this.map.hidden = !isShown;
    if (!isShown) return;
    const height = Math.max(this.scroll.clientHeight, 60);
    if (this.map.height !== height) this.map.height = height;
    const paint = this.map.getContext("2d");
    const style = getComputedStyle(this.map);
    const look = `${height} ${style.color}`;
    if (this.overview?.look !== look || this.overview.model !== this.model) {
      this.overview = { look, model: this.model, picture: overviewOf(this.model, height, style.color) };
    }
    const [top, bottom] = this.visibleIndexes();
    paint.clearRect(0, 0, MAP_WIDTH, height);
    paint.drawImage(this.overview.picture, 0, 0);
    paint.strokeStyle = style.outlineColor;
    paint.lineWidth = 2;
    paint.strokeRect(1, (top * height) / events.length, MAP_WIDTH - 2, Math.max(6, ((bottom - top) * height) / events.length));
  }

  visibleIndexes() {
    const [first, last] = visibleRows(this.placed, this.scroll.scrollTop, this.scroll.scrollTop + this.scroll.clientHeight);
    const indexAt = (row) => this.rows[row]?.index ?? this.rows[row]?.beats[0] ?? this.window.to;
    return [indexAt(first), last >= this.rows.length ? this.window.to : indexAt(last)];
  }

  onMap(event) {
    const share = event.offsetY / this.map.height;
    this.showIndex(Math.min(this.model.events.length - 1, Math.max(0, Math.floor(share * this.model.events.length))));
  }

  /** Brings an event into the middle or so far below the top, in another window if need be. */
  showIndex(index, below = this.scroll.clientHeight / 2) {
    if (index < this.window.from || index >= this.window.to) {
      this.middle = index;
      this.layOut();
    }
    const y = this.placed.y(index);
    if (y !== undefined) this.scroll.scrollTop = y - below;
  }

  reveal(index) {
    if (index < 0) return;
    const y = this.placed.y(index);
    const { scrollTop, clientHeight } = this.scroll;
    if (y === undefined || y < scrollTop + 2 * ROW || y > scrollTop + clientHeight - 2 * ROW) this.showIndex(index);
  }

  // ---- what a person does

  onPointer(event) {
    this.hover(this.eventNear(event));
  }

  hover(index) {
    if (index === this.hovered) return;
    this.hovered = index;
    this.redraw();
  }

  /** The event under the pointer, or null. */
  eventNear(pointer) {
    const { left, top } = this.diagram.getBoundingClientRect();
    const [px, py] = [pointer.clientX - left, pointer.clientY - top];
    const [first, last] = visibleRows(this.placed, py - NEAR, py + NEAR);
    let best = null;
    let nearest = NEAR;
    for (let row = first; row < last; row += 1) {
      const { index } = this.rows[row];
      if (index === undefined) continue;
      const event = this.model.events[index];
      const distance = Math.hypot(this.placed.x(this.model.lane.get(event.node)) - px, this.placed.yOfRow[row] - py);
      if (distance < nearest) [best, nearest] = [index, distance];
    }
    return best ?? this.rowAt(py, px);
  }

  /** Where the axis is the order, a whole row belongs to its event. */
  rowAt(y) {
    if (this.options.axis !== "order") return null;
    const [row] = visibleRows(this.placed, y - ROW / 2, y);
    return this.rows[row]?.index ?? null;
  }

  pick(index) {
    if (index === null) return;
    this.choose(this.model.events[index].seq);
  }

  choose(seq) {
    this.options.selected = seq;
    const index = this.selectedIndex();
    this.reveal(index);
    this.redraw();
    const event = this.model.events[index] ?? null;
    say(this.spoken, event ? `${sentence(event)}. ${index + 1} of ${this.model.events.length}` : "");
    this.options.onSelect(event);
  }

  onKey(event) {
    const move = this.moves()[event.key];
    if (!move || event.altKey || event.ctrlKey || event.metaKey) return;
    const index = move();
    event.preventDefault();
    event.stopPropagation();
    if (index !== null && index !== undefined) this.pick(index);
  }

  moves() {
    const shown = () => this.rows.map((row) => row.index).filter((index) => index !== undefined);
    const step = (by) => () => {
      const all = shown();
      const at = all.indexOf(this.selectedIndex());
      return at < 0 ? all[0] : all[Math.min(all.length - 1, Math.max(0, at + by))];
    };
    return {
      ArrowDown: step(1), ArrowUp: step(-1), PageDown: step(20), PageUp: step(-20),
      Home: () => shown()[0], End: () => shown().at(-1),
      ArrowRight: () => this.otherEnd("recv"), ArrowLeft: () => this.otherEnd("send"),
    };
  }

  otherEnd(kind) {
    const message = this.model.messages.get(this.model.events[this.selectedIndex()]?.message);
    if (!message) return null;
    const index = kind === "recv" ? message.received[0] : message.sent;
    return index !== undefined && index >= 0 ? index : null;
  }

  // ---- toolbar, panel, table

  drawBar() {
    if (!this.options.controls || !this.bar) return;
    const { axis, heartbeats } = this.options;
    const toggle = (text, isOn, press) => h("button", { type: "button", class: "st-toggle", "aria-pressed": String(isOn), click: press }, text);
    const setAxis = (next) => () => {
      this.update({ axis: next });
      this.options.onAxis(next);
    };
    // A button that has the focus keeps it, also at the last step.
    const zoom = (text, label, by) => h(
      "button",
      { type: "button", class: "st-toggle", "aria-label": label, "aria-disabled": String(ZOOMS[this.zoom + by] === undefined), click: zoomBy(by) },
      text,
    );
    const zoomBy = (by) => () => {
      this.zoom = Math.min(ZOOMS.length - 1, Math.max(0, this.zoom + by));
      this.layOut();
      this.reveal(this.selectedIndex());
    };
    const beats = this.model.events.some(isHeartbeat);
    const size = `${this.model.events.length} events, ${this.model.messages.size} messages`;
    const part = this.window.to - this.window.from < this.model.events.length ? `; ${this.window.from + 1} to ${this.window.to} are in view` : "";
    const dropped = this.model.header.dropped > 0 ? `; ${this.model.header.dropped} earlier events were not kept` : "";
    refill(
      this.bar,
      toggle("By order", axis === "order", setAxis("order")),
      toggle("By time", axis === "time", setAxis("time")),
      ...(axis === "time" ? [zoom("−", "Zoom out", -1), zoom("+", "Zoom in", 1)] : []),
      ...(beats
        ? [toggle("Heartbeats", heartbeats === "shown", () => this.update({ heartbeats: heartbeats === "shown" ? "collapsed" : "shown" }))]
        : []),
      toggle("Table", !this.table.hidden, () => {
        this.table.hidden = !this.table.hidden;
        this.drawTable();
        this.drawBar();
        if (!this.table.hidden) this.table.focus();
      }),
      h("span", { class: "st-size" }, size + part + dropped),
    );
  }

  drawDetail() {
    if (!this.options.detail) return;
    const index = this.hovered ?? this.selectedIndex();
    const event = this.model.events[index];
    if (this.detailed === event) return;
    this.detailed = event;
    if (!event) {
      this.panel.replaceChildren(h("p", { class: "st-hint" }, "Select an event: click it, or move with the arrow keys."));
      return;
    }
    const start = this.model.events[this.window.from]?.time_us ?? 0;
    const message = this.model.messages.get(event.message);
    const what = { late: "It arrived after its sender had stopped waiting.", repeated: "It was delivered twice.", lost: "It did not arrive, as far as is known.", unsent: "Its sending was not recorded.", unrecorded: "Its receiver's record is missing." }[message ? fate(message) : ""];
    const facts = [
      ["when", since(start, event.time_us)], ["incarnation", event.incarnation > 1 ? event.incarnation : null],
      ["message", event.message], ["trace", event.trace], ["span", event.span],
      ["clock", Object.entries(event.clock ?? {}).map(([node, count]) => `${node} ${count}`).join(", ")],
    ];
    const { text: _text, heartbeat: _heartbeat, ...rest } = { ...this.bodyOf(message), ...event.detail };
    refill(
      this.panel,
      h("h3", { class: "st-sentence" }, sentence(event)),
      what ? h("p", { class: "st-fate" }, what) : "",
      h("dl", { class: "st-facts" }, facts.filter(([, value]) => value).flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, String(value))])),
      Object.keys(rest).length > 0 ? h("pre", { class: "st-body", tabindex: "0" }, JSON.stringify(rest, null, 2)) : "",
    );
  }

  /** A message's body, which one of its ends recorded. */
  bodyOf(message) {
    const ends = message ? [message.sent, ...message.received] : [];
    const body = ends.map((index) => this.model.events[index]?.detail?.body).find((found) => found !== undefined);
    return body === undefined ? {} : { body };
  }

  drawTable() {
    if (this.table.hidden) {
      this.table.replaceChildren();
      return;
    }
    const start = this.model.events[this.window.from]?.time_us ?? 0;
    const rows = this.rows.map(({ index, beats }) => {
      const event = this.model.events[index ?? beats[0]];
      const what = beats ? `${beats.length} heartbeat events` : sentence(event);
      return h(
        "tr", {},
        h("td", {}, String(event.seq)), h("td", {}, since(start, event.time_us)), h("td", {}, beats ? "" : event.node),
        h("td", {}, beats ? what : h("button", { type: "button", class: "st-row", click: () => this.pick(index) }, what)),
      );
    });
    const heads = ["number", "time", "node", "what happened"].map((name) => h("th", { scope: "col" }, name));
    refill(this.table, h("table", {}, h("caption", {}, this.options.label), h("thead", {}, h("tr", {}, heads)), h("tbody", {}, rows)));
  }
}

/** All events of a log, small. */
function overviewOf({ events, lane, lanes }, height, colour) {
  const picture = document.createElement("canvas");
  [picture.width, picture.height] = [MAP_WIDTH, height];
  const paint = picture.getContext("2d");
  paint.fillStyle = colour;
  paint.globalAlpha = 0.55;
  // At most some events per line of pixels: more would not be seen.
  const step = Math.max(1, Math.floor(events.length / (height * 6)));
  for (let index = 0; index < events.length; index += step) {
    const event = events[index];
    if (isHeartbeat(event)) continue;
    paint.fillRect(4 + ((MAP_WIDTH - 8) * (lane.get(event.node) + 0.5)) / lanes.length, (index * height) / events.length, 2, 1.5);
  }
  return picture;
}

// ---- shapes, as paths

function circle(x, y, r) {
  return `M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0Z`;
}

function cross(x, y, r) {
  return `M${x - r} ${y - r}l${2 * r} ${2 * r}M${x + r} ${y - r}l${-2 * r} ${2 * r}`;
}

/** The head of an arrow, as two strokes. */
function head(x1, y1, x2, y2) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const [tipX, tipY] = [x2 - 5 * Math.cos(angle), y2 - 5 * Math.sin(angle)];
  const barb = (turn) => `${(tipX - 8 * Math.cos(angle + turn)).toFixed(1)} ${(tipY - 8 * Math.sin(angle + turn)).toFixed(1)}`;
  return `M${barb(0.42)}L${tipX.toFixed(1)} ${tipY.toFixed(1)}L${barb(-0.42)}`;
}

const SHAPES = {
  dot: (x, y) => circle(x, y, 4),
  cross: (x, y) => cross(x, y, 6),
  crash: (x, y) => cross(x, y, 8) + circle(x, y, 8),
  start: (x, y) => `M${x - 6} ${y + 6}L${x} ${y - 7}L${x + 6} ${y + 6}Z`,
  timer: (x, y) => `M${x - 6} ${y - 6}H${x + 6}L${x - 6} ${y + 6}H${x + 6}Z`,
  disk: (x, y) => `M${x - 6} ${y - 5}h12v10h-12Z`,
  diamond: (x, y) => `M${x} ${y - 7}l7 7l-7 7l-7 -7Z`,
  retry: (x, y) => `M${x + 5} ${y - 3}a6 6 0 1 0 1 4M${x + 6} ${y - 7}v5h-5`,
  star: (x, y) => `M${x} ${y - 8}l2.4 5.4l5.6 0.6l-4.2 3.9l1.2 5.7l-5 -2.9l-5 2.9l1.2 -5.7l-4.2 -3.9l5.6 -0.6Z`,
  square: (x, y) => `M${x - 4} ${y - 4}h8v8h-8Z`,
};

function short(text, letters) {
  return text.length <= letters ? text : `${text.slice(0, Math.max(1, letters - 1))}…`;
}
