import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Backoff } from "../src/backoff.ts";

test("a client is not away for much longer than the gateway was", () => {
  const chance = fc.double({ min: 0, max: 0.999, noNaN: true });
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 60_000 }), fc.array(chance, { minLength: 1 }), (outage, chances) => {
      const begin = Date.UTC(2026, 0, 1);
      let now = begin;
      let tries = 0;
      const random = () => chances[tries++ % chances.length]!;
      const backoff = new Backoff({ now: () => now, random, setTimeout() {}, clearTimeout() {} });
      while (now - begin <= outage) now += Math.max(1, backoff.fail());
      const late = now - begin - outage;
      assert.ok(late <= Math.max(outage, 500), `${late} ms after an outage of ${outage} ms`);
    }),
  );
});
