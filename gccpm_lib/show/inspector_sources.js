// The inspector, first part of its module: where its data come from, live or in a report, and what is read from them.
// Coordinates are picture pixels, x right, y down, pixel centres at integers. Texts from data files only ever become text
// nodes or attributes, never HTML.

const LABELS = ["missing", "occluded", "visible"];
const KINDS = { // of joint_errors, in words
  good: "exact", jitter: "a little off", inversion: "on the other side", swap: "on somebody else", miss: "missed", undetected: "not detected",
};

function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children); // strings become text nodes
  return element;
}

// A button; the letter at the end of its hint, in brackets, is its key.
const buttonOf = (text, hint, onclick) => make("button", { type: "button", ariaLabel: hint, title: hint, onclick }, text);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const floats = (bytes) => new Float32Array(bytes.slice().buffer); // a copy, so that it is aligned
const signed = (bytes) => new Int8Array(bytes.slice().buffer);
const fixed = (value, digits = 2) => (Number.isNaN(value) ? "–" : Number.isFinite(value) ? value.toFixed(digits) : "∞");
const many = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const bitmapOf = (bytes, type) => createImageBitmap(new Blob([bytes], { type }));

const arraysOf = ({ labels, errors, means, scores, kinds }) => (
  { labels, errors: floats(errors), means: floats(means), scores: floats(scores), kinds: signed(kinds) });

async function pictureOf(about, jpeg, joints) {
  return { ...about, joints: floats(joints), bitmap: jpeg.length ? await bitmapOf(jpeg, "image/jpeg") : null };
}

function remembered(cache, limit, key, ask) {
  const found = cache.get(key) ?? ask();
  cache.delete(key);
  cache.set(key, found); // a Map keeps its order: the first is the one not looked at for longest
  if (cache.size > limit) cache.delete(cache.keys().next().value);
  return found;
}

// ---------------------------------------------------------------------------------------------- where data come from
// Persons are known by their index in the table. Both sources give promises of the same table, pictures and heatmaps.

function liveSource(model) {
  const waiting = new Map();
  const prefix = Math.random().toString(36).slice(2); // several views may show one model
  const receive = (reply, buffers) => {
    const settle = waiting.get(reply.id);
    waiting.delete(reply.id);
    const bytes = (buffers ?? []).map((view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength));
    if (reply.problem) settle?.reject(new Error(reply.problem));
    else settle?.resolve([reply, bytes]);
  };
  let count = 0;
  const ask = (content) => new Promise((resolve, reject) => {
    const id = `${prefix}-${(count += 1)}`;
    waiting.set(id, { resolve, reject });
    model.send({ ...content, id });
  });
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  model.on("msg:custom", receive);
  return {
    csv: model.get("marked_csv"),
    corrections: model.get("corrections_csv") || "",
    corrector: model.get("corrector") || "",
    renamed: (name) => set("corrector", name),
    async table() {
      const [table, [labels, errors, means, scores, kinds]] = await ask({ kind: "table" });
      return { ...table, ...arraysOf({ labels: labels.slice(), errors, means, scores, kinds }) };
    },
    async change(request) {
      const [reply, [points, errors, means, kinds]] = await ask(request);
      return { ...reply, points: floats(points), errors: floats(errors), means: floats(means), kinds: signed(kinds) };
    },
    async pictures(rows, side) {
      const [reply, bytes] = await ask({ kind: "pictures", rows, side });
      return Promise.all(reply.pictures.map((about, i) => pictureOf(about, bytes[2 * i], bytes[2 * i + 1])));
    },
    async heatmap(row) {
      const [maps, [png]] = await ask({ kind: "heatmap", row });
      return { ...maps, bitmap: await bitmapOf(png, "image/png") };
    },
    place: () => model.get("row"),
    moved: (row) => set("row", row),
    marked: () => model.get("marked"),
    mark: (rows) => set("marked", rows),
    listen(name, callback) {
      model.on(`change:${name}`, callback);
      return () => model.off(`change:${name}`, callback);
    },
    close: () => model.off("msg:custom", receive),
  };
}

function reportSource(data) {
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  let marked = [];
  return {
    csv: "",
    corrections: "",
    async table() {
      const arrays = Object.entries(data.arrays).map(([name, text]) => [name, bytes(text)]);
      return { ...data, ...arraysOf(Object.fromEntries(arrays)) };
    },
    pictures: (indices) => Promise.all(indices.map((index) => {
      const { jpeg, joints, ...about } = data.examples[index];
      return pictureOf(about, bytes(jpeg), bytes(joints));
    })),
    async heatmap(index) {
      const { png, ...maps } = data.examples[index].heatmap;
      return { ...maps, bitmap: await bitmapOf(bytes(png), "image/png") };
    },
    place: () => null,
    moved() {},
    marked: () => marked,
    mark: (indices) => { marked = indices; },
    listen: () => () => {},
    close() {},
  };
}

// ---------------------------------------------------------------------------------------------- reading the table
// state: {table, predicted, labelled, set, other, joint, index, ...}, see inspector.js; N persons, K joints, S sets.

// One joint's value of an array (S, N, K), in the set that is looked at.
const valueOf = ({ table, set }, values, index, joint) => values[(set * table.names.length + index) * table.joints.length + joint];

// In tolerances: one joint's error, or (joint -1) the person's mean; NaN where it isn't scored.
function errorOf(state, index, joint, set = state.set) {
  const { table, predicted } = state;
  if (!predicted) return NaN;
  return joint < 0 ? table.means[set * table.names.length + index] : valueOf({ table, set }, table.errors, index, joint);
}

// One joint's score, or (joint -1) the mean of all that were detected; NaN without any.
function scoreOf(state, index, joint) {
  if (!state.predicted) return NaN;
  if (joint >= 0) return valueOf(state, state.table.scores, index, joint);
  const scores = state.table.joints.map((_, k) => scoreOf(state, index, k)).filter(Number.isFinite);
  return scores.length ? scores.reduce((a, b) => a + b) / scores.length : NaN;
}

// What became of a joint: "good", "jitter", "inversion", ...; "" where it isn't scored.
const kindOf = (state, index, joint) => (state.predicted && state.table.kind_names[valueOf(state, state.table.kinds, index, joint)]) || "";

const labelOf = ({ table }, index, joint) => LABELS[table.labels[index * table.joints.length + joint]];

function jointsWhere(state, index, test) {
  const joints = state.table.joints.map((_, k) => k);
  return joints.filter((k) => test(errorOf(state, index, k), labelOf(state, index, k), k));
}

// What was corrected of a person: {rejected, corrected: {joint: [was x, y, label, by, at]}}.
const stateOf = ({ table }, index) => table.states?.[table.rows[index]] ?? { rejected: false, corrected: {} };
const isCorrected = (state, index) => stateOf(state, index).rejected || Object.keys(stateOf(state, index).corrected).length > 0;

// The joints of a person's label (layer 0), prediction (1) or the one it is compared with (2); null where there is none.
// An occluded label is hollow, and so is a prediction whose score isn't above the threshold.
function poseOf({ table, set, other, threshold }, page, layer) {
  const first = [0, 1 + set, 1 + other][layer] * table.joints.length;
  return table.joints.map((_, k) => {
    const [x, y, value] = page.joints.subarray(3 * (first + k), 3 * (first + k) + 3);
    const hollow = layer ? value <= threshold : value === 1;
    return (layer ? Number.isFinite(x + y) : value > 0) ? { x, y, value, hollow } : null;
  });
}
