import assert from "node:assert/strict";
import fc from "fast-check";
import { createClient, type BalanceState } from "../../src/index.ts";
import { settleMicrotasks, VirtualClock } from "./clock.ts";
import { ModelGateway } from "./model.ts";

// The runs of test/property.test.ts, in a process without the hooks of the test runner, which would
// make promises many times slower.
//
// What the application sees of an account is each event once and in order, or an explicit resync,
// whatever the gateway does: it drops, delays, repeats and swaps events, cuts connections, restarts,
// forgets events, and its ledger goes back in time, noticed or not.

const accounts = ["user:u1", "user:u2"] as const;
const account = fc.constantFrom(...accounts);

type Step =
  | { do: "emit"; account: string; count: number }
  | { do: "drop" | "repeat" | "swap"; count: number }
  | { do: "hold" | "release" | "cut" | "restart" | "refuse" | "accept" }
  | { do: "forget"; account: string }
  | { do: "rewind"; account: string; back: number; isNoticed: boolean }
  | { do: "pass"; milliseconds: number };

const emit = fc.record({ do: fc.constant("emit" as const), account, count: fc.integer({ min: 1, max: 3 }) });
const fault = fc.record({
  do: fc.constantFrom("drop" as const, "repeat" as const, "swap" as const),
  count: fc.integer({ min: 1, max: 2 }),
});
const turn = fc.record({
  do: fc.constantFrom("hold" as const, "release" as const, "cut" as const, "restart" as const, "refuse" as const, "accept" as const),
});
const forget = fc.record({ do: fc.constant("forget" as const), account });
const rewind = fc.record({
  do: fc.constant("rewind" as const),
  account,
  back: fc.integer({ min: 1, max: 4 }),
  isNoticed: fc.boolean(),
});
const pass = fc.record({ do: fc.constant("pass" as const), milliseconds: fc.constantFrom(0, 300, 3_000, 60_000) });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: emit },
  { weight: 3, arbitrary: fault },
  { weight: 3, arbitrary: turn },
  { weight: 1, arbitrary: forget },
  { weight: 2, arbitrary: rewind },
  { weight: 3, arbitrary: pass },
);

/** What the application knows of an account. */
interface Seen {
  seq: number;
  chain: string;
}

async function play(steps: Step[], random: () => number): Promise<void> {
  const clock = new VirtualClock(undefined, random);
  const gateway = new ModelGateway([...accounts]);
  for (const name of accounts) gateway.emit(name, 3);
  const failures: string[] = [];
  const client = createClient({
    url: "ws://gateway.example.com/v1/ws",
    getToken: () => "t1",
    WebSocket: gateway.WebSocket,
    clock,
    report: () => {},
  });

  const seen = new Map<string, Seen>();
  client.subscribe({ accounts: [...accounts] }, {
    event(_, { account, seq, chain }) {
      const last = seen.get(account);
      const parent = gateway.ledgers.get(account)!.parents.get(chain);
      // The first events follow the seq 3, at which the client has begun.
      const isNext = last ? seq === last.seq + 1 && parent === last.chain : seq === 4;
      if (!isNext) failures.push(`${account}: ${seq} (${chain}) after ${last?.seq} (${last?.chain})`);
      seen.set(account, { seq, chain });
    },
    resync: ({ account, seq, chain }) => seen.set(account, { seq, chain }),
  });
  const balance = client.balance("user:u1");
  let state: BalanceState = balance.get();
  balance.subscribe(() => {
    state = balance.get();
  });
  await clock.advance(0);

  for (const step of steps) {
    perform(step, gateway);
    await clock.advance(step.do === "pass" ? step.milliseconds : 0);
    assert.deepEqual(failures, []);
  }

  // The gateway is well again. One more event shows what was missed.
  gateway.calm();
  await clock.advance(100_000);
  for (const name of accounts) gateway.emit(name, 1);
  await clock.advance(100_000);
  assert.deepEqual(failures, []);
  for (const [name, ledger] of gateway.ledgers) {
    assert.deepEqual(seen.get(name), { seq: ledger.seq, chain: ledger.chains.at(-1)! }, "the newest event");
  }
  const ledger = gateway.ledgers.get("user:u1")!;
  assert.equal(state.status, "live");
  assert.equal(state.balance?.chain, ledger.chains.at(-1));
  assert.equal(state.balance?.available, 1000 + ledger.seq);
  client.close();
  await settleMicrotasks();
  assert.equal(clock.pending, 0, "a closed client has no timers");
}

function perform(step: Step, gateway: ModelGateway): void {
  switch (step.do) {
    case "emit":
      return gateway.emit(step.account, step.count);
    case "drop":
    case "repeat":
    case "swap":
      gateway.faults[step.do] += step.count;
      return;
    case "hold":
      gateway.isHolding = true;
      return;
    case "release":
      return gateway.release();
    case "cut":
      return gateway.connection?.end(1006, "");
    case "restart":
      return gateway.connection?.end(1012, "restart");
    case "refuse":
      gateway.refusesHandshakes = true;
      return;
    case "accept":
      gateway.refusesHandshakes = false;
      return;
    case "forget":
      gateway.forgottenBelow.set(step.account, gateway.ledgers.get(step.account)!.seq);
      return;
    case "rewind":
      return gateway.rewind(step.account, step.back, step.isNoticed);
  }
}

// Most of the client's errors are of no interest here, and stacks are slow.
Error.stackTraceLimit = 0;

const chance = fc.infiniteStream(fc.double({ min: 0, max: 0.99, noNaN: true }));
await fc.assert(
  fc.asyncProperty(fc.array(step, { maxLength: 16 }), chance, (steps, numbers) => {
    return play(steps, () => numbers.next().value);
  }),
  { numRuns: Number(process.argv[2]) },
);
