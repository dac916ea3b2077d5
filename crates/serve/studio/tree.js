// The tree of takes: time runs to the right, alternatives lie below each other.

const [STEP, ROW, RADIUS, EDGE] = [46, 36, 13, 20];
const SVG = "http://www.w3.org/2000/svg";

/** Where every take lies: its shot is its column; a first child goes on in its parent's row. */
export function layout(takes) {
  const children = new Map();
  for (const take of takes) {
    const key = take.parent ?? 0;
    children.set(key, [...(children.get(key) ?? []), take]);
  }
  const places = new Map();
  let rows = 0;
  const stack = [...(children.get(0) ?? [])].reverse().map((take) => [take, -1]);
  const rowOf = (row) => (row === -1 ? rows++ : row);
  while (stack.length) {
    const [take, wanted] = stack.pop();
    const row = rowOf(wanted);
    places.set(take.take, { column: take.shot, row });
    const below = children.get(take.take) ?? [];
    for (let i = below.length - 1; 0 < i; i--) stack.push([below[i], -1]);
    if (below.length) stack.push([below[0], row]);
  }
  return { places, rows };
}

/** Draw it. @param {HTMLElement} home */
export function drawTree(home, story, goTo) {
  const { places, rows } = layout(story.takes);
  const columns = Math.max(0, ...story.takes.map((take) => take.shot)) + 1;
  const [width, height] = [EDGE * 2 + (columns - 1) * STEP + RADIUS, EDGE * 2 + Math.max(0, rows - 1) * ROW];
  const focused = home.contains(document.activeElement) ? document.activeElement.dataset.take : null;
  const svg = node("svg", { width, height, role: "tree", "aria-label": "Takes" });
  const at = (take) => { const { column, row } = places.get(take); return [EDGE + column * STEP, EDGE + row * ROW]; };
  const film = new Set(story.line);
  const letters = new Map();
  for (const take of story.takes) {
    const key = `${take.shot}`;
    letters.set(key, (letters.get(key) ?? 0) + 1);
    take.name = `${take.shot + 1}${String.fromCharCode(96 + Math.min(26, letters.get(key)))}`;
  }
  for (const take of story.takes.filter((it) => it.parent !== null)) {
    const [x1, y1] = at(take.parent);
    const [x2, y2] = at(take.take);
    const on = film.has(take.take) && film.has(take.parent);
    const middle = (x1 + x2) / 2;
    svg.append(node("path", { class: `edge${on ? " on" : ""}`, d: `M${x1} ${y1}C${middle} ${y1} ${middle} ${y2} ${x2} ${y2}` }));
  }
  for (const take of story.takes) {
    const [x, y] = at(take.take);
    const on = film.has(take.take);
    const group = node("g", {
      class: `${on ? "on " : ""}${take.state}`, transform: `translate(${x} ${y})`, tabindex: 0, role: "treeitem",
      "aria-selected": on ? "true" : "false", "data-take": take.take,
      "aria-label": `Shot ${take.shot + 1}, take ${take.name}, ${take.state}${on ? ", in the film" : ""}: ${take.caption}`,
    });
    const title = node("title");
    title.textContent = `${take.name}: ${take.caption}`;
    const name = node("text");
    name.textContent = take.name;
    group.append(title, node("circle", { r: RADIUS }), name);
    group.addEventListener("click", () => goTo(take.take));
    group.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); goTo(take.take); }
    });
    svg.append(group);
  }
  home.replaceChildren(svg);
  if (focused) home.querySelector(`[data-take="${focused}"]`)?.focus({ preventScroll: true });
}

function node(name, attributes = {}) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, `${value}`);
  return made;
}
