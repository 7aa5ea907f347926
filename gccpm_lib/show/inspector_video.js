// The inspector, part of its module: a joint's x, y and score over a video's time, and the joints that jump.
// Times are seconds. table.video: {name, tracks, places, jumps, ...}, see gccpm_lib/cli/inspect_video.py.

const PLOTS = [["x", "x in pixels", false], ["y", "y in pixels, the picture's top above", true], ["score", "score", false]];
const PLOT = { width: 1000, height: 100 }; // of the drawing's own coordinates
const LEAST_DELAY = 60; // ms between two pictures that are played
const SVG = "http://www.w3.org/2000/svg";

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

// A person's place in the video: [number of the track, seconds].
const placeOf = ({ table }, index) => table.video.places[table.rows[index]];

class Curves {
  constructor(inspector) {
    Object.assign(this, { inspector, state: inspector.state, element: make("section", { className: "curves", ariaLabel: "Joints over time" }) });
    const { video } = this.state.table;
    if (!video) return;
    const numbers = (text) => floats(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)));
    const decoded = ({ number, times, predicted, smoothed }) => [number, { times: numbers(times), sets: [numbers(predicted), numbers(smoothed)] }];
    this.tracks = new Map(video.tracks.map(decoded));
    this.play = buttonOf("▶ Play", "Play the frames", () => (this.playing ? this.stop() : this.start()));
    this.told = make("span", { className: "told" });
    const legend = ["as predicted", "smoothed", "jump"].map((text, i) => make("span", {}, make("i", { className: `curve${i}` }), text));
    this.plots = PLOTS.map(() => this.plot());
    this.ends = [make("span"), make("span")];
    this.element.append(
      make("div", { className: "head" }, this.told, this.play),
      make("p", { className: "legend" }, ...legend, ...(video.step > 1 ? [`every ${video.step}th frame is drawn`] : [])),
      ...this.plots.map(({ figure }) => figure),
      make("div", { className: "ends" }, ...this.ends),
      this.jumpList(video),
    );
  }

  plot() {
    const drawing = svg("svg", { viewBox: `0 0 ${PLOT.width} ${PLOT.height}`, preserveAspectRatio: "none", role: "img" });
    const seek = (event) => event.buttons && this.seek((event.offsetX / drawing.clientWidth) || 0);
    drawing.addEventListener("pointerdown", seek);
    drawing.addEventListener("pointermove", seek);
    const [high, low, name] = [make("span"), make("span"), make("span")];
    const figure = make("figure", {}, make("figcaption", {}, name), make("div", { className: "range" }, high, low), drawing);
    return { drawing, high, low, name, figure };
  }

  // The joints that jump, the greatest first.
  jumpList({ jumps, num_jumps: [before, after] }) {
    const { joints } = this.state.table;
    const several = this.tracks.size > 1;
    const item = ([track, time, joint, far, from, to]) => {
      const text = `${time.toFixed(2)} s · ${several ? `person ${track} · ` : ""}${joints[joint]} · ${far.toFixed(2)} · score ${fixed(from)} → ${fixed(to)}`;
      return make("li", {}, buttonOf(text, `Go to ${text}`, () => this.goTo(track, time, joint)));
    };
    const more = jumps.length < before ? `, the greatest ${jumps.length} listed` : "";
    const text = `${many(before, "jump")} of joints as predicted${more}; ${after.toLocaleString("en")} after smoothing`;
    const about = "Where a joint moves faster than 7 times the person's size a second, and by a tenth of it at least. How far is in person's sizes.";
    if (!before) return make("p", { className: "quiet" }, `No joint jumps. ${about}`);
    return make("details", { className: "jumps", open: true }, make("summary", {}, text), make("p", { className: "quiet" }, about), make("ol", {}, ...jumps.map(item)));
  }

  // -------- which track, joint and time

  get joint() {
    const { state } = this;
    if (state.chosen >= 0) return state.chosen;
    const [track] = placeOf(state, state.index);
    return state.table.video.jumps.find((jump) => jump[0] === track)?.[2] ?? 0;
  }

  goTo(track, time, joint) {
    const { inspector } = this;
    if (inspector.controls.track.value !== "-1" && Number(inspector.controls.track.value) !== track) {
      inspector.controls.track.value = track;
      inspector.choose();
    }
    if (joint !== this.state.chosen) inspector.pick(joint);
    inspector.go(this.nearest(track, time));
  }

  // The place in the order of this track's shown frame that is nearest in time.
  nearest(track, time) {
    const away = this.inspector.order.map((index) => {
      const [own, at] = placeOf(this.state, index);
      return own === track ? Math.abs(at - time) : Infinity;
    });
    return away.reduce((best, value, at) => (value < away[best] ? at : best), 0);
  }

  seek(share) {
    const [track] = placeOf(this.state, this.state.index);
    const { times } = this.tracks.get(track);
    this.inspector.go(this.nearest(track, times[0] + share * (times.at(-1) - times[0])));
  }

  // -------- playing

  async start() {
    const { inspector, state } = this;
    this.playing = true;
    this.play.textContent = "⏸ Stop";
    if (inspector.at >= inspector.order.length - 1) inspector.go(0);
    while (this.playing && inspector.at < inspector.order.length - 1) {
      const [here, next] = [inspector.at, inspector.at + 1].map((at) => placeOf(state, inspector.order[at])[1]);
      await inspector.picture(inspector.order[inspector.at + 1]).catch(() => null);
      await new Promise((done) => { setTimeout(done, clamp(1000 * (next - here), LEAST_DELAY, 1000)); });
      if (this.playing) inspector.go(inspector.at + 1);
    }
    this.stop();
  }

  stop() {
    this.playing = false;
    this.play.textContent = "▶ Play";
  }

  // -------- drawing

  draw() {
    const { state } = this;
    if (!this.tracks || state.index === undefined) return;
    const [number, time] = placeOf(state, state.index);
    const { times, sets } = this.tracks.get(number);
    const [joint, K] = [this.joint, state.table.joints.length];
    const values = (set, part) => times.map((_, i) => sets[set][3 * (i * K + joint) + part]);
    const at = times.reduce((best, value, i) => (Math.abs(value - time) < Math.abs(times[best] - time) ? i : best), 0);
    const jumps = state.table.video.jumps.filter((jump) => jump[0] === number && jump[2] === joint).map((jump) => jump[1]);
    PLOTS.forEach((about, part) => this.drawPlot(part, times, [values(0, part), values(1, part)], { time, jumps, joint }));
    const [x, y] = [0, 1].map((part) => `${"xy"[part]} ${values(0, part)[at].toFixed(1)} → ${values(1, part)[at].toFixed(1)}`);
    const whose = this.tracks.size > 1 ? `, person ${number}` : "";
    this.told.replaceChildren(make("strong", {}, state.table.joints[joint]), `${whose} at ${time.toFixed(2)} s: ${x}, ${y}, score ${fixed(values(0, 2)[at])}`);
    this.ends.forEach((end, i) => { end.textContent = `${times.at(-i).toFixed(2)} s`; });
  }

  drawPlot(part, times, [predicted, smoothed], { time, jumps, joint }) {
    const { drawing, high, low, name } = this.plots[part];
    const [, text, down] = PLOTS[part];
    const [least, most] = part === 2 ? [0, Math.max(1, ...predicted)] : [Math.min(...predicted), Math.max(...predicted)];
    const span = Math.max(most - least, 1e-6);
    const across = (t) => (PLOT.width * (t - times[0])) / Math.max(times.at(-1) - times[0], 1e-6);
    const along = (value) => PLOT.height * (0.05 + 0.9 * (down ? value - least : most - value) / span);
    const gaps = times.slice(1).map((t, i) => t - times[i]).sort();
    const gap = 3 * (gaps[gaps.length >> 1] ?? 1); // from there on the person wasn't seen between two frames
    const line = (series) => [...series].map((value, i) => (
      `${i && times[i] - times[i - 1] <= gap ? "L" : "M"}${across(times[i]).toFixed(1)} ${along(value).toFixed(1)}`)).join("");
    const upright = (t) => `M${across(t).toFixed(1)} 0V${PLOT.height}`;
    const unsure = part === 2 ? [["unsure", `M0 ${along(this.state.threshold)}H${PLOT.width}`]] : [];
    const paths = [...unsure, ["jump", jumps.map(upright).join("")], ["predicted", line(predicted)], ...(part < 2 ? [["smoothed", line(smoothed)]] : []), ["now", upright(time)]];
    drawing.replaceChildren(...paths.map(([className, d]) => svg("path", { class: className, d })));
    drawing.setAttribute("aria-label", `${text} of ${this.state.table.joints[joint]} over time: ${fixed(least, 1)} to ${fixed(most, 1)}, ${many(jumps.length, "jump")}`);
    name.textContent = text;
    [high.textContent, low.textContent] = (down ? [least, most] : [most, least]).map((value) => value.toFixed(part === 2 ? 1 : 0));
  }
}
