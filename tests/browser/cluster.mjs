// The cluster, live: what is killed, what is stopped, and what the page says of it.

import { assert, equal, eventually, test } from "./support.mjs";

// What another terminal kills is to be shown within half a second.
const SHOWN_MS = 500;
const TRIES = 3;

const state = (page, role) => page.locator(".replicas tr", { hasText: role }).first().getAttribute("data-state");
const leader = (page) => page.locator(".fact dd").first().textContent();
const feed = (page) => page.locator(".feed").textContent();
/** The rows of the feed, newest first: who recorded it, what it was, and when. */
const rows = (page) => page.locator(".feed li:not(.feed-end)").evaluateAll((items) => items.map((item) => ({
  role: item.querySelector(".feed-role").textContent,
  text: item.querySelector(".feed-text").textContent,
  at: Date.parse(item.querySelector("time").getAttribute("datetime")),
})));
const told = async (page, role, text) => (await rows(page)).filter((row) => row.role === role && row.text.startsWith(text));
const linkState = (page) => page.locator("#link-state").textContent();

test("a leader dies, the next one takes over, and the first catches up", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "cluster"));
  await eventually("order-3 leads", async () => (await leader(page)) === "order-3");
  await store.verb("kill", "order-3");
  await eventually("order-2 leads", async () => (await leader(page)) === "order-2");
  equal(await state(page, "order-3"), "down", "the state of order-3");
  for (let bought = 0; bought < 12; bought += 1) await store.buy("Slinky", 1);
  await store.verb("start", "order-3");
  await eventually("order-3 follows", async () => (await state(page, "order-3")) === "follower");
  // Each role tells what it did itself.
  for (const [role, text] of [
    ["frontend", "Selected leader 2, epoch 2"],
    ["frontend", "Replica 3 is down"],
    ["catalog", "Recorded that replica 2 leads, epoch 2"],
    ["order-2", "This replica becomes the leader, epoch 2"],
    ["order-1", "Heard that replica 2 leads, epoch 2"],
    ["order-3", "Caught up 12 orders"],
    ["order-2", "Replica 3 is up to date"],
  ]) await eventually(`${role}: ${text}`, async () => (await told(page, role, text)).length === 1);
  const times = (await rows(page)).map(({ at }) => at);
  equal(times, [...times].sort((one, other) => other - one), "the newest is first");
  equal(await leader(page), "order-2", "who leads once order-3 is back");
});

test("what is killed is shown within half a second", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "cluster"));
  const took = [];
  for (const role of ["order-1", "catalog"]) {
    let best = Infinity;
    for (let tried = 0; tried < TRIES && best > SHOWN_MS; tried += 1) {
      await eventually(`${role} is up`, async () => !["down", null].includes(await state(page, role)));
      // The page itself notes when it shows it, so that the test's own way to the page does not count.
      await page.evaluate((name) => {
        const row = [...document.querySelectorAll(".replicas tr")].find((line) => line.textContent.startsWith(name));
        window.shownAt = null;
        new MutationObserver(() => {
          if (row.dataset.state === "down") window.shownAt ??= Date.now();
        }).observe(row, { attributes: true });
      }, role);
      const killedAt = await page.evaluate(() => Date.now()); // by the page's own clock
      store.signal(role, "SIGKILL");
      const shownAt = await eventually(`${role} is shown as down`, () => page.evaluate(() => window.shownAt));
      best = Math.min(best, shownAt - killedAt);
      await store.verb("start", role);
    }
    took.push(`${role} ${best} ms`);
    assert(best <= SHOWN_MS, `it took ${took.join(", ")}`);
  }
  console.log(`        shown after: ${took.join(", ")}`);
});

test("a page goes on when its front-end is started again", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "cluster"));
  await eventually("it follows", async () => (await linkState(page)) === "live");
  await store.verb("kill", "frontend");
  await eventually("the page says so", async () => (await linkState(page)) === "no answer");
  assert((await page.locator("#notice").textContent()).includes("does not answer"), "the notice");
  await store.verb("start", "frontend");
  await eventually("it follows again", async () => (await linkState(page)) === "live");
  assert(!(await page.locator("#notice").isVisible()), "the notice is gone");
});

