// A lesson's page: a rule, a question, and two runs that are stepped through together.
//
// A position counts the steps that are done, from 0 on. Topology, diagram, state and log show the
// same position; so does the address (`?step=N&select=run.event`). Before the step that breaks the
// promise the page asks what will happen.

import { h, refill, s, say, storage } from "./dom.js";
import { excerpt } from "./lesson-code.js";
import { readLesson } from "./lesson-runs.js";
import { renderSpacetime } from "./spacetime.js";
import { topology } from "./topology.js";

const SPEEDS = [
  { name: "slow", ms: 5000 },
  { name: "normal", ms: 2800 },
  { name: "fast", ms: 1200 },
];
const ICONS = {
  start: "M5 4h3v16H5zM20 4v16L9 12z", back: "M17 4v16L6 12z", play: "M7 4v16l13-8z", pause: "M6 4h4v16H6zM14 4h4v16h-4z",
  on: "M5 4v16l9-8zM15 4h3v16h-3z", end: "M4 4v16l11-8zM16 4h3v16h-3z",
};
const TITLES = { without: "Without the rule", with: "With the rule" };
const KEYS = [
  ["←, →", "a step back, a step on"], ["Home, End", "to the start, to the end"], ["Space", "play, pause"],
  ["1, 2, 3", "answer the question"], ["N, P", "the next, the previous lesson"], ["?", "show or hide these keys"],
];

/** Shows a lesson. Returns what takes it away, with `goTo(query)` for a new address. */
export function mountLesson(root, context, { lesson, list, query, topics }) {
  const page = new LessonPage(root, context, readLesson(lesson), list, topics);
  page.goTo(query);
  const unmount = () => page.close();
  unmount.goTo = (newQuery) => page.goTo(newQuery);
  return unmount;
}

class LessonPage {
  constructor(root, context, lesson, list, topics) {
    Object.assign(this, { root, context, lesson, list, topics });
    this.position = null;
    this.selected = null;
    this.answered = null;
    this.speed = SPEEDS[1];
    this.timer = null;
    this.drawn = {};
    this.build();
    this.onKey = (event) => this.key(event);
    document.addEventListener("keydown", this.onKey);
  }

  close() {
    this.pause();
    document.removeEventListener("keydown", this.onKey);
    Object.values(this.drawn).forEach((drawn) => drawn.diagram.destroy());
  }

  // ---- the page

  build() {
    const { lesson } = this;
    const topic = this.topics.find((one) => one.name === lesson.topic);
    const place = this.list.findIndex((one) => one.id === lesson.id);
    this.previous = this.list[place - 1];
    this.next = this.list[place + 1];
    document.title = `${lesson.title} · toystore`;
    this.root.replaceChildren(
      h("article", { class: "lesson", "aria-labelledby": "lesson-title" },
        h("nav", { class: "lesson-crumbs", "aria-label": "Lessons" },
          h("a", { href: "#/lessons" }, "Lessons"), h("span", {}, `${topic.title} · ${place + 1} of ${this.list.length}`),
          this.link(this.previous, "← Previous", "lesson-previous"), this.link(this.next, "Next →", "lesson-next"),
        ),
        h("h1", { id: "lesson-title" }, lesson.title),
        h("p", { class: "lesson-rule" }, h("span", { class: "lesson-tag" }, lesson.asks === null ? "In short" : "The rule"), h("span", {}, lesson.rule)),
        this.buildPlayer(),
        this.buildPrompt(),
        h("div", { class: `runs runs-${lesson.kinds.length}` }, lesson.kinds.map((kind) => this.buildRun(kind))),
        this.buildState(),
        h("div", { class: `runs runs-${lesson.kinds.length}` }, lesson.kinds.map((kind) => this.buildRecord(kind))),
        this.buildAbout(),
      ),
    );
    for (const kind of lesson.kinds) this.drawDiagram(kind);
  }

  link(entry, text, name) {
    if (!entry) return h("span", { class: `${name} is-none`, "aria-hidden": "true" }, text);
    return h("a", { class: name, href: `#/lessons/${entry.id}`, title: entry.title }, text);
  }

