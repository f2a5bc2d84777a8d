// What open pages cost the store: processor time per request and clients' latencies, with no page, one
// and a hundred.
//
// `tests/browser.sh cost` runs it, and `eval/pages/run.sh` records it, in the file that RESULTS names. The
// pages are connections that do what a page does: the first 64 follow the events, the others ask once
// a second. A round has each number of pages once, in an order that changes, so that what else the
// machine does meanwhile falls on all alike.

import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { promisify } from "node:util";

import { Store, TOYSTORE, eventually } from "./support.mjs";

// Not SECONDS, which is a clock of bash.
const LENGTH_S = Number(process.env.PAGES_LENGTH ?? 10);
const ROUNDS = Number(process.env.PAGES_ROUNDS ?? 3);
const PAGES = [0, 1, 100];
const RATE = 200;
// The clock tick of Linux in which /proc counts processor time.
const TICK_US = 10_000;

const store = await Store.open({ stock: 1_000_000 });
const [address] = store.frontends;
const ROLES = ["frontend", "catalog", "order-1", "order-2", "order-3"];

/** The processor time that a role has used so far. */
function processorUs(role) {
  const fields = readFileSync(`/proc/${store.pid(role)}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_US;
}

/** Opens a page, and returns how to close it. */
function open() {
  let timer = null;
  let isClosed = false;
  const ask = () => {
    const request = get(`http://${address}/events?once`, (response) => response.resume());
    request.on("error", () => {});
    timer = setTimeout(ask, 1_000);
  };
  const following = get(`http://${address}/events`, (response) => {
    if (response.statusCode === 503 && !isClosed) ask();
    response.resume();
    response.on("error", () => {});
  });
  following.on("error", () => {});
  return () => {
    isClosed = true;
    clearTimeout(timer);
    following.destroy();
  };
}

async function measure(number, pages) {
  const closing = Array.from({ length: pages }, open);
  await new Promise((then) => setTimeout(then, 1_000));
  const before = ROLES.map(processorUs);
  const client = await promisify(execFile)(TOYSTORE, [
    "client", "--config", store.config, "-c", "5", "-d", `${LENGTH_S}s`, "--rate", String(RATE), "-p", "0.2", "--seed", "7", "--format", "json",
  ], { maxBuffer: 64 << 20 });
  const spent = ROLES.map((role, place) => processorUs(role) - before[place]);
  for (const close of closing) close();
  const { query, order, order_query: check } = JSON.parse(client.stdout).requests;
  const requests = query.count + order.count + check.count;
  const [frontend, all] = [spent[0], spent.reduce((sum, one) => sum + one)].map((us) => us / requests);
  return { number, pages, requests, frontend, all, query: query.p50_ms, query99: query.p99_ms, order: order.p50_ms, order99: order.p99_ms };
}

const median = (numbers) => [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)];

try {
  await eventually("it sells", async () => (await store.buy("Tux", 1)).data);
  await measure(0, 0); // it is not counted
  const measured = [];
  for (let number = 1; number <= ROUNDS; number += 1) {
    const order = PAGES.map((_, place) => PAGES[(place + number) % PAGES.length]);
    for (const pages of order) measured.push(await measure(number, pages));
  }
  if (process.env.RESULTS) {
    const row = (one) => [one.number, one.pages, one.requests, one.frontend.toFixed(1), one.all.toFixed(1), one.query, one.query99, one.order, one.order99].join();
    const head = "round,pages,requests,frontend_us_per_request,all_us_per_request,query_p50_ms,query_p99_ms,purchase_p50_ms,purchase_p99_ms";
    writeFileSync(process.env.RESULTS, `${[head, ...measured.map(row)].join("\n")}\n`);
  }
  console.log(`medians of ${ROUNDS} rounds of ${LENGTH_S} s, ${RATE} iterations/s, p = 0.2`);
  for (const pages of PAGES) {
    const own = measured.filter((one) => one.pages === pages);
    const figure = (name) => median(own.map((one) => one[name])).toFixed(2);
    console.log(`${pages} pages: processor time per request ${figure("frontend")} µs (front-end), ${figure("all")} µs (all roles); query p50 ${figure("query")} ms, p99 ${figure("query99")} ms; purchase p50 ${figure("order")} ms, p99 ${figure("order99")} ms`);
  }
} finally {
  await store.close();
}
