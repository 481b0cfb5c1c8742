// Who else is looked for, and who is not meant: people of the gallery, added to a search and taken away again.

import { copyCanvas, make } from "./dom.js";

const MOST = 7; // of each kind; with the one first looked for as many as the service takes
const WORDS = { also: "Also like", not: "Not" };

export class Refined {
  #list;
  #service;
  #onChange;
  #ids = { also: [], not: [] };

  /**
   * @param {HTMLUListElement} list
   * @param {Service} service
   * @param {() => void} onChange Called when somebody was added or taken away.
   */
  constructor(list, service, onChange) {
    [this.#list, this.#service, this.#onChange] = [list, service, onChange];
  }

  get ids() {
    return this.#ids;
  }

  /** As links tell it. */
  get state() {
    return { also: this.#ids.also.join(" "), not: this.#ids.not.join(" ") };
  }

  set state({ also = "", not = "" }) {
    const ids = (text) => text.split(" ").filter(Boolean).slice(0, MOST);
    this.#ids = { also: ids(also), not: ids(not) };
    this.#show();
  }

  clear() {
    this.state = {};
  }

  /** Add somebody; the earliest of too many gives way. */
  add(kind, id) {
    const other = kind === "also" ? "not" : "also";
    this.#ids = {
      [kind]: [...this.#ids[kind].filter((each) => each !== id), id].slice(-MOST),
      [other]: this.#ids[other].filter((each) => each !== id),
    };
    this.#show();
    this.#onChange();
  }

  #show() {
    const chips = Object.entries(WORDS).flatMap(([kind, word]) =>
      this.#ids[kind].map((id, i) => {
        const picture = make("canvas", { hidden: true });
        const button = make("button", { type: "button" }, picture, `${word} person ${i + 1} ✕`);
        button.setAttribute("aria-label", `Take away: ${word.toLowerCase()} person ${i + 1}`);
        button.title = id;
        button.addEventListener("click", () => {
          this.#ids = { ...this.#ids, [kind]: this.#ids[kind].filter((each) => each !== id) };
          this.#show();
          (this.#list.querySelector("button") ?? document.querySelector("#search button")).focus();
          this.#onChange();
        });
        this.#draw(id, picture);
        return make("li", {}, button);
      }),
    );
    this.#list.replaceChildren(...chips);
    this.#list.hidden = !chips.length;
  }

  async #draw(id, canvas) {
    try {
      const bitmap = await this.#service.portrait(id);
      copyCanvas(bitmap, canvas);
      bitmap.close();
      canvas.hidden = false;
    } catch {
      // The gallery may keep no picture of them.
    }
  }
}
