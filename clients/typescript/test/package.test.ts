// Installs the output of `npm pack` into a fresh project outside of the repository and uses it there.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { publint } from "publint";
import { formatMessage } from "publint/utils";

const root = fileURLToPath(new URL("..", import.meta.url));
const modules = join(root, "node_modules");
const tsc = join(modules, "typescript/bin/tsc");
const vite = join(modules, "vite/bin/vite.js");

let project: string;
before(async () => {
  project = mkdtempSync(join(tmpdir(), "realtime-package-"));
  await run(root, "npm", "run", "--silent", "build");
  const packed = JSON.parse(await run(root, "npm", "pack", "--silent", "--json", "--pack-destination", project));
  write("package.json", JSON.stringify({ private: true }));
  await run(project, "npm", "install", "--silent", "--no-audit", "--no-fund", "--offline", join(project, packed[0].filename));
});
after(() => rmSync(project, { recursive: true, force: true }));

/** Runs a program and returns its output. If it fails, the error has the output. */
async function run(directory: string, program: string, ...args: string[]): Promise<string> {
  try {
    const { stdout } = await promisify(execFile)(program, args, { cwd: directory, timeout: 300_000 });
    return stdout;
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${args.join(" ")} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

function node(...args: string[]): Promise<string> {
  return run(project, process.execPath, ...args);
}

/** Writes a file of the project. */
function write(name: string, text: string): void {
  mkdirSync(dirname(join(project, name)), { recursive: true });
  writeFileSync(join(project, name), text);
}

/** Adds packages to the project, as `npm install` would, from those of this repository. */
function addModules(...names: string[]): void {
  for (const name of names) cpSync(join(modules, name), join(project, "node_modules", name), { recursive: true });
}

const options = `{ url: "wss://gateway.example.com/v1/ws", getToken: () => "" }`;

describe("the package", { timeout: 600_000 }, () => {
  test("has only what users need", () => {
    const installed = join(project, "node_modules/@redroomrewards/realtime");
    assert.deepEqual(readdirSync(installed).sort(), ["LICENSE", "README.md", "dist", "package.json"]);
    const { dependencies } = JSON.parse(readFileSync(join(installed, "package.json"), "utf8"));
    assert.equal(dependencies, undefined);
    assert.deepEqual(readdirSync(join(project, "node_modules")).filter((name) => !name.startsWith(".")), ["@redroomrewards"]);
  });

  test("follows the rules of publint", async () => {
    const pkg = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
    const { messages } = await publint({ pkgDir: root, strict: true, pack: false });
    assert.deepEqual(messages.map((message) => formatMessage(message, pkg)), []);
  });

  test("is an ES module in Node, without React", async () => {
    write("esm.mjs", `import { createClient } from "@redroomrewards/realtime"; console.log(createClient(${options}).state.name);`);
    assert.equal(await node("esm.mjs"), "idle\n");
  });

  test("is a CommonJS module in Node, without React", async () => {
    write("cjs.cjs", `const { createClient } = require("@redroomrewards/realtime"); console.log(createClient(${options}).state.name);`);
    assert.equal(await node("cjs.cjs"), "idle\n");
  });

  describe("with React", () => {
    before(() => addModules("react", "react-dom", "scheduler", "@types/react", "@types/react-dom", "csstype"));

    test("has hooks as an ES module", async () => {
      write("react.mjs", `import * as hooks from "@redroomrewards/realtime/react"; console.log(Object.keys(hooks).sort().join());`);
      assert.equal(await node("react.mjs"), "RealtimeProvider,useBalance,useConnectionState,useEvents,useRealtimeClient\n");
    });

    test("has hooks as a CommonJS module", async () => {
      write("react.cjs", `const { useBalance } = require("@redroomrewards/realtime/react"); console.log(typeof useBalance);`);
      assert.equal(await node("react.cjs"), "function\n");
    });

    test("is bundled by Vite", async () => {
      write("vite/index.html", `<script type="module" src="./main.js"></script>`);
      write(
        "vite/main.js",
        `import { createElement } from "react";
         import { createRoot } from "react-dom/client";
         import { createClient } from "@redroomrewards/realtime";
         import { RealtimeProvider, useBalance } from "@redroomrewards/realtime/react";
         const Balance = () => useBalance("user:u1").status;
         const client = createClient(${options});
         createRoot(document.body).render(createElement(RealtimeProvider, { client }, createElement(Balance)));`,
      );
      await run(join(project, "vite"), process.execPath, vite, "build", "--logLevel", "warn");
      const assets = join(project, "vite/dist/assets");
      const text = readdirSync(assets).map((name) => readFileSync(join(assets, name), "utf8")).join("\n");
      assert.match(text, /wallet\.v1/);
      assert.match(text, /must be used inside of <RealtimeProvider/);
    });

    for (const [resolution, module] of Object.entries({ bundler: "esnext", node16: "node16", nodenext: "nodenext" })) {
      test(`has strict types with moduleResolution ${resolution}`, async () => {
        const check = readFileSync(join(root, "test/package/check.ts"), "utf8");
        const extensions = resolution === "bundler" ? ["ts"] : ["mts", "cts"]; // ESM and CommonJS
        const files = extensions.map((extension) => `check.${extension}`);
        for (const file of files) write(join(resolution, file), check);
        const compilerOptions = {
          target: "es2022",
          lib: ["es2022", "dom"],
          module,
          moduleResolution: resolution,
          strict: true,
          noEmit: true,
          exactOptionalPropertyTypes: true,
          noUncheckedIndexedAccess: true,
          skipDefaultLibCheck: true, // the declarations of the package are checked
          types: [],
        };
        write(join(resolution, "tsconfig.json"), JSON.stringify({ compilerOptions, files }));
        await node(tsc, "-p", resolution);
      });
    }
  });
});
