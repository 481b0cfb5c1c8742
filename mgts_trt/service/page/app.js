// The page: a photo in, its people on it, the gallery ranked by similarity to the one picked; and the gallery itself.

import { Cards } from "./cards.js";
import { Detail } from "./detail.js";
import { ForgetPerson } from "./forget_person.js";
import { $, bringIntoView, clearError, copyCanvas, people, count, setText, showError } from "./dom.js";
import { GalleryView } from "./gallery.js";
import { packEmbedding, readLink, unpackEmbedding, writeLink } from "./link.js";
import { Photos } from "./photos.js";
import { Pickers } from "./pickers.js";
import { Refined } from "./refined.js";
import { Service, ServiceAway } from "./service.js";
import { Timeline } from "./timeline.js";

const POLL = 15_000; // milliseconds between looks at the service
const POLL_AWAY = 3_000; // while it does not answer

const ADVICE = "Pick a person in a photo, or of the gallery, to rank the gallery by similarity.";

const service = new Service(askKey);
const photos = new Photos(service, { onPick: (photo, box) => search({ photo, box }), onShow: forgetProbe, onAdded: grown });
const matches = new Cards($("matches"), $("card"), service, (cards, i) => detail.open(cards, i, shownProbe()));
const timeline = new Timeline($("timeline-lanes"), (i) =>
  detail.open(matches, i, shownProbe(), (last) => timeline.focus(last) || matches.focus(last)),
);
const refined = new Refined($("refined"), service, again);
const gallery = new GalleryView(service, {
  onOpen: (cards, i) => detail.open(cards, i, null),
  onChange: () => remember(),
  onForgotten: forgotten,
});
const detail = new Detail($("detail"), service, {
  onFind: (person) => {
    forgetPerson.close();
    show("search");
    search({ person: idOf(person) });
  },
  onAlso: (person) => refined.add("also", idOf(person)),
  onNot: (person) => refined.add("not", idOf(person)),
  onForget: (source) => gallery.forget(source).catch((error) => showError("search-alert", error)),
  onForgetPerson: (person) => forgetPerson.open(idOf(person)),
});
const forgetPerson = new ForgetPerson(service, {
  onOpen: (cards, i) => detail.open(cards, i, null),
  onForgotten: personForgotten,
});
const pickers = new Pickers($("search"), $("pickers"), again);

/** Of somebody found: a sighting stands for all its frames. */
const idOf = (person) => person.sighting?.id ?? person.id;

let view = "search";
let probe = null; // {photo, box}, {person} or {embedding, own}: who is looked for
let linked = {}; // what a link tells of the probe
let searching = new AbortController();
let health = null; // the last answer there was
let away = false;

// ------------------------------------------------------------------ the service

function askKey(reason) {
  const dialog = $("key-dialog");
  $("key-reason").textContent = reason;
  $("key").value = "";
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve, reject) => {
    dialog.addEventListener(
      "close",
      () => {
        if (dialog.returnValue === "use") resolve($("key").value);
        else reject(Object.assign(new Error("The service needs a key, and none was given."), { passing: true }));
      },
      { once: true },
    );
  });
}

async function look() {
  const line = $("service");
  try {
    health = await service.health();
    away = false;
  } catch {
    away = true;
  }
  if (away) {
    setText(line, "The service does not answer. Trying again…");
  } else {
    const size = health.gallery;
    const held = size
      ? `${people(size.people)} from ${count(size.frames, "picture", "pictures")}`
      : health.has_gallery
        ? "a gallery"
        : "no gallery";
    setText(line, `${held} · mode ${health.mode} · ${health.backend}, ${health.device}`);
    showAdvice();
  }
  line.classList.toggle("away", away);
  line.classList.toggle("here", !away);
}

async function poll() {
  if (!document.hidden) await look();
  setTimeout(poll, away ? POLL_AWAY : POLL);
}

/** How to come to a gallery, where there is none or nobody in it. */
function showAdvice() {
  const { has_gallery: there } = health;
  const needed = !there || health.gallery?.people === 0;
  $("empty").hidden = !needed;
  $("views").hidden = $("search").hidden = $("search-status").hidden = !there;
  photos.canAdd = there;
  if (!needed) return;
  setText(
    $("empty-text"),
    there
      ? "The gallery is empty. Fill it from a terminal, or add the photo you dropped:"
      : "This service has no gallery, so there is nobody to compare with. Fill one and start the service on it:",
  );
  const commands = ["mgts-trt index PHOTOS… --gallery DIR", "mgts-trt serve --gallery DIR"];
  setText($("empty-command"), commands.slice(0, there ? 1 : 2).join("\n"));
}

