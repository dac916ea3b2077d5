// The line to the server: JSON both ways, pictures one way, open again by itself.

/**
 * @typedef {object} Media
 * @property {number} kind 1 access unit, 2 header of the MP4, 3 fragment
 * @property {boolean} key
 * @property {boolean} first
 * @property {number} take
 * @property {number} chunk
 * @property {number} frame
 * @property {Uint8Array} bytes
 */

const HEADER_BYTES = 32;
const LONGEST_WAIT_MS = 8000;

/** Read a binary message. @param {ArrayBuffer} buffer @returns {Media} */
export function mediaFrom(buffer) {
  const view = new DataView(buffer);
  const flags = view.getUint16(2, true);
  return {
    kind: view.getUint8(1),
    key: (flags & 1) !== 0,
    first: (flags & 2) !== 0,
    take: view.getUint32(8, true),
    chunk: view.getUint32(12, true),
    frame: Number(view.getBigUint64(16, true)),
    bytes: new Uint8Array(buffer, HEADER_BYTES),
  };
}

export class Line {
  /**
   * @param {string} path
   * @param {{said: (event: any) => void, media: (media: Media) => void, state: (state: string, reason?: string) => void}} on
   */
  constructor(path, on) {
    this.path = path;
    this.on = on;
    this.attempt = 0;
    this.waiting = new Map();
    this.next = 1;
    this.closed = false;
    this.open();
  }

  open() {
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(`${scheme}//${location.host}${this.path}`, ["shotstream.v1"]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.refusal = "";
    this.on.state("connecting");
    socket.onopen = () => { this.attempt = 0; this.on.state("open"); };
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return this.on.media(mediaFrom(data));
      const event = JSON.parse(data);
      const answered = event.event_id && this.waiting.get(event.event_id);
      if (answered) {
        this.waiting.delete(event.event_id);
        event.type === "done" ? answered.resolve() : answered.reject(new Error(event.error.message));
        return;
      }
      if (event.type === "error") this.refusal = event.error.message;
      this.on.said(event);
    };
    socket.onclose = () => {
      for (const { reject } of this.waiting.values()) reject(new Error("the line broke"));
      this.waiting.clear();
      if (this.closed) return;
      this.on.state("closed", this.refusal);
      const wait = Math.min(LONGEST_WAIT_MS, 250 * 2 ** this.attempt++);
      setTimeout(() => this.open(), wait * (0.75 + Math.random() / 2));
    };
  }

  /** Ask for something; resolves when it is done. @param {object} ask */
  ask(ask) {
    const event_id = `e${this.next++}`;
    return new Promise((resolve, reject) => {
      if (this.socket.readyState !== WebSocket.OPEN) return reject(new Error("there is no line to the server"));
      this.waiting.set(event_id, { resolve, reject });
      this.socket.send(JSON.stringify({ ...ask, event_id }));
    });
  }

  /** Tell something that has no answer. @param {object} ask */
  tell(ask) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(JSON.stringify(ask));
  }
}
