// Prints src/protocol.ts: the types of the frames and events in docs/asyncapi.json.
//
//   node scripts/generate-protocol.mjs           writes src/protocol.ts
//   node scripts/generate-protocol.mjs --print   prints it

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { compile } from "json-schema-to-typescript";

const source = new URL("../../../docs/asyncapi.json", import.meta.url);
const target = new URL("../src/protocol.ts", import.meta.url);

// Unions that the document describes in prose: every frame has another op, every event another
// eventType.
const unions = {
  ServerFrame: [
    "WelcomeFrame",
    "SubscribedFrame",
    "EventFrame",
    "ResyncFrame",
    "UnsubscribedFrame",
    "PongFrame",
    "ErrorFrame",
    "TokenExpiringFrame",
    "ReconnectFrame",
    "ClosedFrame",
  ],
  ClientFrame: ["AuthFrame", "SubscribeFrame", "UnsubscribeFrame", "PingFrame"],
};

// The wire's names of balances are taken by the client's own types.
const renamed = { Event: "WalletEvent", Balance: "Snapshot", UserBalance: "UserSnapshot", ModelBalance: "ModelSnapshot" };

// Members of a schema that are no part of a type.
const ignored = new Set(["examples", "minItems", "maxItems"]);

/** Returns a copy of a schema in the dialect that json-schema-to-typescript reads. */
function convert(node) {
  if (Array.isArray(node)) return node.map(convert);
  if (typeof node !== "object" || node === null) return node;
  const schema = {};
  for (const [key, value] of Object.entries(node)) {
    // The alternatives of an object only refine its members.
    const refines = key === "oneOf" && "properties" in node;
    if (ignored.has(key) || refines) continue;
    schema[key] = key === "$ref" ? reference(value) : convert(value);
  }
  const isOpen = schema.type === "object" && !schema.properties && !schema.additionalProperties;
  if (isOpen) schema.tsType = "{ [key: string]: unknown }";
  return schema;
}

function reference(path) {
  const name = path.split("/").pop();
  return `#/definitions/${renamed[name] ?? name}`;
}

const { components } = JSON.parse(readFileSync(source, "utf8"));
const definitions = {};
for (const [name, schema] of Object.entries(components.schemas)) {
  definitions[renamed[name] ?? name] = convert(schema);
}
definitions.Account.tsType = "`user:${string}` | `model:${string}`";
for (const [name, members] of Object.entries(unions)) {
  definitions[name] = { oneOf: members.map((member) => ({ $ref: `#/definitions/${member}` })) };
}

const header = `// Generated from docs/asyncapi.json by scripts/generate-protocol.mjs. Do not edit.\n`;
const types = await compile({ title: "Unused", definitions }, "Unused", {
  additionalProperties: false,
  bannerComment: header,
  unreachableDefinitions: true,
  style: { printWidth: 100 },
});
// The root schema only carries the definitions.
const text = types
  .replace(/export interface Unused \{[^}]*\}\n/, "")
  .replace(/( \*\n)? \* This interface was referenced by `Unused`'s JSON-Schema\n \* via .*\n/g, "")
  .replace(/\/\*\*\n \*\/\n/g, "");

if (process.argv.includes("--print")) {
  process.stdout.write(text);
} else {
  writeFileSync(fileURLToPath(target), text);
}
