import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);

test("with a hostile gateway the application sees 1..n or a resync", async () => {
  const program = new URL("support/property.ts", import.meta.url).pathname;
  const runs = process.env.PROPERTY_RUNS ?? "10000";
  await run(process.execPath, ["--import", "tsx", program, runs]);
});
