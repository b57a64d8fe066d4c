import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import type { ServerFrame, WalletEvent } from "../src/protocol.ts";

test("src/protocol.ts is generated from docs/asyncapi.json", () => {
  const script = new URL("../scripts/generate-protocol.mjs", import.meta.url).pathname;
  const now = execFileSync(process.execPath, [script, "--print"], { encoding: "utf8" });
  const committed = readFileSync(new URL("../src/protocol.ts", import.meta.url), "utf8");
  assert.equal(committed, now, "run `npm run generate` and commit src/protocol.ts");
});

// The functions below need not run: they compile only if the unions are discriminated.
export function amountOf(event: WalletEvent): number {
  switch (event.eventType) {
    case "wallet.balance_updated":
      return event.changeAmount;
    case "wallet.escrow_partial_settled":
      return event.refundAmount + event.settleAmount;
    default:
      return event.amount;
  }
}

export function seqOf(frame: ServerFrame): number {
  switch (frame.op) {
    case "event":
    case "resync":
      return frame.seq;
    default:
      return 0;
  }
}
