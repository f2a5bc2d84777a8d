// What the front-end tells of the store while the page is open.
//
// It comes as server-sent events. When they break off, the page connects again, with the id of the
// last event that it had, so that it is told what it missed. Where they cannot be had (so many pages
// follow them already), it asks for the same once a second. A page that is not seen asks for
// nothing.

const RETRY_MS = 300;
const LONGEST_RETRY_MS = 1_000;
const POLL_MS = 1_000;
const POLL_LIMIT_MS = 3_000;
// The front-end tells its state twice a second. After this silence it is taken for dead.
const SILENCE_MS = 2_000;
// How long a page that asks again and again waits before it tries to follow.
const FOLLOW_AGAIN_MS = 15_000;
// Events that are kept. The front-end counts those that it does not keep any more.
const MOST_EVENTS = 300;

/** The state of the store, and who wants to hear of its changes. */
export class Live {
  #listeners = new Set();
  #source = null;
  #timer = null;
  #retry = RETRY_MS;
  #lastId = "";
  #isPolling = false;
  state = {
    mode: "connecting", // stream, polling, lost
    cluster: null,
    stock: null,
    feed: [], // newest first, by when it was; `arrival` counts when the page heard of it
    arrivals: 0,
    unkept: 0, // earlier events that are not in the feed any more
    isRecorded: true,
    others: [],
    heardAt: 0,
  };

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#rest() : this.#follow()));
    setInterval(() => {
      if (this.#source && this.state.mode === "stream" && Date.now() - this.state.heardAt > SILENCE_MS) this.#broken();
    }, 500);
    this.#follow();
  }

  /** Calls `listener` now and after each change, until the function that is returned is called. */
  subscribe(listener) {
    this.#listeners.add(listener);
    listener();
    return () => this.#listeners.delete(listener);
  }

  /** Asks now, if the page is not told anyway. */
  refresh() {
    if (this.state.mode === "polling") this.#poll();
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }

  #later(ms, next) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => document.hidden || next.call(this), ms);
  }

  #follow() {
    this.#rest();
    if (document.hidden) return;
    const source = new EventSource(`/events?after=${encodeURIComponent(this.#lastId)}`);
    this.#source = source;
    for (const name of ["cluster", "stock", "feed", "feed-note"]) {
      source.addEventListener(name, (event) => {
        if (this.#source !== source) return;
        this.#retry = RETRY_MS;
        this.#take("stream", [{ name, id: event.lastEventId, data: JSON.parse(event.data) }]);
      });
    }
    source.addEventListener("error", () => {
      if (this.#source === source) this.#broken();
    });
  }

  /** The events broke off, or could not be had: asks, to learn which. */
  #broken() {
    this.#rest();
    this.#poll();
  }

  async #poll() {
    if (this.#isPolling) return;
    this.#isPolling = true;
    const began = Date.now();
    try {
      const response = await fetch(`/events?once&after=${encodeURIComponent(this.#lastId)}`, {
        signal: AbortSignal.timeout(POLL_LIMIT_MS),
      });
      if (response.status === 429) {
        // It lives, and wants fewer requests.
        this.#isPolling = false;
        this.#later(POLL_MS, this.#poll);
        return;
      }
      if (!response.ok) throw new Error(`status ${response.status}`);
      const events = parse(await response.text());
      this.#isPolling = false;
      const wasPolling = this.state.mode === "polling";
      if (!wasPolling && this.#retry === RETRY_MS) {
        // It answers: most likely it was restarted, and can be followed again.
        this.#retry = LONGEST_RETRY_MS;
        this.#take(this.state.mode, events);
        this.#follow();
        return;
      }
      this.#take("polling", events);
      this.#followAgainAt ??= Date.now() + FOLLOW_AGAIN_MS;
      if (Date.now() > this.#followAgainAt) {
        this.#followAgainAt = null;
        this.#follow();
      } else {
        this.#later(Math.max(0, POLL_MS - (Date.now() - began)), this.#poll);
      }
    } catch {
      this.#isPolling = false;
      this.#retry = RETRY_MS;
      this.#set({ mode: "lost" });
      this.#later(RETRY_MS, this.#poll);
    }
  }

  #followAgainAt = null;

  #take(mode, events) {
    const changes = { mode, heardAt: Date.now() };
    const news = [];
    let { arrivals, unkept } = this.state;
    for (const { name, id, data } of events) {
      if (name === "feed") {
        this.#lastId = id;
        // What a role recorded is told by every front-end, and again by one that was restarted.
        const key = data.key ?? id;
        const isSame = (event) => event.key === key;
        if (!this.state.feed.some(isSame) && !news.some(isSame)) news.push({ ...data, key, arrival: (arrivals += 1) });
      } else if (name === "feed-note") {
        unkept = data.dropped + (data.from === 0 ? 0 : unkept);
        changes.isRecorded = data.records;
      } else {
        changes[name] = data;
      }
    }
    if (news.length > 0) {
      const all = [...news, ...this.state.feed].sort((one, other) => other.at_ms - one.at_ms || other.arrival - one.arrival);
      changes.feed = all.slice(0, MOST_EVENTS);
      unkept += all.length - changes.feed.length;
    }
    Object.assign(changes, { arrivals, unkept });
    if (changes.cluster) {
      changes.clusterAt = changes.heardAt;
      changes.others = (changes.cluster.frontends ?? []).filter(({ state }) => state !== "own");
    }
    this.#set(changes);
  }

  #set(changes) {
    this.state = { ...this.state, ...changes };
    for (const listener of this.#listeners) listener();
  }
}

/** Parses server-sent events that came as one text. */
function parse(text) {
  return text.split("\n\n").flatMap((block) => {
    const event = { id: "" };
    for (const line of block.split("\n")) {
      if (line.startsWith("event: ")) event.name = line.slice(7);
      if (line.startsWith("id: ")) event.id = line.slice(4);
      if (line.startsWith("data: ")) event.data = JSON.parse(line.slice(6));
    }
    return event.name ? [event] : [];
  });
}
