import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, beforeEach, test } from "node:test";
import { systemClock } from "../src/clock.ts";
import { eventStreams } from "../src/sse.ts";
import type { Transport, TransportEnd } from "../src/transport.ts";
import { ManualClock } from "./support/manualclock.ts";
import { Queue } from "./support/queue.ts";

/** A request for an event stream, which the test answers. */
class Request {
  constructor(
    private readonly request: IncomingMessage,
    private readonly response: ServerResponse,
  ) {}

  readonly url = new URL(this.request.url!, "http://gateway");
  readonly headers = this.request.headers;
  readonly ended = once(this.response, "close");

  send(frame: object | string, id?: string): void {
    if (!this.response.headersSent) this.response.writeHead(200, { "Content-Type": "text/event-stream" });
    if (id) this.response.write(`id: ${id}\n`);
    this.response.write(typeof frame === "string" ? frame : `data: ${JSON.stringify(frame)}\n\n`);
  }

  refuse(status: number, problem?: object, headers?: Record<string, string>): void {
    this.response.writeHead(status, headers).end(problem ? JSON.stringify(problem) : "<html>");
  }

  end(): void {
    this.response.end();
  }
}

let server: Server;
let requests: Queue<Request>;
let frames: Queue<any>;
let closes: Queue<TransportEnd>;
let transport: Transport;

before(async () => {
  server = createServer((request, response) => requests.put(new Request(request, response)));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
});
after(() => {
  server.closeAllConnections();
  server.close();
});

const welcome = { op: "welcome", connection: "c", heartbeatSeconds: 25 };
const subscribed = { op: "subscribed", sub: "wallet", accounts: [{ account: "user:u1", seq: 1, chain: "c1", recovered: false }] };
const event = (seq: number) => ({ op: "event", sub: "wallet", account: "user:u1", seq, chain: "c" + seq, event: {} });

beforeEach(async () => {
  transport?.close();
  requests = new Queue();
  frames = new Queue();
  closes = new Queue();
  const opened = new Queue<boolean>();
  transport = eventStreams(systemClock)(
    transportURL(),
    {
      open: () => opened.put(true),
      message: (text) => text.split("\n").forEach((line) => frames.put(JSON.parse(line))),
      close: (end) => closes.put(end),
    },
    {},
  );
  await opened.take();
});

const transportURL = () => `ws://127.0.0.1:${(server.address() as AddressInfo).port}/v1/ws`;

const send = (frame: object) => transport.send(JSON.stringify(frame));

/** Authenticates and opens a subscription. */
async function subscribe(filter: object = { accounts: ["user:u1"] }): Promise<Request> {
  send({ op: "auth", token: "t1" });
  const check = await requests.take();
  check.send(welcome);
  assert.deepEqual(await frames.take(), { ...welcome, isStream: true });
  await check.ended;
  send({ op: "subscribe", sub: "mine", ...filter });
  const request = await requests.take();
  request.send(welcome);
  request.send(subscribed, "user:u1=1:c1");
  assert.deepEqual(await frames.take(), { ...subscribed, sub: "mine" });
  return request;
}

test("sse: authenticates, then opens one stream for each subscription", async () => {
  const request = await subscribe({
    accounts: ["user:u1", "model:m1"],
    types: ["wallet.escrow_held"],
    minAmount: 10,
    after: { "user:u1": 4, "model:m1": 7 },
    chain: { "user:u1": "c4" },
  });
  assert.equal(request.url.pathname, "/v1/events");
  assert.deepEqual(Object.fromEntries(request.url.searchParams), {
    accounts: "user:u1,model:m1",
    types: "wallet.escrow_held",
    minAmount: "10",
    after: "user:u1=4:c4,model:m1=7",
  });
  assert.equal(request.headers.authorization, "Bearer t1");
  request.send(event(2));
  assert.deepEqual(await frames.take(), { ...event(2), sub: "mine" });
});

test("sse: a new token reopens a stream after its newest event", async () => {
  const first = await subscribe();
  first.send(event(2), "user:u1=2:c2");
  await frames.take();
  first.send({ op: "token_expiring" });
  first.send(":\n\n");
  assert.equal((await frames.take()).op, "token_expiring");
  assert.equal((await frames.take()).op, "pong");

  send({ op: "auth", token: "t2" });
  await first.ended;
  const second = await requests.take();
  assert.equal(second.headers.authorization, "Bearer t2");
  assert.equal(second.headers["last-event-id"], "user:u1=2:c2");
  second.send(welcome);
  second.send(subscribed, "user:u1=2:c2"); // the client does not see it again
  second.send({ ...event(5), op: "resync" }, "user:u1=5:c5");
  assert.deepEqual(await frames.take(), { ...welcome, isStream: true });
  assert.deepEqual(await frames.take(), { ...event(5), op: "resync", sub: "mine" });
});

test("sse: a ping reopens the streams", async () => {
  const first = await subscribe();
  send({ op: "ping" });
  await first.ended;
  const second = await requests.take();
  assert.equal(second.headers["last-event-id"], "user:u1=1:c1");
  second.send(welcome);
  assert.deepEqual(await frames.take(), { op: "pong" });

  send({ op: "ping" }); // before the second stream has an id
  const third = await requests.take();
  assert.equal(third.headers["last-event-id"], "user:u1=1:c1");
});

