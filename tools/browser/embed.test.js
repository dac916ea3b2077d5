// `examples/clients/embed.html` on a page of somebody else shows a story by its watch link.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { it } from "node:test";

import { CAPTIONS, begin, launch, open, shoot } from "./browser.js";
import { Server, until } from "./server.js";

it("shows the film while nobody directs, and the live story once somebody does", async (t) => {
  const html = await readFile(new URL("../../examples/clients/embed.html", import.meta.url));
  const elsewhere = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(html));
  await new Promise((resolve) => elsewhere.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${elsewhere.address().port}`;
  const server = await Server.start("--origin", origin, "--linger", "1");
  const browser = await launch();
  t.after(async () => { await browser.close(); await server.stop(); elsewhere.close(); });

  const { page: studio } = await open(browser);
  const id = await begin(studio, server.page);
  await shoot(studio, CAPTIONS[0]);
  await server.told(id, 1);
  const told = studio.url();
  await studio.goto(server.page);
  const { path } = await server.json(`/v1/stories/${id}/watch`, { method: "POST" });
  await until("the slot is free", async () => {
    const metrics = await (await fetch(`${server.page}metrics`)).text();
    return /^shotstream_sessions_active 0$/m.test(metrics);
  });

  const page = await (await browser.newContext()).newPage();
  await page.goto(`${origin}/?${encodeURIComponent(new URL(path, server.page).href)}`);
  const video = (look) => page.locator("video").evaluate(look);
  await until("the film plays", () => video((it) => it.src.endsWith("/film.mp4") && 0.3 < it.currentTime && 0 < it.videoWidth));

  await studio.goto(told);
  await studio.locator("#line-state", { hasText: "connected" }).waitFor();
  await until("it listens to the live story", async () => {
    const metrics = await (await fetch(`${server.page}metrics`)).text();
    return /^shotstream_viewers 2$/m.test(metrics);
  });
  await shoot(studio, CAPTIONS[1]);
  await server.told(id, 2);
  await until("the live story plays", () => video((it) => it.src.startsWith("blob:") && 1.5 < it.currentTime));
  const shown = await video((it) => it.getVideoPlaybackQuality().totalVideoFrames);
  assert.ok(20 < shown, `${shown} frames`);
});
