// Builds elements, and remembers what a browser may forget.

const SVG = "http://www.w3.org/2000/svg";

/** An HTML element. Attributes that are functions are listeners; `false` and `null` are left out. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** An SVG element. */
export function s(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Sets an element's text, and leaves it alone if it has that text already. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * Puts other children into an element. What has the focus in it hands it on to what follows it: what
 * has the same name or, if that is not one thing, the same place.
 */
export function refill(element, ...children) {
  const stops = () => [...element.querySelectorAll("a[href], button, input, select, summary, [tabindex]")];
  const place = stops().indexOf(document.activeElement);
  const name = place < 0 ? null : nameOf(document.activeElement);
  element.replaceChildren(...children);
  if (place < 0) return;
  const after = stops();
  const named = after.filter((stop) => nameOf(stop) === name);
  const next = named.length === 1 ? named[0] : after[Math.min(place, after.length - 1)];
  next?.focus({ preventScroll: true });
}

function nameOf(element) {
  return element.getAttribute("aria-label") ?? element.textContent;
}

/** Draws `bytes` random bytes, as hexadecimal digits. */
export function draw(bytes) {
  const drawn = crypto.getRandomValues(new Uint8Array(bytes));
  return Array.from(drawn, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A time of day with seconds. */
export function clock(ms) {
  return new Date(ms).toLocaleTimeString("en-GB");
}

/** `1 order`, `2 orders`. */
export function count(number, thing) {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/** The browser's storage; in memory if the browser keeps none. */
export const storage = {
  memory: new Map(),
  read(name) {
    try {
      return JSON.parse(localStorage.getItem(name) ?? "null");
    } catch {
      return this.memory.get(name) ?? null;
    }
  },
  write(name, value) {
    this.memory.set(name, value);
    try {
      localStorage.setItem(name, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  },
};
