// Prints every business event. REDIS_URL, REALTIME_NAMESPACE and REALTIME_GROUP select the streams and the consumer group.
import { consume } from './consumer.js';

const { REDIS_URL = 'redis://127.0.0.1:6379/0', REALTIME_NAMESPACE = 'rt', REALTIME_GROUP = 'node-example' } = process.env;
const stop = new AbortController();
for (const name of ['SIGINT', 'SIGTERM']) process.once(name, () => stop.abort());

await consume({
  url: REDIS_URL, namespace: REALTIME_NAMESPACE, group: REALTIME_GROUP, signal: stop.signal,
  // Delivery is at least once, so handle must accept a second event with the same id.
  handle: async (event, { id, account, seq }) => console.log(`${account} ${seq} ${event.eventType} ${id}`),
});
