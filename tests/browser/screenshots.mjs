// Draws the page as the documents show it, from a store that has just lost its leader.
//
// `tests/browser.sh figures` runs it. Its headings are in the first of the style sheet's fonts that
// the machine has; with Debian's package fonts-urw-base35 that is URW Gothic.

import { join } from "node:path";

import { REPOSITORY, Store, eventually, openPage, startBrowser, toy } from "./support.mjs";

const FIGURES = join(REPOSITORY, "docs/figures");
const PHONE = { width: 390, height: 844 };
const DESK = { width: 1280, height: 860 };

const store = await Store.open({ frontends: 2, restockMs: 60_000, stock: 100, hasLab: true });
const browser = await startBrowser();

async function draw(name, view, options, prepare = async () => {}) {
  const page = await openPage(browser, options.url ?? store.url(0, view), options);
  await eventually("the page is live", async () => (await page.locator("#link-state").textContent()) === "live");
  await page.locator(`.view-${view}`).waitFor();
  await prepare(page);
  await page.mouse.move(0, 0);
  await page.waitForTimeout(600);
  await page.screenshot({ path: join(FIGURES, `page-${name}.png`) });
  await page.context().close();
}

async function shop(page) {
  await toy(page, "Tux").waitFor();
  for (const [name, quantity] of [["Tux", 2], ["Crayola Crayons", 1], ["Dollhouse", 1], ["Barbie", 1]]) {
    const card = toy(page, name);
    await card.getByRole("spinbutton").fill(String(quantity));
    await card.getByRole("button", { name: "Buy" }).click();
    await eventually("it is answered", async () => (await card.locator(".told").getAttribute("data-kind")) !== "waiting");
  }
  await page.evaluate(() => document.activeElement.blur());
}

/** Load, a leader that is stopped, and what the clients notice of it. */
async function faults(page) {
  await page.getByLabel("p, the probability of an order").fill("0.4");
  await page.getByRole("button", { name: "Start the load" }).click();
  const queries = () => page.locator(".lab-counts dd").first().textContent().then(Number);
  await eventually("the load runs", async () => (await queries()) > 500);
  await page.getByRole("button", { name: "Stop order-2" }).click();
  await eventually("it goes on", async () => (await queries()) > 1_000);
}

async function trace(page) {
  await eventually("the diagram is drawn", () => page.locator(".st-disk").count());
}

/** The lesson at its question, at which a jump to the end stops. */
async function lesson(page) {
  await page.locator(".lesson").waitFor();
  await page.keyboard.press("End");
  await eventually("it asks", () => page.getByText("What does reader 2 see?").count());
}

try {
  await store.quantity("Tux", 0);
  await fetch(`http://${store.frontends[0]}/orders`, {
    method: "POST", body: JSON.stringify({ name: "Tux", quantity: 1 }), headers: { "x-request-id": "my-order" },
  });
  await draw("trace-light", "trace", { ...DESK, scheme: "light", url: store.url(0, "trace/my-order") }, trace);
  await draw("lessons-dark", "lessons", { ...DESK, scheme: "dark", url: store.url(0, "lessons/floor-of-fills") }, lesson);
  await store.buy("Barbie", 100);
  for (const [name, quantity] of [["Erector Set", 37], ["Slinky", 61], ["LEGO", 88], ["Frisbee", 9], ["Hula Hoop", 24]]) await store.buy(name, quantity);
  await draw("shop-light", "shop", { ...DESK, scheme: "light" }, shop);
  await draw("shop-phone", "shop", { ...PHONE, scheme: "dark" }, shop);

  const watching = await openPage(browser, store.url(0, "cluster"));
  for (let asked = 0; asked < 40; asked += 1) {
    for (const name of ["Tux", "Slinky", "LEGO", "Monopoly", "Yo-Yo", "Dollhouse"].slice(0, 2 + (asked % 5))) {
      await store.quantity(name, asked % 2);
    }
    if (asked % 4 === 0) await store.buy("Slinky", 1);
    if (asked === 20) await store.verb("kill", "order-3");
  }
  await store.verb("start", "order-3");
  await eventually("order-3 has caught up", async () => (await watching.locator(".feed").textContent()).includes("Caught up"));
  store.signal("order-1", "SIGKILL");
  for (const scheme of ["light", "dark"]) await draw(`cluster-${scheme}`, "cluster", { ...DESK, scheme });
  await draw("cluster-phone", "cluster", { ...PHONE, scheme: "light" });
  await draw("faults-light", "faults", { ...DESK, scheme: "light", url: store.labUrl }, faults);
} finally {
  await browser.close();
  await store.close();
}
