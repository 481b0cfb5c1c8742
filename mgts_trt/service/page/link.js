// What the page shows, as the part of its address after the #: a link that reproduces it.

const NAMES = [
  ...["view", "person", "probe", "own", "space", "also", "not"],
  ...["camera", "source", "since", "until", "where", "top", "frames", "far", "kind", "page"],
];

/** The state that an address tells: texts by name. */
export function readLink(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  return Object.fromEntries(NAMES.filter((name) => given.get(name)).map((name) => [name, given.get(name)]));
}

/** Put a state into the address; as a step of its own, to which Back returns, or in the place of the last. */
export function writeLink(state, { step = true } = {}) {
  const given = NAMES.filter((name) => state[name] !== undefined && state[name] !== null && state[name] !== "");
  const hash = new URLSearchParams(given.map((name) => [name, state[name]])).toString();
  if (hash === location.hash.slice(1)) return;
  history[step ? "pushState" : "replaceState"](null, "", hash ? `#${hash}` : location.pathname);
}

/** An embedding as text: float32, little endian, in base64 for addresses. */
export function packEmbedding(values) {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, i) => view.setFloat32(4 * i, value, true));
  const text = btoa(String.fromCharCode(...new Uint8Array(view.buffer)));
  return text.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @throws {Error} The text is no such thing. */
export function unpackEmbedding(text) {
  try {
    const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    return Array.from({ length: bytes.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  } catch {
    throw new Error("This link is damaged: it does not say who is looked for. Ask for it again.");
  }
}
