// What the page knows, and how each event changes it. No DOM in here.

/** What the page knows before anything is said. */
export const nothing = () => ({
  stream: null, story: null, running: null, first: [], cuts: [], save: [], stages: [], transport: [],
});

const KEPT = 200;

/** The state after an event. @param {any} state @param {any} event */
export function reduce(state, event) {
  switch (event.type) {
    case "session.created":
      return { ...state, stream: event.stream, story: event.story, running: null };
    case "story.updated":
      return { ...state, story: event.story };
    case "take.started":
      return { ...state, running: { ...event, made: 0 } };
    case "chunk.made": {
      const { take, chunk, frames, rgb, picture, timings } = event;
      const made = { frames, rgb, picture };
      const story = withTake(state.story, take, (it) => {
        const chunks = it.chunks.slice();
        chunks[chunk] = { ...chunks[chunk], ...made };
        return { ...it, chunks };
      });
      const running = state.running?.take === take
        ? { ...state.running, made: state.running.made + frames } : state.running;
      const first = timings.first_frame_ms === undefined ? state.first : keep(state.first, timings.first_frame_ms);
      return { ...state, story, running, first, save: keep(state.save, timings.save_ms), stages: timings.stages };
    }
    case "prompt.updated": {
      const { take, chunk: after_chunks, caption } = event;
      const rewrite = { after_chunks, caption };
      const story = withTake(state.story, take, (it) => {
        const before = (it.then ?? []).filter((other) => other.after_chunks !== after_chunks);
        return { ...it, then: [...before, rewrite] };
      });
      return { ...state, story };
    }
    case "take.finished":
    case "take.failed":
      return { ...state, running: state.running?.take === event.take ? null : state.running };
    default:
      return state;
  }
}

/** A list with one more value, the oldest dropped. */
export const keep = (list, value) => [...list.slice(1 - KEPT), value];

function withTake(story, take, change) {
  return { ...story, takes: story.takes.map((it) => (it.take === take ? change(it) : it)) };
}

/** The takes of the film. */
export const filmOf = (story) => story.line.map((take) => story.takes[take - 1]);

/** Every take of the same shot after the same take, or in the same place of the film. */
export function takesOfShot(story, take) {
  return story.takes.filter((it) => it.shot === take.shot && (it.parent === take.parent || it.take === take.take));
}

/** The picture of a remembered frame. */
export function pictureOf(story, { take, frame }) {
  return story.takes[take - 1]?.candidates.find((it) => it.frame === frame)?.picture;
}

/** Frames of a take so far. */
export const madeOf = (take) => take.chunks.reduce((sum, chunk) => sum + chunk.frames, 0);

/** The value that so many of 100 do not exceed. */
export function percentile(values, percent) {
  if (!values.length) return null;
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil((sorted.length * percent) / 100) - 1)];
}
