// A dialog that shows one person of a list: the scene they were seen in, with their box, and what is known of them.

import { oneIn, titleOf } from "./cards.js";
import { copyCanvas, enable, make, setText } from "./dom.js";
import { Film } from "./film.js";
import { formatSpan, formatTime } from "./times.js";

export class Detail {
  #dialog;
  #service;
  #film;
  #cards = null;
  #back = null;
  #shown = 0;
  #seen = null; // the person whose scene is shown: the match, or they in another frame of the sighting
  #offset = 0;
  #loading = new AbortController();
  #probe = null;

  /**
   * @param {HTMLDialogElement} dialog
   * @param {Service} service
   * @param {{onFind, onAlso, onNot, onForget, onForgetPerson}} actions Of the person shown: search for them; for them, too;
   *   but not for them; forget their source; forget them.
   */
  constructor(dialog, service, { onFind, onAlso, onNot, onForget, onForgetPerson }) {
    this.#dialog = dialog;
    this.#service = service;
    const on = (name, act) => this.#part(name).addEventListener("click", act);
    on("previous", () => this.#move(-1));
    on("next", () => this.#move(1));
    on("frame-previous", () => this.#showScene(this.#offset - 1));
    on("frame-next", () => this.#showScene(this.#offset + 1));
    on("frame-own", () => this.#showScene(0));
    for (const [name, act] of Object.entries({ find: onFind, also: onAlso, not: onNot, "forget-person": onForgetPerson })) {
      on(name, () => {
        dialog.close();
        act(this.#person);
      });
    }
    this.#film = new Film(this.#part("film"), this.#part("match"), service, (person) => {
      if (this.#part("scene").hidden) return; // where one frame cannot be read again, the others cannot either
      this.#seen = person;
      this.#showScene(0);
    });
    on("forget", () => onForget(this.#person.source));
    dialog.addEventListener("keydown", (event) => {
      if (event.target.type === "range") return; // which has these keys for itself
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#move(step);
      const frame = { ",": -1, ".": 1 }[event.key];
      if (frame && !this.#part("frames").hidden) this.#showScene(this.#offset + frame);
    });
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => {
      this.#loading.abort();
      this.#film.close();
      this.#back(this.#shown);
    });
  }

  /**
   * Show person `i` of a list, beside the picture of who is looked for, a canvas or null. When it is closed, `back` gives
   * the focus to where the person shown last is.
   */
  open(cards, i, probe, back = (last) => cards.focus(last)) {
    this.#cards = cards;
    this.#back = back;
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
    const { sighting } = person;
    this.#seen = person;
    this.#part("title").textContent = titleOf(person);
    for (const [name, canvas] of [
      ["probe", this.#probe],
      ["match", this.#cards.picture(i)],
    ]) {
      this.#part(name).parentElement.hidden = !canvas;
      if (canvas) copyCanvas(canvas, this.#part(name));
    }
    this.#part("match-caption").textContent = person.rank ? "Found" : "Seen";
    this.#part("also").hidden = this.#part("not").hidden = !person.rank;
    this.#film.show(sighting);
    const [x1, y1, x2, y2] = person.box.map(Math.round);
    const facts = {
      Source: person.source,
      Frame: (sighting ? "" : person.number) || "",
      Camera: person.camera ?? "",
      Time: sighting ? formatSpan(sighting.start, sighting.end) : formatTime(person.time),
      Frames: sighting ? `${sighting.frames.toLocaleString()}${sighting.closed ? "" : ", going on"}` : "",
      "False matches": typeof person.false_matches === "number" ? oneIn(person.false_matches) : "",
      Box: `${x1}, ${y1} to ${x2}, ${y2} pixels`,
      "Detection score": person.score.toFixed(2),
      Identifier: sighting?.id ?? person.id,
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
    const person = this.#seen;
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
