// Takes a picture of the live page of `core dev`: node live-page.js URL FILE BROWSER
import { chromium } from 'playwright-core';

const [url, file, executablePath] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  // Chromium's sandbox does not run as root. The page is our own.
  chromiumSandbox: process.getuid?.() !== 0,
});
try {
  const page = await browser.newPage({
    viewport: { width: 1080, height: 860 },
    deviceScaleFactor: 1.5,
    colorScheme: 'light',
    reducedMotion: 'reduce',
    locale: 'en-GB',
  });
  page.setDefaultTimeout(60_000);
  await page.goto(url);
  await page.locator('#state.live').waitFor();

  // Move points: hold, settle, hold again. Each number appears when its event has arrived.
  await page.click('#hold');
  await showsNumber(page, 'escrow', '100');
  await page.click('#settle');
  await showsNumber(page, 'earned', '200');
  // The traffic of `core dev --traffic` fills most of the table.
  await page.waitForFunction(() => document.querySelectorAll('#feed tr').length >= 11);
  await page.click('#hold');
  await showsNumber(page, 'escrow', '100');
  await page.getByText('after the click').waitFor();

  // The picture ends below a row of the table.
  // The page may replace the row at any time, so it is measured in one step.
  const bottom = await page.waitForFunction(() => document.querySelectorAll('#feed tr')[8]?.getBoundingClientRect().bottom);
  const width = page.viewportSize().width;
  const height = Math.ceil(await bottom.jsonValue());
  await page.screenshot({ path: file, clip: { x: 0, y: 0, width, height } });
} finally {
  await browser.close();
}

// showsNumber waits until the page shows the number in the element.
async function showsNumber(page, id, number) {
  await page.locator(`#${id}`).getByText(number, { exact: true }).waitFor();
}
