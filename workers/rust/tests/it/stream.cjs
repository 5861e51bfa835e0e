// Opens the page of the stream in Chromium twice, checks that frames arrive and are drawn, and keeps screenshots.
// node stream.cjs http://HOST:PORT/ LIGHT.png DARK.png, with CHROMIUM in the environment.
"use strict";
const assert = require("node:assert");
const { chromium } = require("playwright-core");

const DEADLINE_MS = 60_000;
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const [url, light, dark] = process.argv.slice(2);

const number = (page) => page.evaluate(() => Number(document.getElementById("number").textContent));

async function watch(browser, colorScheme, screenshot) {
  const page = await browser.newPage({ colorScheme, viewport: { width: 1100, height: 800 } });
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  await page.goto(url);
  await page.waitForSelector('#state[data-state="open"]');
  await page.waitForFunction(() => Number(document.getElementById("number").textContent) > 0);
  const first = await number(page);
  // Some generations more, so that there is something to see.
  await page.waitForFunction((first) => Number(document.getElementById("number").textContent) > first + 60, first);
  assert.ok(Number(await page.textContent("#rate")) > 0);
  assert.match(await page.textContent("#lag"), /^\d+$/);
  const colors = await page.evaluate(() => {
    const { width, height } = document.getElementById("board");
    const pixels = document.getElementById("board").getContext("2d").getImageData(0, 0, width, height).data;
    return new Set(new Uint32Array(pixels.buffer)).size;
  });
  assert.ok(colors > 3, `the canvas has ${colors} colours`);
  await page.screenshot({ path: screenshot, fullPage: true });
  assert.deepStrictEqual(problems, []);
  console.log(`frame ${await number(page)}, ${await page.textContent("#rate")} a second, lag ${await page.textContent("#lag")} ms`);
  await page.close();
}

setTimeout(() => { console.error("deadline"); process.exit(3); }, DEADLINE_MS).unref();
(async () => {
  const browser = await chromium.launch({ executablePath: process.env.BELLWETHER_TEST_CHROMIUM, headless: true, args: FLAGS });
  try {
    await watch(browser, "light", light);
    await watch(browser, "dark", dark);
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error.message); process.exit(1); });
