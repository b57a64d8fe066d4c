import assert from "node:assert/strict";
import { test } from "node:test";
import { createClient, RealtimeError, Unauthorized, type ConnectionState } from "../src/index.ts";
import { goLive, startClient } from "./support/client.ts";
import { settleMicrotasks } from "./support/clock.ts";
import { eventFrame, subscribed, welcome } from "./support/gateway.ts";

const ignore = { event() {} };

test("createClient refuses a url that cannot be right", () => {
  const getToken = () => "t1";
  for (const url of ["https://gateway.example.com/v1/ws", "gateway.example.com", "", "wss:///v1/ws"]) {
    assert.throws(() => createClient({ url, getToken }), /url must be a WebSocket address/, url);
  }
});

test("a client connects when the first subscription is made, and authenticates first", async () => {
  const t = startClient();
  await settleMicrotasks();
  assert.equal(t.gateway.sockets.length, 0);
  assert.deepEqual(t.client.state, { name: "idle" });

  t.client.subscribe({ accounts: ["user:u1"] }, ignore);
  const socket = await goLive(t);
  assert.equal(socket.protocol, "wallet.v1");
  assert.deepEqual(socket.take(), [
    { op: "auth", token: "t1" },
    { op: "subscribe", sub: "s1", accounts: ["user:u1"], snapshot: false },
  ]);
  assert.deepEqual(t.states, [{ name: "connecting" }, { name: "live" }]);
});

test("the pause after a failure grows, and begins again only after 30 s live", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const pauses: number[] = [];
  const fail = async (liveFor: number) => {
    const socket = await goLive(t);
    await t.clock.advance(liveFor);
    socket.end(1006);
    assert.equal(t.client.state.name, "waiting");
    const pause = t.client.state.name === "waiting" ? t.client.state.retryAt - t.clock.now() : 0;
    pauses.push(pause);
    await t.clock.advance(pause);
  };
  for (const liveFor of [0, 0, 29_000, 0, 0, 0, 0, 30_000, 0]) await fail(liveFor);
  // The random number of these tests is always 0.5.
  assert.deepEqual(pauses, [250, 250, 1000, 2000, 4000, 8000, 10_000, 250, 250]);
});

test("a refused handshake teaches what to check, once", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  for (let i = 0; i < 3; i++) {
    await settleMicrotasks();
    t.gateway.socket.end(1006);
    await t.clock.advance(20_000);
  }
  assert.equal(t.reports.length, 1);
  assert.match(t.reports[0]!.message, /wss:\/\/gateway.example.com\/v1\/ws.*usually ends in \/v1\/ws/);
});

/** Returns the state of a client whose request for an event stream gets the answer. */
async function refuseStream(answer: Response): Promise<ConnectionState> {
  const t = startClient({ fetch: async () => answer });
  t.client.subscribe({}, ignore);
  for (let i = 0; i < 2; i++) {
    await t.clock.advance(20_000);
    t.gateway.socket.end(1006);
  }
  const refused = new Promise<ConnectionState>((resolve) => {
    t.client.on("state", (state) => state.name !== "connecting" && resolve(state));
  });
  const { state } = t.client;
  assert.equal(state.name, "waiting");
  if (state.name === "waiting") await t.clock.advance(state.retryAt - t.clock.now());
  return refused;
}

test("a 403 of a proxy is not the end", async () => {
  const state = await refuseStream(new Response("<h1>Forbidden</h1>", { status: 403 }));
  assert.equal(state.name, "waiting");
  assert.match(state.error!.message, /refused \(HTTP 403\)/);
});

test("a 403 of the gateway ends the client, which says why", async () => {
  const state = await refuseStream(
    Response.json({ code: "forbidden", detail: "the token was revoked" }, { status: 403 }),
  );
  assert.equal(state.name, "closed");
  assert.match(state.error!.message, /refused \(the token was revoked\)/);
});

test("the end of a live connection is not reported, unless it can be mended", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  for (const [code, reason] of [[1006, ""], [1012, "restart"], [1001, "going_away"], [4401, "unauthorized"], [4429, "rate_limited"]] as const) {
    (await goLive(t)).end(code, reason);
    const { state } = t.client;
    if (state.name === "waiting") await t.clock.advance(state.retryAt - t.clock.now());
  }
  assert.deepEqual(t.reports.map((error) => (error as RealtimeError).code), ["rate_limited"]);
});

