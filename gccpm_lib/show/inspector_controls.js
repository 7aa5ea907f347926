// The inspector, part of its module: what stands around the picture. Each function makes a part and leaves what is asked or
// changed later in inspector.controls.

const SWITCHES = { // key: [state.shown's name, text, what it says]
  t: ["truth", "Labels", "Labels (t)"],
  p: ["prediction", "Prediction", "Prediction (p)"],
  s: ["split", "Side by side", "Labels and predictions side by side (s)"],
  l: ["limbs", "Limbs", "Limbs (l)"],
  n: ["names", "Names", "Names of the joints (n)"],
  h: ["heatmap", "Heatmap", "Heatmap of the chosen joint, or the highest of all (h)"],
};
const KEYS = [
  ["← →", "page"], ["Home End", "first, last person"], ["m", "mark as suspicious"], ["+ − 0", "zoom, whole picture"],
  ["Shift + arrows", "move the picture"], [", .", "choose another joint"], ["Esc", "choose no joint, leave grid or correcting"],
  ["t p s l n h", "labels, prediction, side by side, limbs, names, heatmap"], ["g", "grid"], ["f", "full screen"],
  ["k", "link to this person"], ["i", "save the picture"], ["?", "these keys"],
];
const EDIT_KEYS = [
  ["e", "correct labels"], ["arrows", "move the chosen joint by a pixel, with Shift by 10"], ["v o x", "visible, hidden, missing"],
  ["1 2 3", "exchange sides of arms, legs, all"], ["r", "reject the person"], ["u, Ctrl + z", "undo"],
];

const selectOf = (options, onchange) =>
  make("select", { onchange }, ...options.map(([value, text]) => make("option", { value }, text)));

// Orders of persons that make sense here: [value, text].
function ordersOf({ predicted, labelled, table, suspicions }) {
  const kinds = ["jitter", "inversion", "swap", "miss", "undetected"].filter((kind) => table.kinds.includes(table.kind_names.indexOf(kind)));
  const orders = [["file", "as in the file"]];
  if (predicted) orders.unshift(["unsure", "least sure first"], ["sure", "surest first"]);
  if (predicted && labelled) {
    orders.unshift(["worst", "worst first"], ["best", "best first"]);
    orders.push(...kinds.map((kind) => [kind, `most joints ${KINDS[kind]}`]));
  }
  if (Object.keys(suspicions).length) orders.unshift(["suspicions", table.video ? "jumps first" : "suspicious labels first"]);
  if (table.video) orders.sort((a, b) => (b[0] === "file") - (a[0] === "file"));
  return orders;
}

// What a joint may be, to show only persons with such a joint: [value, text].
function conditionsOf({ predicted, labelled, table }) {
  const kinds = Object.entries(KINDS).filter(([kind]) => table.kinds.includes(table.kind_names.indexOf(kind)));
  return [
    ["any", "anything"],
    ...(predicted && labelled ? [["wrong", "wrong (error > 1)"], ["found", "found"]] : []),
    ...(predicted ? [["unsure", "unsure"]] : []),
    ...(predicted && labelled ? kinds : []),
    ...(labelled ? [["labelled", "labelled"], ["missing", "not labelled"]] : []),
  ];
}

function groupsOf({ labelled, table, suspicions }) {
  return [
    ["all", "all"],
    ...(labelled ? [["occluded", "with occluded joints"], ["open", "without occluded joints"]] : []),
    ["marked", "marked as suspicious"],
    ...(Object.keys(suspicions).length ? [["suspicions", table.video ? "with a joint that jumps" : "suspicious to a check"]] : []),
    ...(table.states ? [["corrected", "corrected or rejected"]] : []),
  ];
}

function buildFilters(inspector) {
  const { state, controls } = inspector;
  const { table } = state;
  const filters = make("div", { className: "filters", role: "group", ariaLabel: "Whom to show" });
  const add = (name, label, control, hidden = false) => {
    control.ariaLabel = label;
    filters.append(make("label", { hidden }, make("span", {}, label), control));
    controls[name] = control;
  };
  const again = () => inspector.choose();
  const sets = table.sets.map((name, i) => [i, name]);
  add("set", "Predictions", selectOf(sets, again), sets.length < 2);
  add("other", "Compare with", selectOf([[-1, "nothing"], ...sets], again), sets.length < 2);
  add("sort", "Order", selectOf(ordersOf(state), () => inspector.choose(null)));
  add("joint", "Joint", selectOf([[-1, "any joint"], ...table.joints.map((name, k) => [k, name])], () => inspector.filterJoint()));
  add("condition", "… is", selectOf(conditionsOf(state), again));
  add("group", "Persons", selectOf(groupsOf(state), again));
  const tracks = (table.video?.tracks ?? []).map(({ number }) => [number, `person ${number}`]);
  add("track", "In the video", selectOf([[-1, "everybody"], ...tracks], again), tracks.length < 2);
  add("text", "File name", make("input", { type: "search", placeholder: "has …", oninput: again }), Boolean(table.video));
  const range = { type: "range", min: 0, max: 1, step: 0.01, value: state.threshold, oninput: () => inspector.setThreshold() };
  add("threshold", "Unsure up to score", make("input", range), !state.predicted);
  controls.thresholdTold = make("output", {}, fixed(state.threshold));
  controls.threshold.previousSibling.append(" ", controls.thresholdTold);
  return filters;
}

