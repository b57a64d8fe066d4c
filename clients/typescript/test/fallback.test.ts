import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { fallBack, type Fallback } from "../src/fallback.ts";
import type { Transport } from "../src/transport.ts";
import { tryBack } from "../src/tryback.ts";
import { ManualClock } from "./support/manualclock.ts";
import { type Scripted, scriptTransports, Seen } from "./support/scripted.ts";

const minute = 60_000;

let clock: ManualClock;
let sockets: ReturnType<typeof scriptTransports>;
let streams: ReturnType<typeof scriptTransports>;
let fallback: Fallback;
let seen: Seen;
let transport: Transport;

beforeEach(() => {
  clock = new ManualClock();
  sockets = scriptTransports();
  streams = scriptTransports();
  fallback = fallBack(sockets.open, tryBack(streams.open, sockets.open, clock), clock);
});

function connect(): void {
  seen = new Seen();
  transport = fallback.open("ws://gateway/v1/ws", seen, {});
}

/** Opens a socket, which must be what is opened next, and closes it without a frame. */
async function failSocket(code = 1006): Promise<void> {
  connect();
  assert.equal(streams.opened.size, 0);
  (await sockets.opened.take()).close(code);
}

/** Connects by events after two failures. */
async function connectByEvents(): Promise<Scripted> {
  await failSocket();
  await failSocket();
  connect();
  assert.equal(sockets.opened.size, 0);
  return streams.opened.take();
}

test("fallback: two sockets that fail in a row lead to events", async () => {
  const stream = await connectByEvents();
  stream.receive({ op: "welcome" });
  assert.equal((await seen.frames.take()).op, "welcome");
});

test("fallback: a socket that had a frame does not count", async () => {
  await failSocket();
  connect();
  const socket = await sockets.opened.take();
  socket.receive({ op: "welcome" });
  socket.close(1006);
  await failSocket();
  await failSocket();
  connect();
  assert.equal(streams.opened.size, 1);
});

test("fallback: an answer of the gateway does not count", async () => {
  for (let i = 0; i < 3; i++) await failSocket(4401);
  connect();
  assert.equal(sockets.opened.size, 1);
});

test("fallback: a client that changes its mind does not count, one that gives up does", async () => {
  for (let i = 0; i < 3; i++) await failSocket(1000);
  for (let i = 0; i < 2; i++) {
    connect();
    clock.advance(15_000);
    transport.close();
  }
  connect();
  assert.equal(streams.opened.size, 1);
});

test("fallback: events that fail lead to a socket, and to events again", async () => {
  (await connectByEvents()).close(1006);
  await failSocket();
  connect();
  assert.equal(streams.opened.size, 1);
});

test("fallback: a socket is tried after five minutes, and taken when it opens", async () => {
  const stream = await connectByEvents();
  stream.receive({ op: "welcome" });
  clock.advance(4.9 * minute);
  assert.equal(sockets.opened.size, 0);
  clock.advance(0.2 * minute);
  (await sockets.opened.take()).close(1006);
  assert.equal(stream.ended, undefined);

  clock.advance(5.1 * minute);
  const attempt = await sockets.opened.take();
  attempt.events.open();
  assert.ok(attempt.ended);
  assert.equal(stream.ended!.code, 1012);
  assert.equal((await seen.frames.take()).op, "welcome");
  const { op, afterMs } = await seen.frames.take();
  assert.deepEqual({ op, afterMs }, { op: "reconnect", afterMs: 20 });
  assert.equal((await seen.closes.take()).code, 1012);
  assert.equal(clock.waiting, 0);
  connect();
  assert.equal(sockets.opened.size, 1);
});

test("fallback: a stream that ends is followed by a stream", async () => {
  const stream = await connectByEvents();
  stream.receive({ op: "welcome" });
  stream.close(1006);
  connect();
  assert.equal(streams.opened.size, 1);
});

test("fallback: a socket is tried when the network is back, one at a time", async () => {
  const page = new EventTarget();
  Object.assign(globalThis, {
    addEventListener: page.addEventListener.bind(page),
    removeEventListener: page.removeEventListener.bind(page),
  });
  try {
    const stream = await connectByEvents();
    stream.receive({ op: "welcome" });
    page.dispatchEvent(new Event("online"));
    page.dispatchEvent(new Event("online"));
    assert.equal(sockets.opened.size, 1);
    const attempt = await sockets.opened.take();
    transport.close();
    assert.ok(attempt.ended);
    assert.ok(stream.ended);
    assert.equal(clock.waiting, 0);
    page.dispatchEvent(new Event("online"));
    assert.equal(sockets.opened.size, 0);
  } finally {
    Object.assign(globalThis, { addEventListener: undefined, removeEventListener: undefined });
  }
});

test("fallback: reset forgets the failures", async () => {
  await failSocket();
  await failSocket();
  fallback.reset();
  connect();
  assert.equal(sockets.opened.size, 1);
});
