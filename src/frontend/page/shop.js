// The shop: toys with price and live stock, buying, this browser's orders, and looking orders up.

import { clock, count, h, say } from "./dom.js";
import { picture } from "./toys.js";
import { brought } from "./purchases.js";

// Cards that are drawn. A store with more toys is searched.
const MOST_CARDS = 200;
// From how many toys on a search is of use.
const SEARCH_FROM = 25;
const TINTS = 4;

export function mount(root, context) {
  const cards = new Map();
  const grid = h("ul", { class: "toys", "aria-label": "Toys" });
  const restock = h("p", { class: "restock" }, "\u00a0");
  const search = h("input", { type: "search", id: "toy-search", autocomplete: "off" });
  const searchField = h("p", { class: "search", hidden: true }, h("label", { for: "toy-search" }, "Search"), search);
  const carriedOver = h("section", { class: "carried block-panel", hidden: true });
  const orders = ordersPanel(context);
  root.append(
    h("h1", { class: "visually-hidden" }, "Shop"),
    carriedOver,
    h("div", { class: "shop" },
      h("section", { class: "shelf", "aria-labelledby": "shelf-title" },
        h("div", { class: "shelf-head" }, h("h2", { id: "shelf-title" }, "Toys"), restock, searchField),
        grid,
      ),
      h("div", { class: "counter" }, orders.element, lookUpPanel(context)),
    ),
  );
  offerCarried(carriedOver, context);

  function show() {
    const { stock } = context.live.state;
    if (!stock) return showRestock();
    searchField.hidden = stock.length < SEARCH_FROM;
    const wanted = search.value.trim().toLowerCase();
    const shown = stock.filter((toy) => toy.name.toLowerCase().includes(wanted)).slice(0, MOST_CARDS);
    for (const [place, toy] of shown.entries()) {
      if (!cards.has(toy.name)) cards.set(toy.name, card(toy, stock.indexOf(toy), context));
      const { element, update } = cards.get(toy.name);
      update(toy, stockOfShop(stock, context));
      if (grid.children[place] !== element) grid.insertBefore(element, grid.children[place] ?? null);
    }
    while (grid.children.length > shown.length) grid.lastChild.remove();
    showRestock();
  }

  function showRestock() {
    const due = restockIn(context);
    const text = due === null ? "\u00a0" : `Sold-out toys are restocked in ${due} s`;
    say(restock, text);
    for (const { tick } of cards.values()) tick(due);
  }

  search.addEventListener("input", show);
  const stops = [
    context.live.subscribe(show),
    context.purchases.subscribe(() => {
      orders.show();
      for (const { showPurchases } of cards.values()) showPurchases();
    }),
  ];
  orders.show();
  const timer = setInterval(showRestock, 250);
  return () => {
    clearInterval(timer);
    for (const stop of stops) stop();
  };
}

/** The largest quantity seen, as the full scale of all gauges. */
function stockOfShop(stock, context) {
  return context.live.state.cluster?.catalog?.initial_stock ?? Math.max(1, ...stock.map((toy) => toy.quantity));
}

/** Seconds until the next restock, if the front-end knows. */
export function restockIn(context) {
  const { cluster, heardAt } = context.live.state;
  const due = cluster?.catalog?.next_restock_ms;
  if (due === undefined || due === null || context.live.state.mode === "lost") return null;
  return Math.max(0, Math.ceil((due - (Date.now() - heardAt)) / 1000));
}

