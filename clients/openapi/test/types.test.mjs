import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import openapiTypescript, { astToString } from "openapi-typescript";
import { openAPI, textOf } from "./documents.mjs";

const run = promisify(execFile);

test("TypeScript compiles correct uses of the generated types, and no typing error", async () => {
  const dist = new URL("../dist/", import.meta.url);
  await mkdir(dist, { recursive: true });
  for (const name of openAPI) {
    const types = await openapiTypescript(JSON.parse(textOf(name)));
    await writeFile(new URL(`${name}.ts`, dist), astToString(types));
  }
  const cwd = fileURLToPath(new URL("..", import.meta.url));
  await run("npx", ["--no-install", "tsc"], { cwd }).catch((error) => assert.fail(error.stdout + error.stderr));
});
