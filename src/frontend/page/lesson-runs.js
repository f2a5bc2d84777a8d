// Reads a lesson: from its short lists to events in the format of docs/events.md, and from what
// each step changes to what each node knows after it.

const KINDS = ["without", "with"];

/** The facts of a node, in the order in which they are best read. */
const FACTS = [
  "shows", "stock", "on disk", "journal", "keys", "held by", "locked", "leadership", "backup", "sells",
  "cache", "lease", "floor", "leads", "log", "disk", "is writing", "waits for", "knows", "row",
  "duty", "hears front-ends", "reaches", "clock",
];

/**
 * A lesson's file, ready to be shown:
 *
 * runs     `without` and `with` the rule, each {log, steps}; a step is {text, note, from, to, known,
 *          changed}: its events are log.events[from..to], `known` maps "node/fact" to a value, and
 *          `changed` has the names that are new
 * shared   how many steps both runs have in common
 * length   the steps of the longer run
 * asks     the position at which the question is due, before the step that it is about
 * breaks   the position at which the promise is broken
 * facts    all facts of both runs in one order: {name, node, fact}
 * names    a node's name for people
 */
export function readLesson(lesson) {
  const names = new Map(lesson.nodes);
  const runs = Object.fromEntries(
    KINDS.filter((kind) => lesson[kind]).map((kind) => [kind, readRun(lesson, kind, names)]),
  );
  const kinds = Object.keys(runs);
  return {
    ...lesson,
    names,
    runs,
    kinds,
    shared: lesson.both.length,
    length: Math.max(...kinds.map((kind) => runs[kind].steps.length)),
    asks: runs.without ? lesson.asks : null,
    breaks: runs.without ? runs.without.steps.length : null,
    facts: factsOf(lesson, Object.values(runs)),
  };
}

function readRun(lesson, kind, names) {
  const steps = [...lesson.both, ...lesson[kind]];
  const reader = new Reader(names);
  const known = new Map();
  note(known, lesson.start, names);
  const read = [{ text: "", note: null, from: 0, to: 0, known: new Map(known), changed: new Set() }];
  for (const step of steps) {
    const from = reader.events.length;
    step.events.forEach((event) => reader.add(event, read.length));
    const changed = note(known, step.state ?? {}, names);
    read.push({ text: step.text, note: step.note ?? read[read.length - 1].note, from, to: reader.events.length, known: new Map(known), changed });
  }
  const header = {
    toystore: "events", format: 1, version: "", commit: null, source: lesson.model === "simulator" ? "simulator" : "model",
    seed: null, rule: kind === "without" ? lesson.id : null, roles: [...names.values()], dropped: 0,
  };
  return { log: { header, events: reader.events }, start: read[0], steps: read.slice(1) };
}

/** Sets what a step says about the nodes. Returns the names of what it set. */
function note(known, state, names) {
  const changed = new Set();
  for (const [node, facts] of Object.entries(state)) {
    if (!names.has(node)) continue;
    for (const [fact, value] of Object.entries(facts)) {
      known.set(`${node}/${fact}`, value);
      changed.add(`${node}/${fact}`);
    }
  }
  return changed;
}

function factsOf(lesson, runs) {
  const found = new Map();
  for (const run of runs) {
    for (const step of [run.start, ...run.steps]) {
      for (const name of step.known.keys()) found.set(name, true);
    }
  }
  const order = lesson.nodes.map(([node]) => node);
  const facts = [...found.keys()].map((name) => {
    const [node, fact] = name.split("/");
    return { name, node, fact };
  });
  const rank = ({ node, fact }) => order.indexOf(node) * FACTS.length + FACTS.indexOf(fact);
  return facts.sort((one, other) => rank(one) - rank(other));
}

/** Makes events of `["send", message, from, to, name]`, `["recv", message]`, `["local", node, name]`. */
class Reader {
  constructor(names) {
    this.names = names;
    this.events = [];
    this.messages = new Map();
    this.clocks = new Map();
    this.incarnations = new Map();
  }

  add([kind, first, ...rest], step) {
    if (kind === "send") {
      const [from, to, name] = rest;
      this.messages.set(first, { message: first, from: this.names.get(from), to: this.names.get(to), name });
    }
    const about = this.messages.get(first);
    const isMessage = ["send", "recv", "drop"].includes(kind);
    const node = !isMessage ? this.names.get(first) : kind === "recv" ? about.to : about.from;
    const name = isMessage ? about.name : rest[0];
    if (kind === "start") this.incarnations.set(node, (this.incarnations.get(node) ?? 1) + 1);
    const clock = this.tick(kind, node, about, isMessage);
    this.events.push({
      seq: this.events.length, node, incarnation: this.incarnations.get(node) ?? 1, kind,
      message: isMessage ? about.message : null, from: isMessage ? about.from : null, to: isMessage ? about.to : null,
      name, time_us: step * 1_000_000, clock, trace: null, span: null, detail: { step },
    });
  }

  /** The vector clock of the next event at `node`. A lost message moves none. */
  tick(kind, node, about, isMessage) {
    if (kind === "drop") return { ...about.clock };
    const clock = { ...this.clocks.get(node) };
    if (kind === "recv") {
      for (const [other, count] of Object.entries(about.clock ?? {})) clock[other] = Math.max(clock[other] ?? 0, count);
    }
    clock[node] = (clock[node] ?? 0) + 1;
    this.clocks.set(node, clock);
    if (isMessage && kind === "send") about.clock = clock;
    return clock;
  }
}
