// The ranking: a card for each match, and a dialog that shows one larger, beside the person looked for.

/** How a match says where and when it was seen. Time is of a video, or of the clock for a live stream. */
function formatTime(seconds) {
  if (seconds === null || seconds === undefined) return "";
  if (seconds > 1e8) return new Date(seconds * 1000).toLocaleString();
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

/** The last part of a path or URL. */
const baseName = (source) => source.split(/[\\/]/).filter(Boolean).pop() ?? source;

const whenAndWhere = (match) =>
  [
    match.camera ? `camera ${match.camera}` : "",
    formatTime(match.time) || (match.number ? `frame ${match.number}` : ""),
  ]
    .filter(Boolean)
    .join(" · ");

function copy(from, to) {
  to.width = from.width;
  to.height = from.height;
  to.getContext("2d").drawImage(from, 0, 0);
}

export class Ranking {
  #list;
  #template;
  #dialog;
  #probe;
  #loadPicture;
  #matches = [];
  #shown = 0;

  /**
   * @param {HTMLOListElement} list
   * @param {HTMLTemplateElement} template Of one match.
   * @param {HTMLDialogElement} dialog
   * @param {HTMLCanvasElement} probe The crop of the person looked for.
   * @param {(path: string, signal: AbortSignal) => Promise<ImageBitmap>} loadPicture
   */
  constructor(list, template, dialog, probe, loadPicture) {
    this.#list = list;
    this.#template = template;
    this.#dialog = dialog;
    this.#probe = probe;
    this.#loadPicture = loadPicture;
    this.#part("previous").addEventListener("click", () => this.#open(this.#shown - 1));
    this.#part("next").addEventListener("click", () => this.#open(this.#shown + 1));
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#open(this.#shown + step);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => this.#card(this.#shown)?.focus());
  }

  clear() {
    this.#matches = [];
    this.#list.replaceChildren();
    if (this.#dialog.open) this.#dialog.close();
  }

  /** Show the matches of /search; their pictures follow as they arrive. */
  show(matches, signal) {
    this.clear();
    this.#matches = matches;
    this.#list.append(...matches.map((match, i) => this.#makeCard(match, i, signal)));
  }

  #card(i) {
    return this.#list.children[i]?.querySelector("button");
  }

  #part(name) {
    return this.#dialog.querySelector(`#detail-${name}`);
  }

  #makeCard(match, i, signal) {
    const item = this.#template.content.cloneNode(true);
    const set = (name, text) => (item.querySelector(`.${name}`).textContent = text);
    set("rank", match.rank);
    set("likeness", match.likeness.toFixed(3));
    set("source", baseName(match.source));
    set("when", whenAndWhere(match));
    item.querySelector(".source").title = match.source;
    item.querySelector(".bar span").style.width = `${100 * Math.max(0, Math.min(1, match.likeness))}%`;
    const button = item.querySelector("button");
    const where = [baseName(match.source), whenAndWhere(match)].filter(Boolean).join(", ");
    button.setAttribute("aria-label", `Rank ${match.rank}, likeness ${match.likeness.toFixed(3)}, ${where}`);
    button.addEventListener("click", () => this.#open(i));
    this.#draw(match, item.querySelector("canvas"), signal);
    return item;
  }

  async #draw(match, canvas, signal) {
    const frame = canvas.parentElement;
    frame.classList.add("loading");
    try {
      if (!match.thumbnail) throw new Error("The gallery keeps no picture of this person.");
      const bitmap = await this.#loadPicture(match.thumbnail, signal);
      copy(bitmap, canvas);
      bitmap.close();
    } catch {
      // A ranking without one of its pictures still ranks.
      frame.classList.add("missing");
    }
    frame.classList.remove("loading");
  }

  /** Show match `i`; past the last comes the first. */
  #open(i) {
    this.#shown = (i + this.#matches.length) % this.#matches.length;
    const match = this.#matches[this.#shown];
    this.#part("title").textContent = `Rank ${match.rank}, likeness ${match.likeness.toFixed(3)}`;
    this.#part("probe").parentElement.hidden = this.#probe.hidden;
    if (!this.#probe.hidden) copy(this.#probe, this.#part("probe"));
    const thumbnail = this.#card(this.#shown).querySelector("canvas");
    const missing = thumbnail.parentElement.classList.contains("missing");
    this.#part("match").parentElement.hidden = missing;
    if (!missing) copy(thumbnail, this.#part("match"));
    const [x1, y1, x2, y2] = match.box.map(Math.round);
    const facts = {
      Source: match.source,
      Frame: match.number || "",
      Camera: match.camera ?? "",
      Time: formatTime(match.time),
      Box: `${x1}, ${y1}, ${x2 - x1} × ${y2 - y1} pixels`,
      "Detection score": match.score.toFixed(2),
      Identifier: match.id,
    };
    this.#part("facts").replaceChildren(
      ...Object.entries(facts)
        .filter(([, value]) => value !== "")
        .flatMap(([name, value]) => [
          Object.assign(document.createElement("dt"), { textContent: name }),
          Object.assign(document.createElement("dd"), { textContent: value }),
        ]),
    );
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
