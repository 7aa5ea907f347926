// The inspector, part of its module: labels are corrected here, in JupyterLab, where Python writes them to a csv.

const GROUP_KEYS = { arms: "1", legs: "2", all: "3" };

class Editor {
  // inspector: gives state, stage and source; is asked to pick a joint and told what changed.
  constructor(inspector) {
    this.inspector = inspector;
    this.state = inspector.state;
    this.waiting = Promise.resolve();
    this.element = this.build();
  }

  get possible() {
    return Boolean(this.inspector.source.corrections);
  }

  build() {
    const { source, state } = this.inspector;
    const labels = [["Visible", "Visible (v)", 2], ["Hidden", "Hidden: something covers the joint (o)", 1], ["Missing", "Missing: nobody can tell (x)", 0]];
    this.labels = labels.map(([text, hint, label]) => buttonOf(text, hint, () => this.label(label)));
    const groups = Object.keys(state.table.groups ?? {});
    const sides = groups.map((group) => buttonOf(group, `Exchange right and left of ${group} (${GROUP_KEYS[group]})`, () => this.exchange(group)));
    this.rejecting = buttonOf("Reject person", "Reject this person: neither trained on nor scored (r)", () => this.reject());
    this.undoing = buttonOf("Undo", "Undo (u)", () => this.undo());
    this.name = make("input", { ariaLabel: "Corrected by", value: source.corrector ?? "", maxLength: 60, onchange: () => source.renamed(this.name.value) });
    this.told = make("p", { className: "told", ariaLive: "polite" });
    const group = (text, ...children) => make("span", { className: "group", role: "group", ariaLabel: text }, make("span", { className: "quiet" }, text), ...children);
    const tools = [group("Chosen joint", ...this.labels), ...(sides.length ? [group("Exchange sides of", ...sides)] : []),
      this.rejecting, this.undoing, group("By", this.name)];
    return make("div", { className: "editor", hidden: true }, ...tools, this.told);
  }

  toggle(on = !this.state.editing) {
    this.state.editing = on && this.possible;
    this.element.hidden = !this.state.editing;
    if (this.state.editing && !this.state.shown.truth) this.inspector.toggle("truth");
    this.tell();
    this.inspector.stage.draw();
  }

  // -------- what is done to a person's joints, [x, y, label] each

  get points() {
    const { page, table } = this.state;
    return table.joints.map((_, k) => [...page.joints.subarray(3 * k, 3 * k + 3)]);
  }

  // A pointer goes down: the joint there is taken, or a missing one that was chosen is put there.
  grab(joint, point) {
    const { chosen } = this.state;
    const taken = joint >= 0 ? joint : chosen >= 0 && !this.points[chosen][2] ? chosen : -1;
    if (taken < 0) return false;
    this.inspector.pick(taken);
    this.before = this.points;
    this.state.dragging = true;
    this.start = { joint: taken, point, isNew: joint < 0 };
    if (joint < 0) this.drag(point);
    return true;
  }

  drag(point) {
    const [x, y, label] = this.before[this.start.joint];
    const { isNew, point: start, joint } = this.start;
    const to = isNew ? [point.x, point.y, 2] : [x + point.x - start.x, y + point.y - start.y, label];
    this.state.page.joints.set(to, 3 * joint);
    this.inspector.stage.draw();
  }

  drop() {
    this.state.dragging = false;
    const { joint } = this.start;
    const moved = this.points[joint].some((value, i) => value !== this.before[joint][i]);
    if (moved) this.send(this.points);
    else this.inspector.stage.draw();
  }

  nudge(x, y) {
    const { points, state: { chosen } } = this;
    if (!points[chosen]?.[2]) return;
    points[chosen] = [points[chosen][0] + x, points[chosen][1] + y, points[chosen][2]];
    this.send(points);
  }

  label(label) {
    const { points, state: { chosen } } = this;
    if (chosen < 0) this.say("Choose a joint first: click on it, or on its row in the table.");
    else if (label && !points[chosen][2]) this.say("This joint has no place yet: click in the picture where it is.");
    else {
      points[chosen][2] = label;
      this.send(points);
    }
  }

  exchange(group) {
    const { points } = this;
    for (const [a, b] of this.state.table.groups[group] ?? []) [points[a], points[b]] = [points[b], points[a]];
    this.send(points);
  }

  reject() {
    this.send(this.points, !stateOf(this.state, this.state.index).rejected);
  }

  undo() {
    this.ask({ kind: "undo" });
  }

  // -------- Python is told, one step after the other, and answers how the person now is

  send(points, rejected = stateOf(this.state, this.state.index).rejected) {
    const { index, page } = this.state;
    page.joints.set(points.flat(), 0);
    this.inspector.stage.draw();
    this.ask({ kind: "correct", row: index, points: points.flat(), rejected, by: this.name.value });
  }

  ask(request) {
    const { inspector } = this;
    const { wanted } = inspector;
    const step = async () => {
      try {
        const reply = await inspector.source.change(request);
        this.take(reply, request.kind === "undo" && inspector.wanted === wanted); // who has paged on isn't called back
      } catch (error) {
        this.say(error.message);
        inspector.forget(request.row ?? this.state.index);
      }
    };
    this.waiting = this.waiting.then(step);
  }

  take({ row: index, state, points, errors, means, kinds, ...counts }, follow) {
    const { table } = this.state;
    const K = table.joints.length;
    table.states = { ...table.states, [table.rows[index]]: state };
    Object.assign(table, counts);
    points.forEach((value, i) => i % 3 === 2 && (table.labels[index * K + (i - 2) / 3] = value));
    table.sets.forEach((_, set) => {
      const row = set * table.names.length + index;
      table.means[row] = means[set];
      table.errors.set(errors.subarray(set * K, set * K + K), row * K);
      table.kinds.set(kinds.subarray(set * K, set * K + K), row * K);
    });
    this.inspector.changed(index, points, follow);
    this.tell();
  }

  say(text) {
    this.told.textContent = text;
  }

  tell() {
    const { table, index, chosen, editing } = this.state;
    const { joints_corrected: joints = 0, persons_corrected: persons = 0, persons_rejected: rejected = 0 } = table;
    const gone = rejected ? `, ${rejected} of them rejected` : "";
    this.say(`${many(joints, "joint")} of ${many(persons, "person")} corrected${gone}; kept in ${this.inspector.source.corrections}`);
    this.undoing.disabled = !table.undoable;
    this.rejecting.ariaPressed = index !== undefined && stateOf(this.state, index).rejected;
    const label = editing && chosen >= 0 && index !== undefined ? LABELS.indexOf(labelOf(this.state, index, chosen)) : -1;
    this.labels.forEach((button, i) => { button.ariaPressed = 2 - i === label; });
  }

  // -------- keys; true where the key was one of these

  key(event) {
    const { state } = this;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key === "z") this.undo();
    if (command) return event.key === "z";
    const far = event.shiftKey ? 10 : 1; // picture pixels
    const moves = { ArrowRight: [far, 0], ArrowLeft: [-far, 0], ArrowDown: [0, far], ArrowUp: [0, -far] };
    const acts = { v: () => this.label(2), o: () => this.label(1), x: () => this.label(0), Delete: () => this.label(0), r: () => this.reject(), u: () => this.undo() };
    const group = Object.keys(GROUP_KEYS).find((name) => GROUP_KEYS[name] === event.key);
    if (moves[event.key] && state.chosen >= 0) this.nudge(...moves[event.key]);
    else if (group) this.exchange(group);
    else if (acts[event.key]) acts[event.key]();
    else return false;
    return true;
  }
}
