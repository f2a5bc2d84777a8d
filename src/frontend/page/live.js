// What the front-end tells of the store while the page is open.

const POLL_MS = 1_000;
const POLL_LIMIT_MS = 3_000;

/** The state of the store, and whoever wants to hear of its changes. */
export class Live {
  #listeners = new Set();
  #timer = null;
  state = { mode: "connecting", cluster: null, stock: null, feed: [], others: [], heardAt: 0 };

  start() {
    this.#poll();
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.#poll();
    });
  }

  /** Calls `listener` now and after each change, until the function that is returned is called. */
  subscribe(listener) {
    this.#listeners.add(listener);
    listener();
    return () => this.#listeners.delete(listener);
  }

  /** Asks now, rather than when it is time. */
  refresh() {
    this.#poll();
  }

  async #poll() {
    clearTimeout(this.#timer);
    if (document.hidden) return;
    const signal = AbortSignal.timeout(POLL_LIMIT_MS);
    const asked = async (path) => {
      const response = await fetch(path, { signal });
      return response.ok ? (await response.json()).data : null;
    };
    try {
      const [cluster, stock] = await Promise.all([asked("/cluster"), asked("/products")]);
      this.#set({ mode: "polling", cluster, stock: stock ?? this.state.stock, heardAt: Date.now() });
    } catch {
      this.#set({ mode: "lost" });
    }
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#poll(), POLL_MS);
  }

  #set(changes) {
    this.state = { ...this.state, ...changes };
    for (const listener of this.#listeners) listener();
  }
}
