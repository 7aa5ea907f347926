// The keypoint inspector, last part of its module: labels and predictions of single persons, to be judged by looking.
// It has two lives: in JupyterLab as an anywidget that asks Python for pictures (default export), and in a report, where
// a few examples lie in the page as JSON (startReports). Persons are known by their index in the table.

const PICTURE_SIDE = 960; // pixels

class Inspector {
  constructor(place, source, table) {
    this.source = source;
    this.state = this.begin(table);
    [this.pages, this.maps] = [new Map(), new Map()]; // by index, see `remembered`
    this.order = []; // indices of the persons that pass the filters, sorted
    this.at = 0; // place in it
    this.wanted = undefined; // the index there; state.index follows when its picture has come
    this.controls = {};
    this.build();
    place.append(this.root);
    this.stage.canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    const byHash = () => this.linked() !== undefined && this.choose(this.linked());
    window.addEventListener("hashchange", byHash);
    this.leave = [
      source.listen("marked", () => this.tellMarks()),
      source.listen("row", () => this.go(this.order.indexOf(source.place()))),
      () => window.removeEventListener("hashchange", byHash),
    ];
    this.tellMarks();
    this.choose(this.linked() ?? source.place());
    if (this.linked() !== undefined) this.root.scrollIntoView();
  }

  begin(table) {
    return {
      table,
      predicted: table.sets.length > 0,
      labelled: table.labels.some((label) => label > 0),
      suspicions: Object.fromEntries(table.rows.map((row, i) => [i, table.suspicions[row]]).filter(([, text]) => text)),
      set: 0, // which predictions
      other: -1, // which they are compared with, -1: none
      joint: -1, // of the filters and the order, -1: any
      chosen: -1, // the joint that is looked at
      threshold: table.unsure, // predictions up to this score are hollow
      index: undefined, // the person shown
      page: null, // its picture, and its heatmaps
      heat: null,
      editing: false,
      dragging: false,
      shown: { truth: true, prediction: true, split: false, limbs: true, names: false, heatmap: false },
    };
  }

  close() {
    [this.strip, this.stage].forEach((part) => part.observer.disconnect());
    this.leave.forEach((stop) => stop());
    this.curves.playing = false;
    this.source.close();
    URL.revokeObjectURL(this.controls.download.href);
    this.root.remove();
  }

  build() {
    const hooks = {
      look: (joint) => this.nearRow(joint),
      choose: (joint) => this.pick(joint === this.state.chosen ? -1 : joint),
      swipe: (step) => this.go(this.at + step),
      grab: (joint, point) => this.editor.grab(joint, point),
      drag: (point) => this.editor.drag(point),
      drop: () => this.editor.drop(),
    };
    this.stage = new Stage(this.state, hooks);
    const places = { order: () => this.order, at: () => this.at, go: (at) => this.fromStrip(at), isMarked: (index) => this.source.marked().includes(index) };
    this.strip = new Strip(this.state, this.source, places);
    this.editor = new Editor(this);
    this.curves = new Curves(this);
    const parts = [buildFilters(this), buildHead(this), this.stage.element, buildSheet(this), this.editor.element, buildTools(this)];
    const desk = make("div", { className: "desk" }, ...parts, buildKeys(this), this.strip.element, this.curves.element, buildFoot(this));
    this.root = make("section", { className: "gccpm-inspector", ariaLabel: "Keypoint inspector", tabIndex: -1 }, desk);
    this.root.addEventListener("keydown", (event) => this.key(event));
  }

  // -------- switches, keys, wheel

  toggle(name) {
    const { shown } = this.state;
    const button = this.controls.switches[name];
    if (button.hidden) return;
    shown[name] = !shown[name];
    button.ariaPressed = shown[name];
    this.stage.draw();
    this.loadHeat();
    this.strip.redraw();
  }

