// Prints the size of each client in bytes, as an application that imports it loads it at first:
// bundled and minified by esbuild, and compressed by gzip.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const directory = fileURLToPath(new URL(".", import.meta.url));
const imports = {
  realtime: 'export { createClient } from "../../../clients/typescript/dist/index.js";',
  centrifuge: 'export { Centrifuge } from "centrifuge";',
};

const sizes = {};
for (const [name, contents] of Object.entries(imports)) {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: directory },
    bundle: true,
    minify: true,
    format: "esm",
    platform: "browser",
    target: "es2022",
    splitting: true,
    outdir: "out",
    absWorkingDir: directory,
    metafile: true,
    write: false,
  });

  // The files that import() loads later do not count.
  const loaded = new Set();
  const load = (path) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    for (const { kind, path: next } of metafile.outputs[path].imports) {
      if (kind === "import-statement") load(next);
    }
  };
  load("out/stdin.js");
  sizes[name] = outputFiles
    .filter(({ path }) => [...loaded].some((name) => path.endsWith(`/${name}`)))
    .reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0);
}
console.log(JSON.stringify(sizes));
