// Opens the console page in Chromium and tells on stdout what it sees; the test publishes meanwhile.
// node console.cjs http://HOST:PORT/ SCREENSHOT off|on, with CHROMIUM in the environment.
"use strict";
const assert = require("node:assert");
const { chromium } = require("playwright-core");

const DEADLINE_MS = 60_000;
const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const [url, screenshot, publishing] = process.argv.slice(2);
const say = (word) => console.log(word);
const inMessages = (text) => Array.from(document.querySelectorAll("#messages .body")).some((body) => body.textContent === text);

async function watch(page) {
  const problems = [];
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("console", (message) => { if (message.type() === "error") problems.push(message.text()); });
  await page.goto(url + "#news");
  await page.waitForSelector('#state[data-state="open"]');
  assert.match(await page.textContent("#state"), /news/);
  say("connected");

  // Published by the test from the command line.
  await page.waitForFunction(inMessages, "hello");
  await page.waitForFunction(inMessages, "<b>not bold</b>");
  assert.strictEqual(await page.locator("#messages b").count(), 0);
  await page.screenshot({ path: screenshot });
  say("shown");

  if (publishing === "off") {
    assert.ok(await page.isDisabled("#text"));
    assert.ok(await page.isDisabled("#send"));
    assert.ok(await page.isVisible("#off"));
  } else {
    assert.ok(await page.isHidden("#off"));
    await page.fill("#text", "from the page");
    await page.press("#text", "Enter");
    await page.waitForFunction(inMessages, "from the page");
    // Chromium sends what is above 131000 bytes in fragments.
    const back = await page.evaluate(() => new Promise((done, fail) => {
      const socket = new WebSocket(`ws://${location.host}/large`), text = "0123456789".repeat(30_000);
      socket.onopen = () => socket.send(text);
      socket.onmessage = (event) => { done(event.data === text); socket.close(1000); };
      socket.onerror = () => fail(new Error("the large message's connection failed"));
    }));
    assert.ok(back, "a large message came back changed");
  }
  await page.click("#connect");
  await page.waitForSelector('#state[data-state="closed"]');
  assert.deepStrictEqual(problems, []);
  say("done");
}

setTimeout(() => { console.error("deadline"); process.exit(3); }, DEADLINE_MS).unref();
(async () => {
  const browser = await chromium.launch({ executablePath: process.env.BELLWETHER_TEST_CHROMIUM, headless: true, args: FLAGS });
  try {
    await watch(await browser.newPage());
  } finally {
    await browser.close();
  }
})().catch((error) => { console.error(error.message); process.exit(1); });
