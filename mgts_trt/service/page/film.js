// A sighting frame by frame: the small pictures of the person in order, to be played or gone through.

import { copyCanvas, setText } from "./dom.js";
import { formatTime } from "./times.js";

const PAGE = 100; // frames asked for at once
const KEPT = 400; // pictures kept decoded
const [SHORTEST, LONGEST] = [80, 1000]; // milliseconds a frame is shown while playing

export class Film {
  #element;
  #canvas;
  #service;
  #onRest;
  #frames = [];
  #pictures = new Map(); // by place: promises of bitmaps
  #at = 0;
  #drawn = 0; // counts what is asked to be drawn
  #playing = null; // a timer
  #loading = new AbortController();

  /**
   * @param {HTMLElement} element Holds .film-position, .film-play and .film-status.
   * @param {HTMLCanvasElement} canvas Where frames are shown.
   * @param {Service} service
   * @param {(person) => void} onRest Called with the person of the frame that stays shown.
   */
  constructor(element, canvas, service, onRest) {
    [this.#element, this.#canvas, this.#service, this.#onRest] = [element, canvas, service, onRest];
    this.#position.addEventListener("input", () => {
      this.#pause();
      this.#show(Number(this.#position.value));
    });
    this.#position.addEventListener("change", () => this.#rest());
    this.#play.addEventListener("click", () => {
      if (this.#playing === null) this.#start();
      else {
        this.#pause();
        this.#rest();
      }
    });
  }

  /** Show the frames of a sighting; nothing where there is none. */
  async show(sighting) {
    this.close();
    this.#element.hidden = !sighting;
    if (!sighting) return;
    this.#loading = new AbortController();
    const { signal } = this.#loading;
    this.#play.disabled = this.#position.disabled = true;
    setText(this.#status, "Fetching the frames…");
    try {
      let total = Infinity;
      while (this.#frames.length < total) {
        const query = { offset: this.#frames.length, limit: PAGE };
        const page = await this.#service.get(sighting.people, query, signal);
        total = page.people.length ? page.total : 0;
        this.#frames.push(...page.people);
        this.#position.max = Math.max(0, this.#frames.length - 1);
      }
      // It begins at the frame that is shown already.
      this.#at = Math.max(0, this.#frames.findIndex(({ id }) => id === sighting.best[0]?.id));
      this.#position.value = this.#at;
      this.#play.disabled = this.#position.disabled = this.#frames.length < 2;
      this.#tell();
    } catch (error) {
      if (!signal.aborted) setText(this.#status, error.message);
    }
  }

  /** Stop, and let go of the pictures. */
  close() {
    this.#pause();
    this.#loading.abort();
    this.#drawn += 1;
    for (const picture of this.#pictures.values()) picture.then((bitmap) => bitmap?.close());
    this.#pictures.clear();
    [this.#frames, this.#at] = [[], 0];
  }

  get #position() {
    return this.#element.querySelector(".film-position");
  }

  get #play() {
    return this.#element.querySelector(".film-play");
  }

  get #status() {
    return this.#element.querySelector(".film-status");
  }

  #start() {
    if (this.#at >= this.#frames.length - 1) this.#show(0);
    setText(this.#play, "Pause");
    this.#playing = setTimeout(() => this.#next(), SHORTEST);
  }

  #pause() {
    clearTimeout(this.#playing);
    this.#playing = null;
    setText(this.#play, "Play");
  }

  async #next() {
    const at = this.#at + 1;
    await this.#show(at);
    if (this.#playing === null || this.#at !== at) return;
    if (at >= this.#frames.length - 1) {
      this.#pause();
      this.#rest();
      return;
    }
    const [now, then] = [this.#frames[at].time, this.#frames[at + 1].time];
    const pause = now === null || then === null ? SHORTEST : 1000 * (then - now);
    this.#playing = setTimeout(() => this.#next(), Math.max(SHORTEST, Math.min(LONGEST, pause)));
  }

  async #show(i) {
    this.#at = i;
    this.#position.value = i;
    this.#tell();
    const drawn = ++this.#drawn;
    const bitmap = await this.#picture(i);
    if (drawn !== this.#drawn) return;
    if (bitmap) copyCanvas(bitmap, this.#canvas);
    else setText(this.#status, `${this.#status.textContent}: no picture was kept`);
    this.#picture(i + 1);
  }

  #rest() {
    if (this.#frames.length) this.#onRest(this.#frames[this.#at]);
  }

  #tell() {
    const frame = this.#frames[this.#at];
    if (!frame) return setText(this.#status, "It has no frames any more.");
    const place = `Frame ${(this.#at + 1).toLocaleString()} of ${this.#frames.length.toLocaleString()}`;
    setText(this.#status, [place, formatTime(frame.time)].filter(Boolean).join(", "));
    this.#position.setAttribute("aria-valuetext", this.#status.textContent);
  }

  /** The picture of a frame, or null; the oldest give way. */
  #picture(i) {
    const path = this.#frames[i]?.thumbnail;
    if (!path) return Promise.resolve(null);
    if (!this.#pictures.has(i)) {
      this.#pictures.set(i, this.#service.picture(path, this.#loading.signal).catch(() => null));
      if (this.#pictures.size > KEPT) {
        const [oldest, picture] = this.#pictures.entries().next().value;
        this.#pictures.delete(oldest);
        picture.then((bitmap) => bitmap?.close());
      }
    }
    return this.#pictures.get(i);
  }
}
