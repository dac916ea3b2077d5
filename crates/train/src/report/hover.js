"use strict";
// The numbers under the pointer, in a chart's own heading.
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg");
  const curves = JSON.parse(svg.dataset.curves);
  const keys = [...chart.querySelectorAll("b[data-curve]")];
  const resting = keys.map((key) => key.textContent);
  const heading = chart.querySelector("h3");
  const at = heading.appendChild(document.createElement("span"));
  at.className = "scale";
  at.hidden = true;
  const make = (name, kind) => {
    svg.insertAdjacentHTML("beforeend", `<${name} class="${kind}" style="display: none"/>`);
    return svg.lastElementChild;
  };
  const hair = make("path", "hair");
  const dots = curves.map((_, index) => make("circle", `c${index}`));
  const short = (number) => String(Number(number.toPrecision(4)));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
    let place = 0, step = 0;
    curves.forEach((curve, index) => {
      const near = curve.points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
      dots[index].setAttribute("cx", near[0]);
      dots[index].setAttribute("cy", near[1]);
      dots[index].setAttribute("r", 4);
      keys[index].textContent = short(near[3]);
      if (index === 0) [place, step] = [near[0], near[2]];
    });
    hair.setAttribute("d", `M${place} 10V200`);
    at.textContent = `update ${step}`;
    at.hidden = false;
    [hair, ...dots].forEach((element) => (element.style.display = ""));
  });
  svg.addEventListener("pointerleave", () => {
    keys.forEach((key, index) => (key.textContent = resting[index]));
    at.hidden = true;
    [hair, ...dots].forEach((element) => (element.style.display = "none"));
  });
}
