// The studio: what is typed goes out, what is made comes in, everything else is drawn from it.

import { Composer } from "./composer.js";
import { Line } from "./line.js";
import { drawMemory, heldBy, useMemory } from "./memory.js";
import { format, playerFor } from "./player.js";
import { drawTree } from "./tree.js";
import { $, drawBoard, drawMeter, drawPrompt, drawShelf } from "./views.js";
import { KeyNeeded, announce, fetched, toast } from "./say.js";
import { filmOf, keep, nothing, reduce, takesOfShot } from "./store.js";

const REPORT_MS = 100;

const watchToken = location.pathname.startsWith("/watch/") ? location.pathname.slice("/watch/".length) : null;
let state = nothing();
/** @type {Line | null} */ let line = null;
/** @type {ReturnType<typeof playerFor> | null} */ let player = null;
let storyId = null;
let viewed = null;
const composer = new Composer(() => state.stream);
let jumpToNext = false;
let cutAt = null;

async function ask(what) {
  try {
    await line?.ask(what);
    return true;
  } catch (error) {
    toast(error.message);
    return false;
  }
}

/** Something that may fail, and then is said. */
async function trying(work) {
  try {
    await work();
  } catch (error) {
    if (error instanceof KeyNeeded) askForKey();
    else toast(error.message);
  }
}

// --- Pages ---

function show(page) {
  for (const it of ["home", "login", "studio"]) $(it).hidden = it !== page;
  const inStudio = page === "studio";
  $("tools").hidden = !inStudio || watchToken !== null;
  $("title").hidden = !inStudio || watchToken !== null;
  if (!inStudio) $("line-state").textContent = "";
}

function askForKey() {
  show("login");
  document.querySelector("#login input").focus();
}

async function openHome() {
  leave();
  show("home");
  document.title = "shotstream";
  await trying(async () => {
    const { data } = await fetched("/v1/stories");
    drawShelf($("stories"), data, removeStory);
    $("no-stories").hidden = data.length !== 0;
  });
}

function removeStory(story) {
  if (!confirm(`Remove “${story.title || "Untitled"}” for good?`)) return;
  trying(async () => {
    await fetched(`/v1/stories/${story.id}`, { method: "DELETE" });
    openHome();
  });
}

function leave() {
  if (line) { line.closed = true; line.socket.close(); }
  player?.close();
  line = player = storyId = viewed = null;
  if (composer.retaking !== null) composer.stopRetake();
  state = nothing();
}

function openStory(id) {
  leave();
  storyId = id;
  show("studio");
  const path = watchToken ? `/v1/watch/${watchToken}` : `/v1/stories/${id}/direct`;
  line = new Line(`${path}?format=${format()}`, { said, media: (message) => player?.push(message), state: lineState });
  if (!watchToken) $("caption").focus();
}

function lineState(now, reason) {
  const words = { connecting: "connecting", open: "connected", closed: reason || "no line, trying again" }[now];
  $("line-state").textContent = words;
  $("line-state").className = `line-state ${now === "open" ? "on" : now === "closed" ? "off" : ""}`;
}

// --- What comes in ---

function said(event) {
  const before = state;
  state = reduce(state, event);
  switch (event.type) {
    case "session.created":
      begin(event);
      break;
    case "take.started":
      if (jumpToNext) { player?.jump(event.frame); jumpToNext = false; }
      announce(`Shot ${event.shot + 1} begins.`);
      drawPrompt($("prompted"), event, state.story.global);
      if (event.unknown_words.length) announce(`The model does not know ${event.unknown_words.join(", ")}.`);
      break;
    case "chunk.made":
      player?.reaches(event.frame + event.frames);
      if (event.chunk === 0 && cutAt !== null) {
        state = { ...state, cuts: keep(state.cuts, performance.now() - cutAt) };
        cutAt = null;
      }
      player?.whenPlayable(event.frame).then((took) => {
        if (took !== null) state = { ...state, transport: keep(state.transport, took) };
      });
      break;
    case "take.finished": {
      const take = before.story.takes[event.take - 1];
      announce(`Shot ${take.shot + 1} is ${event.cut ? "cut" : "complete"}, ${event.frames} frames.`);
      break;
    }
    case "take.failed":
      toast(event.reason);
      break;
    case "prompt.updated":
      drawPrompt($("prompted"), event, state.story.global);
      announce(`Other words from chunk ${event.chunk + 1} on.`);
      if (event.unknown_words.length) announce(`The model does not know ${event.unknown_words.join(", ")}.`);
      break;
    case "prompt.unused":
      toast(`The shot was over before it could go on as “${event.caption}”.`);
      break;
    case "error":
      toast(event.error.message);
      break;
    case "session.draining":
      toast("The server is about to stop. Everything is saved.");
      break;
  }
  draw();
}

