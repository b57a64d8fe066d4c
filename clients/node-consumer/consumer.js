import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

const BLOCK = 1_000; // ms that a read waits for entries
const COUNT = 20; // entries of one stream in one read
const SILENCE = 5_000; // ms without an answer after which a connection is given up; also the longest pause between tries

/**
 * Hands the events of all partitions to handle(event, entry, signal), one after the other, until options.signal aborts: event is
 * the full event, entry the fields of its stream entry as strings. handle must bear a repeat: put a unique key on entry.id.
 * When it throws, or has not ended after timeout ms (its signal aborts then), the entry comes again claimAfter ms later, to any
 * worker of the group, after events that it came before. Rejects when the first look at Redis fails; from then on it tries again.
 *
 * url: redis:// or rediss://…; connection: further options of ioredis, such as those for Sentinel (Redis Cluster is not supported)
 * group: its workers share the events; a new one begins with all that the streams still hold
 * copies: whether handle gets the second party's delivery of an event, too; who follows each account by entry.seq wants it
 * warn(text): is told what failed, what comes again, and what was lost
 */
export async function consume(options) {
  const worker = new Worker(options);
  try {
    await worker.run();
  } finally {
    worker.redis.disconnect();
  }
}

class Worker {
  held = new Map(); // stream -> ids that were given to this worker and wait for handle
  claimed = 0; // when others' entries were looked at last
  grouped = false;
  pause = 100;

  constructor({ url, connection, group, handle, signal, namespace = 'rt', copies = false, timeout = 30_000, claimAfter = 30_000, warn = console.error }) {
    Object.assign(this, { group, handle, signal, namespace, copies, timeout, claimAfter, warn });
    // No two workers may share a name: the one that leaves takes the name with it.
    this.name = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`;
    this.redis = new Redis(url, { connectionName: this.name, socketTimeout: SILENCE, commandTimeout: 2 * SILENCE, ...connection });
    this.redis.on('error', (error) => warn(`Redis: ${error.message || error.code}`));
  }

  async run() {
    const partitions = Number(await this.redis.get(`${this.namespace}:layout`));
    if (!partitions) throw new Error(`${this.namespace}:layout is not there: is this the core's Redis, and has a core run?`);
    this.streams = Array.from({ length: partitions }, (_, p) => `${this.namespace}:{${p}}:events`);
    await this.createGroups();
    const beat = setInterval(() => this.keep().catch((error) => this.warn(`group ${this.group}: ${error.message}`)), this.claimAfter / 3);
    try {
      while (!this.signal.aborted) await this.round().catch((error) => this.failed(error));
    } finally {
      clearInterval(beat);
      await this.leave().catch((error) => this.warn(`group ${this.group}: ${error.message}`));
    }
  }

  async round() {
    if (!this.grouped) await this.createGroups();
    if (Date.now() - this.claimed >= this.claimAfter / 2) {
      for (const stream of this.streams) await this.claim(stream);
      this.claimed = Date.now();
    }
    const found = await this.redis.xreadgroup('GROUP', this.group, this.name, 'COUNT', COUNT, 'BLOCK', Math.min(BLOCK, this.claimAfter / 2),
      'STREAMS', ...this.streams, ...this.streams.map(() => '>'));
    await this.take(found ?? []);
    this.pause = 100;
  }

  async failed(error) {
    this.warn(`group ${this.group}: ${error.message}; trying again`);
    this.grouped = false; // a Redis that lost its data lost the groups
    await sleep(this.pause, null, { signal: this.signal }).catch(() => {}); // aborted
    this.pause = Math.min(2 * this.pause, SILENCE);
  }

  async createGroups() {
    for (const stream of this.streams) {
      await this.redis.xgroup('CREATE', stream, this.group, '0', 'MKSTREAM').catch((error) => {
        if (!error.message.startsWith('BUSYGROUP')) throw error;
      });
    }
    this.grouped = true;
  }

  // Takes over what failed, or was given to a worker that shows no sign of life.
  async claim(stream) {
    if (await trimmed(this.redis, stream, this.group)) this.warn(`${stream}: entries were trimmed before group ${this.group} read them`);
    let from = '0-0';
    do {
      const [next, entries, gone = []] = await this.redis.xautoclaim(stream, this.group, this.name, this.claimAfter, from, 'COUNT', COUNT);
      for (const id of gone) this.warn(`${stream}: ${id} was trimmed before group ${this.group} had handled it`);
      await this.take([[stream, entries]]);
      from = next;
    } while (from !== '0-0' && !this.signal.aborted);
  }

  async take(found) {
    let lost;
    const acks = [];
    for (const [stream, entries] of found) this.held.set(stream, new Set(entries.map(([id]) => id)));
    for (const [stream, entries] of found) {
      for (const [id, list] of entries) {
        if (this.signal.aborted) break; // leave hands the rest back
        if (await this.through(stream, id, fields(list))) acks.push(this.redis.xack(stream, this.group, id).catch((error) => { lost = error; }));
        this.held.get(stream).delete(id);
      }
    }
    await Promise.all(acks);
    if (lost) throw lost; // what was not acknowledged comes again
  }

  async through(stream, id, entry) {
    if (entry.copy === '1' && !this.copies) return true;
    let event;
    try {
      event = JSON.parse(entry.data);
    } catch {
      this.warn(`${stream}: ${id} is no event and is left out`);
      return true;
    }
    try {
      await within(this.timeout, async (signal) => this.handle(event, entry, signal));
      return true;
    } catch (error) {
      this.warn(`${stream}: ${id} (${entry.type} of ${entry.account}) failed, comes again: ${error.message}`);
      return false;
    }
  }

  // Shows that entries which wait for handle are not forgotten: nobody takes them over.
  async keep(...how) {
    for (const [stream, ids] of this.held) if (ids.size > 0) await this.redis.xclaim(stream, this.group, this.name, 0, ...ids, ...how, 'JUSTID');
  }

  // Hands back what is not begun, so that others get it at once, and takes the worker out of the group.
  async leave() {
    if (this.redis.status !== 'ready') return;
    await this.keep('IDLE', this.claimAfter);
    for (const stream of this.streams) {
      const left = await this.redis.xpending(stream, this.group, '-', '+', 1, this.name);
      if (left.length === 0) await this.redis.xgroup('DELCONSUMER', stream, this.group, this.name);
    }
  }
}

/** Whether a stream has dropped entries that the group was never given: its oldest one is newer than the last delivered. */
export async function trimmed(redis, stream, group) {
  const { 'last-delivered-id': last } = (await redis.xinfo('GROUPS', stream)).map(fields).find(({ name }) => name === group) ?? {};
  const { 'entries-added': added, length, 'first-entry': first } = fields(await redis.xinfo('STREAM', stream));
  // '0-0': it has read nothing yet. The lag that XINFO GROUPS tells is wrong once entries were trimmed.
  return Boolean(last) && last !== '0-0' && length > 0 && added > length && later(first[0], last);
}

function later(a, b) { // stream ids, <milliseconds>-<number>
  const [ms, n] = a.split('-').map(Number);
  const [otherMs, otherN] = b.split('-').map(Number);
  return ms > otherMs || (ms === otherMs && n > otherN);
}

async function within(ms, work) {
  const limit = new AbortController();
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`no end after ${ms} ms`));
      limit.abort();
    }, ms);
  });
  try {
    await Promise.race([work(limit.signal), late]);
  } finally {
    clearTimeout(timer);
  }
}

function fields(list) {
  const object = {};
  for (let i = 0; i < list.length; i += 2) object[list[i]] = list[i + 1];
  return object;
}
