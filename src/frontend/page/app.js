// The page's frame: addresses, navigation, colours, and what is said about the connection.
//
// An address is `#/<view>/<part>?<query>`. A view is a module that exports
// `mount(root, context) -> unmount`; it is loaded when it is first shown.
//
// context:
//   path          the parts of the address behind the view's name, decoded
//   query         the address's query, as URLSearchParams
//   live          what the front-end tells (live.js)
//   purchases     what this browser bought (purchases.js)
//   views         the names of all views, so that one view can link to another if it is there
//   say(text)     has a screen reader say it when it has time
//   onAddress(f)  calls f(path, query) when the address changes within the view; without it the
//                 view is mounted anew
//   address(path, query, {replace})  changes the address within the view, and tells the view
//                 nothing: with `replace` (the default) without an entry in the history

import { h, say, storage } from "./dom.js";
import { Live } from "./live.js";
import { Purchases, carried } from "./purchases.js";

const VIEWS = [
  { name: "shop", title: "Shop" },
  { name: "cluster", title: "Cluster" },
  { name: "trace", title: "Trace" },
  { name: "lessons", title: "Lessons" },
  { name: "faults", title: "Faults" },
];

const THEMES = [
  { name: "system", label: "Colours: as the system" },
  { name: "light", label: "Colours: light" },
  { name: "dark", label: "Colours: dark" },
];

const MODES = {
  connecting: "connecting",
  stream: "live",
  polling: "polling",
  lost: "no answer",
};

const element = (id) => document.getElementById(id);
const main = element("main");
const live = new Live();
const purchases = new Purchases();
let shown = { view: null, unmount: () => {}, onAddress: null, turn: 0 };

function parseAddress() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [name, ...rest] = path.split("/").map(decode);
  const view = VIEWS.find((candidate) => candidate.name === name);
  return { view: view ?? VIEWS[0], path: view ? rest : [], query: new URLSearchParams(query ?? "") };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function format(view, path, query) {
  const parts = [view.name, ...path].map(encodeURIComponent).join("/");
  const text = query?.toString() ?? "";
  return `#/${parts}${text ? `?${text}` : ""}`;
}

async function show({ isFirst = false } = {}) {
  const { view, path, query } = parseAddress();
  if (shown.view === view && shown.onAddress) {
    shown.onAddress(path, query);
    return;
  }
  const turn = shown.turn + 1;
  shown.unmount();
  shown = { view, unmount: () => {}, onAddress: null, turn };
  document.title = `${view.title} · toystore`;
  for (const link of element("views").querySelectorAll("a")) {
    if (link.dataset.view === view.name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  let mounted;
  try {
    mounted = await import(`/page/${view.name}.js`);
  } catch {
    main.replaceChildren(
      h("p", { class: "view-failed" }, `The front-end does not answer, so the view ${view.title} cannot be loaded.`),
    );
    return;
  }
  // Another view may have been asked for while this one was loaded.
  if (shown.turn !== turn) return;
  const root = h("div", { class: `view view-${view.name}` });
  main.replaceChildren(root);
  if (!isFirst) {
    window.scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  shown.unmount = mounted.mount(root, context(view, path, query)) ?? (() => {});
}

function context(view, path, query) {
  return {
    path,
    query,
    live,
    purchases,
    views: VIEWS.map((candidate) => candidate.name),
    say: (text) => say(element("announcer"), text),
    onAddress: (listener) => {
      shown.onAddress = listener;
    },
    address: (newPath, newQuery, { replace = true } = {}) => {
      const text = format(view, newPath, newQuery);
      if (replace) history.replaceState(null, "", text);
      else history.pushState(null, "", text);
    },
  };
}

function showTheme() {
  const stored = storage.read("toystore.theme");
  const theme = THEMES.find((candidate) => candidate.name === stored) ?? THEMES[0];
  if (theme.name === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme.name;
  element("theme").dataset.theme = theme.name;
  element("theme").title = theme.label;
  say(element("theme-label"), theme.label);
  return theme;
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(showTheme()) + 1) % THEMES.length];
  storage.write("toystore.theme", next.name);
  showTheme();
}

/** Says in the bar how the page hears of the store, and beneath it when it hears nothing. */
function showLink() {
  const { mode, others } = live.state;
  const label = element("link-state");
  label.dataset.mode = mode;
  say(label, MODES[mode]);
  const isLost = mode === "lost";
  const notice = element("notice");
  if (isLost === !notice.hidden) return;
  notice.hidden = !isLost;
  if (!isLost) {
    say(element("alarm"), "The front-end answers again.");
    purchases.hurry();
    return;
  }
  const waiting = purchases.pending();
  const text = `The front-end at ${location.host} does not answer. This page goes on when it is back.`;
  say(element("notice-text"), text);
  say(element("alarm"), text);
  const { view } = parseAddress();
  const target = waiting.length > 0 ? `#/shop?${carried(waiting)}` : `#/${view.name}`;
  element("notice-links").replaceChildren(
    ...others.map(({ role, address }) =>
      h("li", {}, h("a", { class: "block", href: `${location.protocol}//${address}/${target}` }, `Go on at ${role}`)),
    ),
  );
}

element("views").replaceChildren(
  ...VIEWS.map(({ name, title }) =>
    h("li", {}, h("a", { href: `#/${name}`, "data-view": name }, title)),
  ),
);
element("theme").addEventListener("click", nextTheme);
element("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => show());
showTheme();
live.subscribe(showLink);
purchases.resume();
live.start();
show({ isFirst: true });
