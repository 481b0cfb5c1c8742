// The page: a photo in, its people on it, the gallery ranked by likeness to the one picked.

import { Picture } from "./picture.js";
import { Ranking } from "./ranking.js";
import { Service, ServiceAway } from "./service.js";

const POLL = 15_000; // milliseconds between looks at the service
const POLL_AWAY = 3_000; // while it does not answer

const ADVICE = "Pick a person in a photo to rank the gallery by likeness.";

const $ = (id) => document.getElementById(id);
const service = new Service(askKey);
const picture = new Picture({ stage: $("stage"), canvas: $("picture"), boxes: $("boxes") }, search);
const ranking = new Ranking($("matches"), $("match"), $("detail"), $("probe"), (path, signal) =>
  service.picture(path, signal),
);

let photos = []; // what was dropped or chosen
let current = 0; // index of the photo shown
let probe = null; // the box looked for, in the photo shown
let detecting = new AbortController();
let searching = new AbortController();
let adding = false;
let byKeyboard = false; // whether the photo came in without a mouse or a finger
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

const count = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;
const people = (n) => count(n, "person", "people");

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
    const gallery = size
      ? `${people(size.people)} from ${count(size.frames, "picture", "pictures")}`
      : health.has_gallery
        ? "a gallery"
        : "no gallery";
    setText(line, `${gallery} · mode ${health.mode} · ${health.backend}, ${health.device}`);
    showAdvice();
  }
  line.classList.toggle("away", away);
  line.classList.toggle("here", !away);
}

/** Set a live region's text only where it changes, so that it is read out once. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

async function poll() {
  if (!document.hidden) await look();
  setTimeout(poll, away ? POLL_AWAY : POLL);
}

/** How to come to a gallery, where there is none or nobody in it. */
function showAdvice() {
  const { has_gallery: gallery } = health;
  const needed = !gallery || health.gallery?.people === 0;
  $("empty").hidden = !needed;
  $("search").hidden = $("search-status").hidden = !gallery;
  showAdd();
  if (!needed) return;
  setText(
    $("empty-text"),
    gallery
      ? "The gallery is empty. Fill it from a terminal, or add the photo you dropped:"
      : "This service has no gallery, so there is nobody to compare with. Fill one and start the service on it:",
  );
  const commands = ["mgts-trt index BUNDLE PHOTOS… --gallery DIR", "mgts-trt serve BUNDLE --gallery DIR"];
  setText($("empty-command"), commands.slice(0, gallery ? 1 : 2).join("\n"));
}

// ------------------------------------------------------------------ what went wrong

/** Say in `id` what went wrong, with a way to try again where that may help. */
function showError(id, error, again) {
  const alert = $(id);
  alert.replaceChildren(Object.assign(document.createElement("p"), { textContent: error.message }));
  if (error.passing && again) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Try again" });
    button.addEventListener("click", () => {
      clearError(id);
      again();
    });
    alert.append(button);
  }
  alert.hidden = false;
  if (error instanceof ServiceAway) look();
}

function clearError(id) {
  $(id).hidden = true;
  $(id).replaceChildren();
}

// ------------------------------------------------------------------ the photo

function take(files) {
  if (files.length === 0) return;
  photos = [...files];
  showPhoto(0);
}

/** Show photo `index`; past the last comes the first. */
async function showPhoto(index) {
  current = (index + photos.length) % photos.length;
  const photo = photos[current];
  detecting.abort();
  detecting = new AbortController();
  const { signal } = detecting;
  forgetProbe();
  clearError("photo-alert");
  setDrawing(false);
  $("drop").hidden = true;
  $("stage").hidden = true;
  $("turn").hidden = photos.length < 2;
  setText($("which"), `${current + 1} of ${photos.length}: ${photo.name}`);
  $("tools").hidden = false;
  $("draw").hidden = true;
  showAdd();
  setText($("photo-status"), "Looking for people…");
  document.body.classList.add("detecting");
  try {
    // The service is the judge of what a picture is; people in one that the browser cannot show can be picked still.
    const shown = createImageBitmap(photo).catch(() => null);
    const answer = service.post("/detect", { image: photo }, signal);
    answer.catch(() => {}); // told below, once the photo is on the page
    const bitmap = await shown;
    if (signal.aborted) return;
    picture.show(bitmap, photo.name);
    $("stage").hidden = !bitmap;
    const found = await answer;
    if (signal.aborted) return;
    showFound(found, bitmap);
  } catch (error) {
    if (signal.aborted) return;
    setText($("photo-status"), "");
    showError("photo-alert", error, () => showPhoto(index));
    if (error.passing) return;
    // No picture at all: ask for another.
    photos = photos.length > 1 ? photos : [];
    $("tools").hidden = $("stage").hidden = true;
    $("drop").hidden = false;
    showAdd();
  } finally {
    if (!signal.aborted) document.body.classList.remove("detecting");
  }
}