test("a wall clock that is set back does not blind the watchdog", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.take();
  t.clock.set(t.clock.now() - 3_600_000);
  await t.clock.advance(70_000);
  assert.deepEqual(socket.take(), [{ op: "ping" }]);
});

test("a handshake that is never answered is given up after 15 s", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  await t.clock.advance(14_999);
  assert.equal(t.gateway.socket.isClosed, false);
  await t.clock.advance(1);
  assert.equal(t.gateway.socket.isClosed, true);
  assert.equal(t.client.state.name, "waiting");
});

test("reconnect asks for a pause, and the time counts from the frame", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const socket = await goLive(t);
  socket.push({ op: "reconnect", afterMs: 1234, reason: "drain" });
  await t.clock.advance(234);
  socket.end(1012, "restart");
  await t.clock.advance(999);
  assert.equal(t.gateway.sockets.length, 1);
  await t.clock.advance(1);
  assert.equal(t.gateway.sockets.length, 2);
});

for (const [code, reason] of [
  [4403, "forbidden"],
  [4410, "disconnected"],
] as const) {
  test(`${code} ends the client, and another user revives it`, async () => {
    const t = startClient();
    t.client.subscribe({}, ignore);
    (await goLive(t)).end(code, reason);
    const { state } = t.client;
    assert.equal(state.name === "closed" && state.reason, reason);
    assert.equal(state.name === "closed" && state.error?.code, reason);
    await t.clock.advance(3_600_000);
    assert.equal(t.gateway.sockets.length, 1);
    assert.equal(t.clock.pending, 0);

    t.client.setUser(() => "t2");
    const socket = await goLive(t);
    assert.equal(t.client.state.name, "live");
    assert.equal(socket.take().length, 2);
  });
}

test("a silent gateway gets a ping after its heartbeat and 10 s, and is left after 5 s more", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.take();
  socket.push({ op: "subscribed", sub: "s1", accounts: [] });
  await t.clock.advance(34_999);
  assert.deepEqual(socket.take(), []);
  await t.clock.advance(1);
  assert.deepEqual(socket.take(), [{ op: "ping" }]);
  socket.push({ op: "pong" });
  await t.clock.advance(34_999);
  assert.deepEqual(socket.take(), []);
  await t.clock.advance(1);
  assert.deepEqual(socket.take(), [{ op: "ping" }]);
  await t.clock.advance(4_999);
  assert.equal(t.client.state.name, "live");
  await t.clock.advance(1);
  assert.equal(t.client.state.name, "waiting");
  assert.equal(socket.isClosed, true);
});

test("after a sleep of the computer the wall clock counts", async () => {
  const t = startClient();
  t.client.subscribe({}, ignore);
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.take();
  socket.push({ op: "subscribed", sub: "s1", accounts: [] });
  await t.clock.sleep(600_000);
  assert.deepEqual(socket.take(), [{ op: "ping" }]);
  await t.clock.advance(5_000);
  assert.equal(t.client.state.name, "waiting");
});

test("getToken is called once at a time, and the token of an ended connection is dropped", async () => {
  const calls: { reason: string; signal: AbortSignal; give: (token: string) => void }[] = [];
  const t = startClient({
    getToken: ({ reason, signal }) => new Promise((give) => calls.push({ reason, signal, give })),
  });
  t.client.subscribe({}, ignore);
  assert.equal(calls.length, 1);
  calls[0]!.give("t1");
  const socket = await goLive(t);
  socket.take();

  socket.push({ op: "token_expiring", expiresAt: "2026-01-01T00:01:00.000Z" });
  assert.equal(calls[1]!.reason, "expiring");
  socket.end(4401, "unauthorized");
  assert.equal(calls[1]!.signal.aborted, true);
  await t.clock.advance(500);
  assert.equal(calls.length, 2, "the slow call has not ended");
  calls[1]!.give("too late");
  await settleMicrotasks();
  assert.equal(calls.length, 3);
  assert.equal(calls[2]!.reason, "rejected");
  calls[2]!.give("t3");
  const next = await goLive(t);
  assert.deepEqual(next.take()[0], { op: "auth", token: "t3" });
});

