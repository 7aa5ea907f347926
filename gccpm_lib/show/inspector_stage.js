// The inspector, second part of its module: a picture with its poses on a canvas, to be zoomed and asked.

const MAX_ZOOM = 32;

const COLOURS = { right: "#D55E00", left: "#0072B2", middle: "#7A7A7A" }; // as gccpm_lib/drawing.py
const WRONG = "#F0E442"; // from a wrong joint to its label
const DARK = "#111418";
const HEAT = [[10, 5, 40], [106, 23, 110], [203, 65, 73], [252, 165, 10], [252, 255, 200]]; // red, green, blue; dark to bright

// ---------------------------------------------------------------------------------------------- drawing
// Coordinates are canvas pixels. A pose is a list of joints {x, y, hollow}, null where there is none.

const distance = (a, b) => Math.hypot(a.x - b.x, a.y - b.y);
const inside = ({ left, top, width, height }, { x, y }) => x >= left && x <= left + width && y >= top && y <= top + height;

function stroke(context, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.stroke();
}

function drawLine(context, a, b, strokes, dash = []) {
  context.beginPath();
  context.moveTo(a.x, a.y);
  context.lineTo(b.x, b.y);
  context.setLineDash(dash);
  for (const [colour, width] of strokes) stroke(context, colour, width);
  context.setLineDash([]);
}

function drawJoint(context, joint, side, halo, radius) {
  context.beginPath();
  if (side === "left") context.rect(joint.x - radius * 0.9, joint.y - radius * 0.9, radius * 1.8, radius * 1.8);
  else context.arc(joint.x, joint.y, radius, 0, 2 * Math.PI);
  stroke(context, halo, radius * (joint.hollow ? 1 : 0.5));
  context.fillStyle = joint.hollow ? halo : COLOURS[side];
  context.fill();
  if (joint.hollow) stroke(context, COLOURS[side], radius * 0.55);
}

// Labels are solid with white borders, predictions dashed with dark ones.
function drawPose(context, pose, { limbs, sides }, { prediction, radius }) {
  const [halo, width] = [prediction ? DARK : "#fff", Math.max(1.3, radius * 0.5)];
  for (const [a, b] of limbs.filter((limb) => limb.every((k) => pose[k]))) {
    const known = [...new Set([sides[a], sides[b]])].filter((side) => side !== "middle");
    const colour = COLOURS[known.length === 1 ? known[0] : "middle"];
    drawLine(context, pose[a], pose[b], [[halo, width + 2], [colour, width]], prediction ? [radius * 1.7, radius * 0.9] : []);
  }
  pose.forEach((joint, k) => joint && drawJoint(context, joint, sides[k], halo, radius));
}

function drawRing(context, { x, y }, radius) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  stroke(context, DARK, 4);
  stroke(context, WRONG, 2);
}

function drawText(context, text, x, y) {
  context.font = "12px system-ui, sans-serif";
  context.lineJoin = "round";
  context.strokeStyle = DARK;
  context.lineWidth = 3.5;
  context.strokeText(text, x, y);
  context.fillStyle = "#fff";
  context.fillText(text, x, y);
}

// The maps of all joints below each other, grey -> one joint's map (joint -1: the highest of all) in colours, a pixel a cell.
function heatPicture({ bitmap, size: [width, height] }, joint) {
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  const grey = context.getImageData(0, 0, width, bitmap.height).data;
  const maps = joint < 0 ? Array.from({ length: bitmap.height / height }, (_, k) => k) : [joint];
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i += 1) {
    const value = Math.max(...maps.map((k) => grey[4 * (k * width * height + i)])) / 255;
    const step = Math.min(Math.floor(value * 4), 3);
    const [low, high, part] = [HEAT[step], HEAT[step + 1], value * 4 - step];
    const alpha = 225 * value ** 0.8;
    picture.data.set([0, 1, 2].map((c) => low[c] * (1 - part) + high[c] * part).concat(alpha), 4 * i);
  }
  canvas.height = height;
  context.putImageData(picture, 0, 0);
  return canvas;
}

// ---------------------------------------------------------------------------------------------- the stage

// Shows state.page with what state.shown switches on; onLook is told the joint under the pointer (-1: none).
class Stage {
  constructor(state, onLook) {
    Object.assign(this, { state, onLook, near: -1, pointers: new Map() });
    this.zoomTo(1);
    this.canvas = make("canvas", { tabIndex: 0, role: "img" });
    for (const kind of ["pointerdown", "pointermove", "pointerup", "pointercancel", "pointerleave"]) {
      this.canvas.addEventListener(kind, (event) => this.pointer(event));
    }
    this.tip = make("div", { className: "tip", hidden: true });
    this.message = make("p", { className: "message", hidden: true });
    const zoom = [["+", "Zoom in (+)", 1.5], ["−", "Zoom out (-)", 1 / 1.5], ["⟲", "Whole picture (0)", 0]];
    const buttons = zoom.map(([text, hint, factor]) => buttonOf(text, hint, () => this.zoomBy(factor)));
    const corner = make("div", { className: "zoom" }, ...buttons);
    this.element = make("div", { className: "stage" }, this.canvas, this.message, corner, this.tip);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(this.element);
  }

