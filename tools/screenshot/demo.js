// Takes the picture of the demo app of `core dev`: node demo.js URL FILE BROWSER
import { chromium } from 'playwright-core';

const [url, file, executablePath] = process.argv.slice(2);

const browser = await chromium.launch({
  executablePath,
  // Chromium's sandbox does not run as root. The pages are our own.
  chromiumSandbox: process.getuid?.() !== 0,
});
try {
  const light = await takePhone('light', async (page) => {
    await page.getByRole('button', { name: /^Buy Shout-out/ }).click();
    await page.getByRole('log').getByText('100 points held').waitFor();
    await page.locator('.order').waitFor();
  });
  const dark = await takePhone('dark', async (page) => {
    await page.getByRole('button', { name: 'Add 500 points' }).click();
    await page.getByRole('log').getByText('500 points added').waitFor();
  });
  const offline = await takePhone('light', async (page, context) => {
    await context.setOffline(true);
    await page.getByText('You are offline.').waitFor();
    await page.getByText('Reconnecting').waitFor();
    await page.waitForFunction(() => document.getAnimations().every(({ playState }) => playState !== 'running'));
  });
  // The order would show in the picture of the live page.
  await takePhone('light', async (page) => {
    await page.getByRole('button', { name: 'Cancel Shout-out' }).click();
    await page.locator('.order').waitFor({ state: 'detached' });
  });
  await combine([light, dark, offline]);
} finally {
  await browser.close();
}

// takePhone returns the picture of the app on a phone, after the steps.
async function takePhone(colorScheme, steps) {
  const context = await browser.newContext({
    viewport: { width: 390, height: 800 },
    deviceScaleFactor: 1.5,
    isMobile: true,
    colorScheme,
    reducedMotion: 'reduce',
    locale: 'en-GB',
  });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000);
  await page.goto(`${url}demo/`);
  await page.getByText('Live', { exact: true }).waitFor();
  await page.locator('[aria-busy="false"]').first().waitFor(); // the balance has arrived
  await steps(page, context);
  const picture = await page.screenshot();
  await context.close();
  return picture;
}

// combine writes the pictures side by side.
async function combine(pictures) {
  const page = await browser.newPage({ viewport: { width: 1290, height: 860 } });
  const images = pictures.map((picture) => `<img src="data:image/png;base64,${picture.toString('base64')}">`);
  await page.setContent(`
    <style>
      body { margin: 0; padding: 30px; display: flex; gap: 30px; background: #d9cfc8 }
      img { width: 390px; height: 800px; border-radius: 30px; box-shadow: 0 12px 40px rgb(60 20 30 / 25%) }
    </style>
    ${images.join('')}`);
  await page.screenshot({ path: file });
}
