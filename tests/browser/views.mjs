// Every view: accessible in light and dark, steady while it loads, and usable by keyboard.

import { assert, equal, eventually, inaccessible, test } from "./support.mjs";

/** The views, as the page's own navigation names them. */
async function views(page) {
  return page.locator(".views a").evaluateAll((links) => links.map((link) => link.dataset.view));
}

async function shown(page, view) {
  await eventually(`${view} is shown`, async () => (await page.locator(`.view-${view}`).count()) === 1);
  await eventually("it is live", async () => (await page.locator("#link-state").textContent()) === "live");
  await page.waitForFunction(() => document.getAnimations().every(({ playState, effect }) => playState !== "running" || effect.getTiming().iterations === Infinity));
}

for (const scheme of ["light", "dark"]) {
  for (const width of [360, 1280]) {
    test(`no view has a serious barrier: ${scheme}, ${width} pixels wide`, async ({ store: openStore, page: openPage }) => {
      const store = await openStore({ frontends: 2 });
      await store.buy("Barbie", 100);
      await store.verb("kill", "order-1");
      const page = await openPage(store.url(), { scheme, width });
      for (const view of await views(page)) {
        await page.goto(store.url(0, view));
        await shown(page, view);
        equal(await inaccessible(page), [], view);
        const isWider = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
        assert(!isWider, `${view} is wider than the window`);
      }
    });
  }
}

test("nothing jumps while a view is loaded", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  for (const view of await views(page)) {
    await page.goto("about:blank");
    await page.goto(store.url(0, view));
    await shown(page, view);
    const moved = await page.evaluate(() => new Promise((then) => {
      let sum = 0;
      new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) if (!entry.hadRecentInput) sum += entry.value;
      }).observe({ type: "layout-shift", buffered: true });
      setTimeout(() => then(sum), 500);
    }));
    // What is counted as good for a page: developers of browsers draw the line at 0.1.
    assert(moved < 0.1, `${view} moved by ${moved}`);
  }
});

test("a toy is bought and a view is changed by keyboard alone", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  await shown(page, "shop");
  await eventually("the toys are there", () => page.locator("#main input[type=number]").count());
  await page.keyboard.press("Tab");
  equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the view", "the first stop");
  await page.keyboard.press("Enter");
  equal(await page.evaluate(() => document.activeElement.id), "main", "where it leads");
  // How many stops come first depends on what the page shows by then; the first quantity is that of Tux.
  await eventually("the quantity of Tux has the focus", async () => {
    await page.keyboard.press("Tab");
    return page.evaluate(() => document.activeElement.type === "number");
  });
  await page.keyboard.press("ArrowUp");
  equal(await page.evaluate(() => document.activeElement.value), "2", "the quantity");
  await page.keyboard.press("Enter");
  await eventually("two are bought", async () => (await store.quantity("Tux")) === 98);
  await page.locator('.views a[data-view="cluster"]').focus();
  await page.keyboard.press("Enter");
  await shown(page, "cluster");
  equal(await page.evaluate(() => document.activeElement.id), "main", "the focus after the view has changed");
  await page.goBack();
  await shown(page, "shop");
});

test("the colours are those that were chosen, also after a reload", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await page.locator("#theme").click(); // light
  equal(await ground(), light, "the ground of the light page");
  await page.locator("#theme").click(); // dark
  const dark = await ground();
  assert(dark !== light, "dark is another colour");
  await page.reload();
  equal(await ground(), dark, "the ground after a reload");
});

test("no file of the page is loaded twice", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  await shown(page, "shop");
  const statuses = [];
  page.on("response", (response) => {
    if (new URL(response.url()).pathname.startsWith("/page/")) statuses.push(response.status());
  });
  await page.reload();
  await shown(page, "shop");
  assert(statuses.length > 5, `files are asked for: ${statuses}`);
});
