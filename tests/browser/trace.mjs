// The trace: a real purchase, one whose leader dies on the way, a cached read and its invalidation;
// by pointer, by keyboard and as a table; and as many messages as a view may have.

import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { TOYSTORE, assert, equal, eventually, inaccessible, test } from "./support.mjs";

/** A frame that takes longer is seen to stutter. */
const FRAME_MS = 20;

async function send(store, method, path, id, body) {
  const response = await fetch(`http://${store.frontends[0]}${path}`, { method, body, headers: { "x-request-id": id } });
  return response.status;
}

const buy = (store, id) => send(store, "POST", "/orders", id, JSON.stringify({ name: "Tux", quantity: 1 }));

/**
 * Buys until nothing else happens meanwhile, such as the choice of the first leader, and a cache has to drop the toy
 * (on a busy machine, a lease may run out before). Returns the request's id.
 */
async function buyInPeace(store) {
  let tries = 0;
  return eventually("a purchase in peace", async () => {
    tries += 1;
    await send(store, "GET", "/products/Tux", `read-${tries}`);
    equal(await buy(store, `bought-${tries}`), 200, "the purchase");
    const { events } = (await store.get(`/trace/bought-${tries}`)).data;
    const isAlone = events.every(({ trace, detail }) => trace !== null || detail?.heartbeat === true);
    return isAlone && events.some(({ name }) => name === "cache.invalidate") && `bought-${tries}`;
  });
}

async function opened(page, store, path) {
  await page.goto(store.url(0, path));
  await eventually("the diagram is drawn", () => page.locator(".st-marks path").count());
}

/** Whether the diagram has such a mark; only the rows in sight are drawn, so it is scrolled through. */
async function isDrawnSomewhere(page, mark) {
  const isAtEnd = () => page.locator(".st-scroll").evaluate((it) => it.scrollTop + it.clientHeight >= it.scrollHeight - 1);
  await page.locator(".st-scroll").evaluate((it) => { it.scrollTop = 0; });
  for (;;) {
    // What is scrolled to is drawn with the next frame.
    await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
    if ((await page.locator(mark).count()) > 0) return true;
    if (await isAtEnd()) return false;
    await page.locator(".st-scroll").evaluate((it) => { it.scrollTop += it.clientHeight / 2; });
  }
}

test("a purchase is shown with its syncs and its invalidation, and told in words", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, `trace/${await buyInPeace(store)}`));
  await eventually("the diagram is drawn", () => page.locator(".st-disk").count());
  assert(await isDrawnSomewhere(page, ".st-diamond"), "the invalidation has a mark");
  equal(await page.locator(".st-head").allTextContents(), ["client", "frontend", "catalog", "order-1", "order-2", "order-3"], "the lanes");
  await page.getByRole("button", { name: "Table" }).click();
  const told = (await page.locator(".st-row").allTextContents()).join("\n");
  for (const words of [/frontend: cache.invalidate: Tux before version \d+/, /catalog: commit: order \d+: 1 Tux/, /client receives POST \/orders.answer/]) {
    assert(words.test(told), `${words} is not in\n${told}`);
  }
  equal(await inaccessible(page), [], "the trace");
});

test("a diagram is read by keyboard alone", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, `trace/${await buyInPeace(store)}`));
  await eventually("the diagram is drawn", () => page.locator(".st-marks path").count());
  await page.locator(".st-scroll").focus();
  const said = async () => page.locator(".st [aria-live]").textContent();
  await page.keyboard.press("Home");
  const first = await said();
  assert(first.startsWith("client sends POST /orders to frontend: 1 Tux. "), first);
  await page.keyboard.press("ArrowRight");
  assert((await said()).startsWith("frontend receives POST /orders from client"), await said());
  await page.keyboard.press("ArrowDown");
  assert((await said()).includes("sends purchase"), await said());
  assert((await page.locator(".st-body").textContent()).includes("\"quantity\": 1"), "the body is shown");
  assert(page.url().includes("event="), "the address has the selection");
  await page.keyboard.press("End");
  const last = await said();
  assert(/ \d+ of \d+$/.test(last) && !last.includes("sends purchase to"), last);
  await page.keyboard.press("ArrowDown"); // behind it there are at most heartbeats, which share a row
  equal(await said(), last, "what is said at the end");
});

