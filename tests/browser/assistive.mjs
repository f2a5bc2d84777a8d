// What a screen reader is given: the browser's accessibility tree of every view, and what is said
// when something happens. And what moves on the page for a person who asked for less motion.

import { assert, equal, eventually, test, toy } from "./support.mjs";

// Roles that a person operates, by the names that Chromium gives them.
const CONTROLS = [
  "button", "link", "textbox", "searchbox", "spinbutton", "slider", "combobox", "listbox", "checkbox", "radio", "switch", "tab",
  "menuitem", "DisclosureTriangle", "application",
];
// The diagrams of views, in words: a role of the tree, and how its name begins.
const DIAGRAMS = {
  cluster: [["image", /^order-\d leads, epoch \d+; order-\d \w/]],
  "lessons/floor-of-fills": [["application", /^Space-time diagram, without the rule/], ["application", /^Space-time diagram, with the rule/]],
};
// What only groups other things says nothing when it gets the focus.
const SPEECHLESS = ["generic", "none", "paragraph", "StaticText"];
// A transition shorter than this is none.
const STILL_MS = 1;

/** The nodes of the accessibility tree that are not ignored, in the order in which they are read. */
async function tree(page) {
  const session = await page.context().newCDPSession(page);
  const { nodes } = await session.send("Accessibility.getFullAXTree");
  await session.detach();
  const byId = new Map(nodes.map((node) => [node.nodeId, node]));
  const read = (node) => (node ? [...(node.ignored ? [] : [shaped(node)]), ...(node.childIds ?? []).flatMap((id) => read(byId.get(id)))] : []);
  return read(nodes[0]);
}

function shaped({ role, name, description, properties }) {
  const of = Object.fromEntries((properties ?? []).map(({ name: property, value }) => [property, value.value]));
  return { ...of, role: role?.value ?? "", name: (name?.value ?? "").trim(), description: description?.value ?? "" };
}

/** What is wrong with a tree, as sentences. */
function barriers(nodes) {
  const found = [];
  const told = (node) => `${node.role} "${node.name}"`;
  for (const node of nodes) {
    if (CONTROLS.includes(node.role) && node.name === "") found.push(`a ${node.role} has no name`);
    if (node.focusable && (SPEECHLESS.includes(node.role) || (node.name === "" && !["RootWebArea", "main"].includes(node.role)))) {
      found.push(`${told(node)} takes the focus and says nothing`);
    }
    if (["img", "image", "SvgRoot", "graphics-document", "Canvas", "figure"].includes(node.role) && node.name === "") found.push(`a ${node.role} has no text`);
    if (["region", "navigation", "complementary", "toolbar", "list table"].includes(node.role) && node.name === "") found.push(`a ${node.role} has no name`);
    if (node.role === "table" && node.name === "") found.push("a table has no name");
  }
  const headings = nodes.filter(({ role }) => role === "heading");
  if (headings.filter(({ level }) => level === 1).length !== 1) found.push(`headings of level 1: ${headings.filter(({ level }) => level === 1).map(told)}`);
  headings.forEach((heading, place) => {
    const before = place === 0 ? 0 : headings[place - 1].level;
    if (heading.level > before + 1) found.push(`${told(heading)} is of level ${heading.level} and follows level ${before}`);
    if (heading.name === "") found.push("a heading is empty");
  });
  for (const landmark of ["main", "banner"]) {
    const count = nodes.filter(({ role }) => role === landmark).length;
    if (count !== 1) found.push(`${count} landmarks ${landmark}`);
  }
  for (const role of ["status", "alert"]) if (!nodes.some((node) => node.role === role)) found.push(`no live region ${role}`);
  return found;
}

async function shown(page, view) {
  await eventually(`${view} is shown`, async () => (await page.locator(`.view-${view} h1`).count()) === 1);
  await eventually("it is live", async () => (await page.locator("#link-state").textContent()) === "live");
}

/** The addresses at which there is something to see: every view, with what it shows when it has something. */
async function addresses(store) {
  const [{ trace }] = (await store.get("/trace")).data.requests;
  return ["shop", "cluster", "trace", `trace/${trace}`, "lessons", "lessons/floor-of-fills?step=6", "lessons/conversation-1-purchase?step=3", "faults", store.labUrl.split("#/")[1]];
}

