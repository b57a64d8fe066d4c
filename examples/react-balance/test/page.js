import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const page = fileURLToPath(new URL("../../../docs/live-balance.md", import.meta.url));

/** Returns the files that a section of docs/live-balance.md shows: their texts by name. */
export function filesOf(section) {
  const text = readFileSync(page, "utf8").split(/^## /m).find((part) => part.startsWith(`${section}\n`));
  if (!text) throw new Error(`docs/live-balance.md must have the section ${section}`);
  const files = {};
  for (const [, name, content] of text.matchAll(/^`(\S+)`:\n\n```\w+\n(.*?)^```$/gms)) files[name] = content;
  return files;
}
