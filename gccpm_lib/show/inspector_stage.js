// The inspector, third part of its module: a picture with its poses, to be zoomed, asked and corrected.

const MAX_ZOOM = 32;
const CLICK = 5; // pixels that a pointer may move between down and up and still click
const SWIPE = 48; // pixels of a finger's way aside that pages

// Shows state.page with what state.shown switches on. hooks: look(joint), choose(joint) and swipe(step) are told of; grab
// (joint, point), drag(point) and drop() correct labels, where grab says that it takes the joint. -1: no joint.
class Stage {
  constructor(state, hooks) {
    Object.assign(this, { state, hooks, near: -1, pointers: new Map(), press: null });
    this.zoomTo(1);
    this.canvas = make("canvas", { tabIndex: 0, role: "img" });
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]) {
      this.canvas.addEventListener(kind, (event) => this.pointer(event));
    }
    this.tip = make("div", { className: "tip", hidden: true });
    this.message = make("p", { className: "message", role: "status", hidden: true });
    const zoom = [["+", "Zoom in (+)", 1.5], ["−", "Zoom out (-)", 1 / 1.5], ["⟲", "Whole picture (0)", 0]];
    const buttons = zoom.map(([text, hint, factor]) => buttonOf(text, hint, () => this.zoomBy(factor)));
    const corner = make("div", { className: "zoom" }, ...buttons);
    this.element = make("div", { className: "stage" }, this.canvas, this.message, corner, this.tip);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
  }

  // A new picture, zoomed as the one before, and what there is to say about it.
  show(text) {
    this.say(text);
    this.near = -1;
    this.draw();
  }

  say(text) {
    this.message.textContent = text;
    this.message.hidden = !text;
  }

  resize() {
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.round(this.element.clientWidth * ratio);
    this.canvas.height = Math.round(this.element.clientHeight * ratio);
    this.draw();
  }

  // Where on the canvas the picture is drawn, with which poses (0 labels, 1 prediction, 2 the one it is compared with): once,
  // or each by itself side by side.
  parts() {
    const { shown, predicted, page, table, set, other } = this.state;
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    const predictions = shown.prediction && predicted ? [1, ...(other >= 0 ? [2] : [])] : [];
    const layers = [...(shown.truth ? [0] : []), ...predictions];
    if (!shown.split) return [{ left: 0, top: 0, width, height, layers }];
    const names = ["label", table.sets[set], table.sets[other]].slice(0, other >= 0 ? 3 : 2);
    const [[, , w, h], n] = [page.frame, names.length];
    const [across, down] = Math.min(width / n / w, height / h) >= Math.min(width / w, height / n / h) ? [n, 1] : [1, n];
    return names.map((title, layer) => ({
      left: across > 1 ? (layer * width) / n : 0,
      top: down > 1 ? (layer * height) / n : 0,
      width: width / across,
      height: height / down,
      layers: layers.filter((one) => one === layer),
      title,
    }));
  }

  scale(part) {
    const [, , width, height] = this.state.page.frame;
    return this.zoom * Math.min(part.width / width, part.height / height);
  }

  // A point of the picture on the canvas. What is in the middle of the view is kept as a share of the frame.
  spot(part, { x, y }) {
    const [left, top, width, height] = this.state.page.frame;
    const scale = this.scale(part);
    return {
      x: part.left + part.width / 2 + (x + 0.5 - left - this.middle[0] * width) * scale,
      y: part.top + part.height / 2 + (y + 0.5 - top - this.middle[1] * height) * scale,
    };
  }

  // A point of the canvas in the picture.
  place(part, { x, y }) {
    const [origin, scale] = [this.spot(part, { x: 0, y: 0 }), this.scale(part)];
    return { x: (x - origin.x) / scale, y: (y - origin.y) / scale };
  }

  // -------- drawing

  draw() {
    const context = this.canvas.getContext("2d");
    const ratio = this.canvas.width / this.element.clientWidth || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    this.tip.hidden = true;
    if (!this.state.page) return;
    context.scale(ratio, ratio);
    for (const part of this.parts()) {
      context.save();
      context.beginPath();
      context.rect(part.left, part.top, part.width, part.height);
      context.clip();
      this.drawPicture(context, part);
      this.drawPoses(context, part);
      if (part.title) drawText(context, part.title, part.left + 10, part.top + 20);
      context.restore();
    }
    this.canvas.style.touchAction = this.zoom > 1 || this.state.editing ? "none" : "pan-y";
    if (this.near >= 0 && !this.state.dragging) this.showTip();
  }

  drawPicture(context, part) {
    const { page, heat, shown, chosen, table } = this.state;
    const [left, top, width, height] = page.frame;
    const [corner, scale] = [this.spot(part, { x: left - 0.5, y: top - 0.5 }), this.scale(part)];
    if (page.bitmap) {
      context.imageSmoothingEnabled = (scale * width) / page.bitmap.width < 5; // from there on single pixels are shown
      context.imageSmoothingQuality = "high";
      context.drawImage(page.bitmap, corner.x, corner.y, width * scale, height * scale);
    }
    if (!shown.heatmap || !heat) return;
    const origin = this.spot(part, { x: 0, y: 0 });
    context.save();
    context.translate(origin.x, origin.y); // pixel centres at integers ...
    context.scale(scale, scale);
    context.transform(...heat.affine);
    context.translate(-0.5, -0.5); // ... and the centres of cells
    context.imageSmoothingEnabled = true;
    context.drawImage(heatPicture(heat, chosen), 0, 0);
    context.restore();
    const peak = chosen < 0 ? Math.max(...heat.peaks) : heat.peaks[chosen];
    drawScale(context, part, `${chosen < 0 ? "all joints" : table.joints[chosen]}: peak ${peak.toFixed(2)}`);
  }

  drawPoses(context, part) {
    const { page, table, shown, chosen, index } = this.state;
    const look = { sides: table.sides, limbs: shown.limbs ? table.limbs : [] };
    const radius = clamp(Math.min(part.width, part.height) / 80, 3.8, 6);
    const onCanvas = (joint) => joint && { ...joint, ...this.spot(part, joint) };
    const poses = [0, 1, 2].map((layer) => (part.layers.includes(layer) ? poseOf(this.state, page, layer).map(onCanvas) : []));
    if (part.layers.includes(0) && part.layers.includes(1)) {
      const wrong = jointsWhere(this.state, index, (error) => error > 1).filter((k) => poses[0][k] && poses[1][k]);
      for (const k of wrong) drawLine(context, poses[0][k], poses[1][k], [[DARK, 2.6], [WRONG, 1.2]]);
    }
    if (this.state.editing && part.layers.includes(0)) this.drawMoves(context, part, poses[0]);
    for (const layer of part.layers) {
      drawPose(context, poses[layer], look, { layer, radius: radius * (part.layers.length > 1 && layer ? 0.85 : 1) });
      poses[layer].forEach((joint, k) => joint && [this.near, chosen].includes(k) && drawRing(context, joint, radius * 2));
    }
    const named = (shown.names && poses[part.layers.at(-1)]) || [];
    named.forEach((joint, k) => joint && drawText(context, table.joints[k], joint.x + radius * 1.6, joint.y + 4));
  }

  // From where corrected joints came.
  drawMoves(context, part, pose) {
    for (const [k, [x, y, label]] of Object.entries(stateOf(this.state, this.state.index).corrected)) {
      if (label && pose[k]) drawLine(context, this.spot(part, { x, y }), pose[k], [[DARK, 3], ["#fff", 1.2]], [3, 3]);
    }
  }

  // -------- zoom, pan, pointer

  zoomTo(zoom, middle = [0.5, 0.5]) {
    this.zoom = clamp(zoom, 1, MAX_ZOOM);
    const edge = 0.25 / this.zoom; // some of the picture stays in sight
    this.middle = middle.map((value) => (this.zoom > 1 ? clamp(value, edge, 1 - edge) : 0.5));
  }

  // Zoom by a factor (0: back to the whole picture) about a point of the canvas that stays, by default the middle.
  zoomBy(factor, point = null) {
    if (!this.state.page) return;
    const parts = this.parts();
    const part = parts.find((one) => point && inside(one, point)) ?? parts[0];
    const { x, y } = point ?? { x: part.left + part.width / 2, y: part.top + part.height / 2 };
    const [, , width, height] = this.state.page.frame;
    const zoom = clamp(this.zoom * factor, 1, MAX_ZOOM);
    const step = (1 - this.zoom / zoom) / this.scale(part);
    const away = [((x - part.left - part.width / 2) / width) * step, ((y - part.top - part.height / 2) / height) * step];
    this.zoomTo(zoom, this.middle.map((value, i) => value + away[i]));
    this.draw();
  }

  panBy(x, y) {
    if (!this.state.page) return;
    const [[, , width, height], scale] = [this.state.page.frame, this.scale(this.parts()[0])];
    this.zoomTo(this.zoom, [this.middle[0] + x / scale / width, this.middle[1] + y / scale / height]);
    this.draw();
  }

  pointer({ type, pointerId, pointerType, button, offsetX: x, offsetY: y }) {
    const [before, point, mouse] = [this.pointers.get(pointerId), { x, y }, pointerType === "mouse"];
    if (type === "pointerdown") this.down(pointerId, point, mouse, button);
    if (type === "pointerdown" || (type === "pointermove" && before)) this.pointers.set(pointerId, point);
    else if (type !== "pointermove") this.pointers.delete(pointerId);
    const [other] = [...this.pointers].filter(([id]) => id !== pointerId).map(([, one]) => one);
    if (type === "pointermove" && before) this.moved(before, point, other);
    if (type === "pointerup" && before) this.up(point, mouse);
    if (type === "pointercancel") this.release();
    if (type === "pointerleave" && mouse) this.look(-1);
    else if (!other && !this.state.dragging) this.look(this.jointAt(point, mouse ? 14 : 26));
  }

  down(pointerId, point, mouse, button) {
    this.canvas.setPointerCapture(pointerId);
    const alone = !this.pointers.size;
    this.release();
    this.press = alone && !button ? { ...point, grabbed: false } : null; // two fingers zoom, and neither click nor swipe
    if (!this.press || !this.state.editing || !this.state.page) return;
    const part = this.parts().find((one) => inside(one, point) && one.layers.includes(0));
    const joint = part ? this.jointAt(point, mouse ? 14 : 26, [0]) : -1;
    this.press.grabbed = Boolean(part) && this.hooks.grab(joint, this.place(part, point));
    this.press.part = part;
  }

  // Another finger or the system ends what this pointer did: a joint stays where it was brought.
  release() {
    if (this.press?.grabbed) this.hooks.drop();
    this.press = null;
  }

  moved(before, point, other) {
    if (other) this.zoomBy(distance(point, other) / Math.max(distance(before, other), 1), other);
    else if (this.press?.grabbed) this.hooks.drag(this.place(this.press.part, point));
    else this.panBy(before.x - point.x, before.y - point.y);
  }

  up(point, mouse) {
    const { press } = this;
    this.press = null;
    if (!press) return;
    const [aside, along] = [point.x - press.x, point.y - press.y];
    if (press.grabbed) this.hooks.drop();
    else if (Math.hypot(aside, along) <= CLICK) this.hooks.choose(this.jointAt(point, mouse ? 14 : 26));
    else if (!mouse && this.zoom === 1 && Math.abs(aside) > Math.max(SWIPE, 1.5 * Math.abs(along))) this.hooks.swipe(-Math.sign(aside));
  }

  // The joint nearest to a point of the canvas, -1 where none of these poses is within reach.
  jointAt(point, reach, layers = [0, 1, 2]) {
    let [nearest, least] = [-1, reach];
    for (const part of this.state.page ? this.parts().filter((one) => inside(one, point)) : []) {
      for (const layer of part.layers.filter((one) => layers.includes(one))) {
        poseOf(this.state, this.state.page, layer).forEach((joint, k) => {
          const away = joint ? distance(point, this.spot(part, joint)) : Infinity;
          if (away < least) [nearest, least] = [k, away];
        });
      }
    }
    return nearest;
  }

  look(joint) {
    if (joint === this.near) return;
    this.near = joint;
    this.hooks.look(joint);
    this.draw();
  }

  // -------- what is told of a joint

  showTip() {
    const { page, table } = this.state;
    const [truth, found] = [0, 1].map((layer) => (layer && !this.state.predicted ? null : poseOf(this.state, page, layer)[this.near]));
    const lines = this.tipLines(this.near, truth, found);
    this.tip.replaceChildren(make("strong", {}, table.joints[this.near]), ...lines.map((text) => make("span", {}, text)));
    this.tip.hidden = false;
    this.placeTip(this.spot(this.parts().at(-1), found ?? truth ?? { x: page.frame[0], y: page.frame[1] }));
  }

  tipLines(k, truth, found) {
    const { table, predicted, index, other, set } = this.state;
    const place = ({ x, y }) => `x ${x.toFixed(1)}, y ${y.toFixed(1)}`;
    const lines = [`label: ${labelOf(this.state, index, k)}${truth ? `, ${place(truth)}` : ""}`];
    const was = stateOf(this.state, index).corrected[k];
    if (was) lines.push(`was ${LABELS[was[2]]}${was[2] ? `, ${place({ x: was[0], y: was[1] })}` : ""}; by ${was[3]}, ${was[4].slice(0, 10)}`);
    if (found) lines.push(`prediction: ${place(found)}`, `score ${fixed(found.value)}`);
    else if (predicted) lines.push("prediction: not detected");
    const [error, kind] = [errorOf(this.state, index, k), kindOf(this.state, index, k)];
    const verdict = ["inversion", "swap"].includes(kind) ? `wrong, ${KINDS[kind]}` : error > 1 ? "wrong" : "found";
    if (predicted) lines.push(error >= 0 ? `error ${fixed(error)} tolerances: ${verdict}` : "error: not scored");
    if (other >= 0) lines.push(`${table.sets[other]}: error ${fixed(errorOf(this.state, index, k, other))}`);
    return set === other ? lines.slice(0, -1) : lines;
  }

  placeTip({ x, y }) {
    const { clientWidth: width, clientHeight: height } = this.element;
    const left = x + 18 + this.tip.offsetWidth > width ? x - 18 - this.tip.offsetWidth : x + 18;
    this.tip.style.left = `${clamp(left, 4, Math.max(4, width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${clamp(y - this.tip.offsetHeight / 2, 4, Math.max(4, height - this.tip.offsetHeight - 4))}px`;
  }
}
