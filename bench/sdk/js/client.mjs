// Runs clients of one library and measures what they see. scripts/bench sdk starts it once for each
// library: node client.mjs realtime|centrifuge. It reads a command a line (JSON) and answers each
// with a line that has its id. A line without an id is a change of a client's state.

import { createInterface } from "node:readline";
import { Following } from "./following.mjs";

const { openClient, readFirstBalance } = await import(`./${process.argv[2]}.mjs`);
const clients = new Map(); // by name

const commands = {
  // Opens clients one after another, and returns the milliseconds from open to the first balance.
  async open({ count, ...target }) {
    const milliseconds = [];
    for (let i = 0; i < count; i++) {
      const begin = performance.now();
      const close = await readFirstBalance(target);
      milliseconds.push(performance.now() - begin);
      close();
    }
    return { milliseconds };
  },

  // Opens a client that follows the events of the accounts. With untilEvent it counts as live when it
  // has shown an event after it has connected.
  async follow({ name, untilEvent, ...target }) {
    const tell = (live) => print({ client: name, live, at: Date.now() });
    const following = new Following(target.accounts);
    let connected = false;
    const close = openClient(target, following, (live) => {
      following.onEvent = undefined;
      if (!live && !connected) return; // it is not live for the same reason as before
      connected = live;
      if (!live || !untilEvent) return tell(live);
      following.onEvent = () => {
        following.onEvent = undefined;
        tell(true);
      };
    });
    clients.set(name, { following, close });
    return {};
  },

  // Returns what a client has seen.
  async report({ name }) {
    return clients.get(name).following.report();
  },

  async close({ name }) {
    clients.get(name).close();
    clients.delete(name);
    return {};
  },
};

function print(line) {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, command, ...parameters } = JSON.parse(line);
  commands[command](parameters).then(
    (answer) => print({ id, ...answer }),
    (error) => print({ id, error: String(error?.stack ?? error) }),
  );
}
process.exit(0);
