// Contact windows: who is in contact at the moment under the pointer, and until when.
"use strict";
const windowsBlock = document.getElementById("windows-data");
if (windowsBlock) {
  const sky = JSON.parse(windowsBlock.textContent);
  const { clock, duration } = window.orbitune;
  const NAMED = 5;

  const times = (kind, pass) => `${clock(pass[2])} to ${clock(pass[3])}` + (kind === "plane" ? "" : ` (${duration(pass[3] - pass[2])})`);

  function concerns(kind, index) {
    if (kind === "station") return (pass) => pass[1] === index;
    return kind === "plane" ? (pass) => sky.planes[pass[0]] === index : (pass) => pass[0] === index;
  }

  const planeSize = (svg) => Number(svg.closest(".lane").querySelector(".lane-label small").textContent);

  function headline(kind, going, svg) {
    if (kind === "station") return `${going.length} ${going.length === 1 ? "satellite" : "satellites"} in view`;
    if (kind === "satellite") return "";
    const satellites = new Set(going.map((pass) => pass[0])).size;
    return `${satellites} of ${planeSize(svg)} satellites in contact`;
  }

  function named(kind, pass) {
    if (kind === "station") return sky.satellites[pass[0]];
    return kind === "plane" ? `${sky.satellites[pass[0]]} – ${sky.stations[pass[1]]}` : sky.stations[pass[1]];
  }

  // From the list of passes: everything that goes on, or what comes next.
  function listed(kind, index, seconds, svg) {
    const own = sky.passes.filter(concerns(kind, index));
    const going = own.filter((pass) => pass[2] <= seconds && seconds < pass[3]);
    const lines = going.slice(0, NAMED).map((pass) => `${named(kind, pass)}, ${times(kind, pass)}`);
    if (going.length > NAMED) lines.push(`and ${going.length - NAMED} more`);
    if (!going.length) {
      const next = own.find((pass) => pass[2] > seconds);
      lines.push(next ? `no contact; next ${named(kind, next)}, ${times(kind, next)}` : "no contact any more in the time drawn");
    }
    return [going.length ? headline(kind, going, svg) : "", ...lines];
  }

  // Without a list: the mean that is drawn for the bin.
  function drawn(kind, share, svg) {
    const { width, height } = svg.viewBox.baseVal;
    const bin = Math.min(width - 1, Math.floor(share * width));
    let value = 0;
    for (const [, place, level] of svg.firstElementChild.getAttribute("d").matchAll(/H(\d+)V(\d+)/g)) {
      if (Number(place) > bin) break;
      value = (height - Number(level)) / height;
    }
    const mean = value * Number(svg.dataset.full);
    const from = (bin / width) * sky.shown, to = ((bin + 1) / width) * sky.shown;
    const size = kind === "station" ? 0 : planeSize(svg);
    const what = size ? `${mean.toFixed(1)} of ${size} satellites in contact (${Math.round((mean / size) * 100)} %)` : `${mean.toFixed(1)} satellites in view`;
    return [what, `mean from ${clock(from)} to ${clock(to)}`];
  }

  for (const group of document.querySelectorAll(".windows")) {
    const lanes = [...group.querySelectorAll(".lane:not(.axis, .head)")];
    const line = document.createElement("i");
    line.className = "now";
    line.hidden = true;
    group.querySelector(".hours").append(line);
    const leave = () => { line.hidden = true; window.orbitune.hideTip(); };
    const show = (event) => {
      const lane = event.target.closest(".lane");
      const index = lanes.indexOf(lane);
      const svg = lane && lane.querySelector("svg");
      if (index < 0 || !svg) return leave();
      const box = svg.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      if (share < 0 || share > 1) return leave();
      event.stopPropagation(); // the page would hide the tip again
      line.hidden = false;
      line.style.left = `${share * 100}%`;
      const kind = group.dataset.kind, seconds = share * sky.shown;
      const found = sky.passes ? listed(kind, index, seconds, svg) : drawn(kind, share, svg);
      const name = lane.dataset.name;
      return window.orbitune.showTip([`${name}, ${clock(seconds)}`, ...found], event.clientX, event.clientY);
    };
    group.addEventListener("pointermove", show);
    group.addEventListener("pointerdown", show);
    group.addEventListener("pointerleave", leave);
  }
}
