import { existsSync } from "node:fs";
import { type Browser, chromium } from "playwright-core";

const paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

/** Returns the path of Chromium. */
export function findChromium(): string {
  const path = process.env.CHROMIUM ?? paths.find((path) => existsSync(path));
  if (path) return path;
  throw new Error(
    "Chromium must be installed (on Debian: apt-get install chromium), or CHROMIUM must be its path",
  );
}

export async function launchChromium(): Promise<Browser> {
  return chromium.launch({ executablePath: findChromium(), args: ["--no-sandbox", "--disable-gpu"] });
}
