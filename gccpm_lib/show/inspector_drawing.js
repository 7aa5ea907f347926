// The inspector, second part of its module: joints, limbs, texts and heatmaps on a canvas.

const COLOURS = { right: "#D55E00", left: "#0072B2", middle: "#7A7A7A" }; // as gccpm_lib/drawing.py
const WRONG = "#F0E442"; // from a wrong joint to its label
const DARK = "#111418";
const HALOS = ["#fff", DARK, "#4b1d75"]; // around a label, a prediction, and the prediction it is compared with
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

// Labels are solid with white borders, predictions dashed with dark ones, those they are compared with dash and dot with
// violet ones. A limb to a joint that isn't sure is dotted.
function drawPose(context, pose, { limbs, sides }, { layer, radius }) {
  const [halo, width] = [HALOS[layer], Math.max(1.3, radius * 0.5)];
  const dashes = [[], [1.7, 0.9], [2.6, 0.7, 0.5, 0.7]][layer];
  for (const [a, b] of limbs.filter((limb) => limb.every((k) => pose[k]))) {
    const known = [...new Set([sides[a], sides[b]])].filter((side) => side !== "middle");
    const colour = COLOURS[known.length === 1 ? known[0] : "middle"];
    const unsure = layer > 0 && (pose[a].hollow || pose[b].hollow);
    const dash = (unsure ? [0.5, 1.2] : dashes).map((length) => length * radius);
    drawLine(context, pose[a], pose[b], [[halo, width + 2], [colour, width]], dash);
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

const heatColour = (value) => {
  const step = Math.min(Math.floor(value * 4), 3);
  const [low, high, part] = [HEAT[step], HEAT[step + 1], value * 4 - step];
  return [0, 1, 2].map((c) => low[c] * (1 - part) + high[c] * part);
};

// The scale of every heatmap, 0 to 1, in the lower left corner of a part of the canvas.
function drawScale(context, { left, top, height }, text) {
  const [x, y, width] = [left + 12, top + height - 26, 120];
  const colours = context.createLinearGradient(x, 0, x + width, 0);
  for (let value = 0; value <= 1; value += 0.125) colours.addColorStop(value, `rgb(${heatColour(value).join(" ")})`);
  context.fillStyle = DARK;
  context.fillRect(x - 2, y - 2, width + 4, 12);
  context.fillStyle = colours;
  context.fillRect(x, y, width, 8);
  [[0, "0"], [0.5, "0.5"], [1, "1"]].forEach(([at, name]) => drawText(context, name, x + at * width - 3 * name.length, y + 22));
  drawText(context, text, x, y - 7);
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
    const alpha = 225 * value ** 0.6;
    picture.data.set([...heatColour(value), alpha], 4 * i);
  }
  canvas.height = height;
  context.putImageData(picture, 0, 0);
  return canvas;
}
