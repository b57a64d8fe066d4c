// Builds dist: ESM, CommonJS and declarations of every entry.

import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { internalNames } from "./internal-names.mjs";

const root = fileURLToPath(new URL("..", import.meta.url));
const dist = join(root, "dist");
const entries = ["src/index.ts", "src/react/index.ts"];

rmSync(dist, { recursive: true, force: true });
const options = {
  absWorkingDir: root,
  outbase: "src",
  outdir: dist,
  bundle: true,
  target: "es2022",
  mangleProps: internalNames,
  external: ["react", "@redroomrewards/realtime"],
  sourcemap: true,
};
for (const entry of entries) {
  // The entries share no code. What is imported on demand gets a file of its own.
  await build({ ...options, entryPoints: [entry], format: "esm", splitting: true });
  await build({ ...options, entryPoints: [entry], format: "cjs", outExtension: { ".js": ".cjs" } });
}

execFileSync(process.execPath, [join(root, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"], {
  cwd: root,
  stdio: "inherit",
});

// Declarations name their modules with the extension of their format.
for (const name of readdirSync(dist, { recursive: true })) {
  if (!name.endsWith(".d.ts")) continue;
  const file = join(dist, name);
  const text = readFileSync(file, "utf8");
  const withExtension = (extension) => text.replace(/((?:from|import\() ?"\.[^"]*)\.ts"/g, `$1.${extension}"`);
  writeFileSync(file, withExtension("js"));
  writeFileSync(file.replace(/\.d\.ts$/, ".d.cts"), withExtension("cjs"));
}
