// The photo with the people on it: boxes to pick, and a box of one's own.

const LARGEST = 2000; // pixels of the canvas's longer side; the photo itself is sent as it is
const DRAG = 6; // pixels of the screen that tell a drag from a click
const STEP = 0.02; // of the photo's side, for one press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

/** Boxes are [x1, y1, x2, y2] in pixels of the photo. */
export class Picture {
  #stage;
  #canvas;
  #boxes;
  #onPick;
  #bitmap = null;
  #size = { width: 1, height: 1 };
  #own = null; // the user's box: a button in #boxes
  #drag = null;
  #dragged = false;

  /**
   * @param {{stage: HTMLElement, canvas: HTMLCanvasElement, boxes: HTMLElement}} elements
   * @param {(box: number[]) => void} onPick Called when a person or a drawn box is picked.
   */
  constructor({ stage, canvas, boxes }, onPick) {
    this.#stage = stage;
    this.#canvas = canvas;
    this.#boxes = boxes;
    this.#onPick = onPick;
    boxes.addEventListener("keydown", (event) => this.#key(event));
    stage.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    stage.addEventListener("pointermove", (event) => this.#pointerMove(event));
    stage.addEventListener("pointerup", () => this.#pointerUp());
    stage.addEventListener("pointercancel", () => this.#cancelDrag());
    stage.addEventListener("click", (event) => this.#click(event), { capture: true });
  }

  /** Show a photo without people. `bitmap` is null where the browser cannot decode the file. */
  show(bitmap, name) {
    this.#bitmap?.close();
    this.#bitmap = bitmap;
    this.#boxes.replaceChildren();
    this.#own = null;
    this.#canvas.setAttribute("aria-label", `Photo ${name}`);
    if (bitmap) this.#setSize(bitmap);
  }

  /** Put the people of /detect on the photo. */
  setPeople({ image, people }) {
    this.#setSize(image);
    const area = ({ box: [x1, y1, x2, y2] }) => (x2 - x1) * (y2 - y1);
    const largestFirst = [...people].sort((a, b) => area(b) - area(a));
    people.forEach((person, i) => {
      const name = `Person ${i + 1}, score ${person.score.toFixed(2)}`;
      const button = this.#makeBox(person.box, name, i + 1);
      button.tabIndex = i === 0 ? 0 : -1;
      // A small person in front of a large one stays within reach.
      button.style.zIndex = 1 + largestFirst.indexOf(person);
    });
  }

  /** Focus the first person; false where there is nobody. */
  focus() {
    const first = this.#boxes.querySelector(".box");
    first?.focus({ preventScroll: true });
    return Boolean(first);
  }

  get drawing() {
    return this.#stage.classList.contains("drawing");
  }

  /** In drawing mode touch draws, too, and there is a box that the arrow keys move and size. */
  set drawing(on) {
    this.#stage.classList.toggle("drawing", on);
    if (!on) return;
    if (!this.#own) {
      const { width, height } = this.#size;
      this.#setOwn([0.4 * width, 0.25 * height, 0.6 * width, 0.75 * height]);
    }
    this.#own.focus({ preventScroll: true });
  }

  /** Draw the box's content onto a canvas. */
  crop([x1, y1, x2, y2], canvas) {
    if (!this.#bitmap) return false;
    const scale = this.#bitmap.width / this.#size.width;
    const [left, top] = [Math.floor(x1 * scale), Math.floor(y1 * scale)];
    canvas.width = Math.max(1, Math.ceil(x2 * scale) - left);
    canvas.height = Math.max(1, Math.ceil(y2 * scale) - top);
    canvas.getContext("2d").drawImage(this.#bitmap, -left, -top);
    return true;
  }

  #setSize({ width, height }) {
    this.#size = { width, height };
    const scale = Math.min(1, LARGEST / Math.max(width, height));
    this.#canvas.width = Math.max(1, Math.round(width * scale));
    this.#canvas.height = Math.max(1, Math.round(height * scale));
    this.#stage.style.setProperty("--ratio", width / height);
    if (this.#bitmap) {
      const context = this.#canvas.getContext("2d");
      context.imageSmoothingQuality = "high";
      context.drawImage(this.#bitmap, 0, 0, this.#canvas.width, this.#canvas.height);
    }
  }

  #makeBox(box, name, tag) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "box";
    button.title = name;
    button.setAttribute("aria-label", name);
    button.setAttribute("aria-pressed", "false");
    button.append(Object.assign(document.createElement("span"), { className: "tag", textContent: tag }));
    button.addEventListener("click", () => this.#pick(button));
    this.#place(button, box);
    this.#boxes.append(button);
    return button;
  }

  #place(button, box) {
    const { width, height } = this.#size;
    const [x1, y1, x2, y2] = box;
    button.coordinates = box;
    // Styles set from a script are no inline styles to a content security policy.
    Object.assign(button.style, {
      left: `${(100 * x1) / width}%`,
      top: `${(100 * y1) / height}%`,
      width: `${(100 * (x2 - x1)) / width}%`,
      height: `${(100 * (y2 - y1)) / height}%`,
    });
  }

  #setOwn(box) {
    if (this.#own) {
      this.#place(this.#own, box);
      return;
    }
    this.#own = this.#makeBox(box, "Your box. Arrow keys move it, with Shift they size it, Enter searches.", "drawn");
    this.#own.classList.add("own");
  }

  #pick(button) {
    for (const each of this.#boxes.children) each.setAttribute("aria-pressed", String(each === button));
    this.#onPick(button.coordinates);
  }

  #key(event) {
    const people = [...this.#boxes.querySelectorAll(".box:not(.own)")];
    const arrow = ARROWS[event.key];
    if (event.target === this.#own && arrow) {
      this.#moveOwn(arrow, event.shiftKey);
    } else if (people.includes(event.target) && (arrow || event.key === "Home" || event.key === "End")) {
      // From left to right through the photo, whatever the order of the scores.
      people.sort((a, b) => a.coordinates[0] + a.coordinates[2] - b.coordinates[0] - b.coordinates[2]);
      const at = people.indexOf(event.target) + (arrow ? arrow[0] + arrow[1] : 0);
      const to = event.key === "Home" ? 0 : event.key === "End" ? -1 : at % people.length;
      for (const each of people) each.tabIndex = -1;
      people.at(to).tabIndex = 0;
      people.at(to).focus();
    } else {
      return;
    }
    event.preventDefault();
  }

  #moveOwn([dx, dy], resize) {
    const { width, height } = this.#size;
    let [x1, y1, x2, y2] = this.#own.coordinates;
    const [stepX, stepY] = [dx * STEP * width, dy * STEP * height];
    if (resize) {
      x2 = clamp(x2 + stepX, x1 + STEP * width, width);
      y2 = clamp(y2 + stepY, y1 + STEP * height, height);
    } else {
      const [moveX, moveY] = [clamp(stepX, -x1, width - x2), clamp(stepY, -y1, height - y2)];
      [x1, x2, y1, y2] = [x1 + moveX, x2 + moveX, y1 + moveY, y2 + moveY];
    }
    this.#setOwn([x1, y1, x2, y2]);
  }

  #point(event) {
    const { left, top, width, height } = this.#canvas.getBoundingClientRect();
    return [
      clamp((event.clientX - left) / width, 0, 1) * this.#size.width,
      clamp((event.clientY - top) / height, 0, 1) * this.#size.height,
    ];
  }

  #pointerDown(event) {
    this.#dragged = false;
    // Touch scrolls the page, unless drawing was asked for.
    if (event.button !== 0 || !event.isPrimary || (event.pointerType === "touch" && !this.drawing)) return;
    this.#drag = { at: [event.clientX, event.clientY], from: this.#point(event) };
  }

  #pointerMove(event) {
    if (!this.#drag) return;
    if (!this.#dragged) {
      const [x, y] = this.#drag.at;
      if (Math.hypot(event.clientX - x, event.clientY - y) < DRAG) return;
      this.#dragged = true;
      this.#stage.setPointerCapture(event.pointerId);
    }
    const [[x1, y1], [x2, y2]] = [this.#drag.from, this.#point(event)];
    this.#setOwn([Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)]);
  }

  #pointerUp() {
    const drawn = this.#drag && this.#dragged;
    this.#drag = null;
    if (!drawn) return;
    const [x1, y1, x2, y2] = this.#own.coordinates;
    if (x2 - x1 < 1 || y2 - y1 < 1) {
      this.#cancelDrag();
      return;
    }
    this.#own.focus({ preventScroll: true, focusVisible: false });
    this.#pick(this.#own);
  }

  #cancelDrag() {
    if (this.#dragged) {
      this.#own?.remove();
      this.#own = null;
    }
    this.#drag = null;
  }

  #click(event) {
    // The click that ends a drag picks nobody.
    if (this.#dragged && event.detail > 0) {
      event.stopPropagation();
      event.preventDefault();
    }
    this.#dragged = false;
  }
}
