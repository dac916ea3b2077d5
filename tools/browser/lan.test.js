// The studio as a neighbour on the network sees it: over http at a plain IPv4 address, where a
// page is not trusted with the clipboard or `VideoDecoder`.
//
// No other machine is needed: the test runs itself again in a network of its own, whose only
// interface has an address that stands for nobody (192.0.2.0/24 is kept for documentation).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { it } from "node:test";
import { fileURLToPath } from "node:url";

import { CAPTIONS, begin, launch, open, shoot, shownFrame } from "./browser.js";
import { Server, framesOf, until } from "./server.js";

const ADDRESS = "192.0.2.7";

async function visit() {
  const server = await Server.start("--host", ADDRESS, "--open");
  const browser = await launch();
  try {
    const { page, context, complaints } = await open(browser);
    const id = await begin(page, server.page);
    const can = await page.evaluate(() => [isSecureContext, typeof VideoDecoder, typeof navigator.clipboard]);
    assert.deepEqual(can, [false, "undefined", "undefined"]);
    await shoot(page, CAPTIONS[0]);
    const frames = framesOf(await server.told(id, 1));
    assert.match(await page.locator("#live").getAttribute("src"), /^blob:/);
    await until("the shot has played", () => page.evaluate((end) => {
      const video = document.getElementById("live");
      return end - 1 <= video.currentTime * 16 && end <= video.getVideoPlaybackQuality().totalVideoFrames;
    }, frames));

    const asked = page.waitForEvent("dialog");
    const shared = page.locator("#share").click();
    const dialog = await asked;
    const link = dialog.defaultValue();
    await dialog.accept();
    await shared;
    assert.match(link, new RegExp(`^http://${server.address}/watch/${id}\\.`));
    const watcher = await context.newPage();
    await watcher.goto(link);
    await watcher.locator(".shot").waitFor();
    await shoot(page, CAPTIONS[1]);
    await until("the watcher sees it", async () => 40 < await shownFrame(watcher));
    assert.deepEqual(complaints, []);
  } finally {
    await browser.close();
    await server.stop();
  }
}

if (process.argv.includes("--in-own-network")) {
  await visit();
} else {
  it("plays over http at an address of the local network", async (t) => {
    const script = 'ip link set lo up && ip addr add "$0/24" dev lo && exec "$@"';
    const self = fileURLToPath(import.meta.url);
    const own = ["--user", "--map-root-user", "--net", "sh", "-c", script, ADDRESS, process.execPath, self, "--in-own-network"];
    const { NODE_TEST_CONTEXT, ...env } = process.env;
    const child = spawn("unshare", own, { stdio: ["ignore", "pipe", "pipe"], env });
    let said = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (bytes) => { said += bytes; });
    const code = await new Promise((resolve, reject) => { child.once("exit", resolve); child.once("error", reject); });
    assert.equal(code, 0, said);
    t.diagnostic(`at http://${ADDRESS}`);
  });
}
