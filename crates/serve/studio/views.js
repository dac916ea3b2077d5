// Parts of the page, each drawn from the state it is given.

import { filmOf, madeOf, percentile, takesOfShot } from "./store.js";

/** An element with attributes and children. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

export const $ = (id) => document.getElementById(id);

const seconds = (frames, fps) => `${(frames / fps).toFixed(1)} s`;

/** What the model reads of a shot, with the words it does not know marked. */
export function drawPrompt(home, { prompt, unknown_words: unknown, dropped_tokens: dropped }, global) {
  const words = prompt.startsWith(global) ? prompt.slice(global.length).replace(/^shot\d+:/, "") : prompt;
  home.replaceChildren();
  for (const piece of words.split(/(\s+)/)) {
    const bare = piece.replace(/[^\p{L}\p{N}-]/gu, "").toLowerCase();
    const strange = bare && unknown.some((it) => it.toLowerCase() === bare);
    home.append(strange ? el("mark", { title: "the model does not know this word" }, piece) : piece);
  }
  if (dropped) home.append(el("span", { class: "soft" }, ` — the last ${dropped} tokens are not read`));
}

/** The storyboard: one card a shot. Focus stays where it was. */
export function drawBoard(list, state, does, watching) {
  const { story, stream, running } = state;
  const film = filmOf(story);
  const cards = film.map((take, place) => card(take, place, state, does));
  const focused = document.activeElement?.closest?.(".shot");
  const at = focused ? [...list.children].indexOf(focused) : -1;
  const part = document.activeElement?.dataset?.part;
  const grew = list.children.length < cards.length;
  list.replaceChildren(...cards);
  if (0 <= at && cards[Math.min(at, cards.length - 1)]) {
    const again = cards[Math.min(at, cards.length - 1)];
    (part && again.querySelector(`[data-part="${part}"]`) || again.querySelector("button"))?.focus({ preventScroll: true });
  }
  if (grew) list.scrollLeft = list.scrollWidth;
  const frames = film.reduce((sum, take) => sum + madeOf(take), 0);
  $("board-sum").textContent = film.length
    ? `${film.length} ${film.length === 1 ? "shot" : "shots"} · ${seconds(frames, stream.fps)}` : "";
  $("play-film").hidden = frames === 0;
  $("remake").hidden = watching || story.stale.length === 0;
  if (running) $("board").setAttribute("aria-busy", "true");
  else $("board").removeAttribute("aria-busy");
}

function card(take, place, state, does) {
  const { story, running, stream } = state;
  const stale = story.stale.includes(place);
  const isRunning = running?.take === take.take;
  const made = isRunning ? Math.max(running.made, 0) : madeOf(take);
  const picture = take.candidates[0]?.picture ?? take.chunks[0]?.picture;
  const siblings = takesOfShot(story, take);
  const number = place + 1;
  const failed = take.state === "failed";
  const card = el("li", { class: `shot${stale ? " stale" : ""}${does.viewed === take.take ? " seen" : ""}`, "data-place": place });
  const share = Math.min(100, (100 * made) / Math.max(1, take.frames));
  const fill = el("i");
  fill.style.width = `${share}%`;
  card.append(
    el("button", {
      class: "pictures", "data-part": "play", disabled: !picture,
      "aria-label": `Shot ${number}, ${failed ? "failed" : stateWords(take, isRunning)}: ${take.caption}. Play it`,
      onclick: () => does.play(take.take),
    },
      picture ? el("img", { src: does.picture(picture), alt: "", loading: "lazy" }) : el("span", { class: "waits" }, failed ? "could not be made" : isRunning ? "being made" : "waits"),
      el("span", { class: "number" }, `${number}`),
      isRunning ? el("span", { class: "fill" }, fill) : null,
    ),
    el("p", { class: "words", title: take.caption }, take.caption),
    ...(take.then ?? []).map((it) => el("p", { class: "note then", title: it.caption }, `from chunk ${it.after_chunks + 1}: ${it.caption}`)),
  );
  if (stale) card.append(el("p", { class: "note" }, "rests on an older take"));
  if (failed) card.append(el("p", { class: "note bad" }, take.reason ?? "failed"));
  const shown = el("div", { class: "takes", role: "group", "aria-label": `Takes of shot ${number}` });
  if (1 < siblings.length) {
    siblings.forEach((it, index) => shown.append(el("button", {
      "aria-pressed": it.take === take.take ? "true" : "false", "data-part": `take${index + 1}`,
      title: it.caption, "aria-label": `Take ${index + 1}${it.take === take.take ? ", in the film" : ""}`,
      onclick: () => does.choose(it.take),
    }, letter(index))));
  }
  shown.append(el("span", { class: "soft" }, take.state === "finished" ? seconds(madeOf(take), stream.fps) : ""));
  card.append(shown, el("div", { class: "does" },
    el("button", { "data-part": "retake", title: "Take it again (R)", "aria-label": `Take shot ${number} again`, onclick: () => does.retake(place) }, "Retake"),
    el("button", { "data-part": "branch", title: "Go on from here (B)", "aria-label": `Branch after shot ${number}`, disabled: place + 1 === story.line.length, onclick: () => does.branch(place) }, "Branch"),
  ));
  return card;
}

