// A list of people of the gallery: a card each, with the small picture of them.

import { copyCanvas, count } from "./dom.js";
import { formatSpan, formatTime } from "./times.js";

/** The last part of a path or URL. */
export const baseName = (source) => source.split(/[\\/]/).filter(Boolean).pop() ?? source;

const cameraOf = (person) => (person.camera ? `camera ${person.camera}` : "");
const whenOf = ({ sighting, time, number }) =>
  (sighting ? formatSpan(sighting.start, sighting.end) : formatTime(time)) || (number ? `frame ${number}` : "");

/** A sighting as lists show it: by its best frame. Nothing where that is gone. */
export const itemOf = (sighting) => (sighting.best.length ? [{ ...sighting.best[0], sighting }] : []);

/** A share as people read it: 1 in 2,400. */
export const oneIn = (share) =>
  share >= 0.5 ? "more than 1 in 2" : `1 in ${Number((1 / share).toPrecision(2)).toLocaleString()}`;

/** How a person is named to those who do not see the card. */
export const titleOf = (person) =>
  person.rank ? `Rank ${person.rank}, similarity ${person.likeness.toFixed(3)}` : baseName(person.source);

export class Cards {
  #list;
  #template;
  #service;
  #onOpen;
  items = [];

  /**
   * @param {HTMLOListElement} list
   * @param {HTMLTemplateElement} template Of one card.
   * @param {Service} service
   * @param {(cards: Cards, i: number) => void} onOpen Called when a card is picked.
   */
  constructor(list, template, service, onOpen) {
    this.#list = list;
    this.#template = template;
    this.#service = service;
    this.#onOpen = onOpen;
  }

  /** Show people; their pictures follow as they arrive. */
  show(items, signal) {
    this.items = items;
    this.#list.replaceChildren(...items.map((item, i) => this.#make(item, i, signal)));
  }

  /** Show further people after these. */
  append(items, signal) {
    const n = this.items.length;
    this.items = [...this.items, ...items];
    this.#list.append(...items.map((item, i) => this.#make(item, n + i, signal)));
  }

  clear() {
    this.show([]);
  }

  /** The small picture of person `i`, or null where there is none. */
  picture(i) {
    const frame = this.#list.children[i]?.querySelector(".thumbnail");
    return frame && !frame.classList.contains("missing") ? frame.querySelector("canvas") : null;
  }

  focus(i) {
    this.#list.children[i]?.querySelector("button").focus();
  }

  #make(person, i, signal) {
    const item = this.#template.content.cloneNode(true).firstElementChild;
    const set = (name, text) => (item.querySelector(`.${name}`).textContent = text);
    if (person.rank) {
      set("rank", person.rank);
      set("similarity", person.likeness.toFixed(3));
      item.querySelector(".bar span").style.width = `${100 * Math.max(0, Math.min(1, person.likeness))}%`;
    } else {
      item.querySelector(".line").remove();
      item.querySelector(".bar").remove();
    }
    set("source", baseName(person.source));
    set("camera", cameraOf(person));
    set("when", whenOf(person));
    const { sighting } = person;
    if (sighting) set("seen-in", count(sighting.frames, "frame", "frames") + (sighting.closed ? "" : ", going on"));
    if (typeof person.false_matches === "number") set("false-matches", `false ${oneIn(person.false_matches)}`);
    item.querySelector(".source").title = person.source;
    item.querySelector(".camera").title = cameraOf(person);
    const button = item.querySelector("button");
    const where = [baseName(person.source), cameraOf(person), whenOf(person)].filter(Boolean).join(", ");
    button.setAttribute("aria-label", person.rank ? `${titleOf(person)}, ${where}` : where);
    button.addEventListener("click", () => this.#onOpen(this, i));
    this.#draw(person, item.querySelector("canvas"), signal);
    for (const other of sighting?.best.slice(1) ?? []) {
      const canvas = document.createElement("canvas");
      const frame = document.createElement("span");
      frame.append(canvas);
      item.querySelector(".crops").append(frame);
      this.#draw(other, canvas, signal);
    }
    return item;
  }

  async #draw(person, canvas, signal) {
    const frame = canvas.parentElement;
    frame.classList.add("loading");
    try {
      if (!person.thumbnail) throw new Error("The gallery keeps no picture of this person.");
      const bitmap = await this.#service.picture(person.thumbnail, signal);
      copyCanvas(bitmap, canvas);
      bitmap.close();
    } catch (error) {
      // A list without one of its pictures is a list still.
      frame.classList.add("missing");
      frame.title = error.message;
    }
    frame.classList.remove("loading");
  }
}
