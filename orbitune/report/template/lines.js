// Line plots: the nearest value under the pointer or at the arrow keys, and a legend that hides lines.
"use strict";
for (const canvas of document.querySelectorAll(".canvas")) {
  const cursor = canvas.querySelector(".cursor");
  const groups = [...canvas.querySelectorAll("[data-points]")];
  const points = groups.flatMap((group) => {
    const values = group.dataset.points ? group.dataset.points.split(",").map(Number) : [];
    return group.dataset.tips.split("\n").filter(Boolean).map((text, index) =>
      ({ group, x: values[2 * index], y: values[2 * index + 1], text, colour: group.style.getPropertyValue("--c") }));
  });
  const visible = () => points.filter((point) => !point.group.classList.contains("off"));
  let current = -1;

  function show(point) {
    const box = canvas.getBoundingClientRect();
    cursor.hidden = false;
    cursor.style.left = `${point.x * 100}%`;
    cursor.style.top = `${point.y * 100}%`;
    cursor.style.setProperty("--c", point.colour);
    current = points.indexOf(point);
    window.orbitune.showTip(point.text.split(" · "), box.left + point.x * box.width, box.top + point.y * box.height);
  }
  function leave() {
    cursor.hidden = true;
    window.orbitune.hideTip();
  }
  function nearest(event) {
    const box = canvas.getBoundingClientRect();
    const far = (point) => Math.hypot(point.x * box.width - (event.clientX - box.left), point.y * box.height - (event.clientY - box.top));
    const candidates = visible();
    if (!candidates.length) return;
    const best = candidates.reduce((a, b) => (far(b) < far(a) ? b : a));
    if (far(best) < 60) show(best); else leave();
  }
  canvas.addEventListener("pointermove", nearest);
  canvas.addEventListener("pointerdown", nearest);
  canvas.addEventListener("pointerleave", leave);
  canvas.addEventListener("blur", leave);
  canvas.addEventListener("keydown", (key) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key.key];
    if (!step || !visible().length) return;
    key.preventDefault();
    let next = current;
    do next = (next + step + points.length) % points.length; while (points[next].group.classList.contains("off"));
    show(points[next]);
  });
}

// Pointing at a name, or stepping to it, brings its line to the front of many.
function light(toggle, on) {
  const figure = toggle.closest("figure");
  figure.classList.toggle("focus", on);
  for (const part of figure.querySelectorAll("[data-series]")) part.classList.toggle("lit", on && part.dataset.series === toggle.dataset.toggle);
}
for (const toggle of document.querySelectorAll("[data-toggle]")) {
  for (const event of ["pointerenter", "focus"]) toggle.addEventListener(event, () => light(toggle, true));
  for (const event of ["pointerleave", "blur"]) toggle.addEventListener(event, () => light(toggle, false));
  toggle.addEventListener("click", () => {
    const off = toggle.getAttribute("aria-pressed") === "true";
    toggle.setAttribute("aria-pressed", String(!off));
    for (const part of toggle.closest("figure").querySelectorAll("[data-series]")) {
      if (part.dataset.series === toggle.dataset.toggle) part.classList.toggle("off", off);
    }
  });
}