  buildPlayer() {
    const button = (icon, label, press) =>
      h("button", { type: "button", class: `player-button player-${icon}`, "aria-label": label, title: label, click: press },
        s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[icon] })));
    this.buttons = {
      start: button("start", "To the start", () => this.step(0)),
      back: button("back", "A step back", () => this.step(this.position - 1)),
      play: button("play", "Play", () => this.toggle()),
      on: button("on", "A step on", () => this.step(this.position + 1)),
      end: button("end", "To the end", () => this.step(this.lesson.length)),
    };
    this.slider = h("input", {
      type: "range", class: "player-slider", min: "0", max: String(this.lesson.length), step: "1", "aria-label": "Step",
      input: () => this.step(Number(this.slider.value)),
    });
    this.count = h("output", { class: "player-count" });
    this.speeds = h("select", { class: "player-speed", "aria-label": "Speed", change: () => this.setSpeed() },
      SPEEDS.map(({ name }) => h("option", { value: name, selected: name === this.speed.name }, name)));
    this.keys = h("dl", { class: "player-keys", id: "player-keys", hidden: true }, KEYS.flatMap(([key, what]) => [h("dt", {}, key), h("dd", {}, what)]));
    this.help = h("button", { type: "button", class: "player-button player-help", "aria-label": "Keys", "aria-expanded": "false", "aria-controls": "player-keys", click: () => this.toggleKeys() }, "?");
    return h("section", { class: "player block-panel", "aria-label": "Player" },
      h("div", { class: "player-bar" },
        h("div", { class: "player-buttons" }, Object.values(this.buttons)),
        h("div", { class: "player-track" }, this.slider),
        this.count, this.speeds, this.help,
      ),
      this.keys,
    );
  }

  buildPrompt() {
    this.promptText = h("p", { class: "prompt-text" });
    this.choices = h("div", { class: "prompt-choices", role: "group", "aria-label": "Answers" });
    this.prompt = h("section", { class: "prompt", "aria-label": "What happens" }, this.promptText, this.choices);
    return this.prompt;
  }

  buildRun(kind) {
    const drawn = { topology: topology(this.lesson) };
    drawn.text = h("p", { class: "run-text" });
    drawn.log = h("ol", { class: "run-log", tabindex: "0", "aria-label": `Log, ${TITLES[kind].toLowerCase()}` });
    drawn.place = h("div", { class: "run-diagram" });
    this.drawn[kind] = drawn;
    return h("section", { class: `run run-${kind} block-panel`, "aria-labelledby": `run-${kind}` },
      h("h2", { id: `run-${kind}`, class: "run-title" }, h("span", { class: `run-mark run-mark-${kind}`, "aria-hidden": "true" }), this.lesson.kinds.length > 1 ? TITLES[kind] : "The conversation"),
      drawn.text,
      drawn.topology.svg,
    );
  }

  buildRecord(kind) {
    const drawn = this.drawn[kind];
    const whose = this.lesson.kinds.length > 1 ? `, ${TITLES[kind].toLowerCase()}` : "";
    return h("section", { class: `run run-${kind} block-panel`, "aria-label": `Diagram and log${whose}` },
      h("h2", { class: "run-part" }, `Space-time diagram${whose}`),
      drawn.place,
      h("h2", { class: "run-part" }, `Log${whose}`),
      drawn.log,
    );
  }

  drawDiagram(kind) {
    const run = this.lesson.runs[kind];
    const drawn = this.drawn[kind];
    const diverged = this.lesson.kinds.length > 1 ? run.steps[this.lesson.shared]?.from ?? null : null;
    drawn.diagram = renderSpacetime(drawn.place, run.log, {
      controls: false, detail: false, diverged, window: { from: 0, to: 0 },
      label: `Space-time diagram, ${TITLES[kind].toLowerCase()}`,
      onSelect: (event) => this.select(kind, event),
    });
  }

  buildState() {
    const { kinds, facts, names } = this.lesson;
    if (facts.length === 0) return null;
    this.cells = new Map();
    const rows = facts.map(({ name, node, fact }, index) => {
      const cells = kinds.map(() => h("td", {}, h("span", { class: "state-value" })));
      const differs = kinds.length > 1 ? h("td", { class: "state-differs" }) : null;
      this.cells.set(name, { cells, differs });
      const isFirst = index === 0 || facts[index - 1].node !== node;
      const isLast = index === facts.length - 1 || facts[index + 1].node !== node;
      const count = facts.filter((other) => other.node === node).length;
      return h("tr", { class: isLast ? "state-last" : null },
        isFirst ? h("th", { scope: "rowgroup", rowspan: String(count), class: "state-node" }, names.get(node)) : null,
        h("th", { scope: "row", class: "state-fact" }, fact), cells[0], differs, cells[1]);
    });
    const heads = kinds.length > 1
      ? [h("th", { scope: "col" }, TITLES.without), h("th", { scope: "col" }, h("span", { class: "visually-hidden" }, "Do they differ?")), h("th", { scope: "col" }, TITLES.with)]
      : [h("th", { scope: "col" }, "Value")];
    return h("section", { class: "state block-panel", "aria-labelledby": "state-title" },
      h("h2", { id: "state-title" }, "What each node knows"),
      h("p", { class: "state-legend" }, h("span", { class: "state-key" }, "◆"), " changed in this step", kinds.length > 1 ? [", ", h("span", { class: "state-key" }, "≠"), " the runs differ"] : ""),
      h("div", { class: "state-scroll", tabindex: "0", role: "region", "aria-labelledby": "state-title" },
        h("table", { class: "state-table", "aria-labelledby": "state-title" },
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Node"), h("th", { scope: "col" }, "Fact"), heads)),
          h("tbody", {}, rows)),
      ),
    );
  }

  buildAbout() {
    const { lesson } = this;
    const code = h("section", { class: "about-part" },
      h("h2", {}, "In the code"),
      ...lesson.code.map(([file, item]) => excerpt(file, item)),
    );
    if (lesson.asks === null) {
      this.about = null;
      return h("div", { class: "about block-panel" }, code);
    }
    this.about = h("details", { class: "about-details" },
      h("summary", {}, "What goes wrong without the rule, and why it helps"),
      h("div", { class: "about-text" },
        h("h3", {}, "Without it"), h("p", {}, lesson.wrong),
        h("h3", {}, "Why the rule prevents it"), h("p", {}, lesson.why),
        h("p", { class: "about-property" }, "The promise that is broken, in the model: ", h("q", {}, lesson.property), "."),
      ),
    );
    return h("div", { class: "about block-panel" }, this.about, code);
  }

  // ---- the position

  goTo(query) {
    const step = Number.parseInt(query.get("step") ?? "0", 10);
    const [kind, seq] = (query.get("select") ?? "").split(".");
    this.selected = this.lesson.kinds.includes(kind) && /^\d+$/.test(seq ?? "") ? { kind, seq: Number(seq) } : null;
    const position = Number.isFinite(step) ? Math.min(Math.max(step, 0), this.lesson.length) : 0;
    if (this.lesson.asks !== null && position > this.lesson.asks && this.answered === null) this.answered = "skipped";
    this.show(position, false);
  }

  /** Goes to a position, as a person wants it: stops at the question once. */
  step(wanted) {
    const { asks, length } = this.lesson;
    let position = Math.min(Math.max(wanted, 0), length);
    if (asks !== null && this.answered === null && position > asks) {
      if (this.position < asks) position = asks;
      else this.answered = "skipped";
    }
    if (position === this.position) {
      this.slider.value = String(position);
      return;
    }
    this.selected = null;
    this.show(position, true);
    this.keepAddress();
  }

  keepAddress() {
    const query = new URLSearchParams();
    if (this.position > 0) query.set("step", String(this.position));
    if (this.selected) query.set("select", `${this.selected.kind}.${this.selected.seq}`);
    this.context.address([this.lesson.id], query);
  }

  select(kind, event) {
    this.selected = event ? { kind, seq: event.seq } : null;
    for (const [other, drawn] of Object.entries(this.drawn)) {
      if (other !== kind) drawn.diagram.update({ selected: null });
    }
    this.keepAddress();
  }

  show(position, isSaid) {
    this.position = position;
    const { lesson } = this;
    for (const kind of lesson.kinds) this.showRun(kind);
    this.showState();
    this.showPlayer();
    this.showPrompt();
    if (position === (lesson.breaks ?? lesson.length)) this.finish();
    if (isSaid) this.context.say(this.spoken());
  }

  showRun(kind) {
    const { lesson, position } = this;
    const run = lesson.runs[kind];
    const drawn = this.drawn[kind];
    const done = Math.min(position, run.steps.length);
    const isOver = position > run.steps.length;
    const step = done === 0 ? run.start : run.steps[done - 1];
    drawn.topology.show(run, position);
    const isBroken = kind === "without" && lesson.asks !== null && done === run.steps.length;
    say(drawn.text, this.textOf(kind));
    drawn.text.classList.toggle("is-over", isOver);
    drawn.text.classList.toggle("is-broken", isBroken);
    refill(drawn.log, ...run.steps.slice(0, done).map((one, index) => this.logLine(kind, one, index, done)));
    drawn.log.scrollTop = drawn.log.scrollHeight;
    const isMine = this.selected?.kind === kind;
    drawn.diagram.update({
      window: { from: 0, to: step.to },
      selected: isMine ? this.selected.seq : null,
    });
    if (!isMine) {
      const scroll = drawn.place.querySelector(".st-scroll");
      scroll.scrollTop = scroll.scrollHeight;
    }
  }

  logLine(kind, step, index, done) {
    const isFirst = this.lesson.kinds.length > 1 && index === this.lesson.shared;
    return h("li", { class: `${index === done - 1 ? "is-now" : ""} ${isFirst ? "is-divergence" : ""}`, value: String(index + 1) },
      h("button", { type: "button", "aria-current": index === done - 1 ? "step" : null, click: () => this.step(index + 1) }, step.text));
  }

  textOf(kind) {
    const run = this.lesson.runs[kind];
    if (this.position === 0) return "Nothing has happened yet.";
    if (this.position > run.steps.length) {
      return kind === "without" ? `Over since step ${run.steps.length}. ${this.lesson.broken}` : `Over since step ${run.steps.length}: all promises hold.`;
    }
    const { text } = run.steps[this.position - 1];
    return kind === "without" && this.position === run.steps.length && this.lesson.broken ? `${text} ${this.lesson.broken}` : text;
  }

  showState() {
    const { lesson, position } = this;
    if (!this.cells) return;
    const steps = lesson.kinds.map((kind) => {
      const run = lesson.runs[kind];
      const done = Math.min(position, run.steps.length);
      return { step: done === 0 ? run.start : run.steps[done - 1], isOver: position > run.steps.length };
    });
    for (const [name, { cells, differs }] of this.cells) {
      const values = steps.map(({ step }) => step.known.get(name) || "–");
      steps.forEach(({ step, isOver }, index) => {
        const isChanged = position > 0 && !isOver && step.changed.has(name);
        say(cells[index].firstChild, values[index]);
        cells[index].classList.toggle("is-changed", isChanged);
      });
      if (differs) say(differs, values[0] === values[1] ? "" : "≠");
    }
  }

  showPlayer() {
    const { position, lesson } = this;
    this.slider.value = String(position);
    this.slider.setAttribute("aria-valuetext", `step ${position} of ${lesson.length}`);
    say(this.count, `${position} / ${lesson.length}`);
    const disable = (button, isDisabled) => button.setAttribute("aria-disabled", String(isDisabled));
    disable(this.buttons.start, position === 0);
    disable(this.buttons.back, position === 0);
    disable(this.buttons.on, position === lesson.length);
    disable(this.buttons.end, position === lesson.length);
    const label = this.timer === null ? "Play" : "Pause";
    this.buttons.play.querySelector("path").setAttribute("d", this.timer === null ? ICONS.play : ICONS.pause);
    this.buttons.play.setAttribute("aria-label", label);
    this.buttons.play.title = label;
  }

  // ---- the question

  showPrompt() {
    const { lesson, position } = this;
    const isAsked = position === lesson.asks && this.answered === null;
    this.prompt.classList.toggle("is-question", position === lesson.asks);
    say(this.promptText, this.promptOf());
    if (position !== lesson.asks) this.choices.replaceChildren();
    else if (isAsked || this.choices.childElementCount === 0 || this.shownAnswer !== this.answered) this.drawChoices();
    this.shownAnswer = this.answered;
  }

  promptOf() {
    const { lesson, position } = this;
    if (lesson.asks === null) {
      const note = position > 0 ? lesson.runs.with.steps[Math.min(position, lesson.length) - 1].note : null;
      return note ?? "Step through the conversation with ← and →.";
    }
    if (position === lesson.asks && position === 0) return lesson.question;
    if (position === 0) return "Step through both runs with ← and →. On the way there is a question.";
    if (position === lesson.asks) return lesson.question;
    const parts = [];
    if (position === lesson.asks + 1) {
      const verdict = typeof this.answered === "number" ? `${this.answered === 0 ? "Yes" : "No"}, without the rule: ` : "Without the rule: ";
      parts.push(`${verdict}${lower(lesson.choices[0])}.`);
    }
    if (position === lesson.breaks) parts.push(lesson.broken);
    if (position === lesson.shared + 1) parts.push(`Here the runs differ. ${lesson.instead}`);
    if (parts.length > 0) return parts.join(" ");
    if (position <= lesson.shared) return "So far both runs are the same.";
    return position < lesson.breaks ? `The runs differ since step ${lesson.shared + 1}.` : `With the rule: ${lower(lesson.instead)}`;
  }

  drawChoices() {
    const { choices, id } = this.lesson;
    this.order = shuffled(choices.map((_, index) => index), id);
    const isOpen = this.answered === null;
    this.choices.replaceChildren(
      ...this.order.map((choice, place) => {
        const verdict = isOpen || typeof this.answered !== "number" ? "" : choice === 0 ? "is-right" : choice === this.answered ? "is-wrong" : "";
        return h("button", { type: "button", class: `block plain choice ${verdict}`, click: () => this.answer(choice) },
          h("span", { class: "choice-number" }, String(place + 1)), choices[choice]);
      }),
    );
  }

  answer(choice) {
    if (this.position !== this.lesson.asks) return;
    if (this.answered === null || this.answered === "skipped") this.answered = choice;
    this.buttons.on.focus({ preventScroll: true });
    this.step(this.position + 1);
  }

  /** The promise is broken: the reasons may be read, and the lesson counts as played. */
  finish() {
    if (this.about && !this.wasOpened) this.about.open = true;
    this.wasOpened = true;
    const done = storage.read("toystore.lessons") ?? [];
    if (!done.includes(this.lesson.id)) storage.write("toystore.lessons", [...done, this.lesson.id]);
  }

  /** What a screen reader says of a step. */
  spoken() {
    const { lesson, position } = this;
    const texts = lesson.kinds.map((kind) => this.textOf(kind));
    const count = `Step ${position} of ${lesson.length}.`;
    const question = position === lesson.asks && this.answered === null ? ` Question: ${lesson.question} Press 1, 2 or 3.` : "";
    if (position <= lesson.shared || texts.length === 1) return `${count} ${texts[0]}${question}`;
    return `${count} Without the rule: ${texts[0]} With the rule: ${texts[1]}${question}`;
  }

  // ---- playing, keys

  toggle() {
    if (this.timer !== null) this.pause();
    else {
      if (this.position === this.lesson.length) this.step(0);
      this.timer = setTimeout(() => this.playOn(), 400);
    }
    this.showPlayer();
  }

  playOn() {
    const before = this.position;
    this.step(before + 1);
    const isStopped = this.position === this.lesson.length || (this.position === this.lesson.asks && this.answered === null) || this.position === before;
    this.timer = isStopped ? null : setTimeout(() => this.playOn(), this.speed.ms);
    this.showPlayer();
  }

  pause() {
    clearTimeout(this.timer);
    this.timer = null;
  }

  setSpeed() {
    this.speed = SPEEDS.find(({ name }) => name === this.speeds.value) ?? SPEEDS[1];
  }

  toggleKeys() {
    this.keys.hidden = !this.keys.hidden;
    this.help.setAttribute("aria-expanded", String(!this.keys.hidden));
  }

  key(event) {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
    const inside = event.target instanceof Element ? event.target : document.body;
    if (inside.closest("input:not([type=range]), select, textarea, [role=application]")) return;
    const isPressable = inside.closest("button, a, summary");
    const acts = {
      ArrowLeft: () => this.step(this.position - 1), ArrowRight: () => this.step(this.position + 1),
      Home: () => this.step(0), End: () => this.step(this.lesson.length), "?": () => this.toggleKeys(),
      n: () => this.open(this.next), p: () => this.open(this.previous),
      1: () => this.choose(0), 2: () => this.choose(1), 3: () => this.choose(2),
    };
    if (!isPressable) acts[" "] = () => this.toggle();
    const act = acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act || (event.shiftKey && event.key !== "?")) return;
    event.preventDefault();
    if (event.key !== " ") this.pause();
    act();
    this.showPlayer();
  }

  choose(place) {
    if (this.position === this.lesson.asks && this.order?.[place] !== undefined) this.answer(this.order[place]);
  }

  open(entry) {
    if (entry) location.hash = `#/lessons/${entry.id}`;
  }
}

/** In an order that looks drawn and is the same for the same lesson. */
function shuffled(items, seed) {
  let state = [...seed].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) >>> 0, 7);
  const rest = [...items];
  const taken = [];
  while (rest.length > 0) {
    state = (state * 1_664_525 + 1_013_904_223) >>> 0;
    taken.push(...rest.splice(Math.floor((state / 4_294_967_296) * rest.length), 1));
  }
  return taken;
}

function lower(text) {
  return text.charAt(0).toLowerCase() + text.slice(1);
}
