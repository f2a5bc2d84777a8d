// Where the events of a log stand in a space-time diagram. It computes, and touches no document.
//
// A lane for each node runs from top to bottom; each event is a mark on its node's lane, and each
// message an arrow from where it was sent to where it was received. Heartbeats that follow one
// another can share one row.

/** The most messages in one view. Beyond, the view is a window over the log. */
export const MOST_MESSAGES = 2000;

/** The height of a row, where the axis is the order. */
export const ROW = 26;
/** The room above the first event and below the last. */
export const MARGIN = 20;
/** An answer's id is its call's, with this ending. */
const ANSWER = ".answer";
/** The width of the column of times. */
export const GUTTER = 76;
/** A lane is never narrower; a diagram with more lanes than fit is scrolled. */
export const NARROWEST_LANE = 64;
/** The height that a diagram by time has at a zoom of 1, and the least per event. */
const TIME_HEIGHT = 900;

/** Splits a log into what a diagram needs to know of it, once. */
export function read(log) {
  const { header, events } = log;
  const lanes = lanesOf(header, events);
  const lane = new Map(lanes.map((name, place) => [name, place]));
  const messages = new Map();
  events.forEach((event, index) => {
    if (event.message === null || event.message === undefined) return;
    let message = messages.get(event.message);
    if (!message) {
      const { from, to, name } = event;
      message = { id: event.message, from, to, name, sent: -1, received: [], lost: -1, expired: -1 };
      messages.set(event.message, message);
    }
    if (event.kind === "send" && message.sent < 0) message.sent = index;
    else if (event.kind === "recv") message.received.push(index);
    else if (event.kind === "drop") message.lost = index;
    else if (event.kind === "timer") message.expired = index;
  });
  for (const message of messages.values()) message.isUnrecorded = isUnrecorded(message, messages, header);
  return { header, events, lanes, lane, messages };
}

/**
 * Whether a message may well have arrived, and the record of its receipt is missing: its receiver could not be
 * asked, the answer to it came, or it answers a call whose sender's record is missing as well.
 */
function isUnrecorded({ id, to, received, lost }, messages, header) {
  if (received.length > 0 || lost >= 0) return false;
  const call = id.endsWith(ANSWER) ? messages.get(id.slice(0, -ANSWER.length)) : undefined;
  return (
    (header.missing ?? []).includes(to) || (messages.get(id + ANSWER)?.received.length ?? 0) > 0 ||
    (call !== undefined && call.sent < 0)
  );
}

/** The header's roles, with nodes that it does not name (clients) before them. */
function lanesOf(header, events) {
  const named = header.roles ?? [];
  const others = new Set(events.map((event) => event.node).filter((node) => !named.includes(node)));
  return [...[...others].sort(), ...named];
}

/** Whether an event belongs to traffic that goes on whatever clients do. */
export function isHeartbeat(event) {
  return event.detail?.heartbeat === true;
}

/**
 * The outcome of a message: `arrived`, `lost`, `late`, `repeated`, or `unsent` or `unrecorded` if its sending or its
 * receipt was not recorded.
 */
export function fate(message) {
  if (message.sent < 0) return "unsent";
  if (message.isUnrecorded) return "unrecorded";
  if (message.received.length === 0) return "lost";
  if (message.received.length > 1) return "repeated";
  return message.expired >= 0 && message.expired < message.received[0] ? "late" : "arrived";
}

/**
 * The rows of a view: an event each, or several heartbeats.
 * `window` is `{from, to}`, indexes of events, `to` not included.
 */
export function rowsOf(model, { heartbeats = "collapsed", window = null } = {}) {
  const { from, to } = window ?? { from: 0, to: model.events.length };
  const rows = [];
  for (let index = from; index < to; index += 1) {
    if (heartbeats === "collapsed" && isHeartbeat(model.events[index])) {
      const last = rows.at(-1);
      if (last?.beats) last.beats.push(index);
      else rows.push({ beats: [index] });
    } else {
      rows.push({ index });
    }
  }
  return rows;
}

/** The window of at most `most` messages around the event at `middle`. */
export function windowAround(model, middle, most = MOST_MESSAGES) {
  const { events } = model;
  let [from, to, messages] = [middle, middle, 0];
  while (messages < most && (from > 0 || to < events.length)) {
    if (to < events.length) {
      if (events[to].kind === "send") messages += 1;
      to += 1;
    }
    if (from > 0 && messages < most) {
      from -= 1;
      if (events[from].kind === "send") messages += 1;
    }
  }
  return { from, to };
}