/** The cameras that can be picked. Without them the page works all the same. */
async function offerCameras() {
  if (!health?.has_gallery) return;
  const { cameras } = await service.get("/cameras").catch(() => ({ cameras: [] }));
  pickers.offer(cameras);
  gallery.offer(cameras);
}

async function grown() {
  await Promise.all([look(), offerCameras()]);
  if (view === "gallery") await gallery.refresh();
}

async function forgotten(source) {
  detail.close();
  if (matches.items.some((match) => match.source === source)) again();
  await Promise.all([look(), offerCameras(), gallery.refresh()]);
}

async function personForgotten() {
  detail.close();
  if (probe?.person) forgetProbe(); // who may be among them
  else if (matches.items.length) again();
  await Promise.all([look(), offerCameras(), gallery.refresh()]);
}

// ------------------------------------------------------------------ views and links

/** Show one of the views. */
function show(name) {
  view = name;
  for (const each of ["search", "gallery"]) {
    $(`${each}-view`).hidden = each !== name;
    if (each === name) $(`to-${each}`).setAttribute("aria-current", "page");
    else $(`to-${each}`).removeAttribute("aria-current");
  }
}

/** Put what is shown into the address. */
function remember(step = true) {
  const top = $("top").value === $("top").defaultValue ? "" : $("top").value;
  const asked = { ...linked, ...refined.state, ...pickers.values, top, frames: framesAsked(), far: $("far").value };
  writeLink(view === "gallery" ? { view, ...gallery.state } : asked, { step });
}

/** Show what the address tells. */
async function follow() {
  const state = readLink(location.hash);
  detail.close();
  show(state.view === "gallery" ? "gallery" : "search");
  if (view === "gallery") {
    gallery.state = state;
    await gallery.refresh();
    return;
  }
  pickers.values = state;
  $("top").value = state.top ?? $("top").defaultValue;
  $("frames").checked = state.frames === "true";
  $("far").value = state.far ?? "";
  const { person, probe: packed, own, space } = state;
  if (!person && !packed) {
    forgetProbe();
    return;
  }
  try {
    if (packed && space && health?.space && space !== health.space) {
      throw new Error(
        `This link is of a gallery of other weights (${space}; this one: ${health.space}): their embeddings cannot be ` +
          "compared. Search with the photo.",
      );
    }
    const wanted = person ? { person } : { embedding: unpackEmbedding(packed), own, packed };
    await search(wanted, { step: false, refine: state });
  } catch (error) {
    forgetProbe();
    showError("search-alert", error);
  }
}

async function copyLink() {
  remember(false);
  try {
    await navigator.clipboard.writeText(location.href);
    setText($("link-status"), "Copied.");
  } catch {
    setText($("link-status"), "It is the page's address: copy it from there.");
  }
}

// ------------------------------------------------------------------ the search

function forgetProbe() {
  searching.abort();
  [probe, linked] = [null, {}];
  $("probe").hidden = true;
  $("matches").classList.remove("stale");
  detail.close();
  refined.clear();
  showMatches([]);
  clearError("search-alert");
  setText($("search-status"), ADVICE);
  setText($("link-status"), "");
  $("link").hidden = true;
}

/** The picture of who is looked for, or null. */
const shownProbe = () => ($("probe").hidden ? null : $("probe"));

function again() {
  if (probe) return search(probe, { step: false });
  setText($("search-status"), ADVICE);
}

