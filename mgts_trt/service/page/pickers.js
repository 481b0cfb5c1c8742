// Whom to look among: fields for camera and time, and the filter language for the rest.

import { fromLocalTime, isClock, localTime } from "./times.js";

export class Pickers {
  #form;

  /**
   * @param {HTMLFormElement} form Its element .pickers takes the fields.
   * @param {HTMLTemplateElement} template Of the fields.
   * @param {() => void} onChange Called when one was changed.
   */
  constructor(form, template, onChange) {
    this.#form = form;
    form.querySelector(".pickers").append(template.content.cloneNode(true));
    for (const name of ["camera", "since", "until"]) {
      this.#field(name).addEventListener("change", () => form.reportValidity() && onChange());
    }
  }

  /** Offer these cameras, and times if any of them has some by the clock. What is picked stays. */
  offer(cameras) {
    const select = this.#field("camera");
    const named = cameras.filter(({ camera }) => camera !== null);
    const picked = select.value;
    const options = named.map(({ camera, people }) => new Option(`${camera} (${people.toLocaleString()})`, camera));
    select.replaceChildren(new Option("All", ""), ...options);
    this.#pick(picked);
    const clock = cameras.some(({ last }) => isClock(last));
    for (const field of this.#form.querySelectorAll(".clock")) {
      field.hidden = !clock && !field.querySelector("input").value;
    }
  }

  /** What is picked, as the service and links take it. */
  get values() {
    return {
      camera: this.#field("camera").value,
      since: fromLocalTime(this.#field("since").value),
      until: fromLocalTime(this.#field("until").value, true),
      where: this.#field("where").value.trim(),
    };
  }

  set values({ camera = "", since, until, where = "" }) {
    this.#pick(camera);
    for (const [name, seconds] of Object.entries({ since, until })) {
      this.#field(name).value = Number.isFinite(Number(seconds)) && seconds ? localTime(Number(seconds)) : "";
      if (seconds) this.#field(name).closest(".clock").hidden = false;
    }
    this.#field("where").value = where;
    if (where) this.#form.querySelector("details").open = true;
  }

  /** Whether anybody may be left out. */
  get any() {
    return Object.values(this.values).some((value) => value !== "");
  }

  /** A camera of a link may have been forgotten meanwhile: it stays what is asked for. */
  #pick(camera) {
    const select = this.#field("camera");
    if (![...select.options].some(({ value }) => value === camera)) select.add(new Option(camera || "All", camera));
    select.value = camera;
  }

  #field(name) {
    return this.#form.elements.namedItem(name);
  }
}
