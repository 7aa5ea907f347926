// The keypoint inspector, last part of its module: labels and predictions of single persons, to be judged by looking.
// It has two lives: in JupyterLab as an anywidget that asks Python for pictures (default export), and in a report, where
// a few examples lie in the page as JSON (startReports). Persons are known by their index in the table.

const PICTURE_SIDE = 960, THUMB_SIDE = 128, THUMB_STEP = 84; // pixels; the last is a thumbnail with its gap

class Inspector {
  constructor(place, source, table) {
    this.source = source;
    this.state = {
      table,
      predicted: table.sets.length > 0,
      set: 0, // which predictions
      joint: -1, // the chosen one, -1: any
      index: undefined, // the person shown
      page: null, // its picture, and its heatmaps
      heat: null,
      shown: { truth: true, prediction: true, split: false, limbs: true, names: false, heatmap: false },
    };
    [this.pages, this.thumbs, this.maps] = [new Map(), new Map(), new Map()]; // by index, see `remembered`
    this.order = []; // indices of the persons that pass the filters, sorted
    this.at = 0; // place in it
    this.wanted = undefined; // the index there; state.index follows when its picture has come
    this.stage = new Stage(this.state, (joint) => this.highlight(joint));
    this.root = this.build();
    place.append(this.root);
    this.stage.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    this.observer = new ResizeObserver(() => this.drawStrip());
    this.observer.observe(this.strip);
    this.leave = [
      source.listen("marked", () => this.tellMarks()),
      source.listen("row", () => this.go(this.order.indexOf(source.place()))),
    ];
    this.tellMarks();
    this.choose(source.place());
  }

  close() {
    this.observer.disconnect();
    this.stage.observer.disconnect();
    this.leave.forEach((stop) => stop());
    this.source.close();
    URL.revokeObjectURL(this.download.href);
    this.root.remove();
  }

  // -------- controls

  build() {
    const head = make("header", {}, this.buildWho(), this.buildPager());
    const picture = [this.stage.element, this.buildSheet(), this.buildTools(), this.buildStrip()];
    const desk = make("div", { className: "desk" }, this.buildFilters(), head, ...picture, this.buildFoot());
    const root = make("section", { className: "gccpm-inspector", ariaLabel: "Keypoint inspector" }, desk);
    root.addEventListener("keydown", (event) => this.key(event));
    return root;
  }

  buildFilters() {
    const { predicted, table } = this.state;
    const filters = make("div", { className: "filters", role: "group", ariaLabel: "Whom to show" });
    const add = (label, control, hidden = false) => {
      control.ariaLabel = label;
      filters.append(make("label", { hidden }, make("span", {}, label), control));
      return control;
    };
    const select = (label, options, hidden = false) => {
      const choices = options.map(([value, text]) => make("option", { value }, text));
      return add(label, make("select", { onchange: () => this.choose() }, ...choices), hidden);
    };
    const ifPredicted = (options) => (predicted ? options : []);
    this.set = select("Predictions", table.sets.map((name, i) => [i, name]), table.sets.length < 2);
    this.sort = select("Order", [...ifPredicted([["worst", "worst first"], ["best", "best first"]]), ["file", "as in the file"]]);
    this.joint = select("Joint", [[-1, "any joint"], ...table.joints.map((name, k) => [k, name])]);
    const states = ifPredicted([["wrong", "wrong (error > 1)"], ["found", "found"]]);
    this.condition = select("… is", [["any", "anything"], ...states, ["labelled", "labelled"], ["missing", "not labelled"]]);
    const occlusion = [["occluded", "with occluded joints"], ["open", "without occluded joints"]];
    this.group = select("Persons", [["all", "all"], ...occlusion, ["marked", "marked as suspicious"]]);
    this.text = add("File name", make("input", { type: "search", placeholder: "has …", oninput: () => this.choose() }));
    return filters;
  }

  buildWho() {
    this.name = make("strong", { className: "name" });
    this.facts = make("p", { className: "facts", ariaLive: "polite" });
    return make("div", { className: "who" }, this.name, this.facts);
  }

