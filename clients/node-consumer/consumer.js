import { randomUUID } from 'node:crypto';
import { hostname } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';

const BLOCK = 1_000; // ms that a read waits for entries
const COUNT = 20; // entries of one stream in one read
const DEAD_LETTERS = 100_000; // about how many dead letters a partition keeps for a group
const SILENCE = 5_000; // ms without an answer after which a connection is closed; also the longest pause between attempts

/**
 * Calls handle(event, entry, signal) for the events of all partitions, one after the other, until options.signal aborts.
 * event is the full event. entry has the fields of its stream entry, as strings.
 *
 * Delivery is at least once, so handle must accept duplicates: put a unique key on entry.id. If handle throws, or has not
 * returned after timeout ms (its signal aborts then), the entry comes again after claimAfter ms, to any worker of the group.
 * Newer events may then come before it. After maxAttempts failures it becomes a dead letter, which `core dead-letters` lists
 * and replays. So does an entry that is not an event, and an entry whose workers died maxAttempts times.
 *
 * The promise rejects if the first request to Redis fails. After that, consume retries for ever.
 *
 * url: redis:// or rediss://…
 * connection: further options of ioredis, for example for Sentinel (Redis Cluster is not supported)
 * group: the workers of a group share the events; a new group begins with the oldest entries of the streams
 * copies: whether handle also gets the second party's delivery of an event; needed to follow each account by entry.seq
 * maxAttempts: the number of attempts to handle an event, 10 by default
 * warn(text): called for failures, retries and lost entries
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
  deadLetters = new Map(); // stream -> stream of its dead letters
  waiting = new Map(); // stream -> ids of entries that this worker has claimed and not yet handled
  claimedAt = 0; // time of the last look at the entries of other workers
  hasGroups = false;
  pause = 100;

  constructor({ url, connection, group, handle, signal, namespace = 'rt', copies = false, timeout = 30_000, claimAfter = 30_000, maxAttempts = 10, warn = console.error }) {
    Object.assign(this, { group, handle, signal, namespace, copies, timeout, claimAfter, maxAttempts, warn });
    // Worker names must be unique: a worker that stops removes its name from the group.
    this.name = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`;
    this.redis = new Redis(url, { connectionName: this.name, socketTimeout: SILENCE, commandTimeout: 2 * SILENCE, ...connection });
    this.redis.on('error', (error) => warn(`Redis: ${error.message || error.code}`));
  }

  async run() {
    const tags = await this.redis.hget(`${this.namespace}:layout`, 'tags');
    if (!tags) throw new Error(`${this.namespace}:layout is missing: is this the core's Redis, and has a core run?`);
    for (const kind of ['events', `replay:${this.group}`]) { // the second ones return dead letters that were replayed
      for (const tag of JSON.parse(tags)) this.deadLetters.set(`${this.namespace}:{${tag}}:${kind}`, `${this.namespace}:{${tag}}:dead:${this.group}`);
    }
    this.streams = [...this.deadLetters.keys()];
    await this.createGroups();
    const extending = setInterval(() => this.extendClaims().catch((error) => this.warnGroup(error)), this.claimAfter / 3);
    try {
      while (!this.signal.aborted) await this.readOnce().catch((error) => this.pauseAfterError(error));
    } finally {
      clearInterval(extending);
      await this.leaveGroup().catch((error) => this.warnGroup(error));
    }
  }

  warnGroup(error) {
    this.warn(`group ${this.group}: ${error.message}`);
  }

  async readOnce() {
    if (!this.hasGroups) await this.createGroups();
    if (Date.now() - this.claimedAt >= this.claimAfter / 2) {
      for (const stream of this.streams) await this.claimEntries(stream);
      this.claimedAt = Date.now();
    }
    const found = await this.redis.xreadgroup('GROUP', this.group, this.name, 'COUNT', COUNT, 'BLOCK', Math.min(BLOCK, this.claimAfter / 2),
      'STREAMS', ...this.streams, ...this.streams.map(() => '>'));
    await this.handleEntries(found ?? []);
    this.pause = 100;
  }

  async pauseAfterError(error) {
    this.warn(`group ${this.group}: ${error.message}; retrying`);
    this.hasGroups = false; // a Redis that has lost its data has lost the groups as well
    await sleep(this.pause, null, { signal: this.signal }).catch(() => {}); // aborted
    this.pause = Math.min(2 * this.pause, SILENCE);
  }

  async createGroups() {
    for (const stream of this.streams) {
      await this.redis.xgroup('CREATE', stream, this.group, '0', 'MKSTREAM').catch((error) => {
        if (!error.message.startsWith('BUSYGROUP')) throw error;
      });
    }
    this.hasGroups = true;
  }

  // Claims entries that failed, and entries of workers that have stopped without notice.
  async claimEntries(stream) {
    if (!this.isReplay(stream) && await trimmed(this.redis, stream, this.group)) this.warn(`${stream}: entries were trimmed before group ${this.group} read them`);
    let cursor = '0-0';
    do {
      const [next, entries, deleted = []] = await this.redis.xautoclaim(stream, this.group, this.name, this.claimAfter, cursor, 'COUNT', COUNT);
      for (const id of deleted) this.warn(`${stream}: ${id} was trimmed before group ${this.group} had handled it`);
      await this.handleEntries([[stream, entries]], true);
      cursor = next;
    } while (cursor !== '0-0' && !this.signal.aborted);
  }

  isReplay(stream) {
    return stream.endsWith(`}:replay:${this.group}`);
  }

  async handleEntries(found, areClaimed = false) {
    let ackError;
    const acks = [];
    for (const [stream, entries] of found) this.waiting.set(stream, new Set(entries.map(([id]) => id)));
    for (const [stream, entries] of found) {
      for (const [id, list] of entries) {
        if (this.signal.aborted) break; // leaveGroup returns the remaining entries
        const handled = await this.handleEntry(stream, id, toObject(list), areClaimed);
        if (handled) acks.push(this.acknowledge(stream, id).catch((error) => { ackError = error; }));
        this.waiting.get(stream).delete(id);
      }
    }
    await Promise.all(acks);
    if (ackError) throw ackError; // the entries without acknowledgement come again
  }

  // Acknowledges an entry, after more commands of the same transaction.
  async acknowledge(stream, id, commands = []) {
    if (!this.isReplay(stream) && commands.length === 0) return this.redis.xack(stream, this.group, id);
    const all = [...commands, ['xack', stream, this.group, id]];
    if (this.isReplay(stream)) all.push(['xdel', stream, id]);
    for (const [error] of await this.redis.multi(all).exec()) if (error) throw error;
  }

  // Returns true if the entry must be acknowledged.
  async handleEntry(stream, id, entry, isClaimed) {
    if (entry.copy === '1' && !this.copies && !this.isReplay(stream)) return true;
    let event;
    try {
      if (/[\r\n]/.test(entry.data + (entry.view ?? ''))) throw new Error('line break');
      event = JSON.parse(entry.data);
    } catch (error) { // malformed: it would fail each time
      return this.writeDeadLetter(stream, id, entry, 0, `the entry is not an event: ${error.message}`);
    }
    const before = isClaimed ? await this.countAttempts(stream, id) - 1 : 0;
    if (before >= this.maxAttempts) {
      return this.writeDeadLetter(stream, id, entry, before, `the entry was handed out ${before} times and never handled`);
    }
    try {
      await withTimeout(this.timeout, async (signal) => this.handle(event, entry, signal));
      return true;
    } catch (error) {
      if (before + 1 >= this.maxAttempts) return this.writeDeadLetter(stream, id, entry, before + 1, error.message);
      this.warn(`${stream}: ${id} (${entry.type} of ${entry.account}) failed; retrying later: ${error.message}`);
      return false;
    }
  }

  // Returns how often the entry was handed out, including this time.
  async countAttempts(stream, id) {
    const [pending] = await this.redis.xpending(stream, this.group, id, id, 1);
    return pending ? pending[3] : 1;
  }

  // Writes a dead letter and acknowledges its entry in one transaction. Returns false, since nothing is left to acknowledge.
  async writeDeadLetter(stream, id, entry, attempts, error) {
    const letter = { ...entry, subscriber: '', error: error.slice(0, 1000), attempts, failedAt: new Date().toISOString() };
    await this.acknowledge(stream, id, [['xadd', this.deadLetters.get(stream), 'MAXLEN', '~', DEAD_LETTERS, '*', ...Object.entries(letter).flat()]]);
    this.warn(`${stream}: ${id} (${entry.type} of ${entry.account}) became a dead letter after ${attempts} attempts: ${error}`);
    return false;
  }

  // Renews the claims on the waiting entries, so that no other worker claims them.
  async extendClaims(...options) {
    for (const [stream, ids] of this.waiting) {
      if (ids.size > 0) await this.redis.xclaim(stream, this.group, this.name, 0, ...ids, ...options, 'JUSTID');
    }
  }

  // Returns the waiting entries to the group, for other workers to claim at once, and removes the worker's name.
  async leaveGroup() {
    if (this.redis.status !== 'ready') return;
    await this.extendClaims('IDLE', this.claimAfter);
    for (const stream of this.streams) {
      const pending = await this.redis.xpending(stream, this.group, '-', '+', 1, this.name);
      if (pending.length === 0) await this.redis.xgroup('DELCONSUMER', stream, this.group, this.name);
    }
  }
}

/** Reports whether a stream has lost entries that the group never got: its oldest entry is newer than the last delivered one. */
export async function trimmed(redis, stream, group) {
  const { 'last-delivered-id': last } = (await redis.xinfo('GROUPS', stream)).map(toObject).find(({ name }) => name === group) ?? {};
  const { 'entries-added': added, length, 'first-entry': first } = toObject(await redis.xinfo('STREAM', stream));
  // '0-0' means that the group has read nothing yet. The lag of XINFO GROUPS is wrong after a trim.
  return Boolean(last) && last !== '0-0' && length > 0 && added > length && isLater(first[0], last);
}

function isLater(a, b) { // stream ids, <milliseconds>-<number>
  const [ms, n] = a.split('-').map(Number);
  const [otherMs, otherN] = b.split('-').map(Number);
  return ms > otherMs || (ms === otherMs && n > otherN);
}

async function withTimeout(ms, work) {
  const controller = new AbortController();
  let timer;
  const expired = new Promise((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`handle did not return within ${ms} ms`));
      controller.abort();
    }, ms);
  });
  try {
    await Promise.race([work(controller.signal), expired]);
  } finally {
    clearTimeout(timer);
  }
}

function toObject(list) {
  const object = {};
  for (let i = 0; i < list.length; i += 2) object[list[i]] = list[i + 1];
  return object;
}