test("sse: a drain of several streams is one reconnect", async () => {
  const request = await subscribe();
  send({ op: "subscribe", sub: "second" });
  const other = await requests.take();
  other.send(welcome);
  other.send({ op: "reconnect", afterMs: 10 });
  assert.equal((await frames.take()).afterMs, 10);
  request.send({ op: "reconnect", afterMs: 20 });
  request.send({ op: "closed", code: 1012, reason: "restart" });
  assert.deepEqual(await closes.take(), { code: 1012, reason: "restart" });
  await other.ended;
  assert.equal(frames.size, 0);
});

test("sse: unsubscribe ends the stream", async () => {
  const request = await subscribe();
  send({ op: "unsubscribe", sub: "mine" });
  await request.ended;
  assert.deepEqual(await frames.take(), { op: "unsubscribed", sub: "mine" });
});

test("sse: a token without accounts is accepted", async () => {
  send({ op: "auth", token: "t1" });
  (await requests.take()).refuse(400, { code: "invalid_request", detail: "accounts is required because the token names no account" });
  assert.equal((await frames.take()).op, "welcome");
});

for (const [name, status, code, want] of [
  ["a filter that is invalid", 400, "invalid_request", "bad_request"],
  ["an account that the token does not cover", 403, "forbidden", "forbidden"],
  ["a balance that is unavailable", 503, "unavailable", "snapshot_unavailable"],
] as const) {
  test("sse: an error of a subscription: " + name, async () => {
    const other = await subscribe();
    send({ op: "subscribe", sub: "second", accounts: ["user:u2"] });
    (await requests.take()).refuse(status, { code, detail: "do this" });
    assert.deepEqual(await frames.take(), { op: "error", sub: "second", code: want, message: "do this" });
    other.send(event(2));
    assert.equal((await frames.take()).seq, 2);
  });
}

for (const [status, problem, headers, want] of [
  [401, { code: "unauthorized", detail: "expired" }, {}, { code: 4401, reason: "expired", status: 401 }],
  [403, { code: "forbidden", detail: "revoked" }, {}, { code: 4403, reason: "revoked", status: 403 }],
  [
    503,
    { code: "overloaded", detail: "draining" },
    { "Retry-After": "7" },
    { code: 1006, reason: "draining", status: 503, retryAfterMs: 7_000 },
  ],
  [
    429,
    { code: "overloaded", detail: "over 64 connections" },
    { "Retry-After": "1" },
    { code: 1006, reason: "over 64 connections", status: 429, retryAfterMs: 1_000 },
  ],
  [403, undefined, {}, { code: 1006, status: 403 }], // of a proxy: the token may be good
] as [number, object | undefined, Record<string, string>, TransportEnd][]) {
  test(`sse: HTTP ${status} ${problem ? "" : "of a proxy "}ends the connection`, async () => {
    send({ op: "auth", token: "t1" });
    (await requests.take()).refuse(status, problem, headers);
    const end = await closes.take();
    if (!problem) assert.match(end.reason, /HTTP 403/);
    assert.deepEqual({ ...want, reason: end.reason }, end);
    if (problem) assert.equal(end.reason, want.reason);
  });
}

test("sse: Retry-After may be a date", async () => {
  send({ op: "auth", token: "t1" });
  const date = new Date(Date.now() + 60_000).toUTCString();
  (await requests.take()).refuse(503, { code: "unavailable" }, { "Retry-After": date });
  const { retryAfterMs } = await closes.take();
  assert.ok(retryAfterMs! > 30_000 && retryAfterMs! <= 60_000, `${retryAfterMs}`);
});

test("sse: a stream that gets no answer is an error of its subscription only", async () => {
  const clock = new ManualClock();
  const opened = new Queue<boolean>();
  const slow = eventStreams(clock)(
    transportURL(),
    { open: () => opened.put(true), message: (text) => frames.put(JSON.parse(text)), close: (end) => closes.put(end) },
    {},
  );
  await opened.take();
  slow.send('{"op":"auth","token":"t1"}');
  (await requests.take()).send(welcome);
  await frames.take();
  slow.send('{"op":"subscribe","sub":"mine"}');
  await requests.take();
  clock.advance(15_000);
  const { op, sub, code } = await frames.take();
  assert.deepEqual({ op, sub, code }, { op: "error", sub: "mine", code: "snapshot_unavailable" });
  slow.send('{"op":"ping"}');
  await requests.take();
  clock.advance(15_000);
  assert.equal((await closes.take()).code, 1006);
});

test("sse: the end of a stream ends the connection once", async () => {
  const request = await subscribe();
  request.end();
  assert.equal((await closes.take()).code, 1006);
  transport.close();
  assert.equal(closes.size, 0);
});

test("sse: an unreachable gateway ends the connection", async () => {
  const opened = new Queue<boolean>();
  const unreachable = eventStreams(systemClock)(
    "ws://127.0.0.1:1/v1/ws",
    { open: () => opened.put(true), message() {}, close: (end) => closes.put(end) },
    {},
  );
  await opened.take();
  unreachable.send('{"op":"auth","token":"t1"}');
  assert.equal((await closes.take()).code, 1006);
});

test("sse: close ends all requests", async () => {
  const request = await subscribe();
  transport.close(4000, "bye");
  await request.ended;
  assert.deepEqual(await closes.take(), { code: 4000, reason: "bye" });
});