function buildHead(inspector) {
  const { controls } = inspector;
  controls.name = make("strong", { className: "name" });
  controls.facts = make("p", { className: "facts", ariaLive: "polite" });
  controls.suspicion = make("p", { className: "suspicion", hidden: true });
  const who = make("div", { className: "who" }, controls.name, controls.facts, controls.suspicion);
  controls.marking = buttonOf("⚑ Suspicious", "Mark this label as suspicious (m)", () => inspector.mark());
  controls.number = make("input", { type: "number", min: 1, ariaLabel: "Place", onchange: () => inspector.go(controls.number.value - 1) });
  controls.of = make("span");
  const back = buttonOf("‹", "Previous person (left arrow)", () => inspector.go(inspector.at - 1));
  const next = buttonOf("›", "Next person (right arrow)", () => inspector.go(inspector.at + 1));
  const pager = make("div", { className: "pager" }, controls.marking, back, controls.number, controls.of, next);
  return make("header", {}, who, pager);
}

function buildSheet({ state, controls }) {
  controls.rows = make("tbody");
  controls.heads = make("tr");
  const about = { className: "sheet", tabIndex: 0, role: "region", ariaLabel: "Joints of this person" };
  return make("div", about, make("table", { className: state.predicted ? "predicted" : "" }, make("thead", {}, controls.heads), controls.rows));
}

function buildTools(inspector) {
  const { state: { predicted, table, shown, labelled }, controls } = inspector;
  const useful = { truth: labelled || Boolean(inspector.source.corrections), prediction: predicted, split: predicted, limbs: true, names: true, heatmap: table.heatmaps };
  controls.switches = {};
  for (const [name, text, hint] of Object.values(SWITCHES)) {
    const button = buttonOf(text, hint, () => inspector.toggle(name));
    controls.switches[name] = Object.assign(button, { ariaPressed: shown[name], hidden: !useful[name] });
  }
  const canCorrect = Boolean(inspector.source.corrections);
  controls.correct = Object.assign(buttonOf("✎ Correct", "Correct labels (e)", () => inspector.edit()), { hidden: !canCorrect });
  controls.grid = buttonOf("Grid", "All persons in a grid (g)", () => inspector.showGrid());
  controls.full = buttonOf("Full screen", "Full screen (f)", () => inspector.fullScreen());
  const link = buttonOf("Link", "Link to this person (k)", () => inspector.link());
  const save = buttonOf("Save picture", "Save the picture as it is shown (i)", () => inspector.savePicture());
  controls.help = buttonOf("Keys", "Keys (?)", () => inspector.help());
  const buttons = [...Object.values(controls.switches), controls.correct, controls.grid, controls.full, link, save, controls.help];
  controls.legend = make("p", { className: "legend" });
  return make("div", { className: "tools" }, ...buttons, controls.legend);
}

// What lines and shapes mean in what is drawn now.
function legendOf({ predicted, labelled, table, set, other }) {
  const kinds = [["right", "person's right"], ["left", "left"], ["middle", "middle"]];
  if (labelled) kinds.push(["hollow", predicted ? "occluded or unsure" : "occluded"], ["solid", "label"]);
  else if (predicted) kinds.push(["hollow", "unsure"]);
  if (predicted) kinds.push(["dashed", other >= 0 ? table.sets[set] : "prediction"]);
  if (other >= 0) kinds.push(["dotted", table.sets[other]]);
  if (predicted && labelled) kinds.push(["link", "wrong"]);
  return kinds.map(([kind, text]) => make("span", {}, make("i", { className: kind }), text));
}

function buildKeys(inspector) {
  const rows = [...KEYS, ...(inspector.source.corrections ? EDIT_KEYS : [])];
  const list = rows.flatMap(([keys, text]) => [make("dt", {}, keys), make("dd", {}, text)]);
  const told = "Click: choose a joint and its heatmap. Drag: move the zoomed picture. Wheel after a click, or two fingers: zoom. Swipe: page.";
  inspector.controls.keys = make("div", { className: "keys", hidden: true }, make("p", {}, told), make("dl", {}, ...list));
  return inspector.controls.keys;
}

function buildFoot({ state, controls }) {
  const { predicted, labelled, table } = state;
  const count = table.names.length;
  const third = Math.round(count / 3);
  const chosen = predicted && labelled && !Object.keys(state.suspicions).length && !table.video;
  const kinds = chosen ? `: the ${third} worst, ${third} around the median and the ${third} best by mean error` : "";
  const part = count < table.total ? `${count} of ${many(table.total, table.video ? "frame" : "person")}${kinds}. ` : "";
  const unit = predicted && labelled ? "Errors are in tolerances: up to 1 a joint counts as found. " : "";
  controls.marks = make("span");
  controls.download = make("a", { download: "marked_labels.csv", hidden: true }, "Download the list (csv)");
  controls.link = make("a", { hidden: true });
  return make("footer", {}, controls.marks, controls.download, controls.link, make("small", {}, `${part}${unit}Press ? for all keys.`));
}
