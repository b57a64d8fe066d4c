import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { shareTabs } from "../src/tabs.ts";
import type { OpenTransport, Transport } from "../src/transport.ts";
import { ManualClock } from "./support/manualclock.ts";
import { type Scripted, scriptTransports, Seen } from "./support/scripted.ts";
import { installWebLocks } from "./support/weblocks.ts";

const url = "ws://gateway/v1/ws";

/** A tab with its own client. */
class Tab extends Seen {
  readonly clock = new ManualClock();
  readonly openTransport: OpenTransport;
  transport!: Transport;

  constructor(private readonly token: string) {
    super();
    this.openTransport = shareTabs(gateway.open, this.clock);
    tabs.push(this);
  }

  async connect(): Promise<this> {
    this.transport = this.openTransport(url, this, {});
    await this.opens.take();
    this.send({ op: "auth", token: this.token });
    return this;
  }

  send(frame: object): void {
    this.transport.send(JSON.stringify(frame));
  }

  async mustMoveOn(): Promise<void> {
    const { op, afterMs } = await this.frames.take();
    assert.deepEqual({ op, afterMs }, { op: "reconnect", afterMs: 20 });
    assert.equal((await this.closes.take()).code, 1012);
  }
}

let uninstall: () => void;
let gateway: ReturnType<typeof scriptTransports>;
let tabs: Tab[];

before(() => (uninstall = installWebLocks()));
after(() => uninstall());
beforeEach(() => {
  tabs = [];
  gateway = scriptTransports();
});
afterEach(() => tabs.forEach((tab) => tab.transport.close()));

const jwt = (claims: object) => "h." + Buffer.from(JSON.stringify(claims)).toString("base64url") + ".s";
const token = jwt({ sub: "user:ü1", exp: 1 });
const welcome = { op: "welcome", connection: "c" };

/** Connects a leader. Returns it and its connection. */
async function connectLeader(): Promise<[Tab, Scripted]> {
  const leader = await new Tab(token).connect();
  const connection = await gateway.opened.take();
  connection.events.open();
  assert.equal((await connection.sent.take()).op, "auth");
  connection.receive(welcome);
  assert.deepEqual(await leader.frames.take(), welcome);
  return [leader, connection];
}

/** Connects a tab that follows. */
async function connectFollower(): Promise<Tab> {
  const follower = await new Tab(token).connect();
  assert.deepEqual(await follower.frames.take(), welcome);
  return follower;
}

/** Subscribes as `s`. Returns the name that the gateway got. */
async function subscribe(tab: Tab, connection: Scripted): Promise<string> {
  tab.send({ op: "subscribe", sub: "s", accounts: ["user:u1"] });
  const { op, sub, accounts } = await connection.sent.take();
  assert.deepEqual({ op, accounts }, { op: "subscribe", accounts: ["user:u1"] });
  return sub;
}

test("tabs: two tabs share a connection, and each gets its own frames", async () => {
  const [leader, connection] = await connectLeader();
  const follower = await connectFollower();
  const leaders = await subscribe(leader, connection);
  const followers = await subscribe(follower, connection);
  assert.notEqual(leaders, followers);
  connection.receive({ op: "event", sub: followers, seq: 1 });
  connection.receive({ op: "event", sub: leaders, seq: 2 });
  assert.deepEqual(await follower.frames.take(), { op: "event", sub: "s", seq: 1 });
  assert.deepEqual(await leader.frames.take(), { op: "event", sub: "s", seq: 2 });
  assert.equal(gateway.opened.size, 0);
});

test("tabs: the leader alone renews the token", async () => {
  const [leader, connection] = await connectLeader();
  const follower = await connectFollower();
  connection.receive({ op: "token_expiring" });
  connection.receive({ op: "pong" });
  assert.equal((await leader.frames.take()).op, "token_expiring");
  assert.equal((await follower.frames.take()).op, "pong");
  leader.send({ op: "auth", token: jwt({ sub: "user:ü1", exp: 2 }) });
  assert.equal((await connection.sent.take()).op, "auth");
});