const letter = (index) => (index < 26 ? String.fromCharCode(65 + index) : `${index + 1}`);

function stateWords(take, isRunning) {
  if (isRunning) return "being made";
  return take.state === "finished" ? `${take.frames} frames` : "waiting";
}

const WORDS = {
  first: "first frame", cut: "cut", text: "text", context: "context", denoise: "denoise step", commit: "commit",
  decode: "decode", remember: "remember", encode: "encode, save", transport: "into the player",
};

/** The truth meter: what every stage really took. */
export function drawMeter(list, state) {
  const rows = [];
  const own = (name, values) => values.length && rows.push({ name, p50: percentile(values, 50), p95: percentile(values, 95) });
  own("first", state.first);
  own("cut", state.cuts);
  for (const { stage, p50_ms, p95_ms } of state.stages) {
    if (stage !== "encode") rows.push({ name: stage, p50: p50_ms, p95: p95_ms });
  }
  own("encode", state.save);
  own("transport", state.transport);
  const longest = Math.max(1, ...rows.map((row) => row.p95));
  list.replaceChildren(...rows.flatMap(({ name, p50, p95 }) => {
    const [far, near] = [el("i"), el("i")];
    far.style.width = `${(100 * p95) / longest}%`;
    near.style.width = `${(100 * p50) / longest}%`;
    return [el("dt", {}, WORDS[name] ?? name), el("dd", { class: "trace", "aria-hidden": "true" }, far, near),
      el("dd", {}, `${millis(p50)} · ${millis(p95)}`)];
  }));
  if (!rows.length) list.replaceChildren(el("dt", {}, "nothing was made yet"), el("dd"));
}

const millis = (value) => (value < 10 ? `${value.toFixed(1)} ms` : value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(2)} s`);

/** The shelf of stories. */
export function drawShelf(list, stories, remove) {
  list.replaceChildren(...stories.map((story) => el("li", {},
    el("a", { href: `/#${story.id}` },
      story.picture ? el("img", { class: "thumb", src: `/v1/stories/${story.id}/pictures/${story.picture}`, alt: "" }) : el("span", { class: "thumb" }),
      el("strong", {}, story.title || "Untitled"),
      el("small", {}, `${story.shots} ${story.shots === 1 ? "shot" : "shots"} · ${new Date(story.created_at * 1000).toLocaleDateString()}`)),
    el("button", { "aria-label": `Remove ${story.title || "Untitled"}`, title: "Remove", onclick: () => remove(story) }, "×"))));
}
