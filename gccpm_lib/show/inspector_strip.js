// The inspector, part of its module: thumbnails of all persons in a strip or a grid. Only those in sight exist.

const THUMB_SIDE = 128; // pixels of a picture that is asked for
const THUMBS = { strip: { width: 84, height: 101, side: 76 }, grid: { width: 150, height: 168, side: 142 } }; // CSS pixels

class Strip {
  // hooks: go(at) pages; order() gives the indices of the persons, at() the place among them, isMarked(index).
  constructor(state, source, hooks) {
    Object.assign(this, { state, source, hooks, pages: new Map(), grid: false });
    this.rail = make("div", { className: "rail" });
    this.element = make("div", { className: "strip", onscroll: () => this.draw(), role: "group", ariaLabel: "All persons" }, this.rail);
    this.observer = new ResizeObserver(() => this.draw());
    this.observer.observe(this.element);
  }

  get columns() {
    return this.grid ? Math.max(1, Math.floor(this.element.clientWidth / THUMBS.grid.width)) : Infinity;
  }

  corner(at) {
    const { width, height } = THUMBS[this.grid ? "grid" : "strip"];
    const row = this.grid ? Math.floor(at / this.columns) : 0;
    return [(at - (row ? row * this.columns : 0)) * width, row * height];
  }

  // Begin anew: other persons, another order, or the other of strip and grid.
  reset(grid = this.grid) {
    this.grid = grid;
    this.rail.replaceChildren();
    this.draw(true);
  }

  draw(follow = false) {
    const { element, rail } = this;
    const [count, current] = [this.hooks.order().length, this.hooks.at()];
    const { width, height } = THUMBS[this.grid ? "grid" : "strip"];
    rail.style.width = this.grid ? "100%" : `${count * width}px`;
    rail.style.height = this.grid ? `${Math.ceil(count / this.columns) * height}px` : "";
    if (follow) this.follow(current, width, height);
    const [first, last] = this.inSight(width, height, count);
    const there = new Map([...rail.children].map((thumb) => [Number(thumb.dataset.at), thumb]));
    there.forEach((thumb, at) => (at < first || at >= last) && thumb.remove());
    for (let at = first; at < last; at += 1) if (!there.has(at)) rail.append(this.thumb(at));
    for (const thumb of rail.children) this.place(thumb, current);
    clearTimeout(this.resting);
    this.resting = setTimeout(() => this.load(), 80); // fast scrolling asks for nothing
    element.dataset.grid = this.grid;
  }

  follow(current, width, height) {
    const { element } = this;
    const [left, top] = this.corner(current);
    const away = left < element.scrollLeft || left + width > element.scrollLeft + element.clientWidth;
    if (!this.grid && away) element.scrollLeft = left - element.clientWidth / 2 + width / 2;
    const below = top < element.scrollTop || top + height > element.scrollTop + element.clientHeight;
    if (this.grid && below) element.scrollTop = top - element.clientHeight / 2 + height / 2;
  }

  inSight(width, height, count) {
    const { element, columns } = this;
    const lines = this.grid ? [element.scrollTop, element.clientHeight, height] : [element.scrollLeft, element.clientWidth, width];
    const [start, extent, step] = lines;
    const each = this.grid ? columns : 1;
    const first = Math.max(0, Math.floor(start / step) - 2) * each;
    return [first, Math.min(count, first + (Math.ceil(extent / step) + 5) * each)];
  }

  place(thumb, current) {
    const at = Number(thumb.dataset.at);
    const [left, top] = this.corner(at);
    Object.assign(thumb.style, { left: `${left}px`, top: `${top}px` });
    thumb.ariaCurrent = at === current;
    thumb.tabIndex = at === current ? 0 : -1; // Tab reaches the current one, arrows the others
  }

  thumb(at) {
    const { state } = this;
    const index = this.hooks.order()[at];
    const error = errorOf(state, index, state.joint);
    const value = state.labelled ? error : scoreOf(state, index, state.joint);
    const text = state.predicted ? fixed(value) : `${at + 1}`;
    const told = state.predicted ? `, ${state.labelled ? "error" : "score"} ${text}` : "";
    const thumb = buttonOf(text, `${state.table.names[index]}${told}`, () => this.hooks.go(at));
    const side = 2 * THUMBS[this.grid ? "grid" : "strip"].side;
    thumb.prepend(make("canvas", { width: side, height: side }));
    thumb.className = error > 1 ? "thumb wrong" : "thumb";
    thumb.dataset.at = at;
    this.flag(thumb);
    this.drawThumb(thumb);
    return thumb;
  }

  // Focus on the current thumbnail, where one had it before.
  keepFocus() {
    if (this.element.contains(document.activeElement)) this.rail.querySelector('[aria-current="true"]')?.focus({ preventScroll: true });
  }

  async load() {
    if (this.loading) return; // one request at a time, of few pictures: the one on the canvas comes first
    const inSight = () => [...this.rail.children].map((thumb) => this.hooks.order()[thumb.dataset.at]);
    const lacking = () => inSight().filter((index) => !this.pages.has(index)).slice(0, 4);
    this.loading = true;
    for (let batch = lacking(); batch.length; batch = lacking()) {
      const pictures = await this.source.pictures(batch, THUMB_SIDE).catch(() => []);
      batch.forEach((index, i) => remembered(this.pages, 500, index, () => pictures[i] ?? {}));
      this.redraw(batch);
    }
    this.loading = false;
  }

  redraw(indices = this.hooks.order()) {
    const chosen = new Set(indices);
    for (const thumb of this.rail.children) if (chosen.has(this.hooks.order()[thumb.dataset.at])) this.drawThumb(thumb);
  }

  flag(thumb) {
    const index = this.hooks.order()[thumb.dataset.at];
    thumb.classList.toggle("marked", this.hooks.isMarked(index));
    thumb.classList.toggle("suspected", index in this.state.suspicions);
    thumb.classList.toggle("corrected", isCorrected(this.state, index));
    thumb.classList.toggle("rejected", stateOf(this.state, index).rejected);
  }

  flagAll() {
    for (const thumb of this.rail.children) this.flag(thumb);
  }

  drawThumb(thumb) {
    const { table, predicted, shown } = this.state;
    const page = this.pages.get(this.hooks.order()[thumb.dataset.at]);
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
    const spot = (joint) => ({ ...joint, x: x0 + (joint.x + 0.5 - left) * scale, y: y0 + (joint.y + 0.5 - top) * scale });
    const pose = poseOf(this.state, page, layer).map((joint) => joint && spot(joint));
    drawPose(context, pose, table, { layer: 0, radius: this.grid ? 5 : 3.4 });
  }
}
