// Runs the cases of test/react with React 18 and 19, in a document of happy-dom.

import { mkdtempSync, rmSync } from "node:fs";
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
after(() => rmSync(bundles, { recursive: true, force: true }));

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
  await import(pathToFileURL(outfile).href);
}
