import assert from "node:assert/strict";
import { test } from "node:test";
import type { EventHandlers, Resync } from "../src/index.ts";
import { goLive, startClient, type TestClient } from "./support/client.ts";
import { settleMicrotasks } from "./support/clock.ts";
import { chainAt, eventFrame, recovered, subscribed, userSnapshot } from "./support/gateway.ts";

const ignore = { event() {} };

/** Handlers that keep the seqs of events and the states of resyncs. */
function collect() {
  const events: number[] = [];
  const resyncs: Resync[] = [];
  const errors: string[] = [];
  const handlers: EventHandlers = {
    event: (_, { seq }) => events.push(seq),
    resync: (state) => resyncs.push(state),
    error: ({ code }) => errors.push(code),
  };
  return { events, resyncs, errors, handlers };
}

/** A live client with a subscription to user:u1 that has begun at the seq 7. */
async function subscribeAt7(t: TestClient, handlers: EventHandlers) {
  t.client.subscribe({ accounts: ["user:u1"] }, handlers);
  const socket = await goLive(t);
  socket.take();
  socket.push(subscribed("s1", 7));
  return socket;
}

test("40 subscriptions stay below the gateway's limit of frames", async () => {
  const t = startClient();
  for (let i = 0; i < 40; i++) t.client.subscribe({ accounts: [`user:u${i}`] }, ignore);
  const socket = await goLive(t);
  assert.equal(socket.take().length, 1 + 30);
  await t.clock.advance(1_000);
  assert.equal(socket.take().length, 10);
});

test("subscribing and ending in one go sends nothing", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const socket = await goLive(t);
  socket.take();
  const stop = t.client.subscribe({ accounts: ["user:u1"] }, ignore);
  stop();
  t.client.balance("user:u1").subscribe(() => {})();
  await settleMicrotasks();
  assert.deepEqual(socket.take(), []);
});

test("an announced resync that is missing makes the client ask again", async () => {
  const t = startClient();
  const seen = collect();
  (await subscribeAt7(t, seen.handlers)).end(1006);
  await t.clock.advance(500);
  const socket = await goLive(t);
  socket.take();
  const start = { account: "user:u1", seq: 7, chain: chainAt(7), recovered: false };
  // The event fits by its seq, but it belongs to another history.
  socket.push({ op: "subscribed", sub: "s2", accounts: [start] }, eventFrame("s2", 8, 1));
  await settleMicrotasks();
  assert.deepEqual(seen.events, []);
  assert.deepEqual(socket.take().map((frame) => frame.op), ["unsubscribe", "subscribe"]);
  const snapshot = userSnapshot(7, 1);
  socket.push(
    { op: "subscribed", sub: "s3", accounts: [start] },
    { op: "resync", sub: "s3", account: "user:u1", seq: 7, chain: snapshot.chain, snapshot, reason: "history_changed" },
    eventFrame("s3", 8, 1),
  );
  assert.equal(seen.resyncs[0]!.reason, "history_changed");
  assert.deepEqual(seen.events, [8]);
});

test("a gateway that resumes elsewhere is not believed", async () => {
  const t = startClient();
  const seen = collect();
  (await subscribeAt7(t, seen.handlers)).end(1006);
  await t.clock.advance(500);
  const socket = await goLive(t);
  socket.take();
  socket.push(recovered("s2", 8), eventFrame("s2", 9));
  await settleMicrotasks();
  assert.deepEqual(seen.events, []);
  assert.deepEqual(socket.take()[1], {
    op: "subscribe",
    sub: "s3",
    accounts: ["user:u1"],
    after: { "user:u1": 7 },
    chain: { "user:u1": chainAt(7) },
    snapshot: false,
  });
});

test("an error is told once until it has passed, and a temporary one is tried again", async () => {
  const t = startClient();
  const seen = collect();
  t.client.subscribe({ accounts: ["user:u1"] }, seen.handlers);
  const socket = await goLive(t);
  for (const sub of ["s1", "s2"]) {
    socket.push({ op: "error", sub, code: "snapshot_unavailable", message: "later" });
    await t.clock.advance(20_000);
  }
  socket.push(subscribed("s3", 7));
  socket.push({ op: "unsubscribed", sub: "s3" });
  await t.clock.advance(20_000);
  socket.push({ op: "error", sub: "s4", code: "snapshot_unavailable", message: "later" });
  assert.deepEqual(seen.errors, ["snapshot_unavailable", "snapshot_unavailable"]);
});

test("a refused subscription is tried again with the next token only", async () => {
  const t = startClient();
  const seen = collect();
  t.client.subscribe({ accounts: ["user:u1"] }, seen.handlers);
  const socket = await goLive(t);
  socket.take();
  socket.push({ op: "error", sub: "s1", code: "forbidden", message: "the token must cover user:u1" });
  await t.clock.advance(30_000);
  assert.deepEqual(socket.take(), []);
  socket.push({ op: "token_expiring", expiresAt: "2026-01-01T00:01:00.000Z" });
  await settleMicrotasks();
  socket.push({ op: "welcome", heartbeatSeconds: 25 });
  await settleMicrotasks();
  assert.deepEqual(socket.take().map((frame) => frame.op), ["auth", "subscribe"]);
  socket.push(subscribed("s2", 7), eventFrame("s2", 8));
  assert.deepEqual([seen.errors, seen.events], [["forbidden"], [8]]);
});

test("a position that the gateway refuses is given up with a resync", async () => {
  const t = startClient();
  const seen = collect();
  t.client.subscribe({}, seen.handlers);
  let socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.end(1006);
  await t.clock.advance(500);
  socket = await goLive(t);
  socket.take();
  socket.push({ op: "error", sub: "s2", code: "bad_request", message: "after must name accounts of the subscription" });
  await t.clock.advance(500);
  assert.deepEqual(socket.take(), [{ op: "subscribe", sub: "s3" }], "with snapshots");
  const accounts = ["user:u1", "user:u2"].map((account) => {
    const snapshot = userSnapshot(9, 0, account as "user:u1");
    return { account, seq: 9, chain: snapshot.chain, recovered: false, snapshot };
  });
  socket.push({ op: "subscribed", sub: "s3", accounts }, eventFrame("s3", 10));
  assert.deepEqual(seen.resyncs.map(({ account, seq, reason }) => [account, seq, reason]), [
    ["user:u1", 9, "history_unavailable"],
  ]);
  assert.deepEqual(seen.events, [10]);
});

test("a subscribe without an answer is repeated after 30 s", async () => {
  const t = startClient();
  t.client.subscribe({ accounts: ["user:u1"] }, ignore);
  const socket = await goLive(t);
  socket.take();
  await t.clock.advance(29_999);
  assert.deepEqual(socket.take(), []);
  await t.clock.advance(1);
  assert.deepEqual(socket.take().map(({ op }) => op), ["unsubscribe", "subscribe"]);
});

test("a frame that cannot be read is reported, and the next one counts", async () => {
  const t = startClient();
  const seen = collect();
  const socket = await subscribeAt7(t, seen.handlers);
  socket.onmessage?.({ data: `{"op":\nnull\n${JSON.stringify(eventFrame("s1", 8))}` });
  assert.deepEqual(seen.events, [8]);
  assert.deepEqual(t.reports.map((error) => (error as { code?: string }).code), ["bad_frame", "bad_frame"]);
});
