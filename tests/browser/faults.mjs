// Faults: what the view asks of a laboratory. A stand-in plays the laboratory and notes the calls;
// the front-end is told its address as the real one would tell it.

import { createServer } from "node:http";

import { assert, equal, eventually, test } from "./support.mjs";

const TOKEN = "a-token";

/** A laboratory whose roles do as they are told at once. */
async function laboratory() {
  const states = { frontend: "running", catalog: "running", "order-3": "running" };
  const calls = [];
  const server = createServer((request, response) => {
    const headers = {
      "Access-Control-Allow-Origin": request.headers.origin ?? "null",
      "Access-Control-Allow-Methods": "GET, POST, DELETE",
      "Access-Control-Allow-Headers": "x-toystore-lab, content-type",
      "Content-Type": "application/json",
    };
    const answer = (status, body) => response.writeHead(status, headers).end(body && JSON.stringify(body));
    if (request.method === "OPTIONS") return answer(204);
    if (request.headers["x-toystore-lab"] !== TOKEN) return answer(403, { error: { code: 403, message: "wrong token" } });
    let text = "";
    request.on("data", (part) => (text += part));
    request.on("end", () => {
      const [, , kind, role, verb] = request.url.split("?")[0].split("/");
      if (request.method !== "GET") calls.push(`${request.method} ${request.url}${text ? ` ${text}` : ""}`);
      if (kind === "roles") states[role] = { kill: "down", stop: "stopped", continue: "running", start: "running" }[verb];
      if (kind === "load") {
        const samples = [1, 2, 3].map((place) => ({ at_ms: 500 * place, query_p50_ms: 1, query_p99_ms: 3, purchase_p50_ms: 8, purchase_p99_ms: 20, failed: 0 }));
        return answer(200, { data: { running: true, probability: 0.4, rate: 80, seed: 9, queries: 120, purchases: 48, refused: 2, failed: 0, samples } });
      }
      return answer(200, { data: { roles: Object.entries(states).map(([name, state]) => ({ role: name, address: "127.0.0.1:1", pid: 7, state })), links: [] } });
    });
  });
  await new Promise((then) => server.listen(0, "127.0.0.1", then));
  return { address: `127.0.0.1:${server.address().port}`, calls, close: () => server.close() };
}

test("roles are killed, stopped, resumed and started by a click", async ({ store: openStore, page: openPage }) => {
  const lab = await laboratory();
  try {
    const store = await openStore({ environment: { TOYSTORE_LAB: lab.address } });
    const page = await openPage(store.url(0, `faults?lab=${lab.address}&token=${TOKEN}`));
    const button = (label) => page.getByRole("button", { name: `${label} order-3`, exact: true });
    const follows = (label, state) => eventually(`after ${label} it ${state}`, async () => (await page.locator(".lab-role", { hasText: "order-3" }).textContent()).includes(state));
    await follows("nothing", "runs");
    for (const [label, state] of [["Stop", "is stopped"], ["Continue", "runs"], ["Kill", "does not run"], ["Start", "runs"]]) {
      await button(label).click();
      await follows(label, state);
    }
    await button("Start").click({ force: true }); // it runs, so that this asks for nothing
    await page.getByLabel("p, the probability of an order").fill("0.4");
    await page.getByLabel("Queries in a second").fill("80");
    await page.getByLabel("Seed").fill("9");
    await page.getByRole("button", { name: "Start the load" }).click();
    await eventually("the load is shown", async () => (await page.locator(".plot-words").textContent()).includes("queries 1.0 ms"));
    await eventually("it is drawn", async () => (await page.locator(".plot canvas").count()) === 1);
    await page.getByRole("button", { name: "End it" }).click();
    await eventually("all calls are made", () => lab.calls.length === 6);
    equal(lab.calls, [
      ...["stop", "continue", "kill", "start"].map((verb) => `POST /lab/roles/order-3/${verb}`),
      'POST /lab/load {"probability":0.4,"rate":80,"seed":9}',
      "DELETE /lab/load",
    ], "the calls");
  } finally {
    lab.close();
  }
});

test("a wrong token, and a store without a laboratory, are told", async ({ store: openStore, page: openPage }) => {
  const lab = await laboratory();
  try {
    const store = await openStore({ environment: { TOYSTORE_LAB: lab.address } });
    const page = await openPage(store.url(0, `faults?lab=${lab.address}&token=wrong`));
    await eventually("the refusal is told", async () => (await page.locator(".lab-told").textContent()) === "wrong token");
    const other = await openPage(store.url(0, "faults"));
    await eventually("how to get one is told", async () => (await other.locator(".lab-off").textContent()).includes("./run.sh up --lab"));
    assert((await other.locator(".lab-verbs").count()) === 0, "there is nothing to click");
  } finally {
    lab.close();
  }
});
