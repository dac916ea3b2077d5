// A story is told by a hand on the page, from its first words to its film on the disk.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";

import { CAPTIONS, begin, launch, open, shoot } from "./browser.js";
import { countedFrames } from "./film.js";
import { Server, framesOf, until } from "./server.js";

describe("a story that is told in the studio", () => {
  let server, browser, page, complaints, id;

  before(async () => {
    server = await Server.start();
    browser = await launch();
    ({ page, complaints } = await open(browser));
    id = await begin(page, server.page);
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
  });

  const card = (place) => page.locator(".shot").nth(place);
  const take = async (number) => (await server.story(id)).takes[number - 1];
  const line = async () => (await server.story(id)).line;
  const isLine = (...takes) => until(`the film is ${takes}`, async () => `${await line()}` === `${takes}`);

  it("takes the second prompt while the first shot is made", async () => {
    await shoot(page, CAPTIONS[0]);
    await page.locator("#slate-live").waitFor({ state: "visible" });
    await until("a chunk is made", async () => (await take(1))?.chunks.length);
    assert.equal((await take(1)).state, "waiting");
    await shoot(page, CAPTIONS[1]);
    await shoot(page, CAPTIONS[2]);
    const story = await server.told(id, 3);
    assert.deepEqual(story.takes.map((it) => it.caption), CAPTIONS);
    assert.equal(story.global, "A red fox with a top hat. ");
    assert.equal(await page.locator(".shot").count(), 3);
    await page.locator("#board-sum", { hasText: "3 shots · 6.2 s" }).waitFor();
  });

  it("shows what a shot remembers of those before it", async () => {
    const { context } = await take(3);
    await until("the memory is drawn", async () => await page.locator("#memory li").count() === context.length);
    assert.ok(0 < context.length);
    assert.equal(await page.locator("#memory img").count(), context.length);
  });

  it("takes a shot again, and what follows it rests on the older take", async () => {
    await page.getByRole("button", { name: "Take shot 2 again" }).click();
    assert.equal(await page.locator("#composer-label").textContent(), "Shot 2, once more");
    assert.equal(await page.locator("#caption").inputValue(), CAPTIONS[1]);
    await shoot(page, "Medium shot: the fox jumps at noon.");
    await isLine(1, 4, 3);
    await page.locator(".shot.stale").waitFor();
    assert.equal(await card(2).locator(".note").textContent(), "rests on an older take");
    await server.told(id, 3);
    await page.getByRole("button", { name: "Make again what rests on older takes" }).click();
    await isLine(1, 4, 5);
    await server.told(id, 3);
    assert.equal((await take(5)).parent, 4);
    assert.equal(await page.locator(".shot.stale").count(), 0);
  });

  it("chooses an older take and goes back to it", async () => {
    await card(1).getByRole("button", { name: "Take 1", exact: true }).click();
    await isLine(1, 2, 5);
    await page.locator('#tree [data-take="3"]').click();
    await isLine(1, 2, 3);
  });

  it("branches after a shot", async () => {
    await page.getByRole("button", { name: "Branch after shot 2" }).click();
    await isLine(1, 2);
    await until("the caption has the focus", () => page.evaluate(() => document.activeElement.id === "caption"));
    await shoot(page, "Wide shot: the fox walks on the beach at sunset.");
    await isLine(1, 2, 6);
    await server.told(id, 3);
    assert.equal(await page.locator("#tree [data-take]").count(), 6);
  });

  it("pins a frame, and the next shot is shown it", async () => {
    // The server knows of the shot's end before the page does.
    const button = page.locator('#candidates button[aria-label$="of shot 3"]').last();
    const [, frame] = /Pin: frame (\d+) of shot 3/.exec(await button.getAttribute("aria-label"));
    await button.click();
    await page.locator("#pins button").waitFor();
    assert.deepEqual((await server.story(id)).pins, [{ take: 6, frame: Number(frame) }]);
    await shoot(page, "Close-up of the fox on the beach at night.");
    await server.told(id, 4);
    const { context, pins } = await take(7);
    assert.deepEqual(pins, [{ take: 6, frame: Number(frame) }]);
    assert.ok(context.some((it) => it.take === 6 && it.frame === Number(frame)), JSON.stringify(context));
    await page.locator("#pins button").click();
    await until("the pin is gone", async () => (await server.story(id)).pins.length === 0);
  });

  it("is cut at the end of the chunk that is being made", async () => {
    await page.locator(".more > summary").click();
    await page.locator("#chunks").fill("20");
    await shoot(page, "Wide shot: the fox jumps in the meadow by day.");
    const { frames: asked } = await until("the long shot runs", async () => {
      const long = await take(8);
      return long?.chunks.length && long;
    });
    await page.getByRole("button", { name: "Cut" }).click();
    const { takes } = await server.told(id, 5);
    assert.ok(takes[7].frames < asked, `${takes[7].frames} of ${asked}`);
    assert.equal(takes[7].frames, takes[7].chunks.reduce((sum, chunk) => sum + chunk.frames, 0));
  });

  it("is cut to what is typed", async () => {
    await page.locator("#chunks").fill("20");
    await shoot(page, "Wide shot: the fox walks in the forest by day.");
    await until("the long shot runs", async () => (await take(9))?.chunks.length);
    await page.locator("#caption").fill("Close-up of the fox at noon.");
    await page.locator("#chunks").fill("1");
    await page.locator("#caption").press("Control+Enter");
    const { takes } = await server.told(id, 7);
    assert.ok(takes[8].chunks.length < 20);
    assert.equal(takes[9].frames, 9);
    await page.locator("#meter dt", { hasText: "cut" }).waitFor();
  });

  it("is undone and done again, by button and by key", async () => {
    const whole = await line();
    await page.locator("#undo").click();
    await until("a shot is gone", async () => (await line()).length < whole.length);
    await page.locator("#redo").click();
    await isLine(...whole);
    await page.locator("#board-title").click();
    await page.keyboard.press("Control+z");
    await until("a shot is gone", async () => (await line()).length < whole.length);
    await page.keyboard.press("Control+Shift+Z");
    await isLine(...whole);
  });

  it("leaves as a film with every frame, and as a story file", async () => {
    const story = await server.told(id, 7);
    await page.locator("#export > summary").click();
    const fetching = page.waitForEvent("download");
    await page.locator("#export-film").click();
    const film = await fetching;
    assert.equal(film.suggestedFilename(), "The fox.mp4");
    assert.equal(await countedFrames(await film.path()), framesOf(story));
    await page.locator("#export").evaluate((menu) => { menu.open = true; });
    const packing = page.waitForEvent("download");
    await page.locator("#export-story").click();
    assert.match((await packing).suggestedFilename(), /\.shotstory$/);
  });

  it("plays a take and the whole film, and goes back to live", async () => {
    await card(0).getByRole("button", { name: /Play it/ }).click();
    await until("the take plays", () => page.evaluate(() => 0.2 < document.getElementById("review").currentTime));
    await page.getByRole("button", { name: "Back to live" }).click();
    await page.getByRole("button", { name: "Play the film" }).click();
    await until("the film plays", () => page.evaluate(() => 0.2 < document.getElementById("review").currentTime));
    await page.keyboard.press("Escape");
    assert.ok(await page.locator("#review").isHidden());
  });

  it("is there again after a reload, and nobody complained so far", async () => {
    const before = await server.story(id);
    await page.reload();
    await until("the shots are drawn", async () => await page.locator(".shot").count() === 7);
    assert.deepEqual(await server.story(id), before);
    assert.deepEqual(complaints, []);
  });

  it("goes on by itself when the server is killed in the middle of a shot", async () => {
    await shoot(page, "Wide shot: the fox sleeps in the snow at night.");
    await until("a chunk is made", async () => (await take(11))?.chunks.length);
    const made = (await take(11)).chunks;
    await server.kill();
    await page.locator("#line-state.off").waitFor();
    await server.again();
    const { takes } = await server.told(id, 8);
    assert.deepEqual(takes[10].chunks.slice(0, made.length), made);
    await page.locator("#line-state.on").waitFor();
    await page.locator("#board-sum", { hasText: "8 shots" }).waitFor();
  });
});