  edit(on = !this.state.editing) {
    this.editor.toggle(on);
    this.controls.correct.ariaPressed = this.state.editing;
  }

  showGrid(on = !this.strip.grid) {
    this.root.classList.toggle("grid", on);
    this.controls.grid.ariaPressed = on;
    this.strip.reset(on);
  }

  fullScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.root.requestFullscreen?.().catch((error) => this.stage.say(error.message));
  }

  help() {
    this.controls.keys.hidden = !this.controls.keys.hidden;
    this.controls.help.ariaPressed = !this.controls.keys.hidden;
  }

  setThreshold() {
    this.state.threshold = Number(this.controls.threshold.value);
    this.controls.thresholdTold.textContent = fixed(this.state.threshold);
    if (this.controls.condition.value === "unsure") this.choose();
    this.stage.draw();
    this.strip.redraw();
  }

  key(event) {
    const runsCell = event.shiftKey && event.key === "Enter";
    const edits = this.state.editing && !event.target.matches("select, input") && this.editor.key(event);
    if (!edits && (event.ctrlKey || event.metaKey || event.altKey || runsCell)) return;
    event.stopPropagation(); // JupyterLab would take m, b and arrows for commands on cells
    if (edits) return event.preventDefault();
    if (event.target.matches("select, input")) return;
    const moves = { ArrowRight: [60, 0], ArrowLeft: [-60, 0], ArrowDown: [0, 60], ArrowUp: [0, -60] };
    const act = this.acts()[event.key];
    if (event.shiftKey && moves[event.key]) this.stage.panBy(...moves[event.key]);
    else if (SWITCHES[event.key]) this.toggle(SWITCHES[event.key][0]);
    else if (act) act();
    else return;
    event.preventDefault();
  }

  acts() {
    const { chosen, table } = this.state;
    const row = this.strip.grid ? this.strip.columns : 0;
    return {
      ArrowRight: () => this.go(this.at + 1),
      ArrowLeft: () => this.go(this.at - 1),
      ...(row ? { ArrowDown: () => this.go(this.at + row), ArrowUp: () => this.go(this.at - row) } : {}),
      Home: () => this.go(0),
      End: () => this.go(this.order.length - 1),
      Escape: () => this.escape(),
      m: () => this.mark(),
      "+": () => this.stage.zoomBy(1.5),
      "-": () => this.stage.zoomBy(1 / 1.5),
      0: () => this.stage.zoomBy(0),
      ",": () => this.pick((Math.max(chosen, 0) + table.joints.length - 1) % table.joints.length),
      ".": () => this.pick((chosen + 1) % table.joints.length),
      e: () => this.edit(),
      g: () => this.showGrid(),
      f: () => this.fullScreen(),
      k: () => this.link(),
      i: () => this.savePicture(),
      "?": () => this.help(),
    };
  }

  escape() {
    if (!this.controls.keys.hidden) this.help();
    else if (this.strip.grid) this.showGrid(false);
    else if (this.state.chosen >= 0) this.pick(-1);
    else this.edit(false);
  }

  // Whoever scrolls past isn't held up: the wheel zooms with Ctrl, or once the inspector has the focus.
  wheel(event) {
    if (!event.ctrlKey && !this.root.contains(document.activeElement)) return;
    event.preventDefault();
    this.stage.zoomBy(Math.exp(-clamp(event.deltaY, -60, 60) / 150), { x: event.offsetX, y: event.offsetY });
  }

  // -------- which persons, in which order

  // Apply order and filters; stay with this person where it is still shown (null: with nobody), else begin at the first.
  choose(index = this.wanted) {
    const { state, controls } = this;
    Object.assign(state, { set: Number(controls.set.value), other: Number(controls.other.value), joint: Number(controls.joint.value) });
    if (state.other === state.set || !state.predicted) state.other = -1;
    const passes = this.filter();
    this.order = state.table.names.map((_, i) => i).filter(passes);
    const ranks = state.table.names.map((_, i) => this.rank(i));
    this.order.sort((a, b) => ranks[a] - ranks[b] || state.table.rows[a] - state.table.rows[b]);
    this.at = Math.max(0, this.order.indexOf(index));
    controls.of.textContent = `of ${this.order.length.toLocaleString("en")}`;
    controls.number.max = this.order.length;
    controls.legend.replaceChildren(...legendOf(state));
    this.strip.reset();
    this.show();
  }

  // A person's number in the chosen order, the lowest first; whoever has none comes last.
  rank(index) {
    const { state } = this;
    const order = this.controls.sort.value;
    const [error, score] = [errorOf(state, index, state.joint), scoreOf(state, index, state.joint)];
    const ranks = { worst: -error, best: error, unsure: score, sure: -score, suspicions: index in state.suspicions ? 0 : 1, file: 0 };
    const among = (k) => state.joint < 0 || state.joint === k;
    const rank = ranks[order] ?? -jointsWhere(state, index, (_, __, k) => among(k) && kindOf(state, index, k) === order).length;
    return Number.isNaN(rank) ? 2e9 : clamp(rank, -1e9, 1e9);
  }

  // A function that says whether a person passes the filters.
  filter() {
    const { state, controls } = this;
    const { table, joint } = state;
    const [text, marked, wanted] = [controls.text.value.toLowerCase(), new Set(this.source.marked()), controls.condition.value];
    const isOccluded = (_, label) => label === "occluded";
    const conditions = {
      wrong: () => (error) => error > 1,
      found: () => (error) => error <= 1,
      unsure: (i) => (_, __, k) => scoreOf(state, i, k) <= state.threshold,
      labelled: () => (_, label) => label !== "missing",
      missing: () => (_, label) => label === "missing",
    };
    const condition = conditions[wanted] ?? ((i) => (_, __, k) => kindOf(state, i, k) === wanted);
    const inGroup = {
      all: () => true,
      occluded: (i) => jointsWhere(state, i, isOccluded).length > 0,
      open: (i) => !jointsWhere(state, i, isOccluded).length,
      marked: (i) => marked.has(i),
      suspicions: (i) => i in state.suspicions,
      corrected: (i) => isCorrected(state, i),
    }[controls.group.value];
    const track = Number(controls.track.value);
    const inTrack = (i) => track < 0 || placeOf(state, i)[0] === track;
    const holds = (i) => wanted === "any" || jointsWhere(state, i, condition(i)).some((k) => joint < 0 || k === joint);
    return (i) => table.names[i].toLowerCase().includes(text) && inGroup(i) && inTrack(i) && holds(i);
  }

  filterJoint() {
    this.state.chosen = Number(this.controls.joint.value);
    this.choose();
  }

  go(at) {
    const to = clamp(Math.round(at) || 0, 0, this.order.length - 1);
    if (at >= 0 && this.order.length && to !== this.at) {
      this.at = to;
      this.show();
    } else this.controls.number.value = this.order.length ? this.at + 1 : 0;
  }

  // A thumbnail was clicked; in the grid that opens the person.
  fromStrip(at) {
    if (this.strip.grid) {
      this.showGrid(false);
      this.stage.canvas.focus({ preventScroll: true });
    }
    this.go(at);
  }

  // -------- a joint is chosen, and its heatmap with it

  pick(joint) {
    const { state } = this;
    state.chosen = joint;
    if (!state.editing && !this.controls.switches.heatmap.hidden && (joint >= 0 ? !state.shown.heatmap : this.heatByPick)) {
      this.heatByPick = joint >= 0; // so that who chooses no joint again has no heatmap either
      this.toggle("heatmap");
    }
    [...this.controls.rows.children].forEach((row, k) => row.classList.toggle("chosen", k === joint));
    this.editor.tell();
    this.stage.draw();
    this.curves.draw();
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
    this.controls.number.value = index === undefined ? 0 : this.at + 1;
    this.strip.draw(true);
    this.strip.keepFocus();
    const slow = setTimeout(() => this.stage.say("Waiting for Python …"), 1000);
    const [page, text] = await this.lookUp(index);
    clearTimeout(slow);
    if (index !== this.wanted) return; // paged on meanwhile
    Object.assign(state, { index, page, heat: null });
    this.stage.show(text);
    this.curves.draw();
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

  // -------- labels that were corrected

  // A person's labels are now these points; follow: go there.
  async changed(index, points, follow) {
    for (const page of [await this.pages.get(index), this.strip.pages.get(index)]) page?.joints?.set(points, 0);
    this.strip.flagAll();
    this.strip.redraw([index]);
    if (follow && index !== this.state.index && this.order.includes(index)) return this.go(this.order.indexOf(index));
    if (index !== this.state.index) return;
    this.tell();
    this.stage.draw();
  }

  // A correction failed: what Python has is asked for again.
  forget(index) {
    this.pages.delete(index);
    this.show();
  }

  // -------- what is told in words

  nearRow(joint) {
    [...this.controls.rows.children].forEach((row, k) => row.classList.toggle("near", k === joint));
  }

  // The line about the person and the table of joints.
  tell() {
    const { state, controls } = this;
    const { index, table } = state;
    const known = index !== undefined;
    const facts = known ? this.factsOf(index) : [];
    controls.name.textContent = known ? table.names[index] : "nobody";
    controls.facts.textContent = facts.join(" · ");
    controls.suspicion.textContent = known ? state.suspicions[index] ?? "" : "";
    controls.suspicion.hidden = !controls.suspicion.textContent;
    this.stage.canvas.ariaLabel = [controls.name.textContent, ...facts].join(", ");
    controls.marking.ariaPressed = this.source.marked().includes(index);
    this.editor.tell();
    this.tellJoints();
  }

  factsOf(index) {
    const { table, joint, predicted, labelled, other } = this.state;
    const count = (test) => jointsWhere(this.state, index, test).length;
    const scored = count((error) => !Number.isNaN(error));
    const facts = table.video ? [] : [`row ${table.rows[index] + 1}`];
    if (table.annotation_ids[index] !== null) facts.push(`annotation ${table.annotation_ids[index]}`);
    if (predicted && labelled) facts.push(scored ? `mean error ${fixed(errorOf(this.state, index, -1))}` : "not scored");
    if (other >= 0 && scored) facts.push(`${table.sets[other]} ${fixed(errorOf(this.state, index, -1, other))}`);
    if (predicted && labelled && joint >= 0) facts.push(`${table.joints[joint]} ${fixed(errorOf(this.state, index, joint))}`);
    if (predicted && !labelled) facts.push(`mean score ${fixed(scoreOf(this.state, index, -1))}`);
    if (scored) facts.push(`${count((error) => error > 1)} of ${many(scored, "joint")} wrong`);
    if (labelled) facts.push(`${count((_, label) => label === "occluded")} occluded`);
    const { rejected, corrected } = stateOf(this.state, index);
    if (rejected) facts.push("✗ rejected");
    if (Object.keys(corrected).length) facts.push(`✎ ${many(Object.keys(corrected).length, "joint")} corrected`);
    return this.source.marked().includes(index) ? [...facts, "⚑ suspicious"] : facts;
  }

  tellJoints() {
    const { state, controls } = this;
    const { index, table, page, predicted, labelled, other } = state;
    const texts = ["joint", "label", ...(predicted ? ["score", "error"] : []), ...(other >= 0 ? [table.sets[other]] : [])];
    controls.heads.replaceChildren(...texts.map((text) => make("th", { scope: "col", title: text }, text)));
    const found = page && predicted ? poseOf(state, page, 1) : [];
    controls.rows.replaceChildren(...(index === undefined ? [] : table.joints.map((_, k) => this.jointRow(index, k, found[k]))));
    controls.rows.parentNode.dataset.labelled = labelled;
  }

  jointRow(index, k, found) {
    const { state } = this;
    const { table, predicted, other, chosen } = state;
    const label = labelOf(state, index, k);
    const shape = make("i", { className: state.labelled ? `${table.sides[k]} ${label}` : table.sides[k] });
    const was = stateOf(state, index).corrected[k];
    const row = make("tr", {}, make("th", { scope: "row", title: table.joints[k] }, shape, table.joints[k]), make("td", {}, was ? `${label} ✎` : label));
    if (predicted) row.append(make("td", {}, found ? fixed(found.value) : "–"), this.errorCell(errorOf(state, index, k)));
    if (other >= 0) row.append(this.errorCell(errorOf(state, index, k, other)));
    row.classList.toggle("chosen", k === chosen);
    row.onclick = () => this.pick(k === state.chosen ? -1 : k);
    row.onpointerenter = (event) => event.pointerType === "mouse" && this.stage.look(k);
    row.onpointerleave = () => this.stage.look(-1);
    return row;
  }

  errorCell(error) {
    const cell = make("td", { className: error > 1 ? "error wrong" : "error" }, fixed(error));
    cell.style.setProperty("--part", `${25 * clamp(error || 0, 0, 4)}%`);
    return cell;
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
    const [marked, { csv }, { marks, download }] = [this.source.marked(), this.source, this.controls];
    const count = `${many(marked.length, this.state.table.video ? "frame" : "label")} marked as suspicious`;
    marks.textContent = csv ? `${count}; the list is ${csv}` : count;
    this.strip.flagAll();
    URL.revokeObjectURL(download.href);
    download.href = URL.createObjectURL(new Blob([this.csvText(marked)], { type: "text/csv" }));
    download.hidden = !marked.length;
    if (this.order.length) this.tell();
  }

  csvText(marked) {
    const quoted = (value) => (/[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value);
    const plain = (name) => name.replace(/^[=+\-@\t\r']/, "'$&"); // what a spreadsheet would compute, as in Python's file
    const { rows, names, annotation_ids: ids } = this.state.table;
    const lines = [...marked].sort((a, b) => rows[a] - rows[b]).map((i) => [`${rows[i] + 1}`, plain(names[i]), `${ids[i] ?? ""}`]);
    return [["row", "name", "annotation_id"], ...lines].map((line) => `${line.map(quoted).join(",")}\n`).join("");
  }

  // -------- a link to this person, and its picture

  keyOf(index) {
    const { names, annotation_ids: ids } = this.state.table;
    return ids[index] === null ? names[index] : `${names[index]}|${ids[index]}`;
  }

  // The index of the person that the page's address asks for, undefined without one.
  linked() {
    const wanted = new URLSearchParams(location.hash.slice(1)).get("person");
    const found = wanted === null ? -1 : this.state.table.names.findIndex((_, index) => this.keyOf(index) === wanted);
    return found < 0 ? undefined : found;
  }

  async link() {
    const { index } = this.state;
    if (index === undefined) return;
    const { link } = this.controls;
    link.href = `#${new URLSearchParams({ person: this.keyOf(index) })}`;
    history.replaceState(history.state, "", link.href);
    link.textContent = `Link to ${this.state.table.names[index]}`;
    link.hidden = false;
    const copied = await navigator.clipboard?.writeText(link.href).then(() => true, () => false);
    if (copied) link.textContent += " (copied)";
  }

  savePicture() {
    const { index, table } = this.state;
    if (index === undefined) return;
    this.stage.look(-1);
    this.stage.canvas.toBlob((blob) => {
      const href = URL.createObjectURL(blob);
      make("a", { href, download: `${table.names[index].replace(/\.[^.]*$/, "")}_pose.png` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 1000);
    });
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
