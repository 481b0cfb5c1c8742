// The view of the gallery: its people page by page, and its sources, which can be forgotten.

import { Cards, itemOf } from "./cards.js";
import { $, bringIntoView, clearError, count, enable, make, people, setText, showError } from "./dom.js";
import { Pickers } from "./pickers.js";
import { formatTime } from "./times.js";

const PAGE = 24; // people on a page
const SOURCES = 50; // sources in the list at once

export class GalleryView {
  #service;
  #onChange;
  #onForgotten;
  #cards;
  #pickers;
  #page = 0;
  #source = "";
  #sourcesAt = 0;
  #showing = new AbortController();
  #listing = new AbortController();

  /**
   * @param {Service} service
   * @param {{onOpen, onChange: () => void, onForgotten: (source: string) => Promise<void>}} events A card was picked;
   *   what is shown has changed; a source is gone.
   */
  constructor(service, { onOpen, onChange, onForgotten }) {
    [this.#service, this.#onChange, this.#onForgotten] = [service, onChange, onForgotten];
    this.#cards = new Cards($("browse-people"), $("card"), service, onOpen);
    this.#pickers = new Pickers($("browse"), $("pickers"), () => this.#start());
    $("browse-kind").addEventListener("change", () => this.#start());
    $("browse").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    $("page-previous").addEventListener("click", () => this.#turn(this.#page - 1));
    $("page-next").addEventListener("click", () => this.#turn(this.#page + 1));
    $("all-sources").addEventListener("click", () => {
      this.#only("");
      $("browse").querySelector("select").focus(); // the button has gone
    });
    $("find-source").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#sourcesAt = 0;
      this.#showSources();
    });
    $("sources-previous").addEventListener("click", () => this.#turnSources(-SOURCES));
    $("sources-next").addEventListener("click", () => this.#turnSources(SOURCES));
  }

  /** What a link tells of this view. */
  get state() {
    return { ...this.#pickers.values, kind: $("browse-kind").value, source: this.#source, page: this.#page ? this.#page + 1 : "" };
  }

  set state(state) {
    this.#pickers.values = state;
    $("browse-kind").value = state.kind === "sightings" ? "sightings" : "";
    this.#source = state.source ?? "";
    this.#page = Math.max(0, Math.floor(Number(state.page) || 1) - 1);
  }

  offer(cameras) {
    this.#pickers.offer(cameras);
  }

  /** Ask the service for the page and the sources anew. */
  async refresh() {
    await Promise.all([this.#showPeople(), this.#showSources()]);
  }

  /** Forget a source once the user has said so again. */
  async forget(source) {
    const [about] = (await this.#service.get("/sources", { containing: source })).sources.filter(
      (each) => each.source === source,
    );
    const dialog = $("forget-dialog");
    setText($("forget-source"), source);
    setText(
      $("forget-what"),
      about
        ? `${people(about.people)} from ${count(about.frames, "picture or frame", "pictures or frames")} ` +
            "will be erased from the gallery for good. The source itself stays where it is."
        : "All that it brought will be erased from the gallery for good.",
    );
    clearError("forget-alert");
    setText($("forget-status"), "");
    $("forget-yes").disabled = false;
    dialog.showModal();
    $("forget-no").focus();
    $("forget-yes").onclick = async () => {
      $("forget-yes").disabled = true;
      setText($("forget-status"), "Erasing… this takes a while in a large gallery.");
      try {
        const answer = await this.#service.delete("/sources", { source });
        dialog.close();
        if (this.#source === source) this.#source = "";
        await this.#onForgotten(source);
        if (document.activeElement === document.body) $("source-name").focus();
        setText($("browse-status"), `${people(answer.people)} of ${source} forgotten. ${$("browse-status").textContent}`);
      } catch (error) {
        setText($("forget-status"), "");
        const goesOn = "It takes longer than the service may answer, and goes on all the same. Look again in a while.";
        showError("forget-alert", error.status === 504 ? new Error(goesOn) : error);
        $("forget-yes").disabled = false;
      }
    };
  }

  /** From the first page on, of what is picked now. */
  #start() {
    this.#turn(0);
  }

  #turn(page) {
    this.#page = page;
    this.#onChange();
    return this.#showPeople();
  }

  #only(source) {
    this.#source = source;
    this.#markSource();
    this.#start();
    bringIntoView($("browse-status"));
  }

  async #showPeople() {
    this.#showing.abort();
    this.#showing = new AbortController();
    const { signal } = this.#showing;
    clearError("browse-alert");
    $("browse-people").classList.add("stale");
    try {
      const query = { ...this.#pickers.values, source: this.#source, offset: PAGE * this.#page, limit: PAGE };
      const kind = $("browse-kind").value || "people";
      const found = await this.#service.get(`/${kind}`, query, signal);
      const page = found[kind];
      if (this.#page && !page.length && found.total) {
        await this.#turn(Math.ceil(found.total / PAGE) - 1); // a page of a link, of what is gone meanwhile
        return;
      }
      this.#cards.show(kind === "people" ? page : page.flatMap(itemOf), signal);
      const first = PAGE * this.#page + 1;
      const of = this.#source ? ` of ${this.#source}` : "";
      setText(
        $("browse-status"),
        found.total
          ? `${kind === "people" ? people(found.total) : count(found.total, "sighting", "sightings")}${of}; ` +
              `${first.toLocaleString()} to ${(first + page.length - 1).toLocaleString()} are shown.`
          : this.#pickers.any || of
            ? `Nobody${of} fulfils the conditions.`
            : kind === "people"
              ? "Nobody is in the gallery."
              : "There are no sightings: of photos there are none, and an older gallery needs mgts-trt gallery upgrade.",
      );
      const pages = Math.ceil(found.total / PAGE);
      $("browse-pages").hidden = pages < 2;
      setText($("page-which"), `Page ${this.#page + 1} of ${pages.toLocaleString()}`);
      enable([$("page-previous"), this.#page > 0], [$("page-next"), this.#page + 1 < pages]);
    } catch (error) {
      if (signal.aborted) return;
      this.#cards.clear();
      $("browse-pages").hidden = true;
      setText($("browse-status"), "");
      showError("browse-alert", error, () => this.#showPeople());
    } finally {
      if (!signal.aborted) $("browse-people").classList.remove("stale");
    }
  }

  #turnSources(by) {
    this.#sourcesAt = Math.max(0, this.#sourcesAt + by);
    this.#showSources();
  }

  async #showSources() {
    this.#listing.abort();
    this.#listing = new AbortController();
    const { signal } = this.#listing;
    clearError("sources-alert");
    try {
      const query = { containing: $("source-name").value.trim(), offset: this.#sourcesAt, limit: SOURCES };
      const { sources, total } = await this.#service.get("/sources", query, signal);
      $("sources").replaceChildren(...sources.map((source) => this.#makeSource(source)));
      this.#markSource();
      const to = this.#sourcesAt + sources.length;
      const which = total > SOURCES ? `; ${(this.#sourcesAt + 1).toLocaleString()} to ${to.toLocaleString()} are shown` : "";
      setText($("sources-status"), `${count(total, "source", "sources")}${which}.`);
      $("sources-pages").hidden = total <= SOURCES;
      enable([$("sources-previous"), this.#sourcesAt > 0], [$("sources-next"), to < total]);
    } catch (error) {
      if (!signal.aborted) showError("sources-alert", error, () => this.#showSources());
    }
  }

  #makeSource({ source, cameras, frames, people: seen, first, last }) {
    const when = first === null ? "" : first === last ? formatTime(first) : `${formatTime(first)} to ${formatTime(last)}`;
    const about = [
      people(seen),
      frames > 1 ? count(frames, "frame", "frames") : "",
      cameras.length ? `camera ${cameras.join(", ")}` : "",
      when,
    ];
    const show = make("button", { type: "button", className: "source-name", textContent: source });
    show.addEventListener("click", () => this.#only(source));
    const forget = make("button", { type: "button", className: "forget", textContent: "Forget…" });
    forget.setAttribute("aria-label", `Forget ${source}`);
    forget.addEventListener("click", () => this.forget(source).catch((error) => showError("sources-alert", error)));
    const text = make("p", { className: "muted", textContent: about.filter(Boolean).join(" · ") });
    return make("li", {}, show, forget, text);
  }

  #markSource() {
    $("all-sources").hidden = !this.#source;
    for (const button of $("sources").querySelectorAll(".source-name")) {
      button.setAttribute("aria-pressed", String(button.textContent === this.#source));
    }
  }
}
