// Purchases, each of which is decided once whatever happens to this page or to its front-end.
//
// A purchase draws its Idempotency-Key here and is written to the browser's storage before it is
// sent. It stays there as "pending" until the store has answered. After a reload, or once a
// front-end answers again, it is sent again under the same key, and the store gives the answer that
// it gave before:
//
//   page                     front-end 1     front-end 2
//    | key k is stored
//    | POST, key k ------------>| sells; dies
//    | no answer: still pending
//    | POST, key k ----------------------------->| the same order
//    | bought: no longer pending
//
// The storage belongs to one front-end's address. To go on at another one, a link takes the pending
// purchases along in its fragment, and the page there asks before it sends them.

import { draw, storage } from "./dom.js";

const STORED = "toystore.purchases";
// Settled purchases that are kept, newest first.
const MOST_KEPT = 100;
// A front-end answers after 10 s at the latest.
const ANSWER_LIMIT_MS = 15_000;
const FIRST_PAUSE_MS = 400;
const LONGEST_PAUSE_MS = 4_000;
const KEY = /^[\x21-\x7e]{1,255}$/;

/** All purchases of this browser at this front-end. */
export class Purchases {
  #listeners = new Set();
  #sending = new Set();
  #wake = new Set();
  keepsNothing = false;

  constructor() {
    window.addEventListener("storage", (event) => {
      if (event.key === STORED) this.#tell();
    });
    window.addEventListener("online", () => this.hurry());
  }

  /** The purchases, newest first. */
  all() {
    const stored = storage.read(STORED);
    return Array.isArray(stored) ? stored : [];
  }

  pending() {
    return this.all().filter((purchase) => purchase.state === "pending");
  }

  /** Calls `listener` after each change, until the function that is returned is called. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Buys a toy. */
  buy(name, quantity) {
    return this.#begin({ key: draw(16), name, quantity });
  }

  /** Sends again what was not answered when the page was left. */
  resume() {
    for (const purchase of this.pending()) this.#send(purchase.key);
  }

  /** Sends at once what waits for its next try: a front-end may answer again. */
  hurry() {
    for (const wake of this.#wake) wake();
  }

  /** Goes on with purchases that another front-end's page began. */
  take(brought) {
    const known = new Set(this.all().map((purchase) => purchase.key));
    for (const purchase of brought) {
      if (!known.has(purchase.key)) this.#begin(purchase);
    }
  }

  /** Stops asking about a purchase. It may have been bought. */
  giveUp(key) {
    this.#change(key, { state: "unknown", message: "No answer yet. It may have been bought." });
  }

  /** Asks about a purchase again. */
  askAgain(key) {
    this.#change(key, { state: "pending", message: "" });
    this.#send(key);
  }

  /** Forgets all purchases that were answered. */
  forget() {
    this.#write(this.pending());
  }

  #begin({ key, name, quantity }) {
    const purchase = { key, name, quantity, requestId: draw(8), at: Date.now(), state: "pending", tries: 0 };
    this.#write([purchase, ...this.all()]);
    this.#send(key);
    return key;
  }

  async #send(key) {
    if (this.#sending.has(key)) return;
    this.#sending.add(key);
    let pause = FIRST_PAUSE_MS;
    for (;;) {
      const purchase = this.all().find((candidate) => candidate.key === key);
      if (purchase?.state !== "pending") break;
      this.#change(key, { tries: (purchase.tries ?? 0) + 1 });
      const outcome = await post(purchase);
      // Another page of this browser may have been told meanwhile.
      const now = this.all().find((candidate) => candidate.key === key);
      if (now?.state === "bought" || now?.state === "refused") break;
      this.#change(key, outcome);
      if (outcome.state !== "pending" && outcome.state) break;
      await this.#rest(pause);
      pause = Math.min(2 * pause, LONGEST_PAUSE_MS);
    }
    this.#sending.delete(key);
  }

  #rest(ms) {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        this.#wake.delete(wake);
        resolve();
      };
      const timer = setTimeout(wake, ms);
      this.#wake.add(wake);
    });
  }

  #change(key, changes) {
    this.#write(
      this.all().map((purchase) => (purchase.key === key ? { ...purchase, ...changes } : purchase)),
    );
  }

  #write(purchases) {
    let settled = 0;
    const kept = purchases.filter((purchase) => {
      if (purchase.state === "pending") return true;
      settled += 1;
      return settled <= MOST_KEPT;
    });
    this.keepsNothing = !storage.write(STORED, kept);
    this.#tell();
  }

  #tell() {
    for (const listener of this.#listeners) listener();
  }
}

/** Sends a purchase, and returns what is known of it afterwards. */
async function post(purchase) {
  let response, body;
  try {
    response = await fetch("/orders", {
      method: "POST",
      headers: { "Idempotency-Key": purchase.key, "X-Request-Id": purchase.requestId },
      body: JSON.stringify({ name: purchase.name, quantity: purchase.quantity }),
      signal: AbortSignal.timeout(ANSWER_LIMIT_MS),
    });
    body = await response.json();
  } catch {
    return { message: "The front-end does not answer." };
  }
  if (response.ok && body?.data) {
    return { state: "bought", number: body.data.order_number, message: "", answeredAt: Date.now() };
  }
  const message = body?.error?.message ?? `status ${response.status}`;
  // It was not decided: the front-end could not, or wants fewer requests.
  if (response.status >= 500 || response.status === 408 || response.status === 429) return { message };
  return { state: "refused", code: response.status, message, answeredAt: Date.now() };
}

/** What a link to another front-end's page says of purchases that have no answer. */
export function carried(purchases) {
  const query = new URLSearchParams();
  for (const { key, name, quantity } of purchases) {
    query.append("finish", JSON.stringify([key, name, quantity]));
  }
  return query.toString();
}

/** The purchases that such a link brings; what is not one is left out. */
export function brought(query) {
  return query.getAll("finish").flatMap((text) => {
    try {
      const [key, name, quantity] = JSON.parse(text);
      const isOne = KEY.test(key) && typeof name === "string" && Number.isSafeInteger(quantity) && quantity > 0;
      return isOne ? [{ key, name, quantity }] : [];
    } catch {
      return [];
    }
  });
}