test("a call of getToken may take 30 s", async () => {
  const signals: AbortSignal[] = [];
  const t = startClient({
    getToken: ({ signal }) => {
      signals.push(signal);
      return new Promise(() => {});
    },
  });
  t.client.subscribe({}, ignore);
  await t.clock.advance(30_000);
  assert.equal(signals[0]!.aborted, true);
  assert.equal(t.client.state.name === "waiting" && t.client.state.error?.code, "token_timeout");
  await t.clock.advance(250);
  assert.equal(signals.length, 2);
});

test("a token is renewed on the open connection, and nothing is subscribed again", async () => {
  let calls = 0;
  const t = startClient({
    getToken: () => {
      calls++;
      if (calls === 2) throw new Error("no network");
      return `t${calls}`;
    },
  });
  t.client.subscribe({ accounts: ["user:u1"] }, ignore);
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7));
  socket.take();
  socket.push({ op: "token_expiring", expiresAt: "2026-01-01T00:01:00.000Z" });
  await t.clock.advance(250);
  assert.deepEqual(socket.take(), [{ op: "auth", token: "t3" }]);
  assert.match(t.reports[0]!.message, /getToken failed: no network/);
  socket.push(welcome);
  await settleMicrotasks();
  assert.deepEqual(socket.take(), []);
  assert.deepEqual(t.states.map((state) => state.name), ["connecting", "live"]);
});

test("getToken must return a token", async () => {
  for (const getToken of ["t1", () => "", () => undefined, () => Promise.reject("no network")]) {
    const t = startClient({ getToken: getToken as () => string });
    t.client.subscribe({}, ignore);
    await settleMicrotasks();
    assert.equal(t.client.state.name === "waiting" && t.client.state.error?.code, "token_failed");
    assert.match(t.reports[0]!.message, /^getToken failed: (.*not a function|it must return a token|no network)/);
  }
});

test("Unauthorized ends the client", async () => {
  const t = startClient({
    getToken: () => {
      throw new Unauthorized("sign in first");
    },
  });
  t.client.subscribe({}, ignore);
  await settleMicrotasks();
  const { state } = t.client;
  assert.equal(state.name === "closed" && state.error?.message, "sign in first");
  assert.equal(t.clock.pending, 0);
});

test("setUser forgets positions and the old user's events", async () => {
  const events: number[] = [];
  const t = startClient();
  t.client.subscribe({ accounts: ["user:u1"] }, { event: (_, { seq }) => events.push(seq) });
  const old = await goLive(t);
  old.push(subscribed("s1", 7), eventFrame("s1", 8));
  old.take();

  t.client.setUser(() => "t2");
  assert.equal(old.isClosed, true);
  old.onmessage?.({ data: JSON.stringify(eventFrame("s1", 9)) });
  const socket = await goLive(t);
  assert.deepEqual(socket.take(), [
    { op: "auth", token: "t2" },
    { op: "subscribe", sub: "s2", accounts: ["user:u1"], snapshot: false },
  ]);
  assert.deepEqual(events, [8]);
});

test("a listener that closes the client gets nothing more", async () => {
  const events: number[] = [];
  const t = startClient();
  t.client.subscribe({ accounts: ["user:u1"] }, {
    event: (_, { seq }) => {
      events.push(seq);
      t.client.close();
    },
  });
  const socket = await goLive(t);
  socket.push(subscribed("s1", 7), eventFrame("s1", 8), eventFrame("s1", 9));
  assert.deepEqual(events, [8]);
  assert.equal(t.client.state.name, "closed");
  t.client.setUser(() => "t2");
  await t.clock.advance(60_000);
  assert.equal(t.gateway.sockets.length, 1);
  assert.equal(t.clock.pending, 0);
});

test("errors are instances of RealtimeError with a code", () => {
  const error = new RealtimeError("unreachable", "text");
  assert.ok(error instanceof Error);
  assert.equal(error.code, "unreachable");
});
