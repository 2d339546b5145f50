// Theme, tooltip, switches, printing.
"use strict";
const root = document.documentElement;
const button = document.getElementById("theme");
const dark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
const nameTheme = () => { button.textContent = dark() ? "Light" : "Dark"; };
button.addEventListener("click", () => {
  root.dataset.theme = dark() ? "light" : "dark";
  try { localStorage.setItem("orbitune-theme", root.dataset.theme); } catch (error) { /* kept for this visit only */ }
  nameTheme();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
nameTheme();

const tip = document.getElementById("tip");
window.orbitune = {
  // Lines of text beside a point of the window, kept inside it. The first line is the title.
  showTip(lines, x, y) {
    tip.replaceChildren(...lines.filter(Boolean).map((line, index) => {
      const row = document.createElement(index ? "div" : "b");
      row.textContent = line;
      return row;
    }));
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = x + 14 + box.width > innerWidth - 8 ? x - 14 - box.width : x + 14;
    tip.style.left = `${Math.max(8, Math.min(left, innerWidth - box.width - 8))}px`;
    tip.style.top = `${Math.max(8, Math.min(y - box.height - 10, innerHeight - box.height - 8))}px`;
  },
  hideTip() { tip.hidden = true; },
  clock(seconds) {
    const whole = Math.round(seconds);
    return [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60]
      .map((part) => String(part).padStart(2, "0")).join(":");
  },
  moment(seconds) { return seconds < 60 ? this.duration(seconds) : this.clock(seconds); },
  duration(seconds) {
    const three = (value) => String(Number(value.toPrecision(3)));
    if (seconds < 1e-9) return "0 s";
    if (seconds < 0.9995e-6) return `${three(seconds * 1e9)} ns`;
    if (seconds < 0.9995e-3) return `${three(seconds * 1e6)} µs`;
    if (seconds < 0.9995) return `${three(seconds * 1e3)} ms`;
    if (seconds < 59.95) return `${three(seconds)} s`;
    const two = (count, large, small) =>
      `${Math.floor(count / 60)} ${large}` + (count % 60 ? ` ${count % 60} ${small}` : "");
    return seconds < 3599.5 ? two(Math.round(seconds), "min", "s") : two(Math.round(seconds / 60), "h", "min");
  },
};
for (const event of ["pointermove", "pointerdown"]) {
  document.addEventListener(event, (move) => {
    const target = move.target.closest("[data-tip]");
    if (target) window.orbitune.showTip(target.dataset.tip.split(": "), move.clientX, move.clientY);
    else if (!move.target.closest(".canvas, .gantt, .map")) window.orbitune.hideTip();
  });
}
addEventListener("scroll", () => window.orbitune.hideTip(), { passive: true });
document.addEventListener("keydown", (key) => { if (key.key === "Escape") window.orbitune.hideTip(); });

for (const group of document.querySelectorAll("[data-switch]")) {
  const figure = group.closest("figure");
  group.addEventListener("click", (click) => {
    const choice = click.target.closest("[data-choose]");
    if (!choice) return;
    for (const one of group.children) one.setAttribute("aria-pressed", String(one === choice));
    const pressed = [...figure.querySelectorAll("[data-switch] [aria-pressed=true]")].map((one) => one.dataset.choose).join(" ");
    for (const block of figure.querySelectorAll("[data-choice]")) block.hidden = block.dataset.choice !== pressed;
    const stacks = figure.querySelector(".stacks");
    if (stacks) stacks.className = `stacks ${choice.dataset.choose}`;
  });
}

let opened = [];
addEventListener("beforeprint", () => {
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const one of opened) one.open = true;
});
addEventListener("afterprint", () => { for (const one of opened) one.open = false; });
