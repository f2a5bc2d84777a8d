// The lessons: a list by topic, and a page for each (lesson.js).

import { h, storage } from "./dom.js";
import { mountLesson } from "./lesson.js";

const TOPICS = [
  { name: "cache", title: "Cache and leases", about: "Why no read is stale." },
  { name: "purchases", title: "Purchases", about: "Why each purchase is decided once, and lasts." },
  { name: "leadership", title: "Leadership", about: "Why there is one leader at a time." },
  { name: "history", title: "History", about: "Why a log can be trusted." },
  { name: "catalogs", title: "Several catalogs", about: "Why one catalog answers at a time, and one that is reached." },
  { name: "conversations", title: "The protocol at work", about: "What the roles say to each other, recorded in the simulator." },
];

export function mount(root, context) {
  let unmount = () => {};
  let turn = 0;
  const show = async (path, query) => {
    const id = path[0] ?? null;
    const mine = (turn += 1);
    unmount();
    unmount = () => {};
    try {
      const list = await load("index");
      const entry = list.find((one) => one.id === id);
      const lesson = entry ? await load(entry.id) : null;
      if (turn !== mine) return;
      if (lesson) unmount = mountLesson(root, context, { lesson, list, query, topics: TOPICS });
      else showList(root, list, id);
    } catch {
      if (turn === mine) root.replaceChildren(h("p", { class: "view-failed" }, "The front-end does not answer, so the lesson cannot be loaded."));
    }
  };
  let shown = context.path[0] ?? null;
  context.onAddress((path, query) => {
    const isSame = (path[0] ?? null) === shown;
    shown = path[0] ?? null;
    if (!isSame || !unmount.goTo) show(path, query);
    else unmount.goTo(query);
    if (!isSame) window.scrollTo(0, 0);
  });
  show(context.path, context.query);
  return () => {
    turn += 1;
    unmount();
  };
}

async function load(name) {
  const response = await fetch(`/page/lessons/${name}.json`);
  if (!response.ok) throw new Error(`${response.status}`);
  return response.json();
}

function showList(root, list, unknown) {
  const done = storage.read("toystore.lessons") ?? [];
  root.replaceChildren(
    h("header", { class: "lessons-head" },
      h("h1", {}, "Lessons"),
      h("p", { class: "lessons-about" },
        "Each lesson leaves one rule of the store’s protocol out. A model checker, which drives the store’s own code, ",
        "found the shortest schedule that breaks a promise then. Beside it runs the same schedule with the rule.",
      ),
      unknown === null ? null : h("p", { class: "told", "data-kind": "error" }, `There is no lesson “${unknown}”.`),
    ),
    ...TOPICS.map((topic) => {
      const lessons = list.filter((one) => one.topic === topic.name);
      if (lessons.length === 0) return "";
      return h("section", { class: `topic topic-${topic.name}`, "aria-labelledby": `topic-${topic.name}` },
        h("div", { class: "topic-head" }, h("h2", { id: `topic-${topic.name}` }, topic.title), h("p", {}, topic.about)),
        h("ol", { class: "topic-list" }, lessons.map((one) => card(one, list.indexOf(one) + 1, done.includes(one.id)))),
      );
    }),
  );
}

function card(entry, number, isDone) {
  return h("li", {},
    h("a", { class: "lesson-card", href: `#/lessons/${entry.id}` },
      h("span", { class: "lesson-number" }, String(number)),
      h("span", { class: "lesson-card-text" },
        h("span", { class: "lesson-card-title" }, entry.title),
        h("span", { class: "lesson-card-rule" }, entry.rule),
      ),
      isDone ? h("span", { class: "mark-done", role: "img", "aria-label": "played to its end" }) : null,
    ),
  );
}
