// Every frame that was made is painted once and in order.

import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { it } from "node:test";

import { CAPTIONS, begin, launch, open, shoot, shownFrame } from "./browser.js";
import { countedFrames, smallPictures } from "./film.js";
import { Server, framesOf, until } from "./server.js";

const SMALL = [32, 20];
const FPS = 16;

/** The share of frames that a browser on busy cores may leave out where it plays a MediaSource by its own clock. */
const MOST_LEFT_OUT = 0.1;

/** Half as fast as meant, so that a browser that is short of time does not leave frames out; 1 is as meant. */
const PACE = Number(process.env.PACE ?? 0.5);

/** Grey levels that a painted frame may differ from its frame in the film: half a level of each colour twice rounded, and scaling by other filters. */
const TOLERANCE = 6;

/** Note every frame the live film paints: which one it is, and how it looks. */
function watchPaint({ size: [width, height], pace, fps }) {
  globalThis.painted = [];
  addEventListener("DOMContentLoaded", () => {
    const small = new OffscreenCanvas(width, height);
    const context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    const note = (frame, source) => {
      context.drawImage(source, 0, 0, width, height);
      const { data } = context.getImageData(0, 0, width, height);
      const grey = [];
      for (let i = 0; i < data.length; i += 4) grey.push(0.299 * data[i] + 0.587 * data[i + 1] + 0.114 * data[i + 2]);
      globalThis.painted.push({ frame, grey });
    };
    // Where the page decodes by itself, it says what it paints.
    const canvas = document.getElementById("live-canvas");
    if (canvas) {
      new MutationObserver(() => { if (canvas.dataset.frame) note(Number(canvas.dataset.frame), canvas); })
        .observe(canvas, { attributeFilter: ["data-frame"] });
    }
    const video = document.getElementById("live");
    video.defaultPlaybackRate = video.playbackRate = pace;
    const look = (_, { mediaTime }) => {
      note(Math.round(mediaTime * fps), video);
      video.requestVideoFrameCallback(look);
    };
    video.requestVideoFrameCallback(look);
  });
}

const difference = (a, b) => a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0) / a.length;

async function paints(t, { alone }) {
  const server = await Server.start();
  const browser = await launch();
  t.after(async () => { await browser.close(); await server.stop(); });
  const { page, complaints } = await open(browser);
  await page.addInitScript(watchPaint, { size: SMALL, pace: PACE, fps: FPS });
  // What a page may do that did not come safely.
  if (!alone) await page.addInitScript(() => { delete globalThis.VideoDecoder; });
  const id = await begin(page, server.page);
  for (const caption of CAPTIONS) await shoot(page, caption);
  const story = await server.told(id, 3);
  const frames = framesOf(story);
  // Where nothing follows, a player stops somewhere within the last frame.
  await until("the live film is at its last frame", async () => frames - 1 <= await shownFrame(page));
  await page.waitForTimeout(500);

  const film = Buffer.from(await (await fetch(`http://${server.address}/v1/stories/${id}/film.mp4`)).arrayBuffer());
  const path = join(server.folder, "film.mp4");
  await writeFile(path, film);
  assert.equal(await countedFrames(path), frames);
  const pictures = await smallPictures(path, SMALL);
  assert.equal(pictures.length, frames);

  const painted = await page.evaluate(() => globalThis.painted.splice(0));
  const numbers = painted.map(({ frame }) => frame);
  const rising = numbers.every((number, i) => i === 0 || numbers[i - 1] < number);
  assert.ok(rising && numbers[0] === 0 && numbers.at(-1) === frames - 1, `painted: ${numbers}`);
  // What a browser short of time left out must be there all the same, and in its place.
  const leftOut = Array.from({ length: frames }, (_, i) => i).filter((i) => !numbers.includes(i));
  assert.ok(leftOut.length <= (alone ? 0 : frames * MOST_LEFT_OUT), `the browser left out ${leftOut}: this machine is too busy`);
  for (const number of leftOut) {
    await page.evaluate((at) => { document.getElementById("live").currentTime = at; }, (number + 0.1) / FPS);
    const found = await until(`frame ${number} is painted`, () => page.evaluate((wanted) => (
      globalThis.painted.find(({ frame }) => frame === wanted)), number), 10_000);
    painted.splice(number, 0, found);
  }
  assert.deepEqual(painted.map(({ frame }) => frame), Array.from({ length: frames }, (_, i) => i));

  // A picture in another's place would be nearer to that other's frame than to its own.
  const far = [], moved = [];
  painted.forEach(({ grey }, i) => {
    const own = difference(grey, pictures[i]);
    far.push(own);
    pictures.forEach((other, j) => {
      const nearer = difference(grey, other);
      if (nearer < own - 0.5) moved.push(`${i} looks like ${j}: ${nearer.toFixed(2)}, not ${own.toFixed(2)}`);
    });
  });
  assert.deepEqual(moved, []);
  assert.ok(Math.max(...far) < TOLERANCE, `frame ${far.indexOf(Math.max(...far))} differs by ${Math.max(...far)}`);
  // The comparison can tell: one frame too late would be farther away.
  const late = painted.slice(1).reduce((sum, { grey }, i) => sum + difference(grey, pictures[i]), 0);
  const right = painted.slice(1).reduce((sum, { grey }, i) => sum + difference(grey, pictures[i + 1]), 0);
  assert.ok(1.2 * right < late, `${right} in place, ${late} one frame late`);
  t.diagnostic(`${frames} frames, ${leftOut.length} of them not at their time; at most ${Math.max(...far).toFixed(2)} grey levels away; ${(late / right).toFixed(2)} times farther one frame late`);
  assert.deepEqual(complaints, []);
}

it("paints every frame of three shots once, in order, as it is in the film, where it decodes by itself", (t) => paints(t, { alone: true }));

it("does so through a MediaSource", (t) => paints(t, { alone: false }));
