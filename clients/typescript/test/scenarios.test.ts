import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

/** Plays all scenarios of clients/scenarios with this client. They need Go. */
test("scenarios: the client does and sees what every client must", () => {
  const { status, stdout, stderr, error } = spawnSync(
    "go",
    ["run", "../scenarios/run", "-adapter", "node scenario-adapter/main.js"],
    { encoding: "utf8", maxBuffer: 64 * 1024 * 1024 },
  );
  assert.ifError(error);
  assert.equal(status, 0, stdout.replaceAll(/^ok .*\n/gm, "") + stderr);
});