function begin({ stream, story }) {
  player?.close();
  player = playerFor($("live-canvas"), $("live"), stream, () => openStory(storyId));
  $("screen").style.setProperty("--shape", `${stream.size[0]} / ${stream.size[1]}`);
  // What was made before this page came will not be shown on it.
  if (!watchToken) line?.tell({ type: "playback", frame: stream.frame });
  $("title").value = story.title;
  composer.begin();
  storyId = story.id;
  $("export-film").href = `/v1/stories/${story.id}/film.mp4`;
  $("export-film").download = `${story.title || "film"}.mp4`;
  $("export-story").href = `/v1/stories/${story.id}/story.shotstory`;
  for (const link of document.querySelectorAll("[data-export]")) link.href = `/v1/stories/${story.id}/exports/${link.dataset.export}`;
  const newest = filmOf(story).at(-1);
  const poster = newest?.candidates.at(-1)?.picture ?? newest?.chunks.at(-1)?.picture;
  if (poster && !watchToken) player.poster(pictureUrl(poster));
}

// --- Drawing ---

let drawn = 0;
function draw() {
  if (drawn) return;
  drawn = requestAnimationFrame(() => { drawn = 0; drawNow(); });
}

function drawNow() {
  const { story, running } = state;
  if (!story) return;
  const watching = watchToken !== null;
  drawBoard($("board"), state, { ...does, viewed }, watching);
  if (!watching) {
    drawMemory(state, does, viewed);
    drawTree($("tree"), story, (take) => does.goTo(take));
    drawMeter($("meter"), state);
    $("tree-sum").textContent = story.takes.length ? `${story.takes.length}` : "";
  }
  $("undo").disabled = !story.can_undo;
  $("redo").disabled = !story.can_redo;
  $("cut").disabled = !running;
  composer.offerRewrite(running !== null);
  $("slate-live").hidden = !running || viewed !== null;
  $("slate-shot").textContent = viewed ? `shot ${story.takes[viewed - 1].shot + 1}` : running ? `shot ${running.shot + 1}` : "";
  $("stage-empty").hidden = story.line.length !== 0 || running !== null;
  if (document.activeElement !== $("title")) $("title").value = story.title;
  document.title = `${story.title || "Untitled"} · shotstream`;
}

setInterval(() => {
  if (!player || !state.stream) return;
  if (!watchToken) line?.tell({ type: "playback", frame: player.shown });
  $("slate-time").textContent = viewed || !state.story?.line.length ? "" : clock(player.time);
}, REPORT_MS);

function clock(at) {
  const minutes = Math.floor(at / 60);
  return `${minutes}:${(at % 60).toFixed(1).padStart(4, "0")}`;
}

const pictureUrl = (hash) => `/v1/stories/${storyId}/pictures/${hash}`;

// --- What can be done ---

const does = {
  picture: pictureUrl,
  play: (take) => review(take, `/v1/stories/${storyId}/takes/${take}/film.mp4`),
  choose: (take) => ask({ type: "film.choose", take }),
  goTo: (take) => ask({ type: "film.go_to", take }),
  branch: (place) => ask({ type: "film.trim", shots: place + 1 }).then((done) => {
    if (done) { announce(`The film ends after shot ${place + 1}. What you type next goes on from there.`); $("caption").focus(); }
  }),
  retake: (place) => composer.retake(place, filmOf(state.story)[place]),
  pin: (at) => ask({ type: "frame.pin", take: at.take, frame: at.frame }),
  unpin: (at) => ask({ type: "frame.unpin", take: at.take, frame: at.frame }),
  pinPicture: (picture) => ask({ type: "picture.pin", picture }),
  unpinPicture: (picture) => ask({ type: "picture.unpin", picture }),
  setMember: (member) => ask({ type: "cast.set", ...member }),
  addMember: (name, caption) => ask({ type: "cast.set", name, caption, frames: heldBy(state.story) }),
  renameMember: (name) => {
    const to = prompt(`What is @${name} called from now on?`, name);
    if (to && to.trim() !== name) ask({ type: "cast.rename", name, to: to.trim() });
  },
  removeMember: (name) => ask({ type: "cast.remove", name }),
  share: (pins, cast) => ask({ type: "memory.share", pins, cast }),
  say: (words) => { $("caption").setRangeText(words, $("caption").selectionStart, $("caption").selectionEnd, "end"); $("caption").focus(); },
  toast,
  bring: async (file, caption) => {
    let done = false;
    await trying(async () => {
      await fetched(`/v1/stories/${storyId}/pictures?caption=${encodeURIComponent(caption)}`, { method: "POST", body: file });
      done = true;
    });
    return done;
  },
};
useMemory(does);

async function send(cutting) {
  if (!state.stream) return;
  const asked = composer.words();
  if (!asked.caption) { if (cutting) cut(); return; }
  backToLive();
  const again = composer.retaking;
  const what = again !== null ? { type: "shot.retake", shot: again, words: asked } : { type: "shot.append", ...asked };
  const written = $("caption").value;
  $("caption").value = "";
  const sent = ask(what);
  if (cutting && state.running) cut();
  if (!await sent) $("caption").value ||= written;
  else if (again !== null) composer.stopRetake();
  else $("seed").value = "";
}

