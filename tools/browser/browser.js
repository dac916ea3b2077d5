// The system's Chromium, and everything it complains of.

import { basename, join } from "node:path";

import { chromium } from "playwright-core";

/** A folder whose page stands in for that of the program, so that it need not be built again. */
const { STUDIO } = process.env;

/** Start it; close it when the test is over. */
export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium" });

/**
 * A page that keeps its complaints: errors and warnings of the console, what scripts throw,
 * what the content policy stops, and answers that are no success.
 * @param {import("playwright-core").Browser} browser
 */
export async function open(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  if (STUDIO) {
    // A page that came from a folder must be allowed to talk to this machine.
    await context.grantPermissions(["local-network-access"]);
    await context.route("**/studio/*", (route) => route.fulfill({ path: join(STUDIO, basename(new URL(route.request().url()).pathname)) }));
    await context.route(({ pathname }) => pathname === "/" || pathname.startsWith("/watch/"), async (route) => {
      await route.fulfill({ response: await route.fetch(), path: join(STUDIO, "index.html") });
    });
  }
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`thrown: ${error.message}`));
  page.on("response", (answer) => {
    if (400 <= answer.status()) complaints.push(`${answer.status()}: ${new URL(answer.url()).pathname}`);
  });
  await page.exposeFunction("policyStopped", (what) => complaints.push(`policy: ${what}`));
  await page.addInitScript(() => {
    addEventListener("securitypolicyviolation", (event) => {
      globalThis.policyStopped(`${event.violatedDirective} ${event.blockedURI}`);
    });
    // Everything that is said to those who do not see the page.
    globalThis.announced = [];
    addEventListener("DOMContentLoaded", () => {
      const region = document.getElementById("announce");
      const note = () => globalThis.announced.push(region.textContent);
      if (region) new MutationObserver(note).observe(region, { childList: true, characterData: true, subtree: true });
    });
  });
  return { page, context, complaints };
}

/** Begin a story on the home page and give its name. */
export async function begin(page, address, { global = "A red fox with a top hat.", title = "The fox", seed = "3" } = {}) {
  await page.goto(address);
  await page.locator("#global").fill(global);
  await page.locator("#new-title").fill(title);
  await page.locator("#new-seed").fill(seed);
  await page.getByRole("button", { name: "Begin" }).click();
  await page.locator("#studio").waitFor({ state: "visible" });
  await page.locator("#line-state", { hasText: "connected" }).waitFor();
  return new URL(page.url()).hash.slice(1);
}

/** Type what happens next. */
export async function shoot(page, caption) {
  await page.locator("#caption").fill(caption);
  await page.locator("#caption").press("Enter");
}

export const CAPTIONS = [
  "Wide shot: the red fox with a top hat walks through the snow by day.",
  "Medium shot: the fox waves hello at sunset.",
  "Close-up of the red fox with a hat at night, the camera pans left.",
];

/** The frame of the stream that the page shows: on its canvas, or where it may not decode by itself in its video. */
export const shownFrame = (page) => page.evaluate(() => {
  const canvas = document.getElementById("live-canvas");
  if (canvas && !canvas.hidden) return Number(canvas.dataset.frame ?? -1);
  return Math.floor(document.getElementById("live").currentTime * 16 + 0.001);
});