function showFound(found, bitmap) {
  picture.setPeople(found);
  $("stage").hidden = false;
  $("draw").hidden = false;
  const n = found.people.length;
  const advice = n
    ? `${people(n)} found. Pick ${n === 1 ? "them" : "one"}, or drag a box around somebody.`
    : "Nobody found. Drag a box around the person you look for.";
  setText($("photo-status"), bitmap ? advice : `${advice} This browser cannot show this kind of picture.`);
  if (byKeyboard && !picture.focus()) $("draw").focus();
}

function setDrawing(on) {
  picture.drawing = on;
  $("draw").setAttribute("aria-pressed", String(on));
  if (on) setText($("photo-status"), "Drag a box, or move it by arrow keys, size it with Shift; then press Enter.");
}

// ------------------------------------------------------------------ the search

function forgetProbe() {
  searching.abort();
  probe = null;
  $("probe").hidden = true;
  $("matches").classList.remove("stale");
  ranking.clear();
  clearError("search-alert");
  setText($("search-status"), ADVICE);
}

async function search(box) {
  if (picture.drawing) setDrawing(false);
  probe = box;
  if (!health?.has_gallery) {
    if (!health) showError("search-alert", new ServiceAway(), () => search(box));
    return;
  }
  if (!$("search").reportValidity()) return;
  searching.abort();
  searching = new AbortController();
  const { signal } = searching;
  clearError("search-alert");
  $("probe").hidden = !picture.crop(box, $("probe"));
  setText($("search-status"), "Searching…");
  $("matches").classList.add("stale");
  const fields = {
    image: photos[current],
    box: box.map((value) => value.toFixed(2)).join(","),
    top: $("top").value,
    where: $("where").value.trim(),
  };
  try {
    const { matches, people: all } = await service.post("/search", fields, signal);
    ranking.show(matches, signal);
    const of = `${people(all)} in the gallery`;
    setText(
      $("search-status"),
      matches.length
        ? `The ${matches.length} likest of ${of}.`
        : all && fields.where
          ? `Nobody matches the filter, of ${of}.`
          : `${of[0].toUpperCase()}${of.slice(1)}.`,
    );
    bringIntoView($("results"));
  } catch (error) {
    if (signal.aborted) return;
    ranking.clear();
    setText($("search-status"), "");
    showError("search-alert", error, () => search(box));
  } finally {
    if (!signal.aborted) $("matches").classList.remove("stale");
  }
}

/** On a narrow screen the ranking lies below the photo, out of sight. */
function bringIntoView(element) {
  if (element.getBoundingClientRect().top < 0.7 * innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

// ------------------------------------------------------------------ adding to the gallery

function showAdd() {
  $("add").hidden = !health?.has_gallery || photos.length === 0;
  $("add-button").disabled = adding;
  setText($("add-button"), photos.length > 1 ? `Add ${photos.length} photos to gallery` : "Add to gallery");
}

async function addPhotos() {
  const files = photos;
  const camera = $("camera").value.trim();
  const failures = [];
  let [indexed, found] = [0, 0];
  adding = true;
  showAdd();
  clearError("photo-alert");
  // One request a photo: many together may be more than the service takes at once.
  for (const [i, file] of files.entries()) {
    setText($("photo-status"), `Adding ${i + 1} of ${files.length}…`);
    try {
      const answer = await service.post("/index", { images: file, camera });
      indexed += answer.indexed;
      found += answer.people;
      failures.push(...answer.failures.map((failure) => `${failure.file}: ${failure.error}`));
    } catch (error) {
      failures.push(`${file.name}: ${error.message}`);
      if (error instanceof ServiceAway) break;
    }
  }
  adding = false;
  const known = files.length - indexed - failures.length;
  setText(
    $("photo-status"),
    `${count(indexed, "photo", "photos")} with ${people(found)} added to the gallery` +
      (known > 0 ? `, ${known.toLocaleString()} there already.` : "."),
  );
  if (failures.length) showError("photo-alert", new Error(failures.join("\n")));
  await look();
}

// ------------------------------------------------------------------ events

for (const id of ["choose", "another"]) {
  $(id).addEventListener("click", (event) => {
    byKeyboard = event.detail === 0;
    $("file").click();
  });
}
$("file").addEventListener("change", () => {
  take($("file").files);
  $("file").value = ""; // so that the same file can be chosen again
});
$("previous").addEventListener("click", () => showPhoto(current - 1));
$("next").addEventListener("click", () => showPhoto(current + 1));
$("draw").addEventListener("click", () => setDrawing(!picture.drawing));
document.addEventListener("keydown", (event) => event.key === "Escape" && picture.drawing && setDrawing(false));
$("add").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!adding) addPhotos();
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  if (probe) search(probe);
  else setText($("search-status"), ADVICE);
});
$("top").addEventListener("change", () => probe && search(probe));

document.addEventListener("paste", (event) => {
  byKeyboard = true;
  take(event.clipboardData.files);
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
  byKeyboard = false;
  take(event.dataTransfer.files);
});
document.addEventListener("visibilitychange", () => !document.hidden && look());

setText($("search-status"), ADVICE);
await poll();
if (health?.key_needed) {
  service.needKey().catch((error) => showError("photo-alert", error));
}
