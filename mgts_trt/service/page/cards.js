// A list of people of the gallery: a card each, with the small picture of them.

import { copyCanvas } from "./dom.js";
import { formatTime } from "./times.js";

/** The last part of a path or URL. */
export const baseName = (source) => source.split(/[\\/]/).filter(Boolean).pop() ?? source;

const cameraOf = (person) => (person.camera ? `camera ${person.camera}` : "");
const whenOf = (person) => formatTime(person.time) || (person.number ? `frame ${person.number}` : "");

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
    item.querySelector(".source").title = person.source;
    item.querySelector(".camera").title = cameraOf(person);
    const button = item.querySelector("button");
    const where = [baseName(person.source), cameraOf(person), whenOf(person)].filter(Boolean).join(", ");
    button.setAttribute("aria-label", person.rank ? `${titleOf(person)}, ${where}` : where);
    button.addEventListener("click", () => this.#onOpen(this, i));
    this.#draw(person, item.querySelector("canvas"), signal);
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
    } catch {
      // A list without one of its pictures is a list still.
      frame.classList.add("missing");
    }
    frame.classList.remove("loading");
  }
}
