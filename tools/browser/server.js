// A server of a test's own: the real program over a folder that is thrown away.

import { spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

export const PROGRAM = resolve(process.env.SHOTSTREAM ?? fileURLToPath(new URL("../../target/release/shotstream", import.meta.url)));
const LONGEST_START_MS = 60_000;

/** Longer than anything here takes, shorter than anyone waits. */
export const PATIENCE_MS = 90_000;

/** Wait until something holds, and give what it gave. @param {string} what @param {() => any} check */
export async function until(what, check, patience = PATIENCE_MS) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await check();
    if (found) return found;
    if (end < Date.now()) throw new Error(`waited ${patience / 1000} s in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 40));
  }
}

export class Server {
  /** @param {string[]} options of `shotstream serve` */
  static async start(...options) {
    const server = new Server();
    server.folder = await mkdtemp(join(tmpdir(), "shotstream-"));
    server.options = options;
    server.address = await server.#run("0");
    return server;
  }

  async #run(port) {
    const fixed = ["serve", "--port", port, "--stories", join(this.folder, "stories"), "--sessions", "2"];
    this.child = spawn(PROGRAM, [...fixed, ...this.options], { stdio: ["ignore", "ignore", "pipe"] });
    this.gone = new Promise((resolve) => this.child.once("exit", resolve));
    const said = [];
    const lines = createInterface(this.child.stderr);
    const address = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      lines.on("line", (line) => {
        said.push(line);
        const found = /at http:\/\/([^,]+),/.exec(line);
        if (found) resolve(found[1]);
      });
      lines.once("close", () => reject(new Error(`the server did not start: ${said.join("\n")}`)));
      setTimeout(() => reject(new Error("the server does not start")), LONGEST_START_MS).unref();
    });
    return address;
  }

  /** Where the studio is. */
  get page() { return `http://${this.address}/`; }

  /** What the server answers. @param {string} path */
  async json(path, options) {
    const answer = await fetch(`http://${this.address}${path}`, options);
    if (!answer.ok) throw new Error(`${path}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }

  /** A story as the server tells it. @param {string} id */
  story(id) { return this.json(`/v1/stories/${id}`); }

  /** The story once every take of its film is finished. @param {string} id @param {number} shots */
  async told(id, shots) {
    return until(`${shots} shots are told`, async () => {
      const story = await this.story(id);
      const done = story.line.length === shots && story.line.every((take) => story.takes[take - 1].state === "finished");
      return done && story;
    });
  }

  /** As the kernel does when memory runs out; the stories stay. */
  async kill() {
    this.child.kill("SIGKILL");
    await this.gone;
  }

  /** Start again where it was. */
  async again() { await this.#run(this.address.split(":").at(-1)); }

  async stop() {
    this.child.kill("SIGTERM");
    const late = setTimeout(() => this.child.kill("SIGKILL"), 25_000);
    await this.gone;
    clearTimeout(late);
    await rm(this.folder, { recursive: true, force: true });
  }
}

/** Frames of the film so far. */
export const framesOf = (story) => story.line
  .flatMap((take) => story.takes[take - 1].chunks)
  .reduce((sum, chunk) => sum + chunk.frames, 0);
