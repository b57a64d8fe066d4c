import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
// @ts-expect-error: it has no types.
import { internalNames } from "../scripts/internal-names.mjs";

/** The most that an application downloads, minified and compressed, in bytes. */
const LIMIT = 6_000;

/** The most of a part that is loaded only when it is needed. */
const PART_LIMIT = 2_000;

test(`the client has at most ${LIMIT} bytes, and each part on demand ${PART_LIMIT}`, async (t) => {
  const { outputFiles, metafile } = await build({
    entryPoints: [new URL("../src/index.ts", import.meta.url).pathname],
    outdir: "dist",
    bundle: true,
    splitting: true,
    minify: true,
    format: "esm",
    target: "es2022",
    mangleProps: internalNames,
    metafile: true,
    write: false,
  });
  const sizes = new Map(
    outputFiles.map(({ path, contents }) => [path.split("/").at(-1)!, gzipSync(contents, { level: 9 }).length]),
  );
  // What the entry imports at once counts with it.
  let core = 0;
  const count = (name: string) => {
    core += sizes.get(name)!;
    const output = Object.entries(metafile.outputs).find(([path]) => path.endsWith(`/${name}`))![1];
    const next = output.imports.filter(({ kind }) => kind === "import-statement");
    next.forEach(({ path }) => count(path.split("/").at(-1)!));
  };
  count("index.js");
  t.diagnostic(`core ${core}; ${[...sizes].map(([name, size]) => `${name} ${size}`).join(", ")}`);
  assert.ok(core <= LIMIT, `the core has ${core} bytes`);
  for (const [name, size] of sizes) {
    if (name !== "index.js") assert.ok(size <= PART_LIMIT, `${name} has ${size} bytes`);
  }
});
