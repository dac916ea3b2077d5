// Nothing needs a pointer, and nothing happens without a word for those who do not see it.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { CAPTIONS, launch, open } from "./browser.js";
import { Server, until } from "./server.js";

/** What a hand could touch on the page now. */
const controls = () => {
  const wanted = 'a[href], button:not(:disabled), input, textarea, select, summary, [tabindex="0"]';
  return [...document.querySelectorAll(wanted)].filter((it) => it.checkVisibility({ contentVisibilityAuto: true }));
};

/** How the focus shows: an outline of it or of what holds it, or a heavier ring in the tree. */
const shows = (it) => {
  for (let at = it, up = 0; at && up < 2; at = at.parentElement, up++) {
    const { outlineStyle, outlineWidth } = getComputedStyle(at);
    if (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) return true;
  }
  const circle = it.querySelector?.("circle");
  return Boolean(circle) && parseFloat(getComputedStyle(circle).strokeWidth) >= 3;
};

/** What a control is called, and where: the page draws itself anew, so that elements do not last. */
const named = (it) => `${it.closest("[id]")?.id} ${it.tagName.toLowerCase()} ${it.getAttribute("aria-label") ?? it.textContent.trim().slice(0, 30)}`;

describe("the studio without a pointer", () => {
  let server, browser, page, complaints, id;

  before(async () => {
    server = await Server.start();
    browser = await launch();
    ({ page, complaints } = await open(browser));
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const press = async (...keys) => { for (const key of keys) await page.keyboard.press(key); };
  const line = async () => (await server.story(id)).line;

  /** Walk with Tab until it is where it must go. */
  async function tabTo(what, matches, argument) {
    for (let steps = 0; steps < 120; steps++) {
      if (await page.evaluate(matches, argument)) return;
      await press("Tab");
    }
    assert.fail(`Tab does not reach ${what}`);
  }
  const tabToId = (wanted) => tabTo(wanted, (wanted) => document.activeElement.id === wanted, wanted);
  const tabToLabel = (label) => tabTo(label, (label) => document.activeElement.getAttribute("aria-label")?.startsWith(label), label);

  const tabToShot = (number) => tabTo(`shot ${number}`, (place) => document.activeElement.closest(".shot")?.dataset.place === place, `${number - 1}`);

  /** Walk the whole page once: what was reached, and what showed no focus. */
  async function walk() {
    await page.evaluate(`globalThis.controls = ${controls}; globalThis.shows = ${shows}; globalThis.named = ${named};`);
    await page.evaluate(() => { document.activeElement.blur(); globalThis.reached = new Set(); globalThis.hidden = []; });
    const count = await page.evaluate(() => globalThis.controls().length);
    for (let steps = 0; steps < count + 12; steps++) {
      await press("Tab");
      await page.evaluate(() => {
        const at = document.activeElement;
        const name = globalThis.named(at);
        if (at === document.body || globalThis.reached.has(name)) return;
        globalThis.reached.add(name);
        if (!globalThis.shows(at)) globalThis.hidden.push(name);
      });
    }
    return page.evaluate(() => ({
      count: globalThis.controls().length,
      missed: globalThis.controls().map(globalThis.named).filter((it) => !globalThis.reached.has(it)),
      hidden: globalThis.hidden,
    }));
  }

  it("begins a story and shoots", async () => {
    await page.goto(server.page);
    await tabToId("global");
    await page.keyboard.type("A red fox with a top hat.");
    await tabToId("new-title");
    await page.keyboard.type("The fox");
    await press("Enter");
    await page.locator("#line-state", { hasText: "connected" }).waitFor();
    id = new URL(page.url()).hash.slice(1);
    await until("the caption has the focus", () => page.evaluate(() => document.activeElement.id === "caption"));
    for (const caption of CAPTIONS) { await page.keyboard.type(caption); await press("Enter"); }
    await server.told(id, 3);
    await until("all shots are drawn as finished", async () => await page.locator("#board[aria-busy]").count() === 0);
  });

  it("says what happens to those who do not see it", async () => {
    const announced = await page.evaluate(() => globalThis.announced.join("\n"));
    for (const words of ["Shot 1 begins.", "Shot 1 is complete, 33 frames.", "Shot 3 is complete, 33 frames."]) {
      assert.ok(announced.includes(words), `${words} is not among\n${announced}`);
    }
  });

  it("reaches every control with Tab, and shows where it is", async (t) => {
    const { count, missed, hidden } = await walk();
    assert.ok(20 < count, `${count} controls`);
    assert.deepEqual({ missed, hidden }, { missed: [], hidden: [] });
    t.diagnostic(`${count} controls`);
  });

  it("goes along the storyboard with arrows, plays, retakes and branches with letters", async () => {
    await press("Escape");
    await tabToShot(1);
    await press("ArrowRight");
    assert.match(await page.evaluate(() => document.activeElement.getAttribute("aria-label")), /^Shot 2,/);
    await press("p");
    await page.locator("#review").waitFor({ state: "visible" });
    await press("Escape");
    await page.locator("#review").waitFor({ state: "hidden" });
    await tabToShot(2);
    await press("r");
    await page.keyboard.type("Medium shot: the fox jumps at noon.");
    await press("Enter");
    await until("a take is added", async () => `${await line()}` === "1,4,3");
    await server.told(id, 3);
    await page.evaluate(() => document.activeElement.blur());
    await tabToShot(2);
    await press("1");
    await until("the first take is chosen", async () => `${await line()}` === "1,2,3");
    await press("ArrowLeft", "b");
    await until("the film is trimmed", async () => `${await line()}` === "1");
    await page.locator("#announce", { hasText: "The film ends after shot 1." }).waitFor({ state: "attached" });
    await until("the caption has the focus", () => page.evaluate(() => document.activeElement.id === "caption"));
  });

  it("goes to a take of the tree, pins and unpins, undoes and does again", async () => {
    await tabTo("the tree", () => document.activeElement.dataset.take === "3");
    await press("Enter");
    await until("the film is the old one", async () => `${await line()}` === "1,2,3");
    assert.equal(await page.evaluate(() => document.activeElement.dataset.take), "3");
    await tabToLabel("Pin: frame");
    await press("Enter");
    await page.locator("#pins button").waitFor();
    await tabToLabel("Unpin: frame");
    await press("Enter");
    await until("the pin is gone", async () => (await server.story(id)).pins.length === 0);
    await press("Control+z");
    await until("the pin is back", async () => (await server.story(id)).pins.length === 1);
    await press("Control+Shift+Z");
    await until("the pin is gone", async () => (await server.story(id)).pins.length === 0);
  });

  it("opens the help, the menu of exports and the lengths, and leaves them", async () => {
    await page.evaluate(() => document.activeElement.blur());
    await press("?");
    await page.locator("#help").waitFor({ state: "visible" });
    await press("Escape");
    await page.locator("#help").waitFor({ state: "hidden" });
    await tabTo("the menu", () => document.activeElement.matches("#export > summary"));
    await press("Enter", "Tab");
    assert.equal(await page.evaluate(() => document.activeElement.closest("#export") !== null), true);
    const fetching = page.waitForEvent("download");
    await press("Enter");
    await fetching;
    await tabTo("the lengths", () => document.activeElement.matches(".more > summary"));
    await press("Enter", "Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "chunks");
    const { missed, hidden } = await walk();
    assert.deepEqual({ missed, hidden }, { missed: [], hidden: [] });
  });

  it("leads back home, where every control is reached too", async () => {
    await tabToLabel("All stories");
    await press("Enter");
    await page.locator("#stories li").waitFor();
    const { count, missed, hidden } = await walk();
    assert.ok(6 < count, `${count} controls`);
    assert.deepEqual({ missed, hidden }, { missed: [], hidden: [] });
    assert.deepEqual(complaints, []);
  });
});
