import assert from "node:assert/strict";
import { test } from "node:test";
import type { BalanceStorage, StoredBalance } from "../src/index.ts";
import { goLive, startClient, waitUntil } from "./support/client.ts";
import { settleMicrotasks } from "./support/clock.ts";
import { chainAt, eventFrame, recovered, subscribed } from "./support/gateway.ts";

function storedBalance(seq: number): StoredBalance {
  const [account, chain, updatedAt] = ["user:u1", chainAt(seq), "2026-01-01T00:00:00.000Z"] as const;
  return { account, seq, chain, balance: { account, seq, chain, available: 1000 + seq, escrow: 0, updatedAt } };
}

test("readers share one subscription, which ends with the last of them", async () => {
  const t = startClient();
  const balance = t.client.balance("user:u1");
  assert.deepEqual(balance.get(), { status: "loading" });
  const calls = [0, 0];
  const stops = [0, 1].map((i) => t.client.balance("user:u1").subscribe(() => calls[i]!++));
  const socket = await goLive(t);
  assert.deepEqual(socket.take().map((frame) => frame.op), ["auth", "subscribe"]);
  socket.push(subscribed("s1", 7));
  assert.deepEqual(calls, [1, 1]);
  assert.equal(balance.get(), balance.get());
  assert.equal(balance.get().balance?.available, 1007);
  stops[0]!();
  stops[0]!();
  socket.push(eventFrame("s1", 8));
  assert.deepEqual(calls, [1, 2]);
  stops[1]!();
  await settleMicrotasks();
  assert.deepEqual(socket.take(), [{ op: "unsubscribe", sub: "s1" }]);
  assert.deepEqual(balance.get(), { status: "loading" });
});

test("a stored balance is stale at once, and the client resumes from it", async () => {
  const saved: StoredBalance[] = [];
  const storage: BalanceStorage = {
    load: async () => storedBalance(7),
    save: (record) => {
      saved.push(record);
    },
  };
  const t = startClient({ storage });
  const balance = t.client.balance("user:u1");
  balance.subscribe(() => {});
  await waitUntil(() => balance.get().status === "stale");
  const socket = await goLive(t);
  const frame = socket.take()[1]!;
  assert.deepEqual("after" in frame && [frame.after, frame.chain], [{ "user:u1": 7 }, { "user:u1": chainAt(7) }]);
  socket.push(recovered("s1", 7), eventFrame("s1", 8), eventFrame("s1", 9));
  assert.equal(balance.get().status, "live");
  await t.clock.advance(1_000);
  assert.deepEqual(saved.map(({ seq }) => seq), [9], "saved once a second");
  socket.push(eventFrame("s1", 10));
  t.client.close();
  assert.deepEqual(saved.map(({ seq }) => seq), [9, 10], "saved when the client is closed");
});

const wrong: [string, unknown][] = [
  ["nothing", null],
  ["another account", { ...storedBalance(7), balance: { ...storedBalance(7).balance, account: "user:u2" } }],
  ["another seq", { ...storedBalance(7), seq: 8 }],
  ["a chain that is none", { ...storedBalance(7), chain: "x", balance: { ...storedBalance(7).balance, chain: "x" } }],
  ["a balance without points", { ...storedBalance(7), balance: { ...storedBalance(7).balance, escrow: undefined } }],
];
for (const [name, record] of wrong) {
  test(`a storage with ${name} is ignored`, async () => {
    const t = startClient({ storage: { load: () => record as StoredBalance, save() {} } });
    t.client.balance("user:u1").subscribe(() => {});
    await waitUntil(() => t.gateway.sockets.length > 0);
    const socket = await goLive(t);
    assert.deepEqual(socket.take()[1], { op: "subscribe", sub: "s1", accounts: ["user:u1"] });
  });
}

test("a storage that fails or never answers is left out", async () => {
  const fail = () => {
    throw new Error("the disk is full");
  };
  const t = startClient({ storage: { load: fail, save: fail } });
  t.client.balance("user:u1").subscribe(() => {});
  await waitUntil(() => t.gateway.sockets.length > 0);
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  await t.clock.advance(1_000);
  assert.deepEqual(t.reports.map(({ message }) => message), ["the disk is full", "the disk is full"]);
  assert.equal(t.client.balance("user:u1").get().status, "live");

  let isAsked = false;
  const load = () => {
    isAsked = true;
    return new Promise<null>(() => {});
  };
  const slow = startClient({ storage: { load, save() {} } });
  slow.client.balance("user:u1").subscribe(() => {});
  await waitUntil(() => isAsked);
  await slow.clock.advance(1_999);
  assert.equal(slow.gateway.sockets.length, 0);
  await slow.clock.advance(1);
  assert.equal(slow.gateway.sockets.length, 1);
});

test("a balance that became forbidden is forgotten, and begins with a snapshot later", async () => {
  const t = startClient();
  const balance = t.client.balance("user:u1");
  balance.subscribe(() => {});
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.push({ op: "error", sub: "s1", code: "forbidden", message: "the new token must cover the accounts" });
  const state = balance.get();
  assert.equal(state.status, "error");
  assert.equal(state.balance, undefined);
  socket.end(1006);
  await t.clock.advance(500);
  const next = await goLive(t);
  assert.deepEqual(next.take()[1], { op: "subscribe", sub: "s2", accounts: ["user:u1"] });
  next.push(subscribed("s2", 9));
  assert.equal(balance.get().status, "live");
});

test("a loading balance fails with the client, and a known one stays stale", async () => {
  const t = startClient();
  const known = t.client.balance("user:u1");
  const unknown = t.client.balance("user:u2");
  known.subscribe(() => {});
  unknown.subscribe(() => {});
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.end(4403, "forbidden");
  assert.equal(known.get().status, "stale");
  assert.equal(unknown.get().error?.code, "forbidden");
});
