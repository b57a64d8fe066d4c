import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { consume, trimmed } from './consumer.js';

const url = process.env.TEST_REDIS_URL;
assert.ok(url, 'TEST_REDIS_URL is not set: in the repository, run scripts/services run -- npm test');
const redis = new Redis(url);
const namespaces = [], group = 'g';
let namespace, streams;

beforeEach(async () => {
  namespace = `node-${randomUUID()}`;
  namespaces.push(namespace);
  streams = [0, 1].map((p) => `${namespace}:{${p}}:events`);
  await redis.set(`${namespace}:layout`, 2);
});
after(async () => {
  for (const name of namespaces) await redis.del(`${name}:layout`, `${name}:{0}:events`, `${name}:{1}:events`);
  redis.disconnect();
});

// As docs/streams.md describes an entry.
async function add(p, account, seq, more = {}) {
  const id = randomUUID();
  const data = JSON.stringify({ eventId: id, eventType: 'wallet.balance_updated', accountId: account });
  const entry = { id, type: 'wallet.balance_updated', account, seq, key: randomUUID(), amount: 5, data, ...more };
  await redis.xadd(streams[p], '*', ...Object.entries(entry).flat());
}

// Runs a worker until enough(handled, warnings) or, as a guard only, for 20 s.
async function run(handle, enough, options = {}) {
  const stop = new AbortController();
  const guard = setTimeout(() => stop.abort(), 20_000);
  const handled = [], warnings = [];
  const check = () => { if (enough(handled, warnings)) stop.abort(); };
  try {
    await consume({
      url, group, namespace, signal: stop.signal, claimAfter: 60,
      warn: (what) => { warnings.push(what); check(); },
      handle: async (event, entry, signal) => {
        await handle(event, entry, signal);
        assert.equal(event.eventId, entry.id);
        handled.push(`${entry.account} ${entry.seq}`);
        check();
      },
      ...options,
    });
  } finally {
    clearTimeout(guard);
  }
  return { handled, warnings };
}

const nothing = async () => {};

async function eventually(what, holds) {
  for (const end = Date.now() + 20_000; !await holds(); await sleep(5)) assert.ok(Date.now() < end, `not within 20 s: ${what}`);
}

async function pending() {
  let sum = 0;
  for (const stream of streams) sum += (await redis.xpending(stream, group))[0];
  return sum;
}

test('every business event of every partition once, in order, without copies', async () => {
  await add(0, 'user:a', 1);
  await add(0, 'user:a', 2);
  await add(0, 'model:m', 1, { copy: '1' });
  await add(1, 'user:b', 1);
  const { handled, warnings } = await run(nothing, (list) => list.length === 3);
  assert.deepEqual(handled.filter((one) => one.startsWith('user:a')), ['user:a 1', 'user:a 2']);
  assert.deepEqual([...handled].sort(), ['user:a 1', 'user:a 2', 'user:b 1']);
  assert.deepEqual(warnings, []);
  assert.equal(await pending(), 0);
  for (const stream of streams) assert.deepEqual(await redis.xinfo('CONSUMERS', stream, group), []);
});

test('copies on demand', async () => {
  await add(0, 'model:m', 1, { copy: '1' });
  const { handled } = await run(nothing, (list) => list.length === 1, { copies: true });
  assert.deepEqual(handled, ['model:m 1']);
});

test('what fails comes again, and holds up nothing', async () => {
  await add(0, 'user:a', 1);
  await add(0, 'user:b', 1);
  let tries = 0;
  const { handled, warnings } = await run(async (event, { account }) => {
    if (account === 'user:a' && ++tries < 3) throw new Error('not yet');
  }, (list) => list.length === 2);
  assert.deepEqual(handled, ['user:b 1', 'user:a 1']);
  assert.equal(tries, 3);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0], /user:a\) failed, comes again: not yet/);
  assert.equal(await pending(), 0);
});

test('what does not end is given up, told so, and comes again', async () => {
  await add(0, 'user:a', 1);
  let tries = 0, told;
  const { handled, warnings } = await run(async (event, entry, signal) => {
    if (++tries > 1) return;
    told = once(signal, 'abort');
    await new Promise(() => {});
  }, (list) => list.length === 1, { timeout: 20 });
  assert.deepEqual(handled, ['user:a 1']);
  assert.match(warnings[0], /no end after 20 ms/);
  await told;
});