test("a purchase whose leader dies shows what was lost, the retry and the next leader", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const leader = `order-${(await store.get("/cluster")).data.leader}`;
  // It takes the purchase and does not answer, until it is killed.
  store.signal(leader, "SIGSTOP");
  const bought = buy(store, "survivor");
  await eventually("the purchase is under way", async () => {
    const { requests } = (await store.get("/trace")).data;
    return requests.some(({ name }) => name === "POST /orders");
  });
  store.signal(leader, "SIGKILL");
  equal(await bought, 200, "the purchase");
  const page = await openPage(store.url(0, "trace/survivor"));
  await eventually("the diagram is drawn", () => page.locator(".st-marks path").count());
  await page.getByRole("button", { name: "Table" }).click();
  const told = (await page.locator(".st-row").allTextContents()).join("\n");
  assert(/frontend: retry: at order-/.test(told), told);
  assert(/frontend sends nominate to order-/.test(told), told);
  assert((await page.locator(".trace-gap").textContent()).includes(leader), "who could not be asked is named");
  // It is not known whether the purchase reached the leader: its record ended with it.
  assert((await page.locator(".st-unrecorded").count()) > 0, "what went to it is not drawn as lost");
});

test("a diagram begins where its request does, whatever happened before", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  await buy(store, "bought");
  const log = (await store.get("/trace/bought")).data;
  const page = await openPage(store.url(0, "shop"));
  // As after a start: two screens of changes that belong to no request.
  const before = Array.from({ length: 60 }, (_, seq) => ({ seq, node: "catalog", incarnation: 1, kind: "local", name: "change", time_us: seq, clock: { catalog: seq + 1 }, trace: null, message: null, detail: null }));
  const events = [...before, ...log.events.map((event) => ({ ...event, seq: event.seq + before.length, time_us: event.time_us + before.length }))];
  await page.route("**/trace/late", (route) => route.fulfill({ json: { data: { ...log, events } } }));
  await opened(page, store, "trace/late");
  assert(await page.evaluate(() => {
    const { top, bottom } = document.querySelector(".st-scroll").getBoundingClientRect();
    const asked = [...document.querySelectorAll(".st-label")].find((label) => label.textContent.startsWith("POST /orders"));
    const box = asked?.getBoundingClientRect();
    return box !== undefined && box.top >= top && box.bottom <= bottom;
  }), "the request is in sight");
});

test("a diagram stays when it is asked for again and no answer comes", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  await buy(store, "bought");
  const page = await openPage(store.url(0, "trace/bought"));
  await eventually("the diagram is drawn", () => page.locator(".st-marks path").count());
  await page.evaluate(() => { window.diagram = document.querySelector(".st-scroll"); });
  await page.route("**/trace/bought", (route) => route.fulfill({ status: 503, json: { error: { code: 503, message: "the store is busy" } } }));
  await page.getByRole("button", { name: "Ask again" }).click();
  await eventually("it says so", async () => (await page.locator(".trace-told").textContent()) === "The store is busy. Shown is what was known before.");
  assert(await page.evaluate(() => window.diagram.isConnected), "it is the same diagram");
});

test("a run of the simulator is shown from its file, with its crashes", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "trace"));
  const file = join(store.folder, "seed-7.jsonl");
  writeFileSync(file, execFileSync(TOYSTORE, ["trace", "--simulate", "7"], { maxBuffer: 64 << 20 }));
  const field = page.getByLabel("Open a file");
  await field.setInputFiles(file);
  await eventually("it is drawn", async () => (await page.locator(".trace-title").textContent()) === "Seed 7 of the simulator" && page.locator(".st-marks path").count());
  assert((await page.locator(".st-head").allTextContents()).includes("client-1"), "the clients have lanes");
  assert((await page.locator(".st-size").textContent()).includes("are in view"), "it is a window over a minimap");
  await page.getByRole("button", { name: "Table" }).click();
  await eventually("starts are told", async () => (await page.locator(".st-row").allTextContents()).some((row) => row.includes("catalog starts")));
  equal(await inaccessible(page), [], "the trace of a seed");
  writeFileSync(file, "{}\n");
  await field.setInputFiles(file);
  await eventually("what is no file of events is told", async () => (await page.locator(".trace-told").textContent()).startsWith("seed-7.jsonl is not a file of events"));
});

