import assert from "node:assert/strict";
import { afterEach, beforeEach, test } from "node:test";
import type { ConnectionState } from "../src/index.ts";
import { goLive, startClient, type TestClient } from "./support/client.ts";
import { settleMicrotasks } from "./support/clock.ts";
import { TestPage } from "./support/page.ts";

let page: TestPage;
let t: TestClient;

beforeEach(() => {
  page = new TestPage().install();
  t = startClient({ fetch: () => Promise.reject(new Error("there is no network")) });
  t.client.subscribe({}, { event() {} });
});

afterEach(() => {
  t.client.close();
  page.uninstall();
});

/** Loses the live connection. Returns the state that follows. */
async function loseConnection() {
  const socket = await goLive(t);
  socket.end(1006);
  return t.client.state;
}

function assertOffline(state: ConnectionState): void {
  assert.ok(state.name === "waiting" && state.error?.code === "offline", JSON.stringify(state));
}

const ops = (frames: { op: string }[]) => frames.map(({ op }) => op);
const pings = (frames: { op: string }[]) => ops(frames).filter((op) => op === "ping");

for (const [name, wake] of [
  ["the network is back", () => page.setOnline(true)],
  ["the page is visible", () => page.setHidden(false)],
  ["the page is back from the cache", () => page.setCached(false)],
  ["the page runs again", () => page.setFrozen(false)],
] as const) {
  test(`wake: when ${name}, a waiting client tries at once, and once`, async () => {
    assert.equal((await loseConnection()).name, "waiting");
    wake();
    wake();
    await settleMicrotasks();
    assert.equal(t.client.state.name, "connecting");
    assert.equal(t.gateway.sockets.length, 2);
  });

  test(`wake: when ${name}, a live client checks its connection`, async () => {
    const socket = await goLive(t);
    socket.take();
    wake();
    wake();
    assert.deepEqual(ops(socket.take()), ["ping"]);
    socket.push({ op: "pong" });
    await t.clock.advance(6_000);
    assert.equal(t.client.state.name, "live");
    wake();
    await t.clock.advance(6_000);
    assert.notEqual(t.client.state.name, "live");
  });
}

test("wake: a visible page notices within 15 s that the network is dead", async () => {
  const socket = await goLive(t);
  socket.take();
  await t.clock.advance(9_900);
  assert.deepEqual(ops(socket.take()), []);
  await t.clock.advance(200);
  assert.deepEqual(ops(socket.take()), ["ping"]);
  socket.push({ op: "pong" });
  await t.clock.advance(10_100);
  assert.deepEqual(ops(socket.take()), ["ping"]);
  await t.clock.advance(5_100);
  assert.notEqual(t.client.state.name, "live");
});

test("wake: a hidden page leaves it to the gateway's heartbeat", async () => {
  const socket = await goLive(t);
  page.setHidden(true);
  socket.take();
  await t.clock.advance(34_900);
  assert.deepEqual(pings(socket.take()), []);
  await t.clock.advance(200);
  assert.deepEqual(pings(socket.take()), ["ping"]);
});

test("wake: an event stream is not made again for a ping every 10 s", async () => {
  const socket = await goLive(t);
  socket.push({ op: "welcome", heartbeatSeconds: 25, isStream: true });
  socket.take();
  await t.clock.advance(34_900);
  assert.deepEqual(pings(socket.take()), []);
});

test("wake: a hidden page wakes nothing", async () => {
  await loseConnection();
  page.setHidden(true);
  assert.equal(t.client.state.name, "waiting");
});

test("wake: the gateway's pause is kept", async () => {
  const socket = await goLive(t);
  socket.push({ op: "reconnect", afterMs: 5_000, reason: "drain" });
  socket.end(1012, "restart");
  page.setOnline(true);
  assert.equal(t.client.state.name, "waiting");
});

for (const [name, stop, wake] of [
  ["cached", () => page.setCached(true), () => page.setCached(false)],
  ["frozen", () => page.setFrozen(true), () => page.setFrozen(false)],
] as const) {
  test(`wake: a page that is ${name} has no connection until it runs again`, async () => {
    const socket = await goLive(t);
    stop();
    assert.equal(socket.isClosed, true);
    assert.equal(t.client.state.name, "waiting");
    assert.deepEqual(t.reports, []);
    wake();
    await goLive(t);
    assert.equal(t.client.state.name, "live");
    assert.equal(t.gateway.sockets.length, 2);
  });
}

test("wake: without a network, the client tries every 20 s in case the browser is wrong", async () => {
  page.navigator.onLine = false;
  const state = await loseConnection();
  assertOffline(state);
  page.setHidden(false); // would be in vain
  await t.clock.advance(19_900);
  assert.equal(t.gateway.sockets.length, 1);
  await t.clock.advance(200);
  assert.equal(t.gateway.sockets.length, 2);
  await goLive(t);
  assert.equal(t.client.state.name, "live");
});

test("wake: offline makes a live client check, and shows in a waiting one", async () => {
  const socket = await goLive(t);
  socket.take();
  page.setOnline(false);
  assert.deepEqual(ops(socket.take()), ["ping"]);
  assert.equal(t.client.state.name, "live");
  await t.clock.advance(5_100);
  assertOffline(t.client.state);
});

test("wake: offline shows while the client waits", async () => {
  await loseConnection();
  page.setOnline(false);
  assertOffline(t.client.state);
});

test("wake: a closed client leaves the page alone", async () => {
  t.client.close();
  page.setOnline(true);
  page.setCached(true);
  await settleMicrotasks();
  assert.equal(t.client.state.name, "closed");
});