test("what was recorded before a page opened is told, and once, also by a front-end that starts again", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ restockMs: 1_000, stock: 1 });
  await store.buy("Slinky", 1);
  await eventually("Slinky is restocked", async () => (await store.quantity("Slinky")) === 1);
  const page = await openPage(store.url(0, "cluster"));
  await eventually("the restock is told", async () => (await told(page, "catalog", "Restocked Slinky")).length === 1);
  const [{ at }] = await told(page, "catalog", "Restocked Slinky");
  assert(at < (await page.evaluate(() => performance.timeOrigin)), "it was before the page opened");
  await store.buy("Tux", 1);
  await eventually("an invalidation is told", async () => (await told(page, "frontend", "Invalidated Tux")).length > 0
    || ((await store.quantity("Tux")), (await store.buy("Tux", 1)), false));
  await store.verb("kill", "frontend");
  await store.verb("start", "frontend");
  await eventually("the new front-end tells what it does", async () => (await told(page, "frontend", "Starts")).length === 2);
  await eventually("it has heard the others again", async () => (await store.get("/events?once").catch(() => true), (await told(page, "catalog", "Restocked")).length > 0));
  equal((await told(page, "catalog", "Restocked Slinky")).length, 1, "how often the restock is told");
  equal((await told(page, "order-1", "Starts")).length, 1, "how often the start is told");
});