async function search(wanted, { step = true, refine = null } = {}) {
  const same = wanted === probe;
  probe = wanted;
  if (!health?.has_gallery) {
    if (!health) showError("search-alert", new ServiceAway(), () => search(wanted));
    return;
  }
  if (!$("search").reportValidity()) return;
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  clearError("search-alert");
  setText($("link-status"), "");
  if (!same) {
    refined.state = refine ?? {};
    showProbe(wanted, signal);
  }
  setText($("search-status"), "Searching…");
  $("matches").classList.add("stale");
  try {
    const fields = fieldsAsked(wanted);
    const found = await service.post("/search", fields, signal);
    detail.close();
    showMatches(found.matches, signal);
    showMore(found.more, fields, signal);
    showCalibration(found);
    linked = linkOf(wanted, found.probe);
    remember(step);
    $("link").hidden = false;
    const n = found.matches.length;
    const of = `${people(found.people)} in the gallery`;
    const [one, many] = found.kind === "sightings" ? ["sighting", "sightings"] : ["person", "people"];
    const most = n === 1 ? `The most similar ${one}` : `The ${n} most similar ${many}`;
    setText(
      $("search-status"),
      n
        ? `${most} of ${of}.`
        : found.people && (pickers.any || fields.far)
          ? `Nobody matches the conditions, of ${of}.`
          : `${of[0].toUpperCase()}${of.slice(1)}.`,
    );
    bringIntoView($("results"));
  } catch (error) {
    if (signal.aborted) return;
    detail.close();
    showMatches([]);
    setText($("search-status"), "");
    showError("search-alert", error, () => search(wanted));
  } finally {
    if (!signal.aborted) $("matches").classList.remove("stale");
  }
}

const framesAsked = () => ($("frames").checked ? "true" : "");

function fieldsAsked(wanted) {
  const fields = fieldsOf(wanted);
  const { also, not } = refined.ids;
  const person = [fields.person ?? [], also].flat();
  const asked = { frames: framesAsked(), far: $("far").value, top: $("top").value };
  return { ...fields, person, not_person: not, ...pickers.values, ...asked };
}

function showMatches(found, signal) {
  matches.show(found, signal);
  $("timeline").hidden = !timeline.show(found);
  $("more").hidden = true;
  setText($("calibration"), "");
}

/** Offer the matches that come after these. */
function showMore(more, fields, signal) {
  $("more").hidden = !more;
  $("more").onclick = async () => {
    $("more").disabled = true;
    try {
      const n = matches.items.length;
      const next = await service.post("/search", { ...fields, offset: String(n) }, signal);
      matches.append(next.matches, signal);
      $("timeline").hidden = !timeline.show(matches.items);
      showMore(next.more, fields, signal);
      matches.focus(n);
    } catch (error) {
      if (!signal.aborted) showError("search-alert", error);
    } finally {
      $("more").disabled = false;
    }
  };
}

/** Where the false-match rates come from, or why there are none. */
function showCalibration({ calibration, matches: found }) {
  $("far-field").hidden = !calibration && !$("far").value;
  const known = calibration
    ? `False-match rates are of ${count(calibration.pairs, "pair", "pairs")} of different people (${calibration.of}): ` +
      "so many look at least so alike by chance."
    : "This bundle is not calibrated in this mode: similarities tell an order, but no rate of false matches.";
  setText($("calibration"), found.length ? known : "");
}

const fieldsOf = ({ photo, box, person, embedding, own }) =>
  photo
    ? { image: photo, box: box.map((value) => value.toFixed(2)).join(",") }
    : person
      ? { person }
      : { embedding: JSON.stringify(embedding), own };

/** A link holds the embedding of who was picked in a photo: the photo itself stays on this computer. */
const linkOf = ({ person, packed, own }, found) =>
  person
    ? { person }
    : { probe: packed ?? packEmbedding(found.embedding), own: packed ? own : found.own, space: health.space };

async function showProbe({ photo, box, person }, signal) {
  $("probe").hidden = !photo || !photos.crop(box, $("probe"));
  if (!person) return;
  try {
    const bitmap = await service.portrait(person, signal);
    copyCanvas(bitmap, $("probe"));
    bitmap.close();
    $("probe").hidden = false;
  } catch {
    // The gallery may keep no picture of them; the search tells what else is wrong.
  }
}

// ------------------------------------------------------------------ events

$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  again();
});
for (const id of ["top", "frames", "far"]) $(id).addEventListener("change", again);
$("link").addEventListener("click", copyLink);
$("to-search").addEventListener("click", () => {
  show("search");
  remember();
});
$("to-gallery").addEventListener("click", () => {
  show("gallery");
  remember();
  gallery.refresh();
});
addEventListener("popstate", follow);
document.addEventListener("visibilitychange", () => !document.hidden && look());
document.addEventListener("trouble", ({ detail: error }) => error instanceof ServiceAway && look());

setText($("search-status"), ADVICE);
await poll();
try {
  if (health?.key_needed) await service.needKey();
  await offerCameras();
  if (location.hash) await follow();
} catch (error) {
  showError("photo-alert", error);
}
