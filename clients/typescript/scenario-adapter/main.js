// The adapter of this client for the scenarios in clients/scenarios: see their README.
//
// It is bundled into one file, so that what the client loads on demand is there at once, and virtual
// time need not wait for it.
import { mkdirSync, rmSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import { buildSync } from "esbuild";
import { internalNames } from "../scripts/internal-names.mjs";

const folder = fileURLToPath(new URL("../node_modules/.scenario-adapter", import.meta.url));
const file = `${folder}/${process.pid}.mjs`;
mkdirSync(folder, { recursive: true });
buildSync({
  entryPoints: [fileURLToPath(new URL("adapter.ts", import.meta.url))],
  outfile: file,
  bundle: true,
  platform: "node",
  format: "esm",
  packages: "external",
  mangleProps: internalNames,
  sourcemap: "inline",
});
process.on("exit", () => rmSync(file, { force: true }));
await import(pathToFileURL(file).href);
