// Lessons: two runs that are stepped through together, by keyboard and by pointer.

import { assert, equal, eventually, inaccessible, test } from "./support.mjs";

const LESSON = "floor-of-fills";

/** What the page shows of the position: each part of it. */
async function parts(page) {
  return page.evaluate(() => {
    const text = (selector) => document.querySelector(selector)?.textContent ?? "";
    return {
      count: text(".player-count"),
      log: document.querySelectorAll(".run-without .run-log li").length,
      drawn: document.querySelectorAll(".run-without .topo .is-active").length,
      marks: document.querySelectorAll(".run-without .st-marks path").length,
      changed: document.querySelectorAll(".state-table td.is-changed").length,
      told: text(".run-without .run-text"),
    };
  });
}

async function at(page, step, length) {
  await eventually(`step ${step} is shown`, async () => (await parts(page)).count === `${step} / ${length}`);
}

async function open(page, store, address) {
  await page.goto(store.url(0, address));
  await page.locator(".lesson").waitFor();
}

test("a lesson is played to its end by keyboard alone", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "lessons"));
  const card = page.locator(`a[href="#/lessons/${LESSON}"]`);
  await card.waitFor();
  await page.locator("main").focus();
  for (let stops = 0; stops < 20; stops += 1) {
    await page.keyboard.press("Tab");
    if (await card.evaluate((link) => link === document.activeElement)) break;
  }
  await page.keyboard.press("Enter");
  await page.locator(".lesson").waitFor();
  const length = Number(await page.locator(".player-slider").getAttribute("max"));
  let changed = 0;
  for (let step = 1; step < 9; step += 1) {
    await page.keyboard.press("ArrowRight");
    await at(page, step, length);
    const shown = await parts(page);
    equal(shown.log, step, "the lines of the log");
    assert(shown.drawn > 0 && shown.marks > 0, `a node acts, and there are marks: ${JSON.stringify(shown)}`);
    changed += shown.changed;
  }
  assert(changed >= 8, `facts change: ${changed}`);
  assert((await page.locator("#announcer").textContent()).includes("Step 8"), "a screen reader is told the step");
  assert((await page.locator("#announcer").textContent()).includes("What does reader 2 see?"), "and the question");
  equal(await page.locator(".choice").count(), 3, "answers");
  await page.keyboard.press("1");
  await at(page, 9, length);
  assert((await parts(page)).told.includes("a hit, 100 left"), "the read is stale");
  assert((await page.locator(".prompt").textContent()).startsWith("No, without the rule"), "the answer was wrong");
  assert(await page.locator(".about-details").evaluate((details) => details.open), "the reasons are open");
  await page.keyboard.press("End");
  await at(page, length, length);
  assert((await page.locator(".run-with .run-text").textContent()).includes("99"), "with the rule it is not");
  await page.keyboard.press("Home");
  await at(page, 0, length);
  await page.keyboard.press("n");
  await eventually("the next lesson is shown", async () => !page.url().includes(LESSON) && (await parts(page)).count.startsWith("0 /"));
});

test("a lesson plays by itself up to its question", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, `lessons/${LESSON}?step=5`), { motion: "reduce" });
  await page.locator(".lesson").waitFor();
  await page.locator(".player-speed").selectOption("fast");
  await page.locator("h1").click();
  await page.keyboard.press(" ");
  await eventually("the question is asked", async () => (await page.locator(".choice").count()) === 3);
  equal(await page.locator(".player-play").getAttribute("aria-label"), "Play", "it has stopped");
});

test("the address has the lesson, the step and what is selected", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, `lessons/${LESSON}`));
  await page.locator(".lesson").waitFor();
  await page.locator(".player-slider").fill("4");
  await page.locator(".run-with .st-diagram").click({ position: { x: 200, y: 90 } });
  await eventually("an event is in the address", async () => /step=4&select=with\.\d+$/.test(page.url()));
  const before = await parts(page);
  await page.reload();
  await eventually("a reload shows the same", async () => JSON.stringify(await parts(page)) === JSON.stringify(before));
  await page.locator(".run-with .st-selected").waitFor();
});

test("every lesson runs from its start to its end", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url(0, "lessons"));
  await page.locator(".lesson-card").first().waitFor();
  const lessons = await page.locator(".lesson-card").evaluateAll((cards) => cards.map((one) => one.getAttribute("href")));
  assert(lessons.length >= 10, `there are lessons: ${lessons.length}`);
  for (const lesson of lessons) {
    await page.evaluate((address) => (location.hash = address), lesson);
    await eventually(`${lesson} is shown`, async () => (await page.locator(".player-count").textContent().catch(() => "")).startsWith("0 /") && page.url().endsWith(lesson));
    const length = Number(await page.locator(".player-slider").getAttribute("max"));
    await page.keyboard.press("End");
    await page.keyboard.press("End");
    await at(page, length, length);
    for (const item of await page.locator(".code summary").all()) await item.click();
    await eventually(`${lesson} shows its code`, async () => (await page.locator(".code-text").count()) === (await page.locator(".code").count()));
    for (const text of await page.locator(".code-text").allTextContents()) {
      assert(/(fn|struct|enum|const) /.test(text) && !text.includes("[object"), `${lesson} shows no code: ${text.slice(0, 80)}`);
    }
  }
});

for (const scheme of ["light", "dark"]) {
  for (const width of [360, 1280]) {
    test(`no lesson has a serious barrier: ${scheme}, ${width} pixels wide`, async ({ store: openStore, page: openPage }) => {
      const store = await openStore();
      const page = await openPage(store.url(), { scheme, width });
      for (const address of [`lessons/${LESSON}`, `lessons/${LESSON}?step=8`, `lessons/${LESSON}?step=9`, "lessons/epoch-of-batches?step=7"]) {
        await open(page, store, address);
        for (const item of await page.locator(".code summary").all()) await item.click();
        equal(await inaccessible(page), [], address);
        const isWider = await page.evaluate(() => document.documentElement.scrollWidth > document.documentElement.clientWidth);
        assert(!isWider, `${address} is wider than the window`);
      }
    });
  }
}
