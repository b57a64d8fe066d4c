import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { after, beforeEach, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { consume, trimmed } from './consumer.js';

const url = process.env.TEST_REDIS_URL;
assert.ok(url, 'TEST_REDIS_URL must be set: in the repository, run scripts/services run -- npm test');
const redis = new Redis(url);
const namespaces = [];
const group = 'g';
const tags = ['32816', '1296'];
let namespace, streams;

beforeEach(async () => {
  namespace = `node-${randomUUID()}`;
  namespaces.push(namespace);
  streams = tags.map((tag) => `${namespace}:{${tag}}:events`);
  await redis.hset(`${namespace}:layout`, { partitions: tags.length, tags: JSON.stringify(tags), version: '2' });
});
after(async () => {
  for (const name of namespaces) await redis.del(`${name}:layout`, ...await redis.keys(`${name}:*`));
  redis.disconnect();
});

// Adds an entry as docs/streams.md describes it.
async function addEntry(p, account, seq, more = {}) {
  const id = randomUUID();
  const [accountType, accountId] = account.split(':');
  const data = JSON.stringify({ eventId: id, eventType: 'wallet.balance_updated', accountId, accountType });
  const entry = { id, type: 'wallet.balance_updated', account, seq, key: randomUUID(), amount: 5, data, ...more };
  await redis.xadd(streams[p], '*', ...Object.entries(entry).flat());
}

// Runs a worker until isDone(handled, warnings), for at most 20 s.
async function runWorker(handle, isDone, options = {}) {
  const stop = new AbortController();
  const guard = setTimeout(() => stop.abort(), 20_000);
  const handled = [];
  const warnings = [];
  const check = () => { if (isDone(handled, warnings)) stop.abort(); };
  try {
    await consume({
      url, group, namespace, signal: stop.signal, claimAfter: 60,
      warn: (text) => { warnings.push(text); check(); },
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

const doNothing = async () => {};

async function eventually(condition, holds) {
  const deadline = Date.now() + 20_000;
  while (!await holds()) {
    assert.ok(Date.now() < deadline, `not within 20 s: ${condition}`);
    await sleep(5);
  }
}

async function pendingCount() {
  let sum = 0;
  for (const stream of streams) sum += (await redis.xpending(stream, group))[0];
  return sum;
}

test('each business event of each partition is handled once, in order, without copies', async () => {
  await addEntry(0, 'user:a', 1);
  await addEntry(0, 'user:a', 2);
  await addEntry(0, 'model:m', 1, { copy: '1' });
  await addEntry(1, 'user:b', 1);
  const { handled, warnings } = await runWorker(doNothing, (list) => list.length === 3);
  assert.deepEqual(handled.filter((one) => one.startsWith('user:a')), ['user:a 1', 'user:a 2']);
  assert.deepEqual([...handled].sort(), ['user:a 1', 'user:a 2', 'user:b 1']);
  assert.deepEqual(warnings, []);
  assert.equal(await pendingCount(), 0);
  for (const stream of streams) assert.deepEqual(await redis.xinfo('CONSUMERS', stream, group), []);
});

test('option copies delivers copies', async () => {
  await addEntry(0, 'model:m', 1, { copy: '1' });
  const { handled } = await runWorker(doNothing, (list) => list.length === 1, { copies: true });
  assert.deepEqual(handled, ['model:m 1']);
});

test('a failed event comes again and does not block others', async () => {
  await addEntry(0, 'user:a', 1);
  await addEntry(0, 'user:b', 1);
  let tries = 0;
  const { handled, warnings } = await runWorker(async (event, { account }) => {
    if (account === 'user:a' && ++tries < 3) throw new Error('not yet');
  }, (list) => list.length === 2);
  assert.deepEqual(handled, ['user:b 1', 'user:a 1']);
  assert.equal(tries, 3);
  assert.equal(warnings.length, 2);
  assert.match(warnings[0], /user:a\) failed; retrying later: not yet/);
  assert.equal(await pendingCount(), 0);
});

test('a handler that does not return gets an abort signal, and its event comes again', async () => {
  await addEntry(0, 'user:a', 1);
  let tries = 0;
  let aborted;
  const { handled, warnings } = await runWorker(async (event, entry, signal) => {
    if (++tries > 1) return;
    aborted = once(signal, 'abort');
    await new Promise(() => {});
  }, (list) => list.length === 1, { timeout: 20 });
  assert.deepEqual(handled, ['user:a 1']);
  assert.match(warnings[0], /did not return within 20 ms/);
  await aborted;
});

// Reads the dead letters of a partition.
async function readLetters(p) {
  const entries = await redis.xrange(`${namespace}:{${tags[p]}}:dead:${group}`, '-', '+');
  return entries.map(([, list]) => Object.fromEntries(list.flatMap((name, i) => (i % 2 ? [] : [[name, list[i + 1]]]))));
}

test('an event that fails each time becomes a dead letter, and others continue', async () => {
  await addEntry(0, 'user:a', 1, { subscriber: 'of an earlier letter' });
  await addEntry(0, 'user:b', 1);
  let tries = 0;
  const { handled, warnings } = await runWorker(async (event, { account }) => {
    if (account !== 'user:a') return;
    tries++;
    throw new Error('no such account');
  }, (list, texts) => texts.some((text) => text.includes('became a dead letter')), { maxAttempts: 3 });
  assert.equal(tries, 3);
  assert.deepEqual(handled, ['user:b 1']);
  assert.match(warnings.at(-1), /became a dead letter after 3 attempts: no such account/);
  const [letter, ...others] = await readLetters(0);
  assert.deepEqual(others, []);
  assert.equal(letter.account, 'user:a');
  assert.equal(letter.seq, '1');
  assert.equal(JSON.parse(letter.data).eventId, letter.id);
  assert.deepEqual([letter.subscriber, letter.error, letter.attempts], ['', 'no such account', '3']);
  assert.match(letter.failedAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assert.equal(await pendingCount(), 0);
});

test('an entry whose workers died each time becomes a dead letter without another attempt', async () => {
  await addEntry(0, 'user:a', 1);
  await redis.xgroup('CREATE', streams[0], group, '0');
  const [[, [[id]]]] = await redis.xreadgroup('GROUP', group, 'dead', 'STREAMS', streams[0], '>');
  await redis.xclaim(streams[0], group, 'dead', 0, id, 'IDLE', 60_000, 'RETRYCOUNT', 3);
  const { handled } = await runWorker(doNothing, (list, texts) => texts.length > 0, { maxAttempts: 3 });
  assert.deepEqual(handled, []);
  const [letter] = await readLetters(0);
  assert.equal(letter.error, 'the entry was handed out 3 times and never handled');
});

test('a replayed dead letter is handled and removed', async () => {
  await addEntry(0, 'user:a', 1);
  const [[id, fields]] = await redis.xrange(streams[0], '-', '+');
  await redis.xdel(streams[0], id);
  const replay = `${namespace}:{${tags[0]}}:replay:${group}`;
  await redis.xadd(replay, '*', ...fields, 'subscriber', '', 'error', 'x', 'attempts', '3', 'failedAt', '2026-11-29T00:00:00.000Z');
  const { handled } = await runWorker(doNothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 1']);
  assert.equal(await redis.xlen(replay), 0);
});

test('an entry that is not an event is reported and becomes a dead letter', async () => {
  await addEntry(0, 'user:a', 1, { data: '{' });
  await addEntry(0, 'user:a', 2);
  const { handled, warnings } = await runWorker(doNothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 2']);
  assert.match(warnings[0], /became a dead letter after 0 attempts: the entry is not an event/);
  const [letter] = await readLetters(0);
  assert.equal(letter.data, '{');
  assert.equal(await pendingCount(), 0);
});

test('an entry with a line break becomes a dead letter', async () => {
  await addEntry(0, 'user:a', 1, { data: '{}\n{}' });
  await addEntry(0, 'user:a', 1, { data: '{\n}' });
  await addEntry(0, 'user:a', 1, { data: '{\r}' });
  await addEntry(0, 'user:a', 1, { data: '{}', view: '{\n}' });
  await addEntry(0, 'user:a', 2);
  const { handled, warnings } = await runWorker(doNothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 2']);
  assert.equal(warnings.filter((text) => text.includes('is not an event: line break')).length, 4);
  assert.equal(await pendingCount(), 0);
});

test('the entries of a dead worker go to another worker', async () => {
  await addEntry(0, 'user:a', 1);
  await redis.xgroup('CREATE', streams[0], group, '0');
  await redis.xreadgroup('GROUP', group, 'dead', 'STREAMS', streams[0], '>');
  const { handled } = await runWorker(doNothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 1']);
  assert.equal(await pendingCount(), 0);
});

test('entries behind a slow event stay claimed', async () => {
  await addEntry(0, 'user:a', 1);
  await addEntry(0, 'user:a', 2);
  const idle = async () => (await redis.xpending(streams[0], group, '-', '+', 2))[1][2];
  await runWorker(async (event, { seq }) => {
    if (seq !== '1') return;
    let before = 0;
    await eventually('the claim on the second entry is renewed', async () => {
      const now = await idle();
      const renewed = now < before;
      before = now;
      return renewed;
    });
  }, (list) => list.length === 2, { claimAfter: 600 });
});

test('a worker that stops returns the entries that it has not begun', async () => {
  await addEntry(0, 'user:a', 1);
  await addEntry(0, 'user:a', 2);
  const hour = { claimAfter: 3_600_000 };
  const first = await runWorker(doNothing, () => true, hour);
  assert.deepEqual(first.handled, ['user:a 1']);
  assert.equal(await pendingCount(), 1);
  const second = await runWorker(doNothing, () => true, hour);
  assert.deepEqual(second.handled, ['user:a 2']);
});

test('the worker recovers from a lost connection and a lost group', async () => {
  await addEntry(0, 'user:a', 1);
  let lost = false;
  const { handled } = await runWorker(async (event, { seq }) => {
    if (seq !== '1' || lost) return;
    lost = true;
    const [[, name]] = await redis.xpending(streams[0], group, '-', '+', 1);
    const client = (await redis.client('LIST')).split('\n').find((line) => line.includes(` name=${name} `));
    await redis.client('KILL', 'ID', client.match(/^id=(\d+)/)[1]);
    await redis.del(...streams);
    await addEntry(0, 'user:a', 2);
  }, (list) => list.includes('user:a 2'));
  assert.equal(handled.at(-1), 'user:a 2');
});

test('trimmed entries are reported, whether the group had read them or not', async () => {
  for (let seq = 1; seq <= 3; seq++) await addEntry(0, 'user:a', seq);
  await redis.xgroup('CREATE', streams[0], group, '0');
  const [[, [[pending]]]] = await redis.xreadgroup('GROUP', group, 'dead', 'COUNT', 1, 'STREAMS', streams[0], '>');
  assert.equal(await trimmed(redis, streams[0], group), false);
  await redis.xtrim(streams[0], 'MAXLEN', 1);
  assert.equal(await trimmed(redis, streams[0], group), true);
  const { handled, warnings } = await runWorker(doNothing, (list, texts) => list.length === 1 && texts.some((text) => text.includes(pending)));
  assert.deepEqual(handled, ['user:a 3']);
  assert.match(warnings[0], /entries were trimmed before group g read them/);
  assert.ok(warnings.some((text) => text.includes(`${pending} was trimmed`)), warnings.join('\n'));
  assert.equal(await trimmed(redis, streams[0], group), false);
  assert.equal(await pendingCount(), 0);
});

test('a new group on a trimmed stream has missed nothing', async () => {
  for (let seq = 1; seq <= 3; seq++) await addEntry(0, 'user:a', seq);
  await redis.xtrim(streams[0], 'MAXLEN', 1);
  const { handled, warnings } = await runWorker(doNothing, (list) => list.length === 1);
  assert.deepEqual(handled, ['user:a 3']);
  assert.deepEqual(warnings, []);
});

test('the consumer of docs/redis-acl.md has all rights that a worker needs', async () => {
  const page = readFileSync(new URL('../../docs/redis-acl.md', import.meta.url), 'utf8');
  const rules = page.match(/^user consumer (.*)$/m)[1].replaceAll('~rt:', `~${namespace}:`).match(/\([^)]*\)|\S+/g);
  const user = `consumer-${randomUUID()}`;
  await redis.acl('SETUSER', user, ...rules);
  try {
    await addEntry(0, 'user:a', 1);
    await addEntry(0, 'user:b', 1);
    const address = new URL(url);
    Object.assign(address, { username: user, password: 'CONSUMER_PASSWORD' });
    const { handled, warnings } = await runWorker(async (event, { account }) => {
      if (account === 'user:a') throw new Error('failed on purpose');
    }, (list, texts) => list.length === 1 && texts.length > 0, { url: address.href, maxAttempts: 1 });
    assert.deepEqual(handled, ['user:b 1']);
    assert.equal(warnings.length, 1, warnings.join('\n'));
    assert.equal((await readLetters(0)).length, 1);
    for (const stream of streams) assert.deepEqual(await redis.xinfo('CONSUMERS', stream, group), []);
  } finally {
    await redis.acl('DELUSER', user);
  }
});

test('a Redis without a core is an error', async () => {
  await redis.del(`${namespace}:layout`);
  await assert.rejects(runWorker(doNothing, () => false), /layout is missing/);
});

test('a Redis that never answers is an error', async () => {
  const sockets = [];
  const silent = createServer((socket) => sockets.push(socket)).listen(0, '127.0.0.1');
  await once(silent, 'listening');
  try {
    await assert.rejects(runWorker(doNothing, () => false, { url: `redis://127.0.0.1:${silent.address().port}`, connection: { commandTimeout: 200 } }), /timed out/);
  } finally {
    for (const socket of sockets) socket.destroy();
    silent.close();
  }
});

test('main.js prints events and exits with 0 on SIGTERM', async () => {
  await addEntry(1, 'user:b', 7);
  const env = { ...process.env, REDIS_URL: url, REALTIME_NAMESPACE: namespace, REALTIME_GROUP: group };
  const child = spawn(process.execPath, [new URL('main.js', import.meta.url).pathname], { env, stdio: ['ignore', 'pipe', 'inherit'], timeout: 20_000 });
  const ended = once(child, 'close');
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  assert.match(line, /^user:b 7 wallet\.balance_updated [0-9a-f-]{36}\n$/);
  child.kill('SIGTERM');
  assert.deepEqual(await ended, [0, null]);
  assert.equal(await pendingCount(), 0);
});