test("tabs: the end of the connection ends all", async () => {
  const [leader, connection] = await connectLeader();
  const follower = await connectFollower();
  connection.receive({ op: "reconnect", afterMs: 5 });
  connection.close(1012, "restart");
  for (const tab of [leader, follower]) {
    assert.equal((await tab.frames.take()).afterMs, 5);
    assert.deepEqual(await tab.closes.take(), { code: 1012, reason: "restart" });
  }
});

test("tabs: another tab leads when the leader ends", async () => {
  const [leader, connection] = await connectLeader();
  const followers = [await connectFollower(), await connectFollower()];
  leader.transport.close();
  assert.ok(connection.ended);
  for (const follower of followers) {
    await untilTimers(follower, 1);
    follower.clock.advance(100);
    await follower.mustMoveOn();
  }
  for (const follower of followers) await follower.connect();
  const next = await gateway.opened.take();
  next.events.open();
  await next.sent.take();
  next.receive(welcome);
  for (const follower of followers) assert.deepEqual(await follower.frames.take(), welcome);
  assert.equal(gateway.opened.size, 0);
});

test("tabs: the subscriptions of a tab end with it", async () => {
  const [, connection] = await connectLeader();
  const follower = await connectFollower();
  const sub = await subscribe(follower, connection);
  follower.transport.close();
  assert.deepEqual(await connection.sent.take(), { op: "unsubscribe", sub });
});

test("tabs: a leader that does not answer a ping loses the lead", async () => {
  const [leader, connection] = await connectLeader();
  const follower = await connectFollower();
  follower.send({ op: "ping" });
  assert.equal((await connection.sent.take()).op, "ping");
  follower.transport.close(4000, "no answer"); // as the watchdog does
  await follower.closes.take();
  await follower.connect();
  await untilTimers(follower, 1);
  follower.clock.advance(0);
  await gateway.opened.take();
  await leader.mustMoveOn();
  assert.ok(connection.ended);
});

test("tabs: a leader that does not answer a new tab loses the lead", async () => {
  const [leader] = await connectLeader();
  const channelOf = BroadcastChannel.prototype;
  const post = channelOf.postMessage;
  channelOf.postMessage = function (message: any) {
    if (!message.leads || message.to === undefined) post.call(this, message);
  };
  try {
    const newTab = await new Tab(token).connect();
    await untilTimers(newTab, 1);
    newTab.clock.advance(2_900);
    assert.equal(gateway.opened.size, 0);
    newTab.clock.advance(200);
    await gateway.opened.take();
    await leader.mustMoveOn();
  } finally {
    channelOf.postMessage = post;
  }
});

test("tabs: other users do not share", async () => {
  await connectLeader();
  for (const claims of [{ sub: "user:u2" }, { sub: "user:ü1", accounts: ["user:u3"] }]) {
    await new Tab(jwt(claims)).connect();
    await gateway.opened.take();
  }
  await new Tab("opaque").connect();
  await gateway.opened.take();
});

test("tabs: a tab that finds no room uses a connection of its own", async () => {
  const [, connection] = await connectLeader();
  const follower = await connectFollower();
  for (let i = 0; i < 32; i++) follower.send({ op: "subscribe", sub: "s" + i });
  for (let i = 0; i < 32; i++) await connection.sent.take();
  follower.send({ op: "subscribe", sub: "s32" });
  await follower.mustMoveOn();
  follower.transport = follower.openTransport(url, follower, {});
  const own = await gateway.opened.take();
  own.receive({ op: "error", code: "too_many_subscriptions" });
  assert.equal((await follower.frames.take()).op, "error");
  own.close();
});

test("tabs: without Web Locks, a tab uses a connection of its own", async () => {
  uninstall();
  try {
    const tab = new Tab(token);
    tab.transport = tab.openTransport(url, tab, {});
    assert.equal(gateway.opened.size, 1);
  } finally {
    uninstall = installWebLocks();
  }
});

/** Waits until the tab has so many timers. */
async function untilTimers(tab: Tab, count: number): Promise<void> {
  while (tab.clock.waiting < count) await new Promise((resolve) => setImmediate(resolve));
}