test("the last requests are listed, and one is opened from the list", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  await send(store, "GET", "/products/Uno", "none");
  await send(store, "GET", "/products/LEGO", "miss");
  await send(store, "GET", "/products/LEGO", "hit");
  const page = await openPage(store.url(0, "trace"));
  const hit = page.locator(".trace-link", { hasText: "LEGO" }).filter({ hasText: "query, from the cache" });
  await eventually("it is listed", () => hit.count());
  await hit.click();
  await eventually("the diagram is drawn", () => page.locator(".st-diamond").count());
  await page.getByLabel("Request id").fill("no such request");
  await page.getByRole("button", { name: "Show" }).click();
  await eventually("it says so", async () => (await page.locator(".trace-told").textContent()).startsWith("No events of this request are kept."));
});

test("two thousand messages stay at 20 ms a frame, more are a window", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "shop"));
  for (const [messages, axis] of [[2000, "order"], [2000, "time"], [9000, "order"]]) {
    await page.route("**/trace/many", (route) => route.fulfill({ json: { data: many(messages) } }));
    await opened(page, store, `trace/many?axis=${axis}&event=0`);
    const size = await page.locator(".st-size").textContent();
    assert(size.startsWith(`${messages * 2} events`), size);
    equal(size.includes("are in view"), messages > 2000, "whether it is a window");
    const frames = await page.evaluate(costOfFrames);
    frames.sort((one, other) => one - other);
    const median = frames[frames.length >> 1];
    assert(median < FRAME_MS, `${messages} messages by ${axis}: ${median} ms in the median of ${frames.length} frames`);
    await page.goto("about:blank");
  }
});

/** How long the page's own work takes in each frame in which it is scrolled, pointed at and stepped through. */
async function costOfFrames() {
  const costs = [];
  const draw = window.requestAnimationFrame.bind(window);
  window.requestAnimationFrame = (callback) => draw((time) => {
    const began = performance.now();
    callback(time);
    costs.push(performance.now() - began);
  });
  const frame = () => new Promise((then) => draw(() => draw(then)));
  const scroll = document.querySelector(".st-scroll");
  const diagram = document.querySelector(".st-diagram");
  const { left, top } = scroll.getBoundingClientRect();
  for (let step = 0; step < 60; step += 1) {
    scroll.scrollTop += 100;
    await frame();
    diagram.dispatchEvent(new PointerEvent("pointermove", { clientX: left + 90 + step * 4, clientY: top + 60 + step * 3, bubbles: true }));
    await frame();
    scroll.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    await frame();
  }
  return costs;
}

/** Messages between four roles, each sent and received. */
function many(messages) {
  const roles = ["frontend", "catalog", "order-1", "order-2"];
  const events = [];
  for (let message = 0; message < messages; message += 1) {
    const [from, to] = [roles[message % 4], roles[(message * 7 + 1) % 4 === message % 4 ? (message + 2) % 4 : (message * 7 + 1) % 4]];
    for (const kind of ["send", "recv"]) {
      const node = kind === "send" ? from : to;
      events.push({
        seq: events.length, node, incarnation: 1, kind, message: `m${message}`, from, to, name: "append", time_us: events.length * 40,
        clock: { [node]: events.length + 1 }, trace: null, span: null, detail: { text: `order ${message}` },
      });
    }
  }
  const header = { toystore: "events", format: 1, version: "0.1.0", commit: null, source: "live", seed: null, rule: null, roles, dropped: 0 };
  return { header, events };
}