function card(toy, place, context) {
  const { name } = toy;
  let last = toy;
  // What was bought before this page was loaded is told under "My orders".
  let own = null;
  const left = h("span", { class: "left" });
  const gauge = h("div", { class: "gauge", "aria-hidden": "true" }, h("span", { class: "gauge-fill" }));
  const price = h("span", { class: "price" }, toy.price.toFixed(2));
  const quantity = h("input", {
    type: "number", min: 1, step: 1, value: 1, inputmode: "numeric",
    "aria-label": `Quantity of ${name}`, class: "quantity",
  });
  const buy = h("button", { type: "submit", class: "block buy" }, "Buy");
  const asked = h("span", {}, "ask");
  const ask = h("button", { type: "button", class: "ask", click: query },
    asked, h("span", { class: "visually-hidden" }, `, the stock of ${name} from the cache or the catalog`));
  const told = h("p", { class: "told", role: "status" });
  const step = (by) => () => {
    const next = Math.max(1, (Number.parseInt(quantity.value, 10) || 1) + by);
    quantity.value = next;
  };
  // With the keyboard the arrows of the field do what these buttons do.
  const stepper = (label, by) =>
    h("button", { type: "button", class: "step", tabindex: -1, "aria-hidden": "true", click: step(by) }, label);
  const form = h("form", { class: "buy-form", novalidate: true, submit },
    h("div", { class: "stepper" }, stepper("\u2212", -1), quantity, stepper("+", 1)), buy);
  const element = h("li", { class: `toy tint-${place % TINTS}` },
    h("div", { class: "tile" }, picture(name), h("span", { class: "stamp", "aria-hidden": "true" }, "sold out")),
    h("div", { class: "toy-body" },
      h("div", { class: "toy-head" }, h("h3", {}, name), price),
      gauge,
      h("div", { class: "stock-line" }, left, ask),
      form,
      told,
    ),
  );

  async function query() {
    // It is not disabled: a button that has the focus keeps it.
    if (ask.getAttribute("aria-busy") === "true") return;
    ask.setAttribute("aria-busy", "true");
    const began = performance.now();
    try {
      const response = await fetch(`/products/${encodeURIComponent(name)}`, { signal: AbortSignal.timeout(5_000) });
      const body = await response.json();
      const ms = (performance.now() - began).toFixed(1);
      if (body.data) update(body.data);
      say(asked, response.ok ? `${response.headers.get("X-Cache") ?? "?"} ${ms} ms` : `${response.status}`);
    } catch {
      say(asked, "no answer");
    }
    ask.setAttribute("aria-busy", "false");
  }

  function submit(event) {
    event.preventDefault();
    const wanted = Number(quantity.value);
    if (!Number.isSafeInteger(wanted) || wanted < 1) {
      tell("error", "The quantity is a whole number from 1 on.");
      quantity.focus();
      return;
    }
    own = context.purchases.buy(name, wanted);
    showPurchases();
  }

  function tell(kind, text) {
    told.dataset.kind = kind;
    say(told, text);
  }

  function showPurchases() {
    const purchase = own && context.purchases.all().find((candidate) => candidate.key === own);
    if (!purchase) return;
    if (purchase.state === "bought") tell("done", `Order ${purchase.number}: ${purchase.quantity} × ${name}`);
    else if (purchase.state === "refused") tell("error", refusal(purchase));
    else if (purchase.state === "unknown") tell("error", purchase.message);
    else if (purchase.tries > 1) tell("waiting", `${purchase.message ?? ""} Sent ${purchase.tries} times, sold once at most.`);
    else tell("waiting", "Sent \u2026");
    if (purchase.state === "bought") context.live.refresh();
  }

  function refusal({ code, message, quantity: wanted }) {
    if (code !== 409) return message.replace(/^./, (first) => first.toUpperCase());
    if (last.quantity > 0) return `Not enough stock for ${wanted}: ${last.quantity} left.`;
    const due = restockIn(context);
    return due === null ? "Sold out." : `Sold out. The next restock is due in ${due} s.`;
  }

  function update(next, full) {
    last = next;
    const isOut = next.quantity === 0;
    element.classList.toggle("sold-out", isOut);
    say(left, isOut ? "sold out" : `${next.quantity} left`);
    if (full) gauge.style.setProperty("--fill", Math.min(1, next.quantity / full));
    say(price, next.price.toFixed(2));
  }

  function tick() {
    if (own && told.dataset.kind === "error") showPurchases();
  }

  update(toy, 1);
  return { element, update, showPurchases, tick };
}

const STATES = {
  pending: { mark: "waiting", label: "Waiting for an answer" },
  bought: { mark: "done", label: "Bought" },
  refused: { mark: "error", label: "Refused" },
  unknown: { mark: "doubt", label: "Not answered" },
};

