// The shop: buying, selling out, restocking, looking up, and purchases whose answer does not come.

import { assert, equal, eventually, test, toy } from "./support.mjs";

const said = (page, name) => toy(page, name).locator(".told").textContent();

async function buy(page, name, quantity = 1) {
  const card = toy(page, name);
  await card.getByRole("spinbutton").fill(String(quantity));
  await card.getByRole("button", { name: "Buy" }).click();
}

test("a toy is bought, and its order can be looked up", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  await buy(page, "Slinky", 3);
  await eventually("the purchase is told", async () => (await said(page, "Slinky")) === "Order 0: 3 × Slinky");
  await eventually("the stock is told", async () => (await toy(page, "Slinky").locator(".left").textContent()) === "97 left");
  equal(await store.quantity("Slinky"), 97, "the stock");
  await page.getByLabel("Order number").fill("0");
  await page.getByRole("button", { name: "Look up" }).click();
  await eventually("the order is found", async () => (await page.locator(".look-up-result").textContent()) === "Order 0: 3 × Slinky");
  await page.getByLabel("Order number").fill("7");
  await page.keyboard.press("Enter");
  await eventually("an unknown order is told", async () => (await page.locator(".look-up-result").textContent()) === "Order not found");
  assert((await page.locator(".order").first().textContent()).includes("Order 0 3 × Slinky"), "my orders have it");
});

test("a toy sells out, the page says when it is restocked, and it is", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ restockMs: 6_000, stock: 5 });
  const page = await openPage(store.url());
  await buy(page, "Tux", 5);
  await eventually("it is sold out", async () => (await toy(page, "Tux").locator(".left").textContent()) === "sold out");
  await buy(page, "Tux", 1);
  await eventually("the next restock is told", async () => /^Sold out\. The next restock is due in \d+ s\.$/.test(await said(page, "Tux")));
  await eventually("it is restocked", async () => (await toy(page, "Tux").locator(".left").textContent()) === "5 left");
  await buy(page, "Tux", 6);
  await eventually("too many are refused", async () => (await said(page, "Tux")).startsWith("Not enough stock for 6"));
});

test("a quantity that is none is refused where it was typed", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  for (const wrong of ["0", "-1", "1.5", ""]) {
    await buy(page, "Tux", wrong);
    equal(await said(page, "Tux"), "The quantity is a whole number from 1 on.", `the answer to ${wrong}`);
  }
  equal(await store.quantity("Tux"), 100, "the stock");
});

test("a toy that is asked for twice comes from the cache", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  const ask = toy(page, "LEGO").locator(".ask");
  await ask.click();
  await eventually("a miss", async () => /^miss [\d.]+ ms/.test(await ask.textContent()));
  await ask.click();
  await eventually("a hit", async () => /^hit [\d.]+ ms/.test(await ask.textContent()));
});

test("a page that is loaded anew in the middle of a purchase sells once", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  await toy(page, "Yo-Yo").waitFor();
  store.signal("catalog", "SIGSTOP");
  await buy(page, "Yo-Yo", 2);
  await eventually("it waits", async () => (await page.locator('.order[data-state="pending"]').count()) === 1);
  await page.reload();
  await eventually("it still waits", async () => (await page.locator('.order[data-state="pending"]').count()) === 1);
  store.signal("catalog", "SIGCONT");
  await eventually("it is answered", async () => (await page.locator('.order[data-state="bought"]').count()) === 1);
  equal(await store.quantity("Yo-Yo"), 98, "the stock");
  equal((await store.get("/orders/0")).data, { number: 0, name: "Yo-Yo", quantity: 2 }, "the order");
  equal((await store.get("/orders/1")).error?.code, 404, "a second order");
});

test("a purchase goes on at another front-end when its own dies, and sells once", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2 });
  const page = await openPage(store.url());
  await toy(page, "Frisbee").waitFor();
  store.signal("catalog", "SIGSTOP");
  await buy(page, "Frisbee", 1);
  await eventually("it waits", async () => (await page.locator('.order[data-state="pending"]').count()) === 1);
  await store.verb("kill", "frontend");
  store.signal("catalog", "SIGCONT");
  const link = page.getByRole("link", { name: "Go on at frontend-2" });
  await link.click();
  await page.getByRole("button", { name: "Finish here" }).click();
  await eventually("it is answered", async () => (await page.locator('.order[data-state="bought"]').count()) === 1);
  equal(await store.quantity("Frisbee", 1), 99, "the stock");
  await store.verb("start", "frontend");
  await page.goto(store.url());
  await eventually("the first page learns it, too", async () => (await page.locator('.order[data-state="bought"]').count()) === 1);
  assert((await page.locator(".order").textContent()).includes("Order 0"), "it is the same order");
  equal(await store.quantity("Frisbee"), 99, "the stock, after both pages asked");
  equal((await store.get("/orders/1")).error?.code, 404, "a second order");
});

test("two pages at two front-ends show the same stock", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2 });
  const [first, second] = [await openPage(store.url(0)), await openPage(store.url(1))];
  await toy(second, "Monopoly").waitFor();
  await buy(first, "Monopoly", 4);
  await eventually("the other page shows it", async () => (await toy(second, "Monopoly").locator(".left").textContent()) === "96 left");
  await buy(second, "Monopoly", 6);
  await eventually("and the first", async () => (await toy(first, "Monopoly").locator(".left").textContent()) === "90 left");
});
