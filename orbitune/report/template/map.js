// The map: satellites move along their stored subpoints, contacts appear and go.
"use strict";
const block = document.getElementById("map-data");
if (block) {
  const world = JSON.parse(block.textContent);
  const { times, names, stations, passes } = world;
  const count = names.length;
  const unpack = (text) => new Int16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const latitudes = unpack(world.latitude), longitudes = unpack(world.longitude);
  const byId = (id) => document.getElementById(id);
  const map = byId("map"), slider = byId("map-time"), play = byId("map-play"), choice = byId("map-choice");
  const dots = [...byId("map-satellites").children];
  const links = byId("map-links"), tracks = byId("map-tracks"), cursor = byId("map-cursor");
  const someTracks = [...tracks.children];
  const RADIAN = Math.PI / 180;
  const wrap = (degrees) => ((degrees + 540) % 360) - 180;

  function subpoint(satellite, seconds) {
    let low = 0, high = times.length - 1;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (times[middle] <= seconds) low = middle; else high = middle;
    }
    const share = Math.min(1, Math.max(0, (seconds - times[low]) / (times[high] - times[low] || 1)));
    const a = low * count + satellite, b = high * count + satellite;
    const east = wrap((longitudes[b] - longitudes[a]) / 100);
    return [(latitudes[a] + share * (latitudes[b] - latitudes[a])) / 100, wrap(longitudes[a] / 100 + share * east)];
  }

  const vector = ([lat, lon]) => [Math.cos(lat * RADIAN) * Math.cos(lon * RADIAN), Math.cos(lat * RADIAN) * Math.sin(lon * RADIAN), Math.sin(lat * RADIAN)];

  function drawPath(points) {
    let path = "", before = Infinity;
    for (const [lat, lon] of points) {
      path += `${Math.abs(lon - before) > 180 ? "M" : "L"}${(lon + 180).toFixed(2)} ${(90 - lat).toFixed(2)}`;
      before = lon;
    }
    return path;
  }

  function greatCircle(from, to) {
    const a = vector(from), b = vector(to);
    const angle = Math.acos(Math.min(1, Math.max(-1, a[0] * b[0] + a[1] * b[1] + a[2] * b[2])));
    if (angle < 1e-9) return "";
    const points = [];
    for (let piece = 0; piece <= 12; piece += 1) {
      const u = Math.sin((1 - piece / 12) * angle), v = Math.sin((piece / 12) * angle);
      const [x, y, z] = a.map((value, axis) => (u * value + v * b[axis]) / Math.sin(angle));
      points.push([Math.asin(Math.min(1, Math.max(-1, z))) / RADIAN, Math.atan2(y, x) / RADIAN]);
    }
    return drawPath(points);
  }

  const inProgress = (seconds) => passes.filter((one) => one[2] <= seconds && seconds <= one[3]);

  function words(going) {
    if (!going.length) return "No station sees a satellite.";
    const seen = new Map();
    for (const [, station] of going) seen.set(stations[station][0], (seen.get(stations[station][0]) || 0) + 1);
    const sorted = [...seen].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
    return `Satellites in view: ${sorted.map(([name, number]) => `${name} ${number}`).join(", ")}.`;
  }

  let places = [];
  function draw() {
    const seconds = Number(slider.value);
    const going = inProgress(seconds);
    const busy = new Set(going.map((one) => one[0]));
    places = names.map((_, satellite) => subpoint(satellite, seconds));
    places.forEach(([lat, lon], satellite) => {
      dots[satellite].setAttribute("transform", `translate(${(lon + 180).toFixed(2)} ${(90 - lat).toFixed(2)})`);
      dots[satellite].setAttribute("class", `${busy.has(satellite) ? "busy" : ""} ${choice.value === String(satellite) ? "chosen" : ""}`);
    });
    links.setAttribute("d", going.map(([s, g]) => greatCircle(places[s], [stations[g][1], stations[g][2]])).join(""));
    byId("map-clock").textContent = window.orbitune.clock(seconds);
    byId("map-now").textContent = words(going);
    if (cursor) cursor.style.left = `${(seconds / times[times.length - 1]) * 100}%`;
  }

  choice.addEventListener("change", () => {
    if (choice.value === "") { tracks.replaceChildren(...someTracks); draw(); return; }
    const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
    path.setAttribute("d", drawPath(times.map((moment) => subpoint(Number(choice.value), moment))));
    tracks.replaceChildren(path);
    draw();
  });

  // One minute of orbit takes a fifteenth of a second: an orbit passes in about six seconds.
  const SPEED = 900;
  let frame = 0, last = 0;
  function step(now) {
    const next = Number(slider.value) + ((now - last) / 1000) * SPEED;
    last = now;
    slider.value = next >= Number(slider.max) ? 0 : next;
    draw();
    frame = requestAnimationFrame(step);
  }
  function stop() {
    cancelAnimationFrame(frame);
    frame = 0;
    play.textContent = "Play";
    play.setAttribute("aria-pressed", "false");
  }
  slider.step = "any";
  play.addEventListener("click", () => {
    if (frame) return stop();
    last = performance.now();
    play.textContent = "Pause";
    play.setAttribute("aria-pressed", "true");
    frame = requestAnimationFrame(step);
    return undefined;
  });
  slider.addEventListener("input", draw);
  slider.addEventListener("keydown", (key) => {
    const direction = { ArrowRight: 60, ArrowUp: 60, ArrowLeft: -60, ArrowDown: -60 }[key.key];
    if (!direction) return;
    key.preventDefault();
    slider.value = Number(slider.value) + direction;
    draw();
  });

  function sees(satellite) {
    const mine = inProgress(Number(slider.value)).filter((one) => one[0] === satellite).map((one) => stations[one[1]][0]);
    return mine.length ? `in view of ${mine.join(", ")}` : "";
  }

  function describe(event) {
    const box = map.getBoundingClientRect();
    const at = (lat, lon) => Math.hypot(((lon + 180) / 360) * box.width - (event.clientX - box.left), ((90 - lat) / 180) * box.height - (event.clientY - box.top));
    const near = [...stations.map(([name, lat, lon]) => [at(lat, lon) - 2, [name, `${lat.toFixed(1)}°, ${lon.toFixed(1)}°`]]),
      ...places.map(([lat, lon], s) => [at(lat, lon), [names[s], `plane ${world.planes[s]}`, sees(s), `${lat.toFixed(1)}°, ${lon.toFixed(1)}°`]])];
    const [distance, lines] = near.reduce((a, b) => (b[0] < a[0] ? b : a));
    if (distance < 14) window.orbitune.showTip(lines, event.clientX, event.clientY); else window.orbitune.hideTip();
  }
  map.addEventListener("pointermove", describe);
  map.addEventListener("pointerdown", describe);
  map.addEventListener("pointerleave", () => window.orbitune.hideTip());
  draw();
}