  buildPager() {
    this.marking = buttonOf("⚑ Suspicious", "Mark this label as suspicious (m)", () => this.mark());
    this.number = make("input", { type: "number", min: 1, ariaLabel: "Place", onchange: () => this.go(this.number.value - 1) });
    this.of = make("span");
    const back = buttonOf("‹", "Previous person (left arrow)", () => this.go(this.at - 1));
    const next = buttonOf("›", "Next person (right arrow)", () => this.go(this.at + 1));
    return make("div", { className: "pager" }, this.marking, back, this.number, this.of, next);
  }

  buildSheet() {
    this.rows = make("tbody");
    const heads = ["joint", "label", ...(this.state.predicted ? ["score", "error"] : [])];
    const top = make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text))));
    const about = { className: "sheet", tabIndex: 0, role: "region", ariaLabel: "Joints of this person" };
    return make("div", about, make("table", {}, top, this.rows));
  }

  buildTools() {
    const { predicted, table, shown } = this.state;
    const switches = {
      truth: ["Labels", "Labels (t)", true],
      prediction: ["Prediction", "Prediction (p)", predicted],
      split: ["Side by side", "Labels and prediction side by side (s)", predicted],
      limbs: ["Limbs", "Limbs (l)", true],
      names: ["Names", "Names of the joints (n)", true],
      heatmap: ["Heatmap", "Heatmap of the chosen joint, or the highest of all (h)", table.heatmaps],
    };
    this.switches = {};
    for (const [key, [text, hint, useful]] of Object.entries(switches)) {
      this.switches[key] = buttonOf(text, hint, () => this.toggle(key));
      Object.assign(this.switches[key], { ariaPressed: shown[key], hidden: !useful });
    }
    const kinds = { right: "person's right", left: "left", middle: "middle", hollow: "occluded", solid: "label" };
    if (predicted) Object.assign(kinds, { dashed: "prediction", link: "wrong" });
    const legend = Object.entries(kinds).map(([kind, text]) => make("span", {}, make("i", { className: kind }), text));
    return make("div", { className: "tools" }, ...Object.values(this.switches), make("p", { className: "legend" }, ...legend));
  }

  buildStrip() {
    this.rail = make("div", { className: "rail" });
    this.strip = make("div", { className: "strip", onscroll: () => this.drawStrip() }, this.rail);
    return this.strip;
  }

  buildFoot() {
    const { predicted, table } = this.state;
    const count = table.names.length;
    const third = Math.round(count / 3);
    const kinds = predicted ? `: the ${third} worst, ${third} around the median and the ${third} best by mean error` : "";
    const part = count < table.total ? `${count} of ${many(table.total, "person")}${kinds}. ` : "";
    const unit = predicted ? "Errors are in tolerances: up to 1 a joint counts as found. " : "";
    const keys = "Keys: ← → page, m marks, + − 0 zoom. Drag to move; the wheel zooms after a click into the picture.";
    this.marks = make("span");
    this.download = make("a", { download: "marked_labels.csv", hidden: true }, "Download the list (csv)");
    return make("footer", {}, this.marks, this.download, make("small", {}, part + unit + keys));
  }

  toggle(key) {
    const { shown } = this.state;
    if (this.switches[key].hidden) return;
    shown[key] = !shown[key];
    this.switches[key].ariaPressed = shown[key];
    this.stage.draw();
    this.loadHeat();
    this.drawThumbs();
  }

  key(event) {
    const runsCell = event.shiftKey && event.key === "Enter";
    if (event.ctrlKey || event.metaKey || event.altKey || runsCell) return;
    event.stopPropagation(); // JupyterLab would take m, b and arrows for commands on cells
    if (event.target.matches("select, input")) return;
    const moves = { ArrowRight: [60, 0], ArrowLeft: [-60, 0], ArrowDown: [0, 60], ArrowUp: [0, -60] };
    const switches = { t: "truth", p: "prediction", s: "split", l: "limbs", n: "names", h: "heatmap" };
    const acts = {
      ArrowRight: () => this.go(this.at + 1),
      ArrowLeft: () => this.go(this.at - 1),
      Home: () => this.go(0),
      End: () => this.go(this.order.length - 1),
      m: () => this.mark(),
      "+": () => this.stage.zoomBy(1.5),
      "-": () => this.stage.zoomBy(1 / 1.5),
      0: () => this.stage.zoomBy(0),
    };
    if (event.shiftKey && moves[event.key]) this.stage.panBy(...moves[event.key]);
    else if (switches[event.key]) this.toggle(switches[event.key]);
    else if (acts[event.key]) acts[event.key]();
    else return;
    event.preventDefault();
  }

  // Whoever scrolls past isn't held up: the wheel zooms with Ctrl, or once the inspector has the focus.
  wheel(event) {
    if (!event.ctrlKey && !this.root.contains(document.activeElement)) return;
    event.preventDefault();
    this.stage.zoomBy(Math.exp(-clamp(event.deltaY, -60, 60) / 150), { x: event.offsetX, y: event.offsetY });
  }

  // -------- which persons, in which order

  // Apply order and filters; stay with this person where it is still shown, else begin at the first.
  choose(index = this.wanted) {
    const { state } = this;
    [state.set, state.joint] = [Number(this.set.value), Number(this.joint.value)];
    const passes = this.filter();
    this.order = state.table.names.map((_, i) => i).filter(passes);
    const sign = { worst: -1, best: 1, file: 0 }[this.sort.value];
    const ranks = state.table.names.map((_, i) => {
      const error = errorOf(state, i, state.joint);
      return Number.isNaN(error) ? 2e9 : sign * Math.min(error, 1e9); // whoever isn't scored comes last
    });
    const { rows } = state.table; // a report's table has the worst first
    this.order.sort((a, b) => (sign ? ranks[a] - ranks[b] : rows[a] - rows[b]));
    this.at = Math.max(0, this.order.indexOf(index));
    this.of.textContent = `of ${this.order.length.toLocaleString("en")}`;
    this.number.max = this.order.length;
    this.rail.style.width = `${this.order.length * THUMB_STEP}px`;
    this.rail.replaceChildren();
    this.show();
  }

  // A function that says whether a person passes the filters.
  filter() {
    const { table, joint } = this.state;
    const [text, marked] = [this.text.value.toLowerCase(), new Set(this.source.marked())];
    const isOccluded = (_, label) => label === "occluded";
    const condition = {
      wrong: (error) => error > 1,
      found: (error) => error <= 1,
      labelled: (_, label) => label !== "missing",
      missing: (_, label) => label === "missing",
    }[this.condition.value];
    const inGroup = {
      all: () => true,
      occluded: (i) => jointsWhere(this.state, i, isOccluded).length > 0,
      open: (i) => !jointsWhere(this.state, i, isOccluded).length,
      marked: (i) => marked.has(i),
    }[this.group.value];
    const holds = (i) => !condition || jointsWhere(this.state, i, condition).some((k) => joint < 0 || k === joint);
    return (i) => table.names[i].toLowerCase().includes(text) && inGroup(i) && holds(i);
  }

  go(at) {
    const to = clamp(Math.round(at) || 0, 0, this.order.length - 1);
    if (at >= 0 && this.order.length && to !== this.at) {
      this.at = to;
      this.show();
    } else this.number.value = this.order.length ? this.at + 1 : 0;
  }

  // -------- pictures

  picture(index) {
    const ask = async () => (await this.source.pictures([index], PICTURE_SIDE))[0];
    return remembered(this.pages, 40, index, ask);
  }

  // The picture of an index and what there is to say about it: null where there is none.
  async lookUp(index) {
    if (index === undefined) return [null, "No person passes these filters."];
    try {
      const page = await this.picture(index);
      return [page, page.problem];
    } catch (error) {
      this.pages.delete(index);
      return [null, error.message];
    }
  }

  async show() {
    const [index, { state }] = [this.order[this.at], this];
    this.wanted = index;
    this.number.value = index === undefined ? 0 : this.at + 1;
    this.drawStrip(true);
    const slow = setTimeout(() => this.stage.say("Waiting for Python …"), 1000);
    const [page, text] = await this.lookUp(index);
    clearTimeout(slow);
    if (index !== this.wanted) return; // paged on meanwhile
    Object.assign(state, { index, page, heat: null });
    this.stage.show(text);
    this.tell();
    this.loadHeat();
    this.root.dataset.index = index ?? "";
    if (index !== undefined && index !== this.source.place()) this.source.moved(index);
    for (const step of [1, -1, 2]) { // neighbours are there before they are asked for
      if (index === this.wanted && this.order[this.at + step] !== undefined) await this.lookUp(this.order[this.at + step]);
    }
  }

  async loadHeat() {
    const { state } = this;
    const { index } = state;
    if (!state.shown.heatmap || index === undefined || state.heat) return;
    try {
      const heat = await remembered(this.maps, 24, index, () => this.source.heatmap(index));
      if (index === state.index) state.heat = heat;
    } catch (error) {
      this.maps.delete(index);
      this.stage.say(error.message);
    }
    this.stage.draw();
  }

  // -------- what is told in words

  highlight(joint) {
    [...this.rows.children].forEach((row, k) => row.classList.toggle("near", k === joint));
  }

  // The line about the person and the table of joints.
  tell() {
    const { index, table, page, predicted } = this.state;
    const known = index !== undefined;
    const facts = known ? this.factsOf(index) : [];
    this.name.textContent = known ? table.names[index] : "nobody";
    this.facts.textContent = facts.join(" · ");
    this.stage.canvas.ariaLabel = [this.name.textContent, ...facts].join(", ");
    this.marking.ariaPressed = this.source.marked().includes(index);
    const found = page && predicted ? poseOf(this.state, page, 1) : [];
    this.rows.replaceChildren(...(known ? table.joints.map((_, k) => this.jointRow(index, k, found[k])) : []));
  }

  factsOf(index) {
    const { table, joint, predicted } = this.state;
    const count = (test) => jointsWhere(this.state, index, test).length;
    const scored = count((error) => !Number.isNaN(error));
    const facts = [`row ${table.rows[index] + 1}`];
    if (table.annotation_ids[index] !== null) facts.push(`annotation ${table.annotation_ids[index]}`);
    if (predicted) facts.push(scored ? `mean error ${fixed(errorOf(this.state, index, -1))}` : "not scored");
    if (predicted && joint >= 0) facts.push(`${table.joints[joint]} ${fixed(errorOf(this.state, index, joint))}`);
    if (scored) facts.push(`${count((error) => error > 1)} of ${many(scored, "joint")} wrong`);
    facts.push(`${count((_, label) => label === "occluded")} occluded`);
    return this.source.marked().includes(index) ? [...facts, "⚑ suspicious"] : facts;
  }

  jointRow(index, k, found) {
    const { table, predicted } = this.state;
    const [label, error] = [labelOf(this.state, index, k), errorOf(this.state, index, k)];
    const shape = make("i", { className: `${table.sides[k]} ${label}` });
    const row = make("tr", {}, make("th", { scope: "row", title: table.joints[k] }, shape, table.joints[k]), make("td", {}, label));
    if (predicted) {
      const cell = make("td", { className: error > 1 ? "error wrong" : "error" }, fixed(error));
      cell.style.setProperty("--part", `${25 * clamp(error || 0, 0, 4)}%`);
      row.append(make("td", {}, found ? fixed(found.value) : "–"), cell);
    }
    row.onpointerenter = () => this.stage.look(k);
    row.onpointerleave = () => this.stage.look(-1);
    return row;
  }

  // -------- thumbnails: only those in sight exist

  drawStrip(follow = false) {
    const { strip, at: current } = this;
    const left = current * THUMB_STEP;
    const away = left < strip.scrollLeft || left + THUMB_STEP > strip.scrollLeft + strip.clientWidth;
    if (follow && away) strip.scrollLeft = left - strip.clientWidth / 2 + THUMB_STEP / 2;
    const first = Math.max(0, Math.floor(strip.scrollLeft / THUMB_STEP) - 2);
    const last = Math.min(this.order.length, first + Math.ceil(strip.clientWidth / THUMB_STEP) + 5);
    const there = new Map([...this.rail.children].map((thumb) => [Number(thumb.dataset.at), thumb]));
    there.forEach((thumb, at) => (at < first || at >= last) && thumb.remove());
    for (let at = first; at < last; at += 1) if (!there.has(at)) this.rail.append(this.thumb(at));
    for (const thumb of this.rail.children) thumb.ariaCurrent = Number(thumb.dataset.at) === current;
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.loadThumbs(), 80); // fast scrolling asks for nothing
  }

  thumb(at) {
    const { table, predicted, joint } = this.state;
    const index = this.order[at];
    const error = errorOf(this.state, index, joint);
    const text = predicted ? fixed(error) : `${at + 1}`;
    const thumb = buttonOf(text, `${table.names[index]}${predicted ? `, error ${text}` : ""}`, () => {
      this.go(at);
      this.stage.canvas.focus({ preventScroll: true }); // thumbnails vanish, and the focus with them
    });
    thumb.prepend(make("canvas", { width: 152, height: 152 }));
    Object.assign(thumb, { className: error > 1 ? "thumb wrong" : "thumb", tabIndex: -1 });
    thumb.dataset.at = at;
    thumb.style.left = `${at * THUMB_STEP}px`;
    thumb.classList.toggle("marked", this.source.marked().includes(index));
    this.drawThumb(thumb);
    return thumb;
  }

  async loadThumbs() {
    if (this.loading) return; // one request at a time, of few pictures: the one on the canvas comes first
    const inSight = () => [...this.rail.children].map((thumb) => this.order[thumb.dataset.at]);
    const lacking = () => inSight().filter((index) => !this.thumbs.has(index)).slice(0, 4);
    this.loading = true;
    for (let batch = lacking(); batch.length; batch = lacking()) {
      const pictures = await this.source.pictures(batch, THUMB_SIDE).catch(() => []);
      batch.forEach((index, i) => remembered(this.thumbs, 500, index, () => pictures[i] ?? {}));
      this.drawThumbs(batch);
    }
    this.loading = false;
  }

  drawThumbs(indices = this.order) {
    const chosen = new Set(indices);
    for (const thumb of this.rail.children) if (chosen.has(this.order[thumb.dataset.at])) this.drawThumb(thumb);
  }

  drawThumb(thumb) {
    const { table, predicted, shown } = this.state;
    const page = this.thumbs.get(this.order[thumb.dataset.at]);
    const canvas = thumb.querySelector("canvas");
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    if (!page?.frame) return;
    const [left, top, width, height] = page.frame;
    const scale = Math.min(canvas.width / width, canvas.height / height);
    const [x0, y0] = [(canvas.width - width * scale) / 2, (canvas.height - height * scale) / 2];
    if (page.bitmap) context.drawImage(page.bitmap, x0, y0, width * scale, height * scale);
    const layer = predicted && shown.prediction ? 1 : 0;
    if (!layer && !shown.truth) return;
    const spot = ({ x, y }) => ({ x: x0 + (x + 0.5 - left) * scale, y: y0 + (y + 0.5 - top) * scale });
    const pose = poseOf(this.state, page, layer).map((joint) => joint && spot(joint));
    drawPose(context, pose, table, { prediction: false, radius: 3.4 });
  }

  // -------- suspicious labels

  mark() {
    const { index } = this.state;
    if (index === undefined) return;
    const marked = this.source.marked();
    this.source.mark(marked.includes(index) ? marked.filter((one) => one !== index) : [...marked, index]);
    this.tellMarks();
  }

  tellMarks() {
    const [marked, { csv }] = [this.source.marked(), this.source];
    const count = `${many(marked.length, "label")} marked as suspicious`;
    this.marks.textContent = csv ? `${count}; the list is ${csv}` : count;
    for (const thumb of this.rail.children) thumb.classList.toggle("marked", marked.includes(this.order[thumb.dataset.at]));
    URL.revokeObjectURL(this.download.href);
    this.download.href = URL.createObjectURL(new Blob([this.csvText(marked)], { type: "text/csv" }));
    this.download.hidden = !marked.length;
    if (this.order.length) this.tell();
  }

  csvText(marked) {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const plain = (name) => name.replace(/^[=+\-@\t\r']/, "'$&"); // what a spreadsheet would compute, as in Python's file
    const { rows, names, annotation_ids: ids } = this.state.table;
    const lines = [...marked].sort((a, b) => rows[a] - rows[b]).map((i) => [`${rows[i] + 1}`, plain(names[i]), `${ids[i] ?? ""}`]);
    return [["row", "name", "annotation_id"], ...lines].map((line) => `${line.map(quoted).join(",")}\n`).join("");
  }
}

// ---------------------------------------------------------------------------------------------- the two lives

async function start(place, source) {
  try {
    return new Inspector(place, source, await source.table());
  } catch (error) {
    place.append(make("p", {}, `The inspector could not start: ${error.message}`));
    throw error;
  }
}

export function startReports() {
  for (const place of document.querySelectorAll(".inspector")) {
    start(place, reportSource(JSON.parse(place.querySelector("script").textContent)));
  }
}

export default {
  render({ model, el }) {
    const started = start(el, liveSource(model));
    return () => started.then((inspector) => inspector.close());
  },
};
