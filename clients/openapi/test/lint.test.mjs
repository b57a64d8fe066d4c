import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";
import { fromFile, Parser } from "@asyncapi/parser";
import spectralCore from "@stoplight/spectral-core";
import spectralRulesets from "@stoplight/spectral-rulesets";
import { openAPI, pathOf, textOf } from "./documents.mjs";

const run = promisify(execFile);

test("redocly accepts the OpenAPI documents", async () => {
  const command = ["--no-install", "redocly", "lint", "--max-problems=50", ...openAPI.map(pathOf)];
  const env = { ...process.env, REDOCLY_TELEMETRY: "off", REDOCLY_SUPPRESS_UPDATE_NOTICE: "true" };
  await run("npx", command, { env }).catch((error) => assert.fail(error.stdout + error.stderr));
});

/** Runs Spectral and returns its findings as texts. */
async function spectral(ruleset, text) {
  const linter = new spectralCore.Spectral();
  linter.setRuleset({ extends: [ruleset], rules: ignored });
  const document = new spectralCore.Document(text, jsonParser);
  const findings = await linter.run(document);
  return findings.map((finding) => `${finding.code} at ${finding.path.join(".")}: ${finding.message}`);
}

const jsonParser = {
  parse: (text) => ({ data: JSON.parse(text), ast: {}, lineMap: [], diagnostics: [] }),
  getLocationForJsonPath: () => undefined,
  trapAccess: (object) => object,
};

// info-contact: there is nobody to write to. operation-success-response: a WebSocket has only 101.
// oas3-operation-security-defined knows only OpenAPI 3.0, in which bearer tokens cannot have scopes.
const ignored = {
  "info-contact": "off",
  "operation-success-response": "off",
  "oas3-operation-security-defined": "off",
};

for (const name of openAPI) {
  test(`spectral accepts ${name}.json`, async () => {
    assert.deepEqual(await spectral(spectralRulesets.oas, textOf(name)), []);
  });
}

test("the AsyncAPI parser accepts asyncapi.json without a warning", async () => {
  const { document, diagnostics } = await fromFile(new Parser(), pathOf("asyncapi")).parse();
  const findings = diagnostics
    .filter((finding) => finding.code !== "asyncapi-latest-version") // more programs read 3.0 than 3.1
    .map((finding) => `${finding.code} at ${finding.path.join(".")}: ${finding.message}`);
  assert.deepEqual(findings, []);
  assert.ok(document);
});

/** Returns all values of a member in a document. */
function* valuesOf(node, member) {
  if (typeof node !== "object" || node === null) return;
  for (const [key, value] of Object.entries(node)) {
    if (key === member && typeof value === "string") yield value;
    yield* valuesOf(value, member);
  }
}

for (const name of [...openAPI, "asyncapi"]) {
  test(`titles and operation ids of ${name}.json are unique`, () => {
    const document = JSON.parse(textOf(name));
    for (const member of ["title", "operationId"]) {
      const values = [...valuesOf({ paths: document.paths, channels: document.channels, schemas: document.components.schemas }, member)];
      const repeated = values.filter((value, i) => values.indexOf(value) !== i);
      assert.deepEqual(repeated, [], member);
    }
  });
}
