// How every page looks at three sizes and in both schemes: it fits, and the browser complains of
// nothing. With PICTURES set, the pages are left there as PNG.

import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";

import { CAPTIONS, begin, launch, open, shoot, shownFrame } from "./browser.js";
import { Server, until } from "./server.js";

const SIZES = [[1440, 900], [820, 1180], [390, 844]];
const SCHEMES = ["light", "dark"];
const KEY = "a-key-of-some-length";
const { PICTURES } = process.env;

describe("every page", () => {
  let server, guarded, browser;

  before(async () => {
    if (PICTURES) await mkdir(PICTURES, { recursive: true });
    server = await Server.start();
    browser = await launch();
  });
  after(async () => {
    await browser?.close();
    await server?.stop();
    await guarded?.stop();
  });

  /** It is no wider than the window, and no text is cut off by its own control. */
  async function fits(page, name) {
    const wide = await page.evaluate(() => {
      const over = document.documentElement.scrollWidth - innerWidth;
      const cut = [...document.querySelectorAll("button, summary, h1, h2, label")]
        .filter((it) => it.checkVisibility() && !it.matches(".unseen") && it.clientWidth + 1 < it.scrollWidth)
        .map((it) => it.textContent.trim());
      return { over, cut };
    });
    assert.deepEqual(wide, { over: 0, cut: [] }, name);
  }

  async function keep(page, name) {
    await fits(page, name);
    if (!PICTURES) return;
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: join(PICTURES, `${name}.png`) });
    await page.screenshot({ path: join(PICTURES, `${name}-whole.png`), fullPage: true });
  }

  /** The story all pictures show. */
  let id;
  async function told() {
    if (id) return;
    const { page, context } = await open(browser);
    id = await begin(page, server.page);
    for (const caption of CAPTIONS) await shoot(page, caption);
    await server.told(id, 3);
    await context.close();
    // A story without a director keeps its slot for a while; the file of it does not.
    const file = await (await fetch(`${server.page}v1/stories/${id}/story.shotstory`)).arrayBuffer();
    await server.json(`/v1/stories/${id}`, { method: "DELETE" });
    await server.json("/v1/stories/import", { method: "POST", body: file });
  }

  for (const [width, height] of SIZES) {
    for (const scheme of SCHEMES) {
      it(`looks right at ${width}×${height}, ${scheme}`, async (t) => {
        await told();
        const size = `${width}x${height}-${scheme}`;
        const options = { viewport: { width, height }, colorScheme: scheme, hasTouch: width < 900 };
        const { page, context, complaints } = await open(browser, options);
        t.after(() => context.close());
        await page.goto(server.page);
        await page.locator("#stories li").first().waitFor();
        await page.waitForLoadState("networkidle");
        await keep(page, `home-${size}`);

        const story = await begin(page, server.page);
        t.after(() => server.json(`/v1/stories/${story}`, { method: "DELETE" }));
        await keep(page, `empty-${size}`);
        await shoot(page, `${CAPTIONS[0]} It sneezes.`);
        for (const caption of CAPTIONS.slice(1)) await shoot(page, caption);
        await until("the third shot runs", async () => (await server.story(story)).takes[2]?.chunks.length);
        await page.waitForTimeout(300);
        await keep(page, `running-${size}`);
        await server.told(story, 3);
        await page.locator("#candidates button").first().click();
        await page.locator("#pins button").waitFor();
        await until("the film is at its end", async () => 98 <= await shownFrame(page));
        await keep(page, `told-${size}`);
        await page.locator("#pins button").click();
        await page.getByRole("button", { name: "Take shot 2 again" }).click();
        await keep(page, `retake-${size}`);
        await shoot(page, "Medium shot: the fox jumps at noon.");
        await until("there are four takes", async () => (await server.story(story)).takes[3]?.state === "finished");
        await page.locator("#candidates button").first().click();
        await page.locator("#pins button").waitFor();
        await keep(page, `studio-${size}`);
        await page.locator("#export > summary").click();
        await keep(page, `export-${size}`);
        await page.locator("#export > summary").click();
        await page.locator("#help-open").click();
        await keep(page, `help-${size}`);
        await page.keyboard.press("Escape");
        const { path } = await server.json(`/v1/stories/${story}/watch`, { method: "POST" });
        await page.goto(new URL(path, server.page).href);
        await page.locator(".shot").first().waitFor();
        await page.waitForLoadState("networkidle");
        await keep(page, `watch-${size}`);
        assert.deepEqual(complaints, []);
      });
    }
  }

  it("asks for a key where the server has keys, and lets in who has one", async () => {
    const keys = join(server.folder, "keys");
    await writeFile(keys, `${KEY}\n`);
    guarded = await Server.start("--keys", keys);
    const { page, complaints } = await open(browser, { viewport: { width: 390, height: 844 } });
    await page.goto(guarded.page);
    await page.locator("#login").waitFor({ state: "visible" });
    await keep(page, "login");
    assert.deepEqual(complaints.splice(0).filter((it) => !it.includes("401")), []);
    await page.locator('input[name="key"]').fill(KEY);
    await page.keyboard.press("Enter");
    await page.locator("#home").waitFor({ state: "visible" });
    assert.deepEqual(complaints, []);
  });
});