test("events that are not kept any more are counted", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "cluster"));
  await eventually("events are told", async () => (await rows(page)).length > 0);
  assert(!(await feed(page)).includes("not kept any more"), "nothing is missing at first");
  // A front-end that heard of 350, and keeps 310, of which a page keeps 300; the role itself dropped 7.
  const told = [...Array(310).keys()].map((number) => ({ number: number + 40, at_ms: number, role: "order-1", name: "start", kind: "replica", text: `event ${number}` }));
  told[309] = { ...told[309], name: "dropped", text: "7 earlier changes are not kept any more", dropped: 7 };
  const lines = (name, data, id) => `${id ? `id: ${id}\n` : ""}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;
  const body = [
    lines("feed-note", { records: true, from: 0, dropped: 40 }),
    ...told.map((event) => lines("feed", event, `1-${event.number}`)),
    lines("cluster", (await store.get("/cluster")).data),
  ].join("");
  await page.route("**/events?*", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  await page.reload();
  await eventually("they are counted", async () => (await page.locator(".feed-end").textContent()) === "50 earlier events are not kept any more");
  equal((await rows(page)).length, 300, "events that are shown");
  equal((await rows(page))[0].text, "7 earlier changes are not kept any more", "what a role says of itself");
});

/** Answers the page's events with the state of a store on PostgreSQL: returns what sets that. */
async function feedCluster(page) {
  let body = "";
  await page.route("**/events?*", (route) => route.fulfill({ contentType: "text/event-stream", body }));
  return (cluster) => (body = `event: cluster\ndata: ${JSON.stringify(cluster)}\n\n`);
}

/** The catalogs that the diagram draws: name, state, and how their shape is filled and crossed out. */
const catalogs = (page) => page.locator(".node-catalog").evaluateAll((nodes) => nodes.map((node) => ({
  name: node.querySelector(".node-name").textContent,
  state: node.dataset.state,
  words: node.querySelector(".node-state").textContent,
  isStriped: getComputedStyle(node.querySelector(".shape")).fill.includes("stripes-catalog"),
  isCrossed: getComputedStyle(node.querySelector(".cross")).visibility === "visible",
})));
/** How many links are drawn whose path ends at this node. */
const linksTo = (page, name) => page.locator(".diagram").evaluate((diagram, wanted) => {
  const node = [...diagram.querySelectorAll(".node")].find((one) => one.querySelector(".node-name").textContent === wanted);
  const [x, y] = /translate\((\S+) (\S+)\)/.exec(node.getAttribute("transform")).slice(1);
  return [...diagram.querySelectorAll(".link")].filter((link) => link.dataset.kind !== "none" && link.getAttribute("d").endsWith(`${x} ${y}`)).length;
}, name);
const title = (page) => page.locator(".diagram title").textContent();

for (const width of [360, 1280]) test(`several catalogs are drawn: which rules, which stand by, which is down: ${width} pixels wide`, async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2 });
  const page = await openPage(store.url(0, "cluster"), { width });
  await eventually("one catalog is drawn", async () => (await catalogs(page)).map(({ name }) => name).join() === "catalog");
  equal(await linksTo(page, "catalog"), 5, "links to the only catalog");
  assert((await title(page)).includes("; catalog answers"), `in words: ${await title(page)}`);
  const { data } = await store.get("/cluster");
  const processes = (...states) => states.map((state, place) => ({ id: place + 1, address: `127.0.0.1:${9_001 + place}`, state }));
  const shared = (active, term, ...states) => ({ ...data, catalog: { ...data.catalog, active, term, processes: processes(...states) } });
  const plain = { isStriped: false, isCrossed: false };

  const feed = await feedCluster(page);
  feed(shared(1, 3, "active", "standby", "down"));
  await page.reload();
  await eventually("three catalogs are drawn", async () => (await catalogs(page)).length === 3);
  equal(await catalogs(page), [
    { name: "catalog-1", state: "active", words: "rules, term 3", ...plain },
    { name: "catalog-2", state: "standby", words: "stands by", ...plain, isStriped: true },
    { name: "catalog-3", state: "down", words: "no answer", ...plain, isCrossed: true },
  ], "the catalogs");
  equal([await linksTo(page, "catalog-1"), await linksTo(page, "catalog-2"), await linksTo(page, "catalog-3")], [5, 0, 0], "links");
  assert((await title(page)).includes("; catalog-1 rules, term 3; catalog-2 stands by; catalog-3 no answer"), `in words: ${await title(page)}`);
  assert(await page.locator(".legend li", { hasText: "stands by" }).isVisible(), "the legend explains it");

  // The first one dies, and nothing rules for a moment; then the second one does.
  feed({ ...shared(undefined, undefined, "down", "standby", "standby"), catalog: { ...data.catalog, state: "down", last_order: null, processes: processes("down", "standby", "standby") } });
  await eventually("none rules", async () => (await title(page)).includes("; no catalog rules; catalog-1 no answer; catalog-2 stands by"));
  equal([await linksTo(page, "catalog-1"), await linksTo(page, "catalog-2")], [0, 0], "links while none rules");
  feed(shared(2, 4, "standby", "active", "standby"));
  await eventually("the second one rules", async () => (await title(page)).includes("; catalog-1 stands by; catalog-2 rules, term 4"));
  equal([await linksTo(page, "catalog-1"), await linksTo(page, "catalog-2")], [0, 5], "links to the second one");
});

test("a page that is paused shows what it showed, and has recorded what happened", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "cluster"));
  await eventually("order-3 leads", async () => (await leader(page)) === "order-3");
  await page.getByRole("button", { name: "Pause" }).click();
  await store.verb("kill", "order-3");
  await eventually("events wait", async () => /Go on \(\d+ new\)/.test(await page.locator(".pause").textContent()));
  equal(await leader(page), "order-3", "who leads, on the page that is paused");
  await page.locator(".pause").click();
  await eventually("it has caught up", async () => (await leader(page)) === "order-2");
  await eventually("the feed has what happened", async () => (await feed(page)).includes("Replica 3 is down"));
});

test("each cache is shown with its hits, also that of another front-end", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2 });
  const page = await openPage(store.url(0, "cluster"));
  for (let asked = 0; asked < 3; asked += 1) await store.quantity("Tux", 1);
  const other = page.locator(".cache", { hasText: "frontend-2" });
  await eventually("its hits", async () => (await other.textContent()).includes("2 hits"));
  assert((await other.locator(".chips").textContent()).includes("Tux"), "what it holds");
  await store.buy("Tux", 1);
  await eventually("its invalidation", async () => (await other.textContent()).includes("1 invalidation"));
  await store.verb("kill", "frontend-2");
  await eventually("it is gone", async () => (await other.getAttribute("data-state")) === "down");
  await eventually("the feed tells it", async () => (await feed(page)).includes("Frontend-2 does not answer"));
});

test("a front-end with open pages ends at once when it is told to", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  for (let page = 0; page < 3; page += 1) {
    const opened = await openPage(store.url(0, "cluster"));
    await eventually("it follows", async () => (await linkState(opened)) === "live");
  }
  const began = Date.now();
  await store.verb("stop", "frontend");
  assert(Date.now() - began < 5_000, `it took ${Date.now() - began} ms`);
});
