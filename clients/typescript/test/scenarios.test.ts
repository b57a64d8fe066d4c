import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

/** Plays scenarios of clients/scenarios with this client. That needs Go. */
function play(...args: string[]): void {
  const command = ["run", "../scenarios/run", "-adapter", "node scenario-adapter/main.js", ...args];
  const { status, stdout, stderr, error } = spawnSync("go", command, {
    encoding: "utf8",
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.ifError(error);
  assert.equal(status, 0, stdout.replaceAll(/^ok .*\n/gm, "") + stderr);
}

test("scenarios: the client does and sees what every client must", () => play());

// Those that the Go client can play are mutated in its test.
test("scenarios: with a fault, those for browsers fail", () => {
  play("-mutate", "listeners", "page", "storage", "streams", "tabs", "users");
});
