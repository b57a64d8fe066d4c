import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { parseEventStream } from "../src/eventstream.ts";

/** Parses a stream that arrives in these chunks. Returns the data and ids of its events. */
function parse(...chunks: Uint8Array[]): [string | undefined, string][] {
  const events: [string | undefined, string][] = [];
  const decoder = new TextDecoder();
  const take = parseEventStream((data, id) => events.push([data, id]));
  chunks.forEach((chunk) => take(decoder.decode(chunk, { stream: true })));
  return events;
}

const encode = (text: string) => new TextEncoder().encode(text);

for (const [name, stream, want] of [
  ["an event", "data: a\n\n", [["a", ""]]],
  ["a comment", ":\n\n", [[undefined, ""]]],
  ["an id", "id: 7\ndata: a\n\ndata: b\n\n", [["a", "7"], ["b", "7"]]],
  ["an id that the end cuts off", "id: 7\ndata: a\n\nid: 8\ndata: b\n", [["a", "7"]]],
  ["an id without data", "id: 7\n\n:\ndata: a\n\n", [[undefined, "7"], ["a", "7"]]],
  ["several data lines", "data: a\ndata:b\ndata\n\n", [["a\nb\n", ""]]],
  ["one space after the colon", "data:  a: b\n\n", [[" a: b", ""]]],
  ["other fields", "retry: 3000\nevent: x\nfoo\ndata: a\n\n", [["a", ""]]],
  ["a byte order mark", "\ufeffdata: a\n\n", [["a", ""]]],
  ["no data", "event: x\n\n", []],
] as [string, string, [string | undefined, string][]][]) {
  test("event stream: " + name, () => {
    for (const lineEnd of ["\n", "\r", "\r\n"]) {
      const bytes = encode(stream.replaceAll("\n", lineEnd));
      assert.deepEqual(parse(bytes), want, JSON.stringify(lineEnd));
    }
  });
}

test("event stream: chunks may end anywhere", () => {
  const event = fc.record({
    lines: fc.array(fc.string({ unit: "grapheme" }).map((s) => s.replace(/[\r\n]/g, "")), { minLength: 1 }),
    id: fc.option(fc.string().map((s) => s.replace(/[\r\n\0]/g, ""))),
    comment: fc.boolean(),
  });
  const stream = fc.array(fc.tuple(event, fc.constantFrom("\n", "\r", "\r\n")));
  fc.assert(
    fc.property(stream, fc.array(fc.nat()), (items, cuts) => {
      let text = "";
      let lastId = "";
      const want: [string | undefined, string][] = [];
      for (const [{ lines, id, comment }, end] of items) {
        if (comment) {
          text += ": hello" + end;
          want.push([undefined, lastId]);
        }
        if (id !== null) {
          text += "id: " + id + end;
          lastId = id;
        }
        text += lines.map((line) => "data: " + line + end).join("") + end;
        want.push([lines.join("\n"), lastId]);
      }
      const bytes = encode(text);
      const ends = cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b);
      const chunks = [...ends, bytes.length].map((end, i) => bytes.slice(ends[i - 1] ?? 0, end));
      assert.deepEqual(parse(...chunks), want);
    }),
    { numRuns: 500 },
  );
});

test("event stream: an event has a bound", () => {
  const take = parseEventStream(() => {});
  const line = "data: " + "x".repeat(100_000) + "\n";
  assert.throws(() => {
    for (let i = 0; i < 20; i++) take(line);
  }, /too long/);
});
