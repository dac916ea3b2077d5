// What is typed: the next shot, a shot once more, or other words for the one that is being made.

import { $ } from "./views.js";

export class Composer {
  /** @param {() => any} stream how the stream is made; nothing before the server said so */
  constructor(stream) {
    this.stream = stream;
    /** The place of the shot that is taken again. */
    this.retaking = null;
    $("chunks").addEventListener("input", () => this.tellLength());
    $("cancel-retake").addEventListener("click", () => this.stopRetake());
  }

  /** A stream began. */
  begin() {
    $("chunks").value = this.chunksFrom(this.stream().shot_frames);
    this.tellLength();
  }

  /** Take a shot again. @param {number} place @param {any} take */
  retake(place, take) {
    this.retaking = place;
    $("caption").value = take.typed ?? take.caption;
    $("chunks").value = this.chunksFrom(take.frames);
    $("seed").value = "";
    this.tellLength();
    this.tell();
    $("caption").focus();
    $("caption").select();
  }

  stopRetake() {
    this.retaking = null;
    $("caption").value = "";
    $("seed").value = "";
    if (this.stream()) $("chunks").value = this.chunksFrom(this.stream().shot_frames);
    this.tellLength();
    this.tell();
  }

  tell() {
    const again = this.retaking !== null;
    $("composer-label").textContent = again ? `Shot ${this.retaking + 1}, once more` : "Next shot";
    $("composer").classList.toggle("retaking", again);
    $("cancel-retake").hidden = !again;
    $("send").textContent = again ? "Retake" : "Shoot";
  }

  /** Whether words can be given to the shot that is being made. @param {boolean} running */
  offerRewrite(running) {
    $("rewrite").disabled = !running || this.retaking !== null;
  }

  chunksFrom(frames) {
    const [first, later] = this.stream().chunk_frames;
    return Math.round((frames - first) / later) + 1;
  }

  framesFrom(chunks) {
    const [first, later] = this.stream().chunk_frames;
    return first + (chunks - 1) * later;
  }

  tellLength() {
    const stream = this.stream();
    if (!stream) return;
    const frames = this.framesFrom(this.chunks());
    $("length").textContent = `${frames} frames, ${(frames / stream.fps).toFixed(1)} s`;
  }

  chunks() { return Math.max(1, Number($("chunks").value) || 1); }

  /** What is written, as the server wants it. */
  words() {
    const asked = { caption: $("caption").value.trim() };
    const frames = this.framesFrom(this.chunks());
    if (frames !== this.stream().shot_frames) asked.frames = frames;
    if ($("seed").value !== "") asked.seed = Number($("seed").value);
    return asked;
  }
}
