import { createInterface } from "node:readline";
import { Browser, type Command } from "./browser.ts";

/** Writes one line of the protocol. */
function write(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

const browser = new Browser(write);
write({ hello: { protocol: 1, client: "typescript", features: browser.features } });

// The commands run one after the other: advance and sync take time.
for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line) as Command;
  try {
    write({ id: command.id, ...(await browser.run(command)) });
  } catch (error) {
    write({ id: command.id, error: String(error) });
  }
}
browser.reset();
process.exit(0);