/** Other words for the shot that is being made, from its next chunk on. */
async function rewrite() {
  const caption = $("caption").value.trim();
  if (!caption || $("rewrite").disabled) { $("caption").focus(); return; }
  backToLive();
  if (await ask({ type: "prompt.update", caption })) $("caption").value = "";
}

function cut() {
  cutAt = performance.now();
  jumpToNext = true;
  // What is on its way will not be shown: that makes room for the next shot at once.
  line?.tell({ type: "playback", frame: player.end });
  player.jump(player.end);
  ask({ type: "cut" });
}

function review(take, source) {
  viewed = take;
  const video = $("review");
  video.src = source;
  video.hidden = false;
  $("back-live").hidden = false;
  $("screen").scrollIntoView({ block: "nearest" });
  video.play().catch(() => {});
  draw();
}

function backToLive() {
  if ($("review").hidden) return;
  viewed = null;
  $("review").hidden = true;
  $("review").removeAttribute("src");
  $("review").load();
  $("back-live").hidden = true;
  draw();
}

// --- Hands ---

$("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  const global = $("global").value.trim();
  const body = { title: $("new-title").value.trim(), global: global && `${global} `, seed: Number($("new-seed").value) || 0 };
  trying(async () => {
    const story = await fetched("/v1/stories", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    location.hash = story.id;
  });
});
$("import").addEventListener("change", () => trying(async () => {
  const [file] = $("import").files;
  if (!file) return;
  const story = await fetched("/v1/stories/import", { method: "POST", body: file }).finally(() => { $("import").value = ""; });
  location.hash = story.id;
}));
$("composer").addEventListener("submit", (event) => { event.preventDefault(); send(false); });
$("caption").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  if (event.altKey) rewrite();
  else send(event.ctrlKey || event.metaKey);
});
$("cut").addEventListener("click", () => ($("caption").value.trim() ? send(true) : cut()));
$("rewrite").addEventListener("click", rewrite);
$("undo").addEventListener("click", () => ask({ type: "undo" }));
$("redo").addEventListener("click", () => ask({ type: "redo" }));
$("remake").addEventListener("click", () => ask({ type: "film.remake" }));
$("play-film").addEventListener("click", () => review(null, watchToken ? `/v1/watch/${watchToken}/film.mp4` : `/v1/stories/${storyId}/film.mp4`));
$("back-live").addEventListener("click", backToLive);
$("review").addEventListener("ended", () => setTimeout(() => $("review").ended && backToLive(), 700));
$("title").addEventListener("change", () => ask({ type: "title", title: $("title").value.trim() }));
$("help-open").addEventListener("click", () => $("help").showModal());
$("share").addEventListener("click", () => trying(async () => {
  const { path } = await fetched(`/v1/stories/${storyId}/watch`, { method: "POST" });
  const link = `${location.origin}${path}`;
  // A page that came over plain http may not write to the clipboard.
  if (navigator.clipboard) { await navigator.clipboard.writeText(link); toast("The link to watch is copied."); } else prompt("Whoever has this link may watch:", link);
}));
document.addEventListener("click", (event) => { if (!$("export").contains(event.target)) $("export").open = false; });

document.addEventListener("keydown", (event) => {
  if ($("studio").hidden || $("help").open) return;
  const typing = event.target.matches?.("input, textarea");
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z" && !typing) {
    event.preventDefault();
    ask({ type: event.shiftKey ? "redo" : "undo" });
    return;
  }
  if (event.key === "Escape") {
    if (composer.retaking !== null) composer.stopRetake();
    backToLive();
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "?") { $("help").showModal(); return; }
  if (event.key === "n") { event.preventDefault(); $("caption").focus(); return; }
  const card = event.target.closest?.(".shot");
  if (card) onShot(event, card);
});

function onShot(event, card) {
  const place = Number(card.dataset.place);
  const take = filmOf(state.story)[place];
  const to = { ArrowRight: card.nextElementSibling, ArrowLeft: card.previousElementSibling }[event.key];
  if (to) {
    event.preventDefault();
    to.querySelector("button:not(:disabled)")?.focus();
    to.scrollIntoView({ inline: "nearest", block: "nearest" });
  } else if (event.key === "r" && !watchToken) { event.preventDefault(); does.retake(place); }
  else if (event.key === "b" && !watchToken) does.branch(place);
  else if (event.key === "p") does.play(take.take);
  else if (/^[1-9]$/.test(event.key) && !watchToken) {
    const chosen = takesOfShot(state.story, take)[Number(event.key) - 1];
    if (chosen) does.choose(chosen.take);
  }
}

// --- Begin ---

function route() {
  if (watchToken) {
    document.body.classList.add("watching");
    openStory(null);
  } else if (location.hash.length > 1) openStory(location.hash.slice(1));
  else openHome();
}
window.addEventListener("hashchange", route);
route();
