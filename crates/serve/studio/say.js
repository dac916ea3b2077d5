// What the page says, and what it asks of the server beside the line.

import { $ } from "./views.js";

const TOAST_MS = 6000;
const SENTENCES = 4;
let toastTimer = 0;

/** For those who do not see the page; no sentence takes the place of one not yet read. @param {string} words */
export function announce(words) {
  const home = $("announce");
  home.append(Object.assign(document.createElement("span"), { textContent: `${words} ` }));
  while (SENTENCES < home.childElementCount) home.firstElementChild.remove();
}

/** For a moment, over the page. @param {string} words */
export function toast(words) {
  $("toast").textContent = sentence(words);
  $("toast").hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $("toast").hidden = true; }, TOAST_MS);
}

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.?!:]$/.test(words) ? "" : "."}`;

/** The server refuses whoever has no key. */
export class KeyNeeded extends Error {}

/** What the server answers. @param {string} path @param {RequestInit} [options] */
export async function fetched(path, options) {
  const answer = await fetch(path, options);
  if (answer.status === 401) throw new KeyNeeded("a key is needed");
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.error?.message ?? answer.statusText);
  return body;
}