/** Has the page remember what its live regions say. */
async function listen(page) {
  await page.evaluate(() => {
    window.said = [];
    const regions = '[role="status"], [role="alert"], [aria-live]';
    new MutationObserver((changes) => {
      for (const { target } of changes) {
        const region = (target instanceof Element ? target : target.parentElement)?.closest(regions);
        const text = region?.textContent.trim();
        if (text) window.said.push(`${region.getAttribute("role") ?? region.getAttribute("aria-live")}: ${text}`);
      }
    }).observe(document.body, { childList: true, subtree: true, characterData: true });
  });
  return (part) => eventually(`it is said: ${part}`, () => page.evaluate((wanted) => window.said.find((text) => text.includes(wanted)), part));
}

test("a screen reader is given a name and a role for everything in every view", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2, hasLab: true });
  await store.buy("Barbie", 100);
  const page = await openPage(store.url());
  for (const address of await addresses(store)) {
    await page.goto("about:blank");
    await page.goto(store.url(0, address));
    await shown(page, address.split(/[/?]/)[0]);
    if (address === "shop") await eventually("the toys are there", () => page.locator(".toy").count());
    if (address.startsWith("trace/")) await eventually("the diagram is there", () => page.locator(".st-scroll").count());
    if (address.startsWith("faults?")) await eventually("the laboratory answers", () => page.locator(".lab-role").count());
    const nodes = await tree(page);
    equal(barriers(nodes), [], address);
    for (const [role, name] of DIAGRAMS[address.split(/[?]/)[0]] ?? []) {
      assert(nodes.some((node) => node.role === role && name.test(node.name)), `${address} has a ${role} that says ${name}`);
    }
    if (!address.startsWith("trace/")) continue;
    // The events of a diagram are there as a table, too.
    await page.getByRole("button", { name: "Table" }).click();
    await page.locator(".st-row").first().waitFor();
    equal(barriers(await tree(page)), [], `${address}, as a table`);
  }
  for (const width of [1280, 360]) {
    await page.setViewportSize({ width, height: 800 });
    await page.goto(`http://${store.frontends[0]}/docs`);
    await eventually("the document is there", () => page.locator("h2").count());
    const nodes = await tree(page);
    equal(barriers(nodes).filter((text) => !text.startsWith("no live region")), [], `/docs, ${width} pixels wide`);
    assert(nodes.some(({ role, name }) => role === "rowheader" && name === "Idempotency-Key"), "its tables are tables");
    const cut = await page.locator(".docs .scroll").evaluateAll((all) => all.filter((one) => one.scrollWidth > one.clientWidth).length);
    equal(cut, 0, `tables that are cut off, ${width} pixels wide`);
  }
});

test("barriers are found", async ({ store: openStore, page: openPage }) => {
  const page = await openPage((await openStore()).url());
  await shown(page, "shop");
  await page.evaluate(() => {
    const main = document.getElementById("main");
    main.insertAdjacentHTML("beforeend", '<h4>too deep</h4><button></button><div tabindex="0">x</div><svg role="img"></svg><table><thead><tr><th>n</th></tr></thead><tbody><tr><td>1</td></tr></tbody></table><h1>second</h1>');
    document.getElementById("alarm").remove();
  });
  const found = barriers(await tree(page)).join("\n");
  for (const part of ["button has no name", "takes the focus and says nothing", "has no text", "table has no name", "is of level 4", "headings of level 1", "no live region alert"]) {
    assert(found.includes(part), `${part} is not found: ${found}`);
  }
});

test("purchases, errors and changes of the leader are said", async ({ store: openStore, page: openPage }) => {
  const store = await openStore();
  const page = await openPage(store.url());
  await shown(page, "shop");
  const tux = toy(page, "Tux");
  await tux.waitFor();
  let isSaid = await listen(page);
  await tux.getByRole("spinbutton").fill("98");
  await tux.getByRole("button", { name: "Buy" }).click();
  await isSaid("status: Order 0: 98 × Tux");
  await tux.getByRole("button", { name: "Buy" }).click();
  await isSaid("status: Not enough stock for 98: 2 left.");
  await page.getByLabel("Order number").fill("77");
  await page.getByRole("button", { name: "Look up" }).click();
  await isSaid("status: Order not found");

  await page.goto(store.url(0, "cluster"));
  await shown(page, "cluster");
  isSaid = await listen(page);
  await store.verb("kill", "order-3");
  await isSaid("status: selected leader 2, epoch 2");
  equal(await page.locator(".diagram title").textContent(), "order-2 leads, epoch 2; order-3 no answer; order-1 follows; catalog answers", "the diagram in words");
  await store.verb("kill", "frontend");
  await isSaid("alert: The front-end at");
});

