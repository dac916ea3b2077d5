// The live film where the browser decodes by itself: access units through a VideoDecoder onto a
// canvas. Quicker to a first picture than MediaSource, and every picture is shown once, in order.

const ARRIVALS = 64;
const DECODED_AHEAD = 32;
const PATIENCE_MS = 2000;
/** A clock that is so far behind begins anew instead of hurrying. */
const TOO_LATE_MS = 400;
/** Pages in the background have no animation frames. */
const BACKGROUND_MS = 500;

const settings = (codec) => ({ codec, optimizeForLatency: true, hardwareAcceleration: "prefer-software" });

/** Whether this browser, on this page, decodes by itself: only pages that came safely may. */
export async function canDecode(codec = "avc1.42C01E") {
  if (!("VideoDecoder" in window)) return false;
  const { supported } = await VideoDecoder.isConfigSupported(settings(codec)).catch(() => ({ supported: false }));
  return supported === true;
}

export class CanvasPlayer {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {{size: number[], fps: number, codec: string, frame: number}} stream
   * @param {() => void} failed
   */
  constructor(canvas, stream, failed) {
    this.canvas = canvas;
    this.fps = stream.fps;
    this.pen = canvas.getContext("2d", { alpha: false });
    [canvas.width, canvas.height] = stream.size;
    /** Frame after the newest one that came. */
    this.end = stream.frame;
    /** Frame after the one that is shown. */
    this.next = 0;
    /** When the next one is due. */
    this.due = 0;
    this.jumpTo = null;
    this.arrived = new Map();
    this.waiting = new Map();
    this.coded = [];
    /** @type {VideoFrame[]} */ this.decoded = [];
    this.begun = false;
    this.decoder = new VideoDecoder({ output: (picture) => this.take(picture), error: () => { if (!this.closed) failed(); } });
    this.decoder.configure(settings(stream.codec));
    const tick = () => { this.show(1); this.frame = requestAnimationFrame(tick); };
    tick();
    this.timer = setInterval(() => { if (document.hidden) this.show(Infinity); }, BACKGROUND_MS);
  }

  /** @param {import("./line.js").Media} media */
  push(media) {
    if (media.key) this.arrived.set(media.frame, performance.now());
    while (ARRIVALS < this.arrived.size) this.arrived.delete(this.arrived.keys().next().value);
    // Decoding can only begin with a key frame.
    if (!this.begun && !media.key) return;
    this.begun = true;
    this.coded.push(media);
    this.feed();
  }

  feed() {
    while (this.coded.length && this.decoded.length + this.decoder.decodeQueueSize < DECODED_AHEAD) {
      const { key, frame, bytes } = this.coded.shift();
      const timestamp = Math.round((frame * 1e6) / this.fps);
      this.decoder.decode(new EncodedVideoChunk({ type: key ? "key" : "delta", timestamp, data: bytes }));
    }
  }

  /** @param {VideoFrame} picture */
  take(picture) {
    const frame = this.index(picture);
    this.waiting.get(frame)?.();
    this.waiting.delete(frame);
    this.decoded.push(picture);
    if (this.decoded.length === 1) this.show(1);
  }

  index(picture) { return Math.round((picture.timestamp * this.fps) / 1e6); }

  /** Show what is due, at most so many pictures; only the last is painted. @param {number} most */
  show(most) {
    const now = performance.now();
    if (this.jumpTo !== null) this.leap(now);
    let picture = null;
    for (let shown = 0; shown < most && this.decoded.length && this.due <= now; shown++) {
      picture?.close();
      picture = this.decoded.shift();
      this.next = this.index(picture) + 1;
      this.due = (now - this.due < TOO_LATE_MS || most > 1 ? this.due : now) + 1000 / this.fps;
    }
    if (!picture) return;
    this.pen.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height);
    this.canvas.dataset.frame = String(this.next - 1);
    picture.close();
    this.feed();
  }

  /** Leave out everything before the frame that was asked for. */
  leap(now) {
    while (this.decoded.length && this.index(this.decoded[0]) < this.jumpTo) this.decoded.shift().close();
    if (!this.decoded.length) { this.feed(); return; }
    this.jumpTo = null;
    this.due = now;
  }

  /** Milliseconds from a picture's arrival to when it can be shown; null if it never can. @param {number} frame */
  whenPlayable(frame) {
    const arrived = this.arrived.get(frame);
    const known = this.next > frame || this.decoded.some((picture) => this.index(picture) === frame);
    if (arrived === undefined || known) return Promise.resolve(known && arrived !== undefined ? performance.now() - arrived : null);
    return new Promise((resolve) => {
      this.waiting.set(frame, () => resolve(performance.now() - arrived));
      setTimeout(() => resolve(null), PATIENCE_MS);
    });
  }

  /** The stream now reaches up to this frame. */
  reaches(frame) { this.end = Math.max(this.end, frame); }

  /** Show this frame as soon as it is there; what lies before it is not shown. @param {number} frame */
  jump(frame) { this.jumpTo = frame; this.show(1); }

  /** Frames that were shown, or will never be. */
  get shown() { return this.jumpTo ?? Math.min(this.end, this.next); }

  /** Seconds of the stream that were shown. */
  get time() { return this.next / this.fps; }

  /** What is seen before the first picture. @param {string} address */
  poster(address) {
    const picture = new Image();
    picture.onload = () => { if (!this.next) this.pen.drawImage(picture, 0, 0, this.canvas.width, this.canvas.height); };
    picture.src = address;
  }

  close() {
    this.closed = true;
    cancelAnimationFrame(this.frame);
    clearInterval(this.timer);
    if (this.decoder.state !== "closed") this.decoder.close();
    this.decoded.forEach((picture) => picture.close());
    this.decoded = [];
    delete this.canvas.dataset.frame;
  }
}