/**
 * Places rows and lanes for a width in pixels.
 * Returns `{width, height, x(lane), y(index), rows, yOfRow}`; `y` is undefined for what is not in view.
 */
export function place(model, rows, { axis = "order", width, zoom = 1 }) {
  const lanes = Math.max(model.lanes.length, 1);
  const laneWidth = Math.max(NARROWEST_LANE, (width - GUTTER - 8) / lanes);
  const x = (lane) => GUTTER + laneWidth * (lane + 0.5);
  const yOfRow = axis === "time" ? byTime(model, rows, zoom) : rows.map((_, row) => MARGIN + ROW * (row + 0.5));
  const ys = new Map();
  rows.forEach((row, place) => {
    for (const index of row.beats ?? [row.index]) ys.set(index, yOfRow[place]);
  });
  const height = Math.max(...lastOf(yOfRow), 0) + MARGIN + ROW / 2;
  return { axis, laneWidth, width: GUTTER + laneWidth * lanes + 8, height, x, y: (index) => ys.get(index), rows, yOfRow };
}

function lastOf(list) {
  return list.length === 0 ? [] : [list.at(-1)];
}

/** Heights in proportion to time; what happened earlier never stands lower. */
function byTime(model, rows, zoom) {
  const times = rows.map((row) => model.events[row.index ?? row.beats[0]].time_us);
  const first = times.length === 0 ? 0 : times[0];
  const span = Math.max(1, Math.max(...lastOf(times), 0) - first);
  const scale = (TIME_HEIGHT * zoom) / span;
  let lowest = 0;
  return times.map((time) => {
    lowest = Math.max(lowest, MARGIN + ROW / 2 + (time - first) * scale);
    return lowest;
  });
}

/** The first row at or below `top`, and the first below `bottom`. */
export function visibleRows(placed, top, bottom) {
  return [firstAtLeast(placed.yOfRow, top), firstAtLeast(placed.yOfRow, bottom)];
}

function firstAtLeast(sorted, value) {
  let [low, high] = [0, sorted.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (sorted[middle] < value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The shape of an event's mark, which tells its kind without colour. */
export function shapeOf(event) {
  switch (event.kind) {
    case "send":
    case "recv":
      return "dot";
    case "drop":
      return "cross";
    case "crash":
      return "crash";
    case "start":
      return "start";
    case "timer":
      return "timer";
    default:
      if (/sync|commit/.test(event.name)) return "disk";
      if (event.name.startsWith("cache")) return "diamond";
      if (event.name.startsWith("retry")) return "retry";
      if (/select|leader|epoch|nominat/.test(event.name)) return "star";
      return "square";
  }
}

/** What an event says, as a sentence. */
export function sentence(event) {
  const what = event.detail?.text ? `: ${event.detail.text}` : "";
  switch (event.kind) {
    case "send":
      return `${event.node} sends ${event.name} to ${event.to}${what}`;
    case "recv":
      return `${event.node} receives ${event.name} from ${event.from}${what}`;
    case "drop":
      return `${event.name} from ${event.from} to ${event.to} is lost${what}`;
    case "crash":
      return `${event.node} crashes${what}`;
    case "start":
      return `${event.node} starts${what}`;
    case "timer":
      return `${event.node}: ${event.name} runs out${what}`;
    default:
      return `${event.node}: ${event.name}${what}`;
  }
}

/** Whether `one` is a cause of `other`, by their vector clocks. */
export function isBefore(one, other) {
  // A node's count in a clock is the number of its last event that is a cause. (A loss is noticed
  // by no node, and counts for none.)
  const own = one.clock?.[one.node];
  if (own === undefined || one.kind === "drop" || one.seq === other.seq) return false;
  return own <= (other.clock?.[one.node] ?? 0);
}

/** A time since the first event, with a unit that suits it. */
export function since(first, time) {
  const us = time - first;
  if (us < 1000) return `${us} µs`;
  if (us < 1_000_000) return `${(us / 1000).toFixed(us < 10_000 ? 2 : 1)} ms`;
  return `${(us / 1_000_000).toFixed(2)} s`;
}