test('what is no event is told and left out', async () => {
  await add(0, 'user:a', 1, { data: '{' });
  await add(0, 'user:a', 2);
  const { handled, warnings } = await run(nothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 2']);
  assert.match(warnings[0], /is no event and is left out/);
  assert.equal(await pending(), 0);
});

test('what a dead worker had is taken over', async () => {
  await add(0, 'user:a', 1);
  await redis.xgroup('CREATE', streams[0], group, '0');
  await redis.xreadgroup('GROUP', group, 'dead', 'STREAMS', streams[0], '>');
  const { handled } = await run(nothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 1']);
  assert.equal(await pending(), 0);
});

test('what waits behind a slow event is kept from others', async () => {
  await add(0, 'user:a', 1);
  await add(0, 'user:a', 2);
  const idle = async () => (await redis.xpending(streams[0], group, '-', '+', 2))[1][2];
  await run(async (event, { seq }) => {
    if (seq !== '1') return;
    let before = 0;
    await eventually('the second one is claimed anew', async () => {
      const now = await idle(), fell = now < before;
      before = now;
      return fell;
    });
  }, (list) => list.length === 2, { claimAfter: 600 });
});

test('one that stops hands back what it had not begun', async () => {
  await add(0, 'user:a', 1);
  await add(0, 'user:a', 2);
  const hour = { claimAfter: 3_600_000 };
  const first = await run(nothing, () => true, hour);
  assert.deepEqual(first.handled, ['user:a 1']);
  assert.equal(await pending(), 1);
  const second = await run(nothing, () => true, hour);
  assert.deepEqual(second.handled, ['user:a 2']);
});

test('a lost connection and a lost group are got over', async () => {
  await add(0, 'user:a', 1);
  let lost = false;
  const { handled } = await run(async (event, { seq }) => {
    if (seq !== '1' || lost) return;
    lost = true;
    const [[, name]] = await redis.xpending(streams[0], group, '-', '+', 1);
    const client = (await redis.client('LIST')).split('\n').find((line) => line.includes(` name=${name} `));
    await redis.client('KILL', 'ID', client.match(/^id=(\d+)/)[1]);
    await redis.del(...streams);
    await add(0, 'user:a', 2);
  }, (list) => list.includes('user:a 2'));
  assert.equal(handled.at(-1), 'user:a 2');
});

test('trimming is noticed: of what was never read, and of what was read and not handled', async () => {
  for (let seq = 1; seq <= 3; seq++) await add(0, 'user:a', seq);
  await redis.xgroup('CREATE', streams[0], group, '0');
  const [[, [[taken]]]] = await redis.xreadgroup('GROUP', group, 'dead', 'COUNT', 1, 'STREAMS', streams[0], '>');
  assert.equal(await trimmed(redis, streams[0], group), false);
  await redis.xtrim(streams[0], 'MAXLEN', 1);
  assert.equal(await trimmed(redis, streams[0], group), true);
  const { handled, warnings } = await run(nothing, (list, told) => list.length === 1 && told.some((text) => text.includes(taken)));
  assert.deepEqual(handled, ['user:a 3']);
  assert.match(warnings[0], /entries were trimmed before group g read them/);
  assert.ok(warnings.some((text) => text.includes(`${taken} was trimmed`)), warnings.join('\n'));
  assert.equal(await trimmed(redis, streams[0], group), false);
  assert.equal(await pending(), 0);
});

test('a group that has read nothing has missed nothing', async () => {
  for (let seq = 1; seq <= 3; seq++) await add(0, 'user:a', seq);
  await redis.xtrim(streams[0], 'MAXLEN', 1);
  const { handled, warnings } = await run(nothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 3']);
  assert.deepEqual(warnings, []);
});

test('without a core there is a clear error', async () => {
  await redis.del(`${namespace}:layout`);
  await assert.rejects(run(nothing, () => false), /layout is not there/);
});

test('a Redis that accepts and says nothing does not hold it up for ever', async () => {
  const sockets = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  try {
    await assert.rejects(run(nothing, () => false, { url: `redis://127.0.0.1:${silent.address().port}`, connection: { commandTimeout: 200 } }), /timed out/);
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

test('main.js prints events and stops when asked', async () => {
  await add(1, 'user:b', 7);
  const env = { ...process.env, REDIS_URL: url, NAMESPACE: namespace, GROUP: group };
  const child = spawn(process.execPath, [new URL('main.js', import.meta.url).pathname], { env, stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 });
  const ended = once(child, 'close');
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  assert.match(line, /^user:b 7 wallet\.balance_updated [0-9a-f-]{36}\n$/);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
  assert.equal(await pending(), 0);
});