function ordersPanel(context) {
  const list = h("ol", { class: "orders", "aria-label": "My orders" });
  const empty = h("p", { class: "empty" }, "Nothing bought yet. Each purchase keeps its key here until it is answered, so that a reload sells nothing twice.");
  const forget = h("button", { type: "button", class: "quiet", click: () => context.purchases.forget() }, "Forget");
  const element = h("section", { class: "block-panel my-orders", "aria-labelledby": "orders-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "orders-title" }, "My orders"), forget),
    empty,
    list,
  );

  function row(purchase) {
    const { mark, label } = STATES[purchase.state] ?? STATES.unknown;
    const what = `${purchase.quantity} × ${purchase.name}`;
    const title = purchase.state === "bought" ? `Order ${purchase.number}` : label;
    const actions = [];
    if (purchase.state === "pending" && purchase.tries > 1) {
      actions.push(h("button", { type: "button", class: "quiet", click: () => context.purchases.giveUp(purchase.key) }, "Stop asking"));
    }
    if (purchase.state === "unknown") {
      actions.push(h("button", { type: "button", class: "quiet", click: () => context.purchases.askAgain(purchase.key) }, "Ask again"));
    }
    if (purchase.state === "bought" && context.views.includes("trace")) {
      actions.push(h("a", { class: "quiet", href: `#/trace/${purchase.requestId}`, "aria-label": `Trace of order ${purchase.number}` }, "Trace"));
    }
    return h("li", { class: "order", "data-state": purchase.state },
      h("span", { class: `mark mark-${mark}`, "aria-hidden": "true" }),
      h("div", { class: "order-text" },
        h("p", { class: "order-what" }, h("strong", {}, title), ` ${what}`),
        h("p", { class: "order-why" }, `${clock(purchase.at)}${purchase.message ? ` · ${purchase.message}` : ""}`),
      ),
      h("div", { class: "order-actions" }, actions),
    );
  }

  let spoken = null;
  let rows = new Map();
  function show() {
    const all = context.purchases.all();
    empty.hidden = all.length > 0;
    forget.hidden = all.every((purchase) => purchase.state === "pending");
    // A row that stays the same keeps its element, and with it the focus.
    const before = rows;
    rows = new Map(all.map((purchase) => {
      const { key, state, message, number, tries } = purchase;
      const version = JSON.stringify([state, message, number, tries > 1]);
      const old = before.get(key);
      return [key, old?.version === version ? old : { version, element: row(purchase) }];
    }));
    for (const [key, old] of before) if (rows.get(key) !== old) old.element.remove();
    let place = 0;
    for (const { element: item } of rows.values()) {
      if (list.children[place] !== item) list.insertBefore(item, list.children[place] ?? null);
      place += 1;
    }
    const waiting = all.filter((purchase) => purchase.state === "pending" && purchase.tries > 1).length;
    const said = waiting > 0 ? `${count(waiting, "purchase")} waiting for an answer` : "";
    if (spoken !== null && said !== spoken && said) context.say(said);
    spoken = said;
  }
  return { element, show };
}

function lookUpPanel(context) {
  const number = h("input", { id: "look-up-number", inputmode: "numeric", autocomplete: "off", class: "field", placeholder: "0" });
  const button = h("button", { type: "submit", class: "block" }, "Look up");
  const result = h("p", { class: "told look-up-result", role: "status" });
  const form = h("form", { class: "look-up", novalidate: true, submit },
    h("label", { for: "look-up-number" }, "Order number"),
    h("div", { class: "look-up-row" }, number, button),
    result,
  );

  async function submit(event) {
    event.preventDefault();
    const wanted = number.value.trim();
    const tell = (kind, text) => {
      result.dataset.kind = kind;
      say(result, text);
    };
    if (!/^\d+$/.test(wanted)) {
      tell("error", "An order's number is a whole number from 0 on.");
      number.focus();
      return;
    }
    tell("waiting", "Asked \u2026");
    try {
      const response = await fetch(`/orders/${wanted}`, { signal: AbortSignal.timeout(15_000) });
      const { data, error } = await response.json();
      if (data) tell("done", `Order ${data.number}: ${data.quantity} × ${data.name}`);
      else tell("error", error.message.replace(/^./, (first) => first.toUpperCase()));
    } catch {
      tell("error", "The front-end does not answer.");
    }
  }

  return h("section", { class: "block-panel", "aria-labelledby": "look-up-title" },
    h("div", { class: "panel-head" }, h("h2", { id: "look-up-title" }, "Look up an order")),
    form,
  );
}

/** Offers to finish purchases that another front-end's page began. */
function offerCarried(panel, context) {
  const purchases = brought(context.query);
  if (purchases.length === 0) return;
  const finish = () => {
    context.purchases.take(purchases);
    context.address([], null);
    panel.hidden = true;
  };
  panel.hidden = false;
  panel.append(
    h("h2", {}, "Brought along from another front-end"),
    h("p", {}, `${count(purchases.length, "purchase")} had no answer there. Each keeps its key, so that it is sold once at most.`),
    h("ul", { class: "carried-list" }, purchases.map(({ name, quantity }) => h("li", {}, `${quantity} × ${name}`))),
    h("button", { type: "button", class: "block", click: finish }, "Finish here"),
  );
}
