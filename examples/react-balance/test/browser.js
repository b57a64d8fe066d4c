import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";

const names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

export function launchBrowser() {
  const directories = (process.env.PATH ?? "").split(delimiter);
  const paths = names.flatMap((name) => directories.map((directory) => join(directory, name)));
  const executablePath = paths.find((path) => existsSync(path));
  if (!executablePath) throw new Error(`one of ${names.join(", ")} must be on PATH (on Debian: apt-get install chromium)`);
  // Chromium's sandbox does not run as root. The pages are our own.
  return chromium.launch({ executablePath, args: ["--no-sandbox"] });
}

const phone = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

/** The screens on which the app must look right. */
export const screens = {
  "phone, light": { ...phone, colorScheme: "light" },
  "phone, dark": { ...phone, colorScheme: "dark" },
  "small phone, large text": { ...phone, viewport: { width: 320, height: 640 }, colorScheme: "light" },
  desktop: { viewport: { width: 1180, height: 760 }, deviceScaleFactor: 1.5, colorScheme: "light" },
};
