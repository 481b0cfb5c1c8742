// A dialog that shows one person of a list: the scene they were seen in, with their box, and what is known of them.

import { titleOf } from "./cards.js";
import { copyCanvas, enable, make, setText } from "./dom.js";
import { formatTime } from "./times.js";

export class Detail {
  #dialog;
  #service;
  #cards = null;
  #shown = 0;
  #offset = 0;
  #loading = new AbortController();
  #probe = null;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Service} service
   * @param {{onFind: (person) => void, onForget: (source: string) => void}} actions
   */
  constructor(dialog, service, { onFind, onForget }) {
    this.#dialog = dialog;
    this.#service = service;
    const on = (name, act) => this.#part(name).addEventListener("click", act);
    on("previous", () => this.#move(-1));
    on("next", () => this.#move(1));
    on("frame-previous", () => this.#showScene(this.#offset - 1));
    on("frame-next", () => this.#showScene(this.#offset + 1));
    on("frame-own", () => this.#showScene(0));
    on("find", () => {
      dialog.close();
      onFind(this.#person);
    });
    on("forget", () => onForget(this.#person.source));
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#move(step);
      const frame = { ",": -1, ".": 1 }[event.key];
      if (frame && !this.#part("frames").hidden) this.#showScene(this.#offset + frame);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      this.#loading.abort();
      this.#cards.focus(this.#shown);
    });
  }

  /** Show person `i` of a list, beside the picture of who is looked for, a canvas or null. */
  open(cards, i, probe) {
    this.#cards = cards;
    this.#probe = probe;
    this.#show(i);
    this.#dialog.showModal();
  }

  close() {
    if (this.#dialog.open) this.#dialog.close();
  }

  get #person() {
    return this.#cards.items[this.#shown];
  }

  #part(name) {
    return this.#dialog.querySelector(`#detail-${name}`);
  }

  /** To the next person; past the last comes the first. */
  #move(step) {
    const n = this.#cards.items.length;
    this.#show((this.#shown + step + n) % n);
  }

  #show(i) {
    this.#shown = i;
    const person = this.#person;
    this.#part("title").textContent = titleOf(person);
    for (const [name, canvas] of [
      ["probe", this.#probe],
      ["match", this.#cards.picture(i)],
    ]) {
      this.#part(name).parentElement.hidden = !canvas;
      if (canvas) copyCanvas(canvas, this.#part(name));
    }
    this.#part("match-caption").textContent = person.rank ? "Found" : "Seen";
    const [x1, y1, x2, y2] = person.box.map(Math.round);
    const facts = {
      Source: person.source,
      Frame: person.number || "",
      Camera: person.camera ?? "",
      Time: formatTime(person.time),
      Box: `${x1}, ${y1} to ${x2}, ${y2} pixels`,
      "Detection score": person.score.toFixed(2),
      Identifier: person.id,
    };
    this.#part("facts").replaceChildren(
      ...Object.entries(facts)
        .filter(([, value]) => value !== "")
        .flatMap(([name, value]) => [make("dt", { textContent: name }), make("dd", { textContent: value })]),
    );
    // What is hidden loses the focus, and the dialog the keys.
    if (this.#part("frames").contains(document.activeElement)) this.#part("next").focus();
    this.#part("scene").hidden = this.#part("frames").hidden = true;
    this.#showScene(0);
  }

  /** The frame `offset` frames after the person's own; a frame there is not leaves the last one shown. */
  async #showScene(offset) {
    this.#loading.abort();
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    const person = this.#person;
    setText(this.#part("scene-status"), offset ? "Fetching the frame…" : "Fetching the scene…");
    try {
      const scene = await this.#service.scene(person.scene, offset, signal);
      if (signal.aborted) return;
      this.#offset = offset;
      this.#draw(scene, offset ? null : person.box);
      setText(this.#part("scene-status"), "");
    } catch (error) {
      if (!signal.aborted) setText(this.#part("scene-status"), error.message);
    }
  }

  #draw({ bitmap, width, height, number, seconds, frames }, box) {
    const canvas = this.#part("picture");
    copyCanvas(bitmap, canvas);
    bitmap.close();
    this.#part("scene").hidden = false;
    this.#part("scene").style.setProperty("--ratio", width / height);
    const mark = this.#part("box");
    mark.hidden = !box;
    if (box) {
      const [x1, y1, x2, y2] = box;
      Object.assign(mark.style, {
        left: `${(100 * x1) / width}%`,
        top: `${(100 * y1) / height}%`,
        width: `${(100 * (x2 - x1)) / width}%`,
        height: `${(100 * (y2 - y1)) / height}%`,
      });
    }
    const isVideo = number !== null;
    this.#part("frames").hidden = !isVideo;
    canvas.setAttribute("aria-label", box ? "The scene, with the person's box" : `Frame ${number} of the video`);
    if (!isVideo) return;
    const position = this.#part("position");
    position.hidden = !frames;
    if (frames) Object.assign(position, { max: frames - 1, value: number });
    const of = frames ? ` of ${frames.toLocaleString()}` : "";
    setText(this.#part("frame"), `Frame ${number}${of}, at ${formatTime(seconds)}`);
    enable(
      [this.#part("frame-previous"), number > 0],
      [this.#part("frame-next"), !frames || number < frames - 1],
      [this.#part("frame-own"), !box],
    );
  }
}
