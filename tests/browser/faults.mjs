// Faults: a real laboratory, whose roles the page kills, stops, resumes and starts.

import { assert, equal, eventually, inaccessible, test } from "./support.mjs";

const card = (page, role) => page.locator(".lab-role", { hasText: role });
const says = (page, role, state) =>
  eventually(`${role} ${state}`, async () => (await card(page, role).locator(".lab-state").textContent()).startsWith(state));
const click = (page, label, role) => page.getByRole("button", { name: `${label} ${role}`, exact: true }).click();

test("roles are killed, stopped, resumed and started by a click", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ hasLab: true });
  const page = await openPage(store.labUrl);
  const watching = await openPage(store.url(0, "cluster"));
  const leader = () => watching.locator(".fact dd").first().textContent();
  const leads = (what, isIt) => eventually(what, async () => [await leader()].find((one) => one.startsWith("order-") && isIt(one)));
  // The highest that was ready first, which on a busy machine may be any.
  const first = await leads("one leads", () => true);
  await says(page, first, "runs");
  await click(page, "Stop", first);
  await says(page, first, "is stopped");
  const second = await leads(`another than ${first} leads`, (one) => one !== first);
  await click(page, "Continue", first);
  await says(page, first, "runs");
  await click(page, "Kill", second);
  await says(page, second, "does not run");
  await leads(`another than ${second} leads`, (one) => one !== second);
  await click(page, "Start", second);
  await says(page, second, "runs");
  equal(await card(page, second).getByRole("button", { name: `Start ${second}` }).getAttribute("aria-disabled"), "true", "what runs cannot be started");
});

test("the front-end that serves the page is killed and started by the page", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ hasLab: true });
  const page = await openPage(store.labUrl);
  await says(page, "frontend", "runs");
  await click(page, "Kill", "frontend");
  await says(page, "frontend", "does not run");
  await eventually("the page says so", async () => (await page.locator("#link-state").textContent()) === "no answer");
  await click(page, "Start", "frontend");
  await eventually("it is live again", async () => (await page.locator("#link-state").textContent()) === "live");
});

test("links are cut, held, slowed and mended", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ hasLab: true });
  const page = await openPage(store.labUrl);
  const watching = await openPage(store.url(0, "cluster"));
  const leader = () => watching.locator(".fact dd").first().textContent();
  const links = page.locator(".lab-links-panel");
  const button = (name) => links.getByRole("button", { name, exact: true });
  const told = () => page.locator(".lab-links").textContent();
  await eventually("order-3 leads", async () => (await leader()) === "order-3");
  await links.getByLabel("Between").selectOption("order-3");
  await links.getByLabel("and", { exact: true }).selectOption("catalog");
  await links.getByLabel("Which calls").selectOption("to");
  await button("Cut").click();
  await eventually("it is listed", async () => (await told()).includes("order-3 → catalog"));
  assert(!(await told()).includes("catalog → order-3"), "the other way stays open");
  await eventually("order-2 leads", async () => (await leader()) === "order-2");
  await links.getByLabel("and", { exact: true }).selectOption("all others");
  await links.getByLabel("Which calls").selectOption("both");
  await links.getByLabel("Slower by").fill("50");
  await button("Slow").click();
  await eventually("all its links are slow", async () => (await page.locator(".lab-link").count()) >= 6);
  assert((await told()).includes("calls take 50 ms longer"), await told());
  equal(await inaccessible(page), [], "the view with links that are disturbed");
  await button("Mend all").click();
  await eventually("all are open", async () => (await links.locator(".lab-links-told").textContent()) === "All links are open.");
});

test("load is put on the store, and its latencies are drawn as they come", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ hasLab: true });
  const page = await openPage(store.labUrl);
  await page.getByLabel("p, the probability of an order").fill("0.5");
  await page.getByLabel("Queries in a second").fill("40");
  await page.getByLabel("Seed").fill("9");
  await page.getByRole("button", { name: "Start the load" }).click();
  const figure = (place) => page.locator(".lab-counts dd").nth(place).textContent().then(Number);
  await eventually("queries and purchases are counted", async () => (await figure(0)) > 20 && (await figure(1)) > 5);
  await eventually("latencies are told", async () => /queries [\d.]+ ms/.test(await page.locator(".plot-words").textContent()));
  equal(await page.locator(".plot canvas").count(), 1, "plots");
  await page.getByRole("button", { name: "End it" }).click();
  await eventually("it has ended", async () => (await page.locator(".lab-load .told").textContent()) === "No load.");
  equal(await figure(3), 0, "requests that failed");
});

test("a wrong token, and a store without a laboratory, are told", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ hasLab: true });
  const page = await openPage(store.labUrl.replace(/token=.*/, "token=wrong"));
  await eventually("the refusal is told", async () => (await page.locator(".lab-told").textContent()).includes("token"));
  assert((await page.locator(".lab-role").count()) === 0, "there is nothing to click");
  const other = await openPage(store.url(0, "faults"));
  await eventually("how to get one is told", async () => (await other.locator(".lab-off").textContent()).includes("./run.sh up --lab"));
  assert((await other.locator(".lab-verbs").count()) === 0, "there is nothing to click");
});
