// What the parts of the page share: elements by id, texts, and what went wrong.

export const $ = (id) => document.getElementById(id);

export const count = (n, one, many) => `${n.toLocaleString()} ${n === 1 ? one : many}`;
export const people = (n) => count(n, "person", "people");

/** An element of a tag, with properties. */
export const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

/** Set a live region's text only where it changes, so that it is read out once. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Say in element `id` what went wrong, with a way to try again where that may help. */
export function showError(id, error, again) {
  const alert = $(id);
  alert.replaceChildren(make("p", { textContent: error.message }));
  if (error.passing && again) {
    const button = make("button", { type: "button", textContent: "Try again" });
    button.addEventListener("click", () => {
      clearError(id);
      again();
    });
    alert.append(button);
  }
  alert.hidden = false;
  document.dispatchEvent(new CustomEvent("trouble", { detail: error }));
}

export function clearError(id) {
  $(id).hidden = true;
  $(id).replaceChildren();
}

/** On a narrow screen what was asked for may lie below, out of sight. */
export function bringIntoView(element) {
  if (element.getBoundingClientRect().top < 0.7 * innerHeight) return;
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  element.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
}

/** Which of some buttons can be pressed. A focus that would be on one that cannot, where keys are lost, moves on. */
export function enable(...states) {
  const focused = states.find(([button]) => button === document.activeElement);
  const there = states.find(([, on]) => on);
  if (focused && !focused[1] && there) {
    there[0].disabled = false;
    there[0].focus();
  }
  for (const [button, on] of states) button.disabled = !on;
}

export function copyCanvas(from, to) {
  to.width = from.width;
  to.height = from.height;
  to.getContext("2d").drawImage(from, 0, 0);
}
