// Shows an item of the sources, with its comment and its lines' numbers. The sources are those that
// the executable was built from.

import { h } from "./dom.js";

/** Lines of an excerpt at most; the link leads to the others. */
const MOST_LINES = 70;

/** A closed excerpt of `file`, which is loaded when it is first opened. */
export function excerpt(file, item) {
  const address = `/page/${file}`;
  const name = h("code", { class: "code-name" }, h("span", { class: "code-file" }, `${file} `), item);
  const lines = h("span", { class: "code-lines" });
  const place = h("div", { class: "code-place" });
  const open = async () => {
    if (!details.open || place.childElementCount > 0) return;
    try {
      const response = await fetch(address);
      if (!response.ok) throw new Error(String(response.status));
      const found = itemOf((await response.text()).split("\n"), item);
      lines.textContent = found.count > 1 ? ` lines ${found.first} to ${found.first + found.count - 1}` : ` line ${found.first}`;
      place.replaceChildren(
        h("pre", { class: "code-text", tabindex: "0", "aria-label": `${item} in ${file}` }, h("code", {}, found.lines.flatMap((line, index) => [h("span", { class: "code-number", "aria-hidden": "true" }, String(found.first + index).padStart(4)), ` ${line}\n`]))),
        h("p", {}, h("a", { href: `${address}#:~:text=${encodeURIComponent(found.declaration)}` }, "The whole file")),
      );
    } catch {
      place.replaceChildren(h("p", { class: "told", "data-kind": "error" }, `The front-end does not hand out ${file}.`));
    }
  };
  const details = h("details", { class: "code", toggle: () => open() }, h("summary", {}, name, lines), place);
  return details;
}

/** The lines of an item: its comment, its declaration, and what follows down to its closing brace. */
export function itemOf(lines, item) {
  const declares = new RegExp(`^\\s*(pub(\\([^)]*\\))? )?(const )?(async )?(fn|struct|enum|const) ${item}\\b`);
  const at = lines.findIndex((line) => declares.test(line));
  if (at < 0) throw new Error(`no ${item}`);
  let first = at;
  while (first > 0 && /^\s*(\/\/\/|#\[)/.test(lines[first - 1])) first -= 1;
  const indent = lines[at].match(/^\s*/)[0];
  let last = at;
  const isEnd = (line) => line.startsWith(`${indent}}`) || (line.endsWith(";") && !line.startsWith(`${indent} `));
  while (last < lines.length - 1 && !(isEnd(lines[last]) || (last === at && lines[last].endsWith(" {}")))) last += 1;
  const count = Math.min(last - first + 1, MOST_LINES);
  const declaration = lines[at].trim().replace(/ \{$/, "");
  return { first: first + 1, count, lines: lines.slice(first, first + count), declaration };
}
