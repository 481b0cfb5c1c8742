// The photos dropped or chosen: one of them shown with its people, and all of them added to the gallery.

import { $, clearError, count, people, setText, showError } from "./dom.js";
import { Picture } from "./picture.js";
import { ServiceAway } from "./service.js";

export class Photos {
  #service;
  #onPick;
  #onShow;
  #onAdded;
  #picture;
  #photos = [];
  #current = 0; // index of the photo shown
  #detecting = new AbortController();
  #adding = false;
  #byKeyboard = false; // whether the photo came in without a mouse or a finger
  #canAdd = false;

  /**
   * @param {Service} service
   * @param {{onPick: (photo: File, box: number[]) => void, onShow: () => void, onAdded: () => Promise<void>}} events
   *   A person was picked; another photo is shown; the gallery has grown.
   */
  constructor(service, { onPick, onShow, onAdded }) {
    [this.#service, this.#onPick, this.#onShow, this.#onAdded] = [service, onPick, onShow, onAdded];
    this.#picture = new Picture({ stage: $("stage"), canvas: $("picture"), boxes: $("boxes") }, (box) => {
      if (this.#picture.drawing) this.#setDrawing(false);
      this.#onPick(this.#photos[this.#current], box);
    });
    this.#listen();
  }

  /** Draw what is in a box of the photo shown; false where the browser cannot show it. */
  crop(box, canvas) {
    return this.#picture.crop(box, canvas);
  }

  /** Whether there is a gallery to add to. */
  set canAdd(can) {
    this.#canAdd = can;
    this.#showAdd();
  }

  #take(files) {
    if (files.length === 0) return;
    this.#photos = [...files];
    this.#show(0);
  }

  /** Show photo `index`; past the last comes the first. */
  async #show(index) {
    this.#current = (index + this.#photos.length) % this.#photos.length;
    const photo = this.#photos[this.#current];
    this.#detecting.abort();
    this.#detecting = new AbortController();
    const { signal } = this.#detecting;
    this.#onShow();
    clearError("photo-alert");
    this.#setDrawing(false);
    $("drop").hidden = true;
    $("stage").hidden = true;
    $("turn").hidden = this.#photos.length < 2;
    setText($("which"), `${this.#current + 1} of ${this.#photos.length}: ${photo.name}`);
    $("tools").hidden = false;
    $("draw").hidden = true;
    this.#showAdd();
    setText($("photo-status"), "Looking for people…");
    document.body.classList.add("detecting");
    try {
      // The service is the judge of what a picture is; people in one that the browser cannot show can be picked still.
      const shown = createImageBitmap(photo).catch(() => null);
      const answer = this.#service.post("/detect", { image: photo }, signal);
      answer.catch(() => {}); // told below, once the photo is on the page
      const bitmap = await shown;
      if (signal.aborted) return;
      this.#picture.show(bitmap, photo.name);
      $("stage").hidden = !bitmap;
      const found = await answer;
      if (signal.aborted) return;
      this.#showFound(found, bitmap);
    } catch (error) {
      if (signal.aborted) return;
      setText($("photo-status"), "");
      showError("photo-alert", error, () => this.#show(index));
      if (error.passing) return;
      // No picture at all: ask for another.
      this.#photos = this.#photos.length > 1 ? this.#photos : [];
      $("tools").hidden = $("stage").hidden = true;
      $("drop").hidden = false;
      this.#showAdd();
    } finally {
      if (!signal.aborted) document.body.classList.remove("detecting");
    }
  }

  #showFound(found, bitmap) {
    this.#picture.setPeople(found);
    $("stage").hidden = false;
    $("draw").hidden = false;
    const n = found.people.length;
    const advice = n
      ? `${people(n)} found. Pick ${n === 1 ? "them" : "one"}, or drag a box around somebody.`
      : "Nobody found. Drag a box around the person you look for.";
    setText($("photo-status"), bitmap ? advice : `${advice} This browser cannot show this kind of picture.`);
    if (this.#byKeyboard && !this.#picture.focus()) $("draw").focus();
  }

  #setDrawing(on) {
    this.#picture.drawing = on;
    $("draw").setAttribute("aria-pressed", String(on));
    if (on) setText($("photo-status"), "Drag a box, or move it by arrow keys, size it with Shift; then press Enter.");
  }

  #showAdd() {
    const n = this.#photos.length;
    $("add").hidden = !this.#canAdd || n === 0;
    $("add-button").disabled = this.#adding;
    setText($("add-button"), n > 1 ? `Add ${n} photos to gallery` : "Add to gallery");
  }

  async #add() {
    const files = this.#photos;
    const camera = $("taken-by").value.trim();
    const failures = [];
    let [indexed, found] = [0, 0];
    this.#adding = true;
    this.#showAdd();
    clearError("photo-alert");
    // One request a photo: many together may be more than the service takes at once.
    for (const [i, file] of files.entries()) {
      setText($("photo-status"), `Adding ${i + 1} of ${files.length}…`);
      try {
        const answer = await this.#service.post("/index", { images: file, camera });
        indexed += answer.indexed;
        found += answer.people;
        failures.push(...answer.failures.map((failure) => `${failure.file}: ${failure.error}`));
      } catch (error) {
        failures.push(`${file.name}: ${error.message}`);
        if (error instanceof ServiceAway) break;
      }
    }
    this.#adding = false;
    this.#showAdd();
    const known = files.length - indexed - failures.length;
    setText(
      $("photo-status"),
      `${count(indexed, "photo", "photos")} with ${people(found)} added to the gallery` +
        (known > 0 ? `, ${known.toLocaleString()} there already.` : "."),
    );
    if (failures.length) showError("photo-alert", new Error(failures.join("\n")));
    await this.#onAdded();
  }

  #listen() {
    for (const id of ["choose", "another"]) {
      $(id).addEventListener("click", (event) => {
        this.#byKeyboard = event.detail === 0;
        $("file").click();
      });
    }
    $("file").addEventListener("change", () => {
      this.#take($("file").files);
      $("file").value = ""; // so that the same file can be chosen again
    });
    $("previous").addEventListener("click", () => this.#show(this.#current - 1));
    $("next").addEventListener("click", () => this.#show(this.#current + 1));
    $("draw").addEventListener("click", () => this.#setDrawing(!this.#picture.drawing));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#picture.drawing) this.#setDrawing(false);
    });
    $("add").addEventListener("submit", (event) => {
      event.preventDefault();
      if (!this.#adding) this.#add();
    });
    document.addEventListener("paste", (event) => {
      this.#byKeyboard = true;
      this.#take(event.clipboardData.files);
    });
    document.addEventListener("dragover", (event) => {
      if (![...event.dataTransfer.types].includes("Files")) return;
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    document.addEventListener("dragleave", (event) => {
      if (!event.relatedTarget) document.body.classList.remove("dropping");
    });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      document.body.classList.remove("dropping");
      this.#byKeyboard = false;
      this.#take(event.dataTransfer.files);
    });
  }
}
