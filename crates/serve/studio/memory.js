// The memory tray: what conditioned the newest take, what is held for the next ones, and the cast.

import { $, el } from "./views.js";
import { filmOf, pictureOf } from "./store.js";

/** What conditioned the newest take, what is pinned, what could be. */
export function drawMemory(state, does, viewed) {
  const { story, running, stream } = state;
  const film = filmOf(story);
  const newest = viewed ? story.takes[viewed - 1] : running ? story.takes[running.take - 1] : film[film.length - 1];
  const context = newest?.context ?? [];
  const shown = newest?.pictures ?? [];
  const all = context.length + shown.length;
  const place = newest ? newest.shot + 1 : 0;
  $("memory-says").textContent = !newest ? "What a shot is shown of the shots before it appears here."
    : all ? `What shot ${place} was shown before it was made.` : `Shot ${place} is the first: nothing lies before it.`;
  $("memory-sum").textContent = !all ? "" : newest.places ? placesOf(newest.places) : `${context.length} of ${stream.context_frames}`;
  const isPinned = (at) => story.pins.some((pin) => pin.take === at.take && pin.frame === at.frame);
  const wasPinned = (at) => newest?.pins.some((pin) => pin.take === at.take && pin.frame === at.frame);
  const toggle = (at, framed = isPinned(at)) => {
    const [what, act] = isPinned(at) ? ["Unpin", () => does.unpin(at)] : ["Pin", () => does.pin(at)];
    const shot = story.takes[at.take - 1].shot + 1;
    return tile(does, `${what}: frame ${at.frame} of shot ${shot}`, what, pictureOf(story, at), `shot ${shot} · ${at.frame}`, framed, act);
  };
  const togglePicture = (number, framed) => {
    const picture = story.pictures[number - 1];
    const pinned = (story.pinned ?? []).includes(number);
    const [what, act] = pinned ? ["Unpin", () => does.unpinPicture(number)] : ["Pin", () => does.pinPicture(number)];
    return tile(does, `${what}: ${picture.caption}`, `${what}: ${picture.caption}`, picture.small, picture.caption, framed ?? pinned, act);
  };
  $("memory").replaceChildren(...shown.map((number) => togglePicture(number, true)), ...context.map((at) => toggle(at, wasPinned(at))));
  $("pins").replaceChildren(...(story.pinned ?? []).map((number) => togglePicture(number)), ...story.pins.map((at) => toggle(at)));
  const from = viewed ? story.takes[viewed - 1] : [...film].reverse().find((take) => take.state === "finished");
  $("keep-title").textContent = from ? `Frames of shot ${from.shot + 1} to pin` : "Frames to pin";
  $("candidates").replaceChildren(...(from?.candidates ?? []).map(({ frame: at }) => toggle({ take: from.take, frame: at })));
  $("pictures").replaceChildren(...(story.pictures ?? []).map(({ picture }) => togglePicture(picture)));
  drawCast(story, does);
  drawShares(story, stream);
}

const placesOf = ({ pins, cast, policy }) => `${pins} pinned · ${cast} cast · ${policy} chosen`;

function tile(does, label, title, picture, words, framed, act) {
  return el("li", {}, el("button", { class: framed ? "pinned" : "", "aria-label": label, title, onclick: act },
    picture ? el("img", { src: does.picture(picture), alt: "", loading: "lazy" }) : null, el("span", {}, words)));
}

function drawCast(story, does) {
  const held = story.pins.length + (story.pinned ?? []).length;
  $("cast").replaceChildren(...(story.cast ?? []).map((member) => {
    const frames = member.frames ?? [];
    const pictures = frames.map((it) => (it.picture ? story.pictures[it.picture - 1]?.small : pictureOf(story, it)));
    return el("li", {},
      el("button", { class: "name", title: "Put the name into the words", onclick: () => does.say(`@${member.name} `) }, `@${member.name}`),
      el("span", { class: "soft", title: member.caption }, member.caption),
      el("span", { class: "faces" }, ...pictures.filter(Boolean).map((hash) => el("img", { src: does.picture(hash), alt: "", loading: "lazy" }))),
      el("span", { class: "acts" },
        el("button", { disabled: held === 0, title: "Bring what is pinned now", "aria-label": `Let ${member.name} bring what is pinned now`, onclick: () => does.setMember({ ...member, frames: heldBy(story) }) }, "Take pins"),
        el("button", { "aria-label": `Rename ${member.name}`, onclick: () => does.renameMember(member.name) }, "Rename"),
        el("button", { "aria-label": `Remove ${member.name}`, onclick: () => does.removeMember(member.name) }, "Remove")));
  }));
}

/** What is pinned now, as a member brings it. */
export const heldBy = (story) => [
  ...(story.pinned ?? []).map((picture) => ({ picture })),
  ...story.pins.map(({ take, frame }) => ({ take, frame })),
];

function drawShares(story, stream) {
  const most = Math.max(0, stream.context_frames - 1);
  for (const who of ["pins", "cast"]) {
    const input = $(`share-${who}`);
    input.max = `${most}`;
    if (document.activeElement !== input) input.value = `${Math.min(most, story.shares?.[who] ?? most)}`;
  }
}

/** Hands for what the tray offers; called once. */
export function useMemory(does) {
  $("bring").addEventListener("submit", (event) => event.preventDefault());
  $("picture-file").addEventListener("change", () => {
    const [file] = $("picture-file").files;
    const words = $("picture-words").value.trim();
    $("picture-file").value = "";
    if (!file) return;
    if (!words) { $("picture-words").focus(); does.toast("Say what the picture shows, then choose it."); return; }
    does.bring(file, words).then((done) => { if (done) $("picture-words").value = ""; });
  });
  $("cast-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const [name, caption] = [$("cast-name").value.trim(), $("cast-words").value.trim()];
    if (!name || !caption) return;
    does.addMember(name, caption).then((done) => { if (done) $("cast-form").reset(); });
  });
  const share = () => does.share(Number($("share-pins").value) || 0, Number($("share-cast").value) || 0);
  $("share-pins").addEventListener("change", share);
  $("share-cast").addEventListener("change", share);
}
