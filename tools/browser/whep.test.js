// A page of somebody else plays a live story over WebRTC, as any WHEP player would.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { it } from "node:test";

import { CAPTIONS, begin, launch, open, shoot } from "./browser.js";
import { PROGRAM, Server, framesOf, until } from "./server.js";

const built = spawnSync(PROGRAM, ["serve", "--help"], { encoding: "utf8" }).stdout.includes("--whep-address");

it("plays a story over WebRTC", { skip: built ? false : "the program is built without whep" }, async (t) => {
  const server = await Server.start();
  const browser = await launch();
  t.after(async () => { await browser.close(); await server.stop(); });
  const { page: studio, context } = await open(browser);
  const id = await begin(studio, server.page);
  const { token } = await server.json(`/v1/stories/${id}/watch`, { method: "POST" });

  const page = await context.newPage();
  await page.goto(`${server.page}healthz`);
  const answered = await page.evaluate(async (path) => {
    const video = Object.assign(document.createElement("video"), { muted: true, autoplay: true });
    document.body.append(video);
    window.seen = [];
    const see = (now, { presentedFrames, mediaTime }) => {
      window.seen.push([presentedFrames, mediaTime]);
      video.requestVideoFrameCallback(see);
    };
    video.requestVideoFrameCallback(see);
    const line = new RTCPeerConnection();
    line.addTransceiver("video", { direction: "recvonly" });
    line.ontrack = ({ streams, track }) => { video.srcObject = streams[0] ?? new MediaStream([track]); };
    await line.setLocalDescription();
    const headers = { "content-type": "application/sdp" };
    const answer = await fetch(path, { method: "POST", headers, body: line.localDescription.sdp });
    await line.setRemoteDescription({ type: "answer", sdp: await answer.text() });
    window.leave = () => fetch(answer.headers.get("location"), { method: "DELETE" });
    window.stats = async () => {
      const all = [...(await line.getStats()).values()];
      return all.find((it) => it.type === "inbound-rtp");
    };
    await new Promise((resolve) => {
      line.onconnectionstatechange = () => line.connectionState === "connected" && resolve();
    });
    return answer.status;
  }, `/v1/watch/${token}/whep`);
  assert.equal(answered, 201);

  await shoot(studio, CAPTIONS[0]);
  const frames = framesOf(await server.told(id, 1));
  await until("every frame has come", async () => frames <= (await page.evaluate(() => window.stats())).framesDecoded);
  const { framesDecoded, framesDropped, freezeCount } = await page.evaluate(() => window.stats());
  assert.equal(framesDecoded, frames);
  const seen = await page.evaluate(() => window.seen.length);
  t.diagnostic(`${framesDecoded} frames decoded, ${framesDropped} dropped, ${seen} seen, ${freezeCount} freezes`);
  if (process.env.PICTURES) await page.screenshot({ path: `${process.env.PICTURES}/whep.png` });
  assert.equal((await page.evaluate(async () => (await window.leave()).status)), 200);
});
