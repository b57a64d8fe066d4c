import assert from "node:assert/strict";
import { test } from "node:test";
import vm from "node:vm";
import { build } from "esbuild";

/** Globals of browsers and Node that JavaScript itself does not have. */
const platform = [
  ...["window", "self", "document", "navigator", "location", "localStorage", "addEventListener"],
  ...["WebSocket", "fetch", "EventSource", "BroadcastChannel", "AbortController", "TextDecoder", "URL"],
  ...["setTimeout", "setInterval", "queueMicrotask", "console", "crypto", "performance", "process", "require"],
];

test("importing the client touches no global of a platform", async () => {
  const { outputFiles } = await build({
    entryPoints: [new URL("../src/index.ts", import.meta.url).pathname],
    bundle: true,
    format: "iife",
    globalName: "realtime",
    target: "es2022",
    write: false,
  });
  const context = vm.createContext({});
  for (const name of platform) {
    const get = () => assert.fail(`the import reads ${name}`);
    Object.defineProperty(context, name, { get });
  }
  vm.runInContext(outputFiles[0]!.text, context);
  assert.equal(vm.runInContext("typeof realtime.createClient", context), "function");
});
