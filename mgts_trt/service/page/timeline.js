// When and where matches were seen: a lane a camera, a bar a sighting, which opens it.

import { baseName } from "./cards.js";
import { make } from "./dom.js";
import { formatTime, isClock, localTime } from "./times.js";

const MOST_STEPS = 3; // between the ticks of an axis: as many as a narrow screen has room for
const STEPS = [0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400]; // seconds
// Of an axis: what the shortest bar takes on a narrow screen, for a mouse or a finger.
const LEAST = matchMedia("(pointer: coarse)").matches ? 0.16 : 0.1;

const nameOf = (match) => match.camera ?? "no camera";

export class Timeline {
  #element;
  #onOpen;
  #lanes = []; // bars of each lane, by time
  #bars = new Map(); // by the match's place in the ranking

  /**
   * @param {HTMLElement} element Takes the lanes.
   * @param {(i: number) => void} onOpen Called when the bar of match `i` is picked.
   */
  constructor(element, onOpen) {
    this.#element = element;
    this.#onOpen = onOpen;
    element.addEventListener("keydown", (event) => this.#step(event));
  }

  /** Show those matches of a ranking that are sightings; whether there are any. */
  show(matches) {
    const seen = matches.map((match, i) => ({ match, i, ...spanOf(match) })).filter(({ start }) => start !== null);
    this.#lanes = [];
    this.#bars.clear();
    const clock = seen.filter(({ start }) => isClock(start));
    const videos = seen.filter(({ start }) => !isClock(start));
    this.#element.replaceChildren(
      ...(clock.length ? [this.#makeGroup("By the clock", clock, ({ match }) => [nameOf(match)])] : []),
      ...(videos.length
        ? [this.#makeGroup("Into the videos", videos, ({ match }) => [nameOf(match), baseName(match.source)])]
        : []),
    );
    const first = this.#bars.get(Math.min(...this.#bars.keys()));
    if (first) first.tabIndex = 0;
    return this.#bars.size > 0;
  }

  /** Give match `i` the focus; false where it has no bar. */
  focus(i) {
    this.#bars.get(i)?.focus();
    return this.#bars.has(i);
  }

  #makeGroup(title, seen, laneOf) {
    const axis = axisOf(seen);
    const lanes = grouped(seen, (each) => JSON.stringify(laneOf(each)));
    const group = make("div", { className: "lanes" }, make("h4", { textContent: title }));
    for (const key of [...lanes.keys()].sort()) group.append(this.#makeLane(JSON.parse(key), lanes.get(key), axis));
    const ticks = make("div", { className: "ticks" });
    ticks.setAttribute("aria-hidden", "true"); // the bars tell their times
    for (const { at, text } of axis.ticks) {
      const tick = make("span", { textContent: text, className: at < 0.1 ? "first" : at > 0.9 ? "last" : "" });
      tick.style.left = `${100 * at}%`;
      ticks.append(tick);
    }
    group.append(make("div", { className: "lane" }, make("span", { className: "lane-name" }), ticks));
    return group;
  }

  #makeLane(names, seen, axis) {
    const name = names.join(", ");
    const bars = make("div", { className: "lane-bars" });
    const rows = []; // where the last bar of each row ends
    const ordered = seen.sort((one, other) => one.start - other.start);
    this.#lanes.push(
      ordered.map((each) => {
        const [left, right] = [axis.place(each.start), axis.place(each.end)];
        const taken = Math.max(right, Math.min(left, 1 - LEAST) + LEAST);
        const free = rows.findIndex((end) => end <= Math.min(left, 1 - LEAST));
        const row = free < 0 ? rows.length : free;
        rows[row] = taken;
        const bar = this.#makeBar(each, name);
        bar.style.setProperty("--left", `${100 * left}%`);
        bar.style.setProperty("--width", `${100 * (right - left)}%`);
        bar.style.setProperty("--row", row);
        bars.append(bar);
        return bar;
      }),
    );
    bars.style.setProperty("--rows", rows.length);
    const lines = names.map((textContent) => make("span", { textContent }));
    const lane = make("div", { className: "lane" }, make("span", { className: "lane-name", title: name }, ...lines), bars);
    lane.setAttribute("role", "group");
    lane.setAttribute("aria-label", `Camera ${name}`);
    return lane;
  }

  #makeBar({ match, i, start, end }, lane) {
    const bar = make("button", { type: "button", className: "sighting-bar", textContent: match.rank, tabIndex: -1 });
    const when = `${formatTime(start)} to ${formatTime(end)}`;
    bar.setAttribute("aria-label", `Rank ${match.rank}, similarity ${match.likeness.toFixed(3)}, ${lane}, ${when}`);
    bar.title = `#${match.rank}  ${match.likeness.toFixed(3)}\n${lane}\n${when}`;
    bar.style.setProperty("--strength", `${Math.round(40 * Math.max(0, Math.min(1, match.likeness)))}%`);
    bar.addEventListener("click", () => this.#onOpen(i));
    bar.addEventListener("focus", () => {
      for (const other of this.#bars.values()) other.tabIndex = other === bar ? 0 : -1;
    });
    this.#bars.set(i, bar);
    return bar;
  }

  /** Arrow keys: along a lane by time, and to the nearest bar of the lane above or below. */
  #step(event) {
    const lane = this.#lanes.findIndex((bars) => bars.includes(event.target));
    if (lane < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const bars = this.#lanes[lane];
    const at = bars.indexOf(event.target);
    const across = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    const along = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: bars.length - 1 }[event.key];
    if (across === undefined && along === undefined) return;
    event.preventDefault();
    const next = across ? nearest(event.target, this.#lanes[lane + across] ?? []) : bars[along];
    next?.focus();
  }
}

/** When a match was seen: of a sighting from–to; nothing of a photo. */
function spanOf({ sighting }) {
  if (!sighting || sighting.start === null) return { start: null, end: null };
  return { start: sighting.start, end: Math.max(sighting.start, sighting.end ?? sighting.start) };
}

/** From the first start to the last end, with ticks at round times. */
function axisOf(seen) {
  const clock = isClock(seen[0].start);
  const first = clock ? Math.min(...seen.map(({ start }) => start)) : 0;
  const span = Math.max(1, ...seen.map(({ end }) => end - first));
  const days = clock && new Date(1000 * first).toDateString() !== new Date(1000 * (first + span)).toDateString();
  const step = STEPS.find((each) => span / each <= MOST_STEPS) ?? 86400 * Math.ceil(span / 86400 / MOST_STEPS);
  const offset = clock ? 60 * new Date(1000 * first).getTimezoneOffset() : 0; // round by the clock on the wall
  const ticks = [];
  for (let time = Math.ceil((first - offset) / step) * step + offset; time <= first + span; time += step) {
    const [date, hour] = clock ? localTime(time).split("T") : ["", formatTime(time).replace(/\.0$/, "")];
    ticks.push({ at: (time - first) / span, text: days ? `${date.slice(5)}\n${hour.slice(0, 5)}` : clock && step >= 60 ? hour.slice(0, 5) : hour });
  }
  return { ticks, place: (time) => (time - first) / span };
}

function nearest(bar, others) {
  const middle = (each) => each.getBoundingClientRect().left + each.getBoundingClientRect().width / 2;
  const distance = (each) => Math.abs(middle(each) - middle(bar));
  return others.toSorted((one, other) => distance(one) - distance(other))[0];
}

function grouped(items, keyOf) {
  const groups = new Map();
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item]);
  return groups;
}