/** The longest motion that the page's styles allow, in milliseconds, and what has it. */
function longestMotion(page) {
  return page.evaluate(() => {
    const ms = (text) => Math.max(0, ...text.split(",").map((part) => Number.parseFloat(part) * (part.trim().endsWith("ms") ? 1 : 1_000)));
    let longest = { ms: 0, of: "" };
    for (const element of document.querySelectorAll("*")) {
      for (const part of [null, "::before", "::after"]) {
        const style = getComputedStyle(element, part);
        const animated = style.animationName === "none" ? 0 : ms(style.animationDuration);
        const moved = style.transitionProperty === "none" ? 0 : ms(style.transitionDuration) + ms(style.transitionDelay);
        const scrolled = style.scrollBehavior === "smooth" ? Infinity : 0;
        const most = Math.max(animated, moved, scrolled);
        if (most > longest.ms) longest = { ms: most, of: `${element.tagName} ${element.getAttribute("class") ?? ""} ${part ?? ""}` };
      }
    }
    for (const animation of document.getAnimations()) {
      const { duration } = animation.effect.getTiming();
      if (duration > longest.ms) longest = { ms: duration, of: animation.animationName ?? animation.transitionProperty ?? "a script's animation" };
    }
    return longest;
  });
}

test("nothing moves in any view for a person who asked for less motion", async ({ store: openStore, page: openPage }) => {
  const store = await openStore({ frontends: 2, hasLab: true });
  await store.buy("Tux", 1);
  const page = await openPage(store.url(), { motion: "reduce" });
  for (const address of await addresses(store)) {
    await page.goto("about:blank");
    await page.goto(store.url(0, address));
    await shown(page, address.split(/[/?]/)[0]);
    const { ms, of } = await longestMotion(page);
    assert(ms <= STILL_MS, `${address}: ${of} moves for ${ms} ms`);
  }
  // The gauges of leases would move ten times a second.
  await page.goto(store.url(0, "cluster"));
  await shown(page, "cluster");
  const lease = page.locator(".lease-text").first();
  await eventually("there is a lease", async () => (await lease.textContent()).startsWith("Lease"));
  const changes = await page.evaluate(() => new Promise((then) => {
    let counted = 0;
    const observer = new MutationObserver((all) => (counted += all.length));
    document.querySelectorAll(".lease-bar, .lease-text").forEach((part) => observer.observe(part, { attributes: true, childList: true, subtree: true, characterData: true }));
    setTimeout(() => then(counted), 1_500);
  }));
  equal(changes, 0, "changes of the leases' gauges in 1.5 s");
  // A plot would be drawn anew with each sample, twice a second.
  await page.goto(store.labUrl);
  await page.getByRole("button", { name: "Start the load" }).click();
  await eventually("latencies come", async () => /\d ms/.test(await page.locator(".plot-words").textContent()));
  const seen = await page.evaluate(async () => {
    const pictures = new Set();
    for (let look = 0; look < 16; look += 1) {
      pictures.add(document.querySelector(".plot canvas").toDataURL());
      await new Promise((then) => setTimeout(then, 250));
    }
    return pictures.size;
  });
  assert(seen <= 2, `the plot was drawn ${seen - 1} times in 4 s`);
  await page.getByRole("button", { name: "End it" }).click();
  // What waits turns; a purchase waits while its front-end is stopped.
  await page.goto(store.url());
  await shown(page, "shop");
  await toy(page, "Tux").waitFor();
  store.signal("frontend", "SIGSTOP");
  await toy(page, "Tux").getByRole("button", { name: "Buy" }).click();
  await page.locator(".mark-waiting").first().waitFor();
  const waiting = await longestMotion(page);
  store.signal("frontend", "SIGCONT");
  assert(waiting.ms <= STILL_MS, `${waiting.of} moves for ${waiting.ms} ms`);
});

test("motion is found where it is not asked to be less", async ({ store: openStore, page: openPage }) => {
  const page = await openPage((await openStore()).url());
  await shown(page, "shop");
  assert((await longestMotion(page)).ms > STILL_MS, "a button moves when it is pressed");
});
