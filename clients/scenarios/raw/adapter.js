// The adapter of the client in docs/protocol.md. It runs the code as it stands on the page, with a
// virtual clock.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate } from "node:timers/promises";
import vm from "node:vm";
import WebSocket from "ws";
import { Clock } from "./clock.js";

const page = readFileSync(new URL("../../../docs/protocol.md", import.meta.url), "utf8");
const section = page.split("## A client for other languages")[1].split("\n## ")[0];
const code = [...section.matchAll(/```js\n([\s\S]*?)```/g)].map(block => block[1]).join("\n");

const write = line => process.stdout.write(JSON.stringify(line) + "\n");
let url = "";
let session = null;

// A Session is the clients of one scenario and what they have asked for.
class Session {
  clock = new Clock();
  calls = []; // the open calls of getToken
  count = 0; // of all calls of getToken
  sockets = [];
  ends = [];
  shown = {};

  constructor() {
    const session = this;
    class Socket extends WebSocket {
      constructor(...args) {
        super(...args);
        session.sockets.push(this);
        this.on("error", () => {}); // a close follows
      }
    }
    const { setTimeout, clearTimeout, setInterval, clearInterval, Date } = this.clock;
    const globals = { WebSocket: Socket, setTimeout, clearTimeout, setInterval, clearInterval, Date };
    this.watch = vm.runInNewContext(code + "\nwatch", globals);
  }

  report(line) {
    if (this === session) write(line);
  }

  getToken(reason) {
    const call = ++this.count;
    this.report({ report: "token", reason, call });
    return new Promise((resolve, reject) => this.calls.push({ call, resolve, reject }));
  }

  // The client shows the balance and the events of one account. An app of a scenario wants one of
  // them.
  balance(as, account) {
    this.show(as, { status: "loading" });
    this.#watch(as, account, {
      show: (balance, isLive) => this.show(as, storeValue(balance, isLive)),
      error: ({ sub, code, message }) => sub && this.show(as, { status: "error", error: { code, message } }),
    });
  }

  subscribe(as, account) {
    this.#watch(as, account, {
      event: event => this.report({ report: "event", as, event }),
      resync: ({ account, seq, chain, reason }) => this.report({ report: "resync", as, account, seq, chain, reason }),
    });
  }

  #watch(as, account, callbacks) {
    this.ends.push(this.watch(url.replace("http", "ws") + "/v1/ws", account, {
      getToken: reason => this.getToken(reason),
      show() {},
      event() {},
      resync() {},
      error: ({ sub, code, message }) => sub && this.report({ report: "error", as, error: { code, message } }),
      state: (name, retryInMs) => this.report({ report: "state", name, retryInMs }),
      ...callbacks,
    }));
  }

  show(as, value) {
    this.shown[as] = value;
    this.report({ report: "balance", as, value });
  }

  end() {
    this.ends.forEach(end => end());
    this.sockets.forEach(socket => socket.terminate());
    this.clock.stop();
  }
}

// Returns the value of a balance store.
function storeValue({ account, seq, chain, availableBalance, escrowBalance, earnedBalance }, isLive) {
  const status = isLive ? "live" : "stale";
  return { status, account, seq, chain, available: availableBalance, escrow: escrowBalance, earned: earnedBalance };
}

// Lets promises and the network's events run.
async function settle() {
  for (let i = 0; i < 10; i++) await setImmediate();
}

const commands = {
  reset(c) {
    const old = session;
    session = null;
    old?.end();
    url = c.url;
    session = new Session();
  },
  create() {},
  balance(c) {
    session.balance(c.as, c.account);
  },
  subscribe(c) {
    const { accounts, ...filter } = c.filter;
    if (Object.keys(filter).length > 0 || accounts.length !== 1) throw new Error("the raw client has no filters");
    session.subscribe(c.as, accounts[0]);
  },
  close() {
    session.ends.splice(0).forEach(end => end());
  },
  token(c) {
    const i = c.call ? session.calls.findIndex(open => open.call === c.call) : 0;
    const [open] = session.calls.splice(i, 1);
    if (c.give) open.resolve(c.give);
    else open.reject(new Error(c.fail));
  },
  get: c => ({ value: session.shown[c.as] }),
  advance: c => session.clock.advance(c.ms, settle),
  sleep: c => session.clock.sleep(c.ms, settle),
  sync() {},
};

write({ hello: { protocol: 1, client: "raw", features: ["frame-auth"] } });
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    if (!Object.hasOwn(commands, command.do)) throw new Error(`the raw client cannot ${command.do}`);
    const answer = await commands[command.do](command);
    await settle();
    write({ id: command.id, ...answer });
  } catch (error) {
    write({ id: command.id, error: String(error.stack) });
  }
}
