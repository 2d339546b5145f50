// The round: open planes, look closer at a stage, say what a bar is.
"use strict";
const STEPS = [1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

function niceStep(length, most) {
  if (length < most) {
    const power = 10 ** Math.floor(Math.log10(length / most));
    return [1, 2, 2.5, 5, 10].map((nice) => nice * power).find((step) => length / step <= most * 1.0001);
  }
  return STEPS.find((step) => length / step <= most) || 86400 * Math.ceil(length / most / 86400);
}

for (const chart of document.querySelectorAll(".gantt")) {
  const length = Number(chart.dataset.length);
  const stages = chart.dataset.stages.split("\n");
  const drawings = chart.querySelectorAll("svg");
  const ticks = chart.querySelector(".ticks");

  function look(from, width) {
    for (const svg of drawings) svg.setAttribute("viewBox", `${from} 0 ${width} 18`);
    const step = niceStep(width, innerWidth < 640 ? 3 : 5);
    const labels = [];
    for (let at = Math.ceil(from / step - 1e-6) * step; at <= from + width * 1.0001; at += step) {
      const label = document.createElement("span");
      const decimals = Math.max(0, -Math.floor(Math.log10(step)));
      label.textContent = width < 60 ? `${at.toFixed(decimals)} s` : window.orbitune.duration(at);
      label.style.left = `${((at - from) / width) * 100}%`;
      labels.push(label);
    }
    ticks.replaceChildren(...labels);
  }

  look(0, length);
  const visits = new Map();
  chart.querySelector(".zoom").addEventListener("click", (click) => {
    const chosen = click.target.closest("[data-zoom]");
    if (!chosen) return;
    for (const one of chart.querySelectorAll("[data-zoom]")) one.setAttribute("aria-pressed", String(one === chosen));
    if (!chosen.dataset.zoom) return look(0, length);
    const windows = chosen.dataset.zoom.split(";");
    const visit = visits.get(chosen) || 0;
    visits.set(chosen, visit + 1);
    const [start, width] = windows[visit % windows.length].split(",").map(Number);
    const margin = width * 0.03;
    return look(Math.max(0, start - margin), width + 2 * margin);
  });

  chart.addEventListener("click", (click) => {
    const opener = click.target.closest("[data-open]");
    if (!opener) return;
    const open = opener.getAttribute("aria-expanded") !== "true";
    opener.setAttribute("aria-expanded", String(open));
    for (const row of chart.querySelectorAll(`[data-plane="${opener.dataset.open}"]`)) row.hidden = !open;
  });

  function describe(event) {
    const bar = event.target.closest("rect");
    if (!bar) return window.orbitune.hideTip();
    const start = bar.x.baseVal.value, width = bar.width.baseVal.value;
    const stage = stages[Number((bar.closest("[data-s]") || bar).dataset.s)];
    const label = bar.closest(".lane").querySelector(".lane-label").firstChild.textContent;
    const when = `${window.orbitune.moment(start)} to ${window.orbitune.moment(start + width)} of the ${chart.dataset.of || "round"}`;
    const took = window.orbitune.duration(width);
    return window.orbitune.showTip([bar.dataset.t ? `${label}: ${stage}` : stage, bar.dataset.t, `${took}, ${when}`], event.clientX, event.clientY);
  }
  chart.addEventListener("pointermove", describe);
  chart.addEventListener("pointerdown", describe);
  chart.addEventListener("pointerleave", () => window.orbitune.hideTip());
}
