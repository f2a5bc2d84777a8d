// What open pages cost the store: processor time and clients' latencies with none, one and a hundred.
//
// `tests/browser.sh cost` runs it, and `eval/pages/run.sh` records it: to the file of RESULTS. The pages are connections that do what a page does: the first 64
// follow the events, the others ask once a second. Rounds alternate, so that what else the machine
// does meanwhile falls on all alike.

import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { get } from "node:http";
import { promisify } from "node:util";

import { Store, TOYSTORE, eventually } from "./support.mjs";

const SECONDS = Number(process.env.SECONDS ?? 10);
const ROUNDS = Number(process.env.ROUNDS ?? 3);
const RATE = 200;
// The clock tick of Linux in which /proc counts processor time.
const TICK_MS = 10;

const store = await Store.open({ stock: 1_000_000 });
const [address] = store.frontends;

function processorMs(role) {
  const fields = readFileSync(`/proc/${store.pid(role)}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
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

async function round(pages) {
  const closing = Array.from({ length: pages }, open);
  await new Promise((then) => setTimeout(then, 1_000));
  const roles = ["frontend", "catalog"];
  const before = roles.map(processorMs);
  const client = await promisify(execFile)(TOYSTORE, [
    "client", "--config", store.config, "-c", "5", "-d", `${SECONDS}s`, "--rate", String(RATE), "-p", "0.2", "--seed", "7", "--format", "json",
  ], { maxBuffer: 64 << 20 });
  const report = JSON.parse(client.stdout);
  const spent = roles.map((role, place) => (processorMs(role) - before[place]) / SECONDS);
  for (const close of closing) close();
  const { query, order } = report.requests;
  return { pages, frontend: spent[0], catalog: spent[1], query: query.p50_ms, query99: query.p99_ms, order: order.p50_ms, order99: order.p99_ms };
}

const median = (numbers) => [...numbers].sort((one, other) => one - other)[Math.floor(numbers.length / 2)];

try {
  await eventually("it sells", async () => (await store.buy("Tux", 1)).data);
  await round(0); // the first is not counted
  const rounds = [];
  for (let number = 0; number < ROUNDS; number += 1) for (const pages of [0, 1, 100]) rounds.push(await round(pages));
  if (process.env.RESULTS) {
    const row = (one, place) => [Math.floor(place / 3) + 1, one.pages, one.frontend, one.catalog, one.query, one.query99, one.order, one.order99].join();
    const head = "round,pages,frontend_ms_per_s,catalog_ms_per_s,query_p50_ms,query_p99_ms,purchase_p50_ms,purchase_p99_ms";
    writeFileSync(process.env.RESULTS, `${[head, ...rounds.map(row)].join("\n")}\n`);
  }
  console.log(`medians of ${ROUNDS} rounds of ${SECONDS} s, ${RATE} iterations/s, p = 0.2`);
  console.log("pages  front-end ms/s  catalog ms/s  query p50/p99 ms  purchase p50/p99 ms");
  for (const pages of [0, 1, 100]) {
    const own = rounds.filter((one) => one.pages === pages);
    const figure = (name) => median(own.map((one) => one[name])).toFixed(2);
    console.log(`${String(pages).padStart(5)}  ${figure("frontend").padStart(14)}  ${figure("catalog").padStart(12)}  ${`${figure("query")} / ${figure("query99")}`.padStart(16)}  ${`${figure("order")} / ${figure("order99")}`.padStart(19)}`);
  }
} finally {
  await store.close();
}
