// Runs the cases of test/react with React 18 and 19, in a document of happy-dom.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { Window } from "happy-dom";

const root = fileURLToPath(new URL("..", import.meta.url));

const window = new Window({ url: "http://127.0.0.1/" });
for (const name of ["window", "document", "navigator"] as const) {
  Object.defineProperty(globalThis, name, { value: window[name], configurable: true });
}
after(() => window.happyDOM.close());

// The bundles are inside of the package, so that they find its modules.
const bundles = mkdtempSync(join(root, "node_modules", ".react-test-"));
process.on("exit", () => rmSync(bundles, { recursive: true, force: true }));

for (const [name, alias] of Object.entries({
  19: {},
  18: { react: "react-18", "react-dom": "react-dom-18" },
})) {
  const outfile = join(bundles, `react-${name}.mjs`);
  await build({
    absWorkingDir: root,
    entryPoints: ["test/react/cases.ts"],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    external: ["ws"],
    alias,
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  });
}

// One import defines all tests before the first one runs, and so before the files are removed.
const all = join(bundles, "all.mjs");
writeFileSync(all, 'import "./react-19.mjs";\nimport "./react-18.mjs";\n');
await import(pathToFileURL(all).href);
