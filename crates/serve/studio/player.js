// The live film, in the best way this page can show it.

import { CanvasPlayer, canDecode } from "./canvas.js";

const KEEP_BEHIND_SECS = 20;
const TOLERANCE_SECS = 0.08;
const ARRIVALS = 64;
const PATIENCE_MS = 2000;

let decodes = await canDecode();

/** How the pictures should come. */
export const format = () => (decodes ? "h264" : "fmp4");

/**
 * What shows a stream. A browser that said it decodes, and then does not, is to connect `again`.
 * @param {HTMLCanvasElement} canvas @param {HTMLVideoElement} video
 * @param {{size: number[], fps: number, codec: string, frame: number}} stream @param {() => void} again
 */
export function playerFor(canvas, video, stream, again) {
  canvas.hidden = !decodes;
  video.hidden = decodes;
  if (!decodes) return new SourcePlayer(video, stream);
  return new CanvasPlayer(canvas, stream, () => { decodes = false; again(); });
}

/** Fragments of an MP4, appended to a MediaSource: works on any page; the clock is the browser's. */
class SourcePlayer {
  /** @param {HTMLVideoElement} video @param {{size: number[], fps: number, codec: string}} stream */
  constructor(video, stream) {
    this.video = video;
    this.fps = stream.fps;
    this.queue = [];
    /** Frame after the newest one that came. */
    this.end = stream.frame;
    /** When the fragments that begin with a frame came. */
    this.arrived = new Map();
    this.jumpTo = null;
    this.source = new MediaSource();
    this.url = URL.createObjectURL(this.source);
    video.src = this.url;
    this.ready = new Promise((resolve) => this.source.addEventListener("sourceopen", resolve, { once: true }))
      .then(() => {
        this.buffer = this.source.addSourceBuffer(`video/mp4; codecs="${stream.codec}"`);
        this.buffer.addEventListener("updateend", () => { this.place(); this.pump(); });
        this.pump();
      });
    this.timer = setInterval(() => this.place(), 50);
  }

  /** @param {import("./line.js").Media} media */
  push(media) {
    this.queue.push(media.bytes);
    if (media.kind === 3) this.arrived.set(media.frame, performance.now());
    while (ARRIVALS < this.arrived.size) this.arrived.delete(this.arrived.keys().next().value);
    this.pump();
  }

  /** Milliseconds from a fragment's arrival to when its first frame can be shown; null if it never can. @param {number} frame */
  whenPlayable(frame) {
    const arrived = this.arrived.get(frame);
    const wanted = frame / this.fps;
    return new Promise((resolve) => {
      const look = () => {
        const ranges = this.video.buffered;
        const took = performance.now() - arrived;
        for (let i = 0; i < ranges.length; i++) {
          if (ranges.start(i) <= wanted + 0.01 && wanted < ranges.end(i)) return resolve(took);
        }
        if (took < PATIENCE_MS) setTimeout(look, 4);
        else resolve(null);
      };
      if (arrived === undefined) resolve(null);
      else look();
    });
  }

  /** The stream now reaches up to this frame. */
  reaches(frame) { this.end = Math.max(this.end, frame); }

  pump() {
    const { buffer } = this;
    if (!buffer || buffer.updating || this.source.readyState !== "open") return;
    const behind = this.video.currentTime - KEEP_BEHIND_SECS;
    if (buffer.buffered.length && buffer.buffered.start(0) < behind - 10) return buffer.remove(0, behind);
    const next = this.queue.shift();
    if (next) buffer.appendBuffer(next);
  }

  /** Start where there is something to see, step over gaps, and jump where asked. */
  place() {
    const { video, buffer } = this;
    if (!buffer || !buffer.buffered.length) return;
    const ranges = buffer.buffered;
    const at = video.currentTime;
    if (this.jumpTo !== null && ranges.end(ranges.length - 1) > this.jumpTo / this.fps + 0.01) {
      video.currentTime = this.jumpTo / this.fps + 0.001;
      this.jumpTo = null;
    } else {
      let inside = false;
      let ahead = null;
      for (let i = 0; i < ranges.length; i++) {
        if (ranges.start(i) - 0.001 <= at && at < ranges.end(i) - 0.001) inside = true;
        if (at < ranges.start(i) && ahead === null) ahead = ranges.start(i);
      }
      if (!inside && ahead !== null) video.currentTime = ahead + 0.001;
    }
    if (video.paused) video.play().catch(() => {});
  }

  /** Show this frame as soon as it is there; what lies before it is not shown. @param {number} frame */
  jump(frame) { this.jumpTo = frame; this.place(); }

  /** Frames that were shown, or will never be. */
  get shown() {
    if (this.jumpTo !== null) return this.jumpTo;
    const at = (this.video.currentTime + TOLERANCE_SECS) * this.fps;
    return Math.max(0, Math.min(this.end, Math.floor(at)));
  }

  /** Seconds of the stream that were shown. */
  get time() { return this.video.currentTime; }

  /** What is seen before the first picture. @param {string} address */
  poster(address) { this.video.poster = address; }

  close() {
    clearInterval(this.timer);
    this.video.removeAttribute("src");
    this.video.load();
    URL.revokeObjectURL(this.url);
  }
}
