// A store of real processes, a real browser, and a list of tests.
//
// The browser's program comes from the system, the packages from the folder that `tests/browser.sh`
// installed them in.

import { execFile, execFileSync, spawn } from "node:child_process";
import { createRequire } from "node:module";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
export const REPOSITORY = resolve(HERE, "../..");
const PACKAGES = process.env.BROWSER_PACKAGES ?? join(REPOSITORY, "target/browser");
export const TOYSTORE = process.env.TOYSTORE ?? join(REPOSITORY, "target/debug/toystore");
const CHROMIUM = process.env.CHROMIUM ?? "chromium";
const require = createRequire(join(PACKAGES, "package.json"));
const { chromium } = require("playwright-core");
export const AXE = require("axe-core").source;

// How long a test waits for what must happen. Far more than anything takes; a machine may be busy.
export const LIMIT_MS = 30_000;
const LOOK_MS = 20;
// A port that was free may be taken by the time that a role listens there.
const MOST_TRIES = 3;

const run = promisify(execFile);

/** Looks until something is found (which an empty text and a count of 0 are not), and returns it. */
export async function eventually(what, look, limit = LIMIT_MS) {
  const deadline = Date.now() + limit;
  let last;
  for (;;) {
    try {
      const found = await look();
      if (found) return found;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw new Error(`not within ${limit} ms: ${what}${last ? ` (${last.message})` : ""}`);
    await new Promise((then) => setTimeout(then, LOOK_MS));
  }
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

export function equal(actual, expected, what) {
  const [is, shouldBe] = [JSON.stringify(actual), JSON.stringify(expected)];
  assert(is === shouldBe, `${what}: ${is}, expected ${shouldBe}`);
}

/** Ports that nothing listened at a moment ago. */
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((then) => {
    const server = createServer().listen(0, "127.0.0.1", () => then(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((then) => server.close(then))));
  return ports;
}

/** A store of processes in a folder of its own. */
export class Store {
  /** Opens it with other ports if another process took one since it was free. */
  static async open(options) {
    for (let tries = 1; ; tries += 1) {
      try {
        return await Store.openOnce(options);
      } catch (error) {
        if (tries === MOST_TRIES || !`${error.message}${error.stderr}`.includes("Address already in use")) throw error;
      }
    }
  }

  static async openOnce({ frontends = 1, restockMs = 3_600_000, stock = 100, hasLab = false } = {}) {
    const store = new Store();
    store.folder = mkdtempSync(join(tmpdir(), "toystore-browser-"));
    store.config = join(store.folder, "roles.toml");
    const ports = await freePorts(frontends + 4);
    const address = () => `127.0.0.1:${ports.pop()}`;
    store.frontends = Array.from({ length: frontends }, address);
    const toys = /toys = \[[^\]]*\]/.exec(readFileSync(join(REPOSITORY, "roles.toml"), "utf8"))[0];
    writeFileSync(store.config, [
      'data_dir = "data"',
      ...store.frontends.map((one) => `[[frontend]]\naddress = "${one}"`),
      `[catalog]\naddress = "${address()}"\nrestock_interval_ms = ${restockMs}\ninitial_stock = ${stock}\n${toys}`,
      ...[1, 2, 3].map((id) => `[[order]]\nid = ${id}\naddress = "${address()}"`),
      "[cache]\nenabled = true\ncapacity = 1000\n",
    ].join("\n"));
    try {
      if (hasLab) await store.openLab();
      else await store.verb("up");
    } catch (error) {
      await store.close();
      throw error;
    }
    return store;
  }

  /** Starts the store with a laboratory, and reads from what it prints where that is. */
  async openLab() {
    this.lab = spawn(TOYSTORE, ["up", "--lab", "--config", this.config], { stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    for (const stream of [this.lab.stdout, this.lab.stderr]) stream.on("data", (text) => (printed += text));
    try {
      this.labUrl = await eventually("the laboratory is open", () => /http:\S+#\/faults\?lab=\S+/.exec(printed)?.[0] ?? (this.lab.exitCode === null ? null : "none"));
      assert(this.labUrl !== "none", "it has ended");
    } catch (error) {
      throw new Error(`${error.message}: ${printed}`);
    }
  }

  async verb(...words) {
    return (await run(TOYSTORE, [...words, "--config", this.config])).stdout;
  }

  /** The process of a role. */
  pid(role) {
    return Number(readFileSync(join(this.folder, "data", `${role}.pid`), "utf8"));
  }

  signal(role, signal) {
    process.kill(this.pid(role), signal);
  }

  url(frontend = 0, view = "shop") {
    return `http://${this.frontends[frontend]}/#/${view}`;
  }

  async get(path, frontend = 0) {
    return (await fetch(`http://${this.frontends[frontend]}${path}`)).json();
  }

  async quantity(name, frontend = 0) {
    return (await this.get(`/products/${encodeURIComponent(name)}`, frontend)).data?.quantity;
  }

  async buy(name, quantity, frontend = 0) {
    const response = await fetch(`http://${this.frontends[frontend]}/orders`, { method: "POST", body: JSON.stringify({ name, quantity }) });
    return response.json();
  }

  /** What the first front-end knows and has logged, to be read where a test failed. */
  async state() {
    const view = await this.get("/cluster").catch((error) => error.message);
    const log = readFileSync(join(this.folder, "data", "frontend.log"), "utf8").trim().split("\n").slice(-20);
    return `${JSON.stringify(view)}\n${log.join("\n")}`;
  }

  async close() {
    for (const role of ["catalog", "order-1", "order-2", "order-3", "frontend", "frontend-2"]) {
      try {
        this.signal(role, "SIGCONT");
      } catch {
        // It does not run.
      }
    }
    if (this.lab?.exitCode === null) {
      // It ends its roles itself.
      const ended = new Promise((then) => this.lab.once("exit", then));
      this.lab.kill("SIGTERM");
      await ended;
    } else {
      await this.verb("down");
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Starts the browser with a profile of its own. */
export function startBrowser() {
  const executablePath = CHROMIUM.includes("/") ? CHROMIUM : execFileSync("which", [CHROMIUM], { encoding: "utf8" }).trim();
  return chromium.launch({
    executablePath,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
      "--disable-component-update", "--disable-sync",
    ],
  });
}

/** A page, with what went wrong on it. */
export async function openPage(browser, url, { width = 1280, height = 800, scheme = "light", motion = "no-preference", context } = {}) {
  const own = context ?? (await browser.newContext({ viewport: { width, height }, colorScheme: scheme, reducedMotion: motion }));
  const page = await own.newPage();
  const problems = [];
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("console", (message) => {
    // A browser writes a line of its own for each answer that is an error, and for none at all.
    const isAnswer = message.text().startsWith("Failed to load resource:");
    if (["error", "warning"].includes(message.type()) && !isAnswer) problems.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (protocol !== "data:" && hostname !== "127.0.0.1") problems.push(`a request left the machine: ${request.url()}`);
  });
  page.problems = problems;
  page.setDefaultTimeout(LIMIT_MS);
  await page.goto(url);
  return page;
}

/** The card of a toy. */
export function toy(page, name) {
  return page.locator(".toy", { has: page.getByRole("heading", { name, exact: true }) });
}

/** What axe-core finds that is serious, as text. */
export async function inaccessible(page) {
  const found = await page.evaluate(`(() => { ${AXE}; return axe.run(document, { resultTypes: ["violations"] }); })()`);
  const serious = found.violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  return serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ target }) => target.join(" ")).join(", ")}`);
}

const tests = [];

/** Adds a test. Its name is a sentence. */
export function test(name, body) {
  tests.push({ name, body });
}

/** Runs the tests whose names have this part, one after the other, and says how many passed. */
export async function runTests(part = "") {
  const browser = await startBrowser();
  let [passed, failed] = [0, 0];
  for (const { name, body } of tests.filter((candidate) => candidate.name.includes(part))) {
    const closing = [];
    const open = {
      store: async (options) => {
        const store = await Store.open(options);
        closing.push(() => store.close());
        open.stores.push(store);
        return store;
      },
      page: async (url, options) => {
        const page = await openPage(browser, url, options);
        closing.push(() => page.context().close());
        open.pages.push(page);
        return page;
      },
      pages: [],
      stores: [],
    };
    const began = Date.now();
    try {
      await body(open);
      for (const { problems } of open.pages) equal(problems, [], "what went wrong on the page");
      passed += 1;
      console.log(`ok      ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAILED  ${name}\n${error.stack}`);
      for (const page of open.pages) console.log(`        ${page.problems.join("\n        ")}`);
      for (const store of open.stores) console.log(await store.state().catch((unknown) => unknown.message));
    }
    for (const close of closing.reverse()) await close().catch((error) => console.log(`        closing: ${error.message}`));
  }
  await browser.close();
  console.log(`\n${passed} passed, ${failed} failed`);
  return failed === 0 && passed > 0;
}
