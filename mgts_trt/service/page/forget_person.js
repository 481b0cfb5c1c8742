// A dialog that forgets somebody of the gallery: it shows who is as alike, and would go, before anything is erased.

import { Cards } from "./cards.js";
import { $, clearError, count, setText, showError } from "./dom.js";

const LIKENESS = 0.75;
const SETTLED = 250; // milliseconds without a move of the slider until the gallery is asked

export class ForgetPerson {
  #service;
  #onForgotten;
  #cards;
  #id = null;
  #looked = null; // how many embeddings those who were shown have
  #looking = new AbortController();
  #waiting = 0;

  /**
   * @param {Service} service
   * @param {{onOpen, onForgotten}} actions Called with cards and a place when somebody shown is picked; once they have
   *   been forgotten.
   */
  constructor(service, { onOpen, onForgotten }) {
    this.#service = service;
    this.#onForgotten = onForgotten;
    this.#cards = new Cards($("forget-person-list"), $("card"), service, onOpen);
    const slider = $("forget-person-likeness");
    slider.addEventListener("input", () => {
      this.#stop();
      setText($("forget-person-least"), slider.value);
      this.#waiting = setTimeout(() => this.#look(), SETTLED);
    });
    $("forget-person-yes").addEventListener("click", () => this.#forget());
    $("forget-person-dialog").addEventListener("close", () => {
      this.#stop();
      this.#cards.clear();
    });
  }

  /** Ask about somebody, by the id of a person or a sighting. */
  open(id) {
    const dialog = $("forget-person-dialog");
    this.close();
    this.#id = id;
    $("forget-person-likeness").value = LIKENESS;
    setText($("forget-person-least"), $("forget-person-likeness").value);
    dialog.showModal();
    $("forget-person-no").focus();
    this.#look();
  }

  close() {
    if ($("forget-person-dialog").open) $("forget-person-dialog").close();
  }

  #fields(more) {
    return { person: this.#id, likeness: $("forget-person-likeness").value, ...more };
  }

  /** Whoever is shown may no longer be who would go. */
  #stop() {
    clearTimeout(this.#waiting);
    this.#looking.abort();
    this.#looked = null;
    $("forget-person-yes").disabled = true;
  }

  async #look() {
    this.#stop();
    this.#looking = new AbortController();
    const { signal } = this.#looking;
    clearError("forget-person-alert");
    setText($("forget-person-status"), "Looking who is so alike…");
    try {
      const found = await this.#service.post("/forget", this.#fields({ dry_run: "true" }), signal);
      this.#cards.show(found.leaving.map((each, i) => ({ ...each, rank: i + 1 })), signal);
      setText($("forget-person-status"), told(found));
      this.#looked = found.people;
      $("forget-person-yes").disabled = !found.people;
    } catch (error) {
      if (signal.aborted) return;
      this.#cards.clear();
      setText($("forget-person-status"), "");
      showError("forget-person-alert", error, () => this.#look());
    }
  }

  async #forget() {
    const expected = this.#looked;
    if (expected === null) return;
    $("forget-person-yes").disabled = $("forget-person-likeness").disabled = true;
    setText($("forget-person-status"), "Erasing… this takes a while in a large gallery.");
    try {
      await this.#service.post("/forget", this.#fields({ dry_run: "false", expected: String(expected) }));
      this.close();
      await this.#onForgotten();
    } catch (error) {
      setText($("forget-person-status"), "");
      const goesOn = "It takes longer than the service may answer, and goes on all the same. Look again in a while.";
      showError("forget-person-alert", error.status === 504 ? new Error(goesOn) : error, () => this.#look());
      if (error.status === 409) await this.#look(); // others were added meanwhile: they are to be looked at first
    } finally {
      $("forget-person-likeness").disabled = false;
    }
  }
}

/** Who would go, in a sentence. */
function told({ people, sightings, photos, leaving }) {
  if (!people) return "Nobody in the gallery is so alike.";
  const who = [
    sightings && count(sightings, "sighting", "sightings"),
    photos && count(photos, "person in a photo", "people in photos"),
  ].filter(Boolean);
  const some = leaving.length < sightings + photos ? " The most and the least alike of them are shown." : "";
  return `${who.join(" and ")} would be erased, ${count(people, "embedding", "embeddings")} in all.${some}`;
}