  // A new picture, whole, and what there is to say about it.
  show(text) {
    this.say(text);
    this.near = -1;
    this.zoomTo(1);
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

  // Where on the canvas the picture is drawn, with which poses (0 labels, 1 prediction): once, or twice side by side.
  parts() {
    const { shown, predicted, page, table, set } = this.state;
    const [width, height] = [this.element.clientWidth, this.element.clientHeight];
    const layers = [...(shown.truth ? [0] : []), ...(shown.prediction && predicted ? [1] : [])];
    if (!shown.split) return [{ left: 0, top: 0, width, height, layers }];
    const [, , w, h] = page.frame;
    const [across, down] = Math.min(width / 2 / w, height / h) >= Math.min(width / w, height / 2 / h) ? [2, 1] : [1, 2];
    return [0, 1].map((layer) => ({
      left: (layer * width * (across - 1)) / 2,
      top: (layer * height * (down - 1)) / 2,
      width: width / across,
      height: height / down,
      layers: layers.filter((other) => other === layer),
      title: layer ? table.sets[set] : "label",
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
    this.canvas.style.touchAction = this.zoom > 1 ? "none" : "pan-y";
    if (this.near >= 0) this.showTip();
  }

  drawPicture(context, part) {
    const { page, heat, shown, joint } = this.state;
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
    context.drawImage(heatPicture(heat, joint), 0, 0);
    context.restore();
  }

  drawPoses(context, part) {
    const { page, table, shown, joint: chosen, index } = this.state;
    const look = { sides: table.sides, limbs: shown.limbs ? table.limbs : [] };
    const radius = clamp(Math.min(part.width, part.height) / 80, 3.8, 6);
    const place = (joint) => joint && { ...joint, ...this.spot(part, joint) };
    const poses = [0, 1].map((layer) => poseOf(this.state, page, layer).map(place));
    if (part.layers.length === 2) {
      const wrong = jointsWhere(this.state, index, (error) => error > 1).filter((k) => poses[1][k]);
      for (const k of wrong) drawLine(context, poses[0][k], poses[1][k], [[DARK, 2.6], [WRONG, 1.2]]);
    }
    for (const layer of part.layers) {
      drawPose(context, poses[layer], look, { prediction: layer === 1, radius: radius * (part.layers.length === 2 && layer ? 0.85 : 1) });
      poses[layer].forEach((joint, k) => joint && [this.near, chosen].includes(k) && drawRing(context, joint, radius * 2));
    }
    const named = (shown.names && poses[part.layers.at(-1)]) || [];
    named.forEach((joint, k) => joint && drawText(context, table.joints[k], joint.x + radius * 1.6, joint.y + 4));
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

  pointer({ type, pointerId, pointerType, offsetX: x, offsetY: y }) {
    const before = this.pointers.get(pointerId);
    if (type === "pointerdown") this.canvas.setPointerCapture(pointerId);
    if (type === "pointerdown" || (type === "pointermove" && before)) this.pointers.set(pointerId, { x, y });
    else if (type !== "pointermove") this.pointers.delete(pointerId);
    const [other] = [...this.pointers].filter(([id]) => id !== pointerId).map(([, point]) => point);
    if (type === "pointermove" && before) {
      if (other) this.zoomBy(distance({ x, y }, other) / Math.max(distance(before, other), 1), other);
      else this.panBy(before.x - x, before.y - y);
    }
    const mouse = pointerType === "mouse";
    if (type === "pointerleave" && mouse) this.look(-1);
    else if (!other) this.look(this.jointAt({ x, y }, mouse ? 14 : 26));
  }

  jointAt(point, reach) {
    let [nearest, least] = [-1, reach];
    for (const part of this.state.page ? this.parts().filter((one) => inside(one, point)) : []) {
      for (const pose of part.layers.map((layer) => poseOf(this.state, this.state.page, layer))) {
        pose.forEach((joint, k) => {
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
    this.onLook(joint);
    this.draw();
  }

  showTip() {
    const { page, table, predicted, index } = this.state;
    const k = this.near;
    const [truth, found] = [0, 1].map((layer) => (layer && !predicted ? null : poseOf(this.state, page, layer)[k]));
    const place = ({ x, y }) => `x ${x.toFixed(1)}, y ${y.toFixed(1)}`;
    const lines = [`label: ${labelOf(this.state, index, k)}${truth ? `, ${place(truth)}` : ""}`];
    if (found) lines.push(`prediction: ${place(found)}`, `score ${fixed(found.value)}`);
    else if (predicted) lines.push("prediction: not detected");
    const error = errorOf(this.state, index, k);
    const verdict = error >= 0 ? `error ${fixed(error)} tolerances: ${error > 1 ? "wrong" : "found"}` : "error: not scored";
    if (predicted) lines.push(verdict);
    this.tip.replaceChildren(make("strong", {}, table.joints[k]), ...lines.map((text) => make("span", {}, text)));
    this.tip.hidden = false;
    this.placeTip(this.spot(this.parts().at(-1), found ?? truth ?? { x: page.frame[0], y: page.frame[1] }));
  }

  placeTip({ x, y }) {
    const { clientWidth: width, clientHeight: height } = this.element;
    const left = x + 18 + this.tip.offsetWidth > width ? x - 18 - this.tip.offsetWidth : x + 18;
    this.tip.style.left = `${clamp(left, 4, Math.max(4, width - this.tip.offsetWidth - 4))}px`;
    this.tip.style.top = `${clamp(y - this.tip.offsetHeight / 2, 4, Math.max(4, height - this.tip.offsetHeight - 4))}px`;
  }
}
