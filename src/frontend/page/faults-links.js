// The links between roles: two roles are chosen, and what passes between them is cut, held, slowed or
// mended. What is disturbed is listed.

import { h, say } from "./dom.js";

const ALL = "all others";
const LONGEST_DELAY_MS = 10_000;
const WAYS = [
  { value: "both", label: "both ways" },
  { value: "to", label: "calls of the first" },
  { value: "from", label: "calls of the second" },
];
const STATES = {
  cut: "is cut: connections are reset, and new ones refused",
  held: "is held: nothing arrives until it is mended",
};

/** `act(text, ...calls)` carries out what is asked for. */
export function linksPanel(act) {
  let links = [];
  const choice = (id, label, change) => {
    const select = h("select", { id, class: "field", change });
    return { select, element: h("p", { class: "lab-field" }, h("label", { for: id }, label), select) };
  };
  const first = choice("link-first", "Between", offerSeconds);
  const second = choice("link-second", "and", () => {});
  const way = choice("link-way", "Which calls", () => {});
  way.select.append(...WAYS.map(({ value, label }) => h("option", { value }, label)));
  const delay = h("input", { id: "link-delay", class: "field", type: "number", min: 1, max: LONGEST_DELAY_MS, step: 1, value: 300 });
  const verb = (label, condition, hint) => h("button", { type: "button", class: "block plain", title: hint, click: () => change(label, condition()) }, label);
  const told = h("p", { class: "lab-links-told" }, "All links are open.");
  const list = h("ul", { class: "lab-links", "aria-label": "Links that are disturbed" });
  const mendAll = h("button", { type: "button", class: "quiet", hidden: true, click: () => mend(links.filter(isDisturbed), "Mend all links") }, "Mend all");
  const element = h("section", { class: "block-panel lab-links-panel", "aria-labelledby": "lab-links-title", hidden: true },
    h("div", { class: "panel-head" }, h("h2", { id: "lab-links-title" }, "Links"), mendAll),
    h("div", { class: "lab-form", role: "group", "aria-labelledby": "lab-links-title" },
      first.element, second.element, way.element,
      h("p", { class: "lab-field" }, h("label", { for: "link-delay" }, "Slower by, in milliseconds"), delay),
      h("div", { class: "lab-buttons" },
        verb("Cut", () => ({ state: "cut", delay_ms: 0 }), STATES.cut),
        verb("Hold", () => ({ state: "held", delay_ms: 0 }), STATES.held),
        verb("Slow", () => ({ state: "open", delay_ms: Math.min(LONGEST_DELAY_MS, Math.max(1, Math.round(Number(delay.value)) || 1)) }), "calls and their answers take longer"),
        verb("Mend", () => ({ state: "open", delay_ms: 0 }), "everything passes again"))),
    told, list);
  const rows = new Map();

  function offerSeconds() {
    const [from, before] = [first.select.value, second.select.value];
    const others = new Set(links.flatMap((link) => (link.from === from ? [link.to] : link.to === from ? [link.from] : [])));
    second.select.replaceChildren(...[...others, ALL].map((role) => h("option", { value: role }, role)));
    if (others.has(before) || before === ALL) second.select.value = before;
  }

  function chosen() {
    const [one, other] = [first.select.value, second.select.value];
    const meant = (role) => other === ALL || role === other;
    return links.filter(({ from, to }) =>
      (way.select.value !== "from" && from === one && meant(to)) || (way.select.value !== "to" && to === one && meant(from)));
  }

  function change(label, condition) {
    const meant = chosen();
    const between = `${first.select.value} and ${second.select.value}`;
    if (meant.length === 0) return act(`${label}: between ${between} there are no such calls`);
    return act(`${label} the links between ${between}`, ...meant.map((link) => callOf(link, condition)));
  }

  function mend(meant, text) {
    act(text, ...meant.map((link) => callOf(link, { state: "open", delay_ms: 0 })));
  }

  function row(link) {
    const name = `${link.from} \u2192 ${link.to}`;
    const state = h("span", { class: "lab-state" });
    const item = h("li", { class: "lab-link" }, h("span", { class: "lab-link-name" }, name), state,
      h("button", { type: "button", class: "quiet", "aria-label": `Mend ${name}`, click: () => mend([link], `Mend ${name}`) }, "Mend"));
    list.append(item);
    return { item, state };
  }

  return {
    element,
    show(now) {
      element.hidden = now.length === 0;
      const isOther = now.map(nameOf).join() !== links.map(nameOf).join();
      links = now;
      if (isOther) {
        const roles = [...new Set(links.flatMap(({ from, to }) => [from, to]))];
        first.select.replaceChildren(...roles.map((role) => h("option", { value: role }, role)));
        offerSeconds();
      }
      const disturbed = links.filter(isDisturbed);
      for (const [name, { item }] of rows) {
        if (disturbed.some((link) => nameOf(link) === name)) continue;
        item.remove();
        rows.delete(name);
      }
      for (const link of disturbed) {
        if (!rows.has(nameOf(link))) rows.set(nameOf(link), row(link));
        const { item, state } = rows.get(nameOf(link));
        item.dataset.state = link.state;
        say(state, STATES[link.state] ?? `is slow: calls take ${link.delay_ms} ms longer`);
      }
      mendAll.hidden = disturbed.length === 0;
      say(told, disturbed.length === 0 ? "All links are open." : `${disturbed.length} of ${links.length} links are disturbed. An arrow leads from the role that calls.`);
    },
  };
}

const nameOf = ({ from, to }) => `${from}>${to}`;
const isDisturbed = ({ state, delay_ms: delay }) => state !== "open" || delay > 0;

function callOf({ from, to }, body) {
  return { path: `/lab/links/${encodeURIComponent(from)}/${encodeURIComponent(to)}`, body };
}
